//! Elementwise loops: functions of one input, of two and three with broadcasting.
//!
//! Every output is a dense slice of the whole result. Work is cut into pieces of a fixed number of elements.

use crate::error::check_len;
use crate::lanes::{CHUNK, vectorized};
use crate::walk::{Row, Walk};
use crate::{Function, KernelError, Number, Operand};
use oxidane_pool::Pool;

/// `output[i] = function(input[i])`.
///
/// # Errors
/// When the lengths differ or the function does not exist for the type.
pub fn function<T: Operand>(
    pool: &Pool,
    function: Function,
    input: &[T],
    output: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), &[output.len()])?;
    // Whether the type has the function is known without a single element.
    T::apply(function, &[], &mut [])?;
    pool.for_each_piece(output, CHUNK, |i, piece| {
        let done = T::apply(function, &input[i * CHUNK..][..piece.len()], piece);
        debug_assert!(done.is_ok());
    });
    Ok(())
}

/// `data[i] = function(data[i])`, in place.
///
/// # Errors
/// When the function does not exist for the type.
pub fn function_in_place<T: Operand>(
    pool: &Pool,
    function: Function,
    data: &mut [T],
) -> Result<(), KernelError> {
    T::apply(function, &[], &mut [])?;
    const BLOCK: usize = 1024;
    pool.for_each_piece(data, CHUNK, |_, piece| {
        let mut copy = [T::ZERO; BLOCK];
        for block in piece.chunks_mut(BLOCK) {
            let from = &mut copy[..block.len()];
            from.copy_from_slice(block);
            let done = T::apply(function, from, block);
            debug_assert!(done.is_ok());
        }
    });
    Ok(())
}

/// `output[i] = f(input[i])` for any types.
///
/// # Errors
/// When the lengths differ.
pub fn unary<A: Copy + Sync, B: Send>(
    pool: &Pool,
    input: &[A],
    output: &mut [B],
    f: impl Fn(A) -> B + Sync,
) -> Result<(), KernelError> {
    check_len("input", input.len(), &[output.len()])?;
    pool.for_each_piece(output, CHUNK, |i, piece| {
        let from = &input[i * CHUNK..][..piece.len()];
        vectorized(|| {
            for (y, &x) in piece.iter_mut().zip(from) {
                *y = f(x);
            }
        });
    });
    Ok(())
}

/// `output[i] = f(a[i], b[i])` where both inputs broadcast to the output's shape, for any types.
///
/// # Errors
/// When the shapes do not broadcast, or a slice is not as long as its shape says.
pub fn zip<A: Copy + Sync, B: Copy + Sync, C: Send>(
    pool: &Pool,
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    (output, shape): (&mut [C], &[usize]),
    f: impl Fn(A, B) -> C + Sync,
) -> Result<(), KernelError> {
    let walk = Walk::of([(a.len(), a_shape), (b.len(), b_shape)], (output.len(), shape))?;
    let inner = walk.inner();
    pool.for_each_piece(output, CHUNK, |i, piece| {
        for Row { at, positions: [p, q], len: n } in walk.rows(i * CHUNK, piece.len()) {
            let row = &mut piece[at..at + n];
            vectorized(|| match inner {
                [0, 0] => {
                    let (x, y) = (a[p], b[q]);
                    row.iter_mut().for_each(|z| *z = f(x, y));
                }
                [0, _] => {
                    let x = a[p];
                    row.iter_mut().zip(&b[q..q + n]).for_each(|(z, &y)| *z = f(x, y));
                }
                [_, 0] => {
                    let y = b[q];
                    row.iter_mut().zip(&a[p..p + n]).for_each(|(z, &x)| *z = f(x, y));
                }
                _ => {
                    let both = a[p..p + n].iter().zip(&b[q..q + n]);
                    row.iter_mut().zip(both).for_each(|(z, (&x, &y))| *z = f(x, y));
                }
            });
        }
    });
    Ok(())
}

/// A function of two numbers of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a b.
    Mul,
    /// a / b, truncated for integers; an integer divided by zero is an error.
    Div,
    /// The remainder with the sign of b (`Mod` with `fmod` 0); as for `Div` for zero.
    Mod,
    /// The remainder with the sign of a (`Mod` with `fmod` 1); as for `Div` for zero.
    Fmod,
    /// a to the power b; see [`pow`] for an exponent of another type.
    Pow,
    /// The larger one; NaN where one is NaN.
    Max,
    /// The smaller one; NaN where one is NaN.
    Min,
    /// a above 0, otherwise a times the slope b (`PRelu`).
    PRelu,
    /// a, unless the value of the gradient's mask b is not above 0: then 0.
    Gate,
}

/// `output[i] = operator(a[i], b[i])` where both inputs broadcast to the output's shape.
///
/// # Errors
/// When the shapes do not broadcast, a slice is not as long as its shape says, or an integer is divided by zero.
pub fn binary<T: Number>(
    pool: &Pool,
    operator: Binary,
    a: (&[T], &[usize]),
    b: (&[T], &[usize]),
    output: (&mut [T], &[usize]),
) -> Result<(), KernelError> {
    if !T::FLOAT
        && matches!(operator, Binary::Div | Binary::Mod | Binary::Fmod)
        && !output.0.is_empty()
        && let Some(at) = b.0.iter().position(|&x| x == T::ZERO)
    {
        return Err(KernelError::DivisionByZero { at });
    }
    match operator {
        Binary::Add => zip(pool, a, b, output, T::plus),
        Binary::Sub => zip(pool, a, b, output, T::minus),
        Binary::Mul => zip(pool, a, b, output, T::times),
        Binary::Div => zip(pool, a, b, output, T::over),
        Binary::Mod => zip(pool, a, b, output, T::modulo),
        Binary::Fmod => zip(pool, a, b, output, T::remainder),
        Binary::Pow => pow(pool, a, b, output),
        Binary::Max => zip(pool, a, b, output, T::larger),
        Binary::Min => zip(pool, a, b, output, T::smaller),
        Binary::PRelu => zip(pool, a, b, output, |x, s| if x < T::ZERO { x.times(s) } else { x }),
        Binary::Gate => zip(pool, a, b, output, |x, m| if m > T::ZERO { x } else { T::ZERO }),
    }
}

/// `output[i] = a[i] ^ b[i]`, base and exponent of any two types, the result of the base's type.
///
/// # Errors
/// As [`binary`].
pub fn pow<T: Number, E: Number>(
    pool: &Pool,
    a: (&[T], &[usize]),
    b: (&[E], &[usize]),
    output: (&mut [T], &[usize]),
) -> Result<(), KernelError> {
    // Squares and cubes, the commonest powers by far, need no logarithm.
    if b.0.len() == 1 && b.0[0].to_f64() == 2.0 {
        return zip(pool, a, b, output, |x, _| x.times(x));
    }
    if b.0.len() == 1 && b.0[0].to_f64() == 3.0 {
        return zip(pool, a, b, output, |x, _| x.times(x).times(x));
    }
    if T::FLOAT && b.0.len() == 1 && b.0[0].to_f64() == 0.5 {
        return zip(pool, a, b, output, |x, _| T::from_f64(x.to_f64().powf(0.5)));
    }
    if !T::FLOAT && !E::FLOAT {
        return zip(pool, a, b, output, |x, e| {
            let e = e.to_f64();
            match T::from_f64(e) {
                small if small.to_f64() == e => x.power(small),
                // An exponent that the base's type cannot hold: only 0, 1 and -1 have such powers.
                _ => T::from_f64(x.to_f64().powf(e)),
            }
        });
    }
    zip(pool, a, b, output, |x, e| T::from_f64(x.to_f64().powf(e.to_f64())))
}

/// A comparison of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// a = b.
    Equal,
    /// a < b.
    Less,
    /// a <= b.
    LessOrEqual,
    /// a > b.
    Greater,
    /// a >= b.
    GreaterOrEqual,
}

/// `output[i] = 1` where the comparison holds, otherwise 0; both inputs broadcast to the output's shape. NaN
/// compares false. Works for strings too ([`zip`] asks for `Copy`: give `&str`).
///
/// # Errors
/// When the shapes do not broadcast, or a slice is not as long as its shape says.
pub fn compare<T: PartialOrd + Copy + Sync>(
    pool: &Pool,
    comparison: Comparison,
    a: (&[T], &[usize]),
    b: (&[T], &[usize]),
    output: (&mut [u8], &[usize]),
) -> Result<(), KernelError> {
    match comparison {
        Comparison::Equal => zip(pool, a, b, output, |x, y| u8::from(x == y)),
        Comparison::Less => zip(pool, a, b, output, |x, y| u8::from(x < y)),
        Comparison::LessOrEqual => zip(pool, a, b, output, |x, y| u8::from(x <= y)),
        Comparison::Greater => zip(pool, a, b, output, |x, y| u8::from(x > y)),
        Comparison::GreaterOrEqual => zip(pool, a, b, output, |x, y| u8::from(x >= y)),
    }
}

/// A function of the bits of two integers; on bools (0 and 1) these are the logical operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bitwise {
    /// Both.
    And,
    /// Either.
    Or,
    /// One of them only.
    Xor,
    /// a shifted towards higher bits by b; 0 where b is the width or more.
    ShiftLeft,
    /// a shifted towards lower bits by b, filled with copies of the sign; 0 or -1 where b is the width or more.
    ShiftRight,
}

/// Integers, as rows of bits.
pub trait Bits: Number {
    /// The operator's result.
    fn bitwise(self, operator: Bitwise, other: Self) -> Self;
    /// Every bit turned over.
    fn complement(self) -> Self;
}

macro_rules! bits {
    ($($t:ty),*) => {$(
        impl Bits for $t {
            #[inline(always)]
            fn bitwise(self, operator: Bitwise, other: $t) -> $t {
                let by = || u32::try_from(other).unwrap_or(u32::MAX);
                match operator {
                    Bitwise::And => self & other,
                    Bitwise::Or => self | other,
                    Bitwise::Xor => self ^ other,
                    Bitwise::ShiftLeft => self.checked_shl(by()).unwrap_or(0),
                    // Past the width only copies of the sign are left.
                    Bitwise::ShiftRight => self.checked_shr(by()).unwrap_or((self >> (<$t>::BITS - 1)) >> 1),
                }
            }
            #[inline(always)]
            fn complement(self) -> $t {
                !self
            }
        }
    )*};
}
bits!(i8, i16, i32, i64, u8, u16, u32, u64);

/// `output[i] = operator(a[i], b[i])` on bits; both inputs broadcast to the output's shape.
///
/// # Errors
/// When the shapes do not broadcast, or a slice is not as long as its shape says.
pub fn bitwise<T: Bits>(
    pool: &Pool,
    operator: Bitwise,
    a: (&[T], &[usize]),
    b: (&[T], &[usize]),
    output: (&mut [T], &[usize]),
) -> Result<(), KernelError> {
    match operator {
        Bitwise::And => zip(pool, a, b, output, |x, y| x.bitwise(Bitwise::And, y)),
        Bitwise::Or => zip(pool, a, b, output, |x, y| x.bitwise(Bitwise::Or, y)),
        Bitwise::Xor => zip(pool, a, b, output, |x, y| x.bitwise(Bitwise::Xor, y)),
        Bitwise::ShiftLeft => zip(pool, a, b, output, |x, y| x.bitwise(Bitwise::ShiftLeft, y)),
        Bitwise::ShiftRight => zip(pool, a, b, output, |x, y| x.bitwise(Bitwise::ShiftRight, y)),
    }
}

/// `output[i] = !input[i]`: every bit turned over (`BitwiseNot`). For bools see [`not`].
///
/// # Errors
/// When the lengths differ.
pub fn complement<T: Bits>(pool: &Pool, input: &[T], output: &mut [T]) -> Result<(), KernelError> {
    unary(pool, input, output, T::complement)
}

/// `output[i]` is 1 where `input[i]` is 0, otherwise 0 (`Not`).
///
/// # Errors
/// When the lengths differ.
pub fn not(pool: &Pool, input: &[u8], output: &mut [u8]) -> Result<(), KernelError> {
    unary(pool, input, output, |x| u8::from(x == 0))
}

/// `output[i]` is 1 where `input[i]` is NaN, otherwise 0.
///
/// # Errors
/// When the lengths differ.
pub fn is_nan<T: Number>(pool: &Pool, input: &[T], output: &mut [u8]) -> Result<(), KernelError> {
    unary(pool, input, output, |x| u8::from(x.is_nan()))
}

/// `output[i]` is 1 where `input[i]` is an infinity of a sign that is asked for, otherwise 0.
///
/// # Errors
/// When the lengths differ.
pub fn is_inf<T: Number>(
    pool: &Pool,
    (positive, negative): (bool, bool),
    input: &[T],
    output: &mut [u8],
) -> Result<(), KernelError> {
    unary(pool, input, output, |x| {
        u8::from(T::FLOAT && ((positive && x == T::HIGHEST) || (negative && x == T::LOWEST)))
    })
}

/// `output[i] = input[i]` cut to the range from `min` to `max`; where `min` lies above `max`, the result is
/// `max`. NaN stays; `None` is no bound.
///
/// # Errors
/// When the lengths differ.
pub fn clip<T: Number>(
    pool: &Pool,
    (min, max): (Option<T>, Option<T>),
    input: &[T],
    output: &mut [T],
) -> Result<(), KernelError> {
    let (min, max) = (min.unwrap_or(T::LOWEST), max.unwrap_or(T::HIGHEST));
    unary(pool, input, output, |x| {
        let x = if x < min { min } else { x };
        if x > max { max } else { x }
    })
}

/// `output[i] = if condition[i] is not 0 { a[i] } else { b[i] }`, all broadcast to the output's shape (`Where`).
/// For elements of any kind, strings included.
///
/// # Errors
/// When the shapes do not broadcast, or a slice is not as long as its shape says.
pub fn select<T: Clone + Send + Sync>(
    pool: &Pool,
    (condition, condition_shape): (&[u8], &[usize]),
    (a, a_shape): (&[T], &[usize]),
    (b, b_shape): (&[T], &[usize]),
    (output, shape): (&mut [T], &[usize]),
) -> Result<(), KernelError> {
    let inputs = [(condition.len(), condition_shape), (a.len(), a_shape), (b.len(), b_shape)];
    let walk = Walk::of(inputs, (output.len(), shape))?;
    let [c_step, a_step, b_step] = walk.inner();
    pool.for_each_piece(output, CHUNK, |i, piece| {
        for Row { at, positions: [c, p, q], len: n } in walk.rows(i * CHUNK, piece.len()) {
            let row = &mut piece[at..at + n];
            if c_step == 0 {
                let (from, step, start) = if condition[c] != 0 { (a, a_step, p) } else { (b, b_step, q) };
                if step == 0 {
                    row.fill(from[start].clone());
                } else {
                    row.clone_from_slice(&from[start..start + n]);
                }
            } else if a_step == 1 && b_step == 1 {
                let both = a[p..p + n].iter().zip(&b[q..q + n]);
                for ((z, &c), (x, y)) in row.iter_mut().zip(&condition[c..c + n]).zip(both) {
                    *z = if c != 0 { x } else { y }.clone();
                }
            } else {
                for (j, (z, &c)) in row.iter_mut().zip(&condition[c..c + n]).enumerate() {
                    *z = if c != 0 { &a[p + j * a_step] } else { &b[q + j * b_step] }.clone();
                }
            }
        }
    });
    Ok(())
}

/// Copies `input` broadcast to the output's shape (`Expand`). For elements of any kind.
///
/// # Errors
/// When the shapes do not broadcast, or a slice is not as long as its shape says.
pub fn expand<T: Clone + Send + Sync>(
    pool: &Pool,
    (input, input_shape): (&[T], &[usize]),
    (output, shape): (&mut [T], &[usize]),
) -> Result<(), KernelError> {
    let walk = Walk::of([(input.len(), input_shape)], (output.len(), shape))?;
    let [step] = walk.inner();
    pool.for_each_piece(output, CHUNK, |i, piece| {
        for Row { at, positions: [p], len: n } in walk.rows(i * CHUNK, piece.len()) {
            let row = &mut piece[at..at + n];
            if step == 0 {
                row.fill(input[p].clone());
            } else {
                row.clone_from_slice(&input[p..p + n]);
            }
        }
    });
    Ok(())
}
