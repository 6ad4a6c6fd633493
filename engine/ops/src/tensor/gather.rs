//! [Gather](https://onnx.ai/onnx/operators/onnx__Gather.html): slices along an axis, named by indices.

use super::axes::front_axis;
use super::moves::{Move, move_elements};
use crate::{Case, Form, Room, Step, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_kernels::gather;
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

attributes! {
    /// The slices of the first input along `axis` at the indices, in the indices' shape. Negative indices count
    /// from the end.
    pub struct Gather { axis: i64 = 0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::PLAIN, "T"), Param::one("indices", types::INDEX, "Tind")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Gather.
pub static ROOM: Room = Room {
    domain: "",
    name: "Gather",
    since: &[1, 11, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Gather::read(a)?)),
    steps: &[Step { to: 11, up: |_| Ok(()), down: front_axis }],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[3, 2], &[1.0, 1.2, 2.3, 3.4, 4.5, 5.7]);
        let names = ["a", "b", "c"].map(Arc::from).to_vec();
        // The specification's examples, and NumPy's take.
        vec![
            Case::new("rows", Gather { axis: 0 })
                .input(x())
                .input(ints(&[2, 2], &[0, 1, 1, 2]))
                .expect(floats(&[2, 2, 2], &[1.0, 1.2, 2.3, 3.4, 2.3, 3.4, 4.5, 5.7])),
            Case::new("columns", Gather { axis: -1 })
                .input(x())
                .input(ints(&[1, 2], &[1, -2]))
                .expect(floats(&[3, 1, 2], &[1.2, 1.0, 3.4, 2.3, 5.7, 4.5])),
            Case::new("one", Gather { axis: 1 })
                .input(x())
                .input(ints(&[], &[-1]))
                .expect(floats(&[3], &[1.2, 3.4, 5.7])),
            Case::new("none", Gather { axis: 0 })
                .input(x())
                .input(ints(&[0], &[]))
                .expect(floats(&[0, 2], &[])),
            Case::new("strings", Gather { axis: 0 })
                .input(Tensor::from_strings(&[3], names).expect("three names"))
                .input(Tensor::new(&[2], &[2i32, 0]).expect("two indices"))
                .expect(Tensor::from_strings(&[2], vec![Arc::from("c"), Arc::from("a")]).expect("two names")),
            Case::new("embedding", Gather { axis: 0 })
                .input(noise(&[50, 16], 1))
                .input(ints(&[2, 3], &[4, 49, 0, 17, 4, 30])),
        ]
    },
};

impl Op for Gather {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let (Some(data), Some(indices)) = (ctx.shape(0), ctx.shape(1)) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let axis = axis_index(self.axis, data.len())?;
        let dims: Dims = data[..axis].iter().chain(indices).chain(&data[axis + 1..]).copied().collect();
        if let (Some(size), Some(places)) = (data[axis].as_size(), ctx.known_ints(1)) {
            for &place in &places {
                gather::resolve(place, axis, size)?;
            }
            if let Some(values) = ctx.ints(0).filter(|ints| !ints.scalar)
                && let Some(scalar) = ctx.ints(1).map(|ints| ints.scalar)
            {
                let picked: Option<Vec<Dim>> = places
                    .iter()
                    .map(|&p| values.dims.get(gather::resolve(p, 0, values.dims.len()).ok()?).copied())
                    .collect();
                if let Some(picked) = picked {
                    ctx.set_ints(0, picked.into(), scalar);
                }
            }
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let (given, narrow);
            let indices: &[i64] = if run.tensor(1)?.dtype() == DType::I64 {
                given = run.dense(1)?;
                given.slice()?
            } else {
                narrow = run.ints(1)?;
                &narrow
            };
            let data = run.take(0)?;
            let own = data.shape();
            let axis = axis_index(op.axis, own.len())?;
            let mut shape = Shape::from_slice(&own[..axis]);
            shape.extend_from_slice(run.tensor(1)?.shape());
            shape.extend_from_slice(&own[axis + 1..]);
            if let [index] = indices[..] {
                // One slice is a view.
                let at = gather::resolve(index, axis, own[axis])?;
                run.set(0, data.slice_axis(axis, at, 1, 1)?.reshape(&shape)?);
                return Ok(());
            }
            move_elements(run, 0, &[&data], &shape, &Slices { shape: data.shape(), axis, indices })
        })
    }
}

/// Slices of source 0, of shape `shape`, along an axis.
pub(crate) struct Slices<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) axis: usize,
    pub(crate) indices: &'a [i64],
}

impl Move for Slices<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        Ok(gather::gather(pool, (sources[0], self.shape), self.axis, self.indices, output)?)
    }
}
