//! Types between their message and the engine.

use oxidane_graph::{Dim, Dims, OpError, TensorType, Type};

use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::type_proto::{self, Value};
use crate::proto::{TensorShapeProto, TypeProto};
use crate::tensors::dtype;

/// Types inside types nest at most this deep.
const DEPTH: usize = 32;

/// The type of a message; `None` where it says nothing. `hint` names the value: sizes without a name are told
/// apart by it.
///
/// # Errors
/// When an element type does not exist, or types nest too deeply.
pub fn type_from_proto(proto: &TypeProto, hint: &str) -> Result<Option<Type>, OpError> {
    read(proto, hint, DEPTH)
}

fn read(proto: &TypeProto, hint: &str, depth: usize) -> Result<Option<Type>, OpError> {
    if depth == 0 {
        return Err(OpError::new(format!("types nest more than {DEPTH} deep")));
    }
    let inner = |inner: &Option<Box<TypeProto>>| match inner {
        Some(inner) => read(inner, hint, depth - 1).map(|t| t.map(Box::new)),
        None => Ok(None),
    };
    Ok(match &proto.value {
        None => None,
        Some(Value::TensorType(t)) => tensor(t.elem_type(), t.shape.as_ref(), hint)?.map(Type::Tensor),
        Some(Value::SparseTensorType(t)) => {
            tensor(t.elem_type(), t.shape.as_ref(), hint)?.map(Type::SparseTensor)
        }
        Some(Value::SequenceType(s)) => inner(&s.elem_type)?.map(Type::Sequence),
        Some(Value::OptionalType(o)) => inner(&o.elem_type)?.map(Type::Optional),
        Some(Value::MapType(m)) => {
            let key = dtype(m.key_type())?;
            inner(&m.value_type)?.map(|value| Type::Map { key, value })
        }
        Some(Value::OpaqueType(o)) => {
            Some(Type::Opaque { domain: o.domain().to_owned(), name: o.name().to_owned() })
        }
    })
}

fn tensor(code: i32, shape: Option<&TensorShapeProto>, hint: &str) -> Result<Option<TensorType>, OpError> {
    // 0 is "undefined": the file says that it is a tensor and no more.
    if code == 0 {
        return Ok(None);
    }
    let dim = |(axis, dim): (usize, &Dimension)| match &dim.value {
        Some(dimension::Value::DimValue(size)) if *size >= 0 => Dim::known(*size),
        Some(dimension::Value::DimParam(name)) if !name.is_empty() && !name.starts_with('?') => {
            Dim::symbol(name)
        }
        _ => Dim::unknown(&format!("{hint}.{axis}")),
    };
    let shape: Option<Dims> = shape.map(|s| s.dim.iter().enumerate().map(dim).collect());
    Ok(Some(TensorType { dtype: dtype(code)?, shape }))
}

/// The message of a type. Sizes of which nothing is known are left blank, expressions become the name of a
/// size.
pub fn type_to_proto(ty: &Type) -> TypeProto {
    let shape = |t: &TensorType| {
        t.shape.as_ref().map(|dims| TensorShapeProto { dim: dims.iter().map(|&d| dim_to_proto(d)).collect() })
    };
    let inner = |ty: &Type| Some(Box::new(type_to_proto(ty)));
    let value = match ty {
        Type::Tensor(t) => {
            Value::TensorType(type_proto::Tensor { elem_type: Some(t.dtype.to_onnx()), shape: shape(t) })
        }
        Type::SparseTensor(t) => Value::SparseTensorType(type_proto::SparseTensor {
            elem_type: Some(t.dtype.to_onnx()),
            shape: shape(t),
        }),
        Type::Sequence(t) => Value::SequenceType(Box::new(type_proto::Sequence { elem_type: inner(t) })),
        Type::Optional(t) => Value::OptionalType(Box::new(type_proto::Optional { elem_type: inner(t) })),
        Type::Map { key, value } => Value::MapType(Box::new(type_proto::Map {
            key_type: Some(key.to_onnx()),
            value_type: inner(value),
        })),
        Type::Opaque { domain, name } => {
            Value::OpaqueType(type_proto::Opaque { domain: Some(domain.clone()), name: Some(name.clone()) })
        }
    };
    TypeProto { denotation: None, value: Some(value) }
}

fn dim_to_proto(dim: Dim) -> Dimension {
    let value = match dim.as_known() {
        Some(size) => Some(dimension::Value::DimValue(size)),
        None if dim.is_unknown() => None,
        None => Some(dimension::Value::DimParam(dim.to_string())),
    };
    Dimension { denotation: None, value }
}
