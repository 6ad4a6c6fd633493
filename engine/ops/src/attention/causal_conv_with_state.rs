//! [CausalConvWithState](https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html): a convolution of each
//! channel over what came before, carried on from call to call.

use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Type, Unknown, kernel,
    shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// Each channel convolved with its own kernel over the state and the input, and the next state.
    pub struct CausalConvWithState {
        /// `none`, or `silu` (also called `swish`).
        activation: String = "none".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("weight", types::FLOAT, "T"),
        Param::optional("bias", types::FLOAT, "T"),
        Param::optional("past_state", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T"), Param::one("present_state", types::FLOAT, "T")],
};

/// The room of CausalConvWithState.
pub static ROOM: Room = Room {
    domain: "",
    name: "CausalConvWithState",
    since: &[27],
    signature: &SIGNATURE,
    read: |a| Ok(shared(CausalConvWithState::read(a)?)),
    steps: &[],
    cases,
};

impl CausalConvWithState {
    fn silu(&self) -> Result<bool, OpError> {
        match self.activation.as_str() {
            "none" => Ok(false),
            "silu" | "swish" => Ok(true),
            other => Err(OpError::new(format!("activation is `{other}`, but may be none, silu or swish"))),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let silu = self.silu()?;
        let dtype = run.tensor(0)?.dtype();
        let wide = |t: &Tensor| t.cast(DType::F32, CastRules::default())?.to_dense();
        let (x, w) = (wide(run.tensor(0)?)?, wide(run.tensor(1)?)?);
        let bias = run.try_tensor(2)?.map(wide).transpose()?;
        let past = run.try_tensor(3)?.map(wide).transpose()?;
        let (&[batch, channels, length], &[filters, 1, size]) = (x.shape(), w.shape()) else {
            return Err(OpError::new(format!(
                "input {:?} must be (batch, channels, length) and weight {:?} (channels, 1, size)",
                x.shape(),
                w.shape()
            )));
        };
        let carried = size.checked_sub(1).filter(|_| filters == channels).ok_or_else(|| {
            OpError::new(format!("a weight of {:?} does not fit {channels} channels", w.shape()))
        })?;
        if let Some(b) = &bias
            && b.shape() != [channels]
        {
            return Err(OpError::new(format!("bias is {:?}, but must be [{channels}]", b.shape())));
        }
        let state = [batch, channels, carried];
        if let Some(p) = &past
            && p.shape() != state
        {
            return Err(OpError::new(format!("past_state is {:?}, but must be {state:?}", p.shape())));
        }
        let bias = bias.as_ref().map(|b| b.slice::<f32>()).transpose()?;
        let past = past.as_ref().map(|p| p.slice::<f32>()).transpose()?;
        let mut out = run.allocate(0, DType::F32, &[batch, channels, length])?;
        let mut next = run.allocate(1, DType::F32, &state)?;
        let (x, w) = (x.slice::<f32>()?, w.slice::<f32>()?);
        let mut line = vec![0.0f32; carried.saturating_add(length)];
        let (y, after) = (out.slice_mut::<f32>()?, next.slice_mut::<f32>()?);
        for pair in 0..batch * channels {
            if pair % channels == 0 {
                run.checkpoint()?;
            }
            let channel = pair % channels;
            match past {
                Some(past) => line[..carried].copy_from_slice(&past[pair * carried..][..carried]),
                None => line[..carried].fill(0.0),
            }
            line[carried..].copy_from_slice(&x[pair * length..][..length]);
            after[pair * carried..][..carried].copy_from_slice(&line[length..]);
            let to = &mut y[pair * length..][..length];
            to.fill(bias.map_or(0.0, |b| b[channel]));
            for (k, &factor) in w[channel * size..][..size].iter().enumerate() {
                for (to, &v) in to.iter_mut().zip(&line[k..]) {
                    *to += factor * v;
                }
            }
        }
        let mut out = out.freeze().cast(dtype, CastRules::default())?;
        if silu {
            // Of the sums as their type holds them.
            let mut values = out.cast(DType::F32, CastRules::default())?.into_mut()?;
            values.slice_mut::<f32>()?.iter_mut().for_each(|v| *v /= 1.0 + (-*v).exp());
            out = values.freeze().cast(dtype, CastRules::default())?;
        }
        run.set(0, out);
        run.set(1, next.freeze().cast(dtype, CastRules::default())?);
        Ok(())
    }
}

impl Op for CausalConvWithState {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.silu()?;
        let x = ctx.known_ty(0)?.clone();
        let dtype = ctx.dtype(0)?;
        let carried = match ctx.shape(1) {
            Some(&[_, _, size]) => size - Dim::known(1),
            Some(_) => return Err(Unknown::wrong("weight must have rank 3")),
            None => ctx.unknown_dim(1, 2),
        };
        match x.shape() {
            Some(&[batch, channels, _]) => {
                ctx.set(1, Type::tensor(dtype, [batch, channels, carried]));
            }
            Some(shape) => {
                return Err(Unknown::wrong(format!("input must have rank 3, but has {}", shape.len())));
            }
            None => ctx.set_unranked(1, dtype),
        }
        ctx.set(0, x);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}

fn cases() -> Vec<Case> {
    let op = |a: Attributes| CausalConvWithState::read(&a).expect("attributes of the operator");
    // Values by onnx.reference.
    vec![
        Case::new("plain", op(Attributes::new()))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[3, 1, 3], 2))
            .outputs(2)
            .expect(floats(
                &[2, 3, 4],
                &[
                    0.025463285,
                    0.16035956,
                    0.44940794,
                    0.53776628,
                    0.034194212,
                    -0.11928394,
                    -0.4888095,
                    -0.01943019,
                    0.21422331,
                    -0.49875787,
                    0.18269797,
                    0.069226556,
                    -0.017238608,
                    -0.033402029,
                    -0.010956695,
                    -0.18022177,
                    -0.089164391,
                    -0.30300179,
                    -0.19484206,
                    -0.03792803,
                    0.43349746,
                    0.0029686806,
                    -0.78918481,
                    -0.0065132538,
                ],
            ))
            .expect(floats(
                &[2, 3, 2],
                &[
                    0.94200552,
                    -0.11128157,
                    0.75469738,
                    0.04613436,
                    -0.19171566,
                    0.21084073,
                    -0.12806921,
                    -0.66593003,
                    0.36340994,
                    0.7686491,
                    -0.0082400972,
                    -0.75378221,
                ],
            )),
        Case::new("silu with all", op(Attributes::new().with("activation", "silu".to_owned())))
            .input(noise(&[1, 2, 4], 1))
            .input(noise(&[2, 1, 3], 2))
            .input(noise(&[2], 3))
            .input(noise(&[1, 2, 2], 4))
            .outputs(2)
            .expect(floats(
                &[1, 2, 4],
                &[
                    -0.1548201,
                    -0.18066183,
                    -0.135878,
                    -0.10388465,
                    0.57122558,
                    0.15474448,
                    -0.042166691,
                    0.22646514,
                ],
            ))
            .expect(floats(&[1, 2, 2], &[0.94200552, -0.11128157, 0.75469738, 0.04613436])),
        Case::new("swish short", op(Attributes::new().with("activation", "swish".to_owned())))
            .input(noise(&[1, 2, 1], 1))
            .input(noise(&[2, 1, 4], 2))
            .outputs(2)
            .expect(floats(&[1, 2, 1], &[0.036581364, 0.13127586]))
            .expect(floats(&[1, 2, 3], &[0.0, 0.0, 0.13312314, 0.0, 0.0, 0.49156353])),
        Case::new("float16", op(Attributes::new()))
            .input(noise_of(DType::F16, &[1, 2, 4], 1))
            .input(noise_of(DType::F16, &[2, 1, 2], 2))
            .outputs(2),
    ]
}
