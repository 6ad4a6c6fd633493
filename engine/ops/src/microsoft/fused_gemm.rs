//! [FusedGemm](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedGemm): Gemm and an activation.

use crate::formula::{Formula, plain, ranked};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

attributes! {
    /// An activation of `alpha * A * B + beta * C`.
    #[allow(non_snake_case, reason = "as files spell these attributes")]
    pub struct FusedGemm { activation: Option<String>, activation_alpha: Option<f32>, activation_beta: Option<f32>, activation_gamma: Option<f32>, alpha: f32 = 1.0, beta: f32 = 1.0, transA: bool = false, transB: bool = false }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("A", types::ARITHMETIC, "T"),
        Param::one("B", types::ARITHMETIC, "T"),
        Param::optional("C", types::ARITHMETIC, "T"),
    ],
    outputs: &[Param::one("Y", types::ARITHMETIC, "T")],
};

/// The room of FusedGemm.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "FusedGemm",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(FusedGemm::read(a)?)),
    steps: &[],
    cases,
};

impl Op for FusedGemm {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let (a, b) = (ranked::<2>(ctx, 0)?, ranked::<2>(ctx, 1)?);
        let rows = a.map_or_else(|| ctx.unknown_dim(0, 0), |a| a[usize::from(self.transA)]);
        let cols = b.map_or_else(|| ctx.unknown_dim(0, 1), |b| b[usize::from(!self.transB)]);
        ctx.set_tensor(0, dtype, [rows, cols]);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let attributes = plain()
            .with("alpha", self.alpha)
            .with("beta", self.beta)
            .with("transA", self.transA)
            .with("transB", self.transB);
        let inputs = [f.input(0), f.input(1), f.input(2)];
        let y = f.node("Gemm", &attributes, &inputs, 1)?[0];
        let activation = self.activation.as_deref().unwrap_or("");
        let second = if activation == "Selu" { self.activation_gamma } else { self.activation_beta };
        Ok(Some(vec![f.activated(y, activation, [self.activation_alpha, second])?]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| FusedGemm::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime and NumPy.
    vec![
        Case::new(
            "relu",
            op(Attributes::new()
                .with("activation", "Relu".to_owned())
                .with("alpha", 0.5f32)
                .with("beta", 2.0f32)
                .with("transA", 1i64)
                .with("transB", 1i64)),
        )
        .input(noise(&[3, 2], 1))
        .input(noise(&[4, 3], 2))
        .input(noise(&[4], 3))
        .expect(floats(&[2, 4], &[0.0, 0.67612, 0.735086, 0.0, 0.0, 0.871967, 0.405277, 0.0])),
        Case::new(
            "leaky",
            op(Attributes::new()
                .with("activation", "LeakyRelu".to_owned())
                .with("activation_alpha", 0.25f32)),
        )
        .input(noise(&[2, 3], 1))
        .input(noise(&[3, 4], 2))
        .expect(floats(
            &[2, 4],
            &[-0.157842, 0.344376, -0.013605, 0.188584, -0.060214, 0.218099, -0.060137, -0.044439],
        )),
        Case::new(
            "hard sigmoid",
            op(Attributes::new()
                .with("activation", "HardSigmoid".to_owned())
                .with("activation_alpha", 0.3f32)
                .with("activation_beta", 0.4f32)
                .with("activation_gamma", 1.0f32)),
        )
        .input(noise(&[2, 3], 1))
        .input(noise(&[3, 4], 2))
        .expect(floats(
            &[2, 4],
            &[0.21059, 0.503313, 0.383674, 0.456575, 0.327743, 0.46543, 0.327836, 0.346673],
        )),
    ]
}
