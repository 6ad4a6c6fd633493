use crate::pattern::{Fusion, Match, any, constant};
use crate::{Refused, Site};
use oxidane_graph::ValueId;
use oxidane_tensor::Tensor;

/// Factors outside of this range may overflow one by one where their product does not.
const MODEST: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// `(x * a) * b` of two numbers is `x * (a * b)`.
pub(crate) fn rule() -> Fusion {
    let pattern = any("x") * constant("a") * constant("b");
    Fusion::new("mul_of_mul", "two constant factors become one", pattern, build)
}

fn build(site: &mut Site<'_>, found: &Match) -> Result<ValueId, Refused> {
    let (x, a, b) = (found.value("x")?, found.value("a")?, found.value("b")?);
    let (Some(first), Some(second)) = (site.constant(a), site.constant(b)) else {
        return Err(Refused::NoMatch);
    };
    if first.len() != 1
        || second.len() != 1
        || first.rank().max(second.rank()) > site.shape(x).map_or(0, <[_]>::len)
    {
        return Err(Refused::because("a factor is no single number"));
    }
    if !first.dtype().is_float() {
        return Err(Refused::because("integers may overflow"));
    }
    let (dtype, shape) = (first.dtype(), first.shape().to_vec());
    let (Some(p), Some(q)) = (site.scalar(a), site.scalar(b)) else { return Err(Refused::NoMatch) };
    if ![p, q, p * q].iter().all(|f| MODEST.contains(&f.abs())) {
        return Err(Refused::because("a factor is very large or very small"));
    }
    let product = Tensor::from_f64s(dtype, &shape, &[p * q])?;
    let product = site.tensor(product);
    let mul = site.node().op().clone();
    Ok(site.add(mul, &[x, product]))
}
