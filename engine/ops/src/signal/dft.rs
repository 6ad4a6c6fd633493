//! [DFT](https://onnx.ai/onnx/operators/onnx__DFT.html): the discrete Fourier transform along an axis.

use super::transform::{Line, number, parts, plan, positive};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, axis_index, kernel, shared,
};
use oxidane_kernels::{Real, fourier::is_smooth};
use oxidane_tensor::{CastRules, DType, Tensor, complex::Complex};

attributes! {
    /// The spectrum of a real (last size 1) or complex (last size 2) signal, or back.
    pub struct DFT {
        inverse: bool = false,
        /// Whether only the first half of a spectrum is given or wanted, the other half being its mirror image.
        onesided: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T1"),
        Param::optional("dft_length", types::INDEX, "T2"),
        Param::optional("axis", types::INT64, ""),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T1")],
};

/// The room of DFT.
pub static ROOM: Room = Room {
    domain: "",
    name: "DFT",
    since: &[17, 20],
    signature: &SIGNATURE,
    read: |a| Ok(shared(DFT::read(a)?)),
    steps: &[Step { to: 20, up: axis_input, down: axis_attribute }],
    cases,
};

/// The axis is an attribute before opset 20, the second one where it is not given.
fn axis_input(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let axis = draft.take::<i64>("axis")?.unwrap_or(1);
    let axis = draft.add_constant(ints(&[], &[axis]));
    draft.set_input(2, Some(axis));
    Ok(())
}

fn axis_attribute(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let axis = match draft.constant_ints(2, "axis")?.as_deref() {
        None => -2,
        Some(&[axis]) => axis,
        Some(other) => return Err(OpError::new(format!("the axis {other:?} is not one number"))),
    };
    draft.drop_input(2);
    draft.attributes.set("axis", axis);
    Ok(())
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |inverse, onesided| DFT { inverse, onesided };
    // numpy.fft on [1, 2, 3, 4, 5].
    let five = || floats(&[1, 5, 1], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let half = [15.0, 0.0, -2.5, 3.440_954_8, -2.5, 0.812_299_24];
    let back = [-2.5, -0.812_299_24, -2.5, -3.440_954_8];
    let mut cases = vec![
        Case::new("forward", op(false, false))
            .input(five())
            .expect(floats(&[1, 5, 2], &[&half[..], &back].concat())),
        Case::new("inverse", op(true, false))
            .input(floats(&[1, 5, 2], &[&half[..], &back].concat()))
            .expect(floats(&[1, 5, 2], &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0, 5.0, 0.0]))
            .tolerance(1e-6),
        Case::new("one side", op(false, true)).input(five()).expect(floats(&[1, 3, 2], &half)),
        Case::new("from one side", op(true, true))
            .input(floats(&[1, 3, 2], &half))
            .input(ints(&[], &[5]))
            .expect(floats(&[1, 5, 1], &[1.0, 2.0, 3.0, 4.0, 5.0]))
            .tolerance(1e-6),
        // numpy.fft.irfft([15, -2.5+3.44i, -2.5+0.81i]): an even length where none is given.
        Case::new("even", op(true, true))
            .input(floats(&[1, 3, 2], &[6.0, 0.0, 1.0, 2.0, -2.0, 5.0]))
            .expect(floats(&[1, 4, 1], &[1.5, 1.0, 0.5, 3.0])),
        // numpy.fft.fft(.., n=3) and n=8.
        Case::new("cut", op(false, false))
            .input(five())
            .input(ints(&[], &[3]))
            .expect(floats(&[1, 3, 2], &[6.0, 0.0, -1.5, 0.866_025_4, -1.5, -0.866_025_4])),
        Case::new("padded", op(false, true)).input(five()).input(ints(&[], &[8])).expect(floats(
            &[1, 5, 2],
            &[15.0, 0.0, -5.414_213_6, -7.242_641, 3.0, 2.0, -2.585_786_4, -1.242_640_7, 3.0, 0.0],
        )),
        // Along the first axis the pairs (1, 3) and (2, 4) are transformed.
        Case::new("axis", op(false, false))
            .input(floats(&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]))
            .absent()
            .input(ints(&[], &[0]))
            .expect(floats(&[2, 2, 2], &[4.0, 0.0, 6.0, 0.0, -2.0, 0.0, -2.0, 0.0])),
        Case::new("prime", op(false, false)).input(noise(&[3, 37, 2], 1)),
    ];
    for (name, dtype) in [("double", DType::F64), ("float16", DType::F16), ("bfloat16", DType::BF16)] {
        cases.push(Case::new(name, op(false, true)).input(noise_of(dtype, &[2, 12, 1], 2)));
    }
    cases
}

impl DFT {
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.tensor(0)?;
        let (dtype, shape) = (input.dtype(), input.shape().to_vec());
        let parts = parts(&shape)?;
        let axis = match run.try_ints(2)?.as_deref() {
            None => -2,
            Some(&[axis]) => axis,
            Some(other) => return Err(OpError::new(format!("the axis {other:?} is not one number"))),
        };
        let axis = signal_axis(axis, shape.len())?;
        if self.onesided && !self.inverse && parts == 2 {
            return Err(OpError::new("a one-sided spectrum needs a real signal, but this one is complex")
                .help("set onesided to 0"));
        }
        let given = shape[axis];
        let len = match positive(run, 1, "dft_length")? {
            Some(len) => len,
            None if self.inverse && self.onesided => given.saturating_sub(1).saturating_mul(2),
            None => given,
        };
        if len == 0 {
            return Err(OpError::new(format!(
                "a signal of shape {shape:?} has nothing to transform along axis {axis}"
            )));
        }
        let real = self.inverse && self.onesided;
        let wanted = if self.onesided && !self.inverse { len / 2 + 1 } else { len };
        let made = if real { 1 } else { 2 };
        let mut target = shape.clone();
        target[axis] = wanted;
        target[shape.len() - 1] = made;
        // Sums grow with the length, and the way there keeps their digits. The way back divides by it: there `f32` is as
        // exact as its input, and gives what NumPy gives. Convolution, for lengths with large prime factors, loses digits.
        match dtype {
            DType::F32 if self.inverse && is_smooth(len) => {
                self.transform::<f32>(run, len, axis, wanted, &target)
            }
            _ => self.transform::<f64>(run, len, axis, wanted, &target),
        }
    }

    /// Transforms the input to `len` elements along the axis, of which `wanted` are kept.
    fn transform<T: Real>(
        &self,
        run: &mut Run<'_>,
        len: usize,
        axis: usize,
        wanted: usize,
        target: &[usize],
    ) -> Result<(), OpError> {
        let input = run.tensor(0)?;
        let (dtype, shape) = (input.dtype(), input.shape().to_vec());
        let (parts, given) = (shape[shape.len() - 1], shape[axis]);
        let made = target[target.len() - 1];
        let real = self.inverse && self.onesided;
        let mut output = run.allocate(0, T::DTYPE, target)?;
        let fourier = plan::<T>(run, len)?;
        let input = input.cast(T::DTYPE, CastRules::default())?.to_dense()?;
        let data = input.slice::<T>()?;
        let inner: usize = shape[axis + 1..shape.len() - 1].iter().product();
        let block = wanted * inner * made;
        if block > 0 && !input.is_empty() {
            let (inverse, onesided) = (self.inverse, self.onesided);
            let used = given.min(if real { len / 2 + 1 } else { len });
            run.pool().for_each_piece(output.slice_mut()?, block, |outer, output| {
                let mut line = Line::new(&fourier);
                for i in 0..inner {
                    line.data.fill(Default::default());
                    for k in 0..used {
                        line.data[k] = number(data, parts, (outer * given + k) * inner + i);
                    }
                    if inverse && onesided {
                        mirror(&mut line.data);
                    }
                    line.transform(&fourier, inverse);
                    for (k, x) in line.data[..wanted].iter().enumerate() {
                        let at = (k * inner + i) * made;
                        output[at] = x.re;
                        if made == 2 {
                            output[at + 1] = x.im;
                        }
                    }
                }
            });
        } else {
            output.slice_mut::<T>()?.fill(T::ZERO);
        }
        set_as(run, output.freeze(), dtype)
    }
}

/// Sets output 0 to a tensor, in another type.
pub(super) fn set_as(run: &mut Run<'_>, output: Tensor, dtype: DType) -> Result<(), OpError> {
    run.set(0, output.cast(dtype, CastRules::default())?);
    Ok(())
}

/// The second half of the spectrum of a real signal from the first; where both meet it is real.
fn mirror<T: Real>(spectrum: &mut [Complex<T>]) {
    let len = spectrum.len();
    spectrum[0].im = T::ZERO;
    if len.is_multiple_of(2) {
        spectrum[len / 2].im = T::ZERO;
    }
    for k in 1..len.div_ceil(2) {
        let x = spectrum[k];
        spectrum[len - k].re = x.re;
        spectrum[len - k].im = x.im.negative();
    }
}

/// The place of an axis that is not the last one, which holds the parts of numbers.
fn signal_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let at = axis_index(axis, rank)?;
    if at + 1 == rank {
        return Err(OpError::new(format!(
            "axis {axis} is the last one, which holds the parts of complex numbers"
        ))
        .help("name an axis of the signal"));
    }
    Ok(at)
}

impl Op for DFT {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(mut dims) = ctx.shape(0).map(oxidane_graph::Dims::from_slice) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        if dims.len() < 2 || dims[dims.len() - 1].as_known().is_some_and(|n| n != 1 && n != 2) {
            return Err(Unknown::wrong(format!(
                "the signal {} needs a last size of 1 (real) or 2 (complex)",
                oxidane_graph::ShownDims(&dims)
            )));
        }
        let last = dims.len() - 1;
        let real = self.inverse && self.onesided;
        let axis = match ctx.has_input(2).then(|| ctx.known_ints(2)) {
            None => Some(signal_axis(-2, dims.len())?),
            Some(Some(axis)) if axis.len() == 1 => Some(signal_axis(axis[0], dims.len())?),
            Some(_) => None,
        };
        dims[last] = Dim::known(if real { 1 } else { 2 });
        let Some(axis) = axis else {
            // Any axis may be the one that changes, if any does.
            if self.onesided || ctx.has_input(1) {
                for (axis, dim) in dims[..last].iter_mut().enumerate() {
                    *dim = ctx.unknown_dim(0, axis);
                }
            }
            ctx.set_tensor(0, dtype, dims);
            return Ok(());
        };
        let len = match ctx.has_input(1).then(|| ctx.ints(1)) {
            None if real => (dims[axis] - Dim::known(1)) * Dim::known(2),
            None => dims[axis],
            Some(Some(ints)) if ints.dims.len() == 1 => ints.dims[0],
            Some(_) => ctx.unknown_dim(0, axis),
        };
        if len.as_known().is_some_and(|n| n < 1) {
            return Err(Unknown::wrong(format!(
                "the length of the transform is {len}, but must be at least 1"
            )));
        }
        dims[axis] = match (self.onesided && !self.inverse, len.is_unknown() && ctx.has_input(1)) {
            (false, _) => len,
            (true, true) => ctx.unknown_dim(0, axis),
            (true, false) => len.floor_div(Dim::known(2)) + Dim::known(1),
        };
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}
