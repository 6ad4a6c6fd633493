//! [DepthToSpace](https://onnx.ai/onnx/operators/onnx__DepthToSpace.html): channels become blocks of the picture.

use super::moves::{Move, move_elements};
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, Step, attributes, floats, noise, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown, ValueId, kernel,
    shared,
};
use oxidane_kernels::shuffle;
use oxidane_pool::Pool;

attributes! {
    /// Each group of `blocksize` squared channels becomes squares of `blocksize` by `blocksize`.
    pub struct DepthToSpace {
        blocksize: i64,
        /// `DCR`: the place in the block is the slower part of the channel; `CRD`: the faster.
        mode: String = "DCR".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of DepthToSpace.
pub static ROOM: Room = Room {
    domain: "",
    name: "DepthToSpace",
    since: &[1, 11, 13, 28],
    signature: &SIGNATURE,
    read: |a| {
        let op = DepthToSpace::read(a)?;
        check(op.blocksize, &op.mode)?;
        Ok(shared(op))
    },
    steps: &[Step { to: 11, up: |_| Ok(()), down: |d| d.drop_default("mode", "DCR".to_owned()) }],
    cases: || {
        crate::with_cases!();
        let of = |mode: &str| DepthToSpace { blocksize: 2, mode: mode.to_owned() };
        let x = || floats(&[1, 8, 1, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        // NumPy: the specification's reshape, transpose and reshape.
        vec![
            Case::new("DCR", of("DCR"))
                .input(x())
                .expect(floats(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0])),
            Case::new("CRD", of("CRD"))
                .input(x())
                .expect(floats(&[1, 2, 2, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])),
            Case::new("picture", of("DCR")).input(noise(&[2, 12, 3, 5], 1)),
        ]
    },
};

/// Checks the attributes that DepthToSpace and SpaceToDepth share.
pub(crate) fn check(blocksize: i64, mode: &str) -> Result<usize, OpError> {
    if !matches!(mode, "DCR" | "CRD") {
        return Err(OpError::new(format!("there is no mode `{mode}`")).help("it may be DCR or CRD"));
    }
    match usize::try_from(blocksize) {
        Ok(block @ 1..=0xFFFF) => Ok(block),
        _ => Err(OpError::new(format!("the blocksize {blocksize} must be between 1 and 65535"))),
    }
}

/// The input, seen with the dimensions `seen`, with those in another order.
pub(crate) struct Reordered<'a> {
    pub(crate) seen: &'a [usize],
    pub(crate) order: &'a [usize],
}

impl Move for Reordered<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        Ok(shuffle::transpose(pool, (sources[0], self.seen), self.order, output)?)
    }
}

/// The four sizes of input 0.
pub(crate) fn picture(run: &Run<'_>) -> Result<[usize; 4], OpError> {
    let shape = run.tensor(0)?.shape();
    <[usize; 4]>::try_from(shape).map_err(|_| {
        OpError::new(format!("the input has the shape {shape:?}"))
            .help("it must have four dimensions: batch, channels, height, width")
    })
}

/// The four symbolic sizes of input 0, where its rank is known.
pub(crate) fn picture_dims(ctx: &InferCtx<'_>) -> Result<Option<[Dim; 4]>, Unknown> {
    let Some(shape) = ctx.shape(0) else { return Ok(None) };
    match <[Dim; 4]>::try_from(shape) {
        Ok(sizes) => Ok(Some(sizes)),
        Err(_) => Err(Unknown::wrong(format!("the input has rank {}, but must have 4", shape.len()))),
    }
}

/// The quotient of sizes that must divide without rest.
pub(crate) fn exact(size: Dim, by: Dim, what: &str) -> Result<Dim, Unknown> {
    match (size.divide_exactly(by), size.as_known()) {
        (Some(part), _) => Ok(part),
        (None, None) => Ok(size.floor_div(by)),
        (None, Some(size)) => Err(Unknown::wrong(format!("the {what} {size} is not a multiple of {by}"))),
    }
}

impl Op for DepthToSpace {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let block = Dim::known(self.blocksize);
        match picture_dims(ctx)? {
            Some([n, c, h, w]) => {
                let c = exact(c, block * block, "number of channels")?;
                ctx.set_tensor(0, dtype, [n, c, h * block, w * block]);
            }
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let [rows, columns] = [2i64, 3].map(|axis| (axis, axis + 1));
        let mut side =
            |(start, end): (i64, i64)| f.with("Shape", plain().with("start", start).with("end", end), &[x]);
        let (rows, columns) = (side(rows)?, side(columns)?);
        let (block, rest) = (f.ints(&[self.blocksize])?, f.ints(&[-1])?);
        let batch = f.with("Shape", plain().with("end", 1i64), &[x])?;
        let (split, order) = match self.mode.as_str() {
            "DCR" => ([batch, block, block, rest, rows, columns], [0, 3, 4, 1, 5, 2]),
            _ => ([batch, rest, block, block, rows, columns], [0, 1, 4, 2, 5, 3]),
        };
        let split = f.concat(&split, 0)?;
        let parts = f.op("Reshape", &[x, split])?;
        let parts = f.transpose(parts, &order)?;
        let (tall, wide) = (f.op("Mul", &[rows, block])?, f.op("Mul", &[columns, block])?);
        let shape = f.concat(&[batch, rest, tall, wide], 0)?;
        Ok(Some(vec![f.op("Reshape", &[parts, shape])?]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let b = check(self.blocksize, &self.mode)?;
        let rows_first = self.mode == "DCR";
        kernel(move |run| {
            let [n, c, h, w] = picture(run)?;
            if c % (b * b) != 0 {
                return Err(OpError::new(format!("{c} channels are not a multiple of {}", b * b)));
            }
            let depth = c / (b * b);
            let (seen, order) = match rows_first {
                true => ([n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2]),
                false => ([n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3]),
            };
            let wide =
                |size: usize| size.checked_mul(b).ok_or_else(|| OpError::new("the output is too large"));
            let shape = [n, depth, wide(h)?, wide(w)?];
            let data = run.take(0)?;
            move_elements(run, 0, &[&data], &shape, &Reordered { seen: &seen, order: &order })
        })
    }
}
