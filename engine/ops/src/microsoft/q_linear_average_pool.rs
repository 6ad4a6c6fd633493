//! [QLinearAveragePool](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearAveragePool):
//! means of windows of a quantized image.

use super::quantized::{DOMAIN, Inputs, channel_perms, codes, dequantize, dtype, quantize, transpose};
use crate::nn::average_pool::AveragePool;
use crate::{Case, Form, Room, attributes, floats, of_expansion, of_room, types};
use oxidane_graph::{Build, NodeId, Op, OpError, Param, Signature, ValueId, shared};
use oxidane_tensor::DType;

attributes! {
    /// The means of windows that slide over an image, both sides in scales and zero points of their own.
    pub struct QLinearAveragePool {
        auto_pad: String = "NOTSET".into(),
        /// Whether a last window may hang over the end.
        ceil_mode: bool = false,
        /// Whether channels are the last dimension instead of the second.
        channels_last: bool = false,
        /// Whether padding counts as noughts, instead of not at all.
        count_include_pad: bool = false,
        kernel_shape: Vec<i64>,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::BYTES, "T"),
        Param::one("x_scale", types::FLOAT32, ""),
        Param::optional("x_zero_point", types::BYTES, "T"),
        Param::one("y_scale", types::FLOAT32, ""),
        Param::optional("y_zero_point", types::BYTES, "T"),
    ],
    outputs: &[Param::one("Y", types::BYTES, "T")],
};

/// The room of QLinearAveragePool.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QLinearAveragePool",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearAveragePool::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // ONNX Runtime 1.32.
        vec![
            Case::new(
                "padded",
                QLinearAveragePool {
                    auto_pad: "NOTSET".into(),
                    ceil_mode: false,
                    channels_last: false,
                    count_include_pad: false,
                    kernel_shape: vec![2, 2],
                    pads: Some(vec![1, 0, 1, 0]),
                    strides: Some(vec![2, 1]),
                },
            )
            .input(codes(
                DType::U8,
                &[1, 2, 3, 3],
                &[245, 145, 71, 37, 144, 49, 192, 237, 62, 141, 12, 46, 96, 226, 248, 164, 149, 145],
            ))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::U8, &[], &[120]))
            .input(floats(&[], &[0.04]))
            .input(codes(DType::U8, &[], &[100]))
            .expect(codes(DType::U8, &[1, 2, 2, 2], &[194, 85, 141, 104, 46, 0, 148, 190])),
            Case::new(
                "padding counts",
                QLinearAveragePool {
                    auto_pad: "NOTSET".into(),
                    ceil_mode: true,
                    channels_last: false,
                    count_include_pad: true,
                    kernel_shape: vec![2, 2],
                    pads: Some(vec![1, 0, 1, 0]),
                    strides: Some(vec![2, 1]),
                },
            )
            .input(codes(
                DType::I8,
                &[1, 2, 3, 3],
                &[-113, -32, 123, -23, -74, -67, 54, -119, 120, 96, 17, -9, 66, 12, -6, -46, -14, 64],
            ))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::I8, &[], &[12]))
            .input(floats(&[], &[0.04]))
            .input(codes(DType::I8, &[], &[10]))
            .expect(codes(DType::I8, &[1, 2, 2, 2], &[-43, 31, -56, -49, 38, 5, 1, 13])),
            Case::new(
                "channels last",
                QLinearAveragePool {
                    auto_pad: "NOTSET".into(),
                    ceil_mode: false,
                    channels_last: true,
                    count_include_pad: false,
                    kernel_shape: vec![2, 2],
                    pads: None,
                    strides: None,
                },
            )
            .input(codes(
                DType::U8,
                &[1, 3, 3, 2],
                &[14, 6, 184, 95, 205, 7, 232, 31, 106, 247, 27, 168, 186, 109, 20, 134, 110, 223],
            ))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::U8, &[], &[120]))
            .input(floats(&[], &[0.043]))
            .input(codes(DType::U8, &[], &[100]))
            .expect(codes(DType::U8, &[1, 2, 2, 2], &[116, 71, 112, 111, 119, 112, 37, 185])),
        ]
    },
};

impl Op for QLinearAveragePool {
    of_room!();
    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let x = inputs.need(0)?;
        let Some(to) = dtype(build, x) else { return Ok(None) };
        let Some(rank) = build.ty(x).and_then(|t| t.shape()).map(|s| s.len()) else { return Ok(None) };
        let pool = AveragePool {
            auto_pad: self.auto_pad.clone(),
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
            dilations: None,
            kernel_shape: self.kernel_shape.clone(),
            pads: self.pads.clone(),
            strides: self.strides.clone(),
        };
        let mut x = dequantize(build, &inputs, 0)?;
        let [first, last] = channel_perms(rank);
        if self.channels_last {
            x = transpose(build, x, &first);
        }
        let mut y = build.add(pool, &[x]);
        if self.channels_last {
            y = transpose(build, y, &last);
        }
        Ok(Some(vec![quantize(build, y, &inputs, 3, to)?]))
    }
}
