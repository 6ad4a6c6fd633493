//! [BlackmanWindow](https://onnx.ai/onnx/operators/onnx__BlackmanWindow.html),
//! [HammingWindow](https://onnx.ai/onnx/operators/onnx__HammingWindow.html) and
//! [HannWindow](https://onnx.ai/onnx/operators/onnx__HannWindow.html): windows that are sums of cosines.

use super::dft::set_as;
use crate::math::binary::{self, Binary};
use crate::math::{cast::Cast, unary::Unary};
use crate::room::only;
use crate::tensor::range::Range;
use crate::{Case, Room, floats, ints, types};
use oxidane_graph::{
    Attributes, Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_kernels::Function;
use oxidane_tensor::{DType, Tensor};
use std::f64::consts::TAU;
use std::fmt;

/// Which window, by name and factors: `a - b cos(t) + c cos(2 t)`.
pub struct Kind {
    room: &'static Room,
    factors: [f64; 3],
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.room.name)
    }
}

/// A window of so many samples as the input says.
#[derive(Debug, Clone)]
pub struct CosineWindow {
    /// Which window.
    pub kind: &'static Kind,
    /// The type of the result.
    pub output_datatype: DType,
    /// Whether the window is one period, so that its first sample would follow on the last; else it is symmetric.
    pub periodic: bool,
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("size", types::INDEX, "T1")],
    outputs: &[Param::one("output", types::NUMERIC, "T2")],
};

/// Blackman's window.
pub static BLACKMAN: Kind = Kind { room: &BLACKMAN_ROOM, factors: [0.42, 0.5, 0.08] };
/// Hamming's window.
pub static HAMMING: Kind = Kind { room: &HAMMING_ROOM, factors: [25.0 / 46.0, 21.0 / 46.0, 0.0] };
/// The window of von Hann.
pub static HANN: Kind = Kind { room: &HANN_ROOM, factors: [0.5, 0.5, 0.0] };

/// The room of BlackmanWindow.
pub static BLACKMAN_ROOM: Room = Room {
    domain: "",
    name: "BlackmanWindow",
    since: &[17],
    signature: &SIGNATURE,
    read: |a| read(&BLACKMAN, a),
    steps: &[],
    // scipy.signal.windows.blackman(5) and (4, sym=False).
    cases: || cases(&BLACKMAN, &[0.0, 0.34, 1.0, 0.34, 0.0], &[0.0, 0.34, 1.0, 0.34]),
};

/// The room of HammingWindow.
pub static HAMMING_ROOM: Room = Room {
    name: "HammingWindow",
    read: |a| read(&HAMMING, a),
    // scipy.signal.windows.general_hamming(5, 25 / 46) and (4, 25 / 46, sym=False).
    cases: || {
        crate::with_cases!();
        let (edge, middle) = (0.086_956_52, 0.543_478_25);
        cases(&HAMMING, &[edge, middle, 1.0, middle, edge], &[edge, middle, 1.0, middle])
    },
    ..BLACKMAN_ROOM
};

/// The room of HannWindow.
pub static HANN_ROOM: Room = Room {
    name: "HannWindow",
    read: |a| read(&HANN, a),
    // scipy.signal.windows.hann(5) and (4, sym=False).
    cases: || cases(&HANN, &[0.0, 0.5, 1.0, 0.5, 0.0], &[0.0, 0.5, 1.0, 0.5]),
    ..BLACKMAN_ROOM
};

fn read(kind: &'static Kind, attributes: &Attributes) -> Result<std::sync::Arc<dyn Op>, OpError> {
    only(attributes, &["output_datatype", "periodic"])?;
    Ok(shared(CosineWindow {
        kind,
        output_datatype: attributes.value("output_datatype")?.unwrap_or(DType::F32),
        periodic: attributes.value("periodic")?.unwrap_or(true),
    }))
}

fn cases(kind: &'static Kind, symmetric: &[f32; 5], periodic: &[f32; 4]) -> Vec<Case> {
    crate::with_cases!();
    let op = |output_datatype, periodic| CosineWindow { kind, output_datatype, periodic };
    let mut cases = vec![
        Case::new("symmetric", op(DType::F32, false)).input(ints(&[], &[5])).expect(floats(&[5], symmetric)),
        Case::new("periodic", op(DType::F32, true)).input(ints(&[], &[4])).expect(floats(&[4], periodic)),
        Case::new("nothing", op(DType::F32, true)).input(ints(&[], &[0])).expect(floats(&[0], &[])),
    ];
    for (name, dtype) in [
        ("double", DType::F64),
        ("float16", DType::F16),
        ("bfloat16", DType::BF16),
        ("int8", DType::I8),
        ("uint64", DType::U64),
    ] {
        cases.push(Case::new(name, op(dtype, true)).input(ints(&[], &[6])));
    }
    cases
}

impl Op for CosineWindow {
    fn domain(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        self.kind.room.name
    }

    fn attributes(&self) -> Attributes {
        Attributes::new().with("output_datatype", self.output_datatype).with("periodic", self.periodic)
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(&SIGNATURE)
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        check(self.output_datatype)?;
        let size = match ctx.ints(0) {
            Some(ints) if ints.dims.len() == 1 => ints.dims[0],
            _ => ctx.unknown_dim(0, 0),
        };
        if size.as_known().is_some_and(|n| n < 0) {
            return Err(Unknown::wrong(format!("the window cannot have {size} samples")));
        }
        ctx.set_tensor(0, self.output_datatype, [size]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        check(self.output_datatype)?;
        let op = self.clone();
        kernel(move |run| {
            let count = count(&run.ints(0)?, "size")?;
            let mut out = run.allocate(0, DType::F64, &[count])?;
            let increment = TAU / (count as f64 - if op.periodic { 0.0 } else { 1.0 });
            let [a, b, c] = op.kind.factors;
            for (i, to) in out.slice_mut::<f64>()?.iter_mut().enumerate() {
                let angle = i as f64 * increment;
                *to = a - b * angle.cos() + c * (2.0 * angle).cos();
            }
            set_as(run, out.freeze(), op.output_datatype)
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let Some(size) = build.graph().node(node).input(0) else { return Ok(None) };
        let number = |build: &mut Build<'_>, x: f64| build.constant(Tensor::scalar(x));
        let cast = Cast::new;
        let size = build.add(cast(DType::F64), &[size]);
        let (zero, one) = (number(build, 0.0), number(build, 1.0));
        let period = if self.periodic { size } else { build.add(Binary::of(&binary::SUB), &[size, one]) };
        let tau = number(build, TAU);
        let increment = build.add(Binary::of(&binary::DIV), &[tau, period]);
        let steps = build.add(Range { stash_type: 1 }, &[zero, size, one]);
        let angles = build.add(Binary::of(&binary::MUL), &[steps, increment]);
        let [a, b, c] = self.kind.factors;
        let cosines = build.add(Unary::new(Function::Cos)?, &[angles]);
        let b = number(build, b);
        let first = build.add(Binary::of(&binary::MUL), &[b, cosines]);
        let a = number(build, a);
        let mut window = build.add(Binary::of(&binary::SUB), &[a, first]);
        if c != 0.0 {
            let two = number(build, 2.0);
            let angles = build.add(Binary::of(&binary::MUL), &[angles, two]);
            let cosines = build.add(Unary::new(Function::Cos)?, &[angles]);
            let c = number(build, c);
            let second = build.add(Binary::of(&binary::MUL), &[c, cosines]);
            window = build.add(Binary::of(&binary::ADD), &[window, second]);
        }
        Ok(Some(vec![build.add(cast(self.output_datatype), &[window])]))
    }
}

/// A count from a scalar input, which may be zero.
///
/// # Errors
/// When it is no scalar or negative.
pub(super) fn count(values: &[i64], name: &str) -> Result<usize, OpError> {
    match *values {
        [value] => usize::try_from(value)
            .map_err(|_| OpError::new(format!("`{name}` is {value}, but must not be negative"))),
        _ => Err(OpError::new(format!("`{name}` has {} elements, but must be a scalar", values.len()))),
    }
}

/// Refuses an `output_datatype` that the standard does not allow.
///
/// # Errors
/// When it is no plain number.
pub(super) fn check(dtype: DType) -> Result<(), OpError> {
    if types::NUMERIC.has_tensor(dtype) {
        return Ok(());
    }
    Err(OpError::new(format!(
        "attribute `output_datatype` is {dtype}, but must be one of: {}",
        types::NUMERIC
    )))
}
