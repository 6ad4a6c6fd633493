use crate::{Refused, Rule, Site};
use oxidane_tensor::Tensor;

/// QuantizeLinear of DequantizeLinear with the same scale and zero point gives back the codes.
pub(crate) struct QuantizeOfDequantize;

impl Rule for QuantizeOfDequantize {
    fn name(&self) -> &'static str {
        "quantize_of_dequantize"
    }

    fn doc(&self) -> &'static str {
        "QuantizeLinear of DequantizeLinear with the same scale and zero point gives back the codes"
    }

    fn roots(&self) -> &[&'static str] {
        &["QuantizeLinear"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let value = site.input(0)?;
        let maker = site.graph().value(value).producer().ok_or(Refused::NoMatch)?;
        if !site.is(maker, "DequantizeLinear") {
            return Err(Refused::NoMatch);
        }
        let node = site.graph().node(maker);
        let codes = node.input(0).ok_or(Refused::NoMatch)?;
        let dtype = |v| site.ty(v).and_then(|t| t.dtype());
        let old = site.output(0)?;
        // Whole numbers of 8 bits or fewer, in single precision: rounding cannot miss them.
        let small = |dtype: oxidane_tensor::DType| dtype.is_integer() && dtype.bits() <= 8;
        match (dtype(codes), dtype(old)) {
            (Some(from), Some(to)) if from == to && small(from) => {}
            (Some(_), Some(_)) => return Err(Refused::because("the codes are of other types")),
            _ => return Err(Refused::because("the type of the codes is not known")),
        }
        if dtype(value) != Some(oxidane_tensor::DType::F32) {
            return Err(Refused::because("the numbers in between are not of single precision"));
        }
        let same = |slot: usize| {
            let (a, b) = (node.input(slot), site.node().input(slot));
            let tensor = |v| site.constant(v);
            a == b || a.and_then(tensor).zip(b.and_then(tensor)).is_some_and(|(a, b)| equal(a, b))
        };
        let attribute = |id, name| site.attribute::<i64>(id, name);
        let own = site.id();
        let alike = ["axis", "block_size"].iter().all(|name| attribute(maker, name) == attribute(own, name));
        if !same(1) || !same(2) || !alike {
            return Err(Refused::because("scale or zero point differ"));
        }
        site.replace(old, codes)
    }
}

fn equal(a: &Tensor, b: &Tensor) -> bool {
    a.dtype() == b.dtype()
        && a.shape() == b.shape()
        && a.to_f64s().is_ok_and(|a| b.to_f64s().is_ok_and(|b| a == b))
}
