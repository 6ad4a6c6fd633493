//! `Col2Im`: columns of blocks added up to the image that they were cut from.

use crate::error::check_len;
use crate::window::Window;
use crate::{KernelError, Number};
use oxidane_pool::Pool;
use oxidane_tensor::{Shape, element_count};

/// Columns (batch, channels * block, windows) and the image (batch, channels, spatial...) that they fold to.
#[derive(Debug, Clone)]
pub struct FoldShape {
    window: Window,
    windows: Shape,
    batch: usize,
    channels: usize,
    image: Shape,
}

impl FoldShape {
    /// Checks the sizes; the window's kernel is the block.
    ///
    /// # Errors
    /// When the columns are not what blocks of this window make of the image.
    pub fn new(columns: &[usize], image: &[usize], window: Window) -> Result<FoldShape, KernelError> {
        let fault = |why: String| {
            KernelError::Shape(format!(
                "columns of shape {columns:?} do not fold to an image of {image:?} by blocks of {:?}: {why}",
                window.kernel.as_slice()
            ))
        };
        let [batch, rows, count] = *columns else {
            return Err(fault(
                "they need a batch, channels times the block, and the number of blocks".into(),
            ));
        };
        let windows = window.output(image, false)?;
        let blocks = element_count(&windows)?;
        let taps = element_count(&window.kernel)?;
        if blocks != count {
            return Err(fault(format!("the image has {blocks} blocks, not {count}")));
        }
        if rows % taps != 0 {
            return Err(fault(format!("{rows} rows are not a multiple of the block's {taps} elements")));
        }
        Ok(FoldShape { windows, batch, channels: rows / taps, image: image.into(), window })
    }

    /// The shape of the image with batch and channels.
    pub fn output(&self) -> Shape {
        let mut shape = Shape::from_slice(&[self.batch, self.channels]);
        shape.extend_from_slice(&self.image);
        shape
    }
}

/// Adds the columns up.
///
/// # Errors
/// When a slice is not as long as the sizes say.
pub fn col2im<T: Number>(
    pool: &Pool,
    shape: &FoldShape,
    columns: &[T],
    output: &mut [T],
) -> Result<(), KernelError> {
    let taps = element_count(&shape.window.kernel)?;
    let blocks = element_count(&shape.windows)?;
    check_len("columns", columns.len(), &[shape.batch, shape.channels, taps, blocks])?;
    check_len("image", output.len(), &shape.output())?;
    let volume = element_count(&shape.image)?;
    if output.is_empty() {
        return Ok(());
    }
    let rank = shape.image.len();
    pool.for_each_piece(output, volume, |i, image| {
        image.fill(T::ZERO);
        let columns = &columns[i * taps * blocks..][..taps * blocks];
        let mut tap = vec![0usize; rank];
        for row in columns.chunks(blocks.max(1)) {
            let mut block = vec![0usize; rank];
            for &value in row {
                let place = (0..rank).try_fold(0usize, |place, axis| {
                    let size = shape.image[axis];
                    Some(place * size + shape.window.position(axis, block[axis], tap[axis], size)?)
                });
                if let Some(place) = place {
                    image[place] = image[place].plus(value);
                }
                advance(&mut block, &shape.windows);
            }
            advance(&mut tap, &shape.window.kernel);
        }
    });
    Ok(())
}

/// The next index in row-major order.
pub(crate) fn advance(index: &mut [usize], sizes: &[usize]) {
    for (i, &size) in index.iter_mut().zip(sizes).rev() {
        *i += 1;
        if *i < size {
            return;
        }
        *i = 0;
    }
}
