//! [MatMul](https://onnx.ai/onnx/operators/onnx__MatMul.html): the matrix product by NumPy's rule.

use crate::formula::Formula;
use crate::{Case, Form, Room, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, ShownDims, Signature, Unknown,
    ValueId, broadcast_dims, kernel, shared,
};
use oxidane_kernels::matmul;
use oxidane_tensor::{CastRules, DType};

attributes! {
    /// The product of the last two dimensions; the others broadcast, and vectors stand for a row or a column.
    pub struct MatMul {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("A", types::ARITHMETIC, "T"), Param::one("B", types::ARITHMETIC, "T")],
    outputs: &[Param::one("Y", types::ARITHMETIC, "T")],
};

/// The room of MatMul.
pub static ROOM: Room = Room {
    domain: "",
    name: "MatMul",
    since: &[1, 9, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MatMul::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let a = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = || floats(&[3, 2], &[1.0, -1.0, 0.5, 2.0, 0.0, 3.0]);
        let product = || floats(&[2, 2], &[2.0, 12.0, 6.5, 24.0]);
        let mut cases = vec![
            Case::new("vector", MatMul {})
                .input(a())
                .input(floats(&[3], &[1.0, 0.0, -1.0]))
                .expect(floats(&[2], &[-2.0, -2.0])),
            Case::new("vectors", MatMul {})
                .input(ints(&[3], &[1, 2, 3]))
                .input(ints(&[3], &[4, 5, 6]))
                .expect(ints(&[], &[32])),
            Case::new("row and batch", MatMul {}).input(noise(&[4], 1)).input(noise(&[2, 4, 3], 2)),
            Case::new("batches", MatMul {}).input(noise(&[2, 1, 3, 4], 3)).input(noise(&[5, 4, 2], 4)),
            Case::new("nothing inside", MatMul {})
                .input(floats(&[2, 0], &[]))
                .input(floats(&[0, 2], &[]))
                .expect(floats(&[2, 2], &[0.0; 4])),
            Case::new("empty", MatMul {}).input(floats(&[0, 3], &[])).input(b()).expect(floats(&[0, 2], &[])),
        ];
        for (name, dtype) in [
            ("float", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            let of = |t: oxidane_tensor::Tensor| t.cast(dtype, CastRules::default()).expect("a float type");
            cases.push(Case::new(name, MatMul {}).input(of(a())).input(of(b())).expect(of(product())));
        }
        for (name, dtype) in
            [("int64", DType::I64), ("int32", DType::I32), ("uint64", DType::U64), ("uint32", DType::U32)]
        {
            let of = |shape: &[usize], values: &[i64]| {
                ints(shape, values).cast(dtype, CastRules::default()).expect("an integer type")
            };
            cases.push(
                Case::new(name, MatMul {})
                    .input(of(&[2, 2], &[1, 2, 3, 4]))
                    .input(of(&[2, 2], &[5, 6, 7, 8]))
                    .expect(of(&[2, 2], &[19, 22, 43, 50])),
            );
        }
        cases
    },
};

/// The sizes of a product of these operands.
///
/// # Errors
/// When an operand is a scalar, the inner sizes are known to differ, or the batches do not broadcast.
pub(crate) fn product_dims(a: &[Dim], b: &[Dim]) -> Result<Dims, OpError> {
    let fault =
        |why: &str| OpError::new(format!("cannot multiply {} by {}: {why}", ShownDims(a), ShownDims(b)));
    let (Some((&inner_a, rest_a)), Some(&last_b)) = (a.split_last(), b.last()) else {
        return Err(fault("a scalar is no matrix"));
    };
    let (inner_b, batch_b) = match b.len() {
        1 => (last_b, &[][..]),
        rank => (b[rank - 2], &b[..rank - 2]),
    };
    if let (Some(x), Some(y)) = (inner_a.as_known(), inner_b.as_known())
        && x != y
    {
        return Err(fault("the inner sizes differ"));
    }
    let batch_a = rest_a.split_last().map_or(&[][..], |(_, batch)| batch);
    let mut dims = broadcast_dims(batch_a, batch_b)?;
    dims.extend(rest_a.last().copied());
    if b.len() > 1 {
        dims.push(last_b);
    }
    Ok(dims)
}

impl Op for MatMul {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(a), Some(b)) => {
                let dims = product_dims(a, b)?;
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let Some(&Some(mut gradient)) = outputs.first() else { return Ok(vec![None, None]) };
        let f = &mut Formula::new(build, node);
        let (a, b) = (f.need(0)?, f.need(1)?);
        let (flat_a, flat_b) = (f.rank(a)? == 1, f.rank(b)? == 1);
        // A vector is a matrix of one row on the left, and of one column on the right.
        let (first, last) = (f.ints(&[-2])?, f.ints(&[-1])?);
        let row = if flat_a { f.op("Unsqueeze", &[a, first])? } else { a };
        let column = if flat_b { f.op("Unsqueeze", &[b, last])? } else { b };
        if flat_b {
            gradient = f.op("Unsqueeze", &[gradient, last])?;
        }
        if flat_a {
            gradient = f.op("Unsqueeze", &[gradient, first])?;
        }
        let (row_t, column_t) = (f.turned(row)?, f.turned(column)?);
        let along_a = f.op("MatMul", &[gradient, column_t])?;
        let along_b = f.op("MatMul", &[row_t, gradient])?;
        let (mut along_a, mut along_b) = (f.unbroadcast(along_a, row)?, f.unbroadcast(along_b, column)?);
        if flat_a {
            along_a = f.op("Squeeze", &[along_a, first])?;
        }
        if flat_b {
            along_b = f.op("Squeeze", &[along_b, last])?;
        }
        Ok(vec![Some(along_a), Some(along_b)])
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let (a, b) = (run.tensor(0)?, run.tensor(1)?);
            if a.dtype() != b.dtype() || !matches!(a.dtype(), DType::F32 | DType::F64) {
                let shape = matmul::matmul_shape(a.shape(), b.shape())?;
                run.check_elements(&shape, a.dtype().bits().div_ceil(8))?;
                let out = matmul::matmul(run.pool(), a, b)?;
                run.set(0, out);
                return Ok(());
            }
            let shape = matmul::matmul_shape(a.shape(), b.shape())?;
            let mut out = run.allocate(0, a.dtype(), &shape)?;
            match a.dtype() {
                DType::F32 => matmul::matmul_into::<f32>(run.pool(), a, b, out.slice_mut()?)?,
                _ => matmul::matmul_into::<f64>(run.pool(), a, b, out.slice_mut()?)?,
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
