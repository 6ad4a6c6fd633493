//! [Slice](https://onnx.ai/onnx/operators/onnx__Slice.html): a range along some axes, as Python's slices.

use super::axes::{Axes, distinct_axes, front_axes};
use crate::{Case, Form, Room, Step, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, IntList, Ints, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared,
};

attributes! {
    /// Along each of the axes, every `step`-th element from `start` to before `end`.
    pub struct Slice {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("data", types::PLAIN, "T"),
        Param::one("starts", types::INDEX, "Tind"),
        Param::one("ends", types::INDEX, "Tind"),
        Param::optional("axes", types::INDEX, "Tind"),
        Param::optional("steps", types::INDEX, "Tind"),
    ],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Slice.
pub static ROOM: Room = Room {
    domain: "",
    name: "Slice",
    since: &[1, 10, 11, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Slice::read(a)?)),
    steps: &[Step {
        to: 10,
        up: |d| {
            d.ints_to_input("starts", 1)?;
            d.ints_to_input("ends", 2)?;
            d.ints_to_input("axes", 3)
        },
        down: |d| {
            if let Some(steps) = d.constant_ints(4, "steps")? {
                if steps.iter().any(|&step| step != 1) {
                    return Err(OpError::new(format!("steps {steps:?} cannot be expressed in this opset"))
                        .help("export to opset 10 or later"));
                }
                d.drop_input(4);
            }
            d.input_to_ints(3, "axes")?;
            d.input_to_ints(2, "ends")?;
            d.input_to_ints(1, "starts")?;
            front_axes(d, 0)
        },
    }],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let vector = |values: &[i64]| ints(&[values.len()], values);
        // The specification's examples, and NumPy.
        vec![
            Case::new("steps", Slice {})
                .input(x())
                .input(vector(&[1, 0]))
                .input(vector(&[2, 3]))
                .input(vector(&[0, 1]))
                .input(vector(&[1, 2]))
                .expect(floats(&[1, 2], &[5.0, 7.0])),
            Case::new("negative and beyond", Slice {})
                .input(x())
                .input(vector(&[0, 1]))
                .input(vector(&[-1, 1000]))
                .expect(floats(&[1, 3], &[2.0, 3.0, 4.0])),
            Case::new("backwards", Slice {})
                .input(x())
                .input(vector(&[-1]))
                .input(vector(&[i64::MIN]))
                .input(vector(&[-1]))
                .input(vector(&[-2]))
                .expect(floats(&[2, 2], &[4.0, 2.0, 8.0, 6.0])),
            Case::new("nothing", Slice {})
                .input(noise(&[5, 3], 1))
                .input(vector(&[4]))
                .input(vector(&[2]))
                .expect(floats(&[0, 3], &[])),
        ]
    },
};

/// Where a slice starts and how many elements it takes, of `size` elements.
fn range(start: i64, end: i64, step: i64, size: usize) -> Result<(usize, usize), OpError> {
    let size = i64::try_from(size).map_err(|_| OpError::new("the axis is too long"))?;
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (start, end) = (from_front(start), from_front(end));
    let (start, end, gap) = match step {
        0 => return Err(OpError::new("a step of 0 does not lead anywhere").help("steps may not be 0")),
        1.. => {
            let (start, end) = (start.clamp(0, size), end.clamp(0, size));
            (start, end, end - start)
        }
        _ => {
            let (start, end) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
            (start, end, start - end)
        }
    };
    let _ = end;
    let count = if gap <= 0 { 0 } else { (gap as u64).div_ceil(step.unsigned_abs()) as usize };
    Ok((usize::try_from(start).unwrap_or(0), count))
}

/// How many elements the slice from `start` to `end` in steps of one takes of a size that is not known.
fn symbolic(start: Dim, end: Dim, size: Dim) -> Option<Dim> {
    let zero = Dim::known(0);
    // Where the place lies in the dimension: bounds below zero count from the end.
    let placed = |at: Dim| match at.as_known() {
        Some(n) if n >= i64::from(i32::MAX) => Some(size),
        Some(n) if n < 0 => Some((size + at).max(zero)),
        _ if at.is_size() => Some(at.min(size)),
        _ if at == zero - size => Some(zero),
        _ => None,
    };
    let end = placed(end)?;
    if end == size && start.is_size() {
        return Some((size - start).max(zero));
    }
    Some((end - placed(start)?).max(zero))
}

struct Ranges {
    axes: Axes,
    starts: Vec<Dim>,
    ends: Vec<Dim>,
    steps: Vec<i64>,
}

impl Ranges {
    /// The ranges as far as they are known; `None` where not even the axes or steps are.
    fn new(ctx: &InferCtx<'_>, rank: usize) -> Result<Option<Ranges>, Unknown> {
        let len = |input| ctx.shape(input).and_then(|s| s.first()?.as_size());
        let bounds = |input: usize| ctx.ints(input).map(|Ints { dims, .. }| dims.to_vec());
        let (starts, ends) = (bounds(1), bounds(2));
        let axes = match (ctx.has_input(3), ctx.known_ints(3)) {
            (true, None) => return Ok(None),
            (true, Some(axes)) => axes,
            (false, _) => match starts.as_ref().map(Vec::len).or(len(1)).or(len(2)) {
                Some(count) if count <= rank => (0..count as i64).collect(),
                Some(count) => {
                    return Err(Unknown::wrong(format!("{count} starts do not fit a tensor of rank {rank}")));
                }
                None => return Ok(None),
            },
        };
        let axes = distinct_axes(&axes, rank)?;
        let steps = match (ctx.has_input(4), ctx.known_ints(4)) {
            (true, None) => vec![0; axes.len()],
            (true, Some(steps)) if steps.contains(&0) => return Err(Unknown::wrong("a step may not be 0")),
            (true, Some(steps)) => steps,
            (false, _) => vec![1; axes.len()],
        };
        let unknown = |input: usize| (0..axes.len()).map(|i| Dim::unknown(&format!("{input}.{i}"))).collect();
        // A step of 0 stands for one that is not known.
        let known = starts.is_some() && ends.is_some();
        let steps = if known { steps } else { vec![0; axes.len()] };
        let starts = starts.unwrap_or_else(|| unknown(1));
        let ends = ends.unwrap_or_else(|| unknown(2));
        if [starts.len(), ends.len(), steps.len()].iter().any(|&n| n != axes.len()) {
            return Err(Unknown::wrong(format!(
                "{} starts, {} ends, {} axes and {} steps do not fit each other",
                starts.len(),
                ends.len(),
                axes.len(),
                steps.len()
            )));
        }
        Ok(Some(Ranges { axes, starts, ends, steps }))
    }
}

impl Op for Slice {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(mut dims) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let Some(ranges) = Ranges::new(ctx, dims.len())? else {
            let dims: Dims = (0..dims.len()).map(|axis| ctx.unknown_dim(0, axis)).collect();
            ctx.set_tensor(0, dtype, dims);
            return Ok(());
        };
        let mut values = ctx.ints(0).filter(|ints| !ints.scalar);
        for (i, &axis) in ranges.axes.iter().enumerate() {
            let (start, end, step) = (ranges.starts[i], ranges.ends[i], ranges.steps[i]);
            let known = (start.as_known(), end.as_known(), dims[axis].as_size());
            dims[axis] = match known {
                (Some(start), Some(end), Some(size)) if step != 0 => {
                    let (from, count) = range(start, end, step, size)?;
                    if let Some(values) = &mut values {
                        let place = |n: usize| {
                            let at = (n as i64).checked_mul(step)?.checked_add(from as i64)?;
                            values.dims.get(usize::try_from(at).ok()?).copied()
                        };
                        let picked: Option<Dims> = (0..count).map(place).collect();
                        values.dims = picked.unwrap_or_default();
                    }
                    Dim::from(count)
                }
                // All of the axis, whatever the step.
                (Some(0), Some(end), None) if end >= i64::from(i32::MAX) && step > 1 => {
                    dims[axis].ceil_div(Dim::known(step))
                }
                (Some(-1), Some(end), None) if end <= i64::from(i32::MIN) && step == -1 => dims[axis],
                _ => {
                    values = None;
                    let size = if step == 1 { symbolic(start, end, dims[axis]) } else { None };
                    size.unwrap_or_else(|| ctx.unknown_dim(0, axis))
                }
            };
        }
        if let Some(values) = values {
            ctx.set_ints(0, values.dims, false);
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let (starts, ends) = (run.ints(1)?, run.ints(2)?);
            let axes = run.try_ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
            let steps = run.try_ints(4)?.unwrap_or_else(|| IntList::from_elem(1, axes.len()));
            if [starts.len(), ends.len(), steps.len()].iter().any(|&n| n != axes.len()) {
                return Err(OpError::new(format!(
                    "starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} differ in length"
                )));
            }
            let mut data = run.take(0)?;
            for (i, axis) in distinct_axes(&axes, data.rank())?.into_iter().enumerate() {
                let (start, count) = range(starts[i], ends[i], steps[i], data.shape()[axis])?;
                let step = if count <= 1 { 1 } else { steps[i] };
                let step =
                    isize::try_from(step).map_err(|_| OpError::new(format!("the step {step} is too far")))?;
                data = data.slice_axis(axis, start, count, step)?;
            }
            run.set(0, data);
            Ok(())
        })
    }
}
