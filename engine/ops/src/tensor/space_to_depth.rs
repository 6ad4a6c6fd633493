//! [SpaceToDepth](https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html): blocks of the picture become channels.

use super::depth_to_space::{Reordered, check, exact, picture, picture_dims};
use super::moves::move_elements;
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, Step, attributes, floats, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel,
    shared,
};

attributes! {
    /// Each square of `blocksize` by `blocksize` becomes so many channels: the inverse of DepthToSpace.
    pub struct SpaceToDepth {
        blocksize: i64,
        /// `DCR`: the place in the block is the slower part of the channel; `CRD`: the faster.
        mode: String = "DCR".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of SpaceToDepth.
pub static ROOM: Room = Room {
    domain: "",
    name: "SpaceToDepth",
    since: &[1, 13, 28],
    signature: &SIGNATURE,
    read: |a| {
        let op = SpaceToDepth::read(a)?;
        check(op.blocksize, &op.mode)?;
        Ok(shared(op))
    },
    steps: &[Step { to: 28, up: |_| Ok(()), down: |d| d.drop_default("mode", "DCR".to_owned()) }],
    cases: || {
        crate::with_cases!();
        let of = |mode: &str| SpaceToDepth { blocksize: 2, mode: mode.to_owned() };
        // The inverse of DepthToSpace's cases.
        vec![
            Case::new("DCR", of("DCR"))
                .input(floats(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]))
                .expect(floats(&[1, 8, 1, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])),
            Case::new("CRD", of("CRD"))
                .input(floats(&[1, 2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]))
                .expect(floats(&[1, 8, 1, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])),
            Case::new("picture", of("DCR")).input(noise(&[2, 3, 6, 4], 1)),
        ]
    },
};

impl Op for SpaceToDepth {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let block = Dim::known(self.blocksize);
        match picture_dims(ctx)? {
            Some([n, c, h, w]) => {
                let (h, w) = (exact(h, block, "height")?, exact(w, block, "width")?);
                ctx.set_tensor(0, dtype, [n, c * block * block, h, w]);
            }
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let mut side = |axis: i64| f.with("Shape", plain().with("start", axis).with("end", axis + 1), &[x]);
        let (batch, channels, rows, columns) = (side(0)?, side(1)?, side(2)?, side(3)?);
        let (block, rest) = (f.ints(&[self.blocksize])?, f.ints(&[-1])?);
        let (low, narrow) = (f.op("Div", &[rows, block])?, f.op("Div", &[columns, block])?);
        let split = f.concat(&[batch, channels, low, block, narrow, block], 0)?;
        let parts = f.op("Reshape", &[x, split])?;
        let order = if self.mode == "DCR" { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
        let parts = f.transpose(parts, &order)?;
        let shape = f.concat(&[batch, rest, low, narrow], 0)?;
        Ok(Some(vec![f.op("Reshape", &[parts, shape])?]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let b = check(self.blocksize, &self.mode)?;
        let rows_first = self.mode == "DCR";
        kernel(move |run| {
            let [n, c, h, w] = picture(run)?;
            if h % b != 0 || w % b != 0 {
                return Err(OpError::new(format!(
                    "a picture of {h} by {w} does not divide into blocks of {b}"
                )));
            }
            let seen = [n, c, h / b, b, w / b, b];
            let order = match rows_first {
                true => [0, 3, 5, 1, 2, 4],
                false => [0, 1, 3, 5, 2, 4],
            };
            let depth = c.checked_mul(b * b).ok_or_else(|| OpError::new("the output is too large"))?;
            let shape = [n, depth, h / b, w / b];
            let data = run.take(0)?;
            move_elements(run, 0, &[&data], &shape, &Reordered { seen: &seen, order: &order })
        })
    }
}
