//! Attributes between their message and the engine. Graphs are left out: nodes keep them as bodies.

use bytes::Bytes;
use oxidane_graph::{Attribute, OpError, SparseTensor, Type};
use std::sync::Arc;

use crate::external::ExternalData;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, SparseTensorProto, TensorProto, TypeProto};
use crate::tensors::{sparse_from_proto, sparse_to_proto, tensor_from_proto, tensor_to_proto};
use crate::types::{type_from_proto, type_to_proto};

/// What kind an attribute is of. Files of IR version 1 may leave the kind out; the field that is set tells.
pub(crate) fn kind(proto: &AttributeProto) -> AttributeType {
    let kind = proto.r#type();
    if kind != AttributeType::Undefined {
        return kind;
    }
    [
        (proto.f.is_some(), AttributeType::Float),
        (proto.i.is_some(), AttributeType::Int),
        (proto.s.is_some(), AttributeType::String),
        (proto.t.is_some(), AttributeType::Tensor),
        (proto.g.is_some(), AttributeType::Graph),
        (proto.sparse_tensor.is_some(), AttributeType::SparseTensor),
        (proto.tp.is_some(), AttributeType::TypeProto),
        (!proto.floats.is_empty(), AttributeType::Floats),
        (!proto.ints.is_empty(), AttributeType::Ints),
        (!proto.strings.is_empty(), AttributeType::Strings),
        (!proto.tensors.is_empty(), AttributeType::Tensors),
        (!proto.graphs.is_empty(), AttributeType::Graphs),
        (!proto.sparse_tensors.is_empty(), AttributeType::SparseTensors),
        (!proto.type_protos.is_empty(), AttributeType::TypeProtos),
    ]
    .into_iter()
    .find_map(|(set, kind)| set.then_some(kind))
    .unwrap_or(AttributeType::Undefined)
}

/// The value of an attribute that is no graph and refers to no other.
///
/// # Errors
/// When the value is missing or damaged; the text names the attribute.
pub(crate) fn attribute_from_proto(
    proto: &AttributeProto,
    external: &mut ExternalData,
) -> Result<Attribute, OpError> {
    read(proto, external).map_err(|error| {
        let inner = OpError::new(format!("attribute `{}`: {}", proto.name(), error.what()));
        match error.advice() {
            Some(help) => inner.help(help),
            None => inner,
        }
    })
}

fn read(proto: &AttributeProto, external: &mut ExternalData) -> Result<Attribute, OpError> {
    let missing = || OpError::new("its kind says one value, but it holds none");
    let ty = |proto: &TypeProto| -> Result<Type, OpError> {
        type_from_proto(proto, proto.denotation())?.ok_or_else(|| OpError::new("the type says nothing"))
    };
    Ok(match kind(proto) {
        // An unset number is its default in ONNX's messages.
        AttributeType::Float => Attribute::Float(proto.f()),
        AttributeType::Int => Attribute::Int(proto.i()),
        AttributeType::String => Attribute::String(Arc::from(proto.s())),
        AttributeType::Tensor => {
            Attribute::Tensor(tensor_from_proto(proto.t.as_ref().ok_or_else(missing)?, external)?)
        }
        AttributeType::SparseTensor => {
            let sparse = proto.sparse_tensor.as_ref().ok_or_else(missing)?;
            Attribute::SparseTensor(Box::new(sparse_from_proto(sparse, external)?))
        }
        AttributeType::TypeProto => Attribute::Type(ty(proto.tp.as_ref().ok_or_else(missing)?)?),
        AttributeType::Floats => Attribute::Floats(proto.floats.clone()),
        AttributeType::Ints => Attribute::Ints(proto.ints.clone()),
        AttributeType::Strings => {
            Attribute::Strings(proto.strings.iter().map(|s| Arc::from(&s[..])).collect())
        }
        AttributeType::Tensors => {
            let read = |t: &TensorProto| tensor_from_proto(t, external);
            Attribute::Tensors(proto.tensors.iter().map(read).collect::<Result<_, _>>()?)
        }
        AttributeType::SparseTensors => {
            let read = |t: &SparseTensorProto| sparse_from_proto(t, external);
            Attribute::SparseTensors(proto.sparse_tensors.iter().map(read).collect::<Result<_, _>>()?)
        }
        AttributeType::TypeProtos => {
            Attribute::Types(proto.type_protos.iter().map(ty).collect::<Result<_, _>>()?)
        }
        AttributeType::Graph | AttributeType::Graphs => {
            return Err(OpError::new("a graph stands where a value is asked for"));
        }
        AttributeType::Undefined => {
            return Err(OpError::new(format!("kind {} does not exist", proto.r#type.unwrap_or(0))));
        }
    })
}

/// The message of an attribute.
///
/// # Errors
/// When there is no memory for a dense copy of a tensor.
pub(crate) fn attribute_to_proto(name: &str, attribute: &Attribute) -> Result<AttributeProto, OpError> {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let tensors = |all: &[oxidane_tensor::Tensor]| -> Result<Vec<TensorProto>, OpError> {
        all.iter().map(|t| tensor_to_proto("", t)).collect()
    };
    let sparse = |all: &[SparseTensor]| -> Result<Vec<SparseTensorProto>, OpError> {
        all.iter().map(|t| sparse_to_proto("", t)).collect()
    };
    let kind = match attribute {
        Attribute::Float(v) => {
            proto.f = Some(*v);
            AttributeType::Float
        }
        Attribute::Int(v) => {
            proto.i = Some(*v);
            AttributeType::Int
        }
        Attribute::String(v) => {
            proto.s = Some(Bytes::copy_from_slice(v));
            AttributeType::String
        }
        Attribute::Tensor(v) => {
            proto.t = Some(tensor_to_proto("", v)?);
            AttributeType::Tensor
        }
        Attribute::SparseTensor(v) => {
            proto.sparse_tensor = Some(sparse_to_proto("", v)?);
            AttributeType::SparseTensor
        }
        Attribute::Type(v) => {
            proto.tp = Some(type_to_proto(v));
            AttributeType::TypeProto
        }
        Attribute::Floats(v) => {
            proto.floats = v.clone();
            AttributeType::Floats
        }
        Attribute::Ints(v) => {
            proto.ints = v.clone();
            AttributeType::Ints
        }
        Attribute::Strings(v) => {
            proto.strings = v.iter().map(|s| Bytes::copy_from_slice(s)).collect();
            AttributeType::Strings
        }
        Attribute::Tensors(v) => {
            proto.tensors = tensors(v)?;
            AttributeType::Tensors
        }
        Attribute::SparseTensors(v) => {
            proto.sparse_tensors = sparse(v)?;
            AttributeType::SparseTensors
        }
        Attribute::Types(v) => {
            proto.type_protos = v.iter().map(type_to_proto).collect();
            AttributeType::TypeProtos
        }
    };
    proto.r#type = Some(kind as i32);
    Ok(proto)
}
