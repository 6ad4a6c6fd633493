//! [Shape](https://onnx.ai/onnx/operators/onnx__Shape.html): the sizes of a tensor, or some of them.

use super::slice::Slice;
use crate::{Case, Form, Room, Step, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, IntList, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};
use std::ops::Range;

attributes! {
    /// The sizes from axis `start` to before axis `end`; both may be negative and are cut to what there is.
    pub struct Shape { end: Option<i64>, start: i64 = 0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::ALL, "T")],
    outputs: &[Param::one("shape", types::INT64, "")],
};

/// The room of Shape.
pub static ROOM: Room = Room {
    domain: "",
    name: "Shape",
    since: &[1, 13, 15, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Shape::read(a)?)),
    steps: &[Step {
        to: 15,
        up: |_| Ok(()),
        down: |d| {
            let start = d.attributes.value::<i64>("start")?.unwrap_or(0);
            let end = d.attributes.value::<i64>("end")?;
            d.attributes.take("start");
            d.attributes.take("end");
            // An end at or behind the rank takes all there is.
            let all = start == 0 && end.is_none_or(|end| d.rank(0).is_some_and(|rank| end >= rank as i64));
            if all {
                return Ok(());
            }
            let mut one = |value: i64| Ok::<_, OpError>(d.add_constant(Tensor::new(&[1], &[value])?));
            let bounds = [one(start)?, one(end.unwrap_or(i64::MAX))?, one(0)?];
            d.output_through(0, Slice {}, &bounds)
        },
    }],
    cases: || {
        crate::with_cases!();
        let x = || noise(&[3, 4, 5], 1);
        // The official cases test_shape_*.
        let case = |name, start, end, expected: &[i64]| {
            Case::new(name, Shape { start, end }).input(x()).expect(ints(&[expected.len()], expected))
        };
        vec![
            case("all", 0, None, &[3, 4, 5]),
            case("start", 1, None, &[4, 5]),
            case("end", 0, Some(1), &[3]),
            case("negative start", -1, None, &[5]),
            case("negative both", -2, Some(-1), &[4]),
            case("cut at both ends", -10, Some(10), &[3, 4, 5]),
            case("nothing left", 2, Some(1), &[]),
            Case::new("scalar", Shape { start: 0, end: None })
                .input(floats(&[], &[1.0]))
                .expect(ints(&[0], &[])),
        ]
    },
};

impl Shape {
    fn range(&self, rank: usize) -> Range<usize> {
        let rank = rank as i64;
        let cut = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (cut(self.start), cut(self.end.unwrap_or(rank)));
        start..end.max(start)
    }
}

impl Op for Shape {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match ctx.shape(0) {
            Some(shape) => {
                let dims = Dims::from_slice(&shape[self.range(shape.len())]);
                ctx.set_tensor(0, DType::I64, [Dim::from(dims.len())]);
                ctx.set_ints(0, dims, false);
            }
            None => {
                let len = ctx.unknown_dim(0, 0);
                ctx.set_tensor(0, DType::I64, [len]);
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let shape = run.tensor(0)?.shape();
            let sizes: IntList = shape[op.range(shape.len())].iter().map(|&d| d as i64).collect();
            run.set(0, Tensor::new(&[sizes.len()], &sizes)?);
            Ok(())
        })
    }
}
