//! [DynamicQuantizeLinear](https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html): floats as bytes, by the
//! scale and zero point that their range asks for.

use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Types, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::quantize::{Grid, quantize, range};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Codes, scale and zero point of a tensor, whose range is widened to hold zero.
    pub struct DynamicQuantizeLinear {}
}

const UINT8: Types = Types::tensors(&[DType::U8]);

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("x", types::FLOAT32, "T1")],
    outputs: &[
        Param::one("y", UINT8, "T2"),
        Param::one("y_scale", types::FLOAT32, ""),
        Param::one("y_zero_point", UINT8, "T2"),
    ],
};

/// The room of DynamicQuantizeLinear.
pub static ROOM: Room = Room {
    domain: "",
    name: "DynamicQuantizeLinear",
    since: &[11],
    signature: &SIGNATURE,
    read: |a| Ok(shared(DynamicQuantizeLinear::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let bytes = |shape: &[usize], values: &[u8]| Tensor::new(shape, values).expect("bytes");
        // The specification's examples.
        vec![
            Case::new("both signs", DynamicQuantizeLinear {})
                .input(floats(&[6], &[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]))
                .outputs(3)
                .expect(bytes(&[6], &[153, 255, 0, 26, 221, 179]))
                .expect(floats(&[], &[0.019607844]))
                .expect(bytes(&[], &[153])),
            Case::new("negative", DynamicQuantizeLinear {})
                .input(floats(&[6], &[-1.0, -2.1, -1.3, -2.5, -3.34, -4.0]))
                .outputs(3)
                .expect(bytes(&[6], &[191, 121, 172, 96, 42, 0]))
                .expect(floats(&[], &[0.015686275]))
                .expect(bytes(&[], &[255])),
            Case::new("positive", DynamicQuantizeLinear {})
                .input(floats(&[3, 4], &[1.0, 2.1, 1.3, 2.5, 3.34, 4.0, 1.5, 2.6, 3.9, 4.0, 3.0, 2.345]))
                .outputs(3)
                .expect(bytes(&[3, 4], &[64, 134, 83, 159, 213, 255, 96, 166, 249, 255, 191, 149]))
                .expect(floats(&[], &[0.015686275]))
                .expect(bytes(&[], &[0])),
            // As onnx.reference has it: a range of one, because none would divide by zero.
            Case::new("zeros", DynamicQuantizeLinear {})
                .input(floats(&[2], &[0.0, 0.0]))
                .outputs(3)
                .expect(bytes(&[2], &[0, 0]))
                .expect(floats(&[], &[1.0 / 255.0]))
                .expect(bytes(&[], &[0])),
        ]
    },
};

impl Op for DynamicQuantizeLinear {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match ctx.shape(0).map(Dims::from_slice) {
            Some(shape) => ctx.set_tensor(0, DType::U8, shape),
            None => ctx.set_unranked(0, DType::U8),
        }
        ctx.set_tensor(1, DType::F32, []);
        ctx.set_tensor(2, DType::U8, []);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let (zero, codes) = (f.scalar(0.0, DType::F32)?, f.scalar(255.0, DType::F32)?);
        let all = plain().with("keepdims", 0i64);
        let (least, most) = (f.with("ReduceMin", all.clone(), &[x])?, f.with("ReduceMax", all, &[x])?);
        let (least, most) = (f.op("Min", &[least, zero])?, f.op("Max", &[most, zero])?);
        let range = f.op("Sub", &[most, least])?;
        // A range of nothing needs a scale all the same.
        let (empty, one) = (f.op("Equal", &[range, zero])?, f.scalar(1.0, DType::F32)?);
        let range = f.op("Where", &[empty, one, range])?;
        let scale = f.op("Div", &[range, codes])?;
        let below = f.op("Sub", &[zero, least])?;
        let point = f.op("Div", &[below, scale])?;
        let point = f.op("Round", &[point])?;
        let point = f.op("Clip", &[point, zero, codes])?;
        let point = f.cast(point, DType::U8)?;
        let y = f.op("QuantizeLinear", &[x, scale, point])?;
        Ok(Some(vec![y, scale, point]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let x = run.dense(0)?;
            let (low, high) = range(run.pool(), x.slice::<f32>()?);
            let width = if low == high { 1.0 } else { high - low };
            let scale = width / 255.0;
            let zero = (0.0 - low / scale).clamp(0.0, 255.0).round_ties_even() as u8;
            let mut codes = run.allocate(0, DType::U8, x.shape())?;
            let grid = (&[scale][..], &[i32::from(zero)][..]);
            quantize::<u8>(run.pool(), x.slice()?, &Grid::WHOLE, grid, None, (0, 255), codes.slice_mut()?)?;
            let (codes, scale, zero) = (codes.freeze(), Tensor::scalar(scale), Tensor::scalar(zero));
            run.set(0, codes);
            run.set(1, scale);
            run.set(2, zero);
            Ok(())
        })
    }
}
