//! [ConstantOfShape](https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html): one value everywhere.

use super::expand::sizes;
use super::moves::spread;
use crate::{Case, Form, Room, attributes, floats, ints, of_room};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Types, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// A tensor of the shape that the input states, every element being `value`, by default 0.0.
    pub struct ConstantOfShape { value: Option<Tensor> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", crate::types::INT64, "")],
    outputs: &[Param::one("output", Types::ALL_TENSORS, "")],
};

/// The room of ConstantOfShape.
pub static ROOM: Room = Room {
    domain: "",
    name: "ConstantOfShape",
    since: &[9, 20, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| {
        let op = ConstantOfShape::read(a)?;
        match &op.value {
            Some(value) if value.len() != 1 => {
                Err(OpError::new(format!("value has {} elements, but must have one", value.len())))
            }
            _ => Ok(shared(op)),
        }
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        // The official cases test_constantofshape_*.
        vec![
            Case::new("ones", ConstantOfShape { value: Some(floats(&[1], &[1.0])) })
                .input(ints(&[3], &[4, 3, 2]))
                .expect(floats(&[4, 3, 2], &[1.0; 24])),
            Case::new("default", ConstantOfShape { value: None })
                .input(ints(&[1], &[3]))
                .expect(floats(&[3], &[0.0; 3])),
            Case::new("empty", ConstantOfShape { value: Some(ints(&[1], &[7])) })
                .input(ints(&[1], &[0]))
                .expect(ints(&[0], &[])),
            Case::new("scalar", ConstantOfShape { value: Some(ints(&[1], &[7])) })
                .input(ints(&[0], &[]))
                .expect(ints(&[], &[7])),
            Case::new(
                "packed",
                ConstantOfShape {
                    value: Some(Tensor::from_i64s(DType::I4, &[1], &[-3]).expect("one value fills it")),
                },
            )
            .input(ints(&[2], &[3, 1]))
            .expect(Tensor::from_i64s(DType::I4, &[3, 1], &[-3; 3]).expect("three values fill it")),
        ]
    },
};

impl ConstantOfShape {
    fn scalar(&self) -> Result<Tensor, OpError> {
        match &self.value {
            Some(value) => Ok(value.reshape(&[])?),
            None => Ok(Tensor::scalar(0f32)),
        }
    }
}

impl Op for ConstantOfShape {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let scalar = self.scalar()?;
        let dtype = scalar.dtype();
        let Some(shape) = ctx.ints(0) else {
            match ctx.shape(0).and_then(|s| s.first()?.as_size()).filter(|&rank| rank <= 64) {
                Some(rank) => {
                    let dims: Dims = (0..rank).map(|axis| ctx.unknown_dim(0, axis)).collect();
                    ctx.set_tensor(0, dtype, dims);
                }
                None => ctx.set_unranked(0, dtype),
            }
            return Ok(());
        };
        if shape.dims.iter().any(|d| d.as_known().is_some_and(|n| n < 0)) {
            return Err(Unknown::wrong("the shape has negative sizes"));
        }
        let value = match dtype {
            DType::I64 | DType::I32 => scalar.to_i64s()?.first().map(|&v| Dim::known(v)),
            _ => None,
        };
        if let Some(value) = value {
            match shape.dims.as_slice() {
                [] => ctx.set_ints(0, Dims::from_slice(&[value]), true),
                [len] if len.as_size().is_some_and(|n| n <= 256) => {
                    ctx.set_ints(0, Dims::from_elem(value, len.as_size().unwrap_or(0)), false);
                }
                _ => {}
            }
        }
        ctx.set_tensor(0, dtype, shape.dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let scalar = self.scalar()?;
        kernel(move |run| {
            let shape = sizes(&run.ints(0)?)?;
            spread(run, 0, &scalar, &shape)
        })
    }
}
