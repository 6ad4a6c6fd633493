use crate::TensorError;
use bytes::Bytes;
use memmap2::MmapMut;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::sync::Arc;

/// Alignment of every allocation: a cache line, and the widest vector register.
const ALIGN: usize = 64;

/// Blocks from here on are asked of the system in its large pages: filling in ten thousand small ones takes longer than
/// many a kernel, and walks through them miss the tables of pages all the time.
const LARGE: usize = 8 << 20;

/// Blocks from here on are worth a mapping of their own where all of their pages are wanted.
#[cfg(target_os = "linux")]
const POPULATED: usize = 1 << 20;

/// A large page.
const LARGE_PAGE: usize = 2 << 20;

/// Blocks up to this size are shapes, axes, scalars: a thread keeps some that it let go, so that making a small tensor
/// allocates nothing in the long run.
const SMALL: usize = 256;

/// How many.
const KEPT_SMALL: usize = 64;

thread_local! {
    static KEPT: RefCell<Vec<Arc<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// Where a buffer's block goes when its last user lets go, so that a runtime can use it again.
pub trait Home: Send + Sync {
    /// Takes back a block that was given to [`Buffer::with_home`] under `tag`.
    fn put_back(&self, tag: usize, block: Buffer);
}

/// A block of bytes: allocated (aligned to 64 bytes and writable while unshared) or borrowed from elsewhere,
/// such as a mapped file (read-only, any alignment). Clones share it; the last one to go gives it back to its home.
#[derive(Clone)]
pub struct Buffer(Option<Arc<Inner>>);

struct Inner {
    block: Block,
    len: usize,
    home: Option<(Arc<dyn Home>, usize)>,
    /// Made by [`Buffer::brief`], to be kept for it.
    small: bool,
}

enum Block {
    /// Of the allocator, or of a mapping of its own.
    Allocated {
        at: NonNull<u8>,
        capacity: usize,
        mapped: Option<MmapMut>,
    },
    Borrowed(Bytes),
}

// SAFETY: an allocated block is owned by exactly one `Inner` and only written through `&mut`.
unsafe impl Send for Inner {}
// SAFETY: shared access is read-only.
unsafe impl Sync for Inner {}

impl Buffer {
    fn of(block: Block, len: usize) -> Buffer {
        Buffer(Some(Arc::new(Inner { block, len, home: None, small: false })))
    }

    fn inner(&self) -> &Inner {
        self.0.as_deref().expect("a buffer is empty only while it is dropped")
    }

    /// The block for changing, while nobody else has it.
    fn own(&mut self) -> Option<&mut Inner> {
        Arc::get_mut(self.0.as_mut()?)
    }

    /// A block of `len` zero bytes.
    ///
    /// # Errors
    /// When the system has no such block.
    pub fn zeroed(len: usize) -> Result<Buffer, TensorError> {
        if len == 0 {
            let at = NonNull::<Aligned>::dangling().cast();
            return Ok(Buffer::of(Block::Allocated { at, capacity: 0, mapped: None }, 0));
        }
        if len >= LARGE
            && let Some((at, map)) = map_large(len)
        {
            return Ok(Buffer::of(Block::Allocated { at, capacity: len, mapped: Some(map) }, len));
        }
        let layout = Layout::from_size_align(len, ALIGN).map_err(|_| TensorError::Memory { bytes: len })?;
        // SAFETY: the layout's size is not zero.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(TensorError::Memory { bytes: len })?;
        Ok(Buffer::of(Block::Allocated { at, capacity: len, mapped: None }, len))
    }

    /// A block of `len` zero bytes that will be written whole at once: the system is asked for all of its pages at one
    /// time, which takes half as long as for each alone.
    ///
    /// # Errors
    /// When the system has no such block.
    pub fn populated(len: usize) -> Result<Buffer, TensorError> {
        #[cfg(target_os = "linux")]
        if len >= POPULATED
            && let Ok(mut map) = MmapMut::map_anon(len)
        {
            // A wish; where it is refused pages come one by one.
            let _ = map.advise(memmap2::Advice::PopulateWrite);
            let at = NonNull::from(&mut map[..]).cast();
            return Ok(Buffer::of(Block::Allocated { at, capacity: len, mapped: Some(map) }, len));
        }
        Buffer::zeroed(len)
    }

    /// A block of `len` zero bytes for a tensor that may be small and may soon be gone; its capacity may be larger.
    ///
    /// # Errors
    /// When the system has no such block.
    pub(crate) fn brief(len: usize) -> Result<Buffer, TensorError> {
        if len == 0 || len > SMALL {
            return Buffer::zeroed(len);
        }
        let kept = KEPT.try_with(|kept| kept.try_borrow_mut().ok()?.pop()).ok().flatten();
        let mut buffer = match kept {
            Some(inner) => Buffer(Some(inner)),
            None => {
                let mut made = Buffer::zeroed(SMALL)?;
                made.own().expect("just made").small = true;
                made
            }
        };
        buffer.set_len(len);
        buffer.as_bytes_mut().expect("kept when nobody else had it").fill(0);
        Ok(buffer)
    }

    /// A read-only block that shares `bytes`.
    pub fn borrowed(bytes: Bytes) -> Buffer {
        let len = bytes.len();
        Buffer::of(Block::Borrowed(bytes), len)
    }

    /// The same block, going back to `home` under `tag` when its last clone is dropped; as it is while it is shared.
    pub fn with_home(mut self, home: Arc<dyn Home>, tag: usize) -> Buffer {
        if let Some(inner) = self.own() {
            inner.home = Some((home, tag));
        }
        self
    }

    /// Shortens or lengthens the visible part within the capacity; `false` where it does not fit, or the block is
    /// shared. Bytes that become visible again keep whatever they held.
    pub fn set_len(&mut self, len: usize) -> bool {
        if len > self.capacity() {
            return false;
        }
        self.own().map(|inner| inner.len = len).is_some()
    }

    /// Bytes that the block can hold.
    pub fn capacity(&self) -> usize {
        match &self.inner().block {
            Block::Allocated { capacity, .. } => *capacity,
            Block::Borrowed(bytes) => bytes.len(),
        }
    }

    /// Whether the block is memory of this process that may be written, not a borrowed file.
    pub fn is_allocated(&self) -> bool {
        matches!(self.inner().block, Block::Allocated { .. })
    }

    /// Whether nobody else has the block.
    pub fn is_unique(&mut self) -> bool {
        self.own().is_some()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        let inner = self.inner();
        match &inner.block {
            // SAFETY: `at` points to `capacity >= len` initialised bytes that this buffer owns.
            Block::Allocated { at, .. } => unsafe { std::slice::from_raw_parts(at.as_ptr(), inner.len) },
            Block::Borrowed(bytes) => &bytes[..inner.len],
        }
    }

    /// The bytes for writing; `None` for a borrowed or a shared block.
    pub fn as_bytes_mut(&mut self) -> Option<&mut [u8]> {
        let inner = self.own()?;
        match &mut inner.block {
            Block::Allocated { at, .. } => {
                // SAFETY: as in `as_bytes`, and `&mut` on the only holder is the only access.
                Some(unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), inner.len) })
            }
            Block::Borrowed(_) => None,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // The block goes home in the very allocation that holds it, so that using it again allocates nothing.
        let Some(inner) = self.own() else { return };
        if let Some((home, tag)) = inner.home.take() {
            home.put_back(tag, Buffer(self.0.take()));
        } else if inner.small {
            // A thread that ends keeps nothing.
            let _ = KEPT.try_with(|kept| {
                if let Ok(mut kept) = kept.try_borrow_mut()
                    && kept.len() < KEPT_SMALL
                {
                    kept.extend(self.0.take());
                }
            });
        }
    }
}

/// `len` zero bytes in a mapping of their own, from the begin of a large page on; `None` where the system has none.
fn map_large(len: usize) -> Option<(NonNull<u8>, MmapMut)> {
    let mut map = MmapMut::map_anon(len.checked_add(LARGE_PAGE)?).ok()?;
    let skip = map.as_ptr().align_offset(LARGE_PAGE);
    // A wish; where it is refused the pages are small ones, as those of the rest are, which would waste most of a large
    // one.
    #[cfg(target_os = "linux")]
    let _ = map.advise_range(memmap2::Advice::HugePage, skip, len / LARGE_PAGE * LARGE_PAGE);
    let at = NonNull::from(map.get_mut(skip..skip.checked_add(len)?)?);
    Some((at.cast(), map))
}

#[repr(align(64))]
struct Aligned(#[allow(dead_code, reason = "only its alignment is used")] [u8; ALIGN]);

impl Drop for Inner {
    fn drop(&mut self) {
        // Two holders that let go at the same time each saw the other: the block goes home by this way then.
        if let Some((home, tag)) = self.home.take() {
            let block = std::mem::replace(&mut self.block, Block::Borrowed(Bytes::new()));
            home.put_back(tag, Buffer::of(block, std::mem::take(&mut self.len)));
        } else if let Block::Allocated { at, capacity, mapped: None } = self.block
            && capacity > 0
        {
            // SAFETY: allocated by `zeroed` with this very layout, and owned by this block alone.
            unsafe { dealloc(at.as_ptr(), Layout::from_size_align_unchecked(capacity, ALIGN)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_size_are_zero_aligned_and_their_own() -> Result<(), TensorError> {
        let sizes = [0, 1, 64, 4097, LARGE - 1, LARGE, LARGE + 1, LARGE + LARGE_PAGE + 12345];
        let mut blocks = Vec::new();
        for (i, &size) in sizes.iter().enumerate() {
            let mut block = Buffer::zeroed(size)?;
            assert_eq!((block.as_bytes().len(), block.capacity()), (size, size));
            assert!(block.as_bytes().as_ptr().addr().is_multiple_of(ALIGN));
            assert!(block.as_bytes().iter().all(|&b| b == 0));
            block.as_bytes_mut().expect("nobody else has it").fill(i as u8 + 1);
            blocks.push(block);
        }
        for (i, block) in blocks.iter().enumerate() {
            assert!(block.as_bytes().iter().all(|&b| b == i as u8 + 1));
        }
        assert!(Buffer::zeroed(isize::MAX as usize).is_err());
        Ok(())
    }

    #[test]
    fn brief_blocks_are_zero_however_often() -> Result<(), TensorError> {
        for round in 0..500 {
            let mut blocks = (0..=SMALL + 1).step_by(7).map(Buffer::brief).collect::<Result<Vec<_>, _>>()?;
            for (i, block) in blocks.iter_mut().enumerate() {
                assert_eq!(block.as_bytes().len(), 7 * i);
                assert!(block.as_bytes().iter().all(|&b| b == 0), "round {round}");
                block.as_bytes_mut().expect("nobody else has it").fill(1);
            }
            let other = blocks.split_off(round % blocks.len());
            std::thread::scope(|scope| scope.spawn(|| drop(other)).join().expect("no panic"));
        }
        Ok(())
    }

    /// A home that keeps blocks.
    struct Shelf(std::sync::Mutex<Vec<Buffer>>);

    impl Home for Shelf {
        fn put_back(&self, tag: usize, block: Buffer) {
            assert_eq!(tag, 3);
            self.0.lock().expect("no test panics while it puts back").push(block);
        }
    }

    #[test]
    fn the_last_one_brings_the_block_home() -> Result<(), TensorError> {
        let shelf = Arc::new(Shelf(std::sync::Mutex::default()));
        for size in [100, LARGE] {
            for round in 0..200 {
                let resting = shelf.0.lock().expect("no panic").pop();
                let mut block = match resting {
                    Some(block) => block,
                    None => Buffer::zeroed(size)?,
                };
                assert_eq!(block.capacity(), size, "round {round}");
                assert!(block.set_len(size / 2) && !block.set_len(size + 1));
                let block = block.with_home(shelf.clone(), 3);
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        let block = block.clone();
                        scope.spawn(move || drop(block));
                    }
                    drop(block);
                });
            }
            let blocks = std::mem::take(&mut *shelf.0.lock().expect("no panic"));
            assert_eq!(blocks.len(), 1, "one block is used again and again");
        }
        Ok(())
    }
}
