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
        let expected = differences(case, slot, &weights)?;
        if actual.shape() != expected.shape() {
            return Err(format!("gradient {slot} is {:?}, its input {:?}", actual.shape(), expected.shape()));
        }
        let (a, b) =
            (actual.to_f64s().map_err(|e| e.to_string())?, expected.to_f64s().map_err(|e| e.to_string())?);
        let largest = b.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        match a.iter().zip(&b).position(|(a, b)| (a - b).abs() > TOLERANCE * largest || a.is_nan()) {
            Some(at) => Err(format!("gradient {slot}, element {at}: {} instead of {}", a[at], b[at])),
            None => Ok(()),
        }
    }))
}

/// The derivative of the loss by each element of an input, from two runs each.
fn differences(case: &Case, slot: usize, weights: &[Option<Tensor>]) -> Result<Tensor, String> {
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
    let mut result = Vec::with_capacity(values.len());
    for i in 0..values.len() {
        let at = values[i];
        values[i] = at + STEP;
        let above = loss(&values)?;
        values[i] = at - STEP;
        let below = loss(&values)?;
        values[i] = at;
        result.push((above - below) / (2.0 * STEP));
    }
    Tensor::from_f64s(DType::F64, input.shape(), &result).map_err(|e| text(&e))
}

fn every_rule(symbols: bool) {
    let mut failures = Vec::new();
    let mut rules = 0;
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
    assert!(rules > 0, "no operator has a gradient rule");
}

#[test]
fn gradients_agree_with_differences() {
    every_rule(false);
}

#[test]
fn gradients_of_symbolic_shapes_agree_with_differences() {
    every_rule(true);
}
