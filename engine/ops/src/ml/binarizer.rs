//! [Binarizer](https://onnx.ai/onnx/operators/onnx_aionnxml_Binarizer.html): is it larger than a threshold?

use super::DOMAIN;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// 1 for what is larger than the threshold, otherwise 0.
    pub struct Binarizer {
        threshold: f32 = 0.0,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T")],
    outputs: &[Param::one("Y", types::FEATURES, "T")],
};

/// The room of Binarizer.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Binarizer",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Binarizer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let mut cases = vec![
            // ONNX Runtime.
            Case::new("float", Binarizer { threshold: 0.5 })
                .input(floats(&[2, 3], &[1.0, 0.5, -1.0, 0.6, f32::NAN, 0.0]))
                .expect(floats(&[2, 3], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0])),
        ];
        for dtype in [DType::F64, DType::I64, DType::I32] {
            let of = |v: &[i64]| ints(&[3], v).cast(dtype, Default::default()).expect("numbers");
            cases.push(
                Case::new(dtype.name(), Binarizer { threshold: 1.0 })
                    .input(of(&[1, 2, -3]))
                    .expect(of(&[0, 1, 0])),
            );
        }
        cases
    },
};

impl Op for Binarizer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let ty = ctx.known_ty(0)?.clone();
        ctx.set(0, ty);
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let threshold = self.threshold;
        kernel(move |run| {
            let x = run.take(0)?;
            if x.dtype() == DType::F32 {
                let mut x = x.into_mut()?;
                x.slice_mut::<f32>()?.iter_mut().for_each(|v| *v = f32::from(u8::from(*v > threshold)));
                run.set(0, x.freeze());
                return Ok(());
            }
            let above: Vec<i64> = x.to_f64s()?.iter().map(|&v| i64::from(v > f64::from(threshold))).collect();
            run.set(0, Tensor::from_i64s(x.dtype(), x.shape(), &above)?);
            Ok(())
        })
    }
}
