//! Activations and residual sums go into the convolution or the product before them.

use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, NodeId, ValueId, qualified};
use smallvec::SmallVec;

/// The domain of the operators that take an activation along.
const DOMAIN: &str = "com.microsoft";

/// An activation behind Conv or Gemm.
pub(crate) enum Activated {
    Conv,
    Gemm,
}

impl Activated {
    /// The operator without and the one with an activation.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Activated::Conv => ("Conv", "FusedConv"),
            Activated::Gemm => ("Gemm", "FusedGemm"),
        }
    }
}

impl Rule for Activated {
    fn name(&self) -> &'static str {
        match self {
            Activated::Conv => "conv_activation",
            Activated::Gemm => "gemm_activation",
        }
    }

    fn doc(&self) -> &'static str {
        match self {
            Activated::Conv => "an activation behind Conv goes into it, as FusedConv",
            Activated::Gemm => "an activation behind Gemm goes into it, as FusedGemm",
        }
    }

    fn roots(&self) -> &[&'static str] {
        match self {
            Activated::Conv => &["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid"],
            Activated::Gemm => &["Relu", "Sigmoid", "Tanh", "LeakyRelu"],
        }
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (plain, fused) = self.names();
        let value = site.input(0)?;
        let maker = maker(site, value, &[plain, fused])?;
        let mut attributes = carried(site, maker)?;
        let activation = site.node().op().name().to_owned();
        let params = params(site, &activation)?;
        attributes.set("activation", activation);
        match self {
            Activated::Conv if params.is_empty() => {}
            Activated::Conv => attributes.set("activation_params", params),
            Activated::Gemm => {
                let names = ["activation_alpha", "activation_beta"];
                names.into_iter().zip(params).for_each(|(name, value)| attributes.set(name, value));
            }
        }
        let op = site.op_of(DOMAIN, fused, &attributes)?;
        let inputs: SmallVec<[Option<ValueId>; 4]> = site.graph().node(maker).inputs().into();
        let new = site.add_node(op, &inputs, 1)[0];
        site.replace(site.output(0)?, new)
    }
}

/// A sum with another tensor of the same shape behind Conv.
pub(crate) struct ConvSum;

impl Rule for ConvSum {
    fn name(&self) -> &'static str {
        "conv_sum"
    }

    fn doc(&self) -> &'static str {
        "the sum of Conv with a tensor of its shape goes into it, as FusedConv"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (a, b) = (site.input(0)?, site.input(1)?);
        let conv = |v: ValueId| maker(site, v, &["Conv"]);
        let (convolved, maker, other) = match (conv(a), conv(b)) {
            (Ok(maker), _) => (a, maker, b),
            (_, Ok(maker)) => (b, maker, a),
            (Err(why), Err(Refused::NoMatch)) | (_, Err(why)) => return Err(why),
        };
        if site.constant(other).is_some() {
            return Err(Refused::NoMatch);
        }
        if site.shape(convolved).is_none() || site.shape(convolved) != site.shape(other) {
            return Err(Refused::because("the shapes are not known to be equal"));
        }
        let op = site.op_of(DOMAIN, "FusedConv", &carried(site, maker)?)?;
        let node = site.graph().node(maker);
        let inputs = [node.input(0), node.input(1), node.input(2), Some(other)];
        let new = site.add_node(op, &inputs, 1)[0];
        site.replace(site.output(0)?, new)
    }
}

/// The node of one of these names that makes a value for the site's node alone and has no activation yet.
fn maker(site: &Site<'_>, value: ValueId, names: &[&str]) -> Result<NodeId, Refused> {
    let id = site.graph().value(value).producer().ok_or(Refused::NoMatch)?;
    let op = site.graph().node(id).op();
    let own = matches!(op.domain(), "" | "ai.onnx") || op.domain() == DOMAIN;
    if !own || !names.contains(&op.name()) || op.attributes().get("activation").is_some() {
        return Err(Refused::NoMatch);
    }
    if site.sole_user(value).is_none() {
        return Err(Refused::because(format!(
            "the result of {} is read elsewhere as well",
            qualified(op.domain(), op.name())
        )));
    }
    Ok(id)
}

/// The attributes of a node, for the fused operator.
fn carried(site: &Site<'_>, id: NodeId) -> Result<Attributes, Refused> {
    let op = site.graph().node(id).op();
    let fused = if op.name().ends_with("Conv") { "FusedConv" } else { "FusedGemm" };
    // The fused operators take floats; single precision is what every runtime has.
    let x = site.graph().node(id).input(0).ok_or(Refused::NoMatch)?;
    match site.ty(x).and_then(|t| t.dtype()) {
        Some(oxidane_tensor::DType::F32) => Ok(op.attributes()),
        Some(other) => Err(Refused::because(format!("{fused} of {other} is no operator of other runtimes"))),
        None => Err(Refused::because("the type is not known")),
    }
}

/// The numbers that an activation takes, in the order of the fused operators.
fn params(site: &Site<'_>, activation: &str) -> Result<Vec<f32>, Refused> {
    let attribute = |name: &str| site.attribute::<f32>(site.id(), name).ok_or(Refused::NoMatch);
    match activation {
        "LeakyRelu" => Ok(vec![attribute("alpha")?]),
        "HardSigmoid" => Ok(vec![attribute("alpha")?, attribute("beta")?]),
        "Clip" => {
            let bound = |slot: usize, otherwise: f32| match site.node().input(slot) {
                None => Ok(otherwise),
                Some(v) => match site.scalar(v) {
                    Some(bound) => Ok(bound as f32),
                    None => Err(Refused::because("the bounds are no constants")),
                },
            };
            Ok(vec![bound(1, f32::MIN)?, bound(2, f32::MAX)?])
        }
        _ => Ok(Vec::new()),
    }
}
