//! Every case of every room, written in each older version of its operator that can express it and read again,
//! computes the same.

use oxidane_graph::{Graph, NodeSpec, Type, ValueId, infer};
use oxidane_ops::{Case, Draft, Interpreter, Room, room, rooms};
use oxidane_pool::Pool;
use oxidane_tensor::{Datum, Tensor};

const BUDGET: usize = 1 << 30;

fn run(graph: &Graph, inputs: Vec<Option<Datum>>) -> Result<Vec<Datum>, String> {
    Interpreter::new(Pool::new(1), BUDGET).run(graph, inputs).map_err(|p| p.to_string())
}

/// A graph of the case, its tensors as constants or as inputs, that has been through `opset`; `None` where that
/// opset cannot express it.
fn through(home: &Room, case: &Case, opset: i64, constants: bool) -> Option<Result<Graph, String>> {
    let mut graph = Graph::new(case.name);
    let mut slots: Vec<Option<ValueId>> = Vec::new();
    for (i, input) in case.inputs.iter().enumerate() {
        slots.push(input.as_ref().map(|datum| match datum {
            Datum::Tensor(tensor) if constants => {
                graph.add_constant(&format!("x{i}"), tensor.clone()).expect("a fresh name")
            }
            _ => {
                let id = graph.add_input(&format!("x{i}"), Type::of(datum), None).expect("a fresh name");
                graph.set_declared(id, Type::of(datum));
                id
            }
        }));
    }
    let outputs: Vec<ValueId> =
        (0..case.outputs).map(|i| graph.add_undefined(&format!("y{i}")).expect("a fresh name")).collect();
    // As export does: every output is listed, and those that are shown once more.
    graph.set_outputs(outputs.iter().chain(&outputs).copied().collect());
    let mut draft = Draft::new(&mut graph, home.domain, home.name);
    draft.attributes = case.op.attributes();
    draft.inputs = slots.into_iter().collect();
    draft.outputs = outputs.iter().map(|&v| Some(v)).collect();
    home.downgrade(&mut draft, opset).ok()?;
    let mut again = || -> Result<(), String> {
        let home = room(&draft.domain, &draft.name).ok_or_else(|| format!("became {}", draft.name))?;
        home.upgrade(&mut draft, opset).map_err(|e| e.to_string())?;
        let home = room(&draft.domain, &draft.name).ok_or_else(|| format!("became {}", draft.name))?;
        let op = (home.read)(&draft.attributes).map_err(|e| e.to_string())?;
        let op = op.with_bodies(case.op.body_names()).unwrap_or(op);
        let (inputs, made) = (draft.inputs.clone(), draft.outputs.clone());
        let spec = NodeSpec { bodies: case.bodies.clone(), ..NodeSpec::new(op, &inputs, &made) };
        draft.graph().add_node(spec).map_err(|e| e.to_string())?;
        Ok(())
    };
    if let Err(why) = again() {
        return Some(Err(why));
    }
    graph.set_outputs(outputs);
    let findings = infer(&mut graph);
    Some(match findings.problems.first() {
        Some(problem) => Err(problem.to_string()),
        None => Ok(graph),
    })
}

fn close(a: &Datum, b: &Datum, tolerance: f64) -> bool {
    match (a, b) {
        (Datum::Tensor(a), Datum::Tensor(b)) => {
            a.dtype() == b.dtype() && a.shape() == b.shape() && close_tensors(a, b, tolerance)
        }
        (Datum::Sequence(a), Datum::Sequence(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| close(a, b, tolerance))
        }
        (Datum::Optional(None), Datum::Optional(None)) => true,
        (Datum::Optional(Some(a)), Datum::Optional(Some(b))) => close(a, b, tolerance),
        (Datum::Map { keys: a, values: x }, Datum::Map { keys: b, values: y }) => {
            let pairs = x.iter().zip(y.iter());
            x.len() == y.len() && close_tensors(a, b, tolerance) && { pairs }
                .all(|(x, y)| close(x, y, tolerance))
        }
        _ => false,
    }
}

fn close_tensors(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
    match (a.to_f64s(), b.to_f64s()) {
        (Ok(a), Ok(b)) => {
            let largest = b.iter().filter(|v| v.is_finite()).fold(1e-30f64, |m, v| m.max(v.abs()));
            let near =
                |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * largest;
            a.iter().zip(&b).all(|(&a, &b)| near(a, b))
        }
        _ => oxidane_graph::same_tensor(a, b),
    }
}

#[test]
fn older_versions_compute_the_same() {
    let mut failures = Vec::new();
    let mut expressed = 0;
    for home in rooms() {
        for case in (home.cases)() {
            let direct = run(&case.graph(), case.inputs.iter().filter(|i| i.is_some()).cloned().collect());
            for &opset in home.since {
                for constants in [false, true] {
                    let outcome = match through(home, &case, opset, constants) {
                        None => continue,
                        Some(Err(why)) => Err(why),
                        Some(Ok(graph)) => {
                            let datums = case.inputs.iter().flatten();
                            let inputs = datums
                                .filter(|d| !constants || !matches!(d, Datum::Tensor(_)))
                                .map(|d| Some(d.clone()))
                                .collect();
                            match (run(&graph, inputs), &direct) {
                                (Ok(a), Ok(b)) if a.len() == b.len() => {
                                    match a.iter().zip(b).all(|(a, b)| close(a, b, case.tolerance)) {
                                        true => Ok(()),
                                        false => Err("the outputs differ".to_owned()),
                                    }
                                }
                                (Err(why), _) => Err(why),
                                _ => Err("the case does not run".to_owned()),
                            }
                        }
                    };
                    expressed += 1;
                    if let Err(why) = outcome {
                        let kind = if constants { "constants" } else { "inputs" };
                        failures.push(format!(
                            "{} / {} through opset {opset} ({kind}): {why}",
                            home.name, case.name
                        ));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(expressed > 0, "no case could be expressed in an older version");
}
