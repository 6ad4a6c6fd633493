//! [MatMulInteger](https://onnx.ai/onnx/operators/onnx__MatMulInteger.html): the product of matrices of 8-bit
//! integers in `int32`.

use super::integer::Right;
use crate::math::matmul::product_dims;
use crate::{Case, Form, Room, attributes, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::integer::Product;
use oxidane_kernels::matmul::{matmul_integer, matmul_shape};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The product of two matrices, each minus its zero point: one, one a row of the left, or one a column of the
    /// right.
    pub struct MatMulInteger {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::BYTES, "T1"),
        Param::one("B", types::BYTES, "T2"),
        Param::optional("a_zero_point", types::BYTES, "T1"),
        Param::optional("b_zero_point", types::BYTES, "T2"),
    ],
    outputs: &[Param::one("Y", types::INT32, "T3")],
};

/// The room of MatMulInteger.
pub static ROOM: Room = Room {
    domain: "",
    name: "MatMulInteger",
    since: &[10],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MatMulInteger::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |dtype, shape: &[usize], values: &[i64]| {
            Tensor::from_i64s(dtype, shape, values).expect("8-bit integers")
        };
        let a = || of(DType::U8, &[4, 3], &[11, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]);
        let b = || of(DType::U8, &[3, 2], &[1, 4, 2, 5, 3, 6]);
        // The specification's example, and NumPy.
        vec![
            Case::new("example", MatMulInteger {})
                .input(a())
                .input(b())
                .input(of(DType::U8, &[1], &[12]))
                .input(of(DType::U8, &[1], &[0]))
                .expect(of(DType::I32, &[4, 2], &[-38, -83, -44, -98, -50, -113, -56, -128])),
            Case::new("bare", MatMulInteger {}).input(a()).input(b()).expect(of(
                DType::I32,
                &[4, 2],
                &[34, 97, 28, 82, 22, 67, 16, 52],
            )),
            Case::new("rows and columns", MatMulInteger {})
                .input(of(DType::I8, &[2, 2], &[1, -2, 3, -4]))
                .input(of(DType::I8, &[2, 2], &[5, 6, -7, -8]))
                .input(of(DType::I8, &[2], &[1, -1]))
                .input(of(DType::I8, &[2], &[0, 2]))
                .expect(of(DType::I32, &[2, 2], &[21, 30, 41, 46])),
            Case::new("mixed batches", MatMulInteger {})
                .input(of(DType::U8, &[2, 1, 2], &[255, 0, 128, 1]))
                .input(of(DType::I8, &[2, 2], &[-128, 127, 1, -1]))
                .expect(of(DType::I32, &[2, 1, 2], &[-32640, 32385, -16383, 16255])),
        ]
    },
};

impl Op for MatMulInteger {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(a), Some(b)) => {
                let dims = product_dims(a, b)?;
                ctx.set_tensor(0, DType::I32, dims);
            }
            _ => ctx.set_unranked(0, DType::I32),
        }
        Ok(())
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let right = Right::of(call, 1, false);
        kernel(move |run| {
            let shape = matmul_shape(run.tensor(0)?.shape(), run.tensor(1)?.shape())?;
            run.check_elements(&shape, size_of::<i32>())?;
            let (a, b) = (run.tensor(0)?, run.tensor(1)?);
            let (a_zero, b_zero) = (run.try_tensor(2)?, run.try_tensor(3)?);
            let y = match right.operands(a, b, a_zero, b_zero)? {
                Some(operands) => {
                    let mut y = run.allocate(0, DType::I32, &shape)?;
                    right.product(run.pool(), &operands, b, &[], Product::Whole(y.slice_mut()?))?;
                    y.freeze()
                }
                None => matmul_integer(run.pool(), a, b, a_zero, b_zero)?,
            };
            run.set(0, y);
            Ok(())
        })
    }
}
