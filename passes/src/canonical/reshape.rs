use crate::site::standard;
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim, Dims, NodeId, ValueId};
use oxidane_tensor::Tensor;

/// Chains of nodes that only give a tensor another shape become one Reshape, and a Reshape whose target is computed
/// gets a constant one where the shape of its result is known but for sizes that Reshape can take over or infer.
pub(crate) struct Reshape;

const VIEWS: &[&str] = &["Reshape", "Flatten", "Squeeze", "Unsqueeze"];

impl Rule for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn doc(&self) -> &'static str {
        "merges chains of reshapes, squeezes and flattens, and makes computed shapes constant"
    }

    fn roots(&self) -> &[&'static str] {
        VIEWS
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (first, old) = (site.input(0)?, site.output(0)?);
        let (source, may_infer) = source(site, first);
        let may_infer = may_infer || infers(site, site.id());
        let computed = site.is(site.id(), "Reshape") && site.constant(site.input(1)?).is_none();
        if source == first && !computed {
            return Err(Refused::NoMatch);
        }
        let shape = |v: ValueId| site.shape(v).map(Dims::from_slice);
        let (Some(before), Some(after)) = (shape(source), shape(old)) else {
            return Err(Refused::because("the rank is not known"));
        };
        let mut target = Vec::with_capacity(after.len());
        let (mut inferred, mut taken) = (false, false);
        for (axis, &size) in after.iter().enumerate() {
            target.push(match size.as_known() {
                Some(0) => {
                    return Err(Refused::because(
                        "a size is 0, which a target shape takes for another thing",
                    ));
                }
                Some(size) => size,
                // 0 takes over the size of the same axis, -1 takes what is left.
                None if before.get(axis) == Some(&size) => {
                    taken = true;
                    0
                }
                None if inferred => {
                    return Err(Refused::because("two sizes of the result are known only in a run"));
                }
                None => {
                    inferred = true;
                    -1
                }
            });
        }
        if inferred && taken && !may_infer {
            return Err(Refused::because("nothing could be inferred where a size that is taken over is 0"));
        }
        let target = Tensor::new(&[target.len()], &target)?;
        let reshape = site.op("Reshape", &Attributes::new())?;
        let target = site.tensor(target);
        let new = site.add(reshape, &[source, target]);
        site.replace(old, new)
    }
}

/// What the chain of views that ends in a value starts from, and whether one of them infers a size; values that are
/// read elsewhere as well end it.
fn source(site: &Site<'_>, mut value: ValueId) -> (ValueId, bool) {
    let view = |value: ValueId| -> Option<(ValueId, NodeId)> {
        let maker = site.graph().value(value).producer()?;
        let node = site.graph().node(maker);
        let is_view = standard(node).is_some_and(|name| VIEWS.contains(&name));
        let before = node.input(0).filter(|_| is_view && site.sole_user(value).is_some())?;
        Some((before, maker))
    };
    let mut inferred = false;
    while let Some((before, maker)) = view(value) {
        inferred |= infers(site, maker);
        value = before;
    }
    (value, inferred)
}

/// Whether a node is a Reshape that infers a size.
fn infers(site: &Site<'_>, id: NodeId) -> bool {
    let target = site.graph().node(id).input(1).filter(|_| site.is(id, "Reshape"));
    let target = target.and_then(|v| site.ints(v));
    target.is_some_and(|ints| ints.dims.contains(&Dim::known(-1)))
}
