//! Activations that exporters write as arithmetic.

use crate::pattern::{Fusion, Match, Pattern, any, either, erf, op, scalar, sigmoid, tanh};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, ValueId};
use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(gelu()),
        Box::new(gelu_tanh()),
        Box::new(hard_sigmoid()),
        Box::new(hard_swish()),
        Box::new(mish()),
        Box::new(swish()),
    ]
}

/// A standard operator of `x` alone.
fn of_x(
    site: &mut Site<'_>,
    found: &Match,
    name: &'static str,
    with: Attributes,
) -> Result<ValueId, Refused> {
    let op = site.op(name, &with)?;
    Ok(site.add(op, &[found.value("x")?]))
}

/// `x * 0.5 * (1 + gate)`, in any order of its factors.
fn half_gated(x: Pattern, gate: Pattern) -> Pattern {
    let gate = gate + 1.0;
    either([x.clone() * (gate.clone() * 0.5), (x.clone() * 0.5) * gate.clone(), (x * gate) * 0.5])
}

fn gelu() -> Fusion {
    let x = any("x");
    let inner = either([x.clone() / SQRT_2, x.clone() * FRAC_1_SQRT_2]);
    Fusion::new("gelu", "x * (1 + erf(x / sqrt(2))) / 2 is Gelu", half_gated(x, erf(inner)), |site, found| {
        of_x(site, found, "Gelu", Attributes::new())
    })
}

fn gelu_tanh() -> Fusion {
    let x = any("x");
    let c = (2.0 / PI).sqrt();
    let cube = either([
        op("Pow", [x.clone(), scalar(3.0)]),
        (x.clone() * x.clone()) * x.clone(),
        op("Pow", [x.clone(), scalar(2.0)]) * x.clone(),
    ]);
    let inner = either([
        (x.clone() + cube * 0.044715) * c,
        // As some frameworks factor it.
        (x.clone() * c) * ((x.clone() * x.clone()) * 0.044715 + 1.0),
        x.clone() * ((x.clone() * x.clone()) * (0.044715 * c) + c),
    ]);
    Fusion::new(
        "gelu_tanh",
        "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2 is Gelu with approximate = tanh",
        half_gated(x, tanh(inner)),
        |site, found| of_x(site, found, "Gelu", Attributes::new().with("approximate", "tanh".to_owned())),
    )
}

/// `min(max(x + 3, 0), 6)`.
fn relu6_of_x_plus_3() -> Pattern {
    op("Clip", [any("x") + 3.0, scalar(0.0), scalar(6.0)])
}

fn sixth(of: Pattern) -> Pattern {
    either([of.clone() / 6.0, of * (1.0 / 6.0)])
}

fn hard_sigmoid() -> Fusion {
    Fusion::new(
        "hard_sigmoid",
        "clip(x + 3, 0, 6) / 6 is HardSigmoid",
        sixth(relu6_of_x_plus_3()),
        |site, found| {
            of_x(
                site,
                found,
                "HardSigmoid",
                Attributes::new().with("alpha", 1.0f32 / 6.0).with("beta", 0.5f32),
            )
        },
    )
}

fn hard_swish() -> Fusion {
    let x = any("x");
    let gate = op("HardSigmoid", [x.clone()]).with("alpha", 1.0f32 / 6.0).with("beta", 0.5f32);
    let pattern = either([x.clone() * gate, sixth(x * relu6_of_x_plus_3())]);
    Fusion::new("hard_swish", "x * HardSigmoid(x) is HardSwish", pattern, |site, found| {
        of_x(site, found, "HardSwish", Attributes::new())
    })
}

fn mish() -> Fusion {
    let x = any("x");
    let softplus = op("Softplus", [x.clone()]);
    Fusion::new("mish", "x * tanh(softplus(x)) is Mish", x * tanh(softplus), |site, found| {
        of_x(site, found, "Mish", Attributes::new())
    })
}

fn swish() -> Fusion {
    let x = any("x");
    let scaled = x.clone() * crate::pattern::constant("alpha");
    let pattern = either([x.clone() * sigmoid(x.clone()), x * sigmoid(scaled)]);
    Fusion::new("swish", "x * sigmoid(alpha * x) is Swish", pattern, |site, found| {
        let alpha = match found.value("alpha") {
            Ok(alpha) => {
                site.scalar(alpha).ok_or(Refused::Because("the factor is no single number".into()))?
            }
            Err(_) => 1.0,
        };
        of_x(site, found, "Swish", Attributes::new().with("alpha", alpha as f32))
    })
}
