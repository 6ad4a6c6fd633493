use crate::site::standard;
use crate::{Refused, Rule, Site};
use oxidane_graph::ValueId;
use oxidane_tensor::DType;

/// Nodes that give back their first input.
pub(crate) struct Identity;

const ROOTS: &[&str] = &[
    "Identity",
    "Dropout",
    "Cast",
    "CastLike",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Expand",
    "Tile",
    "Transpose",
    "Pad",
    "Slice",
    "Concat",
    "Split",
    "Sum",
    "Mean",
    "Max",
    "Min",
    "Mul",
    "Div",
    "Sub",
    "Pow",
    "And",
    "Or",
    "Xor",
];

impl Rule for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn doc(&self) -> &'static str {
        "removes nodes that give back their input, by what is known of types and constants"
    }

    fn roots(&self) -> &[&'static str] {
        ROOTS
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let source = source(site)?;
        let old = site.output(0)?;
        if site.is(site.id(), "Identity")
            && site.graph().is_output(old)
            && !site.graph().may_replace(old, source)
        {
            // Such an Identity is how a graph gives out an input or a constant.
            return Err(Refused::NoMatch);
        }
        site.replace(old, source)
    }
}

/// The value that the node gives back.
fn source(site: &Site<'_>) -> Result<ValueId, Refused> {
    let same = |yes: bool, value: ValueId| if yes { Ok(value) } else { Err(Refused::NoMatch) };
    let first = site.input(0)?;
    match standard(site.node()).unwrap_or_default() {
        "Identity" => Ok(first),
        "Dropout" => dropout(site, first),
        "Cast" | "CastLike" => {
            let from = site.ty(first).and_then(|t| t.dtype());
            let to = site.ty(site.output(0)?).and_then(|t| t.dtype());
            same(from.is_some() && from == to, first)
        }
        // These keep the elements' order, so that equal shapes mean equal tensors.
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" | "Tile" => {
            same(shape_kept(site, first), first)
        }
        "Slice" => {
            let steps = match site.node().input(4) {
                Some(steps) => site.known_ints(steps).ok_or(Refused::NoMatch)?,
                None => Vec::new(),
            };
            same(steps.iter().all(|&s| s == 1) && shape_kept(site, first), first)
        }
        "Transpose" => {
            let perm: Option<Vec<i64>> = site.attribute(site.id(), "perm");
            let rank = site.shape(first).map(<[_]>::len);
            let stays = match (perm, rank) {
                (Some(perm), _) => perm.iter().enumerate().all(|(i, &p)| i as i64 == p),
                (None, rank) => rank.is_some_and(|r| r <= 1),
            };
            same(stays, first)
        }
        "Pad" => {
            let pads = site.known_ints(site.input(1)?).ok_or(Refused::NoMatch)?;
            same(pads.iter().all(|&p| p == 0), first)
        }
        "Concat" | "Sum" | "Mean" | "Max" | "Min" => same(site.node().inputs().len() == 1, first),
        "Split" => same(site.node().outputs().len() == 1, first),
        name @ ("Mul" | "Div" | "Sub" | "Pow" | "And" | "Or" | "Xor") => neutral(site, name, first),
        _ => Err(Refused::NoMatch),
    }
}

fn shape_kept(site: &Site<'_>, first: ValueId) -> bool {
    let before = site.shape(first);
    before.is_some() && before == site.node().output(0).and_then(|v| site.shape(v))
}

fn dropout(site: &Site<'_>, first: ValueId) -> Result<ValueId, Refused> {
    if let Some(mask) = site.node().output(1)
        && (site.graph().is_output(mask) || !site.graph().value(mask).uses().is_empty())
    {
        return Err(Refused::because("the mask is used"));
    }
    match site.node().input(2).map(|training| site.constant(training).and_then(crate::site::scalar)) {
        None | Some(Some(0.0)) => Ok(first),
        Some(Some(_)) => Err(Refused::because("it is in training mode")),
        Some(None) => Err(Refused::because("whether it is in training mode is not known before the run")),
    }
}

/// `x*1`, `1*x`, `x/1`, `x-0`, `x^1`, which are exact for every number, and `x and true`, `x or false`, `x xor false`.
fn neutral(site: &Site<'_>, name: &str, first: ValueId) -> Result<ValueId, Refused> {
    let second = site.input(1)?;
    let wanted = if matches!(name, "Sub" | "Or" | "Xor") { 0.0 } else { 1.0 };
    let result = site.output(0)?;
    let is = |value: ValueId| site.constant(value).and_then(crate::site::scalar) == Some(wanted);
    // A negative zero as the subtrahend turns -0 into +0.
    let signed_zero =
        |value: ValueId| name == "Sub" && site.scalar(value).is_some_and(|v| v.is_sign_negative());
    let kept = |value: ValueId| {
        let (a, b) = (site.ty(value), site.ty(result));
        a.is_some_and(|t| t.shape().is_some() && t.dtype() != Some(DType::String)) && a == b
    };
    if is(second) && !signed_zero(second) && kept(first) {
        return Ok(first);
    }
    if matches!(name, "Mul" | "And" | "Or" | "Xor") && is(first) && kept(second) {
        return Ok(second);
    }
    Err(Refused::NoMatch)
}
