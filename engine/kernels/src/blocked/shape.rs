use crate::KernelError;
use crate::isa::LANES;
use crate::window::Window;
use oxidane_tensor::element_count;

/// What a convolution is: one or two spatial dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Groups of channels.
    pub groups: usize,
    /// Channels of the input, all groups together.
    pub inputs: usize,
    /// Channels of the output, all groups together.
    pub outputs: usize,
    /// Kernel, strides, dilations and pads.
    pub window: Window,
}

impl Spec {
    /// Whether each channel is a group of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.inputs && self.groups == self.outputs
    }

    /// Whether the window is 3 x 3, dense and without strides.
    pub(super) fn is_three_by_three(&self) -> bool {
        let w = &self.window;
        w.kernel[..] == [3, 3] && w.strides[..] == [1, 1] && w.dilations[..] == [1, 1]
    }
}

/// How the input lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// (batch, blocks, spatial..., 16).
    Blocked,
    /// (batch, channels, spatial...).
    Dense,
}

/// The sizes of one call; a single spatial dimension is the width of a height of one.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) groups: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) input: Input,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
    pub(super) kernel: (usize, usize),
    pub(super) strides: (usize, usize),
    pub(super) dilations: (usize, usize),
    pub(super) begins: (usize, usize),
}

/// The two entries of a list of one or two spatial dimensions.
pub(super) fn pair(list: &[usize], otherwise: usize) -> (usize, usize) {
    match *list {
        [one] => (otherwise, one),
        [first, second, ..] => (first, second),
        [] => (otherwise, otherwise),
    }
}

impl Sizes {
    pub(super) fn new(
        spec: &Spec,
        input: Input,
        batch: usize,
        spatial: &[usize],
    ) -> Result<Sizes, KernelError> {
        let out = spec.window.output(spatial, false)?;
        let ((height, width), (out_height, out_width)) = (pair(spatial, 1), pair(&out, 1));
        let channels = spec.inputs.max(spec.outputs).next_multiple_of(LANES);
        for (h, w) in [(height, width), (out_height, out_width)] {
            element_count(&[batch.max(1), channels, h.max(1), w.max(1)])?;
        }
        let window = &spec.window;
        Ok(Sizes {
            batch,
            groups: spec.groups,
            inputs: spec.inputs,
            outputs: spec.outputs,
            input,
            height,
            width,
            out_height,
            out_width,
            kernel: pair(&window.kernel, 1),
            strides: pair(&window.strides, 1),
            dilations: pair(&window.dilations, 1),
            begins: pair(&window.begins, 0),
        })
    }

    pub(super) fn input_len(&self) -> usize {
        let channels = match self.input {
            Input::Dense => self.inputs,
            Input::Blocked => self.inputs.next_multiple_of(LANES),
        };
        self.batch * channels * self.height * self.width
    }

    pub(super) fn output_len(&self) -> usize {
        self.batch * self.outputs.next_multiple_of(LANES) * self.positions()
    }

    /// Positions of a channel of the output.
    pub(super) fn positions(&self) -> usize {
        self.out_height * self.out_width
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Whether windows are single positions, side by side as they lie.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1)
            && self.strides == (1, 1)
            && self.begins == (0, 0)
            && (self.height, self.width) == (self.out_height, self.out_width)
    }
}
