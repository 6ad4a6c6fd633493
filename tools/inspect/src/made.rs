//! Inputs made at random, the same for the same seed.

use anyhow::{Context, Result, bail};
use oxidane::graph::{Graph, Source};
use oxidane::{Datum, Dim, Tensor, Type};
use std::path::Path;
use std::sync::Arc;

/// Made tensors of more bytes are refused.
const MOST_BYTES: usize = 4 << 30;
/// Made sequences have so many items.
const ITEMS: usize = 2;

/// The sizes of symbolic dimensions, by name.
pub type Sizes = Vec<(String, i64)>;

/// The sizes of a shape where its symbols have these sizes and all others are 1.
///
/// # Errors
/// When a dimension comes to no size.
pub fn sizes(shape: &[Dim], dims: &[(String, i64)]) -> Result<Vec<usize>> {
    shape
        .iter()
        .map(|dim| {
            let size = dim.substitute(&|symbol| {
                Some(Dim::known(dims.iter().find(|(name, _)| name == symbol).map_or(1, |(_, n)| *n)))
            });
            size.as_size().with_context(|| format!("dimension {dim} has no size"))
        })
        .collect()
}

/// The generator `splitmix64`.
pub struct Random(u64);

impl Random {
    /// A generator that starts from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 random bits.
    pub fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value of a type whose symbols have these sizes, all others being 1: floats from -1 to 1, integers and
    /// booleans 0 or 1, texts `a`, sequences of two, optionals that are there.
    ///
    /// # Errors
    /// When the type or the rank is not known, or the value would be too large.
    pub fn datum(&mut self, ty: Option<&Type>, dims: &[(String, i64)]) -> Result<Datum> {
        match ty {
            Some(Type::Tensor(_)) => Ok(self.tensor(ty, dims)?.into()),
            Some(Type::Sequence(item)) => {
                let items = (0..ITEMS).map(|_| self.datum(Some(item), dims)).collect::<Result<Vec<_>>>()?;
                Ok(Datum::Sequence(Arc::new(items)))
            }
            Some(Type::Optional(inner)) => {
                Ok(Datum::Optional(Some(Arc::new(self.datum(Some(inner), dims)?))))
            }
            Some(other) => bail!("there is no way to make a {other}"),
            None => bail!("its type is not known"),
        }
    }

    fn tensor(&mut self, ty: Option<&Type>, dims: &[(String, i64)]) -> Result<Tensor> {
        let Some(ty) = ty.and_then(Type::as_tensor) else { bail!("it is not known to be a tensor") };
        let Some(shape) = &ty.shape else { bail!("its rank is not known") };
        let shape = sizes(shape, dims)?;
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let bytes = count.and_then(|n| n.checked_mul(8));
        let (Some(count), Some(..=MOST_BYTES)) = (count, bytes) else {
            bail!("its shape {shape:?} is too large; smaller sizes can be set with --dim");
        };
        if ty.dtype == oxidane::DType::String {
            return Ok(Tensor::from_strings(&shape, vec!["a".into(); count])?);
        }
        let values: Vec<f64> = (0..count)
            .map(|_| match ty.dtype.is_float() || ty.dtype.is_complex() {
                true => (self.next_bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0,
                false => (self.next_bits() >> 63) as f64,
            })
            .collect();
        Ok(Tensor::from_f64s(ty.dtype, &shape, &values)?)
    }

    /// Values for the inputs of a graph, by position; `None` for those that have a default.
    ///
    /// # Errors
    /// When an input cannot be made.
    pub fn inputs(&mut self, graph: &Graph, dims: &[(String, i64)]) -> Result<Vec<Option<Datum>>> {
        let make = |&id| {
            let value = graph.value(id);
            if matches!(value.source(), Source::Input { default: Some(_) }) {
                return Ok(None);
            }
            let made = self.datum(value.declared().or(value.ty()), dims);
            made.map(Some).with_context(|| format!("input `{}` cannot be made", value.name()))
        };
        graph.inputs().iter().map(make).collect()
    }
}

/// Values for the inputs of a graph, by position, from the arrays of an `.npz` file by name.
///
/// # Errors
/// When the file cannot be read, or an input without default is not in it.
pub fn given(graph: &Graph, path: &Path) -> Result<Vec<Option<Datum>>> {
    let arrays = oxidane::npz::read_npz(path)?;
    let find = |name: &str| arrays.iter().find(|(n, _)| n == name).map(|(_, t)| Datum::Tensor(t.clone()));
    let mut values = Vec::new();
    let mut missing = Vec::new();
    for &id in graph.inputs() {
        let value = graph.value(id);
        let found = find(value.name());
        if found.is_none() && !matches!(value.source(), Source::Input { default: Some(_) }) {
            missing.push(format!("`{}`", value.name()));
        }
        values.push(found);
    }
    if !missing.is_empty() {
        let has: Vec<String> = arrays.iter().map(|(n, _)| format!("`{n}`")).collect();
        bail!("{}: there is no input {}; it has {}", path.display(), missing.join(", "), has.join(", "));
    }
    Ok(values)
}

/// The symbols in the types of a graph's inputs, in order.
pub fn symbols(graph: &Graph) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for &id in graph.inputs() {
        let value = graph.value(id);
        let mut ty = value.declared().or(value.ty());
        while let Some(Type::Sequence(inner) | Type::Optional(inner)) = ty {
            ty = Some(inner);
        }
        for symbol in ty.and_then(Type::shape).into_iter().flatten().flat_map(|d| d.symbols()) {
            if !found.iter().any(|s| **s == *symbol) {
                found.push(symbol.to_string());
            }
        }
    }
    found
}

/// Ways to choose the sizes of symbols, the most telling first: all different, then all the same, from small to the
/// sizes of pictures and windows of sound, for models that take no others. `fixed` are sizes that stay.
pub fn choices(symbols: &[String], fixed: &[(String, i64)]) -> Vec<Sizes> {
    const DIFFERENT: [i64; 8] = [2, 3, 5, 4, 7, 6, 9, 8];
    const SAME: [i64; 11] = [1, 4, 2, 8, 16, 32, 64, 128, 224, 320, 512];
    let all = |size: &dyn Fn(usize) -> i64| -> Sizes {
        let given = |name: &str| fixed.iter().find(|(n, _)| n == name).map(|(_, size)| *size);
        symbols.iter().enumerate().map(|(i, s)| (s.clone(), given(s).unwrap_or_else(|| size(i)))).collect()
    };
    if symbols.iter().all(|s| fixed.iter().any(|(name, _)| name == s)) {
        return vec![all(&|_| 1)];
    }
    let mut choices = vec![all(&|i| DIFFERENT[i % DIFFERENT.len()])];
    // Names tell more than numbers where one of them is the batch.
    if symbols.len() > 1 {
        let batch = |name: &str| name.to_lowercase().contains("batch") || name.eq_ignore_ascii_case("n");
        let picture = |side: i64| all(&|i| if i == 0 || batch(&symbols[i]) { 2 } else { side });
        choices.extend([picture(32), picture(64)]);
    }
    choices.extend(SAME.map(|size| all(&|_| size)));
    choices.dedup();
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_symbols() {
        let n = Dim::symbol("n");
        let shape = [n, Dim::known(3), n + n, Dim::symbol("other")];
        assert_eq!(sizes(&shape, &[("n".to_owned(), 4)]).unwrap(), [4, 3, 8, 1]);
    }

    #[test]
    fn choices_keep_what_is_fixed() {
        let symbols = ["batch".to_owned(), "length".to_owned()];
        let fixed = [("length".to_owned(), 10)];
        assert!(choices(&symbols, &fixed).iter().all(|c| c[1].1 == 10));
        assert_eq!(choices(&[], &[]), [Sizes::new()]);
        assert_eq!(choices(&symbols, &[]).first().map(|c| (c[0].1, c[1].1)), Some((2, 3)));
    }
}
