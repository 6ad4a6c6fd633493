//! What a file says that neither the graph nor an operator holds: kept in [`oxidane_graph::Notes::extra`], and
//! written back where it still fits.

use oxidane_graph::Notes;
use prost::Message;

use crate::proto::{GraphProto, NodeProto, StringStringEntryProto, TensorProto, TypeProto, ValueInfoProto};

/// Of a node.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeExtra {
    /// The attributes in the order of the file, by name, with what a value does not hold: documentation,
    /// names of tensors. `op_type` where another operator took its place, `domain` where it is spelled out.
    #[prost(message, optional, tag = "1")]
    pub(crate) node: Option<NodeProto>,
    /// The node stands for a sparse initializer.
    #[prost(bool, tag = "2")]
    pub(crate) sparse_initializer: bool,
}

/// Of a value.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueExtra {
    /// The declared type, where it says more than the engine's types can.
    #[prost(message, optional, tag = "1")]
    pub(crate) ty: Option<TypeProto>,
    /// Of an input with a default: documentation and metadata of the tensor.
    #[prost(message, optional, tag = "2")]
    pub(crate) tensor: Option<TensorProto>,
    /// Of a constant: its declaration.
    #[prost(message, optional, tag = "3")]
    pub(crate) info: Option<ValueInfoProto>,
}

/// Of a graph: declarations of names that do not occur, annotations, inputs that became constants, and the
/// order of initializers where inputs are among them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GraphExtra {
    /// The rest of the graph.
    #[prost(message, optional, tag = "1")]
    pub(crate) graph: Option<GraphProto>,
}

/// Reads an extra back; an unreadable one, which another writer made, counts as none.
pub(crate) fn read<M: Message + Default>(notes: Option<&Notes>) -> M {
    notes.and_then(|n| M::decode(&n.extra[..]).ok()).unwrap_or_default()
}

/// The bytes of an extra; none where it says nothing.
pub(crate) fn write<M: Message>(extra: &M) -> Vec<u8> {
    extra.encode_to_vec()
}

/// Notes of a documentation, metadata and an extra.
pub(crate) fn notes<M: Message>(doc: &str, metadata: &[StringStringEntryProto], extra: &M) -> Notes {
    Notes {
        doc: doc.to_owned(),
        metadata: metadata.iter().map(|p| (p.key().to_owned(), p.value().to_owned())).collect(),
        extra: write(extra),
    }
}

/// Metadata as entries of a message.
pub(crate) fn entries(metadata: &[(String, String)]) -> Vec<StringStringEntryProto> {
    let entry =
        |(k, v): &(String, String)| StringStringEntryProto { key: Some(k.clone()), value: Some(v.clone()) };
    metadata.iter().map(entry).collect()
}
