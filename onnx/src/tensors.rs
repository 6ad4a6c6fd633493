//! Tensors between their message and the engine: every way of storing values in, `raw_data` out.

use bytes::Bytes;
use oxidane_graph::{OpError, SparseTensor};
use oxidane_tensor::{DType, Tensor, element_count};
use std::sync::Arc;

use crate::external::ExternalData;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{SparseTensorProto, TensorProto};
use crate::storage::raw_bytes;

/// How a tensor is called in messages.
fn called(tensor: &TensorProto) -> String {
    match tensor.name() {
        "" => "a tensor without a name".to_owned(),
        name => format!("tensor `{name}`"),
    }
}

/// The element type of a code in a file.
///
/// # Errors
/// When ONNX has no such type.
pub(crate) fn dtype(code: i32) -> Result<DType, OpError> {
    DType::from_onnx(code).ok_or_else(|| {
        OpError::new(format!("has the element type {code}, which ONNX does not have")).help(format!(
            "types run from 1 to {}; the file may be damaged or of a newer ONNX",
            DType::ALL.len()
        ))
    })
}

/// The sizes of a file as sizes of the engine.
fn shape(dims: &[i64]) -> Result<Vec<usize>, String> {
    let sizes: Result<Vec<usize>, _> = dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("its dims {dims:?} hold the negative size {d}")))
        .collect();
    let sizes = sizes?;
    element_count(&sizes)
        .map_err(|_| format!("its dims {dims:?} stand for more elements than memory can hold"))?;
    Ok(sizes)
}

/// The tensor of a message. `raw_data` and external data are shared with the file, not copied.
///
/// # Errors
/// When the declared sizes do not fit the values that exist, the type is unknown, or external data cannot be
/// had; the text names the tensor.
pub fn tensor_from_proto(proto: &TensorProto, external: &mut ExternalData) -> Result<Tensor, OpError> {
    let name = called(proto);
    let damaged = "the file is damaged or was written wrongly; export the model again";
    let dtype = dtype(proto.data_type()).map_err(|e| {
        let error = OpError::new(format!("{name} {}", e.what()));
        error.help(e.advice().unwrap_or(damaged))
    })?;
    let shape = shape(&proto.dims).map_err(|what| OpError::new(format!("{name}: {what}")).help(damaged))?;
    let count = element_count(&shape)?;
    if dtype == DType::String {
        if proto.string_data.len() != count {
            let have = proto.string_data.len();
            let what = format!("{name} has {have} strings, but its dims {shape:?} need {count}");
            return Err(OpError::new(what).help(damaged));
        }
        let text = |bytes: &Bytes| {
            std::str::from_utf8(bytes)
                .map(Arc::from)
                .map_err(|_| OpError::new(format!("{name} holds text that is not UTF-8")).help(damaged))
        };
        let strings = proto.string_data.iter().map(text).collect::<Result<Vec<Arc<str>>, _>>()?;
        return Ok(Tensor::from_strings(&shape, strings)?);
    }
    let bytes = if proto.data_location() == DataLocation::External {
        external.bytes(proto)?
    } else {
        raw_bytes(proto).unwrap_or_default()
    };
    let needed = dtype
        .byte_len(count)
        .ok_or_else(|| OpError::new(format!("{name}: dims {shape:?} are too large")).help(damaged))?;
    if bytes.len() != needed {
        let how = if bytes.len() < needed { "cut short" } else { "too long" };
        let what = format!(
            "{name} is {how}: {dtype} of dims {shape:?} takes {needed} bytes, but the file holds {}",
            bytes.len()
        );
        return Err(OpError::new(what).help(damaged));
    }
    Ok(Tensor::from_bytes(dtype, &shape, bytes)?)
}

/// The message of a tensor: its values as `raw_data` (or `string_data`), shared where they lie in a file.
///
/// # Errors
/// When there is no memory for a dense copy of a view.
pub fn tensor_to_proto(name: &str, tensor: &Tensor) -> Result<TensorProto, OpError> {
    let dims = tensor.shape().iter().map(|&d| d as i64).collect();
    let mut proto = TensorProto {
        dims,
        data_type: Some(tensor.dtype().to_onnx()),
        name: (!name.is_empty()).then(|| name.to_owned()),
        ..TensorProto::default()
    };
    let dense = tensor.to_dense()?;
    if let Some(strings) = dense.as_strings() {
        proto.string_data = strings.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
    } else {
        proto.raw_data = Some(Bytes::from_owner(Raw(dense)));
    }
    Ok(proto)
}

/// A dense tensor as the owner of its bytes, so that writing does not copy them.
struct Raw(Tensor);

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        self.0.dense_bytes().unwrap_or_default()
    }
}

/// The sparse tensor of a message.
///
/// # Errors
/// When a part is missing or damaged.
pub(crate) fn sparse_from_proto(
    proto: &SparseTensorProto,
    external: &mut ExternalData,
) -> Result<SparseTensor, OpError> {
    let part = |part: &Option<TensorProto>, name: &str, external: &mut ExternalData| match part {
        Some(tensor) => tensor_from_proto(tensor, external),
        None => Err(OpError::new(format!("a sparse tensor has no {name}"))),
    };
    let values = part(&proto.values, "values", external)?;
    let indices = part(&proto.indices, "indices", external)?;
    shape(&proto.dims).map_err(|what| OpError::new(format!("a sparse tensor is wrong: {what}")))?;
    Ok(SparseTensor { values, indices, shape: proto.dims.clone() })
}

/// The message of a sparse tensor; its name stands at its values.
///
/// # Errors
/// Those of [`tensor_to_proto`].
pub(crate) fn sparse_to_proto(name: &str, sparse: &SparseTensor) -> Result<SparseTensorProto, OpError> {
    Ok(SparseTensorProto {
        values: Some(tensor_to_proto(name, &sparse.values)?),
        indices: Some(tensor_to_proto("", &sparse.indices)?),
        dims: sparse.shape.clone(),
    })
}
