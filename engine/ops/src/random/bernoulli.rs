//! [Bernoulli](https://onnx.ai/onnx/operators/onnx__Bernoulli.html): ones with the probabilities that are given.

use super::draw::seed_of;
use super::generator::Generator;
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Types, Unknown, ValueId,
    kernel, shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// One with the probability that each element is, otherwise zero.
    pub struct Bernoulli {
        /// The type of the result; that of the input where it is absent.
        dtype: Option<DType>,
        /// Where the numbers start; without it every run has others.
        seed: Option<f32>,
    }
}

const RESULTS: Types = types::NUMERIC.or(types::BOOL);

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("input", types::FLOAT, "T1")],
    outputs: &[Param::one("output", RESULTS, "T2")],
};

/// The room of Bernoulli.
pub static ROOM: Room = Room {
    domain: "",
    name: "Bernoulli",
    since: &[15, 22],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Bernoulli::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |dtype| Bernoulli { dtype, seed: Some(3.0) };
        // Certain events tell the result, whatever the numbers are.
        let mut cases = vec![
            Case::new("certain", op(None))
                .input(floats(&[2, 2], &[0.0, 1.0, 1.0, 0.0]))
                .expect(floats(&[2, 2], &[0.0, 1.0, 1.0, 0.0])),
        ];
        for dtype in [
            DType::Bool,
            DType::U8,
            DType::U16,
            DType::U32,
            DType::U64,
            DType::I8,
            DType::I16,
            DType::I32,
            DType::I64,
            DType::F16,
            DType::BF16,
            DType::F64,
        ] {
            let known = Tensor::new(&[3], &[1i64, 0, 1]).and_then(|t| t.cast(dtype, CastRules::default()));
            cases.push(
                Case::new(dtype.name(), op(Some(dtype)))
                    .input(floats(&[3], &[1.0, 0.0, 1.0]))
                    .expect(known.expect("numbers")),
            );
        }
        for dtype in [DType::F64, DType::F16, DType::BF16] {
            cases.push(Case::new("chances", op(None)).input(noise_of(dtype, &[5], 1)));
        }
        cases
    },
};

impl Op for Bernoulli {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = match self.dtype {
            Some(dtype) => dtype,
            None => ctx.dtype(0)?,
        };
        if !RESULTS.has_tensor(dtype) {
            return Err(Unknown::wrong(format!("attribute `dtype` is {dtype}, which is none of {RESULTS}")));
        }
        match ctx.shape(0).map(Dims::from_slice) {
            Some(shape) => ctx.set_tensor(0, dtype, shape),
            None => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    /// Runtimes draw other numbers from the same seed: folding would put this one's into the model.
    fn is_pure(&self) -> bool {
        false
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let chances = run.tensor(0)?;
            let dtype = op.dtype.unwrap_or(chances.dtype());
            let mut generator = Generator::seeded(seed_of(op.seed));
            let drawn: Vec<bool> =
                chances.to_f64s()?.into_iter().map(|chance| generator.uniform() < chance).collect();
            let out = Tensor::from_bools(chances.shape(), &drawn)?.cast(dtype, CastRules::default())?;
            run.set(0, out);
            Ok(())
        })
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let chances = f.need(0)?;
        let Ok(own) = f.dtype(chances) else { return Ok(None) };
        let mut numbers = plain().with("dtype", DType::F64);
        if let Some(seed) = self.seed {
            numbers.set("seed", seed);
        }
        let drawn = f.with("RandomUniformLike", numbers, &[chances])?;
        let chances = f.cast(chances, DType::F64)?;
        let ones = f.op("Less", &[drawn, chances])?;
        Ok(Some(vec![f.cast(ones, self.dtype.unwrap_or(own))?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpreter;
    use oxidane_pool::Pool;

    #[test]
    fn ones_come_as_often_as_asked() {
        for seed in [None, Some(1.0)] {
            let case =
                Case::new("many", Bernoulli { dtype: None, seed }).input(floats(&[10_000], &[0.3; 10_000]));
            let inputs = case.inputs.clone();
            let outputs = Interpreter::new(Pool::sequential(), 1 << 20).run(&case.graph(), inputs).unwrap();
            let ones: f64 = outputs[0].as_tensor().unwrap().to_f64s().unwrap().iter().sum();
            // Six standard deviations of 46 to either side.
            assert!((2725.0..3275.0).contains(&ones), "{ones} of 10000");
        }
    }
}
