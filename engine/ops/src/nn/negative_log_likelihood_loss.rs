//! [NegativeLogLikelihoodLoss](https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html): the mean
//! negated logarithm of the share that each sample's class has.

use super::loss::{self, Reduction, infer_loss, negative_log_likelihood};
use crate::{Case, Form, Room, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel, shared,
};
use oxidane_tensor::{CastRules, DType};

attributes! {
    /// The negated logarithms at the classes, weighted by class, and summed or averaged.
    pub struct NegativeLogLikelihoodLoss {
        /// The class of samples that do not count.
        ignore_index: Option<i64>,
        /// `none`, `sum` or `mean`.
        reduction: String = "mean".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("target", types::INDEX, "Tind"),
        Param::optional("weight", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("loss", types::FLOAT, "T")],
};

/// The room of NegativeLogLikelihoodLoss.
pub static ROOM: Room = Room {
    domain: "",
    name: "NegativeLogLikelihoodLoss",
    since: &[12, 13, 22],
    signature: &SIGNATURE,
    read: |a| {
        let op = NegativeLogLikelihoodLoss::read(a)?;
        Reduction::new(&op.reduction)?;
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |reduction: &str, ignore_index| NegativeLogLikelihoodLoss {
            ignore_index,
            reduction: reduction.to_owned(),
        };
        // The specification's examples.
        let x = || floats(&[2, 3, 2], &[1.0, 2.0, 2.0, 2.0, 3.0, 2.0, 0.0, 1.0, 2.0, 2.0, 1.0, 2.0]);
        let classes = || ints(&[2, 2], &[2, 1, 0, 2]);
        let weights = || floats(&[3], &[0.2, 0.3, 0.1]);
        let mut cases = vec![
            Case::new("none", op("none", None))
                .input(x())
                .input(classes())
                .expect(floats(&[2, 2], &[-3.0, -2.0, 0.0, -2.0])),
            Case::new("weighted sum", op("sum", None))
                .input(x())
                .input(classes())
                .input(weights())
                .expect(floats(&[], &[-1.1])),
            Case::new("weighted mean", op("mean", None))
                .input(x())
                .input(classes())
                .input(weights())
                .expect(floats(&[], &[-1.1 / 0.7])),
            // By hand: without the third and fourth sample.
            Case::new("ignored", op("mean", Some(0)))
                .input(x())
                .input(classes().cast(DType::I32, CastRules::default()).expect("integers"))
                .expect(floats(&[], &[-7.0 / 3.0])),
            Case::new("ignored outside", op("none", Some(-5)))
                .input(x())
                .input(ints(&[2, 2], &[-5, 1, 0, -5]))
                .input(weights())
                .expect(floats(&[2, 2], &[0.0, -0.6, 0.0, 0.0])),
            Case::new("mean", op("mean", None)).input(noise(&[3, 5], 1)).input(ints(&[3], &[4, 0, 2])),
        ];
        for (name, dtype, tolerance) in
            [("double", DType::F64, 1e-9), ("float16", DType::F16, 1e-3), ("bfloat16", DType::BF16, 8e-3)]
        {
            cases.push(
                Case::new(name, op("sum", None))
                    .input(noise_of(dtype, &[2, 3], 3))
                    .input(ints(&[2], &[2, 1]))
                    .input(noise_of(dtype, &[3], 4))
                    .tolerance(tolerance),
            );
        }
        cases
    },
};

impl Op for NegativeLogLikelihoodLoss {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        infer_loss(ctx, Reduction::new(&self.reduction)?)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (ignored, reduction) = (self.ignore_index, Reduction::new(&self.reduction)?);
        kernel(move |run| {
            let (x, classes) = (run.tensor(0)?, run.tensor(1)?);
            let logs = x.to_f64s()?;
            let weights = run.try_tensor(2)?;
            let loss =
                negative_log_likelihood((&logs, x.shape()), classes, weights, ignored, reduction, x.dtype())?;
            run.set(0, loss);
            Ok(())
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let node = build.graph().node(node);
        let (Some(logs), Some(classes), weights) = (node.input(0), node.input(1), node.input(2)) else {
            return Ok(None);
        };
        let reduction = Reduction::new(&self.reduction)?;
        let loss = loss::expand(build, logs, classes, weights, self.ignore_index, reduction)?;
        Ok(loss.map(|loss| vec![loss]))
    }
}
