//! Dispatch from an element type to the Rust type that stores it.

/// Runs an expression with `$T` as the Rust type of `$dtype`, which is one of `float`, `integer` or `number`;
/// any other type is an error that names it.
macro_rules! by_type {
    ($dtype:expr, float $T:ident => $body:expr) => {
        $crate::math::by_type::by_type!(@ $dtype, $T => $body,
            F32 f32, F64 f64, F16 half::f16, BF16 half::bf16)
    };
    ($dtype:expr, integer $T:ident => $body:expr) => {
        $crate::math::by_type::by_type!(@ $dtype, $T => $body,
            I64 i64, I32 i32, I16 i16, I8 i8, U64 u64, U32 u32, U16 u16, U8 u8)
    };
    ($dtype:expr, number $T:ident => $body:expr) => {
        $crate::math::by_type::by_type!(@ $dtype, $T => $body,
            F32 f32, F64 f64, F16 half::f16, BF16 half::bf16,
            I64 i64, I32 i32, I16 i16, I8 i8, U64 u64, U32 u32, U16 u16, U8 u8)
    };
    (@ $dtype:expr, $T:ident => $body:expr, $($d:ident $t:ty),*) => {
        match $dtype {
            $(oxidane_tensor::DType::$d => {
                type $T = $t;
                $body
            })*
            other => Err(oxidane_graph::OpError::unsupported(format!("there is no kernel for {other}"))),
        }
    };
}
pub(crate) use by_type;
