//! What convolutions and poolings share: the attributes that describe a sliding window, and the sizes of results.

use crate::Draft;
use oxidane_graph::{Dim, Dims, OpError, ShownDims};
use oxidane_kernels::window::{AutoPad, Window};
use oxidane_tensor::Shape;

/// The attributes of a window; absent lists are ones (strides, dilations) or noughts (pads).
pub(crate) struct Sliding<'a> {
    pub auto_pad: &'a str,
    pub kernel_shape: Option<&'a [i64]>,
    pub strides: Option<&'a [i64]>,
    pub dilations: Option<&'a [i64]>,
    pub pads: Option<&'a [i64]>,
}

impl Sliding<'_> {
    /// The attribute `auto_pad`.
    ///
    /// # Errors
    /// When its value is not one of ONNX's.
    pub(crate) fn auto_pad(&self) -> Result<AutoPad, OpError> {
        AutoPad::from_name(self.auto_pad).ok_or_else(|| {
            OpError::new(format!("attribute `auto_pad` is `{}`", self.auto_pad))
                .help("it is one of NOTSET, SAME_UPPER, SAME_LOWER, VALID")
        })
    }

    /// The attribute `kernel_shape`, or the sizes `weights` where it is absent.
    ///
    /// # Errors
    /// When a size is negative, or neither is there.
    pub(crate) fn kernel(&self, weights: Option<&[usize]>) -> Result<Shape, OpError> {
        match (self.kernel_shape, weights) {
            (Some(sizes), _) => sizes
                .iter()
                .map(|&k| {
                    usize::try_from(k)
                        .map_err(|_| OpError::new(format!("attribute `kernel_shape` {sizes:?} is negative")))
                })
                .collect(),
            (None, Some(sizes)) => Ok(sizes.into()),
            (None, None) => Err(OpError::new("attribute `kernel_shape` is required but missing")),
        }
    }

    /// The window with its pads as attributes give them, `auto_pad` not looked at.
    ///
    /// # Errors
    /// When a list has the wrong length or a value out of range.
    pub(crate) fn unresolved(&self, weights: Option<&[usize]>) -> Result<Window, OpError> {
        let kernel = self.kernel(weights)?;
        // VALID and SAME overrule pads, which files write along all the same.
        let pads = if self.auto_pad()? == AutoPad::NotSet { self.pads } else { None };
        let (strides, dilations) = (self.strides.unwrap_or_default(), self.dilations.unwrap_or_default());
        Ok(Window::new(&kernel, strides, dilations, pads.unwrap_or_default())?)
    }

    /// The window for the spatial sizes `input`.
    ///
    /// # Errors
    /// As [`Sliding::unresolved`], and when the window has another rank than the input.
    pub(crate) fn window(&self, weights: Option<&[usize]>, input: &[usize]) -> Result<Window, OpError> {
        Ok(self.unresolved(weights)?.resolve(self.auto_pad()?, input)?)
    }

    /// The sizes of the result for the spatial sizes `input`, `weights` being the kernel's where `kernel_shape` is
    /// absent. `unknown` makes a size of which nothing is known, from its spatial axis.
    ///
    /// # Errors
    /// When the attributes contradict each other or the known sizes.
    pub(crate) fn dims(
        &self,
        weights: Option<&[Dim]>,
        input: &[Dim],
        ceil_mode: bool,
        unknown: &dyn Fn(usize) -> Dim,
    ) -> Result<Dims, OpError> {
        let kernel: Dims = match (self.kernel_shape, weights) {
            (Some(sizes), _) => sizes.iter().map(|&k| Dim::from(k)).collect(),
            (None, Some(sizes)) => Dims::from_slice(sizes),
            (None, None) => return Err(OpError::new("attribute `kernel_shape` is required but missing")),
        };
        let sizes = |dims: &[Dim]| dims.iter().map(|d| d.as_size()).collect::<Option<Vec<usize>>>();
        let known_kernel = sizes(&kernel);
        if let (Some(kernel), Some(input)) = (&known_kernel, sizes(input)) {
            let output = self.window(Some(kernel), &input)?.output(&input, ceil_mode)?;
            return Ok(output.iter().map(|&n| Dim::from(n)).collect());
        }
        let rank = input.len();
        if kernel.len() != rank {
            return Err(OpError::new(format!(
                "a kernel of shape {} does not slide over spatial sizes {}",
                ShownDims(&kernel),
                ShownDims(input)
            )));
        }
        // A window of ones takes the place of a kernel that is not known: strides, dilations and pads are checked.
        let window = self.unresolved(Some(&known_kernel.unwrap_or_else(|| vec![1; rank])))?;
        let auto_pad = self.auto_pad()?;
        let one = Dim::known(1);
        Ok((0..rank)
            .map(|axis| {
                let stride = Dim::from(window.strides[axis]);
                let span = (kernel[axis] - one) * Dim::from(window.dilations[axis]) + one;
                let pads = Dim::from(window.begins[axis] + window.ends[axis]);
                if matches!(auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
                    return input[axis].ceil_div(stride);
                }
                let room = input[axis] + pads - span;
                if !ceil_mode || window.strides[axis] == 1 {
                    return room.floor_div(stride) + one;
                }
                // The last window may begin behind the input, and then does not count, only where it could.
                let fits = span.as_size().is_some_and(|s| window.ends[axis] + window.strides[axis] <= s);
                if fits { room.ceil_div(stride) + one } else { unknown(axis) }
            })
            .collect())
    }
}

/// A step down: the list attribute `name` disappears where all its values are `value`.
///
/// # Errors
/// When it says something else.
pub(crate) fn drop_all(draft: &mut Draft<'_>, name: &str, value: i64) -> Result<(), OpError> {
    let count = draft.attributes.value::<Vec<i64>>(name)?.map_or(0, |list| list.len());
    draft.drop_default(name, vec![value; count])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sliding<'a>(auto_pad: &'a str, strides: &'a [i64], pads: &'a [i64]) -> Sliding<'a> {
        let kernel_shape = Some(&[3i64, 3][..]);
        Sliding { auto_pad, kernel_shape, strides: Some(strides), dilations: None, pads: Some(pads) }
    }

    #[test]
    fn symbolic_sizes_come_to_the_known_ones() {
        let (h, w) = (Dim::symbol("h"), Dim::symbol("w"));
        let never = |_| Dim::symbol("?");
        for (auto_pad, strides, pads) in [
            ("NOTSET", [1, 1], [0, 0, 0, 0]),
            ("NOTSET", [2, 3], [1, 0, 1, 2]),
            ("SAME_UPPER", [2, 3], [0, 0, 0, 0]),
            ("VALID", [3, 1], [9, 9, 9, 9]),
        ] {
            let sliding = sliding(auto_pad, &strides, &pads);
            let symbolic = sliding.dims(None, &[h, w], false, &never).unwrap();
            for size in 3..12i64 {
                let known = sliding.dims(None, &[size.into(), (size + 2).into()], false, &never).unwrap();
                let put = |d: &Dim| {
                    d.substitute(&|name| Some((if name == "h" { size } else { size + 2 }).into())).as_known()
                };
                let put: Vec<_> = symbolic.iter().map(put).collect();
                assert_eq!(put, known.iter().map(|d| d.as_known()).collect::<Vec<_>>(), "{auto_pad} {size}");
            }
        }
    }

    #[test]
    fn faults_are_errors() {
        let (h, never) = (Dim::symbol("h"), |_: usize| Dim::symbol("?"));
        assert!(sliding("SAME", &[1, 1], &[0; 4]).dims(None, &[h, h], false, &never).is_err());
        assert!(sliding("NOTSET", &[1], &[0; 4]).dims(None, &[h, h], false, &never).is_err());
        assert!(sliding("NOTSET", &[0, 1], &[0; 4]).dims(None, &[h, h], false, &never).is_err());
        assert!(sliding("NOTSET", &[1, 1], &[0; 4]).dims(None, &[h], false, &never).is_err());
    }
}
