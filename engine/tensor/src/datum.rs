use crate::{DType, Tensor};
use std::sync::Arc;

/// What travels on an edge of a graph while it runs.
#[derive(Debug, Clone)]
pub enum Datum {
    /// A tensor.
    Tensor(Tensor),
    /// A list of data of one type.
    Sequence(Arc<Vec<Datum>>),
    /// A value that may be absent.
    Optional(Option<Arc<Datum>>),
    /// Keys (a rank-1 tensor of strings or integers) and their values, as many.
    Map {
        /// The keys, rank 1.
        keys: Tensor,
        /// The values, one for each key.
        values: Arc<Vec<Datum>>,
    },
}

impl Datum {
    /// The tensor, where it is one.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Datum::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// The tensor, where it is one; otherwise the datum back.
    ///
    /// # Errors
    /// Gives the datum back when it is not a tensor.
    pub fn into_tensor(self) -> Result<Tensor, Box<Datum>> {
        match self {
            Datum::Tensor(t) => Ok(t),
            other => Err(Box::new(other)),
        }
    }

    /// The items of a sequence, where it is one.
    pub fn as_sequence(&self) -> Option<&[Datum]> {
        match self {
            Datum::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The element type of the tensor, of the first tensor inside, or `None` where there is none.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Datum::Tensor(t) => Some(t.dtype()),
            Datum::Sequence(items) => items.first().and_then(Datum::dtype),
            Datum::Optional(item) => item.as_ref().and_then(|d| d.dtype()),
            Datum::Map { values, .. } => values.first().and_then(Datum::dtype),
        }
    }

    /// Bytes of memory that the tensors inside span.
    pub fn byte_len(&self) -> usize {
        match self {
            Datum::Tensor(t) => t.byte_len(),
            Datum::Sequence(items) => items.iter().map(Datum::byte_len).sum(),
            Datum::Optional(item) => item.as_ref().map_or(0, |d| d.byte_len()),
            Datum::Map { keys, values } => {
                keys.byte_len() + values.iter().map(Datum::byte_len).sum::<usize>()
            }
        }
    }
}

impl From<Tensor> for Datum {
    fn from(t: Tensor) -> Datum {
        Datum::Tensor(t)
    }
}
