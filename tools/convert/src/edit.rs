use crate::Files;
use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::{Context, Result, bail};
use clap::Args;
use oxidane::graph::{Dims, Graph, Notes, TensorType, ValueId};
use oxidane::onnx::proto::StringStringEntryProto;
use oxidane::{Dim, Type, npz};
use oxidane_inspect::verify::Reference;
use serde_json::Map;
use std::path::PathBuf;
use std::process::ExitCode;

/// Changes what a model says about itself: names, sizes, outputs, constants, metadata.
///
/// Examples:
///   onnx-convert edit model.onnx out.onnx --rename input.1=image --set-dim batch=1
///   onnx-convert edit model.onnx out.onnx --free-dim image:0=batch --add-output /layer4/Relu_output_0
///   onnx-convert edit model.onnx out.onnx --constant mean=mean.npy --metadata author=me --strip-docs
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Edit {
    #[command(flatten)]
    files: Files,
    /// Gives a value another name. May be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    rename: Vec<(String, String)>,
    /// Gives a node another name. May be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    rename_node: Vec<(String, String)>,
    /// Gives a dimension a size: a symbol everywhere, or one dimension of an input. May be repeated.
    #[arg(long, value_name = "NAME[:AXIS]=N", value_parser = crate::writing::dim)]
    set_dim: Vec<(String, i64)>,
    /// Makes a dimension of an input symbolic. May be repeated.
    #[arg(long, value_name = "INPUT:AXIS=SYMBOL", value_parser = pair)]
    free_dim: Vec<(String, String)>,
    /// Gives out a value. May be repeated.
    #[arg(long, value_name = "VALUE")]
    add_output: Vec<String>,
    /// Gives an output out no longer; what only it needs goes. May be repeated.
    #[arg(long, value_name = "OUTPUT")]
    remove_output: Vec<String>,
    /// Replaces a constant by an array of the same type. May be repeated.
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = pair)]
    constant: Vec<(String, String)>,
    /// Sets a key of the model's metadata. May be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Removes a key of the model's metadata. May be repeated.
    #[arg(long, value_name = "KEY")]
    remove_metadata: Vec<String>,
    /// Removes doc strings and the metadata of graphs, nodes and values.
    #[arg(long)]
    strip_docs: bool,
    /// Removes the names of nodes, and of values that are neither inputs nor outputs.
    #[arg(long)]
    strip_names: bool,
    #[command(flatten)]
    writing: Writing,
}

/// `A=B`, where the first `=` with something on both sides counts.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((a, b)) if !a.is_empty() && !b.is_empty() => Ok((a.to_owned(), b.to_owned())),
        _ => Err("is not NAME=VALUE".to_owned()),
    }
}

/// Says that there is no value of a name, and which look alike.
pub(crate) fn unknown_value(graph: &Graph, name: &str) -> String {
    let wanted = name.to_lowercase();
    let alike = |other: &&str| {
        let other = other.to_lowercase();
        !other.is_empty() && (other.contains(&wanted) || wanted.contains(&other))
    };
    let mut all: Vec<&str> = graph.values().map(|(_, v)| v.name()).filter(alike).collect();
    all.sort_by_key(|other| (other.len().abs_diff(name.len()), *other));
    let hint = match all.len() {
        0 => "`onnx-convert text` shows all names".to_owned(),
        _ => format!("did you mean {}?", all[..all.len().min(3)].join(" or ")),
    };
    format!("there is no value `{name}`; {hint}")
}

impl Edit {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let source = Source::open(&self.files.input)?;
        let mut model = source.model.clone();
        {
            let onnx = model.onnx_mut();
            for (key, value) in &self.metadata {
                onnx.header.metadata_props.retain(|p| p.key() != key);
                let entry = StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) };
                onnx.header.metadata_props.push(entry);
            }
            for key in &self.remove_metadata {
                let before = onnx.header.metadata_props.len();
                onnx.header.metadata_props.retain(|p| p.key() != key);
                if onnx.header.metadata_props.len() == before {
                    bail!("the model has no metadata of the key `{key}`");
                }
            }
            if self.strip_docs {
                onnx.header.doc_string = None;
            }
            self.change(&mut onnx.graph)?;
        }
        let same = self.add_output.is_empty() && self.remove_output.is_empty() && self.constant.is_empty();
        let rewritten = Rewritten {
            source: &source,
            reference: same.then(|| Reference::graph(source.model.graph())).transpose()?,
            model,
            opset: None,
            may_raise: false,
            tolerance: 1e-5,
            told: Map::new(),
        };
        self.writing.finish(rewritten, &self.files.output)
    }

    fn change(&self, graph: &mut Graph) -> Result<()> {
        for (name, file) in &self.constant {
            let id = value(graph, name)?;
            let Some(old) = graph.value(id).constant() else { bail!("`{name}` is no constant") };
            let new = npz::read_npy(PathBuf::from(file))?;
            if new.dtype() != old.dtype() {
                bail!("`{name}` is {}, but {file} holds {}", old.dtype(), new.dtype());
            }
            let made = graph.add_constant("", new)?;
            if !graph.replace_uses(id, made) {
                bail!("`{name}` is an output of the graph, which stays as it is");
            }
            graph.remove_value(id)?;
            graph.rename(made, name)?;
        }
        for name in &self.add_output {
            let id = value(graph, name)?;
            if graph.is_output(id) {
                bail!("`{name}` is an output already");
            }
            let outputs = graph.outputs().iter().copied().chain([id]).collect();
            graph.set_outputs(outputs);
        }
        for name in &self.remove_output {
            let id = value(graph, name)?;
            if !graph.is_output(id) {
                bail!("`{name}` is no output");
            }
            let outputs: Vec<ValueId> = graph.outputs().iter().copied().filter(|&o| o != id).collect();
            graph.set_outputs(outputs);
        }
        if !self.remove_output.is_empty() {
            oxidane::passes::remove_dead(graph);
        }
        for (what, size) in &self.set_dim {
            match axis_of(graph, what)? {
                Some((id, axis)) => set_axis(graph, id, axis, Dim::known(*size))?,
                None if has_symbol(graph, what) => substitute(graph, what, Dim::known(*size)),
                None => bail!("no input has a dimension called `{what}`; NAME:AXIS names one of an input"),
            }
        }
        for (what, symbol) in &self.free_dim {
            let Some((id, axis)) = axis_of(graph, what)? else {
                bail!("--free-dim needs an input and an axis, such as image:0=batch, not `{what}`");
            };
            set_axis(graph, id, axis, Dim::symbol(symbol))?;
        }
        if !self.free_dim.is_empty() || !self.set_dim.is_empty() {
            forget(graph);
            let findings = oxidane::graph::infer(graph);
            if let Some(problem) = findings.problems.first() {
                bail!("with these sizes the model does not hold together: {problem}");
            }
            for &id in graph.outputs().to_vec().iter() {
                let ty = graph.value(id).ty().cloned();
                graph.set_declared(id, ty);
            }
        }
        for (old, new) in &self.rename_node {
            let found = graph.nodes().find(|(_, n)| n.name() == old).map(|(id, _)| id);
            let id = found.with_context(|| format!("there is no node `{old}`"))?;
            graph.set_node_name(id, new);
        }
        if self.strip_names {
            strip_names(graph);
        }
        if self.strip_docs {
            strip_docs(graph);
        }
        for (old, new) in &self.rename {
            let id = value(graph, old)?;
            graph.rename(id, new)?;
        }
        Ok(())
    }
}

fn value(graph: &Graph, name: &str) -> Result<ValueId> {
    graph.value_named(name).with_context(|| unknown_value(graph, name))
}

/// The input and axis that `INPUT:AXIS` names; `None` where it is of another form.
fn axis_of(graph: &Graph, text: &str) -> Result<Option<(ValueId, usize)>> {
    let Some((name, axis)) = text.rsplit_once(':') else { return Ok(None) };
    let (Some(id), Ok(axis)) = (graph.value_named(name), axis.parse::<usize>()) else { return Ok(None) };
    if !graph.inputs().contains(&id) {
        bail!("`{name}` is no input");
    }
    Ok(Some((id, axis)))
}

fn set_axis(graph: &mut Graph, id: ValueId, axis: usize, dim: Dim) -> Result<()> {
    let value = graph.value(id);
    let name = value.name().to_owned();
    let ty = value.declared().or(value.ty()).and_then(Type::as_tensor);
    let ty = ty.with_context(|| format!("`{name}` is no tensor"))?;
    let mut shape: Dims = ty.shape.clone().with_context(|| format!("the rank of `{name}` is not known"))?;
    let rank = shape.len();
    *shape
        .get_mut(axis)
        .with_context(|| format!("`{name}` has {rank} axes, counted from 0, and no axis {axis}"))? = dim;
    let ty = Type::Tensor(TensorType { dtype: ty.dtype, shape: Some(shape) });
    graph.set_declared(id, Some(ty.clone()));
    graph.set_type(id, Some(ty));
    Ok(())
}

fn has_symbol(graph: &Graph, symbol: &str) -> bool {
    oxidane_inspect::made::symbols(graph).iter().any(|s| s == symbol)
}

/// Puts a size in the place of a symbol in all types.
fn substitute(graph: &mut Graph, symbol: &str, dim: Dim) {
    let change = |ty: &Type| ty.substitute(&|name| (name == symbol).then_some(dim));
    let values: Vec<ValueId> =
        graph.values().filter(|(_, v)| v.constant().is_none()).map(|(id, _)| id).collect();
    for id in values {
        let (ty, declared) = (graph.value(id).ty().map(change), graph.value(id).declared().map(change));
        graph.set_type(id, ty);
        graph.set_declared(id, declared);
    }
    let nodes: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        // Nesting is bounded when a model is read.
        graph.bodies_mut(id).iter_mut().for_each(|body| substitute(body, symbol, dim));
    }
}

/// Forgets the types of everything but inputs and constants, which sizes that were set may contradict.
fn forget(graph: &mut Graph) {
    let inputs = graph.inputs().to_vec();
    let values: Vec<ValueId> = (graph.values())
        .filter(|(id, v)| v.constant().is_none() && !inputs.contains(id))
        .map(|(id, _)| id)
        .collect();
    for id in values {
        graph.set_type(id, None);
        graph.set_declared(id, None);
    }
}

fn strip_docs(graph: &mut Graph) {
    let plain =
        |notes: &Notes| Notes { doc: String::new(), metadata: Vec::new(), extra: notes.extra.clone() };
    let (name, notes) = (graph.name().to_owned(), plain(graph.notes()));
    graph.set_notes(&name, notes);
    let values: Vec<_> = graph.values().filter_map(|(id, v)| Some((id, plain(v.notes()?)))).collect();
    values.into_iter().for_each(|(id, notes)| graph.set_value_notes(id, notes));
    let nodes: Vec<_> = graph.nodes().map(|(id, n)| (id, n.notes().map(plain))).collect();
    for (id, notes) in nodes {
        if let Some(notes) = notes {
            graph.set_node_notes(id, notes);
        }
        graph.bodies_mut(id).iter_mut().for_each(strip_docs);
    }
}

fn strip_names(graph: &mut Graph) {
    let shown = |id: &ValueId| graph.inputs().contains(id) || graph.is_output(*id);
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).filter(|id| !shown(id)).collect();
    for id in values {
        // A value without a name clashes with nothing.
        let _ = graph.rename(id, "");
    }
    let nodes: Vec<_> = graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        graph.set_node_name(id, "");
        graph.bodies_mut(id).iter_mut().for_each(strip_names);
    }
}
