//! Types, shapes and the small integer tensors that shapes are made of, worked out for a whole graph.

use crate::{Arity, Dim, Dims, Graph, Node, NodeId, OpError, Problem, Signature, Type, ValueId};
use oxidane_tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// Why the types of an op's outputs could not be worked out.
#[derive(Debug, Clone)]
pub enum Unknown {
    /// The inputs do not tell; the text says which and why.
    Because(String),
    /// The inputs, attributes or types are at fault.
    Wrong(OpError),
}

impl Unknown {
    /// A fault in the model.
    pub fn wrong(what: impl Into<String>) -> Unknown {
        Unknown::Wrong(OpError::new(what))
    }
}

impl<E: Into<OpError>> From<E> for Unknown {
    fn from(error: E) -> Unknown {
        Unknown::Wrong(error.into())
    }
}

/// What is known of the elements of a value.
#[derive(Debug, Clone, Default)]
struct Fact {
    constant: Option<Tensor>,
    ints: Option<Ints>,
}

/// The elements of an integer tensor of rank 0 or 1, possibly symbolic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ints {
    /// The elements.
    pub dims: Dims,
    /// Whether the tensor has rank 0 (then there is one element).
    pub scalar: bool,
}

/// Longer integer tensors are not tracked.
const MAX_INTS: usize = 256;

/// What a walk over a graph found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What contradicts a declaration in the file but hinders nothing.
    pub warnings: Vec<Problem>,
    /// Outputs whose type stayed unknown, and why.
    pub unknown: Vec<Problem>,
}

/// The walk: it keeps what is known of values and takes nodes one by one, each after those it reads from.
#[derive(Debug, Default)]
pub struct Inference {
    /// Only values of which something is known; kept by id, so that a walk that takes a few nodes of a large
    /// graph stays small.
    facts: HashMap<ValueId, Fact>,
    /// What was found so far.
    pub findings: Findings,
}

/// Works out the types of all values of a graph and its bodies.
pub fn infer(graph: &mut Graph) -> Findings {
    let mut walk = Inference::default();
    walk.graph(graph);
    walk.findings
}

impl Inference {
    /// Takes all nodes of a graph.
    pub fn graph(&mut self, graph: &mut Graph) {
        let order = match graph.order() {
            Ok(order) => order,
            Err(node) => {
                let place = graph.place(node);
                let error = OpError::new("is on a cycle: its output leads back to its input");
                self.findings.problems.push(Problem::new(place, error));
                return;
            }
        };
        for id in order {
            self.node(graph, id);
        }
    }

    /// Takes one node: checks its inputs against the signature and sets the types of its outputs.
    pub fn node(&mut self, graph: &mut Graph, id: NodeId) {
        let node = graph.node(id);
        let inputs: Vec<Option<Type>> =
            node.inputs().iter().map(|i| i.and_then(|v| graph.value(v).ty().cloned())).collect();
        let op = node.op().clone();
        if let Some(signature) = op.signature()
            && let Err(error) = check_signature(signature, graph, node, &inputs)
        {
            self.findings.problems.push(Problem::new(graph.place(id), error));
            return;
        }
        let mut bodies = graph.take_bodies(id);
        let node = graph.node(id);
        let mut ctx = InferCtx {
            graph,
            id,
            inputs: &inputs,
            walk: self,
            bodies: &mut bodies,
            types: vec![None; node.outputs().len()],
            facts: vec![Fact::default(); node.outputs().len()],
        };
        let result = op.infer(&mut ctx);
        let (types, facts) = (ctx.types, ctx.facts);
        graph.set_bodies(id, bodies);
        match result {
            Ok(()) => {}
            Err(Unknown::Because(reason)) => {
                self.findings.unknown.push(Problem::new(graph.place(id), OpError::new(reason)));
            }
            Err(Unknown::Wrong(error)) => {
                self.findings.problems.push(Problem::new(graph.place(id), error));
            }
        }
        let outputs: Vec<_> = graph.node(id).outputs().to_vec();
        for ((value, ty), fact) in outputs.into_iter().zip(types).zip(facts) {
            let Some(value) = value else { continue };
            self.settle(graph, id, value, ty);
            self.note(value, fact);
        }
    }

    /// Joins an inferred type with the declared one.
    fn settle(&mut self, graph: &mut Graph, id: NodeId, value: ValueId, inferred: Option<Type>) {
        let declared = graph.value(value).declared().cloned();
        let settled = match (inferred, declared) {
            (None, declared) => declared.or_else(|| graph.value(value).ty().cloned()),
            (Some(inferred), None) => Some(inferred),
            (Some(inferred), Some(declared)) => match Type::meet(&inferred, &declared) {
                Ok(met) => Some(met),
                Err(why) => {
                    let error = OpError::new(format!(
                        "output `{}` is declared as {declared}, but is {inferred}: {why}",
                        graph.value(value).name()
                    ))
                    .help("correct or remove the declaration in the model's value_info or outputs");
                    let problem = Problem::new(graph.place(id), error);
                    if inferred.dtype() == declared.dtype() {
                        self.findings.warnings.push(problem);
                    } else {
                        self.findings.problems.push(problem);
                    }
                    Some(inferred)
                }
            },
        };
        graph.set_type(value, settled);
    }

    fn note(&mut self, value: ValueId, fact: Fact) {
        if fact.constant.is_none() && fact.ints.is_none() {
            return;
        }
        self.facts.insert(value, fact);
    }

    fn fact(&self, value: ValueId) -> Option<&Fact> {
        self.facts.get(&value)
    }

    fn known(&self, graph: &Graph, value: ValueId) -> Fact {
        match graph.value(value).constant() {
            Some(tensor) => Fact { constant: Some(tensor.clone()), ints: None },
            None => self.fact(value).cloned().unwrap_or_default(),
        }
    }

    /// A walk for `body`, a body of node `id`, that knows of the captures what this walk knows of the values
    /// outside. The types inside are as the last walk over `graph` left them.
    pub fn enter(&self, graph: &Graph, id: NodeId, body: &Graph) -> Inference {
        let mut walk = Inference::default();
        let captured = graph.node(id).captured();
        let first = body.inputs().len().saturating_sub(captured.len());
        for (&inner, outer) in body.inputs()[first..].iter().zip(captured) {
            if let Some(outer) = *outer {
                walk.note(inner, self.known(graph, outer));
            }
        }
        walk
    }

    /// The tensor of a value, where it is a constant of the graph or known to be constant.
    pub fn constant<'a>(&'a self, graph: &'a Graph, value: ValueId) -> Option<&'a Tensor> {
        graph.value(value).constant().or_else(|| self.fact(value)?.constant.as_ref())
    }

    /// The elements of a small integer tensor of rank 0 or 1, where they are known, possibly as symbols.
    pub fn ints(&self, graph: &Graph, value: ValueId) -> Option<Ints> {
        if let Some(tensor) = self.constant(graph, value) {
            return ints_of(tensor);
        }
        self.fact(value)?.ints.clone()
    }
}

/// The elements of a small `int64` or `int32` tensor of rank 0 or 1.
fn ints_of(tensor: &Tensor) -> Option<Ints> {
    if tensor.rank() > 1 || tensor.len() > MAX_INTS {
        return None;
    }
    let dims = match tensor.dtype() {
        DType::I64 => tensor.values::<i64>().ok()?.iter().map(|&v| Dim::known(v)).collect(),
        DType::I32 => tensor.values::<i32>().ok()?.iter().map(|&v| Dim::known(v.into())).collect(),
        _ => return None,
    };
    Some(Ints { dims, scalar: tensor.rank() == 0 })
}

fn check_signature(
    signature: &'static Signature,
    graph: &Graph,
    node: &Node,
    inputs: &[Option<Type>],
) -> Result<(), OpError> {
    let formal = node.formal_inputs();
    let (least, most) = signature.input_count();
    if formal.len() < least || most.is_some_and(|m| formal.len() > m) {
        let most = most.map_or("more".to_owned(), |m| m.to_string());
        return Err(OpError::new(format!("has {} inputs, but takes {least} to {most}", formal.len())));
    }
    let outputs = node.outputs().len();
    let (least, most) = signature.output_count();
    if outputs < least || most.is_some_and(|m| outputs > m) {
        let most = most.map_or("more".to_owned(), |m| m.to_string());
        return Err(OpError::new(format!("has {outputs} outputs, but gives {least} to {most}")));
    }
    let mut bound: Vec<(&str, &Type, &str)> = Vec::new();
    for (slot, value) in formal.iter().enumerate() {
        let Some(param) = signature.input(slot) else { continue };
        let Some(value) = value else {
            if matches!(param.arity, Arity::One) {
                return Err(OpError::new(format!("required input {slot} (`{}`) is missing", param.name)));
            }
            continue;
        };
        let Some(ty) = &inputs[slot] else { continue };
        let name = graph.value(*value).name();
        if !param.types.contains(ty) {
            return Err(OpError::new(format!(
                "input {slot} (`{}`) is {ty}, but may only be: {}",
                param.name, param.types
            ))
            .help(format!("cast `{name}` to one of these types")));
        }
        let var = if matches!(param.arity, Arity::Heterogeneous(_)) { "" } else { param.var };
        if var.is_empty() {
            continue;
        }
        match bound.iter().find(|b| b.0 == var) {
            None => bound.push((var, ty, name)),
            Some((_, first, other)) if first.dtype() != ty.dtype() => {
                return Err(OpError::new(format!(
                    "input {slot} (`{}`) is {ty}, but must have the type of `{other}`, which is {first}",
                    param.name
                ))
                .help(format!("cast `{name}` or `{other}`")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What an op sees while it works out the types of its outputs.
pub struct InferCtx<'a> {
    graph: &'a Graph,
    id: NodeId,
    inputs: &'a [Option<Type>],
    walk: &'a mut Inference,
    bodies: &'a mut [Graph],
    types: Vec<Option<Type>>,
    facts: Vec<Fact>,
}

impl InferCtx<'_> {
    /// The node.
    pub fn node(&self) -> &Node {
        self.graph.node(self.id)
    }

    /// How many inputs the call has, captures not counted, absent ones included.
    pub fn input_count(&self) -> usize {
        self.node().formal_inputs().len()
    }

    /// How many outputs the call has, unused ones included.
    pub fn output_count(&self) -> usize {
        self.types.len()
    }

    /// Whether an input is given.
    pub fn has_input(&self, input: usize) -> bool {
        self.node().input(input).is_some()
    }

    /// The type of an input, where it is given and known.
    pub fn ty(&self, input: usize) -> Option<&Type> {
        self.inputs.get(input)?.as_ref()
    }

    /// The type of an input.
    ///
    /// # Errors
    /// [`Unknown::Because`] where it is not known.
    pub fn known_ty(&self, input: usize) -> Result<&Type, Unknown> {
        self.ty(input)
            .ok_or_else(|| Unknown::Because(format!("the type of {} is not known", self.called(input))))
    }

    /// The element type of an input.
    ///
    /// # Errors
    /// [`Unknown::Because`] where it is not known.
    pub fn dtype(&self, input: usize) -> Result<DType, Unknown> {
        self.known_ty(input)?.dtype().ok_or_else(|| {
            Unknown::Because(format!("the element type of {} is not known", self.called(input)))
        })
    }

    /// The sizes of a tensor input, where their number is known.
    pub fn shape(&self, input: usize) -> Option<&[Dim]> {
        self.ty(input)?.shape()
    }

    /// The sizes of a tensor input.
    ///
    /// # Errors
    /// [`Unknown::Because`] where even their number is not known.
    pub fn known_shape(&self, input: usize) -> Result<Dims, Unknown> {
        self.shape(input)
            .map(Dims::from_slice)
            .ok_or_else(|| Unknown::Because(format!("the rank of {} is not known", self.called(input))))
    }

    /// How an input is called in messages.
    pub fn called(&self, input: usize) -> String {
        match self.node().input(input).map(|v| self.graph.value(v).name()) {
            Some(name) if !name.is_empty() => format!("input {input} (`{name}`)"),
            _ => format!("input {input}"),
        }
    }

    /// The tensor of an input that is known to be constant.
    pub fn constant(&self, input: usize) -> Option<&Tensor> {
        self.walk.constant(self.graph, self.node().input(input)?)
    }

    /// The elements of a small integer input of rank 0 or 1, where they are known, possibly as symbols.
    pub fn ints(&self, input: usize) -> Option<Ints> {
        self.walk.ints(self.graph, self.node().input(input)?)
    }

    /// The elements of a small integer input, where all are known numbers.
    pub fn known_ints(&self, input: usize) -> Option<Vec<i64>> {
        self.ints(input)?.dims.iter().map(|d| d.as_known()).collect()
    }

    /// A size of which nothing is known: axis `axis` of output `output`. The same call gives the same size in
    /// every walk over the same graph.
    pub fn unknown_dim(&self, output: usize, axis: usize) -> Dim {
        let value = self.node().output(output).map(|v| (v, self.graph.value(v).name()));
        Dim::unknown(&match value {
            Some((_, name)) if !name.is_empty() => format!("{name}.{axis}"),
            Some((id, _)) => format!("{id:?}.{axis}"),
            None => format!("{:?}.{output}.{axis}", self.id),
        })
    }

    /// Sets the type of an output.
    pub fn set(&mut self, output: usize, ty: Type) {
        if let Some(slot) = self.types.get_mut(output) {
            *slot = Some(ty);
        }
    }

    /// Sets an output to a tensor of these sizes.
    pub fn set_tensor(&mut self, output: usize, dtype: DType, shape: impl IntoIterator<Item = Dim>) {
        self.set(output, Type::tensor(dtype, shape));
    }

    /// Sets an output to a tensor of unknown rank.
    pub fn set_unranked(&mut self, output: usize, dtype: DType) {
        self.set(output, Type::unranked(dtype));
    }

    /// Says what the elements of a small integer output of rank 0 or 1 are.
    pub fn set_ints(&mut self, output: usize, dims: Dims, scalar: bool) {
        if let Some(fact) = self.facts.get_mut(output)
            && dims.len() <= MAX_INTS
        {
            fact.ints = Some(Ints { dims, scalar });
        }
    }

    /// Says that an output is always this tensor.
    pub fn set_constant(&mut self, output: usize, tensor: Tensor) {
        if let Some(fact) = self.facts.get_mut(output) {
            fact.constant = Some(tensor);
        }
    }

    /// How many bodies the node has.
    pub fn body_count(&self) -> usize {
        self.bodies.len()
    }

    /// Works out the types inside a body from those of its formal inputs (`None` keeps what the body declares),
    /// and gives the types of its outputs. The captures' types and values are added.
    ///
    /// # Errors
    /// When the body does not take that many inputs.
    pub fn infer_body(&mut self, body: usize, inputs: &[Option<Type>]) -> Result<Vec<Option<Type>>, Unknown> {
        let captured: Vec<Option<ValueId>> = self.node().captured().to_vec();
        let step = self.graph.body_path(self.id, body);
        let Some(inner) = self.bodies.get_mut(body) else {
            return Err(Unknown::wrong(format!("body {body} is missing")));
        };
        if inner.inputs().len() != inputs.len() + captured.len() {
            return Err(Unknown::wrong(format!(
                "{step} takes {} inputs, but is given {}",
                inner.inputs().len().saturating_sub(captured.len()),
                inputs.len()
            )));
        }
        let mut walk = Inference::default();
        let ids: Vec<ValueId> = inner.inputs().to_vec();
        for (&id, ty) in ids.iter().zip(inputs) {
            let declared = inner.value(id).declared();
            let met = match (ty, declared) {
                (Some(ty), Some(declared)) => Some(Type::meet(ty, declared).map_err(|why| {
                    Unknown::Wrong(
                        OpError::new(format!(
                            "{step}: input `{}` is declared as {declared}, but is given {ty}: {why}",
                            inner.value(id).name()
                        ))
                        .help("correct the declaration in the body"),
                    )
                })?),
                (Some(ty), None) => Some(ty.clone()),
                (None, declared) => declared.cloned(),
            };
            inner.set_type(id, met);
        }
        for (&id, outer) in ids[inputs.len()..].iter().zip(&captured) {
            let Some(outer) = *outer else { continue };
            inner.set_type(id, self.graph.value(outer).ty().cloned());
            walk.note(id, self.walk.known(self.graph, outer));
        }
        walk.graph(inner);
        let outputs = inner.outputs().iter().map(|&v| inner.value(v).ty().cloned()).collect();
        let into = &mut self.walk.findings;
        for (from, into) in [
            (walk.findings.problems, &mut into.problems),
            (walk.findings.warnings, &mut into.warnings),
            (walk.findings.unknown, &mut into.unknown),
        ] {
            into.extend(from.into_iter().map(|p| p.inside(&step)));
        }
        Ok(outputs)
    }
}

/// The sizes that two shapes broadcast to, by NumPy's rule.
///
/// # Errors
/// When two known sizes differ and neither is 1; the text names both shapes.
pub fn broadcast_dims(a: &[Dim], b: &[Dim]) -> Result<Dims, OpError> {
    let one = Dim::known(1);
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], i: usize| (i + dims.len()).checked_sub(rank).map_or(one, |k| dims[k]);
    (0..rank)
        .map(|i| {
            let (x, y) = (at(a, i), at(b, i));
            match (x.as_known(), y.as_known()) {
                _ if x == y => Ok(x),
                (Some(1), _) => Ok(y),
                (_, Some(1)) => Ok(x),
                (Some(_), Some(_)) => Err(OpError::new(format!(
                    "shapes {} and {} do not broadcast",
                    crate::ShownDims(a),
                    crate::ShownDims(b)
                ))),
                // The known size is not 1, so the other is 1 or equal to it.
                (Some(_), None) => Ok(x),
                (None, Some(_)) => Ok(y),
                (None, None) => Ok(x.max(y)),
            }
        })
        .collect()
}

/// The position of a possibly negative axis in a tensor of `rank` dimensions.
///
/// # Errors
/// When it is not in `-rank..rank`.
pub fn axis_index(axis: i64, rank: usize) -> Result<usize, OpError> {
    let signed = rank as i64;
    let at = if axis < 0 { axis.checked_add(signed) } else { Some(axis) };
    at.and_then(|a| usize::try_from(a).ok()).filter(|&a| a < rank).ok_or_else(|| {
        OpError::new(format!("axis {axis} does not exist in a tensor of rank {rank}")).help(format!(
            "axes run from {} to {}",
            -signed,
            signed - 1
        ))
    })
}

/// A shared op, for building nodes.
pub fn shared(op: impl crate::Op) -> Arc<dyn crate::Op> {
    Arc::new(op)
}
