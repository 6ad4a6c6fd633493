//! [Unique](https://onnx.ai/onnx/operators/onnx__Unique.html): each element, or each slice, once.

use super::gather::Slices;
use super::moves::move_elements;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use half::{bf16, f16};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_kernels::Number;
use oxidane_kernels::unique::{self, unique};
use oxidane_tensor::{DType, Tensor, complex::Complex};
use std::cmp::Ordering;

attributes! {
    /// The elements (with `axis`, the slices along it) without repetition, in ascending order or, unless `sorted`,
    /// as they first occur; then where each first occurs, which of them each one is, and how often each occurs.
    pub struct Unique { axis: Option<i64>, sorted: bool = true }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::PLAIN, "T")],
    outputs: &[
        Param::one("Y", types::PLAIN, "T"),
        Param::optional("indices", types::INT64, ""),
        Param::optional("inverse_indices", types::INT64, ""),
        Param::optional("counts", types::INT64, ""),
    ],
};

/// The room of Unique.
pub static ROOM: Room = Room {
    domain: "",
    name: "Unique",
    since: &[11, 28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Unique::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let vector = |values: &[i64]| ints(&[values.len()], values);
        // The specification's examples.
        vec![
            Case::new("first occurrence", Unique { axis: None, sorted: false })
                .input(floats(&[6], &[2.0, 1.0, 1.0, 3.0, 4.0, 3.0]))
                .outputs(4)
                .expect(floats(&[4], &[2.0, 1.0, 3.0, 4.0]))
                .expect(vector(&[0, 1, 3, 4]))
                .expect(vector(&[0, 1, 1, 2, 3, 2]))
                .expect(vector(&[1, 2, 2, 1])),
            Case::new("flat", Unique { axis: None, sorted: true })
                .input(ints(&[2, 2], &[1, 3, 2, 3]))
                .outputs(4)
                .expect(vector(&[1, 2, 3]))
                .expect(vector(&[0, 2, 1]))
                .expect(vector(&[0, 2, 1, 2]))
                .expect(vector(&[1, 1, 2])),
            Case::new("rows", Unique { axis: Some(0), sorted: true })
                .input(floats(&[3, 3], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 3.0, 4.0]))
                .outputs(4)
                .expect(floats(&[2, 3], &[1.0, 0.0, 0.0, 2.0, 3.0, 4.0]))
                .expect(vector(&[0, 2]))
                .expect(vector(&[0, 0, 1]))
                .expect(vector(&[2, 1])),
            Case::new("none", Unique { axis: None, sorted: true })
                .input(floats(&[0, 3], &[]))
                .outputs(2)
                .expect(floats(&[0], &[]))
                .expect(vector(&[])),
        ]
    },
};

/// NaN is one number, larger than all others.
fn number<T: Number>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn rows<T>(values: &[T], count: usize, sorted: bool, by: impl Fn(&T, &T) -> Ordering) -> unique::Unique {
    let width = values.len().checked_div(count).unwrap_or(0);
    let row = |at: usize| &values[at * width..(at + 1) * width];
    let compare = |a: usize, b: usize| {
        let pairs = row(a).iter().zip(row(b));
        pairs.map(|(x, y)| by(x, y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    unique(count, &compare, sorted)
}

/// Groups `count` rows of a dense tensor.
fn group(tensor: &Tensor, count: usize, sorted: bool) -> Result<unique::Unique, OpError> {
    macro_rules! of {
        ($t:ty) => {
            rows(tensor.slice::<$t>()?, count, sorted, number::<$t>)
        };
    }
    Ok(match tensor.dtype() {
        DType::F32 => of!(f32),
        DType::F64 => of!(f64),
        DType::F16 => of!(f16),
        DType::BF16 => of!(bf16),
        DType::I8 => of!(i8),
        DType::I16 => of!(i16),
        DType::I32 => of!(i32),
        DType::I64 => of!(i64),
        DType::U8 | DType::Bool => of!(u8),
        DType::U16 => of!(u16),
        DType::U32 => of!(u32),
        DType::U64 => of!(u64),
        DType::Complex64 => {
            let by = |a: &Complex<f32>, b: &Complex<f32>| number(&a.re, &b.re).then(number(&a.im, &b.im));
            rows(tensor.slice::<Complex<f32>>()?, count, sorted, by)
        }
        DType::Complex128 => {
            let by = |a: &Complex<f64>, b: &Complex<f64>| number(&a.re, &b.re).then(number(&a.im, &b.im));
            rows(tensor.slice::<Complex<f64>>()?, count, sorted, by)
        }
        DType::String => rows(tensor.as_strings().unwrap_or_default(), count, sorted, Ord::cmp),
        other => return Err(OpError::new(format!("Unique is not defined for {other}"))),
    })
}

impl Op for Unique {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let count = ctx.unknown_dim(0, 0);
        match (self.axis, ctx.shape(0).map(Dims::from_slice)) {
            (None, _) => ctx.set_tensor(0, dtype, [count]),
            (Some(axis), Some(mut dims)) => {
                let axis = axis_index(axis, dims.len())?;
                dims[axis] = count;
                ctx.set_tensor(0, dtype, dims);
            }
            (Some(_), None) => ctx.set_unranked(0, dtype),
        }
        ctx.set_tensor(1, DType::I64, [count]);
        let all = ctx.unknown_dim(2, 0);
        ctx.set_tensor(2, DType::I64, [all]);
        ctx.set_tensor(3, DType::I64, [count]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let mut data = run.take(0)?;
            let axis = match op.axis {
                Some(axis) => axis_index(axis, data.rank())?,
                None => {
                    data = data.reshape(&[data.len()])?;
                    0
                }
            };
            let count = data.shape()[axis];
            if data.is_empty() && count > 1 << 24 {
                return Err(OpError::new(format!("{:?} has too many empty slices", data.shape())));
            }
            let mut order: Vec<usize> = (0..data.rank()).filter(|&a| a != axis).collect();
            order.insert(0, axis);
            let groups = group(&data.permute(&order)?.to_dense()?, count, op.sorted)?;
            let mut shape = data.shape().to_vec();
            shape[axis] = groups.first.len();
            let picked = Slices { shape: data.shape(), axis, indices: &groups.first };
            move_elements(run, 0, &[&data], &shape, &picked)?;
            for (output, values) in [(1, &groups.first), (2, &groups.inverse), (3, &groups.counts)] {
                if run.wants(output) {
                    run.set(output, Tensor::new(&[values.len()], values)?);
                }
            }
            Ok(())
        })
    }
}
