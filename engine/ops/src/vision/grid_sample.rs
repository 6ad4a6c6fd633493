//! [GridSample](https://onnx.ai/onnx/operators/onnx__GridSample.html): elements and what lies between them, at
//! positions that a grid names.

use super::complex_parts::{by_part, real};
use crate::tensor::moves::{Move, move_elements};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attribute, Call, Dims, InferCtx, Kernel, Op, OpError, Param, Run, ShownDims, Signature, Unknown, kernel,
    shared,
};
use oxidane_kernels::sample::{GridSample as Loop, Interpolation, Outside, Positions};
use oxidane_pool::Pool;
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// Samples of `X` (batch, channels, spatial...) at the positions of `grid` (batch, spatial of the result...,
    /// dimensions), which run from -1 to 1 along each dimension, the last dimension first.
    pub struct GridSample {
        align_corners: bool = false,
        mode: String = "linear".into(),
        padding_mode: String = "zeros".into(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::PLAIN, "T1"), Param::one("grid", types::FLOAT, "T2")],
    outputs: &[Param::one("Y", types::PLAIN, "T1")],
};

/// The room of GridSample.
pub static ROOM: Room = Room {
    domain: "",
    name: "GridSample",
    since: &[16, 20, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GridSample::read(a)?)),
    steps: &[Step { to: 20, up: of_any_rank, down: of_planes }],
    cases,
};

/// Opset 16 names the modes after planes.
fn of_any_rank(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let mode = match draft.attributes.value::<String>("mode")?.as_deref() {
        None | Some("bilinear") => "linear",
        Some("bicubic") => "cubic",
        Some(_) => return Ok(()),
    };
    draft.attributes.set("mode", Attribute::string(mode));
    Ok(())
}

fn of_planes(draft: &mut Draft<'_>) -> Result<(), OpError> {
    if let Some(rank) = draft.rank(0).filter(|&rank| rank != 4) {
        return Err(OpError::new(format!(
            "an input of rank {rank} cannot be sampled in this opset, only planes can"
        ))
        .help("export to opset 20 or later"));
    }
    let mode = match draft.attributes.value::<String>("mode")?.as_deref() {
        None | Some("linear") => "bilinear",
        Some("cubic") => "bicubic",
        Some(_) => return Ok(()),
    };
    draft.attributes.set("mode", Attribute::string(mode));
    Ok(())
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |mode: &str, padding_mode: &str, align_corners| GridSample {
        align_corners,
        mode: mode.into(),
        padding_mode: padding_mode.into(),
    };
    let x = || floats(&[1, 1, 3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let grid = || {
        floats(
            &[1, 2, 4, 2],
            &[-10.0, -10.0, -5.0, -5.0, -0.2, -0.2, 10.0, 10.0, 10.0, 10.0, -0.2, -0.2, 5.0, 5.0, 10.0, 10.0],
        )
    };
    let of = |name, op, values: [f32; 8]| {
        Case::new(name, op).input(x()).input(grid()).expect(floats(&[1, 1, 2, 4], &values))
    };
    // The specification's examples, whose values are PyTorch's; the last is that of onnx.reference.
    let mut cases = vec![
        of("zeros", op("linear", "zeros", false), [0.0, 0.0, 1.7, 0.0, 0.0, 1.7, 0.0, 0.0]),
        of("border", op("linear", "border", false), [0.0, 0.0, 1.7, 5.0, 5.0, 1.7, 5.0, 5.0]),
        of("reflection", op("linear", "reflection", false), [2.5, 0.0, 1.7, 2.5, 2.5, 1.7, 5.0, 2.5]),
        of("corners", op("linear", "zeros", true), [0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0]),
        of("nearest", op("nearest", "zeros", false), [0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0]),
        of("nearest border", op("nearest", "border", false), [0.0, 0.0, 2.0, 5.0, 5.0, 2.0, 5.0, 5.0]),
        of("cubic", op("cubic", "border", false), [0.0, 0.0, 1.500_501_4, 5.0, 5.0, 1.500_501_4, 5.0, 5.0])
            .tolerance(1e-5),
        Case::new("line", op("linear", "zeros", true))
            .input(floats(&[1, 2, 3], &[0.0, 1.0, 2.0, 5.0, 5.0, 9.0]))
            .input(floats(&[1, 2, 1], &[-0.5, 0.5]))
            .expect(floats(&[1, 2, 2], &[0.5, 1.5, 5.0, 7.0])),
        Case::new("volume", op("cubic", "reflection", false))
            .input(noise(&[2, 2, 3, 4, 5], 1))
            .input(noise(&[2, 2, 3, 2, 3], 2)),
        // No number is outside, and so is what is infinitely far.
        Case::new("nowhere", op("linear", "zeros", false))
            .input(x())
            .input(floats(
                &[1, 1, 4, 2],
                &[f32::NAN, 0.0, f32::INFINITY, 0.0, 0.0, f32::NEG_INFINITY, f32::MAX, -f32::MAX],
            ))
            .expect(floats(&[1, 1, 1, 4], &[0.0; 4])),
        Case::new("nowhere bordered", op("nearest", "border", true))
            .input(x())
            .input(floats(
                &[1, 1, 4, 2],
                &[f32::NAN, f32::NAN, f32::INFINITY, 1.0, 1.0, f32::NEG_INFINITY, f32::MAX, -f32::MAX],
            ))
            .expect(floats(&[1, 1, 1, 4], &[0.0, 5.0, 1.0, 1.0])),
        Case::new("empty", op("linear", "reflection", false))
            .input(floats(&[1, 1, 0, 2], &[]))
            .input(floats(&[1, 1, 1, 2], &[0.0, 0.0]))
            .expect(floats(&[1, 1, 1, 1], &[0.0])),
        Case::new("text", op("nearest", "zeros", false))
            .input(Tensor::from_strings(&[1, 1, 2], vec!["a".into(), "b".into()]).expect("two strings"))
            .input(floats(&[1, 3, 1], &[-0.5, 0.5, 5.0]))
            .expect(
                Tensor::from_strings(&[1, 1, 3], vec!["a".into(), "b".into(), "".into()])
                    .expect("three strings"),
            ),
    ];
    for (name, dtype, grid) in [
        ("double", DType::F64, DType::F64),
        ("float16", DType::F16, DType::F16),
        ("bfloat16", DType::BF16, DType::BF16),
        ("int32", DType::I32, DType::F32),
        ("bool", DType::Bool, DType::F32),
        ("complex64", DType::Complex64, DType::F32),
    ] {
        cases.push(
            Case::new(name, op("linear", "reflection", false))
                .input(noise_of(dtype, &[1, 3, 4, 5], 3))
                .input(noise_of(grid, &[1, 2, 6, 2], 4)),
        );
    }
    cases
}

struct Nearest<'a> {
    sample: Loop,
    x: &'a [usize],
    grid: (Positions<'a>, &'a [usize]),
}

impl Move for Nearest<'_> {
    fn apply<T: Clone + Default + Send + Sync>(
        &self,
        pool: &Pool,
        sources: &[&[T]],
        output: &mut [T],
    ) -> Result<(), OpError> {
        Ok(self.sample.nearest(pool, (sources[0], self.x), self.grid, output)?)
    }
}

impl GridSample {
    fn sample(&self) -> Result<Loop, OpError> {
        let interpolation = match self.mode.as_str() {
            "nearest" => Interpolation::Nearest,
            "linear" => Interpolation::Linear,
            "cubic" => Interpolation::Cubic,
            other => {
                return Err(OpError::new(format!("attribute `mode` is `{other}`"))
                    .help("it is one of nearest, linear, cubic"));
            }
        };
        let outside = match self.padding_mode.as_str() {
            "zeros" => Outside::Zeros,
            "border" => Outside::Border,
            "reflection" => Outside::Reflection,
            other => {
                return Err(OpError::new(format!("attribute `padding_mode` is `{other}`"))
                    .help("it is one of zeros, border, reflection"));
            }
        };
        Ok(Loop { interpolation, outside, align_corners: self.align_corners })
    }
}

fn run(sample: Loop, run: &mut Run<'_>) -> Result<(), OpError> {
    let x = run.tensor(0)?.clone();
    let shape = Loop::output(x.shape(), run.tensor(1)?.shape())?;
    let grid = run.tensor(1)?.cast(real(run.tensor(1)?.dtype()), CastRules::default())?.to_dense()?;
    let positions = match grid.dtype() {
        DType::F32 => Positions::Single(grid.slice()?),
        _ => Positions::Double(grid.slice()?),
    };
    let grid = (positions, grid.shape());
    if sample.interpolation == Interpolation::Nearest {
        return move_elements(run, 0, &[&x], &shape, &Nearest { sample, x: x.shape(), grid });
    }
    if x.dtype() == DType::String {
        return Err(OpError::new("strings have nothing between them").help("set mode to nearest"));
    }
    let sampled = by_part(&x, |x| {
        let wide = real(x.dtype());
        let dense = x.cast(wide, CastRules::default())?.to_dense()?;
        let mut out = run.allocate(0, wide, &shape)?;
        match wide {
            DType::F32 => {
                sample.sample::<f32>(run.pool(), (dense.slice()?, x.shape()), grid, out.slice_mut()?)?;
            }
            _ => sample.sample::<f64>(run.pool(), (dense.slice()?, x.shape()), grid, out.slice_mut()?)?,
        }
        Ok(out.freeze().cast(x.dtype(), CastRules::default())?)
    })?;
    run.set(0, sampled);
    Ok(())
}

impl Op for GridSample {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.sample()?;
        let dtype = ctx.dtype(0)?;
        let (x, grid) = (ctx.shape(0), ctx.shape(1));
        let Some(rank) = x.or(grid).map(<[_]>::len) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let wrong = |shape: Option<&[oxidane_graph::Dim]>| shape.is_some_and(|s| s.len() != rank);
        let last = grid.and_then(|g| g.last()?.as_known());
        if rank < 3 || wrong(grid) || last.is_some_and(|n| n != rank as i64 - 2) {
            let shown = |shape: Option<&[oxidane_graph::Dim]>| {
                shape.map_or("unknown".to_owned(), |s| ShownDims(s).to_string())
            };
            return Err(Unknown::wrong(format!(
                "a grid of shape {} does not fit an input of shape {}",
                shown(grid),
                shown(x)
            )));
        }
        let mut dims = match x {
            Some(x) => Dims::from_slice(&x[..2]),
            None => (0..2).map(|axis| ctx.unknown_dim(0, axis)).collect(),
        };
        // Both have the batch; that of the grid may be the one that is known.
        if let Some(batch) = grid.map(|g| g[0])
            && (x.is_none() || dims[0].as_known().is_none())
        {
            dims[0] = batch;
        }
        match grid {
            Some(grid) => dims.extend_from_slice(&grid[1..rank - 1]),
            None => dims.extend((2..rank).map(|axis| ctx.unknown_dim(0, axis))),
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let sample = self.sample()?;
        kernel(move |call| run(sample, call))
    }
}
