//! Floats as text: the shortest form that reads back to the same bits, in ONNX's layout.

use std::io::Write;

/// The NaN that `nan` reads as.
pub(super) const NAN: u32 = 0x7fc0_0000;
/// As [`NAN`], for 64 bits.
pub(super) const NAN_64: u64 = 0x7ff8_0000_0000_0000;

/// Whether `value` is a NaN that the text `nan` or `-nan` does not give back.
pub(super) fn odd_nan(value: f32) -> bool {
    value.is_nan() && value.to_bits() & 0x7fff_ffff != NAN
}

/// As [`odd_nan`], for 64 bits.
pub(super) fn odd_nan_64(value: f64) -> bool {
    value.is_nan() && value.to_bits() & (u64::MAX >> 1) != NAN_64
}

/// A float as it is written; None if it is no number or too large.
pub(super) fn parse_f32(text: &str) -> Option<f32> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if magnitude.eq_ignore_ascii_case("nan") {
        return Some(f32::from_bits(NAN | u32::from(negative) << 31));
    }
    let value: f32 = text.parse().ok()?;
    let spelled = magnitude.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    (value.is_finite() || spelled).then_some(value)
}

/// As [`parse_f32`], for 64 bits.
pub(super) fn parse_f64(text: &str) -> Option<f64> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if magnitude.eq_ignore_ascii_case("nan") {
        return Some(f64::from_bits(NAN_64 | u64::from(negative) << 63));
    }
    let value: f64 = text.parse().ok()?;
    let spelled = magnitude.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    (value.is_finite() || spelled).then_some(value)
}

/// Appends a 32-bit float.
pub(super) fn print_f32(value: f32, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    } else {
        print(value, f64::from(value), out);
    }
}

/// Appends a 64-bit float.
pub(super) fn print_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    } else {
        print(value, value, out);
    }
}

/// The shorter one of fixed and scientific notation; fixed if they are equally long.
fn print(value: impl ryu::Float, exact: f64, out: &mut Vec<u8>) {
    if exact.is_infinite() {
        out.extend_from_slice(if exact < 0.0 { b"-inf" } else { b"inf" });
        return;
    }
    if exact.is_sign_negative() {
        out.push(b'-');
    }
    if exact == 0.0 {
        out.push(b'0');
        return;
    }
    // Ryu writes the shortest digits, in a layout of its own: the digits and the power of ten are taken out.
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value);
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let mut last: i32 = exponent.parse().unwrap_or(0);
    // At most 17 digits, and four zeros in front.
    let mut digits = [0u8; 32];
    let (mut len, mut fraction) = (0, false);
    for byte in mantissa.bytes() {
        match byte {
            b'.' => fraction = true,
            b'-' => {}
            digit => {
                last -= i32::from(fraction);
                if (len > 0 || digit != b'0') && len < digits.len() {
                    digits[len] = digit;
                    len += 1;
                }
            }
        }
    }
    while len > 1 && digits[len - 1] == b'0' {
        len -= 1;
        last += 1;
    }
    // The value is its digits, as a whole number, times ten to the power `last`.
    let digits = &digits[..len];
    let (first, others) = digits.split_at(len.min(1));
    let exponent = last + others.len() as i32;
    let wide = i32::from(!others.is_empty());
    if last > 4 + wide || last < -(len as i32 + 2 + wide) {
        out.extend_from_slice(first);
        if wide == 1 {
            out.push(b'.');
            out.extend_from_slice(others);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing into memory does not fail, here and below.
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
    } else if last > 0 {
        let _ = write!(out, "{:.0}", exact.abs());
    } else if exponent >= 0 {
        let (whole, fraction) = digits.split_at((exponent as usize + 1).min(len));
        out.extend_from_slice(whole);
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f32) -> String {
        let mut out = Vec::new();
        print_f32(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_print_as_onnx_prints_them() {
        let cases: [(f32, &str); 17] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (1000.0, "1000"),
            (100000.0, "1e+05"),
            (123456.0, "123456"),
            (12345680.0, "12345680"),
            (1.5e10, "1.5e+10"),
            (0.001, "0.001"),
            (0.0001, "1e-04"),
            (0.00012, "0.00012"),
            (0.000012, "1.2e-05"),
            (f32::MAX, "3.4028235e+38"),
            (f32::from_bits(1), "1e-45"),
            (f32::INFINITY, "inf"),
            (f32::NEG_INFINITY, "-inf"),
        ];
        for (value, wanted) in cases {
            assert_eq!(text(value), wanted);
        }
    }

    #[test]
    fn floats_read_back_to_their_bits() {
        let mut bits = 0u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1664525).wrapping_add(1013904223);
            let value = f32::from_bits(bits);
            let back = parse_f32(&text(value)).unwrap();
            assert!(back.to_bits() == bits || odd_nan(value), "{bits:x}");
        }
        for value in [1e300, 5e-324, -0.1, 1e22, 123456789012345680.0, f64::MAX] {
            let mut out = Vec::new();
            print_f64(value, &mut out);
            assert_eq!(parse_f64(std::str::from_utf8(&out).unwrap()), Some(value));
        }
        assert_eq!(parse_f32("1e60"), None);
        assert_eq!(parse_f32("-nan").map(f32::to_bits), Some(0xffc0_0000));
    }
}
