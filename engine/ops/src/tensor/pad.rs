//! [Pad](https://onnx.ai/onnx/operators/onnx__Pad.html): elements put around a tensor, or taken away.

use super::axes::distinct_axes;
use super::moves::{Move, move_elements};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::shuffle::{self, PadMode};
use oxidane_pool::Pool;
use oxidane_tensor::Tensor;
use smallvec::SmallVec;

attributes! {
    /// The data with so many elements before and after it along each axis (or, where negative, without them) as
    /// the second input says: all that go before, then all that go after.
    pub struct Pad {
        /// What is put there: `constant`, `reflect`, `edge` or `wrap`.
        mode: String = "constant".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("data", types::ALL, "T"),
        Param::one("pads", types::INT64, ""),
        Param::optional("constant_value", types::ALL, "T"),
        Param::optional("axes", types::INDEX, "Tind"),
    ],
    outputs: &[Param::one("output", types::ALL, "T")],
};

/// The room of Pad.
pub static ROOM: Room = Room {
    domain: "",
    name: "Pad",
    since: &[1, 2, 11, 13, 18, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| {
        let op = Pad::read(a)?;
        mode(&op.mode)?;
        Ok(shared(op))
    },
    steps: &[
        Step { to: 2, up: |d| rename(d, "paddings", "pads"), down: |d| rename(d, "pads", "paddings") },
        Step {
            to: 11,
            up: |d| {
                d.ints_to_input("pads", 1)?;
                d.float_to_input("value", 2)
            },
            down: |d| {
                if d.input(2).is_some() {
                    let value = d.constant(2).ok_or_else(|| {
                        OpError::new("the value is computed, but this opset wants a constant attribute")
                            .help("export to opset 11 or later")
                    })?;
                    let value = value.to_f64s()?.first().copied().unwrap_or(0.0);
                    d.attributes.set("value", value as f32);
                    d.drop_input(2);
                }
                d.input_to_ints(1, "pads")
            },
        },
        Step { to: 18, up: |_| Ok(()), down: all_axes },
        Step {
            to: 19,
            up: |_| Ok(()),
            down: |d| match d.attributes.value::<String>("mode")?.as_deref() {
                Some("wrap") => Err(OpError::new("mode `wrap` cannot be expressed in this opset")
                    .help("export to opset 19 or later")),
                _ => Ok(()),
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let of = |mode: &str| Pad { mode: mode.to_owned() };
        let x = || floats(&[3, 2], &[1.0, 1.2, 2.3, 3.4, 4.5, 5.7]);
        let wide = || ints(&[4], &[0, 2, 0, 0]);
        // The specification's examples, and NumPy's pad.
        vec![
            Case::new("constant", of("constant"))
                .input(x())
                .input(wide())
                .expect(floats(&[3, 4], &[0.0, 0.0, 1.0, 1.2, 0.0, 0.0, 2.3, 3.4, 0.0, 0.0, 4.5, 5.7])),
            Case::new("reflect", of("reflect"))
                .input(x())
                .input(wide())
                .expect(floats(&[3, 4], &[1.0, 1.2, 1.0, 1.2, 2.3, 3.4, 2.3, 3.4, 4.5, 5.7, 4.5, 5.7])),
            Case::new("edge", of("edge"))
                .input(x())
                .input(wide())
                .expect(floats(&[3, 4], &[1.0, 1.0, 1.0, 1.2, 2.3, 2.3, 2.3, 3.4, 4.5, 4.5, 4.5, 5.7])),
            Case::new("wrap", of("wrap")).input(x()).input(ints(&[4], &[2, 1, 1, 1])).expect(floats(
                &[6, 4],
                &[
                    3.4, 2.3, 3.4, 2.3, 5.7, 4.5, 5.7, 4.5, 1.2, 1.0, 1.2, 1.0, 3.4, 2.3, 3.4, 2.3, 5.7, 4.5,
                    5.7, 4.5, 1.2, 1.0, 1.2, 1.0,
                ],
            )),
            Case::new("axes and a value", of("constant"))
                .input(ints(&[2, 2], &[1, 2, 3, 4]))
                .input(ints(&[2], &[1, -1]))
                .input(ints(&[], &[9]))
                .input(ints(&[1], &[-1]))
                .expect(ints(&[2, 2], &[9, 1, 9, 3])),
        ]
    },
};

fn rename(draft: &mut Draft<'_>, from: &str, to: &str) -> Result<(), OpError> {
    if let Some(value) = draft.attributes.take(from) {
        draft.attributes.set(to, value);
    }
    Ok(())
}

/// A step down to opsets without `axes`: the pads of some axes become those of all.
fn all_axes(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let Some(axes) = draft.constant_ints(3, "axes")? else {
        draft.drop_input(3);
        return Ok(());
    };
    let advice = "export to opset 18 or later";
    let rank = draft
        .rank(0)
        .ok_or_else(|| OpError::new("axes need a known rank to be expressed in this opset").help(advice))?;
    let pads = draft.constant_ints(1, "pads")?.unwrap_or_default();
    let zero = || SmallVec::from_elem((0, 0), rank);
    let pairs = pairs(&pads, Some(&axes), zero)?;
    let all: Vec<i64> = pairs.iter().map(|p| p.0).chain(pairs.iter().map(|p| p.1)).collect();
    let all = draft.add_constant(Tensor::new(&[all.len()], &all)?);
    draft.set_input(1, Some(all));
    draft.drop_input(3);
    Ok(())
}

/// The pads before and after each axis; `none` gives the pairs of no padding, as many as there are axes.
type Pairs<T> = SmallVec<[(T, T); 6]>;

fn pairs<T: Copy>(
    pads: &[T],
    axes: Option<&[i64]>,
    none: impl FnOnce() -> Pairs<T>,
) -> Result<Pairs<T>, OpError> {
    let mut pairs = none();
    let axes = match axes {
        Some(axes) => distinct_axes(axes, pairs.len())?,
        None => (0..pairs.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(OpError::new(format!("there are {} pads for {} axes", pads.len(), axes.len()))
            .help("there must be two for each axis: all that go before, then all that go after"));
    }
    let (before, after) = pads.split_at(axes.len());
    for (i, axis) in axes.into_iter().enumerate() {
        pairs[axis] = (before[i], after[i]);
    }
    Ok(pairs)
}

fn mode(name: &str) -> Result<PadMode, OpError> {
    Ok(match name {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => {
            return Err(OpError::new(format!("there is no mode `{other}`"))
                .help("it may be constant, reflect, edge or wrap"));
        }
    })
}

struct Padded<'a> {
    mode: PadMode,
    shape: &'a [usize],
    pads: &'a [(i64, i64)],
}

impl Move for Padded<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        let value = sources.get(1).and_then(|s| s.first()).cloned().unwrap_or_default();
        Ok(shuffle::pad(pool, self.mode, (sources[0], self.shape), self.pads, &value, output)?)
    }
}

impl Op for Pad {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(shape) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let axes = ctx.known_ints(3);
        let known = ctx.has_input(3) == axes.is_some();
        let dims: Dims = match ctx.ints(1) {
            Some(pads) if known => {
                let zero = Dim::known(0);
                let pairs =
                    pairs(&pads.dims, axes.as_deref(), || SmallVec::from_elem((zero, zero), shape.len()))?;
                shape.iter().zip(&pairs).map(|(&size, &(before, after))| size + before + after).collect()
            }
            _ => (0..shape.len()).map(|axis| ctx.unknown_dim(0, axis)).collect(),
        };
        if dims.iter().any(|d| d.as_known().is_some_and(|n| n < 0)) {
            return Err(Unknown::wrong(format!("the pads take more away than {} has", ShownDims(&shape))));
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let mode = mode(&self.mode)?;
        kernel(move |run| {
            let pads = run.ints(1)?;
            let axes = run.try_ints(3)?;
            let value = run.try_tensor(2)?.cloned();
            if let Some(value) = &value
                && value.len() != 1
            {
                return Err(OpError::new(format!("the value must be one element, but has {}", value.len())));
            }
            let data = run.take(0)?;
            let pads = pairs(&pads, axes.as_deref(), || SmallVec::from_elem((0, 0), data.rank()))?;
            let shape = shuffle::padded_shape(data.shape(), &pads)?;
            let sources: SmallVec<[&Tensor; 2]> = [&data].into_iter().chain(&value).collect();
            move_elements(run, 0, &sources, &shape, &Padded { mode, shape: data.shape(), pads: &pads })
        })
    }
}
