use crate::DType;
use half::{bf16, f16};

/// Complex numbers as pairs, laid out as ONNX stores them.
pub mod complex {
    /// A complex number: real and imaginary part.
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    #[repr(C)]
    pub struct Complex<T> {
        /// Real part.
        pub re: T,
        /// Imaginary part.
        pub im: T,
    }
    // SAFETY: two fields of one plain type, `repr(C)`, hence no padding and every bit pattern valid.
    unsafe impl<T: bytemuck::Zeroable> bytemuck::Zeroable for Complex<T> {}
    // SAFETY: as above.
    unsafe impl<T: bytemuck::Pod> bytemuck::Pod for Complex<T> {}
}

/// A Rust type that one [`DType`] is stored as. `bool` is stored as `u8` in bytes that are zero or one;
/// the 8-bit floats and packed types have no arithmetic type of their own and go through conversions.
pub trait Element: bytemuck::Pod + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The element type whose tensors [`crate::Tensor::new`] makes of this type.
    const DTYPE: DType;

    /// Whether a tensor of `dtype` may be read as slices of this type.
    fn reads(dtype: DType) -> bool {
        dtype == Self::DTYPE
    }
}

macro_rules! elements {
    ($($t:ty => $d:ident),* $(,)?) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
        }
    )*};
}
elements!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u16 => U16, u32 => U32, u64 => U64, complex::Complex<f32> => Complex64, complex::Complex<f64> => Complex128);

impl Element for u8 {
    const DTYPE: DType = DType::U8;

    /// Bytes also read bool and the raw codes of the 8-bit floats.
    fn reads(dtype: DType) -> bool {
        dtype.bits() == 8 && dtype != DType::I8
    }
}
