//! What differs between two models as they are written: header, interface, nodes, attributes, edges, weights, names.
//! Both are compared in their newest form, so that spellings of the same operator in two opsets are equal.

use crate::difference::difference;
use oxidane::graph::{Attributes, Graph, Id, Node, NodeId, ValueId, qualified, same_tensor};
use oxidane::{Datum, Model, Tensor, Type};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What kind of thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Opsets, IR version, producer, documentation, metadata, functions.
    Header,
    /// The number or type of the inputs.
    Input,
    /// The number or type of the outputs.
    Output,
    /// A node that only one of the models has.
    Node,
    /// The operator of a node.
    Operator,
    /// An attribute of a node.
    Attribute,
    /// What a node or output reads.
    Edge,
    /// The elements, type or shape of a constant.
    Weight,
    /// What a value or node is called.
    Name,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of thing differs.
    pub kind: Kind,
    /// Where: the way through bodies, and the name of the node, value or key.
    #[serde(rename = "where")]
    pub place: String,
    /// How it differs.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", format!("{:?}", self.kind).to_lowercase(), self.place, self.what)
    }
}

/// All differences between two models; none where they are equal.
pub fn compare(a: &Model, b: &Model) -> Vec<Change> {
    let mut changes = Changes::default();
    headers(a, b, &mut changes);
    graphs(a.graph(), b.graph(), None, &mut changes);
    changes.all
}

#[derive(Default)]
struct Changes {
    path: Vec<String>,
    all: Vec<Change>,
}

impl Changes {
    fn push(&mut self, kind: Kind, place: impl Into<String>, what: impl Into<String>) {
        let mut place: String = place.into();
        if !self.path.is_empty() {
            place = format!("{}/{place}", self.path.join("/"));
        }
        self.all.push(Change { kind, place, what: what.into() });
    }
}

fn headers(a: &Model, b: &Model, changes: &mut Changes) {
    let (a, b) = (a.onnx(), b.onnx());
    let mut tell = |key: &str, old: String, new: String| {
        if old != new {
            changes.push(Kind::Header, key, format!("{old:?} became {new:?}"));
        }
    };
    tell("ir_version", a.ir_version().to_string(), b.ir_version().to_string());
    let (h, g) = (&a.header, &b.header);
    tell("producer_name", h.producer_name().into(), g.producer_name().into());
    tell("producer_version", h.producer_version().into(), g.producer_version().into());
    tell("domain", h.domain().into(), g.domain().into());
    tell("model_version", h.model_version().to_string(), g.model_version().to_string());
    tell("doc_string", h.doc_string().into(), g.doc_string().into());
    let opsets = |m: &oxidane::onnx::Model| -> HashMap<String, String> {
        m.opsets().map(|(domain, v)| (format!("opset {domain}").trim().to_owned(), v.to_string())).collect()
    };
    let metadata = |m: &oxidane::onnx::Model| -> HashMap<String, String> {
        m.metadata().map(|(key, value)| (format!("metadata {key}"), value.to_owned())).collect()
    };
    let functions = |m: &oxidane::onnx::Model| -> HashMap<String, String> {
        let called =
            |f: &oxidane::onnx::proto::FunctionProto| format!("function {}", qualified(f.domain(), f.name()));
        m.functions().iter().map(|f| (called(f), format!("{f:?}"))).collect()
    };
    for (old, new) in [(opsets(a), opsets(b)), (metadata(a), metadata(b)), (functions(a), functions(b))] {
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let short = |s: &String| if s.len() > 60 { "another text".to_owned() } else { format!("{s:?}") };
            match (old.get(key), new.get(key)) {
                (Some(x), Some(y)) if x != y => {
                    changes.push(Kind::Header, key, format!("{} became {}", short(x), short(y)));
                }
                (Some(_), None) => changes.push(Kind::Header, key, "is gone"),
                (None, Some(_)) => changes.push(Kind::Header, key, "is new"),
                _ => {}
            }
        }
    }
}

/// Which value of the second graph a value of the first one is.
type Pairs = HashMap<ValueId, ValueId>;

/// What the bodies of two nodes read from outside, and how values outside are paired.
type Captured<'a> = Option<(&'a [Option<ValueId>], &'a [Option<ValueId>], &'a Pairs)>;

/// An operator, its attributes as text, and what it reads.
type Called = (String, String, Vec<Option<ValueId>>);

fn graphs(a: &Graph, b: &Graph, captured: Captured<'_>, changes: &mut Changes) {
    let mut pairs = Pairs::new();
    ports(a, b, captured, &mut pairs, changes);
    weights(a, b, &mut pairs, changes);
    let nodes = nodes(a, b, &mut pairs, changes);
    for (old, new) in &nodes {
        node(a, b, *old, *new, &pairs, changes);
    }
    for (i, (&old, &new)) in a.outputs().iter().zip(b.outputs()).enumerate() {
        let fits = pairs.get(&old) == Some(&new);
        let (x, y) = (called(a, old), called(b, new));
        if !fits {
            changes.push(Kind::Edge, format!("output {i}"), format!("gives out `{y}` instead of `{x}`"));
        }
        let ty = |g: &Graph, v: ValueId| g.value(v).declared().or(g.value(v).ty()).map(Type::to_string);
        let (p, q) = (ty(a, old), ty(b, new));
        if p != q {
            let told = |t: Option<String>| t.unwrap_or("of unknown type".into());
            changes.push(Kind::Output, y, format!("{} became {}", told(p), told(q)));
        }
    }
    if a.outputs().len() != b.outputs().len() {
        let what = format!("{} became {}", a.outputs().len(), b.outputs().len());
        changes.push(Kind::Output, "number of outputs", what);
    }
}

fn called(graph: &Graph, id: ValueId) -> String {
    match graph.value(id).name() {
        "" => format!("#{}", id.index()),
        name => name.to_owned(),
    }
}

fn label(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    match node.name() {
        "" => {
            let output = node.outputs().iter().flatten().next().map(|&v| called(graph, v));
            format!("{}->{}", node.op().name(), output.unwrap_or_default())
        }
        name => name.to_owned(),
    }
}

fn ports(a: &Graph, b: &Graph, captured: Captured<'_>, pairs: &mut Pairs, changes: &mut Changes) {
    let formal =
        |g: &Graph, captures: usize| g.inputs()[..g.inputs().len().saturating_sub(captures)].to_vec();
    let (mut x, mut y) = match captured {
        Some((p, q, _)) => (formal(a, p.len()), formal(b, q.len())),
        None => (a.inputs().to_vec(), b.inputs().to_vec()),
    };
    if let Some((p, q, outer)) = captured {
        // What the bodies read from outside is paired by what it is outside.
        for (i, old) in p.iter().enumerate() {
            let Some(partner) = old.and_then(|old| outer.get(&old)) else { continue };
            let at = q.iter().position(|new| new.as_ref() == Some(partner));
            let inner = |g: &Graph, n: usize, k: usize| g.inputs().get(g.inputs().len() - n + k).copied();
            if let Some(k) = at
                && let (Some(old), Some(new)) = (inner(a, p.len(), i), inner(b, q.len(), k))
            {
                pairs.insert(old, new);
            }
        }
    }
    let (n, m) = (x.len(), y.len());
    let names: HashMap<&str, ValueId> = y.iter().map(|&v| (b.value(v).name(), v)).collect();
    let same: Vec<(ValueId, ValueId)> = x
        .iter()
        .filter_map(|&v| Some((v, *names.get(a.value(v).name()).filter(|_| !a.value(v).name().is_empty())?)))
        .collect();
    pairs.extend(same.iter().copied());
    let taken: HashSet<ValueId> = same.iter().map(|p| p.1).collect();
    x.retain(|v| !pairs.contains_key(v));
    y.retain(|v| !taken.contains(v));
    for (&old, &new) in x.iter().zip(&y) {
        pairs.insert(old, new);
        changes.push(Kind::Name, called(a, old), format!("the input is called `{}`", called(b, new)));
    }
    for &old in x.iter().skip(y.len()) {
        changes.push(Kind::Input, called(a, old), "is gone");
    }
    for &new in y.iter().skip(x.len()) {
        changes.push(Kind::Input, called(b, new), "is new");
    }
    if n == m {
        let order = |g: &Graph, k: usize| g.inputs()[..k].to_vec();
        let expected: Vec<Option<ValueId>> = order(a, n).iter().map(|v| pairs.get(v).copied()).collect();
        let actual: Vec<Option<ValueId>> = order(b, m).into_iter().map(Some).collect();
        if expected != actual && expected.iter().all(Option::is_some) {
            changes.push(Kind::Input, "order of inputs", "is another one");
        }
    }
    let ty = |g: &Graph, v: ValueId| g.value(v).declared().or(g.value(v).ty()).map(Type::to_string);
    for (&old, &new) in pairs.iter() {
        if captured.is_none() && ty(a, old) != ty(b, new) {
            let told = |t: Option<String>| t.unwrap_or("of unknown type".into());
            changes.push(
                Kind::Input,
                called(a, old),
                format!("{} became {}", told(ty(a, old)), told(ty(b, new))),
            );
        }
    }
}

/// Pairs constants: by name, and those without a partner by what they hold.
fn weights(a: &Graph, b: &Graph, pairs: &mut Pairs, changes: &mut Changes) {
    let constants = |g: &Graph| -> Vec<ValueId> {
        g.values().filter(|(_, v)| v.constant().is_some()).map(|(id, _)| id).collect()
    };
    let mut taken: HashSet<ValueId> = HashSet::new();
    let mut left = Vec::new();
    for old in constants(a) {
        let name = a.value(old).name();
        let twin = b.value_named(name).filter(|&v| !name.is_empty() && b.value(v).constant().is_some());
        match twin {
            Some(new) => {
                pairs.insert(old, new);
                taken.insert(new);
                if let (Some(x), Some(y)) = (a.value(old).constant(), b.value(new).constant())
                    && let Some(what) = apart(x, y)
                {
                    changes.push(Kind::Weight, name, what);
                }
            }
            None => left.push(old),
        }
    }
    let mut others: HashMap<(String, Vec<usize>), Vec<ValueId>> = HashMap::new();
    let key = |t: &Tensor| (t.dtype().to_string(), t.shape().to_vec());
    for new in constants(b).into_iter().filter(|v| !taken.contains(v)) {
        if let Some(t) = b.value(new).constant() {
            others.entry(key(t)).or_default().push(new);
        }
    }
    for old in left {
        let Some(x) = a.value(old).constant() else { continue };
        let same = others.get_mut(&key(x)).and_then(|list| {
            let at = list.iter().position(|&v| b.value(v).constant().is_some_and(|y| same_tensor(x, y)))?;
            Some(list.remove(at))
        });
        match same {
            Some(new) => {
                pairs.insert(old, new);
                if a.value(old).name() != b.value(new).name() {
                    changes.push(
                        Kind::Name,
                        called(a, old),
                        format!("the constant is called `{}`", called(b, new)),
                    );
                }
            }
            None => changes.push(Kind::Weight, called(a, old), "is gone"),
        }
    }
    let mut new: Vec<ValueId> = others.into_values().flatten().collect();
    new.sort_unstable();
    for id in new {
        changes.push(Kind::Weight, called(b, id), "is new");
    }
}

/// How two tensors differ; `None` where they are the same.
fn apart(a: &Tensor, b: &Tensor) -> Option<String> {
    if same_tensor(a, b) {
        return None;
    }
    if (a.dtype(), a.shape()) != (b.dtype(), b.shape()) {
        return Some(format!("{}{:?} became {}{:?}", a.dtype(), a.shape(), b.dtype(), b.shape()));
    }
    Some(match difference(&Datum::Tensor(a.clone()), &Datum::Tensor(b.clone())) {
        Ok(d) if d.unequal == 0 => "differs in the sign of zeros or the bits of NaNs".to_owned(),
        Ok(d) => format!("{} of {} elements differ, by {:.3e} at most", d.unequal, d.elements, d.absolute),
        Err(what) => what,
    })
}

/// Pairs nodes and their outputs, in the order of the first graph.
fn nodes(a: &Graph, b: &Graph, pairs: &mut Pairs, changes: &mut Changes) -> Vec<(NodeId, NodeId)> {
    let (Ok(order), Ok(others)) = (a.order(), b.order()) else { return Vec::new() };
    let mut by_name: HashMap<&str, Vec<NodeId>> = HashMap::new();
    let mut by_call: HashMap<Called, Vec<NodeId>> = HashMap::new();
    let call = |node: &Node, inputs: Vec<Option<ValueId>>| {
        let op = node.op();
        (qualified(op.domain(), op.name()), text(&op.attributes()), inputs)
    };
    for &id in &others {
        let node = b.node(id);
        if !node.name().is_empty() {
            by_name.entry(node.name()).or_default().push(id);
        }
        by_call.entry(call(node, node.inputs().to_vec())).or_default().push(id);
    }
    let mut taken: HashSet<NodeId> = HashSet::new();
    let mut found = Vec::new();
    let mut gone = Vec::new();
    let same_op = |x: &Node, y: &Node| x.op().name() == y.op().name() && x.op().domain() == y.op().domain();
    for id in order {
        let node = a.node(id);
        let mapped: Vec<Option<ValueId>> =
            node.inputs().iter().map(|v| v.and_then(|v| pairs.get(&v).copied())).collect();
        let exact = by_call.get(&call(node, mapped)).into_iter().flatten().copied();
        // Of several equal calls the one that gives the same name.
        let output =
            |g: &Graph, n: &Node| n.outputs().iter().flatten().next().map(|&v| g.value(v).name().to_owned());
        let own = output(a, node);
        let free = |id: &NodeId| !taken.contains(id);
        let mut exact: Vec<NodeId> = exact.filter(free).collect();
        exact.sort_by_key(|&id| (output(b, b.node(id)) != own, b.node(id).name() != node.name()));
        let by_output =
            own.as_deref().filter(|n| !n.is_empty()).and_then(|n| b.value(b.value_named(n)?).producer());
        let named = by_name
            .get(node.name())
            .into_iter()
            .flatten()
            .copied()
            .find(|id| free(id) && same_op(node, b.node(*id)));
        let twin = exact.first().copied().or(by_output.filter(free)).or(named);
        let Some(twin) = twin else {
            gone.push(id);
            continue;
        };
        taken.insert(twin);
        for (old, new) in node.outputs().iter().zip(b.node(twin).outputs()) {
            if let (Some(old), Some(new)) = (old, new) {
                pairs.insert(*old, *new);
            }
        }
        found.push((id, twin));
    }
    for id in gone {
        changes.push(Kind::Node, label(a, id), format!("the node of {} is gone", a.node(id).op().name()));
    }
    for id in others.into_iter().filter(|id| !taken.contains(id)) {
        changes.push(Kind::Node, label(b, id), format!("a node of {} is new", b.node(id).op().name()));
    }
    found
}

fn text(attributes: &Attributes) -> String {
    attributes.iter().map(|(name, value)| format!("{name}={value:?};")).collect()
}

fn node(a: &Graph, b: &Graph, old: NodeId, new: NodeId, pairs: &Pairs, changes: &mut Changes) {
    let (x, y) = (a.node(old), b.node(new));
    let place = label(a, old);
    let (p, q) = (qualified(x.op().domain(), x.op().name()), qualified(y.op().domain(), y.op().name()));
    if p != q {
        changes.push(Kind::Operator, &place, format!("{p} became {q}"));
    } else {
        let (mine, theirs) = (x.op().attributes(), y.op().attributes());
        let mut names: Vec<&str> = mine.iter().map(|(n, _)| n).chain(theirs.iter().map(|(n, _)| n)).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (u, v) = (mine.get(name), theirs.get(name));
            if u != v {
                let told = |v: Option<&oxidane::graph::Attribute>| {
                    v.map_or("absent".to_owned(), |v| shortened(&format!("{v:?}")))
                };
                changes.push(
                    Kind::Attribute,
                    format!("{place}.{name}"),
                    format!("{} became {}", told(u), told(v)),
                );
            }
        }
    }
    let slots = x.formal_inputs().len().max(y.formal_inputs().len());
    for slot in 0..slots {
        let (u, v) =
            (x.formal_inputs().get(slot).copied().flatten(), y.formal_inputs().get(slot).copied().flatten());
        let fits = match (u, v) {
            (None, None) => true,
            (Some(u), Some(v)) => pairs.get(&u) == Some(&v),
            _ => false,
        };
        if !fits {
            let told = |g: &Graph, v: Option<ValueId>| {
                v.map_or("nothing".to_owned(), |v| format!("`{}`", called(g, v)))
            };
            let what = format!("reads {} instead of {}", told(b, v), told(a, u));
            changes.push(Kind::Edge, format!("{place}[{slot}]"), what);
        }
    }
    if x.outputs().len() != y.outputs().len() {
        changes.push(
            Kind::Node,
            &place,
            format!("has {} outputs instead of {}", y.outputs().len(), x.outputs().len()),
        );
    }
    for (u, v) in x.outputs().iter().zip(y.outputs()) {
        if let (Some(u), Some(v)) = (u, v)
            && a.value(*u).name() != b.value(*v).name()
        {
            changes.push(Kind::Name, called(a, *u), format!("the value is called `{}`", called(b, *v)));
        }
    }
    if x.name() != y.name() {
        changes.push(Kind::Name, &place, format!("the node is called `{}`", y.name()));
    }
    for (k, (inner, other)) in x.bodies().iter().zip(y.bodies()).enumerate() {
        changes.path.push(a.body_path(old, k));
        graphs(inner, other, Some((x.captured(), y.captured(), pairs)), changes);
        changes.path.pop();
    }
}

fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
