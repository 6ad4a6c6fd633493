use crate::element::complex::Complex;
use crate::float8::{RoundMode, decode_table, encoder};
use crate::{DType, Element, Tensor, TensorError, TensorMut};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::sync::Arc;

/// What ONNX leaves to the attributes of `Cast`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CastRules {
    /// Conversions to 8-bit floats cut what is out of range to the largest number; otherwise it becomes
    /// infinity or NaN.
    pub saturate: bool,
    /// How conversions to `F8E8M0` round.
    pub round: RoundMode,
}

impl Default for CastRules {
    fn default() -> CastRules {
        CastRules { saturate: true, round: RoundMode::Up }
    }
}

/// A type with arithmetic of its own, and its conversions. Floats outside an integer type's range have no
/// value in ONNX; here they become what C's casts give on x86, as in ONNX Runtime and NumPy.
trait Native: Element {
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    /// Integers: the low 32 bits. Floats: truncated, `i32::MIN` where that does not fit.
    fn to_i32(self) -> i32;
    /// As `to_i32` with 64 bits.
    fn to_i64(self) -> i64;
    fn to_u64(self) -> u64;
    fn is_nonzero(self) -> bool;
    fn to_f16(self) -> f16 {
        f16::from_f32(self.to_f32())
    }
    fn to_bf16(self) -> bf16 {
        bf16::from_f32(self.to_f32())
    }
    fn convert<S: Native>(from: S) -> Self;
}

macro_rules! integers {
    ($($t:ty => $method:ident),*) => {$(
        impl Native for $t {
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn to_i32(self) -> i32 {
                self as i32
            }
            fn to_i64(self) -> i64 {
                self as i64
            }
            fn to_u64(self) -> u64 {
                self as u64
            }
            fn is_nonzero(self) -> bool {
                self != 0
            }
            fn convert<S: Native>(from: S) -> $t {
                from.$method() as $t
            }
        }
    )*};
}
integers!(i8 => to_i32, i16 => to_i32, i32 => to_i32, i64 => to_i64, u8 => to_i32, u16 => to_i32,
    u32 => to_i64, u64 => to_u64);

macro_rules! floats {
    ($($t:ty, $wide:ident => $method:ident { $($more:tt)* })*) => {$(
        impl Native for $t {
            fn to_f32(self) -> f32 {
                f32::from_native(self)
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn to_i32(self) -> i32 {
                let x = self.$wide();
                if x > -2_147_483_649.0 && x < 2_147_483_648.0 { x as i32 } else { i32::MIN }
            }
            fn to_i64(self) -> i64 {
                let x = self.$wide();
                if x < 9_223_372_036_854_775_808.0 { if x.is_nan() { i64::MIN } else { x as i64 } } else { i64::MIN }
            }
            fn to_u64(self) -> u64 {
                let x = self.$wide();
                if x >= 18_446_744_073_709_551_616.0 {
                    0
                } else if x >= 9_223_372_036_854_775_808.0 {
                    x as u64
                } else {
                    self.to_i64() as u64
                }
            }
            fn is_nonzero(self) -> bool {
                self.to_f32() != 0.0 || self.to_f64() != 0.0
            }
            fn convert<S: Native>(from: S) -> $t {
                from.$method()
            }
            $($more)*
        }
    )*};
}
floats! {
    f32, to_f64 => to_f32 {}
    f16, to_f32 => to_f16 {}
    bf16, to_f32 => to_bf16 {}
    f64, to_f64 => to_f64 {
        fn to_f16(self) -> f16 {
            f16::from_f64(self)
        }
        fn to_bf16(self) -> bf16 {
            bf16::from_f64(self)
        }
    }
}

/// Rounding to `f32`, which `From` does not offer for `f64`.
trait Narrow<S> {
    fn from_native(x: S) -> Self;
}
impl Narrow<f32> for f32 {
    fn from_native(x: f32) -> f32 {
        x
    }
}
impl Narrow<f64> for f32 {
    fn from_native(x: f64) -> f32 {
        x as f32
    }
}
impl Narrow<f16> for f32 {
    fn from_native(x: f16) -> f32 {
        x.to_f32()
    }
}
impl Narrow<bf16> for f32 {
    fn from_native(x: bf16) -> f32 {
        x.to_f32()
    }
}

/// Runs `$body` with `$t` as the stored type of a dtype that has arithmetic; `$other` for all others.
macro_rules! with_native {
    ($dtype:expr, $t:ident => $body:expr, _ => $other:expr) => {
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::F16 => {
                type $t = f16;
                $body
            }
            DType::BF16 => {
                type $t = bf16;
                $body
            }
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::U8 | DType::Bool => {
                type $t = u8;
                $body
            }
            DType::U16 => {
                type $t = u16;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::U64 => {
                type $t = u64;
                $body
            }
            _ => $other,
        }
    };
}

impl Tensor {
    /// The elements converted to another type by the rules of ONNX `Cast`; the same tensor where the type is
    /// `to` already.
    ///
    /// Floats truncate to integers, integers wrap to narrower ones, everything but zero is true, numbers
    /// print as NumPy prints them (`3.14`, `1e-07`, `NaN`, `INF`), and strings parse as decimal numbers.
    /// Complex numbers convert to each other and to strings, and real ones to complex.
    ///
    /// # Errors
    /// When a string is not a number, a complex number should become real, or there is no memory.
    pub fn cast(&self, to: DType, rules: CastRules) -> Result<Tensor, TensorError> {
        self.cast_into(to, rules, || TensorMut::zeroed(to, self.shape()))
    }

    /// As [`Tensor::cast`]; between numbers as the machine has them the result goes into what `make` gives, which has
    /// the type and this tensor's shape.
    ///
    /// # Errors
    /// As [`Tensor::cast`], when the result does not fit, and those of `make`.
    pub fn cast_into<E: From<TensorError>>(
        &self,
        to: DType,
        rules: CastRules,
        make: impl FnOnce() -> Result<TensorMut, E>,
    ) -> Result<Tensor, E> {
        let from = self.dtype();
        if from == to {
            return Ok(self.clone());
        }
        if from == DType::String {
            return Ok(self.parse_strings(to, rules)?);
        }
        if to == DType::String {
            return Ok(self.print_strings()?);
        }
        if from.is_complex() || to.is_complex() {
            return Ok(self.cast_complex(to, rules)?);
        }
        let native = self.to_native()?;
        if native.dtype() == to {
            return Ok(native);
        }
        if let Some(encode) = encoder(to, rules.saturate, rules.round) {
            return Ok(native.encode(to, encode)?);
        }
        // Their low bits are what packing keeps.
        if matches!(to, DType::U4 | DType::I4 | DType::U2 | DType::I2) {
            let mut bytes = TensorMut::zeroed(DType::U8, self.shape())?;
            native.cast_native(&mut bytes)?;
            return Ok(bytes.freeze().repacked(to)?);
        }
        let mut out = make()?;
        if out.dtype() != to || out.shape() != self.shape() {
            let (shape, found) = (self.shape().to_vec(), out.as_bytes_mut().len());
            return Err(TensorError::Length { dtype: to, shape, needed: self.len(), found }.into());
        }
        native.cast_native(&mut out)?;
        Ok(out.freeze())
    }

    /// The elements as a dense tensor of a type with arithmetic: small integers in 8 bits, small floats as
    /// `F32`, others as they are.
    fn to_native(&self) -> Result<Tensor, TensorError> {
        let dtype = self.dtype();
        if let Some(table) = decode_table(dtype) {
            let codes = self.unpacked()?.to_dense()?;
            let mut out = TensorMut::zeroed(DType::F32, self.shape())?;
            for (x, &code) in out.slice_mut::<f32>()?.iter_mut().zip(codes.slice::<u8>()?) {
                *x = table[usize::from(code)];
            }
            return Ok(out.freeze());
        }
        let codes = self.unpacked()?.to_dense()?;
        let shift = match dtype {
            DType::I4 => 4,
            DType::I2 => 6,
            _ => return Ok(codes),
        };
        let mut out = TensorMut::zeroed(DType::I8, self.shape())?;
        for (x, &code) in out.slice_mut::<i8>()?.iter_mut().zip(codes.slice::<u8>()?) {
            *x = ((code << shift) as i8) >> shift;
        }
        Ok(out.freeze())
    }

    fn encode(&self, to: DType, encode: impl Fn(f64) -> u8) -> Result<Tensor, TensorError> {
        let mut out = TensorMut::zeroed(if to.is_packed() { DType::U8 } else { to }, self.shape())?;
        let target = out.as_bytes_mut();
        with_native!(self.dtype(), S => {
            for (code, &x) in target.iter_mut().zip(self.slice::<S>()?) {
                *code = encode(x.to_f64());
            }
        }, _ => return Err(unsupported(self.dtype(), to)));
        out.freeze().repacked(to)
    }

    /// Between types with arithmetic.
    fn cast_native(&self, out: &mut TensorMut) -> Result<(), TensorError> {
        let to = out.dtype();
        match (self.dtype(), to) {
            (DType::F16, DType::F32) => self.slice::<f16>()?.convert_to_f32_slice(out.slice_mut()?),
            (DType::BF16, DType::F32) => self.slice::<bf16>()?.convert_to_f32_slice(out.slice_mut()?),
            (DType::F32, DType::F16) => out.slice_mut::<f16>()?.convert_from_f32_slice(self.slice()?),
            (DType::F32, DType::BF16) => out.slice_mut::<bf16>()?.convert_from_f32_slice(self.slice()?),
            (from, DType::Bool) => {
                let target = out.slice_mut::<u8>()?;
                with_native!(from, S => {
                    for (y, &x) in target.iter_mut().zip(self.slice::<S>()?) {
                        *y = u8::from(x.is_nonzero());
                    }
                }, _ => return Err(unsupported(from, to)));
            }
            (from, to) => with_native!(to, D => {
                let target = out.slice_mut::<D>()?;
                with_native!(from, S => {
                    for (y, &x) in target.iter_mut().zip(self.slice::<S>()?) {
                        *y = <D as Native>::convert(x);
                    }
                }, _ => return Err(unsupported(from, to)))
            }, _ => return Err(unsupported(from, to))),
        }
        Ok(())
    }

    fn cast_complex(&self, to: DType, rules: CastRules) -> Result<Tensor, TensorError> {
        let dense = self.to_dense()?;
        match (self.dtype(), to) {
            (DType::Complex64, DType::Complex128) => {
                let all = dense.slice::<Complex<f32>>()?.iter();
                let wide: Vec<_> =
                    all.map(|c| Complex { re: f64::from(c.re), im: f64::from(c.im) }).collect();
                Tensor::new(self.shape(), &wide)
            }
            (DType::Complex128, DType::Complex64) => {
                let all = dense.slice::<Complex<f64>>()?.iter();
                let narrow: Vec<_> = all.map(|c| Complex { re: c.re as f32, im: c.im as f32 }).collect();
                Tensor::new(self.shape(), &narrow)
            }
            (from, DType::Complex64) if !from.is_complex() => {
                let real = self.cast(DType::F32, rules)?.to_dense()?;
                let all = real.slice::<f32>()?.iter();
                Tensor::new(self.shape(), &all.map(|&re| Complex { re, im: 0.0 }).collect::<Vec<_>>())
            }
            (from, DType::Complex128) if !from.is_complex() => {
                let real = self.cast(DType::F64, rules)?.to_dense()?;
                let all = real.slice::<f64>()?.iter();
                Tensor::new(self.shape(), &all.map(|&re| Complex { re, im: 0.0 }).collect::<Vec<_>>())
            }
            (from, to) => Err(unsupported(from, to)),
        }
    }

    fn print_strings(&self) -> Result<Tensor, TensorError> {
        let texts = self.to_texts()?.into_iter().map(Arc::from).collect();
        Tensor::from_strings(self.shape(), texts)
    }

    /// The elements as text, in row-major order: numbers as NumPy prints them, except for `NaN` and `INF`.
    ///
    /// # Errors
    /// When there is no memory for the copy.
    pub fn to_texts(&self) -> Result<Vec<String>, TensorError> {
        let dense = self.to_dense()?;
        match self.dtype() {
            DType::String => {
                return Ok(dense.as_strings().unwrap_or_default().iter().map(|s| s.to_string()).collect());
            }
            DType::Complex64 => {
                let all = dense.slice::<Complex<f32>>()?.iter();
                return Ok(all.map(|c| print_complex(print_float(c.re), print_float(c.im))).collect());
            }
            DType::Complex128 => {
                let all = dense.slice::<Complex<f64>>()?.iter();
                return Ok(all.map(|c| print_complex(print_float(c.re), print_float(c.im))).collect());
            }
            DType::Bool => {
                let all = dense.slice::<u8>()?.iter();
                return Ok(all.map(|&b| if b == 0 { "False" } else { "True" }.to_string()).collect());
            }
            _ => {}
        }
        let native = self.to_native()?;
        Ok(match native.dtype() {
            DType::F32 => native.slice::<f32>()?.iter().map(|&x| print_float(x)).collect(),
            DType::F64 => native.slice::<f64>()?.iter().map(|&x| print_float(x)).collect(),
            DType::F16 => native.slice::<f16>()?.iter().map(|&x| print_half(x)).collect(),
            DType::BF16 => native.slice::<bf16>()?.iter().map(|&x| print_half(x)).collect(),
            DType::U64 => native.slice::<u64>()?.iter().map(u64::to_string).collect(),
            _ => native.to_i64s()?.iter().map(i64::to_string).collect(),
        })
    }

    fn parse_strings(&self, to: DType, rules: CastRules) -> Result<Tensor, TensorError> {
        let dense = self.to_dense()?;
        let texts = dense.as_strings().unwrap_or_default();
        let failed = |i: usize| TensorError::Text { text: texts[i].to_string(), at: i, to };
        let parse = |t: &Arc<str>| parse_float(t);
        match to {
            DType::Bool => {
                let parsed = texts.iter().enumerate().map(|(i, t)| match t.trim() {
                    t if t.eq_ignore_ascii_case("true") => Ok(true),
                    t if t.eq_ignore_ascii_case("false") => Ok(false),
                    t => parse_float(t).map(|x: f64| x != 0.0).ok_or_else(|| failed(i)),
                });
                Tensor::from_bools(self.shape(), &parsed.collect::<Result<Vec<_>, _>>()?)
            }
            _ if to.is_integer() => {
                let parsed = texts.iter().enumerate().map(|(i, t)| parse_integer(t).ok_or_else(|| failed(i)));
                let parsed: Vec<i128> = parsed.collect::<Result<_, _>>()?;
                if to == DType::U64 {
                    let wide: Vec<u64> = parsed.iter().map(|&x| x as u64).collect();
                    return Tensor::new(self.shape(), &wide);
                }
                let wide: Vec<i64> = parsed.iter().map(|&x| x as i64).collect();
                Tensor::new(self.shape(), &wide)?.cast(to, rules)
            }
            DType::F32 => {
                let parsed = texts.iter().enumerate().map(|(i, t)| parse(t).ok_or_else(|| failed(i)));
                Tensor::new(self.shape(), &parsed.collect::<Result<Vec<f32>, _>>()?)
            }
            _ => {
                let parsed = texts.iter().enumerate().map(|(i, t)| parse_float(t).ok_or_else(|| failed(i)));
                Tensor::new(self.shape(), &parsed.collect::<Result<Vec<f64>, _>>()?)?.cast(to, rules)
            }
        }
    }

    /// The elements of a numeric or bool tensor as `f64`, in row-major order; 64-bit integers round.
    ///
    /// # Errors
    /// When the type is string or complex, or there is no memory.
    pub fn to_f64s(&self) -> Result<Vec<f64>, TensorError> {
        if self.dtype() == DType::String || self.dtype().is_complex() {
            return Err(TensorError::Type { expected: DType::F64, found: self.dtype() });
        }
        let wide = self.cast(DType::F64, CastRules::default())?.to_dense()?;
        Ok(wide.slice::<f64>()?.to_vec())
    }

    /// A dense tensor of `dtype` from numbers in row-major order, converted as by [`Tensor::cast`].
    ///
    /// # Errors
    /// When the number of values is not that of the shape, or there is no memory.
    pub fn from_f64s(dtype: DType, shape: &[usize], values: &[f64]) -> Result<Tensor, TensorError> {
        Tensor::new(shape, values)?.cast(dtype, CastRules::default())
    }

    /// A dense tensor of `dtype` from integers in row-major order, converted as by [`Tensor::cast`].
    ///
    /// # Errors
    /// When the number of values is not that of the shape, or there is no memory.
    pub fn from_i64s(dtype: DType, shape: &[usize], values: &[i64]) -> Result<Tensor, TensorError> {
        Tensor::new(shape, values)?.cast(dtype, CastRules::default())
    }

    /// The elements of an integer or bool tensor as `i64`, in row-major order: shapes, axes, indices.
    ///
    /// # Errors
    /// When the type is no integer type, a number does not fit, or there is no memory.
    pub fn to_i64s(&self) -> Result<Vec<i64>, TensorError> {
        if !self.dtype().is_integer() && self.dtype() != DType::Bool {
            return Err(TensorError::Type { expected: DType::I64, found: self.dtype() });
        }
        let wide = self.cast(DType::I64, CastRules::default())?.to_dense()?;
        let wide = wide.slice::<i64>()?;
        if self.dtype() == DType::U64
            && let Some(at) = wide.iter().position(|&x| x < 0)
        {
            return Err(TensorError::Text { text: (wide[at] as u64).to_string(), at, to: DType::I64 });
        }
        Ok(wide.to_vec())
    }
}

fn unsupported(from: DType, to: DType) -> TensorError {
    TensorError::Conversion { from, to }
}

/// A decimal number or one of ONNX's names for infinity and NaN, in any case.
fn parse_float<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

/// An integer, or a float that is cut towards zero.
fn parse_integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let float = || text.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| x as i128);
    text.parse::<i128>().ok().or_else(float)
}

trait Printable: Copy + Into<f64> + std::fmt::Display + std::fmt::LowerExp {}
impl Printable for f32 {}
impl Printable for f64 {}

/// The shortest digits that read back as the same number: plain from 1e-4 to 1e16, otherwise scientific with
/// at least two digits of exponent.
fn print_float<T: Printable>(x: T) -> String {
    let wide: f64 = x.into();
    if wide.is_nan() {
        return "NaN".into();
    }
    if wide.is_infinite() {
        return if wide > 0.0 { "INF" } else { "-INF" }.into();
    }
    if wide == 0.0 || (1e-4..1e16).contains(&wide.abs()) {
        let text = x.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, size) = exponent.strip_prefix('-').map_or(("+", exponent), |e| ("-", e));
            format!("{digits}e{sign}{size:0>2}")
        }
        None => text,
    }
}

/// As [`print_float`], with no more digits than a 16-bit float needs to read back the same.
fn print_half<T>(x: T) -> String
where
    T: Copy + PartialEq + Into<f32> + Narrowed,
{
    let wide: f32 = x.into();
    if !wide.is_finite() || wide == 0.0 {
        return print_float(wide);
    }
    let shortest = (0..8).find_map(|digits| {
        let text = format!("{wide:.digits$e}");
        let back: f32 = text.parse().ok()?;
        (T::narrowed(back) == x).then_some(back)
    });
    print_float(shortest.unwrap_or(wide))
}

trait Narrowed {
    fn narrowed(x: f32) -> Self;
}
impl Narrowed for f16 {
    fn narrowed(x: f32) -> f16 {
        f16::from_f32(x)
    }
}
impl Narrowed for bf16 {
    fn narrowed(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
}

fn print_complex(re: String, im: String) -> String {
    let sign = if im.starts_with('-') { "" } else { "+" };
    format!("({re}{sign}{im}j)")
}
