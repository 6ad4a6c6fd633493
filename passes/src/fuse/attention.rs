use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim, NodeId, ValueId};
use oxidane_tensor::Tensor;

/// `softmax(scale * q k^T + mask) v` is Attention.
///
/// What exporters put in between is understood: the factor on the scores, the queries, the keys or several of them; masks
/// that are added or chosen with Where; the guard against rows without any key; keys and values that are
/// repeated for grouped heads; keys that were transposed in any way; three axes instead of four.
pub(crate) struct Attention;

/// How many nodes are looked through between two products.
const REACH: usize = 8;

/// At or below this a number added to a score makes it vanish, whatever the score.
const ABSENT: f64 = -1e9;

/// What lies between the product of queries and keys and the softmax.
struct Scores {
    /// Queries, and keys transposed.
    product: NodeId,
    scale: f64,
    /// What is added: a value, or a value where a condition is false (or true).
    masks: Vec<Mask>,
    softcap: f64,
    /// The values on the way, which nothing else may read.
    inner: Vec<ValueId>,
}

#[derive(Clone, Copy)]
enum Mask {
    Added(ValueId),
    /// The scores stay where the condition is `kept`; elsewhere this constant stands.
    Chosen {
        condition: ValueId,
        kept: bool,
        other: ValueId,
    },
}

impl Rule for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn doc(&self) -> &'static str {
        "softmax(scale * q k^T + mask) v becomes Attention"
    }

    fn roots(&self) -> &[&'static str] {
        &["MatMul"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (weights, v) = (site.input(0)?, site.input(1)?);
        let mut inner = vec![weights];
        let softmax = softmax(site, weights, &mut inner)?;
        let rank = site.rank(site.output(0)?)?;
        if !(3..=4).contains(&rank) {
            return Err(Refused::because("attention has three or four axes"));
        }
        let axis: i64 = site.attribute(softmax, "axis").unwrap_or(-1);
        if axis != -1 && axis != rank as i64 - 1 {
            return Err(Refused::because("the softmax is not along the keys"));
        }
        let start = site.graph().node(softmax).input(0).ok_or(Refused::NoMatch)?;
        let scores = scores(site, start, inner)?;
        if let Some(value) = scores.inner.iter().find(|&&v| !read_inside(site, v, &scores.inner)) {
            let maker = site.graph().value(*value).producer().map(|id| crate::label(site.graph(), id));
            return Err(Refused::because(format!(
                "the result of {} is read elsewhere as well",
                maker.unwrap_or_default()
            )));
        }
        let product = site.graph().node(scores.product);
        let (Some(q), Some(kt)) = (product.input(0), product.input(1)) else { return Err(Refused::NoMatch) };
        let all = site.shape(product.output(0).ok_or(Refused::NoMatch)?).map(<[_]>::to_vec);
        let all = all.ok_or(Refused::Because("the shape of the scores is not known".into()))?;
        for mask in &scores.masks {
            let mask = match mask {
                Mask::Added(v) => *v,
                Mask::Chosen { condition, .. } => *condition,
            };
            let sizes = site.shape(mask).ok_or(Refused::Because("the rank of a mask is not known".into()))?;
            let lead = all.len().checked_sub(sizes.len());
            let spreads =
                |lead: usize| sizes.iter().zip(&all[lead..]).all(|(&m, &s)| m == Dim::known(1) || m == s);
            if !lead.is_some_and(spreads) {
                let list = |dims: &[Dim]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                return Err(Refused::because(format!(
                    "a mask of shape [{}] is not known to fit scores of [{}]",
                    list(sizes),
                    list(&all)
                )));
            }
        }
        let (q, of_q) = unscaled(site, q);
        let (k, of_k) = keys(site, kt, rank)?;
        let scale = scores.scale * of_q * of_k;
        let (mut k, mut v, mut q) = (k, v, q);
        if rank == 4
            && let (Some(grouped_k), Some(grouped_v)) = (grouped(site, k), grouped(site, v))
        {
            (k, v) = (grouped_k, grouped_v);
        }
        let mask = mask(site, &scores.masks)?;
        if rank == 3 {
            [q, k, v] = [lifted(site, q)?, lifted(site, k)?, lifted(site, v)?];
        }
        let mut attributes = Attributes::new().with("scale", scale as f32);
        if scores.softcap != 0.0 {
            attributes.set("softcap", scores.softcap as f32);
        }
        let op = site.op("Attention", &attributes)?;
        let mut inputs = vec![Some(q), Some(k), Some(v)];
        inputs.extend(mask.map(Some));
        let mut new = site.add_node(op, &inputs, 1)[0];
        if rank == 3 {
            let axes = site.list(&[0])?;
            let squeeze = site.op("Squeeze", &Attributes::new())?;
            new = site.add(squeeze, &[new, axes]);
        }
        site.replace(site.output(0)?, new)
    }
}

/// Whether nothing but the nodes that make the inner values, and the site's node, read one of them.
fn read_inside(site: &Site<'_>, value: ValueId, inner: &[ValueId]) -> bool {
    let v = site.graph().value(value);
    let own = |id: NodeId| {
        id == site.id() || site.graph().node(id).outputs().iter().flatten().any(|o| inner.contains(o))
    };
    !site.graph().is_output(value) && v.uses().iter().all(|u| own(u.node))
}

/// The Softmax behind the weights, through the guard that makes rows of NaN zero.
fn softmax(site: &Site<'_>, weights: ValueId, inner: &mut Vec<ValueId>) -> Result<NodeId, Refused> {
    if let Some(id) = site.made_by(weights, "Softmax") {
        return Ok(id);
    }
    let guard = site.made_by(weights, "Where").ok_or(Refused::NoMatch)?;
    let [Some(condition), Some(zero), Some(value)] = site.graph().node(guard).inputs() else {
        return Err(Refused::NoMatch);
    };
    let (condition, zero, value) = (*condition, *zero, *value);
    let nan = site.made_by(condition, "IsNaN").ok_or(Refused::NoMatch)?;
    if site.graph().node(nan).input(0) != Some(value) || site.scalar(zero) != Some(0.0) {
        return Err(Refused::NoMatch);
    }
    inner.extend([condition, value]);
    site.made_by(value, "Softmax").ok_or(Refused::NoMatch)
}

/// Goes from the softmax back to the product.
fn scores(site: &Site<'_>, start: ValueId, inner: Vec<ValueId>) -> Result<Scores, Refused> {
    let mut scores = Scores { product: site.id(), scale: 1.0, masks: Vec::new(), softcap: 0.0, inner };
    let mut value = start;
    for _ in 0..REACH {
        scores.inner.push(value);
        let id = site.graph().value(value).producer().ok_or(Refused::NoMatch)?;
        let node = site.graph().node(id);
        let input = |slot: usize| node.input(slot).ok_or(Refused::NoMatch);
        match crate::site::standard(node).unwrap_or_default() {
            "MatMul" => {
                scores.product = id;
                return Ok(scores);
            }
            "Add" => {
                let (a, b) = (input(0)?, input(1)?);
                let (on, mask) = if leads_to_product(site, a) { (a, b) } else { (b, a) };
                if scores.scale != 1.0 || scores.softcap != 0.0 {
                    return Err(Refused::because("the scores are scaled behind the mask"));
                }
                scores.masks.push(Mask::Added(mask));
                value = on;
            }
            "Where" => {
                let (condition, a, b) = (input(0)?, input(1)?, input(2)?);
                let kept = leads_to_product(site, a);
                let (on, other) = if kept { (a, b) } else { (b, a) };
                if scores.scale != 1.0 || scores.softcap != 0.0 {
                    return Err(Refused::because("the scores are scaled behind the mask"));
                }
                if !site.scalar(other).is_some_and(|v| v <= ABSENT) {
                    return Err(Refused::because(
                        "what stands for masked scores is no large negative number",
                    ));
                }
                scores.masks.push(Mask::Chosen { condition, kept, other });
                value = on;
            }
            "Mul" | "Div" => {
                if let Some(tanh) = site.made_by(input(0)?, "Tanh") {
                    // cap * tanh(x / cap)
                    let cap = site.scalar(input(1)?).filter(|c| *c > 0.0 && site.is(id, "Mul"));
                    let cap = cap.ok_or(Refused::NoMatch)?;
                    if scores.scale != 1.0 || scores.softcap != 0.0 {
                        return Err(Refused::because("the scores are scaled behind the cap"));
                    }
                    scores.softcap = cap;
                    scores.inner.push(input(0)?);
                    value = site.graph().node(tanh).input(0).ok_or(Refused::NoMatch)?;
                    scores.scale = cap;
                    continue;
                }
                let (on, factor) = scaled(site, id).ok_or(Refused::NoMatch)?;
                scores.scale *= factor;
                value = on;
            }
            _ => return Err(Refused::NoMatch),
        }
    }
    Err(Refused::NoMatch)
}

/// Whether a value comes from a product of two values that are not constant, through scores' arithmetic.
fn leads_to_product(site: &Site<'_>, value: ValueId) -> bool {
    let mut open = vec![value];
    for _ in 0..REACH {
        let Some(value) = open.pop() else { return false };
        let Some(id) = site.graph().value(value).producer() else { continue };
        let node = site.graph().node(id);
        let inputs = || node.inputs().iter().flatten().copied();
        match crate::site::standard(node).unwrap_or_default() {
            "MatMul" => return inputs().all(|v| site.constant(v).is_none()),
            "Add" | "Mul" | "Div" | "Tanh" => open.extend(inputs()),
            "Where" => open.extend(inputs().skip(1)),
            _ => {}
        }
    }
    false
}

/// What a multiplication with, or division by, a single constant is applied to, and the factor.
fn scaled(site: &Site<'_>, id: NodeId) -> Option<(ValueId, f64)> {
    let node = site.graph().node(id);
    let (a, b) = (node.input(0)?, node.input(1)?);
    let number = |v: ValueId, on: ValueId| {
        // A constant of more axes would add axes to the result.
        let rank = site.constant(v)?.rank();
        site.scalar(v).filter(|n| n.is_finite() && *n != 0.0 && rank <= site.shape(on).map_or(0, <[_]>::len))
    };
    match crate::site::standard(node)? {
        "Mul" => number(b, a).map(|n| (a, n)).or_else(|| number(a, b).map(|n| (b, n))),
        "Div" => number(b, a).map(|n| (a, 1.0 / n)),
        _ => None,
    }
}

/// A value without the constant factors on it, and their product.
fn unscaled(site: &Site<'_>, mut value: ValueId) -> (ValueId, f64) {
    let mut scale = 1.0;
    for _ in 0..REACH {
        let maker = site.graph().value(value).producer();
        let Some((on, factor)) = maker.and_then(|id| scaled(site, id)) else { break };
        (value, scale) = (on, scale * factor);
    }
    (value, scale)
}

/// The keys whose last two axes are exchanged in `kt`, and the factor on them.
fn keys(site: &mut Site<'_>, kt: ValueId, rank: usize) -> Result<(ValueId, f64), Refused> {
    let (mut value, mut scale) = unscaled(site, kt);
    // Axes of size 1 in front may have come behind the transposition.
    let mut views = 0;
    if let Some(id) = site.made_by(value, "Reshape")
        && let Some(before) = site.graph().node(id).input(0)
        && let (Some(from), Some(to)) = (site.shape(before), site.shape(value))
        && from.len() + 1 == to.len()
        && to[0] == Dim::known(1)
        && from == &to[1..]
        && site.made_by(before, "Transpose").is_some()
    {
        (value, views) = (before, 1);
    }
    let own = rank - views;
    let mut perm: Vec<i64> = (0..own as i64).collect();
    perm.swap(own - 1, own - 2);
    if let Some(id) = site.made_by(value, "Transpose") {
        let given: Vec<i64> = site.attribute(id, "perm").unwrap_or_else(|| (0..own as i64).rev().collect());
        if given.len() != own {
            return Err(Refused::NoMatch);
        }
        perm = perm.iter().map(|&p| given[p as usize]).collect();
        value = site.graph().node(id).input(0).ok_or(Refused::NoMatch)?;
    }
    if !perm.iter().enumerate().all(|(i, &p)| i as i64 == p) {
        let op = site.op("Transpose", &Attributes::new().with("perm", perm))?;
        value = site.add(op, &[value]);
    }
    let (on, factor) = unscaled(site, value);
    (value, scale) = (on, scale * factor);
    if views == 1 {
        value = lifted(site, value)?;
    }
    Ok((value, scale))
}

/// What keys or values are repeated from for each group of heads.
fn grouped(site: &Site<'_>, value: ValueId) -> Option<ValueId> {
    let reshape = site.made_by(value, "Reshape")?;
    let expanded = site.graph().node(reshape).input(0)?;
    let expand = site.made_by(expanded, "Expand")?;
    let lifted = site.graph().node(expand).input(0)?;
    let unsqueeze = site.graph().value(lifted).producer()?;
    let source = site.graph().node(unsqueeze).input(0)?;
    let is_view = site.is(unsqueeze, "Unsqueeze") || site.is(unsqueeze, "Reshape");
    let (out, wide, before) = (site.shape(value)?, site.shape(expanded)?, site.shape(source)?);
    let ([b, h, s, d], [wb, wk, times, ws, wd], [sb, k, ss, sd]) = (out, wide, before) else { return None };
    let one = Dim::known(1);
    let fits = site.shape(lifted)? == [*sb, *k, one, *ss, *sd]
        && [wb, wk, ws, wd] == [sb, k, ss, sd]
        && [b, s, d] == [sb, ss, sd]
        && h.as_known()? == k.as_known()?.checked_mul(times.as_known()?)?;
    (is_view && fits).then_some(source)
}

/// All that is added to the scores, as one value.
fn mask(site: &mut Site<'_>, masks: &[Mask]) -> Result<Option<ValueId>, Refused> {
    let mut sum: Option<ValueId> = None;
    // The innermost was found last and is added first.
    for &mask in masks.iter().rev() {
        let added = match mask {
            Mask::Added(value) => value,
            Mask::Chosen { condition, kept, other } => {
                let dtype = site.constant(other).ok_or(Refused::NoMatch)?.dtype();
                let zero = Tensor::from_f64s(dtype, &[], &[0.0])?;
                let zero = site.tensor(zero);
                let op = site.op("Where", &Attributes::new())?;
                let (a, b) = if kept { (zero, other) } else { (other, zero) };
                site.add(op, &[condition, a, b])
            }
        };
        sum = Some(match sum {
            None => added,
            Some(sum) => {
                let add = site.op("Add", &Attributes::new())?;
                site.add(add, &[sum, added])
            }
        });
    }
    Ok(sum)
}

/// A value with an axis of size 1 in front.
fn lifted(site: &mut Site<'_>, value: ValueId) -> Result<ValueId, Refused> {
    let axes = site.list(&[0])?;
    let op = site.op("Unsqueeze", &Attributes::new())?;
    Ok(site.add(op, &[value, axes]))
}
