//! [FeatureVectorizer](https://onnx.ai/onnx/operators/onnx_aionnxml_FeatureVectorizer.html): several tensors as one
//! row of features each.

use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// The inputs beside each other, as floats; a vector is a single row. An input is cut, or filled up with
    /// zeros, to the number of columns that is stated for it.
    pub struct FeatureVectorizer {
        inputdimensions: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::variadic("X", types::FEATURES, "T1", 1)],
    outputs: &[Param::one("Y", types::FLOAT32, "")],
};

/// The room of FeatureVectorizer.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "FeatureVectorizer",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(FeatureVectorizer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |sizes: &[i64]| FeatureVectorizer {
            inputdimensions: (!sizes.is_empty()).then(|| sizes.to_vec()),
        };
        let mut cases = vec![
            // ONNX Runtime.
            Case::new("cut and filled", op(&[1, 3]))
                .input(floats(&[2, 2], &[1.0, 2.0, -1.0, 0.5]))
                .input(floats(&[2, 2], &[1.0, 2.0, -1.0, 0.5]))
                .expect(floats(&[2, 4], &[1.0, 1.0, 2.0, 0.0, -1.0, -1.0, 0.5, 0.0])),
            Case::new("vectors", op(&[1, 2]))
                .input(floats(&[1], &[1.0]))
                .input(floats(&[2], &[2.0, 3.0]))
                .expect(floats(&[1, 3], &[1.0, 2.0, 3.0])),
        ];
        for dtype in [DType::F64, DType::I64, DType::I32] {
            cases.push(
                Case::new(dtype.name(), op(&[]))
                    .input(ints(&[2, 1], &[1, 2]).cast(dtype, Default::default()).expect("numbers"))
                    .input(ints(&[2, 1], &[3, 4]).cast(dtype, Default::default()).expect("numbers"))
                    .expect(floats(&[2, 2], &[1.0, 3.0, 2.0, 4.0])),
            );
        }
        cases
    },
};

impl FeatureVectorizer {
    /// The stated number of columns of an input.
    fn stated(&self, input: usize, inputs: usize) -> Result<Option<usize>, OpError> {
        let Some(sizes) = self.inputdimensions.as_ref().filter(|s| !s.is_empty()) else { return Ok(None) };
        if sizes.len() != inputs {
            return Err(OpError::new(format!(
                "inputdimensions has {} sizes for {inputs} inputs",
                sizes.len()
            )));
        }
        let size = usize::try_from(sizes[input]);
        Ok(Some(size.map_err(|_| OpError::new(format!("the size {} is negative", sizes[input])))?))
    }
}

impl Op for FeatureVectorizer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let inputs = ctx.input_count();
        let mut total = Some(Dim::known(0));
        for i in 0..inputs {
            let columns = match (self.stated(i, inputs)?, ctx.shape(i)) {
                (Some(stated), _) => Some(Dim::from(stated)),
                (None, Some([columns] | [_, columns])) => Some(*columns),
                _ => None,
            };
            total = total.zip(columns).map(|(a, b)| a + b);
        }
        features::set_rows(ctx, 0, DType::F32, total)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let inputs = run.input_count();
            let too_many = || OpError::new("there are more columns than memory can address");
            let mut parts = Vec::new();
            let (mut rows, mut total) = (None, 0usize);
            for i in 0..inputs {
                let x = features::cast(run, i, DType::F32)?;
                let (n, columns) = features::sizes(x.shape())?;
                if *rows.get_or_insert(n) != n {
                    return Err(OpError::new(format!(
                        "input {i} has {n} rows, but those before have others"
                    )));
                }
                let width = op.stated(i, inputs)?.unwrap_or(columns);
                parts.push((x, columns, width, total));
                total = total.checked_add(width).ok_or_else(too_many)?;
            }
            let rows = rows.unwrap_or(0);
            let mut out = run.allocate(0, DType::F32, &[rows, total])?;
            let y = out.slice_mut::<f32>()?;
            y.fill(0.0);
            for (x, columns, width, at) in &parts {
                let taken = (*columns).min(*width);
                if taken == 0 {
                    continue;
                }
                for (y, x) in y.chunks_exact_mut(total).zip(x.slice::<f32>()?.chunks_exact(*columns)) {
                    y[*at..at + taken].copy_from_slice(&x[..taken]);
                }
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
