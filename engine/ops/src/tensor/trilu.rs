//! [Trilu](https://onnx.ai/onnx/operators/onnx__Trilu.html): the upper or lower triangle of matrices.

use super::moves::{Change, change_elements};
use super::scatter_elements::like_data;
use crate::{Case, Form, Room, attributes, floats, ints, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::shuffle;
use oxidane_tensor::DType;

attributes! {
    /// The triangle of the matrices in the last two dimensions from diagonal `k` on, zeros elsewhere.
    pub struct Trilu { upper: bool = true }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T"), Param::optional("k", types::INT64, "")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Trilu.
pub static ROOM: Room = Room {
    domain: "",
    name: "Trilu",
    since: &[14],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Trilu::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let x = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // NumPy: triu and tril.
        vec![
            Case::new("upper", Trilu { upper: true })
                .input(x())
                .expect(floats(&[2, 3], &[1.0, 2.0, 3.0, 0.0, 5.0, 6.0])),
            Case::new("lower", Trilu { upper: false })
                .input(x())
                .expect(floats(&[2, 3], &[1.0, 0.0, 0.0, 4.0, 5.0, 0.0])),
            Case::new("upper of a higher diagonal", Trilu { upper: true })
                .input(x())
                .input(ints(&[], &[1]))
                .expect(floats(&[2, 3], &[0.0, 2.0, 3.0, 0.0, 0.0, 6.0])),
            Case::new("lower far off", Trilu { upper: false })
                .input(x())
                .input(ints(&[], &[-7]))
                .expect(floats(&[2, 3], &[0.0; 6])),
            Case::new("batch of bytes", Trilu { upper: false })
                .input(noise_of(DType::U8, &[2, 3, 3], 1))
                .input(ints(&[1], &[-1])),
        ]
    },
};

struct Triangle<'a> {
    shape: &'a [usize],
    upper: bool,
    k: i64,
}

impl Change for Triangle<'_> {
    fn apply<T: Clone + Default + Send + Sync>(&self, _: &[&[T]], target: &mut [T]) -> Result<(), OpError> {
        Ok(shuffle::trilu((target, self.shape), self.upper, self.k, &T::default())?)
    }
}

impl Op for Trilu {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        if let Some(shape) = ctx.shape(0)
            && shape.len() < 2
        {
            return Err(Unknown::wrong(format!("a tensor of rank {} has no triangle", shape.len())));
        }
        like_data(ctx)
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let upper = self.upper;
        kernel(move |run| {
            let k = match run.try_ints(1)?.as_deref() {
                None => 0,
                Some([k]) => *k,
                Some(other) => {
                    return Err(OpError::new(format!(
                        "k must be one number, but has {} elements",
                        other.len()
                    )));
                }
            };
            let data = run.take(0)?;
            let shape = data.shape().to_vec();
            change_elements(run, 0, data, &[], &Triangle { shape: &shape, upper, k })
        })
    }
}
