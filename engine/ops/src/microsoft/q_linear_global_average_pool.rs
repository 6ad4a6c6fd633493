//! [QLinearGlobalAveragePool](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearGlobalAveragePool):
//! the mean of each channel of a quantized image.

use super::quantized::{DOMAIN, Inputs, codes, dequantize, dtype, quantize};
use crate::math::reduce::Reduce;
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel, shared,
};
use oxidane_kernels::integer::mean;
use oxidane_kernels::reduce::Reduction;
use oxidane_tensor::{DType, Tensor};
use std::sync::Arc;

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

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        crate::expansion::infer(ctx)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let expanded = crate::expansion::kernel(Arc::new(self.clone()))?;
        let channels_last = self.channels_last;
        kernel(move |run| {
            let mut numbers = [0.0; 4];
            for (slot, number) in numbers.iter_mut().enumerate() {
                let tensor = run.tensor(slot + 1)?;
                if tensor.len() != 1 {
                    return expanded.run(run);
                }
                *number = tensor.to_f64s()?[0] as f32;
            }
            let [x_scale, x_zero, y_scale, y_zero] = numbers;
            let x = run.dense(0)?;
            let (&[batch, ref places @ .., channels], true) = (x.shape(), channels_last) else {
                return expanded.run(run);
            };
            let count: usize = places.iter().product();
            if places.is_empty() || count == 0 || run.tensor(4)?.dtype() != x.dtype() {
                return expanded.run(run);
            }
            let mut shape = vec![1; x.rank()];
            (shape[0], shape[x.rank() - 1]) = (batch, channels);
            let mut y = run.allocate(0, x.dtype(), &shape)?;
            let bytes = x.dense_bytes().ok_or_else(|| OpError::new("the input is not dense"))?;
            let codes = (bytes, x.dtype() == DType::I8);
            let factor = (x_scale / y_scale, x_zero as i32);
            let out = (y.as_bytes_mut(), y_zero as i32);
            mean(run.pool(), codes, (batch, count, channels), factor, out)?;
            run.set(0, y.freeze());
            Ok(())
        })
    }

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
