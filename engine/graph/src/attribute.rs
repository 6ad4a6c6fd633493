use crate::{OpError, Type};
use indexmap::IndexMap;
use oxidane_tensor::{DType, Tensor};
use std::sync::Arc;

/// A tensor given by its non-zero elements.
#[derive(Debug, Clone)]
pub struct SparseTensor {
    /// The non-zero elements, rank 1.
    pub values: Tensor,
    /// Their places: linear (rank 1) or one row of coordinates each (rank 2), `int64`.
    pub indices: Tensor,
    /// The sizes of the dense tensor.
    pub shape: Vec<i64>,
}

/// The value of an attribute in ONNX's terms. Graphs are not here: a node keeps them as its bodies.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// A float.
    Float(f32),
    /// An integer.
    Int(i64),
    /// Bytes, by convention UTF-8.
    String(Arc<[u8]>),
    /// A tensor.
    Tensor(Tensor),
    /// A sparse tensor.
    SparseTensor(Box<SparseTensor>),
    /// A type.
    Type(Type),
    /// A list of floats.
    Floats(Vec<f32>),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of strings.
    Strings(Vec<Arc<[u8]>>),
    /// A list of tensors.
    Tensors(Vec<Tensor>),
    /// A list of sparse tensors.
    SparseTensors(Vec<SparseTensor>),
    /// A list of types.
    Types(Vec<Type>),
}

impl Attribute {
    /// A string attribute.
    pub fn string(text: &str) -> Attribute {
        Attribute::String(Arc::from(text.as_bytes()))
    }

    /// What kind of value it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Attribute::Float(_) => "float",
            Attribute::Int(_) => "int",
            Attribute::String(_) => "string",
            Attribute::Tensor(_) => "tensor",
            Attribute::SparseTensor(_) => "sparse tensor",
            Attribute::Type(_) => "type",
            Attribute::Floats(_) => "list of floats",
            Attribute::Ints(_) => "list of ints",
            Attribute::Strings(_) => "list of strings",
            Attribute::Tensors(_) => "list of tensors",
            Attribute::SparseTensors(_) => "list of sparse tensors",
            Attribute::Types(_) => "list of types",
        }
    }
}

/// Equality by content, floats and tensors by their bits.
impl PartialEq for Attribute {
    fn eq(&self, other: &Attribute) -> bool {
        let bits = |v: &[f32]| v.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
        let sparse = |a: &SparseTensor, b: &SparseTensor| {
            a.shape == b.shape && same_tensor(&a.values, &b.values) && same_tensor(&a.indices, &b.indices)
        };
        match (self, other) {
            (Attribute::Float(a), Attribute::Float(b)) => a.to_bits() == b.to_bits(),
            (Attribute::Int(a), Attribute::Int(b)) => a == b,
            (Attribute::String(a), Attribute::String(b)) => a == b,
            (Attribute::Tensor(a), Attribute::Tensor(b)) => same_tensor(a, b),
            (Attribute::SparseTensor(a), Attribute::SparseTensor(b)) => sparse(a, b),
            (Attribute::Type(a), Attribute::Type(b)) => a == b,
            (Attribute::Floats(a), Attribute::Floats(b)) => bits(a) == bits(b),
            (Attribute::Ints(a), Attribute::Ints(b)) => a == b,
            (Attribute::Strings(a), Attribute::Strings(b)) => a == b,
            (Attribute::Tensors(a), Attribute::Tensors(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_tensor(a, b))
            }
            (Attribute::SparseTensors(a), Attribute::SparseTensors(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| sparse(a, b))
            }
            (Attribute::Types(a), Attribute::Types(b)) => a == b,
            _ => false,
        }
    }
}

/// Whether two tensors have the same type, shape and bits.
pub fn same_tensor(a: &Tensor, b: &Tensor) -> bool {
    if a.dtype() != b.dtype() || a.shape() != b.shape() {
        return false;
    }
    if let (Some(a), Some(b)) = (a.dense_bytes(), b.dense_bytes()) {
        return (std::ptr::eq(a, b)) || a == b;
    }
    match (a.to_dense(), b.to_dense()) {
        (Ok(a), Ok(b)) => match (a.as_strings(), b.as_strings()) {
            (Some(a), Some(b)) => a == b,
            _ => a.dense_bytes() == b.dense_bytes(),
        },
        _ => false,
    }
}

/// Attributes by name, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes(IndexMap<Arc<str>, Attribute>);

impl Attributes {
    /// No attributes.
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// Adds or replaces one, and gives the attributes back, for chaining.
    pub fn with(mut self, name: &str, value: impl AttributeValue) -> Attributes {
        self.set(name, value);
        self
    }

    /// Adds or replaces one; `None` values remove it.
    pub fn set(&mut self, name: &str, value: impl AttributeValue) {
        match value.to_attribute() {
            Some(value) => drop(self.0.insert(Arc::from(name), value)),
            None => drop(self.0.shift_remove(name)),
        }
    }

    /// The attribute of a name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    /// Removes an attribute and gives it back.
    pub fn take(&mut self, name: &str) -> Option<Attribute> {
        self.0.shift_remove(name)
    }

    /// The value of a name as a Rust type; `None` where it is absent.
    ///
    /// # Errors
    /// When it is there but of another kind.
    pub fn value<T: AttributeValue>(&self, name: &str) -> Result<Option<T>, OpError> {
        let Some(attribute) = self.get(name) else { return Ok(None) };
        match T::from_attribute(attribute) {
            Some(value) => Ok(Some(value)),
            None => Err(OpError::new(format!(
                "attribute `{name}` is a {}, but must be a {}",
                attribute.kind(),
                T::KIND
            ))),
        }
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A Rust type that an attribute can be read as and written from.
pub trait AttributeValue: Sized {
    /// The kind in words, for errors.
    const KIND: &'static str;
    /// The value, where the attribute is of the right kind.
    fn from_attribute(attribute: &Attribute) -> Option<Self>;
    /// The attribute; `None` where it is to be left out.
    fn to_attribute(&self) -> Option<Attribute>;
}

macro_rules! attribute_values {
    ($($t:ty, $kind:literal, $from:pat => $value:expr, $self:ident => $to:expr;)*) => {$(
        impl AttributeValue for $t {
            const KIND: &'static str = $kind;
            fn from_attribute(attribute: &Attribute) -> Option<Self> {
                match attribute { $from => $value, _ => None }
            }
            fn to_attribute(&self) -> Option<Attribute> {
                let $self = self;
                Some($to)
            }
        }
    )*};
}

attribute_values! {
    f32, "float", Attribute::Float(v) => Some(*v), s => Attribute::Float(*s);
    i64, "int", Attribute::Int(v) => Some(*v), s => Attribute::Int(*s);
    bool, "int (0 or 1)", Attribute::Int(v) => Some(*v != 0), s => Attribute::Int(i64::from(*s));
    DType, "int (an element type's code)",
        Attribute::Int(v) => i32::try_from(*v).ok().and_then(DType::from_onnx),
        s => Attribute::Int(i64::from(s.to_onnx()));
    String, "string (UTF-8)",
        Attribute::String(v) => std::str::from_utf8(v).ok().map(str::to_owned), s => Attribute::string(s);
    Tensor, "tensor", Attribute::Tensor(v) => Some(v.clone()), s => Attribute::Tensor(s.clone());
    SparseTensor, "sparse tensor",
        Attribute::SparseTensor(v) => Some((**v).clone()), s => Attribute::SparseTensor(Box::new(s.clone()));
    Type, "type", Attribute::Type(v) => Some(v.clone()), s => Attribute::Type(s.clone());
    Vec<f32>, "list of floats", Attribute::Floats(v) => Some(v.clone()), s => Attribute::Floats(s.clone());
    Vec<i64>, "list of ints", Attribute::Ints(v) => Some(v.clone()), s => Attribute::Ints(s.clone());
    Vec<String>, "list of strings (UTF-8)",
        Attribute::Strings(v) => v.iter().map(|s| std::str::from_utf8(s).ok().map(str::to_owned)).collect(),
        s => Attribute::Strings(s.iter().map(|s| Arc::from(s.as_bytes())).collect());
    Vec<Tensor>, "list of tensors", Attribute::Tensors(v) => Some(v.clone()), s => Attribute::Tensors(s.clone());
}

impl AttributeValue for Attribute {
    const KIND: &'static str = "value";
    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        Some(attribute.clone())
    }
    fn to_attribute(&self) -> Option<Attribute> {
        Some(self.clone())
    }
}

impl<T: AttributeValue> AttributeValue for Option<T> {
    const KIND: &'static str = T::KIND;
    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        T::from_attribute(attribute).map(Some)
    }
    fn to_attribute(&self) -> Option<Attribute> {
        self.as_ref()?.to_attribute()
    }
}
