//! A Split and a Concat that undo each other.

use crate::{Refused, Rule, Site};
use oxidane_graph::{NodeId, ValueId, axis_index};

/// The axis of a Split or Concat, counted from the front.
fn axis(site: &Site<'_>, id: NodeId, rank: usize) -> Result<usize, Refused> {
    Ok(axis_index(site.attribute::<i64>(id, "axis").unwrap_or(0), rank)?)
}

/// A Split of a Concat at the seams gives the pieces.
pub(crate) struct SplitOfConcat;

impl Rule for SplitOfConcat {
    fn name(&self) -> &'static str {
        "split_of_concat"
    }

    fn doc(&self) -> &'static str {
        "a Split that takes a Concat apart at its seams goes"
    }

    fn roots(&self) -> &[&'static str] {
        &["Split"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let whole = site.input(0)?;
        let concat = site.made_by(whole, "Concat").ok_or(Refused::NoMatch)?;
        let rank = site.rank(whole)?;
        let axis_of_both = axis(site, site.id(), rank)?;
        let (pieces, parts) = (site.graph().node(concat).inputs(), site.node().outputs());
        if axis(site, concat, rank)? != axis_of_both || pieces.len() != parts.len() {
            return Err(Refused::NoMatch);
        }
        let mut pairs = Vec::with_capacity(parts.len());
        for (piece, part) in pieces.iter().zip(parts) {
            // A part that nobody asks for has a length as well, which only its type would tell.
            let (Some(piece), Some(part)) = (*piece, *part) else { return Err(Refused::NoMatch) };
            let length = |v: ValueId| site.shape(v)?.get(axis_of_both).copied().filter(|d| !d.is_unknown());
            match (length(piece), length(part)) {
                (Some(a), Some(b)) if a == b => pairs.push((part, piece)),
                (Some(_), Some(_)) => {
                    return Err(Refused::because("the lengths differ from those put together"));
                }
                _ => return Err(Refused::because("the lengths are not known")),
            }
        }
        site.replace_all(&pairs)
    }
}

/// A Concat of all that a Split gives, in order, is what was split.
pub(crate) struct ConcatOfSplit;

impl Rule for ConcatOfSplit {
    fn name(&self) -> &'static str {
        "concat_of_split"
    }

    fn doc(&self) -> &'static str {
        "a Concat that puts a Split together again goes"
    }

    fn roots(&self) -> &[&'static str] {
        &["Concat"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let split = site.made_by(site.input(0)?, "Split").ok_or(Refused::NoMatch)?;
        if site.graph().node(split).outputs() != site.node().inputs() {
            return Err(Refused::NoMatch);
        }
        let whole = site.graph().node(split).input(0).ok_or(Refused::NoMatch)?;
        let rank = site.rank(whole)?;
        if axis(site, split, rank)? != axis(site, site.id(), rank)? {
            return Err(Refused::because("the axes differ"));
        }
        site.replace(site.output(0)?, whole)
    }
}
