//! [GatherND](https://onnx.ai/onnx/operators/onnx__GatherND.html): slices named by tuples of indices.

use super::moves::{Move, move_elements};
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::gather;
use oxidane_pool::Pool;
use oxidane_tensor::Shape;

attributes! {
    /// The slices that the tuples in the last dimension of the indices name, after `batch_dims` leading
    /// dimensions that both inputs share.
    pub struct GatherND { batch_dims: i64 = 0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::PLAIN, "T"), Param::one("indices", types::INT64, "")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of GatherND.
pub static ROOM: Room = Room {
    domain: "",
    name: "GatherND",
    since: &[11, 12, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GatherND::read(a)?)),
    steps: &[Step { to: 12, up: |_| Ok(()), down: |d| d.drop_default("batch_dims", 0i64) }],
    cases: || {
        crate::with_cases!();
        let cube = || floats(&[2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        // The specification's examples.
        vec![
            Case::new("elements", GatherND { batch_dims: 0 })
                .input(floats(&[2, 2], &[0.0, 1.0, 2.0, 3.0]))
                .input(ints(&[2, 2], &[0, 0, 1, -1]))
                .expect(floats(&[2], &[0.0, 3.0])),
            Case::new("rows", GatherND { batch_dims: 0 })
                .input(cube())
                .input(ints(&[2, 1, 2], &[0, 1, 1, 0]))
                .expect(floats(&[2, 1, 2], &[2.0, 3.0, 4.0, 5.0])),
            Case::new("batches", GatherND { batch_dims: 1 })
                .input(cube())
                .input(ints(&[2, 1], &[1, 0]))
                .expect(floats(&[2, 2], &[2.0, 3.0, 4.0, 5.0])),
        ]
    },
};

impl GatherND {
    /// The shape of the result: of the indices but for the tuples, then of a slice.
    fn shape<T: Copy>(&self, data: &[T], indices: &[T], tuple: usize) -> Result<Vec<T>, OpError> {
        let fault = || {
            OpError::new(format!(
                "tuples of {tuple} indices after {} batch dimensions do not fit data of rank {} and indices of rank {}",
                self.batch_dims,
                data.len(),
                indices.len()
            ))
        };
        let batch = usize::try_from(self.batch_dims).map_err(|_| fault())?;
        let taken = batch.checked_add(tuple).filter(|&n| n <= data.len()).ok_or_else(fault)?;
        match indices.split_last() {
            Some((_, lead)) if batch <= lead.len() => Ok([lead, &data[taken..]].concat()),
            _ => Err(fault()),
        }
    }
}

impl Op for GatherND {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let (Some(data), Some(indices)) = (ctx.shape(0), ctx.shape(1)) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let Some(last) = indices.last() else {
            return Err(Unknown::wrong("the indices must have at least one dimension"));
        };
        match last.as_size() {
            Some(tuple) => {
                let batch = usize::try_from(self.batch_dims).unwrap_or(0);
                let clash = data
                    .iter()
                    .zip(indices)
                    .take(batch)
                    .any(|(a, b)| a.as_known().zip(b.as_known()).is_some_and(|(a, b)| a != b));
                if clash {
                    let (a, b) = (ShownDims(data), ShownDims(indices));
                    return Err(Unknown::wrong(format!("the batch dimensions of {a} and {b} differ")));
                }
                let dims: Dims = self.shape(data, indices, tuple)?.into();
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
            let indices_shape = run.tensor(1)?.shape().to_vec();
            let data = run.take(0)?;
            let tuple = indices_shape.last().copied().unwrap_or(0);
            let shape: Shape = op.shape(data.shape(), &indices_shape, tuple)?.into();
            let picked = Tuples {
                shape: data.shape(),
                batch: usize::try_from(op.batch_dims).unwrap_or(0),
                indices: &indices,
                indices_shape: &indices_shape,
            };
            move_elements(run, 0, &[&data], &shape, &picked)
        })
    }
}

struct Tuples<'a> {
    shape: &'a [usize],
    batch: usize,
    indices: &'a [i64],
    indices_shape: &'a [usize],
}

impl Move for Tuples<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        _: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        let indices = (self.indices, self.indices_shape);
        Ok(gather::gather_nd((sources[0], self.shape), indices, self.batch, output)?)
    }
}
