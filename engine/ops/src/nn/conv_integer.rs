//! [ConvInteger](https://onnx.ai/onnx/operators/onnx__ConvInteger.html): convolution of 8-bit integers in `int32`.

use super::conv::Conv;
use crate::{Case, Form, Room, attributes, ints, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::conv::conv_integer;
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// The input minus its zero point, convolved by the weights minus theirs.
    pub struct ConvInteger {
        auto_pad: String = "NOTSET".into(),
        dilations: Option<Vec<i64>>,
        group: i64 = 1,
        kernel_shape: Option<Vec<i64>>,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("x", types::BYTES, "T1"),
        Param::one("w", types::BYTES, "T2"),
        Param::optional("x_zero_point", types::BYTES, "T1"),
        Param::optional("w_zero_point", types::BYTES, "T2"),
    ],
    outputs: &[Param::one("y", types::INT32, "T3")],
};

/// The room of ConvInteger.
pub static ROOM: Room = Room {
    domain: "",
    name: "ConvInteger",
    since: &[10],
    signature: &SIGNATURE,
    read: |a| Ok(shared(ConvInteger::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |dtype, shape: &[usize], values: &[i64]| -> Tensor {
            ints(shape, values).cast(dtype, CastRules::default()).expect("an integer type")
        };
        let plain = || ConvInteger {
            auto_pad: "NOTSET".into(),
            dilations: None,
            group: 1,
            kernel_shape: None,
            pads: None,
            strides: None,
        };
        let x = || of(DType::U8, &[1, 1, 3, 3], &[2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let w = || of(DType::U8, &[1, 1, 2, 2], &[1; 4]);
        // The specification's examples.
        vec![
            Case::new("bare", plain()).input(x()).input(w()).input(of(DType::U8, &[], &[1])).expect(of(
                DType::I32,
                &[1, 1, 2, 2],
                &[12, 16, 24, 28],
            )),
            Case::new("padded", ConvInteger { pads: Some(vec![1; 4]), ..plain() })
                .input(x())
                .input(w())
                .input(of(DType::U8, &[], &[1]))
                .expect(of(
                    DType::I32,
                    &[1, 1, 4, 4],
                    &[1, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9],
                )),
            Case::new("mixed", plain())
                .input(x())
                .input(of(DType::I8, &[2, 1, 2, 2], &[1, -1, 2, -2, 0, 3, 1, 1]))
                .absent()
                .input(of(DType::I8, &[2], &[0, 1])),
        ]
    },
};

impl ConvInteger {
    fn conv(&self) -> Conv {
        Conv {
            auto_pad: self.auto_pad.clone(),
            dilations: self.dilations.clone(),
            group: self.group,
            kernel_shape: self.kernel_shape.clone(),
            pads: self.pads.clone(),
            strides: self.strides.clone(),
        }
    }
}

impl Op for ConvInteger {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match (ctx.shape(0), ctx.shape(1)) {
            (Some(x), Some(w)) => {
                let dims = self.conv().dims(x, w, &|axis| ctx.unknown_dim(0, axis))?;
                ctx.set_tensor(0, DType::I32, dims);
            }
            _ => ctx.set_unranked(0, DType::I32),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let conv = self.conv();
        kernel(move |run| {
            let (x, w) = (run.tensor(0)?, run.tensor(1)?);
            let shape = conv.shape(x.shape(), w.shape())?;
            run.check_elements(shape.output(), size_of::<i32>())?;
            let y = conv_integer(run.pool(), &shape, x, w, run.try_tensor(2)?, run.try_tensor(3)?)?;
            run.set(0, y);
            Ok(())
        })
    }
}
