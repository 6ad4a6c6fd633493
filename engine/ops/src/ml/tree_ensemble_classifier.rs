//! [TreeEnsembleClassifier](https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html): decision trees
//! that vote for classes. The standard recommends [`TreeEnsemble`](super::tree_ensemble) in its place.

use super::labels::{Labels, largest};
use super::post_transform::PostTransform;
use super::tree_ensemble_regressor::{in_double, numbers, without_tensors};
use super::trees::{Aggregate, Forest, Listed};
use super::{DOMAIN, features};
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::Float;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The class of the largest sum of votes, and the sums, plus base values. Of three classes and more, those
    /// that have a vote or a base value count.
    ///
    /// Of two classes only one may have votes. The score then is that of the second class, and the class is the
    /// second where it is more than a half, or, if a vote is negative, more than zero. The score of the first is
    /// made of it, unless the votes are spelled as those of the second, which leaves 0 to the first.
    #[derive(Default)]
    pub struct TreeEnsembleClassifier {
        base_values: Option<Vec<f32>>,
        base_values_as_tensor: Option<Tensor>,
        class_ids: Option<Vec<i64>>,
        class_nodeids: Option<Vec<i64>>,
        class_treeids: Option<Vec<i64>>,
        class_weights: Option<Vec<f32>>,
        class_weights_as_tensor: Option<Tensor>,
        classlabels_int64s: Option<Vec<i64>>,
        classlabels_strings: Option<Vec<String>>,
        nodes_falsenodeids: Option<Vec<i64>>,
        nodes_featureids: Option<Vec<i64>>,
        /// How often rows come by; it makes no difference to results.
        nodes_hitrates: Option<Vec<f32>>,
        nodes_hitrates_as_tensor: Option<Tensor>,
        nodes_missing_value_tracks_true: Option<Vec<i64>>,
        nodes_modes: Option<Vec<String>>,
        nodes_nodeids: Option<Vec<i64>>,
        nodes_treeids: Option<Vec<i64>>,
        nodes_truenodeids: Option<Vec<i64>>,
        nodes_values: Option<Vec<f32>>,
        nodes_values_as_tensor: Option<Tensor>,
        post_transform: String = "NONE".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T1")],
    outputs: &[Param::one("Y", types::LABELS, "T2"), Param::one("Z", types::FLOAT32, "")],
};

/// The room of TreeEnsembleClassifier.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "TreeEnsembleClassifier",
    since: &[1, 3, 5],
    signature: &SIGNATURE,
    read: |a| Ok(shared(TreeEnsembleClassifier::read(a)?)),
    steps: &[Step {
        to: 3,
        up: |_| Ok(()),
        down: |d| without_tensors(d, &["base_values", "nodes_hitrates", "nodes_values", "class_weights"]),
    }],
    cases: || {
        crate::with_cases!();
        // x0 <= 0.5 ? left : right.
        let stump = |ids: &[i64], weights: &[f32], transform: &str| TreeEnsembleClassifier {
            classlabels_int64s: Some(vec![3, 5]),
            nodes_treeids: Some(vec![0; 3]),
            nodes_nodeids: Some(vec![0, 1, 2]),
            nodes_featureids: Some(vec![0; 3]),
            nodes_modes: Some(["BRANCH_LEQ", "LEAF", "LEAF"].map(str::to_owned).to_vec()),
            nodes_values: Some(vec![0.5, 0.0, 0.0]),
            nodes_truenodeids: Some(vec![1, 0, 0]),
            nodes_falsenodeids: Some(vec![2, 0, 0]),
            nodes_hitrates: Some(vec![1.0; 3]),
            class_treeids: Some(vec![0; ids.len()]),
            class_nodeids: Some((0..ids.len()).map(|i| 1 + (2 * i / ids.len()) as i64).collect()),
            class_ids: Some(ids.to_vec()),
            class_weights: Some(weights.to_vec()),
            post_transform: transform.to_owned(),
            ..TreeEnsembleClassifier::default()
        };
        let x = || floats(&[3, 1], &[0.0, 1.0, f32::NAN]);
        let case = |name, op, labels: &[i64], scores: &[f32]| {
            Case::new(name, op)
                .input(x())
                .outputs(2)
                .expect(ints(&[3], labels))
                .expect(floats(&[3, scores.len() / 3], scores))
        };
        let three = |weights: &[f32], transform: &str| TreeEnsembleClassifier {
            classlabels_int64s: Some(vec![5, 6, 7]),
            ..stump(&[1, 2], weights, transform)
        };
        let doubles = |v: &[f64]| Some(Tensor::new(&[v.len()], v).expect("as many values"));
        let (positive, mixed) = ([0.2, 0.7], [0.2, -0.7]);
        // ONNX Runtime.
        let mut cases = vec![
            case("one class", stump(&[0, 0], &positive, "NONE"), &[3, 5, 5], &[0.8, 0.2, 0.3, 0.7, 0.3, 0.7]),
            case(
                "one class, mixed",
                stump(&[0, 0], &mixed, "NONE"),
                &[5, 3, 3],
                &[-0.2, 0.2, 0.7, -0.7, 0.7, -0.7],
            ),
            case(
                "logistic",
                stump(&[0, 0], &mixed, "LOGISTIC"),
                &[5, 3, 3],
                &[0.450_166_05, 0.549_833_95, 0.668_187_74, 0.331_812_26, 0.668_187_74, 0.331_812_26],
            ),
            case(
                "second class",
                stump(&[1, 1], &positive, "NONE"),
                &[3, 5, 5],
                &[0.0, 0.2, 0.0, 0.7, 0.0, 0.7],
            ),
            case(
                "base value",
                TreeEnsembleClassifier { base_values: Some(vec![0.4]), ..stump(&[0, 0], &positive, "NONE") },
                &[5, 5, 5],
                &[0.4, 0.6, -0.1, 1.1, -0.1, 1.1],
            ),
            case(
                "three",
                three(&positive, "NONE"),
                &[6, 7, 7],
                &[0.0, 0.2, 0.0, 0.0, 0.0, 0.7, 0.0, 0.0, 0.7],
            ),
            case(
                "three, no vote",
                three(&[-0.1, -0.2], "NONE"),
                &[6, 7, 7],
                &[0.0, -0.1, 0.0, 0.0, 0.0, -0.2, 0.0, 0.0, -0.2],
            ),
            case(
                "three base values",
                TreeEnsembleClassifier {
                    base_values: Some(vec![0.1, 0.2, 0.3]),
                    ..three(&[-0.1, -0.2], "NONE")
                },
                &[7, 6, 6],
                &[0.1, 0.1, 0.3, 0.1, 0.2, 0.1, 0.1, 0.2, 0.1],
            ),
            case(
                "missing",
                TreeEnsembleClassifier {
                    nodes_missing_value_tracks_true: Some(vec![1, 0, 0]),
                    ..stump(&[0, 0], &positive, "NONE")
                },
                &[3, 5, 3],
                &[0.8, 0.2, 0.3, 0.7, 0.8, 0.2],
            ),
            // The specification: both classes have votes, and the largest sum wins.
            case(
                "both classes",
                stump(&[0, 1, 0, 1], &[0.7, 0.3, 0.2, 0.8], "NONE"),
                &[3, 5, 5],
                &[0.7, 0.3, 0.2, 0.8, 0.2, 0.8],
            ),
            case(
                "tensors",
                TreeEnsembleClassifier {
                    nodes_values: None,
                    nodes_values_as_tensor: doubles(&[0.5, 0.0, 0.0]),
                    nodes_hitrates: None,
                    nodes_hitrates_as_tensor: doubles(&[1.0; 3]),
                    class_weights: None,
                    class_weights_as_tensor: doubles(&[0.25, 0.75]),
                    base_values_as_tensor: doubles(&[0.125]),
                    ..stump(&[0, 0], &[], "NONE")
                },
                &[3, 5, 5],
                &[0.625, 0.375, 0.125, 0.875, 0.125, 0.875],
            ),
        ];
        let named = TreeEnsembleClassifier {
            classlabels_int64s: None,
            classlabels_strings: Some(vec!["a".into(), "b".into()]),
            ..stump(&[0, 0], &positive, "NONE")
        };
        for dtype in [DType::F64, DType::I64, DType::I32] {
            cases.push(
                Case::new(dtype.name(), named.clone())
                    .input(ints(&[2, 1], &[0, 1]).cast(dtype, Default::default()).expect("numbers"))
                    .outputs(2)
                    .expect(strings(&[2], &["a", "b"]))
                    .expect(floats(&[2, 2], &[0.8, 0.2, 0.3, 0.7])),
            );
        }
        cases
    },
};

/// How the sums of votes become a class and scores.
#[derive(Clone, Copy)]
enum Decision {
    /// The largest of several.
    Largest,
    /// Of two classes only this one has votes, all of them positive or not.
    Single { voted: usize, positive: bool },
}

impl TreeEnsembleClassifier {
    fn labels(&self) -> Result<Labels, OpError> {
        Labels::new(self.classlabels_int64s.as_ref(), self.classlabels_strings.as_ref())
    }

    fn bind<T: Float + Default + Send + Sync>(&self) -> Result<Box<dyn Kernel>, OpError> {
        let list = |v: &Option<Vec<i64>>| v.clone().unwrap_or_default();
        let labels = self.labels()?;
        let classes = labels.len();
        let weights: Vec<T> = numbers(&self.class_weights, &self.class_weights_as_tensor)?;
        let positive = weights.iter().all(|&w| w >= T::ZERO);
        let forest: Forest<T> = Listed {
            tree_ids: &list(&self.nodes_treeids),
            node_ids: &list(&self.nodes_nodeids),
            features: &list(&self.nodes_featureids),
            modes: self.nodes_modes.as_deref().unwrap_or_default(),
            values: numbers(&self.nodes_values, &self.nodes_values_as_tensor)?,
            yes: &list(&self.nodes_truenodeids),
            no: &list(&self.nodes_falsenodeids),
            missing: &list(&self.nodes_missing_value_tracks_true),
            vote_trees: &list(&self.class_treeids),
            vote_nodes: &list(&self.class_nodeids),
            vote_targets: &list(&self.class_ids),
            vote_weights: weights,
        }
        .forest(classes)?;
        let base: Vec<T> = numbers(&self.base_values, &self.base_values_as_tensor)?;
        if base.len() > classes {
            return Err(OpError::new(format!("there are {} base values for {classes} classes", base.len())));
        }
        let transform = PostTransform::named(&self.post_transform)?;
        let ids = list(&self.class_ids);
        let decision = match ids.first() {
            Some(&voted) if classes == 2 && ids.iter().all(|&id| id == voted) => {
                Decision::Single { voted: voted as usize, positive }
            }
            _ => Decision::Largest,
        };
        let float = |v: T| v.to_f64() as f32;
        let finish = move |scores: &mut [T], seen: &[bool], out: &mut [f32], class: &mut u32| match decision {
            Decision::Largest => {
                let mut best: Option<usize> = None;
                for (i, score) in scores.iter_mut().enumerate() {
                    if let Some(&base) = base.get(i) {
                        *score = score.plus(base);
                    }
                    out[i] = float(*score);
                }
                // What has neither votes nor a base value is no candidate.
                for i in (0..scores.len()).filter(|&i| seen[i] || i < base.len()) {
                    if best.is_none_or(|b| scores[i] > scores[b]) {
                        best = Some(i);
                    }
                }
                *class = best.map_or_else(|| largest(scores), |best| best as u32);
                transform.apply(out);
            }
            Decision::Single { voted, positive } => {
                let mut score = scores[voted];
                // Two base values are those of the classes, a single one is that of the votes.
                if let Some(&base) = base.last() {
                    score = score.plus(base);
                }
                *class = u32::from(float(score) > if positive { 0.5 } else { 0.0 });
                if voted == 1 && seen[1] {
                    out.copy_from_slice(&[0.0, float(score)]);
                    transform.apply(out);
                } else {
                    out.copy_from_slice(&transform.two(float(score), positive));
                }
            }
        };
        kernel(move |run| {
            let x = features::cast(run, 0, T::DTYPE)?;
            let (rows, columns) = features::sizes(x.shape())?;
            let mut out = run.allocate(1, DType::F32, &[rows, classes])?;
            let mut picked = vec![0; rows];
            let (x, to) = ((x.slice::<T>()?, columns), (out.slice_mut()?, classes));
            forest.score(run, x, Aggregate::Sum, to, &mut picked, &finish)?;
            run.set(1, out.freeze());
            labels.set(run, 0, &picked)
        })
    }
}

impl Op for TreeEnsembleClassifier {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let labels = self.labels()?;
        let rows = features::rows(ctx)?.unwrap_or_else(|| ctx.unknown_dim(0, 0));
        ctx.set_tensor(0, labels.dtype(), [rows]);
        features::set_rows(ctx, 1, DType::F32, Some(Dim::from(labels.len())))
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let tensors =
            [&self.nodes_values_as_tensor, &self.class_weights_as_tensor, &self.base_values_as_tensor];
        match in_double(call.dtype(0), &tensors) {
            true => self.bind::<f64>(),
            false => self.bind::<f32>(),
        }
    }
}
