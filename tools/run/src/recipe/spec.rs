//! What a recipe may say.

use crate::recipe::image::Image;
use anyhow::{Context, Result, anyhow, bail};
use indexmap::IndexMap;
use oxidane::{DType, Tensor};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// A recipe file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    pub(crate) model: Option<PathBuf>,
    pub(crate) source: Option<PathBuf>,
    pub(crate) inputs: IndexMap<String, Input>,
    #[serde(default)]
    pub(crate) show: Vec<Show>,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// When the file cannot be read, is no YAML, or says what a recipe cannot say.
    pub(crate) fn open(path: &Path) -> Result<Recipe> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_saphyr::from_str(&text).map_err(|e| anyhow!("{}: {e}", path.display()))
    }
}

/// Where an input comes from: a map with one key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    pub(crate) image: Option<Image>,
    pub(crate) sound: Option<Sound>,
    pub(crate) bytes: Option<Bytes>,
    pub(crate) constant: Option<Constant>,
    pub(crate) state: Option<State>,
}

/// A recording in windows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sound {
    pub(crate) rate: NonZeroUsize,
    pub(crate) window: NonZeroUsize,
    pub(crate) hop: Option<NonZeroUsize>,
    #[serde(default)]
    pub(crate) lead: usize,
    #[serde(default)]
    pub(crate) before: usize,
    #[serde(default)]
    pub(crate) together: bool,
    #[serde(default = "one_row")]
    pub(crate) shape: Vec<i64>,
    #[serde(default)]
    pub(crate) dtype: Dtype,
}

fn one_row() -> Vec<i64> {
    vec![1, -1]
}

impl Sound {
    /// Samples from one window's start to the next one's.
    pub(crate) fn hop(&self) -> usize {
        self.hop.unwrap_or(self.window).get()
    }
}

/// A file's bytes as tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bytes {
    pub(crate) block: Option<usize>,
    #[serde(default)]
    pub(crate) strip: bool,
    #[serde(default)]
    pub(crate) begin: usize,
    #[serde(default)]
    pub(crate) end: usize,
    #[serde(default)]
    pub(crate) padding: i64,
    #[serde(default = "int32")]
    pub(crate) dtype: Dtype,
}

fn int32() -> Dtype {
    Dtype(DType::I32)
}

/// The same value everywhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Constant {
    pub(crate) value: f64,
    #[serde(default)]
    pub(crate) shape: Vec<NonZeroUsize>,
    #[serde(default)]
    pub(crate) dtype: Dtype,
}

/// What the run before has left.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) shape: Vec<NonZeroUsize>,
    pub(crate) next: String,
    #[serde(default)]
    pub(crate) value: f64,
    #[serde(default)]
    pub(crate) dtype: Dtype,
}

/// How an output is shown: a map with one key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Show {
    pub(crate) topk: Option<TopK>,
    pub(crate) text: Option<Text>,
    pub(crate) boxes: Option<Boxes>,
    pub(crate) heatmap: Option<HeatMap>,
    pub(crate) segments: Option<Segments>,
    pub(crate) table: Option<Table>,
}

/// The largest values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopK {
    pub(crate) output: String,
    #[serde(default = "five")]
    pub(crate) k: usize,
    #[serde(default)]
    pub(crate) softmax: bool,
    #[serde(default)]
    pub(crate) labels: Labels,
}

fn five() -> usize {
    5
}

/// Reading a sequence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    pub(crate) output: String,
    #[serde(default)]
    pub(crate) blank: usize,
    #[serde(default)]
    pub(crate) labels: Labels,
}

/// Rectangles around what a map of probabilities marks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Boxes {
    pub(crate) output: String,
    pub(crate) threshold: f64,
    #[serde(default)]
    pub(crate) score: f64,
    #[serde(default)]
    pub(crate) grow: f64,
    #[serde(default = "three")]
    pub(crate) min_side: f64,
}

fn three() -> f64 {
    3.0
}

/// Values as colours.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeatMap {
    pub(crate) output: String,
    #[serde(default = "mostly")]
    pub(crate) opacity: f64,
    pub(crate) range: Option<[f64; 2]>,
    #[serde(default)]
    pub(crate) trim: usize,
}

fn mostly() -> f64 {
    0.6
}

/// When is what?
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Segments {
    pub(crate) output: String,
    pub(crate) threshold: f64,
    #[serde(default)]
    pub(crate) min_gap: f64,
    #[serde(default)]
    pub(crate) min_length: f64,
    #[serde(default)]
    pub(crate) trim: usize,
    #[serde(default)]
    pub(crate) labels: Labels,
}

/// Rows of numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) output: String,
    #[serde(default)]
    pub(crate) columns: Vec<String>,
    #[serde(default = "twenty")]
    pub(crate) rows: NonZeroUsize,
    #[serde(default)]
    pub(crate) trim: usize,
}

fn twenty() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(19)
}

impl Show {
    /// The output that is shown.
    ///
    /// # Errors
    /// When there is no kind or more than one.
    pub(crate) fn output(&self) -> Result<&str> {
        let kinds = [
            self.topk.as_ref().map(|s| &s.output),
            self.text.as_ref().map(|s| &s.output),
            self.boxes.as_ref().map(|s| &s.output),
            self.heatmap.as_ref().map(|s| &s.output),
            self.segments.as_ref().map(|s| &s.output),
            self.table.as_ref().map(|s| &s.output),
        ];
        let mut found = kinds.into_iter().flatten();
        match (found.next(), found.next()) {
            (Some(output), None) => Ok(output),
            _ => bail!("an entry of show has one of topk, text, boxes, heatmap, segments and table"),
        }
    }
}

/// A NumPy name of an element type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dtype(pub(crate) DType);

impl Default for Dtype {
    fn default() -> Dtype {
        Dtype(DType::F32)
    }
}

impl From<DType> for Dtype {
    fn from(dtype: DType) -> Dtype {
        Dtype(dtype)
    }
}

const NAMES: [(&str, DType); 12] = [
    ("float32", DType::F32),
    ("float16", DType::F16),
    ("float64", DType::F64),
    ("int8", DType::I8),
    ("int16", DType::I16),
    ("int32", DType::I32),
    ("int64", DType::I64),
    ("uint8", DType::U8),
    ("uint16", DType::U16),
    ("uint32", DType::U32),
    ("uint64", DType::U64),
    ("bool", DType::Bool),
];

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Dtype, D::Error> {
        let name = String::deserialize(from)?;
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, dtype)| Dtype(*dtype)).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(n, _)| *n).collect();
            D::Error::custom(format!("unknown dtype `{name}`, expected one of {}", known.join(", ")))
        })
    }
}

impl Dtype {
    /// A tensor of values; for integers they are rounded, halves to even, and clamped.
    ///
    /// # Errors
    /// When there are too many or too few, or no memory.
    pub(crate) fn tensor(self, shape: &[usize], values: &[f32]) -> Result<Tensor> {
        if self.0 == DType::F32 {
            return Ok(Tensor::new(shape, values)?);
        }
        let values: Vec<f64> = values.iter().map(|&v| self.rounded(f64::from(v))).collect();
        Ok(Tensor::from_f64s(self.0, shape, &values)?)
    }

    /// A tensor filled with a value.
    ///
    /// # Errors
    /// When it would be too large.
    pub(crate) fn filled(self, shape: &[NonZeroUsize], value: f64) -> Result<Tensor> {
        let shape: Vec<usize> = shape.iter().map(|d| d.get()).collect();
        let one = Tensor::from_f64s(self.0, &[], &[self.rounded(value)])?;
        Ok(one.broadcast_to(&shape)?.to_dense()?)
    }

    fn rounded(self, value: f64) -> f64 {
        if !self.0.is_integer() {
            return value;
        }
        let bits = self.0.bits() as i32;
        let (low, high) = match self.0.is_signed_integer() {
            true => (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0),
            false => (0.0, 2f64.powi(bits) - 1.0),
        };
        value.round_ties_even().clamp(low, high)
    }
}

/// Names of indices.
#[derive(Debug, Default)]
pub(crate) enum Labels {
    /// None: indices show as numbers.
    #[default]
    None,
    /// As listed.
    List(Vec<String>),
    /// From somewhere else.
    From(LabelsFrom),
}

/// Where labels come from: one of `file`, `metadata` and `notes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelsFrom {
    pub(crate) file: Option<PathBuf>,
    pub(crate) key: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) notes: Option<usize>,
    #[serde(default)]
    pub(crate) first: Vec<String>,
    #[serde(default)]
    pub(crate) last: Vec<String>,
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Labels, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of labels, or a map with file, metadata or notes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Labels, A::Error> {
                Ok(Labels::List(Vec::deserialize(SeqAccessDeserializer::new(list))?))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Labels, A::Error> {
                Ok(Labels::From(LabelsFrom::deserialize(MapAccessDeserializer::new(map))?))
            }
        }
        from.deserialize_any(Either)
    }
}
