//! [ReverseSequence](https://onnx.ai/onnx/operators/onnx__ReverseSequence.html): sequences of several lengths
//! turned round.

use super::moves::{Move, move_elements};
use super::scatter_elements::like_data;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::shuffle;
use oxidane_pool::Pool;

attributes! {
    /// For each entry of the batch, so many first steps in time turned round as the second input says.
    pub struct ReverseSequence { batch_axis: i64 = 1, time_axis: i64 = 0 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T"), Param::one("sequence_lens", types::INT64, "")],
    outputs: &[Param::one("Y", types::PLAIN, "T")],
};

/// The room of ReverseSequence.
pub static ROOM: Room = Room {
    domain: "",
    name: "ReverseSequence",
    since: &[10, 28],
    signature: &SIGNATURE,
    read: |a| {
        let op = ReverseSequence::read(a)?;
        op.axes()?;
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        // The specification's examples.
        vec![
            Case::new("time first", ReverseSequence { batch_axis: 1, time_axis: 0 })
                .input(floats(&[4, 2], &[0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]))
                .input(ints(&[2], &[4, 2]))
                .expect(floats(&[4, 2], &[3.0, 5.0, 2.0, 4.0, 1.0, 6.0, 0.0, 7.0])),
            Case::new("batch first", ReverseSequence { batch_axis: 0, time_axis: 1 })
                .input(ints(&[2, 3, 1], &[0, 1, 2, 3, 4, 5]))
                .input(ints(&[2], &[1, 3]))
                .expect(ints(&[2, 3, 1], &[0, 1, 2, 5, 4, 3])),
        ]
    },
};

impl ReverseSequence {
    fn axes(&self) -> Result<(usize, usize), OpError> {
        match (self.batch_axis, self.time_axis) {
            (0, 1) => Ok((0, 1)),
            (1, 0) => Ok((1, 0)),
            (batch, time) => Err(OpError::new(format!(
                "batch_axis {batch} and time_axis {time} must be 0 and 1 or 1 and 0"
            ))),
        }
    }
}

struct Turned<'a> {
    shape: &'a [usize],
    axes: (usize, usize),
    lengths: &'a [i64],
}

impl Move for Turned<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        _: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        Ok(shuffle::reverse_sequence((sources[0], self.shape), self.axes, self.lengths, output)?)
    }
}

impl Op for ReverseSequence {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_data(ctx)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let axes = self.axes()?;
        kernel(move |run| {
            let lengths = run.ints(1)?;
            let data = run.take(0)?;
            let shape = data.shape();
            move_elements(run, 0, &[&data], shape, &Turned { shape, axes, lengths: &lengths })
        })
    }
}
