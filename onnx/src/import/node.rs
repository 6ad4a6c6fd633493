//! One node: its attributes, its way to the newest opset, its subgraphs, and the function it calls.

use super::*;

/// A node as the file has it.
pub(super) struct Item<'p> {
    pub(super) proto: &'p NodeProto,
    /// Its position in the file.
    pub(super) index: usize,
    pub(super) attributes: Attributes,
    /// The subgraphs by attribute name.
    pub(super) bodies: Vec<(&'p str, &'p GraphProto)>,
    /// What the subgraphs read from outside.
    pub(super) captures: Vec<(&'p str, ValueId)>,
    /// What they would read if the call of the function around gave it.
    pub(super) absent: HashSet<&'p str>,
}

impl<'p> Importer<'p> {
    /// The attribute that a spelled one stands for: itself, or what the call of the function around gives;
    /// `None` where that gives none.
    fn bound(frame: &Frame<'p>, spelled: &'p AttributeProto) -> Result<Option<&'p AttributeProto>, OpError> {
        match (spelled.ref_attr_name(), &frame.bindings) {
            ("", _) => Ok(Some(spelled)),
            (name, Some(bindings)) => Ok(bindings.get(name).copied()),
            (name, None) => Err(OpError::new(format!(
                "attribute `{}` refers to the attribute `{name}` of a function, but stands outside of any",
                spelled.name()
            ))
            .help("give the attribute a value, or move the node into a function")),
        }
    }

    /// Reads the attributes of a node; those that cannot be read are said and left out.
    pub(super) fn attributes(
        &mut self,
        level: &Level<'p>,
        frame: &Frame<'p>,
        proto: &'p NodeProto,
        index: usize,
    ) -> (Attributes, Vec<(&'p str, &'p GraphProto)>, String) {
        let (mut attributes, mut bodies, mut reason) = (Attributes::new(), Vec::new(), String::new());
        let mut names = HashSet::new();
        for spelled in &proto.attribute {
            let read = match Self::bound(frame, spelled) {
                Ok(None) => continue,
                Ok(Some(_)) if !names.insert(spelled.name()) => {
                    Err(OpError::new(format!("attribute `{}` is given twice", spelled.name()))
                        .help("remove one of the two"))
                }
                Ok(Some(value)) => match kind(value) {
                    AttributeType::Graph | AttributeType::Graphs => {
                        bodies.extend(graphs(value).map(|graph| (spelled.name(), graph)));
                        continue;
                    }
                    _ => attribute_from_proto(value, &mut self.external),
                },
                Err(error) => Err(error),
            };
            match read {
                Ok(value) => attributes.set(spelled.name(), value),
                Err(error) => {
                    reason = error.what().to_owned();
                    let place = self.place(level, proto, index);
                    self.problem(place, error);
                }
            }
        }
        (attributes, bodies, reason)
    }

    /// Reads a node of an operator that has a room; leaves `made.op` empty where there is none.
    pub(super) fn standard(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        item: &Item<'p>,
        made: &mut Made,
    ) -> Result<(), OpError> {
        let (own, name) = (domain(item.proto.domain()), item.proto.op_type());
        let older = room(own, name).zip(frame.opsets.get(own)).is_some_and(|(known, &opset)| {
            known.version_at(opset).is_some_and(|version| known.steps.iter().any(|step| step.to > version))
        });
        // Outputs of old forms may be of another type today, or not exist, such as the mask of Dropout. Few models
        // read them; those that do not need no helper nodes for them.
        let unread = |name: &String| !name.is_empty() && !level.read.contains(name.as_str());
        made.dropped = older && item.proto.output.iter().skip(1).any(unread);
        self.upgraded(level, frame, item, made)
    }

    fn upgraded(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        item: &Item<'p>,
        made: &mut Made,
    ) -> Result<(), OpError> {
        let (own, name) = (domain(item.proto.domain()), item.proto.op_type());
        let Some(mut known) = room(own, name) else { return Ok(()) };
        let Some(&opset) = frame.opsets.get(own) else {
            let shown = if own.is_empty() { "ai.onnx" } else { own };
            return Err(OpError::new(format!("its domain `{shown}` is not imported"))
                .help(format!("add an opset_import of `{shown}` to the model or function")));
        };
        let (nodes, values) = (level.graph.node_bound(), level.graph.value_bound());
        let mut outputs = self.outputs(level, frame, item.proto, item.index);
        if made.dropped {
            for (name, slot) in item.proto.output.iter().zip(&mut outputs).skip(1) {
                if !level.read.contains(name.as_str())
                    && let Some(id) = slot.take()
                {
                    // Nothing reads it, and the graph does not give it.
                    let _ = level.graph.remove_value(id);
                }
            }
            while outputs.last().is_some_and(Option::is_none) {
                outputs.pop();
            }
        }
        let mut draft = Draft::new(&mut level.graph, own, name);
        draft.attributes = item.attributes.clone();
        draft.inputs = made.inputs.clone();
        draft.outputs = outputs;
        let mut upgraded = known.upgrade(&mut draft, opset);
        // An operator that was replaced by another goes on from the opset that did it.
        while upgraded.is_ok() && draft.name != known.name {
            let from = known.newest();
            let Some(next) = room(&draft.domain, &draft.name) else {
                upgraded = Err(OpError::unsupported(format!("{} is not supported", draft.name)));
                break;
            };
            known = next;
            upgraded = known.upgrade(&mut draft, from);
        }
        let op = upgraded.and_then(|()| (known.read)(&draft.attributes));
        let Draft { inputs, outputs, .. } = draft;
        let helpers = (nodes..level.graph.node_bound()).map(NodeId::from_index).collect();
        let result = op.and_then(|mut op| {
            let given: Vec<&str> = item.bodies.iter().map(|&(name, _)| name).collect();
            if let Some(fewer) = op.with_bodies(&given) {
                op = fewer;
            }
            let graphs = sorted(op.body_names(), &item.bodies)?;
            let bodies = self.bodies(level, frame, item, &graphs)?;
            Ok((op, bodies))
        });
        match result {
            Ok((op, bodies)) => {
                (made.op, made.inputs, made.outputs) = (Some(op), inputs, outputs);
                (made.bodies, made.helpers) = (bodies, helpers);
                Ok(())
            }
            Err(error) => {
                for &helper in helpers.iter().rev() {
                    level.graph.remove_node(helper);
                }
                for at in (values..level.graph.value_bound()).map(ValueId::from_index) {
                    if level.graph.get_value(at).is_some_and(|v| v.name().is_empty()) {
                        // One that is in use belongs to something else.
                        let _ = level.graph.remove_value(at);
                    }
                }
                Err(error)
            }
        }
    }

    /// Reads subgraphs.
    ///
    /// # Errors
    /// When they nest too deeply.
    pub(super) fn bodies(
        &mut self,
        level: &Level<'p>,
        frame: &Frame<'p>,
        item: &Item<'p>,
        graphs: &[(&'p str, &'p GraphProto)],
    ) -> Result<Bodies, OpError> {
        if !graphs.is_empty() && level.depth >= MAX_DEPTH {
            return Err(OpError::new(format!("subgraphs nest more than {MAX_DEPTH} deep"))
                .help("flatten the control flow before exporting the model"));
        }
        let captures: Vec<(&'p str, Option<Type>)> =
            item.captures.iter().map(|&(name, v)| (name, level.graph.value(v).ty().cloned())).collect();
        let called = match item.proto.name() {
            "" => format!("{}#{}", item.proto.op_type(), item.index),
            name => name.to_owned(),
        };
        let mut bodies = Bodies::new();
        for &(name, graph) in graphs {
            let mut path = level.path.clone();
            path.push(format!("{called}.{name}"));
            let entry = Entry {
                path,
                hint: format!("{}{}.{name}/", level.hint, item.index),
                depth: level.depth + 1,
                captures: captures.clone(),
                absent: item.absent.clone(),
            };
            let inner = self.graph(graph, frame, entry);
            bodies.push((inner.graph, inner.walk.findings));
        }
        Ok(bodies)
    }

    /// Reads a call of a function of the model.
    pub(super) fn call(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        item: &Item<'p>,
        function: &'p FunctionProto,
        made: &mut Made,
    ) -> Result<(), OpError> {
        let (proto, name) = (item.proto, shown(callee(item.proto)));
        for (kind, has, takes) in [
            ("inputs", proto.input.len(), function.input.len()),
            ("outputs", proto.output.len(), function.output.len()),
        ] {
            if has > takes {
                return Err(OpError::new(format!("has {has} {kind}, but the function {name} has {takes}"))
                    .help("correct the call or the function"));
            }
        }
        if level.depth >= MAX_DEPTH {
            return Err(OpError::new(format!("calls and subgraphs nest more than {MAX_DEPTH} deep"))
                .help("flatten the functions before exporting the model"));
        }
        let Some(left) = self.left else {
            // Said before, and true of every further call.
            return Ok(());
        };
        self.left = left.checked_sub(function.node.len() + 1);
        if self.left.is_none() {
            let what = format!("the calls of functions stand for more than {CALLED_NODES} nodes");
            let help = "functions that call each other again and again multiply; call them less often";
            return Err(OpError::new(what).help(help));
        }
        let defaults = function.attribute_proto.iter().map(|a| (a.name(), a));
        let mut bindings: HashMap<&str, &AttributeProto> = defaults.collect();
        for spelled in &proto.attribute {
            if let Some(value) = Self::bound(frame, spelled)? {
                bindings.insert(spelled.name(), value);
            }
        }
        let outputs = self.outputs(level, frame, proto, item.index);
        let first = proto.output.iter().find(|name| !name.is_empty());
        let prefix = match first {
            Some(name) => format!("{}/", frame.name(name)),
            None => format!("{}{}/", frame.prefix, item.index),
        };
        let opsets = match function.opset_import.is_empty() {
            true => frame.opsets.clone(),
            false => imports(&function.opset_import),
        };
        let inner = Frame { opsets, bindings: Some(bindings), prefix };
        let mut path = level.path.clone();
        path.push(match proto.name() {
            "" => format!("{}#{}.function", proto.op_type(), item.index),
            name => format!("{name}.function"),
        });
        let mut body = Level {
            graph: Graph::new(function.name()),
            walk: Inference::default(),
            path,
            // The names of its values tell calls apart.
            hint: level.hint.clone(),
            depth: level.depth + 1,
            infos: function.value_info.iter().map(|i| (i.name(), i)).collect(),
            absent: HashSet::new(),
            made: HashMap::new(),
            read: function.output.iter().map(String::as_str).collect(),
        };
        let mut taken = HashSet::new();
        for (slot, name) in function.input.iter().enumerate() {
            let Some(value) = made.inputs.get(slot).copied().flatten() else {
                body.absent.insert(name);
                continue;
            };
            let ty = level.graph.value(value).ty().cloned();
            if !taken.insert(name.as_str()) || body.graph.add_input(&inner.name(name), ty, None).is_err() {
                return Err(OpError::new(format!("the function {name} lists the input `{name}` twice"))
                    .help("rename one of the two"));
            }
        }
        self.nodes(&mut body, &inner, &function.node, &taken);
        let results = function.output.iter().map(|name| self.output(&mut body, &inner, name)).collect();
        body.graph.set_outputs(results);
        made.op = Some(Arc::new(Call {
            domain: proto.domain().to_owned(),
            name: proto.op_type().to_owned(),
            overload: proto.overload().to_owned(),
            attributes: item.attributes.clone(),
        }));
        made.outputs = outputs;
        made.captured.clear();
        made.bodies = vec![(body.graph, body.walk.findings)];
        Ok(())
    }
}

impl<'p> Importer<'p> {
    /// Reads a Gradient, which names values of the graph around it: it becomes a call of their derivatives.
    pub(super) fn gradient(
        &mut self,
        level: &mut Level<'p>,
        frame: &Frame<'p>,
        item: &Item<'p>,
        made: &mut Made,
    ) -> Result<(), OpError> {
        if !frame.opsets.contains_key(gradient::DOMAIN) {
            return Err(OpError::new(format!("its domain `{}` is not imported", gradient::DOMAIN))
                .help("add an opset_import of it to the model or function"));
        }
        let names = |key: &str| -> Result<Vec<String>, OpError> {
            Ok(item.attributes.value::<Vec<String>>(key)?.unwrap_or_default())
        };
        let (xs, zs) = (names("xs")?, names("zs")?);
        let y = item.attributes.value::<String>("y")?;
        let y = y.ok_or_else(|| OpError::new("attribute `y` is required but missing"))?;
        if xs.is_empty() {
            return Err(OpError::new("attribute `xs` is required but missing"));
        }
        let given: SmallVec<[ValueId; 4]> = made.inputs.iter().flatten().copied().collect();
        let count = xs.len() + zs.len();
        if given.len() != count || made.inputs.len() != count {
            return Err(OpError::new(format!(
                "has {} inputs, but `xs` and `zs` name {count} values",
                given.len()
            ))
            .help("give one input for each name, those of `xs` first"));
        }
        if item.proto.output.len() > xs.len() {
            return Err(OpError::new(format!(
                "has {} outputs, but `xs` names {} values",
                item.proto.output.len(),
                xs.len()
            )));
        }
        let graph = &level.graph;
        let value = |name: &String| {
            let known = graph
                .value_named(&frame.name(name))
                .filter(|&v| !matches!(graph.value(v).source(), Source::Undefined));
            known.ok_or_else(|| {
                OpError::new(format!("names `{name}`, which nothing before it in the same graph defines"))
                    .help("correct the name, or put the node behind what it differentiates")
            })
        };
        let by: Vec<ValueId> = xs.iter().chain(&zs).map(value).collect::<Result<_, _>>()?;
        let mut seen = HashSet::new();
        if let Some(twice) = by.iter().position(|v| !seen.insert(*v)) {
            let name = xs.iter().chain(&zs).nth(twice).map_or("", String::as_str);
            return Err(OpError::new(format!("names `{name}` twice in `xs` and `zs`")));
        }
        let of = value(&y)?;
        let types: Vec<Option<Type>> = given.iter().map(|&v| graph.value(v).ty().cloned()).collect();
        let wanted = item.proto.output.len();
        let (body, captured) = gradient::function(graph, &by, &types, wanted, of)?;
        made.outputs = self.outputs(level, frame, item.proto, item.index);
        made.op = Some(Arc::new(Call {
            domain: gradient::DOMAIN.to_owned(),
            name: gradient::NAME.to_owned(),
            overload: String::new(),
            attributes: item.attributes.clone(),
        }));
        made.captured = captured;
        made.bodies = vec![(body, Findings::default())];
        Ok(())
    }
}

/// The subgraphs in the order in which an operator keeps them.
fn sorted<'p>(
    names: &[&str],
    bodies: &[(&'p str, &'p GraphProto)],
) -> Result<Vec<(&'p str, &'p GraphProto)>, OpError> {
    if let Some((stray, _)) = bodies.iter().find(|(name, _)| !names.contains(name)) {
        return Err(OpError::new(format!(
            "attribute `{stray}` is a graph, but the operator has none of that name"
        ))
        .help("remove the attribute"));
    }
    names
        .iter()
        .map(|name| {
            let mut found = bodies.iter().filter(|(n, _)| n == name);
            match (found.next(), found.next()) {
                (Some(&body), None) => Ok(body),
                (Some(_), Some(_)) => {
                    Err(OpError::new(format!("attribute `{name}` holds more than one graph")))
                }
                (None, _) => Err(OpError::new(format!("its subgraph `{name}` is missing"))
                    .help(format!("give the attribute `{name}` a graph"))),
            }
        })
        .collect()
}

/// What a node says that its operator and edges do not hold; see [`NodeExtra`].
pub(super) fn skeleton(proto: &NodeProto, op: &str) -> NodeProto {
    let attribute = |a: &AttributeProto| {
        if a.name() == "consumed_inputs" {
            // A hint of opsets before 6 that means nothing, and is shown.
            return a.clone();
        }
        let tensor = a.t.as_ref().map(|t| TensorProto {
            name: t.name.clone(),
            doc_string: t.doc_string.clone(),
            metadata_props: t.metadata_props.clone(),
            ..TensorProto::default()
        });
        AttributeProto {
            name: a.name.clone(),
            doc_string: a.doc_string.clone(),
            ref_attr_name: a.ref_attr_name.clone(),
            r#type: (a.r#type() == AttributeType::Graphs).then_some(AttributeType::Graphs as i32),
            t: tensor.filter(|t| *t != TensorProto::default()),
            ..AttributeProto::default()
        }
    };
    NodeProto {
        op_type: (proto.op_type() != op).then(|| proto.op_type().to_owned()),
        domain: (proto.domain() == "ai.onnx").then(|| "ai.onnx".to_owned()),
        attribute: proto.attribute.iter().map(attribute).collect(),
        device_configurations: proto.device_configurations.clone(),
        ..NodeProto::default()
    }
}
