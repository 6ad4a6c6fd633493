//! Small models with the structure of well-known networks, made on the spot: what holds for the way they run holds for
//! the large ones. Weights are numbers drawn from a seed.

#![allow(dead_code, reason = "each test takes what it needs")]

use oxidane::onnx::tensor_to_proto;
use oxidane::onnx::text::parse_model;
use oxidane::{DType, Datum, Level, Model, RunOptions, Session, SessionOptions, Tensor, npz};
use std::collections::HashMap;
use std::path::Path;

/// A model, and what it runs on.
pub(crate) struct Structure {
    /// What it is like.
    pub name: &'static str,
    /// The model as it was imported.
    pub model: Model,
    /// Its inputs in order.
    pub inputs: Vec<Option<Datum>>,
}

impl Structure {
    /// The model, optimized and compiled.
    pub(crate) fn session(&self, threads: usize) -> Session {
        self.session_with(&SessionOptions { threads, ..SessionOptions::default() })
    }

    /// As [`Structure::session`].
    pub(crate) fn session_with(&self, options: &SessionOptions) -> Session {
        let model = self.model.clone().optimize(Level::Full).expect("it optimizes");
        model.session_with(options).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// The bits of what a run gives.
    pub(crate) fn bits(&self, session: &Session) -> Vec<Vec<u8>> {
        let outputs = session.run_with(self.inputs.clone(), RunOptions::default());
        bits(&outputs.unwrap_or_else(|e| panic!("{}: {e}", self.name)))
    }
}

/// The bytes of tensors.
pub(crate) fn bits(outputs: &[Datum]) -> Vec<Vec<u8>> {
    let bytes = |d: &Datum| {
        let dense = d.as_tensor().expect("a tensor").to_dense().expect("memory");
        dense.dense_bytes().expect("numbers").to_vec()
    };
    outputs.iter().map(bytes).collect()
}

/// Numbers between -0.5 and 0.5.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    fn floats(&mut self, shape: &[usize], scale: f32) -> Tensor {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| 2.0 * scale * self.next()).collect();
        Tensor::new(shape, &values).expect("as many as the shape says")
    }

    fn bytes(&mut self, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        let values: Vec<i8> = (0..count).map(|_| (200.0 * self.next()) as i8).collect();
        Tensor::new(shape, &values).expect("as many as the shape says")
    }
}

/// Text of nodes, and the constants that they read.
struct Sheet {
    nodes: String,
    constants: HashMap<String, Tensor>,
    draw: Draw,
    named: usize,
}

impl Sheet {
    fn new() -> Sheet {
        Sheet { nodes: String::new(), constants: HashMap::new(), draw: Draw(7), named: 0 }
    }

    /// A new name.
    fn name(&mut self) -> String {
        self.named += 1;
        format!("v{}", self.named)
    }

    fn constant(&mut self, tensor: Tensor) -> String {
        let name = self.name();
        self.constants.insert(name.clone(), tensor);
        name
    }

    /// Weights whose products with values of size 1 have size 1.
    fn weight(&mut self, shape: &[usize], sum: usize) -> String {
        let tensor = self.draw.floats(shape, 1.7 / (sum as f32).sqrt());
        self.constant(tensor)
    }

    fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Tensor::new(&[values.len()], values).expect("a list"))
    }

    fn scalar(&mut self, value: f32) -> String {
        self.constant(Tensor::scalar(value))
    }

    /// A node of one output, such as `Conv <group = 2>` of inputs.
    fn add(&mut self, op: &str, inputs: &[&str]) -> String {
        let name = self.name();
        self.nodes += &format!("{name} = {op} ({})\n", inputs.join(", "));
        name
    }

    fn conv(&mut self, x: &str, [from, to]: [usize; 2], size: usize, rest: &str) -> String {
        let w = self.weight(&[to, from, size, size], from * size * size);
        let b = self.weight(&[to], 4);
        let pad = size / 2;
        self.add(&format!("Conv <pads = [{pad}, {pad}, {pad}, {pad}] {rest}>"), &[x, &w, &b])
    }

    fn dense(&mut self, x: &str, [from, to]: [usize; 2]) -> String {
        let w = self.weight(&[from, to], from);
        let b = self.weight(&[to], 4);
        let product = self.add("MatMul", &[x, &w]);
        self.add("Add", &[&product, &b])
    }

    fn norm(&mut self, x: &str, size: usize) -> String {
        let (scale, shift) = (self.weight(&[size], 1), self.weight(&[size], 1));
        self.add("LayerNormalization <axis = -1>", &[x, &scale, &shift])
    }

    /// Renames the results, and reads the model.
    fn finish(
        self,
        name: &'static str,
        inputs: &[(&str, &str, Tensor)],
        outputs: &[(&str, &str)],
    ) -> Structure {
        let declared = |pairs: Vec<(&str, &str)>| {
            pairs.iter().map(|(ty, name)| format!("{ty} {name}")).collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "<ir_version: 10, opset_import: [\"\" : 21]>\nmodel ({}) => ({}) {{\n{}}}",
            declared(inputs.iter().map(|(ty, name, _)| (*ty, *name)).collect()),
            declared(outputs.to_vec()),
            self.nodes
        );
        let mut proto = parse_model(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
        let graph = proto.graph.as_mut().expect("the text has a graph");
        let mut constants: Vec<_> = self.constants.iter().collect();
        constants.sort_by_key(|(name, _)| *name);
        graph.initializer =
            constants.iter().map(|(name, t)| tensor_to_proto(name, t).expect("dense weights")).collect();
        let model = Model::from_proto(proto, None).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
        let inputs = inputs.iter().map(|(_, _, tensor)| Some(Datum::from(tensor.clone()))).collect();
        Structure { name, model, inputs }
    }
}

/// Convolutions with residuals.
pub(crate) fn resnet() -> Structure {
    resnet_of(32, 16)
}

/// As [`resnet`], on pictures of `size` with `wide` channels.
pub(crate) fn resnet_of(size: usize, wide: usize) -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, 3, size, size], 1.0);
    let mut v = s.conv("x", [3, wide], 7, ", strides = [2, 2]");
    v = s.add("Relu", &[&v]);
    v = s.add("MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>", &[&v]);
    for (from, to, stride) in [(wide, wide, 1), (wide, 2 * wide, 2), (2 * wide, 2 * wide, 1)] {
        let strides = format!(", strides = [{stride}, {stride}]");
        let mut a = s.conv(&v, [from, to], 3, &strides);
        a = s.add("Relu", &[&a]);
        a = s.conv(&a, [to, to], 3, "");
        let b = if from == to { v } else { s.conv(&v, [from, to], 1, &strides) };
        let sum = s.add("Add", &[&a, &b]);
        v = s.add("Relu", &[&sum]);
    }
    v = s.add("GlobalAveragePool", &[&v]);
    v = s.add("Flatten", &[&v]);
    let (w, b) = (s.weight(&[10, 2 * wide], 2 * wide), s.weight(&[10], 1));
    s.nodes += &format!("y = Gemm <transB = 1> ({v}, {w}, {b})\n");
    let ty = format!("float[1,3,{size},{size}]");
    s.finish("resnet", &[(&ty, "x", x)], &[("float[1,10]", "y")])
}

/// Depthwise convolutions, squeeze and excitation, hard activations.
pub(crate) fn mobilenet() -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, 3, 32, 32], 1.0);
    let mut v = s.conv("x", [3, 16], 3, ", strides = [2, 2]");
    v = s.add("HardSwish", &[&v]);
    for size in [3, 5] {
        let mut a = s.conv(&v, [16, 64], 1, "");
        a = s.add("HardSwish", &[&a]);
        let w = s.weight(&[64, 1, size, size], size * size);
        let pad = size / 2;
        a = s.add(&format!("Conv <group = 64, pads = [{pad}, {pad}, {pad}, {pad}]>"), &[&a, &w]);
        a = s.add("HardSwish", &[&a]);
        let mut gate = s.add("GlobalAveragePool", &[&a]);
        gate = s.conv(&gate, [64, 16], 1, "");
        gate = s.add("Relu", &[&gate]);
        gate = s.conv(&gate, [16, 64], 1, "");
        gate = s.add("HardSigmoid", &[&gate]);
        a = s.add("Mul", &[&a, &gate]);
        a = s.conv(&a, [64, 16], 1, "");
        v = s.add("Add", &[&v, &a]);
    }
    v = s.add("GlobalAveragePool", &[&v]);
    v = s.add("Flatten", &[&v]);
    let (w, b) = (s.weight(&[16, 10], 16), s.weight(&[10], 1));
    s.nodes += &format!("y = Gemm ({v}, {w}, {b})\n");
    s.finish("mobilenet", &[("float[1,3,32,32]", "x", x)], &[("float[1,10]", "y")])
}

/// Attention as exporters write it, with a mask made of the ids' one; post-normalization.
pub(crate) fn bert() -> Structure {
    let mut s = Sheet::new();
    let (length, wide, heads) = (16i64, 64i64, 4i64);
    let ids = (0..length).map(|i| (i * 7) % 50).collect::<Vec<_>>();
    let ids = Tensor::new(&[1, length as usize], &ids).expect("ids");
    let mut seen = vec![1i64; length as usize];
    seen[12..].fill(0);
    let seen = Tensor::new(&[1, length as usize], &seen).expect("a mask");
    let table = s.weight(&[50, wide as usize], 1);
    let place = s.weight(&[1, length as usize, wide as usize], 1);
    let mut v = s.add("Gather", &[&table, "ids"]);
    v = s.add("Add", &[&v, &place]);
    v = s.norm(&v, wide as usize);
    let axes = s.ints(&[1, 2]);
    let (one, low) = (s.scalar(1.0), s.scalar(-10000.0));
    let mut mask = s.add("Unsqueeze", &["seen", &axes]);
    mask = s.add("Cast <to = 1>", &[&mask]);
    mask = s.add("Sub", &[&one, &mask]);
    mask = s.add("Mul", &[&mask, &low]);
    for _ in 0..2 {
        let split = s.ints(&[0, -1, heads, wide / heads]);
        let merge = s.ints(&[0, -1, wide]);
        let head = |s: &mut Sheet, perm: &str| {
            let a = s.dense(&v, [wide as usize; 2]);
            let a = s.add("Reshape", &[&a, &split]);
            s.add(&format!("Transpose <perm = {perm}>"), &[&a])
        };
        let q = head(&mut s, "[0, 2, 1, 3]");
        let k = head(&mut s, "[0, 2, 3, 1]");
        let u = head(&mut s, "[0, 2, 1, 3]");
        let mut a = s.add("MatMul", &[&q, &k]);
        let scale = s.scalar(((wide / heads) as f32).sqrt());
        a = s.add("Div", &[&a, &scale]);
        a = s.add("Add", &[&a, &mask]);
        a = s.add("Softmax <axis = -1>", &[&a]);
        a = s.add("MatMul", &[&a, &u]);
        a = s.add("Transpose <perm = [0, 2, 1, 3]>", &[&a]);
        a = s.add("Reshape", &[&a, &merge]);
        a = s.dense(&a, [wide as usize; 2]);
        v = s.add("Add", &[&v, &a]);
        v = s.norm(&v, wide as usize);
        a = s.dense(&v, [wide as usize, 4 * wide as usize]);
        a = gelu(&mut s, &a);
        a = s.dense(&a, [4 * wide as usize, wide as usize]);
        v = s.add("Add", &[&v, &a]);
        v = s.norm(&v, wide as usize);
    }
    s.nodes += &format!("y = Identity ({v})\n");
    let inputs = [("int64[1,n]", "ids", ids), ("int64[1,n]", "seen", seen)];
    // The table of places holds for one length alone.
    let inputs = inputs.map(|(_, name, tensor)| ("int64[1,16]", name, tensor));
    s.finish("bert", &inputs, &[("float[1,16,64]", "y")])
}

fn gelu(s: &mut Sheet, x: &str) -> String {
    let (root, one, half) = (s.scalar(std::f32::consts::SQRT_2), s.scalar(1.0), s.scalar(0.5));
    let mut a = s.add("Div", &[x, &root]);
    a = s.add("Erf", &[&a]);
    a = s.add("Add", &[&a, &one]);
    a = s.add("Mul", &[x, &a]);
    s.add("Mul", &[&a, &half])
}

/// One step of a decoder whose past has a length that only the inputs tell.
pub(crate) fn gpt2() -> Structure {
    let mut s = Sheet::new();
    let (wide, heads, past) = (64usize, 4usize, 12usize);
    let table = s.weight(&[50, wide], 1);
    let places = s.weight(&[64, wide], 1);
    let mut v = s.add("Gather", &[&table, "ids"]);
    let shape = s.add("Shape <start = 2, end = 3>", &["k0"]);
    let place = s.add("Gather", &[&places, &shape]);
    v = s.add("Add", &[&v, &place]);
    let mut inputs = vec![("int64[1,1]", "ids", Tensor::new(&[1, 1], &[3i64]).expect("an id"))];
    let mut outputs = vec![("float[1,1,50]", "y")];
    let names = [["k0", "u0", "k0_next", "u0_next"], ["k1", "u1", "k1_next", "u1_next"]];
    for [k, u, k_next, u_next] in names {
        for name in [k, u] {
            let tensor = s.draw.floats(&[1, heads, past, wide / heads], 1.0);
            inputs.push(("float[1,4,past,16]", name, tensor));
        }
        outputs.extend([("float[1,4,later,16]", k_next), ("float[1,4,later,16]", u_next)]);
        let mut a = s.norm(&v, wide);
        a = s.dense(&a, [wide, 3 * wide]);
        let parts: [String; 3] = std::array::from_fn(|_| s.name());
        s.nodes += &format!("{} = Split <axis = 2, num_outputs = 3> ({a})\n", parts.join(", "));
        let split = s.ints(&[0, -1, heads as i64, (wide / heads) as i64]);
        let [q, key, value] = parts.map(|part| {
            let part = s.add("Reshape", &[&part, &split]);
            s.add("Transpose <perm = [0, 2, 1, 3]>", &[&part])
        });
        s.nodes += &format!("{k_next} = Concat <axis = 2> ({k}, {key})\n");
        s.nodes += &format!("{u_next} = Concat <axis = 2> ({u}, {value})\n");
        let turned = s.add("Transpose <perm = [0, 1, 3, 2]>", &[k_next]);
        a = s.add("MatMul", &[&q, &turned]);
        let scale = s.scalar(0.25);
        a = s.add("Mul", &[&a, &scale]);
        a = s.add("Softmax <axis = -1>", &[&a]);
        a = s.add("MatMul", &[&a, u_next]);
        a = s.add("Transpose <perm = [0, 2, 1, 3]>", &[&a]);
        let merge = s.ints(&[0, -1, wide as i64]);
        a = s.add("Reshape", &[&a, &merge]);
        a = s.dense(&a, [wide, wide]);
        v = s.add("Add", &[&v, &a]);
        a = s.norm(&v, wide);
        a = s.dense(&a, [wide, 4 * wide]);
        a = gelu_by_tanh(&mut s, &a);
        a = s.dense(&a, [4 * wide, wide]);
        v = s.add("Add", &[&v, &a]);
    }
    v = s.norm(&v, wide);
    let w = s.weight(&[wide, 50], wide);
    s.nodes += &format!("y = MatMul ({v}, {w})\n");
    s.finish("gpt2", &inputs, &outputs)
}

fn gelu_by_tanh(s: &mut Sheet, x: &str) -> String {
    let (three, small, root) = (s.scalar(3.0), s.scalar(0.044715), s.scalar(0.797_884_6));
    let (one, half) = (s.scalar(1.0), s.scalar(0.5));
    let mut a = s.add("Pow", &[x, &three]);
    a = s.add("Mul", &[&a, &small]);
    a = s.add("Add", &[x, &a]);
    a = s.add("Mul", &[&a, &root]);
    a = s.add("Tanh", &[&a]);
    a = s.add("Add", &[&a, &one]);
    let b = s.add("Mul", &[x, &half]);
    s.add("Mul", &[&b, &a])
}

/// Two layers of LSTM, the second in both directions, with shapes turned between them.
pub(crate) fn lstm() -> Structure {
    let mut s = Sheet::new();
    let (steps, wide) = (10, 32);
    let x = s.draw.floats(&[steps, 1, 16], 1.0);
    let layer = |s: &mut Sheet, x: &str, from: usize, both: bool| {
        let ways = 1 + usize::from(both);
        let w = s.weight(&[ways, 4 * wide, from], from);
        let r = s.weight(&[ways, 4 * wide, wide], wide);
        let b = s.weight(&[ways, 8 * wide], 4);
        let direction = if both { "bidirectional" } else { "forward" };
        let all =
            s.add(&format!("LSTM <hidden_size = {wide}, direction = \"{direction}\">"), &[x, &w, &r, &b]);
        let turned = s.add("Transpose <perm = [0, 2, 1, 3]>", &[&all]);
        let shape = s.ints(&[0, 0, -1]);
        s.add("Reshape", &[&turned, &shape])
    };
    let v = layer(&mut s, "x", 16, false);
    let v = layer(&mut s, &v, wide, true);
    let v = s.dense(&v, [2 * wide, 5]);
    s.nodes += &format!("y = Softmax <axis = -1> ({v})\n");
    s.finish("lstm", &[("float[10,1,16]", "x", x)], &[("float[10,1,5]", "y")])
}

/// Convolutions and a product between QuantizeLinear and DequantizeLinear, with a scale a channel.
pub(crate) fn int8() -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, 3, 32, 32], 1.0);
    let zero = s.constant(Tensor::scalar(0i8));
    let quantized = |s: &mut Sheet, v: &str, scale: f32| {
        let scale = s.scalar(scale);
        let q = s.add("QuantizeLinear", &[v, &scale, &zero]);
        s.add("DequantizeLinear", &[&q, &scale, &zero])
    };
    let weight = |s: &mut Sheet, shape: &[usize]| {
        let codes = s.draw.bytes(shape);
        let codes = s.constant(codes);
        let scales: Vec<f32> = (0..shape[0]).map(|i| 0.002 + 0.0001 * i as f32).collect();
        let scales = s.constant(Tensor::new(&[shape[0]], &scales).expect("a scale a channel"));
        s.add("DequantizeLinear <axis = 0>", &[&codes, &scales])
    };
    let mut v = quantized(&mut s, "x", 1.0 / 127.0);
    for [from, to] in [[3, 16], [16, 16]] {
        let w = weight(&mut s, &[to, from, 3, 3]);
        let b = s.weight(&[to], 4);
        v = s.add("Conv <pads = [1, 1, 1, 1]>", &[&v, &w, &b]);
        v = s.add("Relu", &[&v]);
        v = quantized(&mut s, &v, 0.05);
    }
    v = s.add("GlobalAveragePool", &[&v]);
    v = s.add("Flatten", &[&v]);
    v = quantized(&mut s, &v, 0.02);
    let w = weight(&mut s, &[10, 16]);
    v = s.add("Gemm <transB = 1>", &[&v, &w]);
    v = quantized(&mut s, &v, 0.1);
    s.nodes += &format!("y = Identity ({v})\n");
    s.finish("int8", &[("float[1,3,32,32]", "x", x)], &[("float[1,10]", "y")])
}

/// Products of integers whose scales a run finds out.
pub(crate) fn dynamic_int8() -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, 16, 64], 1.0);
    let mut v = "x".to_owned();
    for _ in 0..2 {
        let parts: [String; 3] = std::array::from_fn(|_| s.name());
        s.nodes += &format!("{} = DynamicQuantizeLinear ({v})\n", parts.join(", "));
        let codes = s.draw.bytes(&[64, 64]);
        let (codes, zero) = (s.constant(codes), s.constant(Tensor::scalar(0i8)));
        let [q, scale, shift] = &parts;
        let product = s.add("MatMulInteger", &[q, &codes, shift, &zero]);
        let product = s.add("Cast <to = 1>", &[&product]);
        let own = s.scalar(0.004);
        let scale = s.add("Mul", &[scale, &own]);
        let product = s.add("Mul", &[&product, &scale]);
        let b = s.weight(&[64], 4);
        let sum = s.add("Add", &[&product, &b]);
        v = s.add("Relu", &[&sum]);
    }
    s.nodes += &format!("y = Identity ({v})\n");
    s.finish("dynamic_int8", &[("float[1,16,64]", "x", x)], &[("float[1,16,64]", "y")])
}

/// Branches of convolutions of equal work, put together by channels: an Inception block.
pub(crate) fn inception(size: usize, wide: usize, branches: usize) -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, wide, size, size], 1.0);
    let mut ends = Vec::new();
    for _ in 0..branches {
        let mut v = s.conv("x", [wide, wide], 1, "");
        for _ in 0..3 {
            v = s.add("Relu", &[&v]);
            v = s.conv(&v, [wide, wide], 3, "");
        }
        ends.push(v);
    }
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    let joined = s.add("Concat <axis = 1>", &ends);
    s.nodes += &format!("y = Relu ({joined})\n");
    let (from, to) =
        (format!("float[1,{wide},{size},{size}]"), format!("float[1,{},{size},{size}]", branches * wide));
    s.finish("inception", &[(&from, "x", x)], &[(&to, "y")])
}

/// Two towers of layers of their own, compared at the end.
pub(crate) fn towers(rows: usize, wide: usize, layers: usize) -> Structure {
    let mut s = Sheet::new();
    let inputs = [s.draw.floats(&[rows, wide], 1.0), s.draw.floats(&[rows, wide], 1.0)];
    let ends = ["a", "b"].map(|tower| {
        let mut v = tower.to_owned();
        for _ in 0..layers {
            v = s.dense(&v, [wide, wide]);
            v = s.add("Relu", &[&v]);
        }
        v
    });
    let product = s.add("Mul", &[&ends[0], &ends[1]]);
    let axes = s.ints(&[1]);
    s.nodes += &format!("y = ReduceSum <keepdims = 0> ({product}, {axes})\n");
    let ty = format!("float[{rows},{wide}]");
    let [a, b] = inputs;
    s.finish("towers", &[(&ty, "a", a), (&ty, "b", b)], &[(&format!("float[{rows}]"), "y")])
}

/// Small operators one after the other.
pub(crate) fn chain(length: usize) -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, 64], 1.0);
    let mut v = "x".to_owned();
    for i in 0..length {
        v = match i % 4 {
            0 => s.dense(&v, [64, 64]),
            1 => s.add("Tanh", &[&v]),
            2 => s.norm(&v, 64),
            _ => s.add("Softmax <axis = -1>", &[&v]),
        };
    }
    s.nodes += &format!("y = Identity ({v})\n");
    s.finish("chain", &[("float[1,64]", "x", x)], &[("float[1,64]", "y")])
}

/// A Loop with an If inside, as speech models have them.
pub(crate) fn control() -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, 32], 1.0);
    let w = s.weight(&[32, 32], 32);
    let count = s.constant(Tensor::scalar(6i64));
    let yes = s.constant(Tensor::new(&[], &[1u8]).and_then(|t| t.reinterpret(DType::Bool)).expect("true"));
    let half = s.constant(Tensor::scalar(3i64));
    s.nodes += &format!(
        "y = Loop ({count}, {yes}, x) <body = body (int64 i, bool go, float[1,32] h) => (bool on, float[1,32] out) {{
            on = Identity (go)
            p = MatMul (h, {w})
            first = Less (i, {half})
            out = If (first) <
                then_branch = then () => (float[1,32] t) {{ t = Tanh (p) }},
                else_branch = other () => (float[1,32] e) {{ e = Sigmoid (p) }}
            >
        }}>\n"
    );
    s.finish("control", &[("float[1,32]", "x", x)], &[("float[1,32]", "y")])
}

/// A model of the repository, with the inputs that lie beside it.
pub(crate) fn bundled(name: &'static str) -> Structure {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/models").join(name);
    let model = Model::open(folder.join("model.onnx")).expect("a model");
    let arrays = npz::read_npz(folder.join("input.npz")).expect("its inputs");
    let graph = model.graph();
    let of = |name: &str| arrays.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone().into());
    let inputs = graph.inputs().iter().map(|&v| of(graph.value(v).name())).collect();
    Structure { name, model, inputs }
}

/// Many nodes that read one input, with next to no work each.
pub(crate) fn readers(count: usize) -> Structure {
    let mut s = Sheet::new();
    let x = s.draw.floats(&[1, 1 << 14], 1.0);
    let names: Vec<String> = (0..count).map(|i| format!("y{i}")).collect();
    for name in &names {
        s.nodes += &format!("{name} = Identity (x)\n");
    }
    let outputs: Vec<(&str, &str)> = names.iter().map(|name| ("float[1,16384]", name.as_str())).collect();
    s.finish("readers", &[("float[1,16384]", "x", x)], &outputs)
}

/// All of them, small.
pub(crate) fn all() -> Vec<Structure> {
    vec![
        resnet(),
        mobilenet(),
        bert(),
        gpt2(),
        lstm(),
        int8(),
        dynamic_int8(),
        inception(12, 16, 3),
        towers(8, 64, 3),
        chain(24),
        control(),
    ]
}
