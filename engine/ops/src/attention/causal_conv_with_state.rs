//! [CausalConvWithState](https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html): a convolution of each
//! channel over what came before, carried on from call to call.

use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Type,
    Unknown, ValueId, kernel, shared,
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
        // Without channels a line is of any length, and never made.
        let mut line = vec![0.0f32; if batch * channels == 0 { 0 } else { carried.saturating_add(length) }];
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

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let silu = self.silu()?;
        let f = &mut Formula::new(build, node);
        let (x, weight) = (f.need(0)?, f.need(1)?);
        let (Ok(dtype), Ok([channels, _, size])) = (f.dtype(x), f.sizes::<3>(weight)) else {
            return Ok(None);
        };
        let carried = size - 1;
        let all = match f.input(3) {
            Some(past) => f.concat(&[past, x], 2)?,
            None => {
                let pads = f.ints(&[0, 0, carried, 0, 0, 0])?;
                f.op("Pad", &[x, pads])?
            }
        };
        let present = match carried {
            0 => f.slice(all, 2, i64::MAX, i64::MAX)?,
            _ => f.slice(all, 2, -carried, i64::MAX)?,
        };
        let [wide, weight] = [f.widened(all)?, f.widened(weight)?];
        let bias = f.input(2).map(|bias| f.widened(bias)).transpose()?;
        let sums = f.node("Conv", &plain().with("group", channels), &[Some(wide), Some(weight), bias], 1)?[0];
        let mut made = f.cast(sums, dtype)?;
        if silu {
            // Of the sums as their type holds them.
            let wide = f.widened(made)?;
            let gate = f.op("Sigmoid", &[wide])?;
            let gated = f.op("Mul", &[wide, gate])?;
            made = f.cast(gated, dtype)?;
        }
        Ok(Some(vec![made, present]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
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
                    0.025463, 0.16036, 0.449408, 0.537766, 0.034194, -0.119284, -0.488809, -0.01943,
                    0.214223, -0.498758, 0.182698, 0.069227, -0.017239, -0.033402, -0.010957, -0.180222,
                    -0.089164, -0.303002, -0.194842, -0.037928, 0.433497, 0.002969, -0.789185, -0.006513,
                ],
            ))
            .expect(floats(
                &[2, 3, 2],
                &[
                    0.942006, -0.111282, 0.754697, 0.046134, -0.191716, 0.210841, -0.128069, -0.66593,
                    0.36341, 0.768649, -0.00824, -0.753782,
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
                &[-0.15482, -0.180662, -0.135878, -0.103885, 0.571226, 0.154744, -0.042167, 0.226465],
            ))
            .expect(floats(&[1, 2, 2], &[0.942006, -0.111282, 0.754697, 0.046134])),
        Case::new("swish short", op(Attributes::new().with("activation", "swish".to_owned())))
            .input(noise(&[1, 2, 1], 1))
            .input(noise(&[2, 1, 4], 2))
            .outputs(2)
            .expect(floats(&[1, 2, 1], &[0.036581, 0.131276]))
            .expect(floats(&[1, 2, 3], &[0.0, 0.0, 0.133123, 0.0, 0.0, 0.491564])),
        Case::new("float16", op(Attributes::new()))
            .input(noise_of(DType::F16, &[1, 2, 4], 1))
            .input(noise_of(DType::F16, &[2, 1, 2], 2))
            .outputs(2),
    ]
}
