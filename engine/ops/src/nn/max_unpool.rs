//! [MaxUnpool](https://onnx.ai/onnx/operators/onnx__MaxUnpool.html): the largest elements of a pooling back at their
//! places.

use super::window::Sliding;
use crate::tensor::moves::{Move, move_elements};
use crate::{Case, Form, Room, attributes, floats, ints, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Run, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_pool::Pool;
use oxidane_tensor::{DType, element_count};

attributes! {
    /// Zeros, and the elements of `X` where `I` says. The places count through the tensor that a pooling with these
    /// attributes would have come from, also where `output_shape` asks for a larger one.
    pub struct MaxUnpool {
        kernel_shape: Vec<i64>,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T1"),
        Param::one("I", types::INT64, "T2"),
        Param::optional("output_shape", types::INT64, "T2"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T1")],
};

/// The room of MaxUnpool.
pub static ROOM: Room = Room {
    domain: "",
    name: "MaxUnpool",
    since: &[9, 11, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MaxUnpool::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = || MaxUnpool { kernel_shape: vec![2, 2], pads: None, strides: Some(vec![2, 2]) };
        let places = || ints(&[1, 1, 2, 2], &[5, 7, 13, 15]);
        let x = || floats(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        // The specification's examples.
        let mut cases = vec![
            Case::new("plain", op()).input(x()).input(places()).expect(floats(
                &[1, 1, 4, 4],
                &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0],
            )),
            Case::new("larger", op()).input(x()).input(places()).input(ints(&[4], &[1, 1, 5, 5])).expect(
                floats(
                    &[1, 1, 5, 5],
                    &[
                        0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0,
                        0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                    ],
                ),
            ),
            Case::new("pads", MaxUnpool { kernel_shape: vec![3], pads: Some(vec![1, 1]), strides: None })
                .input(floats(&[1, 1, 3], &[1.0, 2.0, 3.0]))
                .input(ints(&[1, 1, 3], &[0, 2, 2]))
                .expect(floats(&[1, 1, 3], &[1.0, 0.0, 3.0])),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(Case::new(name, op()).input(noise_of(dtype, &[1, 1, 2, 2], 1)).input(places()));
        }
        cases
    },
};

/// Zeros with the elements of the source at these places.
struct Unpooled {
    places: Vec<usize>,
}

impl Move for Unpooled {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        _: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        output.fill(T::default());
        for (value, &place) in sources[0].iter().zip(&self.places) {
            output[place] = value.clone();
        }
        Ok(())
    }
}

impl MaxUnpool {
    /// The sizes that a pooling with these attributes makes `x` of.
    fn pooled_from(&self, x: &[Dim]) -> Result<Dims, OpError> {
        let rank = self.kernel_shape.len();
        if x.len() != rank + 2 {
            return Err(OpError::new(format!(
                "a kernel of shape {:?} does not fit an input {}: it needs a batch, channels and as many spatial \
                 dimensions",
                self.kernel_shape,
                ShownDims(x)
            )));
        }
        let sliding = Sliding {
            auto_pad: "NOTSET",
            kernel_shape: Some(&self.kernel_shape),
            strides: self.strides.as_deref(),
            dilations: None,
            pads: self.pads.as_deref(),
        };
        let window = sliding.unresolved(None)?;
        let mut dims = Dims::from_slice(&x[..2]);
        dims.extend((0..rank).map(|i| {
            let pads = Dim::from(window.begins[i] + window.ends[i]);
            (x[2 + i] - Dim::known(1)) * Dim::from(window.strides[i]) - pads + Dim::from(window.kernel[i])
        }));
        if dims[2..].iter().any(|d| d.as_known().is_some_and(|n| n < 0)) {
            return Err(OpError::new(format!("the pads {:?} leave nothing of {}", self.pads, ShownDims(x))));
        }
        Ok(dims)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.tensor(0)?.clone();
        if run.tensor(1)?.shape() != x.shape() {
            return Err(OpError::new(format!(
                "the places have the shape {:?}, but the elements {:?}",
                run.tensor(1)?.shape(),
                x.shape()
            )));
        }
        let dims: Dims = x.shape().iter().map(|&n| Dim::from(n)).collect();
        let from: Vec<usize> = self
            .pooled_from(&dims)?
            .iter()
            .map(|d| d.as_size().ok_or_else(|| OpError::new(format!("the result has the size {d}"))))
            .collect::<Result<_, _>>()?;
        let count = element_count(&from)?;
        let shape: Vec<usize> = match run.try_ints(2)? {
            None => from.clone(),
            Some(wanted) => {
                let sizes = wanted.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
                sizes.filter(|s| s.len() == from.len()).ok_or_else(|| {
                    OpError::new(format!(
                        "`output_shape` is {wanted:?}, but the input has the shape {:?}",
                        x.shape()
                    ))
                })?
            }
        };
        element_count(&shape)?;
        let place = |index: i64| -> Result<usize, OpError> {
            let outside = || {
                OpError::new(format!("the place {index} lies outside of the result"))
                    .help(format!("places count through {from:?} from 0; the result has the shape {shape:?}"))
            };
            let mut rest = usize::try_from(index).ok().filter(|&i| i < count).ok_or_else(outside)?;
            let (mut at, mut step) = (0, 1);
            for (&size, &wanted) in from.iter().zip(&shape).rev() {
                let coordinate = rest % size;
                rest /= size;
                if coordinate >= wanted {
                    return Err(outside());
                }
                at += coordinate * step;
                step *= wanted;
            }
            Ok(at)
        };
        let indices = run.dense(1)?;
        let places: Vec<usize> =
            indices.slice::<i64>()?.iter().map(|&i| place(i)).collect::<Result<_, _>>()?;
        move_elements(run, 0, &[&x], &shape, &Unpooled { places })
    }
}

impl Op for MaxUnpool {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let from = ctx.shape(0).map(|x| self.pooled_from(x)).transpose()?;
        let rank = self.kernel_shape.len() + 2;
        let dims: Dims = match (ctx.has_input(2).then(|| ctx.ints(2)), from) {
            (Some(Some(wanted)), _) if wanted.dims.len() != rank => {
                return Err(Unknown::wrong(format!(
                    "output_shape {} needs {rank} sizes",
                    ShownDims(&wanted.dims)
                )));
            }
            (Some(Some(wanted)), _) => wanted.dims,
            (None, Some(from)) => from,
            (None, None) | (Some(None), _) => (0..rank).map(|axis| ctx.unknown_dim(0, axis)).collect(),
        };
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}
