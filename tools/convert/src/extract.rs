use crate::Files;
use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::{Context, Result, bail};
use clap::Args;
use oxidane::Datum;
use oxidane::graph::{Graph, Source as From, ValueId};
use oxidane_inspect::verify::{Reference, callable, run};
use serde_json::{Map, json};
use std::collections::HashSet;
use std::process::ExitCode;

/// Cuts a part out of a model: what lies between named values.
///
/// The values of --from become inputs, those of --to outputs. An input of the model that the part needs besides
/// stays an input, and the command says so. Before it is written, the part is run on what the whole model computes at
/// those values, and must give the same.
///
/// Example:
///   onnx-convert extract model.onnx head.onnx --from /backbone/Relu_output_0 --to scores,boxes
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Extract {
    #[command(flatten)]
    files: Files,
    /// The values that become inputs, with commas between; by default the inputs of the model.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    from: Vec<String>,
    /// The values that become outputs, with commas between; by default the outputs of the model.
    #[arg(long, value_name = "C,D", value_delimiter = ',')]
    to: Vec<String>,
    #[command(flatten)]
    writing: Writing,
}

impl Extract {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let source = Source::open(&self.files.input)?;
        let whole = source.model.graph();
        let (from, to) = (named(whole, &self.from, "--from")?, named(whole, &self.to, "--to")?);
        let from = if from.is_empty() { whole.inputs().to_vec() } else { from };
        let to = if to.is_empty() { whole.outputs().to_vec() } else { to };
        if let Some(&constant) = from.iter().find(|&&v| whole.value(v).constant().is_some()) {
            bail!("`{}` is a constant, which cannot become an input", whole.value(constant).name());
        }
        let mut model = source.model.clone();
        let kept = cut(&mut model.onnx_mut().graph, &from, &to)?;
        if !kept.is_empty() {
            eprintln!("note: the part also reads {}, which stay inputs", kept.join(", "));
        }
        let inputs = names(model.graph(), model.graph().inputs());
        let outputs = names(model.graph(), model.graph().outputs());
        let mut told = Map::new();
        told.insert("inputs".into(), json!(inputs));
        told.insert("outputs".into(), json!(outputs));
        let rewritten = Rewritten {
            source: &source,
            reference: Some(reference(whole, &inputs, &outputs)?),
            model,
            opset: None,
            may_raise: false,
            tolerance: 1e-5,
            told,
        };
        self.writing.finish(rewritten, &self.files.output)
    }
}

/// The whole model, run for the values that a part takes and gives.
fn reference<'a>(whole: &'a Graph, inputs: &[String], outputs: &[String]) -> Result<Reference<'a>> {
    let mut graph = callable(whole)?;
    // What the part takes and gives, by name, as far as the whole computes it.
    let find = |graph: &Graph, name: &String| {
        graph.value_named(name).with_context(|| format!("`{name}` is lost where functions are put in place"))
    };
    let mut wanted = Vec::new();
    let mut defaults = Vec::new();
    for name in inputs {
        let id = find(&graph, name)?;
        let default = matches!(graph.value(id).source(), From::Input { default: Some(_) });
        defaults.push(default);
        if !default {
            wanted.push(id);
        }
    }
    let taken = wanted.len();
    for name in outputs {
        wanted.push(find(&graph, name)?);
    }
    graph.set_outputs(wanted);
    let run = move |given: Vec<Option<Datum>>| {
        let mut values = run(&graph, given)?;
        let outputs = values.split_off(taken);
        let mut values = values.into_iter();
        let inputs = defaults.iter().map(|&default| if default { None } else { values.next() }).collect();
        Ok((inputs, outputs))
    };
    Ok(Reference { graph: whole, names: Some(outputs.to_vec()), run: Box::new(run) })
}

fn names(graph: &Graph, ids: &[ValueId]) -> Vec<String> {
    ids.iter().map(|&id| graph.value(id).name().to_owned()).collect()
}

/// The values of these names in the main graph.
///
/// # Errors
/// Lists every name that there is not, each with those that look alike.
fn named(graph: &Graph, names: &[String], flag: &str) -> Result<Vec<ValueId>> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match graph.value_named(name) {
            Some(id) if !found.contains(&id) => found.push(id),
            Some(_) => bail!("{flag} names `{name}` twice"),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let told: Vec<String> = missing.into_iter().map(|name| crate::edit::unknown_value(graph, name)).collect();
    bail!("{flag}: {}", told.join("; "))
}

/// Leaves of a graph what lies between values; gives the names of inputs that it needs besides.
///
/// # Errors
/// When a value of `to` does not hang together with the rest any more.
fn cut(graph: &mut Graph, from: &[ValueId], to: &[ValueId]) -> Result<Vec<String>> {
    let mut outputs = to.to_vec();
    let mut inputs = Vec::new();
    for &old in from {
        if matches!(graph.value(old).source(), From::Input { .. }) {
            inputs.push(old);
            continue;
        }
        let (name, ty) = (graph.value(old).name().to_owned(), graph.value(old).ty().cloned());
        if outputs.contains(&old) {
            bail!("`{name}` cannot be an input and an output at once");
        }
        let declared = graph.value(old).declared().cloned();
        let new = graph.add_input("", ty.clone(), None)?;
        graph.set_declared(new, declared.or(ty));
        // The outputs are set before anything is replaced, so that none of them is in the way.
        graph.set_outputs(outputs.clone());
        graph.replace_uses(old, new);
        graph.rename(old, "")?;
        graph.rename(new, &name)?;
        inputs.push(new);
    }
    graph.set_outputs(std::mem::take(&mut outputs));
    oxidane::passes::remove_dead(graph);
    let asked: HashSet<ValueId> = inputs.iter().copied().collect();
    let mut kept = Vec::new();
    for id in graph.inputs().to_vec() {
        if asked.contains(&id) {
            continue;
        }
        match graph.value(id).uses().is_empty() && !graph.is_output(id) {
            true => graph.remove_input(id)?,
            // An initializer that is an input as well needs no mention.
            false if matches!(graph.value(id).source(), From::Input { default: Some(_) }) => {}
            false => kept.push(graph.value(id).name().to_owned()),
        }
    }
    Ok(kept)
}
