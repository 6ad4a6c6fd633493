use super::shape::pair;
use super::with_aligned;
use crate::KernelError;
use crate::isa::{LANES, Vector, Work, dispatch};
use crate::window::Window;
use oxidane_pool::Pool as Threads;

/// What a pooling takes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The largest element; NaN where there is one.
    Max,
    /// The mean of the elements.
    Average {
        /// Whether pads count as zeros.
        count_pads: bool,
    },
}

/// Pools blocked `x`, of `planes` planes (batch times blocks), into blocked `out`.
///
/// # Errors
/// When the window does not fit, has neither one nor two dimensions, or a slice has another size.
pub fn pool(
    threads: &Threads,
    pooling: Pooling,
    window: &Window,
    planes: usize,
    spatial: &[usize],
    x: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    let sizes = window.output(spatial, false)?;
    let (height, width) = pair(spatial, 1);
    let (out_height, out_width) = pair(&sizes, 1);
    let len = |h: usize, w: usize| planes.checked_mul(h)?.checked_mul(w)?.checked_mul(LANES);
    let want = (len(height, width), len(out_height, out_width));
    if !(1..=2).contains(&window.rank()) || (Some(x.len()), Some(out.len())) != want {
        return Err(KernelError::Shape(format!(
            "a blocked pooling of {planes} planes of {spatial:?} takes and makes {want:?} floats, but found {} and {}",
            x.len(),
            out.len()
        )));
    }
    if out.is_empty() {
        return Ok(());
    }
    let plane = height * width * LANES;
    let together = ((1 << 12) / (out_height * out_width)).max(1);
    threads.for_each_piece(out, out_height * out_width * LANES * together, |at, planes| {
        for (i, out) in planes.chunks_exact_mut(out_height * out_width * LANES).enumerate() {
            let x = &x[(at * together + i) * plane..][..plane];
            with_aligned(width * LANES, |column| {
                dispatch(Plane { pooling, window, height, width, out_width, x, column, out });
            });
        }
    });
    Ok(())
}

struct Plane<'a> {
    pooling: Pooling,
    window: &'a Window,
    height: usize,
    width: usize,
    out_width: usize,
    x: &'a [f32],
    /// Room for a line of the input.
    column: &'a mut [f32],
    out: &'a mut [f32],
}

impl Work for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        if self.pooling == Pooling::Max { self.compute::<V, true>() } else { self.compute::<V, false>() }
    }
}

/// The larger one, and NaN once there was one; or the sum.
#[inline(always)]
fn join<V: Vector, const MAX: bool>(so_far: V, v: V) -> V {
    match MAX {
        true => V::select(v.is_nan(), v, V::select(so_far.is_nan(), so_far, v.max(so_far))),
        false => so_far.add(v),
    }
}

impl Plane<'_> {
    /// Down each column of the windows of a line first, then along them.
    #[inline(always)]
    fn compute<V: Vector, const MAX: bool>(self) {
        let w = self.window;
        let flat = w.rank() == 1;
        let last = w.rank() - 1;
        let kernel = w.kernel.iter().product::<usize>();
        let start = if MAX { V::splat(f32::NEG_INFINITY) } else { V::zero() };
        let line = self.width * LANES;
        for (row, out) in self.out.chunks_exact_mut(self.out_width * LANES).enumerate() {
            let (top, end) = if flat { (0, 1) } else { w.taps_inside(0, row, self.height) };
            self.column.chunks_exact_mut(LANES).for_each(|to| start.put(to));
            for i in top..end {
                let at = match flat {
                    true => 0,
                    false => row * w.strides[0] + i * w.dilations[0] - w.begins[0],
                };
                let from = self.x[at * line..][..line].chunks_exact(LANES);
                for (to, v) in self.column.chunks_exact_mut(LANES).zip(from) {
                    join::<V, MAX>(V::of(to), V::of(v)).put(to);
                }
            }
            for (column, out) in out.chunks_exact_mut(LANES).enumerate() {
                let (mut joined, mut seen) = (start, 0);
                for tap in 0..w.kernel[last] {
                    let at = column * w.strides[last] + tap * w.dilations[last];
                    let at = at.wrapping_sub(w.begins[last]);
                    if at < self.width {
                        joined = join::<V, MAX>(joined, V::of(&self.column[at * LANES..][..LANES]));
                        seen += end - top;
                    }
                }
                let result = match self.pooling {
                    Pooling::Max => joined,
                    Pooling::Average { count_pads: true } => joined.div(V::splat(kernel as f32)),
                    Pooling::Average { count_pads: false } => joined.div(V::splat(seen as f32)),
                };
                result.put(out);
            }
        }
    }
}

/// The mean over all positions of each of `planes` planes.
///
/// # Errors
/// When a slice has another size than the numbers say.
pub fn global_average(
    threads: &Threads,
    planes: usize,
    positions: usize,
    x: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    let want = planes.checked_mul(positions).and_then(|n| n.checked_mul(LANES));
    if (Some(x.len()), out.len()) != (want, planes * LANES) {
        return Err(KernelError::Shape(format!(
            "the means of {planes} blocked planes of {positions} positions take {want:?} floats, but found {} and {}",
            x.len(),
            out.len()
        )));
    }
    if positions == 0 {
        out.fill(f32::NAN);
        return Ok(());
    }
    let together = ((1 << 13) / positions).max(1);
    threads.for_each_piece(out, together * LANES, |at, means| {
        let x = &x[at * together * positions * LANES..];
        dispatch(Means { x, positions, means });
    });
    Ok(())
}

struct Means<'a> {
    x: &'a [f32],
    positions: usize,
    means: &'a mut [f32],
}

impl Work for Means<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let planes = self.x.chunks_exact(self.positions * LANES);
        for (mean, plane) in self.means.chunks_exact_mut(LANES).zip(planes) {
            // Four sums side by side hide the latency of the addition.
            let mut sums = [V::zero(); 4];
            let mut quads = plane.chunks_exact(4 * LANES);
            for quad in &mut quads {
                for (sum, v) in sums.iter_mut().zip(quad.chunks_exact(LANES)) {
                    *sum = sum.add(V::of(v));
                }
            }
            for (sum, v) in sums.iter_mut().zip(quads.remainder().chunks_exact(LANES)) {
                *sum = sum.add(V::of(v));
            }
            let sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
            sum.div(V::splat(self.positions as f32)).put(mean);
        }
    }
}
