//! Pool: MaxPool and AveragePool on channels in blocks of 16.

use super::{BLOCK, DOMAIN, parts, sizes};
use crate::formula::{Formula, plain};
use crate::nn::window::Sliding;
use crate::{Case, Form, Room, attributes, noise, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown,
    ValueId, kernel, shared,
};
use oxidane_kernels::blocked::{self, Pooling};
use smallvec::SmallVec;
use std::sync::Arc;

attributes! {
    /// The largest element or the mean of each window over one or two spatial dimensions.
    pub struct Pool {
        count_include_pad: bool = false,
        dilations: Option<Vec<i64>>,
        kernel_shape: Vec<i64>,
        /// Whether the mean is taken, not the largest element.
        mean: bool = false,
        pads: Option<Vec<i64>>,
        strides: Option<Vec<i64>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT32, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "T")],
};

/// The room of Pool.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "Pool",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Pool::checked(a),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |a: Attributes| Pool::read(&a).expect("attributes of the operator");
        let window = || {
            Attributes::new()
                .with("kernel_shape", vec![3i64, 2])
                .with("pads", vec![1i64, 0, 1, 1])
                .with("strides", vec![2i64, 1])
        };
        vec![
            Case::new("largest", op(window())).input(noise(&[2, 2, 5, 6, 16], 1)),
            Case::new("mean", op(window().with("mean", true))).input(noise(&[1, 2, 5, 6, 16], 2)),
            Case::new("mean of all", op(window().with("mean", true).with("count_include_pad", true)))
                .input(noise(&[1, 1, 5, 6, 16], 3)),
            Case::new(
                "dilated line",
                op(plain().with("kernel_shape", vec![2i64]).with("dilations", vec![3i64])),
            )
            .input(noise(&[1, 2, 9, 16], 4)),
        ]
    },
};

impl Pool {
    /// The operator, where its kernel has one or two dimensions.
    fn checked(attributes: &Attributes) -> Result<Arc<dyn Op>, OpError> {
        let op = Pool::read(attributes)?;
        if !(1..=2).contains(&op.kernel_shape.len()) {
            return Err(OpError::new("attribute `kernel_shape` must have one or two entries"));
        }
        Ok(shared(op))
    }

    fn sliding(&self) -> Sliding<'_> {
        Sliding {
            auto_pad: "NOTSET",
            kernel_shape: Some(&self.kernel_shape),
            strides: self.strides.as_deref(),
            dilations: self.dilations.as_deref(),
            pads: self.pads.as_deref(),
        }
    }
}

impl Op for Pool {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(x) = ctx.shape(0) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        let (batch, blocks, spatial) = parts(x)?;
        let mut dims = Dims::from_slice(&[batch, blocks]);
        dims.extend(self.sliding().dims(None, spatial, false, &|axis| ctx.unknown_dim(0, axis + 2))?);
        dims.push(Dim::from(BLOCK));
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let window = self.sliding().unresolved(None)?;
        let pooling = match self.mean {
            true => Pooling::Average { count_pads: self.count_include_pad },
            false => Pooling::Max,
        };
        kernel(move |run| {
            let x = run.dense(0)?;
            let (batch, blocks, spatial) = sizes(x.shape())?;
            let mut shape: SmallVec<[usize; 6]> = SmallVec::from_slice(&[batch, blocks]);
            shape.extend(window.output(spatial, false)?);
            shape.push(BLOCK);
            let pool = run.pool();
            run.write::<f32>(0, &shape, |out| {
                Ok(blocked::pool(pool, pooling, &window, batch * blocks, spatial, x.slice()?, out)?)
            })
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        let blocks = f.build().ty(x).and_then(|t| t.shape()).and_then(|d| d.get(1)?.as_known());
        let Some(blocks) = blocks else { return Ok(None) };
        let dense = f.build().add(super::unblock::Unblock { channels: blocks * BLOCK as i64 }, &[x]);
        let mut attributes = plain().with("kernel_shape", self.kernel_shape.clone());
        for (name, list) in [("dilations", &self.dilations), ("pads", &self.pads), ("strides", &self.strides)]
        {
            attributes.set(name, list.clone());
        }
        let y = match self.mean {
            true => {
                f.with("AveragePool", attributes.with("count_include_pad", self.count_include_pad), &[dense])?
            }
            false => f.with("MaxPool", attributes, &[dense])?,
        };
        Ok(Some(vec![f.build().add(super::block::Block {}, &[y])]))
    }
}
