//! Functions of the elements of quantized tensors, all in scales and zero points of their own:
//! [QLinearAdd](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearAdd),
//! [QLinearMul](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearMul),
//! [QLinearLeakyRelu](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearLeakyRelu)
//! and
//! [QLinearSigmoid](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearSigmoid),
//! as rows of [`QLinearElementwise`].

use super::quantized::{DOMAIN, Inputs, binary, codes, dequantize, dtype, quantize};
use crate::math::binary::{ADD, MUL};
use crate::math::unary::Unary;
use crate::{Case, Room, floats, of_expansion, types};
use oxidane_graph::{Attributes, Build, NodeId, Op, OpError, Param, Signature, ValueId};
use oxidane_kernels::Function as Scalar;
use oxidane_tensor::DType;
use std::fmt;
use std::sync::Arc;

/// What is done with the numbers that the codes stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// The sum of two.
    Add,
    /// The product of two.
    Mul,
    /// `x`, times `alpha` below 0.
    LeakyRelu {
        /// The slope below 0.
        alpha: f32,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

/// A function of the elements of one or two quantized tensors.
#[derive(Clone)]
pub struct QLinearElementwise {
    room: &'static Room,
    function: Function,
}

impl fmt::Debug for QLinearElementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QLinear {:?}", self.function)
    }
}

impl QLinearElementwise {
    /// The operator of a function.
    pub fn new(function: Function) -> QLinearElementwise {
        let room = match function {
            Function::Add => &ADD_ROOM,
            Function::Mul => &MUL_ROOM,
            Function::LeakyRelu { .. } => &LEAKY_RELU_ROOM,
            Function::Sigmoid => &SIGMOID_ROOM,
        };
        QLinearElementwise { room, function }
    }
}

static ONE: Signature = Signature {
    inputs: &[
        Param::one("X", types::BYTES, "T"),
        Param::one("X_scale", types::FLOAT32, ""),
        Param::optional("X_zero_point", types::BYTES, "T"),
        Param::one("Y_scale", types::FLOAT32, ""),
        Param::optional("Y_zero_point", types::BYTES, "T"),
    ],
    outputs: &[Param::one("Y", types::BYTES, "T")],
};

static TWO: Signature = Signature {
    inputs: &[
        Param::one("A", types::BYTES, "T"),
        Param::one("A_scale", types::FLOAT32, ""),
        Param::optional("A_zero_point", types::BYTES, "T"),
        Param::one("B", types::BYTES, "T"),
        Param::one("B_scale", types::FLOAT32, ""),
        Param::optional("B_zero_point", types::BYTES, "T"),
        Param::one("C_scale", types::FLOAT32, ""),
        Param::optional("C_zero_point", types::BYTES, "T"),
    ],
    outputs: &[Param::one("C", types::BYTES, "T")],
};

macro_rules! rows {
    ($($room:ident = $name:literal, $signature:ident, $function:expr, $cases:ident;)*) => {$(
        #[doc = concat!("The room of ", $name, ".")]
        pub static $room: Room = Room {
            domain: DOMAIN,
            name: $name,
            since: &[1],
            signature: &$signature,
            read: |attributes| read($function, attributes),
            steps: &[],
            cases: $cases,
        };
    )*};
}

rows! {
    ADD_ROOM = "QLinearAdd", TWO, Function::Add, sums;
    LEAKY_RELU_ROOM = "QLinearLeakyRelu", ONE, Function::LeakyRelu { alpha: 0.01 }, slopes;
    MUL_ROOM = "QLinearMul", TWO, Function::Mul, products;
    SIGMOID_ROOM = "QLinearSigmoid", ONE, Function::Sigmoid, sigmoids;
}

fn read(mut function: Function, attributes: &Attributes) -> Result<Arc<dyn Op>, OpError> {
    let known: &[&str] = match &mut function {
        Function::LeakyRelu { alpha } => {
            *alpha = attributes.value("alpha")?.unwrap_or(*alpha);
            &["alpha"]
        }
        _ => &[],
    };
    crate::room::only(attributes, known)?;
    Ok(Arc::new(QLinearElementwise::new(function)))
}

impl Op for QLinearElementwise {
    fn domain(&self) -> &str {
        self.room.domain
    }

    fn name(&self) -> &str {
        self.room.name
    }

    fn attributes(&self) -> Attributes {
        match self.function {
            Function::LeakyRelu { alpha } => Attributes::new().with("alpha", alpha),
            _ => Attributes::new(),
        }
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(self.room.signature)
    }

    of_expansion!(infer);

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let inputs = Inputs::of(build, node);
        let Some(to) = dtype(build, inputs.need(0)?) else { return Ok(None) };
        let x = dequantize(build, &inputs, 0)?;
        let (y, scale) = match self.function {
            Function::Add | Function::Mul => {
                let row = if self.function == Function::Add { &ADD } else { &MUL };
                let other = dequantize(build, &inputs, 3)?;
                (binary(build, row, x, other), 6)
            }
            Function::LeakyRelu { alpha } => (build.add(Unary::new(Scalar::LeakyRelu { alpha })?, &[x]), 3),
            Function::Sigmoid => (build.add(Unary::new(Scalar::Sigmoid)?, &[x]), 3),
        };
        Ok(Some(vec![quantize(build, y, &inputs, scale, to)?]))
    }
}

// The results of the cases are ONNX Runtime's.

fn sums() -> Vec<Case> {
    crate::with_cases!();
    let op = || QLinearElementwise::new(Function::Add);
    vec![
        Case::new("broadcast", op())
            .input(codes(DType::U8, &[2, 3], &[113, 122, 129, 149, 141, 130]))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::U8, &[], &[120]))
            .input(codes(DType::U8, &[3], &[254, 206, 202]))
            .input(floats(&[], &[0.1]))
            .input(codes(DType::U8, &[], &[100]))
            .input(floats(&[], &[0.23]))
            .input(codes(DType::U8, &[], &[110]))
            .expect(codes(DType::U8, &[2, 3], &[175, 157, 156, 183, 161, 157])),
        Case::new("signed", op())
            .input(codes(DType::I8, &[4], &[51, 31, -41, 125]))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::I8, &[], &[3]))
            .input(codes(DType::I8, &[4], &[-9, -73, 88, -87]))
            .input(floats(&[], &[0.1]))
            .input(codes(DType::I8, &[], &[-5]))
            .input(floats(&[], &[0.23]))
            .input(codes(DType::I8, &[], &[7]))
            .expect(codes(DType::I8, &[4], &[16, -16, 38, -2])),
        Case::new("no zero points", op())
            .input(codes(DType::U8, &[4], &[219, 156, 29, 11]))
            .input(floats(&[], &[0.05]))
            .absent()
            .input(codes(DType::U8, &[4], &[113, 9, 36, 131]))
            .input(floats(&[], &[0.1]))
            .absent()
            .input(floats(&[], &[0.23]))
            .absent()
            .expect(codes(DType::U8, &[4], &[97, 38, 22, 59])),
    ]
}

fn products() -> Vec<Case> {
    crate::with_cases!();
    let op = || QLinearElementwise::new(Function::Mul);
    vec![
        Case::new("broadcast", op())
            .input(codes(DType::U8, &[2, 3], &[248, 119, 206, 234, 210, 161]))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::U8, &[], &[120]))
            .input(codes(DType::U8, &[3], &[112, 131, 68]))
            .input(floats(&[], &[0.1]))
            .input(codes(DType::U8, &[], &[100]))
            .input(floats(&[], &[0.6]))
            .input(codes(DType::U8, &[], &[110]))
            .expect(codes(DType::U8, &[2, 3], &[123, 110, 87, 121, 133, 99])),
        Case::new("signed", op())
            .input(codes(DType::I8, &[4], &[-1, -31, -65, 126]))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::I8, &[], &[3]))
            .input(codes(DType::I8, &[4], &[-125, -104, -79, 120]))
            .input(floats(&[], &[0.1]))
            .input(codes(DType::I8, &[], &[-5]))
            .input(floats(&[], &[0.9]))
            .input(codes(DType::I8, &[], &[7]))
            .expect(codes(DType::I8, &[4], &[10, 26, 35, 92])),
        Case::new("no zero points", op())
            .input(codes(DType::U8, &[4], &[177, 225, 51, 184]))
            .input(floats(&[], &[0.05]))
            .absent()
            .input(codes(DType::U8, &[4], &[94, 125, 0, 158]))
            .input(floats(&[], &[0.1]))
            .absent()
            .input(floats(&[], &[3.0]))
            .absent()
            .expect(codes(DType::U8, &[4], &[28, 47, 0, 48])),
    ]
}

fn slopes() -> Vec<Case> {
    crate::with_cases!();
    let op = || QLinearElementwise::new(Function::LeakyRelu { alpha: 0.3 });
    vec![
        Case::new("unsigned", op())
            .input(codes(DType::U8, &[2, 3], &[189, 121, 23, 62, 138, 186]))
            .input(floats(&[], &[0.04]))
            .input(codes(DType::U8, &[], &[120]))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::U8, &[], &[60]))
            .expect(codes(DType::U8, &[2, 3], &[115, 61, 37, 46, 74, 113])),
        Case::new("signed", op())
            .input(codes(DType::I8, &[4], &[1, 28, 95, 47]))
            .input(floats(&[], &[0.04]))
            .input(codes(DType::I8, &[], &[3]))
            .input(floats(&[], &[0.05]))
            .input(codes(DType::I8, &[], &[-7]))
            .expect(codes(DType::I8, &[4], &[-7, 13, 67, 28])),
        Case::new("no zero points", op())
            .input(codes(DType::U8, &[4], &[92, 164, 153, 27]))
            .input(floats(&[], &[0.01]))
            .absent()
            .input(floats(&[], &[0.05]))
            .absent()
            .expect(codes(DType::U8, &[4], &[18, 33, 31, 5])),
    ]
}

fn sigmoids() -> Vec<Case> {
    crate::with_cases!();
    let op = || QLinearElementwise::new(Function::Sigmoid);
    vec![
        Case::new("unsigned", op())
            .input(codes(DType::U8, &[2, 3], &[212, 169, 39, 136, 68, 247]))
            .input(floats(&[], &[0.04]))
            .input(codes(DType::U8, &[], &[120]))
            .input(floats(&[], &[0.004]))
            .input(codes(DType::U8, &[], &[5]))
            .expect(codes(DType::U8, &[2, 3], &[249, 224, 14, 169, 33, 253])),
        Case::new("signed", op())
            .input(codes(DType::I8, &[4], &[97, -81, 2, 112]))
            .input(floats(&[], &[0.04]))
            .input(codes(DType::I8, &[], &[3]))
            .input(floats(&[], &[0.008]))
            .input(codes(DType::I8, &[], &[-7]))
            .expect(codes(DType::I8, &[4], &[115, -3, 54, 116])),
        Case::new("no zero points", op())
            .input(codes(DType::U8, &[4], &[216, 181, 163, 10]))
            .input(floats(&[], &[0.01]))
            .absent()
            .input(floats(&[], &[0.004]))
            .absent()
            .expect(codes(DType::U8, &[4], &[224, 215, 209, 131])),
    ]
}
