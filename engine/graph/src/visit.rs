//! petgraph's view of a graph: nodes, and an edge for every value that one node makes and another reads.

use crate::entity::Id;
use crate::{Graph, NodeId};
use petgraph::Direction;
use petgraph::visit::{
    GraphBase, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, NodeCount, NodeIndexable, Visitable,
};
use std::collections::HashSet;

impl GraphBase for Graph {
    type EdgeId = (NodeId, NodeId);
    type NodeId = NodeId;
}

impl Visitable for Graph {
    type Map = HashSet<NodeId>;

    fn visit_map(&self) -> Self::Map {
        HashSet::with_capacity(self.node_count())
    }

    fn reset_map(&self, map: &mut Self::Map) {
        map.clear();
    }
}

impl NodeCount for Graph {
    fn node_count(&self) -> usize {
        Graph::node_count(self)
    }
}

impl NodeIndexable for Graph {
    fn node_bound(&self) -> usize {
        Graph::node_bound(self)
    }

    fn to_index(&self, node: NodeId) -> usize {
        node.index()
    }

    fn from_index(&self, index: usize) -> NodeId {
        NodeId::from_index(index)
    }
}

impl<'a> IntoNodeIdentifiers for &'a Graph {
    type NodeIdentifiers = Box<dyn Iterator<Item = NodeId> + 'a>;

    fn node_identifiers(self) -> Self::NodeIdentifiers {
        Box::new(self.nodes().map(|(id, _)| id))
    }
}

impl<'a> IntoNeighbors for &'a Graph {
    type Neighbors = Box<dyn Iterator<Item = NodeId> + 'a>;

    fn neighbors(self, node: NodeId) -> Self::Neighbors {
        self.neighbors_directed(node, Direction::Outgoing)
    }
}

impl<'a> IntoNeighborsDirected for &'a Graph {
    type NeighborsDirected = Box<dyn Iterator<Item = NodeId> + 'a>;

    fn neighbors_directed(self, node: NodeId, direction: Direction) -> Self::NeighborsDirected {
        let Some(node) = self.get_node(node) else { return Box::new(std::iter::empty()) };
        match direction {
            Direction::Outgoing => Box::new(
                node.outputs()
                    .iter()
                    .flatten()
                    .filter_map(|&v| self.get_value(v))
                    .flat_map(|v| v.uses().iter().map(|u| u.node)),
            ),
            Direction::Incoming => {
                Box::new(node.inputs().iter().flatten().filter_map(|&v| self.get_value(v)?.producer()))
            }
        }
    }
}
