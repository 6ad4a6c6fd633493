//! [MelWeightMatrix](https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html): what makes a mel spectrum of a
//! linear one.

use super::dft::set_as;
use super::window::{check, count};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// A matrix (bins of a one-sided spectrum, bands) whose columns are triangles, equally wide on the mel scale.
    pub struct MelWeightMatrix {
        output_datatype: DType = DType::F32,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("num_mel_bins", types::INDEX, "T1"),
        Param::one("dft_length", types::INDEX, "T1"),
        Param::one("sample_rate", types::INDEX, "T1"),
        Param::one("lower_edge_hertz", types::FLOAT, "T2"),
        Param::one("upper_edge_hertz", types::FLOAT, "T2"),
    ],
    outputs: &[Param::one("output", types::NUMERIC, "T3")],
};

/// The room of MelWeightMatrix.
pub static ROOM: Room = Room {
    domain: "",
    name: "MelWeightMatrix",
    since: &[17],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MelWeightMatrix::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let of = |name, dtype| {
            Case::new(name, MelWeightMatrix { output_datatype: dtype })
                .input(ints(&[], &[8]))
                .input(ints(&[], &[16]))
                .input(ints(&[], &[8192]))
                .input(floats(&[], &[0.0]))
                .input(floats(&[], &[4096.0]))
        };
        // The specification's example.
        let rows = [
            [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            [0.0; 8],
            [0.0; 8],
            [0.0; 8],
        ];
        vec![
            of("bands", DType::F32).expect(floats(&[9, 8], rows.as_flattened())),
            of("double", DType::F64),
            of("float16", DType::F16),
            of("bfloat16", DType::BF16),
            of("int32", DType::I32),
        ]
    },
};

/// The mel scale, and back.
fn mel(hertz: f64) -> f64 {
    2595.0 * (hertz / 700.0).ln_1p() / std::f64::consts::LN_10
}

fn hertz(mel: f64) -> f64 {
    700.0 * (mel / 2595.0 * std::f64::consts::LN_10).exp_m1()
}

impl MelWeightMatrix {
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let bands = count(&run.ints(0)?, "num_mel_bins")?;
        let length = count(&run.ints(1)?, "dft_length")?;
        let rate = count(&run.ints(2)?, "sample_rate")?;
        let edge = |slot: usize, name: &str| -> Result<f64, OpError> {
            match run.tensor(slot)?.to_f64s()?[..] {
                [x] if x.is_finite() && x >= 0.0 => Ok(x),
                [x] => Err(OpError::new(format!("`{name}` is {x}, which is no frequency"))),
                ref many => {
                    Err(OpError::new(format!("`{name}` has {} elements, but must be a scalar", many.len())))
                }
            }
        };
        let (lower, upper) = (edge(3, "lower_edge_hertz")?, edge(4, "upper_edge_hertz")?);
        if rate == 0 || lower > upper {
            return Err(OpError::new(format!(
                "there is no band between {lower} and {upper} hertz at {rate} samples a second"
            )));
        }
        let bins = length / 2 + 1;
        let mut out = run.allocate(0, DType::F64, &[bins, bands])?;
        let weights = out.slice_mut::<f64>()?;
        weights.fill(0.0);
        let low = mel(lower);
        let step = (mel(upper) - low) / (bands as f64 + 2.0);
        // The bin of the spectrum in which the edge `i` of the triangles lies.
        let bin = |i: usize| -> Result<usize, OpError> {
            let at = ((length as f64 + 1.0) * hertz(i as f64 * step + low) / rate as f64).floor();
            if (0.0..=bins as f64).contains(&at) {
                return Ok(at as usize);
            }
            Err(OpError::new(format!(
                "a band ends at bin {at}, but a spectrum of {length} samples has {bins} bins"
            ))
            .help(format!("keep upper_edge_hertz ({upper}) at or below half of sample_rate ({rate})")))
        };
        for band in 0..bands {
            let (left, center, right) = (bin(band)?, bin(band + 1)?, bin(band + 2)?);
            if center >= bins {
                continue;
            }
            if center == left {
                weights[center * bands + band] = 1.0;
            }
            for at in left..=center {
                if center > left {
                    weights[at * bands + band] = (at - left) as f64 / (center - left) as f64;
                }
            }
            for at in center..right.min(bins) {
                weights[at * bands + band] = (right - at) as f64 / (right - center) as f64;
            }
        }
        set_as(run, out.freeze(), self.output_datatype)
    }
}

impl Op for MelWeightMatrix {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        check(self.output_datatype)?;
        let scalar = |slot: usize, axis: usize| match ctx.ints(slot) {
            Some(ints) if ints.dims.len() == 1 => Ok(ints.dims[0]),
            _ => Err(ctx.unknown_dim(0, axis)),
        };
        let bands = scalar(0, 1).unwrap_or_else(|unknown| unknown);
        let bins =
            scalar(1, 0).map_or_else(|unknown| unknown, |n| n.floor_div(Dim::known(2)) + Dim::known(1));
        if [bands, bins].iter().any(|d| d.as_known().is_some_and(|n| n < 0)) {
            return Err(Unknown::wrong("num_mel_bins and dft_length must not be negative"));
        }
        ctx.set_tensor(0, self.output_datatype, [bins, bands]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        check(self.output_datatype)?;
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}
