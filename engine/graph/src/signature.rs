use crate::Type;
use oxidane_tensor::DType;
use std::fmt;

/// The formal inputs and outputs of an operator, as its schema has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The inputs in order; a variadic one is the last.
    pub inputs: &'static [Param],
    /// The outputs in order; a variadic one is the last.
    pub outputs: &'static [Param],
}

/// A formal input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name in the schema.
    pub name: &'static str,
    /// The types that it may have.
    pub types: Types,
    /// The type variable: parameters that share one have the same type. Empty for a type of its own.
    pub var: &'static str,
    /// How often it occurs.
    pub arity: Arity,
}

/// How often a formal parameter occurs in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Once.
    One,
    /// Once or not at all.
    Optional,
    /// As often as the call likes but at least so often, all of one type.
    Variadic(usize),
    /// As often as the call likes but at least so often, each of its own type.
    Heterogeneous(usize),
}

/// A set of types: element types for tensors, sequences of tensors and so on. Sizes play no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types {
    tensor: u32,
    sequence: u32,
    optional_tensor: u32,
    optional_sequence: u32,
    sparse: u32,
    /// The value types of maps from strings.
    string_map: u32,
    /// The value types of maps from integers.
    int_map: u32,
    /// Anything else.
    other: bool,
}

impl Types {
    const NONE: Types = Types {
        tensor: 0,
        sequence: 0,
        optional_tensor: 0,
        optional_sequence: 0,
        sparse: 0,
        string_map: 0,
        int_map: 0,
        other: false,
    };

    /// Dense tensors of these element types.
    pub const fn tensors(dtypes: &[DType]) -> Types {
        Types { tensor: bits(dtypes), ..Types::NONE }
    }

    /// Sequences of dense tensors of these element types.
    pub const fn sequences(dtypes: &[DType]) -> Types {
        Types { sequence: bits(dtypes), ..Types::NONE }
    }

    /// Optional tensors of these element types.
    pub const fn optional_tensors(dtypes: &[DType]) -> Types {
        Types { optional_tensor: bits(dtypes), ..Types::NONE }
    }

    /// Optional sequences of tensors of these element types.
    pub const fn optional_sequences(dtypes: &[DType]) -> Types {
        Types { optional_sequence: bits(dtypes), ..Types::NONE }
    }

    /// Maps from strings to tensors of these element types.
    pub const fn string_maps(values: &[DType]) -> Types {
        Types { string_map: bits(values), ..Types::NONE }
    }

    /// Maps from `int64` to tensors of these element types.
    pub const fn int_maps(values: &[DType]) -> Types {
        Types { int_map: bits(values), ..Types::NONE }
    }

    /// Dense tensors of any element type.
    pub const ALL_TENSORS: Types = Types { tensor: u32::MAX, ..Types::NONE };

    /// Anything at all.
    pub const ANY: Types = Types {
        tensor: u32::MAX,
        sequence: u32::MAX,
        optional_tensor: u32::MAX,
        optional_sequence: u32::MAX,
        sparse: u32::MAX,
        string_map: u32::MAX,
        int_map: u32::MAX,
        other: true,
    };

    /// Types without a set of their own, such as sequences of maps.
    pub const OTHER: Types = Types { other: true, ..Types::NONE };

    /// The types in either set.
    pub const fn or(self, other: Types) -> Types {
        Types {
            tensor: self.tensor | other.tensor,
            sequence: self.sequence | other.sequence,
            optional_tensor: self.optional_tensor | other.optional_tensor,
            optional_sequence: self.optional_sequence | other.optional_sequence,
            sparse: self.sparse | other.sparse,
            string_map: self.string_map | other.string_map,
            int_map: self.int_map | other.int_map,
            other: self.other || other.other,
        }
    }

    /// Whether the set has dense tensors of this element type.
    pub fn has_tensor(self, dtype: DType) -> bool {
        self.tensor & bits(&[dtype]) != 0
    }

    /// Whether a type is in the set.
    pub fn contains(self, ty: &Type) -> bool {
        let has = |set: u32, inner: &Type| match inner {
            Type::Tensor(t) => set & bits(&[t.dtype]) != 0,
            _ => self.other,
        };
        match ty {
            Type::Tensor(_) => has(self.tensor, ty),
            Type::SparseTensor(t) => self.sparse & bits(&[t.dtype]) != 0,
            Type::Sequence(inner) => has(self.sequence, inner),
            Type::Optional(inner) => match &**inner {
                Type::Sequence(item) => has(self.optional_sequence, item),
                inner => has(self.optional_tensor, inner),
            },
            Type::Map { key: DType::String, value } => has(self.string_map, value),
            Type::Map { key: DType::I64, value } => has(self.int_map, value),
            Type::Map { .. } | Type::Opaque { .. } => self.other,
        }
    }
}

const fn bits(dtypes: &[DType]) -> u32 {
    let mut set = 0;
    let mut i = 0;
    while i < dtypes.len() {
        set |= 1 << dtypes[i] as u8;
        i += 1;
    }
    set
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (set, before, after) in [
            (self.tensor, "", ""),
            (self.sequence, "seq(", ")"),
            (self.optional_tensor, "optional(", ")"),
            (self.optional_sequence, "optional(seq(", "))"),
            (self.sparse, "sparse_tensor(", ")"),
            (self.string_map, "map(string, ", ")"),
            (self.int_map, "map(int64, ", ")"),
        ] {
            if set == u32::MAX {
                parts.push(format!("{before}any tensor{after}"));
            } else {
                let named = DType::ALL.into_iter().filter(|&d| set & bits(&[d]) != 0);
                parts.extend(named.map(|d| format!("{before}{d}{after}")));
            }
        }
        f.write_str(&parts.join(", "))
    }
}

impl Param {
    /// A parameter that occurs once.
    pub const fn one(name: &'static str, types: Types, var: &'static str) -> Param {
        Param { name, types, var, arity: Arity::One }
    }

    /// A parameter that may be absent.
    pub const fn optional(name: &'static str, types: Types, var: &'static str) -> Param {
        Param { name, types, var, arity: Arity::Optional }
    }

    /// A parameter that repeats, at least `least` times, with one type for all.
    pub const fn variadic(name: &'static str, types: Types, var: &'static str, least: usize) -> Param {
        Param { name, types, var, arity: Arity::Variadic(least) }
    }

    /// A parameter that repeats, at least `least` times, each with a type of its own.
    pub const fn heterogeneous(name: &'static str, types: Types, least: usize) -> Param {
        Param { name, types, var: "", arity: Arity::Heterogeneous(least) }
    }

    fn repeats(&self) -> Option<usize> {
        match self.arity {
            Arity::Variadic(n) | Arity::Heterogeneous(n) => Some(n),
            _ => None,
        }
    }
}

impl Signature {
    /// The formal input of position `index` in a call.
    pub fn input(&self, index: usize) -> Option<&'static Param> {
        formal(self.inputs, index)
    }

    /// The formal output of position `index` in a call.
    pub fn output(&self, index: usize) -> Option<&'static Param> {
        formal(self.outputs, index)
    }

    /// The least and the largest number of inputs that a call may have (`None`: no limit).
    pub fn input_count(&self) -> (usize, Option<usize>) {
        count(self.inputs)
    }

    /// The least and the largest number of outputs that a call may have (`None`: no limit).
    pub fn output_count(&self) -> (usize, Option<usize>) {
        count(self.outputs)
    }
}

fn formal(params: &'static [Param], index: usize) -> Option<&'static Param> {
    params.get(index).or_else(|| params.last().filter(|p| p.repeats().is_some()))
}

fn count(params: &[Param]) -> (usize, Option<usize>) {
    let least = params
        .iter()
        .rposition(|p| !matches!(p.arity, Arity::Optional | Arity::Variadic(0) | Arity::Heterogeneous(0)))
        .map_or(0, |at| at + params[at].repeats().unwrap_or(1));
    let endless = params.last().is_some_and(|p| p.repeats().is_some());
    (least, (!endless).then_some(params.len()))
}
