//! Signals: Fourier transforms, windows, and what spectra are weighed with.

pub mod dft;
pub mod mel_weight_matrix;
pub mod stft;
mod transform;
pub mod window;
