use crate::site::standard;
use crate::{Refused, Rule, Site};
use oxidane_graph::NodeId;
use oxidane_tensor::DType;

/// Sizes of a tensor that are cast to int32, picked from, and cast back.
pub(crate) struct CastOfSizes;

/// How many nodes may lie between the two casts.
const REACH: usize = 4;

impl Rule for CastOfSizes {
    fn name(&self) -> &'static str {
        "cast_of_sizes"
    }

    fn doc(&self) -> &'static str {
        "sizes of a tensor are picked without a cast to int32 and back"
    }

    fn roots(&self) -> &[&'static str] {
        &["Cast"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let dtype = |site: &Site<'_>, v| site.ty(v).and_then(|t| t.dtype());
        let old = site.output(0)?;
        if dtype(site, old) != Some(DType::I64) {
            return Err(Refused::NoMatch);
        }
        let mut chain: Vec<NodeId> = Vec::new();
        let mut value = site.input(0)?;
        let source = loop {
            if dtype(site, value) != Some(DType::I32) || chain.len() > REACH {
                return Err(Refused::NoMatch);
            }
            let maker = site.graph().value(value).producer().ok_or(Refused::NoMatch)?;
            let node = site.graph().node(maker);
            let before = node.input(0).ok_or(Refused::NoMatch)?;
            match standard(node).unwrap_or_default() {
                "Cast" => break before,
                "Slice" | "Gather" | "Squeeze" | "Unsqueeze" | "Reshape" => {
                    if site.sole_user(value).is_none() {
                        return Err(Refused::because("what is picked is read elsewhere as well"));
                    }
                    chain.push(maker);
                    value = before;
                }
                _ => return Err(Refused::NoMatch),
            }
        };
        // Sizes of tensors fit into int32 wherever the model runs at all.
        let shape = site.graph().value(source).producer().is_some_and(|id| site.is(id, "Shape"));
        let sizes = || site.ints(source).is_some_and(|ints| ints.dims.iter().all(|d| d.is_size()));
        if dtype(site, source) != Some(DType::I64) || !(shape || sizes()) {
            return Err(Refused::because("what is cast are no sizes"));
        }
        let mut made = source;
        for id in chain.into_iter().rev() {
            let node = site.graph().node(id);
            let op = node.op().clone();
            let mut inputs = node.inputs().to_vec();
            inputs[0] = Some(made);
            made = site.add_node(op, &inputs, 1)[0];
        }
        site.replace(old, made)
    }
}
