//! [Col2Im](https://onnx.ai/onnx/operators/onnx__Col2Im.html): an image from the columns that its blocks are.

use super::complex_parts::by_part;
use crate::nn::window::Sliding;
use crate::{Case, Form, Room, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Run, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_kernels::fold::{FoldShape, col2im};
use oxidane_tensor::{CastRules, DType};

attributes! {
    /// Columns (batch, channels * block, blocks) put where their blocks lie in the image; what overlaps is added.
    pub struct Col2Im {
        dilations: Option<Vec<i64>>,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::PLAIN, "T"),
        Param::one("image_shape", types::INT64, ""),
        Param::one("block_shape", types::INT64, ""),
    ],
    outputs: &[Param::one("output", types::PLAIN, "T")],
};

/// The room of Col2Im.
pub static ROOM: Room = Room {
    domain: "",
    name: "Col2Im",
    since: &[18],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Col2Im::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let plain = || Col2Im { dilations: None, pads: None, strides: None };
        let count = |shape: &[usize]| {
            let n = shape.iter().product::<usize>();
            floats(shape, &(1..=n).map(|i| i as f32).collect::<Vec<_>>())
        };
        // torch.nn.functional.fold.
        let mut cases = vec![
            Case::new("overlap", plain())
                .input(count(&[1, 4, 4]))
                .input(ints(&[2], &[3, 3]))
                .input(ints(&[2], &[2, 2]))
                .expect(floats(&[1, 1, 3, 3], &[1.0, 7.0, 6.0, 12.0, 34.0, 22.0, 11.0, 27.0, 16.0])),
            Case::new("strides", Col2Im { strides: Some(vec![2, 2]), ..plain() })
                .input(count(&[1, 4, 4]))
                .input(ints(&[2], &[4, 4]))
                .input(ints(&[2], &[2, 2]))
                .expect(floats(
                    &[1, 1, 4, 4],
                    &[1.0, 5.0, 2.0, 6.0, 9.0, 13.0, 10.0, 14.0, 3.0, 7.0, 4.0, 8.0, 11.0, 15.0, 12.0, 16.0],
                )),
            Case::new("pads", Col2Im { pads: Some(vec![1, 0, 0, 1]), ..plain() })
                .input(count(&[1, 4, 4]))
                .input(ints(&[2], &[2, 2]))
                .input(ints(&[2], &[2, 2]))
                .expect(floats(&[1, 1, 2, 2], &[12.0, 34.0, 11.0, 27.0])),
            Case::new("dilations", Col2Im { dilations: Some(vec![1, 2]), ..plain() })
                .input(count(&[1, 4, 2]))
                .input(ints(&[2], &[2, 4]))
                .input(ints(&[2], &[2, 2]))
                .expect(floats(&[1, 1, 2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])),
            Case::new("volume", plain())
                .input(noise(&[2, 24, 6], 1))
                .input(ints(&[3], &[3, 2, 5]))
                .input(ints(&[3], &[1, 2, 4])),
        ];
        for (name, dtype) in [
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
            ("uint8", DType::U8),
            ("int64", DType::I64),
            ("bool", DType::Bool),
            ("complex64", DType::Complex64),
        ] {
            cases.push(
                Case::new(name, plain())
                    .input(noise_of(dtype, &[1, 8, 4], 2))
                    .input(ints(&[2], &[3, 3]))
                    .input(ints(&[2], &[2, 2])),
            );
        }
        cases
    },
};

impl Col2Im {
    fn sliding<'a>(&'a self, block: &'a [i64]) -> Sliding<'a> {
        Sliding {
            auto_pad: "NOTSET",
            kernel_shape: Some(block),
            strides: self.strides.as_deref(),
            dilations: self.dilations.as_deref(),
            pads: self.pads.as_deref(),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (image, block) = (run.ints(1)?, run.ints(2)?);
        let sizes: Vec<usize> = image
            .iter()
            .map(|&n| {
                usize::try_from(n).map_err(|_| OpError::new(format!("the image {image:?} is negative")))
            })
            .collect::<Result<_, _>>()?;
        let x = run.tensor(0)?;
        let shape = FoldShape::new(x.shape(), &sizes, self.sliding(&block).window(None, &sizes)?)?;
        let target = shape.output();
        if x.dtype() == DType::String {
            return Err(OpError::unsupported("strings cannot be added"));
        }
        let folded = by_part(x, |x| {
            // Sums of integers wrap around, so those of 64 bits have the same low bits.
            let wide = match x.dtype() {
                DType::F16 | DType::BF16 | DType::F32 => DType::F32,
                DType::F64 => DType::F64,
                _ => DType::I64,
            };
            let dense = x.cast(wide, CastRules::default())?.to_dense()?;
            let mut out = run.allocate(0, wide, &target)?;
            match wide {
                DType::F32 => col2im::<f32>(run.pool(), &shape, dense.slice()?, out.slice_mut()?)?,
                DType::F64 => col2im::<f64>(run.pool(), &shape, dense.slice()?, out.slice_mut()?)?,
                _ => col2im::<i64>(run.pool(), &shape, dense.slice()?, out.slice_mut()?)?,
            }
            Ok(out.freeze().cast(x.dtype(), CastRules::default())?)
        })?;
        run.set(0, folded);
        Ok(())
    }
}

impl Op for Col2Im {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let columns = ctx.shape(0).map(Dims::from_slice);
        if let Some(columns) = &columns
            && columns.len() != 3
        {
            return Err(Unknown::wrong(format!(
                "the columns {} need a batch, channels times the block, and the number of blocks",
                ShownDims(columns)
            )));
        }
        let image = ctx.ints(1).map(|ints| ints.dims);
        let block = ctx.ints(2).map(|ints| ints.dims);
        let rank = |slot: usize| ctx.shape(slot)?.first()?.as_size();
        let lists = [&self.strides, &self.dilations].into_iter().flatten().map(Vec::len).next();
        let Some(rank) = rank(1)
            .or_else(|| rank(2))
            .or(lists)
            .or_else(|| self.pads.as_ref().map(|p| p.len() / 2))
            .filter(|&rank| rank <= 64)
        else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let volume = block.map(|block| block.iter().fold(Dim::known(1), |n, &d| n * d));
        let channels = match (&columns, volume) {
            (Some(columns), Some(volume)) => {
                if let (Some(rows), Some(volume)) = (columns[1].as_known(), volume.as_known())
                    && (volume < 1 || rows % volume != 0)
                {
                    return Err(Unknown::wrong(format!(
                        "{rows} rows are not a multiple of the block's {volume} elements"
                    )));
                }
                columns[1].divide_exactly(volume).unwrap_or_else(|| ctx.unknown_dim(0, 1))
            }
            _ => ctx.unknown_dim(0, 1),
        };
        let batch = columns.map_or_else(|| ctx.unknown_dim(0, 0), |c| c[0]);
        let mut dims = Dims::from_slice(&[batch, channels]);
        match image.filter(|image| image.len() == rank) {
            Some(image) => dims.extend(image),
            None => dims.extend((2..rank + 2).map(|axis| ctx.unknown_dim(0, axis))),
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}
