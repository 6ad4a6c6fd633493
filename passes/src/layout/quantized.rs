//! Networks between DequantizeLinear and QuantizeLinear on codes, convolutions with the channels last.
//!
//! Each convolution becomes one that writes channels last, with a Transpose behind it; those that read the Transpose
//! take what is in front of it.

use crate::fuse::quantized::{Codes, dequantized, lowest, sums};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, NodeId, ValueId};
use oxidane_tensor::DType;
use smallvec::SmallVec;

/// The domain of this engine's own operators.
const NATIVE: &str = "oxidane";

/// The domain of ONNX Runtime's.
const MICROSOFT: &str = "com.microsoft";

/// Perms from channels last to channels second, and back.
const SECOND: [i64; 4] = [0, 3, 1, 2];
const LAST: [i64; 4] = [0, 2, 3, 1];

/// A part of a network on codes.
enum OnCodes {
    Conv,
    ConvInput,
    ConvSum,
    Gemm,
    Mover,
    MaxPool,
    Mean,
}

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    use OnCodes::*;
    [Conv, ConvInput, ConvSum, Gemm, Mover, MaxPool, Mean]
        .into_iter()
        .map(|rule| Box::new(rule) as Box<dyn Rule>)
        .collect()
}

impl Rule for OnCodes {
    fn name(&self) -> &'static str {
        match self {
            OnCodes::Conv => "native_quantized_conv",
            OnCodes::ConvInput => "native_quantized_conv_input",
            OnCodes::ConvSum => "native_quantized_conv_sum",
            OnCodes::Gemm => "native_quantized_gemm",
            OnCodes::Mover => "native_quantized_mover",
            OnCodes::MaxPool => "native_quantized_max_pool",
            OnCodes::Mean => "native_quantized_mean",
        }
    }

    fn doc(&self) -> &'static str {
        match self {
            OnCodes::Conv => "Conv between DequantizeLinear and QuantizeLinear works on codes, channels last",
            OnCodes::ConvInput => "a quantized convolution reads channels last what is transposed for it",
            OnCodes::ConvSum => {
                "the sum of a quantized convolution and other codes goes into the convolution"
            }
            OnCodes::Gemm => "Gemm between DequantizeLinear and QuantizeLinear works on codes",
            OnCodes::Mover => "what only moves or picks numbers moves their codes",
            OnCodes::MaxPool => "MaxPool of transposed codes works channels last",
            OnCodes::Mean => "GlobalAveragePool between DequantizeLinear and QuantizeLinear works on codes",
        }
    }

    fn roots(&self) -> &[&'static str] {
        match self {
            OnCodes::ConvInput => &["oxidane.QuantizedConv"],
            OnCodes::MaxPool => &["MaxPool"],
            _ => &["QuantizeLinear"],
        }
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        match self {
            OnCodes::Conv => conv(site),
            OnCodes::ConvInput => conv_input(site),
            OnCodes::ConvSum => conv_sum(site),
            OnCodes::Gemm => gemm(site),
            OnCodes::Mover => mover(site),
            OnCodes::MaxPool => max_pool(site),
            OnCodes::Mean => mean(site),
        }
    }
}

/// What makes the input of the QuantizeLinear, past a Relu; the value it makes; whether there was a Relu.
fn behind(site: &Site<'_>, name: &str) -> Result<(NodeId, bool), Refused> {
    let mut value = site.input(0)?;
    let rectified = site.made_by(value, "Relu");
    if let Some(relu) = rectified {
        site.sole_user(value).ok_or(Refused::NoMatch)?;
        value = site.graph().node(relu).input(0).ok_or(Refused::NoMatch)?;
    }
    let id = site.made_by(value, name).ok_or(Refused::NoMatch)?;
    if site.sole_user(value).is_none() {
        return Err(Refused::because(format!("the result of {name} is read elsewhere as well")));
    }
    Ok((id, rectified.is_some()))
}

/// The codes that the QuantizeLinear makes.
fn result(site: &Site<'_>) -> Result<Codes, Refused> {
    let zero = site.node().input(2).ok_or(Refused::Because("there is no zero point".into()))?;
    let codes = Codes { codes: site.output(0)?, scale: site.input(1)?, zero };
    checked(site, &codes)?;
    Ok(codes)
}

fn whole(site: &Site<'_>, value: ValueId) -> bool {
    site.constant(value).is_some_and(|t| t.len() == 1)
}

fn byte(site: &Site<'_>, value: ValueId) -> bool {
    matches!(site.ty(value).and_then(|t| t.dtype()), Some(DType::I8 | DType::U8))
}

/// Refuses codes that are not of 8 bits with one constant scale and zero point.
fn checked(site: &Site<'_>, codes: &Codes) -> Result<(), Refused> {
    if !byte(site, codes.codes) {
        return Err(Refused::because("the codes are not of 8 bits"));
    }
    if !whole(site, codes.scale) || !whole(site, codes.zero) {
        return Err(Refused::because("there is more than one scale, or none that is constant"));
    }
    Ok(())
}

/// The codes with one scale that a value is dequantized from.
fn source(site: &Site<'_>, value: ValueId) -> Result<Codes, Refused> {
    let codes = dequantized(site, value)?;
    checked(site, &codes)?;
    Ok(codes)
}

/// Weights with one scale, or one for each place along `axis`.
fn weights(site: &Site<'_>, value: ValueId, axis: i64) -> Result<Codes, Refused> {
    let codes = dequantized(site, value)?;
    if !byte(site, codes.codes) || site.constant(codes.codes).is_none() {
        return Err(Refused::because("the weights are no constant codes of 8 bits"));
    }
    let one = whole(site, codes.scale) && whole(site, codes.zero);
    let constant = site.constant(codes.scale).is_some() && site.constant(codes.zero).is_some();
    let by_axis = site.attribute::<i64>(codes.node(site)?, "axis") == Some(axis);
    if !(one || constant && by_axis) {
        return Err(Refused::because("the weights have scales that are not one for each output"));
    }
    Ok(codes)
}

/// What a value is before it is transposed from channels last.
fn channels_last(site: &Site<'_>, value: ValueId) -> Option<ValueId> {
    let id = site.made_by(value, "Transpose")?;
    let perm = site.attribute::<Vec<i64>>(id, "perm")?;
    site.graph().node(id).input(0).filter(|_| perm == SECOND)
}

fn transposed(site: &mut Site<'_>, value: ValueId, perm: [i64; 4]) -> Result<ValueId, Refused> {
    let op = site.op("Transpose", &Attributes::new().with("perm", perm.to_vec()))?;
    Ok(site.add(op, &[value]))
}

fn conv(site: &mut Site<'_>) -> Result<(), Refused> {
    let (id, rectified) = behind(site, "Conv")?;
    let old = site.output(0)?;
    let node = site.graph().node(id);
    let (Some(x), Some(w), bias) = (node.input(0), node.input(1), node.input(2)) else {
        return Err(Refused::NoMatch);
    };
    let known = node.op().attributes();
    let group: i64 = site.attribute(id, "group").unwrap_or(1);
    if group != 1 {
        return Err(Refused::because("the convolution has groups"));
    }
    let (x, w, y) = (source(site, x)?, weights(site, w, 0)?, result(site)?);
    let sizes = site.shape(x.codes).map(|dims| dims.iter().map(|d| d.as_known()).collect::<Vec<_>>());
    if !matches!(sizes.as_deref(), Some([_, Some(_), Some(_), Some(_)])) {
        return Err(Refused::because("the sizes of the image are not known"));
    }
    // Zero points off the middle of the range would need the sums of each window.
    let middle = if site.ty(w.codes).and_then(|t| t.dtype()) == Some(DType::I8) { 0.0 } else { 128.0 };
    let zeros = site.constant(w.zero).and_then(|t| t.to_f64s().ok()).ok_or(Refused::NoMatch)?;
    if zeros.iter().any(|&zero| zero != middle) {
        return Err(Refused::because(
            "the weights have a zero point that is not in the middle of their range",
        ));
    }
    let bias = bias.map(|bias| sums(site, bias, &x, &w)).transpose()?;
    let last = channels_last(site, x.codes);
    let mut attributes = Attributes::new().with("channels_last", i64::from(last.is_some()));
    for name in ["auto_pad", "dilations", "kernel_shape", "pads", "strides"] {
        if let Some(value) = known.get(name) {
            attributes.set(name, value.clone());
        }
    }
    let needed = rectified && !lowest(site, y.zero);
    attributes.set("rectified", i64::from(needed));
    let op = site.op_of(NATIVE, "QuantizedConv", &attributes)?;
    let mut inputs: SmallVec<[ValueId; 9]> = SmallVec::from_slice(&[
        last.unwrap_or(x.codes),
        x.scale,
        x.zero,
        w.codes,
        w.scale,
        w.zero,
        y.scale,
        y.zero,
    ]);
    inputs.extend(bias);
    let made = site.add(op, &inputs);
    let new = transposed(site, made, SECOND)?;
    site.name_added(old);
    site.replace(old, new)
}

/// The QuantizedConv that makes a value.
fn native(site: &Site<'_>, value: ValueId) -> Option<NodeId> {
    let id = site.graph().get_value(value)?.producer()?;
    let op = site.graph().node(id).op();
    (op.domain() == NATIVE && op.name() == "QuantizedConv").then_some(id)
}

fn conv_input(site: &mut Site<'_>) -> Result<(), Refused> {
    let op = site.node().op().clone();
    if op.domain() != NATIVE || site.attribute::<i64>(site.id(), "channels_last") != Some(0) {
        return Err(Refused::NoMatch);
    }
    let last = channels_last(site, site.input(0)?).ok_or(Refused::NoMatch)?;
    let op = site.op_of(NATIVE, "QuantizedConv", &op.attributes().with("channels_last", 1i64))?;
    let mut inputs: SmallVec<[Option<ValueId>; 14]> = site.node().inputs().into();
    inputs[0] = Some(last);
    let new = site.add_node(op, &inputs, 1)[0];
    let old = site.output(0)?;
    site.name_added(old);
    site.replace(old, new)
}

fn conv_sum(site: &mut Site<'_>) -> Result<(), Refused> {
    let (id, rectified) = behind(site, "Add")?;
    let old = site.output(0)?;
    let node = site.graph().node(id);
    let (Some(a), Some(b)) = (node.input(0), node.input(1)) else { return Err(Refused::NoMatch) };
    // A convolution that nothing else reads, in front of its Transpose and DequantizeLinear.
    let convolved = |value: ValueId| -> Option<(NodeId, Codes)> {
        let codes = source(site, value).ok()?;
        site.sole_user(value)?;
        site.sole_user(codes.codes)?;
        let last = channels_last(site, codes.codes)?;
        site.sole_user(last)?;
        let id = native(site, last)?;
        let taken =
            site.graph().node(id).input(9).is_some() || site.attribute::<i64>(id, "rectified") == Some(1);
        (!taken).then_some((id, codes))
    };
    let (id, rounded, other) = match (convolved(a), convolved(b)) {
        (Some((id, codes)), _) => (id, codes, b),
        (_, Some((id, codes))) => (id, codes, a),
        _ => return Err(Refused::NoMatch),
    };
    let (other, y) = (source(site, other)?, result(site)?);
    if site.shape(other.codes).is_none() || site.shape(other.codes) != site.shape(rounded.codes) {
        return Err(Refused::because("the shapes are not known to be equal"));
    }
    let needed = rectified && !lowest(site, y.zero);
    let node = site.graph().node(id);
    let attributes = node.op().attributes().with("rectified", i64::from(needed));
    let op = site.op_of(NATIVE, "QuantizedConv", &attributes)?;
    let mut inputs: SmallVec<[Option<ValueId>; 14]> = node.inputs().into();
    inputs.resize(9, None);
    (inputs[6], inputs[7]) = (Some(y.scale), Some(y.zero));
    let last = match channels_last(site, other.codes) {
        Some(last) => last,
        None => transposed(site, other.codes, LAST)?,
    };
    inputs.extend([last, other.scale, other.zero, rounded.scale, rounded.zero].map(Some));
    let made = site.add_node(op, &inputs, 1)[0];
    let new = transposed(site, made, SECOND)?;
    site.name_added(old);
    site.replace(old, new)
}

fn gemm(site: &mut Site<'_>) -> Result<(), Refused> {
    let (id, rectified) = behind(site, "Gemm")?;
    let old = site.output(0)?;
    let node = site.graph().node(id);
    let (Some(a), Some(b), bias) = (node.input(0), node.input(1), node.input(2)) else {
        return Err(Refused::NoMatch);
    };
    let transposed = site.attribute::<i64>(id, "transB").unwrap_or(0);
    let alpha = site.attribute::<f32>(id, "alpha").unwrap_or(1.0);
    let beta = site.attribute::<f32>(id, "beta").unwrap_or(1.0);
    let left = site.attribute::<i64>(id, "transA").unwrap_or(0);
    if alpha != 1.0 || bias.is_some() && beta != 1.0 || left != 0 {
        return Err(Refused::because("the product is scaled, or its left side transposed"));
    }
    let (a, b, y) = (source(site, a)?, weights(site, b, 1 - transposed)?, result(site)?);
    if rectified && !lowest(site, y.zero) {
        return Err(Refused::because("the codes hold negative numbers, which Relu would cut off"));
    }
    let bias = bias.map(|bias| sums(site, bias, &a, &b)).transpose()?;
    if bias.is_some_and(|bias| site.shape(bias).is_none_or(|s| s.len() != 1)) {
        return Err(Refused::because("the bias is no vector"));
    }
    let op = site.op_of(MICROSOFT, "QGemm", &Attributes::new().with("transB", transposed))?;
    let inputs = [a.codes, a.scale, a.zero, b.codes, b.scale, b.zero].map(Some);
    let all: SmallVec<[_; 9]> = inputs.into_iter().chain([bias, Some(y.scale), Some(y.zero)]).collect();
    let new = site.add_node(op, &all, 1)[0];
    site.name_added(old);
    site.replace(old, new)
}

/// Operators that put numbers elsewhere, or pick some of them.
const MOVERS: &[&str] = &["Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "MaxPool"];

fn mover(site: &mut Site<'_>) -> Result<(), Refused> {
    let value = site.input(0)?;
    let id = MOVERS.iter().find_map(|name| site.made_by(value, name)).ok_or(Refused::NoMatch)?;
    let old = site.output(0)?;
    let node = site.graph().node(id);
    if site.sole_user(value).is_none() || node.outputs().len() > 1 {
        return Err(Refused::because("the numbers are read elsewhere as well"));
    }
    let (from, to) = (source(site, node.input(0).ok_or(Refused::NoMatch)?)?, result(site)?);
    let dtype = |v: ValueId| site.ty(v).and_then(|t| t.dtype());
    let number = |v: ValueId| site.scalar(v);
    if dtype(from.codes) != dtype(to.codes)
        || number(from.scale) != number(to.scale)
        || number(from.zero) != number(to.zero)
    {
        return Err(Refused::because("scale or zero point differ"));
    }
    let op = node.op().clone();
    let mut inputs: SmallVec<[Option<ValueId>; 4]> = node.inputs().into();
    inputs[0] = Some(from.codes);
    let new = site.add_node(op, &inputs, 1)[0];
    site.name_added(old);
    site.replace(old, new)
}

fn max_pool(site: &mut Site<'_>) -> Result<(), Refused> {
    let x = site.input(0)?;
    if !byte(site, x) || site.node().outputs().len() > 1 {
        return Err(Refused::NoMatch);
    }
    let last = channels_last(site, x).ok_or(Refused::NoMatch)?;
    let given = site.node().op().attributes();
    let mut attributes = Attributes::new();
    for name in ["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"] {
        if let Some(value) = given.get(name) {
            attributes.set(name, value.clone());
        }
    }
    let op = site.op_of(NATIVE, "QuantizedMaxPool", &attributes)?;
    let made = site.add(op, &[last]);
    let new = transposed(site, made, SECOND)?;
    let old = site.output(0)?;
    site.name_added(old);
    site.replace(old, new)
}

fn mean(site: &mut Site<'_>) -> Result<(), Refused> {
    let (id, rectified) = behind(site, "GlobalAveragePool")?;
    let old = site.output(0)?;
    let x = site.graph().node(id).input(0).ok_or(Refused::NoMatch)?;
    let (x, y) = (source(site, x)?, result(site)?);
    let dtype = |v: ValueId| site.ty(v).and_then(|t| t.dtype());
    if dtype(x.codes) != dtype(y.codes) || rectified && !lowest(site, y.zero) {
        return Err(Refused::because("the codes are of different kinds"));
    }
    let last = channels_last(site, x.codes)
        .ok_or(Refused::Because("the channels of the input are not its last dimension".into()))?;
    let attributes = Attributes::new().with("channels_last", 1i64);
    let op = site.op_of(MICROSOFT, "QLinearGlobalAveragePool", &attributes)?;
    let reshape = site.op("Reshape", &Attributes::new())?;
    let shape = site.list(&[0, -1, 1, 1])?;
    let made = site.add(op, &[last, x.scale, x.zero, y.scale, y.zero]);
    let new = site.add(reshape, &[made, shape]);
    site.name_added(old);
    site.replace(old, new)
}
