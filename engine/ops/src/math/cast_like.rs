//! [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html): the elements in the type of another tensor.

use crate::math::cast::{Cast, ROUND_MODE, SATURATE, infer_cast, rules};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Type, Unknown, ValueId, kernel,
    shared,
};

attributes! {
    /// The first input's elements converted to the type of the second.
    pub struct CastLike {
        /// How conversions to powers of two (`float8e8m0`) round: `up`, `down` or `nearest`.
        round_mode: String = "up".to_owned(),
        /// Whether conversions to 8-bit floats cut to their range.
        saturate: bool = true,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::CASTABLE, "T1"), Param::one("target_type", types::CASTABLE, "T2")],
    outputs: &[Param::one("output", types::CASTABLE, "T2")],
};

/// The room of CastLike.
pub static ROOM: Room = Room {
    domain: "",
    name: "CastLike",
    since: &[15, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| {
        let op = CastLike::read(a)?;
        rules(op.saturate, &op.round_mode)?;
        Ok(shared(op))
    },
    steps: &[SATURATE, ROUND_MODE],
    cases: || {
        crate::with_cases!();
        let op = CastLike { round_mode: "up".to_owned(), saturate: true };
        vec![
            Case::new("int64", op.clone())
                .input(floats(&[3], &[-1.5, 0.0, 2.5]))
                .input(ints(&[1], &[0]))
                .expect(ints(&[3], &[-1, 0, 2])),
            Case::new("float", op)
                .input(ints(&[2], &[3, -4]))
                .input(floats(&[], &[0.0]))
                .expect(floats(&[2], &[3.0, -4.0])),
        ]
    },
};

impl Op for CastLike {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let to = ctx.dtype(1)?;
        infer_cast(ctx, to, rules(self.saturate, &self.round_mode)?)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let rules = rules(self.saturate, &self.round_mode)?;
        kernel(move |run| {
            let (x, to) = (run.tensor(0)?, run.tensor(1)?.dtype());
            let out = x.cast_into(to, rules, || run.allocate(0, to, x.shape()))?;
            run.set(0, out);
            Ok(())
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let (x, like) = (build.graph().node(node).input(0), build.graph().node(node).input(1));
        let (Some(x), Some(like)) = (x, like) else { return Ok(None) };
        let Some(to) = build.ty(like).and_then(Type::dtype) else { return Ok(None) };
        let cast = Cast { round_mode: self.round_mode.clone(), saturate: self.saturate, to };
        Ok(Some(vec![build.add(cast, &[x])]))
    }
}
