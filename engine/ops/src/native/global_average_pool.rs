//! GlobalAveragePool on channels in blocks of 16.

use super::{BLOCK, DOMAIN, parts, sizes};
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::blocked;
use smallvec::SmallVec;

attributes! {
    /// The mean over all positions: spatial sizes become one.
    pub struct GlobalAveragePool {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT32, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "T")],
};

/// The room of GlobalAveragePool.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "GlobalAveragePool",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GlobalAveragePool::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let lines: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let means: Vec<f32> = (8..24).map(|i| i as f32).collect();
        vec![
            Case::new("two", GlobalAveragePool {})
                .input(floats(&[1, 1, 2, 16], &lines))
                .expect(floats(&[1, 1, 1, 16], &means)),
            Case::new("planes", GlobalAveragePool {}).input(noise(&[2, 3, 7, 5, 16], 1)),
        ]
    },
};

impl Op for GlobalAveragePool {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(x) = ctx.shape(0) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let (batch, blocks, spatial) = parts(x)?;
        let mut dims = Dims::from_slice(&[batch, blocks]);
        dims.extend(spatial.iter().map(|_| Dim::known(1)));
        dims.push(Dim::from(BLOCK));
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let x = run.dense(0)?;
            let (batch, blocks, spatial) = sizes(x.shape())?;
            let positions = spatial.iter().product();
            let mut shape: SmallVec<[usize; 6]> = SmallVec::from_slice(&[batch, blocks]);
            shape.extend(spatial.iter().map(|_| 1));
            shape.push(BLOCK);
            let pool = run.pool();
            run.write::<f32>(0, &shape, |out| {
                Ok(blocked::global_average(pool, batch * blocks, positions, x.slice()?, out)?)
            })
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let axes: Vec<i64> = (2..f.rank(x)? as i64 - 1).collect();
        let axes = f.ints(&axes)?;
        Ok(Some(vec![f.with("ReduceMean", plain().with("keepdims", true), &[x, axes])?]))
    }
}
