//! [GroupNorm](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupNorm): GroupNormalization with the channels last.

use super::formula::{Formula, like_first, plain};
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};

attributes! {
    /// GroupNormalization and perhaps `x * sigmoid(x)`.
    pub struct GroupNorm { activation: i64, channels_last: bool = true, epsilon: f32 = 1e-5, groups: i64 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("gamma", types::FLOAT, "M"),
        Param::one("beta", types::FLOAT, "M"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of GroupNorm.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "GroupNorm",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GroupNorm::read(a)?)),
    steps: &[],
    cases,
};

impl Op for GroupNorm {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_first(ctx)
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (mut x, gamma, beta) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let dtype = f.dtype(x)?;
        let rank = f.rank(x)? as i64;
        if rank < 3 {
            return Err(OpError::new(format!("X must have rank 3 or more, but has {rank}")));
        }
        if self.channels_last {
            let front: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            x = f.transpose(x, &front)?;
        }
        let (gamma, beta) = (f.cast(gamma, dtype)?, f.cast(beta, dtype)?);
        let attributes = plain().with("epsilon", self.epsilon).with("num_groups", self.groups);
        let mut y = f.with("GroupNormalization", attributes, &[x, gamma, beta])?;
        match self.activation {
            0 => {}
            1 => {
                let gate = f.op("Sigmoid", &[y])?;
                y = f.op("Mul", &[y, gate])?;
            }
            other => return Err(OpError::new(format!("activation is {other}, but may be 0 or 1"))),
        }
        if self.channels_last {
            let back: Vec<i64> = [0].into_iter().chain(2..rank).chain([1]).collect();
            y = f.transpose(y, &back)?;
        }
        Ok(Some(vec![y]))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
