//! [Normalizer](https://onnx.ai/onnx/operators/onnx_aionnxml_Normalizer.html): rows divided by their norm.

use super::{DOMAIN, features};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::DType;

attributes! {
    /// Each row divided by its largest element (`MAX`), the sum of its sizes (`L1`) or its length (`L2`); rows
    /// whose norm is zero stay.
    pub struct Normalizer {
        norm: String = "MAX".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "")],
};

/// The room of Normalizer.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Normalizer",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Normalizer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |norm: &str| Normalizer { norm: norm.to_owned() };
        let x = || ints(&[3, 2], &[-3, 1, -2, -1, 0, 0]);
        let as_ = |dtype| x().cast(dtype, Default::default()).expect("numbers");
        vec![
            // ONNX Runtime: the largest element, not the largest size.
            Case::new("largest", op("MAX"))
                .input(as_(DType::F32))
                .expect(floats(&[3, 2], &[-3.0, 1.0, 2.0, 1.0, 0.0, 0.0])),
            Case::new("sum", op("L1"))
                .input(as_(DType::F64))
                .expect(floats(&[3, 2], &[-0.75, 0.25, -0.666_666_7, -0.333_333_34, 0.0, 0.0])),
            Case::new("length", op("L2")).input(x()).expect(floats(
                &[3, 2],
                &[-0.948_683_26, 0.316_227_76, -0.894_427_2, -0.447_213_6, 0.0, 0.0],
            )),
            Case::new("vector", op("L1"))
                .input(ints(&[2], &[1, 3]).cast(DType::I32, Default::default()).expect("integers"))
                .expect(floats(&[2], &[0.25, 0.75])),
        ]
    },
};

#[derive(Clone, Copy)]
enum Norm {
    Max,
    L1,
    L2,
}

impl Op for Normalizer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        features::rows(ctx)?;
        match ctx.shape(0).map(Dims::from_slice) {
            Some(dims) => ctx.set_tensor(0, DType::F32, dims),
            None => ctx.set_unranked(0, DType::F32),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let norm = match self.norm.as_str() {
            "MAX" => Norm::Max,
            "L1" => Norm::L1,
            "L2" => Norm::L2,
            other => {
                return Err(OpError::new(format!("norm is `{other}`")).help("it may be MAX, L1 or L2"));
            }
        };
        kernel(move |run| {
            let x = features::cast(run, 0, DType::F32)?;
            let (_, columns) = features::sizes(x.shape())?;
            let shape = x.shape().to_vec();
            let mut out = x.into_mut()?;
            for row in out.slice_mut::<f32>()?.chunks_mut(columns.max(1)) {
                let by = match norm {
                    Norm::Max => row.iter().copied().fold(f32::MIN, f32::max),
                    Norm::L1 => row.iter().map(|v| v.abs()).sum(),
                    Norm::L2 => row.iter().map(|v| v * v).sum::<f32>().sqrt(),
                };
                if by != 0.0 {
                    row.iter_mut().for_each(|v| *v /= by);
                }
            }
            debug_assert_eq!(out.shape(), shape);
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
