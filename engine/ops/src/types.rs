//! Sets of types that many schemas share, under the names that the standard's documentation uses.

use oxidane_graph::Types;
use oxidane_tensor::DType::{self, *};

const FLOATS: &[DType] = &[F16, F32, F64, BF16];
const INTEGERS: &[DType] = &[U8, U16, U32, U64, I8, I16, I32, I64];

/// Tensors of any element type.
pub const ALL: Types = Types::ALL_TENSORS;
/// Any value: tensors, sequences, optionals, maps.
pub const ANY: Types = Types::ANY;
/// float16, float, double, bfloat16.
pub const FLOAT: Types = Types::tensors(FLOATS);
/// Integers of 8 to 64 bits, signed and unsigned.
pub const INTEGER: Types = Types::tensors(INTEGERS);
/// Integers of 8 to 64 bits and floats.
pub const NUMERIC: Types = INTEGER.or(FLOAT);
/// Tensors of `int64`.
pub const INT64: Types = Types::tensors(&[I64]);
/// Tensors of `int32` or `int64`, as indices are.
pub const INDEX: Types = Types::tensors(&[I32, I64]);
/// Tensors of `bool`.
pub const BOOL: Types = Types::tensors(&[Bool]);
/// Integers, floats of 16 bits and more, bool, complex numbers and strings: the types of most operators that
/// move elements.
pub const PLAIN: Types = NUMERIC.or(Types::tensors(&[Bool, Complex64, Complex128, String]));
/// Signed integers of 8 to 64 bits and floats.
pub const SIGNED: Types = Types::tensors(&[I8, I16, I32, I64]).or(FLOAT);
/// Integers of 32 and 64 bits and floats, as matrix products and most reductions take them.
pub const ARITHMETIC: Types = Types::tensors(&[I32, I64, U32, U64]).or(FLOAT);
/// What Shrink takes: numbers without bfloat16.
pub const SHRINK: Types = INTEGER.or(Types::tensors(&[F16, F32, F64]));
/// Floats and 8-bit floats, as IsNaN and IsInf take them.
pub const FLOAT_OR_FLOAT8: Types = FLOAT.or(Types::tensors(&[F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ]));
/// The bases of Pow.
pub const POWER: Types = Types::tensors(&[I32, I64]).or(FLOAT);
/// What Equal compares.
pub const COMPARABLE: Types = NUMERIC.or(Types::tensors(&[Bool, String]));
/// What Cast converts: everything but complex numbers.
pub const CASTABLE: Types = COMPARABLE.or(Types::tensors(&[
    F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, U4, I4, F4E2M1, F8E8M0, U2, I2, F6E2M3, F6E3M2,
]));
/// What ReduceMax and ReduceMin take.
pub const EXTREME: Types = ARITHMETIC.or(Types::tensors(&[I8, U8, Bool]));
/// Tensors of `int32`.
pub const INT32: Types = Types::tensors(&[I32]);
/// Tensors of `int8` or `uint8`.
pub const BYTES: Types = Types::tensors(&[I8, U8]);
/// Tensors of `float`.
pub const FLOAT32: Types = Types::tensors(&[F32]);
/// What MaxPool takes: floats and 8-bit integers.
pub const POOLED: Types = FLOAT.or(BYTES);
/// What LayerNormalization gives statistics in.
pub const STATISTICS: Types = Types::tensors(&[F32, BF16]);
/// What Resize takes a region of interest in.
pub const REGION: Types = Types::tensors(&[F16, F32, F64]);
/// Tensors of strings.
pub const STRING: Types = Types::tensors(&[String]);
/// Strings and the integers that stand for them.
pub const STRING_OR_INDEX: Types = INDEX.or(STRING);
/// What the operators of `ai.onnx.ml` compute on: `float`, `double`, `int64`, `int32`.
pub const FEATURES: Types = Types::tensors(&[F32, F64, I64, I32]);
/// [`FEATURES`] and strings.
pub const FEATURES_OR_STRING: Types = FEATURES.or(STRING);
/// Class labels.
pub const LABELS: Types = Types::tensors(&[String, I64]);
/// What LabelEncoder maps from and to.
pub const ENCODED: Types = Types::tensors(&[String, I64, F32, I32, I16, F64]);
/// What TreeEnsemble takes.
pub const TREE_FEATURES: Types = Types::tensors(&[F32, F64, F16]);
/// What CastMap takes.
pub const CASTABLE_MAPS: Types = Types::int_maps(&[String, F32]);
/// What CastMap gives.
pub const MAP_CAST: Types = Types::tensors(&[String, F32, I64]);
/// What DictVectorizer takes.
pub const VECTORIZED_MAPS: Types =
    Types::string_maps(&[I64, F32, F64]).or(Types::int_maps(&[String, F32, F64]));
/// What DictVectorizer gives.
pub const VECTORIZED: Types = Types::tensors(&[I64, F32, F64, String]);
/// Sequences of maps.
pub const MAP_SEQUENCES: Types = Types::OTHER;
