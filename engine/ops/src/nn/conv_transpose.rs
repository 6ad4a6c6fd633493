//! [ConvTranspose](https://onnx.ai/onnx/operators/onnx__ConvTranspose.html): the transposed convolution.

use super::max_pool::pooled_bytes;
use super::window::Sliding;
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::conv_transpose::{ConvTransposeShape, conv_transpose, conv_transpose_into};
use oxidane_kernels::window::AutoPad;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Each element of the input (batch, channels, spatial...) spread by the weights (channels, outputs / group,
    /// kernel...), a bias for each output added.
    pub struct ConvTranspose {
        auto_pad: String = "NOTSET".into(),
        dilations: Option<Vec<i64>>,
        group: i64 = 1,
        kernel_shape: Option<Vec<i64>>,
        output_padding: Option<Vec<i64>>,
        output_shape: Option<Vec<i64>>,
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

/// The room of ConvTranspose.
pub static ROOM: Room = Room {
    domain: "",
    name: "ConvTranspose",
    since: &[1, 11, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(ConvTranspose::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let plain = ConvTranspose::plain;
        let mut cases = vec![
            // The specification's one-dimensional example.
            Case::new("line", plain())
                .input(floats(&[1, 1, 3], &[0.0, 1.0, 2.0]))
                .input(floats(&[1, 2, 3], &[1.0; 6]))
                .expect(floats(&[1, 2, 5], &[0.0, 1.0, 3.0, 3.0, 2.0, 0.0, 1.0, 3.0, 3.0, 2.0])),
            // The specification's example with dilations.
            Case::new("dilated", ConvTranspose { dilations: Some(vec![2, 2]), ..plain() })
                .input(floats(&[1, 1, 3, 3], &[3.0, 8.0, 1.0, 9.0, 5.0, 7.0, 3.0, 2.0, 6.0]))
                .input(floats(&[1, 1, 2, 2], &[7.0, 2.0, 1.0, 9.0]))
                .expect(floats(
                    &[1, 1, 5, 5],
                    &[
                        21.0, 56.0, 13.0, 16.0, 2.0, 63.0, 35.0, 67.0, 10.0, 14.0, 24.0, 22.0, 76.0, 76.0,
                        21.0, 9.0, 5.0, 88.0, 45.0, 63.0, 3.0, 2.0, 33.0, 18.0, 54.0,
                    ],
                )),
            Case::new(
                "padded",
                ConvTranspose { strides: Some(vec![3, 2]), pads: Some(vec![1, 2, 1, 2]), ..plain() },
            )
            .input(noise(&[1, 1, 3, 3], 1))
            .input(noise(&[1, 2, 3, 3], 2))
            .input(noise(&[2], 3)),
            Case::new(
                "stated",
                ConvTranspose {
                    strides: Some(vec![3, 2]),
                    output_shape: Some(vec![10, 8]),
                    output_padding: Some(vec![1, 1]),
                    ..plain()
                },
            )
            .input(noise(&[1, 1, 3, 3], 4))
            .input(noise(&[1, 2, 3, 3], 5)),
            Case::new(
                "same",
                ConvTranspose { auto_pad: "SAME_UPPER".into(), strides: Some(vec![2, 2]), ..plain() },
            )
            .input(noise(&[1, 1, 3, 3], 6))
            .input(noise(&[1, 2, 3, 3], 7)),
            Case::new("groups", ConvTranspose { group: 2, ..plain() })
                .input(noise(&[2, 4, 5], 8))
                .input(noise(&[4, 3, 3], 9)),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(Case::new(name, plain()).input(noise_of(dtype, &[1, 2, 3, 4], 10)).input(noise_of(
                dtype,
                &[2, 2, 3, 3],
                11,
            )));
        }
        cases
    },
};

impl ConvTranspose {
    /// Stride 1, no pads, no dilation, one group.
    pub fn plain() -> ConvTranspose {
        ConvTranspose {
            auto_pad: "NOTSET".into(),
            dilations: None,
            group: 1,
            kernel_shape: None,
            output_padding: None,
            output_shape: None,
            pads: None,
            strides: None,
        }
    }

    fn sliding(&self) -> Sliding<'_> {
        Sliding {
            auto_pad: &self.auto_pad,
            kernel_shape: self.kernel_shape.as_deref(),
            strides: self.strides.as_deref(),
            dilations: self.dilations.as_deref(),
            pads: self.pads.as_deref(),
        }
    }

    /// The attribute `output_shape` of the spatial dimensions; some files give batch and channels as well.
    fn stated(&self, rank: usize) -> &[i64] {
        let all = self.output_shape.as_deref().unwrap_or(&[]);
        if all.len() == rank + 2 { &all[2..] } else { all }
    }

    /// The checked sizes of a call.
    ///
    /// # Errors
    /// When the shapes and the attributes do not agree.
    pub fn shape(&self, x: &[usize], w: &[usize]) -> Result<ConvTransposeShape, OpError> {
        let Some(taps) = w.get(2..).filter(|taps| taps.len() + 2 == x.len()) else {
            return Err(OpError::new(format!(
                "input {x:?} and weights {w:?} must have a batch or channels, channels, and the same spatial \
                 dimensions"
            )));
        };
        let group = usize::try_from(self.group).map_err(|_| {
            OpError::new(format!("attribute `group` is {}, but must be positive", self.group))
        })?;
        let sliding = self.sliding();
        Ok(ConvTransposeShape::new(
            x,
            w,
            group,
            sliding.unresolved(Some(taps))?,
            sliding.auto_pad()?,
            self.output_padding.as_deref().unwrap_or(&[]),
            self.stated(taps.len()),
        )?)
    }

    /// The sizes of the result, as far as those of input and weights are known.
    fn dims(&self, x: &[Dim], w: &[Dim]) -> Result<Dims, OpError> {
        let sizes = |dims: &[Dim]| dims.iter().map(|d| d.as_size()).collect::<Option<Vec<usize>>>();
        if let (Some(x), Some(w)) = (sizes(x), sizes(w)) {
            return Ok(self.shape(&x, &w)?.output().iter().map(|&n| Dim::from(n)).collect());
        }
        if x.len() < 3 || x.len() != w.len() || self.group < 1 {
            return Err(OpError::new(format!(
                "cannot convolve (transposed) {} by weights {} in {} groups",
                ShownDims(x),
                ShownDims(w),
                self.group
            )));
        }
        let rank = x.len() - 2;
        let sliding = self.sliding();
        let taps: Dims = match &self.kernel_shape {
            Some(k) if k.len() == rank => k.iter().map(|&k| Dim::from(k)).collect(),
            Some(k) => {
                return Err(OpError::new(format!(
                    "kernel_shape {k:?} does not fit the weights {}, which have {rank} spatial sizes",
                    ShownDims(w)
                )));
            }
            None => Dims::from_slice(&w[2..]),
        };
        let window = sliding.unresolved(Some(&sizes(&taps).unwrap_or_else(|| vec![1; rank])))?;
        let auto_pad = sliding.auto_pad()?;
        let one = Dim::known(1);
        let mut dims = Dims::from_slice(&[x[0], w[1] * Dim::from(self.group)]);
        for axis in 0..rank {
            let (n, stride) = (x[2 + axis], Dim::from(window.strides[axis]));
            dims.push(if let Some(&size) = self.stated(rank).get(axis) {
                Dim::from(size)
            } else if matches!(auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
                n * stride
            } else {
                let more = self.output_padding.as_ref().and_then(|p| p.get(axis)).copied().unwrap_or(0);
                let span = (taps[axis] - one) * Dim::from(window.dilations[axis]) + one;
                let pads = Dim::from(window.begins[axis] + window.ends[axis]);
                (n - one) * stride + span + Dim::from(more) - pads
            });
        }
        Ok(dims)
    }
}

impl Op for ConvTranspose {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(x), Some(w)) => {
                let dims = self.dims(x, w)?;
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
                let y = conv_transpose(run.pool(), &shape, &x, &w, bias.as_ref())?;
                run.set(0, y);
                return Ok(());
            }
            let pool = run.pool();
            run.write::<f32>(0, shape.output(), |out| {
                let bias = bias.as_ref().map(|b| b.slice()).transpose()?;
                Ok(conv_transpose_into(pool, &shape, x.slice()?, w.slice()?, bias, None, out)?)
            })
        })
    }
}
