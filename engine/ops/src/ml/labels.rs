//! Class labels: strings or integers.

use oxidane_graph::{OpError, Run};
use oxidane_tensor::{DType, Tensor};
use std::sync::Arc;

/// The labels of the classes, in order.
#[derive(Debug, Clone)]
pub(crate) enum Labels {
    Ints(Vec<i64>),
    Strings(Vec<Arc<str>>),
}

impl Labels {
    /// From the two attributes, of which one has labels.
    ///
    /// # Errors
    /// When neither has.
    pub(crate) fn new(ints: Option<&Vec<i64>>, strings: Option<&Vec<String>>) -> Result<Labels, OpError> {
        match (ints, strings) {
            (_, Some(strings)) if !strings.is_empty() => {
                Ok(Labels::Strings(strings.iter().map(|s| Arc::from(s.as_str())).collect()))
            }
            (Some(ints), _) if !ints.is_empty() => Ok(Labels::Ints(ints.clone())),
            _ => Err(OpError::new("it has no class labels")
                .help("one of the attributes classlabels_ints (or classlabels_int64s) and classlabels_strings is needed")),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Labels::Ints(all) => all.len(),
            Labels::Strings(all) => all.len(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Labels::Ints(_) => DType::I64,
            Labels::Strings(_) => DType::String,
        }
    }

    /// Sets output `output` to the labels of these classes.
    ///
    /// # Errors
    /// When memory is short.
    pub(crate) fn set(&self, run: &mut Run<'_>, output: usize, classes: &[u32]) -> Result<(), OpError> {
        let shape = [classes.len()];
        match self {
            Labels::Ints(all) => run.write::<i64>(output, &shape, |out| {
                out.iter_mut().zip(classes).for_each(|(to, &class)| *to = all[class as usize]);
                Ok(())
            }),
            Labels::Strings(all) => {
                let picked = classes.iter().map(|&class| all[class as usize].clone()).collect();
                run.set(output, Tensor::from_strings(&shape, picked)?);
                Ok(())
            }
        }
    }
}

/// The class of the largest score, the first of equal ones.
pub(crate) fn largest<T: PartialOrd + Copy>(scores: &[T]) -> u32 {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    best as u32
}
