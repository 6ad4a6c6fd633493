use crate::Use;
use smallvec::SmallVec;
use std::collections::HashMap;

/// From so many readers on they are found through an index.
const MANY: usize = 16;

/// The readers of a value, each once. Most values have one or two, which are kept without an allocation of their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    list: SmallVec<[Use; 2]>,
    /// Where each stands in the list, while there are many.
    #[expect(clippy::box_collection, reason = "a map is six words, and nearly every value has none")]
    index: Option<Box<HashMap<Use, usize>>>,
}

impl Uses {
    pub(crate) fn as_slice(&self) -> &[Use] {
        &self.list
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn position(&self, entry: Use) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&entry).copied(),
            None => self.list.iter().position(|&own| own == entry),
        }
    }

    pub(crate) fn contains(&self, entry: Use) -> bool {
        self.position(entry).is_some()
    }

    /// Adds a reader at the end, unless it is there.
    pub(crate) fn insert(&mut self, entry: Use) {
        if self.contains(entry) {
            return;
        }
        match &mut self.index {
            Some(index) => {
                index.insert(entry, self.list.len());
            }
            None if self.list.len() + 1 >= MANY => {
                let all = self.list.iter().copied().chain([entry]).enumerate();
                self.index = Some(Box::new(all.map(|(at, entry)| (entry, at)).collect()));
            }
            None => {}
        }
        self.list.push(entry);
    }

    /// Takes a reader away; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, entry: Use) {
        let Some(at) = self.position(entry) else { return };
        self.list.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(&entry);
            if let Some(&moved) = self.list.get(at) {
                index.insert(moved, at);
            }
        }
    }

    pub(crate) fn extend(&mut self, others: Uses) {
        others.list.into_iter().for_each(|entry| self.insert(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, NodeId};

    #[test]
    fn few_and_many() {
        let entry = |i: usize| Use { node: NodeId::from_index(i), slot: i as u32 % 3 };
        let mut uses = Uses::default();
        for i in (0..40).chain(10..30) {
            uses.insert(entry(i));
        }
        assert_eq!(uses.as_slice().len(), 40);
        for i in 0..39 {
            uses.swap_remove(entry(i));
            uses.swap_remove(entry(i));
            assert!(!uses.contains(entry(i)) && uses.contains(entry(39)));
            let found = uses.as_slice().iter().all(|&own| uses.contains(own));
            assert!(found && uses.as_slice().len() == 39 - i);
        }
        let mut more = Uses::default();
        more.insert(entry(1));
        more.extend(uses);
        assert_eq!(more.as_slice(), [entry(1), entry(39)]);
    }
}
