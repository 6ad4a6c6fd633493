//! [TreeEnsemble](https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html): decision trees whose branches and
//! leaves are listed apart.

use super::post_transform::PostTransform;
use super::tree_ensemble_regressor::regress;
use super::trees::{Aggregate, Branch, Child, Forest, Mode, Vote, missing};
use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::Float;
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// For each target the aggregated weights of the leaves that a row comes to.
    pub struct TreeEnsemble {
        /// 0 is the average over the trees, 1 the sum, 2 the least and 3 the largest weight.
        aggregate_function: i64 = 1,
        leaf_targetids: Vec<i64>,
        leaf_weights: Tensor,
        /// The sets of the branches of mode 6 in their order, each ended by NaN.
        membership_values: Option<Tensor>,
        n_targets: Option<i64>,
        nodes_falseleafs: Vec<i64>,
        nodes_falsenodeids: Vec<i64>,
        nodes_featureids: Vec<i64>,
        /// How often rows come by; it makes no difference to results.
        nodes_hitrates: Option<Tensor>,
        nodes_missing_value_tracks_true: Option<Vec<i64>>,
        nodes_modes: Tensor,
        nodes_splits: Tensor,
        nodes_trueleafs: Vec<i64>,
        nodes_truenodeids: Vec<i64>,
        /// 0 is NONE, 1 SOFTMAX, 2 LOGISTIC, 3 SOFTMAX_ZERO, 4 PROBIT. ONNX Runtime exchanges 1 and 2.
        post_transform: i64 = 0,
        tree_roots: Vec<i64>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::TREE_FEATURES, "T")],
    outputs: &[Param::one("Y", types::TREE_FEATURES, "T")],
};

/// The room of TreeEnsemble.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "TreeEnsemble",
    since: &[5],
    signature: &SIGNATURE,
    read: |a| Ok(shared(TreeEnsemble::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // x0 <= 0.5 ? (0.25, 0) : (x1 in {1, 2} ? (0, 0.75) : (0, -1)); and a tree that is a leaf, (0.5, 0).
        let trees = |aggregate, transform, dtype| {
            let of = |values: &[f32]| {
                let tensor = floats(&[values.len()], values);
                tensor.cast(dtype, CastRules::default()).expect("a float type")
            };
            TreeEnsemble {
                aggregate_function: aggregate,
                leaf_targetids: vec![0, 1, 1, 0],
                leaf_weights: of(&[0.25, 0.75, -1.0, 0.5]),
                membership_values: Some(of(&[1.0, 2.0, f32::NAN])),
                n_targets: Some(2),
                nodes_falseleafs: vec![0, 1, 1],
                nodes_falsenodeids: vec![1, 2, 3],
                nodes_featureids: vec![0, 1, 0],
                nodes_hitrates: Some(of(&[1.0, 1.0, 1.0])),
                nodes_missing_value_tracks_true: None,
                nodes_modes: Tensor::new(&[3], &[0u8, 6, 5]).expect("three modes"),
                nodes_splits: of(&[0.5, 0.0, 0.0]),
                nodes_trueleafs: vec![1, 1, 1],
                nodes_truenodeids: vec![0, 1, 3],
                post_transform: transform,
                tree_roots: vec![0, 2],
            }
        };
        let x = || floats(&[4, 2], &[0.0, 0.0, 1.0, 2.0, 1.0, 3.0, f32::NAN, f32::NAN]);
        let mut cases = vec![
            // By hand; where ONNX Runtime follows the specification, it agrees.
            Case::new("average", trees(0, 0, DType::F32))
                .input(x())
                .expect(floats(&[4, 2], &[0.375, 0.0, 0.25, 0.375, 0.25, -0.5, 0.25, -0.5])),
            Case::new("min", trees(2, 0, DType::F32))
                .input(x())
                .expect(floats(&[4, 2], &[0.25, 0.0, 0.5, 0.75, 0.5, -1.0, 0.5, -1.0])),
            Case::new("max", trees(3, 0, DType::F32))
                .input(x())
                .expect(floats(&[4, 2], &[0.5, 0.0, 0.5, 0.75, 0.5, -1.0, 0.5, -1.0])),
            Case::new("softmax", trees(1, 1, DType::F32))
                .input(floats(&[1, 2], &[1.0, 2.0]))
                .expect(floats(&[1, 2], &[0.437_823_5, 0.562_176_5])),
            Case::new(
                "missing",
                TreeEnsemble {
                    nodes_missing_value_tracks_true: Some(vec![0, 1, 0]),
                    ..trees(1, 0, DType::F32)
                },
            )
            .input(x())
            .expect(floats(&[4, 2], &[0.75, 0.0, 0.5, 0.75, 0.5, -1.0, 0.5, 0.75])),
        ];
        for dtype in [DType::F32, DType::F64, DType::F16] {
            let of = |t: Tensor| t.cast(dtype, CastRules::default()).expect("a float type");
            cases.push(
                Case::new(dtype.name(), trees(1, 0, dtype))
                    .input(of(x()))
                    .expect(of(floats(&[4, 2], &[0.75, 0.0, 0.5, 0.75, 0.5, -1.0, 0.5, -1.0]))),
            );
        }
        cases
    },
};

impl TreeEnsemble {
    fn targets(&self) -> Result<usize, OpError> {
        let ids = self.leaf_targetids.iter().copied().max().map_or(1, |id| id.saturating_add(1));
        let targets = self.n_targets.unwrap_or(ids);
        usize::try_from(targets)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| OpError::new(format!("n_targets is {targets}, but must be positive")))
    }

    fn forest<T: Float + Default + Send + Sync>(&self) -> Result<Forest<T>, OpError> {
        let wrong = |what: String| Err(OpError::new(what));
        let numbers = |t: &Tensor| Ok::<Vec<T>, OpError>(t.to_f64s()?.into_iter().map(T::from_f64).collect());
        let modes = self.nodes_modes.to_i64s()?;
        let splits = numbers(&self.nodes_splits)?;
        let count = self.nodes_featureids.len();
        for (name, len) in [
            ("nodes_modes", modes.len()),
            ("nodes_splits", splits.len()),
            ("nodes_trueleafs", self.nodes_trueleafs.len()),
            ("nodes_falseleafs", self.nodes_falseleafs.len()),
            ("nodes_truenodeids", self.nodes_truenodeids.len()),
            ("nodes_falsenodeids", self.nodes_falsenodeids.len()),
        ] {
            if len != count {
                return wrong(format!("{name} has {len} elements for {count} nodes"));
            }
        }
        let place = |at: i64| usize::try_from(at).unwrap_or(usize::MAX);
        let child = |leaf: i64, at: i64| match leaf {
            0 => Child::Branch(place(at)),
            _ => Child::Leaf(place(at)),
        };
        let members = match &self.membership_values {
            Some(values) => numbers(values)?,
            None => Vec::new(),
        };
        let mut sets = members.split(|v| missing(*v));
        let tracks = self.nodes_missing_value_tracks_true.as_deref().unwrap_or_default();
        let mut branches = Vec::with_capacity(count);
        for i in 0..count {
            let mode = Mode::numbered(u8::try_from(modes[i]).unwrap_or(u8::MAX))?;
            let members = match mode {
                Mode::Member => match sets.next() {
                    Some(set) => set.to_vec(),
                    None => return wrong(format!("membership_values has no set for node {i}")),
                },
                _ => Vec::new(),
            };
            branches.push(Branch {
                mode,
                feature: self.nodes_featureids[i],
                value: splits[i],
                members,
                missing: tracks.get(i).is_some_and(|&m| m == 1),
                yes: child(self.nodes_trueleafs[i], self.nodes_truenodeids[i]),
                no: child(self.nodes_falseleafs[i], self.nodes_falsenodeids[i]),
            });
        }
        let weights = numbers(&self.leaf_weights)?;
        if weights.len() != self.leaf_targetids.len() {
            return wrong(format!(
                "{} weights do not fit {} leaves",
                weights.len(),
                self.leaf_targetids.len()
            ));
        }
        let votes = weights
            .iter()
            .zip(&self.leaf_targetids)
            .enumerate()
            .map(|(leaf, (&weight, &target))| Vote { leaf, target: place(target), weight })
            .collect();
        let roots: Vec<Child> = self.tree_roots.iter().map(|&root| Child::Branch(place(root))).collect();
        Forest::new(branches, &roots, weights.len(), votes, self.targets()?)
    }

    fn bind<T: Float + Default + Send + Sync>(&self) -> Result<Box<dyn Kernel>, OpError> {
        let forest = self.forest::<T>()?;
        let targets = forest.targets();
        let aggregate = Aggregate::numbered(self.aggregate_function)?;
        let transform = PostTransform::numbered(self.post_transform)?;
        kernel(move |run| {
            let dtype = run.tensor(0)?.dtype();
            let x = features::cast(run, 0, T::DTYPE)?;
            let (rows, columns) = features::sizes(x.shape())?;
            let shape = [rows, targets];
            if transform == PostTransform::None && T::DTYPE == DType::F64 {
                let mut out = run.allocate(0, DType::F64, &shape)?;
                let trees = T::from_f64(forest.trees() as f64);
                let mut classes = vec![0; rows];
                let (x, to) = ((x.slice::<T>()?, columns), (out.slice_mut::<f64>()?, targets));
                forest.score(run, x, aggregate, to, &mut classes, &|scores, _, out, _| {
                    for (to, score) in out.iter_mut().zip(scores) {
                        let average = aggregate == Aggregate::Average;
                        *to = if average { score.over(trees) } else { *score }.to_f64();
                    }
                })?;
                run.set(0, out.freeze());
                return Ok(());
            }
            let mut out = run.allocate(0, DType::F32, &shape)?;
            regress(run, &forest, &x, aggregate, &[], transform, out.slice_mut()?)?;
            run.set(0, out.freeze().cast(dtype, CastRules::default())?);
            Ok(())
        })
    }
}

impl Op for TreeEnsemble {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let (dtype, targets) = (ctx.dtype(0)?, Dim::from(self.targets()?));
        features::set_rows(ctx, 0, dtype, Some(targets))
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        match call.dtype(0) {
            Some(DType::F64) => self.bind::<f64>(),
            _ => self.bind::<f32>(),
        }
    }
}
