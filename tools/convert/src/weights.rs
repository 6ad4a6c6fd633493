use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::{Context, Result, bail};
use clap::Args;
use oxidane::graph::{Graph, Source as From, ValueId};
use oxidane::ops::constant_of;
use oxidane::tensor::{CastRules, map_file};
use oxidane::{DType, Tensor, npz};
use oxidane_inspect::{say, several, size};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde_json::{Map, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Takes the weights of a model out into a file, or puts those of a file into a model.
///
/// Weights are the constants of the main graph that have a name, by that name. Which format a file has, safetensors or
/// NumPy's npz, its ending tells.
///
/// With --from, weights of the same name are replaced; each must have the shape and, unless --cast is given, the type
/// that the model has there. Names in the file that the model does not have are an error unless --partial is given.
///
/// Examples:
///   onnx-convert weights model.onnx weights.safetensors
///   onnx-convert weights model.onnx tuned.onnx --from tuned.npz
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Weights {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where the weights go (.safetensors, .npz), or with --from the new model.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The file whose weights go into the model.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Converts weights of other types to those of the model.
    #[arg(long, requires = "from")]
    cast: bool,
    /// Passes over weights that the model does not have.
    #[arg(long, requires = "from")]
    partial: bool,
    #[command(flatten)]
    writing: Writing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    Npz,
}

impl Format {
    fn of(path: &Path) -> Result<Format> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Ok(Format::Safetensors),
            Some("npz") => Ok(Format::Npz),
            _ => bail!("{}: the ending must be .safetensors or .npz", path.display()),
        }
    }
}

impl Weights {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let source = Source::open(&self.input)?;
        match &self.from {
            None => self.take(&source),
            Some(from) => self.put(&source, from),
        }
    }

    fn take(&self, source: &Source) -> Result<ExitCode> {
        let format = Format::of(&self.output)?;
        let graph = source.model.graph();
        let mut all: Vec<(&str, Tensor)> = Vec::new();
        for (id, tensor) in named(graph) {
            // What lies dense in the file is not copied.
            let dense = if tensor.dense_bytes().is_some() { tensor } else { tensor.to_dense()? };
            all.push((graph.value(id).name(), dense));
        }
        let bytes: u128 = all.iter().map(|(_, t)| t.byte_len() as u128).sum();
        let called = || self.output.display().to_string();
        match format {
            Format::Npz => npz::write_npz(&self.output, all.iter().map(|(name, t)| (*name, t)))?,
            Format::Safetensors => {
                let views: Result<Vec<_>> =
                    all.iter().map(|(name, t)| Ok((*name, Part::of(name, t)?))).collect();
                let mut beside = self.output.as_os_str().to_owned();
                beside.push(".part");
                let beside = PathBuf::from(beside);
                let written = safetensors::serialize_to_file(views?, None, &beside)
                    .map_err(anyhow::Error::from)
                    .and_then(|()| Ok(std::fs::rename(&beside, &self.output)?));
                if written.is_err() {
                    let _ = std::fs::remove_file(&beside);
                }
                written.with_context(called)?;
            }
        }
        match self.writing.json {
            true => say!("{}", json!({ "output": self.output, "weights": all.len(), "bytes": bytes as u64 })),
            false => say!("{}: {}, {}", called(), several(all.len(), "weight"), size(bytes)),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn put(&self, source: &Source, from: &Path) -> Result<ExitCode> {
        let given = read(from)?;
        let mut model = source.model.clone();
        let graph = &mut model.onnx_mut().graph;
        let own: HashMap<String, (ValueId, Tensor)> = (named(graph).into_iter())
            .map(|(id, tensor)| (graph.value(id).name().to_owned(), (id, tensor)))
            .collect();
        let (mut faults, mut replaced) = (Vec::new(), 0);
        for (name, tensor) in given {
            let Some((id, old)) = own.get(&name) else {
                if !self.partial {
                    faults.push(format!("the model has no weight `{name}`"));
                }
                continue;
            };
            if tensor.shape() != old.shape() {
                let (is, wants) = (tensor.shape(), old.shape());
                faults.push(format!("`{name}` has the shape {is:?}, but the model {wants:?}"));
                continue;
            }
            let tensor = match tensor.dtype() == old.dtype() {
                true => tensor,
                false if self.cast => tensor.cast(old.dtype(), CastRules::default())?,
                false => {
                    let (is, wants) = (tensor.dtype(), old.dtype());
                    faults.push(format!("`{name}` is {is}, but the model has {wants}; --cast converts it"));
                    continue;
                }
            };
            replace(graph, *id, tensor)?;
            replaced += 1;
        }
        if !faults.is_empty() {
            let more = faults.len().saturating_sub(10);
            faults.truncate(10);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            bail!("{}: {}{more}", from.display(), faults.join("; "));
        }
        if replaced == 0 {
            bail!("{}: no weight of the model is in it", from.display());
        }
        let kept = own.len() - replaced;
        if kept > 0 {
            eprintln!(
                "note: {} of the model not in {} stay as they are",
                several(kept, "weight"),
                from.display()
            );
        }
        let mut told = Map::new();
        told.insert("replaced".into(), json!(replaced));
        told.insert("kept".into(), json!(kept));
        if !self.writing.json {
            say!("{} replaced", several(replaced, "weight"));
        }
        let rewritten =
            Rewritten { source, reference: None, model, opset: None, may_raise: false, tolerance: 0.0, told };
        self.writing.finish(rewritten, &self.output)
    }
}

/// The constants that have a name, those of Constant nodes and of inputs that may be left out among them.
fn named(graph: &Graph) -> Vec<(ValueId, Tensor)> {
    let tensor = |id: ValueId| match graph.value(id).source() {
        From::Input { default } => default.as_deref().cloned(),
        From::Node(..) | From::Constant(_) => constant_of(graph, id),
        _ => None,
    };
    let ids = graph.values().map(|(id, _)| id).filter(|&id| !graph.value(id).name().is_empty());
    ids.filter_map(|id| Some((id, tensor(id)?))).collect()
}

fn replace(graph: &mut Graph, id: ValueId, tensor: Tensor) -> Result<()> {
    if matches!(graph.value(id).source(), From::Input { .. }) {
        graph.set_default(id, Some(tensor));
        return Ok(());
    }
    if let Some(node) = graph.value(id).producer() {
        graph.remove_node(node);
        graph.define_constant(id, tensor)?;
        return Ok(());
    }
    let name = graph.value(id).name().to_owned();
    graph.rename(id, "")?;
    let new = graph.add_constant(&name, tensor)?;
    if let Some(notes) = graph.value(id).notes().cloned() {
        graph.set_value_notes(new, notes);
    }
    if !graph.replace_uses(id, new) {
        bail!("`{name}` is an output of the graph, and cannot be replaced");
    }
    Ok(graph.remove_value(id)?)
}

/// All tensors of a file, by name. Those of safetensors stay in the mapped file.
fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    if Format::of(path)? == Format::Npz {
        return Ok(npz::read_npz(path)?);
    }
    let called = || path.display().to_string();
    let bytes = map_file(path).with_context(called)?;
    let file = SafeTensors::deserialize(&bytes).with_context(called)?;
    let mut all = Vec::new();
    for (name, view) in file.iter() {
        let dtype = dtype_of(view.dtype()).with_context(|| {
            format!("{}: `{name}` is of type {:?}, which ONNX does not have", called(), view.dtype())
        })?;
        all.push((name.to_owned(), Tensor::from_bytes(dtype, view.shape(), bytes.slice_ref(view.data()))?));
    }
    Ok(all)
}

/// A dense tensor on its way into a safetensors file.
struct Part<'a> {
    dtype: Dtype,
    tensor: &'a Tensor,
}

impl Part<'_> {
    fn of<'a>(name: &str, tensor: &'a Tensor) -> Result<Part<'a>> {
        let all = [
            Dtype::BOOL,
            Dtype::U8,
            Dtype::I8,
            Dtype::F8_E5M2,
            Dtype::F8_E4M3,
            Dtype::I16,
            Dtype::U16,
            Dtype::F16,
            Dtype::BF16,
            Dtype::I32,
            Dtype::U32,
            Dtype::F32,
            Dtype::F64,
            Dtype::I64,
            Dtype::U64,
        ];
        let dtype = all.into_iter().find(|&d| dtype_of(d) == Some(tensor.dtype()));
        let dtype = dtype
            .with_context(|| format!("`{name}` is {}, which safetensors does not have", tensor.dtype()))?;
        Ok(Part { dtype, tensor })
    }
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.tensor.dense_bytes().unwrap_or_default())
    }

    fn data_len(&self) -> usize {
        self.tensor.byte_len()
    }
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::F8_E5M2 => DType::F8E5M2,
        Dtype::F8_E4M3 => DType::F8E4M3FN,
        Dtype::I16 => DType::I16,
        Dtype::U16 => DType::U16,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::U64 => DType::U64,
        _ => return None,
    })
}
