//! Operators between DequantizeLinear and QuantizeLinear work on the codes.

use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, NodeId, ValueId};
use oxidane_tensor::{DType, Tensor};

/// An operator whose inputs are dequantized and whose output is quantized.
pub(crate) enum Quantized {
    Conv,
    MatMul,
}

/// A quantized tensor: codes, scale, zero point.
pub(crate) struct Codes {
    pub(crate) codes: ValueId,
    pub(crate) scale: ValueId,
    pub(crate) zero: ValueId,
}

impl Quantized {
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Quantized::Conv => ("Conv", "QLinearConv"),
            Quantized::MatMul => ("MatMul", "QLinearMatMul"),
        }
    }
}

impl Rule for Quantized {
    fn name(&self) -> &'static str {
        match self {
            Quantized::Conv => "quantized_conv",
            Quantized::MatMul => "quantized_matmul",
        }
    }

    fn doc(&self) -> &'static str {
        match self {
            Quantized::Conv => "Conv between DequantizeLinear and QuantizeLinear becomes QLinearConv",
            Quantized::MatMul => "MatMul between DequantizeLinear and QuantizeLinear becomes QLinearMatMul",
        }
    }

    fn roots(&self) -> &[&'static str] {
        &["QuantizeLinear"]
    }

    /// Kernels on codes are slower here than those on floats, and round differently where a number lies between two
    /// codes; other runtimes gain.
    fn by_default(&self) -> bool {
        false
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (plain, name) = self.names();
        let old = site.output(0)?;
        let mut value = site.input(0)?;
        let mut maker = site.graph().value(value).producer().ok_or(Refused::NoMatch)?;
        let rectified = site.is(maker, "Relu");
        if rectified {
            value = site.graph().node(maker).input(0).ok_or(Refused::NoMatch)?;
            maker = site.graph().value(value).producer().ok_or(Refused::NoMatch)?;
        }
        if !site.is(maker, plain) {
            return Err(Refused::NoMatch);
        }
        if site.sole_user(value).is_none() || site.sole_user(site.input(0)?).is_none() {
            return Err(Refused::because(format!("the result of {plain} is read elsewhere as well")));
        }
        let node = site.graph().node(maker);
        let (a, b, bias) = (node.input(0), node.input(1), node.input(2));
        let (a, b) = (a.ok_or(Refused::NoMatch)?, b.ok_or(Refused::NoMatch)?);
        let attributes = match self {
            Quantized::Conv => node.op().attributes(),
            Quantized::MatMul => Attributes::new(),
        };
        let (a, b) = (dequantized(site, a)?, dequantized(site, b)?);
        let byte = |v| matches!(site.ty(v).and_then(|t| t.dtype()), Some(DType::I8 | DType::U8));
        if !byte(a.codes) || !byte(b.codes) || !byte(old) {
            return Err(Refused::because("the codes are not of 8 bits"));
        }
        let whole = |v: ValueId| site.constant(v).is_some_and(|t| t.len() == 1);
        let result = Codes { codes: old, scale: site.input(1)?, zero: site.input(2)? };
        for (what, codes) in [("the first input", &a), ("the result", &result)] {
            if !whole(codes.scale) || !whole(codes.zero) {
                return Err(Refused::because(format!(
                    "{what} has more than one scale, or none that is constant"
                )));
            }
        }
        let per_channel =
            matches!(self, Quantized::Conv) && site.attribute::<i64>(b.node(site)?, "axis") == Some(0);
        let one = whole(b.scale) && whole(b.zero);
        if !(one || per_channel && site.constant(b.scale).is_some()) {
            return Err(Refused::because("the weights have scales that are not one for each channel"));
        }
        if rectified && !lowest(site, result.zero) {
            return Err(Refused::because(
                "the codes of the result hold negative numbers, which Relu would cut off",
            ));
        }
        let op = site.op(name, &attributes)?;
        let mut inputs = vec![a.codes, a.scale, a.zero, b.codes, b.scale, b.zero, result.scale, result.zero];
        if let Some(bias) = bias {
            inputs.push(sums(site, bias, &a, &b)?);
        }
        let new = site.add(op, &inputs);
        site.replace(old, new)
    }
}

impl Codes {
    /// The DequantizeLinear that reads the codes with this scale.
    pub(crate) fn node(&self, site: &Site<'_>) -> Result<NodeId, Refused> {
        let reads = |id: &NodeId| {
            site.is(*id, "DequantizeLinear") && site.graph().node(*id).input(1) == Some(self.scale)
        };
        let mut uses = site.graph().value(self.codes).uses().iter().map(|u| u.node);
        uses.find(reads).ok_or(Refused::NoMatch)
    }
}

/// What a value is dequantized from.
pub(crate) fn dequantized(site: &Site<'_>, value: ValueId) -> Result<Codes, Refused> {
    let id = site.made_by(value, "DequantizeLinear");
    let id = id.ok_or(Refused::NoMatch)?;
    if site.ty(value).and_then(|t| t.dtype()) != Some(DType::F32) {
        return Err(Refused::because("the numbers are not of single precision"));
    }
    if site.attribute::<i64>(id, "block_size").unwrap_or(0) != 0 {
        return Err(Refused::because("scales go by blocks"));
    }
    let node = site.graph().node(id);
    let input = |slot| node.input(slot).ok_or(Refused::Because("there is no zero point".into()));
    Ok(Codes { codes: input(0)?, scale: input(1)?, zero: input(2)? })
}

/// Whether a zero point is the lowest of its type.
pub(crate) fn lowest(site: &Site<'_>, zero: ValueId) -> bool {
    let Some(tensor) = site.constant(zero) else { return false };
    let lowest = if tensor.dtype() == DType::I8 { -128.0 } else { 0.0 };
    tensor.to_f64s().is_ok_and(|all| all.iter().all(|&v| v == lowest))
}

/// The bias as whole numbers in the scale of the products.
pub(crate) fn sums(site: &Site<'_>, bias: ValueId, a: &Codes, b: &Codes) -> Result<ValueId, Refused> {
    let id = site.made_by(bias, "DequantizeLinear");
    let id = id.ok_or(Refused::Because("the bias is not quantized".into()))?;
    let node = site.graph().node(id);
    let (codes, scale) = (node.input(0).ok_or(Refused::NoMatch)?, node.input(1).ok_or(Refused::NoMatch)?);
    let numbers = |v: ValueId| {
        let tensor: Option<&Tensor> = site.constant(v);
        tensor.and_then(|t| t.to_f64s().ok()).ok_or(Refused::Because("a scale is no constant".into()))
    };
    let zero = node.input(2).map(numbers).transpose()?.unwrap_or_default();
    let (of_a, of_b, own) = (numbers(a.scale)?, numbers(b.scale)?, numbers(scale)?);
    let close = |(i, &s): (usize, &f64)| {
        let wanted = of_a[0] * if of_b.len() == 1 { of_b[0] } else { of_b[i] };
        (s - wanted).abs() <= 1e-5 * wanted.abs()
    };
    let is_int = site.ty(codes).and_then(|t| t.dtype()) == Some(DType::I32);
    let fits = own.len() == 1 || of_b.len() == 1 || own.len() == of_b.len();
    let all = if own.len() < of_b.len() { vec![own[0]; of_b.len()] } else { own };
    if !is_int || !fits || zero.iter().any(|&z| z != 0.0) || !all.iter().enumerate().all(close) {
        return Err(Refused::because("the bias is not in the scale of the products"));
    }
    Ok(codes)
}
