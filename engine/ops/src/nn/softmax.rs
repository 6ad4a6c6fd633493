//! [Softmax](https://onnx.ai/onnx/operators/onnx__Softmax.html),
//! [LogSoftmax](https://onnx.ai/onnx/operators/onnx__LogSoftmax.html) and
//! [Hardmax](https://onnx.ai/onnx/operators/onnx__Hardmax.html): each line along an axis as shares of one.

use crate::formula::Formula;
use crate::math::by_type::by_type;
use crate::room::only;
use crate::tensor::{flatten::Flatten, reshape::Reshape, shape::Shape};
use crate::{Case, Draft, Room, Step, floats, noise, noise_of, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown,
    ValueId, axis_index, kernel, shared,
};
use oxidane_kernels::Float;
use oxidane_kernels::softmax::{Softmax as Kind, softmax};
use oxidane_tensor::DType;
use std::sync::Arc;

/// One of the three along one axis.
#[derive(Debug, Clone)]
pub struct Softmax {
    /// Which of the three.
    pub kind: Kind,
    /// The axis, negative from the end.
    pub axis: i64,
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::FLOAT, "T")],
    outputs: &[Param::one("output", types::FLOAT, "T")],
};

/// The room of Softmax.
pub static SOFTMAX: Room = Room {
    domain: "",
    name: "Softmax",
    since: &[1, 11, 13],
    signature: &SIGNATURE,
    read: |a| read(Kind::Softmax, a),
    steps: &[
        Step { to: 11, up: |_| Ok(()), down: front_axis },
        Step { to: 13, up: flattened, down: unflattened },
    ],
    cases: || {
        crate::with_cases!();
        // The first is the specification's example.
        let shares = [0.09003057, 0.24472848, 0.66524094];
        let large = [0.032058604, 0.08714432, 0.23688284, 0.6439143];
        cases(Kind::Softmax, &shares, &[large, large].concat())
    },
};

/// The room of LogSoftmax.
pub static LOG_SOFTMAX: Room = Room {
    name: "LogSoftmax",
    read: |a| read(Kind::LogSoftmax, a),
    cases: || {
        crate::with_cases!();
        let logs = [-2.407606, -1.4076059, -0.40760595];
        let large = [-3.4401896, -2.4401896, -1.4401897, -0.44018972];
        cases(Kind::LogSoftmax, &logs, &[large, large].concat())
    },
    ..SOFTMAX
};

/// The room of Hardmax.
pub static HARDMAX: Room = Room {
    name: "Hardmax",
    read: |a| read(Kind::Hardmax, a),
    cases: || {
        crate::with_cases!();
        let last = [0.0, 0.0, 0.0, 1.0];
        let mut all = cases(Kind::Hardmax, &[0.0, 0.0, 1.0], &[last, last].concat());
        // The first of several largest ones.
        all.push(
            Case::new("tie", Softmax { kind: Kind::Hardmax, axis: -1 })
                .input(floats(&[1, 4], &[3.0, 3.0, 3.0, 1.0]))
                .expect(floats(&[1, 4], &[1.0, 0.0, 0.0, 0.0])),
        );
        all
    },
    ..SOFTMAX
};

/// `three` is what becomes of -1, 0, 1, and `eight` of two lines of 0 to 3, the second ten thousand larger.
fn cases(kind: Kind, three: &[f32], eight: &[f32]) -> Vec<Case> {
    crate::with_cases!();
    let op = |axis| Softmax { kind, axis };
    let mut cases = vec![
        Case::new("three", op(-1)).input(floats(&[1, 3], &[-1.0, 0.0, 1.0])).expect(floats(&[1, 3], three)),
        Case::new("large", op(-1))
            .input(floats(&[2, 4], &[0.0, 1.0, 2.0, 3.0, 10000.0, 10001.0, 10002.0, 10003.0]))
            .expect(floats(&[2, 4], eight)),
        Case::new("column", op(0)).input(floats(&[3, 1], &[-1.0, 0.0, 1.0])).expect(floats(&[3, 1], three)),
        Case::new("middle", op(1)).input(noise(&[2, 3, 4], 1)),
        Case::new("nothing", op(1)).input(floats(&[2, 0], &[])).expect(floats(&[2, 0], &[])),
    ];
    for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
        cases.push(Case::new(name, op(-2)).input(noise_of(dtype, &[2, 3, 5], 2)));
    }
    cases
}

fn read(kind: Kind, attributes: &Attributes) -> Result<Arc<dyn Op>, OpError> {
    only(attributes, &["axis"])?;
    Ok(shared(Softmax { kind, axis: attributes.value("axis")?.unwrap_or(-1) }))
}

/// Opset 10 and before count axes from the front only.
fn front_axis(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let axis = draft.attributes.value::<i64>("axis")?.unwrap_or(1);
    if axis < 0 {
        let rank = draft.rank(0).ok_or_else(|| {
            OpError::new(format!("axis {axis} needs the input's rank in this opset, which is not known"))
                .help("export to opset 11 or later, or declare the input's shape")
        })?;
        draft.attributes.set("axis", axis_index(axis, rank)? as i64);
    }
    Ok(())
}

/// Whether all dimensions behind `axis` are of size 1, so that the input flattened at `axis` has the same lines.
fn nothing_behind(draft: &Draft<'_>, axis: i64) -> Result<bool, OpError> {
    let Some(shape) = draft.ty(0).and_then(|t| t.shape()) else { return Ok(axis == -1) };
    let axis = axis_index(axis, shape.len())?;
    Ok(shape[axis + 1..].iter().all(|&d| d == Dim::known(1)))
}

/// Opset 12 and before work on the matrix that the input flattened at `axis` is, 1 where it is absent.
fn flattened(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let axis = draft.take::<i64>("axis")?.unwrap_or(1);
    // An axis behind the last one leaves single elements.
    let past = draft.rank(0).is_some_and(|rank| axis == rank as i64);
    if !past && nothing_behind(draft, axis)? {
        draft.attributes.set("axis", axis);
        return Ok(());
    }
    draft.attributes.set("axis", -1i64);
    if let Some(x) = draft.input(0) {
        let sizes = draft.add(Shape { start: 0, end: None }, &[x]);
        let matrix = draft.add(Flatten { axis }, &[x]);
        draft.set_input(0, Some(matrix));
        draft.output_through(0, Reshape { allowzero: false }, &[sizes])?;
    }
    Ok(())
}

/// Back to the older form, where both mean the same.
fn unflattened(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let axis = draft.attributes.value::<i64>("axis")?.unwrap_or(-1);
    if !nothing_behind(draft, axis)? {
        return Err(OpError::new(format!(
            "axis {axis} is not the last one, which this opset cannot express"
        ))
        .help("export to opset 13 or later"));
    }
    draft.attributes.set("axis", axis);
    Ok(())
}

fn run_as<T: Float>(kind: Kind, axis: i64, run: &mut Run<'_>) -> Result<(), OpError> {
    let x = run.dense(0)?;
    let axis = axis_index(axis, x.rank())?;
    let pool = run.pool();
    run.write::<T>(0, x.shape(), |out| Ok(softmax(pool, kind, (x.slice()?, x.shape()), axis, out)?))
}

impl Op for Softmax {
    fn domain(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        match self.kind {
            Kind::Softmax => SOFTMAX.name,
            Kind::LogSoftmax => LOG_SOFTMAX.name,
            Kind::Hardmax => HARDMAX.name,
        }
    }

    fn attributes(&self) -> Attributes {
        Attributes::new().with("axis", self.axis)
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(&SIGNATURE)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        if let Some(shape) = x.shape() {
            axis_index(self.axis, shape.len())?;
        }
        ctx.set(0, x);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        if self.kind == Kind::Hardmax {
            return Ok(None);
        }
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let dtype = f.dtype(x)?;
        // Each step of Softmax rounds to the type of its elements.
        let x = if self.kind == Kind::LogSoftmax { f.widened(x)? } else { x };
        let axis = f.ints(&[self.axis])?;
        let largest = f.op("ReduceMax", &[x, axis])?;
        let below = f.op("Sub", &[x, largest])?;
        let powers = f.op("Exp", &[below])?;
        let sum = f.op("ReduceSum", &[powers, axis])?;
        let y = match self.kind {
            Kind::LogSoftmax => {
                let log = f.op("Log", &[sum])?;
                f.op("Sub", &[below, log])?
            }
            _ => f.op("Div", &[powers, sum])?,
        };
        Ok(Some(vec![f.cast(y, dtype)?]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (kind, axis) = (self.kind, self.axis);
        kernel(move |run| by_type!(run.tensor(0)?.dtype(), float T => run_as::<T>(kind, axis, run)))
    }
}
