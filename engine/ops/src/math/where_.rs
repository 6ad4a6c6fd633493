//! [Where](https://onnx.ai/onnx/operators/onnx__Where.html): elements of one tensor or another.

use crate::formula::Formula;
use crate::tensor::moves::{Move, move_elements};
use crate::{Case, Form, Room, attributes, bools, floats, ints, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId,
    broadcast_dims, kernel, shared,
};
use oxidane_kernels::map;
use oxidane_pool::Pool;
use oxidane_tensor::{CastRules, DType, Tensor, broadcast};
use std::sync::Arc;

attributes! {
    /// The second input's element where the first is true, otherwise the third's; all three broadcast.
    pub struct Where {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("condition", types::BOOL, "B"),
        Param::one("X", types::PLAIN, "T"),
        Param::one("Y", types::PLAIN, "T"),
    ],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Where.
pub static ROOM: Room = Room {
    domain: "",
    name: "Where",
    since: &[9, 16],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Where::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let condition = || bools(&[2, 2], &[true, false, true, true]);
        let mut cases = vec![
            Case::new("broadcast", Where {})
                .input(bools(&[2, 1], &[true, false]))
                .input(floats(&[3], &[1.0, 2.0, 3.0]))
                .input(floats(&[], &[-1.0]))
                .expect(floats(&[2, 3], &[1.0, 2.0, 3.0, -1.0, -1.0, -1.0])),
            Case::new("string", Where {})
                .input(bools(&[2], &[true, false]))
                .input(texts(&["a", "b"]))
                .input(texts(&["c", "d"]))
                .expect(texts(&["a", "d"])),
            Case::new("empty", Where {})
                .input(bools(&[0], &[]))
                .input(floats(&[1], &[1.0]))
                .input(floats(&[1], &[2.0]))
                .expect(floats(&[0], &[])),
        ];
        // The specification's example, in every type.
        for dtype in [
            DType::F32,
            DType::I64,
            DType::I32,
            DType::I16,
            DType::I8,
            DType::U64,
            DType::U32,
            DType::U16,
            DType::U8,
            DType::F64,
            DType::F16,
            DType::BF16,
            DType::Complex64,
            DType::Complex128,
        ] {
            let of = |values: &[i64]| {
                ints(&[2, 2], values).cast(dtype, CastRules::default()).expect("numbers cast to each other")
            };
            cases.push(
                Case::new(dtype.name(), Where {})
                    .input(condition())
                    .input(of(&[1, 2, 3, 4]))
                    .input(of(&[9, 8, 7, 6]))
                    .expect(of(&[1, 8, 3, 4])),
            );
        }
        cases.push(
            Case::new("bool", Where {})
                .input(condition())
                .input(bools(&[2, 2], &[true, true, false, false]))
                .input(bools(&[2, 2], &[false, false, true, true]))
                .expect(bools(&[2, 2], &[true, false, false, false])),
        );
        cases
    },
};

fn texts(all: &[&str]) -> Tensor {
    Tensor::from_strings(&[all.len()], all.iter().map(|&s| Arc::from(s)).collect()).expect("a vector")
}

impl Op for Where {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(1).or_else(|_| ctx.dtype(2))?;
        match (ctx.shape(0), ctx.shape(1), ctx.shape(2)) {
            (Some(c), Some(x), Some(y)) => {
                let shape = broadcast_dims(&broadcast_dims(x, y)?, c)?;
                ctx.set_tensor(0, dtype, shape);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        let condition = ctx.constant(0).filter(|t| t.rank() <= 1 && t.len() <= 256);
        let condition = condition.and_then(|t| Some((t.values::<u8>().ok()?.into_owned(), t.rank() == 0)));
        if let (Some((condition, single)), Some(x), Some(y)) = (condition, ctx.ints(1), ctx.ints(2)) {
            let counts = [condition.len(), x.dims.len(), y.dims.len()];
            let count = counts.into_iter().find(|&n| n != 1).unwrap_or(1);
            if counts.into_iter().all(|n| n == 1 || n == count) {
                let pick = |n: usize, i: usize| if n == 1 { 0 } else { i };
                let dims: Dims = (0..count)
                    .map(|i| match condition[pick(counts[0], i)] {
                        0 => y.dims[pick(counts[2], i)],
                        _ => x.dims[pick(counts[1], i)],
                    })
                    .collect();
                ctx.set_ints(0, dims, single && x.scalar && y.scalar);
            }
        }
        Ok(())
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let Some(&Some(gradient)) = outputs.first() else { return Ok(vec![None; 3]) };
        let f = &mut Formula::new(build, node);
        let (condition, x, y) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let zero = f.number(0.0, gradient)?;
        let along_x = f.op("Where", &[condition, gradient, zero])?;
        let along_y = f.op("Where", &[condition, zero, gradient])?;
        Ok(vec![None, Some(f.unbroadcast(along_x, x)?), Some(f.unbroadcast(along_y, y)?)])
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let (c, x, y) = (run.dense(0)?, run.dense(1)?, run.dense(2)?);
            if x.dtype() != y.dtype() {
                return Err(OpError::new(format!("the choices are {} and {}", x.dtype(), y.dtype()))
                    .help("cast one to the type of the other"));
            }
            let shape = broadcast(&broadcast(x.shape(), y.shape())?, c.shape())?;
            let select =
                Select { condition: (c.slice()?, c.shape()), shapes: [x.shape(), y.shape()], shape: &shape };
            move_elements(run, 0, &[&x, &y], &shape, &select)
        })
    }
}

struct Select<'a> {
    condition: (&'a [u8], &'a [usize]),
    shapes: [&'a [usize]; 2],
    shape: &'a [usize],
}

impl Move for Select<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        let [x, y] = self.shapes;
        Ok(map::select(pool, self.condition, (sources[0], x), (sources[1], y), (output, self.shape))?)
    }
}
