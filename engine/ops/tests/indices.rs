//! Indices, axes, sizes and pads come from files and inputs: whatever they are, there is an error and no panic.

use oxidane_graph::Op;
use oxidane_ops::ml::{
    array_feature_extractor::ArrayFeatureExtractor, tree_ensemble_regressor::TreeEnsembleRegressor,
};
use oxidane_ops::tensor::{
    compress::Compress, concat::Concat, constant_of_shape::ConstantOfShape, depth_to_space::DepthToSpace,
    expand::Expand, eye_like::EyeLike, flatten::Flatten, gather::Gather, gather_elements::GatherElements,
    gather_nd::GatherND, one_hot::OneHot, pad::Pad, range::Range, reverse_sequence::ReverseSequence,
    scatter_elements::ScatterElements, scatter_nd::ScatterND, slice::Slice, space_to_depth::SpaceToDepth,
    split::Split, squeeze::Squeeze, tile::Tile, transpose::Transpose, trilu::Trilu, unsqueeze::Unsqueeze,
};
use oxidane_ops::text::tfidf_vectorizer::TfIdfVectorizer;
use oxidane_ops::{Case, Interpreter, bools, floats, ints, noise};
use oxidane_pool::Pool;
use oxidane_tensor::Tensor;

/// Runs an operator and gives the error; inference must not panic on it either.
fn error(op: impl Op, inputs: &[Tensor]) -> String {
    let case = inputs.iter().fold(Case::new("bad", op), |case, tensor| case.input(tensor.clone()));
    let mut graph = case.graph();
    oxidane_graph::infer(&mut graph);
    let mut constant = case.graph();
    for (&input, tensor) in constant.inputs().to_vec().iter().zip(inputs).skip(1) {
        let known = constant.add_constant("", tensor.clone()).unwrap();
        constant.replace_uses(input, known);
    }
    oxidane_graph::infer(&mut constant);
    let given = inputs.iter().map(|t| Some(t.clone().into())).collect();
    match Interpreter::new(Pool::new(1), 1 << 24).run(&graph, given) {
        Err(problem) => problem.error.to_string(),
        Ok(outputs) => panic!("{:?} gave {outputs:?}", case.op),
    }
}

fn x() -> Tensor {
    noise(&[2, 3, 4], 1)
}

fn vector(values: &[i64]) -> Tensor {
    ints(&[values.len()], values)
}

const EXTREMES: [i64; 6] = [i64::MIN, i64::MIN + 1, -5, 5, i64::MAX - 1, i64::MAX];

#[test]
fn indices_outside() {
    let none = || "none".to_owned();
    for at in EXTREMES {
        assert!(error(Gather { axis: 1 }, &[x(), vector(&[0, at])]).contains(&at.to_string()));
        assert!(error(Gather { axis: 1 }, &[x(), ints(&[], &[at])]).contains(&at.to_string()));
        error(GatherElements { axis: 0 }, &[x(), ints(&[1, 1, 1], &[at])]);
        error(GatherND { batch_dims: 0 }, &[x(), ints(&[1, 2], &[0, at])]);
        let updates = floats(&[1, 1, 1], &[1.0]);
        error(ScatterElements { axis: 2, reduction: none() }, &[x(), ints(&[1, 1, 1], &[at]), updates]);
        error(ScatterND { reduction: none() }, &[x(), ints(&[1, 1], &[at]), noise(&[1, 3, 4], 1)]);
    }
}

/// The specification has them give a row of off values.
#[test]
fn classes_outside() {
    let depth = || ints(&[], &[3]);
    for at in EXTREMES {
        for (shape, rows) in [(&[1][..], [0.0; 3]), (&[][..], [0.0; 3])] {
            let case = [ints(shape, &[at]), depth(), floats(&[2], &[0.0, 1.0])]
                .into_iter()
                .fold(Case::new("far", OneHot { axis: -1 }), Case::input);
            let outputs = Interpreter::new(Pool::new(1), 1 << 24).run(&case.graph(), case.inputs.clone());
            let outputs = outputs.expect("rows of off values");
            assert_eq!(outputs[0].as_tensor().unwrap().to_f64s().unwrap(), rows, "{at}");
        }
        error(OneHot { axis: -1 }, &[vector(&[0]), ints(&[], &[-1]), floats(&[2], &[0.0, 1.0])]);
    }
    for depth in [i64::MIN, -1, i64::MAX] {
        error(OneHot { axis: -1 }, &[vector(&[0]), ints(&[], &[depth]), floats(&[2], &[0.0, 1.0])]);
    }
}

#[test]
fn lengths_and_places_outside() {
    let reductions = ["none", "add", "mul", "max", "min"];
    for at in EXTREMES {
        error(ReverseSequence { batch_axis: 0, time_axis: 1 }, &[x(), vector(&[at, 1])]);
        error(ReverseSequence { batch_axis: 1, time_axis: 0 }, &[x(), vector(&[1, at, 1])]);
        for reduction in reductions.map(str::to_owned) {
            let updates = floats(&[1, 1, 1], &[1.0]);
            let op = ScatterElements { axis: 0, reduction: reduction.clone() };
            error(op, &[x(), ints(&[1, 1, 1], &[at]), updates]);
            error(ScatterND { reduction }, &[x(), ints(&[1, 2], &[0, at]), noise(&[1, 4], 1)]);
        }
        error(GatherND { batch_dims: 1 }, &[x(), ints(&[2, 1], &[0, at])]);
        error(Compress { axis: None }, &[vector(&[1, 2]), bools(&[3], &[true, false, true])]);
    }
}

#[test]
fn axes_outside() {
    for axis in EXTREMES {
        error(Gather { axis }, &[x(), vector(&[0, 0])]);
        error(GatherElements { axis }, &[x(), ints(&[1, 1, 1], &[0])]);
        error(Concat { axis }, &[x(), x()]);
        error(Flatten { axis }, &[x()]);
        error(Split { axis, num_outputs: None }, &[x()]);
        error(Squeeze {}, &[x(), vector(&[axis])]);
        error(Unsqueeze {}, &[x(), vector(&[axis])]);
        error(Transpose { perm: Some(vec![0, 1, axis]) }, &[x()]);
        error(Slice {}, &[x(), vector(&[0]), vector(&[1]), vector(&[axis])]);
        error(OneHot { axis }, &[vector(&[1]), ints(&[], &[3]), vector(&[0, 1])]);
        error(Compress { axis: Some(axis) }, &[x(), bools(&[1], &[true])]);
        error(Pad { mode: "constant".into() }, &[x(), vector(&[1, 1]), floats(&[], &[0.0]), vector(&[axis])]);
    }
    error(Squeeze {}, &[x(), vector(&[0])]);
    error(Unsqueeze {}, &[x(), vector(&[0, 0])]);
    error(Transpose { perm: Some(vec![0, 0, 1]) }, &[x()]);
    error(Transpose { perm: Some(vec![0]) }, &[x()]);
}

#[test]
fn sizes_beyond_memory_and_below_zero() {
    let huge = 1i64 << 62;
    for sizes in
        [vec![huge, huge, 4], vec![huge, 3, 4], vec![1 << 40, 3, 4], vec![-1, 3, 4], vec![i64::MIN, 3, 4]]
    {
        error(Expand {}, &[noise(&[1, 3, 4], 1), vector(&sizes)]);
        error(ConstantOfShape { value: None }, &[vector(&sizes)]);
        error(Tile {}, &[x(), vector(&[sizes[0], 1, 1])]);
        for mode in ["constant", "edge", "reflect", "wrap"] {
            error(Pad { mode: mode.into() }, &[x(), vector(&[sizes[0].wrapping_mul(3), 0, 0, 0, 0, 0])]);
        }
    }
    let names = Tensor::from_strings(&[1], vec!["a".into()]).unwrap();
    error(Expand {}, &[names.clone(), vector(&[1 << 40])]);
    error(Tile {}, &[names, vector(&[1 << 40])]);
    error(OneHot { axis: -1 }, &[vector(&[1]), ints(&[], &[huge]), vector(&[0, 1])]);
    error(OneHot { axis: -1 }, &[vector(&[1]), ints(&[], &[-1]), vector(&[0, 1])]);
    error(Tile {}, &[x(), vector(&[1])]);
    error(Pad { mode: "edge".into() }, &[noise(&[0, 2], 1), vector(&[1, 0, 0, 0])]);
    error(Pad { mode: "constant".into() }, &[x(), vector(&[1, 0, 0])]);
    let one = |v| ints(&[], &[v]);
    error(Range { stash_type: 1 }, &[one(i64::MIN), one(i64::MAX), one(1)]);
    error(Range { stash_type: 1 }, &[one(0), one(1), one(0)]);
    let float = |v| floats(&[], &[v]);
    error(Range { stash_type: 1 }, &[float(0.0), float(f32::INFINITY), float(1.0)]);
    error(Range { stash_type: 1 }, &[float(0.0), float(f32::NAN), float(1.0)]);
    error(Range { stash_type: 1 }, &[float(0.0), float(1.0), float(0.0)]);
}

#[test]
fn counts_that_do_not_fit() {
    error(Slice {}, &[x(), vector(&[0, 0]), vector(&[1])]);
    error(Slice {}, &[x(), vector(&[0]), vector(&[1]), vector(&[0]), vector(&[0])]);
    error(Slice {}, &[x(), vector(&[0, 0]), vector(&[1, 1]), vector(&[1, -2])]);
    error(Split { axis: 1, num_outputs: None }, &[x(), vector(&[2])]);
    error(Split { axis: 1, num_outputs: None }, &[x(), vector(&[i64::MAX])]);
    error(Split { axis: 1, num_outputs: Some(2) }, &[x()]);
    error(Concat { axis: 0 }, &[x(), noise(&[2, 3], 1)]);
    error(Concat { axis: 0 }, &[x(), noise(&[2, 2, 4], 1)]);
    error(GatherND { batch_dims: 0 }, &[x(), ints(&[1, 4], &[0; 4])]);
    error(GatherND { batch_dims: 3 }, &[x(), ints(&[1, 1], &[0])]);
    error(GatherND { batch_dims: -1 }, &[x(), ints(&[1, 1], &[0])]);
    error(GatherND { batch_dims: 1 }, &[x(), ints(&[3, 1], &[0; 3])]);
    let none = || "none".to_owned();
    error(ScatterND { reduction: none() }, &[x(), ints(&[1, 1], &[0]), noise(&[1, 3], 1)]);
    error(ScatterElements { axis: 0, reduction: none() }, &[x(), ints(&[1, 1, 1], &[0]), noise(&[1, 1], 1)]);
    error(
        ScatterElements { axis: 0, reduction: none() },
        &[x(), ints(&[1, 4, 1], &[0; 4]), noise(&[1, 4, 1], 1)],
    );
    error(ReverseSequence { batch_axis: 0, time_axis: 1 }, &[x(), vector(&[4, 1])]);
    error(ReverseSequence { batch_axis: 0, time_axis: 1 }, &[x(), vector(&[-1, 1])]);
    error(ReverseSequence { batch_axis: 0, time_axis: 1 }, &[x(), vector(&[1])]);
    error(Compress { axis: Some(0) }, &[x(), bools(&[3], &[false, false, true])]);
    error(Trilu { upper: true }, &[noise(&[3], 1)]);
    error(EyeLike { dtype: None, k: 0 }, &[x()]);
    let block = |blocksize| DepthToSpace { blocksize, mode: "DCR".into() };
    error(block(2), &[noise(&[1, 3, 1, 1], 1)]);
    error(block(2), &[x()]);
    error(block(0), &[noise(&[1, 4, 1, 1], 1)]);
    error(block(i64::MAX), &[noise(&[1, 4, 1, 1], 1)]);
    error(SpaceToDepth { blocksize: 2, mode: "DCR".into() }, &[noise(&[1, 4, 1, 2], 1)]);
}

/// A tree of one branch with one field changed.
fn stump(change: impl FnOnce(&mut TreeEnsembleRegressor)) -> TreeEnsembleRegressor {
    let mut op = TreeEnsembleRegressor {
        aggregate_function: "SUM".into(),
        post_transform: "NONE".into(),
        n_targets: Some(1),
        nodes_treeids: Some(vec![0; 3]),
        nodes_nodeids: Some(vec![0, 1, 2]),
        nodes_featureids: Some(vec![0; 3]),
        nodes_modes: Some(["BRANCH_LEQ", "LEAF", "LEAF"].map(str::to_owned).to_vec()),
        nodes_values: Some(vec![0.5, 0.0, 0.0]),
        nodes_truenodeids: Some(vec![1, 0, 0]),
        nodes_falsenodeids: Some(vec![2, 0, 0]),
        target_treeids: Some(vec![0, 0]),
        target_nodeids: Some(vec![1, 2]),
        target_ids: Some(vec![0, 0]),
        target_weights: Some(vec![1.0, 2.0]),
        ..TreeEnsembleRegressor::default()
    };
    change(&mut op);
    op
}

#[test]
fn trees_and_features_lie_inside() {
    let x = || noise(&[2, 3], 1);
    for index in [-1, 3, i64::MIN, i64::MAX] {
        error(ArrayFeatureExtractor {}, &[x(), ints(&[1], &[index])]);
        error(stump(|t| t.nodes_featureids = Some(vec![index, 0, 0])), &[x()]);
        error(stump(|t| t.nodes_truenodeids = Some(vec![index, 0, 0])), &[x()]);
        error(stump(|t| t.target_nodeids = Some(vec![1, index])), &[x()]);
        error(stump(|t| t.target_ids = Some(vec![0, index])), &[x()]);
        error(stump(|t| t.n_targets = Some(index.min(-1))), &[x()]);
    }
    error(stump(|t| t.nodes_falsenodeids = Some(vec![0, 0, 0])), &[x()]);
    error(stump(|t| t.nodes_nodeids = Some(vec![0, 1, 1])), &[x()]);
    error(stump(|t| t.nodes_values = Some(vec![0.5])), &[x()]);
    error(stump(|t| t.target_weights = Some(vec![1.0])), &[x()]);
    error(stump(|t| t.nodes_modes = Some(vec!["BRANCH_ODD".into(); 3])), &[x()]);
    error(stump(|_| ()), &[noise(&[2, 0], 1)]);
    error(stump(|_| ()), &[noise(&[2, 1, 1], 1)]);
    error(stump(|t| t.n_targets = Some(i64::MAX)), &[x()]);
}

#[test]
fn ngrams_lie_inside_the_pool() {
    let op = |counts: &[i64], indexes: &[i64]| TfIdfVectorizer {
        max_gram_length: 2,
        max_skip_count: i64::MAX,
        min_gram_length: 1,
        mode: "TF".into(),
        ngram_counts: counts.to_vec(),
        ngram_indexes: indexes.to_vec(),
        pool_int64s: Some(vec![1, 2, 3]),
        pool_strings: None,
        weights: None,
    };
    let x = || ints(&[3], &[1, 2, 3]);
    for (counts, indexes) in [
        (&[0, 4][..], &[0, 1][..]),
        (&[0, -1], &[0, 1]),
        (&[0, 2], &[0, 1, 2]),
        (&[2, 1], &[0, 1]),
        (&[i64::MIN, 1], &[0, 1]),
        (&[0, 1], &[0]),
        (&[0, 1], &[0, -1]),
        (&[0, 1], &[0, i64::MAX]),
        (&[0], &[0, 1]),
    ] {
        error(op(counts, indexes), &[x()]);
    }
    error(TfIdfVectorizer { max_skip_count: -1, ..op(&[0, 1], &[0, 1]) }, &[x()]);
    error(TfIdfVectorizer { min_gram_length: 0, ..op(&[0, 1], &[0, 1]) }, &[x()]);
    error(TfIdfVectorizer { max_gram_length: i64::MAX, ..op(&[0, 1], &[0, 1]) }, &[x()]);
}
