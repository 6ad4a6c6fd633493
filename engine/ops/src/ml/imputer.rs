//! [Imputer](https://onnx.ai/onnx/operators/onnx_aionnxml_Imputer.html): a value, such as NaN, replaced.

use super::DOMAIN;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// Elements equal to the replaced value become the imputed one of their column. There is one imputed value
    /// for all columns, or one for each; if there is another number of them, the first serves all.
    pub struct Imputer {
        imputed_value_floats: Option<Vec<f32>>,
        imputed_value_int64s: Option<Vec<i64>>,
        replaced_value_float: f32 = 0.0,
        replaced_value_int64: i64 = 0,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T")],
    outputs: &[Param::one("Y", types::FEATURES, "T")],
};

/// The room of Imputer.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Imputer",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Imputer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of_floats = |values: &[f32], replaced| Imputer {
            imputed_value_floats: Some(values.to_vec()),
            imputed_value_int64s: None,
            replaced_value_float: replaced,
            replaced_value_int64: 0,
        };
        let of_ints = |values: &[i64], replaced| Imputer {
            imputed_value_floats: None,
            imputed_value_int64s: Some(values.to_vec()),
            replaced_value_float: 0.0,
            replaced_value_int64: replaced,
        };
        let x = || floats(&[2, 2], &[f32::NAN, 0.0, 3.0, f32::NAN]);
        vec![
            // ONNX Runtime.
            Case::new("missing", of_floats(&[9.0, 8.0], f32::NAN))
                .input(x())
                .expect(floats(&[2, 2], &[9.0, 0.0, 3.0, 8.0])),
            Case::new("one for all", of_floats(&[9.0], 0.0))
                .input(floats(&[1, 3], &[0.0, -0.0, 2.0]))
                .expect(floats(&[1, 3], &[9.0, 9.0, 2.0])),
            Case::new("too many", of_floats(&[9.0, 8.0, 7.0], 0.0))
                .input(floats(&[1, 2], &[0.0, 0.0]))
                .expect(floats(&[1, 2], &[9.0, 9.0])),
            Case::new("double", of_floats(&[0.5], f32::NAN))
                .input(x().cast(DType::F64, Default::default()).expect("floats"))
                .expect(Tensor::new(&[2, 2], &[0.5f64, 0.0, 3.0, 0.5]).expect("four values")),
            Case::new("int64", of_ints(&[5, 6], -1))
                .input(ints(&[2, 2], &[-1, 2, 3, -1]))
                .expect(ints(&[2, 2], &[5, 2, 3, 6])),
            Case::new("int32", of_ints(&[5], 1))
                .input(ints(&[2], &[1, 2]).cast(DType::I32, Default::default()).expect("integers"))
                .expect(ints(&[2], &[5, 2]).cast(DType::I32, Default::default()).expect("integers")),
        ]
    },
};

/// Replaces in rows of `columns` elements.
fn impute<T: Copy>(data: &mut [T], columns: usize, imputed: &[T], is_replaced: impl Fn(T) -> bool) {
    let each = imputed.len() == columns;
    for row in data.chunks_mut(columns.max(1)) {
        for (i, v) in row.iter_mut().enumerate() {
            if is_replaced(*v) {
                *v = imputed[if each { i } else { 0 }];
            }
        }
    }
}

impl Op for Imputer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let ty = ctx.known_ty(0)?.clone();
        ctx.set(0, ty);
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let x = run.take(0)?;
            let columns = x.shape().last().copied().unwrap_or(1);
            let missing = |name: &str| {
                OpError::new(format!("the input is {}, but there is no attribute {name}", x.dtype()))
            };
            let dtype = x.dtype();
            if dtype.is_float() {
                let imputed = op.imputed_value_floats.as_deref().filter(|v| !v.is_empty());
                let imputed = imputed.ok_or_else(|| missing("imputed_value_floats"))?;
                let replaced = op.replaced_value_float;
                if dtype == DType::F32 {
                    let mut y = x.into_mut()?;
                    let is_replaced = |v: f32| v == replaced || (v.is_nan() && replaced.is_nan());
                    impute(y.slice_mut::<f32>()?, columns, imputed, is_replaced);
                    run.set(0, y.freeze());
                } else {
                    let mut y = x.into_mut()?;
                    let imputed: Vec<f64> = imputed.iter().map(|&v| v.into()).collect();
                    let is_replaced = |v: f64| v == f64::from(replaced) || (v.is_nan() && replaced.is_nan());
                    impute(y.slice_mut::<f64>()?, columns, &imputed, is_replaced);
                    run.set(0, y.freeze());
                }
                return Ok(());
            }
            let imputed = op.imputed_value_int64s.as_deref().filter(|v| !v.is_empty());
            let imputed = imputed.ok_or_else(|| missing("imputed_value_int64s"))?;
            if dtype == DType::I32
                && let Some(wide) = imputed.iter().find(|&&v| i32::try_from(v).is_err())
            {
                return Err(OpError::new(format!("the imputed value {wide} does not fit int32")));
            }
            let mut wide = x.cast(DType::I64, CastRules::default())?.into_mut()?;
            impute(wide.slice_mut::<i64>()?, columns, imputed, |v| v == op.replaced_value_int64);
            run.set(0, wide.freeze().cast(dtype, CastRules::default())?);
            Ok(())
        })
    }
}
