//! [FusedMatMul](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedMatMul): a matrix product of transposed operands with a factor.

use super::formula::Formula;
use crate::math::matmul::product_dims;
use crate::{Case, Form, Room, attributes, of_expansion, of_room, types};
use oxidane_graph::{Build, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared};

attributes! {
    /// `alpha * A * B` with operands transposed on the way.
    #[allow(non_snake_case, reason = "as files spell these attributes")]
    pub struct FusedMatMul { alpha: f32 = 1.0, transA: bool = false, transB: bool = false, transBatchA: bool = false, transBatchB: bool = false }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("A", types::FLOAT, "T"), Param::one("B", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of FusedMatMul.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "FusedMatMul",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(FusedMatMul::read(a)?)),
    steps: &[],
    cases,
};

impl Op for FusedMatMul {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let side = |input: usize, last: bool, batch: bool| {
            ctx.shape(input).map(|shape| {
                order(shape.len(), last, batch).into_iter().map(|i| shape[i as usize]).collect::<Dims>()
            })
        };
        match (side(0, self.transA, self.transBatchA), side(1, self.transB, self.transBatchB)) {
            (Some(a), Some(b)) => {
                let dims = product_dims(&a, &b)?;
                ctx.set_tensor(0, dtype, dims);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let mut sides = [f.need(0)?, f.need(1)?];
        let turns = [(self.transA, self.transBatchA), (self.transB, self.transBatchB)];
        for (side, (last, batch)) in sides.iter_mut().zip(turns) {
            if last || batch {
                let order = order(f.rank(*side)?, last, batch);
                *side = f.transpose(*side, &order)?;
            }
        }
        let mut y = f.op("MatMul", &sides)?;
        if self.alpha != 1.0 {
            let alpha = f.number(self.alpha.into(), y)?;
            y = f.op("Mul", &[y, alpha])?;
        }
        Ok(Some(vec![y]))
    }
}

/// The order of the axes: `batch` takes the first one behind the other batch axes, `last` swaps the last two.
fn order(rank: usize, last: bool, batch: bool) -> Vec<i64> {
    let mut order: Vec<i64> = (0..rank as i64).collect();
    if rank < 2 {
        return order;
    }
    if batch {
        order[..rank - 1].rotate_left(1);
    }
    if last {
        order.swap(rank - 2, rank - 1);
    }
    order
}

fn cases() -> Vec<Case> {
    vec![]
}
