//! Losses, quantizers, random numbers and optimizers: what does not fit is an error, never a panic or a wrong read.

use oxidane_graph::{Build, Graph, Op, Type};
use oxidane_ops::control::sequence_map::SequenceMap;
use oxidane_ops::math::det::Det;
use oxidane_ops::microsoft::mat_mul_n_bits::MatMulNBits;
use oxidane_ops::microsoft::q_linear_concat::QLinearConcat;
use oxidane_ops::nn::negative_log_likelihood_loss::NegativeLogLikelihoodLoss;
use oxidane_ops::nn::softmax_cross_entropy_loss::SoftmaxCrossEntropyLoss;
use oxidane_ops::quantization::dequantize_linear::DequantizeLinear;
use oxidane_ops::quantization::mat_mul_integer::MatMulInteger;
use oxidane_ops::quantization::q_linear_mat_mul::QLinearMatMul;
use oxidane_ops::quantization::quantize_linear::QuantizeLinear;
use oxidane_ops::random::multinomial::Multinomial;
use oxidane_ops::random::random_normal::RandomNormal;
use oxidane_ops::tensor::dropout::Dropout;
use oxidane_ops::tensor::identity::Identity;
use oxidane_ops::training::adam::Adam;
use oxidane_ops::{Case, Interpreter, bools, floats, ints, noise};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Datum, Tensor};
use std::sync::Arc;

const EXTREMES: [i64; 6] = [i64::MIN, i64::MIN + 1, -7, 7, i64::MAX - 1, i64::MAX];

fn refused(case: Case) -> String {
    let mut graph = case.graph();
    oxidane_graph::infer(&mut graph);
    match Interpreter::new(Pool::new(1), 1 << 24).run(&graph, case.inputs.clone()) {
        Err(problem) => problem.error.to_string(),
        Ok(outputs) => panic!("{:?} gave {outputs:?}", case.op),
    }
}

fn error(op: impl Op, inputs: &[Tensor]) -> String {
    refused(inputs.iter().fold(Case::new("bad", op), |case, tensor| case.input(tensor.clone())))
}

fn codes(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::zeros(dtype, shape).unwrap()
}

#[test]
fn classes_outside() {
    let reduction = || "mean".to_owned();
    for class in EXTREMES {
        let inputs = [noise(&[2, 3], 1), ints(&[2], &[0, class])];
        let loss = NegativeLogLikelihoodLoss { ignore_index: Some(3), reduction: reduction() };
        assert!(error(loss, &inputs).contains(&class.to_string()));
        error(SoftmaxCrossEntropyLoss { ignore_index: None, reduction: reduction() }, &inputs);
    }
    let loss = || SoftmaxCrossEntropyLoss { ignore_index: None, reduction: reduction() };
    error(loss(), &[noise(&[2, 3], 1), ints(&[3], &[0; 3])]);
    error(loss(), &[noise(&[2, 3], 1), ints(&[2, 1], &[0; 2])]);
    error(loss(), &[noise(&[2], 1), ints(&[], &[0])]);
    error(loss(), &[noise(&[2, 3], 1), ints(&[2], &[0; 2]), noise(&[2], 2)]);
}

#[test]
fn scales_that_do_not_fit() {
    let quantize = |axis, block_size| QuantizeLinear { axis, block_size, ..QuantizeLinear::default() };
    let x = || noise(&[2, 3, 4], 1);
    for axis in EXTREMES {
        error(quantize(axis, 0), &[x(), noise(&[3], 2)]);
        error(quantize(axis, 2), &[x(), noise(&[2, 2, 4], 2)]);
        let op = DequantizeLinear { axis, ..DequantizeLinear::default() };
        error(op, &[codes(DType::I4, &[2, 3, 4]), noise(&[3], 2)]);
    }
    error(quantize(1, 0), &[x(), noise(&[2], 2)]);
    error(quantize(1, 0), &[x(), noise(&[0], 2)]);
    error(quantize(1, 0), &[x(), noise(&[2, 3, 4], 2)]);
    error(quantize(1, 2), &[x(), noise(&[2, 3, 4], 2)]);
    error(quantize(1, -1), &[x(), noise(&[2, 3, 4], 2)]);
    error(quantize(1, i64::MAX), &[x(), noise(&[2, 3, 4], 2)]);
    error(quantize(1, 0), &[floats(&[], &[1.0]), noise(&[2], 2)]);
    error(quantize(1, 0), &[x(), noise(&[3], 2), codes(DType::U8, &[2])]);
    error(quantize(1, 0), &[x(), noise(&[3], 2), codes(DType::U8, &[])]);
    let typed = |output_dtype| QuantizeLinear { output_dtype, ..QuantizeLinear::default() };
    error(typed(2), &[x(), noise(&[3], 2), codes(DType::I8, &[3])]);
    error(typed(1), &[x(), noise(&[3], 2)]);
    error(typed(i64::MAX), &[x(), noise(&[3], 2)]);
    let powers = codes(DType::F8E8M0, &[]);
    error(DequantizeLinear::default(), &[codes(DType::I8, &[2]), powers]);
}

#[test]
fn products_that_do_not_fit() {
    let bytes = |shape: &[usize]| codes(DType::U8, shape);
    error(MatMulInteger {}, &[bytes(&[2, 3]), bytes(&[2, 3])]);
    error(MatMulInteger {}, &[bytes(&[2, 3]), bytes(&[3, 2]), bytes(&[3])]);
    error(MatMulInteger {}, &[bytes(&[]), bytes(&[3, 2])]);
    let one = || floats(&[], &[1.0]);
    let product = |a_scale: Tensor, y_scale: Tensor| {
        let (a, zero, b) = (bytes(&[2, 3]), bytes(&[]), bytes(&[3, 2]));
        error(QLinearMatMul {}, &[a, a_scale, zero.clone(), b, one(), zero.clone(), y_scale, zero])
    };
    product(noise(&[3], 1), one());
    product(one(), noise(&[5], 1));
    product(noise(&[4, 2, 1], 1), one());
    error(Det {}, &[noise(&[2, 3], 1)]);
    error(Det {}, &[noise(&[3], 1)]);
    error(QLinearConcat { axis: 0 }, &[one(), bytes(&[]), bytes(&[2]), one()]);
    error(QLinearConcat { axis: 5 }, &[one(), bytes(&[]), bytes(&[2]), one(), bytes(&[])]);
    let op = |k, n, bits, block_size| MatMulNBits { K: k, N: n, accuracy_level: 0, bits, block_size };
    let packed = || [noise(&[1, 16], 1), bytes(&[2, 1, 8]), noise(&[2], 2)];
    error(op(32, 2, 4, 16), &packed());
    error(op(16, 3, 4, 16), &packed());
    error(op(16, 2, 3, 16), &packed());
    error(op(16, 2, 4, 0), &packed());
    error(op(i64::MAX, i64::MAX, 4, i64::MAX), &packed());
    error(op((1 << 30) - 8, (1 << 30) - 8, 2, (1 << 30) - 8), &packed());
}

#[test]
fn random_numbers_that_cannot_be() {
    let normal = |shape: &[i64], dtype| RandomNormal {
        dtype,
        mean: 0.0,
        scale: 1.0,
        seed: None,
        shape: shape.to_vec(),
    };
    error(normal(&[-1], DType::F32), &[]);
    error(normal(&[i64::MAX, i64::MAX], DType::F32), &[]);
    error(normal(&[1 << 40], DType::F32), &[]);
    error(normal(&[2], DType::I32), &[]);
    let draw = |sample_size| Multinomial { dtype: DType::I32, sample_size, seed: None };
    error(draw(i64::MAX), &[noise(&[2, 3], 1)]);
    error(draw(-1), &[noise(&[2, 3], 1)]);
    error(draw(1), &[noise(&[2, 0], 1)]);
    error(draw(1), &[noise(&[2], 1)]);
    for ratio in [-0.5, 1.5, f32::NAN] {
        error(Dropout { seed: None }, &[noise(&[2], 1), floats(&[], &[ratio]), bools(&[], &[true])]);
    }
}

#[test]
fn inputs_that_cannot_be_shared_out() {
    let adam =
        Adam { alpha: 0.9, beta: 0.9, epsilon: 0.1, norm_coefficient: 0.0, norm_coefficient_post: 0.0 };
    let one = || floats(&[], &[1.0]);
    error(adam.clone(), &[one(), ints(&[], &[1]), one(), one(), one()]);
    error(adam, &[noise(&[2], 1), ints(&[], &[1]), noise(&[3], 1), one(), one(), one()]);
    let mut body = Graph::new("body");
    let inputs: Vec<_> =
        ["a", "b"].map(|name| body.add_input(name, Some(Type::unranked(DType::F32)), None).unwrap()).to_vec();
    let output = Build::new(&mut body, "").add(Identity {}, &inputs[..1]);
    body.set_outputs(vec![output]);
    let sequence = |count: u64| {
        Datum::Sequence(Arc::new((0..count).map(|seed| Datum::Tensor(noise(&[2], seed))).collect()))
    };
    let case = Case::new("lengths", SequenceMap {}).input(sequence(2)).input(sequence(3)).body(body);
    assert!(refused(case).contains('3'));
}

#[test]
fn results_beyond_the_budget() {
    let room = |domain: &str, name: &str| oxidane_ops::room(domain, name).expect("a room");
    let far = |name: &str, attributes: oxidane_graph::Attributes, inputs: &[Tensor]| {
        let mut case = inputs.iter().fold(Case::new("far", Identity {}), |c, t| c.input(t.clone()));
        case.op = (room("", name).read)(&attributes).expect("attributes of the operator");
        let what = refused(case);
        assert!(what.contains("budget"), "{name}: {what}");
    };
    let pads = || vec![0, 0, i64::from(i32::MAX), 0];
    let window = || oxidane_graph::Attributes::new().with("pads", pads()).with("kernel_shape", vec![2i64, 2]);
    let picture = |dtype| codes(dtype, &[1, 1, 3, 3]);
    for dtype in [DType::U8, DType::F64, DType::F16] {
        far("MaxPool", window(), &[picture(dtype)]);
    }
    for name in ["AveragePool", "LpPool"] {
        far(name, window(), &[picture(DType::F64)]);
        far(name, window(), &[picture(DType::BF16)]);
    }
    far("Conv", window(), &[picture(DType::F64), codes(DType::F64, &[1, 1, 2, 2])]);
    far("ConvInteger", window(), &[picture(DType::U8), codes(DType::U8, &[1, 1, 2, 2])]);
    let (tall, wide) = (|dtype| codes(dtype, &[1 << 14, 1]), |dtype| codes(dtype, &[1, 1 << 14]));
    let none = oxidane_graph::Attributes::new;
    far("MatMul", none(), &[tall(DType::I32), wide(DType::I32)]);
    far("MatMulInteger", none(), &[tall(DType::U8), wide(DType::U8)]);
    far("Gemm", none(), &[tall(DType::F64), wide(DType::F64)]);
    far("Einsum", none().with("equation", "ij,jk->ik".to_owned()), &[tall(DType::F64), wide(DType::F64)]);
}
