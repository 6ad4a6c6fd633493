use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim};

/// A Transpose that moves axes of size 1 only gives the elements in the same order: it is a Reshape.
pub(crate) struct TransposeOfOnes;

impl Rule for TransposeOfOnes {
    fn name(&self) -> &'static str {
        "transpose_of_ones"
    }

    fn doc(&self) -> &'static str {
        "a Transpose that moves only axes of size 1 becomes a Reshape"
    }

    fn roots(&self) -> &[&'static str] {
        &["Transpose"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (x, old) = (site.input(0)?, site.output(0)?);
        let before = site.shape(x).ok_or(Refused::Because("the rank is not known".into()))?;
        let rank = before.len();
        let perm: Vec<i64> =
            site.attribute(site.id(), "perm").unwrap_or_else(|| (0..rank as i64).rev().collect());
        if perm.len() != rank || perm.iter().enumerate().all(|(i, &p)| i as i64 == p) {
            return Err(Refused::NoMatch);
        }
        let size = |axis: i64| before.get(axis as usize).copied().ok_or(Refused::NoMatch);
        let mut last = -1;
        let mut target = Vec::with_capacity(rank);
        let mut inferred = false;
        for (place, &axis) in perm.iter().enumerate() {
            let size = size(axis)?;
            if size != Dim::known(1) {
                if axis < last {
                    return Err(Refused::NoMatch);
                }
                last = axis;
            }
            target.push(match size.as_known() {
                Some(0) => {
                    return Err(Refused::because(
                        "a size is 0, which a target shape takes for another thing",
                    ));
                }
                Some(size) => size,
                None if place as i64 == axis => 0,
                None if inferred => return Err(Refused::because("two sizes are known only in a run")),
                None => {
                    inferred = true;
                    -1
                }
            });
        }
        if inferred && target.contains(&0) {
            return Err(Refused::because("nothing could be inferred where a size that is taken over is 0"));
        }
        let reshape = site.op("Reshape", &Attributes::new())?;
        let target = site.list(&target)?;
        let new = site.add(reshape, &[x, target]);
        site.replace(old, new)
    }
}
