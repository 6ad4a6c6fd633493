//! [RoiAlign](https://onnx.ai/onnx/operators/onnx__RoiAlign.html): regions of interest pooled to one size, by samples
//! between elements.

use super::complex_parts::real;
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, noise_of, of_room, types};
use oxidane_graph::{
    Attribute, Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, ShownDims, Signature, Unknown, kernel,
    shared,
};
use oxidane_kernels::roi::RoiAlign as Loop;
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// Each region `[x1, y1, x2, y2]` of the batch entry named with it, as `output_height` x `output_width` bins.
    pub struct RoiAlign {
        coordinate_transformation_mode: String = "half_pixel".into(),
        mode: String = "avg".into(),
        output_height: i64 = 1,
        output_width: i64 = 1,
        sampling_ratio: i64 = 0,
        spatial_scale: f32 = 1.0,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T1"),
        Param::one("rois", types::FLOAT, "T1"),
        Param::one("batch_indices", types::INT64, "T2"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T1")],
};

/// The room of RoiAlign.
pub static ROOM: Room = Room {
    domain: "",
    name: "RoiAlign",
    since: &[10, 16, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RoiAlign::read(a)?)),
    steps: &[Step { to: 16, up: unshifted, down: only_unshifted }],
    cases,
};

const SHIFT: &str = "coordinate_transformation_mode";

/// Before opset 16 coordinates are not shifted.
fn unshifted(draft: &mut Draft<'_>) -> Result<(), OpError> {
    draft.attributes.set(SHIFT, Attribute::string("output_half_pixel"));
    Ok(())
}

fn only_unshifted(draft: &mut Draft<'_>) -> Result<(), OpError> {
    match draft.take::<String>(SHIFT)?.as_deref() {
        Some("output_half_pixel") => Ok(()),
        other => {
            let other = other.unwrap_or("half_pixel").to_owned();
            draft.attributes.set(SHIFT, Attribute::string(&other));
            Err(OpError::new(format!("{SHIFT} `{other}` cannot be expressed in this opset"))
                .help("export to opset 16 or later"))
        }
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let plain = || RoiAlign {
        coordinate_transformation_mode: "half_pixel".into(),
        mode: "avg".into(),
        output_height: 2,
        output_width: 2,
        sampling_ratio: 2,
        spatial_scale: 1.0,
    };
    let x = || floats(&[1, 1, 4, 4], &std::array::from_fn::<f32, 16, _>(|i| (i * i) as f32));
    let of = |name, op, region: [f32; 4]| {
        Case::new(name, op).input(x()).input(floats(&[1, 4], &region)).input(ints(&[1], &[0]))
    };
    // The values are those of onnx.reference and of ONNX Runtime.
    let mut cases = vec![
        of("half pixel", plain(), [0.0, 0.0, 3.0, 3.0])
            .expect(floats(&[1, 1, 2, 2], &[6.09375, 12.75, 58.6875, 81.875])),
        of(
            "unshifted",
            RoiAlign { coordinate_transformation_mode: "output_half_pixel".into(), ..plain() },
            [0.5, 1.0, 0.75, 3.5],
        )
        .expect(floats(&[1, 1, 2, 2], &[56.5, 64.0, 143.9375, 156.0625])),
        of("adaptive", RoiAlign { sampling_ratio: 0, spatial_scale: 0.5, ..plain() }, [-3.0, 1.0, 9.0, 8.0])
            .expect(floats(&[1, 1, 2, 2], &[14.0, 41.333_332, 77.958_336, 165.916_67])),
        of("largest", RoiAlign { mode: "max".into(), ..plain() }, [0.0, 1.0, 3.0, 4.0])
            .expect(floats(&[1, 1, 2, 2], &[40.0, 54.6875, 144.0, 171.5])),
        // Far larger than the input: what is outside counts as zero.
        of("huge", RoiAlign { sampling_ratio: 0, ..plain() }, [-1e30, -1e30, 1e30, 1e30])
            .expect(floats(&[1, 1, 2, 2], &[0.0; 4])),
        of(
            "no numbers",
            RoiAlign { sampling_ratio: 0, ..plain() },
            [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1.0],
        )
        .expect(floats(&[1, 1, 2, 2], &[0.0; 4])),
        of("inside out", RoiAlign { sampling_ratio: 0, ..plain() }, [3.0, 3.0, 0.0, 0.0])
            .expect(floats(&[1, 1, 2, 2], &[0.0; 4])),
        of(
            "no numbers, largest",
            RoiAlign { mode: "max".into(), ..plain() },
            [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1.0],
        )
        .expect(floats(&[1, 1, 2, 2], &[0.0; 4])),
    ];
    for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
        cases.push(
            Case::new(name, RoiAlign { output_height: 3, ..plain() })
                .input(noise_of(dtype, &[2, 3, 6, 5], 1))
                .input(
                    Tensor::from_f64s(dtype, &[2, 4], &[0.5, 1.0, 4.0, 5.0, -1.0, 2.0, 3.0, 9.0])
                        .expect("floats"),
                )
                .input(ints(&[2], &[1, 0])),
        );
    }
    cases
}

/// The sizes of the regions' bins, checked.
///
/// # Errors
/// When one is negative.
pub(super) fn bins(height: i64, width: i64) -> Result<[usize; 2], OpError> {
    let size = |n: i64| {
        usize::try_from(n)
            .map_err(|_| OpError::new(format!("regions cannot be pooled to {height} x {width} bins")))
    };
    Ok([size(height)?, size(width)?])
}

/// The sizes of an input that regions are taken from.
///
/// # Errors
/// When it has not four dimensions.
pub(super) fn planes(x: &Tensor) -> Result<[usize; 4], OpError> {
    <[usize; 4]>::try_from(x.shape()).map_err(|_| {
        OpError::new(format!(
            "the input has the shape {:?}, but must be (batch, channels, rows, columns)",
            x.shape()
        ))
    })
}

/// An index of a batch entry, checked.
///
/// # Errors
/// When there is no such entry.
pub(super) fn entry(index: i64, batch: usize) -> Result<usize, OpError> {
    usize::try_from(index).ok().filter(|&i| i < batch).ok_or_else(|| {
        OpError::new(format!("a region names the batch entry {index}, but the batch has {batch}"))
            .help("entries count from 0")
    })
}

/// Regions that are worked on between two looks at whether the run may go on.
const REGIONS: usize = 64;
/// Samples along an axis of a bin at most.
const MOST_SAMPLES: usize = 4096;

impl RoiAlign {
    fn pooling(&self) -> Result<Loop, OpError> {
        let half_pixel = match self.coordinate_transformation_mode.as_str() {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => {
                return Err(OpError::new(format!("attribute `{SHIFT}` is `{other}`"))
                    .help("it is half_pixel or output_half_pixel"));
            }
        };
        let max = match self.mode.as_str() {
            "avg" => false,
            "max" => true,
            other => {
                return Err(OpError::new(format!("attribute `mode` is `{other}`")).help("it is avg or max"));
            }
        };
        let sampling_ratio =
            usize::try_from(self.sampling_ratio).ok().filter(|&n| n <= MOST_SAMPLES).ok_or_else(|| {
                OpError::new(format!(
                    "attribute `sampling_ratio` is {}, but must lie between 0 and {MOST_SAMPLES}",
                    self.sampling_ratio
                ))
            })?;
        Ok(Loop {
            output: bins(self.output_height, self.output_width)?,
            sampling_ratio,
            spatial_scale: f64::from(self.spatial_scale),
            half_pixel,
            max,
        })
    }

    fn run(&self, pooling: Loop, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.tensor(0)?;
        let (dtype, shape) = (x.dtype(), planes(x)?);
        let wide = real(dtype);
        let dense = |t: &Tensor| Ok::<_, OpError>(t.cast(wide, CastRules::default())?.to_dense()?);
        let (x, rois) = (dense(x)?, dense(run.tensor(1)?)?);
        let named = run.ints(2)?;
        if rois.shape() != [named.len(), 4] {
            return Err(OpError::new(format!(
                "the regions have the shape {:?}, but must be ({}, 4), as many as batch_indices",
                rois.shape(),
                named.len()
            )));
        }
        let entries: Vec<usize> = named.iter().map(|&i| entry(i, shape[0])).collect::<Result<_, _>>()?;
        let target = [entries.len(), shape[1], pooling.output[0], pooling.output[1]];
        let mut out = run.allocate(0, wide, &target)?;
        let each = out_of(&target);
        for (i, entries) in entries.chunks(REGIONS).enumerate() {
            run.checkpoint()?;
            let (regions, bins) = (4 * REGIONS * i..4 * (REGIONS * i + entries.len()), REGIONS * i * each);
            let bins = bins..bins + entries.len() * each;
            match wide {
                DType::F32 => pooling.pool::<f32>(
                    run.pool(),
                    (x.slice()?, shape),
                    (&rois.slice()?[regions], entries),
                    &mut out.slice_mut()?[bins],
                )?,
                _ => pooling.pool::<f64>(
                    run.pool(),
                    (x.slice()?, shape),
                    (&rois.slice()?[regions], entries),
                    &mut out.slice_mut()?[bins],
                )?,
            }
        }
        run.set(0, out.freeze().cast(dtype, CastRules::default())?);
        Ok(())
    }
}

/// Elements that one region becomes.
fn out_of(target: &[usize; 4]) -> usize {
    target[1..].iter().product()
}

impl Op for RoiAlign {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.pooling()?;
        let dtype = ctx.dtype(0)?;
        for (slot, rank) in [(0, 4), (1, 2), (2, 1)] {
            if let Some(shape) = ctx.shape(slot)
                && shape.len() != rank
            {
                let shown = ShownDims(shape).to_string();
                return Err(Unknown::wrong(format!(
                    "{} is {shown}, but must have rank {rank}",
                    ctx.called(slot)
                )));
            }
        }
        let rois = [1, 2]
            .into_iter()
            .filter_map(|slot| Some(ctx.shape(slot)?[0]))
            .min_by_key(|d| d.as_known().is_none());
        let rois = rois.unwrap_or_else(|| ctx.unknown_dim(0, 0));
        let channels = ctx.shape(0).map(|x| x[1]).unwrap_or_else(|| ctx.unknown_dim(0, 1));
        ctx.set_tensor(
            0,
            dtype,
            [rois, channels, Dim::from(self.output_height), Dim::from(self.output_width)],
        );
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (op, pooling) = (self.clone(), self.pooling()?);
        kernel(move |run| op.run(pooling, run))
    }
}
