//! Calls of functions that a model defines itself
//! ([FunctionProto](https://github.com/onnx/onnx/blob/main/docs/IR.md#functions)): one body, made for the
//! attributes of the call.

use crate::tensor::identity::Identity;
use oxidane_graph::{
    Attributes, Build, Call as Bind, Graph, InferCtx, Kernel, NodeSpec, Op, OpError, Source, Type, Unknown,
    ValueId, kernel,
};
use std::collections::HashMap;
use std::sync::Arc;

/// A call of a model-local function. The node's only body is the function with the call's attributes put in;
/// it takes the inputs that are given, in order, and gives all outputs of the function.
#[derive(Debug, Clone)]
pub struct Call {
    /// The domain of the function.
    pub domain: String,
    /// The name of the function.
    pub name: String,
    /// Which of the functions of that name; mostly empty.
    pub overload: String,
    /// The attributes of the call.
    pub attributes: Attributes,
}

impl Op for Call {
    fn domain(&self) -> &str {
        &self.domain
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn attributes(&self) -> Attributes {
        self.attributes.clone()
    }

    fn body_names(&self) -> &[&str] {
        &["function"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let given: Vec<Option<Type>> =
            (0..ctx.input_count()).filter(|&i| ctx.has_input(i)).map(|i| ctx.ty(i).cloned()).collect();
        for (i, ty) in ctx.infer_body(0, &given)?.into_iter().enumerate() {
            if let Some(ty) = ty {
                ctx.set(i, ty);
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Bind<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let mut given = run.list();
            given.extend((0..run.input_count()).filter_map(|i| run.take_datum(i)));
            run.pass_on(0, given)
        })
    }

    fn is_pure(&self) -> bool {
        // What the body does is not known here.
        false
    }
}

/// Puts the nodes of called functions in the place of the calls, in bodies too. Values of a function get the
/// name of the call's first output before their own where that is free.
///
/// # Errors
/// When a call has no body that fits it.
pub fn inline(graph: &mut Graph) -> Result<(), OpError> {
    inline_calls(graph, &|_| true)
}

/// As [`inline`], for the calls that `which` picks.
///
/// # Errors
/// When a call has no body that fits it.
pub fn inline_calls(graph: &mut Graph, which: &dyn Fn(&Call) -> bool) -> Result<(), OpError> {
    if !has_calls(graph, which) {
        return Ok(());
    }
    let old = std::mem::take(graph);
    let mut new = Graph::default();
    new.set_notes(old.name(), old.notes().clone());
    let mut map = HashMap::new();
    for &id in old.inputs() {
        let value = old.value(id);
        let Source::Input { default } = value.source() else { continue };
        let made = new.add_input(value.name(), value.ty().cloned(), default.as_deref().cloned())?;
        carry(&old, id, &mut new, made);
        map.insert(id, made);
    }
    // Every name of the graph itself is taken before a function may take it.
    for (id, value) in old.values() {
        let made = match value.source() {
            Source::Input { .. } => continue,
            Source::Constant(tensor) => {
                new.add_constant(value.name(), oxidane_tensor::Tensor::clone(tensor))?
            }
            _ => new.add_undefined(value.name())?,
        };
        carry(&old, id, &mut new, made);
        map.insert(id, made);
    }
    splice(old, &mut new, &map, which).map(|outputs| {
        new.set_outputs(outputs);
        *graph = new;
    })
}

/// Whether there are calls that `which` picks, in bodies too.
pub fn has_calls(graph: &Graph, which: &dyn Fn(&Call) -> bool) -> bool {
    graph.nodes().any(|(_, node)| {
        node.op().downcast::<Call>().is_some_and(which)
            || node.bodies().iter().any(|body| has_calls(body, which))
    })
}

fn carry(old: &Graph, from: ValueId, new: &mut Graph, to: ValueId) {
    let value = old.value(from);
    new.set_declared(to, value.declared().cloned());
    if value.constant().is_none() {
        new.set_type(to, value.ty().cloned());
    }
    if let Some(notes) = value.notes() {
        new.set_value_notes(to, notes.clone());
    }
}

/// Adds the nodes of `old` to `new`, whose values `map` gives, and returns the outputs.
fn splice(
    mut old: Graph,
    new: &mut Graph,
    map: &HashMap<ValueId, ValueId>,
    which: &dyn Fn(&Call) -> bool,
) -> Result<Vec<ValueId>, OpError> {
    let to = |v: &Option<ValueId>| v.and_then(|v| map.get(&v).copied());
    let order = old.order().map_err(|_| OpError::new("the graph has a cycle"))?;
    for id in order {
        let mut bodies: Vec<Graph> = old.bodies_mut(id).iter_mut().map(std::mem::take).collect();
        let node = old.node(id);
        let inputs: Vec<Option<ValueId>> = node.inputs().iter().map(to).collect();
        let outputs: Vec<Option<ValueId>> = node.outputs().iter().map(to).collect();
        if node.op().downcast::<Call>().is_some_and(which) {
            let body = bodies.pop().ok_or_else(|| OpError::new("a call has no body"))?;
            expand(body, new, &inputs, &outputs, which)?;
            continue;
        }
        for body in &mut bodies {
            inline_calls(body, which)?;
        }
        new.add_node(NodeSpec {
            captures: node.captures(),
            bodies,
            name: node.name().to_owned(),
            origin: node.origin(),
            notes: node.notes().cloned().unwrap_or_default(),
            ..NodeSpec::new(node.op().clone(), &inputs, &outputs)
        })?;
    }
    Ok(old.outputs().iter().filter_map(|v| map.get(v).copied()).collect())
}

/// Adds to `new` what a graph computes from `inputs`, its own in order, into `outputs`, which nothing defines yet.
///
/// # Errors
/// When the graph takes another number of inputs, or an output is defined already.
pub(crate) fn splice_call(
    body: Graph,
    new: &mut Graph,
    inputs: &[Option<ValueId>],
    outputs: &[Option<ValueId>],
) -> Result<(), OpError> {
    expand(body, new, inputs, outputs, &|_| true)
}

fn expand(
    body: Graph,
    new: &mut Graph,
    inputs: &[Option<ValueId>],
    outputs: &[Option<ValueId>],
    which: &dyn Fn(&Call) -> bool,
) -> Result<(), OpError> {
    let given: Vec<ValueId> = inputs.iter().flatten().copied().collect();
    if given.len() != body.inputs().len() {
        let (have, needs) = (given.len(), body.inputs().len());
        return Err(OpError::new(format!(
            "a call gives {have} inputs to a function body that takes {needs}"
        )));
    }
    let mut map: HashMap<ValueId, ValueId> = body.inputs().iter().copied().zip(given).collect();
    // A body's output becomes the call's own value, unless it is an input or constant, or given twice.
    let mut copies = Vec::new();
    for (&inner, outer) in body.outputs().iter().zip(outputs) {
        let Some(outer) = *outer else { continue };
        let made = matches!(body.value(inner).source(), Source::Node(..));
        match map.get(&inner) {
            None if made => drop(map.insert(inner, outer)),
            _ => copies.push((inner, outer)),
        }
    }
    for (id, value) in body.values() {
        if map.contains_key(&id) || matches!(value.source(), Source::Input { .. }) {
            continue;
        }
        let name = if new.value_named(value.name()).is_some() { "" } else { value.name() };
        let made = match value.source() {
            Source::Constant(tensor) => new.add_constant(name, oxidane_tensor::Tensor::clone(tensor))?,
            _ => new.add_undefined(name)?,
        };
        carry(&body, id, new, made);
        map.insert(id, made);
    }
    splice(body, new, &map, which)?;
    for (inner, outer) in copies {
        if let Some(&from) = map.get(&inner) {
            Build::new(new, "").define(Arc::new(Identity {}), &[Some(from)], &[Some(outer)])?;
        }
    }
    Ok(())
}
