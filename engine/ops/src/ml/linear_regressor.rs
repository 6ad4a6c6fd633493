//! [LinearRegressor](https://onnx.ai/onnx/operators/onnx_aionnxml_LinearRegressor.html): weighted sums of features.

use super::post_transform::PostTransform;
use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::gemm::{Matrix, product_into};
use oxidane_tensor::{DType, TensorMut};

attributes! {
    /// A sum for each target, its coefficients one after the other.
    pub struct LinearRegressor {
        coefficients: Option<Vec<f32>>,
        intercepts: Option<Vec<f32>>,
        post_transform: String = "NONE".to_owned(),
        targets: i64 = 1,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "")],
};

/// The room of LinearRegressor.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "LinearRegressor",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LinearRegressor::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let two = |transform: &str| LinearRegressor {
            coefficients: Some(vec![0.1, 0.2, 0.3, 0.4]),
            intercepts: Some(vec![0.05, 0.1]),
            post_transform: transform.to_owned(),
            targets: 2,
        };
        let one = || LinearRegressor {
            coefficients: Some(vec![0.1, 0.2]),
            intercepts: None,
            targets: 1,
            ..two("NONE")
        };
        let x = || ints(&[2, 2], &[1, 2, 0, 0]);
        let mut cases = vec![
            // ONNX Runtime.
            Case::new("two targets", two("NONE")).input(x()).expect(floats(&[2, 2], &[0.55, 1.2, 0.05, 0.1])),
            Case::new("softmax", two("SOFTMAX"))
                .input(x())
                .expect(floats(&[2, 2], &[0.342_989_5, 0.657_010_5, 0.487_502_6, 0.512_497_4])),
            Case::new("vector", one()).input(floats(&[2], &[1.0, 2.0])).expect(floats(&[1, 1], &[0.5])),
        ];
        for dtype in [DType::F64, DType::I32] {
            cases.push(
                Case::new(dtype.name(), one())
                    .input(x().cast(dtype, Default::default()).expect("numbers"))
                    .expect(floats(&[2, 1], &[0.5, 0.0])),
            );
        }
        cases
    },
};

/// Weighted sums of the rows of the first input: `targets` columns, each `weights` times a row plus its intercept.
///
/// # Errors
/// When the number of coefficients does not fit the columns, or memory is short.
pub(crate) fn sums(
    run: &Run<'_>,
    output: usize,
    weights: &[f32],
    intercepts: &[f32],
    targets: usize,
) -> Result<TensorMut, OpError> {
    let x = features::cast(run, 0, DType::F32)?;
    let (rows, columns) = features::sizes(x.shape())?;
    if targets.checked_mul(columns) != Some(weights.len()) {
        return Err(OpError::new(format!(
            "{} coefficients are no {targets} times {columns} columns of the input",
            weights.len()
        )));
    }
    let mut out = run.allocate(output, DType::F32, &[rows, targets])?;
    let scores = out.slice_mut::<f32>()?;
    for row in scores.chunks_mut(targets.max(1)) {
        for (i, score) in row.iter_mut().enumerate() {
            *score = intercepts.get(i).copied().unwrap_or(0.0);
        }
    }
    let a = Matrix::dense(x.slice::<f32>()?, rows, columns)?;
    let b = Matrix::dense(weights, targets, columns)?.transposed();
    product_into(run.pool(), 1.0, a, b, true, scores)?;
    Ok(out)
}

impl LinearRegressor {
    fn count(&self) -> Result<usize, OpError> {
        usize::try_from(self.targets)
            .map_err(|_| OpError::new(format!("targets is {}, but may not be negative", self.targets)))
    }
}

impl Op for LinearRegressor {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let targets = Dim::from(self.count()?);
        features::set_rows(ctx, 0, DType::F32, Some(targets))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let targets = self.count()?;
        let transform = PostTransform::named(&self.post_transform)?;
        let weights = self.coefficients.clone().unwrap_or_default();
        // As in ONNX Runtime, intercepts of another number than the targets count for nothing.
        let intercepts = self.intercepts.clone().filter(|v| v.len() == targets).unwrap_or_default();
        kernel(move |run| {
            let mut out = sums(run, 0, &weights, &intercepts, targets)?;
            for row in out.slice_mut::<f32>()?.chunks_mut(targets.max(1)) {
                transform.apply(row);
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
