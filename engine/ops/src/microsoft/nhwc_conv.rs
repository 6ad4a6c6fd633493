//! [NhwcConv](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.NhwcConv): Conv with the channels last.

use super::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

attributes! {
    /// Conv of an input whose channels are the last axis, as are the output's; the weight is laid out as for Conv.
    pub struct NhwcConv { auto_pad: String = "NOTSET".to_owned(), dilations: Option<Vec<i64>>, group: i64 = 1, kernel_shape: Option<Vec<i64>>, pads: Option<Vec<i64>>, strides: Option<Vec<i64>> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("W", types::FLOAT, "T"),
        Param::optional("B", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of NhwcConv.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "NhwcConv",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(NhwcConv::read(a)?)),
    steps: &[],
    cases,
};

impl Op for NhwcConv {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match (ctx.shape(0).map(Dims::from_slice), ctx.shape(1).map(Dims::from_slice)) {
            (Some(x), Some(w)) if x.len() > 2 && x.len() == w.len() => {
                let last = x.len() - 1;
                let dims: Vec<Dim> = (0..x.len())
                    .map(|i| match i {
                        0 => x[0],
                        i if i == last => w[0],
                        i => ctx.unknown_dim(0, i),
                    })
                    .collect();
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let mut attributes = plain().with("auto_pad", self.auto_pad.clone()).with("group", self.group);
        for (name, list) in [
            ("dilations", &self.dilations),
            ("kernel_shape", &self.kernel_shape),
            ("pads", &self.pads),
            ("strides", &self.strides),
        ] {
            attributes.set(name, list.clone());
        }
        let x = f.need(0)?;
        let rank = f.rank(x)? as i64;
        if rank < 3 {
            return Err(OpError::new(format!("X must have rank 3 or more, but has {rank}")));
        }
        let front: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let back: Vec<i64> = [0].into_iter().chain(2..rank).chain([1]).collect();
        let x = f.transpose(x, &front)?;
        let inputs = [Some(x), f.input(1), f.input(2)];
        let y = f.node("Conv", &attributes, &inputs, 1)?[0];
        Ok(Some(vec![f.transpose(y, &back)?]))
    }
}

fn cases() -> Vec<Case> {
    let op = |a: Attributes| NhwcConv::read(&a).expect("attributes of the operator");
    // Values by NumPy.
    vec![
        Case::new(
            "padded",
            op(Attributes::new()
                .with("pads", vec![1i64, 1, 1, 1])
                .with("kernel_shape", vec![3i64, 3])
                .with("dilations", vec![1i64, 1])),
        )
        .input(noise(&[1, 3, 3, 2], 1))
        .input(noise(&[3, 2, 3, 3], 2))
        .input(noise(&[3], 3))
        .expect(floats(
            &[1, 3, 3, 3],
            &[
                -0.94467282,
                0.40211952,
                -0.19214191,
                -0.69097787,
                1.0993561,
                -0.75860542,
                -1.1372976,
                0.033616446,
                0.33607611,
                -0.16135879,
                -1.0649157,
                1.6769832,
                0.49861163,
                -0.63692391,
                -0.53864992,
                -0.92157787,
                0.91842651,
                -0.13435633,
                -1.0843163,
                0.45943645,
                -0.32417989,
                -0.44890395,
                -0.46979228,
                0.50462729,
                -1.1578889,
                0.11675368,
                1.4669572,
            ],
        )),
        Case::new(
            "groups",
            op(Attributes::new()
                .with("strides", vec![2i64, 2])
                .with("group", 2i64)
                .with("auto_pad", "VALID".to_owned())),
        )
        .input(noise(&[1, 4, 4, 2], 1))
        .input(noise(&[2, 1, 2, 2], 2))
        .expect(floats(
            &[1, 2, 2, 2],
            &[
                0.30985549,
                0.21591143,
                0.27051264,
                -0.50347799,
                0.16905861,
                -0.67834699,
                -0.23307872,
                1.080175,
            ],
        )),
    ]
}
