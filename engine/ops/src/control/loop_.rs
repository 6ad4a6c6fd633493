//! [Loop](https://onnx.ai/onnx/operators/onnx__Loop.html): a body that runs again and again, with values that it
//! hands on and values that it leaves behind at each turn.

use super::if_::{truth, truth_of};
use crate::tensor::concat::{Concat, concat};
use crate::tensor::identity::Identity;
use crate::{Case, Form, Room, attributes, bools, floats, ints, of_room, types};
use oxidane_graph::{
    Build, Call, Graph, InferCtx, Kernel, Op, OpError, Param, Run, Signature, TensorType, Type, Unknown,
    kernel, shared,
};
use oxidane_tensor::{DType, Datum, Tensor};

attributes! {
    /// Runs the body `body` up to `M` times while its condition holds. The body takes the turn's number, the
    /// condition and the carried values, and gives the next condition, the next carried values, and one
    /// element of each scan output.
    pub struct Loop {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::optional("M", types::INT64, "I"),
        Param::optional("cond", types::BOOL, "B"),
        Param::heterogeneous("v_initial", types::ANY, 0),
    ],
    outputs: &[Param::heterogeneous("v_final_and_scan_outputs", types::ANY, 1)],
};

/// The room of Loop.
pub static ROOM: Room = Room {
    domain: "",
    name: "Loop",
    since: &[1, 11, 13, 16, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Loop::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // Worked out by hand from the specification's pseudocode: the carried value doubles in length.
        vec![
            Case::new("three turns", Loop {})
                .input(Tensor::scalar(3i64))
                .input(bools(&[], &[true]))
                .input(floats(&[1], &[7.0]))
                .outputs(2)
                .body(doubling())
                .expect(floats(&[8], &[7.0; 8]))
                .expect(ints(&[3], &[0, 1, 2])),
            Case::new("no turn", Loop {})
                .input(Tensor::scalar(3i64))
                .input(bools(&[], &[false]))
                .input(floats(&[2], &[7.0, 8.0]))
                .outputs(2)
                .body(doubling())
                .expect(floats(&[2], &[7.0, 8.0]))
                .expect(ints(&[0], &[])),
        ]
    },
};

/// A body that puts the carried value behind itself and leaves the turn's number.
fn doubling() -> Graph {
    let mut body = Graph::new("body");
    let mut input = |name: &str, ty: Type| {
        let id = body.add_input(name, Some(ty.clone()), None).expect("a fresh name");
        body.set_declared(id, Some(ty));
        id
    };
    let turn = input("turn", Type::fixed(DType::I64, &[]));
    let more = input("more", Type::fixed(DType::Bool, &[]));
    let carried = input("carried", Type::unranked(DType::F32));
    let mut build = Build::new(&mut body, "");
    let outputs = vec![
        build.add(Identity {}, &[more]),
        build.add(Concat { axis: 0 }, &[carried, carried]),
        build.add(Identity {}, &[turn]),
    ];
    body.set_outputs(outputs);
    body
}

/// A type without sizes: what a body may hand on to the next turn.
fn loose(ty: &Type) -> Type {
    match ty {
        Type::Tensor(t) => Type::unranked(t.dtype),
        Type::SparseTensor(t) => Type::SparseTensor(TensorType { dtype: t.dtype, shape: None }),
        Type::Sequence(inner) => Type::Sequence(Box::new(loose(inner))),
        Type::Optional(inner) => Type::Optional(Box::new(loose(inner))),
        Type::Map { key, value } => Type::Map { key: *key, value: Box::new(loose(value)) },
        Type::Opaque { .. } => ty.clone(),
    }
}

/// Sets an output to the parts along a new axis; without parts, to an empty tensor of the type that output
/// `part` of the body has.
///
/// # Errors
/// When the parts differ in shape or type, or there are none and the type is not known.
pub(crate) fn stack(
    run: &mut Run<'_>,
    output: usize,
    parts: &[Tensor],
    part: usize,
    axis: i64,
) -> Result<(), OpError> {
    let Some(first) = parts.first() else {
        let ty = run.body_output(0, part).and_then(|ty| ty.as_tensor().cloned());
        let ty = ty.ok_or_else(|| {
            OpError::new(format!("there was no turn, and the type of the empty output {output} is not known"))
                .help("declare the types of the body's outputs")
        })?;
        let mut shape: Vec<usize> = match &ty.shape {
            Some(dims) => dims.iter().map(|d| d.as_size().unwrap_or(0)).collect(),
            None => Vec::new(),
        };
        let axis = oxidane_graph::axis_index(axis, shape.len() + 1)?;
        shape.insert(axis, 0);
        run.set(output, Tensor::zeros(ty.dtype, &shape)?);
        return Ok(());
    };
    let axis = oxidane_graph::axis_index(axis, first.rank() + 1)?;
    let widened: Vec<Tensor> = parts
        .iter()
        .map(|part| {
            let mut shape = part.shape().to_vec();
            if part.rank() != first.rank() || part.dtype() != first.dtype() {
                return Err(OpError::new(format!(
                    "output {output} is {}{:?} in one turn and {}{:?} in another",
                    first.dtype(),
                    first.shape(),
                    part.dtype(),
                    part.shape()
                )));
            }
            shape.insert(axis, 1);
            Ok(part.reshape(&shape)?)
        })
        .collect::<Result<_, _>>()?;
    concat(run, output, &widened.iter().collect::<Vec<_>>(), axis as i64)
}

impl Op for Loop {
    of_room!();

    fn body_names(&self) -> &[&str] {
        &["body"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let initial: Vec<Option<Type>> = (2..ctx.input_count()).map(|i| ctx.ty(i).cloned()).collect();
        // Some writers declare the turn's number and the condition with shape [1], so only the element type is
        // given. Sizes of carried values may change from turn to turn.
        let mut given = vec![Some(Type::unranked(DType::I64)), Some(Type::unranked(DType::Bool))];
        given.extend(initial.iter().map(|ty| ty.as_ref().map(loose)));
        let results = ctx.infer_body(0, &given)?;
        if results.len() != ctx.output_count() + 1 || results.len() <= initial.len() {
            return Err(Unknown::wrong(format!(
                "has {} carried values and {} outputs, but its body gives {} values; it must give the condition, \
                 the carried values and the scan outputs",
                initial.len(),
                ctx.output_count(),
                results.len()
            )));
        }
        let mut unknown = None;
        for (i, result) in results.into_iter().skip(1).enumerate() {
            match (result, initial.get(i)) {
                (Some(result), Some(Some(start))) => {
                    let joined = match start {
                        // A value that may be absent at first and is there after the first turn.
                        Type::Optional(inner) if inner.agrees(&result) => Some(result.clone()),
                        _ => Type::join(&result, start),
                    };
                    let joined = joined.ok_or_else(|| {
                        OpError::new(format!(
                            "carried value {i} starts as {start}, but the body gives {result}"
                        ))
                        .help("let the body hand on a value of the same type")
                    })?;
                    ctx.set(i, joined);
                }
                (Some(Type::Tensor(t)), None) => {
                    let ty = match t.shape {
                        Some(dims) => {
                            let turns = ctx.unknown_dim(i, 0);
                            Type::tensor(t.dtype, std::iter::once(turns).chain(dims))
                        }
                        None => Type::unranked(t.dtype),
                    };
                    ctx.set(i, ty);
                }
                (Some(other), None) => {
                    return Err(Unknown::wrong(format!("scan output {i} is {other}, but must be a tensor")));
                }
                (None, _) | (_, Some(None)) => {
                    unknown =
                        Some(Unknown::Because(format!("the body does not tell the type of output {i}")));
                }
            }
        }
        unknown.map_or(Ok(()), Err)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let turns = match run.try_ints(0)?.as_deref() {
                None => i64::MAX,
                Some(&[turns]) => turns,
                Some(other) => {
                    return Err(OpError::new(format!(
                        "the trip count has {} elements, not one",
                        other.len()
                    )));
                }
            };
            let mut more = run.try_datum(1).is_none() || truth(run, 1)?;
            let mut carried: Vec<Datum> = run.list();
            for i in 2..run.input_count() {
                let value = run.take_datum(i);
                carried
                    .push(value.ok_or_else(|| OpError::new(format!("carried value {} is missing", i - 2)))?);
            }
            let count = carried.len();
            let mut left: Vec<Vec<Tensor>> = vec![Vec::new(); run.output_count().saturating_sub(count)];
            let mut turn = 0;
            let mut list = run.list();
            while more && turn < turns {
                run.checkpoint()?;
                list.clear();
                list.push(Tensor::scalar(turn).into());
                list.push(Tensor::from_bools(&[], &[more])?.into());
                list.append(&mut carried);
                list = run.body(0, list)?;
                let mut results = list.drain(..);
                let condition = results.next().and_then(|d| d.into_tensor().ok());
                more = truth_of(&condition.ok_or_else(|| OpError::new("the body gives no condition"))?)?;
                carried.extend(results.by_ref().take(count));
                for (part, into) in results.zip(&mut left) {
                    let part = part.into_tensor();
                    into.push(part.map_err(|_| OpError::new("a scan output must be a tensor"))?);
                }
                turn += 1;
            }
            if carried.len() != count {
                return Err(OpError::new(format!("the body gives less than {count} carried values")));
            }
            for (i, value) in carried.drain(..).enumerate() {
                run.set(i, value);
            }
            run.keep(carried);
            run.keep(list);
            for (i, parts) in left.into_iter().enumerate() {
                if run.wants(count + i) {
                    stack(run, count + i, &parts, count + i + 1, 0)?;
                }
            }
            Ok(())
        })
    }
}
