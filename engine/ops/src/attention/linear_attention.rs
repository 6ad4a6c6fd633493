//! [LinearAttention](https://onnx.ai/onnx/operators/onnx__LinearAttention.html): a state that each position writes
//! to and reads from.

use crate::{Case, Form, Room, attributes, floats, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
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
                -0.16579817,
                0.076851211,
                0.17090765,
                -0.15362465,
                0.57231098,
                0.48335683,
                -0.19402412,
                0.12335163,
                0.24616826,
                0.34945846,
                -0.10323562,
                -0.29426295,
                -0.072998106,
                -0.27518272,
                -0.11120752,
                -0.026091963,
                -0.11381052,
                -0.060405418,
                -0.065901883,
                0.022279697,
                0.056526709,
                -0.090160377,
                -0.2216894,
                -0.3133252,
                -0.083936371,
                -0.028179426,
                0.33112481,
                -0.10218687,
                -0.029620362,
                0.40710723,
                -0.46639189,
                -0.36802149,
                -0.41208959,
                0.038237058,
                -0.28039885,
                -0.44659036,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                0.016695505,
                0.72871125,
                0.54906607,
                -0.1959039,
                -0.39902529,
                0.48943076,
                0.83782959,
                0.093196101,
                -0.13814959,
                -0.080897585,
                0.52505338,
                0.83938378,
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
                -0.11804177,
                0.009743683,
                0.13914026,
                -0.094943203,
                0.33747458,
                0.26689583,
                -0.12869684,
                -0.00037269294,
                0.10233453,
                0.11467998,
                -0.064457446,
                -0.11363566,
                -0.059916154,
                -0.12222423,
                0.022209272,
                -0.024153475,
                -0.045369837,
                0.0016047992,
                -0.05680199,
                0.016527349,
                0.045504712,
                -0.059106331,
                -0.03354279,
                -0.1348763,
                -0.024323773,
                -0.15125325,
                0.19723068,
                -0.028995892,
                -0.18326284,
                0.240702,
                -0.35437727,
                -0.00061299279,
                -0.0015106201,
                0.034728527,
                -0.045364451,
                -0.13252066,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                0.14141011,
                0.23409823,
                0.072607145,
                -0.14230372,
                -0.58752334,
                0.5919708,
                0.91497242,
                -0.1158886,
                -0.33919117,
                -0.10214689,
                0.12163173,
                0.3553232,
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
                -0.086181685,
                0.033691723,
                0.12867282,
                -0.11921676,
                0.55365872,
                0.46510422,
                -0.13056046,
                0.15156586,
                0.2127009,
                0.39102593,
                -0.084755845,
                -0.31618342,
                -0.020377016,
                -0.29783183,
                -0.14469846,
                -0.00096159877,
                -0.12980862,
                -0.071482562,
                -0.055185422,
                0.027541492,
                0.058675647,
                0.038820729,
                -0.14878511,
                -0.13735829,
                -0.14250694,
                0.1238962,
                0.16936034,
                -0.17537455,
                0.15696816,
                0.21319771,
                -0.5029096,
                0.0087148724,
                0.37647983,
                0.06498307,
                -0.16276877,
                -0.1604145,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                -0.26205388,
                0.92169672,
                1.048449,
                -0.19876963,
                -0.14696857,
                -0.10344082,
                0.94686425,
                -0.31199318,
                -0.91320831,
                -0.13226923,
                0.30879033,
                0.31094563,
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
                -0.083022065,
                0.034276411,
                0.10677794,
                -0.10123958,
                0.44466218,
                0.37265679,
                -0.040214088,
                0.39612511,
                0.32297727,
                0.76297641,
                -0.045360725,
                -0.54291916,
                -0.025059136,
                -0.12570137,
                -0.064244047,
                0.00094689219,
                -0.063544512,
                -0.033323821,
                -0.033870015,
                0.025353298,
                0.045883399,
                -0.0042771283,
                -0.16940358,
                0.011740058,
                -0.12043287,
                0.12188186,
                0.077451095,
                -0.1480421,
                0.15099677,
                0.095557906,
                -0.067390211,
                -0.18021949,
                0.10268562,
                0.063790932,
                -0.17866442,
                -0.081039466,
            ],
        ))
        .expect(floats(
            &[1, 2, 2, 3],
            &[
                -0.19565494,
                0.37908694,
                0.18001275,
                -0.17987427,
                0.098585598,
                0.090705723,
                0.22760728,
                -0.029982522,
                -0.3172619,
                -0.12216992,
                0.33553019,
                0.15551093,
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
            &[
                -0.1471754,
                0.07626,
                -0.04425494,
                -0.040200524,
                0.047834728,
                -0.022979748,
                -0.067952603,
                0.14243381,
            ],
        ))
        .expect(floats(
            &[2, 1, 2, 2],
            &[
                -0.097778708,
                -0.090341978,
                -0.26529232,
                -0.25386515,
                -0.11663988,
                0.24928796,
                -0.1749603,
                0.28817672,
            ],
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
