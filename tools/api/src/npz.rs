//! NumPy's files: `.npy` (an array) and `.npz` (a zip archive of named arrays, compressed or not).
//!
//! Element types are those that NumPy has itself: bool, integers of 8 to 64 bits, float16, float32, float64,
//! complex and text (`<U`). Others (bfloat16, float8, 4-bit types) need ONNX's `.pb` files.

use oxidane_tensor::{Buffer, DType, Tensor};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What can go wrong with a NumPy file.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {what}", path.display(), array.as_ref().map_or(String::new(), |a| format!(", array `{a}`")))]
pub struct NpzError {
    /// The file.
    pub path: PathBuf,
    /// The array in it.
    pub array: Option<String>,
    /// What is wrong.
    pub what: String,
}

fn fault(path: &Path, array: Option<&str>, what: impl ToString) -> NpzError {
    NpzError { path: path.to_owned(), array: array.map(str::to_owned), what: what.to_string() }
}

/// Reads an array from an `.npy` file.
///
/// # Errors
/// When the file cannot be read, is damaged, or holds a type that has no tensor.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Tensor, NpzError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| fault(path, None, e))?;
    array(BufReader::new(file)).map_err(|what| fault(path, None, what))
}

/// Reads all arrays of an `.npz` file, in the order of the archive.
///
/// # Errors
/// When the file cannot be read, is no zip archive, or an array in it is damaged or of a type that has no tensor.
pub fn read_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>, NpzError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| fault(path, None, e))?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file))
        .map_err(|e| fault(path, None, format!("is no .npz archive: {e}")))?;
    let mut arrays = Vec::new();
    for i in 0..zip.len() {
        let entry = zip.by_index(i).map_err(|e| fault(path, None, e))?;
        let file = entry.name().map_err(|e| fault(path, None, e))?.into_owned();
        let Some(name) = file.strip_suffix(".npy").map(str::to_owned) else { continue };
        let tensor = array(entry).map_err(|what| fault(path, Some(&name), what))?;
        arrays.push((name, tensor));
    }
    Ok(arrays)
}

/// Writes named arrays as an `.npz` file, not compressed, beside the target and then renamed.
///
/// # Errors
/// When the file cannot be written or NumPy has no such element type.
pub fn write_npz<'a>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), NpzError> {
    let path = path.as_ref();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let written = write_into(path, &beside, arrays);
    let done = written.and_then(|()| std::fs::rename(&beside, path).map_err(|e| fault(path, None, e)));
    if done.is_err() {
        // Whether or not the part was created, nothing of it may stay; the first error is the one to tell.
        let _ = std::fs::remove_file(&beside);
    }
    done
}

fn write_into<'a>(
    path: &Path,
    beside: &Path,
    arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), NpzError> {
    let file = File::create(beside).map_err(|e| fault(path, None, e))?;
    let mut zip = zip::ZipWriter::new(BufWriter::new(file));
    for (name, tensor) in arrays {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(tensor.byte_len() > u32::MAX as usize / 2);
        zip.start_file(format!("{name}.npy"), options).map_err(|e| fault(path, Some(name), e))?;
        write_array(&mut zip, tensor).map_err(|what| fault(path, Some(name), what))?;
    }
    let mut file = zip.finish().map_err(|e| fault(path, None, e))?;
    file.flush().map_err(|e| fault(path, None, e))
}

/// The element type of a NumPy type string such as `<f4`, and whether its bytes are swapped.
fn dtype(descr: &str) -> Option<(DType, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let dtype = match kind {
        "b1" => DType::Bool,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "c8" => DType::Complex64,
        "c16" => DType::Complex128,
        _ => return None,
    };
    Some((dtype, order == ">"))
}

fn descr(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::Complex64 => "<c8",
        DType::Complex128 => "<c16",
        _ => return None,
    })
}

fn array(mut from: impl Read) -> Result<Tensor, String> {
    let header = npyz::NpyHeader::from_reader(&mut from).map_err(|e| format!("is no NumPy array: {e}"))?;
    let npyz::DType::Plain(type_str) = header.dtype() else {
        return Err("is a record array; a tensor has one element type".into());
    };
    let type_str = type_str.to_string();
    let fortran = matches!(header.order(), npyz::Order::Fortran);
    let shape: Vec<usize> = header
        .shape()
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("has the size {d}")))
        .collect::<Result<_, _>>()?;
    let stored: Vec<usize> = if fortran { shape.iter().rev().copied().collect() } else { shape.clone() };
    let dense = match type_str.strip_prefix(['<', '>']).and_then(|t| t.strip_prefix('U')) {
        Some(width) => texts(from, &stored, width, type_str.starts_with('>'))?,
        None => {
            let Some((dtype, swapped)) = dtype(&type_str) else {
                return Err(format!(
                    "has the type {type_str}, which no tensor has; store it as float32 or int64"
                ));
            };
            numbers(from, &stored, dtype, swapped)?
        }
    };
    if !fortran {
        return Ok(dense);
    }
    let order: Vec<usize> = (0..shape.len()).rev().collect();
    dense.permute(&order).and_then(|t| t.to_dense()).map_err(|e| e.to_string())
}

/// Reads exactly `bytes`, growing as they arrive, so that a header that lies costs nothing.
fn read_exactly(from: impl Read, bytes: usize) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    from.take(bytes as u64).read_to_end(&mut data).map_err(|e| e.to_string())?;
    if data.len() < bytes {
        return Err(format!("is cut short: {} of {bytes} bytes are there", data.len()));
    }
    Ok(data)
}

fn numbers(from: impl Read, shape: &[usize], dtype: DType, swapped: bool) -> Result<Tensor, String> {
    let count = oxidane_tensor::element_count(shape).map_err(|e| e.to_string())?;
    let bytes = dtype.byte_len(count).ok_or("is too large")?;
    let mut data = read_exactly(from, bytes)?;
    if swapped {
        let part = if dtype.is_complex() { dtype.bits() / 16 } else { dtype.bits() / 8 };
        data.chunks_exact_mut(part).for_each(<[u8]>::reverse);
    }
    let mut buffer = Buffer::zeroed(bytes).map_err(|e| e.to_string())?;
    buffer.as_bytes_mut().ok_or("has no memory")?.copy_from_slice(&data);
    Tensor::from_buffer(dtype, shape, buffer).map_err(|e| e.to_string())
}

/// Text of `width` code points an element, four bytes each, filled up with zeros.
fn texts(from: impl Read, shape: &[usize], width: &str, swapped: bool) -> Result<Tensor, String> {
    let width: usize = width.parse().map_err(|_| format!("has the text width {width}"))?;
    let count = oxidane_tensor::element_count(shape).map_err(|e| e.to_string())?;
    let bytes = count.checked_mul(width).and_then(|n| n.checked_mul(4)).ok_or("is too large")?;
    let data = read_exactly(from, bytes)?;
    let text = |element: &[u8]| -> Result<Arc<str>, String> {
        let codes = element.chunks_exact(4).map(|c| {
            let code = [c[0], c[1], c[2], c[3]];
            if swapped { u32::from_be_bytes(code) } else { u32::from_le_bytes(code) }
        });
        let text: Option<String> = codes.map(char::from_u32).collect();
        Ok(Arc::from(text.ok_or("holds text that is not Unicode")?.trim_end_matches('\0')))
    };
    let strings: Vec<Arc<str>> = if width == 0 {
        vec![Arc::from(""); count]
    } else {
        data.chunks_exact(width * 4).map(text).collect::<Result<_, _>>()?
    };
    Tensor::from_strings(shape, strings).map_err(|e| e.to_string())
}

fn write_array(mut to: impl Write, tensor: &Tensor) -> Result<(), String> {
    use npyz::WriterBuilder;
    let dense = tensor.to_dense().map_err(|e| e.to_string())?;
    let shape: Vec<u64> = dense.shape().iter().map(|&d| d as u64).collect();
    let (type_str, data) = match dense.as_strings() {
        Some(strings) => {
            let width = strings.iter().map(|s| s.chars().count()).max().unwrap_or(0).max(1);
            let mut data = Vec::with_capacity(strings.len() * width * 4);
            for s in strings {
                let padded = s.chars().chain(std::iter::repeat('\0')).take(width);
                padded.for_each(|c| data.extend((c as u32).to_le_bytes()));
            }
            (format!("<U{width}"), std::borrow::Cow::Owned(data))
        }
        None => {
            let type_str = descr(dense.dtype()).ok_or_else(|| {
                format!("NumPy has no {}; write a folder of .pb files instead", dense.dtype())
            })?;
            (type_str.to_owned(), std::borrow::Cow::Borrowed(dense.dense_bytes().unwrap_or_default()))
        }
    };
    let type_str: npyz::TypeStr = type_str.parse().map_err(|e| format!("{e}"))?;
    npyz::WriteOptions::new_header_only()
        .dtype(npyz::DType::Plain(type_str))
        .shape(&shape)
        .writer(&mut to)
        .write_header_only()
        .map_err(|e| e.to_string())?;
    to.write_all(&data).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_survive() {
        let path = std::env::temp_dir().join(format!("oxidane-{}.npz", std::process::id()));
        let text = |s: &str| Arc::from(s);
        let arrays = [
            ("a/b:0", Tensor::new(&[2, 3], &[1.0f32, -2.5, f32::NAN, 0.0, 1e-30, 7.0]).unwrap()),
            ("i", Tensor::new(&[], &[i64::MIN]).unwrap()),
            ("empty", Tensor::new::<u8>(&[0, 4], &[]).unwrap()),
            ("b", Tensor::from_bools(&[2], &[true, false]).unwrap()),
            ("s", Tensor::from_strings(&[2], vec![text("größe"), text("")]).unwrap()),
        ];
        write_npz(&path, arrays.iter().map(|(n, t)| (*n, t))).unwrap();
        let back = read_npz(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(back.len(), arrays.len());
        for ((name, tensor), (other, read)) in arrays.iter().zip(&back) {
            assert_eq!(name, other);
            assert!(oxidane_graph::same_tensor(tensor, read), "{name}: {tensor:?} became {read:?}");
        }
    }

    #[test]
    fn bfloat16_is_refused_and_nothing_stays() {
        let path = std::env::temp_dir().join(format!("oxidane-{}-bf16.npz", std::process::id()));
        let tensor = Tensor::zeros(DType::BF16, &[2]).unwrap();
        let error = write_npz(&path, [("x", &tensor)]).unwrap_err().to_string();
        assert!(error.contains("bfloat16") && error.contains(".pb"), "{error}");
        assert!(!path.exists() && !path.with_extension("npz.part").exists());
    }
}
