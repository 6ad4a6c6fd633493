//! [MaxRoiPool](https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html): regions of interest pooled to one size, by
//! whole elements.

use super::complex_parts::real;
use super::roi_align::{bins, entry, planes};
use crate::{Case, Form, Room, attributes, floats, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::roi::max_roi_pool;
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// The largest element of each bin of each region `[batch entry, x1, y1, x2, y2]`.
    pub struct MaxRoiPool {
        pooled_shape: Vec<i64>,
        spatial_scale: f32 = 1.0,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T"), Param::one("rois", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of MaxRoiPool.
pub static ROOM: Room = Room {
    domain: "",
    name: "MaxRoiPool",
    since: &[1, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MaxRoiPool::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |spatial_scale| MaxRoiPool { pooled_shape: vec![2, 2], spatial_scale };
        let x = || floats(&[1, 1, 4, 4], &std::array::from_fn::<f32, 16, _>(|i| i as f32));
        // By hand.
        let mut cases = vec![
            Case::new("whole", op(1.0))
                .input(x())
                .input(floats(&[1, 5], &[0.0, 0.0, 0.0, 3.0, 3.0]))
                .expect(floats(&[1, 1, 2, 2], &[5.0, 7.0, 13.0, 15.0])),
            Case::new("scaled", op(0.5))
                .input(x())
                .input(floats(&[2, 5], &[0.0, 2.0, 0.0, 6.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
                .expect(floats(&[2, 1, 2, 2], &[6.0, 7.0, 10.0, 11.0, 0.0, 0.0, 0.0, 0.0])),
            Case::new("outside", op(1.0)).input(x()).input(floats(
                &[2, 5],
                &[0.0, 50.0, 50.0, 60.0, 60.0, 0.0, f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1e30],
            )),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(
                Case::new(name, op(1.0)).input(noise_of(dtype, &[2, 3, 6, 5], 1)).input(
                    Tensor::from_f64s(dtype, &[2, 5], &[1.0, 0.5, 1.0, 4.0, 5.0, 0.0, -1.0, 2.0, 3.0, 9.0])
                        .expect("floats"),
                ),
            );
        }
        cases
    },
};

impl MaxRoiPool {
    fn bins(&self) -> Result<[usize; 2], OpError> {
        match self.pooled_shape[..] {
            [height, width] => bins(height, width),
            _ => Err(OpError::new(format!(
                "attribute `pooled_shape` is {:?}, but must be a height and a width",
                self.pooled_shape
            ))),
        }
    }

    fn run(&self, pooled: [usize; 2], run: &mut Run<'_>) -> Result<(), OpError> {
        let (x, rois) = (run.tensor(0)?, run.tensor(1)?);
        let (dtype, shape) = (x.dtype(), planes(x)?);
        if rois.rank() != 2 || rois.shape()[1] != 5 {
            return Err(OpError::new(format!(
                "the regions have the shape {:?}, but must be (regions, 5)",
                rois.shape()
            )));
        }
        let (mut regions, mut entries) = (Vec::new(), Vec::new());
        for region in rois.to_f64s()?.chunks_exact(5) {
            regions.push([region[1], region[2], region[3], region[4]]);
            if !(region[0].fract() == 0.0 && region[0].abs() < (1u64 << 53) as f64) {
                return Err(OpError::new(format!("a region names the batch entry {}", region[0])));
            }
            entries.push(entry(region[0] as i64, shape[0])?);
        }
        let wide = real(dtype);
        let x = x.cast(wide, CastRules::default())?.to_dense()?;
        let mut out = run.allocate(0, wide, &[entries.len(), shape[1], pooled[0], pooled[1]])?;
        let (regions, how) = ((&regions[..], &entries[..]), (f64::from(self.spatial_scale), pooled));
        match wide {
            DType::F32 => {
                max_roi_pool::<f32>(run.pool(), (x.slice()?, shape), regions, how, out.slice_mut()?)?
            }
            _ => max_roi_pool::<f64>(run.pool(), (x.slice()?, shape), regions, how, out.slice_mut()?)?,
        }
        run.set(0, out.freeze().cast(dtype, CastRules::default())?);
        Ok(())
    }
}

impl Op for MaxRoiPool {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let [height, width] = self.bins()?;
        let dtype = ctx.dtype(0)?;
        for (slot, rank) in [(0, 4), (1, 2)] {
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
        let rois = ctx.shape(1).map(|r| r[0]).unwrap_or_else(|| ctx.unknown_dim(0, 0));
        let channels = ctx.shape(0).map(|x| x[1]).unwrap_or_else(|| ctx.unknown_dim(0, 1));
        ctx.set_tensor(0, dtype, [rois, channels, Dim::from(height), Dim::from(width)]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (op, pooled) = (self.clone(), self.bins()?);
        kernel(move |run| op.run(pooled, run))
    }
}
