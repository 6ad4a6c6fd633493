//! The left side of a product of bytes: rows that lie anywhere at equal distances.

/// Rows of a tile.
pub(crate) const TILE: usize = 16;

/// A row of a tile that is no row of the result.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Rows in runs: inside a run they lie at equal distances, and each period of them ends in some that are not asked for.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    /// What is read; [`Left::reach`] says how much of it.
    pub(crate) bytes: &'a [u8],
    /// Bytes between rows of a run.
    pub(crate) stride: usize,
    /// Images, and bytes between them.
    pub(crate) images: (usize, usize),
    /// Runs of an image, and bytes between them.
    pub(crate) runs: (usize, usize),
    /// Rows of a run.
    pub(crate) rows: usize,
    /// Rows of a period.
    pub(crate) period: usize,
    /// Rows of a period that are asked for.
    pub(crate) valid: usize,
    /// Rows of the result that a run makes.
    pub(crate) results: usize,
}

/// Up to 16 rows of one run.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Where the first row begins.
    pub(crate) start: usize,
    pub(crate) rows: usize,
    /// Which rows of the result they are.
    pub(crate) places: [u32; TILE],
}

impl Tile {
    pub(crate) const NONE: Tile = Tile { start: 0, rows: 0, places: [NOWHERE; TILE] };
}

impl<'a> Left<'a> {
    /// A dense matrix of `rows` rows, `stride` bytes apart.
    pub(crate) fn dense(bytes: &'a [u8], rows: usize, stride: usize) -> Left<'a> {
        Left {
            bytes,
            stride,
            images: (1, 0),
            runs: (1, 0),
            rows,
            period: rows.max(1),
            valid: rows,
            results: rows,
        }
    }

    fn tiles_of_run(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    pub(crate) fn tiles(&self) -> usize {
        self.images.0 * self.runs.0 * self.tiles_of_run()
    }

    /// Rows of the result.
    pub(crate) fn count(&self) -> usize {
        self.images.0 * self.runs.0 * self.results
    }

    /// One past the last byte that steps up to `offset` read.
    pub(crate) fn reach(&self, offset: usize) -> usize {
        if self.tiles() == 0 {
            return 0;
        }
        let last = (self.images.0 - 1) * self.images.1 + (self.runs.0 - 1) * self.runs.1;
        last + (self.rows - 1) * self.stride + offset + super::packed::STEP
    }

    /// Tile `i`. A `whole` one has 16 rows wherever its run has: a last one begins with rows of the tile before it,
    /// which it does not give out.
    pub(crate) fn tile(&self, i: usize, whole: bool) -> Tile {
        let of_run = self.tiles_of_run();
        let (run, first) = (i / of_run, i % of_run * TILE);
        let (image, inside) = (run / self.runs.0, run % self.runs.0);
        let begin = if whole && first + TILE > self.rows { self.rows.saturating_sub(TILE) } else { first };
        let rows = (self.rows - begin).min(TILE);
        let (line, at) = (begin / self.period, begin % self.period);
        let (base, skipped) = (run * self.results + line * self.valid, first - begin);
        let mut places = [NOWHERE; TILE];
        if self.period >= TILE {
            // A tile reaches into the next period at most.
            for (r, place) in places.iter_mut().enumerate() {
                let next = usize::from(at + r >= self.period);
                let at = at + r - next * self.period;
                let given = (r >= skipped) & (r < rows) & (at < self.valid);
                *place = if given { (base + next * self.valid + at) as u32 } else { NOWHERE };
            }
        } else {
            for (r, place) in places.iter_mut().enumerate().take(rows).skip(skipped) {
                let (line, at) = ((at + r) / self.period, (at + r) % self.period);
                if at < self.valid {
                    *place = (base + line * self.valid + at) as u32;
                }
            }
        }
        let start = image * self.images.1 + inside * self.runs.1 + begin * self.stride;
        Tile { start, rows, places }
    }
}
