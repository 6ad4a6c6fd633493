use crate::TensorError;
use bytes::Bytes;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

/// Alignment of every allocation: a cache line, and the widest vector register.
const ALIGN: usize = 64;

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
}

enum Block {
    Allocated { at: NonNull<u8>, capacity: usize },
    Borrowed(Bytes),
}

// SAFETY: an allocated block is owned by exactly one `Inner` and only written through `&mut`.
unsafe impl Send for Inner {}
// SAFETY: shared access is read-only.
unsafe impl Sync for Inner {}

impl Buffer {
    fn of(block: Block, len: usize) -> Buffer {
        Buffer(Some(Arc::new(Inner { block, len, home: None })))
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
            return Ok(Buffer::of(Block::Allocated { at, capacity: 0 }, 0));
        }
        let layout = Layout::from_size_align(len, ALIGN).map_err(|_| TensorError::Memory { bytes: len })?;
        // SAFETY: the layout's size is not zero.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(TensorError::Memory { bytes: len })?;
        Ok(Buffer::of(Block::Allocated { at, capacity: len }, len))
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
        if let Some((home, tag)) = self.own().and_then(|inner| inner.home.take()) {
            home.put_back(tag, Buffer(self.0.take()));
        }
    }
}

#[repr(align(64))]
struct Aligned(#[allow(dead_code, reason = "only its alignment is used")] [u8; ALIGN]);

impl Drop for Inner {
    fn drop(&mut self) {
        // Two holders that let go at the same time each saw the other: the block goes home by this way then.
        if let Some((home, tag)) = self.home.take() {
            let block = std::mem::replace(&mut self.block, Block::Borrowed(Bytes::new()));
            home.put_back(tag, Buffer::of(block, std::mem::take(&mut self.len)));
        } else if let Block::Allocated { at, capacity } = self.block
            && capacity > 0
        {
            // SAFETY: allocated by `zeroed` with this very layout, and owned by this block alone.
            unsafe { dealloc(at.as_ptr(), Layout::from_size_align_unchecked(capacity, ALIGN)) }
        }
    }
}
