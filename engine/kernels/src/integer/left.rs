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

    pub(crate) fn tile(&self, i: usize) -> Tile {
        if self.images.0 * self.runs.0 == 1 && self.valid == self.rows {
            let first = i * TILE;
            let rows = (self.rows - first).min(TILE);
            let place = |r: usize| if r < rows { (first + r) as u32 } else { NOWHERE };
            return Tile { start: first * self.stride, rows, places: std::array::from_fn(place) };
        }
        let of_run = self.tiles_of_run();
        let (run, first) = (i / of_run, i % of_run * TILE);
        let (image, inside) = (run / self.runs.0, run % self.runs.0);
        let rows = (self.rows - first).min(TILE);
        let mut places = [NOWHERE; TILE];
        let (mut line, mut at) = (first / self.period, first % self.period);
        for place in &mut places[..rows] {
            if at < self.valid {
                *place = (run * self.results + line * self.valid + at) as u32;
            }
            at += 1;
            if at == self.period {
                (line, at) = (line + 1, 0);
            }
        }
        let start = image * self.images.1 + inside * self.runs.1 + first * self.stride;
        Tile { start, rows, places }
    }
}
