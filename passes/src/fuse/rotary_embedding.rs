use crate::pattern::{Pattern, any, constant, op};
use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, Dim, Dims, ValueId};
use oxidane_tensor::Tensor;

/// `x * cos(a) + concat(-x2, x1) * sin(a)` with the halves `x1` and `x2` of each head is RotaryEmbedding.
pub(crate) struct RotaryEmbedding {
    pattern: Pattern,
}

impl RotaryEmbedding {
    pub(crate) fn new() -> RotaryEmbedding {
        let x = any("x");
        let slice = |from, to, axes, steps| {
            op("Slice", [any("x"), constant(from), constant(to), constant(axes), constant(steps)])
        };
        let second = op("Neg", [slice("from2", "to2", "axes", "steps").named("x2")]);
        let first = slice("from1", "to1", "axes", "steps").named("x1");
        let turned = op("Concat", [second, first]).named("turned");
        RotaryEmbedding { pattern: x * any("cos") + turned * any("sin") }
    }
}

impl Rule for RotaryEmbedding {
    fn name(&self) -> &'static str {
        "rotary_embedding"
    }

    fn doc(&self) -> &'static str {
        "halves of heads turned by cosines and sines become RotaryEmbedding"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let found = self.pattern.find(site)?;
        let x = found.value("x")?;
        let shape = site.shape(x).map(Dims::from_slice).filter(|s| s.len() == 4).ok_or(Refused::NoMatch)?;
        let size = shape[3].as_known().ok_or(Refused::Because("the size of a head is not known".into()))?;
        let ints = |name| found.value(name).and_then(|v| site.known_ints(v).ok_or(Refused::NoMatch));
        let ends = |values: Vec<i64>| values.first().map(|&v| v.min(size));
        let halves = size % 2 == 0
            && ints("axes")?.iter().all(|&a| a == 3 || a == -1)
            && ints("steps")?.iter().all(|&s| s == 1)
            && (ends(ints("from1")?), ends(ints("to1")?)) == (Some(0), Some(size / 2))
            && (ends(ints("from2")?), ends(ints("to2")?)) == (Some(size / 2), Some(size));
        let axis = site.attribute::<i64>(found.node(site, "turned")?, "axis");
        if !halves || !matches!(axis, Some(3 | -1)) {
            return Err(Refused::because("it does not turn the halves of each head"));
        }
        let (cos, sin) =
            (angles(site, found.value("cos")?, "Cos")?, angles(site, found.value("sin")?, "Sin")?);
        if cos != sin {
            return Err(Refused::because("cosines and sines are of different angles"));
        }
        let of = site.shape(cos).map(Dims::from_slice).filter(|s| s.len() == 3).ok_or(Refused::NoMatch)?;
        if of[1] != shape[2] || of[2] != Dim::known(size / 2) {
            return Err(Refused::because("the angles are not one for each place and pair"));
        }
        let angles = if of[0] == shape[0] {
            cos
        } else if of[0] == Dim::known(1) {
            spread(site, cos, x)?
        } else {
            return Err(Refused::because("the angles are not known to be of as many batches"));
        };
        let (cos, sin) = (site.op("Cos", &Attributes::new())?, site.op("Sin", &Attributes::new())?);
        let (cos, sin) = (site.add(cos, &[angles]), site.add(sin, &[angles]));
        let rotary = site.op("RotaryEmbedding", &Attributes::new())?;
        let new = site.add(rotary, &[x, cos, sin]);
        site.replace(found.root(), new)
    }
}

/// The angles of one half where a value is their cosine (or sine), twice side by side, the same for all heads.
fn angles(site: &Site<'_>, value: ValueId, function: &str) -> Result<ValueId, Refused> {
    let made_by = |v: ValueId, names: &[&str]| {
        let id = site.graph().value(v).producer().filter(|&id| names.iter().any(|name| site.is(id, name)))?;
        Some((id, site.graph().node(id).input(0)?))
    };
    let (_, row) = made_by(value, &["Unsqueeze", "Reshape"]).ok_or(Refused::NoMatch)?;
    let (outer, inner) = (site.shape(value), site.shape(row));
    let lifted = match (outer, inner) {
        (Some([a, heads, b, c]), Some([x, y, z])) => [a, b, c] == [x, y, z] && *heads == Dim::known(1),
        _ => false,
    };
    let (_, twice) = made_by(row, &[function]).ok_or(Refused::NoMatch)?;
    let (concat, once) = made_by(twice, &["Concat"]).ok_or(Refused::NoMatch)?;
    let inputs = site.graph().node(concat).inputs();
    let last = matches!(site.attribute::<i64>(concat, "axis"), Some(2 | -1));
    if !lifted || !last || inputs != [Some(once), Some(once)] {
        return Err(Refused::because("the angles of the halves are not the same"));
    }
    Ok(once)
}

/// Angles of one batch for as many as `like` has.
fn spread(site: &mut Site<'_>, angles: ValueId, like: ValueId) -> Result<ValueId, Refused> {
    let shape = site.op("Shape", &Attributes::new().with("start", 0i64).with("end", 1i64))?;
    let batch = site.add(shape, &[like]);
    let ones = Tensor::new(&[2], &[1i64, 1])?;
    let ones = site.tensor(ones);
    let concat = site.op("Concat", &Attributes::new().with("axis", 0i64))?;
    let target = site.add(concat, &[batch, ones]);
    let expand = site.op("Expand", &Attributes::new())?;
    Ok(site.add(expand, &[angles, target]))
}
