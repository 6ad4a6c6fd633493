//! [LinearAttention](https://onnx.ai/onnx/operators/onnx__LinearAttention.html): a state that each position writes
//! to and reads from.

use crate::{Case, Form, Room, attributes, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// For each position the state decays, takes the product of key and value up, and is read by the query.
    pub struct LinearAttention {
        /// A hint that has no effect on results.
        chunk_size: i64 = 64,
        kv_num_heads: i64,
        q_num_heads: i64,
        /// Factor of the output; 0 for one over the square root of the key's size.
        scale: f32 = 0.0,
        /// `linear`, `gated`, `delta` or `gated_delta`.
        update_rule: String = "gated_delta".to_owned(),
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("query", types::FLOAT, "T"),
        Param::one("key", types::FLOAT, "T"),
        Param::one("value", types::FLOAT, "T"),
        Param::optional("past_state", types::FLOAT, "S"),
        Param::optional("decay", types::FLOAT, "T"),
        Param::optional("beta", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T"), Param::one("present_state", types::FLOAT, "S")],
};

/// The room of LinearAttention.
pub static ROOM: Room = Room {
    domain: "",
    name: "LinearAttention",
    since: &[27],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LinearAttention::read(a)?)),
    steps: &[],
    cases,
};

impl LinearAttention {
    /// Whether the state decays, and whether it takes only what it lacks.
    fn rule(&self) -> Result<(bool, bool), OpError> {
        match self.update_rule.as_str() {
            "linear" => Ok((false, false)),
            "gated" => Ok((true, false)),
            "delta" => Ok((false, true)),
            "gated_delta" => Ok((true, true)),
            other => Err(OpError::new(format!(
                "update_rule is `{other}`, but may be linear, gated, delta or gated_delta"
            ))),
        }
    }

    /// The numbers of heads of queries and of keys.
    fn heads(&self) -> Result<(usize, usize), OpError> {
        let count = |n: i64| usize::try_from(n).ok().filter(|&n| n > 0);
        match (count(self.q_num_heads), count(self.kv_num_heads)) {
            (Some(q), Some(kv)) if q.is_multiple_of(kv) => Ok((q, kv)),
            _ => Err(OpError::new(format!(
                "q_num_heads is {}, which must be a multiple of kv_num_heads, {}",
                self.q_num_heads, self.kv_num_heads
            ))),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (gated, delta) = self.rule()?;
        let (heads, kv_heads) = self.heads()?;
        let dtype = run.tensor(0)?.dtype();
        let wide = |t: &Tensor| t.cast(DType::F32, CastRules::default())?.to_dense();
        let (q, k, v) = (wide(run.tensor(0)?)?, wide(run.tensor(1)?)?, wide(run.tensor(2)?)?);
        let fault = |what: &str| {
            OpError::new(format!(
                "{what}: query, key and value are {:?}, {:?} and {:?} with {heads} and {kv_heads} heads",
                q.shape(),
                k.shape(),
                v.shape()
            ))
        };
        let (&[batch, steps, hq], &[kb, ks, hk], &[vb, vs, hv]) = (q.shape(), k.shape(), v.shape()) else {
            return Err(fault("query, key and value must have rank 3"));
        };
        if (kb, ks, vb, vs) != (batch, steps, batch, steps)
            || !hq.is_multiple_of(heads)
            || !hk.is_multiple_of(kv_heads)
            || !hv.is_multiple_of(kv_heads)
            || hq / heads != hk / kv_heads
        {
            return Err(fault("sizes do not go together"));
        }
        let (size, value_size) = (hq / heads, hv / kv_heads);
        let of_rule = |name: &str, slot: usize, needed: bool| match run.try_tensor(slot)? {
            Some(t) if needed => Ok(Some(wide(t)?)),
            None if !needed => Ok(None),
            found => Err(OpError::new(format!(
                "update_rule `{}` {} the input {name}",
                self.update_rule,
                if found.is_some() { "does not take" } else { "needs" }
            ))),
        };
        let decay = of_rule("decay", 4, gated)?;
        let beta = of_rule("beta", 5, delta)?;
        // How many elements a position has, of those that may stand for several.
        let width = |name: &str, t: &Option<Tensor>, allowed: [usize; 2]| match t.as_ref().map(|t| t.shape())
        {
            None => Ok(0),
            Some(&[b, s, n]) if (b, s) == (batch, steps) && allowed.contains(&n) => Ok(n),
            Some(shape) => {
                Err(fault(&format!("{name} is {shape:?}, but must have {allowed:?} elements a position")))
            }
        };
        let decay_width = width("decay", &decay, [kv_heads, hk])?;
        let beta_width = width("beta", &beta, [kv_heads, 1])?;
        let state_shape = [batch, kv_heads, size, value_size];
        let state_type = run.try_tensor(3)?.map_or(dtype, |t| t.dtype());
        let mut state = run.allocate(1, DType::F32, &state_shape)?;
        match run.try_tensor(3)? {
            None => state.slice_mut::<f32>()?.fill(0.0),
            Some(past) if past.shape() == state_shape => {
                state.slice_mut::<f32>()?.copy_from_slice(wide(past)?.slice::<f32>()?);
            }
            Some(past) => {
                return Err(fault(&format!("past_state is {:?}, but must be {state_shape:?}", past.shape())));
            }
        }
        let scale = if self.scale == 0.0 { 1.0 / (size as f32).sqrt() } else { self.scale };
        let group = heads / kv_heads;
        let row = heads * value_size;
        // Each head writes lines of its own, put in place afterwards.
        let per_pair = steps * group * value_size;
        let mut lines = run.allocate(0, DType::F32, &[batch, kv_heads, steps, group * value_size])?;
        {
            let (q, k, v) = (q.slice::<f32>()?, k.slice::<f32>()?, v.slice::<f32>()?);
            let decay = decay.as_ref().map(|t| t.slice::<f32>()).transpose()?;
            let beta = beta.as_ref().map(|t| t.slice::<f32>()).transpose()?;
            for pair in 0..batch * kv_heads {
                run.checkpoint()?;
                let (b, h) = (pair / kv_heads, pair % kv_heads);
                let state = &mut state.slice_mut::<f32>()?[pair * size * value_size..][..size * value_size];
                let lines = &mut lines.slice_mut::<f32>()?[pair * per_pair..][..per_pair];
                let mut wanted = vec![0.0f32; value_size];
                for t in 0..steps {
                    let at = b * steps + t;
                    let key = &k[at * hk + h * size..][..size];
                    wanted.copy_from_slice(&v[at * hv + h * value_size..][..value_size]);
                    if let Some(decay) = decay {
                        for (i, line) in state.chunks_exact_mut(value_size.max(1)).enumerate() {
                            let own = if decay_width == kv_heads { h } else { h * size + i };
                            let factor = decay[at * decay_width + own].exp();
                            line.iter_mut().for_each(|s| *s *= factor);
                        }
                    }
                    if let Some(beta) = beta {
                        for (&key, line) in key.iter().zip(state.chunks_exact(value_size.max(1))) {
                            for (w, &s) in wanted.iter_mut().zip(line) {
                                *w -= s * key;
                            }
                        }
                        let rate = beta[at * beta_width + if beta_width == 1 { 0 } else { h }];
                        wanted.iter_mut().for_each(|w| *w *= rate);
                    }
                    for (&key, line) in key.iter().zip(state.chunks_exact_mut(value_size.max(1))) {
                        for (s, &w) in line.iter_mut().zip(&wanted) {
                            *s += key * w;
                        }
                    }
                    for g in 0..group {
                        let query = &q[at * hq + (h * group + g) * size..][..size];
                        let to = &mut lines[(t * group + g) * value_size..][..value_size];
                        to.fill(0.0);
                        for (&q, line) in query.iter().zip(state.chunks_exact(value_size.max(1))) {
                            for (y, &s) in to.iter_mut().zip(line) {
                                *y += q * s;
                            }
                        }
                        to.iter_mut().for_each(|y| *y *= scale);
                    }
                }
            }
        }
        let lines = lines.freeze().permute(&[0, 2, 1, 3])?.to_dense()?.reshape(&[batch, steps, row])?;
        run.set(0, lines.cast(dtype, CastRules::default())?);
        run.set(1, state.freeze().cast(state_type, CastRules::default())?);
        Ok(())
    }
}

impl Op for LinearAttention {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        self.rule()?;
        self.heads()?;
        let dtype = ctx.dtype(0)?;
        let state = match ctx.has_input(3) {
            true => ctx.ty(3).and_then(|t| t.dtype()),
            false => Some(dtype),
        };
        let kv = Dim::known(self.kv_num_heads);
        let query = ctx.shape(0).and_then(|s| <[Dim; 3]>::try_from(s).ok());
        let value = ctx.shape(2).and_then(|s| <[Dim; 3]>::try_from(s).ok());
        match (query, value) {
            (Some([batch, steps, hq]), Some([_, _, hv])) => {
                let size = hq.floor_div(Dim::known(self.q_num_heads));
                let value_size = hv.floor_div(kv);
                ctx.set_tensor(0, dtype, [batch, steps, value_size * Dim::known(self.q_num_heads)]);
                if let Some(state) = state {
                    ctx.set_tensor(1, state, [batch, kv, size, value_size]);
                }
            }
            _ => {
                ctx.set_unranked(0, dtype);
                if let Some(state) = state {
                    ctx.set_unranked(1, state);
                }
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}

fn cases() -> Vec<Case> {
    vec![]
}
