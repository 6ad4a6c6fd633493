//! [LpPool](https://onnx.ai/onnx/operators/onnx__LpPool.html): the p-norm of each window.

use super::max_pool::{pooled_bytes, pooled_dims, pooled_shape};
use super::window::{Sliding, drop_all};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::pooling::lp_pool;
use oxidane_tensor::DType;

attributes! {
    /// The p-norm of each window over the spatial dimensions.
    pub struct LpPool {
        auto_pad: String = "NOTSET".into(),
        /// Whether a last window may hang over the end.
        ceil_mode: bool = false,
        dilations: Option<Vec<i64>>,
        kernel_shape: Vec<i64>,
        p: i64 = 2,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// Opset 2 made the attribute `p` an integer.
pub(super) const WHOLE_P: Step = Step {
    to: 2,
    up: |d: &mut Draft<'_>| match d.take::<f32>("p")? {
        None => Ok(()),
        Some(p) if p.fract() == 0.0 && p.abs() < 1e9 => {
            d.attributes.set("p", p as i64);
            Ok(())
        }
        Some(p) => Err(OpError::new(format!("attribute `p` is {p}, but must be a whole number"))),
    },
    down: |d| {
        if let Some(p) = d.take::<i64>("p")? {
            d.attributes.set("p", p as f32);
        }
        Ok(())
    },
};

/// The room of LpPool.
pub static ROOM: Room = Room {
    domain: "",
    name: "LpPool",
    since: &[1, 2, 11, 18, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LpPool::read(a)?)),
    steps: &[
        WHOLE_P,
        Step {
            to: 18,
            up: |_| Ok(()),
            down: |d| {
                drop_all(d, "dilations", 1)?;
                d.drop_default("ceil_mode", false)
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let plain = |kernel: &[i64]| LpPool {
            auto_pad: "NOTSET".into(),
            ceil_mode: false,
            dilations: None,
            kernel_shape: kernel.to_vec(),
            p: 2,
            pads: None,
            strides: None,
        };
        let count: Vec<f32> = (1..=16).map(|i| i as f32).collect();
        let mut cases = vec![
            // The specification's example.
            Case::new("dilated", LpPool { dilations: Some(vec![2, 2]), ..plain(&[2, 2]) })
                .input(floats(&[1, 1, 4, 4], &count))
                .expect(floats(&[1, 1, 2, 2], &[14.56022, 16.248077, 21.633308, 23.49468])),
            Case::new("third", LpPool { p: 3, pads: Some(vec![1, 0]), ..plain(&[2]) })
                .input(floats(&[1, 1, 3], &[1.0, -2.0, 2.0]))
                .expect(floats(&[1, 1, 3], &[1.0, 9f32.cbrt(), 16f32.cbrt()])),
            Case::new("one", LpPool { p: 1, auto_pad: "SAME_UPPER".into(), ..plain(&[2, 2]) })
                .input(noise(&[1, 3, 5, 5], 1)),
            Case::new("volume", plain(&[2, 2, 2])).input(noise(&[1, 3, 5, 4, 6], 2)),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(Case::new(name, plain(&[3, 3])).input(noise_of(dtype, &[1, 2, 5, 4], 3)));
        }
        cases
    },
};

impl LpPool {
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

impl Op for LpPool {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match ctx.shape(0) {
            Some(x) => {
                let dims = pooled_dims(&self.sliding(), x, self.ceil_mode, &|axis| ctx.unknown_dim(0, axis))?;
                ctx.set_tensor(0, dtype, dims);
            }
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let x = run.dense(0)?;
            let shape = pooled_shape(&op.sliding(), x.shape(), op.ceil_mode)?;
            run.check_elements(shape.output(), pooled_bytes(x.dtype()))?;
            let y = lp_pool(run.pool(), &shape, op.p, &x)?;
            run.set(0, y);
            Ok(())
        })
    }
}
