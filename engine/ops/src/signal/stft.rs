//! [STFT](https://onnx.ai/onnx/operators/onnx__STFT.html): the spectra of frames that slide over a signal.

use super::dft::set_as;
use super::transform::{Line, number, parts, plan, positive};
use crate::{Case, Form, Room, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Run, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// The spectrum of each frame of a signal (batch, samples, 1 or 2), weighed by a window.
    pub struct STFT {
        /// Whether only the first half of each spectrum is wanted.
        onesided: bool = true,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("signal", types::FLOAT, "T1"),
        Param::one("frame_step", types::INDEX, "T2"),
        Param::optional("window", types::FLOAT, "T1"),
        Param::optional("frame_length", types::INDEX, "T2"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T1")],
};

/// The room of STFT.
pub static ROOM: Room = Room {
    domain: "",
    name: "STFT",
    since: &[17],
    signature: &SIGNATURE,
    read: |a| Ok(shared(STFT::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |onesided| STFT { onesided };
        let six = || floats(&[1, 6, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // numpy.fft.rfft of the frames 1 to 4 and 3 to 6, and of those weighed by 0, 1, 1, 0.5.
        let mut cases = vec![
            Case::new("frames", op(true))
                .input(six())
                .input(ints(&[], &[2]))
                .absent()
                .input(ints(&[], &[4]))
                .expect(floats(
                    &[1, 2, 3, 2],
                    &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0, 18.0, 0.0, -2.0, 2.0, -2.0, 0.0],
                )),
            Case::new("window", op(true))
                .input(six())
                .input(ints(&[], &[2]))
                .input(floats(&[4], &[0.0, 1.0, 1.0, 0.5]))
                .expect(floats(
                    &[1, 2, 3, 2],
                    &[7.0, 0.0, -3.0, 0.0, -1.0, 0.0, 12.0, 0.0, -5.0, -1.0, -2.0, 0.0],
                )),
            Case::new("both sides", op(false))
                .input(six())
                .input(ints(&[], &[3]))
                .absent()
                .input(ints(&[], &[2]))
                .expect(floats(&[1, 2, 2, 2], &[3.0, 0.0, -1.0, 0.0, 9.0, 0.0, -1.0, 0.0])),
            Case::new("complex", op(false))
                .input(noise(&[2, 20, 2], 1))
                .input(ints(&[], &[4]))
                .absent()
                .input(ints(&[], &[7])),
            Case::new("whole", op(true)).input(noise(&[2, 9, 1], 2)).input(ints(&[], &[4])),
        ];
        for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
            cases.push(
                Case::new(name, op(true))
                    .input(noise_of(dtype, &[2, 16, 1], 2))
                    .input(ints(&[], &[4]))
                    .input(noise_of(dtype, &[8], 3)),
            );
        }
        cases
    },
};

impl STFT {
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let signal = run.tensor(0)?;
        let dtype = signal.dtype();
        let [batch, samples, _] = *signal.shape() else {
            return Err(OpError::new(format!(
                "the signal has the shape {:?}, but needs a batch, samples, and 1 or 2 parts",
                signal.shape()
            )));
        };
        let parts = parts(signal.shape())?;
        if self.onesided && parts == 2 {
            return Err(OpError::new("a one-sided spectrum needs a real signal, but this one is complex")
                .help("set onesided to 0"));
        }
        let step = positive(run, 1, "frame_step")?.unwrap_or(1);
        let window = match run.try_tensor(2)? {
            Some(window) if window.rank() != 1 => {
                return Err(OpError::new(format!(
                    "the window has the shape {:?}, but must be one-dimensional",
                    window.shape()
                )));
            }
            Some(window) => Some(window.to_f64s()?),
            None => None,
        };
        let len = match (positive(run, 3, "frame_length")?, &window) {
            (Some(len), Some(window)) if window.len() != len => {
                return Err(OpError::new(format!(
                    "the window has {} elements, but frame_length is {len}",
                    window.len()
                )));
            }
            (Some(len), _) => len,
            (None, Some(window)) => window.len(),
            (None, None) => samples,
        };
        if len == 0 || len > samples {
            return Err(OpError::new(format!("a frame of {len} does not fit a signal of {samples} samples"))
                .help("shorten the window or frame_length, or pad the signal"));
        }
        let frames = (samples - len) / step + 1;
        let wanted = if self.onesided { len / 2 + 1 } else { len };
        let mut output = run.allocate(0, DType::F64, &[batch, frames, wanted, 2])?;
        let fourier = plan::<f64>(run, len)?;
        let signal = signal.cast(DType::F64, CastRules::default())?.to_dense()?;
        let data = signal.slice::<f64>()?;
        run.checkpoint()?;
        // Several frames a task, that share its scratch.
        let each = (4096 / len).max(1);
        run.pool().for_each_piece(output.slice_mut()?, each * wanted * 2, |task, output| {
            let mut line = Line::new(&fourier);
            for (i, output) in output.chunks_mut(wanted * 2).enumerate() {
                let frame = task * each + i;
                let first = frame / frames * samples + frame % frames * step;
                for (k, to) in line.data.iter_mut().enumerate() {
                    let weight = window.as_ref().map_or(1.0, |w| w[k]);
                    let x = number(data, parts, first + k);
                    (to.re, to.im) = (x.re * weight, x.im * weight);
                }
                line.transform(&fourier, false);
                for (to, x) in output.chunks_mut(2).zip(&line.data) {
                    to[0] = x.re;
                    to[1] = x.im;
                }
            }
        });
        let output: Tensor = output.freeze();
        set_as(run, output, dtype)
    }
}

impl Op for STFT {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let signal = ctx.shape(0).map(Dims::from_slice);
        if let Some(signal) = &signal
            && signal.len() != 3
        {
            return Err(Unknown::wrong(format!(
                "the signal {} needs a batch, samples, and 1 or 2 parts",
                ShownDims(signal)
            )));
        }
        let one = |ints: oxidane_graph::Ints| (ints.dims.len() == 1).then(|| ints.dims[0]);
        let samples = signal.as_ref().map(|s| s[1]);
        let step = ctx.ints(1).and_then(one);
        let window = ctx.shape(2).and_then(|w| w.first().copied());
        let len = match (ctx.has_input(3).then(|| ctx.ints(3).and_then(one)), ctx.has_input(2)) {
            (Some(Some(len)), _) => Some(len),
            (_, true) => window,
            (Some(None), false) => None,
            (None, false) => samples,
        };
        if step.and_then(Dim::as_known).is_some_and(|n| n < 1) {
            return Err(Unknown::wrong("frame_step must be at least 1"));
        }
        if let (Some(len), Some(samples)) = (len.and_then(Dim::as_known), samples.and_then(Dim::as_known))
            && !(1..=samples).contains(&len)
        {
            return Err(Unknown::wrong(format!(
                "a frame of {len} does not fit a signal of {samples} samples"
            )));
        }
        let frames = match (samples, len, step) {
            (Some(samples), Some(len), _) if samples == len => Dim::known(1),
            (Some(samples), Some(len), Some(step)) => (samples - len).floor_div(step) + Dim::known(1),
            _ => ctx.unknown_dim(0, 1),
        };
        let bins = match len {
            Some(len) if self.onesided => len.floor_div(Dim::known(2)) + Dim::known(1),
            Some(len) => len,
            None => ctx.unknown_dim(0, 2),
        };
        let batch = signal.map_or_else(|| ctx.unknown_dim(0, 0), |s| s[0]);
        ctx.set_tensor(0, dtype, [batch, frames, bins, Dim::known(2)]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}
