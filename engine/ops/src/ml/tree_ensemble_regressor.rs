//! [TreeEnsembleRegressor](https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html): decision trees
//! that give numbers. The standard recommends [`TreeEnsemble`](super::tree_ensemble) in its place.

use super::post_transform::PostTransform;
use super::trees::{Aggregate, Forest, Listed};
use super::{DOMAIN, features};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::Float;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// For each target the aggregated weights of the leaves that a row comes to, plus a base value, which is all
    /// that a target without any has (ONNX Runtime then gives 0, against the specification). Sums are
    /// formed in `double` for inputs of it or where an attribute is a `double` tensor, otherwise in `float`.
    #[derive(Default)]
    pub struct TreeEnsembleRegressor {
        aggregate_function: String = "SUM".to_owned(),
        base_values: Option<Vec<f32>>,
        base_values_as_tensor: Option<Tensor>,
        n_targets: Option<i64>,
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
        target_ids: Option<Vec<i64>>,
        target_nodeids: Option<Vec<i64>>,
        target_treeids: Option<Vec<i64>>,
        target_weights: Option<Vec<f32>>,
        target_weights_as_tensor: Option<Tensor>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "")],
};

/// The step down from tensors to lists, which hold `float` alone.
pub(crate) fn without_tensors(d: &mut Draft<'_>, names: &[&str]) -> Result<(), OpError> {
    for name in names {
        let Some(tensor) = d.take::<Tensor>(&format!("{name}_as_tensor"))? else { continue };
        let values = tensor.to_f64s()?;
        if values.iter().any(|&v| !v.is_nan() && f64::from(v as f32) != v) {
            return Err(OpError::new(format!(
                "{name} holds doubles that this opset's lists of float cannot hold"
            ))
            .help("export to opset 3 of ai.onnx.ml or later"));
        }
        d.attributes.set(name, values.iter().map(|&v| v as f32).collect::<Vec<f32>>());
    }
    Ok(())
}

/// The room of TreeEnsembleRegressor.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "TreeEnsembleRegressor",
    since: &[1, 3, 5],
    signature: &SIGNATURE,
    read: |a| Ok(shared(TreeEnsembleRegressor::read(a)?)),
    steps: &[Step {
        to: 3,
        up: |_| Ok(()),
        down: |d| without_tensors(d, &["base_values", "nodes_hitrates", "nodes_values", "target_weights"]),
    }],
    cases: || {
        crate::with_cases!();
        // x0 <= 0.5 ? (0.2, 0) : (0, -0.7), and a second tree x1 > 1 ? (1, 0) : (3, 4).
        let two = |aggregate: &str, transform: &str| TreeEnsembleRegressor {
            aggregate_function: aggregate.into(),
            n_targets: Some(2),
            nodes_treeids: Some(vec![0, 0, 0, 1, 1, 1]),
            nodes_nodeids: Some(vec![0, 1, 2, 0, 1, 2]),
            nodes_featureids: Some(vec![0, 0, 0, 1, 0, 0]),
            nodes_modes: Some(
                ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"].map(str::to_owned).to_vec(),
            ),
            nodes_values: Some(vec![0.5, 0.0, 0.0, 1.0, 0.0, 0.0]),
            nodes_truenodeids: Some(vec![1, 0, 0, 1, 0, 0]),
            nodes_falsenodeids: Some(vec![2, 0, 0, 2, 0, 0]),
            nodes_hitrates: Some(vec![1.0; 6]),
            target_treeids: Some(vec![0, 0, 1, 1, 1]),
            target_nodeids: Some(vec![1, 2, 1, 2, 2]),
            target_ids: Some(vec![0, 1, 0, 0, 1]),
            target_weights: Some(vec![0.2, -0.7, 1.0, 3.0, 4.0]),
            base_values: Some(vec![0.5, 0.25]),
            post_transform: transform.into(),
            ..TreeEnsembleRegressor::default()
        };
        let x = || floats(&[3, 2], &[0.0, 2.0, 1.0, 1.0, f32::NAN, f32::NAN]);
        let doubles = |v: Vec<f32>| {
            let v: Vec<f64> = v.into_iter().map(f64::from).collect();
            Some(Tensor::new(&[v.len()], &v).expect("as many values"))
        };
        let tensors = |of: TreeEnsembleRegressor| TreeEnsembleRegressor {
            nodes_values_as_tensor: doubles(of.nodes_values.clone().unwrap_or_default()),
            target_weights_as_tensor: doubles(vec![0.25, -0.75, 1.0, 3.0, 4.0]),
            base_values_as_tensor: doubles(of.base_values.clone().unwrap_or_default()),
            nodes_hitrates_as_tensor: doubles(vec![1.0; 6]),
            nodes_values: None,
            target_weights: None,
            base_values: None,
            nodes_hitrates: None,
            ..of
        };
        let mut cases = vec![
            // By hand, and onnx.reference.
            Case::new("sum", two("SUM", "NONE"))
                .input(x())
                .expect(floats(&[3, 2], &[1.7, 0.25, 3.5, 3.55, 3.5, 3.55])),
            Case::new("average", two("AVERAGE", "NONE"))
                .input(x())
                .expect(floats(&[3, 2], &[1.1, 0.25, 2.0, 1.9, 2.0, 1.9])),
            Case::new("min", two("MIN", "NONE"))
                .input(x())
                .expect(floats(&[3, 2], &[0.7, 0.25, 3.5, -0.45, 3.5, -0.45])),
            Case::new("max", two("MAX", "NONE"))
                .input(x())
                .expect(floats(&[3, 2], &[1.5, 0.25, 3.5, 4.25, 3.5, 4.25])),
            Case::new("logistic", two("SUM", "LOGISTIC"))
                .input(floats(&[2], &[0.0, 2.0]))
                .expect(floats(&[1, 2], &[0.845_534_7, 0.562_176_5])),
            Case::new(
                "missing",
                TreeEnsembleRegressor {
                    nodes_missing_value_tracks_true: Some(vec![1, 0, 0, 0, 0, 0]),
                    ..two("SUM", "NONE")
                },
            )
            .input(x())
            .expect(floats(&[3, 2], &[1.7, 0.25, 3.5, 3.55, 3.7, 4.25])),
            Case::new("tensors", tensors(two("SUM", "NONE")))
                .input(x())
                .expect(floats(&[3, 2], &[1.75, 0.25, 3.5, 3.5, 3.5, 3.5])),
        ];
        for dtype in [DType::F64, DType::I64, DType::I32] {
            cases.push(
                Case::new(dtype.name(), two("SUM", "NONE"))
                    .input(ints(&[2, 2], &[0, 2, 1, 1]).cast(dtype, Default::default()).expect("numbers"))
                    .expect(floats(&[2, 2], &[1.7, 0.25, 3.5, 3.55])),
            );
        }
        cases
    },
};

/// The numbers of a list or of the tensor that may stand in its place.
pub(crate) fn numbers<T: Float>(list: &Option<Vec<f32>>, tensor: &Option<Tensor>) -> Result<Vec<T>, OpError> {
    match (list, tensor) {
        (_, Some(tensor)) if !tensor.is_empty() => {
            Ok(tensor.to_f64s()?.into_iter().map(T::from_f64).collect())
        }
        (Some(list), _) => Ok(list.iter().map(|&v| T::from_f64(v.into())).collect()),
        _ => Ok(Vec::new()),
    }
}

/// Whether trees are walked in double precision.
pub(crate) fn in_double(input: Option<DType>, tensors: &[&Option<Tensor>]) -> bool {
    input == Some(DType::F64) || tensors.iter().any(|t| t.as_ref().is_some_and(|t| t.dtype() == DType::F64))
}

impl TreeEnsembleRegressor {
    fn targets(&self) -> Result<usize, OpError> {
        let ids = self.target_ids.iter().flatten().copied().max().map_or(1, |id| id.saturating_add(1));
        let targets = self.n_targets.unwrap_or(ids);
        usize::try_from(targets)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| OpError::new(format!("n_targets is {targets}, but must be positive")))
    }

    fn bind<T: Float + Default + Send + Sync>(&self) -> Result<Box<dyn Kernel>, OpError> {
        let list = |v: &Option<Vec<i64>>| v.clone().unwrap_or_default();
        let targets = self.targets()?;
        let forest: Forest<T> = Listed {
            tree_ids: &list(&self.nodes_treeids),
            node_ids: &list(&self.nodes_nodeids),
            features: &list(&self.nodes_featureids),
            modes: self.nodes_modes.as_deref().unwrap_or_default(),
            values: numbers(&self.nodes_values, &self.nodes_values_as_tensor)?,
            yes: &list(&self.nodes_truenodeids),
            no: &list(&self.nodes_falsenodeids),
            missing: &list(&self.nodes_missing_value_tracks_true),
            vote_trees: &list(&self.target_treeids),
            vote_nodes: &list(&self.target_nodeids),
            vote_targets: &list(&self.target_ids),
            vote_weights: numbers(&self.target_weights, &self.target_weights_as_tensor)?,
        }
        .forest(targets)?;
        let base = numbers(&self.base_values, &self.base_values_as_tensor)?;
        let aggregate = Aggregate::named(&self.aggregate_function)?;
        let transform = PostTransform::named(&self.post_transform)?;
        kernel(move |run| {
            let x = features::cast(run, 0, T::DTYPE)?;
            let (rows, _) = features::sizes(x.shape())?;
            let mut out = run.allocate(0, DType::F32, &[rows, targets])?;
            regress(run, &forest, &x, aggregate, &base, transform, out.slice_mut()?)?;
            run.set(0, out.freeze());
            Ok(())
        })
    }
}

/// Scores rows and gives them out as `float`. Base values of another number than the targets count for nothing.
pub(crate) fn regress<T: Float + Default + Send + Sync>(
    run: &Run<'_>,
    forest: &Forest<T>,
    x: &Tensor,
    aggregate: Aggregate,
    base: &[T],
    transform: PostTransform,
    out: &mut [f32],
) -> Result<(), OpError> {
    let (rows, columns) = features::sizes(x.shape())?;
    let targets = forest.targets();
    let base = if base.len() == targets { base } else { &[] };
    let trees = T::from_f64(forest.trees() as f64);
    let mut classes = vec![0; rows];
    let x = (x.slice::<T>()?, columns);
    forest.score(run, x, aggregate, (out, targets), &mut classes, &|scores, _, out, _| {
        for (i, score) in scores.iter_mut().enumerate() {
            if aggregate == Aggregate::Average {
                *score = score.over(trees);
            }
            if let Some(&base) = base.get(i) {
                *score = score.plus(base);
            }
            out[i] = score.to_f64() as f32;
        }
        transform.apply(out);
    })
}

impl Op for TreeEnsembleRegressor {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let targets = Dim::from(self.targets()?);
        features::set_rows(ctx, 0, DType::F32, Some(targets))
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let tensors =
            [&self.nodes_values_as_tensor, &self.target_weights_as_tensor, &self.base_values_as_tensor];
        match in_double(call.dtype(0), &tensors) {
            true => self.bind::<f64>(),
            false => self.bind::<f32>(),
        }
    }
}
