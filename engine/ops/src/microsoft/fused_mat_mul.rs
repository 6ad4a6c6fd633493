//! [FusedMatMul](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedMatMul): a matrix product of transposed operands with a factor.

use crate::formula::Formula;
use crate::math::matmul::product_dims;
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};

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
    crate::with_cases!();
    let op = |a: Attributes| FusedMatMul::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new(
            "transposed",
            op(Attributes::new().with("alpha", 0.5f32).with("transA", 1i64).with("transB", 1i64)),
        )
        .input(noise(&[2, 3, 2], 1))
        .input(noise(&[2, 4, 3], 2))
        .expect(floats(
            &[2, 2, 4],
            &[
                0.236179, -0.125054, 0.283187, -0.113978, 0.067385, 0.070793, -0.046622, 0.09706, 0.01342,
                -0.069184, 0.118737, 0.104193, 0.019455, -0.218628, -0.271301, -0.1044,
            ],
        )),
        Case::new("batch first", op(Attributes::new().with("transBatchA", 1i64).with("transBatchB", 1i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 3, 5], 2))
            .expect(floats(
                &[3, 2, 5],
                &[
                    0.438571, -0.140348, -0.625516, -0.273143, 0.376504, -0.061177, -0.746282, -0.441297,
                    0.410206, -0.165253, -0.671728, -0.332283, -0.933779, 0.493272, -0.021839, -0.813262,
                    0.392206, -0.646877, 0.079007, 0.609332, 0.19459, 0.250483, 0.220856, -0.575497,
                    -0.874288, 0.276592, -0.073556, -0.072318, 1.181083, 0.076795,
                ],
            )),
    ]
}
