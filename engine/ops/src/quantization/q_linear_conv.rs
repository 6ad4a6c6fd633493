//! [QLinearConv](https://onnx.ai/onnx/operators/onnx__QLinearConv.html): convolution of quantized tensors,
//! quantized again.

use crate::nn::conv::Conv;
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared};
use oxidane_kernels::conv::conv;
use oxidane_kernels::matmul::without_zero;
use oxidane_kernels::quantize::requantize;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The input convolved by the weights, both quantized, in the scale and zero point of the result. Weights have
    /// one scale and zero point, or one for each output channel.
    pub struct QLinearConv {
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
        Param::one("x_scale", types::FLOAT32, ""),
        Param::one("x_zero_point", types::BYTES, "T1"),
        Param::one("w", types::BYTES, "T2"),
        Param::one("w_scale", types::FLOAT32, ""),
        Param::one("w_zero_point", types::BYTES, "T2"),
        Param::one("y_scale", types::FLOAT32, ""),
        Param::one("y_zero_point", types::BYTES, "T3"),
        Param::optional("B", types::INT32, "T4"),
    ],
    outputs: &[Param::one("y", types::BYTES, "T3")],
};

/// The room of QLinearConv.
pub static ROOM: Room = Room {
    domain: "",
    name: "QLinearConv",
    since: &[10],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QLinearConv::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |dtype, shape: &[usize], values: &[i64]| {
            Tensor::from_i64s(dtype, shape, values).expect("integers")
        };
        let plain = QLinearConv {
            auto_pad: "NOTSET".into(),
            dilations: None,
            group: 1,
            kernel_shape: None,
            pads: None,
            strides: None,
        };
        let x = || of(DType::U8, &[1, 1, 3, 3], &[2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let case = |name, op: &QLinearConv| {
            Case::new(name, op.clone())
                .input(x())
                .input(floats(&[], &[0.5]))
                .input(of(DType::U8, &[], &[1]))
                .input(of(DType::U8, &[1, 1, 2, 2], &[2; 4]))
                .input(floats(&[], &[2.0]))
                .input(of(DType::U8, &[], &[1]))
                .input(floats(&[], &[1.0]))
        };
        // The sums are those of ConvInteger's examples; the factor is 1, and 0.5 for the halves.
        vec![
            case("bare", &plain).input(of(DType::U8, &[], &[3])).expect(of(
                DType::U8,
                &[1, 1, 2, 2],
                &[15, 19, 27, 31],
            )),
            case("padded", &QLinearConv { pads: Some(vec![1; 4]), ..plain.clone() })
                .input(of(DType::I8, &[], &[0]))
                .expect(of(
                    DType::I8,
                    &[1, 1, 4, 4],
                    &[1, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9],
                )),
            case(
                "bias and strides",
                &QLinearConv {
                    strides: Some(vec![2, 2]),
                    kernel_shape: Some(vec![2, 2]),
                    dilations: Some(vec![1, 1]),
                    auto_pad: "SAME_UPPER".into(),
                    ..plain.clone()
                },
            )
            .input(of(DType::U8, &[], &[0]))
            .input(of(DType::I32, &[1], &[100]))
            .expect(of(DType::U8, &[1, 1, 2, 2], &[112, 109, 115, 109])),
            // By hand: channels of the weights with scales of their own, in two groups.
            Case::new("channels", QLinearConv { group: 2, ..plain })
                .input(of(DType::I8, &[1, 2, 2], &[1, 2, 3, 4]))
                .input(floats(&[1], &[1.0]))
                .input(of(DType::I8, &[1], &[0]))
                .input(of(DType::I8, &[2, 1, 1], &[3, -2]))
                .input(floats(&[2], &[1.0, 0.5]))
                .input(of(DType::I8, &[2], &[1, 0]))
                .input(floats(&[], &[0.5]))
                .input(of(DType::I8, &[], &[-1]))
                .expect(of(DType::I8, &[1, 2, 2], &[3, 7, -7, -9])),
        ]
    },
};

/// A vector of one entry an output channel, to broadcast to a result of `rank`, or a single entry as it is.
fn by_channel(vector: &Tensor, channels: usize, rank: usize, axis: usize) -> Result<Tensor, OpError> {
    if vector.len() == 1 {
        return Ok(vector.reshape(&[])?);
    }
    if vector.rank() != 1 || vector.len() != channels {
        return Err(OpError::new(format!(
            "scales or zero points of shape {:?} do not fit {channels} output channels",
            vector.shape()
        ))
        .help("give one, or one for each output channel"));
    }
    let mut shape = vec![1; rank];
    shape[axis] = channels;
    Ok(vector.reshape(&shape)?)
}

impl QLinearConv {
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

    fn run(&self, run: &Run<'_>) -> Result<Tensor, OpError> {
        let (x, w) = (run.tensor(0)?, run.tensor(3)?);
        let shape = self.conv().shape(x.shape(), w.shape())?;
        let (rank, channels) = (w.rank(), w.shape()[0]);
        let x = without_zero(x, Some(&by_channel(run.tensor(2)?, 1, rank, 0)?))?;
        let w = without_zero(w, Some(&by_channel(run.tensor(5)?, channels, rank, 0)?))?;
        let bias = run.try_tensor(8)?;
        run.check_elements(shape.output(), size_of::<i32>() + 1)?;
        let sums = conv(run.pool(), &shape, &x, &w, bias)?;
        let one = |slot: usize| -> Result<f32, OpError> {
            match *run.tensor(slot)?.values::<f32>()? {
                [value] => Ok(value),
                _ => Err(OpError::new(format!("input {slot} must be one scale"))),
            }
        };
        let (x_scale, y_scale) = (one(1)?, one(6)?);
        let w_scale = run.tensor(4)?;
        let factors: Vec<f32> =
            w_scale.values::<f32>()?.iter().map(|&scale| x_scale * scale / y_scale).collect();
        let factors = by_channel(&Tensor::new(w_scale.shape(), &factors)?, channels, rank, 1)?;
        Ok(requantize(&sums, &factors, &by_channel(run.tensor(7)?, 1, rank, 0)?)?)
    }
}

impl Op for QLinearConv {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(7)?;
        match (ctx.shape(0), ctx.shape(3)) {
            (Some(x), Some(w)) => {
                let dims = self.conv().dims(x, w, &|axis| ctx.unknown_dim(0, axis))?;
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let y = op.run(run)?;
            run.set(0, y);
            Ok(())
        })
    }
}
