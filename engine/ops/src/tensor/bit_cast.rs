//! [BitCast](https://onnx.ai/onnx/operators/onnx__BitCast.html): the same bits under another type.

use crate::{Case, Form, Room, attributes, floats, of_room};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Types, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The bits of the elements read as elements of a type of the same width.
    pub struct BitCast {
        /// The type of the result.
        to: DType,
    }
}

const BITS: Types = Types::tensors(&[
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::BF16,
    DType::F16,
    DType::F32,
    DType::F64,
    DType::Bool,
    DType::Complex64,
    DType::Complex128,
    DType::F8E4M3FN,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
    DType::U4,
    DType::I4,
    DType::F4E2M1,
    DType::F8E8M0,
    DType::U2,
    DType::I2,
]);

static SIGNATURE: Signature =
    Signature { inputs: &[Param::one("input", BITS, "T1")], outputs: &[Param::one("output", BITS, "T2")] };

/// The room of BitCast.
pub static ROOM: Room = Room {
    domain: "",
    name: "BitCast",
    since: &[26],
    signature: &SIGNATURE,
    read: |a| {
        let op = BitCast::read(a)?;
        if !BITS.has_tensor(op.to) {
            return Err(OpError::new(format!(
                "attribute `to` is {}, which is none of the types {BITS}",
                op.to
            )));
        }
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |dtype, values: &[i64]| Tensor::from_i64s(dtype, &[values.len()], values).expect("integers");
        // The bits of the types as their standards have them.
        vec![
            Case::new("float as int32", BitCast { to: DType::I32 })
                .input(floats(&[2], &[1.0, -2.0]))
                .expect(of(DType::I32, &[0x3f80_0000, -0x4000_0000])),
            Case::new("int16 as uint16", BitCast { to: DType::U16 })
                .input(of(DType::I16, &[-1, 5]))
                .expect(of(DType::U16, &[65535, 5])),
            Case::new("uint16 as bfloat16", BitCast { to: DType::BF16 })
                .input(of(DType::U16, &[0x3f80]))
                .expect(Tensor::from_f64s(DType::BF16, &[1], &[1.0]).expect("a float")),
            Case::new("int4 as uint4", BitCast { to: DType::U4 })
                .input(of(DType::I4, &[-1, 7, -8]))
                .expect(of(DType::U4, &[15, 7, 8])),
            Case::new("uint4 as float4e2m1", BitCast { to: DType::F4E2M1 })
                .input(of(DType::U4, &[2, 15]))
                .expect(Tensor::from_f64s(DType::F4E2M1, &[2], &[1.0, -6.0]).expect("floats")),
            Case::new("int2 as uint2", BitCast { to: DType::U2 })
                .input(of(DType::I2, &[-1, 1, -2, 0, -1]))
                .expect(of(DType::U2, &[3, 1, 2, 0, 3])),
            Case::new("int64 as double", BitCast { to: DType::F64 })
                .input(of(DType::I64, &[0x3ff0_0000_0000_0000]))
                .expect(Tensor::from_f64s(DType::F64, &[1], &[1.0]).expect("a float")),
            Case::new("the same", BitCast { to: DType::F32 })
                .input(floats(&[], &[1.5]))
                .expect(floats(&[], &[1.5])),
        ]
    },
};

impl Op for BitCast {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let from = ctx.dtype(0)?;
        if from.bits() != self.to.bits() {
            return Err(Unknown::Wrong(
                OpError::new(format!(
                    "elements of {from} have {} bits, but those of {} have {}",
                    from.bits(),
                    self.to,
                    self.to.bits()
                ))
                .help("use Cast to convert values"),
            ));
        }
        match ctx.shape(0).map(Dims::from_slice) {
            Some(shape) => ctx.set_tensor(0, self.to, shape),
            None => ctx.set_unranked(0, self.to),
        }
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let to = self.to;
        kernel(move |run| {
            let out = run.take(0)?.reinterpret(to)?;
            run.set(0, out);
            Ok(())
        })
    }
}
