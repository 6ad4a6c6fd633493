//! Products of dynamically quantized matrices take their scales and bias along.

use crate::{Refused, Rule, Site};
use oxidane_graph::{Attributes, NodeId, ValueId};
use oxidane_tensor::DType;
use smallvec::SmallVec;

const DOMAIN: &str = "com.microsoft";
const NAME: &str = "MatMulIntegerToFloat";

/// What goes into MatMulIntegerToFloat.
pub(crate) enum IntegerMatMul {
    Scale,
    Bias,
}

impl Rule for IntegerMatMul {
    fn name(&self) -> &'static str {
        match self {
            IntegerMatMul::Scale => "integer_matmul_scale",
            IntegerMatMul::Bias => "integer_matmul_bias",
        }
    }

    fn doc(&self) -> &'static str {
        match self {
            IntegerMatMul::Scale => {
                "MatMulInteger, cast and multiplied by two scales, becomes MatMulIntegerToFloat"
            }
            IntegerMatMul::Bias => "a bias behind MatMulIntegerToFloat goes into it",
        }
    }

    fn roots(&self) -> &[&'static str] {
        match self {
            IntegerMatMul::Scale => &["Mul"],
            IntegerMatMul::Bias => &["Add"],
        }
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        match self {
            IntegerMatMul::Scale => scale(site),
            IntegerMatMul::Bias => bias(site),
        }
    }
}

/// The node that makes a value for one reader alone, where it is a standard operator of this name.
fn alone(site: &Site<'_>, value: ValueId, name: &str) -> Option<NodeId> {
    site.sole_user(value).and(site.made_by(value, name))
}

fn known(site: &Site<'_>, value: ValueId) -> Result<Vec<Option<i64>>, Refused> {
    let shape = site.shape(value).ok_or(Refused::Because("the shape of a scale is not known".into()))?;
    Ok(shape.iter().map(|d| d.as_known()).collect())
}

fn scale(site: &mut Site<'_>) -> Result<(), Refused> {
    let (x, y) = (site.input(0)?, site.input(1)?);
    let product = |value| {
        let cast = alone(site, value, "Cast")?;
        let sums = site.graph().node(cast).input(0)?;
        alone(site, sums, "MatMulInteger")
    };
    let (id, scales) = match (product(x), product(y)) {
        (Some(id), _) => (id, y),
        (_, Some(id)) => (id, x),
        _ => return Err(Refused::NoMatch),
    };
    let float = |v: ValueId| site.ty(v).and_then(|t| t.dtype()) == Some(DType::F32);
    if !float(site.output(0)?) {
        return Err(Refused::because("the scales are not of single precision"));
    }
    let both = site.made_by(scales, "Mul").ok_or(Refused::NoMatch)?;
    let both = site.graph().node(both);
    let (Some(s), Some(t)) = (both.input(0), both.input(1)) else { return Err(Refused::NoMatch) };
    // The scale of the left side, which comes from its values, and that of the constant right side.
    let (left, right) = match (site.constant(s), site.constant(t)) {
        (None, Some(_)) => (s, t),
        (Some(_), None) => (t, s),
        _ => return Err(Refused::because("no scale or both scales are constant")),
    };
    let node = site.graph().node(id);
    let (a, b) = (node.input(0).ok_or(Refused::NoMatch)?, node.input(1).ok_or(Refused::NoMatch)?);
    let (a_zero, b_zero) = (node.input(2), node.input(3));
    let [_, columns] = *known(site, b)? else {
        return Err(Refused::because("the right side is no matrix"));
    };
    let single = |shape: &[Option<i64>]| matches!(shape, [] | [Some(1)]);
    if !single(&known(site, left)?) {
        return Err(Refused::because("the left side has more than one scale"));
    }
    let of_right = known(site, right)?;
    let by_column = columns.is_some() && of_right == [columns];
    if !single(&of_right) && !by_column {
        return Err(Refused::because("the right side has scales that are not one a column"));
    }
    let op = site.op_of(DOMAIN, NAME, &Attributes::new())?;
    let inputs = [Some(a), Some(b), Some(left), Some(right), a_zero, b_zero];
    let given = inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let new = site.add_node(op, &inputs[..given], 1)[0];
    site.replace(site.output(0)?, new)
}

fn bias(site: &mut Site<'_>) -> Result<(), Refused> {
    let (x, y) = (site.input(0)?, site.input(1)?);
    let product = |value: ValueId| {
        let id = site.graph().value(value).producer()?;
        let op = site.graph().node(id).op();
        (op.domain() == DOMAIN && op.name() == NAME).then_some(id)
    };
    let (id, made, added) = match (product(x), product(y)) {
        (Some(id), None) => (id, x, y),
        (None, Some(id)) => (id, y, x),
        _ => return Err(Refused::NoMatch),
    };
    let tensor = site.constant(added).ok_or(Refused::NoMatch)?;
    let node = site.graph().node(id);
    if node.input(6).is_some() {
        return Err(Refused::because("the product has a bias already"));
    }
    if site.sole_user(made).is_none() {
        return Err(Refused::because("the product is read elsewhere as well"));
    }
    let columns = known(site, node.input(1).ok_or(Refused::NoMatch)?)?.last().copied().flatten();
    if tensor.dtype() != DType::F32 || tensor.rank() != 1 || columns != Some(tensor.len() as i64) {
        return Err(Refused::because("the summand is not one number for each column"));
    }
    let mut inputs: SmallVec<[Option<ValueId>; 7]> = node.inputs().into();
    inputs.resize(6, None);
    inputs.push(Some(added));
    let op = node.op().clone();
    let new = site.add_node(op, &inputs, 1)[0];
    site.replace(site.output(0)?, new)
}
