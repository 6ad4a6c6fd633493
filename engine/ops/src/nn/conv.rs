//! [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html): convolution over any number of spatial dimensions.

use super::max_pool::pooled_bytes;
use super::window::Sliding;
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::conv::{ConvShape, conv, conv_into};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The input (batch, channels, spatial...) convolved by weights (outputs, channels / group, kernel...), a bias
    /// for each output added.
    pub struct Conv {
        auto_pad: String = "NOTSET".into(),
        dilations: Option<Vec<i64>>,
        group: i64 = 1,
        kernel_shape: Option<Vec<i64>>,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("W", types::FLOAT, "T"),
        Param::optional("B", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of Conv.
pub static ROOM: Room = Room {
    domain: "",
    name: "Conv",
    since: &[1, 11, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Conv::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let plain = Conv::plain;
        let x = || floats(&[1, 1, 5, 5], &std::array::from_fn::<f32, 25, _>(|i| i as f32));
        let ones = || floats(&[1, 1, 3, 3], &[1.0; 9]);
        // The first three: the specification's examples, padded, bare, and with strides.
        let mut cases = vec![
            Case::new("padded", Conv { pads: Some(vec![1; 4]), ..plain() }).input(x()).input(ones()).expect(
                floats(
                    &[1, 1, 5, 5],
                    &[
                        12.0, 21.0, 27.0, 33.0, 24.0, 33.0, 54.0, 63.0, 72.0, 51.0, 63.0, 99.0, 108.0, 117.0,
                        81.0, 93.0, 144.0, 153.0, 162.0, 111.0, 72.0, 111.0, 117.0, 123.0, 84.0,
                    ],
                ),
            ),
            Case::new("bare", plain())
                .input(x())
                .input(ones())
                .expect(floats(&[1, 1, 3, 3], &[54.0, 63.0, 72.0, 99.0, 108.0, 117.0, 144.0, 153.0, 162.0])),
            Case::new("same", Conv { auto_pad: "SAME_LOWER".into(), strides: Some(vec![2, 2]), ..plain() })
                .input(x())
                .input(ones())
                .expect(floats(&[1, 1, 3, 3], &[12.0, 27.0, 24.0, 63.0, 108.0, 81.0, 72.0, 117.0, 84.0])),
            Case::new("groups", Conv { group: 2, dilations: Some(vec![2]), ..plain() })
                .input(noise(&[2, 4, 9], 1))
                .input(noise(&[6, 2, 3], 2))
                .input(noise(&[6], 3)),
            Case::new("depthwise", Conv { group: 3, pads: Some(vec![1; 4]), ..plain() })
                .input(noise(&[1, 3, 6, 5], 4))
                .input(noise(&[3, 1, 3, 3], 5)),
            Case::new("volume", plain()).input(noise(&[1, 2, 4, 4, 4], 6)).input(noise(&[3, 2, 2, 2, 2], 7)),
            Case::new("empty", plain())
                .input(noise(&[0, 1, 5, 5], 8))
                .input(ones())
                .expect(floats(&[0, 1, 3, 3], &[])),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(
                Case::new(name, plain())
                    .input(noise_of(dtype, &[1, 2, 5, 4], 9))
                    .input(noise_of(dtype, &[2, 2, 3, 3], 10))
                    .input(noise_of(dtype, &[2], 11)),
            );
        }
        cases
    },
};

impl Conv {
    /// Stride 1, no pads, no dilation, one group.
    pub fn plain() -> Conv {
        Conv {
            auto_pad: "NOTSET".into(),
            dilations: None,
            group: 1,
            kernel_shape: None,
            pads: None,
            strides: None,
        }
    }

    /// The window that the attributes describe.
    pub(crate) fn sliding(&self) -> Sliding<'_> {
        Sliding {
            auto_pad: &self.auto_pad,
            kernel_shape: self.kernel_shape.as_deref(),
            strides: self.strides.as_deref(),
            dilations: self.dilations.as_deref(),
            pads: self.pads.as_deref(),
        }
    }

    /// The checked sizes of a call.
    ///
    /// # Errors
    /// When the shapes and the attributes do not agree.
    pub fn shape(&self, x: &[usize], w: &[usize]) -> Result<ConvShape, OpError> {
        let (Some(spatial), Some(taps)) = (x.get(2..), w.get(2..)) else {
            return Err(OpError::new(format!(
                "input {x:?} and weights {w:?} must have a batch or outputs, channels, and spatial dimensions"
            )));
        };
        let group = usize::try_from(self.group).map_err(|_| {
            OpError::new(format!("attribute `group` is {}, but must be positive", self.group))
        })?;
        Ok(ConvShape::new(x, w, group, self.sliding().window(Some(taps), spatial)?)?)
    }

    /// The sizes of the result, as far as those of input and weights are known.
    ///
    /// # Errors
    /// When the known ones do not agree.
    pub(crate) fn dims(&self, x: &[Dim], w: &[Dim], unknown: &dyn Fn(usize) -> Dim) -> Result<Dims, OpError> {
        let fault = |why: &str| {
            OpError::new(format!(
                "cannot convolve {} by weights {} in {} groups: {why}",
                ShownDims(x),
                ShownDims(w),
                self.group
            ))
        };
        if x.len() < 3 || x.len() != w.len() {
            return Err(fault("both need a batch or outputs, channels, and the same spatial dimensions"));
        }
        if let (Some(taken), Some(found)) = (w[1].as_known(), x[1].as_known())
            && taken.checked_mul(self.group) != Some(found)
        {
            return Err(fault("the weights take another number of channels"));
        }
        if self.group < 1 || w[0].as_known().is_some_and(|n| n % self.group != 0) {
            return Err(fault("the outputs cannot be divided into the groups"));
        }
        let mut dims = Dims::from_slice(&[x[0], w[0]]);
        dims.extend(self.sliding().dims(Some(&w[2..]), &x[2..], false, &|axis| unknown(2 + axis))?);
        Ok(dims)
    }
}

impl Op for Conv {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(x), Some(w)) => {
                let dims = self.dims(x, w, &|axis| ctx.unknown_dim(0, axis))?;
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let (x, w) = (run.dense(0)?, run.dense(1)?);
            let shape = op.shape(x.shape(), w.shape())?;
            let bias = run.try_tensor(2)?.map(Tensor::to_dense).transpose()?;
            if x.dtype() != DType::F32 {
                run.check_elements(shape.output(), pooled_bytes(x.dtype()))?;
                let y = conv(run.pool(), &shape, &x, &w, bias.as_ref())?;
                run.set(0, y);
                return Ok(());
            }
            let pool = run.pool();
            run.write::<f32>(0, shape.output(), |out| {
                let bias = bias.as_ref().map(|b| b.slice()).transpose()?;
                Ok(conv_into(pool, &shape, x.slice()?, w.slice()?, bias, None, out)?)
            })
        })
    }
}
