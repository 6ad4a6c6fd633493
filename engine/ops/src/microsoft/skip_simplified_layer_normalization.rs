//! [SkipSimplifiedLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipSimplifiedLayerNormalization): RMSNormalization of a sum.

use super::formula::{Formula, plain};
use super::simplified_layer_normalization::inverse_deviation;
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// RMSNormalization of input, skip and bias added, along the last axis.
    pub struct SkipSimplifiedLayerNormalization { epsilon: f32 = 1e-12 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("skip", types::FLOAT, "T"),
        Param::one("gamma", types::FLOAT, "T"),
        Param::optional("bias", types::FLOAT, "T"),
    ],
    outputs: &[
        Param::one("output", types::FLOAT, "T"),
        Param::optional("mean", types::FLOAT32, "U"),
        Param::optional("inv_std_var", types::FLOAT32, "U"),
        Param::optional("input_skip_bias_sum", types::FLOAT, "T"),
    ],
};

/// The room of SkipSimplifiedLayerNormalization.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "SkipSimplifiedLayerNormalization",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SkipSimplifiedLayerNormalization::read(a)?)),
    steps: &[],
    cases,
};

impl Op for SkipSimplifiedLayerNormalization {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        match ctx.shape(0).map(Dims::from_slice) {
            Some(mut dims) => {
                if let Some(last) = dims.last_mut() {
                    *last = Dim::known(1);
                }
                ctx.set_tensor(1, DType::F32, dims.clone());
                ctx.set_tensor(2, DType::F32, dims);
            }
            None => {
                ctx.set_unranked(1, DType::F32);
                ctx.set_unranked(2, DType::F32);
            }
        }
        ctx.set(3, x.clone());
        ctx.set(0, x);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (x, skip, gamma) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let mut sum = f.op("Add", &[x, skip])?;
        if let Some(bias) = f.input(3) {
            sum = f.op("Add", &[sum, bias])?;
        }
        let attributes = plain().with("axis", -1i64).with("epsilon", self.epsilon);
        let y = f.with("RMSNormalization", attributes, &[sum, gamma])?;
        let (mut mean, mut deviation) = (sum, sum);
        if f.wants(1) {
            let (wide, last) = (f.cast(sum, DType::F32)?, f.ints(&[-1])?);
            mean = f.op("ReduceMean", &[wide, last])?;
        }
        if f.wants(2) {
            deviation = inverse_deviation(&mut f, sum, &[-1], self.epsilon)?;
        }
        Ok(Some(vec![y, mean, deviation, sum]))
    }
}

fn cases() -> Vec<Case> {
    let op = |a: Attributes| SkipSimplifiedLayerNormalization::read(&a).expect("attributes of the operator");
    // Values by NumPy.
    vec![
        Case::new("plain", op(Attributes::new().with("epsilon", 0.1f32)))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 2, 4], 2))
            .input(noise(&[4], 3))
            .expect(floats(
                &[2, 2, 4],
                &[
                    -0.28452131,
                    0.46253917,
                    0.29869336,
                    -0.41808122,
                    0.48541841,
                    0.11282552,
                    0.35080373,
                    -0.57594496,
                    0.88671362,
                    0.51630652,
                    -0.14313687,
                    -0.091286726,
                    -0.020719025,
                    -0.096174829,
                    0.2076734,
                    1.3433888,
                ],
            )),
        Case::new("all", op(Attributes::new()))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 2, 4], 2))
            .input(noise(&[4], 3))
            .input(noise(&[4], 4))
            .outputs(4)
            .expect(floats(
                &[2, 2, 4],
                &[
                    -0.10600811,
                    0.54637444,
                    0.32152361,
                    -0.26465866,
                    0.41747743,
                    0.34722981,
                    0.37569773,
                    -0.37461737,
                    0.77452242,
                    0.68857229,
                    0.043656796,
                    -0.056262236,
                    0.088228859,
                    0.23428729,
                    0.3242884,
                    1.0755082,
                ],
            ))
            .expect(floats(&[2, 2, 1], &[1.051928, 0.70299047, 0.25952905, 0.16387907]))
            .expect(floats(&[2, 2, 1], &[0.76855379, 0.86348063, 0.94030166, 0.9869746]))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.17841426,
                    1.7746766,
                    1.851516,
                    0.40310526,
                    -0.62538159,
                    1.003847,
                    1.9256389,
                    0.50785756,
                    -1.0654463,
                    1.8280389,
                    0.20548189,
                    0.070041656,
                    -0.1156297,
                    0.59257847,
                    1.4541671,
                    -1.2755996,
                ],
            )),
    ]
}
