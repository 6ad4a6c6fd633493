//! Unblock: blocks (batch, blocks, spatial..., 16) become dense channels (batch, channels, spatial...).

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
    /// Brings channels out of blocks of 16.
    pub struct Unblock {
        /// How many channels the blocks hold.
        channels: i64,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT32, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "T")],
};

/// The room of Unblock.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Unblock",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| {
        let op = Unblock::read(a)?;
        if op.channels < 0 {
            return Err(OpError::new(format!(
                "attribute `channels` is {}, but must not be negative",
                op.channels
            )));
        }
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        let line: Vec<f32> = (0..16).map(|i| i as f32).collect();
        vec![
            Case::new("three", Unblock { channels: 3 })
                .input(floats(&[1, 1, 1, 16], &line))
                .expect(floats(&[1, 3, 1], &[0.0, 1.0, 2.0])),
            Case::new("planes", Unblock { channels: 35 }).input(noise(&[2, 3, 3, 5, 16], 1)),
        ]
    },
};

impl Op for Unblock {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(x) = ctx.shape(0) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let (batch, _, spatial) = parts(x)?;
        let mut dims = Dims::from_slice(&[batch, Dim::known(self.channels)]);
        dims.extend(spatial.iter().copied());
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let channels = usize::try_from(self.channels).map_err(|_| OpError::new("`channels` is negative"))?;
        kernel(move |run| {
            let x = run.dense(0)?;
            let (batch, _, spatial) = sizes(x.shape())?;
            let positions = spatial.iter().product();
            let mut shape: SmallVec<[usize; 6]> = SmallVec::from_slice(&[batch, channels]);
            shape.extend_from_slice(spatial);
            let pool = run.pool();
            run.write::<f32>(0, &shape, |out| {
                Ok(blocked::unblock(pool, batch, channels, positions, x.slice()?, out)?)
            })
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let rank = f.rank(x)? as i64;
        let order: Vec<i64> = [0, 1, rank - 1].into_iter().chain(2..rank - 1).collect();
        let turned = f.transpose(x, &order)?;
        let shape = f.op("Shape", &[turned])?;
        let batch = f.slice(shape, 0, 0, 1)?;
        let spatial = f.slice(shape, 0, 3, rank)?;
        let all = f.ints(&[(self.channels as usize).next_multiple_of(BLOCK) as i64])?;
        let shape = f.concat(&[batch, all, spatial], 0)?;
        let y = f.with("Reshape", plain().with("allowzero", true), &[turned, shape])?;
        Ok(Some(vec![f.slice(y, 1, 0, self.channels)?]))
    }
}
