use crate::{Refused, Rule, Site};
use oxidane_graph::Dim;
use oxidane_tensor::Tensor;

/// A bias that is added behind the Reshape of a Gemm goes into the Gemm, where the Reshape keeps the last axis.
pub(crate) struct GemmBias;

impl Rule for GemmBias {
    fn name(&self) -> &'static str {
        "gemm_bias"
    }

    fn doc(&self) -> &'static str {
        "a bias behind the Reshape of a Gemm goes into the Gemm"
    }

    fn roots(&self) -> &[&'static str] {
        &["Add"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let (a, b) = (site.input(0)?, site.input(1)?);
        let (shaped, bias) = match (site.constant(a), site.constant(b)) {
            (None, Some(_)) => (a, b),
            (Some(_), None) => (b, a),
            _ => return Err(Refused::NoMatch),
        };
        let reshape = site.made_by(shaped, "Reshape").ok_or(Refused::NoMatch)?;
        let product = site.graph().node(reshape).input(0).ok_or(Refused::NoMatch)?;
        let gemm = site.made_by(product, "Gemm").ok_or(Refused::NoMatch)?;
        let node = site.graph().node(gemm);
        if node.input(2).is_some() {
            return Err(Refused::because("the Gemm has a bias already"));
        }
        if site.sole_user(shaped).is_none() || site.sole_user(product).is_none() {
            return Err(Refused::because("the result of the Gemm is read elsewhere as well"));
        }
        let (Some(before), Some(after)) = (site.shape(product), site.shape(shaped)) else {
            return Err(Refused::because("a shape is not known"));
        };
        let (Some(columns), rank) = (before.get(1).copied(), after.len()) else {
            return Err(Refused::NoMatch);
        };
        let tensor = site.constant(bias).ok_or(Refused::NoMatch)?;
        let length = tensor.shape().last().copied().unwrap_or(0);
        let row = tensor.rank() <= rank && tensor.len() == length && columns == Dim::known(length as i64);
        if !row || after.last() != Some(&columns) {
            return Err(Refused::because("the summand is not one number for each column"));
        }
        let row: Tensor = tensor.reshape(&[length])?;
        let (inputs, op) = ([node.input(0), node.input(1)], node.op().clone());
        let [Some(x), Some(w)] = inputs else { return Err(Refused::NoMatch) };
        let beta = site.op("Gemm", &op.attributes().with("beta", 1.0f32))?;
        let (shape, target) = (site.graph().node(reshape).op().clone(), site.graph().node(reshape).input(1));
        let target = target.ok_or(Refused::NoMatch)?;
        let row = site.tensor(row);
        let sum = site.add(beta, &[x, w, row]);
        let new = site.add(shape, &[sum, target]);
        site.replace(site.output(0)?, new)
    }
}
