//! [TensorScatter](https://onnx.ai/onnx/operators/onnx__TensorScatter.html): new rows written into a cache.

use crate::tensor::moves::{Move, move_elements};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_pool::Pool;
use oxidane_tensor::element_count;

attributes! {
    /// The cache with the rows of the update in place of its own, from an index of each batch on.
    pub struct TensorScatter {
        /// The axis of the rows, which is not the first.
        axis: i64 = -2,
        /// `linear`, or `circular` to go on at the start of the cache behind its end.
        mode: String = "linear".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("past_cache", types::ALL, "T"),
        Param::one("update", types::ALL, "T"),
        Param::optional("write_indices", types::INT64, ""),
    ],
    outputs: &[Param::one("present_cache", types::ALL, "T")],
};

/// The room of TensorScatter.
pub static ROOM: Room = Room {
    domain: "",
    name: "TensorScatter",
    since: &[24],
    signature: &SIGNATURE,
    read: |a| Ok(shared(TensorScatter::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |axis, mode: &str| TensorScatter { axis, mode: mode.to_owned() };
        let cache = || floats(&[2, 3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        let two = || floats(&[2, 2, 2], &[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0]);
        // Worked out by hand from the specification.
        vec![
            Case::new("start", op(-2, "linear")).input(cache()).input(two()).expect(floats(
                &[2, 3, 2],
                &[-1.0, -2.0, -3.0, -4.0, 4.0, 5.0, -5.0, -6.0, -7.0, -8.0, 10.0, 11.0],
            )),
            Case::new("places", op(1, "linear"))
                .input(cache())
                .input(two())
                .input(ints(&[2], &[0, 1]))
                .expect(floats(
                    &[2, 3, 2],
                    &[-1.0, -2.0, -3.0, -4.0, 4.0, 5.0, 6.0, 7.0, -5.0, -6.0, -7.0, -8.0],
                )),
            Case::new("circular", op(1, "circular"))
                .input(cache())
                .input(two())
                .input(ints(&[2], &[2, 4]))
                .expect(floats(
                    &[2, 3, 2],
                    &[-3.0, -4.0, 2.0, 3.0, -1.0, -2.0, 6.0, 7.0, -5.0, -6.0, -7.0, -8.0],
                )),
            Case::new("last axis", op(-1, "linear"))
                .input(ints(&[1, 2, 3], &[1, 2, 3, 4, 5, 6]))
                .input(ints(&[1, 2, 1], &[7, 8]))
                .input(ints(&[1], &[2]))
                .expect(ints(&[1, 2, 3], &[1, 2, 7, 4, 5, 8])),
        ]
    },
};

impl TensorScatter {
    fn circular(&self) -> Result<bool, OpError> {
        match self.mode.as_str() {
            "linear" => Ok(false),
            "circular" => Ok(true),
            other => Err(OpError::new(format!("mode is `{other}`, but may be linear or circular"))),
        }
    }

    fn axis(&self, rank: usize) -> Result<usize, OpError> {
        match axis_index(self.axis, rank)? {
            0 => Err(OpError::new("axis 0 is the batch, along which nothing is written")),
            axis => Ok(axis),
        }
    }
}

/// The cache as `[batch, line, row, element]` with the rows of each batch written from a start on.
struct Write<'a> {
    lines: usize,
    rows: usize,
    new_rows: usize,
    inner: usize,
    starts: &'a [usize],
}

impl Move for Write<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        _: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        let [cache, update] = sources else { return Err(OpError::new("two inputs are needed")) };
        output.clone_from_slice(cache);
        let (line, new_line) = (self.rows * self.inner, self.new_rows * self.inner);
        if new_line == 0 {
            return Ok(());
        }
        for (i, from) in update.chunks_exact(new_line).enumerate() {
            let start = self.starts[i / self.lines];
            let to = &mut output[i * line..][..line];
            // What does not fit behind the start goes on at the beginning.
            let before = self.new_rows.min(self.rows - start) * self.inner;
            to[start * self.inner..][..before].clone_from_slice(&from[..before]);
            to[..new_line - before].clone_from_slice(&from[before..]);
        }
        Ok(())
    }
}

impl Op for TensorScatter {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.circular()?;
        let cache = ctx.known_ty(0)?.clone();
        if let Some(shape) = cache.shape() {
            let axis = self.axis(shape.len())?;
            if let Some(update) = ctx.shape(1) {
                let clash = |i: usize| match (shape[i].as_known(), update[i].as_known()) {
                    (Some(a), Some(b)) => {
                        if i == axis {
                            b > a
                        } else {
                            a != b
                        }
                    }
                    _ => false,
                };
                if update.len() != shape.len() || (0..shape.len()).any(clash) {
                    return Err(Unknown::wrong(format!(
                        "an update of {} does not go into a cache of {} along axis {axis}",
                        ShownDims(update),
                        ShownDims(shape)
                    )));
                }
            }
        }
        ctx.set(0, cache);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        let circular = self.circular()?;
        kernel(move |run| {
            let starts = run.try_ints(2)?;
            let (cache, update) = (run.tensor(0)?.clone(), run.tensor(1)?.clone());
            let shape = cache.shape().to_vec();
            let axis = op.axis(shape.len())?;
            let (batches, rows) = (shape[0], shape[axis]);
            let fits = update.rank() == shape.len()
                && (0..shape.len()).all(|i| update.shape()[i] == shape[i] || i == axis)
                && update.shape()[axis] <= rows;
            if !fits {
                return Err(OpError::new(format!(
                    "an update of {:?} does not go into a cache of {shape:?} along axis {axis}",
                    update.shape()
                )));
            }
            let new_rows = update.shape()[axis];
            let starts = starts.unwrap_or_else(|| oxidane_graph::IntList::from_elem(0, batches));
            if starts.len() != batches {
                return Err(OpError::new(format!(
                    "write_indices has {} elements for {batches} batches",
                    starts.len()
                )));
            }
            let place = |(b, &start): (usize, &i64)| {
                let room = if circular { i64::MAX } else { (rows - new_rows) as i64 };
                match usize::try_from(start).ok().filter(|_| start <= room) {
                    // A cache without rows takes no rows.
                    Some(at) => Ok(at.checked_rem(rows).filter(|_| circular).unwrap_or(at.min(rows))),
                    None => Err(OpError::new(format!(
                        "write_indices[{b}] is {start}, but {new_rows} rows are to be written into {rows}"
                    ))
                    .help("indices must not be negative, and in linear mode the rows must fit behind them")),
                }
            };
            let starts = starts.iter().enumerate().map(place).collect::<Result<Vec<_>, _>>()?;
            let lines = element_count(&shape[1..axis])?.max(1);
            let inner = element_count(&shape[axis + 1..])?;
            let write = Write { lines, rows, new_rows, inner, starts: &starts };
            move_elements(run, 0, &[&cache, &update], &shape, &write)
        })
    }
}
