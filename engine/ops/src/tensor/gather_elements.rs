//! [GatherElements](https://onnx.ai/onnx/operators/onnx__GatherElements.html): single elements, named by indices
//! along an axis.

use super::moves::{Move, move_elements};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_kernels::gather;
use oxidane_pool::Pool;

attributes! {
    /// In the indices' shape: the element in the same place but along `axis`, where the index says. Negative
    /// indices count from the end.
    pub struct GatherElements { axis: i64 = 0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::PLAIN, "T"), Param::one("indices", types::INDEX, "Tind")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of GatherElements.
pub static ROOM: Room = Room {
    domain: "",
    name: "GatherElements",
    since: &[11, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GatherElements::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // The specification's examples.
        vec![
            Case::new("columns", GatherElements { axis: 1 })
                .input(floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))
                .input(ints(&[2, 2], &[0, 0, 1, 0]))
                .expect(floats(&[2, 2], &[1.0, 1.0, 4.0, 3.0])),
            Case::new("rows from the end", GatherElements { axis: 0 })
                .input(floats(&[3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]))
                .input(ints(&[2, 3], &[-1, -2, 0, -2, 0, 0]))
                .expect(floats(&[2, 3], &[7.0, 5.0, 3.0, 4.0, 2.0, 3.0])),
            Case::new("none", GatherElements { axis: 0 })
                .input(floats(&[3, 1], &[1.0, 2.0, 3.0]))
                .input(ints(&[0, 1], &[]))
                .expect(floats(&[0, 1], &[])),
        ]
    },
};

impl Op for GatherElements {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match ctx.shape(1).map(Dims::from_slice) {
            Some(dims) => {
                axis_index(self.axis, dims.len())?;
                if ctx.shape(0).is_some_and(|data| data.len() != dims.len()) {
                    return Err(Unknown::wrong("data and indices differ in rank"));
                }
                ctx.set_tensor(0, dtype, dims);
            }
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let indices = run.ints(1)?;
            let shape = run.tensor(1)?.shape().to_vec();
            let data = run.take(0)?;
            let axis = axis_index(op.axis, data.rank())?;
            let picked = Elements { shape: data.shape(), axis, indices: &indices, indices_shape: &shape };
            move_elements(run, 0, &[&data], &shape, &picked)
        })
    }
}

struct Elements<'a> {
    shape: &'a [usize],
    axis: usize,
    indices: &'a [i64],
    indices_shape: &'a [usize],
}

impl Move for Elements<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        _: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        let indices = (self.indices, self.indices_shape);
        Ok(gather::gather_elements((sources[0], self.shape), self.axis, indices, output)?)
    }
}
