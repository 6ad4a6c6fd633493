//! Elementwise loops: functions of one input, of two and three with broadcasting.
//!
//! Every output is a dense slice of the whole result. Work is cut into pieces of a fixed number of elements.

use crate::error::check_len;
use crate::lanes::CHUNK;
use crate::number::{BLOCK, vectorized_for};
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
    pool.for_each_piece(data, CHUNK, |_, piece| {
        let done = T::apply_in_place(function, piece);
        debug_assert!(done.is_ok());
    });
    Ok(())
}

/// `output[i] = f(input[i])` for any types.
///
/// # Errors
/// When the lengths differ.
fn unary<A: Copy + Sync, B: Send>(
    pool: &Pool,
    input: &[A],
    output: &mut [B],
    f: impl Fn(A) -> B + Sync,
) -> Result<(), KernelError> {
    check_len("input", input.len(), &[output.len()])?;
    pool.for_each_piece(output, CHUNK, |i, piece| {
        for (y, &x) in piece.iter_mut().zip(&input[i * CHUNK..]) {
            *y = f(x);
        }
    });
    Ok(())
}

/// Gives `work` every stretch of the output with what belongs to it of each input, which broadcast to the output's
/// shape: as many elements, or a single one where the input stands still.
fn rows<A: Copy + Sync, B: Copy + Sync, C: Send>(
    pool: &Pool,
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    (output, shape): (&mut [C], &[usize]),
    work: impl Fn(&[A], &[B], &mut [C]) + Sync,
) -> Result<(), KernelError> {
    let walk = Walk::of([(a.len(), a_shape), (b.len(), b_shape)], (output.len(), shape))?;
    if let Some((walk, period, [repeats_a, repeats_b])) = walk.periodic() {
        let [a_step, b_step] = walk.inner();
        pool.for_each_piece(output, CHUNK, |i, piece| {
            for Row { at, positions: [p, q], along, len } in walk.rows(i * CHUNK, piece.len()) {
                let many = Repeated::<A>::of(&a[p..], period, repeats_a);
                let more = Repeated::<B>::of(&b[q..], period, repeats_b);
                let most = PERIODS / period * period;
                let mut done = 0;
                while done < len {
                    let phase = (along + done) % period;
                    let n = (most - phase).min(len - done);
                    let x = many.part(&a[p..], a_step, phase, done, n);
                    let y = more.part(&b[q..], b_step, phase, done, n);
                    work(x, y, &mut piece[at + done..][..n]);
                    done += n;
                }
            }
        });
        return Ok(());
    }
    let [a_step, b_step] = walk.inner();
    pool.for_each_piece(output, CHUNK, |i, piece| {
        for Row { at, positions: [p, q], len: n, .. } in walk.rows(i * CHUNK, piece.len()) {
            let x = &a[p..][..if a_step == 0 { 1 } else { n }];
            let y = &b[q..][..if b_step == 0 { 1 } else { n }];
            work(x, y, &mut piece[at..at + n]);
        }
    });
    Ok(())
}

/// Elements that short rows are repeated to.
const PERIODS: usize = 128;

/// A short row, repeated, where an array has such.
struct Repeated<T>(Option<[T; PERIODS]>);

impl<T: Copy> Repeated<T> {
    fn of(row: &[T], period: usize, repeats: bool) -> Repeated<T> {
        Repeated(repeats.then(|| {
            let mut all = [row[0]; PERIODS];
            for to in all.chunks_exact_mut(period) {
                to.copy_from_slice(&row[..period]);
            }
            all
        }))
    }

    /// `n` elements of the row from `done` on, which is `phase` within the period; a single one where it stands still.
    fn part<'a>(&'a self, row: &'a [T], step: usize, phase: usize, done: usize, n: usize) -> &'a [T] {
        match (&self.0, step) {
            (Some(all), _) => &all[phase..][..n],
            (None, 0) => &row[..1],
            (None, _) => &row[done..][..n],
        }
    }
}

/// What computes a row of the output from rows of the inputs, one of which may be a single element for all.
type RowOf<W, C> = fn(&[W], &[W], &mut [C]);

/// The row of a function, compiled for wide registers too: for functions that vectorise.
#[inline(always)]
fn each<W: Number, C: Copy>(a: &[W], b: &[W], output: &mut [C], f: impl Fn(W, W) -> C) {
    vectorized_for::<W, _>(|| one_by_one(a, b, output, f));
}

/// The row of a function.
#[inline(always)]
fn one_by_one<W: Copy, C: Copy>(a: &[W], b: &[W], output: &mut [C], f: impl Fn(W, W) -> C) {
    // Loops rather than `for_each`, which is compiled for every function anew.
    match (a, b) {
        (&[x], &[y]) => output.fill(f(x, y)),
        (&[x], _) => {
            for (z, &y) in output.iter_mut().zip(b) {
                *z = f(x, y);
            }
        }
        (_, &[y]) => {
            for (z, &x) in output.iter_mut().zip(a) {
                *z = f(x, y);
            }
        }
        _ => {
            for (z, (&x, &y)) in output.iter_mut().zip(a.iter().zip(b)) {
                *z = f(x, y);
            }
        }
    }
}

/// Runs a row function on rows of another type than it computes in.
fn in_wide<T: Number>(row: RowOf<T::Wide, T::Wide>, a: &[T], b: &[T], output: &mut [T]) {
    in_blocks(a, b, output, |a, b, output| match T::as_wide_mut(output) {
        Some(output) => row(a, b, output),
        None => {
            let wide = &mut [T::Wide::ZERO; BLOCK][..output.len()];
            row(a, b, wide);
            T::narrow_row(wide, output);
        }
    });
}

/// Gives `work` the rows in the type that they are computed in: whole where it is their own, otherwise by blocks.
#[inline(always)]
fn in_blocks<T: Number, C>(
    a: &[T],
    b: &[T],
    output: &mut [C],
    work: impl Fn(&[T::Wide], &[T::Wide], &mut [C]),
) {
    if let (Some(a), Some(b)) = (T::as_wide(a), T::as_wide(b)) {
        return work(a, b, output);
    }
    let (mut x, mut y) = ([T::Wide::ZERO; BLOCK], [T::Wide::ZERO; BLOCK]);
    let part = |row: &[T], i: usize, n: usize, wide: &mut [T::Wide]| {
        if row.len() == 1 {
            T::wide_row(row, &mut wide[..1]);
            return 1;
        }
        T::wide_row(&row[i * BLOCK..][..n], &mut wide[..n]);
        n
    };
    for (i, output) in output.chunks_mut(BLOCK).enumerate() {
        let n = part(a, i, output.len(), &mut x);
        let m = part(b, i, output.len(), &mut y);
        work(&x[..n], &y[..m], output);
    }
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
    /// a to the power b.
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
    // Powers that need no logarithm, the commonest by far.
    let row: RowOf<T::Wide, T::Wide> = match (operator, b.0) {
        (Binary::Pow, &[e]) if e.to_f64() == 2.0 => return binary(pool, Binary::Mul, a, a, output),
        (Binary::Pow, &[e]) if e.to_f64() == 3.0 => |a, b, z| each(a, b, z, |x, _| x.times(x).times(x)),
        (Binary::Pow, &[e]) if e.to_f64() == 0.5 => |a, b, z| one_by_one(a, b, z, |x, _| real_power(x, 0.5)),
        _ => row_of::<T::Wide>(operator),
    };
    rows(pool, a, b, output, |a, b, z| in_wide(row, a, b, z))
}

fn row_of<W: Number>(operator: Binary) -> RowOf<W, W> {
    match operator {
        Binary::Add => |a, b, z| each(a, b, z, W::plus),
        Binary::Sub => |a, b, z| each(a, b, z, W::minus),
        Binary::Mul => |a, b, z| each(a, b, z, W::times),
        Binary::Div => |a, b, z| each(a, b, z, W::over),
        Binary::Mod => |a, b, z| one_by_one(a, b, z, W::modulo),
        Binary::Fmod => |a, b, z| one_by_one(a, b, z, W::remainder),
        Binary::Pow if W::FLOAT => |a, b, z| one_by_one(a, b, z, |x, e| real_power(x, e.to_f64())),
        Binary::Pow => |a, b, z| one_by_one(a, b, z, W::power),
        Binary::Max => |a, b, z| each(a, b, z, W::larger),
        Binary::Min => |a, b, z| each(a, b, z, W::smaller),
        Binary::PRelu => |a, b, z| each(a, b, z, |x, s| if x < W::ZERO { x.times(s) } else { x }),
        Binary::Gate => |a, b, z| each(a, b, z, |x, m| if m > W::ZERO { x } else { W::ZERO }),
    }
}

#[inline(always)]
fn real_power<W: Number>(x: W, exponent: f64) -> W {
    W::from_f64(x.to_f64().powf(exponent))
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
/// compares false.
///
/// # Errors
/// When the shapes do not broadcast, or a slice is not as long as its shape says.
pub fn compare<T: Number>(
    pool: &Pool,
    comparison: Comparison,
    a: (&[T], &[usize]),
    b: (&[T], &[usize]),
    output: (&mut [u8], &[usize]),
) -> Result<(), KernelError> {
    let row: RowOf<T::Wide, u8> = match comparison {
        Comparison::Equal => |a, b, z| each(a, b, z, |x, y| u8::from(x == y)),
        Comparison::Less => |a, b, z| each(a, b, z, |x, y| u8::from(x < y)),
        Comparison::LessOrEqual => |a, b, z| each(a, b, z, |x, y| u8::from(x <= y)),
        Comparison::Greater => return compare(pool, Comparison::Less, b, a, output),
        Comparison::GreaterOrEqual => return compare(pool, Comparison::LessOrEqual, b, a, output),
    };
    rows(pool, a, b, output, |a, b, z| in_blocks(a, b, z, row))
}

/// As [`compare`], for what has an order but is no number: strings.
///
/// # Errors
/// As [`compare`].
pub fn compare_ordered<T: Ord + Copy + Sync>(
    pool: &Pool,
    comparison: Comparison,
    a: (&[T], &[usize]),
    b: (&[T], &[usize]),
    output: (&mut [u8], &[usize]),
) -> Result<(), KernelError> {
    let holds = |x: T, y: T| match comparison {
        Comparison::Equal => x.cmp(&y).is_eq(),
        Comparison::Less => x.cmp(&y).is_lt(),
        Comparison::LessOrEqual => x.cmp(&y).is_le(),
        Comparison::Greater => x.cmp(&y).is_gt(),
        Comparison::GreaterOrEqual => x.cmp(&y).is_ge(),
    };
    rows(pool, a, b, output, |a, b, z| one_by_one(a, b, z, |x, y| u8::from(holds(x, y))))
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

/// Integers that others compute in, as rows of bits. Wider ones give the same low bits: those that shifts bring in
/// from above are copies of the sign there too.
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
bits!(i32, i64, u64);

/// `output[i] = operator(a[i], b[i])` on bits; both inputs broadcast to the output's shape.
///
/// # Errors
/// When the shapes do not broadcast, or a slice is not as long as its shape says.
pub fn bitwise<T: Number<Wide: Bits>>(
    pool: &Pool,
    operator: Bitwise,
    a: (&[T], &[usize]),
    b: (&[T], &[usize]),
    output: (&mut [T], &[usize]),
) -> Result<(), KernelError> {
    let row: RowOf<T::Wide, T::Wide> = match operator {
        Bitwise::And => |a, b, z| each(a, b, z, |x, y| x.bitwise(Bitwise::And, y)),
        Bitwise::Or => |a, b, z| each(a, b, z, |x, y| x.bitwise(Bitwise::Or, y)),
        Bitwise::Xor => |a, b, z| each(a, b, z, |x, y| x.bitwise(Bitwise::Xor, y)),
        Bitwise::ShiftLeft => |a, b, z| each(a, b, z, |x, y| x.bitwise(Bitwise::ShiftLeft, y)),
        Bitwise::ShiftRight => |a, b, z| each(a, b, z, |x, y| x.bitwise(Bitwise::ShiftRight, y)),
    };
    rows(pool, a, b, output, |a, b, z| in_wide(row, a, b, z))
}

/// `output[i] = !input[i]`: every bit turned over (`BitwiseNot`). For bools see [`not`].
///
/// # Errors
/// When the lengths differ.
pub fn complement<T: Number<Wide: Bits>>(
    pool: &Pool,
    input: &[T],
    output: &mut [T],
) -> Result<(), KernelError> {
    unary(pool, input, output, |x| T::narrow(x.wide().complement()))
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
        for Row { at, positions: [c, p, q], len: n, .. } in walk.rows(i * CHUNK, piece.len()) {
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
        for Row { at, positions: [p], len: n, .. } in walk.rows(i * CHUNK, piece.len()) {
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
