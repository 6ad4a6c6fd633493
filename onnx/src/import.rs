//! A model's message becomes a graph: names become edges, subgraphs are closed, operators brought to the newest
//! opset and read by their rooms, functions put in as bodies of their calls, types worked out on the way.
//! Everything that is wrong is collected; what cannot be read stays in the graph as [`Opaque`].

mod node;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use oxidane_graph::{
    Attributes, Findings, Graph, Id, Inference, MAX_DEPTH, NodeId, NodeSpec, Op, OpError, Opaque, Place,
    Problem, Source, Type, ValueId, qualified,
};
use oxidane_ops::control::call::Call;
use oxidane_ops::tensor::constant::Constant;
use oxidane_ops::training::gradient;
use oxidane_ops::{Draft, room};
use oxidane_tensor::Tensor;
use smallvec::SmallVec;

use self::node::{Item, skeleton};

use crate::attribute::{attribute_from_proto, kind};
use crate::external::ExternalData;
use crate::extra::{self, GraphExtra, NodeExtra, ValueExtra};
use crate::function::{Functions, callee, domain, graphs, shown};
use crate::model::{IR_VERSION, Model, OPSET, of_model};
use crate::names::{FreeNames, order};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};
use crate::tensors::{sparse_from_proto, tensor_from_proto};
use crate::types::{type_from_proto, type_to_proto};

/// Calls of functions may add this many nodes to a model in all: functions that call each other twice and
/// twice again would otherwise fill any memory.
const CALLED_NODES: usize = 1 << 17;

/// Makes a model of its message and says what was found.
pub(crate) fn import(mut proto: ModelProto, external: ExternalData) -> (Model, Findings) {
    let graph = proto.graph.take().unwrap_or_default();
    let mut findings = Findings::default();
    let functions = Functions::new(&proto, &mut findings.problems);
    let mut importer = Importer {
        functions,
        external,
        findings,
        free: FreeNames::default(),
        left: Some(CALLED_NODES),
        ir: proto.ir_version(),
    };
    let made = importer.model(&proto, &graph);
    let findings = importer.findings;
    (Model { graph: made, header: proto }, findings)
}

struct Importer<'p> {
    functions: Functions<'p>,
    external: ExternalData,
    findings: Findings,
    free: FreeNames<'p>,
    /// How many nodes function calls may still add; `None` once that was not enough.
    left: Option<usize>,
    ir: i64,
}

/// How the nodes of the model, or of one call of a function, are to be read.
struct Frame<'p> {
    opsets: HashMap<&'p str, i64>,
    /// Within a function: its attributes in this call.
    bindings: Option<HashMap<&'p str, &'p AttributeProto>>,
    /// What stands before the names of the values of a call.
    prefix: String,
}

impl<'p> Frame<'p> {
    fn name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self.prefix.is_empty() || name.is_empty() {
            true => Cow::Borrowed(name),
            false => Cow::Owned(format!("{}{name}", self.prefix)),
        }
    }
}

/// A graph in the making.
struct Level<'p> {
    graph: Graph,
    walk: Inference,
    path: Vec<String>,
    /// What tells sizes of this graph apart from those of another with the same names.
    hint: String,
    depth: usize,
    infos: HashMap<&'p str, &'p ValueInfoProto>,
    /// Names that stand for an input that was left out.
    absent: HashSet<&'p str>,
    /// Which node makes a name.
    made: HashMap<&'p str, usize>,
    /// What nodes read, and the graph gives.
    read: HashSet<&'p str>,
}

/// Where a graph stands and what it may read from there.
struct Entry<'p> {
    path: Vec<String>,
    hint: String,
    depth: usize,
    captures: Vec<(&'p str, Option<Type>)>,
    absent: HashSet<&'p str>,
}

/// A subgraph that was read, and what its own walk found.
type Bodies = Vec<(Graph, Findings)>;

fn imports(list: &[OperatorSetIdProto]) -> HashMap<&str, i64> {
    list.iter().map(|o| (domain(o.domain()), o.version())).collect()
}

impl<'p> Importer<'p> {
    fn model(&mut self, header: &'p ModelProto, graph: &'p GraphProto) -> Graph {
        let mut opsets = imports(&header.opset_import);
        if opsets.is_empty() && self.ir < 3 {
            // Files of that time name no opset.
            opsets.insert("", 1);
        }
        if self.ir < 1 {
            let help = "set ir_version; the file may be damaged";
            self.findings.problems.push(of_model("names no IR version", help));
        }
        if self.ir > IR_VERSION {
            let what = format!(
                "is of IR version {}, newer than {IR_VERSION}; what is new in it is not read",
                self.ir
            );
            self.findings
                .warnings
                .push(of_model(what, "export it for an older ONNX if something is missing"));
        }
        match opsets.get("") {
            None if opsets.is_empty() => {
                let help = "add an opset_import; the file was written wrongly";
                self.findings.problems.push(of_model("imports no opset", help));
            }
            Some(&version) if version > OPSET => {
                let what = format!(
                    "is of opset {version}, newer than {OPSET}; its operators are read as of {OPSET}"
                );
                self.findings
                    .warnings
                    .push(of_model(what, "export it for an older opset if something fails"));
            }
            Some(&version) if version < 1 => {
                let help = "opsets start at 1; correct opset_import";
                self.findings.problems.push(of_model(format!("imports opset {version}"), help));
            }
            _ => {}
        }
        let frame = Frame { opsets, bindings: None, prefix: String::new() };
        let entry = Entry {
            path: Vec::new(),
            hint: String::new(),
            depth: 0,
            captures: Vec::new(),
            absent: HashSet::new(),
        };
        let level = self.graph(graph, &frame, entry);
        let (into, from) = (&mut self.findings, level.walk.findings);
        into.problems.extend(from.problems);
        into.warnings.extend(from.warnings);
        into.unknown.extend(from.unknown);
        level.graph
    }

    fn problem(&mut self, place: Place, error: OpError) {
        self.findings.problems.push(Problem::new(place, error));
    }

    /// A place that is no node.
    fn say(&mut self, path: &[String], what: impl Into<String>, error: OpError) {
        let place = Place { path: path.to_vec(), node: what.into(), ..Place::default() };
        self.problem(place, error);
    }

    fn graph(&mut self, proto: &'p GraphProto, frame: &Frame<'p>, entry: Entry<'p>) -> Level<'p> {
        let captures = entry.captures;
        let mut level = Level {
            graph: Graph::new(proto.name()),
            walk: Inference::default(),
            path: entry.path,
            hint: entry.hint,
            depth: entry.depth,
            infos: proto.value_info.iter().chain(&proto.output).map(|i| (i.name(), i)).collect(),
            absent: entry.absent,
            made: HashMap::new(),
            read: proto.output.iter().map(|o| o.name()).collect(),
        };
        // Before IR version 4 every initializer was an input too, which nobody fed.
        let constants = level.depth == 0 && self.ir < 4;
        let mut rest = GraphProto {
            quantization_annotation: proto.quantization_annotation.clone(),
            ..GraphProto::default()
        };
        let mut initial: HashMap<&str, &'p TensorProto> = HashMap::new();
        for tensor in &proto.initializer {
            if initial.insert(tensor.name(), tensor).is_some() {
                let error = OpError::new("is initialized twice").help("remove one of the initializers");
                self.say(&level.path, format!("initializer `{}`", tensor.name()), error);
            }
        }
        let initialized = proto.input.iter().any(|i| initial.contains_key(i.name()));
        if initialized && constants {
            let full = |i: &ValueInfoProto| match initial.contains_key(i.name()) {
                true => i.clone(),
                false => ValueInfoProto { name: i.name.clone(), ..ValueInfoProto::default() },
            };
            rest.input = proto.input.iter().map(full).collect();
        } else if initialized {
            let name = |t: &TensorProto| TensorProto { name: t.name.clone(), ..TensorProto::default() };
            rest.initializer = proto.initializer.iter().map(name).collect();
        }
        let mut taken: HashSet<&'p str> = HashSet::new();
        for info in &proto.input {
            let tensor = initial.get(info.name()).copied();
            if constants && tensor.is_some() {
                continue;
            }
            taken.insert(info.name());
            self.input(&mut level, frame, info, tensor);
        }
        let own: HashSet<&str> = crate::names::definitions(proto).collect();
        for (name, ty) in captures {
            // A body that defines the name itself does not read it from outside.
            let name = if own.contains(name) { "" } else { name };
            if let Ok(id) = level.graph.add_input(&frame.name(name), ty.clone(), None) {
                level.graph.set_type(id, ty);
            }
        }
        for tensor in &proto.initializer {
            if taken.insert(tensor.name()) {
                self.initializer(&mut level, frame, tensor, if constants { &proto.input } else { &[] });
            }
        }
        for sparse in &proto.sparse_initializer {
            let name = sparse.values.as_ref().map_or("", |v| v.name());
            if !taken.insert(name) {
                let error = OpError::new("is defined twice").help("rename or remove one of the two");
                self.say(&level.path, format!("sparse initializer `{name}`"), error);
                continue;
            }
            match sparse_from_proto(sparse, &mut self.external) {
                Ok(value) => {
                    let op = Constant {
                        sparse_value: Some(value),
                        value: None,
                        ..Constant::of(Tensor::scalar(0f32))
                    };
                    let id = self.declare(&mut level, frame, name);
                    let extra = NodeExtra { node: None, sparse_initializer: true };
                    let notes = extra::notes("", &[], &extra);
                    let spec = NodeSpec { notes, ..NodeSpec::new(Arc::new(op), &[], &[Some(id)]) };
                    if let Ok(node) = level.graph.add_node(spec) {
                        level.walk.node(&mut level.graph, node);
                    }
                }
                Err(error) => {
                    self.declare(&mut level, frame, name);
                    self.say(&level.path, format!("sparse initializer `{name}`"), error);
                }
            }
        }
        self.nodes(&mut level, frame, &proto.node, &taken);
        let outputs = proto.output.iter().map(|info| self.output(&mut level, frame, info.name())).collect();
        level.graph.set_outputs(outputs);
        let known = |info: &&ValueInfoProto| level.graph.value_named(&frame.name(info.name())).is_none();
        rest.value_info = proto.value_info.iter().filter(known).cloned().collect();
        let extra = GraphExtra { graph: (rest != GraphProto::default()).then_some(rest) };
        level.graph.set_notes(proto.name(), extra::notes(proto.doc_string(), &proto.metadata_props, &extra));
        level
    }

    fn input(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        info: &'p ValueInfoProto,
        initializer: Option<&'p TensorProto>,
    ) {
        let name = info.name();
        let place = format!("input `{name}`");
        if name.is_empty() {
            let error = OpError::new("has no name").help("name every input of the graph");
            return self.say(&level.path, place, error);
        }
        let default = initializer.and_then(|tensor| match tensor_from_proto(tensor, &mut self.external) {
            Ok(tensor) => Some(tensor),
            Err(error) => {
                self.say(&level.path, format!("initializer `{name}`"), error);
                None
            }
        });
        let Ok(id) = level.graph.add_input(&frame.name(name), None, default.clone()) else {
            let error = OpError::new("is listed twice").help("remove or rename one of the two inputs");
            return self.say(&level.path, place, error);
        };
        let skeleton = initializer.map(|t| TensorProto {
            doc_string: t.doc_string.clone(),
            metadata_props: t.metadata_props.clone(),
            ..TensorProto::default()
        });
        self.annotate(level, frame, id, info, skeleton.filter(|t| *t != TensorProto::default()));
        if let (Some(tensor), Some(declared)) = (default, level.graph.value(id).declared()) {
            let actual = Type::fixed(tensor.dtype(), tensor.shape());
            if let Err(why) = Type::meet(&actual, declared) {
                let error = OpError::new(format!(
                    "is declared as {declared}, but its initializer is {actual}: {why}"
                ))
                .help("correct the declaration of the input or the initializer");
                self.say(&level.path, place, error);
            }
        }
    }

    /// Sets what a declaration says of a value.
    fn annotate(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        id: ValueId,
        info: &'p ValueInfoProto,
        tensor: Option<TensorProto>,
    ) {
        let mut exact = None;
        if let Some(proto) = &info.r#type {
            match type_from_proto(proto, &format!("{}{}", level.hint, frame.name(info.name()))) {
                Ok(ty) => {
                    if ty.as_ref().map(type_to_proto).as_ref() != Some(proto) {
                        exact = Some(proto.clone());
                    }
                    level.graph.set_declared(id, ty);
                }
                Err(error) => self.say(&level.path, format!("value `{}`", info.name()), error),
            }
        }
        let extra = ValueExtra { ty: exact, tensor, info: None };
        let notes = extra::notes(info.doc_string(), &info.metadata_props, &extra);
        if !notes.is_empty() {
            level.graph.set_value_notes(id, notes);
        }
    }

    fn initializer(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        proto: &'p TensorProto,
        inputs: &'p [ValueInfoProto],
    ) {
        let name = proto.name();
        let tensor = match tensor_from_proto(proto, &mut self.external) {
            Ok(tensor) => tensor,
            Err(error) => {
                self.say(&level.path, format!("initializer `{name}`"), error);
                self.declare(level, frame, name);
                return;
            }
        };
        if name.is_empty() {
            let error = OpError::new("has no name").help("name every initializer");
            return self.say(&level.path, "an initializer", error);
        }
        let actual = Type::fixed(tensor.dtype(), tensor.shape());
        let Ok(id) = level.graph.add_constant(&frame.name(name), tensor) else {
            let error = OpError::new("is defined twice").help("rename or remove one of the two");
            return self.say(&level.path, format!("initializer `{name}`"), error);
        };
        let info = level.infos.get(name).copied();
        let declared = info.or_else(|| inputs.iter().find(|i| i.name() == name));
        if let Some(ty) = declared.and_then(|i| i.r#type.as_ref())
            && let Ok(Some(ty)) = type_from_proto(ty, &format!("{}{name}", level.hint))
        {
            if let Err(why) = Type::meet(&actual, &ty) {
                let error = OpError::new(format!("is declared as {ty}, but is {actual}: {why}"))
                    .help("correct the declaration or the initializer");
                self.say(&level.path, format!("initializer `{name}`"), error);
            }
            if info.is_some() {
                level.graph.set_declared(id, Some(ty));
                level.graph.set_type(id, Some(actual));
            }
        }
        let extra = ValueExtra { info: info.cloned(), ..ValueExtra::default() };
        let notes = extra::notes(proto.doc_string(), &proto.metadata_props, &extra);
        if !notes.is_empty() {
            level.graph.set_value_notes(id, notes);
        }
    }

    /// A new value of a name, which nothing defines yet, with what the file declares of it.
    fn declare(&mut self, level: &mut Level<'p>, frame: &Frame<'p>, name: &str) -> ValueId {
        let full = frame.name(name);
        let id = match level.graph.value_named(&full) {
            Some(id) => return id,
            None => level.graph.add_undefined(&full).or_else(|_| level.graph.add_undefined("")),
        };
        // An unnamed value clashes with nothing.
        let id = id.expect("an unnamed value");
        if let Some(info) = level.infos.get(name).copied() {
            self.annotate(level, frame, id, info, None);
        }
        id
    }

    fn output(&mut self, level: &mut Level<'p>, frame: &Frame<'p>, name: &'p str) -> ValueId {
        if let Some(id) = level.graph.value_named(&frame.name(name)) {
            return id;
        }
        let error = match level.absent.contains(name) {
            true => OpError::new("is an input of the function that this call leaves out"),
            false => OpError::new("is defined by nothing: no input, initializer or node has that name"),
        };
        let error = error.help("correct the name, or add the node that makes it");
        self.say(&level.path, format!("output `{name}`"), error);
        self.declare(level, frame, name)
    }

    /// Reads nodes in an order in which each comes after those that it reads from.
    fn nodes(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        nodes: &'p [NodeProto],
        taken: &HashSet<&'p str>,
    ) {
        for (index, node) in nodes.iter().enumerate() {
            for name in node.output.iter().map(String::as_str).filter(|name| !name.is_empty()) {
                let error = if taken.contains(name) {
                    OpError::new(format!(
                        "its output `{name}` is an input or initializer of the graph as well"
                    ))
                } else if let Some(&other) = level.made.get(name) {
                    let first = nodes.get(other).map_or("", |n| n.name());
                    OpError::new(format!(
                        "its output `{name}` is an output of node {other} `{first}` as well"
                    ))
                } else {
                    level.made.insert(name, index);
                    continue;
                };
                let place = self.place(level, node, index);
                self.problem(place, error.help("a name is defined once; rename one of the two"));
            }
        }
        for node in nodes {
            level.read.extend(self.free.of_node(node));
        }
        let order = order(nodes, &level.made, &mut self.free);
        if let Some(&first) = order.cycle.first() {
            let name = |&at: &usize| match nodes.get(at) {
                Some(n) if n.name().is_empty() => format!("node {at} ({})", n.op_type()),
                Some(n) => format!("node {at} `{}`", n.name()),
                None => format!("node {at}"),
            };
            let mut chain: Vec<String> = order.cycle.iter().take(8).map(name).collect();
            if order.cycle.len() > chain.len() {
                chain.push("...".into());
            }
            chain.push(name(&first));
            let place = self.place(level, &nodes[first], first);
            let error = OpError::new(format!("is on a cycle: {}", chain.join(" -> "))).help(
                "a node cannot read what is computed from its own output; use a Loop, or correct the names",
            );
            self.problem(place, error);
        }
        for at in order.nodes {
            self.node(level, frame, &nodes[at], at);
        }
    }

    fn place(&self, level: &Level<'p>, node: &NodeProto, index: usize) -> Place {
        let shown = |name: &String| {
            if name.is_empty() {
                return "(none)".to_owned();
            }
            match level.graph.value_named(name).and_then(|v| level.graph.value(v).ty()) {
                Some(ty) => format!("{name}: {ty}"),
                None => format!("{name}: type unknown"),
            }
        };
        Place {
            path: level.path.clone(),
            index: Some(index),
            node: node.name().to_owned(),
            op: qualified(node.domain(), node.op_type()),
            inputs: node.input.iter().map(shown).collect(),
            origin: String::new(),
        }
    }

    fn read(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        name: &'p str,
        node: &NodeProto,
        index: usize,
    ) -> Option<ValueId> {
        if name.is_empty() || level.absent.contains(name) {
            return None;
        }
        if let Some(id) = level.graph.value_named(&frame.name(name)) {
            return Some(id);
        }
        if !level.made.contains_key(name) {
            let place = self.place(level, node, index);
            let error = OpError::new(format!("reads `{name}`, which nothing defines"))
                .help("correct the name, or add the input, initializer or node that makes it");
            self.problem(place, error);
        }
        Some(self.declare(level, frame, name))
    }

    fn node(&mut self, level: &mut Level<'p>, frame: &Frame<'p>, proto: &'p NodeProto, index: usize) {
        let inputs: SmallVec<[Option<ValueId>; 4]> =
            proto.input.iter().map(|name| self.read(level, frame, name, proto, index)).collect();
        let (attributes, bodies, mut reason) = self.attributes(level, frame, proto, index);
        let key = callee(proto);
        if reason.is_empty() && self.functions.is_endless(key) {
            reason = format!("the function {} calls itself", shown(key));
        }
        let mut captures: Vec<(&'p str, ValueId)> = Vec::new();
        let mut absent = HashSet::new();
        let mut seen = HashSet::new();
        let read: Vec<&'p str> = bodies.iter().flat_map(|&(_, graph)| self.free.of(graph).to_vec()).collect();
        for name in read {
            if level.absent.contains(name) {
                absent.insert(name);
            } else if seen.insert(name) {
                // What is defined nowhere is said where it is read.
                let known =
                    level.graph.value_named(&frame.name(name)).is_some() || level.made.contains_key(name);
                if known {
                    captures.push((name, self.declare(level, frame, name)));
                }
            }
        }
        let captured: Vec<ValueId> = captures.iter().map(|c| c.1).collect();
        let item = Item { proto, index, attributes, bodies, captures, absent };
        let mut made = Made { inputs, captured, ..Made::default() };
        if reason.is_empty() {
            let result = match self.functions.get(key) {
                Some(function) => self.call(level, frame, &item, function, &mut made),
                None if (domain(proto.domain()), proto.op_type()) == (gradient::DOMAIN, gradient::NAME) => {
                    self.gradient(level, frame, &item, &mut made)
                }
                None => self.standard(level, frame, &item, &mut made),
            };
            if let Err(error) = result {
                reason = error.what().to_owned();
                let place = self.place(level, proto, index);
                self.problem(place, error);
            }
        }
        if made.op.is_none() {
            self.opaque(level, frame, item, reason, &mut made);
        }
        self.add(level, proto, made);
    }

    /// Reads a node that no room takes.
    fn opaque(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        item: Item<'p>,
        reason: String,
        made: &mut Made,
    ) {
        let proto = item.proto;
        made.inputs = proto.input.iter().map(|name| self.known(level, frame, name)).collect();
        made.outputs = self.outputs(level, frame, proto, item.index);
        let mut names = item.bodies.iter().map(|&(name, _)| interned(name)).collect();
        match self.bodies(level, frame, &item, &item.bodies) {
            Ok(bodies) => made.bodies = bodies,
            Err(error) => {
                names = Vec::new();
                if reason.is_empty() {
                    let place = self.place(level, proto, item.index);
                    self.problem(place, error);
                }
            }
        }
        made.op = Some(Arc::new(Opaque {
            domain: proto.domain().to_owned(),
            name: proto.op_type().to_owned(),
            overload: proto.overload().to_owned(),
            opset: frame.opsets.get(domain(proto.domain())).copied().unwrap_or(0),
            attributes: item
                .attributes
                .iter()
                .map(|(name, value)| (Arc::from(name), value.clone()))
                .collect(),
            bodies: names,
            reason,
        }));
    }

    /// The value of a name that was read before.
    fn known(&self, level: &Level<'p>, frame: &Frame<'p>, name: &str) -> Option<ValueId> {
        level.graph.value_named(&frame.name(name))
    }

    /// The values that a node defines.
    fn outputs(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        proto: &'p NodeProto,
        index: usize,
    ) -> SmallVec<[Option<ValueId>; 2]> {
        let mut outputs = SmallVec::new();
        for name in &proto.output {
            let own = !name.is_empty() && level.made.get(name.as_str()) == Some(&index);
            let id = own.then(|| self.declare(level, frame, name));
            outputs.push(id.filter(|_| !outputs.contains(&id)));
        }
        outputs
    }

    /// Adds a node that was read, and works out its types.
    fn add(&mut self, level: &mut Level<'p>, proto: &'p NodeProto, made: Made) {
        let Some(op) = made.op else { return };
        let (opaque, call) = (op.is::<Opaque>(), op.is::<Call>());
        let formal = made.inputs.len();
        let mut inputs = made.inputs;
        inputs.extend(made.captured.into_iter().map(Some));
        let mut skeleton = skeleton(proto, op.name());
        if made.dropped {
            skeleton.output.clone_from(&proto.output);
        }
        let extra = NodeExtra {
            node: (skeleton != NodeProto::default()).then_some(skeleton),
            sparse_initializer: false,
        };
        let mut inner = Vec::new();
        let mut bodies = Vec::new();
        for (body, findings) in made.bodies {
            bodies.push(body);
            inner.push(findings);
        }
        let captures = if bodies.is_empty() { 0 } else { inputs.len() - formal };
        inputs.truncate(formal + captures);
        let helpers = made.helpers;
        let behind = behind(&level.graph, &helpers, &made.outputs);
        for &helper in helpers.iter().filter(|h| !behind.contains(h)) {
            level.walk.node(&mut level.graph, helper);
        }
        let spec = NodeSpec {
            op,
            inputs,
            outputs: made.outputs,
            captures,
            bodies,
            name: proto.name().to_owned(),
            origin: "",
            notes: extra::notes(proto.doc_string(), &proto.metadata_props, &extra),
        };
        let Ok(id) = level.graph.add_node(spec) else { return };
        if call {
            // The body was read with the types of this call, so it need not be looked through again.
            let node = level.graph.node(id);
            let given: Vec<Option<Type>> = node.bodies().first().map_or_else(Vec::new, |body| {
                body.outputs().iter().map(|&v| body.value(v).ty().cloned()).collect()
            });
            for (output, ty) in node.outputs().to_vec().into_iter().zip(given) {
                let (Some(output), Some(ty)) = (output, ty) else { continue };
                let declared = level.graph.value(output).declared();
                let met = declared.and_then(|declared| Type::meet(&ty, declared).ok());
                level.graph.set_type(output, Some(met.unwrap_or(ty)));
            }
        } else {
            level.walk.node(&mut level.graph, id);
        }
        if opaque || call {
            // Nothing else looks into these bodies, so what was found in them while reading counts.
            for (k, findings) in inner.into_iter().enumerate() {
                let step = level.graph.body_path(id, k);
                let into = &mut level.walk.findings;
                for (from, into) in [
                    (findings.problems, &mut into.problems),
                    (findings.warnings, &mut into.warnings),
                    (findings.unknown, &mut into.unknown),
                ] {
                    into.extend(from.into_iter().map(|p| p.inside(&step)));
                }
            }
        }
        for helper in behind {
            level.walk.node(&mut level.graph, helper);
        }
    }
}

/// What a node is made of, on its way into the graph.
#[derive(Default)]
struct Made {
    op: Option<Arc<dyn Op>>,
    inputs: SmallVec<[Option<ValueId>; 4]>,
    outputs: SmallVec<[Option<ValueId>; 2]>,
    captured: Vec<ValueId>,
    bodies: Bodies,
    /// Nodes that the way to the newest opset added.
    helpers: Vec<NodeId>,
    /// Whether outputs that nothing reads were left out.
    dropped: bool,
}

/// Of helper nodes, those that read, maybe through others, what the node itself will make.
pub(crate) fn behind(graph: &Graph, helpers: &[NodeId], outputs: &[Option<ValueId>]) -> Vec<NodeId> {
    let mut made: HashSet<ValueId> = outputs.iter().flatten().copied().collect();
    let mut found = Vec::new();
    // Each is added after what it reads, or before: twice through the list is enough for the chains of a step.
    for _ in 0..2 {
        for &id in helpers {
            let Some(node) = graph.get_node(id) else { continue };
            if !found.contains(&id) && node.inputs().iter().flatten().any(|v| made.contains(v)) {
                made.extend(node.outputs().iter().flatten());
                found.push(id);
            }
        }
    }
    found
}

/// A name that lives as long as the program; each is kept once.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_default();
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}
