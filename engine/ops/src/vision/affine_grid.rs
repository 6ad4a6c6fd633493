//! [AffineGrid](https://onnx.ai/onnx/operators/onnx__AffineGrid.html): where an affine map takes the elements of an
//! image or a volume.

use crate::formula::Formula;
use crate::{Case, Form, Room, attributes, floats, ints, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, ShownDims, Signature, Unknown,
    ValueId, kernel, shared,
};
use oxidane_tensor::{CastRules, DType};

attributes! {
    /// Normalized positions, -1 to 1 along each dimension and the last dimension first, mapped by `theta`.
    pub struct AffineGrid {
        /// Whether -1 and 1 are the centers of the outermost elements and not their outer edges.
        align_corners: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("theta", types::FLOAT, "T1"), Param::one("size", types::INT64, "T2")],
    outputs: &[Param::one("grid", types::FLOAT, "T1")],
};

/// The room of AffineGrid.
pub static ROOM: Room = Room {
    domain: "",
    name: "AffineGrid",
    since: &[20],
    signature: &SIGNATURE,
    read: |a| Ok(shared(AffineGrid::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let turned = || floats(&[1, 2, 3], &[0.0, -2.0, 0.5, 1.0, 0.0, -0.25]);
        // torch.nn.functional.affine_grid.
        let mut cases = vec![
            Case::new("edges", AffineGrid { align_corners: false })
                .input(turned())
                .input(ints(&[4], &[1, 1, 2, 2]))
                .expect(floats(&[1, 2, 2, 2], &[1.5, -0.75, 1.5, 0.25, -0.5, -0.75, -0.5, 0.25])),
            Case::new("centers", AffineGrid { align_corners: true })
                .input(turned())
                .input(ints(&[4], &[1, 1, 2, 3]))
                .expect(floats(
                    &[1, 2, 3, 2],
                    &[2.5, -1.25, 2.5, -0.25, 2.5, 0.75, -1.5, -1.25, -1.5, -0.25, -1.5, 0.75],
                )),
            Case::new("single", AffineGrid { align_corners: true })
                .input(turned())
                .input(ints(&[4], &[1, 1, 1, 1]))
                .expect(floats(&[1, 1, 1, 2], &[0.5, -0.25])),
            Case::new("nothing", AffineGrid { align_corners: false })
                .input(turned())
                .input(ints(&[4], &[1, 1, 0, 3]))
                .expect(floats(&[1, 0, 3, 2], &[])),
        ];
        for (name, dtype) in [
            ("volume", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            cases.push(
                Case::new(name, AffineGrid { align_corners: false })
                    .input(noise_of(dtype, &[2, 3, 4], 1))
                    .input(ints(&[5], &[2, 1, 2, 3, 4])),
            );
        }
        cases
    },
};

impl AffineGrid {
    /// The normalized position of element `i` of `size`.
    fn position(&self, i: usize, size: usize) -> f64 {
        match (self.align_corners, size) {
            (true, 1) => 0.0,
            (true, _) => 2.0 * i as f64 / (size as f64 - 1.0) - 1.0,
            (false, _) => (2.0 * i as f64 + 1.0) / size as f64 - 1.0,
        }
    }

    /// The normalized positions of all elements along a dimension, whose size is a vector of one `int64`.
    fn positions(&self, f: &mut Formula<'_, '_>, size: ValueId) -> Result<ValueId, OpError> {
        let scalar = f.ints(&[])?;
        let end = f.op("Reshape", &[size, scalar])?;
        let places = f.count(end)?;
        let [places, size] = [f.cast(places, DType::F64)?, f.cast(end, DType::F64)?];
        let [one, two] = [f.scalar(1.0, DType::F64)?, f.scalar(2.0, DType::F64)?];
        let twice = f.op("Mul", &[places, two])?;
        if !self.align_corners {
            let odd = f.op("Add", &[twice, one])?;
            let part = f.op("Div", &[odd, size])?;
            return f.op("Sub", &[part, one]);
        }
        // A single element lies at 0, not at -1.
        let gaps = f.op("Sub", &[size, one])?;
        let [divisor, edge] = [f.op("Max", &[gaps, one])?, f.op("Min", &[gaps, one])?];
        let part = f.op("Div", &[twice, divisor])?;
        f.op("Sub", &[part, edge])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let theta = run.tensor(0)?;
        let (dtype, maps) = (theta.dtype(), theta.to_f64s()?);
        let size = run.ints(1)?;
        let rank = size.len().saturating_sub(2);
        let fits = (rank == 2 || rank == 3)
            && theta.rank() == 3
            && theta.shape()[1..] == [rank, rank + 1]
            && usize::try_from(size[0]).is_ok_and(|n| n == theta.shape()[0]);
        if !fits {
            return Err(OpError::new(format!(
                "theta of shape {:?} does not fit the size {size:?}",
                theta.shape()
            ))
            .help("theta is (N, 2, 3) for the size (N, C, H, W), (N, 3, 4) for (N, C, D, H, W)"));
        }
        let sizes: Vec<usize> = size[2..]
            .iter()
            .map(|&n| usize::try_from(n).map_err(|_| OpError::new(format!("the size {size:?} is negative"))))
            .collect::<Result<_, _>>()?;
        let mut shape = vec![theta.shape()[0]];
        shape.extend(&sizes);
        shape.push(rank);
        let mut out = run.allocate(0, DType::F64, &shape)?;
        let each: usize = sizes.iter().product();
        let line = sizes[rank - 1];
        if each > 0 {
            run.pool().for_each_piece(out.slice_mut::<f64>()?, line * rank, |i, points| {
                let map = &maps[i * line / each * rank * (rank + 1)..];
                // The coordinates, the last dimension first, and the one behind them.
                let mut at = [1.0; 4];
                let mut rest = i % (each / line);
                for axis in (0..rank - 1).rev() {
                    at[rank - 1 - axis] = self.position(rest % sizes[axis], sizes[axis]);
                    rest /= sizes[axis];
                }
                for (j, point) in points.chunks_mut(rank).enumerate() {
                    at[0] = self.position(j, line);
                    for (to, row) in point.iter_mut().zip(map.chunks(rank + 1)) {
                        *to = row.iter().zip(&at).map(|(m, x)| m * x).sum();
                    }
                }
            });
        }
        run.set(0, out.freeze().cast(dtype, CastRules::default())?);
        Ok(())
    }
}

impl Op for AffineGrid {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let theta = ctx.shape(0).map(Dims::from_slice);
        if let Some(theta) = &theta
            && theta.len() != 3
        {
            return Err(Unknown::wrong(format!(
                "theta has the shape {}, but must be (N, 2, 3) or (N, 3, 4)",
                ShownDims(theta)
            )));
        }
        let size = ctx.ints(1).map(|ints| ints.dims);
        let spatial = size
            .as_ref()
            .map(|s| s.len())
            .or_else(|| ctx.shape(1)?.first()?.as_size())
            .map(|n| n.saturating_sub(2))
            .or_else(|| {
                theta.as_ref().and_then(|t| t[1].as_size().or(Some(t[2].as_size()?.saturating_sub(1))))
            });
        let Some(spatial) = spatial else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        if spatial != 2 && spatial != 3 {
            return Err(Unknown::wrong(format!(
                "a grid of {spatial} dimensions is not possible, only of 2 or 3"
            )));
        }
        let batch = match (&theta, &size) {
            (Some(theta), Some(size)) if theta[0].as_known().is_none() => size[0],
            (Some(theta), _) => theta[0],
            (None, Some(size)) => size[0],
            (None, None) => ctx.unknown_dim(0, 0),
        };
        let mut dims = Dims::from_slice(&[batch]);
        match size {
            Some(size) => dims.extend_from_slice(&size[2..]),
            None => dims.extend((1..=spatial).map(|axis| ctx.unknown_dim(0, axis))),
        }
        dims.push(Dim::from(spatial));
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (theta, size) = (f.need(0)?, f.need(1)?);
        let (Ok(dtype), Ok([_, rank, _])) = (f.dtype(theta), f.sizes::<3>(theta)) else { return Ok(None) };
        let spatial = f.slice(size, 0, 2, i64::MAX)?;
        let one = f.ints(&[1])?;
        let lines = f.concat(&[spatial, one], 0)?;
        // The positions along each dimension, the last dimension first, spread over all of them.
        let mut columns = Vec::new();
        for axis in (0..rank).rev() {
            let count = f.slice(size, 0, axis + 2, axis + 3)?;
            let positions = self.positions(f, count)?;
            let mut shape = vec![1; rank as usize + 1];
            shape[axis as usize] = -1;
            let positions = f.reshape(positions, &shape)?;
            columns.push(f.op("Expand", &[positions, lines])?);
        }
        let unit = f.scalar(1.0, DType::F64)?;
        columns.push(f.op("Expand", &[unit, lines])?);
        let points = f.concat(&columns, -1)?;
        let maps = f.cast(theta, DType::F64)?;
        let maps = f.transpose(maps, &[0, 2, 1])?;
        let between = f.ints(&(1..rank).collect::<Vec<_>>())?;
        let maps = f.op("Unsqueeze", &[maps, between])?;
        let grid = f.op("MatMul", &[points, maps])?;
        Ok(Some(vec![f.cast(grid, dtype)?]))
    }
}
