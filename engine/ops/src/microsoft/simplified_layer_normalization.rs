//! [SimplifiedLayerNormalization](https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/graph/contrib_ops/contrib_defs.cc): RMSNormalization before the standard had it; files have it in the domain of the standard.

use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Type, Unknown, ValueId,
    axis_index, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// `x / sqrt(mean(x^2) + epsilon) * scale` over the dimensions from `axis` on.
    pub struct SimplifiedLayerNormalization { axis: i64 = -1, epsilon: f32 = 1e-5, stash_type: i64 = 1 }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T"), Param::one("scale", types::FLOAT, "V")],
    outputs: &[Param::one("Y", types::FLOAT, "V"), Param::optional("inv_std_var", types::FLOAT, "U")],
};

/// The room of SimplifiedLayerNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "SimplifiedLayerNormalization",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(SimplifiedLayerNormalization::read(a)?)),
    steps: &[],
    cases,
};

impl Op for SimplifiedLayerNormalization {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.ty(1).and_then(Type::dtype).map_or_else(|| ctx.dtype(0), Ok)?;
        let statistics = if ctx.dtype(0)? == DType::F64 { DType::F64 } else { DType::F32 };
        match ctx.shape(0).map(Dims::from_slice) {
            Some(mut dims) => {
                ctx.set_tensor(0, dtype, dims.clone());
                let axis = axis_index(self.axis, dims.len())?;
                dims[axis..].fill(Dim::known(1));
                ctx.set_tensor(1, statistics, dims);
            }
            None => {
                ctx.set_unranked(0, dtype);
                ctx.set_unranked(1, statistics);
            }
        }
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        let (x, scale) = (f.need(0)?, f.need(1)?);
        let attributes = plain().with("axis", self.axis).with("epsilon", self.epsilon);
        let y = f.with("RMSNormalization", attributes, &[x, scale])?;
        let mut outputs = vec![y];
        if f.wants(1) {
            let axes = axis_index(self.axis, f.rank(x)?)? as i64..f.rank(x)? as i64;
            outputs.push(inverse_deviation(&mut f, x, &axes.collect::<Vec<_>>(), self.epsilon)?);
        }
        Ok(Some(outputs))
    }
}

/// One over the root of the mean square, in `float` at least.
pub(super) fn inverse_deviation(
    f: &mut Formula<'_, '_>,
    x: ValueId,
    axes: &[i64],
    epsilon: f32,
) -> Result<ValueId, OpError> {
    let wide = if f.dtype(x)? == DType::F64 { DType::F64 } else { DType::F32 };
    let x = f.cast(x, wide)?;
    let square = f.op("Mul", &[x, x])?;
    let axes = f.ints(axes)?;
    let mean = f.op("ReduceMean", &[square, axes])?;
    let epsilon = f.number(epsilon.into(), mean)?;
    let sum = f.op("Add", &[mean, epsilon])?;
    let root = f.op("Sqrt", &[sum])?;
    f.op("Reciprocal", &[root])
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| SimplifiedLayerNormalization::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime and NumPy.
    vec![
        Case::new("last", op(Attributes::new().with("epsilon", 0.1f32)))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[4], 2))
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.038888, 0.392339, 0.288606, -0.094619, -0.036214, 0.46671, 0.257146, 0.043625,
                    -0.155624, 0.582805, -0.072942, 0.222627, -0.035212, 0.064218, -0.052478, -0.757287,
                ],
            )),
        Case::new("two axes", op(Attributes::new().with("axis", 1i64).with("stash_type", 1i64)))
            .input(noise(&[2, 2, 4], 1))
            .input(noise(&[2, 4], 2))
            .outputs(2)
            .expect(floats(
                &[2, 2, 4],
                &[
                    0.04832, 0.487488, 0.358598, -0.117565, 0.083597, -0.320994, 0.679961, 0.043904,
                    -0.212674, 0.796457, -0.099682, 0.30424, 0.092316, -0.050163, -0.157602, -0.865595,
                ],
            ))
            .expect(floats(&[2, 1, 1], &[1.990187, 2.718314])),
    ]
}
