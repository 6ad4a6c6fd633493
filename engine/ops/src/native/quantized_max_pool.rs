//! The largest code of each window, with the channels last.

use super::DOMAIN;
use crate::microsoft::quantized::{Inputs, codes, transpose};
use crate::nn::max_pool::MaxPool;
use crate::nn::window::Sliding;
use crate::{Case, Form, Room, attributes, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel, shared,
};
use oxidane_kernels::integer::max_pool;
use oxidane_tensor::DType;
use std::sync::Arc;

attributes! {
    /// MaxPool over the second and third of four dimensions.
    pub struct QuantizedMaxPool {
        auto_pad: String = "NOTSET".into(),
        /// Whether a last window may hang over the end.
        ceil_mode: bool = false,
        dilations: Option<Vec<i64>>,
        kernel_shape: Vec<i64>,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("x", types::BYTES, "T")],
    outputs: &[Param::one("y", types::BYTES, "T")],
};

/// The room of QuantizedMaxPool.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QuantizedMaxPool",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QuantizedMaxPool::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let plain = QuantizedMaxPool {
            auto_pad: "NOTSET".into(),
            ceil_mode: false,
            dilations: None,
            kernel_shape: vec![2, 2],
            pads: None,
            strides: None,
        };
        let x = || codes(DType::U8, &[1, 3, 3, 2], &[1, 9, 2, 8, 3, 7, 4, 6, 5, 5, 6, 4, 7, 3, 8, 2, 9, 1]);
        // By hand.
        vec![
            Case::new("bare", plain.clone()).input(x()).expect(codes(
                DType::U8,
                &[1, 2, 2, 2],
                &[5, 9, 6, 8, 8, 6, 9, 5],
            )),
            Case::new(
                "strides and pads",
                QuantizedMaxPool { strides: Some(vec![2, 2]), pads: Some(vec![1, 1, 0, 0]), ..plain.clone() },
            )
            .input(x())
            .expect(codes(DType::U8, &[1, 2, 2, 2], &[1, 9, 3, 8, 7, 6, 9, 5])),
            Case::new("signs", QuantizedMaxPool { dilations: Some(vec![1, 2]), ..plain.clone() })
                .input(codes(DType::I8, &[1, 2, 3, 1], &[-1, -2, -3, -4, -5, -128]))
                .expect(codes(DType::I8, &[1, 1, 1, 1], &[-1])),
            Case::new(
                "hanging over",
                QuantizedMaxPool { strides: Some(vec![2, 2]), ceil_mode: true, ..plain.clone() },
            )
            .input(x())
            .expect(codes(DType::U8, &[1, 2, 2, 2], &[5, 9, 6, 7, 8, 3, 9, 1])),
            Case::new("same", QuantizedMaxPool { auto_pad: "SAME_UPPER".into(), ..plain })
                .input(codes(DType::U8, &[1, 1, 3, 1], &[3, 1, 2]))
                .expect(codes(DType::U8, &[1, 1, 3, 1], &[3, 2, 2])),
        ]
    },
};

impl QuantizedMaxPool {
    fn sliding(&self) -> Sliding<'_> {
        Sliding {
            auto_pad: &self.auto_pad,
            kernel_shape: Some(&self.kernel_shape),
            strides: self.strides.as_deref(),
            dilations: self.dilations.as_deref(),
            pads: self.pads.as_deref(),
        }
    }
}

impl Op for QuantizedMaxPool {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        crate::expansion::infer(ctx)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let x = run.dense(0)?;
            let &[batch, height, width, channels] = x.shape() else {
                return Err(OpError::new(format!("the input must have rank 4, not {}", x.rank())));
            };
            let window = op.sliding().window(None, &[height, width])?;
            let size = window.output(&[height, width], op.ceil_mode)?;
            let shape = [batch, size[0], size[1], channels];
            let mut y = run.allocate(0, x.dtype(), &shape)?;
            let bytes = x.dense_bytes().ok_or_else(|| OpError::new("the input is not dense"))?;
            let image = [height, width, channels];
            let x = (bytes, x.dtype() == DType::I8);
            max_pool(run.pool(), x, batch, image, &window, [size[0], size[1]], y.as_bytes_mut())?;
            run.set(0, y.freeze());
            Ok(())
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let x = Inputs::of(build, node).need(0)?;
        let x = transpose(build, x, &[0, 3, 1, 2]);
        let pool = MaxPool {
            auto_pad: self.auto_pad.clone(),
            ceil_mode: self.ceil_mode,
            dilations: self.dilations.clone(),
            kernel_shape: self.kernel_shape.clone(),
            pads: self.pads.clone(),
            storage_order: false,
            strides: self.strides.clone(),
        };
        let y = build.add_node(Arc::new(pool), &[Some(x)], 1)[0];
        Ok(Some(vec![transpose(build, y, &[0, 2, 3, 1])]))
    }
}
