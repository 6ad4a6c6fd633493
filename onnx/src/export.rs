//! A graph becomes a model's message: every node in the form of the opset that is written, subgraphs open again,
//! names for what has none, and what the file said beyond the graph.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use oxidane_graph::{
    Attribute, Graph, Node, NodeId, OpError, Opaque, Problem, Problems, Source, Type, ValueId,
};
use oxidane_ops::control::call::Call;
use oxidane_ops::tensor::constant::Constant;
use oxidane_ops::{room, rooms};

use crate::attribute::attribute_to_proto;
use crate::error::Error;
use crate::extra::{self, GraphExtra, NodeExtra, ValueExtra};
use crate::file::is_text;
use crate::function::domain;
use crate::lower::Written;
use crate::model::{Model, OPSET};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use crate::save::{save, save_with_external_data};
use crate::tensors::{sparse_to_proto, tensor_to_proto};
use crate::text::{TextOptions, save_text};
use crate::types::{type_from_proto, type_to_proto};

/// How a model is written.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// The opset of ONNX's own domain; the model's own where it is `None`.
    pub opset: Option<i64>,
    /// Tensors of at least so many bytes go to a file beside the model; `None` keeps all inside.
    pub external: Option<usize>,
}

impl Model {
    /// The message of the model, in the opset that it came with or in another one.
    ///
    /// # Errors
    /// [`Error::Model`] lists every node that the opset cannot express, and the first that can.
    pub fn to_proto(&self, opset: Option<i64>) -> Result<ModelProto, Error> {
        let mut header = self.header.clone();
        let ir = header.ir_version();
        let own = header.opset_import.iter_mut().find(|o| domain(o.domain()).is_empty());
        let target = opset.or(own.as_ref().map(|o| o.version())).unwrap_or(OPSET);
        if opset.is_some_and(|v| !(1..=OPSET).contains(&v)) {
            let error = OpError::new(format!("there is no opset {target}"))
                .help(format!("opsets run from 1 to {OPSET}"));
            return Err(Error::Model(Problem::at("model", error).into()));
        }
        match own {
            Some(own) => own.version = Some(target),
            // Files of the first IR versions name no opset.
            // What is not asked for and not used needs no import.
            None if opset.is_none() => {}
            None => header
                .opset_import
                .push(OperatorSetIdProto { domain: Some(String::new()), version: Some(target) }),
        }
        if opset.is_some() {
            header.ir_version = Some(header.ir_version().max(ir_of(target)));
        }
        let mut opsets: HashMap<String, i64> =
            header.opset_import.iter().map(|o| (domain(o.domain()).to_owned(), o.version())).collect();
        let unnamed = ir < 3 && opsets.is_empty();
        if unnamed {
            // Files of the first IR versions name no opset.
            opsets.insert(String::new(), 1);
        }
        let mut exporter = Exporter {
            opsets,
            same: self.opset("").is_none_or(|v| v == target),
            ir: header.ir_version(),
            taken: HashSet::new(),
            count: HashMap::new(),
            problems: Vec::new(),
            path: Vec::new(),
        };
        exporter.take_names(&self.graph);
        let graph = exporter.graph(self.graph.clone(), &[], 0);
        if !exporter.problems.is_empty() {
            return Err(Error::Model(Problems(exporter.problems)));
        }
        for (name, version) in exporter.opsets {
            if header.opset_import.iter().all(|o| domain(o.domain()) != name) && !unnamed {
                header.opset_import.push(OperatorSetIdProto { domain: Some(name), version: Some(version) });
            }
        }
        header.graph = Some(graph);
        Ok(header)
    }

    /// Writes the model to `path`: protobuf, or text where the name ends so.
    ///
    /// # Errors
    /// Those of [`Model::to_proto`], and when writing fails.
    pub fn save(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<(), Error> {
        let (path, proto) = (path.as_ref(), self.to_proto(options.opset)?);
        match options.external {
            _ if is_text(path) => save_text(&proto, path, &TextOptions::default()),
            Some(threshold) => save_with_external_data(proto, path, threshold),
            None => save(&proto, path),
        }
    }
}

/// The IR version of the ONNX release that brought an opset.
fn ir_of(opset: i64) -> i64 {
    let since = [
        (9, 4),
        (10, 5),
        (11, 6),
        (12, 7),
        (15, 8),
        (19, 9),
        (21, 10),
        (23, 11),
        (24, 12),
        (25, 13),
        (28, 14),
    ];
    since.iter().rev().find(|(first, _)| opset >= *first).map_or(3, |(_, ir)| *ir)
}

pub(crate) struct Exporter {
    opsets: HashMap<String, i64>,
    /// Whether the opset is the one that the model came with.
    pub(crate) same: bool,
    ir: i64,
    /// Every name of the model, graphs inside included.
    taken: HashSet<String>,
    count: HashMap<String, usize>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) path: Vec<String>,
}

/// The names of one graph's values as they are written.
struct Names {
    given: HashMap<ValueId, String>,
    /// What the graph reads from outside: its own values must be called otherwise.
    outer: HashSet<String>,
}

impl Exporter {
    /// The opset of a domain; one that the model does not import gets its newest.
    pub(crate) fn opset(&mut self, of: &str) -> i64 {
        let own = domain(of);
        if let Some(&opset) = self.opsets.get(own) {
            return opset;
        }
        let newest = rooms().filter(|r| r.domain == own).map(|r| r.newest()).max().unwrap_or(1);
        self.opsets.insert(own.to_owned(), newest);
        newest
    }

    /// As [`Exporter::opset`], without importing the domain.
    pub(crate) fn written(&self, of: &str) -> i64 {
        self.opsets.get(domain(of)).copied().unwrap_or(OPSET)
    }

    /// Whether the model does not import a domain, and ONNX does not have it.
    pub(crate) fn is_strange(&self, of: &str) -> bool {
        let own = domain(of);
        !self.opsets.contains_key(own) && !own.starts_with("ai.onnx")
    }

    fn take_names(&mut self, graph: &Graph) {
        self.taken.extend(graph.values().map(|(_, v)| v.name().to_owned()));
        for (_, node) in graph.nodes() {
            // What is inside of a call is written by its function.
            if !node.op().is::<Call>() {
                node.bodies().iter().for_each(|body| self.take_names(body));
            }
        }
    }

    fn fresh(&mut self, stem: &str) -> String {
        let count = self.count.entry(stem.to_owned()).or_insert(0);
        loop {
            let name = format!("{stem}_{count}");
            *count += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    fn name(&mut self, graph: &Graph, names: &mut Names, id: ValueId) -> String {
        if let Some(name) = names.given.get(&id) {
            return name.clone();
        }
        let value = graph.value(id);
        let name = if !value.name().is_empty() && !names.outer.contains(value.name()) {
            value.name().to_owned()
        } else {
            let stem = match value.source() {
                _ if !value.name().is_empty() => value.name().to_owned(),
                Source::Node(node, _) => graph.node(*node).op().name().to_owned(),
                Source::Constant(_) => "constant".to_owned(),
                _ => "value".to_owned(),
            };
            self.fresh(&stem)
        };
        names.given.insert(id, name.clone());
        name
    }

    fn fail(&mut self, what: String, error: OpError) {
        let mut problem = Problem::at(what, error);
        problem.place.path.clone_from(&self.path);
        self.problems.push(problem);
    }

    /// Writes a graph; `captured` are the names of what its last inputs stand for.
    fn graph(&mut self, mut graph: Graph, captured: &[String], depth: usize) -> GraphProto {
        self.expand(&mut graph);
        let order = graph.order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
        let order: Vec<NodeId> = order.into_iter().flat_map(|id| self.lower(&mut graph, id, 0)).collect();
        let rest = extra::read::<GraphExtra>(Some(graph.notes())).graph.unwrap_or_default();
        let formal = graph.inputs().len().saturating_sub(captured.len());
        let mut names = Names { given: HashMap::new(), outer: HashSet::new() };
        for (&id, name) in graph.inputs()[formal..].iter().zip(captured) {
            names.given.insert(id, name.clone());
            if !graph.value(id).uses().is_empty() || graph.is_output(id) {
                names.outer.insert(name.clone());
            }
        }
        let name = match graph.name() {
            "" if depth == 0 => "graph",
            name => name,
        };
        let mut proto = GraphProto {
            name: Some(name.to_owned()),
            doc_string: text(&graph.notes().doc),
            metadata_props: extra::entries(&graph.notes().metadata),
            quantization_annotation: rest.quantization_annotation.clone(),
            ..GraphProto::default()
        };
        for id in graph.inputs()[..formal].iter().copied() {
            let name = self.name(&graph, &mut names, id);
            proto.input.push(declaration(&graph, id, &name, depth == 0));
        }
        for id in order.into_iter().filter(|&id| graph.get_node(id).is_some()).collect::<Vec<_>>() {
            self.node(&mut graph, &mut names, id, depth, &mut proto);
        }
        for id in graph.outputs().to_vec() {
            let name = self.name(&graph, &mut names, id);
            proto.output.push(declaration(&graph, id, &name, depth == 0));
        }
        self.constants(&graph, &mut names, &rest, depth == 0, &mut proto);
        let shown: HashSet<ValueId> = graph.inputs().iter().chain(graph.outputs()).copied().collect();
        for (id, value) in graph.values() {
            let constant = value.constant().is_some();
            if shown.contains(&id) || value.declared().is_none() && !constant {
                continue;
            }
            let extra = extra::read::<ValueExtra>(value.notes());
            match extra.info {
                // The name may be another one by now.
                Some(info) if constant => {
                    let name = Some(self.name(&graph, &mut names, id));
                    proto.value_info.push(ValueInfoProto { name, ..info });
                }
                _ if !constant && matches!(value.source(), Source::Node(..)) => {
                    let name = self.name(&graph, &mut names, id);
                    proto.value_info.push(declaration(&graph, id, &name, false));
                }
                _ => {}
            }
        }
        // They are of names that did not occur; some may by now.
        let unknown = |info: &ValueInfoProto| graph.value_named(info.name()).is_none();
        proto.value_info.extend(rest.value_info.into_iter().filter(unknown));
        proto
    }

    /// Writes the constants and defaults of a graph.
    fn constants(
        &mut self,
        graph: &Graph,
        names: &mut Names,
        rest: &GraphProto,
        main: bool,
        proto: &mut GraphProto,
    ) {
        let mut early = Vec::new();
        for (id, value) in graph.values() {
            let (tensor, notes) = match value.source() {
                Source::Constant(tensor) => (tensor, value.notes().cloned().unwrap_or_default()),
                Source::Input { default: Some(tensor) } => {
                    let said = extra::read::<ValueExtra>(value.notes()).tensor.unwrap_or_default();
                    (tensor, extra::notes(said.doc_string(), &said.metadata_props, &NodeExtra::default()))
                }
                _ => continue,
            };
            if value.name().is_empty() && value.uses().is_empty() && !graph.is_output(id) {
                continue;
            }
            let name = self.name(graph, names, id);
            if self.ir < 4 && value.name().is_empty() {
                // An initializer would have to be an input as well.
                match attribute_to_proto("value", &Attribute::Tensor(oxidane_tensor::Tensor::clone(tensor))) {
                    Ok(attribute) => early.push(NodeProto {
                        output: vec![name],
                        op_type: Some("Constant".to_owned()),
                        attribute: vec![attribute],
                        ..NodeProto::default()
                    }),
                    Err(error) => self.fail(format!("constant `{name}`"), error),
                }
                continue;
            }
            match tensor_to_proto(&name, tensor) {
                Ok(tensor) => proto.initializer.push(TensorProto {
                    doc_string: text(&notes.doc),
                    metadata_props: extra::entries(&notes.metadata),
                    ..tensor
                }),
                Err(error) => self.fail(format!("initializer `{name}`"), error),
            }
        }
        if !early.is_empty() {
            proto.node.splice(0..0, early);
        }
        if !rest.initializer.is_empty() {
            let places: HashMap<&str, usize> =
                rest.initializer.iter().enumerate().map(|(at, t)| (t.name(), at)).collect();
            proto.initializer.sort_by_key(|t| places.get(t.name()).copied().unwrap_or(usize::MAX));
        }
        if main && self.ir < 4 {
            // At that time every initializer was an input as well.
            let mut live: HashMap<String, ValueInfoProto> =
                proto.input.drain(..).map(|i| (i.name().to_owned(), i)).collect();
            let order: Vec<String> = graph.inputs().iter().map(|&v| self.name(graph, names, v)).collect();
            let constants: HashMap<&str, &TensorProto> =
                proto.initializer.iter().map(|t| (t.name(), t)).collect();
            for info in &rest.input {
                let named = live.remove(info.name());
                proto.input.extend(named.or_else(|| constants.get(info.name()).map(|_| info.clone())));
            }
            proto.input.extend(order.iter().filter_map(|name| live.remove(name)));
            let listed: HashSet<String> = proto.input.iter().map(|i| i.name().to_owned()).collect();
            for tensor in proto.initializer.iter().filter(|t| !listed.contains(t.name())) {
                let sizes: Option<Vec<usize>> =
                    tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
                let dtype = oxidane_tensor::DType::from_onnx(tensor.data_type());
                let ty = dtype.zip(sizes).map(|(dtype, sizes)| type_to_proto(&Type::fixed(dtype, &sizes)));
                let info =
                    ValueInfoProto { name: tensor.name.clone(), r#type: ty, ..ValueInfoProto::default() };
                proto.input.push(info);
            }
        }
    }

    fn node(
        &mut self,
        graph: &mut Graph,
        names: &mut Names,
        id: NodeId,
        depth: usize,
        proto: &mut GraphProto,
    ) {
        let extra = extra::read::<NodeExtra>(graph.node(id).notes());
        if let (true, Some(constant)) = (extra.sparse_initializer, graph.node(id).op().downcast::<Constant>())
            && let (Some(sparse), Some(output)) = (constant.sparse_value.clone(), graph.node(id).output(0))
        {
            let name = self.name(graph, names, output);
            match sparse_to_proto(&name, &sparse) {
                Ok(sparse) => proto.sparse_initializer.push(sparse),
                Err(error) => self.fail(format!("sparse initializer `{name}`"), error),
            }
            return;
        }
        let bodies: Vec<Graph> = graph.bodies_mut(id).iter_mut().map(std::mem::take).collect();
        let skeleton = extra.node.unwrap_or_default();
        let slots = |exporter: &mut Self, names: &mut Names, slots: &[Option<ValueId>]| -> Vec<String> {
            let mut name = |slot: &Option<ValueId>| match slot {
                Some(id) => exporter.name(graph, names, *id),
                None => String::new(),
            };
            slots.iter().map(&mut name).collect()
        };
        let node = graph.node(id);
        let input = slots(self, names, node.formal_inputs());
        let captured = slots(self, names, node.captured());
        let mut output = slots(self, names, node.outputs());
        if self.same {
            // Outputs that nothing reads and that the newest form does not have.
            for (slot, name) in skeleton.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                if output.len() <= slot {
                    output.resize(slot + 1, String::new());
                }
                if output[slot].is_empty() && self.taken.insert(name.clone()) {
                    output[slot].clone_from(name);
                }
            }
        }
        let op = node.op().clone();
        let mut graphs: Vec<(String, GraphProto)> = Vec::new();
        if !op.is::<Call>() {
            for (k, body) in bodies.into_iter().enumerate() {
                self.path.push(graph.body_path(id, k));
                let name = op.body_names().get(k).copied().unwrap_or("body").to_owned();
                graphs.push((name, self.graph(body, &captured, depth + 1)));
                self.path.pop();
            }
        }
        let node = graph.node(id);
        let attribute = match self.attributes(node, &skeleton, graphs) {
            Ok(attributes) => attributes,
            Err(error) => {
                let mut problem = Problem::new(graph.place(id), error);
                problem.place.path.clone_from(&self.path);
                self.problems.push(problem);
                return;
            }
        };
        let overload = match (op.downcast::<Call>(), op.downcast::<Opaque>()) {
            (Some(call), _) => call.overload.as_str(),
            (_, Some(opaque)) => opaque.overload.as_str(),
            _ => "",
        };
        let notes = node.notes().cloned().unwrap_or_default();
        proto.node.push(NodeProto {
            input,
            output,
            name: text(node.name()),
            op_type: Some(op.name().to_owned()),
            domain: skeleton.domain.clone().or_else(|| text(op.domain())),
            overload: text(overload),
            attribute,
            doc_string: text(&notes.doc),
            metadata_props: extra::entries(&notes.metadata),
            device_configurations: skeleton.device_configurations,
        });
    }

    /// The attributes of a node: those that the file spelled, in its order, then those that are not at their
    /// default.
    fn attributes(
        &mut self,
        node: &Node,
        skeleton: &NodeProto,
        graphs: Vec<(String, GraphProto)>,
    ) -> Result<Vec<AttributeProto>, OpError> {
        let op = node.op();
        let values = op.attributes();
        let mut bodies: Vec<(String, Vec<GraphProto>)> = Vec::new();
        for (name, graph) in graphs {
            match bodies.iter_mut().find(|b| b.0 == name) {
                Some(found) => found.1.push(graph),
                None => bodies.push((name, vec![graph])),
            }
        }
        let mut written = Vec::new();
        let mut done: HashSet<&str> = HashSet::new();
        for spelled in &skeleton.attribute {
            let name = spelled.name();
            let mut proto = if let Some(value) = values.get(name) {
                attribute_to_proto(name, value)?
            } else if let Some(at) = bodies.iter().position(|b| b.0 == name) {
                of_graphs(bodies.remove(at), spelled.r#type() == AttributeType::Graphs)
            } else if name == "consumed_inputs" && self.same && self.opset(op.domain()) < 6 {
                spelled.clone()
            } else {
                continue;
            };
            if !done.insert(name) {
                continue;
            }
            proto.doc_string.clone_from(&spelled.doc_string);
            if let (Some(to), Some(said)) = (&mut proto.t, &spelled.t) {
                to.name.clone_from(&said.name);
                to.doc_string.clone_from(&said.doc_string);
                to.metadata_props.clone_from(&said.metadata_props);
            }
            written.push(proto);
        }
        // In an older form a default may be another one, so everything is spelled there.
        let plain = !op.is::<Written>() && !op.is::<Opaque>() && !op.is::<Call>();
        let known = plain.then(|| room(op.domain(), op.name())).flatten();
        for (name, value) in values.iter().filter(|(name, _)| !done.contains(name)) {
            let default = known.is_some_and(|room| {
                let mut fewer = values.clone();
                fewer.take(name);
                (room.read)(&fewer).is_ok_and(|op| op.attributes() == values)
            });
            if !default {
                written.push(attribute_to_proto(name, value)?);
            }
        }
        written.extend(bodies.into_iter().map(|body| of_graphs(body, false)));
        Ok(written)
    }
}

fn of_graphs((name, mut graphs): (String, Vec<GraphProto>), list: bool) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name), ..AttributeProto::default() };
    if list || graphs.len() > 1 {
        proto.r#type = Some(AttributeType::Graphs as i32);
        proto.graphs = graphs;
    } else {
        proto.r#type = Some(AttributeType::Graph as i32);
        proto.g = graphs.pop();
    }
    proto
}

/// A text, unless it is empty.
fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The declaration of a value; `inferred` declares the known type where the file declares none.
fn declaration(graph: &Graph, id: ValueId, name: &str, inferred: bool) -> ValueInfoProto {
    let value = graph.value(id);
    let extra = extra::read::<ValueExtra>(value.notes());
    let notes = value.notes().cloned().unwrap_or_default();
    if value.constant().is_some()
        && let Some(info) = extra.info
    {
        return ValueInfoProto { name: Some(name.to_owned()), ..info };
    }
    let declared = value.declared().or(value.ty().filter(|_| inferred));
    let exact = extra.ty.filter(|exact| match (type_from_proto(exact, ""), declared) {
        // The file's own spelling, as long as it says the same.
        (Ok(Some(said)), Some(declared)) => type_to_proto(&said) == type_to_proto(declared),
        (Ok(None), declared) => declared.is_none() || value.declared().is_none(),
        _ => false,
    });
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: exact.or_else(|| declared.map(type_to_proto)),
        doc_string: text(&notes.doc),
        metadata_props: extra::entries(&notes.metadata),
    }
}
