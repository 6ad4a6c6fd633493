//! A walk over all tensors of a model.

use crate::error::Error;
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

enum Place<'a> {
    Graph(&'a mut GraphProto),
    Node(&'a mut NodeProto),
    Attribute(&'a mut AttributeProto),
    Tensor(&'a mut TensorProto),
}

/// Calls `see` for every tensor of `model` (initializers, attributes, halves of sparse tensors; in subgraphs,
/// functions and training graphs too), until it fails. The order is that of the file.
pub(crate) fn for_each_tensor(
    model: &mut ModelProto,
    see: &mut dyn FnMut(&mut TensorProto) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut stack: Vec<Place<'_>> = Vec::new();
    stack.extend(model.functions.iter_mut().rev().flat_map(|function| {
        let nodes = function.node.iter_mut().rev().map(Place::Node);
        nodes.chain(function.attribute_proto.iter_mut().rev().map(Place::Attribute))
    }));
    for training in model.training_info.iter_mut().rev() {
        stack.extend(training.algorithm.as_mut().map(Place::Graph));
        stack.extend(training.initialization.as_mut().map(Place::Graph));
    }
    stack.extend(model.graph.as_mut().map(Place::Graph));
    while let Some(place) = stack.pop() {
        match place {
            Place::Graph(graph) => {
                stack.extend(graph.node.iter_mut().rev().map(Place::Node));
                for sparse in graph.sparse_initializer.iter_mut().rev() {
                    stack.extend(sparse.indices.as_mut().map(Place::Tensor));
                    stack.extend(sparse.values.as_mut().map(Place::Tensor));
                }
                stack.extend(graph.initializer.iter_mut().rev().map(Place::Tensor));
            }
            Place::Node(node) => stack.extend(node.attribute.iter_mut().rev().map(Place::Attribute)),
            Place::Attribute(attribute) => {
                stack.extend(attribute.graphs.iter_mut().rev().map(Place::Graph));
                stack.extend(attribute.g.as_mut().map(Place::Graph));
                for sparse in attribute.sparse_tensors.iter_mut().rev().chain(&mut attribute.sparse_tensor) {
                    stack.extend(sparse.indices.as_mut().map(Place::Tensor));
                    stack.extend(sparse.values.as_mut().map(Place::Tensor));
                }
                stack.extend(attribute.tensors.iter_mut().rev().map(Place::Tensor));
                stack.extend(attribute.t.as_mut().map(Place::Tensor));
            }
            Place::Tensor(tensor) => see(tensor)?,
        }
    }
    Ok(())
}
