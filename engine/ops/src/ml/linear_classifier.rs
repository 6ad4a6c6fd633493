//! [LinearClassifier](https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html): the class of the largest
//! weighted sum.

use super::labels::{Labels, largest};
use super::linear_regressor::sums;
use super::post_transform::PostTransform;
use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// The class of the largest score, and the scores. A model of two classes may have one sum: a positive one
    /// stands for the second class, and the scores of both are made of it.
    pub struct LinearClassifier {
        classlabels_ints: Option<Vec<i64>>,
        classlabels_strings: Option<Vec<String>>,
        coefficients: Vec<f32>,
        intercepts: Option<Vec<f32>>,
        /// How the model was fitted; it makes no difference here.
        multi_class: i64 = 0,
        post_transform: String = "NONE".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T1")],
    outputs: &[Param::one("Y", types::LABELS, "T2"), Param::one("Z", types::FLOAT32, "")],
};

/// The room of LinearClassifier.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "LinearClassifier",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LinearClassifier::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let two = |transform: &str| LinearClassifier {
            classlabels_ints: Some(vec![3, 5]),
            classlabels_strings: None,
            coefficients: vec![0.1, 0.2, -0.1, -0.2],
            intercepts: Some(vec![0.05, -0.05]),
            multi_class: 0,
            post_transform: transform.to_owned(),
        };
        let one = |transform: &str| LinearClassifier {
            coefficients: vec![0.1, 0.2],
            intercepts: Some(vec![0.05]),
            ..two(transform)
        };
        let x = || ints(&[2, 2], &[1, 2, -1, 0]);
        let mut cases = vec![
            // ONNX Runtime.
            Case::new("two sums", two("SOFTMAX"))
                .input(floats(&[1, 2], &[1.0, 2.0]))
                .outputs(2)
                .expect(ints(&[1], &[3]))
                .expect(floats(&[1, 2], &[0.750_260_1, 0.249_739_89])),
            Case::new("one sum", one("NONE"))
                .input(x())
                .outputs(2)
                .expect(ints(&[2], &[5, 3]))
                .expect(floats(&[2, 2], &[0.45, 0.55, 1.05, -0.05])),
            Case::new("one sum, logistic", one("LOGISTIC"))
                .input(x())
                .outputs(2)
                .expect(ints(&[2], &[5, 3]))
                .expect(floats(&[2, 2], &[0.365_864_4, 0.634_135_6, 0.512_497_4, 0.487_502_6])),
            Case::new(
                "strings",
                LinearClassifier {
                    classlabels_ints: None,
                    classlabels_strings: Some(vec!["a".into(), "b".into()]),
                    multi_class: 1,
                    ..two("LOGISTIC")
                },
            )
            .input(floats(&[2], &[-1.0, -2.0]))
            .outputs(2)
            .expect(strings(&[1], &["b"]))
            .expect(floats(&[1, 2], &[0.389_360_76, 0.610_639_2])),
        ];
        for dtype in [DType::F64, DType::I32] {
            cases.push(
                Case::new(dtype.name(), LinearClassifier { intercepts: None, ..two("NONE") })
                    .input(x().cast(dtype, Default::default()).expect("numbers"))
                    .outputs(2)
                    .expect(ints(&[2], &[3, 5]))
                    .expect(floats(&[2, 2], &[0.5, -0.5, -0.1, 0.1])),
            );
        }
        cases
    },
};

impl LinearClassifier {
    fn labels(&self) -> Result<Labels, OpError> {
        Labels::new(self.classlabels_ints.as_ref(), self.classlabels_strings.as_ref())
    }
}

impl Op for LinearClassifier {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let labels = self.labels()?;
        let rows = features::rows(ctx)?.unwrap_or_else(|| ctx.unknown_dim(0, 0));
        ctx.set_tensor(0, labels.dtype(), [rows]);
        features::set_rows(ctx, 1, DType::F32, Some(Dim::from(labels.len())))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let labels = self.labels()?;
        let transform = PostTransform::named(&self.post_transform)?;
        let weights = self.coefficients.clone();
        let intercepts = self.intercepts.clone().unwrap_or_default();
        let classes = labels.len();
        let fits =
            intercepts.is_empty() || intercepts.len() == classes || (intercepts.len() == 1 && classes == 2);
        if !fits {
            return Err(OpError::new(format!(
                "there are {} intercepts for {classes} classes",
                intercepts.len()
            )));
        }
        kernel(move |run| {
            let (_, columns) = features::sizes(run.tensor(0)?.shape())?;
            let single = classes == 2
                && (intercepts.len() == 1
                    || (intercepts.is_empty() && weights.len() == columns && columns > 0));
            let targets = if single { 1 } else { classes };
            let mut sums = sums(run, 1, &weights, &intercepts, targets)?;
            let rows = sums.shape()[0];
            let scores = sums.slice_mut::<f32>()?;
            if !single {
                let picked: Vec<u32> = scores.chunks(targets).map(largest).collect();
                scores.chunks_mut(targets).for_each(|row| transform.apply(row));
                run.set(1, sums.freeze());
                return labels.set(run, 0, &picked);
            }
            let picked: Vec<u32> = scores.iter().map(|&score| u32::from(score > 0.0)).collect();
            let mut both = run.allocate(1, DType::F32, &[rows, 2])?;
            for (to, &score) in both.slice_mut::<f32>()?.chunks_exact_mut(2).zip(&*scores) {
                to.copy_from_slice(&transform.two(score, true));
            }
            run.set(1, both.freeze());
            labels.set(run, 0, &picked)
        })
    }
}
