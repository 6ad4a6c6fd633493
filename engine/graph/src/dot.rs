use crate::entity::Id;
use crate::{Graph, Source, qualified};
use std::fmt::Write;

impl Graph {
    /// The graph in Graphviz' language: nodes as boxes, inputs and outputs as ellipses, edges labelled with
    /// the value's name and type. Constants are left out; bodies are drawn as clusters.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph model {\n  node [shape=box, fontname=\"sans-serif\"];\n");
        self.dot_into("g", &mut out);
        out.push_str("}\n");
        out
    }

    fn dot_into(&self, prefix: &str, out: &mut String) {
        // Writing to a String cannot fail.
        for &input in self.inputs() {
            let value = self.value(input);
            let ty = value.ty().map_or(String::new(), |t| t.to_string());
            let _ = writeln!(
                out,
                "  {prefix}_v{} [shape=ellipse, label=\"{}\\n{}\"];",
                input.index(),
                escape(value.name()),
                escape(&ty)
            );
        }
        for (id, node) in self.nodes() {
            let op = qualified(node.op().domain(), node.op().name());
            let _ = writeln!(
                out,
                "  {prefix}_n{} [label=\"{}\", tooltip=\"{}\"];",
                id.index(),
                escape(&op),
                escape(node.name())
            );
            for input in node.inputs().iter().flatten() {
                let value = self.value(*input);
                let from = match value.source() {
                    Source::Node(producer, _) => format!("{prefix}_n{}", producer.index()),
                    Source::Input { .. } => format!("{prefix}_v{}", input.index()),
                    Source::Constant(_) | Source::Undefined => continue,
                };
                let label = value.ty().map_or(value.name().to_owned(), |t| format!("{} {t}", value.name()));
                let _ = writeln!(out, "  {from} -> {prefix}_n{} [label=\"{}\"];", id.index(), escape(&label));
            }
            for (k, body) in node.bodies().iter().enumerate() {
                let inner = format!("{prefix}_n{}b{k}", id.index());
                let _ = writeln!(
                    out,
                    "  subgraph cluster_{inner} {{ label=\"{}\";",
                    escape(&self.body_path(id, k))
                );
                body.dot_into(&inner, out);
                let _ = writeln!(out, "  }}");
            }
        }
        for (i, &output) in self.outputs().iter().enumerate() {
            let value = self.value(output);
            let _ = writeln!(out, "  {prefix}_o{i} [shape=ellipse, label=\"{}\"];", escape(value.name()));
            let from = match value.source() {
                Source::Node(producer, _) => format!("{prefix}_n{}", producer.index()),
                Source::Input { .. } => format!("{prefix}_v{}", output.index()),
                Source::Constant(_) | Source::Undefined => continue,
            };
            let _ = writeln!(out, "  {from} -> {prefix}_o{i};");
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
