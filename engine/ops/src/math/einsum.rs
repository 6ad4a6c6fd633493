//! [Einsum](https://onnx.ai/onnx/operators/onnx__Einsum.html): sums of products in Einstein's notation.

use crate::{Case, Form, Room, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::contract::{self, Equation};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// The product of all operands, summed over the labels that the result does not have.
    pub struct Einsum {
        /// The labels of the operands' dimensions and of the result's, such as `bij,bjk->bik`.
        equation: String,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::variadic("Inputs", types::NUMERIC, "T", 1)],
    outputs: &[Param::one("Output", types::NUMERIC, "T")],
};

/// The room of Einsum.
pub static ROOM: Room = Room {
    domain: "",
    name: "Einsum",
    since: &[12, 28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Einsum::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |equation: &str| Einsum { equation: equation.to_owned() };
        let a = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = || floats(&[3, 2], &[1.0, -1.0, 0.5, 2.0, 0.0, 3.0]);
        // Worked out by hand and with NumPy's einsum.
        let mut cases = vec![
            Case::new("transpose", op("ij->ji"))
                .input(a())
                .expect(floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0])),
            Case::new("sum", op("ij->i")).input(a()).expect(floats(&[2], &[6.0, 15.0])),
            Case::new("total", op("ij->")).input(a()).expect(floats(&[], &[21.0])),
            Case::new("implicit", op("ij,jk"))
                .input(a())
                .input(b())
                .expect(floats(&[2, 2], &[2.0, 12.0, 6.5, 24.0])),
            Case::new("diagonal", op("...ii ->...i"))
                .input(floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))
                .expect(floats(&[2], &[1.0, 4.0])),
            Case::new("inner", op("i,i"))
                .input(ints(&[3], &[1, 2, 3]))
                .input(ints(&[3], &[4, 5, 6]))
                .expect(ints(&[], &[32])),
            Case::new("outer", op("i,j->ij"))
                .input(floats(&[2], &[1.0, 2.0]))
                .input(floats(&[2], &[3.0, 4.0]))
                .expect(floats(&[2, 2], &[3.0, 4.0, 6.0, 8.0])),
            Case::new("batches", op("bij, bjk -> bik"))
                .input(noise(&[5, 2, 3], 1))
                .input(noise(&[5, 3, 4], 2)),
            Case::new("ellipsis", op("...ij,...jk->...ik"))
                .input(noise(&[2, 1, 2, 3], 3))
                .input(noise(&[4, 3, 2], 4)),
            Case::new("three", op("ij,jk,kl->il"))
                .input(noise(&[2, 3], 5))
                .input(noise(&[3, 4], 6))
                .input(noise(&[4, 2], 7)),
            Case::new("empty", op("ij,jk->ik"))
                .input(floats(&[2, 0], &[]))
                .input(floats(&[0, 2], &[]))
                .expect(floats(&[2, 2], &[0.0; 4])),
        ];
        for dtype in [
            DType::F64,
            DType::F16,
            DType::BF16,
            DType::I64,
            DType::I32,
            DType::I16,
            DType::I8,
            DType::U64,
            DType::U32,
            DType::U16,
            DType::U8,
        ] {
            let of = |shape: &[usize], values: &[i64]| -> Tensor {
                ints(shape, values).cast(dtype, CastRules::default()).expect("numbers cast to each other")
            };
            cases.push(
                Case::new(dtype.name(), op("ij,jk->ik"))
                    .input(of(&[2, 2], &[1, 2, 3, 4]))
                    .input(of(&[2, 2], &[5, 6, 7, 8]))
                    .expect(of(&[2, 2], &[19, 22, 43, 50])),
            );
        }
        cases
    },
};

impl Op for Einsum {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let shapes: Option<Vec<Dims>> =
            (0..ctx.input_count()).map(|slot| ctx.shape(slot).map(Dims::from_slice)).collect();
        let Some(shapes) = shapes else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let ranks: Vec<usize> = shapes.iter().map(|s| s.len()).collect();
        let equation = Equation::parse(&self.equation, &ranks)?;
        let one = Dim::known(1);
        let size = |label: u32| -> Result<Dim, Unknown> {
            let sizes = equation.terms().iter().zip(&shapes).flat_map(|(term, shape)| term.iter().zip(shape));
            sizes.filter(|(l, _)| **l == label).try_fold(one, |all, (_, &size)| {
                match (all.as_known(), size.as_known()) {
                    (Some(1), _) => Ok(size),
                    (_, Some(1)) => Ok(all),
                    (Some(a), Some(b)) if a != b => Err(Unknown::wrong(format!(
                        "the equation `{}` gives one label the sizes {a} and {b}",
                        self.equation
                    ))),
                    (Some(_), _) => Ok(all),
                    (_, Some(_)) => Ok(size),
                    _ => Ok(all.max(size)),
                }
            })
        };
        for &label in equation.terms().iter().flatten() {
            size(label)?;
        }
        let dims: Dims = equation.result().iter().map(|&label| size(label)).collect::<Result<_, _>>()?;
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let equation = self.equation.clone();
        kernel(move |run| {
            let operands: Vec<&Tensor> =
                (0..run.input_count()).map(|slot| run.tensor(slot)).collect::<Result<_, _>>()?;
            let shapes: Vec<&[usize]> = operands.iter().map(|t| t.shape()).collect();
            let ranks: Vec<usize> = shapes.iter().map(|s| s.len()).collect();
            let shape = Equation::parse(&equation, &ranks)?.shape(&shapes)?;
            run.check_elements(&shape, operands.first().map_or(1, |t| t.dtype().bits().div_ceil(8)))?;
            let out = contract::einsum(run.pool(), &equation, &operands)?;
            run.set(0, out);
            Ok(())
        })
    }
}
