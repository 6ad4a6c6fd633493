//! Which of many things are equal.

use std::cmp::Ordering;

/// The groups of equal things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The first thing of each group.
    pub first: Vec<i64>,
    /// The group of each thing.
    pub inverse: Vec<i64>,
    /// How many things each group has.
    pub counts: Vec<i64>,
}

/// Groups the things 0 to `count - 1` by a total order on them (`Unique`). The groups are in that order, or, unless
/// `sorted`, in the order in which they first occur.
pub fn unique(count: usize, compare: &dyn Fn(usize, usize) -> Ordering, sorted: bool) -> Unique {
    let mut order: Vec<usize> = (0..count).collect();
    // A stable sort: the first of each run of equals is the first to occur.
    order.sort_by(|&a, &b| compare(a, b));
    let mut groups: Vec<(usize, usize)> = Vec::new();
    let mut group_of = vec![0usize; count];
    for (at, &thing) in order.iter().enumerate() {
        let same = at > 0 && compare(order[at - 1], thing) == Ordering::Equal;
        match groups.last_mut() {
            Some(group) if same => group.1 += 1,
            _ => groups.push((thing, 1)),
        }
        group_of[thing] = groups.len() - 1;
    }
    let mut place: Vec<usize> = (0..groups.len()).collect();
    if !sorted {
        let mut by_first = place.clone();
        by_first.sort_by_key(|&group| groups[group].0);
        for (at, group) in by_first.into_iter().enumerate() {
            place[group] = at;
        }
    }
    let mut result = Unique {
        first: vec![0; groups.len()],
        inverse: group_of.iter().map(|&group| place[group] as i64).collect(),
        counts: vec![0; groups.len()],
    };
    for (group, (first, many)) in groups.into_iter().enumerate() {
        result.first[place[group]] = first as i64;
        result.counts[place[group]] = many as i64;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders() {
        let things = [2, 1, 1, 3, 4, 3];
        let of = |sorted| unique(things.len(), &|a, b| things[a].cmp(&things[b]), sorted);
        let first =
            Unique { first: vec![0, 1, 3, 4], inverse: vec![0, 1, 1, 2, 3, 2], counts: vec![1, 2, 2, 1] };
        assert_eq!(of(false), first);
        let sorted =
            Unique { first: vec![1, 0, 3, 4], inverse: vec![1, 0, 0, 2, 3, 2], counts: vec![2, 1, 2, 1] };
        assert_eq!(of(true), sorted);
        assert!(unique(0, &|_, _| Ordering::Equal, true).first.is_empty());
    }
}
