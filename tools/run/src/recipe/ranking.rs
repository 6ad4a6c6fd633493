//! The largest values, and text read from them.

use crate::recipe::Results;
use crate::recipe::spec::{Text, TopK};
use anyhow::{Context, Result};

/// Prints the largest values with their labels.
///
/// # Errors
/// When the output has no numbers or the labels cannot be read.
pub(crate) fn topk(show: &TopK, results: &Results) -> Result<()> {
    let mut values = results.last(&show.output)?.to_f64s()?;
    let labels = show.labels.read(&results.folder, &results.metadata)?;
    if show.softmax {
        softmax(&mut values);
    }
    for index in largest(&values, show.k) {
        println!("{:8.4}  {}", values[index], labels.of(index));
    }
    Ok(())
}

fn softmax(values: &mut [f64]) {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for value in values.iter_mut() {
        *value = (*value - top).exp();
    }
    let sum: f64 = values.iter().sum();
    for value in values {
        *value /= sum;
    }
}

/// The indices of the `k` largest values, largest first, the lower index first where they are equal.
fn largest(values: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // The order is stable; what is not a number comes last.
    let key = |i: usize| if values[i].is_nan() { f64::NEG_INFINITY } else { values[i] };
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    order.truncate(k);
    order
}

/// Prints what a sequence of scores spells.
///
/// # Errors
/// When the output has no last dimension or the labels cannot be read.
pub(crate) fn text(show: &Text, results: &Results) -> Result<()> {
    let output = results.last(&show.output)?;
    let classes =
        output.shape().last().copied().filter(|n| *n > 0).context("the output has no last dimension")?;
    let labels = show.labels.read(&results.folder, &results.metadata)?;
    let values = output.to_f64s()?;
    let text: String = spelled(&values, classes, show.blank).into_iter().map(|i| labels.of(i)).collect();
    println!("{text}");
    Ok(())
}

fn spelled(values: &[f64], classes: usize, blank: usize) -> Vec<usize> {
    let mut best: Vec<usize> = values.chunks_exact(classes).filter_map(largest_of).collect();
    best.dedup();
    best.retain(|i| *i != blank);
    best
}

fn largest_of(values: &[f64]) -> Option<usize> {
    (0..values.len()).reduce(|best, i| if values[i] > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_values() {
        assert_eq!(largest(&[1.0, 3.0, f64::NAN, 3.0, 2.0], 3), [1, 3, 4]);
        assert_eq!(largest(&[1.0], 5), [0]);
    }

    #[test]
    fn reading() {
        let steps = [0, 1, 1, 0, 1, 2, 2].map(|k| [0, 1, 2].map(|i| f64::from(u8::from(i == k))));
        assert_eq!(spelled(&steps.concat(), 3, 0), [1, 1, 2]);
    }

    #[test]
    fn probabilities() {
        let mut values = [1000.0, 1000.0, f64::NEG_INFINITY];
        softmax(&mut values);
        assert_eq!(values, [0.5, 0.5, 0.0]);
    }
}
