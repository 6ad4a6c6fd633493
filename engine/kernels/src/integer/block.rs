//! Blocks of sums of products of bytes: 32 rows, which are two tiles, by 32 columns, on every instruction set.

#[cfg(doc)]
use super::finish::PARTS;
use super::left::TILE;
use super::packed::{Line, PAIR, STEP, Step};
use crate::isa::Isa;
use std::ops::Range;

/// Sums of a block; rows without meaning hold anything.
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [[i32; PAIR]; 2 * TILE]);

/// Two tiles of the left side: their first rows, and how many rows they have. The second may have none.
pub(crate) struct Rows {
    pub(crate) first: [*const u8; 2],
    pub(crate) count: [usize; 2],
    /// Bytes between rows.
    pub(crate) stride: usize,
}

/// The right side of a block.
pub(crate) struct Columns<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) lines: &'a [Line],
    /// What the sums begin with.
    pub(crate) start: &'a [i32; PAIR],
    /// Lines that are read next: some of them are fetched into the cache at each step.
    pub(crate) next: (&'a [Line], usize),
}

/// What a thread keeps while it works on blocks: the shape of its tile registers.
pub(crate) struct Blocks {
    isa: Isa,
    #[cfg(target_arch = "x86_64")]
    shape: [usize; 2],
}

impl Blocks {
    pub(crate) fn new(isa: Isa) -> Blocks {
        Blocks {
            isa,
            #[cfg(target_arch = "x86_64")]
            shape: [0, 0],
        }
    }

    /// Whether sums come from a unit of its own, so that vectors may work at something else meanwhile.
    pub(crate) fn overlap(&self) -> bool {
        self.isa == Isa::Amx
    }

    /// `start` plus the products of rows and columns. Where they [`Blocks::overlap`], `meanwhile` is called for all of
    /// the [`PARTS`] of another block, some at a time.
    ///
    /// # Safety
    /// The machine has the instruction set; 64 bytes at each step's offset from each row can be read; there are 32 lines
    /// for each step.
    pub(crate) unsafe fn sums(
        &mut self,
        rows: &Rows,
        columns: &Columns<'_>,
        sums: &mut Sums,
        meanwhile: &mut dyn FnMut(Range<usize>),
    ) {
        debug_assert!(rows.count[0] > 0 && columns.lines.len() == columns.steps.len() * PAIR * STEP / 64);
        #[cfg(not(target_arch = "x86_64"))]
        let _ = meanwhile;
        #[cfg(target_arch = "x86_64")]
        {
            use super::x86;
            match self.isa {
                // SAFETY: the caller's promises.
                Isa::Amx => return unsafe { x86::tiles(&mut self.shape, rows, columns, sums, meanwhile) },
                // SAFETY: the caller's promises.
                Isa::Vnni => return unsafe { x86::vnni(rows, columns, sums) },
                // SAFETY: the caller's promises.
                Isa::Avx512 => return unsafe { x86::avx512(rows, columns, sums) },
                // SAFETY: the caller's promises.
                Isa::Avx2 => return unsafe { x86::avx2(rows, columns, sums) },
                _ => {}
            }
        }
        // SAFETY: the caller's promises.
        unsafe { plain(rows, columns, sums) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Blocks {
    fn drop(&mut self) {
        if self.shape[0] != 0 {
            // SAFETY: tiles were configured by this thread.
            unsafe { crate::isa::tiles::release() };
        }
    }
}

/// # Safety
/// As [`Blocks::sums`].
unsafe fn plain(rows: &Rows, columns: &Columns<'_>, sums: &mut Sums) {
    for (t, (&first, &count)) in rows.first.iter().zip(&rows.count).enumerate() {
        for (r, out) in sums.0[t * TILE..][..count].iter_mut().enumerate() {
            *out = *columns.start;
            for (step, lines) in columns.steps.iter().zip(columns.lines.chunks_exact(PAIR)) {
                // SAFETY: the caller's promise.
                let bytes =
                    unsafe { std::slice::from_raw_parts(first.add(r * rows.stride + step.offset), STEP) };
                for (g, four) in bytes.chunks_exact(4).take(step.groups).enumerate() {
                    for (half, line) in [(0, &lines[g]), (16, &lines[g + 16])] {
                        for (sum, by) in out[half..half + 16].iter_mut().zip(line.0.chunks_exact(4)) {
                            for (&a, &b) in four.iter().zip(by) {
                                *sum = sum.wrapping_add(i32::from(a) * i32::from(b));
                            }
                        }
                    }
                }
            }
        }
    }
}
