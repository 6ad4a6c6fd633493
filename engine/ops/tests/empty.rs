//! Tensors without elements may have any other sizes: `[0, 2^40]` takes no bytes. No kernel may take memory or time
//! for such a size, and no product of sizes may overflow.

use oxidane_graph::infer;
use oxidane_ops::{Case, Interpreter, rooms};
use oxidane_pool::Pool;
use oxidane_tensor::{Datum, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Loops are as long as their input; a session's limit of iterations bounds them.
const LOOPS: [&str; 2] = ["Scan", "BatchScan"];

const HUGE: [usize; 2] = [1 << 40, 1 << 61];

/// The inputs with one size made 0 and another huge, in all of them or in one.
fn variants(case: &Case) -> Vec<Vec<Option<Datum>>> {
    let mut sizes: Vec<usize> =
        case.inputs.iter().flatten().filter_map(Datum::as_tensor).flat_map(|t| t.shape().to_vec()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut all = Vec::new();
    for huge in HUGE {
        for &zero in &sizes {
            for &large in sizes.iter().filter(|&&large| large != zero) {
                let to = |size: usize| {
                    if size == zero {
                        0
                    } else if size == large {
                        huge
                    } else {
                        size
                    }
                };
                all.push(changed(case, |_, _, size| to(size)));
            }
        }
        for (input, datum) in case.inputs.iter().enumerate() {
            let rank = datum.as_ref().and_then(Datum::as_tensor).map_or(0, Tensor::rank);
            for zero in 0..rank {
                for large in (0..rank).filter(|&large| large != zero) {
                    all.push(changed(case, |i, axis, size| match (i == input, axis) {
                        (true, a) if a == zero => 0,
                        (true, a) if a == large => huge,
                        _ => size,
                    }));
                }
            }
        }
    }
    all.into_iter().flatten().collect()
}

/// `None` where a tensor with elements would become huge.
fn changed(case: &Case, size: impl Fn(usize, usize, usize) -> usize) -> Option<Vec<Option<Datum>>> {
    let change = |(i, datum): (usize, &Option<Datum>)| match datum {
        Some(Datum::Tensor(tensor)) => {
            let shape: Vec<usize> =
                tensor.shape().iter().enumerate().map(|(axis, &s)| size(i, axis, s)).collect();
            if shape == tensor.shape() {
                return Some(datum.clone());
            }
            if !shape.contains(&0) && shape.iter().any(|s| HUGE.contains(s)) {
                return None;
            }
            Some(Some(Tensor::zeros(tensor.dtype(), &shape).ok()?.into()))
        }
        other => Some(other.clone()),
    };
    case.inputs.iter().enumerate().map(change).collect()
}

#[test]
fn huge_sizes_beside_none_cost_nothing() {
    let mut bad = Vec::new();
    for room in rooms().filter(|room| !LOOPS.contains(&room.name)) {
        for case in (room.cases)() {
            for inputs in variants(&case) {
                let shape =
                    |d: &Option<Datum>| d.as_ref().and_then(Datum::as_tensor).map(|t| t.shape().to_vec());
                let shapes: Vec<_> = inputs.iter().map(shape).collect();
                let graph = Case { inputs: inputs.clone(), ..case.clone() }.graph();
                let (send, receive) = channel();
                thread::spawn(move || {
                    let run = || {
                        let mut typed = graph.clone();
                        infer(&mut typed);
                        let _ = Interpreter::new(Pool::new(1), 1 << 24).run(&graph, inputs);
                    };
                    let _ = send.send(catch_unwind(AssertUnwindSafe(run)).is_ok());
                });
                let how = match receive.recv_timeout(Duration::from_secs(20)) {
                    Ok(true) => continue,
                    Ok(false) => "panics",
                    Err(_) => "does not end",
                };
                bad.push(format!("{}, case `{}`, on {shapes:?} {how}", room.name, case.name));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
