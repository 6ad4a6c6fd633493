//! Every gradient rule against central finite differences in double precision: each case of each room whose
//! operator has a rule takes part.

use oxidane_graph::{Build, Dim, Graph, Type, infer};
use oxidane_ops::{Case, Interpreter, noise_of, rooms};
use oxidane_pool::Pool;
use oxidane_tensor::{CastRules, DType, Datum, Tensor};
use std::sync::Arc;

const BUDGET: usize = 1 << 30;
/// The best step for central differences of functions of about 1 in double precision.
const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;
/// Left and right slopes that differ by more, relative to the largest slope, are those of a kink.
const KINK: f64 = 1e-3;
/// Operators whose rule must have been checked; raise it with what is built.
const RULES: usize = 63;
/// Elements of an input that are moved, spread evenly over it.
const MOVED: usize = 64;

fn run(graph: &Graph, inputs: &[Datum]) -> Result<Vec<Tensor>, String> {
    let outputs = Interpreter::new(Pool::new(1), BUDGET)
        .run(graph, inputs.iter().cloned().map(Some).collect())
        .map_err(|p| p.to_string())?;
    Ok(outputs.into_iter().filter_map(|d| d.into_tensor().ok()).collect())
}

/// The case in double precision; `None` where it has no floats or the operator does not take doubles.
fn doubled(case: &Case) -> Option<Case> {
    let mut case = case.clone();
    let signature = case.op.signature()?;
    let mut any = false;
    for (i, input) in case.inputs.iter_mut().enumerate() {
        let Some(given) = input else { continue };
        // Only tensors can be made double.
        let Datum::Tensor(tensor) = given else { return None };
        if !tensor.dtype().is_float() {
            continue;
        }
        if !signature.input(i)?.types.has_tensor(DType::F64) {
            return None;
        }
        *tensor = tensor.cast(DType::F64, CastRules::default()).ok()?;
        any = true;
    }
    any.then_some(case)
}

/// `None` where the operator has no rule, or not for this call. With `symbols`, every size of the inputs is a symbol of its own.
fn check(case: &Case, symbols: bool) -> Option<Result<(), String>> {
    let mut graph = case.graph();
    if symbols {
        for (i, id) in graph.inputs().to_vec().into_iter().enumerate() {
            let Some(Type::Tensor(ty)) = graph.value(id).ty().cloned() else { continue };
            let rank = ty.shape.map_or(0, |s| s.len());
            let ty = Type::tensor(ty.dtype, (0..rank).map(|axis| Dim::symbol(&format!("s{i}_{axis}"))));
            graph.set_type(id, Some(ty.clone()));
            graph.set_declared(id, Some(ty));
        }
    }
    // An attribute may tie a type to another, such as that of BitCast: then there is no such case of doubles.
    if !infer(&mut graph).problems.is_empty() {
        return None;
    }
    let (node, outputs) = {
        let (id, node) = graph.nodes().next()?;
        (id, node.outputs().to_vec())
    };
    let inputs: Vec<Datum> = case.inputs.iter().flatten().cloned().collect();
    let plain = match run(&graph, &inputs) {
        Ok(outputs) => outputs,
        Err(why) => return Some(Err(why)),
    };
    // The loss is the sum of the outputs, each element times a weight.
    let weights: Vec<Option<Tensor>> = plain
        .iter()
        .enumerate()
        .map(|(i, t)| (t.dtype() == DType::F64).then(|| noise_of(DType::F64, t.shape(), 91 + i as u64)))
        .collect();
    let mut weighted = Vec::new();
    for (slot, weight) in outputs.iter().zip(&weights) {
        let Some(weight) = weight.clone().filter(|_| slot.is_some()) else {
            weighted.push(None);
            continue;
        };
        // As inputs, so that their sizes may be symbols too.
        let name = format!("w{}", weighted.len());
        let ty = slot.and_then(|v| graph.value(v).ty().cloned());
        let ty = ty.unwrap_or_else(|| Type::fixed(DType::F64, weight.shape()));
        let id = graph.add_input(&name, None, None).ok()?;
        graph.set_type(id, Some(ty));
        weighted.push(Some(id));
    }
    let formal = graph.node(node).formal_inputs().to_vec();
    let mut build = Build::new(&mut graph, "test");
    let op: Arc<_> = case.op.clone();
    let gradients = match op.gradient(&mut build, node, &weighted) {
        Ok(gradients) => gradients,
        Err(error) if error.is_unsupported() => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    let targets: Vec<(usize, _)> =
        formal.iter().zip(&gradients).enumerate().filter_map(|(i, (_, g))| g.map(|g| (i, g))).collect();
    graph.set_outputs(targets.iter().map(|t| t.1).collect());
    let mut all = inputs.clone();
    all.extend(weights.iter().flatten().cloned().map(Datum::from));
    let actual = match run(&graph, &all) {
        Ok(tensors) => tensors,
        Err(why) => return Some(Err(format!("the gradient does not run: {why}"))),
    };
    Some(targets.iter().zip(&actual).try_for_each(|(&(slot, _), actual)| {
        let (shape, slopes) = differences(case, slot, &weights)?;
        if actual.shape() != shape {
            return Err(format!("gradient {slot} is {:?}, its input {shape:?}", actual.shape()));
        }
        let actual = actual.to_f64s().map_err(|e| e.to_string())?;
        let largest = slopes.iter().fold(1.0f64, |m, s| m.max(s.right.abs()).max(s.left.abs()));
        let fits = |slope: &Slope| {
            let (a, tolerance) = (actual[slope.at], TOLERANCE * largest);
            let (low, high) = (slope.left.min(slope.right), slope.left.max(slope.right));
            // At a kink any slope between those of its sides is one.
            let kink = high - low > KINK * largest && low - tolerance <= a && a <= high + tolerance;
            kink || (a - (low + high) / 2.0).abs() <= tolerance
        };
        match slopes.iter().find(|slope| !fits(slope)) {
            Some(Slope { at, left, right }) => Err(format!(
                "gradient {slot}, element {at}: {} instead of {left} (left) and {right} (right)",
                actual[*at]
            )),
            None => Ok(()),
        }
    }))
}

/// The derivative of the loss by an element of an input, from both sides.
struct Slope {
    at: usize,
    left: f64,
    right: f64,
}

/// The shape of an input, and the derivatives of the loss by its elements from runs with each of them moved.
fn differences(
    case: &Case,
    slot: usize,
    weights: &[Option<Tensor>],
) -> Result<(Vec<usize>, Vec<Slope>), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let graph = case.graph();
    let Some(Some(Datum::Tensor(input))) = case.inputs.get(slot) else {
        return Err(format!("there is a gradient of input {slot}, which is no tensor"));
    };
    let loss = |values: &[f64]| -> Result<f64, String> {
        let moved = Tensor::from_f64s(DType::F64, input.shape(), values).map_err(|e| text(&e))?;
        let mut inputs = case.inputs.clone();
        inputs[slot] = Some(moved.into());
        let inputs: Vec<Datum> = inputs.into_iter().flatten().collect();
        let mut sum = 0.0;
        for (output, weight) in run(&graph, &inputs)?.iter().zip(weights) {
            let Some(weight) = weight else { continue };
            let (y, w) = (output.to_f64s().map_err(|e| text(&e))?, weight.to_f64s().map_err(|e| text(&e))?);
            sum += y.iter().zip(&w).map(|(y, w)| y * w).sum::<f64>();
        }
        Ok(sum)
    };
    let mut values = input.to_f64s().map_err(|e| text(&e))?;
    let here = loss(&values)?;
    let mut slopes = Vec::new();
    for at in (0..values.len()).step_by(values.len().div_ceil(MOVED).max(1)) {
        let value = values[at];
        values[at] = value + STEP;
        let right = (loss(&values)? - here) / STEP;
        values[at] = value - STEP;
        let left = (here - loss(&values)?) / STEP;
        values[at] = value;
        // At the edge of what a function is defined on there is no derivative.
        if left.is_finite() && right.is_finite() {
            slopes.push(Slope { at, left, right });
        }
    }
    Ok((input.shape().to_vec(), slopes))
}

fn every_rule(symbols: bool) {
    let mut failures = Vec::new();
    let mut rules = 0usize;
    for room in rooms() {
        let mut found = false;
        for case in (room.cases)() {
            let Some(case) = doubled(&case) else { continue };
            match check(&case, symbols) {
                None => {}
                Some(Ok(())) => found = true,
                Some(Err(why)) => failures.push(format!("{} / {}: {why}", room.name, case.name)),
            }
        }
        rules += usize::from(found);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(rules >= RULES, "{rules} operators have a gradient rule that was checked");
}

#[test]
fn gradients_agree_with_differences() {
    every_rule(false);
}

#[test]
fn gradients_of_symbolic_shapes_agree_with_differences() {
    every_rule(true);
}
