//! Values in files, as ONNX's test data hold them: serialized TensorProto, SequenceProto, OptionalProto.

use std::sync::Arc;

use bytes::Bytes;
use oxidane_graph::{OpError, Type};
use oxidane_tensor::{Datum, Tensor};
use prost::Message;

use crate::external::ExternalData;
use crate::proto::{SparseTensorProto, TensorProto};
use crate::tensors::{tensor_from_proto, tensor_to_proto};

/// `SequenceProto` of `onnx-data.proto`.
#[derive(Clone, PartialEq, Message)]
struct SequenceProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    elem_type: Option<i32>,
    #[prost(message, repeated, tag = "3")]
    tensor_values: Vec<TensorProto>,
    #[prost(message, repeated, tag = "4")]
    sparse_tensor_values: Vec<SparseTensorProto>,
    #[prost(message, repeated, tag = "5")]
    sequence_values: Vec<SequenceProto>,
    #[prost(message, repeated, tag = "6")]
    map_values: Vec<MapProto>,
    #[prost(message, repeated, tag = "7")]
    optional_values: Vec<OptionalProto>,
}

/// `MapProto` of `onnx-data.proto`.
#[derive(Clone, PartialEq, Message)]
struct MapProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    key_type: Option<i32>,
    #[prost(int64, repeated, packed = "false", tag = "3")]
    keys: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    string_keys: Vec<Bytes>,
    #[prost(message, optional, boxed, tag = "5")]
    values: Option<Box<SequenceProto>>,
}

/// `OptionalProto` of `onnx-data.proto`.
#[derive(Clone, PartialEq, Message)]
struct OptionalProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    elem_type: Option<i32>,
    #[prost(message, optional, tag = "3")]
    tensor_value: Option<TensorProto>,
    #[prost(message, optional, tag = "4")]
    sparse_tensor_value: Option<SparseTensorProto>,
    #[prost(message, optional, boxed, tag = "5")]
    sequence_value: Option<Box<SequenceProto>>,
    #[prost(message, optional, boxed, tag = "6")]
    map_value: Option<Box<MapProto>>,
    #[prost(message, optional, boxed, tag = "7")]
    optional_value: Option<Box<OptionalProto>>,
}

/// The codes of `elem_type` in sequences and optionals.
mod kind {
    pub(super) const UNDEFINED: i32 = 0;
    pub(super) const TENSOR: i32 = 1;
    pub(super) const SEQUENCE: i32 = 3;
    pub(super) const MAP: i32 = 4;
    pub(super) const OPTIONAL: i32 = 5;
}

/// Reads a value from the bytes of a `.pb` file. Which message the bytes are is not said in them: `ty`, the type
/// of the graph input or output that the file is for, says it; without a type they are a TensorProto.
///
/// # Errors
/// When the bytes are not that message, or the tensors in it contradict themselves.
pub fn datum_from_bytes(bytes: Bytes, ty: Option<&Type>) -> Result<Datum, OpError> {
    let damaged = |what: &str| OpError::new(format!("the bytes are no {what}")).help("write the file again");
    match ty {
        Some(Type::Sequence(_)) => {
            sequence(SequenceProto::decode(bytes).map_err(|_| damaged("SequenceProto"))?, 0)
        }
        Some(Type::Optional(inner)) => {
            // Writers before optionals had a message of their own wrote the value itself.
            match OptionalProto::decode(bytes.clone()).ok().filter(looks_right) {
                Some(proto) => optional(proto, 0),
                None => datum_from_bytes(bytes, Some(inner)).map(|d| Datum::Optional(Some(Arc::new(d)))),
            }
        }
        Some(Type::Map { .. }) => map(MapProto::decode(bytes).map_err(|_| damaged("MapProto"))?, 0),
        _ => tensor(&TensorProto::decode(bytes).map_err(|_| damaged("TensorProto"))?),
    }
}

fn looks_right(proto: &OptionalProto) -> bool {
    match proto.elem_type() {
        kind::TENSOR => proto.tensor_value.is_some(),
        kind::SEQUENCE => proto.sequence_value.is_some(),
        kind::MAP => proto.map_value.is_some(),
        kind::OPTIONAL => proto.optional_value.is_some(),
        other => other == kind::UNDEFINED,
    }
}

/// Values nest at most this deep.
const MAX_NESTING: usize = 16;

fn deeper(depth: usize) -> Result<usize, OpError> {
    if depth < MAX_NESTING {
        Ok(depth + 1)
    } else {
        Err(OpError::new(format!("values nest more than {MAX_NESTING} deep")))
    }
}

fn tensor(proto: &TensorProto) -> Result<Datum, OpError> {
    Ok(Datum::Tensor(tensor_from_proto(proto, &mut ExternalData::beside(None))?))
}

fn sequence(proto: SequenceProto, depth: usize) -> Result<Datum, OpError> {
    let depth = deeper(depth)?;
    if !proto.sparse_tensor_values.is_empty() {
        return Err(OpError::unsupported("sequences of sparse tensors"));
    }
    let mut items = Vec::new();
    for item in &proto.tensor_values {
        items.push(tensor(item)?);
    }
    for item in proto.sequence_values {
        items.push(sequence(item, depth)?);
    }
    for item in proto.map_values {
        items.push(map(item, depth)?);
    }
    for item in proto.optional_values {
        items.push(optional(item, depth)?);
    }
    Ok(Datum::Sequence(Arc::new(items)))
}

fn optional(proto: OptionalProto, depth: usize) -> Result<Datum, OpError> {
    let depth = deeper(depth)?;
    let inner = match proto.elem_type() {
        kind::TENSOR => proto.tensor_value.as_ref().map(tensor).transpose()?,
        kind::SEQUENCE => proto.sequence_value.map(|v| sequence(*v, depth)).transpose()?,
        kind::MAP => proto.map_value.map(|v| map(*v, depth)).transpose()?,
        kind::OPTIONAL => proto.optional_value.map(|v| optional(*v, depth)).transpose()?,
        kind::UNDEFINED => None,
        other => return Err(OpError::unsupported(format!("an optional of kind {other}"))),
    };
    Ok(Datum::Optional(inner.map(Arc::new)))
}

fn map(proto: MapProto, depth: usize) -> Result<Datum, OpError> {
    let depth = deeper(depth)?;
    let keys = if proto.string_keys.is_empty() {
        Tensor::new(&[proto.keys.len()], &proto.keys)?
    } else {
        let keys: Result<Vec<Arc<str>>, _> =
            proto.string_keys.iter().map(|k| std::str::from_utf8(k).map(Arc::from)).collect();
        Tensor::from_strings(&[proto.string_keys.len()], keys?)?
    };
    let values = match proto.values.map(|v| sequence(*v, depth)).transpose()? {
        Some(Datum::Sequence(values)) if values.len() == keys.len() => values,
        None if keys.is_empty() => Arc::new(Vec::new()),
        _ => return Err(OpError::new("a map has another number of values than of keys")),
    };
    Ok(Datum::Map { keys, values })
}

/// The bytes of a `.pb` file that holds a value, as [`datum_from_bytes`] reads it.
///
/// # Errors
/// When the value has no message: a sequence of mixed kinds.
pub fn datum_to_bytes(name: &str, datum: &Datum) -> Result<Vec<u8>, OpError> {
    Ok(match datum {
        Datum::Tensor(tensor) => tensor_to_proto(name, tensor)?.encode_to_vec(),
        Datum::Sequence(items) => sequence_to_proto(name, items, 0)?.encode_to_vec(),
        Datum::Optional(item) => optional_to_proto(name, item.as_deref(), 0)?.encode_to_vec(),
        Datum::Map { keys, values } => map_to_proto(name, keys, values, 0)?.encode_to_vec(),
    })
}

fn sequence_to_proto(name: &str, items: &[Datum], depth: usize) -> Result<SequenceProto, OpError> {
    let depth = deeper(depth)?;
    let mut proto = SequenceProto { name: Some(name.to_owned()), ..SequenceProto::default() };
    for item in items {
        let kind = match item {
            Datum::Tensor(tensor) => {
                proto.tensor_values.push(tensor_to_proto("", tensor)?);
                kind::TENSOR
            }
            Datum::Sequence(items) => {
                proto.sequence_values.push(sequence_to_proto("", items, depth)?);
                kind::SEQUENCE
            }
            Datum::Optional(item) => {
                proto.optional_values.push(optional_to_proto("", item.as_deref(), depth)?);
                kind::OPTIONAL
            }
            Datum::Map { keys, values } => {
                proto.map_values.push(map_to_proto("", keys, values, depth)?);
                kind::MAP
            }
        };
        if proto.elem_type.is_some_and(|k| k != kind) {
            return Err(OpError::new("a sequence of values of several kinds cannot be written"));
        }
        proto.elem_type = Some(kind);
    }
    // An empty sequence does not know what it would hold; tensors are what almost all hold.
    proto.elem_type.get_or_insert(kind::TENSOR);
    Ok(proto)
}

fn optional_to_proto(name: &str, item: Option<&Datum>, depth: usize) -> Result<OptionalProto, OpError> {
    let depth = deeper(depth)?;
    let mut proto = OptionalProto { name: Some(name.to_owned()), ..OptionalProto::default() };
    proto.elem_type = Some(match item {
        None => kind::UNDEFINED,
        Some(Datum::Tensor(tensor)) => {
            proto.tensor_value = Some(tensor_to_proto("", tensor)?);
            kind::TENSOR
        }
        Some(Datum::Sequence(items)) => {
            proto.sequence_value = Some(Box::new(sequence_to_proto("", items, depth)?));
            kind::SEQUENCE
        }
        Some(Datum::Optional(item)) => {
            proto.optional_value = Some(Box::new(optional_to_proto("", item.as_deref(), depth)?));
            kind::OPTIONAL
        }
        Some(Datum::Map { keys, values }) => {
            proto.map_value = Some(Box::new(map_to_proto("", keys, values, depth)?));
            kind::MAP
        }
    });
    Ok(proto)
}

fn map_to_proto(name: &str, keys: &Tensor, values: &[Datum], depth: usize) -> Result<MapProto, OpError> {
    let depth = deeper(depth)?;
    let mut proto = MapProto {
        name: Some(name.to_owned()),
        key_type: Some(keys.dtype().to_onnx()),
        values: Some(Box::new(sequence_to_proto("", values, depth)?)),
        ..MapProto::default()
    };
    match keys.as_strings() {
        Some(keys) => proto.string_keys = keys.iter().map(|k| Bytes::copy_from_slice(k.as_bytes())).collect(),
        None => proto.keys = keys.to_i64s()?,
    }
    Ok(proto)
}
