//! [CategoryMapper](https://onnx.ai/onnx/operators/onnx_aionnxml_CategoryMapper.html): strings to integers, or the
//! way back.

use super::DOMAIN;
use crate::text::texts;
use crate::{Case, Form, Room, attributes, ints, of_room, strings, types};
use oxidane_graph::{Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

attributes! {
    /// Strings become the integers at their place in the list, integers the strings; what is in no list becomes
    /// the default.
    pub struct CategoryMapper {
        cats_int64s: Option<Vec<i64>>,
        cats_strings: Option<Vec<String>>,
        default_int64: i64 = -1,
        default_string: String = "_Unused".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::LABELS, "T1")],
    outputs: &[Param::one("Y", types::LABELS, "T2")],
};

/// The room of CategoryMapper.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "CategoryMapper",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(CategoryMapper::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = || CategoryMapper {
            cats_int64s: Some(vec![10, 20]),
            cats_strings: Some(vec!["ten".into(), "twenty".into()]),
            default_int64: -7,
            default_string: "none".into(),
        };
        vec![
            // The specification.
            Case::new("from strings", op())
                .input(strings(&[3], &["twenty", "x", "ten"]))
                .expect(ints(&[3], &[20, -7, 10])),
            Case::new("from integers", op())
                .input(ints(&[2, 1], &[10, 11]))
                .expect(strings(&[2, 1], &["ten", "none"])),
        ]
    },
};

impl Op for CategoryMapper {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = if ctx.dtype(0)? == DType::String { DType::I64 } else { DType::String };
        match ctx.shape(0).map(Dims::from_slice) {
            Some(dims) => ctx.set_tensor(0, dtype, dims),
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let numbers = self.cats_int64s.as_deref().unwrap_or_default();
        let words: Vec<Arc<str>> =
            self.cats_strings.iter().flatten().map(|w| Arc::from(w.as_str())).collect();
        if numbers.len() != words.len() {
            return Err(OpError::new(format!(
                "there are {} integers for {} strings",
                numbers.len(),
                words.len()
            )));
        }
        let to_number: HashMap<Arc<str>, i64> = words.iter().cloned().zip(numbers.iter().copied()).collect();
        let to_word: HashMap<i64, Arc<str>> = numbers.iter().copied().zip(words).collect();
        let (number, word) = (self.default_int64, Arc::from(self.default_string.as_str()));
        kernel(move |run| {
            let x = run.dense(0)?;
            let out = match x.dtype() {
                DType::String => {
                    let mapped: Vec<i64> =
                        texts(&x)?.iter().map(|w| to_number.get(w).copied().unwrap_or(number)).collect();
                    Tensor::new(x.shape(), &mapped)?
                }
                _ => {
                    let mapped =
                        x.to_i64s()?.iter().map(|n| to_word.get(n).unwrap_or(&word).clone()).collect();
                    Tensor::from_strings(x.shape(), mapped)?
                }
            };
            run.set(0, out);
            Ok(())
        })
    }
}
