//! [Multinomial](https://onnx.ai/onnx/operators/onnx__Multinomial.html): classes drawn by the probabilities that
//! logarithms state.

use super::draw::seed_of;
use super::generator::Generator;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// `sample_size` classes for each row, drawn as often as the exponentials of the row's elements are large.
    pub struct Multinomial {
        /// The type of the result, `int32` or `int64`.
        dtype: DType = DType::I32,
        /// How many to draw from each row.
        sample_size: i64 = 1,
        /// Where the numbers start; without it every run has others.
        seed: Option<f32>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::FLOAT, "T1")],
    outputs: &[Param::one("output", types::INDEX, "T2")],
};

/// The room of Multinomial.
pub static ROOM: Room = Room {
    domain: "",
    name: "Multinomial",
    since: &[7, 22],
    signature: &SIGNATURE,
    read: |a| {
        let op = Multinomial::read(a)?;
        op.samples()?;
        if !types::INDEX.has_tensor(op.dtype) {
            return Err(OpError::new(format!(
                "attribute `dtype` is {}, but must be int32 or int64",
                op.dtype
            )));
        }
        Ok(shared(op))
    },
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |dtype| Multinomial { dtype, sample_size: 3, seed: Some(4.0) };
        let sure = f32::NEG_INFINITY;
        // Certain classes tell the result, whatever the numbers are.
        let mut cases = vec![
            Case::new("certain", op(DType::I64))
                .input(floats(&[2, 3], &[sure, 5.0, sure, sure, sure, -700.0]))
                .expect(ints(&[2, 3], &[1, 1, 1, 2, 2, 2])),
        ];
        for dtype in [DType::F64, DType::F16, DType::BF16] {
            let x = floats(&[1, 2], &[-100.0, 20.0]).cast(dtype, CastRules::default()).expect("floats");
            cases.push(
                Case::new(dtype.name(), op(DType::I32))
                    .input(x)
                    .expect(Tensor::new(&[1, 3], &[1i32; 3]).expect("classes")),
            );
        }
        cases
    },
};

impl Multinomial {
    fn samples(&self) -> Result<usize, OpError> {
        usize::try_from(self.sample_size).map_err(|_| {
            OpError::new(format!("attribute `sample_size` is {}, but may not be negative", self.sample_size))
        })
    }
}

impl Op for Multinomial {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let samples = Dim::from(self.samples()?);
        let batch = match ctx.shape(0) {
            Some(&[batch, _]) => batch,
            Some(other) => {
                return Err(Unknown::wrong(format!("{} is no batch of classes", ShownDims(other))));
            }
            None => ctx.unknown_dim(0, 0),
        };
        ctx.set_tensor(0, self.dtype, [batch, samples]);
        Ok(())
    }

    /// Runtimes draw other numbers from the same seed: folding would put this one's into the model.
    fn is_pure(&self) -> bool {
        false
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        let samples = op.samples()?;
        kernel(move |run| {
            let x = run.tensor(0)?;
            let &[batch, classes] = x.shape() else {
                return Err(OpError::new(format!("{:?} is no batch of classes", x.shape())));
            };
            if classes == 0 {
                return Err(OpError::new("there are no classes to draw from"));
            }
            let logs = x.to_f64s()?;
            let mut generator = Generator::seeded(seed_of(op.seed));
            let mut out = run.allocate(0, DType::I64, &[batch, samples])?;
            let drawn = out.slice_mut::<i64>()?;
            let mut sums = vec![0.0; classes.min(logs.len())];
            for (row, drawn) in logs.chunks_exact(classes).zip(drawn.chunks_exact_mut(samples.max(1))) {
                run.checkpoint()?;
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mut total = 0.0;
                for (sum, log) in sums.iter_mut().zip(row) {
                    total += if *log == largest { 1.0 } else { (log - largest).exp() };
                    *sum = total;
                }
                for class in drawn {
                    let at = generator.uniform() * total;
                    *class = sums.partition_point(|&sum| sum <= at).min(classes - 1) as i64;
                }
            }
            run.set(0, out.freeze().cast(op.dtype, CastRules::default())?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpreter;
    use oxidane_pool::Pool;

    #[test]
    fn classes_come_as_often_as_asked() {
        let op = Multinomial { dtype: DType::I64, sample_size: 10_000, seed: Some(2.0) };
        let logs = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()].map(|l| l + 3.0);
        let case = Case::new("many", op).input(floats(&[1, 3], &logs));
        let outputs =
            Interpreter::new(Pool::sequential(), 1 << 20).run(&case.graph(), case.inputs.clone()).unwrap();
        let drawn = outputs[0].as_tensor().unwrap().to_i64s().unwrap();
        for (class, expected) in [(0, 1000.0), (1, 6000.0), (2, 3000.0)] {
            let count = drawn.iter().filter(|&&c| c == class).count() as f64;
            assert!((count - expected).abs() < 300.0, "class {class}: {count}");
        }
    }
}
