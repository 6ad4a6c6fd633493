//! What a model is.

use crate::inputs::sizes;
use anyhow::{Context, Result};
use oxidane::graph::{Dims, Graph, Node, TensorType, qualified};
use oxidane::ops::constant_of;
use oxidane::{Datum, Dim, Level, Model, Tensor, Type};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Inputs of more bytes are not made only to ask for the memory of a run.
const MOST_BYTES: usize = 256 << 20;

/// Prints a description of a model; `dims` are the sizes of symbolic dimensions of its inputs, the others are 1
/// where sizes are needed.
///
/// # Errors
/// When the model cannot be read.
pub(crate) fn info(path: &Path, dims: &[(String, i64)]) -> Result<()> {
    let model = crate::open(path)?;
    let onnx = model.onnx();
    println!("{}", path.display());
    let header = &onnx.header;
    let producer = format!("{} {}", header.producer_name(), header.producer_version());
    if !producer.trim().is_empty() {
        println!("producer: {}", producer.trim());
    }
    let opsets: Vec<String> = onnx
        .opsets()
        .map(|(domain, version)| match domain {
            "" => version.to_string(),
            _ => format!("{domain} {version}"),
        })
        .collect();
    println!("opset: {}; IR version {}", opsets.join(", "), onnx.ir_version());
    let keys: Vec<&str> = onnx.metadata().map(|(key, _)| key).collect();
    if !keys.is_empty() {
        println!("metadata: {}", keys.join(", "));
    }
    if !onnx.functions().is_empty() {
        println!("functions: {}", onnx.functions().len());
    }

    let graph = model.graph();
    let ports = |what: &str, ids: &[oxidane::graph::ValueId]| {
        println!("{what}:");
        for &id in ids {
            let value = graph.value(id);
            let ty = value.declared().or(value.ty()).map_or("unknown type".to_owned(), Type::to_string);
            println!("  {}: {ty}", value.name());
        }
    };
    ports("inputs", graph.inputs());
    ports("outputs", graph.outputs());

    let mut sized = graph.clone();
    let symbolic = set_sizes(&mut sized, dims);
    oxidane::graph::infer(&mut sized);
    let totals = Totals::of(&sized);
    println!("operators: {}", totals.nodes);
    let mut ops: Vec<(&String, &usize)> = totals.ops.iter().collect();
    ops.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), (*name).clone()));
    for (name, n) in ops {
        println!("  {n:6} {name}");
    }
    println!("parameters: {} in {}", counted(totals.parameters), size(totals.weight_bytes));
    let note = match symbolic.as_slice() {
        [] => String::new(),
        some => format!(" with {}", some.join(", ")),
    };
    if totals.multiplying > 0 {
        let missing = match totals.unknown {
            0 => String::new(),
            n => format!("; {n} of {} nodes that multiply have unknown sizes", totals.multiplying),
        };
        println!("multiply-adds: {}{note}{missing}", counted(totals.multiply_adds));
    }
    match memory(model, dims) {
        Ok(Some(bytes)) => {
            println!("memory of a run{note}: {}, without what only a run tells", size(bytes as u128))
        }
        Ok(None) => println!("memory of a run: not known, as an input is large or of unknown rank"),
        Err(error) => println!("memory of a run: not known, as the model does not run: {error:#}"),
    }
    Ok(())
}

/// Gives the inputs fixed sizes and says which symbols became what.
fn set_sizes(graph: &mut Graph, dims: &[(String, i64)]) -> Vec<String> {
    let mut symbols = BTreeMap::new();
    for id in graph.inputs().to_vec() {
        let value = graph.value(id);
        let Some(Type::Tensor(ty)) = value.declared().or(value.ty()).cloned() else { continue };
        let Some(shape) = &ty.shape else { continue };
        for symbol in shape.iter().flat_map(|d| d.symbols()) {
            let size = dims.iter().find(|(name, _)| **name == *symbol).map_or(1, |(_, n)| *n);
            let shown = if symbol.starts_with('?') { "unnamed sizes".to_owned() } else { symbol.to_string() };
            symbols.insert(shown, size);
        }
        if let Ok(sizes) = sizes(shape, dims) {
            let shape: Dims = sizes.into_iter().map(Dim::from).collect();
            let ty = Type::Tensor(TensorType { dtype: ty.dtype, shape: Some(shape) });
            graph.set_declared(id, Some(ty.clone()));
            graph.set_type(id, Some(ty));
        }
    }
    symbols.into_iter().map(|(name, n)| format!("{name} = {n}")).collect()
}

/// What the nodes of a graph and its bodies come to.
#[derive(Default)]
struct Totals {
    nodes: usize,
    ops: BTreeMap<String, usize>,
    parameters: u128,
    weight_bytes: u128,
    multiply_adds: u128,
    multiplying: usize,
    unknown: usize,
}

impl Totals {
    fn of(graph: &Graph) -> Totals {
        let mut totals = Totals::default();
        let mut todo = vec![graph];
        while let Some(graph) = todo.pop() {
            for (_, node) in graph.nodes() {
                totals.nodes += 1;
                *totals.ops.entry(qualified(node.op().domain(), node.op().name())).or_default() += 1;
                match multiply_adds(graph, node) {
                    Work::None => {}
                    Work::Unknown => {
                        totals.multiplying += 1;
                        totals.unknown += 1;
                    }
                    Work::Known(n) => {
                        totals.multiplying += 1;
                        totals.multiply_adds = totals.multiply_adds.saturating_add(n);
                    }
                }
                todo.extend(node.bodies());
            }
            let inputs: HashSet<_> = graph.inputs().iter().collect();
            for (id, _) in graph.values().filter(|(id, _)| !inputs.contains(id)) {
                // Some exporters keep weights in Constant nodes.
                let Some(tensor) = constant_of(graph, id) else { continue };
                totals.weight_bytes += tensor.byte_len() as u128;
                if tensor.dtype().is_float() || tensor.rank() > 1 {
                    totals.parameters += tensor.len() as u128;
                }
            }
        }
        totals
    }
}

enum Work {
    None,
    Unknown,
    Known(u128),
}

fn multiply_adds(graph: &Graph, node: &Node) -> Work {
    if !matches!(node.op().domain(), "" | "ai.onnx") {
        return Work::None;
    }
    let input = |slot: usize| graph.value(node.input(slot)?).ty()?.shape().and_then(known);
    let output = || graph.value(node.output(0)?).ty()?.shape().and_then(known);
    let found = match node.op().name() {
        "Conv" => output().zip(input(1)).and_then(|(out, w)| times(product(&out)?, product(w.get(1..)?)?)),
        "ConvTranspose" => {
            input(0).zip(input(1)).and_then(|(x, w)| times(product(&x)?, product(w.get(1..)?)?))
        }
        "MatMul" => output().zip(input(0)).and_then(|(out, a)| times(product(&out)?, *a.last()?)),
        "Gemm" => output().zip(input(0)).and_then(|(out, a)| {
            let turned = node.op().attributes().value::<i64>("transA").ok()?.unwrap_or(0) != 0;
            times(product(&out)?, *a.get(usize::from(!turned))?)
        }),
        _ => return Work::None,
    };
    found.map_or(Work::Unknown, Work::Known)
}

fn known(shape: &[Dim]) -> Option<Vec<u128>> {
    shape.iter().map(|d| d.as_size().map(|n| n as u128)).collect()
}

fn product(sizes: &[u128]) -> Option<u128> {
    sizes.iter().try_fold(1u128, |n, &d| n.checked_mul(d))
}

fn times(a: u128, b: u128) -> Option<u128> {
    a.checked_mul(b)
}

/// What a run takes for what the nodes compute; `None` where the inputs do not say.
fn memory(model: Model, dims: &[(String, i64)]) -> Result<Option<usize>> {
    let mut inputs: Vec<Option<Datum>> = Vec::new();
    for &id in model.graph().inputs() {
        let value = model.graph().value(id);
        if let oxidane::graph::Source::Input { default: Some(_) } = value.source() {
            inputs.push(None);
            continue;
        }
        let ty = value.declared().or(value.ty()).and_then(Type::as_tensor);
        let Some((dtype, shape)) = ty.and_then(|t| Some((t.dtype, t.shape.as_ref()?))) else {
            return Ok(None);
        };
        let shape = sizes(shape, dims)?;
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if count.and_then(|n| dtype.byte_len(n)).is_none_or(|n| n > MOST_BYTES) {
            return Ok(None);
        }
        inputs.push(Some(Tensor::zeros(dtype, &shape)?.into()));
    }
    let session = model.optimize(Level::Full)?.session()?;
    let plan = session.runtime().memory_for(&inputs).context("on inputs of zeros")?;
    Ok(Some(plan.bytes()))
}

/// `1234567` as `1.23 million`.
fn counted(n: u128) -> String {
    let (unit, by) = match n {
        0..10_000 => return n.to_string(),
        10_000..1_000_000 => ("thousand", 1e3),
        1_000_000..1_000_000_000 => ("million", 1e6),
        _ => ("billion", 1e9),
    };
    format!("{:.2} {unit}", n as f64 / by)
}

/// Bytes in the unit that fits.
fn size(n: u128) -> String {
    match n {
        0..10_000 => format!("{n} bytes"),
        10_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(counted(9_999), "9999");
        assert_eq!(counted(25_557_032), "25.56 million");
        assert_eq!(size(102_228_128), "102.2 MB");
    }
}
