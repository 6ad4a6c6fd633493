//! [DeformConv](https://onnx.ai/onnx/operators/onnx__DeformConv.html): convolution whose taps are moved by offsets.

use super::conv::Conv;
use crate::{Case, Form, Room, attributes, floats, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::deform::{DeformOperands, DeformShape, deform_conv};
use oxidane_kernels::{Number, Scalar};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// As Conv, but every tap reads its own offset away from its place, between elements where that is not whole,
    /// and is weighed by a mask.
    pub struct DeformConv {
        dilations: Option<Vec<i64>>,
        group: i64 = 1,
        kernel_shape: Option<Vec<i64>>,
        /// In how many groups of channels the offsets differ.
        offset_group: i64 = 1,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("W", types::FLOAT, "T"),
        Param::one("offset", types::FLOAT, "T"),
        Param::optional("B", types::FLOAT, "T"),
        Param::optional("mask", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of DeformConv.
pub static ROOM: Room = Room {
    domain: "",
    name: "DeformConv",
    since: &[19, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(DeformConv::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let plain = || DeformConv {
            dilations: None,
            group: 1,
            kernel_shape: None,
            offset_group: 1,
            pads: None,
            strides: None,
        };
        let nine = || floats(&[1, 1, 3, 3], &std::array::from_fn::<f32, 9, _>(|i| i as f32));
        let mut shifted = vec![0.0; 32];
        // The first tap reads half a row lower, the last far outside.
        shifted[..4].fill(0.5);
        shifted[31] = 1e30;
        // The specification's example, with a bias and a mask.
        let mut cases = vec![
            Case::new("moved", plain())
                .input(nine())
                .input(floats(&[1, 1, 2, 2], &[1.0; 4]))
                .input(floats(&[1, 8, 2, 2], &shifted))
                .input(floats(&[1], &[1.0]))
                .input(floats(&[1, 4, 2, 2], &[1.0; 16]))
                .expect(floats(&[1, 1, 2, 2], &[10.5, 14.5, 22.5, 18.5])),
            Case::new("nowhere", plain())
                .input(nine())
                .input(floats(&[1, 1, 1, 1], &[1.0]))
                .input(floats(
                    &[1, 2, 3, 3],
                    &[
                        f32::NAN,
                        f32::INFINITY,
                        f32::NEG_INFINITY,
                        f32::MAX,
                        -f32::MAX,
                        -5.0,
                        5.0,
                        1e9,
                        -1e19,
                        0.0,
                        0.0,
                        0.0,
                        0.0,
                        0.0,
                        0.0,
                        0.0,
                        0.0,
                        0.0,
                    ],
                ))
                .expect(floats(&[1, 1, 3, 3], &[0.0; 9])),
            Case::new(
                "groups",
                DeformConv {
                    group: 2,
                    offset_group: 2,
                    pads: Some(vec![1, 0, 1, 2]),
                    strides: Some(vec![2, 1]),
                    dilations: Some(vec![1, 2]),
                    kernel_shape: Some(vec![2, 2]),
                },
            )
            .input(noise_of(DType::F32, &[2, 4, 5, 4], 1))
            .input(noise_of(DType::F32, &[6, 2, 2, 2], 2))
            .input(noise_of(DType::F32, &[2, 16, 3, 4], 3)),
            Case::new("volume", plain())
                .input(noise_of(DType::F32, &[1, 2, 3, 3, 3], 4))
                .input(noise_of(DType::F32, &[2, 2, 2, 2, 2], 5))
                .input(noise_of(DType::F32, &[1, 24, 2, 2, 2], 6)),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(
                Case::new(name, plain())
                    .input(noise_of(dtype, &[1, 2, 4, 4], 7))
                    .input(noise_of(dtype, &[3, 2, 2, 2], 8))
                    .input(noise_of(dtype, &[1, 8, 3, 3], 9))
                    .input(noise_of(dtype, &[3], 10))
                    .input(noise_of(dtype, &[1, 4, 3, 3], 11)),
            );
        }
        cases
    },
};

impl DeformConv {
    fn conv(&self) -> Conv {
        Conv {
            auto_pad: "NOTSET".into(),
            dilations: self.dilations.clone(),
            group: self.group,
            kernel_shape: self.kernel_shape.clone(),
            pads: self.pads.clone(),
            strides: self.strides.clone(),
        }
    }

    fn shape(&self, x: &[usize], w: &[usize], offset: &[usize]) -> Result<DeformShape, OpError> {
        let (Some(spatial), Some(taps)) = (x.get(2..), w.get(2..)) else {
            return Err(OpError::new(format!("input {x:?} and weights {w:?} need spatial dimensions")));
        };
        let positive = |name: &str, n: i64| {
            usize::try_from(n)
                .map_err(|_| OpError::new(format!("attribute `{name}` is {n}, but must be positive")))
        };
        let groups = (positive("group", self.group)?, positive("offset_group", self.offset_group)?);
        let window = self.conv().sliding().window(Some(taps), spatial)?;
        Ok(DeformShape::new(x, w, offset, window, groups)?)
    }

    fn run_as<T: Number<Wide = T> + Scalar>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let dtype = run.tensor(0)?.dtype();
        let dense = |slot: usize| -> Result<Option<Tensor>, OpError> {
            let tensor = run.try_tensor(slot)?;
            Ok(tensor.map(|t| t.cast(T::DTYPE, CastRules::default())?.to_dense()).transpose()?)
        };
        let missing = || OpError::new("an input is missing");
        let x = dense(0)?.ok_or_else(missing)?;
        let w = dense(1)?.ok_or_else(missing)?;
        let offset = dense(2)?.ok_or_else(missing)?;
        let (bias, mask) = (dense(3)?, dense(4)?);
        let shape = self.shape(x.shape(), w.shape(), offset.shape())?;
        if let Some(mask) = &mask
            && *mask.shape() != *shape.mask()
        {
            return Err(OpError::new(format!(
                "the mask has the shape {:?}, but must have {:?}",
                mask.shape(),
                shape.mask().as_slice()
            )));
        }
        let mut out = run.allocate(0, T::DTYPE, &shape.output())?;
        let operands = DeformOperands {
            x: x.slice::<T>()?,
            w: w.slice()?,
            offset: offset.slice()?,
            bias: bias.as_ref().map(|b| b.slice()).transpose()?,
            mask: mask.as_ref().map(|m| m.slice()).transpose()?,
        };
        deform_conv(run.pool(), &shape, operands, out.slice_mut()?)?;
        run.set(0, out.freeze().cast(dtype, CastRules::default())?);
        Ok(())
    }
}

impl Op for DeformConv {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(x), Some(w)) => {
                let mut dims = self.conv().dims(x, w, &|axis| ctx.unknown_dim(0, axis))?;
                if let Some(offset) = ctx.shape(2).map(Dims::from_slice)
                    && offset.len() == dims.len()
                {
                    for (dim, offset) in dims[2..].iter_mut().zip(&offset[2..]) {
                        if dim.as_known().is_none() && offset.as_known().is_some() {
                            *dim = *offset;
                        }
                    }
                }
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| match run.tensor(0)?.dtype() {
            DType::F64 => op.run_as::<f64>(run),
            _ => op.run_as::<f32>(run),
        })
    }
}
