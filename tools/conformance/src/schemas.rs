use bytes::Bytes;
use oxidane::onnx::ModelFile;
use oxidane::onnx::proto::{GraphProto, NodeProto, OperatorSetIdProto};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::catch_unwind;
use std::sync::LazyLock;

/// An operator of the standard in one of its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Schema {
    /// The domain; `ai.onnx` is the default one.
    pub domain: &'static str,
    /// The operator.
    pub name: &'static str,
    /// The first opset of the domain in which it is in force.
    pub version: i64,
}

/// `Add-14`, `ai.onnx.ml.Scaler-1`.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.domain {
            DEFAULT => write!(f, "{}-{}", self.name, self.version),
            domain => write!(f, "{domain}.{}-{}", self.name, self.version),
        }
    }
}

const DEFAULT: &str = "ai.onnx";

/// Written by `schemas.py`: domain, operator, version, `live` or `deprecated`.
const LIST: &str = include_str!("../schemas.tsv");

/// The versions of an operator, rising, and whether each is live.
type Versions = Vec<(Schema, bool)>;

static KNOWN: LazyLock<BTreeMap<(&str, &str), Versions>> = LazyLock::new(|| {
    let mut known: BTreeMap<_, Versions> = BTreeMap::new();
    for line in LIST.lines() {
        let mut columns = line.split('\t');
        let (Some(domain), Some(name), Some(version), Some(state)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        let Ok(version) = version.parse() else { continue };
        known.entry((domain, name)).or_default().push((Schema { domain, name, version }, state == "live"));
    }
    known.values_mut().for_each(|versions| versions.sort());
    known
});

/// The schemas of the standard that are not deprecated, sorted.
pub fn live_schemas() -> Vec<Schema> {
    KNOWN.values().flatten().filter(|(_, live)| *live).map(|(schema, _)| *schema).collect()
}

/// The live schemas that nodes of a model refer to, those in bodies and functions included. Empty for a file
/// that cannot be read.
pub fn touched(model: &Bytes) -> BTreeSet<Schema> {
    catch_unwind(|| {
        let mut found = BTreeSet::new();
        let Ok(file) = ModelFile::decode(model.clone(), "the case", &Default::default()) else {
            return found;
        };
        let opsets = Opsets::new(&file.model.opset_import);
        if let Some(graph) = &file.model.graph {
            opsets.walk(&graph.node, &mut found);
        }
        for function in &file.model.functions {
            Opsets::new(&function.opset_import).walk(&function.node, &mut found);
        }
        found
    })
    .unwrap_or_default()
}

/// What a model or a function imports: the opset of each domain.
struct Opsets<'a>(BTreeMap<&'a str, i64>);

fn known_as(domain: &str) -> &str {
    if domain.is_empty() { DEFAULT } else { domain }
}

impl<'a> Opsets<'a> {
    fn new(imports: &'a [OperatorSetIdProto]) -> Opsets<'a> {
        Opsets(imports.iter().map(|i| (known_as(i.domain()), i.version())).collect())
    }

    fn walk(&self, nodes: &[NodeProto], found: &mut BTreeSet<Schema>) {
        let mut todo: Vec<&NodeProto> = nodes.iter().collect();
        while let Some(node) = todo.pop() {
            found.extend(self.schema(node));
            let graphs = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
            todo.extend(graphs.flat_map(|g: &GraphProto| &g.node));
        }
    }

    /// The version in force, if it is live.
    fn schema(&self, node: &NodeProto) -> Option<Schema> {
        let domain = known_as(node.domain());
        let opset = *self.0.get(domain)?;
        let versions = KNOWN.get(&(domain, node.op_type()))?;
        let (schema, live) = versions.iter().rfind(|(schema, _)| schema.version <= opset)?;
        live.then_some(*schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_standard() {
        let live = live_schemas();
        assert_eq!(live.len(), 654);
        assert!(live.is_sorted());
        let names: Vec<String> = live.iter().map(Schema::to_string).collect();
        assert!(names.contains(&"Add-14".to_owned()) && names.contains(&"ai.onnx.ml.Scaler-1".to_owned()));
        assert!(!names.contains(&"Upsample-10".to_owned()), "deprecated");
    }

    #[test]
    fn finds_the_version_in_force() {
        let node = |op: &str| NodeProto { op_type: Some(op.to_owned()), ..NodeProto::default() };
        let at = |opset, op| {
            let import = OperatorSetIdProto { version: Some(opset), ..OperatorSetIdProto::default() };
            Opsets::new(&[import]).schema(&node(op)).map(|s| s.version)
        };
        assert_eq!(at(12, "Add"), Some(7));
        assert_eq!(at(14, "Add"), Some(14));
        assert_eq!(at(9, "Upsample"), Some(9));
        assert_eq!(at(10, "Upsample"), None, "deprecated there");
        assert_eq!(at(8, "Erf"), None, "not yet there");
    }
}
