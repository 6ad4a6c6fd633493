//! [CenterCropPad](https://onnx.ai/onnx/operators/onnx__CenterCropPad.html): the middle of the input, or the input in
//! the middle of zeros.

use crate::formula::{Formula, plain};
use crate::tensor::axes::{Axes, distinct_axes};
use crate::tensor::moves::{Move, move_elements};
use crate::{Case, Form, Room, attributes, floats, ints, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, ShownDims, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::shuffle::{self, PadMode};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Each axis cropped or padded to its wanted size; of an odd difference the end gets the larger part.
    pub struct CenterCropPad {
        /// The axes that the sizes are of; all where absent.
        axes: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input_data", types::PLAIN, "T"), Param::one("shape", types::INDEX, "Tind")],
    outputs: &[Param::one("output_data", types::PLAIN, "T")],
};

/// The room of CenterCropPad.
pub static ROOM: Room = Room {
    domain: "",
    name: "CenterCropPad",
    since: &[18],
    signature: &SIGNATURE,
    read: |a| Ok(shared(CenterCropPad::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |axes: Option<&[i64]>| CenterCropPad { axes: axes.map(<[_]>::to_vec) };
        let x = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // By onnx.reference.
        let mut cases = vec![
            Case::new("crop and pad", op(None))
                .input(x())
                .input(ints(&[2], &[5, 2]))
                .expect(floats(&[5, 2], &[0.0, 0.0, 1.0, 2.0, 4.0, 5.0, 0.0, 0.0, 0.0, 0.0])),
            Case::new("axes", op(Some(&[-1])))
                .input(x())
                .input(ints(&[1], &[4]))
                .expect(floats(&[2, 4], &[1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0])),
            Case::new("nothing", op(Some(&[1, 0])))
                .input(x())
                .input(ints(&[2], &[0, 2]))
                .expect(floats(&[2, 0], &[])),
            Case::new("text", op(None))
                .input(Tensor::from_strings(&[1], vec!["a".into()]).expect("a string"))
                .input(ints(&[1], &[3]))
                .expect(
                    Tensor::from_strings(&[3], vec!["".into(), "a".into(), "".into()])
                        .expect("three strings"),
                ),
        ];
        for (name, dtype) in [
            ("double", DType::F64),
            ("float16", DType::F16),
            ("int8", DType::I8),
            ("bool", DType::Bool),
            ("complex128", DType::Complex128),
        ] {
            cases.push(
                Case::new(name, op(None)).input(noise_of(dtype, &[4, 3], 1)).input(ints(&[2], &[3, 4])),
            );
        }
        cases
    },
};

struct Centered<'a> {
    shape: &'a [usize],
    pads: &'a [(i64, i64)],
}

impl Move for Centered<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        let data = (sources[0], self.shape);
        Ok(shuffle::pad(pool, PadMode::Constant, data, self.pads, &T::default(), output)?)
    }
}

impl CenterCropPad {
    fn axes(&self, rank: usize, sizes: usize) -> Result<Axes, OpError> {
        let axes = match &self.axes {
            Some(axes) => distinct_axes(axes, rank)?,
            None => (0..rank).collect(),
        };
        if axes.len() != sizes {
            return Err(OpError::new(format!("there are {sizes} sizes for {} axes", axes.len())));
        }
        Ok(axes)
    }
}

impl Op for CenterCropPad {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(mut dims) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        match ctx.ints(1).map(|ints| ints.dims) {
            Some(sizes) => {
                if sizes.iter().any(|d| d.as_known().is_some_and(|n| n < 0)) {
                    return Err(Unknown::wrong(format!(
                        "the wanted sizes {} are negative",
                        ShownDims(&sizes)
                    )));
                }
                for (axis, size) in self.axes(dims.len(), sizes.len())?.into_iter().zip(sizes) {
                    dims[axis] = size;
                }
            }
            None => {
                let axes = match &self.axes {
                    Some(axes) => distinct_axes(axes, dims.len())?,
                    None => (0..dims.len()).collect(),
                };
                for axis in axes {
                    dims[axis] = ctx.unknown_dim(0, axis);
                }
            }
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let sizes = run.ints(1)?;
            let data = run.take(0)?;
            let mut pads = vec![(0, 0); data.rank()];
            for (axis, &size) in op.axes(data.rank(), sizes.len())?.into_iter().zip(&sizes) {
                if size < 0 {
                    return Err(OpError::new(format!("the wanted sizes {sizes:?} are negative")));
                }
                let more = size - data.shape()[axis] as i64;
                // Division rounds towards zero: the beginning gets the smaller half, of either sign.
                pads[axis] = (more / 2, more - more / 2);
            }
            let shape = shuffle::padded_shape(data.shape(), &pads)?;
            move_elements(run, 0, &[&data], &shape, &Centered { shape: data.shape(), pads: &pads })
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (data, wanted) = (f.need(0)?, f.need(1)?);
        let axes = self.axes.as_deref().map(|axes| f.ints(axes)).transpose()?;
        let mut sizes = f.op("Shape", &[data])?;
        if let Some(axes) = axes {
            sizes = f.with("Gather", plain().with("axis", 0i64), &[sizes, axes])?;
        }
        let wanted = f.with("Cast", plain().with("to", DType::I64), &[wanted])?;
        let more = f.op("Sub", &[wanted, sizes])?;
        // Division cuts towards zero: the beginning gets the smaller half, of either sign.
        let two = f.scalar(2.0, DType::I64)?;
        let before = f.op("Div", &[more, two])?;
        let behind = f.op("Sub", &[more, before])?;
        let pads = f.concat(&[before, behind], 0)?;
        Ok(Some(f.node("Pad", &plain(), &[Some(data), Some(pads), None, axes], 1)?.to_vec()))
    }
}
