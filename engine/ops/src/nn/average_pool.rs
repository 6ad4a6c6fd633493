//! [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html): the mean of each window.

use super::max_pool::{pooled_bytes, pooled_dims, pooled_shape};
use super::window::{Sliding, drop_all};
use crate::{Case, Form, Room, Step, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_kernels::pooling::{average_pool, average_pool_into};
use oxidane_tensor::DType;

attributes! {
    /// The mean of each window over the spatial dimensions.
    pub struct AveragePool {
        auto_pad: String = "NOTSET".into(),
        /// Whether a last window may hang over the end.
        ceil_mode: bool = false,
        /// Whether padding counts as noughts, instead of not at all.
        count_include_pad: bool = false,
        dilations: Option<Vec<i64>>,
        kernel_shape: Vec<i64>,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of AveragePool.
pub static ROOM: Room = Room {
    domain: "",
    name: "AveragePool",
    since: &[1, 7, 10, 11, 19, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(AveragePool::read(a)?)),
    steps: &[
        Step { to: 7, up: |_| Ok(()), down: |d| d.drop_default("count_include_pad", false) },
        Step { to: 10, up: |_| Ok(()), down: |d| d.drop_default("ceil_mode", false) },
        Step { to: 19, up: |_| Ok(()), down: |d| drop_all(d, "dilations", 1) },
    ],
    cases: || {
        crate::with_cases!();
        let plain = |kernel: &[i64]| AveragePool {
            auto_pad: "NOTSET".into(),
            ceil_mode: false,
            count_include_pad: false,
            dilations: None,
            kernel_shape: kernel.to_vec(),
            pads: None,
            strides: None,
        };
        let count = |n: usize, shape: &[usize]| floats(shape, &(1..=n).map(|i| i as f32).collect::<Vec<_>>());
        // The specification's examples, as far as values are stated.
        let mut cases = vec![
            Case::new("padded", AveragePool { pads: Some(vec![2; 4]), ..plain(&[5, 5]) })
                .input(count(25, &[1, 1, 5, 5]))
                .expect(floats(
                    &[1, 1, 5, 5],
                    &[
                        7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0,
                        14.5, 15.0, 15.5, 16.0, 16.5, 17.0, 17.5, 18.0, 18.5, 19.0,
                    ],
                )),
            Case::new(
                "counted",
                AveragePool { count_include_pad: true, pads: Some(vec![2; 4]), ..plain(&[5, 5]) },
            )
            .input(count(25, &[1, 1, 5, 5]))
            .expect(floats(
                &[1, 1, 5, 5],
                &[
                    2.52, 3.6, 4.8, 4.08, 3.24, 4.56, 6.4, 8.4, 7.04, 5.52, 7.2, 10.0, 13.0, 10.8, 8.4, 6.96,
                    9.6, 12.4, 10.24, 7.92, 6.12, 8.4, 10.8, 8.88, 6.84,
                ],
            )),
            Case::new(
                "ceiling",
                AveragePool { ceil_mode: true, strides: Some(vec![2, 2]), ..plain(&[3, 3]) },
            )
            .input(count(16, &[1, 1, 4, 4]))
            .expect(floats(&[1, 1, 2, 2], &[6.0, 7.5, 12.0, 13.5])),
            Case::new("dilated", AveragePool { dilations: Some(vec![2, 2]), ..plain(&[2, 2]) })
                .input(count(16, &[1, 1, 4, 4]))
                .expect(floats(&[1, 1, 2, 2], &[6.0, 7.0, 10.0, 11.0])),
            Case::new(
                "same",
                AveragePool { auto_pad: "SAME_LOWER".into(), strides: Some(vec![2]), ..plain(&[2]) },
            )
            .input(noise(&[1, 3, 31], 1)),
            Case::new("volume", plain(&[2, 2, 2])).input(noise(&[1, 3, 8, 7, 6], 2)),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(Case::new(name, plain(&[3, 3])).input(noise_of(dtype, &[1, 2, 5, 4], 3)));
        }
        cases
    },
};

impl AveragePool {
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

impl Op for AveragePool {
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
            let pool = run.pool();
            if x.dtype() == DType::F32 {
                return run.write::<f32>(0, shape.output(), |out| {
                    Ok(average_pool_into(pool, &shape, op.count_include_pad, x.slice()?, out)?)
                });
            }
            run.check_elements(shape.output(), pooled_bytes(x.dtype()))?;
            let y = average_pool(pool, &shape, op.count_include_pad, &x)?;
            run.set(0, y);
            Ok(())
        })
    }
}
