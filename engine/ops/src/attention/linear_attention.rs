//! [LinearAttention](https://onnx.ai/onnx/operators/onnx__LinearAttention.html): a state that each position writes
//! to and reads from.

use crate::control::scan::Scan;
use crate::formula::{Formula, body_input, plain};
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Graph, InferCtx, Kernel, NodeId, NodeSpec, Op, OpError, Param, Run,
    Signature, Type, Unknown, ValueId, kernel, shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};
use std::sync::Arc;

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
            // Without steps or values the state stays, and sizes of which there is no data may be of any number.
            let pairs = if steps == 0 || value_size == 0 { 0 } else { batch * kv_heads };
            for pair in 0..pairs {
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

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let (gated, delta) = self.rule()?;
        let (heads, kv_heads) = self.heads()?;
        let (heads, kv_heads) = (heads as i64, kv_heads as i64);
        let f = &mut Formula::new(build, node);
        let (query, key, value) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let width = |f: &mut Formula<'_, '_>, value| f.build().ty(value)?.shape()?.get(2)?.as_known();
        let (Ok(dtype), Some(hk), Some(hv)) = (f.dtype(query), width(f, key), width(f, value)) else {
            return Ok(None);
        };
        let (size, value_size) = (hk / kv_heads, hv / kv_heads);
        let state_type = match f.input(3) {
            None => dtype,
            Some(past) => f.dtype(past)?,
        };
        let mut state = match f.input(3) {
            Some(past) => f.cast(past, DType::F32)?,
            None => {
                let batch = f.with("Shape", plain().with("end", 1i64), &[query])?;
                let sizes = f.ints(&[kv_heads, size, value_size])?;
                let shape = f.concat(&[batch, sizes], 0)?;
                f.op("ConstantOfShape", &[shape])?
            }
        };
        let mut scanned = vec![query, key, value];
        let each = match f.input(4).filter(|_| gated) {
            None => 1,
            Some(decay) => match width(f, decay) {
                Some(width) => width / kv_heads,
                None => return Ok(None),
            },
        };
        for (slot, needed) in [(4, gated), (5, delta)] {
            if needed {
                scanned.push(f.need(slot)?);
            }
        }
        for value in &mut scanned {
            *value = f.cast(*value, DType::F32)?;
        }

        // One position: the state decays, takes the product of key and value up, and is read by the query.
        let mut body = Graph::new("position");
        let mut input = |name: &str, ty: Type| body_input(&mut body, name, Some(ty));
        let Some(ty) = f.build().ty(state).cloned() else { return Ok(None) };
        let before = input("state", ty)?;
        let mut at = Vec::new();
        for (i, &value) in scanned.iter().enumerate() {
            let Some(&[batch, _, width]) = f.build().ty(value).and_then(Type::shape) else { return Ok(None) };
            at.push(input(&format!("at_{i}"), Type::tensor(DType::F32, [batch, width]))?);
        }
        let mut inside = Build::new(&mut body, "position");
        let g = &mut Formula::free(&mut inside);
        let query = g.reshape(at[0], &[0, kv_heads, heads / kv_heads, size])?;
        let key = g.reshape(at[1], &[0, kv_heads, size, 1])?;
        let mut wanted = g.reshape(at[2], &[0, kv_heads, 1, value_size])?;
        let mut after = before;
        let mut rest = at[3..].iter();
        if gated && let Some(&decay) = rest.next() {
            // One for each head, or for each element of its key.
            let decay = g.reshape(decay, &[0, kv_heads, each, 1])?;
            let factor = g.op("Exp", &[decay])?;
            after = g.op("Mul", &[after, factor])?;
        }
        if delta && let Some(&beta) = rest.next() {
            let line = g.reshape(key, &[0, kv_heads, 1, size])?;
            let held = g.op("MatMul", &[line, after])?;
            let lacking = g.op("Sub", &[wanted, held])?;
            let rate = g.reshape(beta, &[0, -1, 1, 1])?;
            wanted = g.op("Mul", &[lacking, rate])?;
        }
        let more = g.op("Mul", &[key, wanted])?;
        after = g.op("Add", &[after, more])?;
        let read = g.op("MatMul", &[query, after])?;
        let scale = match self.scale {
            0.0 => 1.0 / (size as f32).sqrt(),
            scale => scale,
        };
        let scale = g.scalar(scale.into(), DType::F32)?;
        let read = g.op("Mul", &[read, scale])?;
        let read = g.reshape(read, &[0, heads * value_size])?;
        body.set_outputs(vec![after, read]);

        let count = scanned.len();
        let scan = Scan {
            num_scan_inputs: count as i64,
            scan_input_axes: Some(vec![1; count]),
            scan_input_directions: None,
            scan_output_axes: Some(vec![1]),
            scan_output_directions: None,
        };
        let inputs: Vec<_> = std::iter::once(state).chain(scanned).map(Some).collect();
        state = f.build().graph_mut().add_undefined("")?;
        let output = f.build().graph_mut().add_undefined("")?;
        let spec = NodeSpec::new(Arc::new(scan), &inputs, &[Some(state), Some(output)]);
        f.build().add_spec(NodeSpec { bodies: vec![body], ..spec })?;
        let output = f.with("Cast", plain().with("to", dtype), &[output])?;
        Ok(Some(vec![output, f.with("Cast", plain().with("to", state_type), &[state])?]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| LinearAttention::read(&a).expect("attributes of the operator");
    // Values by onnx.reference.
    vec![
        Case::new(
            "linear",
            op(Attributes::new()
                .with("q_num_heads", 4i64)
                .with("kv_num_heads", 2i64)
                .with("update_rule", "linear".to_owned())),
        )
        .input(noise(&[1, 3, 8], 1))
        .input(noise(&[1, 3, 4], 2))
        .input(noise(&[1, 3, 6], 3))
        .input(noise(&[1, 2, 2, 3], 4))
        .absent()
        .absent()
        .outputs(2)
        .expect(floats(
            &[1, 3, 12],
            &[
                -0.165798, 0.076851, 0.170908, -0.153625, 0.572311, 0.483357, -0.194024, 0.123352, 0.246168,
                0.349458, -0.103236, -0.294263, -0.072998, -0.275183, -0.111208, -0.026092, -0.113811,
                -0.060405, -0.065902, 0.02228, 0.056527, -0.09016, -0.221689, -0.313325, -0.083936,
                -0.028179, 0.331125, -0.102187, -0.02962, 0.407107, -0.466392, -0.368021, -0.41209, 0.038237,
                -0.280399, -0.44659,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                0.016696, 0.728711, 0.549066, -0.195904, -0.399025, 0.489431, 0.83783, 0.093196, -0.13815,
                -0.080898, 0.525053, 0.839384,
            ],
        )),
        Case::new(
            "gated",
            op(Attributes::new()
                .with("q_num_heads", 4i64)
                .with("kv_num_heads", 2i64)
                .with("update_rule", "gated".to_owned())
                .with("scale", 0.5f32)),
        )
        .input(noise(&[1, 3, 8], 1))
        .input(noise(&[1, 3, 4], 2))
        .input(noise(&[1, 3, 6], 3))
        .input(noise(&[1, 2, 2, 3], 4))
        .input(noise(&[1, 3, 4], 5))
        .absent()
        .outputs(2)
        .expect(floats(
            &[1, 3, 12],
            &[
                -0.118042, 0.009744, 0.13914, -0.094943, 0.337475, 0.266896, -0.128697, -0.000373, 0.102335,
                0.11468, -0.064457, -0.113636, -0.059916, -0.122224, 0.022209, -0.024153, -0.04537, 0.001605,
                -0.056802, 0.016527, 0.045505, -0.059106, -0.033543, -0.134876, -0.024324, -0.151253,
                0.197231, -0.028996, -0.183263, 0.240702, -0.354377, -0.000613, -0.001511, 0.034729,
                -0.045364, -0.132521,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                0.14141, 0.234098, 0.072607, -0.142304, -0.587523, 0.591971, 0.914972, -0.115889, -0.339191,
                -0.102147, 0.121632, 0.355323,
            ],
        )),
        Case::new(
            "delta",
            op(Attributes::new()
                .with("q_num_heads", 4i64)
                .with("kv_num_heads", 2i64)
                .with("update_rule", "delta".to_owned())
                .with("chunk_size", 16i64)),
        )
        .input(noise(&[1, 3, 8], 1))
        .input(noise(&[1, 3, 4], 2))
        .input(noise(&[1, 3, 6], 3))
        .input(noise(&[1, 2, 2, 3], 4))
        .absent()
        .input(noise(&[1, 3, 1], 6))
        .outputs(2)
        .expect(floats(
            &[1, 3, 12],
            &[
                -0.086182, 0.033692, 0.128673, -0.119217, 0.553659, 0.465104, -0.13056, 0.151566, 0.212701,
                0.391026, -0.084756, -0.316183, -0.020377, -0.297832, -0.144698, -0.000962, -0.129809,
                -0.071483, -0.055185, 0.027541, 0.058676, 0.038821, -0.148785, -0.137358, -0.142507,
                0.123896, 0.16936, -0.175375, 0.156968, 0.213198, -0.50291, 0.008715, 0.37648, 0.064983,
                -0.162769, -0.160415,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                -0.262054, 0.921697, 1.048449, -0.19877, -0.146969, -0.103441, 0.946864, -0.311993,
                -0.913208, -0.132269, 0.30879, 0.310946,
            ],
        )),
        Case::new(
            "gated delta",
            op(Attributes::new()
                .with("q_num_heads", 4i64)
                .with("kv_num_heads", 2i64)
                .with("update_rule", "gated_delta".to_owned())),
        )
        .input(noise(&[1, 3, 8], 1))
        .input(noise(&[1, 3, 4], 2))
        .input(noise(&[1, 3, 6], 3))
        .input(noise(&[1, 2, 2, 3], 4))
        .input(noise(&[1, 3, 2], 5))
        .input(noise(&[1, 3, 2], 6))
        .outputs(2)
        .expect(floats(
            &[1, 3, 12],
            &[
                -0.083022, 0.034276, 0.106778, -0.10124, 0.444662, 0.372657, -0.040214, 0.396125, 0.322977,
                0.762976, -0.045361, -0.542919, -0.025059, -0.125701, -0.064244, 0.000947, -0.063545,
                -0.033324, -0.03387, 0.025353, 0.045883, -0.004277, -0.169404, 0.01174, -0.120433, 0.121882,
                0.077451, -0.148042, 0.150997, 0.095558, -0.06739, -0.180219, 0.102686, 0.063791, -0.178664,
                -0.081039,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                -0.195655, 0.379087, 0.180013, -0.179874, 0.098586, 0.090706, 0.227607, -0.029983, -0.317262,
                -0.12217, 0.33553, 0.155511,
            ],
        )),
        Case::new(
            "fresh",
            op(Attributes::new()
                .with("q_num_heads", 1i64)
                .with("kv_num_heads", 1i64)
                .with("update_rule", "linear".to_owned())),
        )
        .input(noise(&[2, 2, 2], 1))
        .input(noise(&[2, 2, 2], 2))
        .input(noise(&[2, 2, 2], 3))
        .outputs(2)
        .expect(floats(
            &[2, 2, 2],
            &[-0.147175, 0.07626, -0.044255, -0.040201, 0.047835, -0.02298, -0.067953, 0.142434],
        ))
        .expect(floats(
            &[2, 1, 2, 2],
            &[-0.097779, -0.090342, -0.265292, -0.253865, -0.11664, 0.249288, -0.17496, 0.288177],
        )),
        Case::new(
            "float16",
            op(Attributes::new()
                .with("q_num_heads", 1i64)
                .with("kv_num_heads", 1i64)
                .with("update_rule", "linear".to_owned())),
        )
        .input(noise_of(DType::F16, &[2, 2, 2], 1))
        .input(noise_of(DType::F16, &[2, 2, 2], 2))
        .input(noise_of(DType::F16, &[2, 2, 2], 3))
        .outputs(2),
    ]
}
