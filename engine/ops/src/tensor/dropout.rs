//! [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html): in training, elements are left out at random and
//! the others grow to make up for them; otherwise the input as it is.

use super::moves::spread;
use crate::math::cast::Cast;
use crate::random::generator::Generator;
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
        crate::with_cases!();
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
            // NumPy's RandomState(0) starts 0.549, 0.715, 0.603, 0.545, 0.424, 0.646.
            Case::new("training", Dropout { seed: Some(0) })
                .input(floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
                .input(floats(&[], &[0.6]))
                .input(bools(&[], &[true]))
                .outputs(2)
                .expect(floats(&[2, 3], &[0.0, 5.0, 7.5, 0.0, 0.0, 15.0]))
                .expect(bools(&[2, 3], &[false, true, true, false, false, true])),
            Case::new("all left out", Dropout { seed: Some(0) })
                .input(floats(&[2], &[1.0, 2.0]))
                .input(floats(&[], &[1.0]))
                .input(bools(&[], &[true]))
                .expect(floats(&[2], &[0.0, 0.0])),
            Case::new("training in halves", Dropout { seed: Some(0) })
                .input(floats(&[3], &[1.0, 2.0, 3.0]).cast(DType::F16, CastRules::default()).expect("floats"))
                .absent()
                .input(bools(&[], &[true]))
                .expect(
                    floats(&[3], &[2.0, 4.0, 6.0]).cast(DType::F16, CastRules::default()).expect("floats"),
                ),
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

/// Leaves out each element with the probability `ratio`.
fn train(run: &mut Run<'_>, seed: Option<i64>, ratio: f64) -> Result<(), OpError> {
    if !(0.0..=1.0).contains(&ratio) {
        return Err(OpError::new(format!("the ratio is {ratio}, but must be from 0 to 1")));
    }
    let data = run.tensor(0)?.clone();
    let mut generator = Generator::seeded(seed);
    let mut kept = run.allocate(1, DType::Bool, data.shape())?;
    for keep in kept.slice_mut::<u8>()? {
        *keep = u8::from(generator.uniform() >= ratio);
    }
    let kept = kept.freeze();
    let scale = 1.0 / (1.0 - ratio);
    let mask = kept.slice::<u8>()?;
    let out = if data.dtype() == DType::F64 {
        let all = data.to_f64s()?;
        let values: Vec<f64> =
            all.iter().zip(mask).map(|(&x, &keep)| if keep == 1 { x * scale } else { 0.0 }).collect();
        Tensor::new(data.shape(), &values)?
    } else {
        let mut out = data.cast(DType::F32, CastRules::default())?.into_mut()?;
        for (x, &keep) in out.slice_mut::<f32>()?.iter_mut().zip(mask) {
            *x = if keep == 1 { *x * scale as f32 } else { 0.0 };
        }
        out.freeze().cast(data.dtype(), CastRules::default())?
    };
    run.set(0, out);
    run.set(1, kept);
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
        let seed = self.seed;
        kernel(move |run| {
            let ratio = one(run, 1, 0.5)?;
            if one(run, 2, 0.0)? != 0.0 && ratio != 0.0 {
                return train(run, seed, ratio);
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
