use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dims};

/// An exchange of the last two axes between a Reshape that merges the axes in front and one that parts them again.
pub(crate) struct TransposeBetweenReshapes;

impl Rule for TransposeBetweenReshapes {
    fn name(&self) -> &'static str {
        "transpose_between_reshapes"
    }

    fn doc(&self) -> &'static str {
        "an exchange of the last two axes needs no reshapes of the axes before them"
    }

    fn roots(&self) -> &[&'static str] {
        &["Reshape"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let old = site.output(0)?;
        let turned = site.input(0)?;
        let transpose = site.made_by(turned, "Transpose").ok_or(Refused::NoMatch)?;
        let merged = site.graph().node(transpose).input(0).ok_or(Refused::NoMatch)?;
        let reshape = site.made_by(merged, "Reshape").ok_or(Refused::NoMatch)?;
        let source = site.graph().node(reshape).input(0).ok_or(Refused::NoMatch)?;
        let shape =
            |v| site.shape(v).map(Dims::from_slice).ok_or(Refused::Because("a shape is not known".into()));
        let (before, between, after) = (shape(source)?, shape(merged)?, shape(old)?);
        let (rank, inner) = (before.len(), between.len());
        let perm: Vec<i64> = site.attribute(transpose, "perm").unwrap_or_default();
        if rank < 2 || inner < 2 || after.len() != rank || perm != exchanged(inner) {
            return Err(Refused::NoMatch);
        }
        let (lead, last) = before.split_at(rank - 2);
        let fits = between[inner - 2..] == *last
            && after[..rank - 2] == *lead
            && after[rank - 2..] == [last[1], last[0]];
        if !fits {
            return Err(Refused::NoMatch);
        }
        if site.sole_user(turned).is_none() {
            return Err(Refused::because("the transposed tensor is read elsewhere as well"));
        }
        let op = site.op("Transpose", &Attributes::new().with("perm", exchanged(rank)))?;
        let new = site.add(op, &[source]);
        site.replace(old, new)
    }
}

/// The permutation that exchanges the last two of so many axes.
fn exchanged(rank: usize) -> Vec<i64> {
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    perm.swap(rank - 1, rank - 2);
    perm
}
