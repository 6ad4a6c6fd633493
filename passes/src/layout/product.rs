//! Products with constant matrices take along what follows them.

use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, NodeId, ValueId};
use oxidane_ops::native::product::{ACTIVATIONS, bf16_pays};
use oxidane_tensor::DType;
use smallvec::SmallVec;

const DOMAIN: &str = "oxidane";
const NAME: &str = "Product";

/// The slots of [`NAME`].
const BIAS: usize = 2;
const ADDEND: usize = 3;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    vec![Box::new(Plain), Box::new(Sum), Box::new(Activation), Box::new(Bf16)]
}

/// The product itself.
struct Plain;

impl Rule for Plain {
    fn name(&self) -> &'static str {
        "product"
    }

    fn doc(&self) -> &'static str {
        "MatMul, Gemm and FusedGemm with a constant matrix become a product whose weights are packed once"
    }

    fn roots(&self) -> &[&'static str] {
        &["MatMul", "Gemm", "com.microsoft.FusedGemm", "com.microsoft.FusedMatMul"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (a, b) = (site.input(0)?, site.input(1)?);
        let weights = site.constant(b).ok_or(Refused::NoMatch)?;
        if weights.rank() != 2 || weights.dtype() != DType::F32 || site.rank(a)? == 0 {
            return Err(Refused::NoMatch);
        }
        let id = site.id();
        let flag = |name: &str| site.attribute::<i64>(id, name).unwrap_or(0) != 0;
        let number = |name: &str| site.attribute::<f32>(id, name);
        if flag("transA") || flag("transBatchA") || flag("transBatchB") {
            return Err(Refused::because("the left side is read transposed"));
        }
        let mut attributes = Attributes::new();
        attributes.set("factor", number("alpha").unwrap_or(1.0));
        attributes.set("transB", i64::from(flag("transB")));
        if let Some(name) = site.attribute::<String>(id, "activation").filter(|name| !name.is_empty()) {
            if !ACTIVATIONS.contains(&name.as_str()) {
                return Err(Refused::because(format!("a product takes no {name} along")));
            }
            for parameter in ["activation_alpha", "activation_beta", "activation_gamma"] {
                if let Some(value) = number(parameter) {
                    attributes.set(parameter, value);
                }
            }
            keep_own(site, &name, &mut attributes)?;
            attributes.set("activation", name);
        }
        let mut inputs: SmallVec<[Option<ValueId>; 4]> =
            SmallVec::from_slice(&[Some(a), Some(b), None, None]);
        if let Some(c) = site.node().input(2) {
            if number("beta").is_some_and(|beta| beta != 1.0) {
                return Err(Refused::because("the third operand is scaled"));
            }
            let slot = place(site, c, site.output(0)?)
                .ok_or(Refused::because("the third operand is neither a bias nor of the result's shape"))?;
            inputs[slot] = Some(flat(site, c, slot)?);
        }
        let op = site.op_of(DOMAIN, NAME, &attributes)?;
        let new = site.add_node(op, &inputs, 1)[0];
        site.replace(site.output(0)?, new)
    }
}

/// A sum behind the product.
struct Sum;

impl Rule for Sum {
    fn name(&self) -> &'static str {
        "product_sum"
    }

    fn doc(&self) -> &'static str {
        "the sum of a product with a bias or with a tensor of its shape goes into it"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (x, y) = (site.input(0)?, site.input(1)?);
        let mut refused = Refused::NoMatch;
        for (value, other) in [(x, y), (y, x)] {
            let made = match maker(site, value) {
                Ok(made) => made,
                Err(Refused::NoMatch) => continue,
                Err(why) => {
                    refused = why;
                    continue;
                }
            };
            let node = site.graph().node(made);
            let mut inputs: SmallVec<[Option<ValueId>; 4]> = node.inputs().into();
            inputs.resize(ADDEND + 1, None);
            // The product's own shape must be that of the sum.
            if site.shape(value).is_none() || site.shape(value) != site.shape(site.output(0)?) {
                refused = Refused::because("the sum has another shape than the product");
                continue;
            }
            let Some(slot) = place(site, other, value).filter(|&slot| inputs[slot].is_none()) else {
                refused = Refused::because("the other operand is neither a bias nor of the product's shape");
                continue;
            };
            inputs[slot] = Some(flat(site, other, slot)?);
            let op = site.graph().node(made).op().clone();
            let new = site.add_node(op, &inputs, 1)[0];
            return site.replace(site.output(0)?, new);
        }
        Err(refused)
    }
}

/// An activation behind the product.
struct Activation;

impl Rule for Activation {
    fn name(&self) -> &'static str {
        "product_activation"
    }

    fn doc(&self) -> &'static str {
        "an activation behind a product goes into it"
    }

    fn roots(&self) -> &[&'static str] {
        ACTIVATIONS
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let made = maker(site, site.input(0)?)?;
        let mut attributes = site.graph().node(made).op().attributes();
        let name = site.node().op().name().to_owned();
        keep_own(site, &name, &mut attributes)?;
        attributes.set("activation", name);
        let op = site.op_of(DOMAIN, NAME, &attributes)?;
        let inputs: SmallVec<[Option<ValueId>; 4]> = site.graph().node(made).inputs().into();
        let new = site.add_node(op, &inputs, 1)[0];
        site.replace(site.output(0)?, new)
    }
}

/// Products round to bfloat16.
struct Bf16;

impl Rule for Bf16 {
    fn name(&self) -> &'static str {
        "product_bf16"
    }

    fn doc(&self) -> &'static str {
        "products with constant matrices are of bfloat16, with sums in single precision, where the machine is quicker at such"
    }

    fn roots(&self) -> &[&'static str] {
        &["oxidane.Product"]
    }

    fn by_default(&self) -> bool {
        false
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let mut attributes = site.node().op().attributes();
        if attributes.get("precision").is_some() {
            return Err(Refused::NoMatch);
        }
        if !bf16_pays() {
            return Err(Refused::because("this machine is not quicker at products of bfloat16"));
        }
        attributes.set("precision", "bfloat16".to_owned());
        let op = site.op_of(DOMAIN, NAME, &attributes)?;
        let inputs: SmallVec<[Option<ValueId>; 4]> = site.node().inputs().into();
        let new = site.add_node(op, &inputs, 1)[0];
        site.replace(site.output(0)?, new)
    }
}

/// Writes the parameters of the node's activation into the attributes of a product.
fn keep_own(site: &Site<'_>, name: &str, attributes: &mut Attributes) -> Result<(), Refused> {
    if name == "Clip" {
        for (slot, parameter) in [(1, "activation_alpha"), (2, "activation_beta")] {
            if let Some(bound) = site.node().input(slot) {
                let bound = site.scalar(bound).ok_or(Refused::because("the bounds are no constants"))?;
                attributes.set(parameter, bound as f32);
            }
        }
        return Ok(());
    }
    if site.node().op().name() != name {
        return Ok(());
    }
    for own in ["alpha", "beta", "gamma"] {
        if let Some(value) = site.attribute::<f32>(site.id(), own) {
            attributes.set(format!("activation_{own}").as_str(), value);
        }
    }
    if let Some(value) = site.attribute::<String>(site.id(), "approximate") {
        attributes.set("activation_approximate", value);
    }
    Ok(())
}

/// The product without an activation that makes a value for one reader alone.
fn maker(site: &Site<'_>, value: ValueId) -> Result<NodeId, Refused> {
    let id = site.graph().value(value).producer().ok_or(Refused::NoMatch)?;
    let op = site.graph().node(id).op();
    if (op.domain(), op.name()) != (DOMAIN, NAME) || op.attributes().get("activation").is_some() {
        return Err(Refused::NoMatch);
    }
    if site.sole_user(value).is_none() {
        return Err(Refused::because("the product is read elsewhere as well"));
    }
    Ok(id)
}

/// The slot of a product that a further operand may take: [`BIAS`] where it has a number for each column, [`ADDEND`] where
/// it has the shape of the result.
fn place(site: &Site<'_>, other: ValueId, result: ValueId) -> Option<usize> {
    let (own, of) = (site.shape(other)?, site.shape(result)?);
    let one = Some(1);
    let (&last, lead) = own.split_last()?;
    if site.ty(other)?.dtype() != Some(DType::F32) {
        return None;
    }
    let is_bias =
        own.len() <= of.len() && lead.iter().all(|d| d.as_known() == one) && Some(&last) == of.last();
    if is_bias && (own.len() == 1 || site.constant(other).is_some()) {
        return Some(BIAS);
    }
    (own == of).then_some(ADDEND)
}

/// A bias without leading ones.
fn flat(site: &mut Site<'_>, other: ValueId, slot: usize) -> Result<ValueId, Refused> {
    match site.constant(other) {
        Some(tensor) if slot == BIAS && tensor.rank() != 1 => {
            let tensor = tensor.reshape(&[tensor.len()])?;
            Ok(site.tensor(tensor))
        }
        _ => Ok(other),
    }
}
