//! [EyeLike](https://onnx.ai/onnx/operators/onnx__EyeLike.html): ones on a diagonal.

use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Types, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// A matrix of the input's shape with ones on diagonal `k` and zeros elsewhere.
    pub struct EyeLike {
        /// The element type; by default the input's.
        dtype: Option<DType>,
        k: i64 = 0,
    }
}

const TYPES: Types = types::NUMERIC.or(types::BOOL);

static SIGNATURE: Signature =
    Signature { inputs: &[Param::one("input", TYPES, "")], outputs: &[Param::one("output", TYPES, "")] };

/// The room of EyeLike.
pub static ROOM: Room = Room {
    domain: "",
    name: "EyeLike",
    since: &[9, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(EyeLike::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // NumPy: eye.
        vec![
            Case::new("typed", EyeLike { dtype: Some(DType::F32), k: 0 })
                .input(ints(&[2, 3], &[7; 6]))
                .expect(floats(&[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])),
            Case::new("lower diagonal", EyeLike { dtype: None, k: -1 })
                .input(ints(&[3, 2], &[7; 6]))
                .expect(ints(&[3, 2], &[0, 0, 1, 0, 0, 1])),
            Case::new("far off", EyeLike { dtype: None, k: i64::MAX })
                .input(ints(&[2, 2], &[7; 4]))
                .expect(ints(&[2, 2], &[0; 4])),
        ]
    },
};

impl Op for EyeLike {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = match self.dtype {
            Some(dtype) => dtype,
            None => ctx.dtype(0)?,
        };
        let dims: Dims = match ctx.shape(0) {
            Some(shape) if shape.len() != 2 => {
                return Err(Unknown::wrong(format!("the input has rank {}, but must have 2", shape.len())));
            }
            Some(shape) => shape.into(),
            None => (0..2).map(|axis| ctx.unknown_dim(0, axis)).collect(),
        };
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let input = run.tensor(0)?;
            let dtype = op.dtype.unwrap_or(input.dtype());
            let [rows, columns] = *input.shape() else {
                return Err(OpError::new(format!(
                    "the input has the shape {:?}, but must be a matrix",
                    input.shape()
                )));
            };
            let one = Tensor::from_i64s(dtype, &[], &[1])?;
            let (Some(one), true) = (one.dense_bytes(), dtype.bits() >= 8) else {
                return Err(OpError::unsupported(format!("EyeLike of {dtype}")));
            };
            let mut out = run.allocate(0, dtype, &[rows, columns])?;
            let bytes = out.as_bytes_mut();
            bytes.fill(0);
            // The rows in which the diagonal has a column; there may be any number of rows without columns.
            let k = i128::from(op.k);
            let first = (-k).clamp(0, rows as i128) as usize;
            let end = (columns as i128 - k).clamp(0, rows as i128) as usize;
            for row in first..end {
                let at = (row * columns + (row as i128 + k) as usize) * one.len();
                bytes[at..at + one.len()].copy_from_slice(one);
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
