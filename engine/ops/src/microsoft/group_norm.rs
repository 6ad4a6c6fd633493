//! [GroupNorm](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupNorm): GroupNormalization with the channels last.

use super::formula::{Formula, like_first, plain};
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
                -0.2451326,
                0.62896049,
                0.3451893,
                -0.27407891,
                -0.26076114,
                0.67238295,
                0.29188263,
                -0.26206005,
                -0.27327219,
                0.75319898,
                0.058946513,
                -0.23968607,
                -0.25961605,
                0.1591818,
                0.072621576,
                -0.26425898,
                -0.22055621,
                0.73122144,
                0.1868127,
                -0.038806528,
                -0.26268891,
                0.0026324173,
                0.083405033,
                -0.23992878,
                -0.25017464,
                -0.019686367,
                0.093688399,
                -0.1906036,
                -0.26372412,
                0.96907538,
                0.13846777,
                -0.25136751,
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
                -0.87056518,
                -0.69649327,
                -0.47774196,
                -0.9892571,
                -0.19025277,
                0.65530324,
                0.95903361,
                0.018867444,
                0.040351182,
                0.5823375,
                0.16680007,
                0.38133818,
                -0.86816275,
                -0.64588982,
                -0.92428488,
                -1.7198011,
                -0.67446268,
                -0.5765081,
                -0.65350795,
                -0.53676879,
                -0.24194582,
                -0.21761803,
                0.4348174,
                -0.15198453,
                0.11024354,
                -0.037766546,
                0.25181228,
                0.37458166,
                -1.5932801,
                0.046269391,
                -0.64099383,
                -0.66034025,
            ],
        )),
    ]
}
