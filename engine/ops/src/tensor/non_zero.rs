//! [NonZero](https://onnx.ai/onnx/operators/onnx__NonZero.html): where the elements are that are not zero.

use crate::{Case, Form, Room, attributes, bools, floats, ints, of_room, types};
use half::{bf16, f16};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::{Number, shuffle};
use oxidane_tensor::{DType, Tensor, complex::Complex};

attributes! {
    /// The indices of the elements that are not zero (nor empty strings), one column each, in row-major order.
    pub struct NonZero {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::PLAIN, "T")],
    outputs: &[Param::one("Y", types::INT64, "")],
};

/// The room of NonZero.
pub static ROOM: Room = Room {
    domain: "",
    name: "NonZero",
    since: &[9, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(NonZero::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        // The official case test_nonzero_example, and NumPy's nonzero.
        vec![
            Case::new("bools", NonZero {})
                .input(bools(&[2, 2], &[true, false, true, true]))
                .expect(ints(&[2, 3], &[0, 1, 1, 0, 0, 1])),
            Case::new("floats", NonZero {})
                .input(floats(&[5], &[0.0, -0.0, f32::NAN, 1e-40, -2.0]))
                .expect(ints(&[1, 3], &[2, 3, 4])),
            Case::new("none", NonZero {}).input(ints(&[2, 0], &[])).expect(ints(&[2, 0], &[])),
        ]
    },
};

fn of<T: Number>(tensor: &Tensor) -> Result<(Vec<i64>, usize), OpError> {
    let dense = tensor.to_dense()?;
    Ok(shuffle::nonzero((dense.slice::<T>()?, tensor.shape()))?)
}

/// For elements without a number type of their own: which of them are not zero.
fn of_mask(tensor: &Tensor, mask: impl Iterator<Item = bool>) -> Result<(Vec<i64>, usize), OpError> {
    let mask: Vec<u8> = mask.map(u8::from).collect();
    Ok(shuffle::nonzero((&mask, tensor.shape()))?)
}

fn find(tensor: &Tensor) -> Result<(Vec<i64>, usize), OpError> {
    match tensor.dtype() {
        DType::F32 => of::<f32>(tensor),
        DType::F64 => of::<f64>(tensor),
        DType::F16 => of::<f16>(tensor),
        DType::BF16 => of::<bf16>(tensor),
        DType::I8 => of::<i8>(tensor),
        DType::I16 => of::<i16>(tensor),
        DType::I32 => of::<i32>(tensor),
        DType::I64 => of::<i64>(tensor),
        DType::U8 | DType::Bool => of::<u8>(tensor),
        DType::U16 => of::<u16>(tensor),
        DType::U32 => of::<u32>(tensor),
        DType::U64 => of::<u64>(tensor),
        DType::Complex64 => {
            let values = tensor.values::<Complex<f32>>()?;
            of_mask(tensor, values.iter().map(|z| z.re != 0.0 || z.im != 0.0))
        }
        DType::Complex128 => {
            let values = tensor.values::<Complex<f64>>()?;
            of_mask(tensor, values.iter().map(|z| z.re != 0.0 || z.im != 0.0))
        }
        DType::String => {
            let dense = tensor.to_dense()?;
            of_mask(tensor, dense.as_strings().unwrap_or_default().iter().map(|s| !s.is_empty()))
        }
        other => Err(OpError::new(format!("NonZero is not defined for {other}"))),
    }
}

impl Op for NonZero {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let count = ctx.unknown_dim(0, 1);
        let rank = match ctx.shape(0) {
            Some(shape) => Dim::from(shape.len()),
            None => ctx.unknown_dim(0, 0),
        };
        ctx.set_tensor(0, DType::I64, [rank, count]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let tensor = run.tensor(0)?;
            let (places, count) = find(tensor)?;
            let shape = [tensor.rank(), count];
            run.write::<i64>(0, &shape, |out| {
                out.copy_from_slice(&places);
                Ok(())
            })
        })
    }
}
