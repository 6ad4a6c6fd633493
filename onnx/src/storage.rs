//! The ways in which a tensor's values are stored in a message.

use bytes::Bytes;
use oxidane_tensor::DType;

use crate::proto::TensorProto;

/// The values of `tensor` in the layout of `raw_data`, little-endian and packed, from whichever field they
/// are in; borrowed where they are that already. None for strings, external data and unknown types.
pub fn raw_bytes(tensor: &TensorProto) -> Option<Bytes> {
    let dtype = DType::from_onnx(tensor.data_type())?;
    if let Some(raw) = &tensor.raw_data {
        return (dtype != DType::String).then(|| raw.clone());
    }
    let ints = &tensor.int32_data;
    let bytes: Vec<u8> = match dtype {
        DType::F32 | DType::Complex64 => {
            tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        DType::F64 | DType::Complex128 => {
            tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        DType::I64 => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::U64 => tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::U32 => tensor.uint64_data.iter().flat_map(|&value| (value as u32).to_le_bytes()).collect(),
        DType::I32 => ints.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::String => return None,
        _ => match dtype.bits() {
            16 => ints.iter().flat_map(|&value| (value as u16).to_le_bytes()).collect(),
            // Four elements of six bits in three bytes.
            6 => {
                let mut bytes = Vec::with_capacity(ints.len().div_ceil(4) * 3);
                for group in ints.chunks(4) {
                    let bits = group.iter().rev().fold(0u32, |bits, &v| bits << 6 | (v as u32 & 63));
                    let count = (group.len() * 6).div_ceil(8);
                    bytes.extend_from_slice(&bits.to_le_bytes()[..count]);
                }
                bytes
            }
            // A byte each; of the packed types each is a byte of elements already.
            _ => ints.iter().map(|&value| value as u8).collect(),
        },
    };
    Some(Bytes::from(bytes))
}
