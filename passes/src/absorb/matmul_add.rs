use crate::pattern::{Fusion, Match, any, either, op};
use crate::{Refused, Site};
use oxidane_graph::{Attributes, Dim, ValueId};

/// `MatMul(a, b) + c` of matrices, or a Gemm without third input plus `c`, is `Gemm(a, b, c)`.
pub(crate) fn rule() -> Fusion {
    let product =
        either([op("MatMul", [any("a"), any("b")]), op("Gemm", [any("a"), any("b")]).with("alpha", 1.0f32)]);
    Fusion::new("matmul_add", "MatMul plus a bias becomes Gemm", product.named("product") + any("c"), build)
}

fn build(site: &mut Site<'_>, found: &Match) -> Result<ValueId, Refused> {
    let (a, b, c) = (found.value("a")?, found.value("b")?, found.value("c")?);
    let product = found.value("product")?;
    let rank = |v| site.shape(v).map(<[_]>::len);
    match (rank(a), rank(b)) {
        (Some(2), Some(2)) => {}
        (None, _) | (_, None) => return Err(Refused::because("the rank of a factor is not known")),
        _ => return Err(Refused::because("Gemm takes matrices only")),
    }
    let (Some(sizes), Some(bias)) = (site.shape(product), site.shape(c)) else {
        return Err(Refused::because("the rank of the summand is not known"));
    };
    let one = Dim::known(1);
    let lead = sizes.len().checked_sub(bias.len());
    let spreads = lead.is_some_and(|lead| bias.iter().zip(&sizes[lead..]).all(|(&x, &y)| x == one || x == y));
    if !spreads {
        return Err(Refused::because("the summand does not broadcast to the product"));
    }
    let maker = found.node(site, "product")?;
    let flag = |name| site.attribute::<i64>(maker, name).unwrap_or(0);
    let attributes = Attributes::new()
        .with("alpha", 1.0f32)
        .with("beta", 1.0f32)
        .with("transA", flag("transA"))
        .with("transB", flag("transB"));
    let gemm = site.op("Gemm", &attributes)?;
    if let (Some(ty), Some(signature)) = (site.ty(a), gemm.signature())
        && !signature.input(0).is_some_and(|p| p.types.contains(ty))
    {
        return Err(Refused::because(format!("Gemm does not take {ty}")));
    }
    Ok(site.add(gemm, &[a, b, c]))
}
