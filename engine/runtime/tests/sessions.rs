//! Sessions: inputs that fit and do not, sizes bound for each run, limits, cancelling.

use oxidane_graph::{Build, Dim, Graph, Stop, Type};
use oxidane_ops::tensor::identity::Identity;
use oxidane_ops::tensor::reshape::Reshape;
use oxidane_ops::{floats, ints};
use oxidane_runtime::{Cancel, Limits, RunError, RunOptions, Session, SessionOptions};
use oxidane_tensor::{DType, Datum};

/// x: float[n,4] -> Identity -> Reshape to [-1, 2] -> Identity -> y: float[2*n,2]; and x -> Identity -> z.
fn model() -> Graph {
    let mut graph = Graph::new("test");
    let ty = Type::tensor(DType::F32, [Dim::symbol("n"), Dim::known(4)]);
    let x = graph.add_input("x", Some(ty.clone()), None).unwrap();
    graph.set_declared(x, Some(ty));
    let mut build = Build::new(&mut graph, "");
    let shape = build.constant(ints(&[2], &[-1, 2]));
    let a = build.add(Identity {}, &[x]);
    let b = build.add(Reshape { allowzero: false }, &[a, shape]);
    let y = build.add(Identity {}, &[b]);
    let z = build.add(Identity {}, &[x]);
    graph.rename(y, "y").unwrap();
    graph.rename(z, "z").unwrap();
    graph.set_outputs(vec![y, z]);
    graph
}

fn session(threads: usize, limits: Limits) -> Session {
    Session::new(&model(), &SessionOptions { threads, limits }).unwrap()
}

#[test]
fn sizes_are_bound_for_each_run() {
    for threads in [1, 2] {
        let session = session(threads, Limits::default());
        assert_eq!(session.outputs()[0].ty.as_ref().unwrap().to_string(), "float[2*n,2]");
        for n in [1, 3, 2] {
            let x = floats(&[n, 4], &vec![1.5; n * 4]);
            let out = session.run([("x", Datum::from(x))]).unwrap();
            assert_eq!(out[0].as_tensor().unwrap().shape(), [2 * n, 2]);
            assert_eq!(out[1].as_tensor().unwrap().shape(), [n, 4]);
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let session = session(1, Limits::default());
    let none: [(&str, Datum); 0] = [];
    let text = |r: Result<Vec<Datum>, RunError>| r.unwrap_err().to_string();
    let missing = text(session.run(none));
    assert!(missing.contains("input `x`: is missing") && missing.contains("float[n,4]"), "{missing}");
    let shape = text(session.run([("x", Datum::from(floats(&[2, 3], &[0.0; 6])))]));
    assert!(shape.contains("float[2,3]") && shape.contains("float[n,4]"), "{shape}");
    let ty = text(session.run([("x", Datum::from(ints(&[1, 4], &[0; 4])))]));
    assert!(ty.contains("int64") && ty.contains("float"), "{ty}");
    let name = text(session.run([("y", Datum::from(ints(&[1, 4], &[0; 4])))]));
    assert!(name.contains("`y`") && name.contains("it takes x"), "{name}");
}

#[test]
fn a_cancelled_run_stops() {
    let session = session(1, Limits::default());
    let cancel = Cancel::default();
    cancel.cancel();
    let options = RunOptions { cancel: Some(&cancel), observer: None };
    let result = session.run_with(vec![Some(floats(&[1, 4], &[0.0; 4]).into())], options);
    assert!(matches!(result, Err(RunError::Stopped { stop: Stop::Cancelled, .. })));
}

#[test]
fn a_run_without_time_stops() {
    let session = session(1, Limits { time: Some(std::time::Duration::ZERO), ..Limits::default() });
    let result = session.run([("x", Datum::from(floats(&[1, 4], &[0.0; 4])))]);
    assert!(matches!(result, Err(RunError::Stopped { stop: Stop::Budget, .. })));
}
