use crate::entity::{Arena, Id};
use crate::uses::Uses;
use crate::{Node, NodeId, NodeSpec, Notes, Op, Place, Source, Type, Use, Value, ValueId, qualified};
use oxidane_tensor::Tensor;
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

/// A dataflow graph. Nodes and values live in arenas and refer to each other by id; only the methods here
/// change them, and they keep both directions of every edge right.
#[derive(Debug, Clone)]
pub struct Graph {
    name: String,
    notes: Notes,
    nodes: Arena<NodeId, Node>,
    values: Arena<ValueId, Value>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    by_name: HashMap<Arc<str>, ValueId>,
    holders: BTreeSet<NodeId>,
    /// What [`Graph::order`] found since the last change to an edge.
    order: OnceLock<Vec<NodeId>>,
}

impl<I, T> std::fmt::Debug for Arena<I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Arena")
    }
}

impl Default for Graph {
    fn default() -> Graph {
        Graph::new("")
    }
}

/// Why a change to a graph was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two values of one graph cannot have the same name.
    #[error("the name `{0}` is defined twice; values of a graph need names of their own")]
    NameTaken(String),
    /// A value has one source.
    #[error("`{0}` is defined twice; a value is the output of one node only")]
    DefinedTwice(String),
    /// An id of another graph, or of something that was removed.
    #[error("{0} is not of this graph")]
    Foreign(String),
    /// Something still uses what was to be removed.
    #[error("{0} is still used")]
    InUse(String),
    /// The nodes have no order.
    #[error("{0} is on a cycle")]
    Cycle(String),
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Graph {
        Graph {
            name: name.to_owned(),
            notes: Notes::default(),
            nodes: Arena::new(),
            values: Arena::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            by_name: HashMap::new(),
            holders: BTreeSet::new(),
            order: OnceLock::new(),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Documentation and metadata.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Replaces name, documentation and metadata.
    pub fn set_notes(&mut self, name: &str, notes: Notes) {
        self.name = name.to_owned();
        self.notes = notes;
    }

    /// The inputs in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The outputs in order; a value may occur more than once.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Whether a value is an output of the graph.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.values.get(value).is_some_and(|v| !v.outputs.is_empty())
    }

    /// The node of an id.
    ///
    /// # Panics
    /// When the id is of another graph or of a removed node.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id).expect("a live node of this graph")
    }

    /// The node of an id, unless it was removed.
    pub fn get_node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The value of an id.
    ///
    /// # Panics
    /// When the id is of another graph or of a removed value.
    pub fn value(&self, id: ValueId) -> &Value {
        self.values.get(id).expect("a live value of this graph")
    }

    /// The value of an id, unless it was removed.
    pub fn get_value(&self, id: ValueId) -> Option<&Value> {
        self.values.get(id)
    }

    /// The value of a name.
    pub fn value_named(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// All nodes in the order in which they were added, which need not be topological (see [`Graph::order`]).
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter()
    }

    /// All values in the order in which they were added.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = (ValueId, &Value)> {
        self.values.iter()
    }

    /// The nodes with bodies, in the order in which they were added.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> {
        self.holders.iter().copied()
    }

    /// How many nodes there are, those of bodies not counted.
    pub fn node_count(&self) -> usize {
        self.nodes.live()
    }

    /// How many values there are.
    pub fn value_count(&self) -> usize {
        self.values.live()
    }

    /// One more than the largest node index ever used: the length of a table by node.
    pub fn node_bound(&self) -> usize {
        self.nodes.bound()
    }

    /// One more than the largest value index ever used: the length of a table by value.
    pub fn value_bound(&self) -> usize {
        self.values.bound()
    }

    /// Adds an input.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_input(
        &mut self,
        name: &str,
        ty: Option<Type>,
        default: Option<Tensor>,
    ) -> Result<ValueId, GraphError> {
        let id = self.add_value(name, ty, Source::Input { default: default.map(Box::new) })?;
        self.inputs.push(id);
        Ok(id)
    }

    /// Adds a constant; an empty name leaves it unnamed.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, GraphError> {
        let ty = Type::fixed(tensor.dtype(), tensor.shape());
        self.add_value(name, Some(ty), Source::Constant(Box::new(tensor)))
    }

    /// Adds a value that a node yet to be added will define; an empty name leaves it unnamed.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn add_undefined(&mut self, name: &str) -> Result<ValueId, GraphError> {
        self.add_value(name, None, Source::Undefined)
    }

    fn add_value(&mut self, name: &str, ty: Option<Type>, source: Source) -> Result<ValueId, GraphError> {
        if !name.is_empty() && self.by_name.contains_key(name) {
            return Err(GraphError::NameTaken(name.to_owned()));
        }
        // Nearly all values that passes make are unnamed: their empty name is one for all, without an allocation.
        let name: Arc<str> = if name.is_empty() { Arc::default() } else { Arc::from(name) };
        let value = Value {
            name: name.clone(),
            ty,
            declared: None,
            source,
            uses: Uses::default(),
            outputs: SmallVec::new(),
            notes: None,
        };
        let id = self.values.push(value);
        if !name.is_empty() {
            self.by_name.insert(name, id);
        }
        Ok(id)
    }

    /// Makes an undefined value an input.
    ///
    /// # Errors
    /// When it is defined already.
    pub fn define_input(&mut self, id: ValueId, default: Option<Tensor>) -> Result<(), GraphError> {
        self.define(id, Source::Input { default: default.map(Box::new) })?;
        self.inputs.push(id);
        Ok(())
    }

    /// Makes an undefined value a constant.
    ///
    /// # Errors
    /// When it is defined already.
    pub fn define_constant(&mut self, id: ValueId, tensor: Tensor) -> Result<(), GraphError> {
        let ty = Type::fixed(tensor.dtype(), tensor.shape());
        self.define(id, Source::Constant(Box::new(tensor)))?;
        self.set_type(id, Some(ty));
        Ok(())
    }

    fn define(&mut self, id: ValueId, source: Source) -> Result<(), GraphError> {
        let value = self.values.get_mut(id).ok_or_else(|| GraphError::Foreign(format!("{id:?}")))?;
        if !matches!(value.source, Source::Undefined) {
            return Err(GraphError::DefinedTwice(value.name.to_string()));
        }
        value.source = source;
        Ok(())
    }

    /// Adds a node; its outputs must be undefined values.
    ///
    /// # Errors
    /// When an output is defined already, or an id is of another graph; nothing is changed then.
    pub fn add_node(&mut self, spec: NodeSpec) -> Result<NodeId, GraphError> {
        for (i, &output) in spec.outputs.iter().enumerate() {
            let Some(id) = output else { continue };
            let value = self.values.get(id).ok_or_else(|| GraphError::Foreign(format!("{id:?}")))?;
            if !matches!(value.source, Source::Undefined) || spec.outputs[..i].contains(&output) {
                return Err(GraphError::DefinedTwice(value.name.to_string()));
            }
        }
        if let Some(id) = spec.inputs.iter().flatten().find(|&&id| self.values.get(id).is_none()) {
            return Err(GraphError::Foreign(format!("{id:?}")));
        }
        let NodeSpec { op, inputs, outputs, captures, bodies, name, origin, notes } = spec;
        let notes = (!notes.is_empty()).then(|| Box::new(notes));
        let holds = !bodies.is_empty();
        self.order.take();
        let id = self.nodes.push(Node {
            name,
            op,
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            captures: captures.min(inputs.len()),
            bodies,
            origin,
            notes,
        });
        if holds {
            self.holders.insert(id);
        }
        for (slot, output) in outputs.iter().enumerate() {
            if let Some(value) = output.and_then(|v| self.values.get_mut(v)) {
                value.source = Source::Node(id, slot);
            }
        }
        for (slot, input) in inputs.iter().enumerate() {
            if let Some(value) = input.and_then(|v| self.values.get_mut(v)) {
                value.uses.insert(Use { node: id, slot: slot as u32 });
            }
        }
        Ok(id)
    }

    /// Removes a node. Its outputs become undefined; those without name, use and role in the graph's outputs
    /// go with it.
    pub fn remove_node(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(id) else { return };
        self.order.take();
        self.holders.remove(&id);
        for (slot, input) in node.inputs.iter().enumerate() {
            if let Some(value) = input.and_then(|v| self.values.get_mut(v)) {
                value.uses.swap_remove(Use { node: id, slot: slot as u32 });
            }
        }
        for &output in node.outputs.iter().flatten() {
            if let Some(value) = self.values.get_mut(output) {
                value.source = Source::Undefined;
                if value.uses.is_empty() && value.outputs.is_empty() {
                    self.drop_value(output);
                }
            }
        }
    }

    /// Removes a value that nothing uses and no node makes: a stray constant, or an undefined value.
    ///
    /// # Errors
    /// When something uses it, a node makes it, or it is an input or output of the graph.
    pub fn remove_value(&mut self, id: ValueId) -> Result<(), GraphError> {
        let Some(value) = self.values.get(id) else { return Ok(()) };
        let held = matches!(value.source, Source::Node(..) | Source::Input { .. });
        if held || !value.uses.is_empty() || !value.outputs.is_empty() {
            return Err(GraphError::InUse(format!("value `{}`", value.name)));
        }
        self.drop_value(id);
        Ok(())
    }

    /// Removes an input that nothing uses.
    ///
    /// # Errors
    /// When something uses it, or it is an output as well.
    pub fn remove_input(&mut self, id: ValueId) -> Result<(), GraphError> {
        let Some(value) = self.values.get(id) else { return Ok(()) };
        if !value.uses.is_empty() || !value.outputs.is_empty() {
            return Err(GraphError::InUse(format!("input `{}`", value.name)));
        }
        self.inputs.retain(|&i| i != id);
        self.drop_value(id);
        Ok(())
    }

    fn drop_value(&mut self, id: ValueId) {
        if let Some(value) = self.values.remove(id)
            && !value.name.is_empty()
        {
            self.by_name.remove(&value.name);
        }
    }

    /// Makes the graph's outputs these values, in this order.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        for old in std::mem::take(&mut self.outputs) {
            if let Some(value) = self.values.get_mut(old) {
                value.outputs.clear();
            }
        }
        for (at, &new) in outputs.iter().enumerate() {
            if let Some(value) = self.values.get_mut(new) {
                value.outputs.push(at as u32);
            }
        }
        self.outputs = outputs;
    }

    /// Lets a slot of a node read another value, or nothing.
    pub fn set_input(&mut self, node: NodeId, slot: usize, value: Option<ValueId>) {
        let Some(entry) = self.nodes.get_mut(node).and_then(|n| n.inputs.get_mut(slot)) else { return };
        self.order.take();
        let old = std::mem::replace(entry, value);
        if let Some(old) = old.and_then(|v| self.values.get_mut(v)) {
            old.uses.swap_remove(Use { node, slot: slot as u32 });
        }
        if let Some(new) = value.and_then(|v| self.values.get_mut(v)) {
            new.uses.insert(Use { node, slot: slot as u32 });
        }
    }

    /// Replaces all inputs of a node, of which the last `captures` are captures.
    pub fn set_inputs(&mut self, node: NodeId, inputs: &[Option<ValueId>], captures: usize) {
        let Some(count) = self.nodes.get(node).map(|n| n.inputs.len()) else { return };
        for slot in 0..count {
            self.set_input(node, slot, None);
        }
        if let Some(n) = self.nodes.get_mut(node) {
            n.inputs = SmallVec::from_elem(None, inputs.len());
            n.captures = captures.min(inputs.len());
        }
        for (slot, &input) in inputs.iter().enumerate() {
            self.set_input(node, slot, input);
        }
    }

    /// Lets a node compute something else from the same inputs to the same outputs.
    pub fn set_op(&mut self, node: NodeId, op: Arc<dyn Op>) {
        if let Some(n) = self.nodes.get_mut(node) {
            n.op = op;
        }
    }

    /// The bodies of a node, for changing what is in them.
    pub fn bodies_mut(&mut self, node: NodeId) -> &mut [Graph] {
        self.nodes.get_mut(node).map_or(&mut [], |n| &mut n.bodies)
    }

    /// Takes the bodies out of a node, to be put back with [`Graph::set_bodies`] or kept.
    pub fn take_bodies(&mut self, node: NodeId) -> Vec<Graph> {
        self.nodes.get_mut(node).map(|n| std::mem::take(&mut n.bodies)).unwrap_or_default()
    }

    /// Replaces the bodies of a node.
    pub fn set_bodies(&mut self, node: NodeId, bodies: Vec<Graph>) {
        if let Some(n) = self.nodes.get_mut(node) {
            if !bodies.is_empty() {
                self.holders.insert(node);
            }
            n.bodies = bodies;
        }
    }

    /// Whether [`Graph::replace_uses`] would agree: `old` is no output of the graph, or `new` can take its place.
    pub fn may_replace(&self, old: ValueId, new: ValueId) -> bool {
        match (self.values.get(old), self.values.get(new)) {
            (Some(from), Some(to)) => {
                let free = to.outputs.is_empty() && matches!(to.source, Source::Node(..));
                old == new || from.outputs.is_empty() || free
            }
            _ => false,
        }
    }

    /// Lets everything that reads `old` read `new`, graph outputs included. Where `old` was a graph output
    /// with a name, `new` takes over its name if it may, so that the graph keeps its interface.
    ///
    /// Returns `false`, and changes nothing, where a graph output would have to lose its name: `new` is an
    /// input, a constant or an output itself. An Identity node can stand between then.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) -> bool {
        self.order.take();
        if old == new {
            return true;
        }
        let Some(from) = self.values.get(old).filter(|_| self.values.get(new).is_some()) else {
            return false;
        };
        if !from.outputs.is_empty() {
            if !self.may_replace(old, new) {
                return false;
            }
            let name = from.name.clone();
            let (ty, declared, notes) = (from.ty.clone(), from.declared.clone(), from.notes.clone());
            let places = from.outputs.clone();
            self.rename_quietly(old, "");
            self.rename_quietly(new, &name);
            if let Some(to) = self.values.get_mut(new) {
                to.declared = declared.or(to.declared.take());
                to.ty = to.ty.take().or(ty);
                to.notes = notes.or(to.notes.take());
                to.outputs = places.clone();
            }
            for at in places {
                if let Some(output) = self.outputs.get_mut(at as usize) {
                    *output = new;
                }
            }
            if let Some(from) = self.values.get_mut(old) {
                from.outputs.clear();
            }
        }
        let uses = match self.values.get_mut(old) {
            Some(value) => std::mem::take(&mut value.uses),
            None => return false,
        };
        for u in uses.as_slice() {
            if let Some(entry) = self.nodes.get_mut(u.node).and_then(|n| n.inputs.get_mut(u.slot as usize)) {
                *entry = Some(new);
            }
        }
        if let Some(value) = self.values.get_mut(new) {
            value.uses.extend(uses);
        }
        true
    }

    /// Gives a value another name; an empty name unnames it.
    ///
    /// # Errors
    /// When another value has that name.
    pub fn rename(&mut self, id: ValueId, name: &str) -> Result<(), GraphError> {
        match self.by_name.get(name) {
            Some(&other) if other != id => Err(GraphError::NameTaken(name.to_owned())),
            _ => {
                self.rename_quietly(id, name);
                Ok(())
            }
        }
    }

    fn rename_quietly(&mut self, id: ValueId, name: &str) {
        let Some(value) = self.values.get_mut(id) else { return };
        let name: Arc<str> = Arc::from(name);
        let old = std::mem::replace(&mut value.name, name.clone());
        if self.by_name.get(&old) == Some(&id) {
            self.by_name.remove(&old);
        }
        if !name.is_empty() {
            self.by_name.insert(name, id);
        }
    }

    /// Sets what is known of a value's type.
    pub fn set_type(&mut self, id: ValueId, ty: Option<Type>) {
        if let Some(value) = self.values.get_mut(id) {
            value.ty = ty;
        }
    }

    /// Gives an input another default. Does nothing to other values.
    pub fn set_default(&mut self, id: ValueId, default: Option<Tensor>) {
        if let Some(Source::Input { default: own }) = self.values.get_mut(id).map(|v| &mut v.source) {
            *own = default.map(Box::new);
        }
    }

    /// Sets the type to declare when the graph is written; where nothing else is known, it is what is known.
    pub fn set_declared(&mut self, id: ValueId, declared: Option<Type>) {
        if let Some(value) = self.values.get_mut(id) {
            value.ty = value.ty.take().or_else(|| declared.clone());
            value.declared = declared.map(Box::new);
        }
    }

    /// Replaces what is noted of a value.
    pub fn set_value_notes(&mut self, id: ValueId, notes: Notes) {
        if let Some(value) = self.values.get_mut(id) {
            value.notes = (!notes.is_empty()).then(|| Box::new(notes));
        }
    }

    /// Names a node.
    pub fn set_node_name(&mut self, id: NodeId, name: &str) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.name = name.to_owned();
        }
    }

    /// Notes what the file says of a node.
    pub fn set_node_notes(&mut self, id: NodeId, notes: Notes) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.notes = (!notes.is_empty()).then(|| Box::new(notes));
        }
    }

    /// Says where a node is, for errors.
    pub fn place(&self, id: NodeId) -> Place {
        let Some(node) = self.nodes.get(id) else { return Place::default() };
        let inputs = node.inputs.iter().map(|input| match input.and_then(|v| self.values.get(v)) {
            Some(v) => {
                let name = if v.name.is_empty() { "(unnamed)" } else { &v.name };
                match &v.ty {
                    Some(ty) => format!("{name}: {ty}"),
                    None => format!("{name}: type unknown"),
                }
            }
            None => "(none)".to_owned(),
        });
        Place {
            path: Vec::new(),
            index: Some(id.index()),
            node: node.name.clone(),
            op: qualified(node.op.domain(), node.op.name()),
            inputs: inputs.collect(),
            origin: node.origin.to_owned(),
        }
    }

    /// How a body of a node is called in a [`Place::path`]: `loop1.body`.
    pub fn body_path(&self, id: NodeId, body: usize) -> String {
        let Some(node) = self.nodes.get(id) else { return String::new() };
        let name = if node.name.is_empty() {
            format!("{}#{}", node.op.name(), id.index())
        } else {
            node.name.clone()
        };
        format!("{name}.{}", node.op.body_names().get(body).copied().unwrap_or("body"))
    }

    /// The nodes so that each comes after those that it reads from: in the order of adding, but for a node that
    /// reads from later ones, before which those come.
    ///
    /// # Errors
    /// Where there is a cycle: a node on it.
    pub fn order(&self) -> Result<Vec<NodeId>, NodeId> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            Open,
            Done,
        }
        if let Some(order) = self.order.get() {
            return Ok(order.clone());
        }
        let mut seen = vec![Seen::No; self.nodes.bound()];
        let mut order = Vec::with_capacity(self.nodes.live());
        // The nodes that wait for one that they read from, each with its next slot to look at.
        let mut open: Vec<(NodeId, &Node, usize)> = Vec::new();
        for (first, node) in self.nodes.iter() {
            if seen[first.index()] == Seen::No {
                seen[first.index()] = Seen::Open;
                open.push((first, node, 0));
            }
            'open: while let Some((id, node, at)) = open.last_mut() {
                while let Some(&input) = node.inputs.get(*at) {
                    *at += 1;
                    let Some(maker) = input.and_then(|v| self.values.get(v)).and_then(Value::producer) else {
                        continue;
                    };
                    match seen[maker.index()] {
                        Seen::Done => {}
                        Seen::Open => return Err(maker),
                        Seen::No => {
                            let Some(made) = self.nodes.get(maker) else { continue };
                            seen[maker.index()] = Seen::Open;
                            open.push((maker, made, 0));
                            continue 'open;
                        }
                    }
                }
                seen[id.index()] = Seen::Done;
                order.push(*id);
                open.pop();
            }
        }
        Ok(self.order.get_or_init(|| order).clone())
    }
}
