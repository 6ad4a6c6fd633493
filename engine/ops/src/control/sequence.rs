//! What the operators on sequences share: their types, and places in a sequence.

use oxidane_graph::{OpError, Run, Type, Types};
use oxidane_tensor::{DType, Datum};

const ELEMENTS: &[DType] = &[
    DType::Bool,
    DType::Complex128,
    DType::Complex64,
    DType::F64,
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::I8,
    DType::String,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::U8,
];

/// Tensors that sequences may hold.
pub(crate) const ITEM: Types = Types::tensors(ELEMENTS);
/// Sequences of them.
pub(crate) const SEQUENCE: Types = Types::sequences(ELEMENTS);

/// The items of a sequence input.
///
/// # Errors
/// When it is absent or no sequence.
pub(crate) fn items<'r>(run: &'r Run<'_>, input: usize) -> Result<&'r [Datum], OpError> {
    run.datum(input)?.as_sequence().ok_or_else(|| OpError::new(format!("input {input} must be a sequence")))
}

/// The position that a scalar input states in `count` places, negative ones from the end; the last place where
/// the input is absent.
///
/// # Errors
/// When it lies outside or is not one number.
pub(crate) fn position(run: &Run<'_>, input: usize, len: usize, places: usize) -> Result<usize, OpError> {
    let fault = |at: i64| OpError::new(format!("position {at} lies outside a sequence of {len} items"));
    match run.try_ints(input)?.as_deref() {
        None => places.checked_sub(1).ok_or_else(|| OpError::new("the sequence is empty")),
        Some([at]) => {
            let from_front = if *at < 0 { at.checked_add_unsigned(len as u64) } else { Some(*at) };
            from_front.and_then(|p| usize::try_from(p).ok()).filter(|&p| p < places).ok_or_else(|| fault(*at))
        }
        Some(other) => Err(OpError::new(format!("the position must be one number, but has {}", other.len()))),
    }
}

/// The type of a sequence's items, where it is known.
pub(crate) fn item(ty: Option<&Type>) -> Option<&Type> {
    match ty {
        Some(Type::Sequence(item)) => Some(item),
        _ => None,
    }
}
