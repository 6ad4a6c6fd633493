//! Outputs to files and to the terminal.

use anyhow::{Context, Result, anyhow, bail};
use oxidane::graph::same_tensor;
use oxidane::{DType, Datum, Outputs, Tensor, npz, onnx};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes outputs as an `.npz` file by name, or into a folder as `output_0.pb`, `output_1.pb`, ... Files appear
/// under their names only when they are complete. In an `.npz` file, maps from the same keys are two arrays,
/// `NAME.keys` and `NAME.values`, with a row of values for each map.
///
/// # Errors
/// When something cannot be written, or NumPy has no such type.
pub(crate) fn write(to: &Path, outputs: &Outputs) -> Result<()> {
    if is_npz(to) {
        let mut arrays = Vec::new();
        for (name, datum) in outputs.iter() {
            arrays.extend(named_arrays(name, datum)?);
        }
        return Ok(npz::write_npz(to, arrays.iter().map(|(name, tensor)| (name.as_str(), tensor)))?);
    }
    let mut files = Vec::new();
    for (i, (name, datum)) in outputs.iter().enumerate() {
        let bytes = onnx::datum_to_bytes(name, datum)
            .map_err(|e| anyhow::anyhow!("output `{name}` cannot be written: {e}"))?;
        files.push((to.join(format!("output_{i}.pb")), bytes));
    }
    std::fs::create_dir_all(to).with_context(|| format!("cannot make the folder {}", to.display()))?;
    write_all(&files)
}

/// Writes the outputs of several runs as an `.npz` file by name: each stacked along a new first dimension, those of a
/// single run as they are.
///
/// # Errors
/// When sizes or types change between runs, or the file cannot be written.
pub(crate) fn write_runs(to: &Path, runs: &[Vec<(String, Tensor)>]) -> Result<()> {
    let Some((first, rest)) = runs.split_first() else { bail!("there are no runs") };
    let mut arrays = Vec::with_capacity(first.len());
    for (i, (name, tensor)) in first.iter().enumerate() {
        if rest.is_empty() {
            arrays.push((name, tensor.clone()));
            continue;
        }
        let mut bytes = Vec::with_capacity(runs.len() * tensor.byte_len());
        for (run, tensors) in runs.iter().enumerate() {
            let other = tensors[i].1.to_dense()?;
            if (other.dtype(), other.shape()) != (tensor.dtype(), tensor.shape()) {
                bail!(
                    "output `{name}` is {}{:?} in the first run and {}{:?} in run {run}, which cannot be stacked",
                    tensor.dtype(),
                    tensor.shape(),
                    other.dtype(),
                    other.shape()
                );
            }
            let dense = other.dense_bytes().with_context(|| format!("output `{name}` holds strings"))?;
            bytes.extend_from_slice(dense);
        }
        let shape: Vec<usize> = std::iter::once(runs.len()).chain(tensor.shape().iter().copied()).collect();
        arrays.push((name, Tensor::from_bytes(tensor.dtype(), &shape, bytes.into())?));
    }
    Ok(npz::write_npz(to, arrays.iter().map(|(name, tensor)| (name.as_str(), tensor)))?)
}

/// Whether a path names an `.npz` file.
pub(crate) fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
}

/// Writes files beside their places and renames them when all are complete.
///
/// # Errors
/// When one cannot be written; then none of them is there.
pub(crate) fn write_all(files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let beside = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        PathBuf::from(name)
    };
    let written = files.iter().try_for_each(|(path, bytes)| {
        std::fs::write(beside(path), bytes).with_context(|| format!("cannot write {}", path.display()))
    });
    let done = written.and_then(|()| {
        files.iter().try_for_each(|(path, _)| {
            std::fs::rename(beside(path), path).with_context(|| format!("cannot write {}", path.display()))
        })
    });
    if done.is_err() {
        for (path, _) in files {
            // It may not exist; the first error is the one to tell.
            let _ = std::fs::remove_file(beside(path));
        }
    }
    done
}

/// The arrays that an output is written as.
fn named_arrays(name: &str, datum: &Datum) -> Result<Vec<(String, Tensor)>> {
    let maps = match datum {
        Datum::Map { .. } => std::slice::from_ref(datum),
        Datum::Sequence(items) if matches!(items.first(), Some(Datum::Map { .. })) => items.as_slice(),
        other => return Ok(vec![(name.to_owned(), tensor(name, other)?.clone())]),
    };
    let odd = || {
        anyhow!(
            "output `{name}` holds maps of different keys or of values that are no single elements, which an .npz \
             file cannot hold; give a folder to --outputs for .pb files"
        )
    };
    let mut common: Option<&Tensor> = None;
    let mut values = Vec::new();
    for map in maps {
        let Datum::Map { keys, values: own } = map else { return Err(odd()) };
        if !same_tensor(common.get_or_insert(keys), keys) {
            return Err(odd());
        }
        values.extend(own.iter().map(Datum::as_tensor));
    }
    let values = values.into_iter().collect::<Option<Vec<&Tensor>>>().ok_or_else(odd)?;
    let (Some(keys), dtype) = (common, values.first().map_or(DType::F32, |v| v.dtype())) else {
        return Err(odd());
    };
    if values.iter().any(|v| v.len() != 1 || v.dtype() != dtype) {
        return Err(odd());
    }
    let shape = match datum {
        Datum::Map { .. } => vec![keys.len()],
        _ => vec![maps.len(), keys.len()],
    };
    let stacked = if dtype == DType::String {
        let texts = values.iter().map(|v| Ok(Arc::from(v.to_texts()?[0].as_str()))).collect::<Result<_>>()?;
        Tensor::from_strings(&shape, texts)?
    } else if dtype.is_float() {
        let numbers = values.iter().map(|v| Ok(v.to_f64s()?[0])).collect::<Result<Vec<_>>>()?;
        Tensor::from_f64s(dtype, &shape, &numbers)?
    } else {
        let numbers = values.iter().map(|v| Ok(v.to_i64s()?[0])).collect::<Result<Vec<_>>>()?;
        Tensor::from_i64s(dtype, &shape, &numbers)?
    };
    Ok(vec![(format!("{name}.keys"), keys.clone()), (format!("{name}.values"), stacked)])
}

fn tensor<'a>(name: &str, datum: &'a Datum) -> Result<&'a Tensor> {
    match datum {
        Datum::Tensor(tensor) => Ok(tensor),
        Datum::Optional(Some(inner)) => tensor_in(name, inner),
        other => bail!(
            "output `{name}` is a {}, which an .npz file cannot hold; give a folder to --outputs for .pb files",
            kind(other)
        ),
    }
}

fn tensor_in<'a>(name: &str, datum: &'a Datum) -> Result<&'a Tensor> {
    datum.as_tensor().with_context(|| {
        let kind = kind(datum);
        format!("output `{name}` is an optional {kind}, which an .npz file cannot hold; give a folder to --outputs")
    })
}

fn kind(datum: &Datum) -> &'static str {
    match datum {
        Datum::Tensor(_) => "tensor",
        Datum::Sequence(_) => "sequence",
        Datum::Optional(_) => "absent value",
        Datum::Map { .. } => "map",
    }
}

/// Prints each output's name, type, shape and elements, long dimensions cut.
///
/// # Errors
/// When the standard output cannot be written to.
pub(crate) fn show(outputs: &Outputs) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, datum) in outputs.iter() {
        writeln!(out, "{name}: {}", text(datum, 0))?;
    }
    Ok(())
}

/// Sequences show so many items.
const SHOWN_ITEMS: usize = 10;
/// Nested sequences show so many levels.
const SHOWN_LEVELS: usize = 4;

fn text(datum: &Datum, level: usize) -> String {
    match datum {
        Datum::Tensor(tensor) => tensor.to_string(),
        Datum::Optional(None) => "absent".to_owned(),
        Datum::Optional(Some(inner)) if level < SHOWN_LEVELS => text(inner, level + 1),
        Datum::Sequence(items) if level < SHOWN_LEVELS => {
            let more = items.len().saturating_sub(SHOWN_ITEMS);
            let mut lines = vec![format!("sequence of {}", items.len())];
            lines.extend(items.iter().take(SHOWN_ITEMS).map(|item| text(item, level + 1)));
            if more > 0 {
                lines.push(format!("... and {more} more"));
            }
            lines.join("\n  ")
        }
        Datum::Map { keys, values } if level < SHOWN_LEVELS => {
            let items = values.iter().take(SHOWN_ITEMS).map(|v| text(v, level + 1)).collect::<Vec<_>>();
            format!("map from {keys} to\n  {}", items.join("\n  "))
        }
        deeper => format!("a {}", kind(deeper)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(keys: &[i64], values: &[f32]) -> Datum {
        Datum::Map {
            keys: Tensor::new(&[keys.len()], keys).unwrap(),
            values: Arc::new(values.iter().map(|&v| Tensor::scalar(v).into()).collect()),
        }
    }

    #[test]
    fn maps_become_two_arrays() {
        let rows = Datum::Sequence(Arc::new(vec![map(&[3, 5], &[0.25, 0.75]), map(&[3, 5], &[1.0, 0.0])]));
        let arrays = named_arrays("z", &rows).unwrap();
        assert_eq!((arrays[0].0.as_str(), arrays[1].0.as_str()), ("z.keys", "z.values"));
        assert_eq!(arrays[0].1.to_i64s().unwrap(), [3, 5]);
        assert_eq!(arrays[1].1.shape(), [2, 2]);
        assert_eq!(arrays[1].1.to_f64s().unwrap(), [0.25, 0.75, 1.0, 0.0]);
        let odd = Datum::Sequence(Arc::new(vec![map(&[3], &[0.25]), map(&[5], &[1.0])]));
        assert!(named_arrays("z", &odd).unwrap_err().to_string().contains("different keys"));
    }
}
