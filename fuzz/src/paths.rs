//! The four paths that a file takes. None may panic, whatever the bytes are; what else must hold is asserted.

use bytes::Bytes;
use oxidane::graph::infer;
use oxidane::onnx::text::{parse_model, print_model};
use oxidane::onnx::{DecodeLimits, ModelFile, OPSET};
use oxidane::passes::{Level, Options};
use oxidane::{DType, Datum, Limits, Model, SessionOptions, Tensor, Type};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;

use crate::mutate::Random;

/// Reads a file leniently, writes it, reads what was written, and converts it to other opsets.
pub fn load(bytes: &[u8]) {
    let mut limits = DecodeLimits::default();
    limits.memory = 256 << 20;
    let Ok(file) = ModelFile::decode(Bytes::copy_from_slice(bytes), "the model", &limits) else { return };
    let (model, findings) = oxidane::onnx::Model::from_proto_leniently(file.model, None);
    if let Ok(written) = model.to_proto(None) {
        let (again, second) = oxidane::onnx::Model::from_proto_leniently(written, None);
        if findings.problems.is_empty() {
            assert!(second.problems.is_empty(), "what was written is no model: {:?}", second.problems);
        }
        let _ = again.to_proto(None);
    }
    for opset in [OPSET, 17, 12, 7] {
        let _ = model.to_proto(Some(opset));
    }
}

/// Reads text, writes it, and reads what was written: the same model.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(mut model) = parse_model(text) else { return };
    let printed = print_model(&model).expect("what was parsed can be printed");
    let again = match parse_model(&printed) {
        Ok(again) => again,
        Err(error) => panic!("{error} in\n{printed}"),
    };
    // A header is always printed, with the version 0 where there was none: that is the field's default.
    model.ir_version = Some(model.ir_version());
    // Bytes rather than messages: NaN is not equal to itself.
    assert!(again.encode_to_vec() == model.encode_to_vec(), "another model after printing:\n{printed}");
}

/// Reads a file, infers its types and optimizes it: the graph still holds together.
pub fn optimize(bytes: &[u8]) {
    let Ok(mut model) = Model::from_bytes(bytes.to_vec(), None) else { return };
    infer(&mut model.onnx_mut().graph);
    let _ = optimized(model);
}

/// Reads a file, optimizes it, and runs it on small inputs within narrow limits.
pub fn run(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes.to_vec(), None) else { return };
    let Some(model) = optimized(model) else { return };
    let limits = Limits { memory: 64 << 20, time: Some(Duration::from_secs(1)), iterations: 20 };
    let Ok(session) = model.session_with(&SessionOptions { threads: 1, limits }) else { return };
    for seed in 0..2 {
        let mut random = Random::new(seed);
        let inputs: Option<Vec<Option<Datum>>> =
            session.inputs().iter().map(|p| datum(p.ty.as_ref()?, &mut random).map(Some)).collect();
        let Some(inputs) = inputs else { return };
        let _ = session.run_in_order(inputs);
    }
}

fn optimized(model: Model) -> Option<Model> {
    let options = Options::level_of(Level::Full).fold_growth(1 << 20, 4 << 20).fold_work(16 << 20);
    let (model, _) = model.optimize_with(&options).ok()?;
    if let Err(problems) = model.graph().verify() {
        panic!("the optimized graph does not hold together: {problems}");
    }
    Some(model)
}

/// A small datum of a type; `None` where its sizes are not small or no datum has the type.
fn datum(ty: &Type, random: &mut Random) -> Option<Datum> {
    Some(match ty {
        Type::Tensor(tensor) => {
            let unranked = [oxidane::Dim::from(2usize), 3usize.into()];
            let dims = tensor.shape.as_deref().unwrap_or(&unranked);
            let mut shape = Vec::with_capacity(dims.len());
            for dim in dims {
                shape.push(dim.as_size().unwrap_or_else(|| 1 + random.below(4)));
            }
            let count = shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size))?;
            if count > 1 << 16 {
                return None;
            }
            elements(tensor.dtype, &shape, count, random)?.into()
        }
        Type::Sequence(item) => {
            let items: Option<Vec<Datum>> = (0..random.below(3)).map(|_| datum(item, random)).collect();
            Datum::Sequence(Arc::new(items?))
        }
        Type::Optional(item) => match random.below(3) {
            0 => Datum::Optional(None),
            _ => Datum::Optional(Some(Arc::new(datum(item, random)?))),
        },
        Type::Map { key, value } => {
            let keys = elements(*key, &[2], 2, random)?;
            let values: Option<Vec<Datum>> = (0..2).map(|_| datum(value, random)).collect();
            Datum::Map { keys, values: Arc::new(values?) }
        }
        Type::SparseTensor(_) | Type::Opaque { .. } => return None,
    })
}

/// Values that are mostly small; sometimes all bits are random.
fn elements(dtype: DType, shape: &[usize], count: usize, random: &mut Random) -> Option<Tensor> {
    let tame = random.below(4) != 0;
    match dtype {
        DType::String => {
            let words = ["", "a", "b c", "\u{e9}x", "-1.5"];
            let words = (0..count).map(|_| words[random.below(words.len())].into()).collect();
            return Tensor::from_strings(shape, words).ok();
        }
        DType::Bool => {
            let bools: Vec<bool> = (0..count).map(|_| random.below(2) == 1).collect();
            return Tensor::from_bools(shape, &bools).ok();
        }
        DType::F32 if tame => {
            let values: Vec<f32> = (0..count).map(|_| random.below(33) as f32 / 8.0 - 2.0).collect();
            return Tensor::new(shape, &values).ok();
        }
        DType::F64 if tame => {
            let values: Vec<f64> = (0..count).map(|_| random.below(33) as f64 / 8.0 - 2.0).collect();
            return Tensor::new(shape, &values).ok();
        }
        _ => {}
    }
    let mut bytes = vec![0u8; dtype.byte_len(count)?];
    if tame && dtype.is_integer() && dtype.bits() >= 8 {
        for value in bytes.chunks_mut(dtype.bits() / 8) {
            value[0] = random.below(5) as u8;
            let last = value.len() - 1;
            match random.below(24) {
                // -1, and the least and greatest there is.
                0..=3 => value.fill(0xff),
                4 => {
                    value.fill(0);
                    value[last] = 0x80;
                }
                5 => {
                    value.fill(0xff);
                    value[last] = 0x7f;
                }
                _ => {}
            }
        }
    } else {
        for byte in &mut bytes {
            *byte = random.below(256) as u8;
        }
    }
    Tensor::from_bytes(dtype, shape, bytes.into()).ok()
}
