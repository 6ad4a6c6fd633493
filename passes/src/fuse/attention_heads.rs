use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, ValueId};

/// Attention whose inputs are transposed from rows of heads, and whose output is transposed back, takes the rows.
pub(crate) struct AttentionHeads;

const PERM: [i64; 4] = [0, 2, 1, 3];

impl Rule for AttentionHeads {
    fn name(&self) -> &'static str {
        "attention_heads"
    }

    fn doc(&self) -> &'static str {
        "Attention between transposes of its heads takes and gives the rows as they lie"
    }

    fn roots(&self) -> &[&'static str] {
        &["Attention"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let node = site.node();
        if node.inputs().len() > 4 || node.outputs().len() > 1 {
            return Err(Refused::NoMatch);
        }
        let mut rows = Vec::with_capacity(3);
        let mut heads = Vec::with_capacity(3);
        for slot in 0..3 {
            let value = site.input(slot)?;
            let shape = site.shape(value).filter(|s| s.len() == 4).ok_or(Refused::NoMatch)?;
            heads.push(
                shape[1].as_known().ok_or(Refused::Because("the number of heads is not known".into()))?,
            );
            rows.push(transposed(site, value).ok_or(Refused::NoMatch)?);
        }
        let old = site.output(0)?;
        let back = site.sole_user(old).filter(|&id| {
            site.is(id, "Transpose") && site.attribute::<Vec<i64>>(id, "perm").is_some_and(|p| p == PERM)
        });
        let back = back.ok_or(Refused::NoMatch)?;
        let out = site.graph().node(back).output(0).ok_or(Refused::NoMatch)?;
        let size = site.shape(old).and_then(|s| s.get(3)?.as_known());
        let size = size.ok_or(Refused::Because("the size of a head is not known".into()))?;
        let attributes = site.node().op().attributes();
        let attributes = attributes.with("q_num_heads", heads[0]).with("kv_num_heads", heads[1]);
        let op = site.op("Attention", &attributes)?;
        let mask = site.node().input(3);
        let flat = site.list(&[0, 0, -1])?;
        let mut inputs = Vec::with_capacity(4);
        for value in rows {
            let reshape = site.op("Reshape", &Attributes::new())?;
            inputs.push(Some(site.add(reshape, &[value, flat])));
        }
        inputs.extend(mask.map(Some));
        let new = site.add_node(op, &inputs, 1)[0];
        let split = site.list(&[0, 0, heads[0], size])?;
        let reshape = site.op("Reshape", &Attributes::new())?;
        let new = site.add(reshape, &[new, split]);
        site.replace(out, new)
    }
}

/// What is transposed to a value of heads.
fn transposed(site: &Site<'_>, value: ValueId) -> Option<ValueId> {
    let id = site.made_by(value, "Transpose")?;
    let perm: Vec<i64> = site.attribute(id, "perm")?;
    site.graph().node(id).input(0).filter(|_| perm == PERM)
}
