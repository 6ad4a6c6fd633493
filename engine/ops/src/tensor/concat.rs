//! [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html): tensors one after another along an axis.

use super::axes::front_axis;
use super::moves::{Move, move_elements};
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, Step, attributes, floats, ints, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, ShownDims, Signature, Unknown, ValueId,
    axis_index, kernel, shared,
};
use oxidane_kernels::shuffle;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor, dims, element_count};
use smallvec::SmallVec;

attributes! {
    /// The inputs one after another along `axis`; their other sizes are equal.
    pub struct Concat { axis: i64 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::variadic("inputs", types::PLAIN, "T", 1)],
    outputs: &[Param::one("concat_result", types::PLAIN, "T")],
};

/// The room of Concat.
pub static ROOM: Room = Room {
    domain: "",
    name: "Concat",
    since: &[1, 4, 11, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Concat::read(a)?)),
    steps: &[
        Step {
            to: 4,
            up: |d| {
                if d.attributes.get("axis").is_none() {
                    d.attributes.set("axis", 1i64);
                }
                Ok(())
            },
            down: |_| Ok(()),
        },
        Step { to: 11, up: |_| Ok(()), down: front_axis },
    ],
    cases: || {
        crate::with_cases!();
        let (a, b) = (|| floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), || floats(&[2, 2], &[5.0, 6.0, 7.0, 8.0]));
        // The official cases test_concat_2d_*.
        vec![
            Case::new("rows", Concat { axis: 0 })
                .input(a())
                .input(b())
                .expect(floats(&[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])),
            Case::new("columns", Concat { axis: -1 })
                .input(a())
                .input(b())
                .expect(floats(&[2, 4], &[1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0])),
            Case::new("an empty one", Concat { axis: 0 })
                .input(ints(&[0], &[]))
                .input(ints(&[2], &[7, 8]))
                .expect(ints(&[2], &[7, 8])),
            Case::new("three of 16 bits", Concat { axis: 1 })
                .input(noise_of(DType::BF16, &[2, 3, 4], 1))
                .input(noise_of(DType::BF16, &[2, 1, 4], 2))
                .input(noise_of(DType::BF16, &[2, 2, 4], 3)),
        ]
    },
};

impl Op for Concat {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let count = ctx.input_count();
        let mut dtype = None;
        let mut dims: Option<Dims> = None;
        for input in 0..count {
            dtype = dtype.or(ctx.dtype(input).ok());
            let Some(shape) = ctx.shape(input) else { continue };
            let axis = axis_index(self.axis, shape.len())?;
            let Some(dims) = &mut dims else {
                dims = Some(Dims::from_slice(shape));
                continue;
            };
            let clash = || {
                let (a, b) = (ShownDims(dims), ShownDims(shape));
                Unknown::wrong(format!("{a} and {b} cannot be put together along axis {axis}"))
            };
            if dims.len() != shape.len() {
                return Err(clash());
            }
            let mut met = dims.clone();
            for (i, (to, &from)) in met.iter_mut().zip(shape).enumerate() {
                *to = match (to.as_known(), from.as_known()) {
                    _ if i == axis => *to + from,
                    (Some(a), Some(b)) if a != b => return Err(clash()),
                    (None, Some(_)) => from,
                    (None, None) if to.is_unknown() => from,
                    _ => *to,
                };
            }
            *dims = met;
        }
        let Some(dtype) = dtype else {
            return Err(Unknown::Because("the element type of no input is known".into()));
        };
        let Some(mut dims) = dims else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        if (0..count).any(|i| ctx.shape(i).is_none()) {
            let axis = axis_index(self.axis, dims.len())?;
            dims[axis] = ctx.unknown_dim(0, axis);
        }
        let ints: Option<Vec<_>> = (0..count).map(|i| ctx.ints(i).filter(|ints| !ints.scalar)).collect();
        if let Some(ints) = ints {
            ctx.set_ints(0, ints.into_iter().flat_map(|i| i.dims).collect::<Dims>(), false);
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let count = build.graph().node(node).formal_inputs().len();
        let Some(&Some(gradient)) = outputs.first() else { return Ok(vec![None; count]) };
        let f = &mut Formula::new(build, node);
        let axis = axis_index(self.axis, f.rank(gradient)?)? as i64;
        let mut sizes = Vec::with_capacity(count);
        for slot in 0..count {
            let x = f.need(slot)?;
            sizes.push(f.with("Shape", plain().with("start", axis).with("end", axis + 1), &[x])?);
        }
        let sizes = f.concat(&sizes, 0)?;
        let parts = f.node("Split", &plain().with("axis", axis), &[Some(gradient), Some(sizes)], count)?;
        Ok(parts.into_iter().map(Some).collect())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let inputs: SmallVec<[Tensor; 4]> =
                (0..run.input_count()).map(|i| run.tensor(i).cloned()).collect::<Result<_, _>>()?;
            let inputs: SmallVec<[&Tensor; 4]> = inputs.iter().collect();
            concat(run, 0, &inputs, op.axis)
        })
    }
}

/// Sets output `output` to the tensors one after another along `axis`.
///
/// # Errors
/// When there is none, or their types, ranks or other sizes differ.
pub(crate) fn concat(
    run: &mut oxidane_graph::Run<'_>,
    output: usize,
    inputs: &[&Tensor],
    axis: i64,
) -> Result<(), OpError> {
    let first = *inputs.first().ok_or_else(|| OpError::new("there is nothing to put together"))?;
    let axis = axis_index(axis, first.rank())?;
    let mut shape = dims(first.shape());
    shape[axis] = 0;
    for input in inputs {
        let own = input.shape();
        if own.len() != shape.len() || (0..own.len()).any(|i| i != axis && own[i] != shape[i]) {
            return Err(OpError::new(format!(
                "{:?} and {own:?} cannot be put together along axis {axis}",
                first.shape()
            )));
        }
        let total = shape[axis].checked_add(own[axis]);
        shape[axis] =
            total.ok_or_else(|| OpError::new("the sizes add up to more than memory can address"))?;
    }
    let inner = element_count(&shape[axis + 1..])?;
    let outer = element_count(&shape[..axis])?;
    let pieces: SmallVec<[usize; 4]> = inputs.iter().map(|i| i.shape()[axis].saturating_mul(inner)).collect();
    move_elements(run, output, inputs, &shape, &Pieces { outer, pieces: &pieces })
}

/// Rows made of a piece of each source in turn, of these lengths.
struct Pieces<'a> {
    outer: usize,
    pieces: &'a [usize],
}

impl Move for Pieces<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        if output.is_empty() {
            return Ok(());
        }
        let parts: SmallVec<[(&[T], usize); 4]> =
            sources.iter().copied().zip(self.pieces.iter().copied()).collect();
        Ok(shuffle::concat(pool, &parts, self.outer, output)?)
    }
}
