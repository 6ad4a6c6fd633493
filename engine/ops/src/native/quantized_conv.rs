//! Convolution of codes in two dimensions, with the channels of the result last.

use super::DOMAIN;
use crate::math::binary::{ADD, MUL};
use crate::math::unary::Unary;
use crate::microsoft::quantized::{Inputs, binary, dequantize, dtype, quantize, transpose};
use crate::nn::conv::Conv;
use crate::quantization::dequantize_linear::DequantizeLinear;
use crate::quantization::integer::one;
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::Function;
use oxidane_kernels::integer::{Coding, Conv as Packed, ConvSpec};
use oxidane_tensor::{DType, Tensor};
use std::sync::Arc;

attributes! {
    /// The input convolved by the weights, both quantized, in the scale and zero point of the result. Where there is
    /// another tensor, the convolution is rounded to codes of its own, and the sum of both to codes of the result.
    pub struct QuantizedConv {
        auto_pad: String = "NOTSET".into(),
        /// Whether the channels of the input are its last dimension instead of the second.
        channels_last: bool = true,
        dilations: Option<Vec<i64>>,
        kernel_shape: Option<Vec<i64>>,
        pads: Option<Vec<i64>>,
        /// Whether what is negative becomes zero before it is rounded to codes of the result.
        rectified: bool = false,
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
        Param::optional("B", types::INT32, ""),
        Param::optional("z", types::BYTES, "T4"),
        Param::optional("z_scale", types::FLOAT32, ""),
        Param::optional("z_zero_point", types::BYTES, "T4"),
        Param::optional("conv_scale", types::FLOAT32, ""),
        Param::optional("conv_zero_point", types::BYTES, "T5"),
    ],
    outputs: &[Param::one("y", types::BYTES, "T3")],
};

/// The room of QuantizedConv.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "QuantizedConv",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QuantizedConv::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |dtype, shape: &[usize], values: &[i64]| {
            Tensor::from_i64s(dtype, shape, values).expect("integers")
        };
        let plain = QuantizedConv {
            auto_pad: "NOTSET".into(),
            channels_last: true,
            dilations: None,
            kernel_shape: None,
            pads: None,
            rectified: false,
            strides: None,
        };
        let case = |name, op: &QuantizedConv| {
            let shape: &[usize] = if op.channels_last { &[1, 3, 3, 1] } else { &[1, 1, 3, 3] };
            Case::new(name, op.clone())
                .input(of(DType::U8, shape, &[2, 3, 4, 5, 6, 7, 8, 9, 10]))
                .input(floats(&[], &[0.5]))
                .input(of(DType::U8, &[], &[1]))
                .input(of(DType::U8, &[1, 1, 2, 2], &[2; 4]))
                .input(floats(&[], &[2.0]))
                .input(of(DType::U8, &[], &[1]))
                .input(floats(&[], &[1.0]))
        };
        // The sums are those of ConvInteger's examples; the factor is 1.
        let sums = || of(DType::U8, &[1, 2, 2, 1], &[15, 19, 27, 31]);
        let padded = QuantizedConv { pads: Some(vec![1; 4]), ..plain.clone() };
        let signs = |op: &QuantizedConv| {
            // By hand: two channels, weights with signs and a scale each, a bias in the scale of the sums.
            Case::new("signs", op.clone())
                .input(of(DType::I8, &[1, 1, 2, 2], &[1, 2, 3, 4]))
                .input(floats(&[], &[1.0]))
                .input(of(DType::I8, &[], &[1]))
                .input(of(DType::I8, &[2, 2, 1, 1], &[3, 1, -2, 0]))
                .input(floats(&[2], &[1.0, 0.5]))
                .input(of(DType::I8, &[2], &[0, 0]))
                .input(floats(&[], &[0.5]))
                .input(of(DType::I8, &[], &[-1]))
                .input(of(DType::I32, &[2], &[1, 4]))
        };
        let added = |name, op: &QuantizedConv| {
            // By hand: the sums 12, 16, 24 and 28 cut at 20, and three times the other codes less 2.
            case(name, op)
                .input(of(DType::U8, &[], &[100]))
                .absent()
                .input(of(DType::I8, &[1, 2, 2, 1], &[-10, 0, 2, 4]))
                .input(floats(&[], &[3.0]))
                .input(of(DType::I8, &[], &[2]))
                .input(floats(&[], &[1.0]))
                .input(of(DType::U8, &[], &[235]))
        };
        vec![
            case("bare", &plain).input(of(DType::U8, &[], &[3])).expect(sums()),
            case("channels first", &QuantizedConv { channels_last: false, ..plain.clone() })
                .input(of(DType::U8, &[], &[3]))
                .expect(sums()),
            case("padded", &padded).input(of(DType::I8, &[], &[0])).expect(of(
                DType::I8,
                &[1, 4, 4, 1],
                &[1, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9],
            )),
            case(
                "strides and dilations",
                &QuantizedConv {
                    strides: Some(vec![2, 2]),
                    kernel_shape: Some(vec![2, 2]),
                    dilations: Some(vec![1, 1]),
                    auto_pad: "SAME_UPPER".into(),
                    ..plain.clone()
                },
            )
            .input(of(DType::U8, &[], &[0]))
            .input(of(DType::I32, &[1], &[100]))
            .expect(of(DType::U8, &[1, 2, 2, 1], &[112, 109, 115, 109])),
            signs(&plain).expect(of(DType::I8, &[1, 1, 2, 2], &[3, 3, 19, -1])),
            added("added", &plain).expect(of(DType::U8, &[1, 2, 2, 1], &[76, 110, 120, 126])),
            added("rectified", &QuantizedConv { rectified: true, ..plain.clone() }).expect(of(
                DType::U8,
                &[1, 2, 2, 1],
                &[100, 110, 120, 126],
            )),
        ]
    },
};

/// Dimensions with the channels brought from the last place to the second, or back.
fn channels_second(dims: &[Dim]) -> Dims {
    Dims::from_slice(&[dims[0], dims[3], dims[1], dims[2]])
}

impl QuantizedConv {
    fn conv(&self) -> Conv {
        Conv {
            auto_pad: self.auto_pad.clone(),
            dilations: self.dilations.clone(),
            group: 1,
            kernel_shape: self.kernel_shape.clone(),
            pads: self.pads.clone(),
            strides: self.strides.clone(),
        }
    }

    /// The convolution on packed weights, where everything but the batch is known.
    fn packed(&self, call: &Call<'_>) -> Option<(Packed, [usize; 3])> {
        let shape = call.inputs.first()?.as_ref()?.shape()?;
        let [_, a, b, c] = *shape else { return None };
        let [a, b, c] = [a, b, c].map(|d| d.as_known().and_then(|n| usize::try_from(n).ok()));
        let sizes = [a?, b?, c?];
        let input = if self.channels_last { [sizes[2], sizes[0], sizes[1]] } else { sizes };
        let number = |slot: usize| call.constant(slot).and_then(one);
        let zeros = |slot: usize| -> Option<Vec<i32>> {
            Some(call.constant(slot)?.to_f64s().ok()?.into_iter().map(|v| v as i32).collect())
        };
        let coding = |dtype: Option<DType>, scale: usize, zero: usize| -> Option<Coding> {
            let [zero] = *zeros(zero)? else { return None };
            Some(Coding { scale: number(scale)?, zero, signed: dtype? == DType::I8 })
        };
        let w = call.constant(3)?.to_dense().ok()?;
        let window = self.conv().sliding().window(Some(w.shape().get(2..)?), &input[1..]).ok()?;
        let bias = match call.inputs.get(8)? {
            Some(_) => call.constant(8)?.values::<i32>().ok()?.to_vec(),
            None => Vec::new(),
        };
        let addend = match call.inputs.get(9).and_then(Option::as_ref) {
            Some(_) => Some((coding(call.dtype(13), 12, 13)?, coding(call.dtype(9), 10, 11)?)),
            None => None,
        };
        let spec = ConvSpec {
            input,
            channels_last: self.channels_last,
            window: &window,
            weights: (w.dense_bytes()?, w.dtype() == DType::I8),
            outputs: w.shape()[0],
            scales: &call.constant(4)?.values::<f32>().ok()?,
            zeros: &zeros(5)?,
            bias: &bias,
            codings: (coding(call.dtype(0), 1, 2)?, coding(call.dtype(7), 6, 7)?),
            rectified: self.rectified,
            addend,
        };
        (w.rank() == 4 && w.shape()[1] == input[0]).then_some(())?;
        let packed = Packed::new(&spec).ok()??;
        call.constant(3)?.release_pages();
        Some((packed, sizes))
    }
}

impl Op for QuantizedConv {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(7)?;
        match (ctx.shape(0), ctx.shape(3)) {
            (Some(x), Some(w)) if x.len() == 4 => {
                let x = if self.channels_last { channels_second(x) } else { Dims::from_slice(x) };
                let y = self.conv().dims(&x, w, &|axis| ctx.unknown_dim(0, axis))?;
                ctx.set_tensor(0, dtype, [y[0], y[2], y[3], y[1]]);
            }
            (Some(x), _) if x.len() != 4 => {
                return Err(Unknown::wrong(format!("the input must have rank 4, not {}", x.len())));
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, call: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let expanded = crate::expansion::kernel(Arc::new(self.clone()))?;
        let Some((conv, sizes)) = self.packed(call) else { return Ok(expanded) };
        kernel(move |run| {
            let x = run.dense(0)?;
            let [h, w, channels] = conv.output();
            let &[batch, ..] = x.shape() else { return expanded.run(run) };
            let shape = [batch, h, w, channels];
            let other = run.try_tensor(9)?.map(Tensor::to_dense).transpose()?;
            let fits = other.as_ref().is_none_or(|other| other.shape() == shape);
            if x.shape()[1..] != sizes || !fits {
                return expanded.run(run);
            }
            run.check_scratch(conv.scratch(batch))?;
            let mut y = run.allocate(0, run.tensor(7)?.dtype(), &shape)?;
            let bytes = x.dense_bytes().ok_or_else(|| OpError::new("the input is not dense"))?;
            let added = other.as_ref().and_then(Tensor::dense_bytes);
            conv.run(run.pool(), batch, bytes, added, y.as_bytes_mut())?;
            run.set(0, y.freeze());
            Ok(())
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let (Some(to), Some(x_dims)) = (
            dtype(build, inputs.need(7)?),
            build.ty(inputs.need(0)?).and_then(|t| t.shape()).map(<[_]>::len),
        ) else {
            return Ok(None);
        };
        if x_dims != 4 {
            return Err(OpError::new(format!("the input must have rank 4, not {x_dims}")));
        }
        let mut x = dequantize(build, &inputs, 0)?;
        if self.channels_last {
            x = transpose(build, x, &[0, 3, 1, 2]);
        }
        let by_output = Arc::new(DequantizeLinear { axis: 0, ..DequantizeLinear::default() });
        let weights = [Some(inputs.need(3)?), Some(inputs.need(4)?), inputs.get(5)];
        let w = build.add_node(by_output.clone(), &weights, 1)[0];
        let mut operands = vec![Some(x), Some(w)];
        if let Some(bias) = inputs.get(8) {
            let scale = binary(build, &MUL, inputs.need(1)?, inputs.need(4)?);
            operands.push(Some(build.add_node(by_output, &[Some(bias), Some(scale)], 1)[0]));
        }
        let mut y = build.add_node(Arc::new(self.conv()), &operands, 1)[0];
        if let Some(other) = inputs.get(9) {
            let rounded = dtype(build, inputs.need(13)?);
            let Some(rounded) = rounded else { return Ok(None) };
            let codes = quantize(build, y, &inputs, 12, rounded)?;
            let given = [Some(codes), Some(inputs.need(12)?), inputs.get(13)];
            let first = build.add_node(Arc::new(DequantizeLinear::default()), &given, 1)[0];
            let other = transpose(build, other, &[0, 3, 1, 2]);
            let given = [Some(other), Some(inputs.need(10)?), inputs.get(11)];
            let second = build.add_node(Arc::new(DequantizeLinear::default()), &given, 1)[0];
            y = binary(build, &ADD, first, second);
        }
        if self.rectified {
            y = build.add(Unary::new(Function::Relu)?, &[y]);
        }
        let y = quantize(build, y, &inputs, 6, to)?;
        Ok(Some(vec![transpose(build, y, &[0, 2, 3, 1])]))
    }
}
