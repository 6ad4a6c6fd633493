//! [Split](https://onnx.ai/onnx/operators/onnx__Split.html): a tensor cut into several along an axis.

use super::axes::{Axes, front_axis};
use crate::math::cast::Cast;
use crate::{Case, Form, Room, Step, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, axis_index, kernel,
    shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// Pieces along `axis`, of the lengths that the second input states; without it, `num_outputs` equal ones,
    /// of which the last is shorter where it does not come out even.
    pub struct Split { axis: i64 = 0, num_outputs: Option<i64> }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T"), Param::optional("split", types::INT64, "")],
    outputs: &[Param::variadic("outputs", types::PLAIN, "T", 1)],
};

/// The room of Split.
pub static ROOM: Room = Room {
    domain: "",
    name: "Split",
    since: &[1, 2, 11, 13, 18],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Split::read(a)?)),
    steps: &[
        Step {
            to: 2,
            up: |d| {
                // The first version could also take the lengths as an input, of the type of the data.
                let Some(lengths) = d.input(1) else { return Ok(()) };
                match d.constant(1) {
                    Some(lengths) => {
                        let lengths = lengths.cast(DType::I64, CastRules::default())?;
                        d.attributes.set("split", lengths.values::<i64>()?.into_owned());
                        d.drop_input(1);
                    }
                    None => {
                        let lengths = d.add(Cast::new(DType::I64), &[lengths]);
                        d.set_input(1, Some(lengths));
                    }
                }
                Ok(())
            },
            down: |_| Ok(()),
        },
        Step { to: 11, up: |_| Ok(()), down: front_axis },
        Step { to: 13, up: |d| d.ints_to_input("split", 1), down: |d| d.input_to_ints(1, "split") },
        Step {
            to: 18,
            up: |d| {
                if d.input(1).is_none() {
                    let count = d.outputs.len() as i64;
                    d.attributes.set("num_outputs", count);
                }
                Ok(())
            },
            down: |d| {
                let Some(count) = d.take::<i64>("num_outputs")? else { return Ok(()) };
                let outputs = d.outputs.len();
                if usize::try_from(count) != Ok(outputs) {
                    let what = format!("num_outputs is {count}, but the node has {outputs} outputs");
                    return Err(OpError::new(what));
                }
                let axis = d.attributes.value::<i64>("axis")?.unwrap_or(0);
                let size = d.ty(0).and_then(|ty| {
                    let shape = ty.shape()?;
                    shape[axis_index(axis, shape.len()).ok()?].as_size()
                });
                // Equal pieces need no lengths in the older form either, uneven ones do.
                if let (Some(size), Ok(count)) = (size, usize::try_from(count))
                    && count > 0
                    && size % count != 0
                {
                    let lengths: Vec<i64> = even(size, count)?.into_iter().map(|n| n as i64).collect();
                    let lengths = d.add_constant(Tensor::new(&[lengths.len()], &lengths)?);
                    d.set_input(1, Some(lengths));
                }
                Ok(())
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // The official cases test_split_*.
        vec![
            Case::new("even", Split { axis: 0, num_outputs: Some(3) })
                .input(x())
                .outputs(3)
                .expect(floats(&[2], &[1.0, 2.0]))
                .expect(floats(&[2], &[3.0, 4.0]))
                .expect(floats(&[2], &[5.0, 6.0])),
            Case::new("lengths", Split { axis: -1, num_outputs: None })
                .input(floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
                .input(ints(&[2], &[2, 1]))
                .outputs(2)
                .expect(floats(&[2, 2], &[1.0, 2.0, 4.0, 5.0]))
                .expect(floats(&[2, 1], &[3.0, 6.0])),
            Case::new("uneven", Split { axis: 0, num_outputs: Some(4) })
                .input(floats(&[7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]))
                .outputs(4)
                .expect(floats(&[2], &[1.0, 2.0]))
                .expect(floats(&[2], &[3.0, 4.0]))
                .expect(floats(&[2], &[5.0, 6.0]))
                .expect(floats(&[1], &[7.0])),
            Case::new("nothing", Split { axis: 0, num_outputs: None })
                .input(noise(&[0], 1))
                .input(ints(&[2], &[0, 0]))
                .outputs(2)
                .expect(floats(&[0], &[]))
                .expect(floats(&[0], &[])),
        ]
    },
};

/// `size` in `count` pieces that are equal but for the last ones.
fn even(size: usize, count: usize) -> Result<Axes, OpError> {
    if count == 0 {
        return Err(OpError::new("num_outputs must be positive"));
    }
    let most = size.div_ceil(count);
    Ok((0..count).map(|i| size.saturating_sub(most.saturating_mul(i)).min(most)).collect())
}

impl Split {
    /// The number of equal pieces, where the lengths are not stated.
    fn count(&self, outputs: usize) -> Result<usize, OpError> {
        match self.num_outputs {
            Some(n) if n != outputs as i64 => {
                Err(OpError::new(format!("num_outputs is {n}, but the node has {outputs} outputs")))
            }
            _ => Ok(outputs),
        }
    }
}

fn check(lengths: &[i64], outputs: usize, size: Option<i64>) -> Result<(), OpError> {
    let fault = |why: String| Err(OpError::new(format!("the split {lengths:?} {why}")));
    if lengths.len() != outputs {
        return fault(format!("is for {} outputs, but there are {outputs}", lengths.len()));
    }
    if lengths.iter().any(|&n| n < 0) {
        return fault("has negative lengths".into());
    }
    let total = lengths.iter().try_fold(0i64, |sum, &n| sum.checked_add(n));
    match size {
        Some(size) if total != Some(size) => {
            fault(format!("does not add up to {size}, the size of the axis"))
        }
        _ => Ok(()),
    }
}

impl Op for Split {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let outputs = ctx.output_count();
        let Some(shape) = ctx.shape(0).map(Dims::from_slice) else {
            (0..outputs).for_each(|i| ctx.set(i, Type::unranked(dtype)));
            return Ok(());
        };
        let axis = axis_index(self.axis, shape.len())?;
        let size = shape[axis];
        let lengths: Vec<Dim> = if ctx.has_input(1) {
            match ctx.ints(1).filter(|ints| ints.dims.len() == outputs) {
                Some(ints) => {
                    if let Some(known) = ctx.known_ints(1) {
                        check(&known, outputs, size.as_known())?;
                    }
                    ints.dims.to_vec()
                }
                None => match ctx.known_ints(1) {
                    Some(known) => {
                        return Err(Unknown::Wrong(
                            check(&known, outputs, None)
                                .err()
                                .unwrap_or_else(|| OpError::new("the split does not fit the outputs")),
                        ));
                    }
                    None => (0..outputs).map(|i| ctx.unknown_dim(i, axis)).collect(),
                },
            }
        } else {
            let count = self.count(outputs)?;
            let parts = Dim::from(count);
            match size.as_size() {
                Some(size) => even(size, count)?.into_iter().map(Dim::from).collect(),
                None => match size.divide_exactly(parts) {
                    Some(part) => vec![part; count],
                    None => {
                        let most = size.ceil_div(parts);
                        let zero = Dim::known(0);
                        let part = |i: usize| (size - most * Dim::from(i)).max(zero).min(most);
                        (0..count).map(part).collect()
                    }
                },
            }
        };
        let values = ctx.ints(0).filter(|ints| !ints.scalar);
        let mut at = 0usize;
        for (i, &length) in lengths.iter().enumerate() {
            let mut dims = shape.clone();
            dims[axis] = length;
            ctx.set_tensor(i, dtype, dims);
            if let (Some(values), Some(length)) = (&values, length.as_size())
                && let Some(piece) = values.dims.get(at..at.saturating_add(length))
            {
                ctx.set_ints(i, Dims::from_slice(piece), false);
                at += length;
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let lengths = run.try_ints(1)?;
            let data = run.take(0)?;
            let axis = axis_index(op.axis, data.rank())?;
            let size = data.shape()[axis];
            let outputs = run.output_count();
            let lengths: Axes = match lengths {
                Some(lengths) => {
                    check(&lengths, outputs, Some(size as i64))?;
                    lengths.iter().map(|&n| n as usize).collect()
                }
                None => even(size, op.count(outputs)?)?,
            };
            let mut start = 0;
            for (i, length) in lengths.into_iter().enumerate() {
                if run.wants(i) {
                    run.set(i, data.slice_axis(axis, start, length, 1)?);
                }
                start += length;
            }
            Ok(())
        })
    }
}
