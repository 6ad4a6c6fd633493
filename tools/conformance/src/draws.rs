use crate::DataSet;
use bytes::Bytes;
use oxidane::onnx::proto::{GraphProto, ModelProto, NodeProto};
use oxidane::{Datum, Model, Tensor};
use prost::Message;

/// How often a random model is run for its statistics.
const RUNS: usize = 2000;

/// Standard deviations that a mean may be off: one good model in a million would be refused.
const SIGMAS: f64 = 5.0;

/// Whether a model that differs from its case does so because the case is one draw of random numbers, and draws as it
/// should: zeros and ones, whose means over many runs are what the first input says. Seeds are taken off for that, as runs of
/// one seed are alike. `None` where the case is nothing of the kind.
pub(crate) fn fair(bytes: &Bytes, ops: &[String], set: &DataSet) -> Option<Result<(), String>> {
    if !ops.iter().any(|op| op == "Bernoulli" || op == "RandomUniformLike") {
        return None;
    }
    let tensors = |all: Vec<Option<Datum>>| {
        all.into_iter().map(|d| d.and_then(|d| d.into_tensor().ok())).collect::<Option<Vec<Tensor>>>()
    };
    let mut file = ModelProto::decode(bytes.clone()).ok()?;
    without_seeds(file.graph.as_mut()?);
    let model = Model::from_bytes(Bytes::from(file.encode_to_vec()), None).ok()?;
    let inputs = model.inputs_from_bytes(&set.inputs).ok()?;
    let outputs = model.outputs_from_bytes(&set.outputs).ok()?;
    let mut chances = tensors(inputs.clone())?.first()?.to_f64s().ok()?;
    if ops.iter().any(|op| op == "Greater") {
        // The standard's function body of Bernoulli gives one where a uniform number is above its input.
        chances.iter_mut().for_each(|p| *p = 1.0 - *p);
    }
    let drawn = tensors(outputs.into_iter().map(Some).collect())?;
    let coins = |values: &[f64]| values.iter().all(|&v| v == 0.0 || v == 1.0);
    let chance = |values: &[f64]| values.iter().all(|v| (0.0..=1.0).contains(v));
    let ([drawn], true) = (&drawn[..], chance(&chances)) else { return None };
    if drawn.len() != chances.len() || !coins(&drawn.to_f64s().ok()?) {
        return None;
    }
    Some(statistics(&model, &inputs, drawn, &chances))
}

fn statistics(
    model: &Model,
    inputs: &[Option<Datum>],
    drawn: &Tensor,
    chances: &[f64],
) -> Result<(), String> {
    let mut sums = vec![0.0; chances.len()];
    for _ in 0..RUNS {
        let outputs = model.interpret(inputs.to_vec()).map_err(|e| e.to_string())?;
        let Some(Datum::Tensor(output)) = outputs.first() else { return Err("gives no tensor".into()) };
        if (output.dtype(), output.shape()) != (drawn.dtype(), drawn.shape()) {
            return Err(format!("is {output:?}, expected {drawn:?}"));
        }
        for (sum, value) in sums.iter_mut().zip(output.to_f64s().map_err(|e| e.to_string())?) {
            if value != 0.0 && value != 1.0 {
                return Err(format!("holds {value}, which is neither 0 nor 1"));
            }
            *sum += value;
        }
    }
    for (i, (sum, p)) in sums.iter().zip(chances).enumerate() {
        let (mean, sigma) = (sum / RUNS as f64, (p * (1.0 - p) / RUNS as f64).sqrt());
        if (mean - p).abs() > SIGMAS * sigma + 1e-9 {
            return Err(format!("draws a mean of {mean} for element {i}, whose chance is {p}"));
        }
    }
    Ok(())
}

fn without_seeds(graph: &mut GraphProto) {
    let mut todo: Vec<&mut NodeProto> = graph.node.iter_mut().collect();
    while let Some(node) = todo.pop() {
        node.attribute.retain(|a| a.name() != "seed");
        let graphs = node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs));
        todo.extend(graphs.flat_map(|g| &mut g.node));
    }
}
