//! The values of tensors as text.

use std::io::{self, Write};

use bytes::Bytes;
use oxidane_tensor::DType;
use prost::Message;

use super::lex::{Lexer, Result};
use super::number;
use super::print::{print_hex, print_quoted, print_string_bytes};
use crate::proto::TensorProto;
use crate::storage::raw_bytes;

/// Text is collected up to this many bytes before it is written.
const CHUNK: usize = 1 << 16;

/// How many elements the dims say; None if that overflows.
pub(super) fn element_count(dims: &[i64]) -> Option<usize> {
    dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(usize::try_from(dim).ok()?))
}

/// Writes the values: ` {1,2}`, ` x"00"`, or ` m"00"` for what has neither form.
pub(super) fn print_values(
    tensor: &TensorProto,
    hex_over: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let dtype = DType::from_onnx(tensor.data_type());
    if dtype == Some(DType::String) && tensor.raw_data.is_none() {
        out.write_all(b"{")?;
        for (i, string) in tensor.string_data.iter().enumerate() {
            out.write_all(if i == 0 { b"" } else { b", " })?;
            print_string_bytes(string, out)?;
        }
        return out.write_all(b"}");
    }
    let Some((dtype, raw)) = dtype.zip(raw_bytes(tensor)) else {
        if let Some(raw) = &tensor.raw_data {
            out.write_all(b" x")?;
            return print_hex(raw, out);
        }
        out.write_all(b" m")?;
        return print_hex(&TensorProto { name: None, ..tensor.clone() }.encode_to_vec(), out);
    };
    let whole = match dtype.bits() {
        2 | 4 | 6 => element_count(&tensor.dims).and_then(|n| dtype.byte_len(n)) == Some(raw.len()),
        bits => raw.len().is_multiple_of(bits / 8),
    };
    if !whole || hex_over.is_some_and(|limit| raw.len() > limit) {
        out.write_all(b" x")?;
        return print_hex(&raw, out);
    }
    out.write_all(b" {")?;
    match dtype {
        DType::F32 | DType::Complex64 => {
            list(&raw, out, |bytes, text| number::print_f32(f32::from_le_bytes(bytes), text))
        }
        DType::F64 | DType::Complex128 => {
            list(&raw, out, |bytes, text| number::print_f64(f64::from_le_bytes(bytes), text))
        }
        DType::I8 => list(&raw, out, |bytes, text| int(i8::from_le_bytes(bytes), text)),
        DType::I16 => list(&raw, out, |bytes, text| int(i16::from_le_bytes(bytes), text)),
        DType::I32 => list(&raw, out, |bytes, text| int(i32::from_le_bytes(bytes), text)),
        DType::I64 => list(&raw, out, |bytes, text| int(i64::from_le_bytes(bytes), text)),
        DType::U16 | DType::F16 | DType::BF16 => {
            list(&raw, out, |bytes, text| int(u16::from_le_bytes(bytes), text))
        }
        DType::U32 => list(&raw, out, |bytes, text| int(u32::from_le_bytes(bytes), text)),
        DType::U64 => list(&raw, out, |bytes, text| int(u64::from_le_bytes(bytes), text)),
        DType::F6E2M3 | DType::F6E3M2 => {
            let count = element_count(&tensor.dims).unwrap_or(0);
            list(&six_bits(&raw, count), out, |bytes, text| int(u8::from_le_bytes(bytes), text))
        }
        _ => list(&raw, out, |bytes, text| int(u8::from_le_bytes(bytes), text)),
    }?;
    out.write_all(b"}")
}

fn int(value: impl std::fmt::Display, text: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = write!(text, "{value}");
}

fn list<const N: usize>(
    raw: &[u8],
    out: &mut dyn Write,
    mut print: impl FnMut([u8; N], &mut Vec<u8>),
) -> io::Result<()> {
    let mut text = Vec::with_capacity(CHUNK + 64);
    let (elements, _) = raw.as_chunks::<N>();
    for (i, bytes) in elements.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        print(*bytes, &mut text);
        if text.len() > CHUNK {
            out.write_all(&text)?;
            text.clear();
        }
    }
    out.write_all(&text)
}

/// Elements of six bits, a byte each.
fn six_bits(raw: &[u8], count: usize) -> Vec<u8> {
    let element = |i: usize| {
        let at = i * 6 / 8;
        let low = u16::from(raw.get(at).copied().unwrap_or(0));
        let high = u16::from(raw.get(at + 1).copied().unwrap_or(0));
        ((high << 8 | low) >> (i * 6 % 8) & 63) as u8
    };
    (0..count).map(element).collect()
}

/// The NaNs of `tensor` whose bits the list of values does not carry: index and bits.
pub(super) fn odd_nans(tensor: &TensorProto) -> Vec<(u64, u64)> {
    let Some(dtype) = DType::from_onnx(tensor.data_type()) else { return Vec::new() };
    if !matches!(dtype, DType::F32 | DType::F64 | DType::Complex64 | DType::Complex128) {
        return Vec::new();
    }
    let Some(raw) = raw_bytes(tensor) else { return Vec::new() };
    if matches!(dtype, DType::F32 | DType::Complex64) {
        let (elements, rest) = raw.as_chunks::<4>();
        if !rest.is_empty() {
            return Vec::new();
        }
        let values = elements.iter().map(|&bytes| f32::from_le_bytes(bytes)).enumerate();
        values.filter(|(_, v)| number::odd_nan(*v)).map(|(i, v)| (i as u64, v.to_bits().into())).collect()
    } else {
        let (elements, rest) = raw.as_chunks::<8>();
        if !rest.is_empty() {
            return Vec::new();
        }
        let values = elements.iter().map(|&bytes| f64::from_le_bytes(bytes)).enumerate();
        values.filter(|(_, v)| number::odd_nan_64(*v)).map(|(i, v)| (i as u64, v.to_bits())).collect()
    }
}

/// Sets the bits of an element of a tensor that was read from text; false if it has no such element.
pub(super) fn set_bits(tensor: &mut TensorProto, index: u64, bits: u64) -> bool {
    let width = match DType::from_onnx(tensor.data_type()) {
        Some(DType::F32 | DType::Complex64) => 4,
        Some(DType::F64 | DType::Complex128) => 8,
        _ => return false,
    };
    let Some(raw) = tensor.raw_data.take() else { return false };
    let mut raw = Vec::from(raw);
    let start = usize::try_from(index).ok().and_then(|index| index.checked_mul(width));
    let place = start.and_then(|start| raw.get_mut(start..)?.get_mut(..width));
    let found = place.is_some();
    if let Some(place) = place {
        place.copy_from_slice(&bits.to_le_bytes()[..width]);
    }
    tensor.raw_data = Some(raw.into());
    found
}

/// Reads the values of `tensor`, whose type and dims are set.
pub(super) fn parse_values(lexer: &mut Lexer<'_>, tensor: &mut TensorProto) -> Result<()> {
    let dtype = DType::from_onnx(tensor.data_type());
    if lexer.hex_is_next() {
        tensor.raw_data = Some(lexer.hex()?.into());
        return Ok(());
    }
    if lexer.peek_word() == "m" {
        let start = lexer.start();
        lexer.word();
        let bytes = lexer.hex_string()?;
        let name = tensor.name.take();
        *tensor = TensorProto::decode(Bytes::from(bytes))
            .map_err(|_| lexer.error_at(start, "an encoded TensorProto in hexadecimal"))?;
        tensor.name = name;
        return Ok(());
    }
    let Some(dtype) = dtype else { return lexer.fail("x\"...\", for this element type has no name") };
    let start = lexer.start();
    lexer.expect(b'{')?;
    if dtype == DType::String {
        if !lexer.eat(b'}') {
            loop {
                tensor.string_data.push(parse_string_bytes(lexer)?);
                if !lexer.eat(b',') {
                    break;
                }
            }
            lexer.expect(b'}')?;
        }
        return Ok(());
    }
    let mut raw = Vec::new();
    if dtype.is_packed() {
        let values = parse_small(lexer)?;
        raw = packed(dtype, &tensor.dims, &values)
            .ok_or_else(|| lexer.error_at(start, &format!("values that fit {}", dtype.name())))?;
    } else if !lexer.eat(b'}') {
        loop {
            let at = lexer.start();
            let fits = match dtype {
                DType::F32 | DType::Complex64 => {
                    raw.extend_from_slice(&lexer.float()?.to_le_bytes());
                    true
                }
                DType::F64 | DType::Complex128 => {
                    raw.extend_from_slice(&lexer.double()?.to_le_bytes());
                    true
                }
                DType::U64 => {
                    raw.extend_from_slice(&lexer.unsigned()?.to_le_bytes());
                    true
                }
                _ => push_int(dtype, lexer.int()?, &mut raw),
            };
            if !fits {
                let wanted = match dtype {
                    DType::F16 | DType::BF16 => {
                        format!("the bits of a {} as an integer from 0 to 65535", dtype.name())
                    }
                    _ => format!("a value that fits {}", dtype.name()),
                };
                return Err(lexer.error_at(at, &wanted));
            }
            if !lexer.eat(b',') {
                break;
            }
        }
        lexer.expect(b'}')?;
    }
    tensor.raw_data = Some(raw.into());
    Ok(())
}

/// Appends `value` as an element of `dtype`, of 8 bits or more; false if it does not fit.
fn push_int(dtype: DType, value: i64, raw: &mut Vec<u8>) -> bool {
    let (low, high) = match dtype {
        DType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DType::I64 => (i64::MIN, i64::MAX),
        DType::U16 | DType::F16 | DType::BF16 => (0, i64::from(u16::MAX)),
        DType::U32 => (0, i64::from(u32::MAX)),
        _ => (0, i64::from(u8::MAX)),
    };
    let width = dtype.bits() / 8;
    raw.extend_from_slice(&value.to_le_bytes()[..width.min(8)]);
    (low..=high).contains(&value)
}

fn parse_small(lexer: &mut Lexer<'_>) -> Result<Vec<i16>> {
    let mut values = Vec::new();
    if lexer.eat(b'}') {
        return Ok(values);
    }
    loop {
        let at = lexer.start();
        let value = i16::try_from(lexer.int()?).ok().filter(|value| (-128..=255).contains(value));
        values.push(value.ok_or_else(|| lexer.error_at(at, "a value that fits a byte"))?);
        if !lexer.eat(b',') {
            break;
        }
    }
    lexer.expect(b'}')?;
    Ok(values)
}

/// Values of a type of two, four or six bits in the layout of `raw_data`. As many values as there are
/// bytes are the bytes; as many as there are elements, or negative ones, are the elements.
fn packed(dtype: DType, dims: &[i64], values: &[i16]) -> Option<Vec<u8>> {
    let count = element_count(dims);
    let bytes = count.and_then(|count| dtype.byte_len(count));
    let bits = dtype.bits();
    let elements = bits == 6
        || values.iter().any(|&value| value < 0)
        || (Some(values.len()) == count && Some(values.len()) != bytes);
    if !elements {
        return Some(values.iter().map(|&value| value as u8).collect());
    }
    let limit = 1i16 << bits;
    let (low, high) =
        if matches!(dtype, DType::I2 | DType::I4) { (-limit / 2, limit / 2 - 1) } else { (0, limit - 1) };
    let mut raw = vec![0u8; dtype.byte_len(values.len())?];
    for (i, &value) in values.iter().enumerate() {
        if !(low..=high).contains(&value) {
            return None;
        }
        let (at, shift) = (i * bits / 8, i * bits % 8);
        let placed = (value & (limit - 1)) << shift;
        *raw.get_mut(at)? |= placed as u8;
        if placed > 255 {
            *raw.get_mut(at + 1)? |= (placed >> 8) as u8;
        }
    }
    Some(raw)
}

/// A string in quotes or bytes in hexadecimal.
pub(super) fn parse_string_bytes(lexer: &mut Lexer<'_>) -> Result<Bytes> {
    if lexer.hex_is_next() { Ok(lexer.hex()?.into()) } else { Ok(lexer.string()?.into()) }
}

/// Writes external data's keys and values, `["location": "w.bin", "offset": "0"]`.
pub(super) fn print_entries(
    entries: &[crate::proto::StringStringEntryProto],
    in_note: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (i, entry) in entries.iter().enumerate() {
        out.write_all(if i == 0 { b"" } else { b", " })?;
        print_quoted(entry.key(), in_note, out)?;
        out.write_all(b": ")?;
        print_quoted(entry.value(), in_note, out)?;
    }
    out.write_all(b"]")
}
