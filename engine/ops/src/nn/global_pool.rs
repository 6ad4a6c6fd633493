//! [GlobalAveragePool](https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html),
//! [GlobalLpPool](https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html) and
//! [GlobalMaxPool](https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html): each channel becomes one element.

use super::lp_pool::WHOLE_P;
use crate::room::only;
use crate::{Case, Room, floats, noise_of, types};
use oxidane_graph::{
    Attributes, Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel,
    shared,
};
use oxidane_kernels::pooling::{GlobalPool as Kind, global_pool, global_pool_into, pooled_shape};
use oxidane_tensor::DType;

/// What a global pooling makes of each channel (batch, channels, spatial...).
#[derive(Debug, Clone)]
pub struct GlobalPool {
    /// Which of the three, with the attribute `p`.
    pub kind: Kind,
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FLOAT, "T")],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of GlobalAveragePool.
pub static AVERAGE: Room = Room {
    domain: "",
    name: "GlobalAveragePool",
    since: &[1, 22],
    signature: &SIGNATURE,
    read: |a| {
        only(a, &[])?;
        Ok(shared(GlobalPool { kind: Kind::Average }))
    },
    steps: &[],
    cases: || cases(Kind::Average, 5.0),
};

/// The room of GlobalLpPool.
pub static LP: Room = Room {
    name: "GlobalLpPool",
    since: &[1, 2, 22],
    read: |a| {
        only(a, &["p"])?;
        Ok(shared(GlobalPool { kind: Kind::Lp(a.value("p")?.unwrap_or(2)) }))
    },
    steps: &[WHOLE_P],
    cases: || cases(Kind::Lp(2), 285f32.sqrt()),
    ..AVERAGE
};

/// The room of GlobalMaxPool.
pub static MAX: Room = Room {
    name: "GlobalMaxPool",
    read: |a| {
        only(a, &[])?;
        Ok(shared(GlobalPool { kind: Kind::Max }))
    },
    cases: || cases(Kind::Max, 9.0),
    ..AVERAGE
};

/// `of_nine` is what becomes of the numbers from 1 to 9.
fn cases(kind: Kind, of_nine: f32) -> Vec<Case> {
    crate::with_cases!();
    let op = || GlobalPool { kind };
    let nine: Vec<f32> = (1..=9).map(|i| i as f32).collect();
    let mut cases = vec![
        // The specification's example.
        Case::new("nine", op()).input(floats(&[1, 1, 3, 3], &nine)).expect(floats(&[1, 1, 1, 1], &[of_nine])),
        Case::new("line", op()).input(floats(&[1, 1, 9], &nine)).expect(floats(&[1, 1, 1], &[of_nine])),
        Case::new("no batch", op()).input(floats(&[0, 2, 3], &[])).expect(floats(&[0, 2, 1], &[])),
    ];
    for (name, dtype) in
        [("float", DType::F32), ("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)]
    {
        cases.push(Case::new(name, op()).input(noise_of(dtype, &[2, 3, 5, 4], 1)));
    }
    cases
}

impl Op for GlobalPool {
    fn domain(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        match self.kind {
            Kind::Average => AVERAGE.name,
            Kind::Lp(_) => LP.name,
            Kind::Max => MAX.name,
        }
    }

    fn attributes(&self) -> Attributes {
        match self.kind {
            Kind::Lp(p) => Attributes::new().with("p", p),
            _ => Attributes::new(),
        }
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(&SIGNATURE)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(x) = ctx.shape(0) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        if x.len() < 2 {
            return Err(Unknown::wrong(format!(
                "cannot pool {}: it needs a batch and channels",
                ShownDims(x)
            )));
        }
        let mut dims = Dims::from_elem(Dim::known(1), x.len());
        dims[..2].copy_from_slice(&x[..2]);
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let kind = self.kind;
        kernel(move |run| {
            let x = run.tensor(0)?;
            if !matches!(x.dtype(), DType::F32 | DType::F64) {
                let y = global_pool(run.pool(), kind, x)?;
                run.set(0, y);
                return Ok(());
            }
            let mut out = run.allocate(0, x.dtype(), &pooled_shape(x)?)?;
            global_pool_into(run.pool(), kind, &run.dense(0)?, &mut out)?;
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
