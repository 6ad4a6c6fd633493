//! What becomes of scores before they are given out.

use oxidane_graph::OpError;

/// The transforms of the attribute `post_transform`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    /// The transform of a name.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) fn named(name: &str) -> Result<PostTransform, OpError> {
        Ok(match name {
            "NONE" => PostTransform::None,
            "SOFTMAX" => PostTransform::Softmax,
            "LOGISTIC" => PostTransform::Logistic,
            "SOFTMAX_ZERO" => PostTransform::SoftmaxZero,
            "PROBIT" => PostTransform::Probit,
            other => {
                return Err(OpError::new(format!("post_transform is `{other}`"))
                    .help("it may be NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT"));
            }
        })
    }

    /// The transform of a number, as TreeEnsemble has it.
    ///
    /// # Errors
    /// When there is none of this number.
    pub(crate) fn numbered(number: i64) -> Result<PostTransform, OpError> {
        use PostTransform::*;
        let all = [None, Softmax, Logistic, SoftmaxZero, Probit];
        let known = usize::try_from(number).ok().and_then(|i| all.get(i).copied());
        known.ok_or_else(|| {
            OpError::new(format!("post_transform is {number}")).help("it may be a number from 0 to 4")
        })
    }

    /// Transforms the scores of a row. A single score is what it is, unless the transform is PROBIT.
    pub(crate) fn apply(self, scores: &mut [f32]) {
        match self {
            PostTransform::Probit => scores.iter_mut().for_each(|s| *s = probit(*s)),
            _ if scores.len() < 2 => {}
            PostTransform::None => {}
            PostTransform::Logistic => scores.iter_mut().for_each(|s| *s = logistic(*s)),
            PostTransform::Softmax => softmax(scores, false),
            PostTransform::SoftmaxZero => softmax(scores, true),
        }
    }

    /// The scores of two classes from that of the second. A score that is a `share` of 1 leaves the rest for the
    /// first class; otherwise the first class has the opposite.
    pub(crate) fn two(self, score: f32, share: bool) -> [f32; 2] {
        match self {
            PostTransform::Logistic => [logistic(-score), logistic(score)],
            PostTransform::Probit => [-probit(score), probit(score)],
            _ if share => [1.0 - score, score],
            _ => [-score, score],
        }
    }
}

/// `1 / (1 + e^-x)`.
pub(crate) fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - v } else { v }
}

/// The quantile function of the normal distribution, by Winitzki's approximation of the inverse error function.
fn probit(x: f32) -> f32 {
    // The constants of ONNX Runtime: pi is rounded to six digits.
    #[allow(clippy::approx_constant, reason = "results are to be those of ONNX Runtime")]
    const PI: f32 = 3.14159;
    const A: f32 = 0.147;
    let y = 2.0 * x - 1.0;
    let log = ((1.0 - y) * (1.0 + y)).ln();
    let v = 2.0 / (PI * A) + 0.5 * log;
    let root = (-v + (v * v - log / A).sqrt()).sqrt();
    std::f32::consts::SQRT_2 * if y < 0.0 { -root } else { root }
}

/// Softmax; where `zeros`, scores of (almost) zero take no part and stay.
fn softmax(scores: &mut [f32], zeros: bool) {
    let largest = scores.iter().fold(f32::MIN, |m, &s| if s > m { s } else { m });
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if zeros && score.abs() <= 1e-7 {
            *score *= (-largest).exp();
        } else {
            *score = (*score - largest).exp();
            sum += *score;
        }
    }
    scores.iter_mut().for_each(|s| *s /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f32], b: &[f32]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-6), "{a:?} is not {b:?}");
    }

    fn of(transform: PostTransform, mut scores: Vec<f32>) -> Vec<f32> {
        transform.apply(&mut scores);
        scores
    }

    /// ONNX Runtime's results.
    #[test]
    fn as_onnx_runtime() {
        close(&of(PostTransform::Logistic, vec![0.2, 0.0]), &[0.549_833_95, 0.5]);
        close(&of(PostTransform::Softmax, vec![0.0, -0.7]), &[0.668_187_74, 0.331_812_2]);
        close(&of(PostTransform::SoftmaxZero, vec![0.0, -0.7]), &[0.0, 1.0]);
        close(&of(PostTransform::Probit, vec![0.2, 0.7]), &[-0.841_756_1, 0.524_445_9]);
        close(&of(PostTransform::Softmax, vec![0.2]), &[0.2]);
        close(&PostTransform::Logistic.two(0.2, true), &[0.450_166_05, 0.549_833_95]);
        close(&PostTransform::Softmax.two(0.2, true), &[0.8, 0.2]);
        close(&PostTransform::None.two(0.2, false), &[-0.2, 0.2]);
    }
}
