//! [GroupNorm](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupNorm): GroupNormalization with the channels last.

use crate::formula::{Formula, like_first, plain};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

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
    crate::with_cases!();
    let op = |a: Attributes| GroupNorm::read(&a).expect("attributes of the operator");
    // Values by NumPy.
    vec![
        Case::new(
            "silu",
            op(Attributes::new().with("activation", 1i64).with("groups", 2i64).with("epsilon", 0.01f32)),
        )
        .input(noise(&[2, 2, 2, 4], 1))
        .input(noise(&[4], 2))
        .input(noise(&[4], 3))
        .expect(floats(
            &[2, 2, 2, 4],
            &[
                -0.245133, 0.62896, 0.345189, -0.274079, -0.260761, 0.672383, 0.291883, -0.26206, -0.273272,
                0.753199, 0.058947, -0.239686, -0.259616, 0.159182, 0.072622, -0.264259, -0.220556, 0.731221,
                0.186813, -0.038807, -0.262689, 0.002632, 0.083405, -0.239929, -0.250175, -0.019686,
                0.093688, -0.190604, -0.263724, 0.969075, 0.138468, -0.251368,
            ],
        )),
        Case::new(
            "channels first",
            op(Attributes::new().with("activation", 0i64).with("groups", 2i64).with("channels_last", 0i64)),
        )
        .input(noise(&[2, 4, 2, 2], 1))
        .input(noise(&[4], 2))
        .input(noise(&[4], 3))
        .expect(floats(
            &[2, 4, 2, 2],
            &[
                -0.870565, -0.696493, -0.477742, -0.989257, -0.190253, 0.655303, 0.959034, 0.018867,
                0.040351, 0.582337, 0.1668, 0.381338, -0.868163, -0.64589, -0.924285, -1.719801, -0.674463,
                -0.576508, -0.653508, -0.536769, -0.241946, -0.217618, 0.434817, -0.151985, 0.110244,
                -0.037767, 0.251812, 0.374582, -1.59328, 0.046269, -0.640994, -0.66034,
            ],
        )),
    ]
}
