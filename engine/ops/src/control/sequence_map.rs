//! [SequenceMap](https://onnx.ai/onnx/operators/onnx__SequenceMap.html): a body applied to each item of sequences.

use super::call::splice_call;
use super::loop_::Loop;
use super::sequence::{ITEM, SEQUENCE, items};
use super::sequence_at::three;
use crate::formula::{Formula, body_input, plain};
use crate::math::binary::{ADD, Binary};
use crate::tensor::shape::Shape;
use crate::{Case, Form, Room, attributes, floats, of_room};
use oxidane_graph::{
    Build, Call, Graph, InferCtx, Kernel, NodeId, NodeSpec, Op, OpError, Param, Signature, Type, Unknown,
    ValueId, kernel, shared,
};
use oxidane_tensor::{DType, Datum};
use std::sync::Arc;

attributes! {
    /// Runs the body `body` once for each item of the first sequence. Other inputs are sequences as long, whose
    /// items are taken along, or tensors that every turn gets.
    pub struct SequenceMap {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input_sequence", SEQUENCE, ""),
        Param::heterogeneous("additional_inputs", ITEM.or(SEQUENCE), 0),
    ],
    outputs: &[Param::heterogeneous("out_sequence", SEQUENCE, 1)],
};

/// The room of SequenceMap.
pub static ROOM: Room = Room {
    domain: "",
    name: "SequenceMap",
    since: &[17],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SequenceMap::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        vec![
            Case::new("sum with a tensor", SequenceMap {})
                .input(three(&[2], &[3], &[4]))
                .input(floats(&[1], &[1.0]))
                .body(body(2, |build, inputs| build.add(Binary::of(&ADD), inputs))),
            Case::new("sum of two sequences", SequenceMap {})
                .input(three(&[2], &[3], &[4]))
                .input(three(&[2], &[3], &[4]))
                .body(body(2, |build, inputs| build.add(Binary::of(&ADD), inputs))),
            Case::new("shapes", SequenceMap {})
                .input(three(&[2], &[3, 1], &[4]))
                .body(body(1, |build, inputs| build.add(Shape { start: 0, end: None }, inputs))),
        ]
    },
};

fn body(
    inputs: usize,
    make: impl FnOnce(&mut Build<'_>, &[oxidane_graph::ValueId]) -> oxidane_graph::ValueId,
) -> Graph {
    let mut body = Graph::new("body");
    let ty = Type::unranked(DType::F32);
    let given: Vec<_> = (0..inputs)
        .map(|i| {
            let id = body.add_input(&format!("in{i}"), Some(ty.clone()), None).expect("a fresh name");
            body.set_declared(id, Some(ty.clone()));
            id
        })
        .collect();
    let output = make(&mut Build::new(&mut body, ""), &given);
    body.set_outputs(vec![output]);
    body
}

impl Op for SequenceMap {
    of_room!();

    fn body_names(&self) -> &[&str] {
        &["body"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let given: Vec<Option<Type>> = (0..ctx.input_count())
            .map(|i| match ctx.ty(i) {
                Some(Type::Sequence(item)) => Some((**item).clone()),
                other => other.cloned(),
            })
            .collect();
        let results = ctx.infer_body(0, &given)?;
        if results.len() != ctx.output_count() {
            return Err(Unknown::wrong(format!(
                "has {} outputs, but its body gives {}",
                ctx.output_count(),
                results.len()
            )));
        }
        let mut unknown = Ok(());
        for (i, result) in results.into_iter().enumerate() {
            match result {
                Some(ty @ Type::Tensor(_)) => ctx.set(i, Type::Sequence(Box::new(ty))),
                Some(other) => {
                    return Err(Unknown::wrong(format!(
                        "output {i} of the body is {other}, but must be a tensor"
                    )));
                }
                None => {
                    unknown = Err(Unknown::Because(format!("the body does not tell the type of output {i}")));
                }
            }
        }
        unknown
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let length = items(run, 0)?.len();
            for i in 1..run.input_count() {
                if let Some(other) = run.datum(i)?.as_sequence()
                    && other.len() != length
                {
                    return Err(OpError::new(format!(
                        "sequence {i} has {} items, but the first has {length}",
                        other.len()
                    )));
                }
            }
            let mut results: Vec<Vec<Datum>> = vec![Vec::with_capacity(length); run.output_count()];
            for turn in 0..length {
                run.checkpoint()?;
                let mut given = Vec::with_capacity(run.input_count());
                for i in 0..run.input_count() {
                    let datum = run.datum(i)?;
                    given.push(datum.as_sequence().map_or(datum, |items| &items[turn]).clone());
                }
                let made = run.body(0, given)?;
                if made.len() != results.len() {
                    return Err(OpError::new(format!(
                        "the body gives {} values, but there are {} outputs",
                        made.len(),
                        results.len()
                    )));
                }
                for (result, datum) in results.iter_mut().zip(made) {
                    result.push(datum);
                }
            }
            for (i, result) in results.into_iter().enumerate() {
                run.set(i, Datum::Sequence(Arc::new(result)));
            }
            Ok(())
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let at = build.graph().node(node);
        let given: Vec<ValueId> = at.formal_inputs().iter().flatten().copied().collect();
        let captured: Vec<ValueId> = at.captured().iter().flatten().copied().collect();
        let Some(mapped) = at.bodies().first().cloned() else { return Ok(None) };
        let types: Option<Vec<Type>> = given.iter().map(|&v| build.ty(v).cloned()).collect();
        let items: Option<Vec<(Type, DType)>> = at
            .outputs()
            .iter()
            .zip(mapped.outputs())
            .map(|(output, &inner)| {
                let ty = output.and_then(|v| build.ty(v)).or(mapped.value(inner).ty())?;
                let item = match ty {
                    Type::Sequence(item) => item,
                    other => other,
                };
                let dtype = item.dtype()?;
                Some((Type::Sequence(Box::new(Type::unranked(dtype))), dtype))
            })
            .collect();
        let (Some(types), Some(items)) = (types, items) else { return Ok(None) };

        let mut body = Graph::new("map");
        let mut input = |name: &str, ty: Option<Type>| body_input(&mut body, name, ty);
        let turn = input("turn", Some(Type::fixed(DType::I64, &[])))?;
        let more = input("more", Some(Type::fixed(DType::Bool, &[])))?;
        let mut carried = Vec::new();
        for (i, (ty, _)) in items.iter().enumerate() {
            carried.push(input(&format!("mapped_{i}"), Some(ty.clone()))?);
        }
        let mut values = Vec::new();
        for (i, ty) in types.iter().enumerate() {
            values.push(input(&format!("given_{i}"), Some(ty.clone()))?);
        }
        let mut inner = Vec::new();
        for &value in &captured {
            inner.push(Some(input("", build.ty(value).cloned())?));
        }
        let mut inside = Build::new(&mut body, "map");
        let f = &mut Formula::free(&mut inside);
        let mut outputs = vec![f.op("Identity", &[more])?];
        let mut taken = Vec::new();
        for (&value, ty) in values.iter().zip(&types) {
            taken.push(Some(match ty {
                Type::Sequence(_) => f.op("SequenceAt", &[value, turn])?,
                _ => value,
            }));
        }
        taken.append(&mut inner);
        let made = carried
            .iter()
            .map(|_| Ok(Some(f.build().graph_mut().add_undefined("")?)))
            .collect::<Result<Vec<_>, OpError>>()?;
        splice_call(mapped, f.build().graph_mut(), &taken, &made)?;
        for (&before, item) in carried.iter().zip(made) {
            let inserted = f.node("SequenceInsert", &plain(), &[Some(before), item], 1)?;
            outputs.push(inserted[0]);
        }
        body.set_outputs(outputs);

        let f = &mut Formula::free(build);
        let mut inputs = vec![Some(f.op("SequenceLength", &given[..1])?), None];
        for &(_, dtype) in &items {
            inputs.push(Some(f.with("SequenceEmpty", plain().with("dtype", dtype), &[])?));
        }
        let captures = given.len() + captured.len();
        inputs.extend(given.into_iter().chain(captured).map(Some));
        let mut results = Vec::new();
        for _ in &items {
            results.push(build.graph_mut().add_undefined("")?);
        }
        let slots: Vec<_> = results.iter().map(|&v| Some(v)).collect();
        build.add_spec(NodeSpec {
            captures,
            bodies: vec![body],
            ..NodeSpec::new(Arc::new(Loop {}), &inputs, &slots)
        })?;
        Ok(Some(results))
    }
}
