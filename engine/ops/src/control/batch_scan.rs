//! BatchScan: the form that [Scan](https://onnx.ai/onnx/operators/onnx__Scan.html) had in opset 8, which runs over
//! every item of a batch (axis 0 of all inputs and outputs) and takes sequences of different lengths. No later
//! opset has it; it is kept under a name of its own, and expands into a Scan over the batch around one over the
//! sequence.

use super::loop_::stack;
use super::scan::Scan;
use crate::math::binary::{Binary, SUB};
use crate::tensor::concat::Concat;
use crate::tensor::identity::Identity;
use crate::tensor::pad::Pad;
use crate::tensor::shape::Shape;
use crate::tensor::slice::Slice;
use crate::tensor::unsqueeze::Unsqueeze;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, Graph, InferCtx, Kernel, NodeId, NodeSpec, Op, OpError, Param, Run, Signature, Type,
    Unknown, ValueId, kernel, shared,
};
use oxidane_tensor::{Datum, Tensor};
use std::sync::Arc;

attributes! {
    /// Runs the body for each step along axis 1 of the last `num_scan_inputs` inputs, for each item along axis 0.
    pub struct BatchScan {
        num_scan_inputs: i64,
        /// For each scanned input: 0 forward, 1 backward.
        directions: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::optional("sequence_lens", types::INT64, ""),
        Param::heterogeneous("initial_state_and_scan_inputs", types::ALL, 1),
    ],
    outputs: &[Param::heterogeneous("final_state_and_scan_outputs", types::ALL, 1)],
};

/// The room of BatchScan. It takes the place of Scan's form of opset 8 from opset 9 on.
pub static ROOM: Room = Room {
    domain: "oxidane",
    name: "BatchScan",
    since: &[9],
    signature: &SIGNATURE,
    read: |a| Ok(shared(BatchScan::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[2, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let scan = |directions| BatchScan { num_scan_inputs: 1, directions };
        // Worked out by hand from the pseudo-code of the specification: the body leaves the slice before.
        vec![
            Case::new("all of each", scan(None))
                .absent()
                .input(floats(&[2, 1], &[0.0, 9.0]))
                .input(x())
                .outputs(2)
                .body(previous())
                .expect(floats(&[2, 1], &[3.0, 6.0]))
                .expect(floats(&[2, 3, 1], &[0.0, 1.0, 2.0, 9.0, 4.0, 5.0])),
            Case::new("backward", scan(Some(vec![1])))
                .absent()
                .input(floats(&[2, 1], &[0.0, 9.0]))
                .input(x())
                .outputs(2)
                .body(previous())
                .expect(floats(&[2, 1], &[1.0, 4.0]))
                .expect(floats(&[2, 3, 1], &[0.0, 3.0, 2.0, 9.0, 6.0, 5.0])),
            Case::new("lengths", scan(None))
                .input(ints(&[2], &[3, 1]))
                .input(floats(&[2, 1], &[0.0, 9.0]))
                .input(x())
                .outputs(2)
                .body(previous())
                .expect(floats(&[2, 1], &[3.0, 4.0]))
                .expect(floats(&[2, 3, 1], &[0.0, 1.0, 2.0, 9.0, 0.0, 0.0])),
        ]
    },
};

/// A body whose next state is the slice, and which leaves the state.
fn previous() -> Graph {
    let mut body = Graph::new("body");
    let ty = Type::fixed(oxidane_tensor::DType::F32, &[1]);
    let state = body.add_input("state", Some(ty.clone()), None).expect("a fresh name");
    let slice = body.add_input("slice", Some(ty), None).expect("a fresh name");
    let mut build = Build::new(&mut body, "");
    let outputs = vec![build.add(Identity {}, &[slice]), build.add(Identity {}, &[state])];
    body.set_outputs(outputs);
    body
}

/// A type without its first `axes` axes, where it is a tensor of so many.
fn inner(ty: Option<&Type>, axes: usize) -> Option<Type> {
    match ty? {
        Type::Tensor(t) => Some(match &t.shape {
            Some(dims) => Type::tensor(t.dtype, dims.get(axes..)?.iter().copied()),
            None => Type::unranked(t.dtype),
        }),
        _ => None,
    }
}

/// A zero of the type that output `output` of the body has, where no turn has left one.
fn nothing(run: &Run<'_>, output: usize) -> Result<Tensor, OpError> {
    let ty = run.body_output(0, output).and_then(|ty| ty.as_tensor().cloned());
    let shape =
        ty.as_ref().and_then(|t| t.shape.as_ref()?.iter().map(|d| d.as_size()).collect::<Option<Vec<_>>>());
    match (ty, shape) {
        (Some(ty), Some(shape)) => Ok(Tensor::zeros(ty.dtype, &shape)?),
        _ => Err(OpError::new(format!("there was no turn, and the type of output {output} is not known"))
            .help("declare the types and sizes of the body's outputs")),
    }
}

impl BatchScan {
    /// The Scan that runs over one item.
    fn item(&self) -> Scan {
        Scan {
            num_scan_inputs: self.num_scan_inputs,
            scan_input_axes: None,
            scan_input_directions: self.directions.clone(),
            scan_output_axes: None,
            scan_output_directions: None,
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let item = self.item();
        let count = run.input_count() - 1;
        let states = item.states(count)?;
        let outputs = run
            .output_count()
            .checked_sub(states)
            .ok_or_else(|| OpError::new(format!("has less outputs than {states} states")))?;
        let given: Vec<Tensor> =
            (0..count).map(|i| Ok(run.tensor(i + 1)?.clone())).collect::<Result<_, OpError>>()?;
        let scanned = &given[states..];
        let &[batch, length, ..] = scanned[0].shape() else {
            return Err(OpError::new(format!(
                "a scanned input has shape {:?}, but needs a batch axis and a sequence axis",
                scanned[0].shape()
            )));
        };
        for (i, tensor) in given.iter().enumerate() {
            let asked: &[usize] = if i < states { &[batch] } else { &[batch, length] };
            if !tensor.shape().starts_with(asked) {
                return Err(OpError::new(format!(
                    "input {} has shape {:?}, which does not begin with {asked:?} as the others do",
                    i + 1,
                    tensor.shape()
                )));
            }
        }
        // What is kept of an item; an empty tensor may have any number of items or steps.
        let kept = given.len().checked_mul(size_of::<Tensor>());
        let items = batch.checked_mul(length.max(1));
        run.check_scratch(items.zip(kept).and_then(|(items, kept)| items.checked_mul(kept)))?;
        let lengths = match run.try_ints(0)? {
            None => vec![length; batch],
            Some(lengths) => {
                let fits = |&n: &i64| usize::try_from(n).ok().filter(|&n| n <= length);
                let known: Option<Vec<usize>> = lengths.iter().map(fits).collect();
                known.filter(|l| l.len() == batch).ok_or_else(|| {
                    OpError::new(format!(
                        "sequence_lens is {lengths:?}, but must hold {batch} lengths from 0 to {length}"
                    ))
                })?
            }
        };
        let mut ends: Vec<Vec<Tensor>> = vec![Vec::new(); states];
        let mut left: Vec<Vec<Vec<Tensor>>> = vec![Vec::new(); outputs];
        for (b, &turns) in lengths.iter().enumerate() {
            run.checkpoint()?;
            let mut values = Vec::with_capacity(count);
            for (i, tensor) in given.iter().enumerate() {
                let one = tensor.slice_axis(0, b, 1, 1)?;
                let one = one.reshape(&tensor.shape()[1..])?;
                values.push(if i < states { one } else { one.slice_axis(0, 0, turns, 1)? });
            }
            let scanned = values.split_off(states);
            let results =
                item.turns(run, values.into_iter().map(Datum::from).collect(), &scanned, outputs)?;
            for (state, into) in results.states.into_iter().zip(&mut ends) {
                let state = state.into_tensor();
                into.push(state.map_err(|_| OpError::new("a state must be a tensor"))?);
            }
            for (parts, into) in results.left.into_iter().zip(&mut left) {
                into.push(parts);
            }
        }
        for (i, parts) in ends.iter().enumerate() {
            if run.wants(i) {
                stack(run, i, parts, i, 0)?;
            }
        }
        for (k, items) in left.into_iter().enumerate() {
            let output = states + k;
            if !run.wants(output) {
                continue;
            }
            // What lies behind the end of a shorter sequence is zero.
            let filler = match items.iter().flatten().next() {
                Some(part) => Tensor::zeros(part.dtype(), part.shape())?,
                None => nothing(run, output)?,
            };
            let mut shape = vec![batch, length];
            shape.extend_from_slice(filler.shape());
            let mut parts = Vec::new();
            for item in items {
                let missing = length - item.len();
                parts.extend(item);
                parts.extend(std::iter::repeat_n(filler.clone(), missing));
            }
            if parts.is_empty() {
                run.set(output, Tensor::zeros(filler.dtype(), &shape)?);
                continue;
            }
            stack(run, output, &parts, output, 0)?;
            if let Some(Datum::Tensor(stacked)) = run.take_output(output) {
                run.set(output, stacked.reshape(&shape)?);
            }
        }
        Ok(())
    }
}

impl Op for BatchScan {
    of_room!();

    fn body_names(&self) -> &[&str] {
        &["body"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let count = ctx.input_count().saturating_sub(1);
        let states = self.item().states(count)?;
        let lead = |i: usize, axis: usize| ctx.shape(i + 1).and_then(|dims| dims.get(axis).copied());
        let batch = (0..count).find_map(|i| lead(i, 0));
        let length = (states..count).find_map(|i| lead(i, 1));
        let given: Vec<Option<Type>> =
            (0..count).map(|i| inner(ctx.ty(i + 1), if i < states { 1 } else { 2 })).collect();
        let results = ctx.infer_body(0, &given)?;
        if results.len() != ctx.output_count() || results.len() < states {
            return Err(Unknown::wrong(format!(
                "has {} outputs and {states} states, but its body gives {} values",
                ctx.output_count(),
                results.len()
            )));
        }
        let mut unknown = None;
        for (i, result) in results.into_iter().enumerate() {
            let Some(Type::Tensor(t)) = result else {
                unknown = Some(Unknown::Because(format!("the body does not tell the type of output {i}")));
                continue;
            };
            let Some(dims) = t.shape else {
                ctx.set_unranked(i, t.dtype);
                continue;
            };
            let mut out = Dims::new();
            out.push(batch.unwrap_or_else(|| ctx.unknown_dim(i, 0)));
            if i >= states {
                out.push(length.unwrap_or_else(|| ctx.unknown_dim(i, 1)));
            }
            out.extend(dims);
            ctx.set_tensor(i, t.dtype, out);
        }
        unknown.map_or(Ok(()), Err)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let node = build.graph().node(node);
        let (captures, outputs) = (node.captures(), node.outputs().len());
        let bodies = node.bodies().to_vec();
        let lengths = node.input(0);
        let given: Vec<Option<ValueId>> = node.inputs()[1..].to_vec();
        let count = given.len() - captures;
        let states = self.item().states(count)?;
        // The Scan around gives its body one item of everything, captures as they are.
        let mut around = Graph::new("batch");
        let mut add = |value: Option<ValueId>, axes: usize| {
            let ty = value.and_then(|v| build.ty(v).cloned());
            around.add_input("", if axes > 0 { inner(ty.as_ref(), axes) } else { ty }, None)
        };
        let length = lengths.map(|v| add(Some(v), 1)).transpose()?;
        let mut formal = Vec::new();
        for (i, &value) in given.iter().enumerate() {
            formal.push(add(value, usize::from(i < count))?);
        }
        let mut inside = Build::new(&mut around, "");
        // A shorter sequence is cut to its length, and what it leaves is filled up with zeros.
        let mut cut = None;
        if let Some(length) = length {
            let zero = inside.constant(Tensor::new(&[1], &[0i64])?);
            let length = inside.add(Unsqueeze {}, &[length, zero]);
            let all = inside.add(Shape { start: 0, end: Some(1) }, &[formal[states]]);
            let missing = inside.add(Binary::of(&SUB), &[all, length]);
            for value in &mut formal[states..count] {
                *value = inside.add(Slice {}, &[*value, zero, length, zero]);
            }
            cut = Some((zero, inside.add(Concat { axis: 0 }, &[zero, missing])));
        }
        let mut results = Vec::new();
        for _ in 0..outputs {
            results.push(inside.graph_mut().add_undefined("")?);
        }
        let slots = |values: &[ValueId]| values.iter().map(|&v| Some(v)).collect::<Vec<_>>();
        let item = NodeSpec::new(Arc::new(self.item()), &slots(&formal), &slots(&results));
        inside.add_spec(NodeSpec { captures, bodies, ..item })?;
        if let Some((zero, pads)) = cut {
            for value in &mut results[states..] {
                let inputs = [Some(*value), Some(pads), None, Some(zero)];
                *value = inside.add_node(Arc::new(Pad { mode: "constant".to_owned() }), &inputs, 1)[0];
            }
        }
        around.set_outputs(results);
        let scanned: Vec<Option<ValueId>> = lengths.map(Some).into_iter().chain(given).collect();
        let every = Scan {
            num_scan_inputs: i64::try_from(scanned.len() - captures).unwrap_or(i64::MAX),
            scan_input_axes: None,
            scan_input_directions: None,
            scan_output_axes: None,
            scan_output_directions: None,
        };
        let mut values = Vec::new();
        for _ in 0..outputs {
            values.push(build.graph_mut().add_undefined("")?);
        }
        let spec = NodeSpec::new(Arc::new(every), &scanned, &slots(&values));
        build.add_spec(NodeSpec { captures, bodies: vec![around], ..spec })?;
        Ok(Some(values))
    }
}
