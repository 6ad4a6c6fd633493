//! Kernels of support vector machines: how alike a row and a support vector are.

use oxidane_graph::{OpError, Run};
use oxidane_kernels::gemm::{Matrix, product_into};

/// A kernel function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Similarity {
    Linear,
    Polynomial { gamma: f32, offset: f32, degree: f32 },
    Rbf { gamma: f32 },
    Sigmoid { gamma: f32, offset: f32 },
}

impl Similarity {
    /// From the attributes `kernel_type` and `kernel_params` (gamma, coef0, degree).
    ///
    /// # Errors
    /// When there is no kernel of this name, or it has parameters but not three.
    pub(crate) fn new(name: &str, params: &[f32]) -> Result<Similarity, OpError> {
        let (gamma, offset, degree) = match *params {
            [] => (0.0, 0.0, 0.0),
            [gamma, offset, degree] => (gamma, offset, degree),
            _ => {
                return Err(OpError::new(format!("kernel_params has {} values", params.len()))
                    .help("it must have three: gamma, coef0 and degree"));
            }
        };
        Ok(match name {
            "LINEAR" => Similarity::Linear,
            "POLY" => Similarity::Polynomial { gamma, offset, degree },
            "RBF" => Similarity::Rbf { gamma },
            "SIGMOID" => Similarity::Sigmoid { gamma, offset },
            other => {
                return Err(OpError::new(format!("kernel_type is `{other}`"))
                    .help("it may be LINEAR, POLY, RBF or SIGMOID"));
            }
        })
    }

    /// The similarity of each row of `x` to each of `vectors`, all of `columns` elements, into `out`.
    ///
    /// # Errors
    /// When the sizes do not fit, or the run was stopped.
    pub(crate) fn all(
        self,
        run: &Run<'_>,
        x: &[f32],
        vectors: &[f32],
        columns: usize,
        out: &mut [f32],
    ) -> Result<(), OpError> {
        if columns == 0 || out.is_empty() {
            out.fill(0.0);
            return Ok(());
        }
        let (rows, count) = (x.len() / columns, vectors.len() / columns);
        if let Similarity::Rbf { gamma } = self {
            run.pool().for_each_piece(out, count, |i, out| {
                let row = &x[i * columns..(i + 1) * columns];
                for (to, vector) in out.iter_mut().zip(vectors.chunks_exact(columns)) {
                    *to = (-gamma * distance(row, vector)).exp();
                }
            });
            return Ok(());
        }
        let (scale, offset) = match self {
            Similarity::Polynomial { gamma, offset, .. } | Similarity::Sigmoid { gamma, offset } => {
                (gamma, offset)
            }
            _ => (1.0, 0.0),
        };
        out.fill(offset);
        let a = Matrix::dense(x, rows, columns)?;
        let b = Matrix::dense(vectors, count, columns)?.transposed();
        product_into(run.pool(), scale, a, b, true, out)?;
        match self {
            Similarity::Polynomial { degree: 2.0, .. } => out.iter_mut().for_each(|v| *v *= *v),
            Similarity::Polynomial { degree: 3.0, .. } => out.iter_mut().for_each(|v| *v = *v * *v * *v),
            Similarity::Polynomial { degree, .. } => out.iter_mut().for_each(|v| *v = v.powf(degree)),
            Similarity::Sigmoid { .. } => out.iter_mut().for_each(|v| *v = v.tanh()),
            _ => {}
        }
        Ok(())
    }
}

/// The squared distance of two vectors of one length, summed in eight lanes.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a8.remainder().iter().zip(b8.remainder());
    let mut sum: f32 = rest.map(|(a, b)| (a - b) * (a - b)).sum();
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            lanes[i] += (a[i] - b[i]) * (a[i] - b[i]);
        }
    }
    for lane in lanes {
        sum += lane;
    }
    sum
}
