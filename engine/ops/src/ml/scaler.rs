//! [Scaler](https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html): features shifted and scaled.

use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// `(x - offset) * scale`, with one offset and scale for all columns, or one for each.
    pub struct Scaler {
        offset: Option<Vec<f32>>,
        scale: Option<Vec<f32>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "")],
};

/// The room of Scaler.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Scaler",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Scaler::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let x = || ints(&[3, 2], &[1, 2, -1, 0, 0, 4]);
        let one = || Scaler { offset: Some(vec![1.0]), scale: Some(vec![2.0]) };
        let mut cases = vec![
            // ONNX Runtime.
            Case::new("one for all", one())
                .input(floats(&[2, 2], &[1.0, 2.0, -1.0, 0.5]))
                .expect(floats(&[2, 2], &[0.0, 2.0, -4.0, -1.0])),
            Case::new("vector", Scaler { offset: Some(vec![1.0, 2.0]), scale: Some(vec![2.0, 3.0]) })
                .input(floats(&[2], &[1.5, 3.0]))
                .expect(floats(&[2], &[1.0, 3.0])),
            // A part that is left out changes nothing.
            Case::new("offset alone", Scaler { offset: Some(vec![1.0, 2.0]), scale: None })
                .input(floats(&[1, 2], &[1.0, 3.0]))
                .expect(floats(&[1, 2], &[0.0, 1.0])),
        ];
        for dtype in [DType::F64, DType::I64, DType::I32] {
            cases.push(
                Case::new(dtype.name(), Scaler { offset: Some(vec![1.0, 2.0]), scale: Some(vec![2.0, 0.5]) })
                    .input(x().cast(dtype, Default::default()).expect("numbers"))
                    .expect(floats(&[3, 2], &[0.0, 0.0, -4.0, -1.0, -2.0, 1.0])),
            );
        }
        cases
    },
};

impl Op for Scaler {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match ctx.shape(0).map(Dims::from_slice) {
            Some(dims) => ctx.set_tensor(0, DType::F32, dims),
            None => ctx.set_unranked(0, DType::F32),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let values = |v: &Option<Vec<f32>>, otherwise| match v {
            Some(v) if !v.is_empty() => v.clone(),
            _ => vec![otherwise],
        };
        let (offset, scale) = (values(&self.offset, 0.0), values(&self.scale, 1.0));
        kernel(move |run| {
            let shape = run.tensor(0)?.shape().to_vec();
            let columns = shape.last().copied().unwrap_or(1);
            for (name, values) in [("offset", &offset), ("scale", &scale)] {
                if values.len() != 1 && values.len() != columns {
                    return Err(OpError::new(format!(
                        "there are {} values of {name}, but the input is {shape:?}: one or {columns} are needed",
                        values.len()
                    )));
                }
            }
            let at = |values: &[f32], i: usize| if values.len() == 1 { values[0] } else { values[i] };
            let mut out = run.allocate(0, DType::F32, &shape)?;
            let y = out.slice_mut::<f32>()?;
            let rows = columns.max(1);
            // Doubles are worked on as such: a large offset cancels.
            if run.tensor(0)?.dtype() == DType::F64 {
                let x = run.dense(0)?;
                for (y, x) in y.chunks_mut(rows).zip(x.slice::<f64>()?.chunks(rows)) {
                    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                        *y = ((x - f64::from(at(&offset, i))) * f64::from(at(&scale, i))) as f32;
                    }
                }
            } else {
                let x = features::cast(run, 0, DType::F32)?;
                for (y, x) in y.chunks_mut(rows).zip(x.slice::<f32>()?.chunks(rows)) {
                    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                        *y = (x - at(&offset, i)) * at(&scale, i);
                    }
                }
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
