//! [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html): the largest element of each window.

use super::window::{Sliding, drop_all};
use crate::{Case, Form, Room, Step, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::pooling::{PoolShape, StorageOrder, max_pool, max_pool_indices, max_pool_into};
use oxidane_tensor::DType;

attributes! {
    /// The largest element of each window over the spatial dimensions, and its place in the whole input.
    pub struct MaxPool {
        auto_pad: String = "NOTSET".into(),
        /// Whether a last window may hang over the end.
        ceil_mode: bool = false,
        dilations: Option<Vec<i64>>,
        kernel_shape: Vec<i64>,
        pads: Option<Vec<i64>>,
        /// Whether places are counted column by column.
        storage_order: bool = false,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::POOLED, "T")],
    outputs: &[Param::one("Y", types::POOLED, "T"), Param::optional("Indices", types::INT64, "I")],
};

/// The room of MaxPool.
pub static ROOM: Room = Room {
    domain: "",
    name: "MaxPool",
    since: &[1, 8, 10, 11, 12, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MaxPool::read(a)?)),
    steps: &[
        Step {
            to: 8,
            up: |_| Ok(()),
            down: |d| {
                if d.outputs.get(1).copied().flatten().is_some() {
                    return Err(OpError::new(
                        "the second output, the places of the maxima, cannot be expressed in this opset",
                    )
                    .help("export to opset 8 or later"));
                }
                d.outputs.truncate(1);
                d.drop_default("storage_order", false)
            },
        },
        Step {
            to: 10,
            up: |_| Ok(()),
            down: |d| {
                drop_all(d, "dilations", 1)?;
                d.drop_default("ceil_mode", false)
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let plain = |kernel: &[i64]| MaxPool {
            auto_pad: "NOTSET".into(),
            ceil_mode: false,
            dilations: None,
            kernel_shape: kernel.to_vec(),
            pads: None,
            storage_order: false,
            strides: None,
        };
        let count = |n: usize, shape: &[usize]| floats(shape, &(1..=n).map(|i| i as f32).collect::<Vec<_>>());
        // The specification's examples, as far as values are stated.
        let mut cases = vec![
            Case::new("places", MaxPool { pads: Some(vec![2; 4]), ..plain(&[5, 5]) })
                .input(count(25, &[1, 1, 5, 5]))
                .outputs(2)
                .expect(floats(
                    &[1, 1, 5, 5],
                    &[
                        13.0, 14.0, 15.0, 15.0, 15.0, 18.0, 19.0, 20.0, 20.0, 20.0, 23.0, 24.0, 25.0, 25.0,
                        25.0, 23.0, 24.0, 25.0, 25.0, 25.0, 23.0, 24.0, 25.0, 25.0, 25.0,
                    ],
                ))
                .expect(ints(
                    &[1, 1, 5, 5],
                    &[
                        12, 13, 14, 14, 14, 17, 18, 19, 19, 19, 22, 23, 24, 24, 24, 22, 23, 24, 24, 24, 22,
                        23, 24, 24, 24,
                    ],
                )),
            Case::new(
                "columns",
                MaxPool { storage_order: true, strides: Some(vec![2, 2]), ..plain(&[2, 2]) },
            )
            .input(count(25, &[1, 1, 5, 5]))
            .outputs(2)
            .expect(floats(&[1, 1, 2, 2], &[7.0, 9.0, 17.0, 19.0]))
            .expect(ints(&[1, 1, 2, 2], &[6, 16, 8, 18])),
            Case::new("ceiling", MaxPool { ceil_mode: true, strides: Some(vec![2, 2]), ..plain(&[3, 3]) })
                .input(count(16, &[1, 1, 4, 4]))
                .expect(floats(&[1, 1, 2, 2], &[11.0, 12.0, 15.0, 16.0])),
            Case::new("dilated", MaxPool { dilations: Some(vec![2, 2]), ..plain(&[2, 2]) })
                .input(count(16, &[1, 1, 4, 4]))
                .expect(floats(&[1, 1, 2, 2], &[11.0, 12.0, 15.0, 16.0])),
            Case::new(
                "same",
                MaxPool { auto_pad: "SAME_UPPER".into(), strides: Some(vec![2, 2]), ..plain(&[3, 3]) },
            )
            .input(count(25, &[1, 1, 5, 5]))
            .expect(floats(&[1, 1, 3, 3], &[7.0, 9.0, 10.0, 17.0, 19.0, 20.0, 22.0, 24.0, 25.0])),
            Case::new("line", plain(&[2])).input(noise(&[1, 3, 32], 1)),
            Case::new("volume", plain(&[2, 2, 2])).input(noise(&[1, 3, 8, 7, 6], 2)),
        ];
        for (name, dtype) in [
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
            ("int8", DType::I8),
            ("uint8", DType::U8),
        ] {
            cases.push(
                Case::new(name, MaxPool { pads: Some(vec![1; 4]), ..plain(&[3, 3]) })
                    .input(noise_of(dtype, &[1, 2, 5, 4], 3))
                    .outputs(2),
            );
        }
        cases
    },
};

/// The sizes of a pooling's result: batch and channels of the input, and the windows.
///
/// # Errors
/// When the input has no spatial dimensions, or the attributes contradict it.
pub(super) fn pooled_dims(
    sliding: &Sliding<'_>,
    x: &[Dim],
    ceil_mode: bool,
    unknown: &dyn Fn(usize) -> Dim,
) -> Result<Dims, OpError> {
    if x.len() < 3 {
        return Err(OpError::new(format!(
            "cannot pool {}: it needs a batch, channels and spatial dimensions",
            ShownDims(x)
        )));
    }
    let mut dims = Dims::from_slice(&x[..2]);
    dims.extend(sliding.dims(None, &x[2..], ceil_mode, &|axis| unknown(2 + axis))?);
    Ok(dims)
}

/// The checked sizes of a pooling.
///
/// # Errors
/// When the input has no spatial dimensions, or the attributes contradict it.
pub(super) fn pooled_shape(
    sliding: &Sliding<'_>,
    x: &[usize],
    ceil_mode: bool,
) -> Result<PoolShape, OpError> {
    let window = sliding.window(None, x.get(2..).unwrap_or(&[]))?;
    Ok(PoolShape::new(x, window, ceil_mode)?)
}

/// Bytes that an element of a result takes while it is made; 16-bit floats are `float` on the way.
pub(super) fn pooled_bytes(dtype: DType) -> usize {
    match dtype {
        DType::F16 | DType::BF16 => 6,
        other => other.bits().div_ceil(8),
    }
}

impl MaxPool {
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

impl Op for MaxPool {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        match ctx.shape(0) {
            Some(x) => {
                let dims = pooled_dims(&self.sliding(), x, self.ceil_mode, &|axis| ctx.unknown_dim(0, axis))?;
                ctx.set_tensor(0, dtype, dims.clone());
                ctx.set_tensor(1, DType::I64, dims);
            }
            None => {
                ctx.set_unranked(0, dtype);
                ctx.set_unranked(1, DType::I64);
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let x = run.dense(0)?;
            let shape = pooled_shape(&op.sliding(), x.shape(), op.ceil_mode)?;
            let pool = run.pool();
            if run.wants(1) {
                let order = if op.storage_order { StorageOrder::ColumnMajor } else { StorageOrder::RowMajor };
                run.check_elements(shape.output(), pooled_bytes(x.dtype()) + size_of::<i64>())?;
                let (y, places) = max_pool_indices(pool, &shape, order, &x)?;
                run.set(0, y);
                run.set(1, places);
            } else if x.dtype() == DType::F32 {
                run.write::<f32>(0, shape.output(), |out| Ok(max_pool_into(pool, &shape, x.slice()?, out)?))?;
            } else {
                run.check_elements(shape.output(), pooled_bytes(x.dtype()))?;
                let y = max_pool(pool, &shape, &x)?;
                run.set(0, y);
            }
            Ok(())
        })
    }
}
