//! [FusedConv](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedConv): Conv, a sum and an activation.

use crate::formula::{Formula, plain};
use crate::nn::conv::Conv;
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

attributes! {
    /// An activation of Conv plus another tensor.
    pub struct FusedConv { activation: Option<String>, activation_params: Option<Vec<f32>>, auto_pad: String = "NOTSET".to_owned(), dilations: Option<Vec<i64>>, group: i64 = 1, kernel_shape: Option<Vec<i64>>, pads: Option<Vec<i64>>, strides: Option<Vec<i64>> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("W", types::FLOAT, "T"),
        Param::optional("B", types::FLOAT, "T"),
        Param::optional("Z", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of FusedConv.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "FusedConv",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(FusedConv::read(a)?)),
    steps: &[],
    cases,
};

impl Op for FusedConv {
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
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(x), Some(w)) => {
                let dims = conv.dims(x, w, &|axis| ctx.unknown_dim(0, axis))?;
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
        let inputs = [f.input(0), f.input(1), f.input(2)];
        let mut y = f.node("Conv", &attributes, &inputs, 1)?[0];
        if let Some(z) = f.input(3) {
            y = f.op("Add", &[y, z])?;
        }
        let activation = self.activation.as_deref().unwrap_or("");
        let params = self.activation_params.as_deref().unwrap_or_default();
        let params = [params.first().copied(), params.get(1).copied()];
        Ok(Some(vec![f.activated(y, activation, params)?]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| FusedConv::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new(
            "relu and sum",
            op(Attributes::new()
                .with("activation", "Relu".to_owned())
                .with("pads", vec![1i64, 1, 1, 1])
                .with("kernel_shape", vec![3i64, 3])),
        )
        .input(noise(&[1, 2, 4, 4], 1))
        .input(noise(&[3, 2, 3, 3], 2))
        .input(noise(&[3], 3))
        .input(noise(&[1, 3, 4, 4], 4))
        .expect(floats(
            &[1, 3, 4, 4],
            &[
                0.0, 0.638773, 1.810124, 0.419656, 0.0, 0.322265, 0.389765, 0.0, 0.0, 0.0, 0.135014, 0.0,
                0.567233, 0.0, 0.00243, 0.0, 0.0, 0.0, 2.230992, 0.248091, 0.0, 0.0, 0.0, 0.0, 0.440655,
                1.194033, 0.0, 1.35856, 0.0, 0.901446, 1.582323, 0.0, 0.107772, 0.0, 0.157632, 0.0, 1.217889,
                3.211032, 0.301571, 0.0, 0.0, 0.758911, 0.0, 0.0, 0.0, 0.0, 1.39896, 0.0,
            ],
        ))
        .tolerance(1e-05),
        Case::new(
            "clip",
            op(Attributes::new()
                .with("activation", "Clip".to_owned())
                .with("activation_params", vec![-0.5, 0.5])
                .with("strides", vec![2i64, 2])
                .with("dilations", vec![1i64, 1])
                .with("group", 2i64)
                .with("auto_pad", "VALID".to_owned())),
        )
        .input(noise(&[1, 2, 4, 4], 1))
        .input(noise(&[2, 1, 2, 2], 2))
        .expect(floats(&[1, 2, 2, 2], &[0.5, 0.285196, 0.229455, -0.307901, -0.5, -0.5, 0.5, 0.028565])),
        Case::new(
            "leaky",
            op(Attributes::new()
                .with("activation", "LeakyRelu".to_owned())
                .with("activation_params", vec![0.1])),
        )
        .input(noise(&[1, 1, 3, 3], 1))
        .input(noise(&[1, 1, 2, 2], 2))
        .expect(floats(&[1, 1, 2, 2], &[0.188766, 0.816839, 0.093004, 0.022774])),
    ]
}
