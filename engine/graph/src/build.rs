use crate::{Graph, GraphError, Inference, NodeSpec, Op, Type, ValueId};
use oxidane_tensor::Tensor;
use smallvec::SmallVec;
use std::sync::Arc;

/// Adds nodes to a graph on behalf of a pass or a rule, with the types of their outputs worked out.
pub struct Build<'g> {
    graph: &'g mut Graph,
    origin: &'static str,
    walk: Inference,
}

impl<'g> Build<'g> {
    /// A builder; `origin` names the pass in errors and reports.
    pub fn new(graph: &'g mut Graph, origin: &'static str) -> Build<'g> {
        Build { graph, origin, walk: Inference::default() }
    }

    /// A builder that knows what an earlier walk over the graph found.
    pub fn resume(graph: &'g mut Graph, origin: &'static str, walk: Inference) -> Build<'g> {
        Build { graph, origin, walk }
    }

    /// What is known of the values, those of the added nodes included.
    pub fn inference(&self) -> &Inference {
        &self.walk
    }

    /// The walk, to go on with after building.
    pub fn into_inference(self) -> Inference {
        self.walk
    }

    /// The graph as it is now.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The graph, for changes that are not additions.
    pub fn graph_mut(&mut self) -> &mut Graph {
        self.graph
    }

    /// The type of a value, where it is known.
    pub fn ty(&self, value: ValueId) -> Option<&Type> {
        self.graph.value(value).ty()
    }

    /// Adds an unnamed constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant("", tensor).expect("an unnamed value clashes with nothing")
    }

    /// Adds a node with one output.
    pub fn add(&mut self, op: impl Op, inputs: &[ValueId]) -> ValueId {
        let inputs: SmallVec<[_; 4]> = inputs.iter().map(|&v| Some(v)).collect();
        self.add_node(Arc::new(op), &inputs, 1)[0]
    }

    /// Adds a node with `outputs` outputs and optional inputs.
    pub fn add_node(
        &mut self,
        op: Arc<dyn Op>,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> SmallVec<[ValueId; 2]> {
        let made: SmallVec<[ValueId; 2]> = (0..outputs)
            .map(|_| self.graph.add_undefined("").expect("an unnamed value clashes with nothing"))
            .collect();
        let slots: SmallVec<[_; 2]> = made.iter().map(|&v| Some(v)).collect();
        self.add_spec(NodeSpec::new(op, inputs, &slots)).expect("fresh outputs and live inputs");
        made
    }

    /// Adds a node that defines the given values.
    ///
    /// # Errors
    /// When one of them is defined already.
    pub fn define(
        &mut self,
        op: Arc<dyn Op>,
        inputs: &[Option<ValueId>],
        outputs: &[Option<ValueId>],
    ) -> Result<crate::NodeId, GraphError> {
        self.add_spec(NodeSpec::new(op, inputs, outputs))
    }

    /// Adds a node with bodies, a name or anything else that a spec can say but the origin.
    ///
    /// # Errors
    /// When one of its outputs is defined already.
    pub fn add_spec(&mut self, spec: NodeSpec) -> Result<crate::NodeId, GraphError> {
        let id = self.graph.add_node(NodeSpec { origin: self.origin, ..spec })?;
        self.walk.node(self.graph, id);
        Ok(id)
    }
}
