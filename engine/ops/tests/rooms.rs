//! The generic suites: every case of every room, in every way that must agree.

use oxidane_graph::{Graph, Type, infer, same_tensor};
use oxidane_ops::{Case, Interpreter, Room, rooms};
use oxidane_pool::Pool;
use oxidane_tensor::{Datum, Tensor};

const BUDGET: usize = 1 << 30;

fn each(check: impl Fn(&Room, &Case) -> Result<(), String>) {
    let mut failures = Vec::new();
    for room in rooms() {
        for case in (room.cases)() {
            if let Err(why) = check(room, &case) {
                failures.push(format!("{} / {}: {why}", room.name, case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn run(graph: &Graph, case: &Case, width: usize) -> Result<Vec<Datum>, String> {
    let inputs = case.inputs.iter().filter(|i| i.is_some()).cloned().collect();
    Interpreter::new(Pool::new(width), BUDGET).run(graph, inputs).map_err(|p| p.to_string())
}

fn same(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Tensor(a), Datum::Tensor(b)) => same_tensor(a, b),
        (Datum::Sequence(a), Datum::Sequence(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b))
        }
        (Datum::Optional(None), Datum::Optional(None)) => true,
        (Datum::Optional(Some(a)), Datum::Optional(Some(b))) => same(a, b),
        (Datum::Map { keys: a, values: x }, Datum::Map { keys: b, values: y }) => {
            same_tensor(a, b) && x.len() == y.len() && x.iter().zip(y.iter()).all(|(x, y)| same(x, y))
        }
        _ => false,
    }
}

/// The largest difference relative to the largest expected value; an error where types or shapes differ.
fn difference(actual: &Datum, expected: &Datum) -> Result<f64, String> {
    let each = |a: &[Datum], b: &[Datum]| {
        if a.len() != b.len() {
            return Err(format!("has {} items, expected {}", a.len(), b.len()));
        }
        a.iter().zip(b).try_fold(0.0f64, |worst, (a, b)| Ok(worst.max(difference(a, b)?)))
    };
    match (actual, expected) {
        (Datum::Tensor(a), Datum::Tensor(b)) => tensor_difference(a, b),
        (Datum::Sequence(a), Datum::Sequence(b)) => each(a, b),
        (Datum::Map { keys: a, values: x }, Datum::Map { keys: b, values: y }) => {
            Ok(tensor_difference(a, b)?.max(each(x, y)?))
        }
        _ => Err("the output is of another kind".into()),
    }
}

fn tensor_difference(actual: &Tensor, expected: &Tensor) -> Result<f64, String> {
    if actual.dtype() != expected.dtype() || actual.shape() != expected.shape() {
        return Err(format!("is {actual:?}, expected {expected:?}"));
    }
    let (Ok(a), Ok(b)) = (actual.to_f64s(), expected.to_f64s()) else {
        return if same_tensor(actual, expected) { Ok(0.0) } else { Err("elements differ".into()) };
    };
    let largest = b.iter().filter(|v| v.is_finite()).fold(1e-30f64, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(&b).fold(0.0f64, |worst, (a, b)| {
        let equal = a == b || (a.is_nan() && b.is_nan());
        let d = if equal { 0.0 } else { (a - b).abs() };
        worst.max(if d.is_nan() { f64::INFINITY } else { d })
    });
    Ok(worst / largest)
}

#[test]
fn registry_is_sorted_and_every_room_has_cases() {
    let names: Vec<_> = rooms().map(|r| (r.domain, r.name)).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "the registry is not sorted");
    for room in rooms() {
        assert!(!(room.cases)().is_empty(), "{} has no cases", room.name);
        assert!(room.since.is_sorted_by(|a, b| a < b), "{}: versions are not sorted", room.name);
        assert!(room.steps.is_sorted_by(|a, b| a.to < b.to), "{}: steps are not sorted", room.name);
        let strays = room.steps.iter().filter(|s| !room.since.contains(&s.to)).count();
        assert_eq!(strays, 0, "{}: a step leads to a version that does not exist", room.name);
    }
}

#[test]
fn stated_outputs_come_out() {
    each(|_, case| {
        let outputs = run(&case.graph(), case, 1)?;
        for (i, (actual, expected)) in outputs.iter().zip(&case.expected).enumerate() {
            let worst = difference(actual, expected).map_err(|e| format!("output {i} {e}"))?;
            if worst > case.tolerance {
                return Err(format!("output {i} differs by {worst:.2e}"));
            }
        }
        Ok(())
    });
}

#[test]
fn thread_counts_give_the_same_bits() {
    each(|_, case| {
        let once = run(&case.graph(), case, 1)?;
        for width in [2, 4] {
            let again = run(&case.graph(), case, width)?;
            if !once.iter().zip(&again).all(|(a, b)| same(a, b)) {
                return Err(format!("{width} threads give other bits than one"));
            }
        }
        Ok(())
    });
}

#[test]
fn inferred_types_agree_with_actual_ones() {
    each(|_, case| {
        let mut graph = case.graph();
        let findings = infer(&mut graph);
        if let Some(problem) = findings.problems.first() {
            return Err(problem.to_string());
        }
        for (datum, &id) in run(&graph, case, 1)?.iter().zip(graph.outputs()) {
            let (Some(actual), Some(inferred)) = (Type::of(datum), graph.value(id).ty()) else { continue };
            if let Err(why) = Type::meet(&actual, inferred) {
                return Err(format!("inferred {inferred}, but is {actual}: {why}"));
            }
        }
        Ok(())
    });
}

#[test]
fn attributes_survive_writing_and_reading() {
    each(|room, case| {
        let written = case.op.attributes();
        let read = (room.read)(&written).map_err(|e| e.to_string())?;
        if read.attributes() != written {
            return Err(format!("{:?} became {:?}", case.op, read));
        }
        Ok(())
    });
}

#[test]
fn expansions_agree() {
    each(|_, case| {
        let mut graph = case.graph();
        infer(&mut graph);
        let Some((id, _)) = graph.nodes().next() else { return Err("the case has no node".into()) };
        let mut build = oxidane_graph::Build::new(&mut graph, "test");
        let Some(values) = case.op.expand(&mut build, id).map_err(|e| e.to_string())? else { return Ok(()) };
        let direct = run(&case.graph(), case, 1)?;
        graph.set_outputs(values);
        let expanded = run(&graph, case, 1)?;
        for (i, (a, b)) in expanded.iter().zip(&direct).enumerate() {
            let worst = difference(a, b).map_err(|e| format!("output {i} {e}"))?;
            if worst > case.tolerance.max(1e-5) {
                return Err(format!("output {i} of the expansion differs by {worst:.2e}"));
            }
        }
        Ok(())
    });
}
