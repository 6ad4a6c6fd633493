use crate::{Refused, Rule, Site};
use oxidane_tensor::Tensor;

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
        let convolved = site.input(0)?;
        let conv = site.graph().value(convolved).producer().ok_or(Refused::NoMatch)?;
        if !site.is(conv, "Conv") {
            return Err(Refused::NoMatch);
        }
        if site.attribute::<i64>(normal, "training_mode").unwrap_or(0) != 0 {
            return Err(Refused::because("BatchNormalization is in training mode"));
        }
        if site.sole_user(convolved) != Some(normal) {
            return Err(Refused::because("the result of the convolution is read elsewhere as well"));
        }
        let mut numbers = Vec::with_capacity(4);
        for slot in 1..5 {
            let tensor = site.constant(site.input(slot)?);
            let tensor =
                tensor.ok_or(Refused::Because("a parameter of BatchNormalization is no constant".into()))?;
            numbers.push(tensor.to_f64s().map_err(|e| Refused::because(e.to_string()))?);
        }
        let node = site.graph().node(conv);
        let (x, w, b) = (node.input(0), node.input(1), node.input(2));
        let (Some(x), Some(w)) = (x, w) else { return Err(Refused::NoMatch) };
        let op = node.op().clone();
        let weights = site.constant(w).ok_or(Refused::Because("the weights are no constant".into()))?.clone();
        let channels = weights.shape().first().copied().unwrap_or(0);
        let mut bias = match b {
            None => vec![0.0; channels],
            Some(b) => {
                let tensor = site.constant(b).ok_or(Refused::Because("the bias is no constant".into()))?;
                tensor.to_f64s().map_err(|e| Refused::because(e.to_string()))?
            }
        };
        let [scale, shift, mean, variance] = &numbers[..] else { return Err(Refused::NoMatch) };
        if [scale, shift, mean, variance, &bias].iter().any(|v| v.len() != channels) || channels == 0 {
            return Err(Refused::because("there is not one parameter for each channel"));
        }
        let epsilon = f64::from(site.attribute::<f32>(normal, "epsilon").unwrap_or(1e-5));
        let factors: Vec<f64> = scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
        if factors.iter().any(|f| !f.is_finite()) {
            return Err(Refused::because("a variance is negative"));
        }
        for (c, value) in bias.iter_mut().enumerate() {
            *value = (*value - mean[c]) * factors[c] + shift[c];
        }
        let (old, made) = (weights.byte_len(), weights.dtype().byte_len(channels).unwrap_or(usize::MAX));
        let freed = if site.sole_user(w) == Some(conv) { old } else { 0 };
        let scaled = scale_rows(&weights, &factors)?;
        let bias = Tensor::from_f64s(weights.dtype(), &[channels], &bias)
            .map_err(|e| Refused::because(e.to_string()))?;
        site.grow(old.saturating_add(made), freed.saturating_add(made.saturating_mul(4)))?;
        let (scaled, bias) = (site.tensor(scaled), site.tensor(bias));
        let new = site.add(op, &[x, scaled, bias]);
        site.replace(site.output(0)?, new)
    }
}

/// Each slice along axis 0 times its factor, computed in double precision.
pub(super) fn scale_rows(weights: &Tensor, factors: &[f64]) -> Result<Tensor, Refused> {
    let failed = |e: oxidane_tensor::TensorError| Refused::because(e.to_string());
    let mut values = weights.to_f64s().map_err(failed)?;
    let row = values.len() / factors.len();
    if row > 0 {
        for (slice, factor) in values.chunks_exact_mut(row).zip(factors) {
            slice.iter_mut().for_each(|v| *v *= factor);
        }
    }
    Tensor::from_f64s(weights.dtype(), weights.shape(), &values).map_err(failed)
}
