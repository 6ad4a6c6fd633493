//! [Det](https://onnx.ai/onnx/operators/onnx__Det.html): the determinants of square matrices.

use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The determinant of each matrix that the last two dimensions form.
    pub struct Det {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of Det.
pub static ROOM: Room = Room {
    domain: "",
    name: "Det",
    since: &[11, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Det::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // NumPy's linalg.det.
        let mut cases = vec![
            Case::new("batch", Det {})
                .input(floats(&[3, 2, 2], &[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 2.0, 1.0, 1.0, 3.0, 3.0, 1.0]))
                .expect(floats(&[3], &[-2.0, -3.0, -8.0])),
            Case::new("rows swapped", Det {})
                .input(floats(&[3, 3], &[0.0, 2.0, 1.0, 1.0, 0.0, 0.0, 3.0, 0.0, 5.0]))
                .expect(floats(&[], &[-10.0])),
            Case::new("singular", Det {})
                .input(floats(&[2, 2], &[1.0, 2.0, 2.0, 4.0]))
                .expect(floats(&[], &[0.0])),
            Case::new("no rows", Det {}).input(floats(&[2, 0, 0], &[])).expect(floats(&[2], &[1.0, 1.0])),
            Case::new("no matrices", Det {}).input(floats(&[0, 2, 2], &[])).expect(floats(&[0], &[])),
        ];
        for dtype in [DType::F64, DType::F16, DType::BF16] {
            let of = |shape: &[usize], values: &[f64]| {
                Tensor::from_f64s(dtype, shape, values).expect("a float type")
            };
            cases.push(
                Case::new(dtype.name(), Det {})
                    .input(of(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))
                    .expect(of(&[], &[-2.0])),
            );
        }
        cases
    },
};

/// By Gaussian elimination with the largest pivot of each column, in place.
fn determinant(matrix: &mut [f64], size: usize) -> f64 {
    let mut product = 1.0;
    for k in 0..size {
        let pivot = (k..size)
            .max_by(|&a, &b| matrix[a * size + k].abs().total_cmp(&matrix[b * size + k].abs()))
            .unwrap_or(k);
        let head = matrix[pivot * size + k];
        if head == 0.0 {
            return 0.0;
        }
        if pivot != k {
            for column in 0..size {
                matrix.swap(k * size + column, pivot * size + column);
            }
            product = -product;
        }
        product *= head;
        for row in k + 1..size {
            let factor = matrix[row * size + k] / head;
            for column in k..size {
                matrix[row * size + column] -= factor * matrix[k * size + column];
            }
        }
    }
    product
}

impl Op for Det {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(shape) = ctx.shape(0) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let square = match shape {
            [.., a, b] => match (a.as_known(), b.as_known()) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            },
            _ => false,
        };
        if !square {
            return Err(Unknown::wrong(format!("{} holds no square matrices", ShownDims(shape))));
        }
        let batch = Dims::from_slice(&shape[..shape.len() - 2]);
        ctx.set_tensor(0, dtype, batch);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let x = run.tensor(0)?;
            let (size, batch) = match x.shape() {
                [batch @ .., a, b] if a == b => (*a, batch.to_vec()),
                other => return Err(OpError::new(format!("{other:?} holds no square matrices"))),
            };
            let mut values = x.to_f64s()?;
            let count = oxidane_tensor::element_count(&batch)?;
            run.check_scratch(count.checked_mul(2 * size_of::<f64>()))?;
            let mut results = vec![1.0; count];
            if size > 0 {
                for (matrix, result) in values.chunks_exact_mut(size * size).zip(&mut results) {
                    run.checkpoint()?;
                    *result = determinant(matrix, size);
                }
            }
            let out = Tensor::from_f64s(x.dtype(), &batch, &results)?;
            run.set(0, out);
            Ok(())
        })
    }
}
