use super::convolution::Convolution;
use crate::{Refused, Rule, Site};
use oxidane_tensor::{DType, Tensor};

/// The scale and shift of an inference-mode BatchNormalization go into the weights and bias of the convolution
/// before it.
pub(crate) struct ConvBatchNormalization;

pub(crate) fn rule() -> ConvBatchNormalization {
    ConvBatchNormalization
}

impl Rule for ConvBatchNormalization {
    fn name(&self) -> &'static str {
        "conv_batch_normalization"
    }

    fn doc(&self) -> &'static str {
        "BatchNormalization goes into the weights of the convolution before it"
    }

    fn roots(&self) -> &[&'static str] {
        &["BatchNormalization"]
    }

    fn apply(&self, site: &mut Site<'_>) -> Result<(), Refused> {
        let normal = site.id();
        let conv = Convolution::before(site, site.input(0)?)?;
        if site.attribute::<i64>(normal, "training_mode").unwrap_or(0) != 0 {
            return Err(Refused::because("BatchNormalization is in training mode"));
        }
        let mut numbers = Vec::with_capacity(4);
        for slot in 1..5 {
            let tensor = site.constant(site.input(slot)?);
            let tensor =
                tensor.ok_or(Refused::Because("a parameter of BatchNormalization is no constant".into()))?;
            numbers.push(tensor.to_f64s()?);
        }
        let channels = conv.channels;
        let mut bias = conv.shift(site)?;
        let [scale, shift, mean, variance] = &numbers[..] else { return Err(Refused::NoMatch) };
        if [scale, shift, mean, variance].iter().any(|v| v.len() != channels) {
            return Err(Refused::because("there is not one parameter for each channel"));
        }
        let epsilon = f64::from(site.attribute::<f32>(normal, "epsilon").unwrap_or(1e-5));
        // Each step rounds as it does in other runtimes that fold the same, so that their results stay what they were.
        let double = conv.weights.dtype() == DType::F64;
        let round = |v: f64| if double { v } else { f64::from(v as f32) };
        let factor = |(s, v): (&f64, &f64)| round(s / round(round(v + round(epsilon)).sqrt()));
        let factors: Vec<f64> = scale.iter().zip(variance).map(factor).collect();
        if factors.iter().any(|f| !f.is_finite()) {
            return Err(Refused::because("a variance is negative"));
        }
        for (c, value) in bias.iter_mut().enumerate() {
            *value = round(round(*value - mean[c]) * factors[c]) + shift[c];
        }
        let weights = &conv.weights;
        let (old, made) = (weights.byte_len(), weights.dtype().byte_len(channels).unwrap_or(usize::MAX));
        let scaled = conv.scaled(&factors)?;
        let bias = Tensor::from_f64s(weights.dtype(), &[channels], &bias)?;
        site.grow(old.saturating_add(made), conv.freed(site).saturating_add(made.saturating_mul(4)))?;
        let (scaled, bias) = (site.tensor(scaled), site.tensor(bias));
        let new = site.add(conv.op, &[conv.x, scaled, bias]);
        site.replace(site.output(0)?, new)
    }
}
