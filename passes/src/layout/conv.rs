//! Convolutions, and what goes into them.

use super::{Blocked, block, blocked, image, replace, sole_conv};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, NodeId};
use oxidane_kernels::Function;
use oxidane_ops::math::unary::Unary;
use oxidane_ops::native::{self, DOMAIN, activation};
use smallvec::SmallVec;

/// Channels up to which an input is read as it lies.
const FEW: i64 = 8;

/// Multiply-adds below which a convolution between dense values is not worth the two conversions.
const SMALL: i64 = 1 << 16;

/// Conv and FusedConv in blocks.
pub(super) struct BlockConv;

impl Rule for BlockConv {
    fn name(&self) -> &'static str {
        "conv_in_blocks"
    }

    fn doc(&self) -> &'static str {
        "Conv with constant weights works on channels in blocks of 16"
    }

    fn roots(&self) -> &[&'static str] {
        &["Conv", "com.microsoft.FusedConv"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (x, w) = (site.input(0)?, site.input(1)?);
        let node = site.node();
        let (bias, sum) = (node.input(2), node.input(3));
        let Some(weights) = site.constant(w) else {
            return Err(Refused::because("the weights are no constant"));
        };
        if bias.is_some_and(|b| site.constant(b).is_none()) {
            return Err(Refused::because("the bias is no constant"));
        }
        let shape = weights.shape().to_vec();
        let Some(x_shape) = image(site, x) else {
            return Err(Refused::because(
                "the input is not of single precision with one or two spatial sizes",
            ));
        };
        if x_shape.len() != shape.len() {
            return Err(Refused::NoMatch);
        }
        let Some(channels) = x_shape[1].as_known().filter(|&c| c > 0) else {
            return Err(Refused::because("the number of channels is not known"));
        };
        let spatial: Option<Vec<i64>> = x_shape[2..].iter().map(|d| d.as_known()).collect();
        let given = site.node().op().attributes();
        let mut attributes = Attributes::new().with("channels", channels);
        let group: i64 = given.value("group")?.unwrap_or(1);
        attributes.set("group", group);
        for name in ["dilations", "strides"] {
            attributes.set(name, given.value::<Vec<i64>>(name)?);
        }
        match given.value::<String>("auto_pad")?.as_deref() {
            None | Some("" | "NOTSET") => attributes.set("pads", given.value::<Vec<i64>>("pads")?),
            Some("VALID") => {}
            Some(same) => {
                let Some(spatial) = &spatial else {
                    return Err(Refused::because("the pads depend on sizes that are not known"));
                };
                attributes.set("pads", pads(&given, &shape[2..], spatial, same == "SAME_UPPER")?);
            }
        }
        let name = given.value::<String>("activation")?.unwrap_or_default();
        let numbers = given.value::<Vec<f32>>("activation_params")?.unwrap_or_default();
        if !name.is_empty() {
            let numbers = with_defaults(&name, numbers);
            activation::read(&name, &numbers)?;
            attributes.set("activation", name);
            attributes.set("activation_params", numbers);
        }
        let from = blocked(site, x);
        let dense = from.is_none() && channels <= FEW && group == 1;
        attributes.set("dense", dense);
        let op = site.op_of(DOMAIN, "Conv", &attributes)?;
        let fits = op.downcast::<native::conv::Conv>().is_some_and(|conv| conv.fits(&shape));
        if !fits {
            return Err(Refused::because("groups of so many channels have no kernel in blocks"));
        }
        if let (None, Some(spatial)) = (from, &spatial) {
            let taps: i64 = shape[1..].iter().map(|&n| n as i64).product();
            let work = spatial.iter().fold(taps.saturating_mul(shape[0] as i64), |n, &s| n.saturating_mul(s));
            if work < SMALL {
                return Err(Refused::because("so small a convolution is not worth the conversions"));
            }
        }
        let x = if dense { x } else { block(site, x)? };
        let sum = sum.map(|z| block(site, z)).transpose()?;
        let new = site.add_node(op, &[Some(x), Some(w), bias, sum], 1)[0];
        replace(site, site.output(0)?, Blocked { value: new, channels: shape[0] as i64 })
    }
}

/// The pads that keep as many outputs as inputs divided by the stride.
fn pads(given: &Attributes, kernel: &[usize], spatial: &[i64], upper: bool) -> Result<Vec<i64>, Refused> {
    let strides = given.value::<Vec<i64>>("strides")?.unwrap_or_else(|| vec![1; kernel.len()]);
    let dilations = given.value::<Vec<i64>>("dilations")?.unwrap_or_else(|| vec![1; kernel.len()]);
    if strides.len() != kernel.len() || dilations.len() != kernel.len() || strides.iter().any(|&s| s < 1) {
        return Err(Refused::NoMatch);
    }
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for axis in 0..kernel.len() {
        let outputs = (spatial[axis] + strides[axis] - 1) / strides[axis];
        let span = (kernel[axis] as i64 - 1) * dilations[axis] + 1;
        let total = ((outputs - 1) * strides[axis] + span - spatial[axis]).max(0);
        let (less, more) = (total / 2, total - total / 2);
        begins.push(if upper { less } else { more });
        ends.push(if upper { more } else { less });
    }
    begins.extend(ends);
    Ok(begins)
}

/// The numbers of an activation of FusedConv, those left out at their defaults.
fn with_defaults(name: &str, mut numbers: Vec<f32>) -> Vec<f32> {
    let defaults: &[f32] = match name {
        "LeakyRelu" => &[0.01],
        "Elu" => &[1.0],
        "HardSigmoid" => &[0.2, 0.5],
        "Clip" => &[f32::MIN, f32::MAX],
        "Selu" => &[1.673_263_2, 1.050_701],
        _ => &[],
    };
    numbers.truncate(defaults.len());
    numbers.extend(&defaults[numbers.len()..]);
    numbers
}

/// The function of a node: a unary operator, or Clip with constant bounds.
pub(super) fn function(site: &Site<'_>, node: NodeId) -> Option<Function> {
    let node = site.graph().get_node(node)?;
    if let Some(unary) = node.op().downcast::<Unary>() {
        return Some(unary.function());
    }
    if crate::site::standard(node) != Some("Clip") {
        return None;
    }
    let bound = |slot: usize, open: f64| match node.input(slot) {
        None => Some(open),
        Some(v) => site.scalar(v),
    };
    Some(Function::Clip { min: bound(1, f64::NEG_INFINITY)?, max: bound(2, f64::INFINITY)? })
}

/// A function behind a convolution in blocks goes into it.
pub(super) struct ConvFunction;

impl Rule for ConvFunction {
    fn name(&self) -> &'static str {
        "conv_function"
    }

    fn doc(&self) -> &'static str {
        "a function behind a convolution in blocks goes into it"
    }

    fn roots(&self) -> &[&'static str] {
        super::elementwise::FUNCTIONS
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let conv = sole_conv(site, site.input(0)?).ok_or(Refused::NoMatch)?;
        let (name, numbers) =
            function(site, site.id()).and_then(activation::spelled).ok_or(Refused::NoMatch)?;
        let node = site.graph().node(conv);
        let mut attributes = node.op().attributes();
        if attributes.value::<String>("activation")?.is_some_and(|a| !a.is_empty()) {
            return Err(Refused::because("the convolution has a function already"));
        }
        attributes.set("activation", name.to_owned());
        attributes.set("activation_params", numbers);
        let inputs: SmallVec<[_; 4]> = node.inputs().into();
        let channels = blocked(site, site.input(0)?).ok_or(Refused::NoMatch)?.channels;
        let op = site.op_of(DOMAIN, "Conv", &attributes)?;
        let new = site.add_node(op, &inputs, 1)[0];
        replace(site, site.output(0)?, Blocked { value: new, channels })
    }
}

/// The sum of a convolution in blocks with another blocked value goes into it.
pub(super) struct ConvSum;

impl Rule for ConvSum {
    fn name(&self) -> &'static str {
        "conv_sum_in_blocks"
    }

    fn doc(&self) -> &'static str {
        "the sum of a convolution in blocks with a tensor of its shape goes into it"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (a, b) = (site.input(0)?, site.input(1)?);
        let found = [(a, b), (b, a)].into_iter().find_map(|(own, other)| {
            let conv = sole_conv(site, own)?;
            let other = blocked(site, other)?;
            let node = site.graph().node(conv);
            let attributes = node.op().attributes();
            let plain = attributes.value::<String>("activation").ok()?.is_none_or(|a| a.is_empty());
            let same =
                site.shape(own).is_some() && site.shape(own) == site.shape(if own == a { b } else { a });
            (plain && same && node.input(3).is_none()).then_some((conv, other))
        });
        let (conv, other) = found.ok_or(Refused::NoMatch)?;
        let node = site.graph().node(conv);
        let (op, inputs) =
            (node.op().clone(), [node.input(0), node.input(1), node.input(2), Some(other.value)]);
        let new = site.add_node(op, &inputs, 1)[0];
        replace(site, site.output(0)?, Blocked { value: new, ..other })
    }
}

/// Convolutions in blocks round to bfloat16.
pub(super) struct ConvBf16;

impl Rule for ConvBf16 {
    fn name(&self) -> &'static str {
        "conv_bf16"
    }

    fn doc(&self) -> &'static str {
        "convolutions in blocks are of bfloat16, with sums in single precision, on machines that are quicker at it"
    }

    fn roots(&self) -> &[&'static str] {
        &["oxidane.Conv"]
    }

    fn by_default(&self) -> bool {
        false
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let mut attributes = site.node().op().attributes();
        if attributes.get("precision").is_some() {
            return Err(Refused::NoMatch);
        }
        if attributes.value::<i64>("group")?.is_some_and(|group| group != 1) {
            return Err(Refused::because("groups of channels stay in single precision"));
        }
        attributes.set("precision", "bfloat16".to_owned());
        let op = site.op_of(DOMAIN, "Conv", &attributes)?;
        let inputs: SmallVec<[_; 4]> = site.node().inputs().into();
        let new = site.add_node(op, &inputs, 1)[0];
        site.replace(site.output(0)?, new)
    }
}
