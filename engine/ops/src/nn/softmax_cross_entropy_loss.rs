//! [SoftmaxCrossEntropyLoss](https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html): scores become
//! shares by Softmax, and the negated logarithms of those at the classes are the loss.

use super::loss::{self, Reduction, infer_loss, negative_log_likelihood};
use super::softmax::Softmax;
use crate::{Case, Form, Room, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel, shared,
};
use oxidane_kernels::softmax::{Softmax as Kind, softmax};
use oxidane_tensor::{CastRules, DType, TensorMut};

attributes! {
    /// The negated logarithms of the shares of the classes, weighted by class, and summed or averaged.
    pub struct SoftmaxCrossEntropyLoss {
        /// The class of samples that do not count.
        ignore_index: Option<i64>,
        /// `none`, `sum` or `mean`.
        reduction: String = "mean".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("scores", types::FLOAT, "T"),
        Param::one("labels", types::INDEX, "Tind"),
        Param::optional("weights", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T"), Param::optional("log_prob", types::FLOAT, "T")],
};

/// The room of SoftmaxCrossEntropyLoss.
pub static ROOM: Room = Room {
    domain: "",
    name: "SoftmaxCrossEntropyLoss",
    since: &[12, 13],
    signature: &SIGNATURE,
    read: |a| {
        let op = SoftmaxCrossEntropyLoss::read(a)?;
        Reduction::new(&op.reduction)?;
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |reduction: &str, ignore_index| SoftmaxCrossEntropyLoss {
            ignore_index,
            reduction: reduction.to_owned(),
        };
        let x = || floats(&[2, 3], &[-1.0, 0.0, 1.0, 2.0, 2.0, 2.0]);
        let logs = [-2.407606, -1.4076059, -0.40760595, -1.0986123, -1.0986123, -1.0986123];
        // By hand, from the logarithms that SciPy's log_softmax gives.
        let mut cases = vec![
            Case::new("none", op("none", None))
                .input(x())
                .input(ints(&[2], &[2, 0]))
                .outputs(2)
                .expect(floats(&[2], &[0.40760595, 1.0986123]))
                .expect(floats(&[2, 3], &logs)),
            Case::new("mean", op("mean", None))
                .input(x())
                .input(ints(&[2], &[0, 1]))
                .expect(floats(&[], &[1.7531091])),
            Case::new("weighted sum", op("sum", None))
                .input(x())
                .input(ints(&[2], &[0, 1]))
                .input(floats(&[3], &[0.5, 2.0, 1.0]))
                .expect(floats(&[], &[3.4010277])),
            Case::new("ignored", op("mean", Some(1)))
                .input(x())
                .input(ints(&[2], &[0, 1]))
                .input(floats(&[3], &[0.5, 2.0, 1.0]))
                .expect(floats(&[], &[2.407606])),
            Case::new("image", op("mean", Some(-1)))
                .input(noise(&[2, 4, 2, 3], 1))
                .input(ints(&[2, 2, 3], &[0, 1, 2, 3, -1, 1, 2, 3, 0, -1, 2, 3]))
                .outputs(2),
        ];
        for (name, dtype, tolerance) in
            [("double", DType::F64, 1e-9), ("float16", DType::F16, 2e-3), ("bfloat16", DType::BF16, 2e-2)]
        {
            cases.push(
                Case::new(name, op("sum", None))
                    .input(noise_of(dtype, &[2, 3], 3))
                    .input(ints(&[2], &[2, 1]))
                    .outputs(2)
                    .tolerance(tolerance),
            );
        }
        cases
    },
};

impl Op for SoftmaxCrossEntropyLoss {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        infer_loss(ctx, Reduction::new(&self.reduction)?)?;
        ctx.set(1, ctx.known_ty(0)?.clone());
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (ignored, reduction) = (self.ignore_index, Reduction::new(&self.reduction)?);
        kernel(move |run| {
            let x = run.tensor(0)?.clone();
            if x.rank() < 2 {
                return Err(OpError::new(format!("the scores {x:?} must have a batch and classes")));
            }
            // In double precision, so that the loss of 16-bit scores is as good as they are.
            let mut logs = TensorMut::zeroed(DType::F64, x.shape())?;
            let wide = x.to_f64s()?;
            softmax::<f64>(run.pool(), Kind::LogSoftmax, (&wide, x.shape()), 1, logs.slice_mut()?)?;
            let logs = logs.freeze();
            let loss = negative_log_likelihood(
                (logs.slice()?, x.shape()),
                run.tensor(1)?,
                run.try_tensor(2)?,
                ignored,
                reduction,
                x.dtype(),
            )?;
            run.set(0, loss);
            if run.wants(1) {
                run.set(1, logs.cast(x.dtype(), CastRules::default())?);
            }
            Ok(())
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let node = build.graph().node(node);
        let (Some(scores), Some(classes), weights) = (node.input(0), node.input(1), node.input(2)) else {
            return Ok(None);
        };
        let reduction = Reduction::new(&self.reduction)?;
        let logs = build.add(Softmax { kind: Kind::LogSoftmax, axis: 1 }, &[scores]);
        let loss = loss::expand(build, logs, classes, weights, self.ignore_index, reduction)?;
        Ok(loss.map(|loss| vec![loss, logs]))
    }
}
