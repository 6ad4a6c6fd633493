//! [If](https://onnx.ai/onnx/operators/onnx__If.html): one of two bodies, by a condition.

use crate::{Case, Form, Room, attributes, bools, floats, of_room, types};
use oxidane_graph::{
    Call, Graph, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Type, Unknown, kernel, shared,
};
use oxidane_tensor::Tensor;

attributes! {
    /// The outputs of the body `then_branch` where the condition holds, else those of `else_branch`.
    pub struct If {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("cond", types::BOOL, "B")],
    outputs: &[Param::heterogeneous("outputs", types::ANY, 1)],
};

/// The room of If.
pub static ROOM: Room = Room {
    domain: "",
    name: "If",
    since: &[1, 11, 13, 16, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(If::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let constant = |name: &str, tensor: Tensor| {
            let mut body = Graph::new(name);
            let value = body.add_constant("out", tensor).expect("a fresh name");
            body.set_outputs(vec![value]);
            body
        };
        let branches = |case: Case| {
            case.body(constant("then", floats(&[2], &[1.0, 2.0])))
                .body(constant("else", floats(&[3], &[5.0, 4.0, 3.0])))
        };
        // The official case test_if, with branches of different sizes.
        vec![
            branches(Case::new("then", If {}).input(bools(&[], &[true]))).expect(floats(&[2], &[1.0, 2.0])),
            branches(Case::new("else", If {}).input(bools(&[1], &[false])))
                .expect(floats(&[3], &[5.0, 4.0, 3.0])),
        ]
    },
};

/// A condition: a bool tensor of one element.
///
/// # Errors
/// When the tensor has another type or number of elements.
pub(crate) fn truth(run: &Run<'_>, input: usize) -> Result<bool, OpError> {
    truth_of(run.tensor(input)?)
}

/// As [`truth`], of any tensor.
///
/// # Errors
/// When the tensor has another type or number of elements.
pub(crate) fn truth_of(tensor: &Tensor) -> Result<bool, OpError> {
    let dense = tensor.to_dense()?;
    match (dense.dtype(), dense.dense_bytes()) {
        (oxidane_tensor::DType::Bool, Some(&[byte])) => Ok(byte != 0),
        _ => Err(OpError::new(format!(
            "a condition is {} of shape {:?}, but must be one bool",
            tensor.dtype(),
            tensor.shape()
        ))),
    }
}

impl Op for If {
    of_room!();

    fn body_names(&self) -> &[&str] {
        &["then_branch", "else_branch"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let known = ctx.constant(0).and_then(|t| truth_of(t).ok());
        let (then, other) = (ctx.infer_body(0, &[])?, ctx.infer_body(1, &[])?);
        let outputs = ctx.output_count();
        if then.len() != outputs || other.len() != outputs {
            return Err(Unknown::wrong(format!(
                "has {outputs} outputs, but then_branch gives {} and else_branch {}",
                then.len(),
                other.len()
            )));
        }
        let mut unknown = None;
        for (i, pair) in then.into_iter().zip(other).enumerate() {
            let (Some(a), Some(b)) = pair else {
                unknown = Some(Unknown::Because(format!("the branches do not tell the type of output {i}")));
                continue;
            };
            match (known, Type::join(&a, &b)) {
                (Some(true), _) => ctx.set(i, a),
                (Some(false), _) => ctx.set(i, b),
                (None, Some(joined)) => ctx.set(i, joined),
                (None, None) => {
                    let error =
                        OpError::new(format!("output {i} is {a} in then_branch, but {b} in else_branch"))
                            .help("let both branches give values of one type");
                    return Err(Unknown::Wrong(error));
                }
            }
        }
        unknown.map_or(Ok(()), Err)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let body = usize::from(!truth(run, 0)?);
            let none = run.list();
            run.pass_on(body, none)
        })
    }
}
