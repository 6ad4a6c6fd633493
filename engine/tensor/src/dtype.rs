use std::fmt;

/// An ONNX element type. The discriminants are ONNX's own codes (`TensorProto.DataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// 32-bit IEEE float.
    F32 = 1,
    /// 8-bit unsigned integer.
    U8 = 2,
    /// 8-bit signed integer.
    I8 = 3,
    /// 16-bit unsigned integer.
    U16 = 4,
    /// 16-bit signed integer.
    I16 = 5,
    /// 32-bit signed integer.
    I32 = 6,
    /// 64-bit signed integer.
    I64 = 7,
    /// UTF-8 text.
    String = 8,
    /// One byte, zero or one.
    Bool = 9,
    /// 16-bit IEEE float.
    F16 = 10,
    /// 64-bit IEEE float.
    F64 = 11,
    /// 32-bit unsigned integer.
    U32 = 12,
    /// 64-bit unsigned integer.
    U64 = 13,
    /// Two 32-bit floats, real then imaginary.
    Complex64 = 14,
    /// Two 64-bit floats, real then imaginary.
    Complex128 = 15,
    /// The upper half of a 32-bit float.
    BF16 = 16,
    /// 8-bit float, 4 exponent and 3 mantissa bits, no infinity.
    F8E4M3FN = 17,
    /// As `F8E4M3FN`, without negative zero, bias 8.
    F8E4M3FNUZ = 18,
    /// 8-bit float, 5 exponent and 2 mantissa bits, with infinities.
    F8E5M2 = 19,
    /// As `F8E5M2`, without infinities and negative zero, bias 16.
    F8E5M2FNUZ = 20,
    /// 4-bit unsigned integer, two in a byte, low half first.
    U4 = 21,
    /// 4-bit signed integer, two in a byte, low half first.
    I4 = 22,
    /// 4-bit float, 2 exponent bits and 1 mantissa bit, two in a byte.
    F4E2M1 = 23,
    /// 8-bit power of two, the scale of microscaling formats.
    F8E8M0 = 24,
    /// 2-bit unsigned integer, four in a byte.
    U2 = 25,
    /// 2-bit signed integer, four in a byte.
    I2 = 26,
    /// 6-bit float, 2 exponent and 3 mantissa bits, four in three bytes.
    F6E2M3 = 27,
    /// 6-bit float, 3 exponent and 2 mantissa bits, four in three bytes.
    F6E3M2 = 28,
}

impl DType {
    /// Every element type, in the order of ONNX's codes.
    pub const ALL: [DType; 28] = [
        DType::F32,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::String,
        DType::Bool,
        DType::F16,
        DType::F64,
        DType::U32,
        DType::U64,
        DType::Complex64,
        DType::Complex128,
        DType::BF16,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::U4,
        DType::I4,
        DType::F4E2M1,
        DType::F8E8M0,
        DType::U2,
        DType::I2,
        DType::F6E2M3,
        DType::F6E3M2,
    ];

    /// The type of an ONNX code, or `None` where the standard has none.
    pub fn from_onnx(code: i32) -> Option<DType> {
        usize::try_from(code).ok()?.checked_sub(1).and_then(|i| DType::ALL.get(i).copied())
    }

    /// ONNX's code of this type.
    pub fn to_onnx(self) -> i32 {
        self as i32
    }

    /// The name in ONNX's text syntax: `float`, `int64`, `bfloat16`, ...
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "float",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::U16 => "uint16",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::String => "string",
            DType::Bool => "bool",
            DType::F16 => "float16",
            DType::F64 => "double",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::Complex64 => "complex64",
            DType::Complex128 => "complex128",
            DType::BF16 => "bfloat16",
            DType::F8E4M3FN => "float8e4m3fn",
            DType::F8E4M3FNUZ => "float8e4m3fnuz",
            DType::F8E5M2 => "float8e5m2",
            DType::F8E5M2FNUZ => "float8e5m2fnuz",
            DType::U4 => "uint4",
            DType::I4 => "int4",
            DType::F4E2M1 => "float4e2m1",
            DType::F8E8M0 => "float8e8m0",
            DType::U2 => "uint2",
            DType::I2 => "int2",
            DType::F6E2M3 => "float6e2m3",
            DType::F6E3M2 => "float6e3m2",
        }
    }

    /// The type of a name in ONNX's text syntax.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Bits of one element; 0 for strings, whose elements have no fixed size.
    pub fn bits(self) -> usize {
        match self {
            DType::String => 0,
            DType::U2 | DType::I2 => 2,
            DType::U4 | DType::I4 | DType::F4E2M1 => 4,
            DType::F6E2M3 | DType::F6E3M2 => 6,
            DType::U8
            | DType::I8
            | DType::Bool
            | DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ
            | DType::F8E8M0 => 8,
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 16,
            DType::F32 | DType::I32 | DType::U32 => 32,
            DType::F64 | DType::I64 | DType::U64 | DType::Complex64 => 64,
            DType::Complex128 => 128,
        }
    }

    /// Whether several elements share a byte.
    pub fn is_packed(self) -> bool {
        matches!(self.bits(), 2 | 4 | 6)
    }

    /// Bytes that `count` elements take, packed types rounded up; `None` on overflow.
    /// Strings count as nothing here: their bytes live elsewhere.
    pub fn byte_len(self, count: usize) -> Option<usize> {
        match self.bits() {
            bits if bits >= 8 => count.checked_mul(bits / 8),
            bits => count.checked_mul(bits).map(|b| b.div_ceil(8)),
        }
    }

    /// Any floating-point type, the 4- to 8-bit ones included.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            DType::F16
                | DType::F32
                | DType::F64
                | DType::BF16
                | DType::F8E4M3FN
                | DType::F8E4M3FNUZ
                | DType::F8E5M2
                | DType::F8E5M2FNUZ
                | DType::F8E8M0
                | DType::F4E2M1
                | DType::F6E2M3
                | DType::F6E3M2
        )
    }

    /// Any integer type, signed or unsigned; not bool.
    pub fn is_integer(self) -> bool {
        self.is_signed_integer() || self.is_unsigned_integer()
    }

    /// A signed integer type of any width.
    pub fn is_signed_integer(self) -> bool {
        matches!(self, DType::I2 | DType::I4 | DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// An unsigned integer type of any width.
    pub fn is_unsigned_integer(self) -> bool {
        matches!(self, DType::U2 | DType::U4 | DType::U8 | DType::U16 | DType::U32 | DType::U64)
    }

    /// One of the two complex types.
    pub fn is_complex(self) -> bool {
        matches!(self, DType::Complex64 | DType::Complex128)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
