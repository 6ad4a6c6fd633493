//! What a model is.

use crate::made::sizes;
use crate::work::{Work, known};
use crate::{counted, size};
use anyhow::{Context, Result};
use oxidane::graph::{Dims, Graph, TensorType, ValueId, qualified};
use oxidane::ops::constant_of;
use oxidane::{Datum, Dim, Level, Model, Tensor, Type};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Inputs of more bytes are not made only to ask for the memory of a run.
const MOST_BYTES: usize = 256 << 20;

/// What a model is and comes to.
#[derive(Debug, Serialize)]
pub struct Info {
    /// The program that wrote the model, and its version.
    pub producer: String,
    /// The opset of each domain; ONNX's own domain is the empty one.
    pub opsets: Vec<(String, i64)>,
    /// The version of the file format.
    pub ir_version: i64,
    /// The keys of the model's metadata.
    pub metadata: Vec<String>,
    /// Functions that the model defines.
    pub functions: usize,
    /// The inputs in order.
    pub inputs: Vec<Port>,
    /// The outputs in order.
    pub outputs: Vec<Port>,
    /// Nodes, those of bodies included.
    pub nodes: usize,
    /// How many nodes there are of each operator, the most frequent first.
    pub operators: Vec<(String, usize)>,
    /// Elements of weights.
    pub parameters: u128,
    /// Bytes of constants.
    pub weight_bytes: u128,
    /// The sizes of symbolic dimensions that the following figures are for, as `name = size`.
    pub sizes: Vec<String>,
    /// Nodes that multiply matrices or convolve.
    pub multiplying: usize,
    /// How many of them have unknown sizes.
    pub unknown: usize,
    /// Multiply-adds of the others in one run.
    pub multiply_adds: u128,
    /// Bytes of a run for what the nodes compute, without what only a run tells.
    pub memory: Option<usize>,
    /// Why `memory` is not known.
    pub no_memory: Option<String>,
}

/// An input or output.
#[derive(Debug, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type, such as `float32[n,3]`.
    #[serde(rename = "type")]
    pub ty: String,
}

impl Info {
    /// Looks at a model; `dims` are the sizes of symbolic dimensions of its inputs, the others are 1 where sizes
    /// are needed.
    pub fn of(model: &Model, dims: &[(String, i64)]) -> Info {
        let onnx = model.onnx();
        let header = &onnx.header;
        let graph = model.graph();
        let ports = |ids: &[ValueId]| -> Vec<Port> {
            let port = |&id: &ValueId| {
                let value = graph.value(id);
                let ty = value.declared().or(value.ty()).map_or("unknown type".to_owned(), Type::to_string);
                Port { name: value.name().to_owned(), ty }
            };
            ids.iter().map(port).collect()
        };
        let mut sized = graph.clone();
        let symbolic = set_sizes(&mut sized, dims);
        oxidane::graph::infer(&mut sized);
        let totals = Totals::of(&sized);
        let mut operators: Vec<(String, usize)> = totals.ops.into_iter().collect();
        operators.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), name.clone()));
        let (memory, no_memory) = match memory(model.clone(), dims) {
            Ok(Some(bytes)) => (Some(bytes), None),
            Ok(None) => (None, Some("an input is large or of unknown rank".to_owned())),
            Err(error) => (None, Some(format!("the model does not run: {error:#}"))),
        };
        Info {
            producer: format!("{} {}", header.producer_name(), header.producer_version()).trim().to_owned(),
            opsets: onnx.opsets().map(|(domain, version)| (domain.to_owned(), version)).collect(),
            ir_version: onnx.ir_version(),
            metadata: onnx.metadata().map(|(key, _)| key.to_owned()).collect(),
            functions: onnx.functions().len(),
            inputs: ports(graph.inputs()),
            outputs: ports(graph.outputs()),
            nodes: totals.nodes,
            operators,
            parameters: totals.parameters,
            weight_bytes: totals.weight_bytes,
            sizes: symbolic,
            multiplying: totals.multiplying,
            unknown: totals.unknown,
            multiply_adds: totals.multiply_adds,
            memory,
            no_memory,
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.producer.is_empty() {
            writeln!(f, "producer: {}", self.producer)?;
        }
        let opset = |(domain, version): &(String, i64)| match domain.as_str() {
            "" => version.to_string(),
            _ => format!("{domain} {version}"),
        };
        let opsets: Vec<String> = self.opsets.iter().map(opset).collect();
        writeln!(f, "opset: {}; IR version {}", opsets.join(", "), self.ir_version)?;
        if !self.metadata.is_empty() {
            writeln!(f, "metadata: {}", self.metadata.join(", "))?;
        }
        if self.functions > 0 {
            writeln!(f, "functions: {}", self.functions)?;
        }
        for (what, ports) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            writeln!(f, "{what}:")?;
            ports.iter().try_for_each(|port| writeln!(f, "  {}: {}", port.name, port.ty))?;
        }
        writeln!(f, "operators: {}", self.nodes)?;
        self.operators.iter().try_for_each(|(name, n)| writeln!(f, "  {n:6} {name}"))?;
        writeln!(f, "parameters: {} in {}", counted(self.parameters), size(self.weight_bytes))?;
        let note = match self.sizes.as_slice() {
            [] => String::new(),
            some => format!(" with {}", some.join(", ")),
        };
        if self.multiplying > 0 {
            let missing = match self.unknown {
                0 => String::new(),
                n => format!("; {n} of {} nodes that multiply have unknown sizes", self.multiplying),
            };
            writeln!(f, "multiply-adds: {}{note}{missing}", counted(self.multiply_adds))?;
        }
        match self.memory {
            Some(bytes) => {
                write!(f, "memory of a run{note}: {}, without what only a run tells", size(bytes as u128))
            }
            None => {
                write!(f, "memory of a run: not known, as {}", self.no_memory.as_deref().unwrap_or_default())
            }
        }
    }
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
                match Work::of(node, &|v| known(graph.value(v).ty()?)) {
                    None => {}
                    Some(Work { multiply_adds: None, .. }) => {
                        totals.multiplying += 1;
                        totals.unknown += 1;
                    }
                    Some(Work { multiply_adds: Some(n), .. }) => {
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
