use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// A typed index into an [`Arena`].
pub trait Id: Copy + Eq + std::hash::Hash + fmt::Debug {
    /// The id of a slot.
    fn from_index(index: usize) -> Self;
    /// The slot of an id.
    fn index(self) -> usize;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(NonZeroU32);

        impl Id for $name {
            fn from_index(index: usize) -> Self {
                let entry = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
                $name(entry.expect("an arena holds less than 2^32 - 1 entities"))
            }
            fn index(self) -> usize {
                self.0.get() as usize - 1
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.index())
            }
        }
    )*};
}

ids! {
    /// A node of one graph.
    NodeId "n",
    /// A value (edge) of one graph.
    ValueId "v",
}

/// Entities by id. Removed entities leave a hole, so that ids stay valid and are never used twice.
#[derive(Clone)]
pub(crate) struct Arena<I, T> {
    slots: Vec<Option<T>>,
    live: usize,
    id: PhantomData<I>,
}

impl<I: Id, T> Arena<I, T> {
    pub(crate) fn new() -> Self {
        Arena { slots: Vec::new(), live: 0, id: PhantomData }
    }

    pub(crate) fn push(&mut self, entity: T) -> I {
        self.slots.push(Some(entity));
        self.live += 1;
        I::from_index(self.slots.len() - 1)
    }

    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        let gone = self.slots.get_mut(id.index())?.take();
        self.live -= usize::from(gone.is_some());
        gone
    }

    pub(crate) fn get(&self, id: I) -> Option<&T> {
        self.slots.get(id.index())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// How many entities are alive.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// One more than the largest index that was ever used.
    pub(crate) fn bound(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (I, &T)> {
        self.slots.iter().enumerate().filter_map(|(i, e)| Some((I::from_index(i), e.as_ref()?)))
    }
}
