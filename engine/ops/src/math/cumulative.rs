//! [CumSum](https://onnx.ai/onnx/operators/onnx__CumSum.html) and
//! [CumProd](https://onnx.ai/onnx/operators/onnx__CumProd.html): running sums and products along an axis, as rows of
//! [`Cumulative`].

use crate::math::by_type::by_type;
use crate::{Case, Room, floats, ints, types};
use oxidane_graph::{
    Attributes, Call, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, axis_index, kernel,
};
use oxidane_kernels::sort::{self, Running};
use oxidane_tensor::{CastRules, DType};
use std::fmt;
use std::sync::Arc;

/// The sum or product of all elements up to each along the axis that the second input names.
#[derive(Clone)]
pub struct Cumulative {
    room: &'static Room,
    running: Running,
    /// Whether the element itself is left out.
    pub exclusive: bool,
    /// Whether to run from the end.
    pub reverse: bool,
}

impl fmt::Debug for Cumulative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.room.name, self.attributes())
    }
}

impl Cumulative {
    /// Running sums or products from the front, the element itself included.
    pub fn new(running: Running) -> Cumulative {
        let room = match running {
            Running::Sum => &CUM_SUM,
            Running::Prod => &CUM_PROD,
        };
        Cumulative { room, running, exclusive: false, reverse: false }
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("x", types::ARITHMETIC, "T"), Param::one("axis", types::INDEX, "T2")],
    outputs: &[Param::one("y", types::ARITHMETIC, "T")],
};

macro_rules! rows {
    ($($room:ident = $name:literal, $since:expr, $running:expr, $outputs:expr;)*) => {$(
        #[doc = concat!("The room of ", $name, ".")]
        pub static $room: Room = Room {
            domain: "",
            name: $name,
            since: &$since,
            signature: &SIGNATURE,
            read: |attributes| {
                crate::room::only(attributes, &["exclusive", "reverse"])?;
                Ok(Arc::new(Cumulative {
                    exclusive: attributes.value("exclusive")?.unwrap_or(false),
                    reverse: attributes.value("reverse")?.unwrap_or(false),
                    ..Cumulative::new($running)
                }))
            },
            steps: &[],
            cases: || cases($running, &$outputs),
        };
    )*};
}

// The last column: 1 to 6 in the shape [2, 3] down the columns, along the rows, exclusive, reverse, and both.
rows! {
    CUM_PROD = "CumProd", [26], Running::Prod, [
        [1.0, 2.0, 3.0, 4.0, 10.0, 18.0],
        [1.0, 2.0, 6.0, 4.0, 20.0, 120.0],
        [1.0, 1.0, 2.0, 1.0, 4.0, 20.0],
        [6.0, 6.0, 3.0, 120.0, 30.0, 6.0],
        [6.0, 3.0, 1.0, 30.0, 6.0, 1.0],
    ];
    CUM_SUM = "CumSum", [11, 14], Running::Sum, [
        [1.0, 2.0, 3.0, 5.0, 7.0, 9.0],
        [1.0, 3.0, 6.0, 4.0, 9.0, 15.0],
        [0.0, 1.0, 3.0, 0.0, 4.0, 9.0],
        [6.0, 5.0, 3.0, 15.0, 11.0, 6.0],
        [5.0, 3.0, 0.0, 11.0, 6.0, 0.0],
    ];
}

/// The specification's examples.
fn cases(running: Running, outputs: &[[f32; 6]; 5]) -> Vec<Case> {
    crate::with_cases!();
    let x = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let axis = |axis: i64| ints(&[], &[axis]);
    let hows = [
        ("columns", 0, false, false),
        ("rows", 1, false, false),
        ("exclusive", -1, true, false),
        ("reverse", 1, false, true),
        ("exclusive reverse", 1, true, true),
    ];
    let mut cases: Vec<Case> = hows
        .into_iter()
        .zip(outputs)
        .map(|((name, at, exclusive, reverse), output)| {
            Case::new(name, Cumulative { exclusive, reverse, ..Cumulative::new(running) })
                .input(x())
                .input(axis(at))
                .expect(floats(&[2, 3], output))
        })
        .collect();
    cases.push(
        Case::new("empty", Cumulative::new(running))
            .input(floats(&[0, 2], &[]))
            .input(axis(0))
            .expect(floats(&[0, 2], &[])),
    );
    for dtype in [DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U64, DType::U32] {
        let of = |t: oxidane_tensor::Tensor| t.cast(dtype, CastRules::default()).expect("numbers");
        cases.push(
            Case::new(dtype.name(), Cumulative::new(running))
                .input(of(x()))
                .input(axis(1).cast(DType::I32, CastRules::default()).expect("an integer"))
                .expect(of(floats(&[2, 3], &outputs[1]))),
        );
    }
    cases
}

impl Op for Cumulative {
    fn domain(&self) -> &str {
        self.room.domain
    }

    fn name(&self) -> &str {
        self.room.name
    }

    fn attributes(&self) -> Attributes {
        Attributes::new().with("exclusive", self.exclusive).with("reverse", self.reverse)
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(self.room.signature)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        if let (Some(shape), Some(&[axis])) = (ctx.shape(0), ctx.known_ints(1).as_deref()) {
            axis_index(axis, shape.len())?;
        }
        ctx.set(0, ctx.known_ty(0)?.clone());
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (running, how) = (self.running, (self.exclusive, self.reverse));
        kernel(move |run| {
            let x = run.dense(0)?;
            let axis = match run.ints(1)?.as_slice() {
                [axis] => axis_index(*axis, x.rank())?,
                other => return Err(OpError::new(format!("the axis must be one number, but is {other:?}"))),
            };
            let mut out = run.allocate(0, x.dtype(), x.shape())?;
            by_type!(x.dtype(), number T => {
                let input = (x.slice()?, x.shape());
                Ok(sort::running::<T>(run.pool(), running, input, axis, how, out.slice_mut()?)?)
            })?;
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
