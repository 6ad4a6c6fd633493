//! [Tile](https://onnx.ai/onnx/operators/onnx__Tile.html): a tensor repeated along its axes.

use super::constant_of_shape::ConstantOfShape;
use super::moves::{Move, move_elements};
use super::reshape::Reshape;
use super::scatter_elements::ScatterElements;
use super::shape::Shape;
use crate::math::cast::Cast;
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, noise, of_room, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, axis_index, kernel,
    shared,
};
use oxidane_kernels::shuffle;
use oxidane_pool::Pool;
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// The input repeated along each axis as often as the second input says.
    pub struct Tile {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::PLAIN, "T"), Param::one("repeats", types::INT64, "")],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Tile.
pub static ROOM: Room = Room {
    domain: "",
    name: "Tile",
    since: &[1, 6, 13],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Tile::read(a)?)),
    steps: &[Step {
        to: 6,
        // The first version repeated along one axis; both numbers were tensors of the type of the data.
        up: |d| {
            let (Some(x), Some(tiles), Some(axis)) = (d.input(0), d.input(1), d.input(2)) else {
                return Err(OpError::new("Tile of opset 1 needs three inputs"));
            };
            let number = |d: &Draft<'_>, slot| -> Result<Option<i64>, OpError> {
                let Some(tensor) = d.constant(slot) else { return Ok(None) };
                let numbers = tensor.cast(DType::I64, CastRules::default())?.to_i64s()?;
                Ok((numbers.len() == 1).then(|| numbers[0]))
            };
            let repeats = match (d.rank(0), number(d, 1)?, number(d, 2)?) {
                (Some(rank), Some(tiles), Some(axis)) => {
                    let mut repeats = vec![1; rank];
                    repeats[axis_index(axis, rank)?] = tiles;
                    d.add_constant(Tensor::new(&[rank], &repeats)?)
                }
                // Ones, with the number of tiles put in the axis' place.
                _ => {
                    let sizes = d.add(Shape { end: None, start: 0 }, &[x]);
                    let rank = d.add(Shape { end: None, start: 0 }, &[sizes]);
                    let ones = d.add(ConstantOfShape { value: Some(ints(&[1], &[1])) }, &[rank]);
                    let line = d.add_constant(ints(&[1], &[1]));
                    let [axis, tiles] = [axis, tiles].map(|number| {
                        let number = d.add(Cast::new(DType::I64), &[number]);
                        d.add(Reshape { allowzero: false }, &[number, line])
                    });
                    let put = ScatterElements { axis: 0, reduction: "none".to_owned() };
                    d.add(put, &[ones, axis, tiles])
                }
            };
            d.set_input(1, Some(repeats));
            d.drop_input(2);
            Ok(())
        },
        down: |d| {
            let repeats = d.constant_ints(1, "repeats")?.unwrap_or_default();
            let mut several = repeats.iter().enumerate().filter(|(_, n)| **n != 1);
            let (axis, tiles) = several.next().map_or((0, 1), |(axis, &n)| (axis as i64, n));
            if several.next().is_some() {
                return Err(OpError::new(format!("repeats {repeats:?} cannot be expressed in this opset"))
                    .help("export to opset 6 or later"));
            }
            let dtype = d.ty(0).and_then(|ty| ty.dtype()).unwrap_or(DType::F32);
            for (slot, number) in [(1, tiles), (2, axis)] {
                let number = d.add_constant(Tensor::from_i64s(dtype, &[], &[number])?);
                d.set_input(slot, Some(number));
            }
            Ok(())
        },
    }],
    cases: || {
        crate::with_cases!();
        // The specification's example, and NumPy's tile.
        vec![
            Case::new("matrix", Tile {})
                .input(floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]))
                .input(ints(&[2], &[1, 2]))
                .expect(floats(&[2, 4], &[1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0])),
            Case::new("both axes", Tile {})
                .input(ints(&[2, 1], &[1, 2]))
                .input(ints(&[2], &[2, 3]))
                .expect(ints(&[4, 3], &[1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2])),
            Case::new("to nothing", Tile {})
                .input(noise(&[2, 3], 1))
                .input(ints(&[2], &[0, 2]))
                .expect(floats(&[0, 6], &[])),
        ]
    },
};

struct Repeated<'a> {
    shape: &'a [usize],
    repeats: &'a [usize],
}

impl Move for Repeated<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        Ok(shuffle::tile(pool, (sources[0], self.shape), self.repeats, output)?)
    }
}

impl Op for Tile {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(shape) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let dims: Dims = match ctx.ints(1) {
            Some(repeats) if repeats.dims.len() == shape.len() => {
                if repeats.dims.iter().any(|d| d.as_known().is_some_and(|n| n < 0)) {
                    return Err(Unknown::wrong(format!("repeats {} are negative", ShownDims(&repeats.dims))));
                }
                shape.iter().zip(&repeats.dims).map(|(&size, &times)| size * times).collect()
            }
            Some(repeats) => {
                return Err(Unknown::wrong(format!(
                    "there are {} repeats for a tensor of rank {}",
                    repeats.dims.len(),
                    shape.len()
                )));
            }
            None => (0..shape.len()).map(|axis| ctx.unknown_dim(0, axis)).collect(),
        };
        if let (Some(ints), Some([times])) = (ctx.ints(0), ctx.known_ints(1).as_deref())
            && let Some(len) = usize::try_from(*times).ok().and_then(|n| n.checked_mul(ints.dims.len()))
            && len <= 256
        {
            ctx.set_ints(0, ints.dims.iter().copied().cycle().take(len).collect(), false);
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(|run| {
            let repeats = super::expand::sizes(&run.ints(1)?)?;
            let data = run.take(0)?;
            let fault = || OpError::new(format!("cannot repeat {:?} by {repeats:?}", data.shape()));
            if repeats.len() != data.rank() {
                return Err(fault().help("there must be one number of repeats for each axis"));
            }
            let sizes = data.shape().iter().zip(&repeats).map(|(&size, &times)| size.checked_mul(times));
            let shape: Vec<usize> = sizes.collect::<Option<_>>().ok_or_else(fault)?;
            move_elements(run, 0, &[&data], &shape, &Repeated { shape: data.shape(), repeats: &repeats })
        })
    }
}
