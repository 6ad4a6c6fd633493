//! Rewrites keep what a graph computes: random graphs of the rooms' sample cases, optimized at each level, folded, lowered,
//! written in other opsets, as text and as JSON, give the same outputs as before.
//!
//! A graph comes from its seed alone. `METAMORPHIC=N` takes N graphs, `METAMORPHIC_FROM=N` begins with another seed.
//! Seeds that failed once stand in `metamorphic.seeds` and are always taken.

#[path = "../../../fuzz/src/mutate.rs"]
#[allow(dead_code, unreachable_pub)]
mod mutate;

use mutate::Random;
use oxidane::graph::{Attributes, Graph, NodeSpec, Op, Type, ValueId};
use oxidane::onnx::{Model, OPSET, parse_json, text, write_json};
use oxidane::ops::{Case, Interpreter, room, rooms};
use oxidane::passes::{Level, Options, layout, lower, optimize};
use oxidane::{DType, Datum, Tensor};
use oxidane_pool::Pool;
use std::sync::Arc;

/// What a run of a random graph may allocate.
const WORK: usize = 1 << 28;
/// What a rewrite may change, relative to the largest element of an output.
const TOLERANCE: f64 = 1e-4;
/// Operators whose results jump where an input changes by a rounding: they take no computed values.
const JUMPS: &[&str] = &[
    "ArgMax",
    "ArgMin",
    "Ceil",
    "Compress",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "Equal",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "MaxPool",
    "Mod",
    "NonMaxSuppression",
    "NonZero",
    "OneHot",
    "QuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "QLinearAdd",
    "QLinearMul",
    "Resize",
    "RoiAlign",
    "Round",
    "Shrink",
    "Sign",
    "ThresholdedRelu",
    "TopK",
    "Unique",
    "MaxRoiPool",
    "GridSample",
    "DeformConv",
    "Celu",
    "StringNormalizer",
];

/// The cases that a random graph is made of: what gives the same each time.
fn cases() -> Vec<(&'static str, &'static str, Case)> {
    let mut all = Vec::new();
    for room in rooms() {
        if room.domain == "ai.onnx.preview.training"
            || room.domain.starts_with("com.microsoft") && room.name.contains("Search")
        {
            continue;
        }
        for case in (room.cases)() {
            let small = |d: &Datum| d.as_tensor().is_none_or(|t| t.len() <= 4096);
            if case.op.is_pure() && case.inputs.iter().flatten().all(small) {
                all.push((room.domain, room.name, case));
            }
        }
    }
    assert!(all.len() > 500, "the rooms have their cases");
    all
}

/// A graph in the making, with what its values are.
struct Maker {
    random: Random,
    graph: Graph,
    inputs: Vec<Option<Datum>>,
    /// Computed values in single precision, with their shapes.
    floats: Vec<(ValueId, Vec<usize>)>,
    made: Vec<ValueId>,
    names: usize,
}

impl Maker {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    fn input(&mut self, datum: &Datum) -> ValueId {
        let name = self.name();
        let ty = Type::of(datum);
        let id = self.graph.add_input(&name, ty.clone(), None).expect("a fresh name");
        self.graph.set_declared(id, ty);
        self.inputs.push(Some(datum.clone()));
        id
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = self.name();
        self.graph.add_constant(&name, tensor).expect("a fresh name")
    }

    fn node(
        &mut self,
        op: Arc<dyn Op>,
        inputs: &[Option<ValueId>],
        outputs: usize,
        bodies: Vec<Graph>,
    ) -> Vec<ValueId> {
        let outputs: Vec<ValueId> = (0..outputs)
            .map(|_| {
                let name = self.name();
                self.graph.add_undefined(&name).expect("a fresh name")
            })
            .collect();
        let made: Vec<_> = outputs.iter().map(|&v| Some(v)).collect();
        let spec = NodeSpec { bodies, ..NodeSpec::new(op, inputs, &made) };
        self.graph.add_node(spec).expect("fresh outputs");
        outputs
    }

    fn standard(&mut self, name: &str, attributes: Attributes, inputs: &[ValueId]) -> ValueId {
        let op = (room("", name).expect("a standard operator").read)(&attributes).expect("its attributes");
        let inputs: Vec<_> = inputs.iter().map(|&v| Some(v)).collect();
        self.node(op, &inputs, 1, Vec::new())[0]
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::new(&[values.len()], values).expect("a vector"))
    }

    /// Constant numbers in [-0.5, 0.5).
    fn weights(&mut self, shape: &[usize]) -> ValueId {
        let count = shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|_| self.random.below(256) as f32 / 256.0 - 0.5).collect();
        self.constant(Tensor::new(shape, &numbers).expect("as many numbers as the shape says"))
    }

    /// A computed value brought to a shape: flattened, repeated or cut, and given the shape.
    fn adapted(&mut self, from: (ValueId, Vec<usize>), shape: &[usize]) -> ValueId {
        let (mut value, have) = (from.0, from.1.iter().product::<usize>());
        let wanted: usize = shape.iter().product();
        if from.1 == shape || have == 0 || wanted == 0 {
            return if from.1 == shape { value } else { self.constant(zeros(shape)) };
        }
        let flat = self.ints(&[-1]);
        value = self.standard("Reshape", Attributes::new(), &[value, flat]);
        if have < wanted {
            let times = self.ints(&[wanted.div_ceil(have) as i64]);
            value = self.standard("Tile", Attributes::new(), &[value, times]);
        }
        let bounds = [self.ints(&[0]), self.ints(&[wanted as i64]), self.ints(&[0])];
        value = self.standard("Slice", Attributes::new(), &[value, bounds[0], bounds[1], bounds[2]]);
        let target = self.ints(&shape.iter().map(|&n| n as i64).collect::<Vec<_>>());
        self.standard("Reshape", Attributes::new(), &[value, target])
    }

    /// Adds a case, some of whose inputs are computed values.
    fn case(&mut self, name: &str, case: &Case) {
        let jumps = JUMPS.contains(&name) || !case.bodies.is_empty();
        let mut slots = Vec::new();
        for input in &case.inputs {
            let Some(datum) = input else {
                slots.push(None);
                continue;
            };
            let tensor = datum.as_tensor();
            let float = tensor.filter(|t| t.dtype() == DType::F32);
            slots.push(Some(match (float, tensor) {
                (Some(t), _) if !jumps && !self.floats.is_empty() && self.random.below(2) == 0 => {
                    let from = self.floats[self.random.below(self.floats.len())].clone();
                    let shape = t.shape().to_vec();
                    self.adapted(from, &shape)
                }
                (_, Some(t)) if self.random.below(2) == 0 => self.constant(t.clone()),
                _ => self.input(datum),
            }));
        }
        let outputs = self.node(case.op.clone(), &slots, case.outputs, case.bodies.clone());
        self.made.extend(outputs);
    }

    /// Adds what exporters put between operators.
    fn glue(&mut self) {
        let Some(at) = (!self.floats.is_empty()).then(|| self.random.below(self.floats.len())) else {
            return;
        };
        let (x, shape) = self.floats[at].clone();
        let y = match self.random.below(11) {
            0 => self.standard("Relu", Attributes::new(), &[x]),
            1 => {
                let s = self.standard("Sigmoid", Attributes::new(), &[x]);
                self.standard("Mul", Attributes::new(), &[x, s])
            }
            2 => {
                let one = self.constant(Tensor::new(&[], &[1.0f32]).expect("a scalar"));
                self.standard("Mul", Attributes::new(), &[x, one])
            }
            3 => {
                let perm: Vec<i64> = (0..shape.len() as i64).rev().collect();
                let turned = self.standard("Transpose", Attributes::new().with("perm", perm.clone()), &[x]);
                self.standard("Transpose", Attributes::new().with("perm", perm), &[turned])
            }
            4 => {
                let wide = self.standard("Cast", Attributes::new().with("to", DType::F64), &[x]);
                self.standard("Cast", Attributes::new().with("to", DType::F32), &[wide])
            }
            5 if !shape.is_empty() => {
                let axis = self.random.below(shape.len()) as i64;
                let twice = self.standard("Concat", Attributes::new().with("axis", axis), &[x, x]);
                let bounds = [self.ints(&[0]), self.ints(&[shape[axis as usize] as i64]), self.ints(&[axis])];
                self.standard("Slice", Attributes::new(), &[twice, bounds[0], bounds[1], bounds[2]])
            }
            6 => {
                let sizes = self.standard("Shape", Attributes::new(), &[x]);
                let flat = self.ints(&[-1]);
                let row = self.standard("Reshape", Attributes::new(), &[x, flat]);
                self.standard("Reshape", Attributes::new(), &[row, sizes])
            }
            7 => {
                let erf_in = self.constant(Tensor::new(&[], &[std::f32::consts::SQRT_2]).expect("a scalar"));
                let (one, half) = (Tensor::new(&[], &[1.0f32]), Tensor::new(&[], &[0.5f32]));
                let one = self.constant(one.expect("a scalar"));
                let half = self.constant(half.expect("a scalar"));
                let d = self.standard("Div", Attributes::new(), &[x, erf_in]);
                let e = self.standard("Erf", Attributes::new(), &[d]);
                let a = self.standard("Add", Attributes::new(), &[e, one]);
                let m = self.standard("Mul", Attributes::new(), &[x, a]);
                self.standard("Mul", Attributes::new(), &[m, half])
            }
            8 => {
                let picture = self.adapted((x, shape), &[1, 3, 5, 4]);
                let (first, second) = (self.weights(&[16, 3, 3, 3]), self.weights(&[16, 1, 3, 3]));
                let same = Attributes::new().with("pads", vec![1i64; 4]);
                let a = self.standard("Conv", same.clone(), &[picture, first]);
                let b = self.standard("HardSwish", Attributes::new(), &[a]);
                let c = self.standard("Conv", same.with("group", 16i64), &[b, second]);
                let sum = self.standard("Add", Attributes::new(), &[c, b]);
                self.standard("GlobalAveragePool", Attributes::new(), &[sum])
            }
            9 => {
                let rows = self.adapted((x, shape), &[2, 3, 6]);
                let (matrix, bias) = (self.weights(&[6, 5]), self.weights(&[5]));
                let product = self.standard("MatMul", Attributes::new(), &[rows, matrix]);
                let sum = self.standard("Add", Attributes::new(), &[bias, product]);
                self.standard("Relu", Attributes::new(), &[sum])
            }
            _ => self.standard("Identity", Attributes::new(), &[x]),
        };
        self.made.push(y);
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::new(shape, &vec![0.0f32; shape.iter().product()]).expect("a tensor")
}

/// A graph that runs, its inputs and its outputs; `None` where the seed gives none.
fn random_graph(
    seed: u64,
    cases: &[(&'static str, &'static str, Case)],
) -> Option<(Graph, Vec<Option<Datum>>, Vec<Datum>)> {
    let mut maker = Maker {
        random: Random::new(seed),
        graph: Graph::new("random"),
        inputs: Vec::new(),
        floats: Vec::new(),
        made: Vec::new(),
        names: 0,
    };
    let steps = 2 + maker.random.below(6);
    for _ in 0..steps {
        let before = (maker.graph.clone(), maker.inputs.clone(), maker.made.clone());
        if maker.random.below(3) == 0 {
            maker.glue();
        } else {
            let (_, name, case) = &cases[maker.random.below(cases.len())];
            maker.case(name, case);
        }
        // What does not run is taken back.
        let made = maker.made.clone();
        maker.graph.set_outputs(made.clone());
        match run(&maker.graph, maker.inputs.clone()) {
            Ok(values) => {
                maker.floats = (made.into_iter().zip(&values))
                    .filter_map(|(id, datum)| {
                        let t = datum.as_tensor().filter(|t| t.dtype() == DType::F32 && !t.is_empty())?;
                        let fine =
                            t.values::<f32>().is_ok_and(|v| v.iter().all(|v| v.is_finite() && v.abs() < 1e4));
                        fine.then(|| (id, t.shape().to_vec()))
                    })
                    .collect();
            }
            Err(_) => (maker.graph, maker.inputs, maker.made) = before,
        }
    }
    if maker.made.is_empty() {
        return None;
    }
    maker.graph.set_outputs(maker.made.clone());
    oxidane::graph::infer(&mut maker.graph);
    let outputs = run(&maker.graph, maker.inputs.clone()).ok()?;
    Some((maker.graph, maker.inputs, outputs))
}

fn run(graph: &Graph, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, String> {
    Interpreter::new(Pool::new(1), WORK).run(graph, inputs).map_err(|e| e.to_string())
}

/// How far two values are apart, relative to the largest of the first; infinite where they are of different kinds.
fn apart(a: &Datum, b: &Datum) -> f64 {
    match (a, b) {
        (Datum::Tensor(a), Datum::Tensor(b)) => {
            if a.dtype() != b.dtype() || a.shape() != b.shape() {
                return f64::INFINITY;
            }
            if a.dtype() == DType::String || a.dtype().is_complex() {
                return if format!("{a}") == format!("{b}") { 0.0 } else { f64::INFINITY };
            }
            let (Ok(x), Ok(y)) = (a.to_f64s(), b.to_f64s()) else { return f64::INFINITY };
            let narrow = a.dtype().is_float() && a.dtype().bits() < 32;
            let most = x.iter().filter(|v| v.is_finite()).fold(1e-6f64, |m, v| m.max(v.abs()));
            let off = |(x, y): (&f64, &f64)| match (x.is_finite(), y.is_finite()) {
                (true, true) => (x - y).abs(),
                _ if x == y || x.is_nan() && y.is_nan() => 0.0,
                _ => f64::INFINITY,
            };
            let worst = x.iter().zip(&y).map(off).fold(0.0, f64::max) / most;
            // Narrow floats differ by a step where the sum before them differs by a bit.
            if narrow && worst < 0.2 { 0.0 } else { worst }
        }
        (Datum::Sequence(a), Datum::Sequence(b)) if a.len() == b.len() => {
            a.iter().zip(b.iter()).map(|(a, b)| apart(a, b)).fold(0.0, f64::max)
        }
        (Datum::Optional(None), Datum::Optional(None)) => 0.0,
        (Datum::Optional(Some(a)), Datum::Optional(Some(b))) => apart(a, b),
        (Datum::Map { keys: a, values: x }, Datum::Map { keys: b, values: y }) => {
            let keys = apart(&Datum::Tensor(a.clone()), &Datum::Tensor(b.clone()));
            x.iter().zip(y.iter()).map(|(x, y)| apart(x, y)).fold(keys, f64::max)
        }
        _ => f64::INFINITY,
    }
}

/// The inputs with every float moved a little, to see what rounding does to a graph.
fn moved(inputs: &[Option<Datum>]) -> Vec<Option<Datum>> {
    let nudge = |datum: &Datum| match datum {
        Datum::Tensor(t) if t.dtype() == DType::F32 => {
            let values: Vec<f32> =
                t.values::<f32>().expect("floats").iter().map(|v| v * (1.0 + 3e-7)).collect();
            Datum::Tensor(Tensor::new(t.shape(), &values).expect("a tensor"))
        }
        other => other.clone(),
    };
    inputs.iter().map(|input| input.as_ref().map(nudge)).collect()
}

/// The graph as a file of an opset holds it, read again.
fn written(graph: &Graph, opset: Option<i64>) -> Option<Result<Graph, String>> {
    let mut model = Model::new(graph.clone());
    for (_, node) in graph.nodes() {
        let domain = node.op().domain();
        let known = model.opset(domain).is_some() || matches!(domain, "" | "ai.onnx");
        if !known {
            let version = room(domain, node.op().name()).map_or(1, |r| r.newest());
            let entry = oxidane::onnx::proto::OperatorSetIdProto {
                domain: Some(domain.to_owned()),
                version: Some(version),
            };
            model.header.opset_import.push(entry);
        }
    }
    // What an opset cannot express is no fault.
    let proto = model.to_proto(opset).ok()?;
    Some(Model::from_proto(proto, None).map(|m| m.graph).map_err(|e| e.to_string()))
}

/// A rewrite by name: the graph that it gives; `None` where it does not apply.
type Rewrite = (String, Box<dyn Fn(&Graph) -> Option<Result<Graph, String>>>);

fn rewrites(seed: u64) -> Vec<Rewrite> {
    let optimized = |options: Options| {
        move |graph: &Graph| {
            let mut graph = graph.clone();
            let report = optimize(&mut graph, &options);
            if report.out_of_fuel {
                return Some(Err("the rules went round in circles".to_owned()));
            }
            Some(graph.verify().map(|()| graph).map_err(|e| e.to_string()))
        }
    };
    let opset = 7 + (seed % (OPSET as u64 - 6)) as i64;
    let fold = Options::default().only(&["fold"]).expect("a pass");
    vec![
        ("level none".into(), Box::new(optimized(Options::level_of(Level::None)))),
        ("level basic".into(), Box::new(optimized(Options::level_of(Level::Basic)))),
        ("level full".into(), Box::new(optimized(Options::level_of(Level::Full)))),
        ("fold".into(), Box::new(optimized(fold))),
        (
            "layout".into(),
            Box::new(|graph| {
                let mut graph = graph.clone();
                optimize(&mut graph, &Options::level_of(Level::Full));
                let report = layout(&mut graph, &Options::level_of(Level::Full));
                if report.out_of_fuel {
                    return Some(Err("the rules went round in circles".to_owned()));
                }
                Some(graph.verify().map(|()| graph).map_err(|e| e.to_string()))
            }),
        ),
        (
            "full, then a file".into(),
            Box::new(|graph| {
                let mut graph = graph.clone();
                optimize(&mut graph, &Options::level_of(Level::Full));
                written(&graph, None)
            }),
        ),
        (
            format!("lower to {opset}"),
            Box::new(move |graph| {
                let mut graph = graph.clone();
                Some(lower(&mut graph, opset).map(|_| graph).map_err(|e| e.to_string()))
            }),
        ),
        (format!("opset {opset}"), Box::new(move |graph| written(graph, Some(opset)))),
        (
            "text".into(),
            Box::new(|graph| {
                let proto = Model::new(graph.clone()).to_proto(None).ok()?;
                let text = match text::print_model(&proto) {
                    Ok(text) => text,
                    Err(error) => return Some(Err(error.to_string())),
                };
                let again = text::parse_model(&text).map_err(|e| e.to_string());
                Some(
                    again
                        .and_then(|p| Model::from_proto(p, None).map(|m| m.graph).map_err(|e| e.to_string())),
                )
            }),
        ),
        (
            "json".into(),
            Box::new(|graph| {
                let proto = Model::new(graph.clone()).to_proto(None).ok()?;
                let mut json = Vec::new();
                write_json(&proto, &mut json).expect("memory takes everything");
                let again = parse_json(&json).map_err(|e| e.to_string());
                Some(
                    again
                        .and_then(|p| Model::from_proto(p, None).map(|m| m.graph).map_err(|e| e.to_string())),
                )
            }),
        ),
    ]
}

/// What is wrong with the rewrites of a seed's graph.
fn faults(seed: u64, cases: &[(&'static str, &'static str, Case)]) -> Option<Vec<String>> {
    let (graph, inputs, before) = random_graph(seed, cases)?;
    let mut faults = Vec::new();
    for (name, rewrite) in rewrites(seed) {
        let Some(result) = rewrite(&graph) else { continue };
        let after = result.and_then(|graph| {
            let given = inputs.clone();
            run(&graph, given)
        });
        let after = match after {
            Ok(after) => after,
            Err(why) => {
                faults.push(format!("{name}: {why}"));
                continue;
            }
        };
        for (k, (a, b)) in before.iter().zip(&after).enumerate() {
            let off = apart(a, b);
            if off <= TOLERANCE {
                continue;
            }
            // A graph that rounding takes as far says nothing.
            let shaken = run(&graph, moved(&inputs)).map_or(f64::INFINITY, |m| apart(a, &m[k]));
            if off > 30.0 * shaken || shaken == 0.0 {
                let maker = graph.value(graph.outputs()[k]).producer();
                let op = maker.map_or("", |id| graph.node(id).op().name());
                faults.push(format!("{name}: output {k} ({op}) is off by {off:.1e} of the largest"));
            }
        }
    }
    Some(faults)
}

#[test]
fn rewrites_keep_what_graphs_compute() {
    let number =
        |name: &str, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (count, from): (u64, u64) = (number("METAMORPHIC", 500), number("METAMORPHIC_FROM", 0));
    let cases = cases();
    let kept = include_str!("metamorphic.seeds")
        .lines()
        .filter_map(|line| line.split('#').next()?.trim().parse().ok());
    let (mut graphs, mut bad) = (0, Vec::new());
    for seed in kept.chain(from..from + count) {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| faults(seed, &cases)));
        match done {
            Ok(None) => {}
            Ok(Some(faults)) => {
                graphs += 1;
                bad.extend(faults.into_iter().map(|fault| format!("seed {seed}: {fault}")));
            }
            Err(_) => bad.push(format!("seed {seed}: panicked")),
        }
    }
    assert!(graphs * 10 > count * 9, "only {graphs} graphs of {count} seeds");
    assert!(bad.is_empty(), "{} faults in {graphs} graphs:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn graphs_are_worth_rewriting() {
    let cases = cases();
    let (mut nodes, mut graphs, mut fired) = (0, 0, std::collections::BTreeMap::<&str, usize>::new());
    for seed in 0..100 {
        let Some((mut graph, ..)) = random_graph(seed, &cases) else { continue };
        graphs += 1;
        nodes += graph.node_count();
        let options = Options::level_of(Level::Full);
        for report in [optimize(&mut graph, &options), layout(&mut graph, &options)] {
            for one in report.fired() {
                *fired.entry(one.pass).or_default() += 1;
            }
        }
    }
    assert!(nodes > 4 * graphs, "{nodes} nodes in {graphs} graphs");
    assert!(fired.len() > 8, "few passes have anything to do: {fired:?}");
}
