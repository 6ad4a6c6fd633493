//! Single precision becomes half: weights and arithmetic in 16-bit floats, by the types that each schema allows.
//!
//! A node is converted where its operator takes the type in every place in which the node has single precision; the others
//! stay as they are, and Casts stand where the two meet, one a value. The graph keeps the types of its inputs
//! and outputs unless it is told to convert them as well. The results of control flow keep their types; what bodies
//! capture is converted like everything else.

use crate::site::standard;
use crate::{label, remove_dead};
use half::{bf16, f16};
use oxidane_graph::{
    Attributes, Dim, Graph, Inference, MAX_DEPTH, Node, NodeId, NodeSpec, Op, Source, Type, ValueId,
};
use oxidane_ops::constraints;
use oxidane_ops::control::call;
use oxidane_ops::room;
use oxidane_tensor::{DType, Tensor, TensorError};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Whether a node stays in single precision, and why. The path leads through bodies to the graph; it is empty for
/// the main graph.
pub type Keep<'a> = dyn Fn(&str, &Graph, NodeId) -> Option<String> + 'a;

/// What is converted, to what.
pub struct Precision<'a> {
    /// The type to convert to: [`DType::F16`] or [`DType::BF16`].
    pub dtype: DType,
    /// The opset that the model will be written in; a node whose operator takes the type only later stays.
    pub opset: i64,
    /// Whether inputs and outputs of the graph are converted too.
    pub interface: bool,
    /// Which nodes stay.
    pub keep: &'a Keep<'a>,
}

/// What was converted and what not.
#[derive(Debug, Clone, Default)]
pub struct Converted {
    /// Nodes that compute in the new type.
    pub nodes: usize,
    /// Nodes that stay in single precision: path, name and operator, and why.
    pub kept: Vec<Kept>,
    /// Casts that were added.
    pub casts: usize,
    /// Elements of constants that were out of range and became the largest number of the type.
    pub clamped: usize,
    /// Bytes of constants before and after.
    pub bytes: (u64, u64),
}

/// A node that stays in single precision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The node, with its path where it is in a body.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Why.
    pub reason: String,
}

/// Why a graph cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum PrecisionError {
    /// A type that is no 16-bit float.
    #[error("weights cannot be converted to {0}; the types are float16 and bfloat16")]
    Type(DType),
    /// A function call that does not fit its function.
    #[error("{0}")]
    Call(oxidane_graph::OpError),
    /// Not enough memory for a constant.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The nodes lead in a circle.
    #[error("node {0} is on a cycle")]
    Cycle(String),
    /// A name that is taken.
    #[error(transparent)]
    Graph(#[from] oxidane_graph::GraphError),
}

/// The largest number of a 16-bit float.
pub fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => bf16::MAX.to_f64(),
        _ => f16::MAX.to_f64(),
    }
}

/// Converts a graph and its bodies. Calls of functions are put in place of the calls first.
///
/// # Errors
/// When the type is no 16-bit float, a call does not fit its function, or memory runs out.
pub fn convert(graph: &mut Graph, precision: &Precision<'_>) -> Result<Converted, PrecisionError> {
    if !matches!(precision.dtype, DType::F16 | DType::BF16) {
        return Err(PrecisionError::Type(precision.dtype));
    }
    call::inline(graph).map_err(PrecisionError::Call)?;
    let mut walk = Inference::default();
    walk.graph(graph);
    let mut done = Converted { bytes: (constant_bytes(graph), 0), ..Converted::default() };
    let mut run = Run { precision, done: &mut done };
    run.graph(graph, &mut walk, &[], "", 0)?;
    remove_dead(graph);
    oxidane_graph::infer(graph);
    done.bytes.1 = constant_bytes(graph);
    Ok(done)
}

fn constant_bytes(graph: &Graph) -> u64 {
    let own: u64 = graph.values().filter_map(|(_, v)| v.constant()).map(|t| t.byte_len() as u64).sum();
    own + graph.nodes().flat_map(|(_, n)| n.bodies()).map(constant_bytes).sum::<u64>()
}

struct Run<'a> {
    precision: &'a Precision<'a>,
    done: &'a mut Converted,
}

/// The two forms of the values of a graph that had single precision.
#[derive(Default)]
struct Forms {
    single: HashSet<ValueId>,
    /// The 16-bit form, by the original value; the value itself where its node was converted.
    low: HashMap<ValueId, ValueId>,
    /// The single form of values that were converted.
    full: HashMap<ValueId, ValueId>,
}

impl Run<'_> {
    /// Converts one graph, whose inputs in `captured` have the new type already.
    fn graph(
        &mut self,
        graph: &mut Graph,
        walk: &mut Inference,
        captured: &[ValueId],
        path: &str,
        depth: usize,
    ) -> Result<(), PrecisionError> {
        let order = graph.order().map_err(|id| PrecisionError::Cycle(label(graph, id)))?;
        let mut forms = Forms::default();
        for (id, value) in graph.values() {
            if is_single(value.ty()) {
                forms.single.insert(id);
            }
        }
        for &id in captured {
            forms.single.insert(id);
            forms.low.insert(id, id);
        }
        let whole = depth == 0 && self.precision.interface;
        for id in graph.inputs().to_vec() {
            // An input with a default is a weight that may be given another value.
            let weight = matches!(graph.value(id).source(), Source::Input { default: Some(_) });
            if (whole || depth == 0 && weight) && forms.single.contains(&id) {
                self.convert_input(graph, id)?;
                forms.low.insert(id, id);
            }
        }
        for id in order {
            if !graph.node(id).bodies().is_empty() {
                self.holder(graph, walk, id, &mut forms, path, depth)?;
                continue;
            }
            match self.refusal(graph, id, &forms, path) {
                None => self.convert_node(graph, walk, id, &mut forms)?,
                Some(reason) => {
                    let touches = |v: &ValueId| forms.single.contains(v);
                    let node = graph.node(id);
                    if node.inputs().iter().chain(node.outputs()).flatten().any(touches) {
                        self.done.kept.push(Kept {
                            node: format!("{path}{}", label(graph, id)),
                            op: node.op().name().to_owned(),
                            reason,
                        });
                    }
                    self.keep_node(graph, walk, id, &mut forms)?;
                }
            }
        }
        if !whole {
            self.outputs(graph, &mut forms)?;
        }
        // A constant that is read in the new form only keeps its name.
        for (&old, &new) in &forms.low {
            let taken = graph.value(old).constant().is_some()
                && graph.value(old).uses().is_empty()
                && !graph.is_output(old);
            if taken && new != old {
                let name = graph.value(old).name().to_owned();
                graph.rename(old, "")?;
                graph.rename(new, &name)?;
                let _ = graph.remove_value(old);
            }
        }
        Ok(())
    }

    /// A node with bodies keeps the types of its inputs and outputs; its captures come as they are.
    fn holder(
        &mut self,
        graph: &mut Graph,
        walk: &mut Inference,
        id: NodeId,
        forms: &mut Forms,
        path: &str,
        depth: usize,
    ) -> Result<(), PrecisionError> {
        let formal = graph.node(id).formal_inputs().len();
        let captures = graph.node(id).captures();
        let mut inputs = graph.node(id).inputs().to_vec();
        let mut low = vec![false; captures];
        for (slot, input) in inputs.iter_mut().enumerate() {
            let Some(value) = *input else { continue };
            if !forms.single.contains(&value) {
                continue;
            }
            let is_constant = graph.value(value).constant().is_some();
            if slot >= formal && (forms.low.contains_key(&value) || is_constant) {
                *input = Some(self.low(graph, walk, value, forms)?);
                low[slot - formal] = true;
            } else {
                *input = Some(self.full(graph, walk, value, forms)?);
            }
        }
        graph.set_inputs(id, &inputs, captures);
        if depth < MAX_DEPTH {
            for k in 0..graph.node(id).bodies().len() {
                let inner_path = format!("{path}{}/", graph.body_path(id, k));
                let mut body = std::mem::take(&mut graph.bodies_mut(id)[k]);
                let first = body.inputs().len().saturating_sub(captures);
                let captured: Vec<ValueId> = (body.inputs()[first..].iter().zip(&low))
                    .filter(|(_, low)| **low)
                    .map(|(&v, _)| v)
                    .collect();
                for &value in &captured {
                    retype(&mut body, value, self.precision.dtype);
                }
                let mut inner = walk.enter(graph, id, &body);
                let result = self.graph(&mut body, &mut inner, &captured, &inner_path, depth + 1);
                graph.bodies_mut(id)[k] = body;
                result?;
            }
        }
        walk.node(graph, id);
        Ok(())
    }

    /// Why a node stays as it is; `None` where it is converted.
    fn refusal(&self, graph: &Graph, id: NodeId, forms: &Forms, path: &str) -> Option<String> {
        let node = graph.node(id);
        let dtype = self.precision.dtype;
        let touches = |v: &Option<ValueId>| v.is_some_and(|v| forms.single.contains(&v));
        if !node.inputs().iter().chain(node.outputs()).any(touches) {
            return Some("it has no single precision".into());
        }
        if let Some(reason) = (self.precision.keep)(path, graph, id) {
            return Some(reason);
        }
        let Some(signature) = node.op().signature() else {
            return Some("its operator is not known, nor which types it takes".into());
        };
        let all = node.inputs().iter().chain(node.outputs()).flatten();
        if all.map(|&v| graph.value(v).ty()).any(|ty| ty.is_some_and(|t| t.as_tensor().is_none())) {
            return Some("it reads or makes sequences or optionals".into());
        }
        if let Some(name) = standard(node) {
            let first = constraints::first_like("", name, dtype, DType::F32);
            if let Some(first) = first.filter(|first| *first > self.precision.opset) {
                return Some(format!("{name} takes {dtype} from opset {first} on"));
            }
        }
        // A variable of types that a place allows for single precision but not for the new type binds all its places.
        let mut bound: Vec<&str> = Vec::new();
        let mut converted = 0;
        let places = (node.inputs().iter().enumerate().map(|(i, v)| (*v, signature.input(i))))
            .chain(node.outputs().iter().enumerate().map(|(i, v)| (*v, signature.output(i))));
        for (value, param) in places {
            let (Some(value), Some(param)) = (value, param) else { continue };
            if !forms.single.contains(&value) {
                continue;
            }
            if param.types.has_tensor(dtype) {
                converted += 1;
            } else if !param.var.is_empty() {
                bound.push(param.var);
            }
        }
        let is_bound = |var: &str| !var.is_empty() && bound.contains(&var);
        let places = signature.inputs.iter().chain(signature.outputs);
        if converted == 0 || places.into_iter().any(|p| is_bound(p.var) && p.types.has_tensor(dtype)) {
            return Some(format!("{} does not take {dtype}", node.op().name()));
        }
        None
    }

    fn convert_node(
        &mut self,
        graph: &mut Graph,
        walk: &mut Inference,
        id: NodeId,
        forms: &mut Forms,
    ) -> Result<(), PrecisionError> {
        let dtype = self.precision.dtype;
        let signature = graph.node(id).op().signature();
        let takes =
            |slot: usize| signature.and_then(|s| s.input(slot)).is_some_and(|p| p.types.has_tensor(dtype));
        let mut inputs = graph.node(id).inputs().to_vec();
        for (slot, input) in inputs.iter_mut().enumerate() {
            let Some(value) = *input else { continue };
            if !forms.single.contains(&value) {
                continue;
            }
            *input = Some(match takes(slot) {
                true => self.low(graph, walk, value, forms)?,
                false => self.full(graph, walk, value, forms)?,
            });
        }
        graph.set_inputs(id, &inputs, 0);
        if let Some(op) = self.retyped(graph.node(id))? {
            graph.set_op(id, op);
        }
        let outputs: Vec<ValueId> =
            graph.node(id).outputs().iter().flatten().copied().filter(|v| forms.single.contains(v)).collect();
        let before: Vec<Option<Type>> = outputs.iter().map(|&v| graph.value(v).ty().cloned()).collect();
        for &value in &outputs {
            graph.set_declared(value, None);
            graph.set_type(value, None);
        }
        walk.node(graph, id);
        let slot_of = |graph: &Graph, value| graph.node(id).outputs().iter().position(|o| *o == Some(value));
        for (&value, before) in outputs.iter().zip(before) {
            let inferred = graph.value(value).ty().and_then(Type::dtype);
            let allowed = slot_of(graph, value).and_then(|slot| signature?.output(slot));
            let allowed = allowed.is_some_and(|p| p.types.has_tensor(dtype));
            let is_low = match inferred {
                Some(found) => found == dtype,
                None => allowed,
            };
            // What inference could not tell again stays as it was, but for the type of elements.
            if graph.value(value).ty().is_none() {
                graph.set_type(value, before);
                if is_low {
                    retype(graph, value, dtype);
                }
            }
            if is_low {
                forms.low.insert(value, value);
            }
        }
        self.done.nodes += 1;
        Ok(())
    }

    fn keep_node(
        &mut self,
        graph: &mut Graph,
        walk: &mut Inference,
        id: NodeId,
        forms: &mut Forms,
    ) -> Result<(), PrecisionError> {
        let captures = graph.node(id).captures();
        let mut inputs = graph.node(id).inputs().to_vec();
        let mut changed = false;
        for input in inputs.iter_mut().flatten() {
            if forms.single.contains(input) {
                let full = self.full(graph, walk, *input, forms)?;
                changed |= full != *input;
                *input = full;
            }
        }
        if changed {
            graph.set_inputs(id, &inputs, captures);
        }
        walk.node(graph, id);
        Ok(())
    }

    /// The 16-bit form of a value.
    fn low(
        &mut self,
        graph: &mut Graph,
        walk: &mut Inference,
        value: ValueId,
        forms: &mut Forms,
    ) -> Result<ValueId, PrecisionError> {
        if let Some(&low) = forms.low.get(&value) {
            return Ok(low);
        }
        let low = match graph.value(value).constant() {
            Some(tensor) => {
                let tensor = self.tensor(&tensor.clone())?;
                graph.add_constant("", tensor)?
            }
            None => self.cast(graph, walk, value, self.precision.dtype)?,
        };
        forms.low.insert(value, low);
        Ok(low)
    }

    /// The single-precision form of a value.
    fn full(
        &mut self,
        graph: &mut Graph,
        walk: &mut Inference,
        value: ValueId,
        forms: &mut Forms,
    ) -> Result<ValueId, PrecisionError> {
        if forms.low.get(&value) != Some(&value) {
            return Ok(value);
        }
        if let Some(&full) = forms.full.get(&value) {
            return Ok(full);
        }
        let full = self.cast(graph, walk, value, DType::F32)?;
        forms.full.insert(value, full);
        Ok(full)
    }

    fn cast(
        &mut self,
        graph: &mut Graph,
        walk: &mut Inference,
        value: ValueId,
        to: DType,
    ) -> Result<ValueId, PrecisionError> {
        let out = graph.add_undefined("")?;
        let op = cast(to);
        let spec = NodeSpec { origin: "precision", ..NodeSpec::new(op, &[Some(value)], &[Some(out)]) };
        let id = graph.add_node(spec)?;
        walk.node(graph, id);
        self.done.casts += 1;
        Ok(out)
    }

    /// Outputs keep their type and their name.
    fn outputs(&mut self, graph: &mut Graph, forms: &mut Forms) -> Result<(), PrecisionError> {
        let mut outputs = graph.outputs().to_vec();
        let mut renamed = Vec::new();
        for output in &mut outputs {
            if forms.low.get(output) != Some(output) {
                continue;
            }
            let mut walk = Inference::default();
            let full = self.full(graph, &mut walk, *output, forms)?;
            renamed.push((*output, full));
            *output = full;
        }
        graph.set_outputs(outputs);
        renamed.sort_unstable_by_key(|r| r.0);
        renamed.dedup();
        for (old, new) in renamed {
            let name = graph.value(old).name().to_owned();
            if !name.is_empty() {
                graph.rename(old, "")?;
                graph.rename(new, &name)?;
            }
        }
        Ok(())
    }

    fn convert_input(&mut self, graph: &mut Graph, id: ValueId) -> Result<(), PrecisionError> {
        let default = match graph.value(id).source() {
            Source::Input { default: Some(tensor) } => Some(Tensor::clone(tensor)),
            _ => None,
        };
        if let Some(tensor) = default {
            // The initializer of an input that may be left out.
            let tensor = self.tensor(&tensor)?;
            graph.set_default(id, Some(tensor));
        }
        retype(graph, id, self.precision.dtype);
        Ok(())
    }

    /// A constant in the new type: numbers out of range become its largest, and a single number that would become zero
    /// its smallest.
    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor, PrecisionError> {
        let values = tensor.values::<f32>()?;
        let single = values.len() == 1;
        let mut clamped = 0;
        let mut within = |v: f32, most: f32, least: f32| -> f32 {
            if v.is_finite() && v.abs() > most {
                clamped += 1;
                return most.copysign(v);
            }
            if single && v != 0.0 && v.abs() < least { least.copysign(v) } else { v }
        };
        let made = match self.precision.dtype {
            DType::F16 => {
                let (most, least) = (f16::MAX.to_f32(), f16::MIN_POSITIVE_SUBNORMAL.to_f32());
                let all: Vec<f16> = values.iter().map(|&v| f16::from_f32(within(v, most, least))).collect();
                Tensor::new(tensor.shape(), &all)?
            }
            _ => {
                let (most, least) = (bf16::MAX.to_f32(), bf16::MIN_POSITIVE_SUBNORMAL.to_f32());
                let all: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(within(v, most, least))).collect();
                Tensor::new(tensor.shape(), &all)?
            }
        };
        self.done.clamped += clamped;
        Ok(made)
    }

    /// The operator of a node whose attributes hold numbers, or name the type of what it makes.
    fn retyped(&mut self, node: &Node) -> Result<Option<Arc<dyn Op>>, PrecisionError> {
        let dtype = self.precision.dtype;
        let Some(name) = standard(node) else { return Ok(None) };
        let attributes: Attributes = node.op().attributes();
        let named = |name: &str| attributes.value::<DType>(name).ok().flatten();
        let tensor = |name: &str| attributes.value::<Tensor>(name).ok().flatten();
        let single = |name: &str| tensor(name).filter(|t| t.dtype() == DType::F32);
        let attributes = match name {
            "Cast" if named("to") == Some(DType::F32) => attributes.with("to", dtype),
            "Constant" => {
                let numbers: Option<Vec<f32>> = attributes.value("value_floats").ok().flatten();
                let number: Option<f32> = attributes.value("value_float").ok().flatten();
                let value = match (single("value"), numbers, number) {
                    (Some(value), ..) => value,
                    (_, Some(all), _) => Tensor::new(&[all.len()], &all)?,
                    (.., Some(one)) => Tensor::new(&[], &[one])?,
                    _ => return Ok(None),
                };
                Attributes::new().with("value", self.tensor(&value)?)
            }
            "ConstantOfShape" => {
                let value = match (tensor("value"), single("value")) {
                    (_, Some(value)) => value,
                    (None, _) => Tensor::new(&[1], &[0.0f32])?,
                    _ => return Ok(None),
                };
                attributes.with("value", self.tensor(&value)?)
            }
            "EyeLike" | "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike"
            | "Bernoulli" => match named("dtype") {
                Some(DType::F32) => attributes.with("dtype", dtype),
                None if matches!(name, "RandomNormal" | "RandomUniform" | "EyeLike") => {
                    attributes.with("dtype", dtype)
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let Some(room) = room("", name) else { return Ok(None) };
        Ok((room.read)(&attributes).ok())
    }
}

fn is_single(ty: Option<&Type>) -> bool {
    ty.and_then(Type::as_tensor).is_some_and(|t| t.dtype == DType::F32)
}

fn retype(graph: &mut Graph, value: ValueId, dtype: DType) {
    let changed = |ty: Option<&Type>| match ty.and_then(Type::as_tensor) {
        Some(t) => match &t.shape {
            Some(shape) => Some(Type::tensor(dtype, shape.iter().copied().collect::<Vec<Dim>>())),
            None => Some(Type::unranked(dtype)),
        },
        None => None,
    };
    let declared = changed(graph.value(value).declared());
    let ty = changed(graph.value(value).ty()).or_else(|| declared.clone());
    graph.set_declared(value, declared);
    graph.set_type(value, ty);
}

fn cast(to: DType) -> Arc<dyn Op> {
    oxidane_graph::shared(oxidane_ops::math::cast::Cast::new(to))
}
