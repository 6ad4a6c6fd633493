use oxidane_tensor::DType;

/// The first opset in which a standard operator takes a 16-bit float wherever it takes one in its newest version.
/// Operators that are younger took it from their beginning.
///
/// Source: the type constraints of all schema versions of onnx 1.23.
pub(super) fn first_opset(op: &str, dtype: DType) -> i64 {
    match dtype {
        DType::BF16 => brain(op),
        _ => half(op),
    }
}

fn half(op: &str) -> i64 {
    match op {
        "Resize" => 11,
        "CumSum" => 14,
        "DequantizeLinear" | "QuantizeLinear" => 19,
        "IsInf" => 20,
        "QLinearMatMul" => 21,
        "Range" => 27,
        "Celu" => 28,
        _ => 7,
    }
}

fn brain(op: &str) -> i64 {
    match op {
        "BatchNormalization" | "CumSum" => 14,
        "Pow" => 15,
        "GreaterOrEqual" | "If" | "LeakyRelu" | "LessOrEqual" | "Loop" | "PRelu" | "Scan" | "Where" => 16,
        "DequantizeLinear" | "QuantizeLinear" => 19,
        "ConstantOfShape" | "IsInf" => 20,
        "QLinearMatMul" => 21,
        "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "AveragePool"
        | "Bernoulli"
        | "Conv"
        | "ConvTranspose"
        | "Cos"
        | "Cosh"
        | "DeformConv"
        | "Det"
        | "Dropout"
        | "Elu"
        | "EyeLike"
        | "GRU"
        | "GlobalAveragePool"
        | "GlobalLpPool"
        | "GlobalMaxPool"
        | "GridSample"
        | "HardSigmoid"
        | "HardSwish"
        | "InstanceNormalization"
        | "LSTM"
        | "LpNormalization"
        | "LpPool"
        | "MaxPool"
        | "MaxRoiPool"
        | "MaxUnpool"
        | "Mish"
        | "Multinomial"
        | "NegativeLogLikelihoodLoss"
        | "RNN"
        | "RandomNormal"
        | "RandomNormalLike"
        | "RandomUniform"
        | "RandomUniformLike"
        | "RoiAlign"
        | "Round"
        | "Selu"
        | "Sin"
        | "Sinh"
        | "Softplus"
        | "Softsign"
        | "Tan"
        | "ThresholdedRelu" => 22,
        "SplitToSequence" | "TopK" => 24,
        "Range" => 27,
        "Celu" | "Compress" | "Einsum" | "OneHot" | "Optional" | "OptionalGetElement"
        | "OptionalHasElement" | "ReverseSequence" | "Unique" => 28,
        _ => 13,
    }
}
