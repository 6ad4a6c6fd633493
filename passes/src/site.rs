use crate::driver::Refused;
use crate::options::Bounds;
use oxidane_graph::{
    AttributeValue, Attributes, Build, Dim, Graph, Inference, Ints, Node, NodeId, NodeSpec, Op, Type, ValueId,
};
use oxidane_tensor::Tensor;
use smallvec::SmallVec;
use std::sync::Arc;

/// What a rule did to the graph, for the driver.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Nodes that the rule added.
    pub(crate) added: Vec<NodeId>,
    /// Constants that the rule added.
    pub(crate) constants: Vec<ValueId>,
    /// Nodes to look at again.
    pub(crate) touched: Vec<NodeId>,
    /// Nodes of whose inputs more is known than when their types were worked out.
    pub(crate) stale: Vec<NodeId>,
    /// Values that lost uses.
    pub(crate) loose: Vec<ValueId>,
    /// The cost of nodes that are gone.
    pub(crate) saved: u64,
    /// How the node was called when existing nodes were first changed, after which a rule may not refuse any
    /// more.
    pub(crate) called: Option<String>,
}

/// A node and its neighbourhood, as a [`crate::Rule`] sees and changes them.
///
/// A rule first looks, then adds nodes and constants, and last redirects what read the old values. Until that
/// last step it may refuse: what it added is taken back. What nothing reads any more is removed by the driver.
pub struct Site<'a> {
    build: Build<'a>,
    id: NodeId,
    rule: &'static str,
    bounds: Bounds,
    grown: &'a mut usize,
    log: Log,
}

impl<'a> Site<'a> {
    pub(crate) fn new(
        graph: &'a mut Graph,
        walk: Inference,
        id: NodeId,
        rule: &'static str,
        bounds: Bounds,
        grown: &'a mut usize,
    ) -> Site<'a> {
        Site { build: Build::resume(graph, rule, walk), id, rule, bounds, grown, log: Log::default() }
    }

    pub(crate) fn finish(self) -> (Inference, Log) {
        (self.build.into_inference(), self.log)
    }

    /// The graph as it is now.
    pub fn graph(&self) -> &Graph {
        self.build.graph()
    }

    /// The node that the rule is applied to.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The node that the rule is applied to.
    pub fn node(&self) -> &Node {
        self.graph().node(self.id)
    }

    /// An input of the node.
    ///
    /// # Errors
    /// [`Refused::NoMatch`] where it is not given.
    pub fn input(&self, slot: usize) -> Result<ValueId, Refused> {
        self.node().input(slot).ok_or(Refused::NoMatch)
    }

    /// An output of the node.
    ///
    /// # Errors
    /// [`Refused::NoMatch`] where it is not asked for.
    pub fn output(&self, slot: usize) -> Result<ValueId, Refused> {
        self.node().output(slot).ok_or(Refused::NoMatch)
    }

    /// The type of a value, where it is known.
    pub fn ty(&self, value: ValueId) -> Option<&Type> {
        self.build.ty(value)
    }

    /// The sizes of a tensor value, where their number is known.
    pub fn shape(&self, value: ValueId) -> Option<&[Dim]> {
        self.ty(value)?.shape()
    }

    /// The number of axes of a value.
    ///
    /// # Errors
    /// Where it is not known.
    pub fn rank(&self, value: ValueId) -> Result<usize, Refused> {
        self.shape(value).map(<[_]>::len).ok_or(Refused::Because("the rank is not known".into()))
    }

    /// The tensor of a value, where it is constant.
    pub fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.build.inference().constant(self.graph(), value)
    }

    /// The elements of a small integer value, possibly symbolic.
    pub fn ints(&self, value: ValueId) -> Option<Ints> {
        self.build.inference().ints(self.graph(), value)
    }

    /// The elements of a small integer value, where all are known numbers.
    pub fn known_ints(&self, value: ValueId) -> Option<Vec<i64>> {
        self.ints(value)?.dims.iter().map(|d| d.as_known()).collect()
    }

    /// The only element of a constant, as a float.
    pub fn scalar(&self, value: ValueId) -> Option<f64> {
        scalar(self.constant(value)?)
    }

    /// An attribute of a node, where it is given or has a default.
    pub fn attribute<T: AttributeValue>(&self, node: NodeId, name: &str) -> Option<T> {
        self.graph().get_node(node)?.op().attributes().value(name).ok().flatten()
    }

    /// Whether a node is a standard operator of this name.
    pub fn is(&self, node: NodeId, name: &str) -> bool {
        self.graph().get_node(node).is_some_and(|n| standard(n) == Some(name))
    }

    /// The node that makes a value, where it is a standard operator of this name.
    pub fn made_by(&self, value: ValueId, name: &str) -> Option<NodeId> {
        self.graph().get_value(value)?.producer().filter(|&id| self.is(id, name))
    }

    /// The node that alone reads a value, in one slot, where the graph does not give the value out.
    pub fn sole_user(&self, value: ValueId) -> Option<NodeId> {
        let v = self.graph().get_value(value)?;
        let alone = v.uses().len() == 1 && !self.graph().is_output(value);
        v.uses().first().filter(|_| alone).map(|u| u.node)
    }

    /// A standard operator of the newest opset.
    ///
    /// # Errors
    /// Where there is no room of that name or the attributes do not suit it.
    pub fn op(&self, name: &'static str, attributes: &Attributes) -> Result<Arc<dyn Op>, Refused> {
        self.op_of("", name, attributes)
    }

    /// An operator of a domain, in its newest version.
    ///
    /// # Errors
    /// Where there is no room of that name or the attributes do not suit it.
    pub fn op_of(
        &self,
        domain: &'static str,
        name: &'static str,
        attributes: &Attributes,
    ) -> Result<Arc<dyn Op>, Refused> {
        let room = oxidane_ops::room(domain, name)
            .ok_or_else(|| Refused::because(format!("operator {name} is not supported")))?;
        Ok((room.read)(attributes)?)
    }

    /// Adds an unnamed constant.
    pub fn tensor(&mut self, tensor: Tensor) -> ValueId {
        let value = self.build.constant(tensor);
        self.log.constants.push(value);
        value
    }

    /// Adds an unnamed vector of integers: axes, sizes, bounds.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn list(&mut self, values: &[i64]) -> Result<ValueId, Refused> {
        Ok(self.tensor(Tensor::new(&[values.len()], values)?))
    }

    /// Adds a node with one output.
    pub fn add(&mut self, op: Arc<dyn Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: SmallVec<[_; 4]> = inputs.iter().map(|&v| Some(v)).collect();
        self.add_node(op, &inputs, 1)[0]
    }

    /// Adds a node with `outputs` outputs and optional inputs.
    pub fn add_node(
        &mut self,
        op: Arc<dyn Op>,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> SmallVec<[ValueId; 2]> {
        let made = self.build.add_node(op, inputs, outputs);
        self.log.added.extend(made.first().and_then(|&v| self.build.graph().value(v).producer()));
        made
    }

    /// Adds a node with bodies; its outputs must be undefined values.
    ///
    /// # Errors
    /// When an output is defined already.
    pub fn add_spec(&mut self, spec: NodeSpec) -> Result<NodeId, Refused> {
        let graph = self.build.graph_mut();
        let id = graph.add_node(spec)?;
        self.log.added.push(id);
        self.log.stale.push(id);
        Ok(id)
    }

    /// Adds an unnamed value for [`Site::add_spec`] to define.
    pub fn value(&mut self) -> ValueId {
        let value = self.build.graph_mut().add_undefined("").expect("an unnamed value clashes with nothing");
        self.log.loose.push(value);
        value
    }

    /// Lets everything that reads `old` read `new`; the driver then removes what is not needed any more. Where
    /// `new` has no name it takes over that of `old`.
    ///
    /// # Errors
    /// Where `old` is an output of the graph whose name `new` cannot carry; nothing is changed then.
    pub fn replace(&mut self, old: ValueId, new: ValueId) -> Result<(), Refused> {
        if !self.graph().may_replace(old, new) {
            return Err(Refused::Because(
                "the result is an output of the graph, and its source is an input, a constant or another output".into(),
            ));
        }
        let met = match (self.ty(old), self.ty(new)) {
            (Some(a), Some(b)) => match Type::meet(b, a) {
                Ok(met) => Some(met),
                Err(why) => return Err(Refused::because(format!("types differ: {why}"))),
            },
            (a, b) => a.or(b).cloned(),
        };
        let told_more = met.as_ref() != self.ty(old);
        let users: Vec<NodeId> = self.graph().value(old).uses().iter().map(|u| u.node).collect();
        let maker = self.graph().value(old).producer();
        self.commit();
        let graph = self.build.graph_mut();
        let name = graph.value(old).name().to_owned();
        graph.replace_uses(old, new);
        graph.set_type(new, met);
        if graph.value(new).name().is_empty() && !name.is_empty() {
            // Both steps succeed: the name is free once the old value gave it up.
            let _ = graph.rename(old, "").and_then(|()| graph.rename(new, &name));
        }
        if let (Some(maker), Some(made)) = (maker, graph.value(new).producer())
            && graph.node(made).name().is_empty()
            && graph.node(made).origin() == self.rule
        {
            let name = graph.node(maker).name().to_owned();
            graph.set_node_name(made, &name);
        }
        if told_more {
            self.log.stale.extend(&users);
        }
        self.log.touched.extend(users);
        self.log.touched.extend(self.build.graph().value(new).producer());
        self.log.loose.push(old);
        Ok(())
    }

    /// Gives the nodes that the rule added, and that have no name, the name of the node that makes `value`: where a change of
    /// layout takes the place of a value, what computes it stands before that and is to be known by name as well.
    pub(crate) fn name_added(&mut self, value: ValueId) {
        let Some(maker) = self.graph().value(value).producer() else { return };
        let graph = self.build.graph_mut();
        let name = graph.node(maker).name().to_owned();
        for &id in &self.log.added {
            if graph.get_node(id).is_some_and(|node| node.name().is_empty()) {
                graph.set_node_name(id, &name);
            }
        }
    }

    /// As [`Site::replace`], for several values at once: all of them, or none.
    ///
    /// # Errors
    /// Where one of them cannot be replaced; nothing is changed then.
    pub fn replace_all(&mut self, pairs: &[(ValueId, ValueId)]) -> Result<(), Refused> {
        for (at, &(old, new)) in pairs.iter().enumerate() {
            let twice = self.graph().is_output(old)
                && pairs[..at].iter().any(|&(other, same)| same == new && self.graph().is_output(other));
            if twice || !self.graph().may_replace(old, new) {
                return Err(Refused::Because(
                    "a result is an output of the graph, and its source is an input, a constant or another output"
                        .into(),
                ));
            }
            if let (Some(a), Some(b)) = (self.ty(old), self.ty(new))
                && let Err(why) = Type::meet(b, a)
            {
                return Err(Refused::because(format!("types differ: {why}")));
            }
        }
        for &(old, new) in pairs {
            self.replace(old, new)?;
        }
        Ok(())
    }

    /// Lets the slots of the node read other values.
    pub fn set_inputs(&mut self, inputs: &[Option<ValueId>]) {
        self.commit();
        let (id, captures) = (self.id, self.node().captures());
        self.log.loose.extend(self.build.graph().node(id).inputs().iter().flatten());
        self.build.graph_mut().set_inputs(id, inputs, captures);
        self.log.touched.push(id);
    }

    /// Removes the node and makes constants of its outputs, which keep their names. Outputs of the graph come
    /// from an Identity of the constant.
    ///
    /// # Errors
    /// Where an output that somebody reads has no tensor here, or there is no Identity; nothing is changed then.
    pub fn settle(&mut self, tensors: Vec<Option<Tensor>>) -> Result<(), Refused> {
        let outputs: Vec<Option<ValueId>> = self.node().outputs().to_vec();
        let identity = match outputs.iter().flatten().any(|&v| self.graph().is_output(v)) {
            true => Some(self.op("Identity", &Attributes::new())?),
            false => None,
        };
        for (slot, value) in outputs.iter().enumerate() {
            let Some(value) = *value else { continue };
            let read = self.graph().is_output(value) || !self.graph().value(value).uses().is_empty();
            if read && tensors.get(slot).is_none_or(Option::is_none) {
                return Err(Refused::because(format!("output {slot} is not known")));
            }
        }
        let name = self.node().name().to_owned();
        self.commit();
        self.log.saved += crate::cost(self.node());
        self.log.loose.extend(self.build.graph().node(self.id).inputs().iter().flatten());
        let id = self.id;
        let graph = self.build.graph_mut();
        graph.remove_node(id);
        for (value, tensor) in outputs.into_iter().zip(tensors) {
            let (Some(value), Some(tensor)) = (value, tensor) else { continue };
            let Some(v) = graph.get_value(value) else { continue };
            let users: Vec<NodeId> = v.uses().iter().map(|u| u.node).collect();
            self.log.stale.extend(&users);
            self.log.touched.extend(users);
            match &identity {
                Some(identity) if graph.is_output(value) => {
                    let constant =
                        graph.add_constant("", tensor).expect("an unnamed value clashes with nothing");
                    let spec = NodeSpec {
                        name: name.clone(),
                        origin: self.rule,
                        ..NodeSpec::new(identity.clone(), &[Some(constant)], &[Some(value)])
                    };
                    let made = graph.add_node(spec).expect("the value lost its source");
                    self.log.added.push(made);
                    self.log.stale.push(made);
                }
                _ => graph.define_constant(value, tensor).expect("the value lost its source"),
            }
        }
        Ok(())
    }

    fn commit(&mut self) {
        if self.log.called.is_none() {
            self.log.called = Some(crate::label(self.build.graph(), self.id));
        }
    }

    /// The byte budgets.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Asks to add constants of `added` bytes, which make `freed` bytes superfluous, and books them.
    ///
    /// # Errors
    /// Where the model would become larger than allowed.
    pub fn grow(&mut self, added: usize, freed: usize) -> Result<(), Refused> {
        let growth = added.saturating_sub(freed);
        if growth == 0 {
            return Ok(());
        }
        if growth > self.bounds.tensor {
            return Err(Refused::because(format!(
                "the result would make the model larger by {growth} bytes; at most {} are allowed",
                self.bounds.tensor
            )));
        }
        let total = self.grown.saturating_add(growth);
        if total > self.bounds.growth {
            return Err(Refused::because(format!(
                "the model would become larger by {total} bytes in all; at most {} are allowed",
                self.bounds.growth
            )));
        }
        *self.grown = total;
        Ok(())
    }
}

/// The name of a node's operator, where that is a standard one.
pub(crate) fn standard(node: &Node) -> Option<&str> {
    matches!(node.op().domain(), "" | "ai.onnx").then(|| node.op().name())
}

/// The only element of a numeric tensor.
pub(crate) fn scalar(tensor: &Tensor) -> Option<f64> {
    match tensor.len() {
        1 => tensor.to_f64s().ok()?.first().copied(),
        _ => None,
    }
}
