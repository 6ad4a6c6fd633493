//! [SVMRegressor](https://onnx.ai/onnx/operators/onnx_aionnxml_SVMRegressor.html): a weighted sum over support
//! vectors.

use super::post_transform::PostTransform;
use super::support_vectors::Similarity;
use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// The sum of the coefficients times the similarity of the row to the support vectors, plus `rho`. Without
    /// support vectors, the coefficients weigh the features themselves.
    pub struct SVMRegressor {
        coefficients: Option<Vec<f32>>,
        kernel_params: Option<Vec<f32>>,
        kernel_type: String = "LINEAR".to_owned(),
        n_supports: i64 = 0,
        /// Whether only the sign is given out, 1 for inliers and -1 for outliers.
        one_class: bool = false,
        post_transform: String = "NONE".to_owned(),
        rho: Option<Vec<f32>>,
        support_vectors: Option<Vec<f32>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "")],
};

/// The room of SVMRegressor.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "SVMRegressor",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SVMRegressor::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |kernel: &str| SVMRegressor {
            coefficients: Some(vec![0.5, -0.5, 0.3]),
            kernel_params: Some(vec![0.5, 0.1, 3.0]),
            kernel_type: kernel.to_owned(),
            n_supports: 3,
            one_class: false,
            post_transform: "NONE".to_owned(),
            rho: Some(vec![0.1]),
            support_vectors: Some(vec![1.0, 2.0, 0.0, 1.0, -1.0, 0.0]),
        };
        let x = || floats(&[3, 2], &[1.0, 2.0, -1.0, 0.5, 0.0, 0.0]);
        let linear = || SVMRegressor {
            coefficients: Some(vec![0.5, -0.5]),
            n_supports: 0,
            support_vectors: None,
            ..op("POLY")
        };
        let mut cases = vec![
            // ONNX Runtime.
            Case::new("rbf", op("RBF"))
                .input(x())
                .expect(floats(&[3, 1], &[0.421_554_95, 0.119_086_82, 0.019_736_38])),
            Case::new("one class", SVMRegressor { one_class: true, ..op("POLY") })
                .input(x())
                .expect(floats(&[3, 1], &[1.0, 1.0, 1.0])),
            Case::new("no vectors", linear()).input(x()).expect(floats(&[3, 1], &[-0.4, -0.65, 0.1])),
            // NumPy: dots [5, 2, -1], [0, 0.5, 1], [0, 0, 0] with the vectors.
            Case::new("linear", op("LINEAR")).input(x()).expect(floats(&[3, 1], &[1.3, 0.15, 0.1])),
            Case::new("probit", SVMRegressor { post_transform: "PROBIT".into(), ..op("RBF") })
                .input(floats(&[1, 2], &[1.0, 2.0]))
                .expect(floats(&[1, 1], &[-0.197_919_7])),
        ];
        for dtype in [DType::F64, DType::I64, DType::I32] {
            let x = ints(&[2, 2], &[1, 3, 0, 0]).cast(dtype, Default::default()).expect("numbers");
            cases.push(Case::new(dtype.name(), linear()).input(x).expect(floats(&[2, 1], &[-0.9, 0.1])));
        }
        cases
    },
};

impl Op for SVMRegressor {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        features::set_rows(ctx, 0, DType::F32, Some(Dim::known(1)))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let transform = PostTransform::named(&self.post_transform)?;
        let coefficients = self.coefficients.clone().unwrap_or_default();
        let rho = self.rho.as_ref().and_then(|r| r.first().copied()).unwrap_or(0.0);
        let similarity =
            Similarity::new(&self.kernel_type, self.kernel_params.as_deref().unwrap_or_default())?;
        let count = usize::try_from(self.n_supports)
            .map_err(|_| OpError::new(format!("n_supports is {}", self.n_supports)))?;
        // A machine without vectors is a single vector of its coefficients.
        let (similarity, vectors, weights) = match count {
            0 => (Similarity::Linear, coefficients, vec![1.0]),
            _ => (similarity, self.support_vectors.clone().unwrap_or_default(), coefficients),
        };
        if weights.len() != count.max(1) || !vectors.len().is_multiple_of(weights.len()) || vectors.is_empty()
        {
            return Err(OpError::new(format!(
                "{} coefficients and {} elements of support vectors do not fit {count} vectors",
                weights.len(),
                vectors.len()
            )));
        }
        let width = vectors.len() / weights.len();
        let one_class = self.one_class;
        kernel(move |run| {
            let x = features::cast(run, 0, DType::F32)?;
            let (rows, columns) = features::sizes(x.shape())?;
            if columns != width {
                return Err(OpError::new(format!(
                    "the input has {columns} columns, but vectors have {width}"
                )));
            }
            let mut out = run.allocate(0, DType::F32, &[rows, 1])?;
            let y = out.slice_mut::<f32>()?;
            let mut alike = vec![0.0; BLOCK * weights.len()];
            for (y, x) in y.chunks_mut(BLOCK).zip(x.slice::<f32>()?.chunks(BLOCK * width)) {
                run.checkpoint()?;
                let alike = &mut alike[..y.len() * weights.len()];
                similarity.all(run, x, &vectors, width, alike)?;
                for (y, alike) in y.iter_mut().zip(alike.chunks_exact(weights.len())) {
                    let sum: f64 = alike.iter().zip(&weights).map(|(a, w)| f64::from(a * w)).sum();
                    let mut score = [(sum + f64::from(rho)) as f32];
                    if one_class {
                        score[0] = if score[0] > 0.0 { 1.0 } else { -1.0 };
                    }
                    transform.apply(&mut score);
                    *y = score[0];
                }
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}

/// Rows whose similarities are held at a time.
pub(crate) const BLOCK: usize = 256;
