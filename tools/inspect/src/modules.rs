//! The modules that a graph was made of, as the names of its nodes tell.

use oxidane::graph::{Graph, NodeId, ValueId};
use std::collections::HashMap;

/// Where a node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// The modules that hold it, outermost first, with slashes between; empty where there are none.
    pub path: String,
    /// What is left of its name; the name of its first output where it has none.
    pub rest: String,
}

/// The modules of all nodes. A node whose name tells none stands in the module that all its readers share.
pub fn modules(graph: &Graph) -> HashMap<NodeId, Module> {
    // Names with slashes tell modules; where there are none, dots do.
    let slashes = graph.nodes().any(|(_, n)| n.name().trim_start_matches('/').contains('/'));
    let mut modules: HashMap<NodeId, Module> = HashMap::new();
    let mut readers: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
    for (id, node) in graph.nodes() {
        let output = node.outputs().iter().flatten().next().map_or("", |&v| graph.value(v).name());
        modules.insert(id, module(node.name(), output, slashes));
        node.inputs().iter().flatten().for_each(|&v| readers.entry(v).or_default().push(id));
    }
    // Last first, so that chains of such nodes follow.
    for id in graph.order().unwrap_or_default().into_iter().rev() {
        if modules.get(&id).is_none_or(|m| !m.path.is_empty()) {
            continue;
        }
        let own = graph.node(id).outputs().iter().flatten().filter_map(|v| readers.get(v)).flatten();
        let mut shared: Option<Vec<&str>> = None;
        for reader in own {
            let path: Vec<&str> = modules[reader].path.split('/').filter(|p| !p.is_empty()).collect();
            shared = Some(match shared {
                None => path,
                Some(before) => {
                    let same = before.iter().zip(&path).take_while(|(a, b)| a == b).count();
                    before[..same].to_vec()
                }
            });
        }
        let path = shared.unwrap_or_default().join("/");
        modules.entry(id).or_default().path = path;
    }
    modules
}

/// The module of a node, from its name, and what is left of the name.
fn module(name: &str, output: &str, slashes: bool) -> Module {
    if name.is_empty() {
        return Module { path: String::new(), rest: output.to_owned() };
    }
    let separator = if slashes { '/' } else { '.' };
    let trimmed = name.trim_matches(separator);
    // `p2o.Conv.0` is the first Conv of p2o, no module of its own.
    let numbered = |last: &str| !slashes && last.bytes().all(|b| b.is_ascii_digit());
    let cut = trimmed.rfind(separator).and_then(|at| match numbered(&trimmed[at + 1..]) {
        true => trimmed[..at].rfind(separator),
        false => Some(at),
    });
    match cut.map(|at| (&trimmed[..at], &trimmed[at + 1..])) {
        Some((module, last)) => {
            let parts: Vec<&str> = module.split(separator).filter(|p| !p.is_empty()).collect();
            Module { path: parts.join("/"), rest: last.to_owned() }
        }
        None => Module { path: String::new(), rest: trimmed.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxidane::Model;

    #[test]
    fn names_tell_modules() {
        let of = |name, slashes| {
            let module = module(name, "out", slashes);
            (module.path, module.rest)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of("/layer1/layer1.0/conv1/Conv", true), pair("layer1/layer1.0/conv1", "Conv"));
        assert_eq!(of("p2o.Conv.0", false), pair("p2o", "Conv.0"));
        assert_eq!(of("encoder.norm.Mul", false), pair("encoder/norm", "Mul"));
        assert_eq!(of("Conv_12", true), pair("", "Conv_12"));
        assert_eq!(of("", true), pair("", "out"));
    }

    #[test]
    fn what_has_no_module_stands_where_it_is_read() {
        let text = "<ir_version: 10, opset_import: [\"\" : 23]>
            g (float[2] x) => (float[2] y) {
                a = Neg(x)
                b = Abs(a)
                [\"m/n/one\"] c = Relu(b)
                [\"m/o/two\"] d = Exp(b)
                [\"m/o/three\"] y = Add(c, d)
            }";
        let proto = oxidane::onnx::text::parse_model(text).expect("text");
        let model = Model::from_proto(proto, None).expect("a model");
        let modules = modules(model.graph());
        let mut paths: Vec<&str> = modules.values().map(|module| module.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["m", "m", "m/n", "m/o", "m/o"]);
    }
}
