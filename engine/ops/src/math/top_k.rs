//! [TopK](https://onnx.ai/onnx/operators/onnx__TopK.html): the largest or smallest elements along an axis.

use crate::math::by_type::by_type;
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, axis_index, kernel,
    shared,
};
use oxidane_kernels::sort;
use oxidane_tensor::{CastRules, DType, Element, Shape, Tensor};

attributes! {
    /// The K largest (or smallest) elements along an axis, sorted, and where they stood.
    pub struct TopK {
        axis: i64 = -1,
        largest: bool = true,
        /// Whether the order matters; they are sorted all the same.
        sorted: bool = true,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::NUMERIC, "T"), Param::one("K", types::INT64, "")],
    outputs: &[Param::one("Values", types::NUMERIC, "T"), Param::one("Indices", types::INT64, "I")],
};

/// The room of TopK.
pub static ROOM: Room = Room {
    domain: "",
    name: "TopK",
    since: &[1, 10, 11, 24],
    signature: &SIGNATURE,
    read: |a| Ok(shared(TopK::read(a)?)),
    steps: &[
        Step {
            to: 10,
            up: |d| {
                if let Some(k) = d.take::<i64>("k")? {
                    let value = d.add_constant(Tensor::new(&[1], &[k])?);
                    d.set_input(1, Some(value));
                }
                Ok(())
            },
            down: |d| {
                if let Some([k]) = d.constant_ints(1, "k")?.as_deref() {
                    d.attributes.set("k", *k);
                    d.drop_input(1);
                }
                Ok(())
            },
        },
        Step {
            to: 11,
            up: |_| Ok(()),
            down: |d| {
                d.drop_default("largest", true)?;
                // Sorted is an allowed order where none is asked for.
                d.attributes.take("sorted");
                Ok(())
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let op = || TopK { axis: -1, largest: true, sorted: true };
        let x = || floats(&[3, 4], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        let k = |k: i64| ints(&[1], &[k]);
        // The specification's examples.
        let mut cases = vec![
            Case::new("largest", op())
                .input(x())
                .input(k(3))
                .outputs(2)
                .expect(floats(&[3, 3], &[3.0, 2.0, 1.0, 7.0, 6.0, 5.0, 11.0, 10.0, 9.0]))
                .expect(ints(&[3, 3], &[3, 2, 1, 3, 2, 1, 3, 2, 1])),
            Case::new("smallest", TopK { axis: 0, largest: false, sorted: false })
                .input(x())
                .input(k(1))
                .outputs(2)
                .expect(floats(&[1, 4], &[0.0, 1.0, 2.0, 3.0]))
                .expect(ints(&[1, 4], &[0; 4])),
            Case::new("equal", op())
                .input(floats(&[4], &[1.0, 2.0, 2.0, 0.0]))
                .input(k(2))
                .outputs(2)
                .expect(floats(&[2], &[2.0, 2.0]))
                .expect(ints(&[2], &[1, 2])),
            Case::new("none", op())
                .input(x())
                .input(k(0))
                .outputs(2)
                .expect(floats(&[3, 0], &[]))
                .expect(ints(&[3, 0], &[])),
        ];
        for dtype in [
            DType::F64,
            DType::F16,
            DType::BF16,
            DType::I64,
            DType::I32,
            DType::I16,
            DType::I8,
            DType::U64,
            DType::U32,
            DType::U16,
            DType::U8,
        ] {
            let of = |t: Tensor| t.cast(dtype, CastRules::default()).expect("numbers cast to each other");
            cases.push(
                Case::new(dtype.name(), op())
                    .input(of(x()))
                    .input(k(2))
                    .outputs(2)
                    .expect(of(floats(&[3, 2], &[3.0, 2.0, 7.0, 6.0, 11.0, 10.0])))
                    .expect(ints(&[3, 2], &[3, 2, 3, 2, 3, 2])),
            );
        }
        cases
    },
};

impl Op for TopK {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(mut dims) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            ctx.set_unranked(1, DType::I64);
            return Ok(());
        };
        let axis = axis_index(self.axis, dims.len())?;
        let k = ctx.ints(1).and_then(|k| k.dims.first().copied());
        if let (Some(k), Some(size)) = (k.and_then(|k| k.as_known()), dims[axis].as_known())
            && !(0..=size).contains(&k)
        {
            return Err(Unknown::wrong(format!(
                "K is {k}, but axis {axis} of {} has {size}",
                ShownDims(&dims)
            )));
        }
        dims[axis] = k.unwrap_or_else(|| ctx.unknown_dim(0, axis));
        ctx.set_tensor(0, dtype, dims.clone());
        ctx.set_tensor(1, DType::I64, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let x = run.dense(0)?;
            let axis = axis_index(op.axis, x.rank())?;
            let size = x.shape()[axis];
            let k = match run.ints(1)?.as_slice() {
                [k] => usize::try_from(*k).ok().filter(|&k| k <= size).ok_or_else(|| {
                    OpError::new(format!("K is {k}, but axis {axis} of {:?} has {size}", x.shape()))
                })?,
                other => return Err(OpError::new(format!("K must be one number, but is {other:?}"))),
            };
            let mut shape = Shape::from_slice(x.shape());
            shape[axis] = k;
            let mut indices = run.allocate(1, DType::I64, &shape)?;
            by_type!(x.dtype(), number T => {
                let mut values = run.allocate(0, T::DTYPE, &shape)?;
                sort::top_k::<T>(
                    run.pool(),
                    (x.slice()?, x.shape()),
                    axis,
                    k,
                    op.largest,
                    values.slice_mut()?,
                    indices.slice_mut()?,
                )?;
                run.set(0, values.freeze());
                Ok(())
            })?;
            run.set(1, indices.freeze());
            Ok(())
        })
    }
}
