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

/// Entities that lie together; a power of two.
const CHUNK: usize = 1024;

/// Entities by id. Removed entities leave a hole, so that ids stay valid and are never used twice. They lie in chunks,
/// all of them full but the last: a graph that grows moves none but those of its first chunk.
#[derive(Clone)]
pub(crate) struct Arena<I, T> {
    chunks: Vec<Vec<Option<T>>>,
    live: usize,
    id: PhantomData<I>,
}

impl<I: Id, T> Arena<I, T> {
    pub(crate) fn new() -> Self {
        Arena { chunks: Vec::new(), live: 0, id: PhantomData }
    }

    pub(crate) fn push(&mut self, entity: T) -> I {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(Some(entity)),
            last => {
                // Most graphs, bodies above all, stay far below one chunk.
                let mut chunk = Vec::with_capacity(if last.is_some() { CHUNK } else { 0 });
                chunk.push(Some(entity));
                self.chunks.push(chunk);
            }
        }
        self.live += 1;
        I::from_index(self.bound() - 1)
    }

    pub(crate) fn remove(&mut self, id: I) -> Option<T> {
        let gone = self.slot_mut(id)?.take();
        self.live -= usize::from(gone.is_some());
        gone
    }

    pub(crate) fn get(&self, id: I) -> Option<&T> {
        self.chunks.get(id.index() / CHUNK)?.get(id.index() % CHUNK)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.slot_mut(id)?.as_mut()
    }

    fn slot_mut(&mut self, id: I) -> Option<&mut Option<T>> {
        self.chunks.get_mut(id.index() / CHUNK)?.get_mut(id.index() % CHUNK)
    }

    /// How many entities are alive.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// One more than the largest index that was ever used.
    pub(crate) fn bound(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (I, &T)> {
        self.chunks.iter().enumerate().flat_map(|(at, chunk)| {
            let id = move |i: usize| I::from_index(at * CHUNK + i);
            chunk.iter().enumerate().filter_map(move |(i, entity)| Some((id(i), entity.as_ref()?)))
        })
    }
}
