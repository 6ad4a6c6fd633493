//! [FusedMatMul](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedMatMul): a matrix product of transposed operands with a factor.

use super::formula::Formula;
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
                0.23617901,
                -0.12505396,
                0.28318733,
                -0.11397769,
                0.067385212,
                0.070792802,
                -0.046621792,
                0.097060159,
                0.013420436,
                -0.06918405,
                0.11873651,
                0.10419338,
                0.019454565,
                -0.21862821,
                -0.27130145,
                -0.1044002,
            ],
        )),
        Case::new("batch first", op(Attributes::new().with("transBatchA", 1i64).with("transBatchB", 1i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 3, 5], 2))
            .expect(floats(
                &[3, 2, 5],
                &[
                    0.43857077,
                    -0.14034796,
                    -0.6255163,
                    -0.27314281,
                    0.37650385,
                    -0.061177459,
                    -0.74628222,
                    -0.44129717,
                    0.41020584,
                    -0.16525269,
                    -0.67172766,
                    -0.3322829,
                    -0.9337793,
                    0.49327248,
                    -0.021838734,
                    -0.81326181,
                    0.3922058,
                    -0.64687657,
                    0.079007328,
                    0.60933191,
                    0.19458967,
                    0.25048253,
                    0.22085553,
                    -0.57549655,
                    -0.87428796,
                    0.27659243,
                    -0.073555917,
                    -0.072317809,
                    1.1810827,
                    0.076794706,
                ],
            )),
    ]
}
