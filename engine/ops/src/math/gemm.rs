//! [Gemm](https://onnx.ai/onnx/operators/onnx__Gemm.html): a matrix product plus a matrix.

use crate::{Case, Form, Room, Step, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Type, Unknown,
    broadcast_dims, kernel, shared,
};
use oxidane_kernels::matmul::{self, GemmAttributes};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// `alpha A B + beta C` for matrices A and B, read transposed where asked, and C broadcast to the product.
    #[allow(non_snake_case, reason = "as the standard spells its attributes")]
    pub struct Gemm {
        alpha: f32 = 1.0,
        beta: f32 = 1.0,
        transA: bool = false,
        transB: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::ARITHMETIC, "T"),
        Param::one("B", types::ARITHMETIC, "T"),
        Param::optional("C", types::ARITHMETIC, "T"),
    ],
    outputs: &[Param::one("Y", types::ARITHMETIC, "T")],
};

/// The room of Gemm.
pub static ROOM: Room = Room {
    domain: "",
    name: "Gemm",
    since: &[1, 6, 7, 9, 11, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Gemm::read(a)?)),
    steps: &[
        Step {
            to: 7,
            up: |d| {
                d.attributes.take("broadcast");
                Ok(())
            },
            down: |d| {
                let transposed = |name| Ok::<_, OpError>(d.attributes.value::<i64>(name)?.unwrap_or(0) != 0);
                let (a, b) = (transposed("transA")?, transposed("transB")?);
                let shape = |slot| d.ty(slot).and_then(Type::shape);
                let same = match (shape(0), shape(1), shape(2)) {
                    (Some(x), Some(y), Some(c)) if x.len() == 2 && y.len() == 2 => {
                        c == [x[usize::from(a)], y[usize::from(!b)]]
                    }
                    _ => false,
                };
                if !same {
                    d.attributes.set("broadcast", 1i64);
                }
                Ok(())
            },
        },
        Step {
            to: 11,
            up: |_| Ok(()),
            down: |d| {
                if d.input(2).is_none() {
                    let dtype = d.ty(0).and_then(Type::dtype).ok_or_else(|| {
                        OpError::new(
                            "this opset asks for a third input, but the type of the first is not known",
                        )
                        .help("export to opset 11 or later")
                    })?;
                    let zero = d.add_constant(Tensor::zeros(dtype, &[1])?);
                    d.set_input(2, Some(zero));
                }
                Ok(())
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let a = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = || floats(&[3, 2], &[1.0, -1.0, 0.5, 2.0, 0.0, 3.0]);
        let plain = Gemm { alpha: 1.0, beta: 1.0, transA: false, transB: false };
        let mut cases = vec![
            // alpha = 0.5, beta = 2: [1, 6; 3.25, 12] + [2, -2].
            Case::new("scaled", Gemm { alpha: 0.5, beta: 2.0, ..plain.clone() })
                .input(a())
                .input(b())
                .input(floats(&[2], &[1.0, -1.0]))
                .expect(floats(&[2, 2], &[3.0, 4.0, 5.25, 10.0])),
            Case::new("column", plain.clone())
                .input(a())
                .input(b())
                .input(floats(&[2, 1], &[1.0, -1.0]))
                .expect(floats(&[2, 2], &[3.0, 13.0, 5.5, 23.0])),
            Case::new("scalar", plain.clone())
                .input(a())
                .input(b())
                .input(floats(&[], &[1.0]))
                .expect(floats(&[2, 2], &[3.0, 13.0, 7.5, 25.0])),
            Case::new("transposed", Gemm { transA: true, transB: true, ..plain.clone() })
                .input(floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]))
                .input(floats(&[2, 3], &[1.0, 0.5, 0.0, -1.0, 2.0, 3.0]))
                .expect(floats(&[2, 2], &[2.0, 12.0, 6.5, 24.0])),
            Case::new("noise", plain.clone())
                .input(noise(&[5, 7], 1))
                .input(noise(&[7, 4], 2))
                .input(noise(&[5, 4], 3)),
            Case::new("nothing inside", plain.clone())
                .input(floats(&[2, 0], &[]))
                .input(floats(&[0, 2], &[]))
                .input(floats(&[2], &[1.0, 2.0]))
                .expect(floats(&[2, 2], &[1.0, 2.0, 1.0, 2.0])),
            Case::new("int64", plain.clone())
                .input(ints(&[2, 2], &[1, 2, 3, 4]))
                .input(ints(&[2, 2], &[5, 6, 7, 8]))
                .input(ints(&[1], &[1]))
                .expect(ints(&[2, 2], &[20, 23, 44, 51])),
        ];
        for (name, dtype) in [
            ("float", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            let of = |t: Tensor| t.cast(dtype, CastRules::default()).expect("a float type");
            cases.push(
                Case::new(name, plain.clone())
                    .input(of(a()))
                    .input(of(b()))
                    .expect(of(floats(&[2, 2], &[2.0, 12.0, 6.5, 24.0]))),
            );
        }
        cases
    },
};

impl Op for Gemm {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        // Rows and columns of an operand as the product reads it.
        let matrix = |slot: usize, transposed: bool| -> Result<[Option<Dim>; 2], Unknown> {
            match ctx.shape(slot) {
                None => Ok([None, None]),
                Some(&[rows, cols]) if transposed => Ok([Some(cols), Some(rows)]),
                Some(&[rows, cols]) => Ok([Some(rows), Some(cols)]),
                Some(other) => Err(Unknown::wrong(format!(
                    "{} is {}, but must be a matrix",
                    ctx.called(slot),
                    ShownDims(other)
                ))),
            }
        };
        let ([m, inner_a], [inner_b, n]) = (matrix(0, self.transA)?, matrix(1, self.transB)?);
        if let (Some(x), Some(y)) = (inner_a.and_then(Dim::as_known), inner_b.and_then(Dim::as_known))
            && x != y
        {
            return Err(Unknown::wrong(format!("the inner sizes of the product differ: {x} and {y}")));
        }
        let m = m.unwrap_or_else(|| ctx.unknown_dim(0, 0));
        let n = n.unwrap_or_else(|| ctx.unknown_dim(0, 1));
        if let Some(c) = ctx.shape(2) {
            let product = Dims::from_slice(&[m, n]);
            if c.len() > 2
                || broadcast_dims(c, &product)?
                    .iter()
                    .zip(&product)
                    .any(|(a, b)| matches!((a.as_known(), b.as_known()), (Some(a), Some(b)) if a != b))
            {
                return Err(Unknown::wrong(format!(
                    "{} is {}, which does not broadcast to the product {}",
                    ctx.called(2),
                    ShownDims(c),
                    ShownDims(&product)
                )));
            }
        }
        ctx.set_tensor(0, dtype, [m, n]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let attributes =
            GemmAttributes { alpha: self.alpha, beta: self.beta, trans_a: self.transA, trans_b: self.transB };
        kernel(move |run| {
            let c = run.try_tensor(2)?;
            let side = |slot: usize, turned: bool, axis: usize| -> Result<usize, OpError> {
                Ok(run.tensor(slot)?.shape().get(if turned { 1 - axis } else { axis }).copied().unwrap_or(1))
            };
            let sizes = [side(0, attributes.trans_a, 0)?, side(1, attributes.trans_b, 1)?];
            run.check_elements(&sizes, run.tensor(0)?.dtype().bits().div_ceil(8))?;
            let out = matmul::gemm(run.pool(), run.tensor(0)?, run.tensor(1)?, c, attributes)?;
            run.set(0, out);
            Ok(())
        })
    }
}
