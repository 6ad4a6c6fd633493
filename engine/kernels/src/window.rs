//! The geometry of sliding windows: kernel, strides, dilations and pads of convolutions and poolings.

use crate::KernelError;
use oxidane_tensor::Shape;

/// ONNX's `auto_pad` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AutoPad {
    /// The pads are given.
    #[default]
    NotSet,
    /// As many outputs as inputs divided by the stride, an odd pad at the end.
    SameUpper,
    /// As many outputs as inputs divided by the stride, an odd pad at the beginning.
    SameLower,
    /// No pads.
    Valid,
}

impl AutoPad {
    /// From ONNX's spelling; `None` for an unknown one. The empty text means `NOTSET`.
    pub fn from_name(name: &str) -> Option<AutoPad> {
        Some(match name {
            "NOTSET" | "" => AutoPad::NotSet,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            _ => return None,
        })
    }

    /// ONNX's spelling.
    pub fn name(self) -> &'static str {
        match self {
            AutoPad::NotSet => "NOTSET",
            AutoPad::SameUpper => "SAME_UPPER",
            AutoPad::SameLower => "SAME_LOWER",
            AutoPad::Valid => "VALID",
        }
    }
}

/// A window over the spatial dimensions; every list has one entry a dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Taps of the kernel, at least 1.
    pub kernel: Shape,
    /// Steps between neighbouring windows, at least 1.
    pub strides: Shape,
    /// Steps between neighbouring taps, at least 1.
    pub dilations: Shape,
    /// Padding before the first element.
    pub begins: Shape,
    /// Padding after the last element.
    pub ends: Shape,
}

/// Sizes of windows and pads stay below this, so that their sums and products fit an `isize`.
const LARGEST: usize = 1 << 31;

impl Window {
    /// From ONNX's attributes. Empty lists mean ones (strides, dilations) or noughts (pads); `pads` holds all
    /// beginnings, then all ends.
    ///
    /// # Errors
    /// When a list has the wrong length or a value out of range; negative pads are not supported.
    pub fn new(
        kernel: &[usize],
        strides: &[i64],
        dilations: &[i64],
        pads: &[i64],
    ) -> Result<Window, KernelError> {
        let rank = kernel.len();
        let list = |name: &str, values: &[i64], count: usize, least: i64| -> Result<Shape, KernelError> {
            if values.is_empty() {
                return Ok(Shape::from_elem(least as usize, count));
            }
            if values.len() != count {
                return Err(KernelError::Shape(format!(
                    "{name} {values:?} should have {count} values for a kernel of shape {kernel:?}"
                )));
            }
            values
                .iter()
                .map(|&v| {
                    usize::try_from(v).ok().filter(|&u| v >= least && u < LARGEST).ok_or_else(|| {
                        KernelError::Shape(format!(
                            "{name} {values:?} must be at least {least} and below 2^31"
                        ))
                    })
                })
                .collect()
        };
        if kernel.iter().any(|&k| k == 0 || k >= LARGEST) {
            return Err(KernelError::Shape(format!("kernel shape {kernel:?} must be at least 1 everywhere")));
        }
        let pads = list("pads", pads, 2 * rank, 0)?;
        Ok(Window {
            kernel: kernel.into(),
            strides: list("strides", strides, rank, 1)?,
            dilations: list("dilations", dilations, rank, 1)?,
            begins: pads[..rank].into(),
            ends: pads[rank..].into(),
        })
    }

    /// The number of spatial dimensions.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// Elements that a window spans along `axis`, dilation included.
    pub fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    /// The window with `auto_pad` turned into pads for the spatial sizes `input`.
    ///
    /// # Errors
    /// When `input` has another rank or is too large.
    pub fn resolve(mut self, auto_pad: AutoPad, input: &[usize]) -> Result<Window, KernelError> {
        self.check(input)?;
        for (axis, &size) in input.iter().enumerate() {
            let (begin, end) = match auto_pad {
                AutoPad::NotSet => continue,
                AutoPad::Valid => (0, 0),
                AutoPad::SameUpper | AutoPad::SameLower => {
                    let outputs = size.div_ceil(self.strides[axis]);
                    let needed = outputs
                        .saturating_sub(1)
                        .saturating_mul(self.strides[axis])
                        .saturating_add(self.span(axis));
                    let total = needed.saturating_sub(size);
                    let small = total / 2;
                    match auto_pad {
                        AutoPad::SameUpper => (small, total - small),
                        _ => (total - small, small),
                    }
                }
            };
            (self.begins[axis], self.ends[axis]) = (begin, end);
        }
        Ok(self)
    }

    fn check(&self, input: &[usize]) -> Result<(), KernelError> {
        if input.len() != self.rank() || input.iter().any(|&n| n >= LARGEST) {
            return Err(KernelError::Shape(format!(
                "a kernel of shape {:?} does not slide over spatial sizes {input:?}",
                self.kernel.as_slice()
            )));
        }
        Ok(())
    }

    /// How many windows there are along each dimension. With `ceil_mode` the last may hang over the end, as long
    /// as it begins inside the input or its first padding.
    ///
    /// # Errors
    /// When `input` has another rank, or the window is larger than the padded input.
    pub fn output(&self, input: &[usize], ceil_mode: bool) -> Result<Shape, KernelError> {
        self.check(input)?;
        (0..self.rank())
            .map(|axis| {
                let (size, stride, begin) = (input[axis], self.strides[axis], self.begins[axis]);
                let padded = size + begin + self.ends[axis];
                let Some(room) = padded.checked_sub(self.span(axis)) else {
                    return Err(KernelError::Shape(format!(
                        "a kernel of shape {:?} with dilations {:?} is larger than the input {input:?} with pads {:?} and {:?}",
                        self.kernel.as_slice(),
                        self.dilations.as_slice(),
                        self.begins.as_slice(),
                        self.ends.as_slice()
                    )));
                };
                if !ceil_mode {
                    return Ok(room / stride + 1);
                }
                let windows = room.div_ceil(stride) + 1;
                Ok(if (windows - 1).saturating_mul(stride) >= size + begin { windows - 1 } else { windows })
            })
            .collect()
    }

    /// The input position of tap `tap` of window `index` along `axis`; `None` in the padding.
    #[inline]
    pub(crate) fn position(&self, axis: usize, index: usize, tap: usize, size: usize) -> Option<usize> {
        (index * self.strides[axis] + tap * self.dilations[axis])
            .checked_sub(self.begins[axis])
            .filter(|&p| p < size)
    }

    /// The windows (from, to) among `windows` for which tap `tap` falls inside an input of `size` along `axis`.
    #[inline]
    pub(crate) fn inside(&self, axis: usize, tap: usize, size: usize, windows: usize) -> (usize, usize) {
        let (stride, begin, shift) = (self.strides[axis], self.begins[axis], tap * self.dilations[axis]);
        let from = begin.saturating_sub(shift).div_ceil(stride).min(windows);
        let to = (size + begin).saturating_sub(shift).div_ceil(stride).min(windows);
        (from, to.max(from))
    }

    /// The taps (from, to) of window `index` that fall inside an input of `size` along `axis`.
    pub(crate) fn taps_inside(&self, axis: usize, index: usize, size: usize) -> (usize, usize) {
        let (begin, start) = (self.begins[axis], index * self.strides[axis]);
        let (kernel, dilation) = (self.kernel[axis], self.dilations[axis]);
        let from = begin.saturating_sub(start).div_ceil(dilation).min(kernel);
        let to = (size + begin).saturating_sub(start).div_ceil(dilation).min(kernel);
        (from, to.max(from))
    }

    /// Whether every tap sees every element in place: kernel 1, stride 1, no pads.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel.iter().all(|&k| k == 1)
            && self.strides.iter().all(|&s| s == 1)
            && self.begins.iter().chain(&self.ends).all(|&p| p == 0)
    }
}

/// The index of a row-major position.
#[inline]
pub(crate) fn unravel(mut at: usize, sizes: &[usize], index: &mut [usize]) {
    for (i, &size) in index.iter_mut().zip(sizes).rev() {
        *i = at % size.max(1);
        at /= size.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_and_pads() {
        let w = Window::new(&[3, 3], &[2, 2], &[], &[]).unwrap();
        assert_eq!(w.output(&[5, 6], false).unwrap().as_slice(), [2, 2]);
        assert_eq!(w.output(&[5, 6], true).unwrap().as_slice(), [2, 3]);
        let same = w.clone().resolve(AutoPad::SameUpper, &[5, 6]).unwrap();
        assert_eq!((same.begins.as_slice(), same.ends.as_slice()), (&[1, 0][..], &[1, 1][..]));
        assert_eq!(same.output(&[5, 6], false).unwrap().as_slice(), [3, 3]);
        let same = w.resolve(AutoPad::SameLower, &[5, 6]).unwrap();
        assert_eq!((same.begins.as_slice(), same.ends.as_slice()), (&[1, 1][..], &[1, 0][..]));
        // The last window would begin in the end padding.
        let w = Window::new(&[1], &[2], &[], &[0, 1]).unwrap();
        assert_eq!(w.output(&[2], true).unwrap().as_slice(), [1]);
    }

    #[test]
    fn inside_is_position() {
        for stride in 1..4i64 {
            for dilation in 1..4 {
                for pad in 0..4 {
                    let w = Window::new(&[3], &[stride], &[dilation], &[pad, 2]).unwrap();
                    for size in 0..9 {
                        for tap in 0..3 {
                            let (from, to) = w.inside(0, tap, size, 7);
                            for i in 0..7 {
                                let there = w.position(0, i, tap, size).is_some();
                                assert_eq!(there, (from..to).contains(&i));
                                let (first, end) = w.taps_inside(0, i, size);
                                assert_eq!(there, (first..end).contains(&tap));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_attributes_are_errors() {
        assert!(Window::new(&[0], &[], &[], &[]).is_err());
        assert!(Window::new(&[3], &[0], &[], &[]).is_err());
        assert!(Window::new(&[3], &[1, 1], &[], &[]).is_err());
        assert!(Window::new(&[3], &[], &[i64::MAX], &[]).is_err());
        assert!(Window::new(&[3], &[], &[], &[-1, 0]).is_err());
        assert!(Window::new(&[usize::MAX], &[], &[], &[]).is_err());
        assert!(Window::new(&[9], &[], &[], &[]).unwrap().output(&[3], false).is_err());
        let far = Window::new(&[1 << 30], &[], &[1 << 30], &[]).unwrap();
        assert!(far.output(&[3], true).is_err());
    }
}
