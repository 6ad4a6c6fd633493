use oxidane_graph::{Graph, NodeSpec, Op, Type};
use oxidane_tensor::{CastRules, DType, Datum, Tensor};
use std::sync::Arc;

/// A sample call of an operator. The generic suites run it in every way that must agree: each ISA and thread
/// count, inference against the actual types, exported and imported again, expanded, differentiated.
#[derive(Debug, Clone)]
pub struct Case {
    /// What the sample shows, unique in its room.
    pub name: &'static str,
    /// The operator.
    pub op: Arc<dyn Op>,
    /// The inputs; `None` for one left out.
    pub inputs: Vec<Option<Datum>>,
    /// How many outputs are asked for.
    pub outputs: usize,
    /// The outputs as worked out elsewhere (the specification's example, NumPy, PyTorch), where given.
    pub expected: Vec<Datum>,
    /// The largest difference from `expected`, relative to the largest expected value.
    pub tolerance: f64,
    /// The bodies of the node, without captures.
    pub bodies: Vec<Graph>,
}

impl Case {
    /// A call without inputs and with one output.
    pub fn new(name: &'static str, op: impl Op) -> Case {
        Case {
            name,
            op: Arc::new(op),
            inputs: Vec::new(),
            outputs: 1,
            expected: Vec::new(),
            tolerance: 1e-5,
            bodies: Vec::new(),
        }
    }

    /// Adds an input.
    pub fn input(mut self, value: impl Into<Datum>) -> Case {
        self.inputs.push(Some(value.into()));
        self
    }

    /// Leaves an input out.
    pub fn absent(mut self) -> Case {
        self.inputs.push(None);
        self
    }

    /// Asks for several outputs.
    pub fn outputs(mut self, count: usize) -> Case {
        self.outputs = count;
        self
    }

    /// States the next output.
    pub fn expect(mut self, value: impl Into<Datum>) -> Case {
        self.expected.push(value.into());
        self
    }

    /// Sets the tolerance of the stated outputs.
    pub fn tolerance(mut self, relative: f64) -> Case {
        self.tolerance = relative;
        self
    }

    /// A graph of this one node, its inputs as graph inputs `x0`, `x1`, ... and its outputs `y0`, ...
    ///
    /// # Panics
    /// Never for a well-formed case: all names are fresh.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::new(self.name);
        let mut slots = Vec::new();
        for (i, input) in self.inputs.iter().enumerate() {
            slots.push(input.as_ref().map(|datum| {
                let id = graph.add_input(&format!("x{i}"), Type::of(datum), None).expect("a fresh name");
                graph.set_declared(id, Type::of(datum));
                id
            }));
        }
        let outputs: Vec<_> =
            (0..self.outputs).map(|i| graph.add_undefined(&format!("y{i}")).expect("a fresh name")).collect();
        let made: Vec<_> = outputs.iter().map(|&v| Some(v)).collect();
        let spec = NodeSpec { bodies: self.bodies.clone(), ..NodeSpec::new(self.op.clone(), &slots, &made) };
        graph.add_node(spec).expect("fresh outputs");
        graph.set_outputs(outputs);
        graph
    }

    /// Adds a body.
    pub fn body(mut self, graph: Graph) -> Case {
        self.bodies.push(graph);
        self
    }
}

/// A dense `float` tensor of stated values.
///
/// # Panics
/// When the number of values is not that of the shape.
pub fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape, values).expect("as many values as the shape has")
}

/// A dense `int64` tensor of stated values.
///
/// # Panics
/// When the number of values is not that of the shape.
pub fn ints(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::new(shape, values).expect("as many values as the shape has")
}

/// A dense tensor of stated values of an integer type.
///
/// # Panics
/// When the number of values is not that of the shape, or a value does not fit the type.
pub fn ints_of(dtype: DType, shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_i64s(dtype, shape, values).expect("as many values as the shape has")
}

/// A dense `bool` tensor of stated values.
///
/// # Panics
/// When the number of values is not that of the shape.
pub fn bools(shape: &[usize], values: &[bool]) -> Tensor {
    Tensor::from_bools(shape, values).expect("as many values as the shape has")
}

/// A dense `string` tensor of stated values.
///
/// # Panics
/// When the number of values is not that of the shape.
pub fn strings(shape: &[usize], values: &[&str]) -> Tensor {
    let values = values.iter().map(|&v| Arc::from(v)).collect();
    Tensor::from_strings(shape, values).expect("as many values as the shape has")
}

/// A `float` tensor of numbers between -1 and 1 that look random and depend on `seed` alone.
pub fn noise(shape: &[usize], seed: u64) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f32> = Noise(seed).take(count).map(|v| v as f32).collect();
    floats(shape, &values)
}

/// As [`noise`], for any element type that a float casts to: integers lie between -100 and 100 (or 0 and 100).
///
/// # Panics
/// When the type has no cast from float.
pub fn noise_of(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let count = shape.iter().product();
    let scale = if dtype.is_integer() { 100.0 } else { 1.0 };
    let positive = dtype.is_unsigned_integer();
    let values: Vec<f32> = Noise(seed)
        .take(count)
        .map(|v| if positive { (v.abs() * scale) as f32 } else { (v * scale) as f32 })
        .collect();
    floats(shape, &values).cast(dtype, CastRules::default()).expect("a type that floats cast to")
}

/// SplitMix64, mapped to -1..1.
struct Noise(u64);

impl Iterator for Noise {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        Some((z >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    }
}
