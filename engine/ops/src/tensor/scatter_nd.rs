//! [ScatterND](https://onnx.ai/onnx/operators/onnx__ScatterND.html): slices replaced, or combined with others,
//! where tuples of indices say.

use super::scatter_elements::{Places, before_max_and_min, like_data, reduction, scatter};
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};

attributes! {
    /// The data with one slice of updates put where each tuple in the last dimension of the indices says.
    pub struct ScatterND {
        /// How an update meets what is there: `none` replaces; `add`, `mul`, `max`, `min` combine.
        reduction: String = "none".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("data", types::PLAIN, "T"),
        Param::one("indices", types::INT64, ""),
        Param::one("updates", types::PLAIN, "T"),
    ],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of ScatterND.
pub static ROOM: Room = Room {
    domain: "",
    name: "ScatterND",
    since: &[11, 13, 16, 18],
    signature: &SIGNATURE,
    read: |a| {
        let op = ScatterND::read(a)?;
        reduction(&op.reduction)?;
        Ok(shared(op))
    },
    steps: &[
        Step { to: 16, up: |_| Ok(()), down: |d| d.drop_default("reduction", "none".to_owned()) },
        Step { to: 18, up: |_| Ok(()), down: before_max_and_min },
    ],
    cases: || {
        crate::with_cases!();
        let of = |reduction: &str| ScatterND { reduction: reduction.to_owned() };
        let eight = || floats(&[8], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        // The specification's example, and its parts by hand.
        vec![
            Case::new("elements", of("none"))
                .input(eight())
                .input(ints(&[4, 1], &[4, 3, 1, -1]))
                .input(floats(&[4], &[9.0, 10.0, 11.0, 12.0]))
                .expect(floats(&[8], &[1.0, 11.0, 3.0, 10.0, 9.0, 6.0, 7.0, 12.0])),
            Case::new("rows added", of("add"))
                .input(floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
                .input(ints(&[2, 1], &[2, 2]))
                .input(floats(&[2, 2], &[10.0, 20.0, 100.0, 200.0]))
                .expect(floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 115.0, 226.0])),
            Case::new("smallest", of("min"))
                .input(eight())
                .input(ints(&[1, 1], &[7]))
                .input(floats(&[1], &[0.5]))
                .expect(floats(&[8], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.5])),
        ]
    },
};

impl Op for ScatterND {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        like_data(ctx)
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let how = reduction(&self.reduction)?;
        kernel(move |run| {
            let indices = run.ints(1)?;
            let indices_shape = run.tensor(1)?.shape().to_vec();
            let updates = run.tensor(2)?.clone();
            let data = run.take(0)?;
            let shape = data.shape().to_vec();
            let wanted = indices_shape
                .split_last()
                .and_then(|(&tuple, lead)| Some([lead, shape.get(tuple..)?].concat()))
                .ok_or_else(|| {
                    OpError::new(format!(
                        "indices of shape {indices_shape:?} do not fit data of shape {shape:?}"
                    ))
                })?;
            if updates.shape() != wanted {
                return Err(OpError::new(format!(
                    "updates of shape {:?} must be of shape {wanted:?} for indices of shape {indices_shape:?} into data of shape {shape:?}",
                    updates.shape()
                )));
            }
            let places =
                Places { shape: &shape, axis: None, indices: &indices, indices_shape: &indices_shape };
            scatter(run, data, &updates, &places, how)
        })
    }
}
