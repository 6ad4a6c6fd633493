//! Axes as files give them: negative ones count from the end.

use crate::Draft;
use oxidane_graph::{OpError, axis_index};
use smallvec::SmallVec;

/// Positions of axes.
pub(crate) type Axes = SmallVec<[usize; 8]>;

/// The positions of axes in a tensor of `rank` dimensions, in the order given.
///
/// # Errors
/// When one lies outside or occurs twice.
pub(crate) fn distinct_axes(axes: &[i64], rank: usize) -> Result<Axes, OpError> {
    let mut seen: SmallVec<[bool; 8]> = SmallVec::from_elem(false, rank);
    axes.iter()
        .map(|&axis| {
            let at = axis_index(axis, rank)?;
            match std::mem::replace(&mut seen[at], true) {
                true => Err(OpError::new(format!("axis {at} occurs twice in {axes:?}"))),
                false => Ok(at),
            }
        })
        .collect()
}

/// A step down to opsets that knew no negative axes: the attribute `axis` counts from the front. Where the rank
/// of input 0 is not known it stays as it is.
pub(crate) fn front_axis(draft: &mut Draft<'_>) -> Result<(), OpError> {
    if let (Some(axis), Some(rank)) = (draft.attributes.value::<i64>("axis")?, draft.rank(0))
        && axis < 0
    {
        draft.attributes.set("axis", axis_index(axis, rank)? as i64);
    }
    Ok(())
}

/// As [`front_axis`] for the attribute `axes`, which counts along `more` dimensions more than input 0 has.
pub(crate) fn front_axes(draft: &mut Draft<'_>, more: usize) -> Result<(), OpError> {
    if let (Some(axes), Some(rank)) = (draft.attributes.value::<Vec<i64>>("axes")?, draft.rank(0))
        && axes.iter().any(|&a| a < 0)
    {
        let front: Result<Vec<i64>, _> =
            axes.iter().map(|&a| axis_index(a, rank + more).map(|a| a as i64)).collect();
        draft.attributes.set("axes", front?);
    }
    Ok(())
}
