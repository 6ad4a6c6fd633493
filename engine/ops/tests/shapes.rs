//! Shape arithmetic as exporters write it stays symbolic: sizes are computed from sizes and used as such.

use oxidane_graph::{Build, Dim, Graph, Inference, Op, ShownDims, Type, ValueId, infer};
use oxidane_ops::nn::conv_transpose::ConvTranspose;
use oxidane_ops::tensor::{
    concat::Concat, constant_of_shape::ConstantOfShape, expand::Expand, flatten::Flatten, gather::Gather,
    range::Range, reshape::Reshape, shape::Shape, size::Size, slice::Slice, split::Split, squeeze::Squeeze,
    tile::Tile, transpose::Transpose, unsqueeze::Unsqueeze,
};
use oxidane_ops::{ints, noise};
use oxidane_tensor::DType;
use std::sync::Arc;

const WHOLE: Shape = Shape { start: 0, end: None };

/// A graph with one float input `x` of these sizes, and what `make` computes from it.
fn graph(sizes: &[Dim], make: impl FnOnce(&mut Build<'_>, ValueId) -> ValueId) -> Graph {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", Some(Type::tensor(DType::F32, sizes.iter().copied())), None).unwrap();
    let y = make(&mut Build::new(&mut graph, "test"), x);
    graph.set_outputs(vec![y]);
    graph
}

/// The type of the output, worked out in one walk.
fn output(mut graph: Graph) -> String {
    let findings = infer(&mut graph);
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
    graph.value(graph.outputs()[0]).ty().map_or("unknown".into(), |ty| ty.to_string())
}

/// The elements of the output, an integer tensor.
fn values(graph: Graph) -> String {
    let mut graph = graph;
    let mut walk = Inference::default();
    walk.graph(&mut graph);
    assert!(walk.findings.problems.is_empty(), "{:?}", walk.findings.problems);
    walk.ints(&graph, graph.outputs()[0]).map_or("unknown".into(), |i| ShownDims(&i.dims).to_string())
}

fn vector(build: &mut Build<'_>, values: &[i64]) -> ValueId {
    build.constant(ints(&[values.len()], values))
}

fn scalar(build: &mut Build<'_>, value: i64) -> ValueId {
    build.constant(ints(&[], &[value]))
}

fn cut(build: &mut Build<'_>, x: ValueId, start: i64, end: i64, axis: i64) -> ValueId {
    let inputs = [start, end, axis].map(|v| vector(build, &[v]));
    build.add(Slice {}, &[x, inputs[0], inputs[1], inputs[2]])
}

/// One size of `x` as a vector of one element: Shape, Gather, Unsqueeze, as PyTorch exports `x.size(axis)`.
fn size(build: &mut Build<'_>, x: ValueId, axis: i64) -> ValueId {
    let shape = build.add(WHOLE, &[x]);
    let at = scalar(build, axis);
    let one = build.add(Gather { axis: 0 }, &[shape, at]);
    let zero = vector(build, &[0]);
    build.add(Unsqueeze {}, &[one, zero])
}

fn sentence() -> [Dim; 3] {
    [Dim::symbol("b"), Dim::symbol("s"), Dim::known(768)]
}

#[test]
fn attention_heads_stay_symbolic() {
    let heads = graph(&sentence(), |build, x| {
        let (b, s) = (size(build, x, 0), size(build, x, 1));
        let rest = vector(build, &[12, 64]);
        let shape = build.add(Concat { axis: 0 }, &[b, s, rest]);
        let split = build.add(Reshape { allowzero: false }, &[x, shape]);
        build.add(Transpose { perm: Some(vec![0, 2, 1, 3]) }, &[split])
    });
    assert_eq!(output(heads), "float[b,12,s,64]");
}

#[test]
fn heads_are_put_together_again() {
    let sizes = [Dim::symbol("b"), Dim::known(12), Dim::symbol("s"), Dim::known(64)];
    let merged = graph(&sizes, |build, x| {
        let (b, s) = (size(build, x, 0), size(build, x, -2));
        let back = build.add(Transpose { perm: Some(vec![0, 2, 1, 3]) }, &[x]);
        let open = vector(build, &[-1]);
        let shape = build.add(Concat { axis: 0 }, &[b, s, open]);
        build.add(Reshape { allowzero: false }, &[back, shape])
    });
    assert_eq!(output(merged), "float[b,s,768]");
}

#[test]
fn pieces_of_shapes() {
    let of = |start, end| {
        graph(&sentence(), move |build, x| {
            let shape = build.add(WHOLE, &[x]);
            cut(build, shape, start, end, 0)
        })
    };
    assert_eq!(values(of(0, 2)), "[b,s]");
    assert_eq!(values(of(-1, i64::MAX)), "[768]");
    assert_eq!(values(of(1, -1)), "[s]");
    let all_but_last = graph(&sentence(), |build, x| build.add(Shape { start: -3, end: Some(-1) }, &[x]));
    assert_eq!(values(all_but_last), "[b,s]");
    let count = graph(&sentence(), |build, x| build.add(Size {}, &[x]));
    assert_eq!(values(count), "[768*b*s]");
    let parts = graph(&sentence(), |build, x| {
        let shape = build.add(WHOLE, &[x]);
        let lengths = vector(build, &[2, 1]);
        let op = Split { axis: 0, num_outputs: None };
        let parts = build.add_node(Arc::new(op), &[Some(shape), Some(lengths)], 2);
        let zero = vector(build, &[0]);
        build.add(Squeeze {}, &[parts[1], zero])
    });
    assert_eq!(values(parts), "[768]");
}

#[test]
fn slices_of_unknown_length() {
    let of = |start, end| graph(&sentence(), move |build, x| cut(build, x, start, end, 1));
    assert_eq!(output(of(0, i64::MAX)), "float[b,s,768]");
    assert_eq!(output(of(0, -1)), "float[b,max(s-1,0),768]".replace("max(s-1,0)", &shown_less()));
    assert_eq!(output(of(1, i64::MAX)), output(of(0, -1)));
    let known = graph(&sentence(), |build, x| cut(build, x, -64, i64::MAX, 2));
    assert_eq!(output(known), "float[b,s,64]");
    // `x[:, :n]` where n is the size itself.
    let all = graph(&sentence(), |build, x| {
        let end = size(build, x, 1);
        let (start, axis) = (vector(build, &[0]), vector(build, &[1]));
        build.add(Slice {}, &[x, start, end, axis])
    });
    assert_eq!(output(all), "float[b,s,768]");
}

fn shown_less() -> String {
    (Dim::symbol("s") - Dim::known(1)).max(Dim::known(0)).to_string()
}

#[test]
fn positions_masks_and_broadcasts() {
    let positions = graph(&sentence(), |build, x| {
        let shape = build.add(WHOLE, &[x]);
        let one = scalar(build, 1);
        let s = build.add(Gather { axis: 0 }, &[shape, one]);
        let zero = scalar(build, 0);
        let range = build.add(Range { stash_type: 1 }, &[zero, s, one]);
        let front = vector(build, &[0]);
        let row = build.add(Unsqueeze {}, &[range, front]);
        let (b, s) = (size(build, x, 0), size(build, x, 1));
        let both = build.add(Concat { axis: 0 }, &[b, s]);
        build.add(Expand {}, &[row, both])
    });
    assert_eq!(output(positions), "int64[b,s]");
    let mask = graph(&sentence(), |build, x| {
        let s = size(build, x, 1);
        let shape = build.add(Concat { axis: 0 }, &[s, s]);
        build.add(ConstantOfShape { value: None }, &[shape])
    });
    assert_eq!(output(mask), "float[s,s]");
    let ones = graph(&sentence(), |build, _| {
        let three = vector(build, &[3]);
        let ones = build.add(ConstantOfShape { value: Some(ints(&[1], &[1])) }, &[three]);
        let twice = vector(build, &[2]);
        build.add(Tile {}, &[ones, twice])
    });
    assert_eq!(values(ones), "[1,1,1,1,1,1]");
}

#[test]
fn sums_of_sizes() {
    let past = [Dim::symbol("b"), Dim::known(12), Dim::symbol("p"), Dim::known(64)];
    let longer = graph(&past, |build, x| {
        let new = vector(build, &[2, 12, 1, 64]);
        let new = build.add(ConstantOfShape { value: None }, &[new]);
        build.add(Concat { axis: -2 }, &[x, new])
    });
    assert_eq!(output(longer), "float[2,12,p+1,64]");
    let flat = graph(&past, |build, x| build.add(Flatten { axis: 2 }, &[x]));
    assert_eq!(output(flat), "float[12*b,64*p]");
    let half = graph(&past, |build, x| {
        let op: Arc<dyn Op> = Arc::new(Split { axis: -1, num_outputs: Some(2) });
        build.add_node(op, &[Some(x)], 2)[1]
    });
    assert_eq!(output(half), "float[b,12,p,32]");
}

#[test]
fn expanding_to_what_is_not_known_keeps_what_cannot_change() {
    let (n, one) = (Dim::symbol("n"), Dim::known(1));
    for (rank, expected) in [(2, "float[n,3,?,0]"), (4, "float[?,3,?,0]"), (5, "float[?,?,3,?,0]")] {
        let mut made = graph(&[n, Dim::known(3), one, Dim::known(0)], |_, x| x);
        let wanted = made.add_input("s", Some(Type::fixed(DType::I64, &[rank])), None).unwrap();
        let (x, y) = (made.inputs()[0], made.add_undefined("y").unwrap());
        Build::new(&mut made, "test")
            .define(Arc::new(Expand {}), &[Some(x), Some(wanted)], &[Some(y)])
            .unwrap();
        made.set_outputs(vec![y]);
        assert_eq!(output(made), expected);
    }
}

#[test]
fn attributes_of_another_rank_than_symbolic_sizes_are_refused() {
    let sizes = [Dim::known(1), Dim::known(1), Dim::symbol("h"), Dim::symbol("w")];
    for kernel_shape in [vec![3], vec![3; 3]] {
        let mut made = graph(&sizes, |build, x| {
            let weights = build.constant(noise(&[1, 2, 3, 3], 1));
            let op = ConvTranspose {
                auto_pad: "NOTSET".into(),
                dilations: None,
                group: 1,
                kernel_shape: Some(kernel_shape.clone()),
                output_padding: Some(vec![1]),
                output_shape: Some(vec![10, 8]),
                pads: None,
                strides: None,
            };
            build.add(op, &[x, weights])
        });
        let problems = infer(&mut made).problems;
        assert!(problems.iter().any(|p| p.to_string().contains("kernel_shape")), "{problems:?}");
    }
}
