//! Block: dense channels (batch, channels, spatial...) become blocks (batch, blocks, spatial..., 16).

use super::{BLOCK, DOMAIN, blocks};
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::blocked;
use smallvec::SmallVec;

attributes! {
    /// Brings channels into blocks of 16; lanes beyond them are zero.
    pub struct Block {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT32, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "T")],
};

/// The room of Block.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Block",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Block::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let mut one = vec![0.0; 16];
        one[..2].copy_from_slice(&[3.0, 4.0]);
        vec![
            Case::new("two", Block {})
                .input(floats(&[1, 2, 1], &[3.0, 4.0]))
                .expect(floats(&[1, 1, 1, 16], &one)),
            Case::new("planes", Block {}).input(noise(&[2, 35, 3, 5], 1)),
            Case::new("empty", Block {}).input(floats(&[0, 3, 2], &[])).expect(floats(&[0, 1, 2, 16], &[])),
        ]
    },
};

impl Op for Block {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(x) = ctx.shape(0) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let [batch, channels, spatial @ ..] = x else {
            return Err(Unknown::wrong("a tensor to be blocked needs a batch and channels"));
        };
        let mut dims = Dims::from_slice(&[*batch, blocks(*channels)]);
        dims.extend(spatial.iter().copied());
        dims.push(Dim::from(BLOCK));
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let x = run.dense(0)?;
            let [batch, channels, spatial @ ..] = x.shape() else {
                return Err(OpError::new("a tensor to be blocked needs a batch and channels"));
            };
            let positions = spatial.iter().product();
            let mut shape: SmallVec<[usize; 6]> = SmallVec::from_slice(&[*batch, channels.div_ceil(BLOCK)]);
            shape.extend_from_slice(spatial);
            shape.push(BLOCK);
            let pool = run.pool();
            run.write::<f32>(0, &shape, |out| {
                Ok(blocked::block(pool, *batch, *channels, positions, x.slice()?, out)?)
            })
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let rank = f.rank(x)? as i64;
        let channels = f.build().ty(x).and_then(|t| t.shape()).and_then(|d| d[1].as_known());
        let Some(channels) = channels else { return Ok(None) };
        let lanes = BLOCK as i64;
        let missing = (lanes - channels % lanes) % lanes;
        let mut pads = vec![0; 2 * rank as usize];
        pads[rank as usize + 1] = missing;
        let (pads, zero) = (f.ints(&pads)?, f.number(0.0, x)?);
        let padded = f.op("Pad", &[x, pads, zero])?;
        let shape = f.op("Shape", &[padded])?;
        let batch = f.slice(shape, 0, 0, 1)?;
        let spatial = f.slice(shape, 0, 2, rank)?;
        let split = f.ints(&[(channels + missing) / lanes, lanes])?;
        let shape = f.concat(&[batch, split, spatial], 0)?;
        let y = f.with("Reshape", plain().with("allowzero", true), &[padded, shape])?;
        let order: Vec<i64> = [0, 1].into_iter().chain(3..=rank).chain([2]).collect();
        Ok(Some(vec![f.transpose(y, &order)?]))
    }
}
