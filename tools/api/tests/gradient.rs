//! The standard's Gradient operator on whole models: against finite differences, twice, elsewhere than at the values
//! it names, and where it cannot be.

use oxidane::{Level, Model, Tensor};

const HEAD: &str = r#"<ir_version: 10, opset_import: ["" : 21, "ai.onnx.preview.training" : 1]>"#;

fn model(graph: &str) -> Result<Model, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnxtxt");
    std::fs::write(&path, format!("{HEAD}\n{graph}")).expect("a file");
    Model::open(&path).map_err(|e| e.to_string())
}

/// The outputs of a model on doubles, optimized and not: both must agree.
fn run(graph: &str, inputs: &[(&str, Tensor)]) -> Vec<Vec<f64>> {
    let run = |model: Model| -> Vec<Vec<f64>> {
        let outputs = model.session().expect("it compiles").run(inputs.to_vec()).expect("it runs");
        outputs.iter().map(|(_, d)| d.as_tensor().expect("a tensor").to_f64s().expect("numbers")).collect()
    };
    let plain = run(model(graph).expect("it imports"));
    let optimized = model(graph).expect("it imports").optimize(Level::Full).expect("it optimizes");
    let nodes = optimized.graph().nodes().map(|(_, node)| node.op().name().to_owned()).collect::<Vec<_>>();
    assert!(!nodes.iter().any(|name| name == "Gradient"), "optimizing shows what it stands for: {nodes:?}");
    for (a, b) in plain.iter().flatten().zip(run(optimized).iter().flatten()) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} without optimizing, {b} with");
    }
    plain
}

fn doubles(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::new(shape, values).expect("as many numbers as the shape says")
}

#[test]
fn a_perceptron_agrees_with_differences() {
    const LOSS: &str = r"
        hidden = MatMul (x, w)
        shifted = Add (hidden, b)
        active = Tanh (shifted)
        out = MatMul (active, v)
        off = Sub (out, t)
        square = Mul (off, off)
        loss = ReduceMean <keepdims = 0> (square)";
    const INPUTS: &str = "double[n,3] x, double[3,4] w, double[4] b, double[4,2] v, double[n,2] t";
    let graph = format!(
        r#"mlp ({INPUTS}) => (double loss, double[3,4] dw, double[4] db, double[4,2] dv) {{ {LOSS}
        dw, db, dv = ai.onnx.preview.training.Gradient <xs = ["w", "b", "v"], zs = ["x", "t"], y = "loss"> (w, b, v, x, t)
        }}"#
    );
    let numbers = |count: usize, seed: f64| -> Vec<f64> {
        (0..count).map(|i| (seed + 1.3 * i as f64 + 0.1 * (i * i) as f64).sin()).collect()
    };
    let shapes: [(&str, &[usize]); 5] =
        [("x", &[5, 3]), ("w", &[3, 4]), ("b", &[4]), ("v", &[4, 2]), ("t", &[5, 2])];
    let mut values: Vec<Vec<f64>> =
        shapes.iter().enumerate().map(|(i, (_, shape))| numbers(shape.iter().product(), i as f64)).collect();
    let given = |values: &[Vec<f64>]| -> Vec<(&str, Tensor)> {
        shapes.iter().zip(values).map(|(&(name, shape), v)| (name, doubles(shape, v))).collect()
    };
    let outputs = run(&graph, &given(&values));
    let loss = model(&format!("mlp ({INPUTS}) => (double loss) {{ {LOSS} }}")).expect("it imports");
    let loss = loss.session().expect("it compiles");
    let at = |values: &[Vec<f64>]| -> f64 {
        let outputs = loss.run(given(values)).expect("it runs");
        outputs["loss"].as_tensor().expect("a tensor").to_f64s().expect("a number")[0]
    };
    for (input, gradient) in [(1, 1), (2, 2), (3, 3)] {
        for i in 0..values[input].len() {
            let here = values[input][i];
            values[input][i] = here + 1e-5;
            let above = at(&values);
            values[input][i] = here - 1e-5;
            let below = at(&values);
            values[input][i] = here;
            let (slope, got) = ((above - below) / 2e-5, outputs[gradient][i]);
            assert!((slope - got).abs() < 1e-8, "{}[{i}]: {got} instead of {slope}", shapes[input].0);
        }
    }
}

#[test]
fn derivatives_of_derivatives() {
    let graph = r#"cube (double[k] x) => (double[k] y, double[k] first, double[k] second) {
        square = Mul (x, x)
        y = Mul (square, x)
        first = ai.onnx.preview.training.Gradient <xs = ["x"], y = "y"> (x)
        second = ai.onnx.preview.training.Gradient <xs = ["x"], y = "first"> (x)
    }"#;
    let outputs = run(graph, &[("x", doubles(&[3], &[-2.0, 0.5, 3.0]))]);
    assert_eq!(outputs, [[-8.0, 0.125, 27.0], [12.0, 0.75, 27.0], [-12.0, 3.0, 18.0]]);
}

#[test]
fn elsewhere_and_of_values_in_between() {
    // h counts as independent: its derivative is t alone, at the value that is given for it.
    let graph = r#"part (double x, double t, double other) => (double y, double dh, double dt, double at) {
        h = Exp (x)
        product = Mul (h, t)
        y = Mul (product, product)
        dh, dt = ai.onnx.preview.training.Gradient <xs = ["h", "t"], y = "y"> (h, t)
        at = ai.onnx.preview.training.Gradient <xs = ["h"], zs = ["t"], y = "y"> (other, t)
    }"#;
    let of = |v: f64| doubles(&[], &[v]);
    let outputs = run(graph, &[("x", of(0.0)), ("t", of(3.0)), ("other", of(5.0))]);
    assert_eq!(outputs, [[9.0], [18.0], [6.0], [90.0]]);
}

#[test]
fn what_does_not_matter_has_the_derivative_nought() {
    let graph = r#"two (double[2] a, double[3] b) => (double[3] db) {
        c = Mul (a, a)
        db = ai.onnx.preview.training.Gradient <xs = ["b"], zs = ["a"], y = "c"> (b, a)
    }"#;
    let inputs = [("a", doubles(&[2], &[1.0, 2.0])), ("b", doubles(&[3], &[1.0, 2.0, 3.0]))];
    assert_eq!(run(graph, &inputs), [[0.0; 3]]);
}

#[test]
fn what_cannot_be_is_said() {
    let error = |body: &str| {
        let graph = format!("bad (double[2,2] x, int64[2] n) => (double[2,2] d) {{ {body} }}");
        let Err(error) = model(&graph) else { panic!("{body} imports") };
        error
    };
    let unknown = error(
        r#"[first] u = HannWindow <output_datatype = 11> (n2)
        [second] v = Hardmax (x)
        [third] w = CumSum (x, zero)
        y = Mul (v, w)
        d = ai.onnx.preview.training.Gradient <xs = ["x"], y = "y"> (x)
        zero = Constant <value = int64 {0}> ()
        n2 = Constant <value = int64 {4}> ()"#,
    );
    assert!(
        unknown.contains("second") && unknown.contains("third") && !unknown.contains("first"),
        "{unknown}"
    );
    let name = error(r#"d = ai.onnx.preview.training.Gradient <xs = ["x"], y = "nothing"> (x)"#);
    assert!(name.contains("`nothing`"), "{name}");
    let count = error(
        r#"y = Mul (x, x)
        d = ai.onnx.preview.training.Gradient <xs = ["x"], zs = ["n"], y = "y"> (x)"#,
    );
    assert!(count.contains("1 inputs") && count.contains("2 values"), "{count}");
    let float = error(
        r#"m = Add (n, n)
        d = ai.onnx.preview.training.Gradient <xs = ["n"], y = "m"> (n)"#,
    );
    assert!(float.contains("derivatives are of floats"), "{float}");
}
