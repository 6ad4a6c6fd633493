//! What a graph is made of: values, nodes and their uses.

use crate::uses::Uses;
use crate::{Graph, NodeId, Op, Type, ValueId};
use oxidane_tensor::Tensor;
use smallvec::SmallVec;
use std::sync::Arc;

/// What a file says about a thing beyond what it computes; carried along and written back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Documentation.
    pub doc: String,
    /// Named metadata in order.
    pub metadata: Vec<(String, String)>,
    /// Fields that only the file format understands, encoded by it.
    pub extra: Vec<u8>,
}

impl Notes {
    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.doc.is_empty() && self.metadata.is_empty() && self.extra.is_empty()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An input of the graph. A default, where there is one, stands in for an input that is not given.
    Input {
        /// The value used when the caller gives none.
        default: Option<Box<Tensor>>,
    },
    /// A constant that belongs to the graph (an initializer).
    Constant(Box<Tensor>),
    /// An output of a node.
    Node(NodeId, usize),
    /// Named, but nothing defines it: legal only while a graph is being built.
    Undefined,
}

/// A value: an edge from its source to its uses.
#[derive(Debug, Clone)]
pub struct Value {
    pub(crate) name: Arc<str>,
    pub(crate) ty: Option<Type>,
    pub(crate) declared: Option<Box<Type>>,
    pub(crate) source: Source,
    pub(crate) uses: Uses,
    /// The places in the graph's list of outputs where it stands.
    pub(crate) outputs: SmallVec<[u32; 2]>,
    pub(crate) notes: Option<Box<Notes>>,
}

/// One use of a value: an input slot of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Use {
    /// The node that reads the value.
    pub node: NodeId,
    /// The input slot.
    pub slot: u32,
}

impl Value {
    /// The name; empty for a value that a pass made and did not name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type as far as it is known.
    pub fn ty(&self) -> Option<&Type> {
        self.ty.as_ref()
    }

    /// The type that the file declared, which may say less or name sizes differently than what is known;
    /// writing the graph back declares it again.
    pub fn declared(&self) -> Option<&Type> {
        self.declared.as_deref()
    }

    /// Where it comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The slots that read it, in no particular order; graph outputs are not among them.
    pub fn uses(&self) -> &[Use] {
        self.uses.as_slice()
    }

    /// Whether a slot reads it.
    pub fn is_used_by(&self, slot: Use) -> bool {
        self.uses.contains(slot)
    }

    /// The tensor, where it is a constant of the graph.
    pub fn constant(&self) -> Option<&Tensor> {
        match &self.source {
            Source::Constant(tensor) => Some(&**tensor),
            _ => None,
        }
    }

    /// The node that makes it.
    pub fn producer(&self) -> Option<NodeId> {
        match self.source {
            Source::Node(node, _) => Some(node),
            _ => None,
        }
    }

    /// Documentation and metadata.
    pub fn notes(&self) -> Option<&Notes> {
        self.notes.as_deref()
    }
}

/// A node: an operator applied to values.
///
/// A node with bodies (If, Loop, Scan) is closed: what its bodies read from outside stands at the end of its
/// inputs, as many as [`Node::captures`] says, and every body takes those after its own formal inputs.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) op: Arc<dyn Op>,
    pub(crate) inputs: SmallVec<[Option<ValueId>; 4]>,
    pub(crate) outputs: SmallVec<[Option<ValueId>; 2]>,
    pub(crate) captures: usize,
    pub(crate) bodies: Vec<Graph>,
    pub(crate) origin: &'static str,
    pub(crate) notes: Option<Box<Notes>>,
}

impl Node {
    /// The name; empty where it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    pub fn op(&self) -> &Arc<dyn Op> {
        &self.op
    }

    /// All inputs, captures last; `None` for an optional input left out.
    pub fn inputs(&self) -> &[Option<ValueId>] {
        &self.inputs
    }

    /// The inputs of the operator itself, without captures.
    pub fn formal_inputs(&self) -> &[Option<ValueId>] {
        &self.inputs[..self.inputs.len() - self.captures]
    }

    /// What the bodies read from outside.
    pub fn captured(&self) -> &[Option<ValueId>] {
        &self.inputs[self.inputs.len() - self.captures..]
    }

    /// How many of the inputs are captures.
    pub fn captures(&self) -> usize {
        self.captures
    }

    /// The input of a slot, where it is given.
    pub fn input(&self, slot: usize) -> Option<ValueId> {
        self.inputs.get(slot).copied().flatten()
    }

    /// The outputs; `None` for one that is not asked for.
    pub fn outputs(&self) -> &[Option<ValueId>] {
        &self.outputs
    }

    /// The output of a slot, where it is asked for.
    pub fn output(&self, slot: usize) -> Option<ValueId> {
        self.outputs.get(slot).copied().flatten()
    }

    /// The subgraphs, in the order of the op's body names.
    pub fn bodies(&self) -> &[Graph] {
        &self.bodies
    }

    /// The pass that made the node; empty for one from the file.
    pub fn origin(&self) -> &'static str {
        self.origin
    }

    /// Documentation and metadata.
    pub fn notes(&self) -> Option<&Notes> {
        self.notes.as_deref()
    }
}

/// What a new node is made of.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// The operator.
    pub op: Arc<dyn Op>,
    /// The inputs, captures last.
    pub inputs: SmallVec<[Option<ValueId>; 4]>,
    /// Values that nothing defines yet, or `None`.
    pub outputs: SmallVec<[Option<ValueId>; 2]>,
    /// How many of the inputs are captures.
    pub captures: usize,
    /// The subgraphs.
    pub bodies: Vec<Graph>,
    /// The name.
    pub name: String,
    /// The pass that makes it; empty for a node from a file.
    pub origin: &'static str,
    /// Documentation and metadata.
    pub notes: Notes,
}

impl NodeSpec {
    /// A node without bodies and name.
    pub fn new(op: Arc<dyn Op>, inputs: &[Option<ValueId>], outputs: &[Option<ValueId>]) -> NodeSpec {
        NodeSpec {
            op,
            inputs: SmallVec::from_slice(inputs),
            outputs: SmallVec::from_slice(outputs),
            captures: 0,
            bodies: Vec::new(),
            name: String::new(),
            origin: "",
            notes: Notes::default(),
        }
    }
}
