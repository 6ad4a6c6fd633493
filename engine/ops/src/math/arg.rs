//! [ArgMax](https://onnx.ai/onnx/operators/onnx__ArgMax.html) and
//! [ArgMin](https://onnx.ai/onnx/operators/onnx__ArgMin.html): where the largest or smallest element stands, as
//! rows of [`Arg`].

use crate::math::by_type::by_type;
use crate::{Case, Room, Step, floats, ints, types};
use oxidane_graph::{
    Attributes, Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Signature, Unknown, axis_index, kernel,
};
use oxidane_kernels::sort;
use oxidane_tensor::{CastRules, DType, Shape};
use std::fmt;
use std::sync::Arc;

/// The index of the largest or smallest element along an axis.
#[derive(Clone)]
pub struct Arg {
    room: &'static Room,
    /// The axis, counted from the end where negative.
    pub axis: i64,
    /// Whether the axis stays, with the size 1.
    pub keepdims: bool,
    /// Whether the last of equal elements counts instead of the first.
    pub select_last_index: bool,
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.room.name, self.attributes())
    }
}

impl Arg {
    /// ArgMax where `largest`, otherwise ArgMin, that keeps the axis.
    pub fn new(largest: bool, axis: i64) -> Arg {
        let room = if largest { &ARG_MAX } else { &ARG_MIN };
        Arg { room, axis, keepdims: true, select_last_index: false }
    }

    /// Whether it looks for the largest element.
    pub fn largest(&self) -> bool {
        std::ptr::eq(self.room, &ARG_MAX)
    }
}

macro_rules! rows {
    ($($room:ident = $name:literal, $largest:expr;)*) => {$(
        #[doc = concat!("The room of ", $name, ".")]
        pub static $room: Room = Room {
            domain: "",
            name: $name,
            since: &[1, 11, 12, 13],
            signature: &Signature {
                inputs: &[oxidane_graph::Param::one("data", types::NUMERIC, "T")],
                outputs: &[oxidane_graph::Param::one("reduced", types::INT64, "")],
            },
            read: |attributes| {
                crate::room::only(attributes, &["axis", "keepdims", "select_last_index"])?;
                Ok(Arc::new(Arg {
                    keepdims: attributes.value("keepdims")?.unwrap_or(true),
                    select_last_index: attributes.value("select_last_index")?.unwrap_or(false),
                    ..Arg::new($largest, attributes.value("axis")?.unwrap_or(0))
                }))
            },
            steps: &[Step { to: 12, up: |_| Ok(()), down: |d| d.drop_default("select_last_index", false) }],
            cases: || cases($largest),
        };
    )*};
}

rows! {
    ARG_MAX = "ArgMax", true;
    ARG_MIN = "ArgMin", false;
}

/// The specification's examples.
fn cases(largest: bool) -> Vec<Case> {
    crate::with_cases!();
    let op = |axis| Arg::new(largest, axis);
    let data = || floats(&[2, 2], &[2.0, 1.0, 3.0, 10.0]);
    let pick = |a: [i64; 2], b: [i64; 2]| if largest { a } else { b };
    let mut cases = vec![
        Case::new("rows", op(1)).input(data()).expect(ints(&[2, 1], &pick([0, 1], [1, 0]))),
        Case::new("columns", Arg { keepdims: false, ..op(0) })
            .input(data())
            .expect(ints(&[2], &pick([1, 1], [0, 0]))),
        Case::new("negative axis", op(-1)).input(data()).expect(ints(&[2, 1], &pick([0, 1], [1, 0]))),
        Case::new("first", op(1)).input(floats(&[1, 3], &[2.0, 2.0, 2.0])).expect(ints(&[1, 1], &[0])),
        Case::new("last", Arg { select_last_index: true, ..op(1) })
            .input(floats(&[1, 3], &[2.0, 2.0, 2.0]))
            .expect(ints(&[1, 1], &[2])),
        Case::new("empty", op(1)).input(floats(&[0, 3], &[])).expect(ints(&[0, 1], &[])),
    ];
    for dtype in [
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U64,
        DType::U32,
        DType::U16,
        DType::U8,
    ] {
        let data = data().cast(dtype, CastRules::default()).expect("numbers cast to each other");
        cases.push(Case::new(dtype.name(), op(1)).input(data).expect(ints(&[2, 1], &pick([0, 1], [1, 0]))));
    }
    cases
}

impl Op for Arg {
    fn domain(&self) -> &str {
        self.room.domain
    }

    fn name(&self) -> &str {
        self.room.name
    }

    fn attributes(&self) -> Attributes {
        Attributes::new()
            .with("axis", self.axis)
            .with("keepdims", self.keepdims)
            .with("select_last_index", self.select_last_index)
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(self.room.signature)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let Some(mut dims) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, DType::I64);
            return Ok(());
        };
        if !dims.is_empty() {
            let axis = axis_index(self.axis, dims.len())?;
            match self.keepdims {
                true => dims[axis] = Dim::known(1),
                false => drop(dims.remove(axis)),
            }
        }
        ctx.set_tensor(0, DType::I64, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let data = run.dense(0)?;
            // A scalar is its own only axis.
            let full: &[usize] = if data.rank() == 0 { &[1] } else { data.shape() };
            let axis = axis_index(op.axis, full.len())?;
            let mut shape = Shape::from_slice(data.shape());
            if !shape.is_empty() {
                match op.keepdims {
                    true => shape[axis] = 1,
                    false => drop(shape.remove(axis)),
                }
            }
            let mut out = run.allocate(0, DType::I64, &shape)?;
            by_type!(data.dtype(), number T => {
                sort::arg::<T>(
                    run.pool(),
                    (data.slice()?, full),
                    axis,
                    op.largest(),
                    op.select_last_index,
                    out.slice_mut()?,
                )?;
                run.set(0, out.freeze());
                Ok(())
            })
        })
    }
}
