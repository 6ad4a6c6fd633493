use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::{Context, Result, bail};
use clap::Args;
use oxidane::graph::{Graph, Id, Source as From, ValueId};
use oxidane::{Datum, Model, Problem, Type};
use oxidane_inspect::verify::{Reference, callable, run};
use serde_json::{Map, json};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;

/// Joins two models: outputs of the first become inputs of the second.
///
/// Outputs and inputs of the same name belong together, and a single output belongs to a single input; --map says it
/// otherwise. Inputs of the second that get nothing stay inputs; one that has the name of an input of the first is
/// the same input. Outputs of the first that go into the second are no outputs any more, unless --keep names them.
/// Names of the second that the first has too get --prefix. The later opset of the two is written.
///
/// Before it is written, the result is compared with the first and the second run one after the other.
///
/// Examples:
///   onnx-convert compose backbone.onnx head.onnx whole.onnx
///   onnx-convert compose encoder.onnx decoder.onnx whole.onnx --map last_hidden_state=encoder_hidden_states
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Compose {
    /// The first model.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The model that goes on from it.
    #[arg(value_name = "B")]
    second: PathBuf,
    /// Where to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// An output of A and the input of B that it goes into. May be repeated.
    #[arg(long, value_name = "OUTPUT=INPUT", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Outputs of A that stay outputs though they go into B. May be repeated.
    #[arg(long, value_name = "OUTPUT")]
    keep: Vec<String>,
    /// What comes before names of B that A has too.
    #[arg(long, value_name = "TEXT", default_value = "second/")]
    prefix: String,
    #[command(flatten)]
    writing: Writing,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(a, b)| !a.is_empty() && !b.is_empty());
    parts.map(|(a, b)| (a.to_owned(), b.to_owned())).ok_or_else(|| "is not OUTPUT=INPUT".to_owned())
}

impl Compose {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (first, second) = (Source::open(&self.first)?, Source::open(&self.second)?);
        let (a, b) = (first.model.graph(), second.model.graph());
        let joints = self.joints(a, b)?;
        let mut model = first.model.clone();
        let shared = self.join(&mut model, &second.model, &joints)?;
        for name in &shared {
            eprintln!("note: the inputs `{name}` of both are one");
        }
        let named = |graph: &Graph, ids: &[ValueId]| -> Vec<String> {
            ids.iter().map(|&id| graph.value(id).name().to_owned()).collect()
        };
        let mut told = Map::new();
        let joined: Vec<_> = b
            .inputs()
            .iter()
            .filter_map(|id| Some(json!([a.value(*joints.get(id)?).name(), b.value(*id).name()])))
            .collect();
        told.insert("joined".into(), joined.into());
        let whole = model.graph();
        told.insert("inputs".into(), json!(named(whole, whole.inputs())));
        told.insert("outputs".into(), json!(named(whole, whole.outputs())));
        let skeleton = whole.clone();
        let reference = self.reference(&skeleton, a, b, &joints)?;
        let external = first.external || second.external;
        let rewritten = Rewritten {
            source: &Source { path: first.path.clone(), model: first.model.clone(), external },
            reference: Some(reference),
            model,
            opset: None,
            may_raise: false,
            tolerance: 1e-5,
            told,
        };
        self.writing.finish(rewritten, &self.output)
    }

    /// The output of A for each input of B that gets one.
    fn joints(&self, a: &Graph, b: &Graph) -> Result<HashMap<ValueId, ValueId>> {
        let names = |graph: &Graph, ids: &[ValueId]| -> String {
            let all: Vec<String> = ids.iter().map(|&id| format!("`{}`", graph.value(id).name())).collect();
            all.join(", ")
        };
        let find = |graph: &Graph, ids: &[ValueId], name: &str, what: &str| {
            let found = ids.iter().copied().find(|&id| graph.value(id).name() == name);
            found.with_context(|| {
                format!("--map: there is no {what} `{name}`; there are {}", names(graph, ids))
            })
        };
        let mut joints = HashMap::new();
        for (output, input) in &self.map {
            let from = find(a, a.outputs(), output, "output of the first model")?;
            let to = find(b, b.inputs(), input, "input of the second model")?;
            if joints.insert(to, from).is_some() {
                bail!("--map names the input `{input}` twice");
            }
        }
        if joints.is_empty() {
            for &to in b.inputs() {
                let name = b.value(to).name();
                let same = a.outputs().iter().copied().find(|&id| a.value(id).name() == name);
                joints.extend(same.map(|from| (to, from)));
            }
        }
        let required: Vec<ValueId> = (b.inputs().iter().copied())
            .filter(|&id| !matches!(b.value(id).source(), From::Input { default: Some(_) }))
            .collect();
        if let (true, [from], [to]) = (joints.is_empty(), a.outputs(), &required[..]) {
            joints.insert(*to, *from);
        }
        if joints.is_empty() {
            bail!(
                "no output of the first model has the name of an input of the second; say which belong together with \
                 --map OUTPUT=INPUT (outputs: {}; inputs: {})",
                names(a, a.outputs()),
                names(b, b.inputs())
            );
        }
        for (&to, &from) in &joints {
            let (given, wanted) = (a.value(from).ty(), b.value(to).declared().or(b.value(to).ty()));
            if let (Some(given), Some(wanted)) = (given, wanted)
                && !fits(given, wanted)
            {
                bail!(
                    "output `{}` is {given}, but input `{}` wants {wanted}",
                    a.value(from).name(),
                    b.value(to).name()
                );
            }
        }
        Ok(joints)
    }

    /// Adds the second model to the first; gives the inputs that both have.
    fn join(
        &self,
        model: &mut Model,
        second: &Model,
        joints: &HashMap<ValueId, ValueId>,
    ) -> Result<Vec<String>> {
        let b = second.graph();
        let mut given = joints.clone();
        let mut shared = Vec::new();
        let graph = &mut model.onnx_mut().graph;
        for &id in b.inputs() {
            if given.contains_key(&id) {
                continue;
            }
            let name = b.value(id).name();
            let own = graph.inputs().iter().copied().find(|&own| graph.value(own).name() == name);
            let Some(own) = own else { continue };
            let agree = match (graph.value(own).ty(), b.value(id).ty()) {
                (Some(x), Some(y)) => fits(x, y),
                _ => true,
            };
            if agree {
                given.insert(id, own);
                shared.push(name.to_owned());
            }
        }
        // Outputs of the second keep their names; what the first calls so gives way where it is no output any more.
        let joined: HashSet<ValueId> = joints.values().copied().collect();
        let stays = |graph: &Graph, id: ValueId| {
            let kept = self.keep.iter().any(|k| k == graph.value(id).name());
            matches!(graph.value(id).source(), From::Input { .. })
                || graph.is_output(id) && (kept || !joined.contains(&id))
        };
        for &id in b.outputs() {
            let name = b.value(id).name();
            let Some(own) = graph.value_named(name).filter(|&own| !stays(graph, own)) else { continue };
            let mut made = format!("first/{name}");
            while graph.value_named(&made).is_some() || b.value_named(&made).is_some() {
                made = format!("first/{made}");
            }
            graph.rename(own, &made)?;
        }
        let taken: HashSet<String> = (graph.values().map(|(_, v)| v.name().to_owned()))
            .chain(graph.nodes().map(|(_, n)| n.name().to_owned()))
            .collect();
        let own: HashSet<&str> =
            (b.values().map(|(_, v)| v.name())).chain(b.nodes().map(|(_, n)| n.name())).collect();
        let rename = |name: &str| -> String {
            if name.is_empty() || !taken.contains(name) {
                return name.to_owned();
            }
            let mut made = format!("{}{name}", self.prefix);
            while taken.contains(&made) || own.contains(made.as_str()) {
                made = format!("{}{made}", if self.prefix.is_empty() { "second/" } else { &self.prefix });
            }
            made
        };
        let map = graph.graft(b, &given, &rename)?;
        for name in &self.keep {
            if !graph.outputs().iter().any(|&id| graph.value(id).name() == name) {
                bail!("--keep: there is no output `{name}` of the first model");
            }
        }
        let mut outputs: Vec<ValueId> = (graph.outputs().iter().copied())
            .filter(|id| !joined.contains(id) || self.keep.iter().any(|k| k == graph.value(*id).name()))
            .collect();
        for &id in b.outputs() {
            let made = map[&id];
            if !outputs.contains(&made) {
                outputs.push(made);
            }
        }
        graph.set_outputs(outputs);
        oxidane::passes::remove_dead(graph);
        oxidane::graph::infer(graph);
        let header = &mut model.onnx_mut().header;
        let other = &second.onnx().header;
        header.ir_version = header.ir_version.max(other.ir_version);
        for import in &other.opset_import {
            match header.opset_import.iter_mut().find(|own| own.domain() == import.domain()) {
                Some(own) => own.version = own.version.max(import.version),
                None => header.opset_import.push(import.clone()),
            }
        }
        for function in &other.functions {
            match header
                .functions
                .iter()
                .find(|own| own.name() == function.name() && own.domain() == function.domain())
            {
                None => header.functions.push(function.clone()),
                Some(own) if own == function => {}
                Some(_) => bail!(
                    "both models define a function `{}`, each another one; rename one of them",
                    oxidane::graph::qualified(function.domain(), function.name())
                ),
            }
        }
        for entry in &other.metadata_props {
            if !header.metadata_props.iter().any(|own| own.key() == entry.key()) {
                header.metadata_props.push(entry.clone());
            }
        }
        Ok(shared)
    }

    /// The models one after the other, for inputs of the whole.
    fn reference<'a>(
        &self,
        whole: &'a Graph,
        a: &Graph,
        b: &Graph,
        joints: &HashMap<ValueId, ValueId>,
    ) -> Result<Reference<'a>> {
        let (first, second) = (callable(a)?, callable(b)?);
        let named = |graph: &Graph, ids: &[ValueId]| -> Vec<String> {
            ids.iter().map(|&id| graph.value(id).name().to_owned()).collect()
        };
        let inputs = named(whole, whole.inputs());
        let of_a: Vec<Option<usize>> =
            named(a, a.inputs()).iter().map(|n| inputs.iter().position(|i| i == n)).collect();
        // Where each input of B comes from: an output of A, or an input of the whole.
        enum Origin {
            Output(usize),
            Input(Option<usize>),
        }
        let of_b: Vec<Origin> = (b.inputs().iter())
            .map(|id| match joints.get(id) {
                Some(from) => Origin::Output(a.outputs().iter().position(|o| o == from).unwrap_or_default()),
                None => {
                    let name = b.value(*id).name();
                    let own = inputs.iter().position(|i| i == name);
                    Origin::Input(
                        own.or_else(|| inputs.iter().position(|i| *i == format!("{}{name}", self.prefix))),
                    )
                }
            })
            .collect();
        let joined: HashSet<usize> = joints.values().map(|id| id.index()).collect();
        let kept: Vec<usize> = (a.outputs().iter().enumerate())
            .filter(|(_, id)| {
                !joined.contains(&id.index()) || self.keep.iter().any(|k| k == a.value(**id).name())
            })
            .map(|(k, _)| k)
            .collect();
        let names = named(whole, whole.outputs());
        let run = move |given: Vec<Option<Datum>>| -> Result<_, Problem> {
            let pick = |at: &Option<usize>| at.and_then(|at| given.get(at).cloned().flatten());
            let between = run(&first, of_a.iter().map(pick).collect())?;
            let rest = of_b.iter().map(|origin| match origin {
                Origin::Output(k) => between.get(*k).cloned(),
                Origin::Input(at) => pick(at),
            });
            let last = run(&second, rest.collect())?;
            let outputs = kept.iter().map(|&k| between[k].clone()).chain(last).collect();
            Ok((given, outputs))
        };
        Ok(Reference { graph: whole, names: Some(names), run: Box::new(run) })
    }
}

/// Whether a value of one type may stand where the other is wanted: symbols may be any size.
fn fits(given: &Type, wanted: &Type) -> bool {
    match (given.as_tensor(), wanted.as_tensor()) {
        (Some(a), Some(b)) => {
            let sizes = match (&a.shape, &b.shape) {
                (Some(x), Some(y)) => {
                    let differ = |x: Option<i64>, y: Option<i64>| x.zip(y).is_some_and(|(x, y)| x != y);
                    x.len() == y.len() && !x.iter().zip(y).any(|(x, y)| differ(x.as_known(), y.as_known()))
                }
                _ => true,
            };
            a.dtype == b.dtype && sizes
        }
        (None, None) => given.agrees(wanted),
        _ => false,
    }
}
