//! Mutations of a model that mostly leave it one: sizes, types, attributes, edges, constants, versions.

use bytes::Bytes;
use oxidane::onnx::proto::attribute_proto::AttributeType;
use oxidane::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use oxidane::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, type_proto,
};
use prost::Message;

/// A generator of numbers that are the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
        random.below(2);
        random
    }

    /// A number below `end`, 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = self.0 ^ (self.0 >> 32);
        ((bits & 0xffff_ffff) as usize).checked_rem(end).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    /// Mostly small, sometimes at the edge of what fits.
    fn int(&mut self) -> i64 {
        const EDGES: [i64; 16] = [
            i64::MIN,
            i64::MIN + 1,
            i64::MAX,
            i64::MAX - 1,
            i32::MAX as i64,
            i32::MAX as i64 + 1,
            i32::MIN as i64,
            i32::MIN as i64 - 1,
            u32::MAX as i64,
            1 << 32,
            1 << 62,
            255,
            -128,
            1 << 16,
            1 << 20,
            1000,
        ];
        match self.below(3) {
            0 => EDGES[self.below(EDGES.len())],
            _ => self.below(12) as i64 - 4,
        }
    }

    fn float(&mut self) -> f32 {
        const EDGES: [f32; 10] =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0, 1e-45, 1e10, -1.0];
        match self.below(2) {
            0 => EDGES[self.below(EDGES.len())],
            _ => self.below(64) as f32 / 16.0 - 2.0,
        }
    }
}

/// The bytes of a model that differs a little from the one in `bytes`, or other bytes where there is none.
pub fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    if random.below(8) != 0
        && let Ok(mut model) = ModelProto::decode(Bytes::copy_from_slice(bytes))
    {
        for _ in 0..1 + random.below(3) {
            mutate(&mut model, random);
        }
        return model.encode_to_vec();
    }
    scrambled(bytes, random)
}

/// `bytes` with some of them changed, left out or added.
pub fn scrambled(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 | 1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.below(256) as u8),
        }
    }
    bytes
}

/// Changes something of a model.
pub fn mutate(model: &mut ModelProto, random: &mut Random) {
    if random.below(12) == 0
        && let at = random.below(model.opset_import.len())
        && let Some(import) = model.opset_import.get_mut(at)
    {
        import.version = Some(1 + random.below(28) as i64);
        return;
    }
    if random.below(30) == 0 {
        model.ir_version = Some(random.below(16) as i64);
        return;
    }
    let at = random.below(model.functions.len());
    if let Some(function) = model.functions.get_mut(at)
        && random.below(3) == 0
    {
        // A function's body is a graph in other words.
        let mut graph = GraphProto { node: std::mem::take(&mut function.node), ..GraphProto::default() };
        graph_mutation(&mut graph, random);
        function.node = graph.node;
        return;
    }
    if let Some(graph) = &mut model.graph {
        graph_mutation(graph, random);
    }
}

fn graph_mutation(graph: &mut GraphProto, random: &mut Random) {
    // Into a body, where there is one.
    if random.below(2) == 0 {
        let bodies = graph.node.iter_mut().flat_map(|n| &mut n.attribute).filter_map(|a| a.g.as_mut());
        let mut bodies: Vec<&mut GraphProto> = bodies.collect();
        let at = random.below(bodies.len());
        if let Some(body) = bodies.get_mut(at) {
            return graph_mutation(body, random);
        }
    }
    let mut names: Vec<String> = vec![String::new()];
    names.extend(graph.input.iter().map(|v| v.name().to_owned()));
    names.extend(graph.initializer.iter().map(|t| t.name().to_owned()));
    names.extend(graph.node.iter().flat_map(|n| n.output.iter().cloned()));
    let node = random.below(graph.node.len());
    match random.below(16) {
        0..=4 => {
            if let Some(node) = graph.node.get_mut(node) {
                attribute_mutation(node, random);
            }
        }
        5 | 6 => {
            if let Some(node) = graph.node.get_mut(node) {
                edge_mutation(node, &names, random);
            }
        }
        7..=9 => {
            let kind = random.below(6);
            let values = match kind {
                0 => &mut graph.value_info,
                1 => &mut graph.output,
                _ => &mut graph.input,
            };
            let at = random.below(values.len());
            if let Some(ty) = values.get_mut(at).and_then(|v| v.r#type.as_mut()) {
                type_mutation(ty, random);
            }
        }
        10..=12 => {
            let at = random.below(graph.initializer.len());
            if let Some(tensor) = graph.initializer.get_mut(at) {
                tensor_mutation(tensor, random);
            } else if let Some(value) = graph.input.get(random.below(graph.input.len())).cloned() {
                // An input becomes a constant, so that it is folded.
                if let Some(tensor) = value.r#type.and_then(|ty| constant(value.name.as_deref(), ty, random))
                {
                    graph.initializer.push(tensor);
                    graph.input.retain(|v| v.name != value.name);
                }
            }
        }
        13 => {
            let rooms: Vec<_> = oxidane::ops::rooms().collect();
            if let (Some(node), Some(room)) = (graph.node.get_mut(node), random.pick(&rooms)) {
                node.op_type = Some(room.name.to_owned());
                node.domain = Some(room.domain.to_owned());
            }
        }
        14 => {
            if node < graph.node.len() {
                let copy = graph.node[node].clone();
                match random.below(3) {
                    0 => drop(graph.node.remove(node)),
                    1 => graph.node.insert(node, copy),
                    _ => {
                        let other = random.below(graph.node.len());
                        graph.node.swap(node, other);
                    }
                }
            }
        }
        _ => {
            let at = random.below(graph.output.len());
            if let (Some(output), Some(name)) = (graph.output.get_mut(at), random.pick(&names)) {
                output.name = Some(name.clone());
            }
        }
    }
}

fn attribute_mutation(node: &mut NodeProto, random: &mut Random) {
    let at = random.below(node.attribute.len());
    if node.attribute.is_empty() || random.below(8) == 0 {
        // One of the room's own attributes comes along.
        const NAMES: [&str; 12] = [
            "axis",
            "axes",
            "keepdims",
            "to",
            "mode",
            "perm",
            "group",
            "strides",
            "pads",
            "dilations",
            "kernel_shape",
            "shape",
        ];
        let name = NAMES[random.below(NAMES.len())];
        let ints = (0..random.below(4)).map(|_| random.int()).collect();
        let kind = if random.below(2) == 0 { AttributeType::Int } else { AttributeType::Ints };
        node.attribute.push(AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(kind as i32),
            i: Some(random.int()),
            ints,
            ..AttributeProto::default()
        });
        return;
    }
    let Some(attribute) = node.attribute.get_mut(at) else { return };
    if random.below(10) == 0 {
        node.attribute.remove(at);
        return;
    }
    match attribute.r#type() {
        AttributeType::Int => attribute.i = Some(random.int()),
        AttributeType::Float => attribute.f = Some(random.float()),
        AttributeType::Ints => {
            let at = random.below(attribute.ints.len());
            match random.below(4) {
                0 => attribute.ints.insert(at, random.int()),
                1 if at < attribute.ints.len() => drop(attribute.ints.remove(at)),
                _ if at < attribute.ints.len() => attribute.ints[at] = random.int(),
                _ => {}
            }
        }
        AttributeType::Floats => {
            let at = random.below(attribute.floats.len());
            match random.below(4) {
                0 => attribute.floats.insert(at, random.float()),
                1 if at < attribute.floats.len() => drop(attribute.floats.remove(at)),
                _ if at < attribute.floats.len() => attribute.floats[at] = random.float(),
                _ => {}
            }
        }
        AttributeType::Tensor => {
            if let Some(tensor) = &mut attribute.t {
                tensor_mutation(tensor, random);
            }
        }
        AttributeType::String => {
            let mut text = attribute.s.clone().unwrap_or_default().to_vec();
            let at = random.below(text.len());
            match random.below(3) {
                0 if at < text.len() => drop(text.remove(at)),
                1 if at < text.len() => text[at] = 32 + random.below(96) as u8,
                _ => text.insert(at, b" .,->()[]{}abijk0$\xc3"[random.below(19)]),
            }
            attribute.s = Some(text.into());
        }
        AttributeType::Strings => {
            let at = random.below(attribute.strings.len());
            if at < attribute.strings.len() {
                drop(attribute.strings.remove(at));
            }
        }
        _ => attribute.r#type = Some(random.below(15) as i32),
    }
}

fn edge_mutation(node: &mut NodeProto, names: &[String], random: &mut Random) {
    let name = random.pick(names).cloned().unwrap_or_default();
    let at = random.below(node.input.len());
    match random.below(8) {
        0 => node.input.push(name),
        1 => drop(node.input.pop()),
        2 => drop(node.output.pop()),
        3 => node.output.push(format!("extra{}", random.below(1000))),
        4 => node.output.insert(0, String::new()),
        _ if at < node.input.len() => node.input[at] = name,
        _ => {}
    }
}

fn type_mutation(ty: &mut TypeProto, random: &mut Random) {
    let tensor = match &mut ty.value {
        Some(type_proto::Value::TensorType(tensor)) => tensor,
        Some(type_proto::Value::SequenceType(sequence)) => {
            return sequence.elem_type.iter_mut().for_each(|inner| type_mutation(inner, random));
        }
        Some(type_proto::Value::OptionalType(optional)) => {
            return optional.elem_type.iter_mut().for_each(|inner| type_mutation(inner, random));
        }
        _ => return,
    };
    if random.below(5) == 0 {
        tensor.elem_type = Some(random.below(30) as i32);
        return;
    }
    let Some(shape) = &mut tensor.shape else { return };
    if random.below(12) == 0 {
        tensor.shape = None;
        return;
    }
    if random.below(10) == 0 && shape.dim.len() > 1 {
        // No element, and any size.
        for size in [0, random.int()] {
            let at = random.below(shape.dim.len());
            shape.dim[at].value = Some(dimension::Value::DimValue(size));
        }
        return;
    }
    let value = match random.below(4) {
        0 => None,
        1 => Some(dimension::Value::DimParam(["N", "M", "batch"][random.below(3)].to_owned())),
        _ => Some(dimension::Value::DimValue(random.int())),
    };
    let dim = Dimension { value, ..Dimension::default() };
    let at = random.below(shape.dim.len());
    match random.below(6) {
        0 => shape.dim.insert(at, dim),
        1 if at < shape.dim.len() => drop(shape.dim.remove(at)),
        _ if at < shape.dim.len() => shape.dim[at] = dim,
        _ => {}
    }
}

fn tensor_mutation(tensor: &mut TensorProto, random: &mut Random) {
    let at = random.below(tensor.dims.len());
    match random.below(8) {
        0 => tensor.data_type = Some(random.below(30) as i32),
        1 if at < tensor.dims.len() => tensor.dims[at] = random.int(),
        2 => tensor.dims.insert(at, 1),
        3 if at < tensor.dims.len() && tensor.dims[at] == 1 => drop(tensor.dims.remove(at)),
        _ => values_mutation(tensor, random),
    }
}

/// Changes elements wherever they stand.
fn values_mutation(tensor: &mut TensorProto, random: &mut Random) {
    if let Some(raw) = &tensor.raw_data
        && !raw.is_empty()
    {
        let mut bytes = raw.to_vec();
        let int = random.int().to_le_bytes();
        let float = random.float().to_le_bytes();
        let with: &[u8] = match tensor.data_type {
            Some(1) => &float,
            Some(7 | 13 | 11) => &int,
            Some(6 | 12) => &int[..4],
            _ => &int[..1],
        };
        let at = random.below(bytes.len()) / with.len() * with.len();
        for (byte, with) in bytes[at..].iter_mut().zip(with) {
            *byte = *with;
        }
        tensor.raw_data = Some(bytes.into());
        return;
    }
    let (i64s, i32s) = (random.below(tensor.int64_data.len()), random.below(tensor.int32_data.len()));
    let floats = random.below(tensor.float_data.len());
    if let Some(value) = tensor.int64_data.get_mut(i64s) {
        *value = random.int();
    } else if let Some(value) = tensor.int32_data.get_mut(i32s) {
        *value = random.int() as i32;
    } else if let Some(value) = tensor.float_data.get_mut(floats) {
        *value = random.float();
    }
}

/// A constant of a declared type, where that is a small tensor of known sizes.
fn constant(name: Option<&str>, ty: TypeProto, random: &mut Random) -> Option<TensorProto> {
    let Some(type_proto::Value::TensorType(tensor)) = ty.value else { return None };
    let mut dims = Vec::new();
    for dim in tensor.shape?.dim {
        match dim.value {
            Some(dimension::Value::DimValue(size @ 0..=64)) => dims.push(size),
            Some(dimension::Value::DimValue(_)) => return None,
            _ => dims.push(2),
        }
    }
    let count = dims.iter().try_fold(1i64, |all, size| all.checked_mul(*size))?;
    let count = usize::try_from(count).ok().filter(|&count| count <= 1 << 12)?;
    let mut made = TensorProto {
        name: name.map(str::to_owned),
        data_type: tensor.elem_type,
        dims,
        ..TensorProto::default()
    };
    match tensor.elem_type? {
        1 => made.float_data = (0..count).map(|_| random.below(33) as f32 / 8.0 - 2.0).collect(),
        7 => made.int64_data = (0..count).map(|_| random.below(6) as i64 - 1).collect(),
        11 => made.double_data = (0..count).map(|_| random.below(33) as f64 / 8.0 - 2.0).collect(),
        12 | 13 => made.uint64_data = (0..count).map(|_| random.below(6) as u64).collect(),
        8 => made.string_data = (0..count).map(|_| Bytes::from_static(b"ab")).collect(),
        2 | 3 | 4 | 5 | 6 | 9 => made.int32_data = (0..count).map(|_| random.below(2) as i32).collect(),
        _ => return None,
    }
    Some(made)
}
