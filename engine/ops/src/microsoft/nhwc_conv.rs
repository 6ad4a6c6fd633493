//! [NhwcConv](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.NhwcConv): Conv with the channels last.

use crate::formula::{Formula, plain};
use crate::nn::conv::Conv;
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
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
        let conv = Conv {
            auto_pad: self.auto_pad.clone(),
            dilations: self.dilations.clone(),
            group: self.group,
            kernel_shape: self.kernel_shape.clone(),
            pads: self.pads.clone(),
            strides: self.strides.clone(),
        };
        match (ctx.shape(0).map(Dims::from_slice), ctx.shape(1)) {
            (Some(mut x), Some(w)) if x.len() > 2 => {
                x[1..].rotate_right(1);
                let last = x.len() - 1;
                let axis = |axis: usize| if axis == 1 { last } else { axis.saturating_sub(1) };
                let mut dims = conv.dims(&x, w, &|at| ctx.unknown_dim(0, axis(at)))?;
                dims[1..].rotate_left(1);
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
    crate::with_cases!();
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
                -0.944673, 0.40212, -0.192142, -0.690978, 1.099356, -0.758605, -1.137298, 0.033616, 0.336076,
                -0.161359, -1.064916, 1.676983, 0.498612, -0.636924, -0.53865, -0.921578, 0.918427,
                -0.134356, -1.084316, 0.459436, -0.32418, -0.448904, -0.469792, 0.504627, -1.157889,
                0.116754, 1.466957,
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
            &[0.309855, 0.215911, 0.270513, -0.503478, 0.169059, -0.678347, -0.233079, 1.080175],
        )),
    ]
}
