//! [ScatterElements](https://onnx.ai/onnx/operators/onnx__ScatterElements.html): single elements replaced, or
//! combined with others, where indices along an axis say.

use super::moves::{Change, change_elements, owned};
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, types};
use half::{bf16, f16};
use oxidane_graph::{
    Call, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_kernels::gather::{self, Scatter};
use oxidane_kernels::{KernelError, Number};
use oxidane_tensor::{DType, Element, Tensor, complex::Complex};
use std::ops::{Add, Mul, Sub};

attributes! {
    /// The data with the updates put in the same place but along `axis`, where the index says.
    pub struct ScatterElements {
        axis: i64 = 0,
        /// How an update meets what is there: `none` replaces; `add`, `mul`, `max`, `min` combine.
        reduction: String = "none".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("data", types::PLAIN, "T"),
        Param::one("indices", types::INDEX, "Tind"),
        Param::one("updates", types::PLAIN, "T"),
    ],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of ScatterElements.
pub static ROOM: Room = Room {
    domain: "",
    name: "ScatterElements",
    since: &[11, 13, 16, 18],
    signature: &SIGNATURE,
    read: |a| {
        let op = ScatterElements::read(a)?;
        reduction(&op.reduction)?;
        Ok(shared(op))
    },
    steps: &[
        Step { to: 16, up: |_| Ok(()), down: |d| d.drop_default("reduction", "none".to_owned()) },
        Step { to: 18, up: |_| Ok(()), down: before_max_and_min },
    ],
    cases: || {
        crate::with_cases!();
        let of = |axis, reduction: &str| ScatterElements { axis, reduction: reduction.to_owned() };
        let row = || floats(&[1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        // The official cases test_scatter_elements_*.
        vec![
            Case::new("axis", of(1, "none"))
                .input(row())
                .input(ints(&[1, 2], &[1, -2]))
                .input(floats(&[1, 2], &[1.1, 2.1]))
                .expect(floats(&[1, 5], &[1.0, 1.1, 3.0, 2.1, 5.0])),
            Case::new("rows", of(0, "none"))
                .input(floats(&[3, 3], &[0.0; 9]))
                .input(ints(&[2, 3], &[1, 0, 2, 0, 2, 1]))
                .input(floats(&[2, 3], &[1.0, 1.1, 1.2, 2.0, 2.1, 2.2]))
                .expect(floats(&[3, 3], &[2.0, 1.1, 0.0, 1.0, 0.0, 2.2, 0.0, 2.1, 1.2])),
            Case::new("sum of duplicates", of(1, "add"))
                .input(row())
                .input(ints(&[1, 2], &[1, 1]))
                .input(floats(&[1, 2], &[1.1, 2.1]))
                .expect(floats(&[1, 5], &[1.0, 5.2, 3.0, 4.0, 5.0])),
            Case::new("largest integer", of(0, "max"))
                .input(ints(&[3], &[1, 5, 3]))
                .input(ints(&[3], &[0, 1, 1]))
                .input(ints(&[3], &[4, 2, 9]))
                .expect(ints(&[3], &[4, 9, 3])),
        ]
    },
};

/// A step down to opsets that knew no `max` and `min`.
pub(crate) fn before_max_and_min(draft: &mut crate::Draft<'_>) -> Result<(), OpError> {
    match draft.attributes.value::<String>("reduction")?.as_deref() {
        Some(name @ ("max" | "min")) => {
            Err(OpError::new(format!("reduction `{name}` cannot be expressed in this opset"))
                .help("export to opset 18 or later"))
        }
        _ => Ok(()),
    }
}

/// The reduction of a name.
pub(crate) fn reduction(name: &str) -> Result<Scatter, OpError> {
    Ok(match name {
        "none" => Scatter::Replace,
        "add" => Scatter::Add,
        "mul" => Scatter::Mul,
        "max" => Scatter::Max,
        "min" => Scatter::Min,
        other => {
            return Err(OpError::new(format!("there is no reduction `{other}`"))
                .help("it may be none, add, mul, max or min"));
        }
    })
}

/// Which places updates go to.
pub(crate) struct Places<'a> {
    /// The shape of the data.
    pub(crate) shape: &'a [usize],
    /// The axis along which the indices count; `None` where they are tuples.
    pub(crate) axis: Option<usize>,
    pub(crate) indices: &'a [i64],
    pub(crate) indices_shape: &'a [usize],
}

impl Places<'_> {
    fn update<T>(&self, target: &mut [T], updates: &[T], by: impl Fn(&mut T, &T)) -> Result<(), KernelError> {
        let indices = (self.indices, self.indices_shape);
        match self.axis {
            Some(axis) => gather::scatter_elements((target, self.shape), axis, indices, updates, by),
            None => gather::scatter_nd((target, self.shape), indices, updates, by),
        }
    }
}

impl Change for Places<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        sources: &[&[T]],
        target: &mut [T],
    ) -> Result<(), OpError> {
        Ok(self.update(target, sources[0], |y, x| *y = x.clone())?)
    }
}

/// Sets output 0 to the data with the updates at their places.
pub(crate) fn scatter(
    run: &mut Run<'_>,
    data: Tensor,
    updates: &Tensor,
    places: &Places<'_>,
    how: Scatter,
) -> Result<(), OpError> {
    let dtype = data.dtype();
    if dtype != updates.dtype() {
        return Err(OpError::new(format!("data is {dtype}, but updates are {}", updates.dtype())));
    }
    let result = match (how, dtype) {
        (Scatter::Replace, _) => return change_elements(run, 0, data, &[updates], places),
        (_, DType::F32) => numbers::<f32>(run, data, updates, places, how),
        (_, DType::F64) => numbers::<f64>(run, data, updates, places, how),
        (_, DType::F16) => numbers::<f16>(run, data, updates, places, how),
        (_, DType::BF16) => numbers::<bf16>(run, data, updates, places, how),
        (_, DType::I8) => numbers::<i8>(run, data, updates, places, how),
        (_, DType::I16) => numbers::<i16>(run, data, updates, places, how),
        (_, DType::I32) => numbers::<i32>(run, data, updates, places, how),
        (_, DType::I64) => numbers::<i64>(run, data, updates, places, how),
        (_, DType::U8) => numbers::<u8>(run, data, updates, places, how),
        (_, DType::U16) => numbers::<u16>(run, data, updates, places, how),
        (_, DType::U32) => numbers::<u32>(run, data, updates, places, how),
        (_, DType::U64) => numbers::<u64>(run, data, updates, places, how),
        // Sums and products of truth values are "or" and "and".
        (Scatter::Add | Scatter::Max, DType::Bool) => numbers::<u8>(run, data, updates, places, Scatter::Max),
        (Scatter::Mul | Scatter::Min, DType::Bool) => numbers::<u8>(run, data, updates, places, Scatter::Min),
        (_, DType::Complex64) => complex::<f32>(run, data, updates, places, how),
        (_, DType::Complex128) => complex::<f64>(run, data, updates, places, how),
        _ => Err(OpError::new(format!("elements of {dtype} cannot be combined by a reduction"))),
    };
    run.set(0, result?);
    Ok(())
}

fn numbers<T: Number>(
    run: &Run<'_>,
    data: Tensor,
    updates: &Tensor,
    places: &Places<'_>,
    how: Scatter,
) -> Result<Tensor, OpError> {
    let mut target = owned(run, 0, data)?;
    places.update(target.slice_mut::<T>()?, updates.to_dense()?.slice::<T>()?, how.update::<T>())?;
    Ok(target.freeze())
}

fn complex<T>(
    run: &Run<'_>,
    data: Tensor,
    updates: &Tensor,
    places: &Places<'_>,
    how: Scatter,
) -> Result<Tensor, OpError>
where
    T: Copy + Add<Output = T> + Mul<Output = T> + Sub<Output = T>,
    Complex<T>: Element,
{
    let by: fn(&mut Complex<T>, &Complex<T>) = match how {
        Scatter::Replace => |y, x| *y = *x,
        Scatter::Add => |y, x| *y = Complex { re: y.re + x.re, im: y.im + x.im },
        Scatter::Mul => |y, x| *y = Complex { re: y.re * x.re - y.im * x.im, im: y.re * x.im + y.im * x.re },
        Scatter::Max | Scatter::Min => {
            return Err(OpError::new("complex numbers have no order for the reductions max and min"));
        }
    };
    let mut target = owned(run, 0, data)?;
    places.update(target.slice_mut()?, updates.to_dense()?.slice()?, by)?;
    Ok(target.freeze())
}

/// Infers the type of all operators whose output is like their first input.
pub(crate) fn like_data(ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
    let ty = ctx.known_ty(0)?.clone();
    ctx.set(0, ty);
    Ok(())
}

/// Runs a scatter along an axis.
pub(crate) fn along(run: &mut Run<'_>, axis: i64, how: Scatter) -> Result<(), OpError> {
    let indices = run.ints(1)?;
    let indices_shape = run.tensor(1)?.shape().to_vec();
    let updates = run.tensor(2)?.clone();
    if updates.shape() != indices_shape {
        return Err(OpError::new(format!(
            "updates of shape {:?} do not fit indices of shape {indices_shape:?}",
            updates.shape()
        )));
    }
    let data = run.take(0)?;
    let shape = data.shape().to_vec();
    let axis = axis_index(axis, shape.len())?;
    let places = Places { shape: &shape, axis: Some(axis), indices: &indices, indices_shape: &indices_shape };
    scatter(run, data, &updates, &places, how)
}

impl Op for ScatterElements {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        if let Some(shape) = ctx.shape(0) {
            axis_index(self.axis, shape.len())?;
        }
        like_data(ctx)
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (axis, how) = (self.axis, reduction(&self.reduction)?);
        kernel(move |run| along(run, axis, how))
    }
}
