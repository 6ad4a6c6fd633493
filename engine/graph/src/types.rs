use crate::Dim;
use oxidane_tensor::{DType, Datum};
use smallvec::SmallVec;
use std::fmt;

/// Sizes that may be symbolic, outermost first.
pub type Dims = SmallVec<[Dim; 4]>;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// A dense tensor.
    Tensor(TensorType),
    /// A sparse tensor.
    SparseTensor(TensorType),
    /// A list of values of one type.
    Sequence(Box<Type>),
    /// A value that may be absent.
    Optional(Box<Type>),
    /// Keys of an integer or string type, and their values.
    Map {
        /// The type of the keys.
        key: DType,
        /// The type of the values.
        value: Box<Type>,
    },
    /// A type that only its domain knows.
    Opaque {
        /// The domain that defines it.
        domain: String,
        /// Its name there.
        name: String,
    },
}

/// Element type and, where the rank is known, sizes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The sizes; `None` when even their number is unknown.
    pub shape: Option<Dims>,
}

impl Type {
    /// A tensor of known rank.
    pub fn tensor(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> Type {
        Type::Tensor(TensorType { dtype, shape: Some(shape.into_iter().collect()) })
    }

    /// A tensor of unknown rank.
    pub fn unranked(dtype: DType) -> Type {
        Type::Tensor(TensorType { dtype, shape: None })
    }

    /// A tensor of known sizes.
    pub fn fixed(dtype: DType, shape: &[usize]) -> Type {
        Type::tensor(dtype, shape.iter().map(|&d| Dim::from(d)))
    }

    /// The tensor type, where it is a dense tensor.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// The element type of a tensor, or of the tensors inside.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Type::Tensor(t) | Type::SparseTensor(t) => Some(t.dtype),
            Type::Sequence(inner) | Type::Optional(inner) | Type::Map { value: inner, .. } => inner.dtype(),
            Type::Opaque { .. } => None,
        }
    }

    /// The sizes of a tensor, where their number is known.
    pub fn shape(&self) -> Option<&[Dim]> {
        self.as_tensor()?.shape.as_deref()
    }

    /// The type of a datum; element types of empty sequences and absent optionals come from `self`-like
    /// context, so `None` stands for them.
    pub fn of(datum: &Datum) -> Option<Type> {
        Some(match datum {
            Datum::Tensor(t) => Type::fixed(t.dtype(), t.shape()),
            Datum::Sequence(items) => {
                let mut types = items.iter().map(Type::of);
                let first = types.next()??;
                Type::Sequence(Box::new(types.try_fold(first, |a, b| Type::join(&a, &b?))?))
            }
            Datum::Optional(item) => Type::Optional(Box::new(Type::of(item.as_deref()?)?)),
            Datum::Map { keys, values } => {
                Type::Map { key: keys.dtype(), value: Box::new(Type::of(values.first()?)?) }
            }
        })
    }

    /// The type that holds values of both: sizes that differ become unknown. `None` where kinds or element
    /// types differ.
    pub fn join(a: &Type, b: &Type) -> Option<Type> {
        Some(match (a, b) {
            (Type::Tensor(a), Type::Tensor(b)) => Type::Tensor(TensorType::join(a, b)?),
            (Type::SparseTensor(a), Type::SparseTensor(b)) => Type::SparseTensor(TensorType::join(a, b)?),
            (Type::Sequence(a), Type::Sequence(b)) => Type::Sequence(Box::new(Type::join(a, b)?)),
            (Type::Optional(a), Type::Optional(b)) => Type::Optional(Box::new(Type::join(a, b)?)),
            (Type::Map { key, value }, Type::Map { key: k, value: v }) if key == k => {
                Type::Map { key: *key, value: Box::new(Type::join(value, v)?) }
            }
            (Type::Opaque { .. }, _) if a == b => a.clone(),
            _ => return None,
        })
    }

    /// What is known when a value has both types: the more telling size of each axis.
    ///
    /// # Errors
    /// Says what contradicts: kinds, element types, ranks or known sizes.
    pub fn meet(a: &Type, b: &Type) -> Result<Type, String> {
        let clash = || Err(format!("{a} and {b} contradict each other"));
        Ok(match (a, b) {
            (Type::Tensor(x), Type::Tensor(y)) => Type::Tensor(TensorType::meet(x, y)?),
            (Type::SparseTensor(x), Type::SparseTensor(y)) => Type::SparseTensor(TensorType::meet(x, y)?),
            (Type::Sequence(x), Type::Sequence(y)) => Type::Sequence(Box::new(Type::meet(x, y)?)),
            (Type::Optional(x), Type::Optional(y)) => Type::Optional(Box::new(Type::meet(x, y)?)),
            (Type::Map { key, value }, Type::Map { key: k, value: v }) if key == k => {
                // Values are single elements, which some writers give the shape [1] and others none.
                let met = Type::meet(value, v).or_else(|why| Type::join(value, v).ok_or(why));
                Type::Map { key: *key, value: Box::new(met?) }
            }
            (Type::Opaque { .. }, Type::Opaque { .. }) if a == b => a.clone(),
            _ => return clash(),
        })
    }

    /// The type with other sizes in the place of symbols; `value` gives `None` for those that stay.
    #[must_use]
    pub fn substitute(&self, value: &dyn Fn(&str) -> Option<Dim>) -> Type {
        let tensor = |t: &TensorType| TensorType {
            dtype: t.dtype,
            shape: t.shape.as_ref().map(|shape| shape.iter().map(|d| d.substitute(value)).collect()),
        };
        match self {
            Type::Tensor(t) => Type::Tensor(tensor(t)),
            Type::SparseTensor(t) => Type::SparseTensor(tensor(t)),
            Type::Sequence(inner) => Type::Sequence(Box::new(inner.substitute(value))),
            Type::Optional(inner) => Type::Optional(Box::new(inner.substitute(value))),
            Type::Map { key, value: inner } => {
                Type::Map { key: *key, value: Box::new(inner.substitute(value)) }
            }
            Type::Opaque { .. } => self.clone(),
        }
    }

    /// Whether a value of type `self` may be used where `other` is asked for; unknown and symbolic sizes
    /// contradict nothing.
    pub fn agrees(&self, other: &Type) -> bool {
        Type::meet(self, other).is_ok()
    }
}

impl TensorType {
    fn join(a: &TensorType, b: &TensorType) -> Option<TensorType> {
        if a.dtype != b.dtype {
            return None;
        }
        let shape = match (&a.shape, &b.shape) {
            (Some(x), Some(y)) if x.len() == y.len() => Some(
                x.iter()
                    .zip(y)
                    .map(|(&x, &y)| if x == y { x } else { Dim::unknown(&format!("join({x:?},{y:?})")) })
                    .collect(),
            ),
            _ => None,
        };
        Some(TensorType { dtype: a.dtype, shape })
    }

    fn meet(a: &TensorType, b: &TensorType) -> Result<TensorType, String> {
        if a.dtype != b.dtype {
            return Err(format!("element types {} and {} differ", a.dtype, b.dtype));
        }
        let shape = match (&a.shape, &b.shape) {
            (Some(x), Some(y)) if x.len() != y.len() => {
                return Err(format!("shapes {} and {} differ in rank", ShownDims(x), ShownDims(y)));
            }
            (Some(x), Some(y)) => {
                let mut met = Dims::new();
                for (&x, &y) in x.iter().zip(y) {
                    met.push(match (x.as_known(), y.as_known()) {
                        (Some(p), Some(q)) if p != q => {
                            return Err(format!(
                                "shapes {} and {} differ",
                                ShownDims(a.shape.as_deref().unwrap_or_default()),
                                ShownDims(b.shape.as_deref().unwrap_or_default())
                            ));
                        }
                        (Some(_), _) => x,
                        (_, Some(_)) => y,
                        _ if x.is_unknown() => y,
                        _ => x,
                    });
                }
                Some(met)
            }
            (known, None) | (None, known) => known.clone(),
        };
        Ok(TensorType { dtype: a.dtype, shape })
    }
}

/// Shows sizes as `[n,3,224,224]`.
pub struct ShownDims<'a>(pub &'a [Dim]);

impl fmt::Display for ShownDims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match dim.is_unknown() {
                true => f.write_str("?")?,
                false => write!(f, "{dim}")?,
            }
        }
        f.write_str("]")
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Some(shape) => write!(f, "{}{}", self.dtype, ShownDims(shape)),
            None => write!(f, "{}[...]", self.dtype),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => write!(f, "{t}"),
            Type::SparseTensor(t) => write!(f, "sparse_tensor({t})"),
            Type::Sequence(t) => write!(f, "seq({t})"),
            Type::Optional(t) => write!(f, "optional({t})"),
            Type::Map { key, value } => write!(f, "map({key}, {value})"),
            Type::Opaque { domain, name } => write!(f, "opaque({domain}, {name})"),
        }
    }
}
