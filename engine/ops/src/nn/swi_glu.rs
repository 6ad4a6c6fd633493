//! [SwiGLU](https://onnx.ai/onnx/operators/onnx__SwiGLU.html): a value gated by the Swish of another.

use crate::math::binary::{Binary, MUL};
use crate::math::unary::Unary;
use crate::{Case, Form, Room, attributes, floats, noise_of, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Type, Unknown, ValueId, shared};
use oxidane_kernels::Function;
use oxidane_tensor::DType;

attributes! {
    /// `a * sigmoid(alpha * a) * b`.
    pub struct SwiGLU { alpha: f32 = 1.0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("A", types::FLOAT, "T"), Param::one("B", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of SwiGLU.
pub static ROOM: Room = Room {
    domain: "",
    name: "SwiGLU",
    since: &[28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SwiGLU::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // Swish as in the room of Swish, times the value.
        let mut cases = vec![
            Case::new("one", SwiGLU { alpha: 1.0 })
                .input(floats(&[3], &[-2.5, 0.25, 3.0]))
                .input(floats(&[3], &[2.0, -1.0, 0.5]))
                .expect(floats(&[3], &[-0.3792909, -0.14054413, 1.4288611])),
            Case::new("two", SwiGLU { alpha: 2.0 })
                .input(floats(&[3], &[-2.5, 0.25, 3.0]))
                .input(floats(&[3], &[2.0, -1.0, 0.5]))
                .expect(floats(&[3], &[-0.033464253, -0.15561484, 1.496291])),
        ];
        for dtype in [DType::F64, DType::F16, DType::BF16] {
            cases.push(
                Case::new(dtype.name(), SwiGLU { alpha: 1.0 })
                    .input(noise_of(dtype, &[2, 3], 1))
                    .input(noise_of(dtype, &[2, 3], 2)),
            );
        }
        cases
    },
};

impl Op for SwiGLU {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let gate = ctx.known_ty(0)?;
        let met = match ctx.ty(1) {
            Some(value) => Type::meet(gate, value)
                .map_err(|why| OpError::new(format!("gate and value must have the same shape, but {why}")))?,
            None => gate.clone(),
        };
        ctx.set(0, met);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let node = build.graph().node(node);
        let (Some(gate), Some(value)) = (node.input(0), node.input(1)) else { return Ok(None) };
        let swish = build.add(Unary::new(Function::Swish { alpha: self.alpha })?, &[gate]);
        Ok(Some(vec![build.add(Binary::of(&MUL), &[swish, value])]))
    }
}
