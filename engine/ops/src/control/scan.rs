//! [Scan](https://onnx.ai/onnx/operators/onnx__Scan.html): a body that runs once for each slice of its inputs.

use super::loop_::stack;
use crate::tensor::identity::Identity;
use crate::tensor::squeeze::Squeeze;
use crate::tensor::unsqueeze::Unsqueeze;
use crate::{Case, Draft, Form, Room, Step, attributes, floats, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, Dims, Graph, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Type,
    Unknown, axis_index, kernel, shared,
};
use oxidane_tensor::{DType, Datum, Tensor};

attributes! {
    /// Runs the body `body` for each slice of the last `num_scan_inputs` inputs. The body takes the states and a
    /// slice of each, and gives the next states and a slice of each scan output.
    pub struct Scan {
        num_scan_inputs: i64,
        scan_input_axes: Option<Vec<i64>>,
        scan_input_directions: Option<Vec<i64>>,
        scan_output_axes: Option<Vec<i64>>,
        scan_output_directions: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::heterogeneous("initial_state_and_scan_inputs", types::ALL, 1)],
    outputs: &[Param::heterogeneous("final_state_and_scan_outputs", types::ALL, 1)],
};

/// Opset 8 works on batches: see [`super::batch_scan`].
fn with_batch(d: &mut Draft<'_>) -> Result<(), OpError> {
    "oxidane".clone_into(&mut d.domain);
    "BatchScan".clone_into(&mut d.name);
    Ok(())
}

/// A Scan without batch is one over a batch of one.
fn without_batch(d: &mut Draft<'_>) -> Result<(), OpError> {
    if d.name == "BatchScan" {
        d.domain.clear();
        "Scan".clone_into(&mut d.name);
        return Ok(());
    }
    let scan = Scan::read(&d.attributes)?;
    let zeros = |list: &Option<Vec<i64>>| list.iter().flatten().all(|&v| v == 0);
    if !(zeros(&scan.scan_input_axes) && zeros(&scan.scan_output_axes) && zeros(&scan.scan_output_directions))
    {
        return Err(OpError::new(
            "opset 8 can scan along the first axis only, and leave outputs forward only",
        )
        .help("export to opset 9 or later"));
    }
    let axis = d.add_constant(Tensor::new(&[1], &[0i64])?);
    for slot in 0..d.inputs.len() {
        if let Some(value) = d.input(slot) {
            let batched = d.add(Unsqueeze {}, &[value, axis]);
            d.set_input(slot, Some(batched));
        }
    }
    d.inputs.insert(0, None);
    for slot in 0..d.outputs.len() {
        d.output_through(slot, Squeeze {}, &[axis])?;
    }
    let mut attributes = Attributes::new().with("num_scan_inputs", scan.num_scan_inputs);
    if let Some(directions) = scan.scan_input_directions {
        attributes.set("directions", directions);
    }
    d.attributes = attributes;
    Ok(())
}

/// The room of Scan.
pub static ROOM: Room = Room {
    domain: "",
    name: "Scan",
    since: &[8, 9, 11, 16, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Scan::read(a)?)),
    steps: &[Step { to: 9, up: with_batch, down: without_batch }],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let scan = || Scan {
            num_scan_inputs: 1,
            scan_input_axes: None,
            scan_input_directions: None,
            scan_output_axes: None,
            scan_output_directions: None,
        };
        // Worked out by hand from the specification: the body leaves the slice before.
        vec![
            Case::new("the slice before", scan())
                .input(floats(&[2], &[0.0, 9.0]))
                .input(x())
                .outputs(2)
                .body(previous(2))
                .expect(floats(&[2], &[5.0, 6.0]))
                .expect(floats(&[3, 2], &[0.0, 9.0, 1.0, 2.0, 3.0, 4.0])),
            Case::new(
                "axes and directions",
                Scan {
                    scan_input_axes: Some(vec![-1]),
                    scan_input_directions: Some(vec![1]),
                    scan_output_axes: Some(vec![1]),
                    scan_output_directions: Some(vec![1]),
                    ..scan()
                },
            )
            .input(floats(&[3], &[0.0, 0.0, 7.0]))
            .input(x())
            .outputs(2)
            .body(previous(3))
            .expect(floats(&[3], &[1.0, 3.0, 5.0]))
            .expect(floats(&[3, 2], &[2.0, 0.0, 4.0, 0.0, 6.0, 7.0])),
        ]
    },
};

/// A body whose next state is the slice, and which leaves the state.
fn previous(size: usize) -> Graph {
    let mut body = Graph::new("body");
    let ty = Type::fixed(DType::F32, &[size]);
    let state = body.add_input("state", Some(ty.clone()), None).expect("a fresh name");
    let slice = body.add_input("slice", Some(ty), None).expect("a fresh name");
    let mut build = Build::new(&mut body, "");
    let outputs = vec![build.add(Identity {}, &[slice]), build.add(Identity {}, &[state])];
    body.set_outputs(outputs);
    body
}

/// An entry of a list attribute that may be left out.
fn entry(list: &Option<Vec<i64>>, at: usize) -> i64 {
    list.as_ref().and_then(|l| l.get(at)).copied().unwrap_or(0)
}

/// What is there after the last turn.
pub(super) struct Turns {
    pub(super) states: Vec<Datum>,
    /// For each scan output what the turns left, in their order.
    pub(super) left: Vec<Vec<Tensor>>,
}

impl Scan {
    /// How many of `inputs` are states.
    pub(super) fn states(&self, inputs: usize) -> Result<usize, OpError> {
        usize::try_from(self.num_scan_inputs)
            .ok()
            .filter(|&n| n > 0)
            .and_then(|n| inputs.checked_sub(n))
            .ok_or_else(|| {
                OpError::new(format!(
                    "num_scan_inputs is {}, but there are {inputs} inputs",
                    self.num_scan_inputs
                ))
                .help("it must be at least 1 and at most the number of inputs")
            })
    }

    /// Runs the body for each slice of `scanned`, and gathers what it leaves for `outputs` scan outputs.
    pub(super) fn turns(
        &self,
        run: &Run<'_>,
        mut states: Vec<Datum>,
        scanned: &[Tensor],
        outputs: usize,
    ) -> Result<Turns, OpError> {
        let mut slices: Vec<(&Tensor, usize, bool)> = Vec::new();
        for (i, tensor) in scanned.iter().enumerate() {
            let axis = axis_index(entry(&self.scan_input_axes, i), tensor.rank())?;
            slices.push((tensor, axis, entry(&self.scan_input_directions, i) != 0));
        }
        let length = slices.first().map_or(0, |(t, axis, _)| t.shape()[*axis]);
        if let Some((t, axis, _)) = slices.iter().find(|(t, axis, _)| t.shape()[*axis] != length) {
            return Err(OpError::new(format!(
                "the scanned inputs differ in length: {length} and {} (shape {:?})",
                t.shape()[*axis],
                t.shape()
            )));
        }
        let count = states.len();
        let mut left: Vec<Vec<Tensor>> = vec![Vec::new(); outputs];
        for turn in 0..length {
            run.checkpoint()?;
            let mut given = std::mem::take(&mut states);
            for (tensor, axis, backwards) in &slices {
                let at = if *backwards { length - 1 - turn } else { turn };
                let mut shape = tensor.shape().to_vec();
                shape.remove(*axis);
                given.push(tensor.slice_axis(*axis, at, 1, 1)?.reshape(&shape)?.into());
            }
            let mut results = run.body(0, given)?.into_iter();
            states.extend(results.by_ref().take(count));
            for (part, into) in results.zip(&mut left) {
                let part = part.into_tensor();
                into.push(part.map_err(|_| OpError::new("a scan output must be a tensor"))?);
            }
        }
        Ok(Turns { states, left })
    }

    fn check(&self, inputs: usize, outputs: usize) -> Result<(), OpError> {
        for (name, list, count) in [
            ("scan_input_axes", &self.scan_input_axes, inputs),
            ("scan_input_directions", &self.scan_input_directions, inputs),
            ("scan_output_axes", &self.scan_output_axes, outputs),
            ("scan_output_directions", &self.scan_output_directions, outputs),
        ] {
            if let Some(list) = list.as_ref().filter(|list| list.len() != count) {
                return Err(OpError::new(format!(
                    "{name} has {} entries, but must have {count}",
                    list.len()
                )));
            }
        }
        Ok(())
    }
}

impl Op for Scan {
    of_room!();

    fn body_names(&self) -> &[&str] {
        &["body"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let states = self.states(ctx.input_count())?;
        self.check(ctx.input_count() - states, ctx.output_count().saturating_sub(states))?;
        let mut length = None;
        let mut given = Vec::new();
        for i in 0..ctx.input_count() {
            let mut ty = ctx.ty(i).cloned();
            if let (true, Some(Type::Tensor(t))) = (i >= states, &mut ty)
                && let Some(dims) = &mut t.shape
            {
                let axis = axis_index(entry(&self.scan_input_axes, i - states), dims.len())?;
                let size = dims.remove(axis);
                length = match length {
                    Some(known) if size.is_unknown() => Some(known),
                    _ => Some(size),
                };
            }
            given.push(ty);
        }
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
            match result {
                Some(ty) if i < states => ctx.set(i, ty),
                Some(Type::Tensor(t)) => {
                    let Some(dims) = t.shape else {
                        ctx.set_unranked(i, t.dtype);
                        continue;
                    };
                    let axis = axis_index(entry(&self.scan_output_axes, i - states), dims.len() + 1)?;
                    let length = length.unwrap_or_else(|| ctx.unknown_dim(i, axis));
                    let mut out: Dims = dims;
                    out.insert(axis, length);
                    ctx.set_tensor(i, t.dtype, out);
                }
                Some(other) => {
                    return Err(Unknown::wrong(format!("scan output {i} is {other}, not a tensor")));
                }
                None => {
                    unknown =
                        Some(Unknown::Because(format!("the body does not tell the type of output {i}")));
                }
            }
        }
        unknown.map_or(Ok(()), Err)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let states = op.states(run.input_count())?;
            let outputs = run.output_count().checked_sub(states);
            let outputs =
                outputs.ok_or_else(|| OpError::new(format!("has less outputs than {states} states")))?;
            op.check(run.input_count() - states, outputs)?;
            let mut state: Vec<Datum> = Vec::new();
            let mut scanned: Vec<Tensor> = Vec::new();
            for i in 0..run.input_count() {
                let tensor = run.tensor(i)?.clone();
                if i < states { state.push(tensor.into()) } else { scanned.push(tensor) }
            }
            let Turns { states: state, left } = op.turns(run, state, &scanned, outputs)?;
            for (i, value) in state.into_iter().enumerate() {
                run.set(i, value);
            }
            for (i, mut parts) in left.into_iter().enumerate() {
                if entry(&op.scan_output_directions, i) != 0 {
                    parts.reverse();
                }
                if run.wants(states + i) {
                    stack(run, states + i, &parts, states + i, entry(&op.scan_output_axes, i))?;
                }
            }
            Ok(())
        })
    }
}
