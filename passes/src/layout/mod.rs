//! Operators of this engine alone take the places of standard ones, in a graph that is about to run.
//!
//! Channels lie in blocks of 16: a convolution alone is written as Block, Conv, Unblock. Every other rule moves an Unblock further down, through
//! what works on blocks as well, until it meets a Block and both go. The stage runs when a model is compiled and never on
//! a model that is written to a file.

mod conv;
mod elementwise;
mod pool;
mod product;
mod quantized;

use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim, NodeId, ValueId};
use oxidane_ops::native::DOMAIN;
use oxidane_tensor::DType;

pub(crate) fn rules() -> Vec<Box<dyn Rule>> {
    let mut all = quantized::rules();
    let blocks: Vec<Box<dyn Rule>> = vec![
        Box::new(Cancel),
        Box::new(conv::BlockConv),
        Box::new(conv::ConvFunction),
        Box::new(conv::ConvSum),
        Box::new(conv::ConvBf16),
        Box::new(elementwise::Unary),
        Box::new(elementwise::Binary),
        Box::new(elementwise::Concat),
        Box::new(pool::Windows),
        Box::new(pool::Means),
    ];
    all.extend(blocks);
    all.extend(product::rules());
    all
}

/// Blocks that were just undone.
struct Cancel;

impl Rule for Cancel {
    fn name(&self) -> &'static str {
        "block_of_unblock"
    }

    fn doc(&self) -> &'static str {
        "Block of Unblock is what was there before"
    }

    fn roots(&self) -> &[&'static str] {
        &["oxidane.Block"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let from = blocked(site, site.input(0)?).ok_or(Refused::NoMatch)?;
        site.replace(site.output(0)?, from.value)
    }
}

/// A value that is dense channels of a blocked one.
#[derive(Clone, Copy)]
struct Blocked {
    /// The blocked value.
    value: ValueId,
    channels: i64,
}

/// The blocked value that a value was brought out of.
fn blocked(site: &Site<'_>, value: ValueId) -> Option<Blocked> {
    let maker = site.graph().get_value(value)?.producer()?;
    let node = site.graph().node(maker);
    if (node.op().domain(), node.op().name()) != (DOMAIN, "Unblock") {
        return None;
    }
    Some(Blocked { value: node.input(0)?, channels: site.attribute(maker, "channels")? })
}

/// The blocked convolution that makes a value, where only the value itself, dense, is read, and that by the site's node
/// alone.
fn sole_conv(site: &Site<'_>, value: ValueId) -> Option<NodeId> {
    let from = blocked(site, value)?;
    site.sole_user(value)?;
    site.sole_user(from.value)?;
    let maker = site.graph().value(from.value).producer()?;
    let op = site.graph().node(maker).op();
    ((op.domain(), op.name()) == (DOMAIN, "Conv")).then_some(maker)
}

/// A value in blocks.
fn block(site: &mut Site<'_>, value: ValueId) -> Result<ValueId, Refused> {
    let op = site.op_of(DOMAIN, "Block", &Attributes::new())?;
    Ok(site.add(op, &[value]))
}

/// The dense channels of a blocked value take the place of another value.
fn replace(site: &mut Site<'_>, old: ValueId, new: Blocked) -> Result<(), Refused> {
    let op = site.op_of(DOMAIN, "Unblock", &Attributes::new().with("channels", new.channels))?;
    let dense = site.add(op, &[new.value]);
    site.name_added(old);
    site.replace(old, dense)
}

/// The shape of a value, where it is of single precision and has a batch, channels, and one or two spatial sizes.
fn image<'a>(site: &'a Site<'_>, value: ValueId) -> Option<&'a [Dim]> {
    let ty = site.ty(value)?;
    let shape = ty.shape()?;
    (ty.dtype() == Some(DType::F32) && (3..=4).contains(&shape.len())).then_some(shape)
}
