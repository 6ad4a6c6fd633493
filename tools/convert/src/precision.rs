use crate::Files;
use crate::source::Source;
use crate::writing::{Rewritten, Writing};
use anyhow::{Context, Result};
use clap::Args;
use oxidane::DType;
use oxidane::graph::{Graph, NodeId};
use oxidane::ops::control::call;
use oxidane::passes::precision::{Converted, Kept, Precision, convert, largest};
use oxidane_inspect::strain::{Strain, strain};
use oxidane_inspect::verify::Reference;
use oxidane_inspect::{say, several, size};
use serde_json::{Map, json};
use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use wildmatch::WildMatch;

/// Converts a model from single precision to 16-bit floats: half the bytes.
///
/// A node is converted where the schema of its operator allows the type, so that the result is always valid. Inputs and
/// outputs keep their types unless --io is given. In single precision stay: nodes whose numbers leave the range of the
/// type, or whose results it would take away by more than a quarter of the tolerance, in a run on made inputs; what
/// is quantized further on; and what --keep and --keep-op name. Casts stand in between.
///
/// Before it is written, the result is compared with the model on made inputs, output by output.
///
/// Examples:
///   onnx-convert fp16 model.onnx half.onnx
///   onnx-convert fp16 model.onnx half.onnx --keep '/decoder/*' --keep-op Softmax --tolerance 0.02
///   onnx-convert bf16 model.onnx brain.onnx --opset 22
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ToHalf {
    #[command(flatten)]
    files: Files,
    /// Nodes that stay in single precision, by name; * stands for any letters. May be repeated.
    #[arg(long, value_name = "NAME")]
    keep: Vec<String>,
    /// Operators that stay in single precision. May be repeated.
    #[arg(long, value_name = "OP")]
    keep_op: Vec<String>,
    /// Does not look for nodes that should stay in single precision.
    #[arg(long)]
    no_auto: bool,
    /// Converts the inputs and outputs of the model too.
    #[arg(long)]
    io: bool,
    /// The opset to write; by default the one that the model came with. A later one allows the type in more
    /// operators.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(7..=oxidane::onnx::OPSET))]
    opset: Option<i64>,
    #[command(flatten)]
    writing: Writing,
}

impl ToHalf {
    pub(crate) fn run(&self, dtype: DType) -> Result<ExitCode> {
        let source = Source::open(&self.files.input)?;
        let called = || self.files.input.display().to_string();
        let mut model = source.model.clone();
        let opset = self.opset.or(model.onnx().opset("")).unwrap_or(oxidane::onnx::OPSET);
        let given = self.writing.given(source.model.graph())?;
        let graph = &mut model.onnx_mut().graph;
        call::inline(graph).map_err(|e| anyhow::anyhow!("{}: {e}", called()))?;
        oxidane::graph::infer(graph);
        let sizes = self.writing.sizes();
        let found = if self.no_auto { Some(HashMap::new()) } else { strain(graph, dtype, given, &sizes, 1) };
        if found.is_none() {
            eprintln!(
                "note: the model does not run on made inputs, so numbers out of range are not looked for"
            );
        }
        let found: HashMap<NodeId, Strain> = found.unwrap_or_default();
        let quantized = if self.no_auto { HashSet::new() } else { before_quantizers(graph) };
        let tolerance = if dtype == DType::F16 { 1e-2 } else { 5e-2 };
        let most_error = self.writing.tolerance.unwrap_or(tolerance) / 4.0;
        let patterns: Vec<WildMatch> = self.keep.iter().map(|p| WildMatch::new(p)).collect();
        let most = largest(dtype);
        let keep = |path: &str, graph: &Graph, id: NodeId| -> Option<String> {
            let node = graph.node(id);
            if patterns.iter().any(|p| !node.name().is_empty() && p.matches(node.name())) {
                return Some("--keep names it".into());
            }
            if self.keep_op.iter().any(|op| op == node.op().name()) {
                return Some("--keep-op names its operator".into());
            }
            if !path.is_empty() {
                return None;
            }
            if quantized.contains(&id) {
                return Some("what it makes is quantized further on".into());
            }
            match *found.get(&id)? {
                // Other inputs may take them further.
                Strain { largest, .. } if largest > most / 2.0 => {
                    Some(format!("its numbers leave the range of {dtype}"))
                }
                Strain { error, .. } if error > most_error => {
                    Some(format!("{dtype} alone would take its results too far away"))
                }
                _ => None,
            }
        };
        let precision = Precision { dtype, opset, interface: self.io, keep: &keep };
        let converted = convert(&mut model.onnx_mut().graph, &precision).with_context(called)?;
        let mut told = Map::new();
        let kept: Vec<_> = (converted.kept.iter())
            .map(|k| json!({ "node": k.node, "op": k.op, "reason": k.reason }))
            .collect();
        told.insert("converted".into(), json!(converted.nodes));
        told.insert("kept".into(), kept.into());
        told.insert("casts".into(), json!(converted.casts));
        told.insert("clamped".into(), json!(converted.clamped));
        told.insert("bytes_of_constants".into(), json!([converted.bytes.0, converted.bytes.1]));
        if !self.writing.json {
            tell(&converted);
        }
        let rewritten = Rewritten {
            source: &source,
            reference: Some(Reference::graph(source.model.graph())?),
            model,
            opset: self.opset,
            may_raise: false,
            tolerance,
            told,
        };
        self.writing.finish(rewritten, &self.files.output)
    }
}

/// The nodes from which a quantizer is reached: its codes change where a number is rounded before.
fn before_quantizers(graph: &Graph) -> HashSet<NodeId> {
    let mut found = HashSet::new();
    let is_quantizer = |op: &str| matches!(op, "QuantizeLinear" | "DynamicQuantizeLinear");
    let mut open: Vec<NodeId> =
        graph.nodes().filter(|(_, n)| is_quantizer(n.op().name())).map(|(id, _)| id).collect();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(graph.node(id).inputs().iter().flatten().filter_map(|&v| graph.value(v).producer()));
        }
    }
    found
}

fn tell(converted: &Converted) {
    let Converted { nodes, kept, casts, clamped, bytes } = converted;
    say!(
        "{} converted, {} stay, {} added; constants {} -> {}",
        several(*nodes, "node"),
        kept.len(),
        several(*casts, "Cast"),
        size(bytes.0.into()),
        size(bytes.1.into())
    );
    if *clamped > 0 {
        say!("{} out of range became the largest of the type", several(*clamped, "number"));
    }
    let mut reasons: Vec<(&str, Vec<&Kept>)> = Vec::new();
    for one in kept {
        match reasons.iter_mut().find(|(reason, _)| *reason == one.reason) {
            Some((_, all)) => all.push(one),
            None => reasons.push((&one.reason, vec![one])),
        }
    }
    for (reason, all) in reasons {
        let shown: Vec<&str> = all.iter().take(3).map(|k| k.node.as_str()).collect();
        let more = if all.len() > 3 { ", ..." } else { "" };
        say!("  {} ({}{more}): {reason}", several(all.len(), "node"), shown.join(", "));
    }
}
