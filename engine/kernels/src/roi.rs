//! Poolings of regions of interest: `RoiAlign` and `MaxRoiPool`.

use crate::error::check_len;
use crate::{KernelError, Number};
use oxidane_pool::Pool;

/// The attributes of `RoiAlign`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlign {
    /// Rows and columns of a pooled region.
    pub output: [usize; 2],
    /// Samples of a bin along each dimension; 0: as many as it covers elements.
    pub sampling_ratio: usize,
    /// Elements of the input a unit of the regions' coordinates.
    pub spatial_scale: f64,
    /// Whether coordinates are those of edges and not of centers.
    pub half_pixel: bool,
    /// Whether a bin becomes the largest of its weighted elements and not the mean of its samples.
    pub max: bool,
}

/// The samples of a bin along one axis.
#[derive(Debug, Default)]
struct Line {
    /// Element below, element above, and the weight of the latter, for each sample inside.
    samples: Vec<(usize, usize, f64)>,
    /// The elements that the samples read, with the sums of their weights.
    sums: Vec<(usize, f64)>,
    /// Whether a sample lies outside.
    outside: bool,
    /// How many samples there are, those outside included.
    count: f64,
}

impl RoiAlign {
    /// Pools `regions`, each `[x1, y1, x2, y2]`, of the batch entries named, from `x` (batch, channels, rows,
    /// columns) into `output` (regions, channels, rows, columns).
    ///
    /// In the mean mode the weights of rows and columns are summed apart, which gives the same mean with fewer
    /// products.
    ///
    /// # Errors
    /// When a batch entry does not exist, or a slice is not as long as the shapes say.
    pub fn pool<T: Number<Wide = T>>(
        &self,
        pool: &Pool,
        (x, shape): (&[T], [usize; 4]),
        (regions, batch): (&[T], &[usize]),
        output: &mut [T],
    ) -> Result<(), KernelError> {
        let [images, channels, rows, columns] = shape;
        check_len("input", x.len(), &shape)?;
        check_len("regions", regions.len(), &[batch.len(), 4])?;
        check_len("output", output.len(), &[batch.len(), channels, self.output[0], self.output[1]])?;
        if let Some(&entry) = batch.iter().find(|&&b| b >= images) {
            return Err(KernelError::Index { index: entry as i64, axis: 0, size: images });
        }
        if output.is_empty() {
            return Ok(());
        }
        let plane = self.output[0] * self.output[1];
        pool.for_each_piece(output, channels * plane, |i, output| {
            let region = &regions[4 * i..][..4];
            let image = &x[batch[i] * channels * rows * columns..][..channels * rows * columns];
            let shift = if self.half_pixel { 0.5 } else { 0.0 };
            let at = |k: usize| region[k].to_f64() * self.spatial_scale - shift;
            let down = self.lines(at(1), at(3), self.output[0], rows);
            let across = self.lines(at(0), at(2), self.output[1], columns);
            for (c, output) in output.chunks_mut(plane).enumerate() {
                let image = &image[c * rows * columns..][..rows * columns];
                for (bin, to) in output.iter_mut().enumerate() {
                    let (down, across) = (&down[bin / self.output[1]], &across[bin % self.output[1]]);
                    *to = if self.max {
                        largest(image, columns, down, across)
                    } else {
                        mean(image, columns, down, across)
                    };
                }
            }
        });
        Ok(())
    }

    /// The samples of the `bins` bins from `start` to `end` along an axis of `size` elements.
    fn lines(&self, start: f64, end: f64, bins: usize, size: usize) -> Vec<Line> {
        let extent = if self.half_pixel { end - start } else { (end - start).max(1.0) };
        let bin = extent / bins as f64;
        let count = match self.sampling_ratio {
            0 => bin.ceil().max(0.0),
            ratio => ratio as f64,
        };
        (0..bins)
            .map(|b| {
                let mut line = Line { count, ..Line::default() };
                // So far off that samples cannot be told apart, or at no place at all.
                if !(bin.is_finite() && start.is_finite() && count < (1u64 << 52) as f64) {
                    line.outside = true;
                    return line;
                }
                let sample = |k: f64| start + b as f64 * bin + (k + 0.5) * bin / count;
                // Only samples up to one element outside count; of a region far larger than the input there may be
                // more samples than can be walked, and those that count lie between these two.
                let (mut first, mut last) = (0.0f64, count - 1.0);
                if bin > 0.0 {
                    let index = |x: f64| (x - start - b as f64 * bin) * count / bin - 0.5;
                    first = index(-1.0).floor().max(0.0);
                    last = index(size as f64).ceil().min(count - 1.0);
                }
                line.outside = first > 0.0 || last < count - 1.0;
                let mut k = first;
                while k <= last {
                    let x = sample(k);
                    k += 1.0;
                    if !(x >= -1.0 && x <= size as f64) || size == 0 {
                        line.outside = true;
                        continue;
                    }
                    let x = x.max(0.0);
                    let below = (x as usize).min(size - 1);
                    let above = (below + 1).min(size - 1);
                    let weight = if above == below { 0.0 } else { x - below as f64 };
                    line.samples.push((below, above, weight));
                }
                for &(below, above, weight) in &line.samples {
                    for (element, weight) in [(below, 1.0 - weight), (above, weight)] {
                        match line.sums.iter_mut().rev().take(2).find(|s| s.0 == element) {
                            Some(sum) => sum.1 += weight,
                            None if weight != 0.0 => line.sums.push((element, weight)),
                            None => {}
                        }
                    }
                }
                line
            })
            .collect()
    }
}

fn mean<T: Number<Wide = T>>(image: &[T], columns: usize, down: &Line, across: &Line) -> T {
    let mut sum = T::ZERO;
    for &(row, weight) in &down.sums {
        let row = &image[row * columns..][..columns];
        let line = across.sums.iter().fold(T::ZERO, |s, &(c, w)| s.plus(row[c].times(T::from_f64(w))));
        sum = sum.plus(line.times(T::from_f64(weight)));
    }
    sum.over(T::from_f64((down.count * across.count).max(1.0)))
}

fn largest<T: Number<Wide = T>>(image: &[T], columns: usize, down: &Line, across: &Line) -> T {
    let mut found: Option<T> = None;
    let mut take = |x: T| found = Some(found.map_or(x, |f| f.larger(x)));
    for &(above, below, dy) in &down.samples {
        for &(left, right, dx) in &across.samples {
            for (row, wy) in [(above, 1.0 - dy), (below, dy)] {
                take(image[row * columns + left].times(T::from_f64(wy * (1.0 - dx))));
                take(image[row * columns + right].times(T::from_f64(wy * dx)));
            }
        }
    }
    // A sample outside is a zero like any other.
    if (down.outside || across.outside) && down.count > 0.0 && across.count > 0.0 {
        take(T::ZERO);
    }
    found.unwrap_or(T::ZERO)
}

/// `MaxRoiPool`: the largest element of each bin of the regions `[x1, y1, x2, y2]` of the batch entries named, by
/// whole elements; 0 for a bin without any.
///
/// # Errors
/// When a batch entry does not exist, or a slice is not as long as the shapes say.
pub fn max_roi_pool<T: Number<Wide = T>>(
    pool: &Pool,
    (x, shape): (&[T], [usize; 4]),
    (regions, batch): (&[[f64; 4]], &[usize]),
    (spatial_scale, pooled): (f64, [usize; 2]),
    output: &mut [T],
) -> Result<(), KernelError> {
    let [images, channels, rows, columns] = shape;
    check_len("input", x.len(), &shape)?;
    check_len("batch entries", batch.len(), &[regions.len()])?;
    check_len("output", output.len(), &[batch.len(), channels, pooled[0], pooled[1]])?;
    if let Some(&entry) = batch.iter().find(|&&b| b >= images) {
        return Err(KernelError::Index { index: entry as i64, axis: 0, size: images });
    }
    if output.is_empty() {
        return Ok(());
    }
    if x.is_empty() {
        // Rows without columns may be of any number.
        output.fill(T::ZERO);
        return Ok(());
    }
    /// Far behind every input, and small enough for sums.
    const FAR: f64 = (1u64 << 40) as f64;
    let ranges = |from: f64, to: f64, bins: usize, size: usize| -> Vec<(usize, usize)> {
        let scaled = |x: f64| (x * spatial_scale).round().clamp(-FAR, FAR);
        let start = scaled(from);
        let bin = (scaled(to) - start + 1.0).max(1.0) / bins as f64;
        let cut = |x: f64| x.clamp(0.0, size as f64) as usize;
        (0..bins)
            .map(|b| (cut((b as f64 * bin).floor() + start), cut(((b + 1) as f64 * bin).ceil() + start)))
            .collect()
    };
    let plane = pooled[0] * pooled[1];
    pool.for_each_piece(output, channels * plane, |i, output| {
        let [x1, y1, x2, y2] = regions[i];
        let (down, across) = (ranges(y1, y2, pooled[0], rows), ranges(x1, x2, pooled[1], columns));
        for (c, output) in output.chunks_mut(plane).enumerate() {
            let image = &x[(batch[i] * channels + c) * rows * columns..][..rows * columns];
            for (bin, to) in output.iter_mut().enumerate() {
                let ((top, bottom), (left, right)) = (down[bin / pooled[1]], across[bin % pooled[1]]);
                let mut found: Option<T> = None;
                for row in top..bottom {
                    for &value in image[row * columns..][..columns].get(left..right).unwrap_or_default() {
                        found = Some(found.map_or(value, |f| f.larger(value)));
                    }
                }
                *to = found.unwrap_or(T::ZERO);
            }
        }
    });
    Ok(())
}
