//! [ZipMap](https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html): rows of scores as maps from labels.

use super::labels::Labels;
use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, kernel, shared};
use oxidane_tensor::{DType, Datum, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

attributes! {
    /// For each row a map from the labels to its elements, in the order of the labels' size. Of a label that is
    /// there twice the last column counts.
    pub struct ZipMap {
        classlabels_int64s: Option<Vec<i64>>,
        classlabels_strings: Option<Vec<String>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT32, "")],
    outputs: &[Param::one("Z", types::MAP_SEQUENCES, "T")],
};

/// The room of ZipMap.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "ZipMap",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(ZipMap::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let map = |keys: &Tensor, values: &[f32]| Datum::Map {
            keys: keys.clone(),
            values: Arc::new(values.iter().map(|&v| Tensor::scalar(v).into()).collect()),
        };
        let rows = |rows: Vec<Datum>| Datum::Sequence(Arc::new(rows));
        let (numbers, words) = (ints(&[2], &[3, 5]), strings(&[2], &["a", "b"]));
        vec![
            // ONNX Runtime.
            Case::new("integers", ZipMap { classlabels_int64s: Some(vec![5, 3]), classlabels_strings: None })
                .input(floats(&[2, 2], &[0.1, 0.9, 0.4, 0.6]))
                .expect(rows(vec![map(&numbers, &[0.9, 0.1]), map(&numbers, &[0.6, 0.4])])),
            Case::new(
                "strings",
                ZipMap { classlabels_int64s: None, classlabels_strings: Some(vec!["a".into(), "b".into()]) },
            )
            .input(floats(&[2], &[0.1, 0.9]))
            .expect(rows(vec![map(&words, &[0.1, 0.9])])),
        ]
    },
};

impl Op for ZipMap {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let labels = Labels::new(self.classlabels_int64s.as_ref(), self.classlabels_strings.as_ref())?;
        if let Some([columns] | [_, columns]) = ctx.shape(0)
            && columns.as_size().is_some_and(|n| n != labels.len())
        {
            return Err(Unknown::wrong(format!(
                "{} has {columns} columns, but there are {} labels",
                ctx.called(0),
                labels.len()
            )));
        }
        let value = Box::new(Type::tensor(DType::F32, []));
        ctx.set(0, Type::Sequence(Box::new(Type::Map { key: labels.dtype(), value })));
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let labels = Labels::new(self.classlabels_int64s.as_ref(), self.classlabels_strings.as_ref())?;
        let count = labels.len();
        // The column of each key, by its size.
        let (keys, columns): (Tensor, Vec<usize>) = match labels {
            Labels::Ints(all) => {
                let sorted: BTreeMap<i64, usize> = all.into_iter().zip(0..).collect();
                let keys: Vec<i64> = sorted.keys().copied().collect();
                (Tensor::new(&[keys.len()], &keys)?, sorted.into_values().collect())
            }
            Labels::Strings(all) => {
                let sorted: BTreeMap<Arc<str>, usize> = all.into_iter().zip(0..).collect();
                let keys: Vec<Arc<str>> = sorted.keys().cloned().collect();
                (Tensor::from_strings(&[keys.len()], keys)?, sorted.into_values().collect())
            }
        };
        kernel(move |run| {
            let x = run.dense(0)?;
            let (rows, found) = features::sizes(x.shape())?;
            if found != count {
                return Err(OpError::new(format!("there are {count} labels, but {found} columns")));
            }
            let flat = x.reshape(&[rows * found])?;
            // Scalars that share the input's memory.
            let value = |at: usize| Ok(Datum::Tensor(flat.slice_axis(0, at, 1, 1)?.reshape(&[])?));
            let row = |row: usize| {
                let values = columns.iter().map(|column| value(row * found + column));
                Ok(Datum::Map {
                    keys: keys.clone(),
                    values: Arc::new(values.collect::<Result<_, OpError>>()?),
                })
            };
            let maps = (0..rows).map(row).collect::<Result<Vec<_>, OpError>>()?;
            run.set(0, Datum::Sequence(Arc::new(maps)));
            Ok(())
        })
    }
}
