//! [OneHot](https://onnx.ai/onnx/operators/onnx__OneHot.html): indices as vectors with one element switched on.

use super::moves::{Move, move_elements};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Types, Unknown, axis_index, kernel,
    shared,
};
use oxidane_kernels::shuffle;
use oxidane_pool::Pool;
use oxidane_tensor::{CastRules, DType, Shape, Tensor, element_count};

attributes! {
    /// A dimension of size `depth` more, at `axis`: the second value where the index says, the first elsewhere.
    pub struct OneHot { axis: i64 = -1 }
}

const NUMBER: Types = types::INTEGER.or(Types::tensors(&[DType::F16, DType::F32, DType::F64]));

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("indices", NUMBER, "T1"),
        Param::one("depth", NUMBER, "T2"),
        Param::one("values", types::PLAIN, "T3"),
    ],
    outputs: &[Param::one("output", types::PLAIN, "T3")],
};

/// The room of OneHot.
pub static ROOM: Room = Room {
    domain: "",
    name: "OneHot",
    since: &[9, 11, 28],
    signature: &SIGNATURE,
    read: |a| Ok(shared(OneHot::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // NumPy: eye(depth)[indices], moved to the axis.
        vec![
            Case::new("last", OneHot { axis: -1 })
                .input(ints(&[3], &[0, -1, 7]))
                .input(floats(&[], &[3.0]))
                .input(floats(&[2], &[1.0, 3.0]))
                .expect(floats(&[3, 3], &[3.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0])),
            Case::new("first", OneHot { axis: 0 })
                .input(floats(&[2], &[1.0, 0.0]))
                .input(ints(&[1], &[2]))
                .input(ints(&[2], &[0, 1]))
                .expect(ints(&[2, 2], &[0, 1, 1, 0])),
            Case::new("middle", OneHot { axis: -2 })
                .input(ints(&[1, 2], &[1, 0]))
                .input(ints(&[], &[3]))
                .input(ints(&[2], &[0, 1]))
                .expect(ints(&[1, 3, 2], &[0, 1, 1, 0, 0, 0])),
        ]
    },
};

/// The number of classes that a tensor of one element states.
fn depth(tensor: &Tensor) -> Result<usize, OpError> {
    match tensor.cast(DType::I64, CastRules::default())?.to_i64s()?.as_slice() {
        [depth] => usize::try_from(*depth)
            .map_err(|_| OpError::new(format!("the depth {depth} may not be negative"))),
        other => Err(OpError::new(format!("the depth must be one number, but has {} elements", other.len()))),
    }
}

struct Hot<'a> {
    indices: &'a [i64],
    sizes: [usize; 3],
}

impl Move for Hot<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        _: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        match sources[0] {
            [off, on] => Ok(shuffle::one_hot(self.indices, self.sizes, (off, on), output)?),
            other => Err(OpError::new(format!("there must be two values, but there are {}", other.len()))),
        }
    }
}

impl Op for OneHot {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(2)?;
        let Some(mut dims) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let axis = axis_index(self.axis, dims.len() + 1)?;
        let known = match ctx.constant(1) {
            Some(tensor) => Some(Dim::from(depth(tensor)?)),
            None => ctx.ints(1).and_then(|ints| ints.dims.first().copied()),
        };
        dims.insert(axis, known.unwrap_or_else(|| ctx.unknown_dim(0, axis)));
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let indices = run.tensor(0)?;
            let depth = depth(run.tensor(1)?)?;
            let values = run.tensor(2)?.clone();
            let own = indices.shape();
            let axis = axis_index(op.axis, own.len() + 1)?;
            let sizes = [element_count(&own[..axis])?, depth, element_count(&own[axis..])?];
            let mut shape = Shape::from_slice(own);
            shape.insert(axis, depth);
            let indices = indices.cast(DType::I64, CastRules::default())?.to_i64s()?;
            move_elements(run, 0, &[&values], &shape, &Hot { indices: &indices, sizes })
        })
    }
}
