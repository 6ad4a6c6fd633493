//! [OneHotEncoder](https://onnx.ai/onnx/operators/onnx_aionnxml_OneHotEncoder.html): a category as a row of zeros
//! with a single one.

use super::DOMAIN;
use crate::text::texts;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::DType;
use std::collections::HashMap;
use std::sync::Arc;

attributes! {
    /// For each element a row with a one at its category. Numbers are cut to integers before they are looked up.
    pub struct OneHotEncoder {
        cats_int64s: Option<Vec<i64>>,
        cats_strings: Option<Vec<String>>,
        /// Whether an unknown category is a row of zeros; otherwise it is an error.
        zeros: bool = true,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES_OR_STRING, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "")],
};

/// The room of OneHotEncoder.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "OneHotEncoder",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(OneHotEncoder::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let numbers = || OneHotEncoder { cats_int64s: Some(vec![1, -1, 3]), cats_strings: None, zeros: true };
        let words = OneHotEncoder {
            cats_int64s: None,
            cats_strings: Some(vec!["a".into(), "c".into()]),
            zeros: false,
        };
        let mut cases = vec![
            // ONNX Runtime.
            Case::new("float", numbers())
                .input(floats(&[1, 3], &[1.7, -1.2, f32::NAN]))
                .expect(floats(&[1, 3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0])),
            Case::new("string", words)
                .input(strings(&[3], &["a", "c", "a"]))
                .expect(floats(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0])),
        ];
        for dtype in [DType::F64, DType::I64, DType::I32] {
            cases.push(
                Case::new(dtype.name(), numbers())
                    .input(ints(&[2, 1], &[3, 2]).cast(dtype, Default::default()).expect("numbers"))
                    .expect(floats(&[2, 1, 3], &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0])),
            );
        }
        cases
    },
};

impl OneHotEncoder {
    fn count(&self) -> usize {
        match &self.cats_int64s {
            Some(cats) if !cats.is_empty() => cats.len(),
            _ => self.cats_strings.as_ref().map_or(0, Vec::len),
        }
    }
}

impl Op for OneHotEncoder {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match ctx.shape(0).map(Dims::from_slice) {
            Some(mut dims) => {
                dims.push(Dim::from(self.count()));
                ctx.set_tensor(0, DType::F32, dims);
            }
            None => ctx.set_unranked(0, DType::F32),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let count = self.count();
        if count == 0 {
            return Err(OpError::new("it has no categories")
                .help("one of the attributes cats_int64s and cats_strings is needed"));
        }
        let numbers: HashMap<i64, usize> =
            self.cats_int64s.iter().flatten().enumerate().map(|(i, &v)| (v, i)).collect();
        let words: HashMap<Arc<str>, usize> =
            self.cats_strings.iter().flatten().enumerate().map(|(i, v)| (Arc::from(v.as_str()), i)).collect();
        let zeros = self.zeros;
        kernel(move |run| {
            let x = run.dense(0)?;
            let places: Vec<Option<usize>> = match x.dtype() {
                DType::String => texts(&x)?.iter().map(|v| words.get(v).copied()).collect(),
                dtype if dtype.is_float() => x
                    .to_f64s()?
                    .iter()
                    .map(|&v| if v.is_nan() { None } else { numbers.get(&(v as i64)).copied() })
                    .collect(),
                _ => x.to_i64s()?.iter().map(|v| numbers.get(v).copied()).collect(),
            };
            if !zeros && places.contains(&None) {
                return Err(OpError::new(
                    "the input holds a category that is not among those of the encoder",
                )
                .help("set the attribute zeros to 1 to get rows of zeros for it"));
            }
            let mut shape = x.shape().to_vec();
            shape.push(count);
            run.write::<f32>(0, &shape, |out| {
                out.fill(0.0);
                for (row, place) in out.chunks_exact_mut(count).zip(&places) {
                    if let Some(place) = place {
                        row[*place] = 1.0;
                    }
                }
                Ok(())
            })
        })
    }
}
