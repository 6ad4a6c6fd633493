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
/// such as a mapped file (read-only, any alignment).
pub struct Buffer {
    block: Block,
    len: usize,
    home: Option<(Arc<dyn Home>, usize)>,
}

enum Block {
    Allocated { at: NonNull<u8>, capacity: usize },
    Borrowed(Bytes),
}

// SAFETY: an allocated block is owned by exactly one `Buffer` and only written through `&mut`.
unsafe impl Send for Buffer {}
// SAFETY: shared access is read-only.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A block of `len` zero bytes.
    ///
    /// # Errors
    /// When the system has no such block.
    pub fn zeroed(len: usize) -> Result<Buffer, TensorError> {
        if len == 0 {
            return Ok(Buffer {
                block: Block::Allocated { at: NonNull::<Aligned>::dangling().cast(), capacity: 0 },
                len: 0,
                home: None,
            });
        }
        let layout = Layout::from_size_align(len, ALIGN).map_err(|_| TensorError::Memory { bytes: len })?;
        // SAFETY: the layout's size is not zero.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(TensorError::Memory { bytes: len })?;
        Ok(Buffer { block: Block::Allocated { at, capacity: len }, len, home: None })
    }

    /// A read-only block that shares `bytes`.
    pub fn borrowed(bytes: Bytes) -> Buffer {
        Buffer { len: bytes.len(), block: Block::Borrowed(bytes), home: None }
    }

    /// The same block, going back to `home` under `tag` when it is dropped.
    pub fn with_home(mut self, home: Arc<dyn Home>, tag: usize) -> Buffer {
        self.home = Some((home, tag));
        self
    }

    /// Shortens or lengthens the visible part within the capacity; `false` where it does not fit.
    /// Bytes that become visible again keep whatever they held.
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= self.capacity();
        if fits {
            self.len = len;
        }
        fits
    }

    /// Bytes that the block can hold.
    pub fn capacity(&self) -> usize {
        match &self.block {
            Block::Allocated { capacity, .. } => *capacity,
            Block::Borrowed(bytes) => bytes.len(),
        }
    }

    /// Whether the block is memory of this process that may be written, not a borrowed file.
    pub fn is_allocated(&self) -> bool {
        matches!(self.block, Block::Allocated { .. })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.block {
            // SAFETY: `at` points to `capacity >= len` initialised bytes that this buffer owns.
            Block::Allocated { at, .. } => unsafe { std::slice::from_raw_parts(at.as_ptr(), self.len) },
            Block::Borrowed(bytes) => &bytes[..self.len],
        }
    }

    /// The bytes for writing; `None` for a borrowed block.
    pub fn as_bytes_mut(&mut self) -> Option<&mut [u8]> {
        match &mut self.block {
            Block::Allocated { at, .. } => {
                // SAFETY: as in `as_bytes`, and `&mut self` is the only access.
                Some(unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), self.len) })
            }
            Block::Borrowed(_) => None,
        }
    }
}

#[repr(align(64))]
struct Aligned(#[allow(dead_code, reason = "only its alignment is used")] [u8; ALIGN]);

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some((home, tag)) = self.home.take() {
            let block = std::mem::replace(&mut self.block, Block::Borrowed(Bytes::new()));
            let len = std::mem::take(&mut self.len);
            home.put_back(tag, Buffer { block, len, home: None });
        } else if let Block::Allocated { at, capacity } = self.block
            && capacity > 0
        {
            // SAFETY: allocated by `zeroed` with this very layout, and owned by this buffer alone.
            unsafe { dealloc(at.as_ptr(), Layout::from_size_align_unchecked(capacity, ALIGN)) }
        }
    }
}
