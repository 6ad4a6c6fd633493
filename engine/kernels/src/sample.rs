//! Samples of tensors between their elements: `GridSample` and what else reads at computed positions.

use crate::error::check_len;
use crate::{KernelError, Number};
use oxidane_pool::Pool;

/// How a value between elements is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest element, at equal distance the even one.
    Nearest,
    /// Weighted by distance between two elements along each dimension.
    Linear,
    /// Keys' cubic through four elements along each dimension, with the coefficient -0.75.
    Cubic,
}

/// What lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The nearest element inside.
    Border,
    /// The tensor mirrored at its borders.
    Reflection,
}

/// Normalized positions, -1 to 1 along each dimension, the last dimension first.
#[derive(Debug, Clone, Copy)]
pub enum Positions<'a> {
    /// Computed with in `f32`.
    Single(&'a [f32]),
    /// Computed with in `f64`.
    Double(&'a [f64]),
}

/// The attributes of `GridSample`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridSample {
    /// How values are found.
    pub interpolation: Interpolation,
    /// What lies outside.
    pub outside: Outside,
    /// Whether -1 and 1 are the centers of the outermost elements and not their outer edges.
    pub align_corners: bool,
}

/// Linear and cubic samples have 2 or 4 elements a dimension; beyond so many dimensions they are refused.
const MOST_DIMENSIONS: usize = 8;
/// Positions that are worked on at a time.
const BLOCK: usize = 2048;
/// An element outside, where that counts as zero.
const NOWHERE: usize = usize::MAX;

/// The sizes of a call, checked.
struct Sizes {
    batch: usize,
    channels: usize,
    spatial: Vec<usize>,
    /// Elements of a channel.
    volume: usize,
    /// Positions of a batch entry.
    positions: usize,
}

impl Sizes {
    fn new(x: &[usize], grid: &[usize]) -> Result<Sizes, KernelError> {
        let fits =
            x.len() >= 3 && grid.len() == x.len() && grid[0] == x[0] && grid[x.len() - 1] == x.len() - 2;
        if !fits {
            return Err(KernelError::Shape(format!(
                "a grid of shape {grid:?} does not fit an input of shape {x:?}: it needs the same batch and rank, \
                 and a last dimension of {}",
                x.len().saturating_sub(2)
            )));
        }
        Ok(Sizes {
            batch: x[0],
            channels: x[1],
            spatial: x[2..].to_vec(),
            volume: oxidane_tensor::element_count(&x[2..])?,
            positions: oxidane_tensor::element_count(&grid[1..grid.len() - 1])?,
        })
    }
}

impl GridSample {
    /// The shape of the result for an input and a grid.
    ///
    /// # Errors
    /// When they do not fit each other.
    pub fn output(x: &[usize], grid: &[usize]) -> Result<oxidane_tensor::Shape, KernelError> {
        Sizes::new(x, grid)?;
        let mut shape = oxidane_tensor::Shape::from_slice(&x[..2]);
        shape.extend_from_slice(&grid[1..grid.len() - 1]);
        Ok(shape)
    }

    /// The nearest elements of any kind of `x` (batch, channels, spatial...) at the positions.
    ///
    /// # Errors
    /// When shapes do not fit each other or the slices.
    pub fn nearest<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        (x, shape): (&[T], &[usize]),
        (grid, grid_shape): (Positions<'_>, &[usize]),
        output: &mut [T],
    ) -> Result<(), KernelError> {
        let sizes = self.check(x.len(), shape, grid, grid_shape, output.len())?;
        if output.is_empty() {
            return Ok(());
        }
        let rank = sizes.spatial.len();
        let mut places = vec![NOWHERE; BLOCK.min(sizes.positions)];
        for n in 0..sizes.batch {
            let image = &x[n * sizes.channels * sizes.volume..][..sizes.channels * sizes.volume];
            let rows =
                &mut output[n * sizes.channels * sizes.positions..][..sizes.channels * sizes.positions];
            let mut rows: Vec<&mut [T]> = rows.chunks_mut(sizes.positions).collect();
            let mut first = 0;
            while first < sizes.positions {
                let count = BLOCK.min(sizes.positions - first);
                let places = &mut places[..count];
                pool.for_each_piece(places, 256, |i, places| {
                    for (j, place) in places.iter_mut().enumerate() {
                        let at = (n * sizes.positions + first + i * 256 + j) * rank;
                        *place = self.nearest_place(grid, at, &sizes.spatial);
                    }
                });
                let mut segments: Vec<&mut [T]> =
                    rows.iter_mut().map(|row| row.split_off_mut(..count).unwrap_or_default()).collect();
                pool.for_each_piece(&mut segments, 1, |c, segment| {
                    let plane = &image[c * sizes.volume..][..sizes.volume];
                    for (to, &place) in segment[0].iter_mut().zip(&*places) {
                        *to = plane.get(place).cloned().unwrap_or_default();
                    }
                });
                first += count;
            }
        }
        Ok(())
    }

    /// Linear or cubic samples of `x` (batch, channels, spatial...) at the positions; those of
    /// [`GridSample::nearest`] where that is the interpolation.
    ///
    /// # Errors
    /// When shapes do not fit each other or the slices, or there are too many dimensions.
    pub fn sample<T: Number<Wide = T>>(
        &self,
        pool: &Pool,
        (x, shape): (&[T], &[usize]),
        (grid, grid_shape): (Positions<'_>, &[usize]),
        output: &mut [T],
    ) -> Result<(), KernelError> {
        if self.interpolation == Interpolation::Nearest {
            return self.nearest(pool, (x, shape), (grid, grid_shape), output);
        }
        let sizes = self.check(x.len(), shape, grid, grid_shape, output.len())?;
        let rank = sizes.spatial.len();
        if rank > MOST_DIMENSIONS {
            return Err(KernelError::Shape(format!(
                "there are {rank} spatial dimensions, but interpolation is limited to {MOST_DIMENSIONS}"
            )));
        }
        if output.is_empty() {
            return Ok(());
        }
        let each: usize = if self.interpolation == Interpolation::Linear { 2 } else { 4 };
        let taps = each.pow(rank as u32);
        let block = (BLOCK * 16 / taps).clamp(1, sizes.positions);
        let mut table = vec![(NOWHERE, T::ZERO); block * taps];
        for n in 0..sizes.batch {
            let image = &x[n * sizes.channels * sizes.volume..][..sizes.channels * sizes.volume];
            let rows =
                &mut output[n * sizes.channels * sizes.positions..][..sizes.channels * sizes.positions];
            let mut rows: Vec<&mut [T]> = rows.chunks_mut(sizes.positions).collect();
            let mut first = 0;
            while first < sizes.positions {
                let count = block.min(sizes.positions - first);
                let table = &mut table[..count * taps];
                pool.for_each_piece(table, 64 * taps, |i, table| {
                    for (j, taps) in table.chunks_mut(taps).enumerate() {
                        let at = (n * sizes.positions + first + i * 64 + j) * rank;
                        self.taps(grid, at, &sizes.spatial, taps);
                    }
                });
                let mut segments: Vec<&mut [T]> =
                    rows.iter_mut().map(|row| row.split_off_mut(..count).unwrap_or_default()).collect();
                pool.for_each_piece(&mut segments, 1, |c, segment| {
                    let plane = &image[c * sizes.volume..][..sizes.volume];
                    for (to, taps) in segment[0].iter_mut().zip(table.chunks(taps)) {
                        *to = weighted(plane, taps);
                    }
                });
                first += count;
            }
        }
        Ok(())
    }

    fn check(
        &self,
        x: usize,
        shape: &[usize],
        grid: Positions<'_>,
        grid_shape: &[usize],
        output: usize,
    ) -> Result<Sizes, KernelError> {
        let sizes = Sizes::new(shape, grid_shape)?;
        check_len("input", x, shape)?;
        let given = match grid {
            Positions::Single(g) => g.len(),
            Positions::Double(g) => g.len(),
        };
        check_len("grid", given, grid_shape)?;
        check_len("output", output, &[sizes.batch, sizes.channels, sizes.positions])?;
        Ok(sizes)
    }

    /// The coordinate along a dimension of `size` elements, element `at` of the grid.
    fn coordinate(&self, grid: Positions<'_>, at: usize, size: usize) -> f64 {
        macro_rules! scaled {
            ($x:expr, $t:ty) => {
                if self.align_corners {
                    ($x + 1.0) / 2.0 * (size as $t - 1.0)
                } else {
                    (($x + 1.0) * size as $t - 1.0) / 2.0
                }
            };
        }
        match grid {
            Positions::Single(g) => f64::from(scaled!(g[at], f32)),
            Positions::Double(g) => scaled!(g[at], f64),
        }
    }

    /// The coordinate brought inside, where the padding says so.
    fn inside(&self, x: f64, size: usize) -> f64 {
        let last = size as f64 - 1.0;
        let (least, most) = if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) };
        // NaN is outside.
        if x >= least && x <= most {
            return x;
        }
        match self.outside {
            Outside::Zeros => x,
            Outside::Border if x > 0.0 => last.min(x),
            Outside::Border => 0.0,
            Outside::Reflection => reflect(x, least, most),
        }
    }

    /// The element of index `i`, which may lie outside.
    fn element(&self, i: f64, size: usize) -> usize {
        let last = size as f64 - 1.0;
        if size == 0 {
            return NOWHERE;
        }
        if i >= 0.0 && i <= last {
            return i as usize;
        }
        match self.outside {
            Outside::Zeros => NOWHERE,
            Outside::Border => i.clamp(0.0, last).max(0.0) as usize,
            Outside::Reflection => {
                let (least, most) = if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) };
                (reflect(i, least, most) as usize).min(size - 1)
            }
        }
    }

    fn nearest_place(&self, grid: Positions<'_>, at: usize, spatial: &[usize]) -> usize {
        let rank = spatial.len();
        let mut place = 0;
        for (axis, &size) in spatial.iter().enumerate() {
            let x = self.coordinate(grid, at + rank - 1 - axis, size).round_ties_even();
            let i = self.element(self.inside(x, size).trunc(), size);
            if i == NOWHERE {
                return NOWHERE;
            }
            place = place * size + i;
        }
        place
    }

    fn taps<T: Number>(&self, grid: Positions<'_>, at: usize, spatial: &[usize], taps: &mut [(usize, T)]) {
        let rank = spatial.len();
        let mut axes = [[(NOWHERE, 0.0); 4]; MOST_DIMENSIONS];
        let each = if self.interpolation == Interpolation::Linear { 2 } else { 4 };
        for (axis, &size) in spatial.iter().enumerate() {
            let x = self.inside(self.coordinate(grid, at + rank - 1 - axis, size), size);
            let base = x.floor();
            let (first, weights) = match self.interpolation {
                Interpolation::Cubic => (base - 1.0, cubic(x - base)),
                _ => (base, [1.0 - (x - base), x - base, 0.0, 0.0]),
            };
            for (k, tap) in axes[axis][..each].iter_mut().enumerate() {
                *tap = (self.element(first + k as f64, size), weights[k]);
            }
        }
        product(&axes[..rank], each, spatial, taps);
    }
}

/// Mirrors a coordinate at `least` and `most` until it lies between them; one that is no number, or has no room,
/// becomes `least`, but not less than zero.
fn reflect(x: f64, least: f64, most: f64) -> f64 {
    let range = most - least;
    let off = (x - least).abs() % (2.0 * range);
    if !(range > 0.0 && off.is_finite()) {
        return least.max(0.0);
    }
    if off <= range { least + off } else { most - (off - range) }
}

/// Keys' weights of the four elements around a position that lies `x` behind the second.
fn cubic(x: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(x + 1.0), near(x), near(1.0 - x), far(2.0 - x)]
}

/// All combinations of `each` elements along every axis: their places in the tensor and the products of their weights.
fn product<T: Number>(axes: &[[(usize, f64); 4]], each: usize, spatial: &[usize], taps: &mut [(usize, T)]) {
    for (i, tap) in taps.iter_mut().enumerate() {
        let (mut place, mut weight) = (0usize, 1.0);
        let mut rest = each.pow(axes.len() as u32);
        let mut code = i;
        for (axis, &size) in axes.iter().zip(spatial) {
            rest /= each;
            let (element, w) = axis[code / rest];
            code %= rest;
            if element == NOWHERE || place == NOWHERE {
                place = NOWHERE;
            } else {
                place = place * size + element;
            }
            weight *= w;
        }
        *tap = (place, T::from_f64(weight));
    }
}

#[inline]
fn weighted<T: Number>(plane: &[T], taps: &[(usize, T)]) -> T {
    taps.iter().fold(T::ZERO, |sum, &(place, weight)| match plane.get(place) {
        Some(&value) => sum.plus(value.times(weight)),
        None => sum,
    })
}

/// The elements and weights of a linear sample at `at`, zeros outside: `2 ^ rank` of them in `taps`.
pub(crate) fn linear_taps<T: Number>(at: &[f64], spatial: &[usize], taps: &mut [(usize, T)]) {
    let zeros =
        GridSample { interpolation: Interpolation::Linear, outside: Outside::Zeros, align_corners: true };
    let mut axes = [[(NOWHERE, 0.0); 4]; MOST_DIMENSIONS];
    for (axis, (&x, &size)) in at.iter().zip(spatial).enumerate() {
        let base = x.floor();
        axes[axis][0] = (zeros.element(base, size), 1.0 - (x - base));
        axes[axis][1] = (zeros.element(base + 1.0, size), x - base);
    }
    product(&axes[..at.len()], 2, spatial, taps);
}

/// A linear sample by the taps of [`linear_taps`].
pub(crate) fn tapped<T: Number>(plane: &[T], taps: &[(usize, T)]) -> T {
    weighted(plane, taps)
}

/// Dimensions that [`linear_taps`] takes at most.
pub(crate) const MOST_SPATIAL: usize = MOST_DIMENSIONS;
