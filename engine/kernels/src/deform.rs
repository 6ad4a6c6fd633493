//! `DeformConv`: convolution that reads at positions of its own choice.

use crate::conv::ConvShape;
use crate::error::check_len;
use crate::fold::advance;
use crate::gemm::{Matrix, product_into};
use crate::sample::{MOST_SPATIAL, linear_taps, tapped};
use crate::window::Window;
use crate::{KernelError, Number, Scalar};
use oxidane_pool::Pool;
use oxidane_tensor::{Shape, element_count};

/// Elements of columns that are worked on at a time.
const BLOCK: usize = 1 << 20;

/// The checked sizes of a call.
#[derive(Debug, Clone)]
pub struct DeformShape {
    window: Window,
    batch: usize,
    channels: usize,
    outputs: usize,
    group: usize,
    offset_group: usize,
    input: Shape,
    output: Shape,
    /// Taps of the kernel.
    taps: usize,
    /// Positions of the output.
    positions: usize,
}

impl DeformShape {
    /// Checks input (batch, channels, spatial...), weights (outputs, channels / group, kernel...) and offsets (batch,
    /// offset_group * taps * dimensions, spatial...) against each other.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn new(
        x: &[usize],
        w: &[usize],
        offset: &[usize],
        window: Window,
        (group, offset_group): (usize, usize),
    ) -> Result<DeformShape, KernelError> {
        let conv = ConvShape::new(x, w, group, window.clone())?;
        let rank = window.rank();
        let taps = element_count(&window.kernel)?;
        let output = Shape::from_slice(&conv.output()[2..]);
        let fault = |why: String| {
            KernelError::Shape(format!(
                "offsets of shape {offset:?} do not fit an input of {x:?} and weights of {w:?}: {why}"
            ))
        };
        if rank > MOST_SPATIAL {
            return Err(fault(format!("more than {MOST_SPATIAL} spatial dimensions are not supported")));
        }
        if offset_group == 0 || !x[1].is_multiple_of(offset_group) {
            return Err(fault(format!("{} channels do not divide into {offset_group} offset groups", x[1])));
        }
        let rows = offset_group.checked_mul(taps).and_then(|n| n.checked_mul(rank));
        let fits = offset.len() == x.len()
            && offset[0] == x[0]
            && Some(offset[1]) == rows
            && offset[2..] == *output.as_slice();
        if !fits {
            return Err(fault(format!(
                "they should have {rows:?} channels and the spatial sizes {:?}",
                output.as_slice()
            )));
        }
        Ok(DeformShape {
            batch: x[0],
            channels: x[1],
            outputs: w[0],
            group,
            offset_group,
            input: x[2..].into(),
            taps,
            positions: element_count(&output)?,
            output,
            window,
        })
    }

    /// The shape of the result.
    pub fn output(&self) -> Shape {
        let mut shape = Shape::from_slice(&[self.batch, self.outputs]);
        shape.extend_from_slice(&self.output);
        shape
    }

    /// The shape of the mask.
    pub fn mask(&self) -> Shape {
        let mut shape = Shape::from_slice(&[self.batch, self.offset_group * self.taps]);
        shape.extend_from_slice(&self.output);
        shape
    }
}

/// The operands of a deformable convolution, dense.
#[derive(Debug, Clone, Copy)]
pub struct DeformOperands<'a, T> {
    /// The input.
    pub x: &'a [T],
    /// The weights.
    pub w: &'a [T],
    /// What is added to the positions that each tap reads.
    pub offset: &'a [T],
    /// One an output channel.
    pub bias: Option<&'a [T]>,
    /// What each tap's sample is multiplied by.
    pub mask: Option<&'a [T]>,
}

/// The convolution: the samples of a block of positions as columns, multiplied by the weights.
///
/// # Errors
/// When a slice is not as long as the sizes say.
pub fn deform_conv<T: Number<Wide = T> + Scalar>(
    pool: &Pool,
    shape: &DeformShape,
    of: DeformOperands<'_, T>,
    output: &mut [T],
) -> Result<(), KernelError> {
    let (taps, positions, rank) = (shape.taps, shape.positions, shape.window.rank());
    let volume = element_count(&shape.input)?;
    let (inner, outer) = (shape.channels / shape.group, shape.outputs / shape.group);
    check_len("input", of.x.len(), &[shape.batch, shape.channels, volume])?;
    check_len("weights", of.w.len(), &[shape.outputs, inner, taps])?;
    check_len("offsets", of.offset.len(), &[shape.batch, shape.offset_group, taps, rank, positions])?;
    check_len("output", output.len(), &shape.output())?;
    if let Some(bias) = of.bias {
        check_len("bias", bias.len(), &[shape.outputs])?;
    }
    if let Some(mask) = of.mask {
        check_len("mask", mask.len(), &shape.mask())?;
    }
    if output.is_empty() {
        return Ok(());
    }
    let rows = shape.channels * taps;
    let block = (BLOCK / rows.max(1)).clamp(1, positions);
    let mut columns = vec![<T as Number>::ZERO; rows * block];
    let mut product = vec![<T as Number>::ZERO; outer * block];
    let each = shape.channels / shape.offset_group;
    for n in 0..shape.batch {
        let image = &of.x[n * shape.channels * volume..][..shape.channels * volume];
        let mut first = 0;
        while first < positions {
            let count = block.min(positions - first);
            let columns = &mut columns[..rows * count];
            // One task a tap of an offset group: it reads all channels of the group at the same places. Its rows lie
            // `taps` apart, so they are handed out by tap.
            let mut by_tap: Vec<Vec<&mut [T]>> =
                (0..shape.offset_group * taps).map(|_| Vec::with_capacity(each)).collect();
            for (row, line) in columns.chunks_mut(count).enumerate() {
                by_tap[row / taps / each.max(1) * taps + row % taps].push(line);
            }
            pool.for_each_piece(&mut by_tap, 1, |task, lines| {
                let (offset_group, tap) = (task / taps, task % taps);
                let mut index = vec![0; rank];
                let (mut rest, mut tap_index) = (tap, vec![0; rank]);
                for axis in (0..rank).rev() {
                    tap_index[axis] = rest % shape.window.kernel[axis];
                    rest /= shape.window.kernel[axis];
                }
                let mut rest = first;
                for axis in (0..rank).rev() {
                    index[axis] = rest % shape.output[axis];
                    rest /= shape.output[axis];
                }
                let mut at = vec![0.0; rank];
                let mut found = vec![(0, <T as Number>::ZERO); 1 << rank];
                for j in 0..count {
                    let position = first + j;
                    for axis in 0..rank {
                        let whole = (index[axis] * shape.window.strides[axis]
                            + tap_index[axis] * shape.window.dilations[axis])
                            as f64
                            - shape.window.begins[axis] as f64;
                        let offset = (((n * shape.offset_group + offset_group) * taps + tap) * rank + axis)
                            * positions
                            + position;
                        at[axis] = whole + of.offset[offset].to_f64();
                    }
                    linear_taps(&at, &shape.input, &mut found);
                    let factor = of.mask.map_or(<T as Number>::ONE, |mask| {
                        mask[((n * shape.offset_group + offset_group) * taps + tap) * positions + position]
                    });
                    for (c, line) in lines[0].iter_mut().enumerate() {
                        let plane = &image[(offset_group * each + c) * volume..][..volume];
                        line[j] = Number::times(tapped(plane, &found), factor);
                    }
                    advance(&mut index, &shape.output);
                }
            });
            for group in 0..shape.group {
                let a = Matrix::dense(&of.w[group * outer * inner * taps..], outer, inner * taps)?;
                let b = Matrix::dense(&columns[group * inner * taps * count..], inner * taps, count)?;
                let product = &mut product[..outer * count];
                product_into(pool, <T as Number>::ONE, a, b, false, product)?;
                for (o, line) in product.chunks(count).enumerate() {
                    let channel = group * outer + o;
                    let bias = of.bias.map_or(<T as Number>::ZERO, |b| b[channel]);
                    let to = &mut output[(n * shape.outputs + channel) * positions + first..][..count];
                    for (to, &value) in to.iter_mut().zip(line) {
                        *to = Number::plus(value, bias);
                    }
                }
            }
            first += count;
        }
    }
    Ok(())
}
