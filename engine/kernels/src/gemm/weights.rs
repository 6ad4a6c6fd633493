use super::Matrix;
use super::bf16::{self, Packed16};
use super::few::{self, Source};
use super::packed::{self, Epilogue, Packed, Right};
use crate::KernelError;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A constant right side of single floats. Products of a few rows read it where it lies, at any byte of a file; the
/// first product with more rows packs it, on its threads, and from then on all use the packed form.
pub struct Weights {
    tensor: Tensor,
    depth: usize,
    cols: usize,
    transposed: bool,
    packed: OnceLock<Packed>,
    /// The form for products in bfloat16, where they are asked for and the machine has them.
    low: Option<OnceLock<Packed16>>,
    packing: Mutex<()>,
}

impl Weights {
    /// The matrix `tensor`, or its transpose; `None` where it is no matrix of single floats. A view that is not dense
    /// is copied.
    ///
    /// # Errors
    /// When there is no memory for a copy.
    pub fn new(tensor: &Tensor, transposed: bool) -> Result<Option<Weights>, KernelError> {
        let &[rows, cols] = tensor.shape() else { return Ok(None) };
        if tensor.dtype() != DType::F32 {
            return Ok(None);
        }
        let turned = tensor.permute(&[1, 0])?;
        let (tensor, turned) = match (tensor.dense_bytes(), turned.dense_bytes()) {
            (Some(_), _) => (tensor.clone(), false),
            (None, Some(_)) => (turned, true),
            (None, None) => (tensor.to_dense()?, false),
        };
        let (depth, cols) = if transposed { (cols, rows) } else { (rows, cols) };
        let transposed = transposed != turned;
        Ok(Some(Weights {
            tensor,
            depth,
            cols,
            transposed,
            packed: OnceLock::new(),
            low: None,
            packing: Mutex::new(()),
        }))
    }

    /// The same, multiplied in bfloat16 where the machine can: both sides are rounded, sums are not.
    pub fn in_bf16(mut self) -> Weights {
        self.low = has_bf16().then(OnceLock::new);
        self
    }

    /// Rows of the right side.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the right side.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `out = a * weights`, finished as `epilogue` says; `out` is dense and row-major.
    ///
    /// # Errors
    /// When sizes differ or there is no memory for the packed form.
    pub fn product(
        &self,
        pool: &Pool,
        a: Matrix<'_, f32>,
        epilogue: &Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let m = a.rows();
        if a.cols() != self.depth || m.checked_mul(self.cols) != Some(out.len()) {
            return Err(KernelError::Shape(format!(
                "cannot multiply {m}x{} by {}x{} into {} elements",
                a.cols(),
                self.depth,
                self.cols,
                out.len()
            )));
        }
        epilogue.check(m, self.cols)?;
        if let Some(low) = &self.low {
            let packed = self.once(low, |source| Packed16::of(pool, source.matrix()))?;
            bf16::product(pool, a, packed, epilogue, out);
            return Ok(());
        }
        if self.packed.get().is_none() && few::streams(m, self.transposed) {
            few::product(pool, a, self.source()?, epilogue, out);
            return Ok(());
        }
        let packed = self.once(&self.packed, |source| Packed::of(pool, source.matrix()))?;
        packed::product(pool, a, Right::Packed(packed.panels()), epilogue, out)
    }

    fn source(&self) -> Result<Source<'_>, KernelError> {
        let bytes = self.tensor.dense_bytes().unwrap_or(&[]);
        Source::new(bytes, self.depth, self.cols, self.transposed)
            .ok_or_else(|| KernelError::Shape(format!("the weights {:?} have too few bytes", self.tensor)))
    }

    /// The packed form, made by whoever needs it first. The form in the file is not needed any more then.
    fn once<'a, P>(
        &'a self,
        form: &'a OnceLock<P>,
        pack: impl FnOnce(Source<'_>) -> Result<P, KernelError>,
    ) -> Result<&'a P, KernelError> {
        if let Some(packed) = form.get() {
            return Ok(packed);
        }
        let _one = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = form.get() {
            return Ok(packed);
        }
        let packed = pack(self.source()?)?;
        self.tensor.release_pages();
        Ok(form.get_or_init(|| packed))
    }
}

/// Whether this machine multiplies bfloat16.
pub fn has_bf16() -> bool {
    crate::isa::bf16_products()
}

/// Whether this machine multiplies bfloat16, and quicker than single precision.
pub fn bf16_pays() -> bool {
    crate::isa::bf16_pays()
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights {}x{}", self.depth, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;

    #[test]
    fn in_bfloat16_by_every_instruction() {
        if !has_bf16() {
            return;
        }
        let value = |i: usize| half::bf16::from_f32(((i * 37 % 101) as f32 - 50.0) / 64.0).to_f32();
        for (m, k, n) in
            [(1, 1, 1), (1, 70, 45), (16, 32, 32), (17, 33, 40), (33, 95, 70), (70, 200, 300), (5, 0, 7)]
        {
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i * 7 + 3)).collect();
            let bias: Vec<f32> = (0..n).map(value).collect();
            let tensor = Tensor::new(&[k, n], &b).unwrap();
            let left = Matrix::dense(&a, m, k).unwrap();
            for function in [None, Some(Function::Relu), Some(Function::Tanh)] {
                let epilogue = Epilogue { alpha: 0.5, bias: Some(&bias), function, ..Epilogue::default() };
                let weights = Weights::new(&tensor, false).unwrap().unwrap().in_bf16();
                let runs = [1, 3].map(|width| {
                    let mut out = vec![9.0; m * n];
                    weights.product(&Pool::new(width), left, &epilogue, &mut out).unwrap();
                    out
                });
                assert_eq!(runs[0], runs[1]);
                for i in 0..m {
                    for j in 0..n {
                        let sum: f64 =
                            (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum();
                        let v = sum * 0.5 + f64::from(bias[j]);
                        let v = match function {
                            Some(Function::Relu) => v.max(0.0),
                            Some(_) => v.tanh(),
                            None => v,
                        };
                        let got = f64::from(runs[0][i * n + j]);
                        assert!((got - v).abs() < 1e-4, "{m}x{k}x{n} {function:?} {i} {j}: {got} for {v}");
                    }
                }
            }
        }
    }

    #[test]
    fn at_any_byte_with_few_rows_and_many() {
        for (m, k, n) in
            [(1, 70, 45), (1, 9, 3), (2, 300, 1100), (4, 33, 37), (6, 40, 2100), (9, 40, 50), (2, 20, 17_003)]
        {
            for (transposed, skip) in [(false, 0), (false, 1), (true, 0), (true, 3)] {
                let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 64.0;
                let a: Vec<f32> = (0..m * k).map(value).collect();
                let b: Vec<f32> = (0..k * n).map(|i| value(i * 7 + 3)).collect();
                let bias: Vec<f32> = (0..n).map(value).collect();
                let held: Vec<f32> = (0..m * n).map(value).collect();
                let mut bytes = vec![0u8; skip];
                bytes.extend(b.iter().flat_map(|v| v.to_ne_bytes()));
                let shape = if transposed { [n, k] } else { [k, n] };
                let tensor =
                    Tensor::from_bytes(DType::F32, &shape, bytes::Bytes::from(bytes).slice(skip..)).unwrap();
                let at = |p: usize, j: usize| f64::from(if transposed { b[j * k + p] } else { b[p * n + j] });
                for accumulate in [false, true] {
                    let weights = Weights::new(&tensor, transposed).unwrap().unwrap();
                    let epilogue = Epilogue {
                        alpha: 0.5,
                        accumulate,
                        bias: Some(&bias),
                        residual: Some(&held),
                        function: Some(Function::Relu),
                    };
                    let left = Matrix::dense(&a, m, k).unwrap();
                    let mut out = held.clone();
                    weights.product(&Pool::new(2), left, &epilogue, &mut out).unwrap();
                    for i in 0..m {
                        for j in 0..n {
                            let mut v = (0..k).map(|p| f64::from(a[i * k + p]) * at(p, j)).sum::<f64>() * 0.5;
                            v += f64::from(bias[j]) + f64::from(held[i * n + j]);
                            v += if accumulate { f64::from(held[i * n + j]) } else { 0.0 };
                            let got = f64::from(out[i * n + j]);
                            assert!(
                                (got - v.max(0.0)).abs() < 1e-4,
                                "{m}x{k}x{n} {transposed} {i} {j}: {got} {v}"
                            );
                        }
                    }
                }
            }
        }
    }
}
