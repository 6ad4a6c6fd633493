//! [QLinearGlobalAveragePool](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearGlobalAveragePool):
//! the mean of each channel of a quantized image.

use super::quantized::{DOMAIN, Inputs, codes, dequantize, dtype, quantize};
use crate::math::reduce::Reduce;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_kernels::reduce::Reduction;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The mean over all places of an image, both sides in scales and zero points of their own.
    pub struct QLinearGlobalAveragePool {
        /// Whether channels are the last dimension instead of the second.
        channels_last: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::BYTES, "T"),
        Param::one("x_scale", types::FLOAT32, ""),
        Param::one("x_zero_point", types::BYTES, "T"),
        Param::one("y_scale", types::FLOAT32, ""),
        Param::one("y_zero_point", types::BYTES, "T"),
    ],
    outputs: &[Param::one("Y", types::BYTES, "T")],
};

/// The room of QLinearGlobalAveragePool.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QLinearGlobalAveragePool",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearGlobalAveragePool::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new("channels first", QLinearGlobalAveragePool { channels_last: false })
                .input(codes(
                    DType::U8,
                    &[1, 2, 3, 2],
                    &[112, 154, 114, 163, 140, 173, 244, 38, 143, 112, 91, 61],
                ))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::U8, &[], &[120]))
                .input(floats(&[], &[0.03]))
                .input(codes(DType::U8, &[], &[100]))
                .expect(codes(DType::U8, &[1, 2, 1, 1], &[138, 91])),
            Case::new("channels last", QLinearGlobalAveragePool { channels_last: true })
                .input(codes(
                    DType::I8,
                    &[2, 2, 3, 2],
                    &[
                        -115, -25, 83, -104, -25, 119, 115, -73, -127, 43, -125, -52, -1, 95, -105, 41, 8,
                        -95, 88, 88, -5, 113, 27, 103,
                    ],
                ))
                .input(floats(&[], &[0.05]))
                .input(codes(DType::I8, &[], &[-12]))
                .input(floats(&[], &[0.03]))
                .input(codes(DType::I8, &[], &[10]))
                .expect(codes(DType::I8, &[2, 1, 1, 2], &[-24, 4, 33, 126])),
        ]
    },
};

impl Op for QLinearGlobalAveragePool {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let x = inputs.need(0)?;
        let Some(to) = dtype(build, x) else { return Ok(None) };
        let Some(rank) = build.ty(x).and_then(|t| t.shape()).map(|s| s.len() as i64) else { return Ok(None) };
        if rank < 3 {
            return Err(OpError::new(format!("a tensor of rank {rank} is no batch of images with channels")));
        }
        let axes: Vec<i64> = if self.channels_last { (1..rank - 1).collect() } else { (2..rank).collect() };
        let axes = build.constant(Tensor::new(&[axes.len()], &axes)?);
        let x = dequantize(build, &inputs, 0)?;
        let mean = build.add(Reduce::new(Reduction::Mean, true), &[x, axes]);
        Ok(Some(vec![quantize(build, mean, &inputs, 3, to)?]))
    }
}
