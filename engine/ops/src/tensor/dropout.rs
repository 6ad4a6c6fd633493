//! [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html): the input as it is, when nothing is trained.

use super::moves::spread;
use crate::math::cast::Cast;
use crate::{Case, Draft, Form, Room, Step, attributes, bools, floats, noise, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Type, Types, Unknown, kernel,
    shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// The input and a mask of what was kept, which is all of it unless in training.
    pub struct Dropout { seed: Option<i64> }
}

const FLOATS: Types =
    types::FLOAT.or(Types::tensors(&[DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ]));

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("data", FLOATS, "T"),
        Param::optional("ratio", FLOATS, "T1"),
        Param::optional("training_mode", types::BOOL, "T2"),
    ],
    outputs: &[Param::one("output", FLOATS, "T"), Param::optional("mask", types::BOOL, "T2")],
};

/// The room of Dropout.
pub static ROOM: Room = Room {
    domain: "",
    name: "Dropout",
    since: &[1, 6, 7, 10, 12, 13, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Dropout::read(a)?)),
    steps: &[
        Step {
            to: 6,
            up: |d| {
                d.attributes.take("consumed_inputs");
                Ok(())
            },
            down: |_| Ok(()),
        },
        Step {
            to: 7,
            // Files rarely set it, and no runtime trains by default: opset 7 dropped it for that.
            up: |d| {
                d.attributes.take("is_test");
                Ok(())
            },
            down: |d| {
                d.attributes.set("is_test", 1i64);
                Ok(())
            },
        },
        Step { to: 10, up: mask_to_data, down: mask_from_data },
        Step {
            to: 12,
            up: |d| d.float_to_input("ratio", 1),
            down: |d| {
                if d.input(2).is_some() {
                    let training =
                        d.constant(2).map(|t| t.values::<u8>().map(|v| v.contains(&1))).transpose()?;
                    if training != Some(false) {
                        return Err(OpError::new("training_mode cannot be expressed in this opset")
                            .help("export to opset 12 or later"));
                    }
                    d.drop_input(2);
                }
                d.attributes.take("seed");
                if d.input(1).is_some() {
                    let ratio = d.constant(1).ok_or_else(|| {
                        OpError::new("the ratio is computed, but this opset wants a constant attribute")
                            .help("export to opset 12 or later")
                    })?;
                    let ratio =
                        ratio.cast(DType::F32, CastRules::default())?.values::<f32>()?.first().copied();
                    d.attributes.set("ratio", ratio);
                    d.drop_input(1);
                }
                Ok(())
            },
        },
    ],
    cases: || {
        let x = || noise(&[2, 3], 1);
        vec![
            Case::new("inference", Dropout { seed: None }).input(x()).expect(x()),
            Case::new("mask", Dropout { seed: None })
                .input(x())
                .input(floats(&[], &[0.1]))
                .input(bools(&[], &[false]))
                .outputs(2)
                .expect(x())
                .expect(bools(&[2, 3], &[true; 6])),
            Case::new("training without loss", Dropout { seed: Some(1) })
                .input(x())
                .input(floats(&[], &[0.0]))
                .input(bools(&[], &[true]))
                .outputs(2)
                .expect(x())
                .expect(bools(&[2, 3], &[true; 6])),
        ]
    },
};

/// Before opset 10 the mask had the type of the data: a Cast behind the operator gives it.
fn mask_to_data(draft: &mut Draft<'_>) -> Result<(), OpError> {
    if draft.outputs.get(1).copied().flatten().is_none() {
        return Ok(());
    }
    let to = draft.ty(0).and_then(Type::dtype).ok_or_else(|| {
        OpError::unsupported("the mask of Dropout before opset 10, for data of unknown type")
            .help("remove the second output, or use opset 10 or later")
    })?;
    draft.output_through(1, Cast { to, saturate: true, round_mode: "up".to_owned() }, &[])
}

/// A mask that only casts to the data's type read may have that type; read as truth values it has no older form.
fn mask_from_data(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let Some(mask) = draft.outputs.get(1).copied().flatten() else { return Ok(()) };
    let to = draft.ty(0).and_then(Type::dtype);
    let graph = draft.graph();
    let readers: Vec<NodeId> = graph.value(mask).uses().iter().map(|u| u.node).collect();
    let casts = |id: &NodeId| graph.node(*id).op().downcast::<Cast>().is_some_and(|c| Some(c.to) == to);
    // On the way down every output is listed as one of the graph, once more than it is.
    let shown = graph.outputs().iter().filter(|&&v| v == mask).count() > 1;
    if shown || !readers.iter().all(casts) {
        return Err(OpError::unsupported("the truth values of Dropout's mask before opset 10")
            .help("export to opset 10 or later"));
    }
    Ok(())
}

fn one(run: &Run<'_>, input: usize, default: f64) -> Result<f64, OpError> {
    match run.try_tensor(input)? {
        None => Ok(default),
        Some(tensor) => {
            let value = tensor.cast(DType::F64, CastRules::default())?.to_f64s()?;
            value.first().copied().ok_or_else(|| OpError::new(format!("input {input} is empty")))
        }
    }
}

impl Op for Dropout {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let ty = ctx.known_ty(0)?.clone();
        match ty.shape().map(Dims::from_slice) {
            Some(shape) => ctx.set_tensor(1, DType::Bool, shape),
            None => ctx.set_unranked(1, DType::Bool),
        }
        ctx.set(0, ty);
        Ok(())
    }

    /// In training it is random.
    fn is_pure(&self) -> bool {
        false
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            if one(run, 2, 0.0)? != 0.0 && one(run, 1, 0.5)? != 0.0 {
                return Err(OpError::unsupported("Dropout in training mode")
                    .help("set training_mode to false or the ratio to 0"));
            }
            let data = run.take(0)?;
            if run.wants(1) {
                let kept = Tensor::from_bools(&[], &[true])?;
                spread(run, 1, &kept, data.shape())?;
            }
            run.set(0, data);
            Ok(())
        })
    }
}
