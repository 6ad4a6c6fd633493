//! [DictVectorizer](https://onnx.ai/onnx/operators/onnx_aionnxml_DictVectorizer.html): the values of a map in the
//! order of a vocabulary.

use super::DOMAIN;
use crate::text::texts;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Datum, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

attributes! {
    /// For each word of the vocabulary its value in the map, or zero (the empty string), as `[1, C]`. Keys that
    /// the vocabulary lacks are left out.
    pub struct DictVectorizer {
        int64_vocabulary: Option<Vec<i64>>,
        string_vocabulary: Option<Vec<String>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::VECTORIZED_MAPS, "T1")],
    outputs: &[Param::one("Y", types::VECTORIZED, "T2")],
};

/// The room of DictVectorizer.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "DictVectorizer",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(DictVectorizer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let map = |keys: Tensor, values: [Tensor; 2]| Datum::Map {
            keys,
            values: Arc::new(values.into_iter().map(Datum::from).collect()),
        };
        let numbers = || DictVectorizer { int64_vocabulary: Some(vec![7, 1, 3]), string_vocabulary: None };
        let words = || DictVectorizer {
            int64_vocabulary: None,
            string_vocabulary: Some(["a", "c", "b", "z"].map(str::to_owned).to_vec()),
        };
        let ac = || strings(&[2], &["c", "a"]);
        vec![
            // The specification's example.
            Case::new("string to int64", words())
                .input(map(ac(), [Tensor::scalar(8i64), Tensor::scalar(4i64)]))
                .expect(ints(&[1, 4], &[4, 8, 0, 0])),
            Case::new("string to float", words())
                .input(map(ac(), [Tensor::scalar(8f32), Tensor::scalar(4f32)]))
                .expect(floats(&[1, 4], &[4.0, 8.0, 0.0, 0.0])),
            Case::new("string to double", words())
                .input(map(ac(), [Tensor::scalar(8f64), Tensor::scalar(4f64)]))
                .expect(Tensor::new(&[1, 4], &[4.0f64, 8.0, 0.0, 0.0]).expect("four values")),
            Case::new("int64 to float, one unknown", numbers())
                .input(map(ints(&[2], &[3, 9]), [Tensor::scalar(8f32), Tensor::scalar(4f32)]))
                .expect(floats(&[1, 3], &[0.0, 0.0, 8.0])),
            Case::new("int64 to string", numbers())
                .input(map(ints(&[2], &[3, 7]), [strings(&[], &["x"]), strings(&[], &["y"])]))
                .expect(strings(&[1, 3], &["y", "", "x"])),
        ]
    },
};

impl DictVectorizer {
    fn len(&self) -> usize {
        match &self.string_vocabulary {
            Some(words) if !words.is_empty() => words.len(),
            _ => self.int64_vocabulary.as_ref().map_or(0, Vec::len),
        }
    }
}

impl Op for DictVectorizer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        ctx.set_tensor(0, dtype, [Dim::known(1), Dim::from(self.len())]);
        Ok(())
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let count = self.len();
        let words: HashMap<Arc<str>, usize> =
            self.string_vocabulary.iter().flatten().map(|w| Arc::from(w.as_str())).zip(0..).collect();
        let numbers: HashMap<i64, usize> = self.int64_vocabulary.iter().flatten().copied().zip(0..).collect();
        let declared = call.dtype(0);
        kernel(move |run| {
            let Datum::Map { keys, values } = run.datum(0)? else {
                return Err(OpError::new("the input is no map"));
            };
            let places: Vec<Option<usize>> = match keys.dtype() {
                DType::String => texts(&keys.to_dense()?)?.iter().map(|k| words.get(k).copied()).collect(),
                _ => keys.to_i64s()?.iter().map(|k| numbers.get(k).copied()).collect(),
            };
            // An empty map does not tell its type.
            let dtype = values.first().and_then(Datum::dtype).or(declared).unwrap_or(DType::F32);
            let shape = [1, count];
            let single = |value: &Datum| match value {
                Datum::Tensor(t) if t.len() == 1 && t.dtype() == dtype => Ok(t.to_dense()?),
                _ => Err(OpError::new(format!("a value of the map is no single {dtype}"))),
            };
            let placed = places.iter().zip(values.iter()).filter_map(|(at, value)| Some(((*at)?, value)));
            let out = match dtype {
                DType::String => {
                    let mut out = vec![Arc::from(""); count];
                    for (at, value) in placed {
                        out[at] = texts(&single(value)?)?[0].clone();
                    }
                    Tensor::from_strings(&shape, out)?
                }
                DType::I64 => {
                    let mut out = vec![0; count];
                    for (at, value) in placed {
                        out[at] = single(value)?.slice::<i64>()?[0];
                    }
                    Tensor::new(&shape, &out)?
                }
                _ => {
                    let mut out = vec![0.0; count];
                    for (at, value) in placed {
                        out[at] = single(value)?.to_f64s()?[0];
                    }
                    Tensor::from_f64s(dtype, &shape, &out)?
                }
            };
            run.set(0, out);
            Ok(())
        })
    }
}
