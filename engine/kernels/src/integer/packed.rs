//! The right side of a product of bytes, in the order in which blocks read it.

use crate::KernelError;

/// Columns that a block of sums has: two panels of 16.
pub(crate) const PAIR: usize = 32;

/// In a run of depth, a byte of the left side that nothing of the right side is multiplied by.
pub(crate) const HOLE: usize = usize::MAX;

/// Bytes of depth in a step: the width of a tile.
pub(crate) const STEP: usize = 64;

/// The 16 columns of four places of depth, four bytes each.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [i8; 64]);

/// Up to 64 bytes that lie together in a row of the left side.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Step {
    /// Where they begin, from the start of the row.
    pub(crate) offset: usize,
    /// How many fours of them are not padding.
    pub(crate) groups: usize,
}

/// A matrix of bytes, packed once: for each pair of panels and each step of depth, twice 16 lines.
pub struct Packed {
    lines: Vec<Line>,
    steps: Vec<Step>,
    depth: usize,
    columns: usize,
    /// The sums of the columns as they are stored.
    sums: Vec<i32>,
    /// What was taken from every byte, so that it fits a signed one.
    shift: i32,
}

/// For each place the bytes of four rows.
#[cfg(target_arch = "x86_64")]
fn interleaved(rows: &[[u8; 16]; 4]) -> [i8; 64] {
    use std::arch::x86_64::*;
    // SAFETY: all x86-64 machines have these instructions, and arrays of 16 and 64 bytes are read and written.
    unsafe {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| _mm_loadu_si128(rows[i].as_ptr().cast()));
        let (ab, cd) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d));
        let mut out = [0; 64];
        let parts = [
            _mm_unpacklo_epi16(ab, cd),
            _mm_unpackhi_epi16(ab, cd),
            _mm_unpacklo_epi16(ab_high, cd_high),
            _mm_unpackhi_epi16(ab_high, cd_high),
        ];
        for (to, part) in out.as_chunks_mut::<16>().0.iter_mut().zip(parts) {
            _mm_storeu_si128(to.as_mut_ptr().cast(), part);
        }
        out
    }
}

/// For each place the bytes of four rows.
#[cfg(not(target_arch = "x86_64"))]
fn interleaved(rows: &[[u8; 16]; 4]) -> [i8; 64] {
    std::array::from_fn(|i| rows[i % 4][i / 4] as i8)
}

impl Packed {
    /// The matrix of `depth` rows and `columns` columns whose element `(k, n)` is `bytes[k * ks + n * ns]`, signed or not.
    ///
    /// # Errors
    /// When the matrix leaves the bytes, or is too large.
    pub fn matrix(
        bytes: &[u8],
        signed: bool,
        (depth, columns): (usize, usize),
        (ks, ns): (usize, usize),
    ) -> Result<Packed, KernelError> {
        let from: Vec<usize> = (0..depth).collect();
        Packed::runs(bytes, signed, &[(0, &from)], columns, (ks, ns))
    }

    /// As [`Packed::matrix`], with the depth in runs that lie together on the left side: where each begins there, and
    /// which `k` it goes through, holes included.
    pub(crate) fn runs(
        bytes: &[u8],
        signed: bool,
        runs: &[(usize, &[usize])],
        columns: usize,
        (ks, ns): (usize, usize),
    ) -> Result<Packed, KernelError> {
        let large = || KernelError::Shape("a matrix is too large".to_owned());
        let deepest = runs.iter().flat_map(|r| r.1.iter().copied()).filter(|&k| k != HOLE).max();
        if let (Some(k), Some(n)) = (deepest, columns.checked_sub(1)) {
            let last = k.checked_mul(ks).zip(n.checked_mul(ns)).and_then(|(k, n)| k.checked_add(n));
            if last.is_none_or(|last| last >= bytes.len()) {
                return Err(KernelError::Shape(format!(
                    "a matrix of {} x {columns} does not fit {} bytes",
                    k + 1,
                    bytes.len()
                )));
            }
        }
        let mut steps = Vec::new();
        let mut chunks = Vec::new();
        for (offset, run) in runs {
            for (i, chunk) in run.chunks(STEP).enumerate() {
                steps.push(Step { offset: offset + i * STEP, groups: chunk.len().div_ceil(4) });
                chunks.push(chunk);
            }
        }
        let pairs = columns.div_ceil(PAIR);
        let count =
            pairs.checked_mul(steps.len()).and_then(|n| n.checked_mul(2 * STEP / 4)).ok_or_else(large)?;
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).map_err(|_| large())?;
        lines.resize(count, Line([0; 64]));
        let flip = if signed { 0 } else { 0x80 };
        let mut sums = vec![0i32; pairs * PAIR];
        for (i, group) in lines.chunks_exact_mut(STEP / 4).enumerate() {
            let (panel, chunk) = (i / 2 / steps.len().max(1) * 2 + i % 2, chunks[i / 2 % steps.len().max(1)]);
            let first = panel * 16;
            let width = columns.saturating_sub(first).min(16);
            if width == 0 {
                continue;
            }
            for (line, ks4) in group.iter_mut().zip(chunk.chunks(4)) {
                if let (&[a, b, c, d], 1, 16) = (ks4, ns, width)
                    && !ks4.contains(&HOLE)
                {
                    let row = |k: usize| -> [u8; 16] {
                        let mut row = [0; 16];
                        row.copy_from_slice(&bytes[k * ks + first..][..16]);
                        row.map(|byte| byte ^ flip)
                    };
                    let rows = [row(a), row(b), row(c), row(d)];
                    line.0 = interleaved(&rows);
                    let sums: &mut [i32] = &mut sums[first..first + 16];
                    for row in &rows {
                        for (sum, &byte) in sums.iter_mut().zip(row) {
                            *sum = sum.wrapping_add(i32::from(byte as i8));
                        }
                    }
                    continue;
                }
                for (j, &k) in ks4.iter().enumerate().filter(|(_, k)| **k != HOLE) {
                    let row = &bytes[k * ks + first * ns..];
                    if ns == 1 {
                        for (c, &byte) in row[..width].iter().enumerate() {
                            line.0[4 * c + j] = (byte ^ flip) as i8;
                        }
                    } else {
                        for c in 0..width {
                            line.0[4 * c + j] = (row[c * ns] ^ flip) as i8;
                        }
                    }
                }
                for (c, sum) in sums[first..first + width].iter_mut().enumerate() {
                    let four = &line.0[4 * c..4 * c + 4];
                    *sum = sum.wrapping_add(four.iter().map(|&v| i32::from(v)).sum());
                }
            }
        }
        let depth = runs.iter().map(|r| r.1.iter().filter(|k| **k != HOLE).count()).sum();
        Ok(Packed { lines, steps, depth, columns, sums, shift: if signed { 0 } else { 128 } })
    }

    /// Places of depth.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Pairs of panels.
    pub(crate) fn pairs(&self) -> usize {
        self.columns.div_ceil(PAIR)
    }

    /// The lines of a pair of panels.
    pub(crate) fn pair(&self, pair: usize) -> &[Line] {
        let size = self.steps.len() * 2 * (STEP / 4);
        &self.lines[pair * size..][..size]
    }

    /// The sum of a column, as its bytes are stored.
    pub(crate) fn sum(&self, column: usize) -> i32 {
        self.sums[column]
    }

    /// A zero point of the matrix as its bytes are stored.
    pub(crate) fn stored(&self, zero: i32) -> i32 {
        zero - self.shift
    }

    /// Starting values of the sums: with these, products of rows whose zero point is `left` and of this matrix, whose
    /// columns have the zero points `right` (one, or one a column), come out right but for what
    /// [`Packed::needs_rows`] asks for.
    pub(crate) fn start(&self, left: i32, right: &[i32]) -> Vec<i32> {
        let mut start = vec![0; self.sums.len()];
        for (n, cell) in start[..self.columns].iter_mut().enumerate() {
            let zero = self.stored(right[n.min(right.len() - 1)]);
            let whole = (self.depth as i32).wrapping_mul(zero).wrapping_sub(self.sums[n]);
            *cell = left.wrapping_mul(whole);
        }
        start
    }

    /// Whether the sums of the rows of the left side go into the result: then each column's stored zero point times
    /// them is to be taken away.
    pub(crate) fn needs_rows(&self, right: &[i32]) -> bool {
        right.iter().any(|&zero| self.stored(zero) != 0)
    }
}
