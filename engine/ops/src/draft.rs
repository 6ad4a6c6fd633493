use oxidane_graph::{
    Attribute, AttributeValue, Attributes, Build, Graph, Inference, Op, OpError, Type, ValueId,
};
use oxidane_tensor::{CastRules, Tensor};
use smallvec::SmallVec;

/// A node on its way between versions of its operator: name, attributes and edges in ONNX's terms, free to be
/// changed, and the graph around it for helper nodes and constants.
pub struct Draft<'g> {
    /// The domain of the operator.
    pub domain: String,
    /// The name of the operator; a step may replace it, such as Upsample by Resize.
    pub name: String,
    /// The attributes, graphs excepted.
    pub attributes: Attributes,
    /// The inputs of the operator itself, without captures.
    pub inputs: SmallVec<[Option<ValueId>; 4]>,
    /// The outputs. On the way up nothing defines them yet: a step that adds nodes behind the operator puts a
    /// fresh value here and lets the last added node define the old one (see [`Draft::output_through`]).
    pub outputs: SmallVec<[Option<ValueId>; 2]>,
    graph: &'g mut Graph,
}

impl<'g> Draft<'g> {
    /// A draft of a node in `graph`.
    pub fn new(graph: &'g mut Graph, domain: &str, name: &str) -> Draft<'g> {
        Draft {
            domain: domain.to_owned(),
            name: name.to_owned(),
            attributes: Attributes::new(),
            inputs: SmallVec::new(),
            outputs: SmallVec::new(),
            graph,
        }
    }

    /// The graph around.
    pub fn graph(&mut self) -> &mut Graph {
        self.graph
    }

    /// Takes an attribute out as a Rust type.
    ///
    /// # Errors
    /// When it is of another kind.
    pub fn take<T: AttributeValue>(&mut self, name: &str) -> Result<Option<T>, OpError> {
        let value = self.attributes.value(name)?;
        self.attributes.take(name);
        Ok(value)
    }

    /// The value of an input, where it is given.
    pub fn input(&self, slot: usize) -> Option<ValueId> {
        self.inputs.get(slot).copied().flatten()
    }

    /// Sets an input, lengthening the list with absent ones where needed.
    pub fn set_input(&mut self, slot: usize, value: Option<ValueId>) {
        if self.inputs.len() <= slot {
            self.inputs.resize(slot + 1, None);
        }
        self.inputs[slot] = value;
    }

    /// The type of an input, where it is known.
    pub fn ty(&self, slot: usize) -> Option<&Type> {
        self.graph.value(self.input(slot)?).ty()
    }

    /// The number of dimensions of an input, where it is known.
    pub fn rank(&self, slot: usize) -> Option<usize> {
        Some(self.ty(slot)?.shape()?.len())
    }

    /// The tensor of an input that is a constant: of the graph, or of a Constant node.
    pub fn constant(&self, slot: usize) -> Option<Tensor> {
        constant_of(self.graph, self.input(slot)?)
    }

    /// A new constant of the graph.
    pub fn add_constant(&mut self, tensor: Tensor) -> ValueId {
        Build::new(self.graph, "").constant(tensor)
    }

    /// Adds a helper node of the newest opset with one output.
    pub fn add(&mut self, op: impl Op, inputs: &[ValueId]) -> ValueId {
        Build::new(self.graph, "").add(op, inputs)
    }

    /// On the way up: the operator gets a fresh value as its output, and `op` on `[fresh, inputs...]` defines
    /// the old one.
    ///
    /// # Errors
    /// When the old output is defined already.
    pub fn output_through(&mut self, output: usize, op: impl Op, inputs: &[ValueId]) -> Result<(), OpError> {
        let Some(old) = self.outputs.get(output).copied().flatten() else { return Ok(()) };
        let fresh = self.graph.add_undefined("")?;
        let mut all: SmallVec<[_; 4]> = SmallVec::from_slice(&[Some(fresh)]);
        all.extend(inputs.iter().map(|&v| Some(v)));
        Build::new(self.graph, "").define(std::sync::Arc::new(op), &all, &[Some(old)])?;
        self.outputs[output] = Some(fresh);
        Ok(())
    }

    /// A step up: the attribute `name` becomes the input `slot`, as an `int64` tensor of rank 1.
    ///
    /// # Errors
    /// When the attribute is no list of integers.
    pub fn ints_to_input(&mut self, name: &str, slot: usize) -> Result<(), OpError> {
        if let Some(values) = self.take::<Vec<i64>>(name)? {
            let value = self.add_constant(Tensor::new(&[values.len()], &values)?);
            self.set_input(slot, Some(value));
        }
        Ok(())
    }

    /// A step down: the input `slot`, which must be constant, becomes the attribute `name`.
    ///
    /// # Errors
    /// When the input is not constant, which the older form cannot express.
    pub fn input_to_ints(&mut self, slot: usize, name: &str) -> Result<(), OpError> {
        if let Some(values) = self.constant_ints(slot, name)? {
            self.attributes.set(name, values);
            self.drop_input(slot);
        }
        Ok(())
    }

    /// A step up: the float attribute `name` becomes the scalar input `slot`, of the element type of input 0.
    ///
    /// # Errors
    /// When the attribute is no float.
    pub fn float_to_input(&mut self, name: &str, slot: usize) -> Result<(), OpError> {
        if let Some(value) = self.take::<f32>(name)? {
            let scalar = Tensor::scalar(value);
            let tensor = match self.ty(0).and_then(Type::dtype) {
                Some(dtype) => scalar.cast(dtype, CastRules::default())?,
                None => scalar,
            };
            let value = self.add_constant(tensor);
            self.set_input(slot, Some(value));
        }
        Ok(())
    }

    /// The integers of a constant input, for an older form that has them as attribute `name`.
    ///
    /// # Errors
    /// When the input is given but not constant, or has several dimensions.
    pub fn constant_ints(&self, slot: usize, name: &str) -> Result<Option<Vec<i64>>, OpError> {
        if self.input(slot).is_none() {
            return Ok(None);
        }
        let tensor = self.constant(slot).ok_or_else(|| {
            OpError::new(format!(
                "input {slot} (`{name}`) is computed, but this opset wants a constant attribute"
            ))
            .help("export to a later opset")
        })?;
        if tensor.rank() > 1 {
            return Err(OpError::new(format!(
                "input {slot} (`{name}`) is of shape {:?}, but must be a list",
                tensor.shape()
            )));
        }
        match tensor.dtype() {
            oxidane_tensor::DType::I32 => {
                Ok(Some(tensor.values::<i32>()?.iter().map(|&v| v.into()).collect()))
            }
            _ => Ok(Some(tensor.values::<i64>()?.into_owned())),
        }
    }

    /// Leaves an input out; trailing absent inputs disappear.
    pub fn drop_input(&mut self, slot: usize) {
        if let Some(entry) = self.inputs.get_mut(slot) {
            *entry = None;
        }
        while self.inputs.last().is_some_and(Option::is_none) {
            self.inputs.pop();
        }
    }

    /// Refuses an attribute that an older form does not have, unless it is at its default.
    ///
    /// # Errors
    /// When the attribute is there with another value.
    pub fn drop_default(&mut self, name: &str, default: impl AttributeValue) -> Result<(), OpError> {
        match self.attributes.take(name) {
            None => Ok(()),
            Some(value) if Some(&value) == default.to_attribute().as_ref() => Ok(()),
            Some(value) => {
                let what =
                    format!("attribute `{name}` = {} cannot be expressed in this opset", shown(&value));
                self.attributes.set(name, value);
                Err(OpError::new(what).help("export to a later opset"))
            }
        }
    }
}

/// The tensor of a value that is a constant of the graph or the output of a Constant node.
pub fn constant_of(graph: &Graph, value: ValueId) -> Option<Tensor> {
    if let Some(tensor) = graph.value(value).constant() {
        return Some(tensor.clone());
    }
    let node = graph.node(graph.value(value).producer()?);
    if node.op().name() != "Constant" || !node.op().domain().is_empty() {
        return None;
    }
    // Inference knows how each form of Constant becomes a tensor; asking it keeps that in one place.
    let mut scratch = Graph::new("");
    let made = Build::new(&mut scratch, "").add_node(node.op().clone(), &[], 1);
    let mut walk = Inference::default();
    let id = scratch.value(made[0]).producer()?;
    walk.node(&mut scratch, id);
    walk.constant(&scratch, made[0]).cloned()
}

fn shown(attribute: &Attribute) -> String {
    match attribute {
        Attribute::Float(v) => v.to_string(),
        Attribute::Int(v) => v.to_string(),
        Attribute::String(v) => String::from_utf8_lossy(v).into_owned(),
        Attribute::Floats(v) => format!("{v:?}"),
        Attribute::Ints(v) => format!("{v:?}"),
        other => format!("a {}", other.kind()),
    }
}
