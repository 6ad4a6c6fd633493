//! Recordings as inputs.

use crate::recipe::spec::Sound;
use anyhow::{Context, Result, bail, ensure};
use hound::{SampleFormat, WavReader};
use oxidane::Tensor;
use std::path::Path;

/// Longer recordings, in samples of all channels, are refused.
const MOST_SAMPLES: usize = 1 << 28;

/// A recording, its channels averaged.
pub(crate) struct Recording {
    pub(crate) samples: Vec<f32>,
    pub(crate) rate: usize,
}

impl Recording {
    /// Reads a WAV file.
    ///
    /// # Errors
    /// When it cannot be read or is of a kind that is not known.
    pub(crate) fn open(path: &Path) -> Result<Recording> {
        let place = || path.display().to_string();
        let mut reader = WavReader::open(path).with_context(place)?;
        let spec = reader.spec();
        let channels = usize::from(spec.channels);
        ensure!(channels > 0, "{}: has no channels", path.display());
        ensure!(
            reader.len() as usize <= MOST_SAMPLES,
            "{}: is longer than {MOST_SAMPLES} samples",
            path.display()
        );
        let all: Vec<f32> = match (spec.sample_format, spec.bits_per_sample) {
            (SampleFormat::Float, 32) => {
                reader.samples::<f32>().collect::<Result<_, _>>().with_context(place)?
            }
            (SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
                let full = (1u64 << (bits - 1)) as f32;
                let scaled = reader.samples::<i32>().map(|s| s.map(|s| s as f32 / full));
                scaled.collect::<Result<_, _>>().with_context(place)?
            }
            (format, bits) => bail!("{}: {bits} bits as {format:?} are not supported", path.display()),
        };
        let samples =
            all.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
        Ok(Recording { samples, rate: spec.sample_rate as usize })
    }

    /// How long it lasts.
    pub(crate) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / self.rate.max(1) as f64
    }
}

impl Sound {
    /// The input of each run.
    ///
    /// # Errors
    /// When the recording has another rate, or the windows do not fit the shape.
    pub(crate) fn windows(&self, recording: &Recording) -> Result<Vec<Tensor>> {
        ensure!(
            recording.rate == self.rate.get(),
            "the recording has {} samples a second, but the model expects {}; convert the file to that rate",
            recording.rate,
            self.rate
        );
        let (window, hop) = (self.window.get(), self.hop());
        let width = window.checked_add(self.before);
        let length = recording.samples.len().checked_add(self.lead);
        let (Some(width), Some(length)) = (width, length) else { bail!("lead or before is too large") };
        let count = length.div_ceil(hop).max(1);
        let total = count.checked_mul(width);
        ensure!(
            total.is_some_and(|n| n <= MOST_SAMPLES) && length <= MOST_SAMPLES,
            "{count} windows of {width} samples are too many"
        );
        let sample = |at: Option<usize>| {
            at.and_then(|at| at.checked_sub(self.lead))
                .and_then(|at| recording.samples.get(at))
                .copied()
                .unwrap_or(0.0)
        };
        let one = |i: usize| (0..width).map(move |k| sample((i * hop + k).checked_sub(self.before)));
        if self.together {
            let all: Vec<f32> = (0..count).flat_map(one).collect();
            return Ok(vec![self.tensor(&all)?]);
        }
        (0..count).map(|i| self.tensor(&one(i).collect::<Vec<f32>>())).collect()
    }

    fn tensor(&self, values: &[f32]) -> Result<Tensor> {
        let fixed: Option<usize> = self.shape.iter().filter(|d| **d != -1).try_fold(1usize, |n, &d| {
            usize::try_from(d).ok().filter(|d| *d > 0).and_then(|d| n.checked_mul(d))
        });
        let open = self.shape.iter().filter(|d| **d == -1).count();
        let fits = match (fixed, open) {
            (Some(fixed), 0) => fixed == values.len(),
            (Some(fixed), 1) => values.len().is_multiple_of(fixed),
            _ => false,
        };
        ensure!(fits, "{} samples do not fill the shape {:?}", values.len(), self.shape);
        let rest = values.len() / fixed.unwrap_or(1).max(1);
        let shape: Vec<usize> = self.shape.iter().map(|&d| usize::try_from(d).unwrap_or(rest)).collect();
        self.dtype.tensor(&shape, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(yaml: &str, samples: &[f32]) -> Result<Vec<Vec<f64>>> {
        let sound: Sound = serde_saphyr::from_str(yaml)?;
        let recording = Recording { samples: samples.to_vec(), rate: 8 };
        sound.windows(&recording)?.iter().map(|t| Ok(t.to_f64s()?)).collect()
    }

    #[test]
    fn windows_overlap_and_end_in_zeros() {
        let s = [1.0, 2.0, 3.0, 4.0, 5.0];
        let got = windows("{rate: 8, window: 3, hop: 2, before: 1}", &s).unwrap();
        assert_eq!(got, [[0., 1., 2., 3.], [2., 3., 4., 5.], [4., 5., 0., 0.]]);
        assert_eq!(
            windows("{rate: 8, window: 4, lead: 2}", &s).unwrap(),
            [[0., 0., 1., 2.], [3., 4., 5., 0.]]
        );
        assert_eq!(windows("{rate: 8, window: 2}", &[]).unwrap(), [[0., 0.]]);
        let all = windows("{rate: 8, window: 4, together: true, shape: [-1, 4]}", &s).unwrap();
        assert_eq!(all, [[1., 2., 3., 4., 5., 0., 0., 0.]]);
        let error = windows("{rate: 16, window: 4}", &s).unwrap_err().to_string();
        assert!(error.contains('8') && error.contains("16"), "{error}");
        assert!(windows("{rate: 8, window: 4, shape: [3, -1]}", &s).is_err());
    }
}
