//! Contractions in Einstein's notation: `Einsum`.
//!
//! Operands meet two at a time, from left to right. Labels that only one of them has and nobody needs later are
//! summed first; what remains is a batch of matrix products over strided views, copied only where labels that
//! belong together do not lie together.

use crate::gemm::{Matrix, products_into};
use crate::half_floats::{is_half, narrowed, widened};
use crate::matmul::{forward, storage};
use crate::window::unravel;
use crate::{KernelError, Scalar};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Shape, Tensor, TensorMut, element_count};

/// A label: a letter, or a dimension that an ellipsis stands for.
type Label = u32;

/// Labels of an ellipsis count from here, the outermost first.
const ELLIPSIS: Label = 1 << 8;

/// A parsed equation: the labels of every operand's dimensions and of the result's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equation {
    inputs: Vec<Vec<Label>>,
    output: Vec<Label>,
}

impl Equation {
    /// Parses `equation`, such as `...ij,jk->...ik`, for operands of these ranks. Without an arrow the result has
    /// the ellipsis, then all labels that occur once, in alphabetical order.
    ///
    /// # Errors
    /// When the equation is malformed or its terms do not fit the ranks.
    pub fn parse(equation: &str, ranks: &[usize]) -> Result<Equation, KernelError> {
        let wrong = |what: &str| KernelError::Shape(format!("equation {equation:?}: {what}"));
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return Err(wrong(&format!("{} terms for {} operands", terms.len(), ranks.len())));
        }
        // A term's labels before and after its ellipsis, where it has one.
        let split = |term: &str| -> Result<(Vec<Label>, Option<Vec<Label>>), KernelError> {
            let letters = |part: &str| {
                part.chars()
                    .map(|c| {
                        if c.is_ascii_alphabetic() {
                            Ok(Label::from(c))
                        } else {
                            Err(wrong(&format!("{c:?} is no label")))
                        }
                    })
                    .collect::<Result<Vec<Label>, _>>()
            };
            match term.split_once("...") {
                Some((before, after)) => Ok((letters(before)?, Some(letters(after)?))),
                None => Ok((letters(term)?, None)),
            }
        };
        let mut widest = 0;
        let mut parts = Vec::new();
        for (term, &rank) in terms.iter().zip(ranks) {
            let (before, after) = split(term)?;
            let named = before.len() + after.as_ref().map_or(0, Vec::len);
            let hidden = rank.checked_sub(named).filter(|&h| after.is_some() || h == 0);
            let hidden = hidden
                .ok_or_else(|| wrong(&format!("term {term:?} does not fit an operand of rank {rank}")))?;
            widest = widest.max(hidden);
            parts.push((before, after, hidden));
        }
        let hidden_labels = |count: usize| (widest - count..widest).map(|i| ELLIPSIS + i as Label);
        let inputs: Vec<Vec<Label>> = parts
            .into_iter()
            .map(|(mut labels, after, hidden)| {
                labels.extend(hidden_labels(hidden));
                labels.extend(after.unwrap_or_default());
                labels
            })
            .collect();
        let output = match right {
            Some(right) => {
                let (mut labels, after) = split(right)?;
                if let Some(after) = after {
                    labels.extend(hidden_labels(widest));
                    labels.extend(after);
                }
                labels
            }
            None => {
                let all: Vec<Label> = inputs.iter().flatten().copied().filter(|&l| l < ELLIPSIS).collect();
                let mut once: Vec<Label> =
                    all.iter().copied().filter(|l| all.iter().filter(|o| *o == l).count() == 1).collect();
                once.sort_unstable();
                hidden_labels(widest).chain(once).collect()
            }
        };
        for (i, label) in output.iter().enumerate() {
            if output[..i].contains(label) {
                return Err(wrong("a label is twice in the result"));
            }
            if !inputs.iter().any(|term| term.contains(label)) {
                return Err(wrong("a label of the result is in no term"));
            }
        }
        Ok(Equation { inputs, output })
    }

    /// The labels of each operand's dimensions; equal numbers are equal labels.
    pub fn terms(&self) -> &[Vec<u32>] {
        &self.inputs
    }

    /// The labels of the result's dimensions, each once.
    pub fn result(&self) -> &[u32] {
        &self.output
    }

    /// The size of a label over all operands; sizes of 1 repeat.
    fn size(&self, label: Label, shapes: &[&[usize]]) -> Result<usize, KernelError> {
        let mut size = 1;
        for (term, shape) in self.inputs.iter().zip(shapes) {
            for (&l, &n) in term.iter().zip(*shape) {
                if l == label && n != size && n != 1 {
                    if size != 1 {
                        return Err(KernelError::Shape(format!(
                            "operands of shapes {shapes:?} give one label of an equation the sizes {size} and {n}"
                        )));
                    }
                    size = n;
                }
            }
        }
        Ok(size)
    }

    /// The shape of the result for operands of these shapes.
    ///
    /// # Errors
    /// When the operands do not fit the equation or each other.
    pub fn shape(&self, shapes: &[&[usize]]) -> Result<Shape, KernelError> {
        if shapes.len() != self.inputs.len()
            || shapes.iter().zip(&self.inputs).any(|(s, t)| s.len() != t.len())
        {
            return Err(KernelError::Shape(format!("shapes {shapes:?} do not fit the equation's terms")));
        }
        for &label in self.inputs.iter().flatten() {
            self.size(label, shapes)?;
        }
        self.output.iter().map(|&l| self.size(l, shapes)).collect()
    }
}

/// `Einsum` of tensors of one numeric type; 16-bit floats accumulate in f32, integers wrap around.
///
/// # Errors
/// When the equation is malformed, types or shapes do not agree, or there is no memory.
pub fn einsum(pool: &Pool, equation: &str, operands: &[&Tensor]) -> Result<Tensor, KernelError> {
    let ranks: Vec<usize> = operands.iter().map(|t| t.rank()).collect();
    let equation = Equation::parse(equation, &ranks)?;
    let dtype = operands.first().map_or(DType::F32, |t| t.dtype());
    if operands.iter().any(|t| t.dtype() != dtype) {
        return Err(KernelError::Type(format!("Einsum takes operands of one type, found {operands:?}")));
    }
    if is_half(dtype) {
        let wide: Vec<Tensor> = operands.iter().map(|t| widened(t)).collect::<Result<_, _>>()?;
        return narrowed(einsum_of::<f32>(pool, &equation, &wide.iter().collect::<Vec<_>>())?, dtype);
    }
    match dtype {
        DType::F32 => einsum_of::<f32>(pool, &equation, operands),
        DType::F64 => einsum_of::<f64>(pool, &equation, operands),
        DType::I8 => einsum_of::<i8>(pool, &equation, operands),
        DType::U8 => einsum_of::<u8>(pool, &equation, operands),
        DType::I16 => einsum_of::<i16>(pool, &equation, operands),
        DType::U16 => einsum_of::<u16>(pool, &equation, operands),
        DType::I32 => einsum_of::<i32>(pool, &equation, operands),
        DType::U32 => einsum_of::<u32>(pool, &equation, operands),
        DType::I64 => einsum_of::<i64>(pool, &equation, operands),
        DType::U64 => einsum_of::<u64>(pool, &equation, operands),
        other => Err(KernelError::Type(format!("there is no Einsum of {other}"))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dim {
    label: Label,
    size: usize,
    step: usize,
}

/// A tensor's elements under labels, each once. Labels of size 1 are left out.
struct Labelled {
    tensor: Tensor,
    start: usize,
    dims: Vec<Dim>,
}

impl Labelled {
    fn new<T: Scalar>(tensor: &Tensor, labels: &[Label]) -> Result<Labelled, KernelError> {
        let tensor = forward::<T>(tensor)?;
        let mut dims: Vec<Dim> = Vec::new();
        for ((&label, &size), &step) in labels.iter().zip(tensor.shape()).zip(tensor.strides()) {
            if size == 1 {
                continue;
            }
            // A label that repeats walks the diagonal.
            match dims.iter_mut().find(|d| d.label == label) {
                Some(dim) => dim.step += step as usize,
                None => dims.push(Dim { label, size, step: step as usize }),
            }
        }
        let start = storage::<T>(&tensor)?.1;
        Ok(Labelled { tensor, start, dims })
    }

    fn dim(&self, label: Label) -> Option<Dim> {
        self.dims.iter().copied().find(|d| d.label == label)
    }

    /// The dimensions of `labels`, in that order, as one; `None` where they do not lie together.
    fn merged(&self, labels: &[Label]) -> Option<(usize, usize)> {
        let mut whole: Option<(usize, usize)> = None;
        for &label in labels.iter().rev() {
            let Dim { size, step, .. } = self.dim(label)?;
            whole = Some(match whole {
                None => (size, step),
                Some((n, s)) if n.checked_mul(s) == Some(step) => (size.checked_mul(n)?, s),
                Some(_) => return None,
            });
        }
        Some(whole.unwrap_or((1, 1)))
    }

    /// A dense copy: one element for each index of `labels` (in that order), the sum over all other dimensions.
    fn reduced<T: Scalar>(&self, pool: &Pool, labels: &[Label]) -> Result<Labelled, KernelError> {
        let kept: Vec<Dim> = labels.iter().filter_map(|&l| self.dim(l)).collect();
        let summed: Vec<Dim> = self.dims.iter().copied().filter(|d| !labels.contains(&d.label)).collect();
        let sizes: Shape = kept.iter().map(|d| d.size).collect();
        let mut out = TensorMut::zeroed(T::DTYPE, &sizes)?;
        let (data, _) = storage::<T>(&self.tensor)?;
        let (outer, inner) = (sizes.clone(), summed.iter().map(|d| d.size).collect::<Shape>());
        let count = element_count(&inner)?;
        let cells = out.slice_mut::<T>()?;
        let piece = ((1 << 14) / count.max(1)).max(1);
        pool.for_each_piece(cells, piece, |number, cells| {
            let mut index = Shape::from_elem(0, outer.len());
            unravel(number * piece, &outer, &mut index);
            let mut within = Shape::from_elem(0, inner.len());
            for cell in cells {
                let mut at = self.start + index.iter().zip(&kept).map(|(&i, d)| i * d.step).sum::<usize>();
                let mut sum = T::ZERO;
                for _ in 0..count {
                    sum = sum.plus(data[at]);
                    step(&mut within, &summed, &mut at);
                }
                *cell = sum;
                step(&mut index, &kept, &mut at);
            }
        });
        let dense = out.freeze();
        let dims = kept.iter().zip(dense.strides()).map(|(d, &s)| Dim { step: s as usize, ..*d }).collect();
        Ok(Labelled { tensor: dense, start: 0, dims })
    }
}

/// Counts `index` one up and moves the position along; both are back at the start after the last.
fn step(index: &mut [usize], dims: &[Dim], at: &mut usize) {
    for (i, dim) in index.iter_mut().zip(dims).rev() {
        *i += 1;
        *at += dim.step;
        if *i < dim.size {
            return;
        }
        *at -= dim.step * dim.size;
        *i = 0;
    }
}

fn einsum_of<T: Scalar>(
    pool: &Pool,
    equation: &Equation,
    operands: &[&Tensor],
) -> Result<Tensor, KernelError> {
    let shapes: Vec<&[usize]> = operands.iter().map(|t| t.shape()).collect();
    let shape = equation.shape(&shapes)?;
    element_count(&shape)?;
    // A label may be empty in one operand and of size 1, hence left out, in the others.
    if shapes.iter().any(|s| s.contains(&0)) {
        return Ok(Tensor::zeros(T::DTYPE, &shape)?);
    }
    let mut rest = operands.iter().zip(&equation.inputs).map(|(t, labels)| {
        // A repeated label must not repeat with two sizes: 1 does not broadcast along a diagonal.
        let one_size = labels
            .iter()
            .zip(t.shape())
            .all(|(l, n)| labels.iter().zip(t.shape()).all(|(other, m)| l != other || n == m));
        if !one_size {
            return Err(KernelError::Shape(format!("the diagonal of shape {:?} is not square", t.shape())));
        }
        Labelled::new::<T>(t, labels)
    });
    let mut product =
        rest.next().ok_or_else(|| KernelError::Shape("Einsum takes at least one operand".to_owned()))??;
    for (i, next) in rest.enumerate() {
        let later = equation.inputs[i + 2..].iter().flatten().chain(&equation.output);
        let needed: Vec<Label> = later.copied().collect();
        product = contract::<T>(pool, product, next?, &needed)?;
    }
    let in_order: Vec<Dim> = equation.output.iter().filter_map(|&l| product.dim(l)).collect();
    let sizes: usize = in_order.iter().map(|d| d.size).product();
    let whole = product.start == 0 && sizes == product.tensor.len() && product.tensor.is_contiguous();
    let dense = whole && product.dims == in_order;
    let out = if dense { product } else { product.reduced::<T>(pool, &equation.output)? };
    Ok(out.tensor.reshape(&shape)?)
}

/// The product of two operands, summed over the labels that nobody needs.
fn contract<T: Scalar>(
    pool: &Pool,
    a: Labelled,
    b: Labelled,
    needed: &[Label],
) -> Result<Labelled, KernelError> {
    let trimmed = |x: Labelled, other: &Labelled| -> Result<Labelled, KernelError> {
        let useful = |d: &Dim| needed.contains(&d.label) || other.dim(d.label).is_some();
        if x.dims.iter().all(useful) {
            return Ok(x);
        }
        let labels: Vec<Label> = x.dims.iter().filter(|d| useful(d)).map(|d| d.label).collect();
        x.reduced::<T>(pool, &labels)
    };
    let a = trimmed(a, &b)?;
    let b = trimmed(b, &a)?;
    let by_step = |x: &Labelled, pick: &dyn Fn(Label) -> bool| -> Vec<Label> {
        let mut dims: Vec<Dim> = x.dims.iter().copied().filter(|d| pick(d.label)).collect();
        dims.sort_by_key(|d| std::cmp::Reverse(d.step));
        dims.into_iter().map(|d| d.label).collect()
    };
    let both = |l: Label| a.dim(l).is_some() && b.dim(l).is_some();
    let batch: Vec<Label> =
        a.dims.iter().map(|d| d.label).filter(|&l| both(l) && needed.contains(&l)).collect();
    let inner = by_step(&a, &|l| both(l) && !needed.contains(&l));
    let rows = by_step(&a, &|l| !both(l));
    let cols = by_step(&b, &|l| !both(l));
    let laid = |x: Labelled, first: &[Label], second: &[Label]| -> Result<_, KernelError> {
        if let (Some(first), Some(second)) = (x.merged(first), x.merged(second)) {
            return Ok((x, first, second));
        }
        let order: Vec<Label> = batch.iter().chain(first).chain(second).copied().collect();
        let x = x.reduced::<T>(pool, &order)?;
        let (first, second) = (x.merged(first).unwrap_or((1, 1)), x.merged(second).unwrap_or((1, 1)));
        Ok((x, first, second))
    };
    let row_dims: Vec<Dim> = rows.iter().filter_map(|&l| a.dim(l)).collect();
    let col_dims: Vec<Dim> = cols.iter().filter_map(|&l| b.dim(l)).collect();
    let (a, (m, a_row), (k, a_col)) = laid(a, &rows, &inner)?;
    let (b, (_, b_row), (n, b_col)) = laid(b, &inner, &cols)?;
    let steps: Vec<(Dim, Dim)> = batch.iter().filter_map(|&l| Some((a.dim(l)?, b.dim(l)?))).collect();
    let mut dims: Vec<Dim> = steps.iter().map(|s| s.0).collect();
    dims.extend(row_dims);
    dims.extend(col_dims);
    let shape: Shape = dims.iter().map(|d| d.size).collect();
    let mut out = TensorMut::zeroed(T::DTYPE, &shape)?;
    let (a_data, b_data) = (storage::<T>(&a.tensor)?.0, storage::<T>(&b.tensor)?.0);
    let pair = |i: usize| {
        let (mut x, mut y, mut left) = (a.start, b.start, i);
        for (of_a, of_b) in steps.iter().rev() {
            x += left % of_a.size * of_a.step;
            y += left % of_a.size * of_b.step;
            left /= of_a.size;
        }
        Ok((
            Matrix::new(a_data.get(x..).unwrap_or(&[]), m, k, a_row, a_col)?,
            Matrix::new(b_data.get(y..).unwrap_or(&[]), k, n, b_row, b_col)?,
        ))
    };
    let count = steps.iter().map(|s| s.0.size).product();
    products_into(pool, T::ONE, (m, k, n), count, pair, false, out.slice_mut()?)?;
    let tensor = out.freeze();
    for (dim, &stride) in dims.iter_mut().zip(tensor.strides()) {
        dim.step = stride as usize;
    }
    Ok(Labelled { tensor, start: 0, dims })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(shape: &[usize], seed: usize) -> Tensor {
        let count = element_count(shape).unwrap();
        let values: Vec<i64> = (0..count).map(|i| ((i * 7 + seed * 13 + i / 5) % 11) as i64 - 5).collect();
        Tensor::new(shape, &values).unwrap()
    }

    /// A sum over every index of every label.
    fn slow(equation: &Equation, operands: &[&Tensor]) -> Vec<i64> {
        let shapes: Vec<&[usize]> = operands.iter().map(|t| t.shape()).collect();
        let mut labels = equation.output.clone();
        for &l in equation.inputs.iter().flatten() {
            if !labels.contains(&l) {
                labels.push(l);
            }
        }
        let sizes: Vec<usize> = labels.iter().map(|&l| equation.size(l, &shapes).unwrap()).collect();
        let results: usize = sizes[..equation.output.len()].iter().product();
        let total: usize = sizes.iter().product();
        let mut out = vec![0; results];
        let mut index = vec![0; sizes.len()];
        for i in 0..total {
            unravel(i, &sizes, &mut index);
            let value: i64 = operands
                .iter()
                .zip(&equation.inputs)
                .map(|(t, term)| {
                    let at = term.iter().zip(t.shape()).fold(0, |at, (l, &n)| {
                        let i = index[labels.iter().position(|m| m == l).unwrap()];
                        at * n + if n == 1 { 0 } else { i }
                    });
                    t.values::<i64>().unwrap()[at]
                })
                .product();
            out[i / (total / results)] += value;
        }
        out
    }

    #[test]
    fn agrees_with_the_definition() {
        for (text, shapes) in [
            ("ij->ji", &[&[2, 3][..]][..]),
            ("ij->", &[&[2, 3]]),
            ("ij->i", &[&[2, 3]]),
            ("ii->i", &[&[3, 3]]),
            ("ii", &[&[3, 3]]),
            ("...ii->...i", &[&[2, 3, 3]]),
            ("->", &[&[]]),
            ("i,i", &[&[5], &[5]]),
            ("ij,jk", &[&[2, 3], &[3, 4]]),
            ("ij,jk->ki", &[&[2, 3], &[3, 4]]),
            ("bij,bjk->bik", &[&[5, 2, 3], &[5, 3, 4]]),
            ("bhid,bhjd->bhij", &[&[2, 3, 4, 5], &[2, 3, 6, 5]]),
            ("bhij,bhjd->bihd", &[&[2, 3, 4, 5], &[2, 3, 5, 6]]),
            ("...ij,...jk->...ik", &[&[2, 1, 4, 3], &[5, 3, 2]]),
            (" i j , j -> i ", &[&[2, 3], &[3]]),
            ("i,j->ij", &[&[3], &[4]]),
            ("i,j,k->kj", &[&[3], &[4], &[2]]),
            ("ab,bc,cd->ad", &[&[2, 3], &[3, 4], &[4, 5]]),
            ("ab,cb,db->acd", &[&[2, 3], &[4, 3], &[5, 3]]),
            ("abc,cad->bd", &[&[2, 3, 4], &[4, 2, 5]]),
            ("abcd,cbe->aed", &[&[2, 3, 4, 5], &[4, 3, 6]]),
            ("iij,jk->ik", &[&[3, 3, 2], &[2, 4]]),
            ("ij,ij->ij", &[&[2, 3], &[2, 3]]),
            ("ij,j->ij", &[&[2, 3], &[1]]),
            ("...,...->...", &[&[2, 3], &[3]]),
            ("bA,Ab->bA", &[&[2, 3], &[3, 2]]),
        ] {
            let operands: Vec<Tensor> = shapes.iter().enumerate().map(|(i, s)| numbers(s, i)).collect();
            let operands: Vec<&Tensor> = operands.iter().collect();
            let ranks: Vec<usize> = operands.iter().map(|t| t.rank()).collect();
            let equation = Equation::parse(text, &ranks).unwrap();
            let want = slow(&equation, &operands);
            for width in [1, 2, 4] {
                let out = einsum(&Pool::new(width), text, &operands).unwrap();
                assert_eq!(out.slice::<i64>().unwrap(), want, "{text}");
                let shapes: Vec<&[usize]> = operands.iter().map(|t| t.shape()).collect();
                assert_eq!(out.shape(), equation.shape(&shapes).unwrap().as_slice());
            }
            // The same through views that are turned back, and in floats.
            let floats: Vec<Tensor> = operands
                .iter()
                .map(|t| {
                    let values: Vec<f32> = t.slice::<i64>().unwrap().iter().map(|&v| v as f32).collect();
                    let back: Vec<usize> = (0..t.rank()).rev().collect();
                    let dense = Tensor::new(t.shape(), &values).unwrap();
                    let turned = dense.permute(&back).unwrap().to_dense().unwrap();
                    turned.permute(&back).unwrap()
                })
                .collect();
            let out = einsum(&Pool::sequential(), text, &floats.iter().collect::<Vec<_>>()).unwrap();
            let found: Vec<i64> = out.values::<f32>().unwrap().iter().map(|&v| v as i64).collect();
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn empty_sizes_sum_to_nothing() {
        let (a, b) = (numbers(&[2, 0], 1), numbers(&[0, 3], 2));
        let out = einsum(&Pool::sequential(), "ij,jk->ik", &[&a, &b]).unwrap();
        assert_eq!(out.slice::<i64>().unwrap(), &[0; 6]);
        let out = einsum(&Pool::sequential(), "ij,jk->jk", &[&a, &b]).unwrap();
        assert_eq!(out.shape(), [0, 3]);
    }

    #[test]
    fn malformed_equations_are_errors() {
        let (a, b) = (numbers(&[2, 3], 1), numbers(&[3, 4], 2));
        for text in [
            "ij",
            "ij,jk,kl",
            "i,jk",
            "i1,jk",
            "ij,jk->il",
            "ij,jk->ii",
            "ij,j.k",
            "...ijk,jk",
            "ij,ij",
            "ii,jk",
        ] {
            assert!(einsum(&Pool::sequential(), text, &[&a, &b]).is_err(), "{text}");
        }
        assert!(einsum(&Pool::sequential(), "", &[]).is_err());
        assert!(
            einsum(&Pool::sequential(), "ij->", &[&Tensor::from_bools(&[1, 1], &[true]).unwrap()]).is_err()
        );
    }
}
