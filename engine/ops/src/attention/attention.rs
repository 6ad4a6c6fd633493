//! [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html): scaled dot-product attention with a cache.

use super::layout::{Layout, cat, compute};
use crate::{Case, Form, Room, Step, attributes, bools, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel,
    shared,
};
use oxidane_kernels::attention::{self as loops, Bias, Compute, Scores, Span};
use oxidane_tensor::{CastRules, DType, Tensor, TensorMut, element_count};

attributes! {
    /// `softmax(Q K^T * scale + mask) V` for each head.
    pub struct Attention {
        /// Whether a query sees no key behind its own place.
        is_causal: bool = false,
        /// For inputs of rank 3.
        kv_num_heads: Option<i64>,
        /// How many keys before its own place a query sees; -1 for all.
        left_window_size: i64 = -1,
        /// For inputs of rank 3.
        q_num_heads: Option<i64>,
        /// What output 3 is: products, capped, masked, or probabilities.
        qk_matmul_output_mode: i64 = 0,
        /// How many keys behind its own place a query sees; -1 for all.
        right_window_size: i64 = -1,
        /// One over the square root of the head's size where it is absent.
        scale: Option<f32>,
        softcap: f32 = 0.0,
        softmax_precision: Option<DType>,
    }
}

impl Default for Attention {
    fn default() -> Attention {
        Attention {
            is_causal: false,
            kv_num_heads: None,
            left_window_size: -1,
            q_num_heads: None,
            qk_matmul_output_mode: 0,
            right_window_size: -1,
            scale: None,
            softcap: 0.0,
            softmax_precision: None,
        }
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("Q", types::FLOAT, "T1"),
        Param::one("K", types::FLOAT, "T1"),
        Param::one("V", types::FLOAT, "T2"),
        Param::optional("attn_mask", types::NUMERIC.or(types::BOOL), "U"),
        Param::optional("past_key", types::FLOAT, "T1"),
        Param::optional("past_value", types::FLOAT, "T2"),
        Param::optional("nonpad_kv_seqlen", types::INT64, ""),
    ],
    outputs: &[
        Param::one("Y", types::FLOAT, "T1"),
        Param::optional("present_key", types::FLOAT, "T1"),
        Param::optional("present_value", types::FLOAT, "T2"),
        Param::optional("qk_matmul_output", types::FLOAT, "T1"),
    ],
};

/// The room of Attention.
pub static ROOM: Room = Room {
    domain: "",
    name: "Attention",
    since: &[23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Attention::read(a)?)),
    steps: &[
        Step {
            to: 24,
            up: |_| Ok(()),
            down: |d| match d.input(6) {
                None => Ok(()),
                Some(_) => Err(OpError::new("input 6 (`nonpad_kv_seqlen`) does not exist in this opset")
                    .help("export to opset 24 or later")),
            },
        },
        Step {
            to: 25,
            up: |d| {
                // Rank 4 says the heads itself; the newest form wants no second word on it.
                if d.rank(0) == Some(4) {
                    d.attributes.take("q_num_heads");
                    d.attributes.take("kv_num_heads");
                }
                Ok(())
            },
            down: |d| {
                d.drop_default("left_window_size", -1i64)?;
                d.drop_default("right_window_size", -1i64)
            },
        },
    ],
    cases,
};

impl Attention {
    /// What output 3 shows.
    fn shown(&self) -> Result<Scores, OpError> {
        Ok(match self.qk_matmul_output_mode {
            0 => Scores::Products,
            1 => Scores::Capped,
            2 => Scores::Masked,
            3 => Scores::Probabilities,
            other => {
                return Err(OpError::new(format!("qk_matmul_output_mode is {other}, but may be 0 to 3")));
            }
        })
    }

    /// The keys that each batch's queries see; `valid` counts those of each batch where a cache outside holds more.
    fn spans(
        &self,
        (batches, queries, keys): (usize, usize, usize),
        past: Option<usize>,
        valid: Option<&[i64]>,
    ) -> Result<Vec<Span>, OpError> {
        if let Some(valid) = valid
            && valid.len() != batches
        {
            return Err(OpError::new(format!(
                "nonpad_kv_seqlen has {} elements for {batches} batches",
                valid.len()
            )));
        }
        let window = |name: &str, size: i64| match size {
            -1 => Ok(None),
            0.. => Ok(Some(size)),
            _ => Err(OpError::new(format!("{name} is {size}, but must be -1 or more"))),
        };
        let left = window("left_window_size", self.left_window_size)?;
        let right = window("right_window_size", self.right_window_size)?;
        let behind = [self.is_causal.then_some(0), right].into_iter().flatten().min();
        let span = |b: usize| {
            let count = valid.map(|v| v[b]);
            let size = match count {
                None => keys,
                Some(count) => usize::try_from(count).ok().filter(|&n| n <= keys).ok_or_else(|| {
                    OpError::new(format!("nonpad_kv_seqlen[{b}] is {count}, but there are {keys} keys"))
                })?,
            };
            let offset = match (past, count) {
                (Some(past), _) => past as i64,
                (None, Some(count)) => count - queries as i64,
                (None, None) => 0,
            };
            Ok(Span {
                first: left.map(|l| offset.saturating_sub(l)),
                end: behind.map(|r| offset.saturating_add(r).saturating_add(1)),
                valid: size,
            })
        };
        (0..batches).map(span).collect()
    }

    fn run<T: Compute>(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (q, k, v) = (run.tensor(0)?.clone(), run.tensor(1)?.clone(), run.tensor(2)?.clone());
        let dtype = q.dtype();
        let flat = q.rank() == 3;
        let ql = Layout::of("Q", &q, self.q_num_heads)?;
        let mut kl = Layout::of("K", &k, self.kv_num_heads)?;
        let mut vl = Layout::of("V", &v, self.kv_num_heads)?;
        if q.rank() != k.rank() || k.rank() != v.rank() {
            return Err(OpError::new(format!(
                "Q, K and V must all be of rank 3 or all of rank 4, but have ranks {}, {} and {}",
                q.rank(),
                k.rank(),
                v.rank()
            )));
        }
        if ql.batch != kl.batch || kl.batch != vl.batch || kl.heads != vl.heads || kl.rows != vl.rows {
            return Err(OpError::new(format!(
                "the shapes {:?}, {:?} and {:?} of Q, K and V do not go together",
                q.shape(),
                k.shape(),
                v.shape()
            )));
        }
        if ql.size != kl.size {
            return Err(OpError::new(format!(
                "the heads of Q have {} elements, but those of K {}",
                ql.size, kl.size
            )));
        }
        let past = match (run.try_tensor(4)?.cloned(), run.try_tensor(5)?.cloned()) {
            (None, None) => None,
            (Some(key), Some(value)) => Some((key, value)),
            _ => return Err(OpError::new("past_key and past_value must be given together")),
        };
        let valid = run.try_ints(6)?;
        if past.is_some() && valid.is_some() {
            return Err(OpError::new("nonpad_kv_seqlen cannot be used together with past_key"));
        }
        let (mut k, mut v) = (k, v);
        let mut past_rows = None;
        if let Some((past_key, past_value)) = past {
            k = cat(run, 1, &past_key, &kl.split(&k)?)?;
            v = cat(run, 2, &past_value, &vl.split(&v)?)?;
            kl = Layout::of("present_key", &k, None)?;
            vl = Layout::of("present_value", &v, None)?;
            if kl.rows != vl.rows {
                return Err(OpError::new("past_key and past_value are not equally long"));
            }
            past_rows = Some(past_key.shape()[2]);
        }
        if run.wants(1) {
            run.set(1, kl.split(&k)?.to_dense()?);
        }
        if run.wants(2) {
            run.set(2, vl.split(&v)?.to_dense()?);
        }
        let spans = self.spans((ql.batch, ql.rows, kl.rows), past_rows, valid.as_deref())?;
        let mask = run.try_tensor(3)?.map(|m| mask::<T>(m)).transpose()?;
        let bias = match &mask {
            Some(mask) => Some(bias(mask, [ql.batch, ql.heads, ql.rows, kl.rows])?),
            None => None,
        };
        let scale = f64::from(self.scale.unwrap_or(1.0 / (ql.size as f32).sqrt()));
        let (mut q, mut k, v) = (compute::<T>(&q)?, compute::<T>(&k)?, compute::<T>(&v)?);
        let mut factor = T::of(match self.scale {
            None if size_of::<T>() > 4 => 1.0 / (ql.size as f64).sqrt(),
            _ => scale,
        });
        if matches!(dtype, DType::F16 | DType::BF16) && scale >= 0.0 {
            // Both sides take the root of the scale, each rounded to the narrow type.
            let mut root = [T::of((scale as f32).sqrt().into())];
            loops::scale(&mut root, T::of(1.0), dtype);
            for side in [&mut q, &mut k] {
                let mut scaled = side.clone().into_mut()?;
                loops::scale(scaled.slice_mut::<T>()?, root[0], dtype);
                *side = scaled.freeze();
            }
            factor = T::of(1.0);
        }
        let shape: Vec<usize> = match flat {
            true => vec![ql.batch, ql.rows, element_count(&[ql.heads, vl.size])?],
            false => vec![ql.batch, ql.heads, ql.rows, vl.size],
        };
        let placed = Layout { size: vl.size, ..ql };
        let call = loops::Attention {
            batches: ql.batch,
            heads: ql.heads,
            kv_heads: kl.heads,
            queries: ql.rows,
            keys: kl.rows,
            size: ql.size,
            value_size: vl.size,
            query: ql.heads(q.slice()?),
            key: kl.heads(k.slice()?),
            value: vl.heads(v.slice()?),
            scale: factor,
            cap: T::of(self.softcap.into()),
            bias,
            spans: &spans,
            dtype,
            softmax: self.softmax_precision.unwrap_or(dtype),
            sink: None,
        };
        let mut out = match dtype == T::DTYPE {
            true => run.allocate(0, dtype, &shape)?,
            false => TensorMut::zeroed(T::DTYPE, &shape)?,
        };
        let mut seen = match run.wants(3) {
            true => {
                Some((self.shown()?, run.allocate(3, T::DTYPE, &[ql.batch, ql.heads, ql.rows, kl.rows])?))
            }
            false => None,
        };
        let scores = match &mut seen {
            Some((kind, tensor)) => Some((*kind, tensor.slice_mut::<T>()?)),
            None => None,
        };
        let host = &*run;
        let go_on = || host.checkpoint().is_ok();
        loops::attention(run.pool(), &call, out.slice_mut()?, placed.steps(), scores, &go_on)?;
        run.checkpoint()?;
        run.set(0, out.freeze().cast(dtype, CastRules::default())?);
        if let Some((_, tensor)) = seen {
            run.set(3, tensor.freeze().cast(dtype, CastRules::default())?);
        }
        Ok(())
    }
}

/// A mask as numbers to add.
fn mask<T: Compute>(mask: &Tensor) -> Result<Tensor, OpError> {
    if mask.dtype() != DType::Bool {
        return compute::<T>(mask);
    }
    let numbers = mask.cast(T::DTYPE, CastRules::default())?;
    let mut out = numbers.into_mut()?;
    for v in out.slice_mut::<T>()? {
        *v = if *v == T::of(0.0) { T::of(f64::NEG_INFINITY) } else { T::of(0.0) };
    }
    Ok(out.freeze())
}

/// How a mask is added to scores of these sizes. It may cover fewer keys than there are.
fn bias<T: Compute>(mask: &Tensor, sizes: [usize; 4]) -> Result<Bias<'_, T>, OpError> {
    let shape = mask.shape();
    let fault = || {
        OpError::new(format!("attn_mask of shape {shape:?} does not broadcast to {sizes:?}"))
            .help("its sizes must be 1 or those of batch, heads, queries and keys")
    };
    if shape.len() > 4 {
        return Err(fault());
    }
    let mut steps = [0; 4];
    let mut step = 1;
    for (i, &size) in shape.iter().enumerate().rev() {
        let axis = i + 4 - shape.len();
        if size == sizes[axis] || axis == 3 && size <= sizes[3] {
            steps[axis] = step;
        } else if size != 1 {
            return Err(fault());
        }
        step *= size;
    }
    let keys = match shape.last() {
        Some(&size) => size,
        None => sizes[3],
    };
    Ok(Bias { data: mask.slice()?, steps, keys })
}

impl Op for Attention {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let value_type = ctx.ty(2).and_then(|t| t.dtype());
        let unranked = |ctx: &mut InferCtx<'_>| {
            ctx.set_unranked(0, dtype);
            ctx.set_unranked(1, dtype);
            if let Some(ty) = value_type {
                ctx.set_unranked(2, ty);
            }
            ctx.set_unranked(3, dtype);
        };
        let split = |ctx: &InferCtx<'_>, input: usize, name: &str, heads: Option<i64>| {
            ctx.shape(input).map(Dims::from_slice).map(|shape| dims_of(name, &shape, heads)).transpose()
        };
        let q = split(ctx, 0, "Q", self.q_num_heads)?;
        let k = split(ctx, 1, "K", self.kv_num_heads)?;
        let v = split(ctx, 2, "V", self.kv_num_heads)?;
        let (Some(q), Some(k), Some(v)) = (q, k, v) else {
            unranked(ctx);
            return Ok(());
        };
        let total = match (ctx.has_input(4), ctx.shape(4)) {
            (false, _) => k[2],
            (true, Some(past)) if past.len() == 4 => past[2] + k[2],
            (true, Some(_)) => return Err(Unknown::wrong("past_key must have rank 4")),
            (true, None) => ctx.unknown_dim(1, 2),
        };
        if ctx.shape(0).is_some_and(|s| s.len() == 3) {
            ctx.set_tensor(0, dtype, [q[0], q[2], q[1] * v[3]]);
        } else {
            ctx.set_tensor(0, dtype, [q[0], q[1], q[2], v[3]]);
        }
        ctx.set_tensor(1, dtype, [k[0], k[1], total, k[3]]);
        if let Some(ty) = value_type {
            ctx.set_tensor(2, ty, [v[0], v[1], total, v[3]]);
        }
        ctx.set_tensor(3, dtype, [q[0], q[1], q[2], total]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        self.shown()?;
        kernel(move |run| {
            let wide = run.tensor(0)?.dtype() == DType::F64 || op.softmax_precision == Some(DType::F64);
            if wide { op.run::<f64>(run) } else { op.run::<f32>(run) }
        })
    }
}

/// Batch, heads, rows and size of a head of an input of rank 3 or 4.
fn dims_of(name: &str, shape: &[Dim], heads: Option<i64>) -> Result<[Dim; 4], Unknown> {
    match *shape {
        [batch, heads, rows, size] => Ok([batch, heads, rows, size]),
        [batch, rows, hidden] => {
            let count = heads.filter(|&h| h > 0).ok_or_else(|| {
                Unknown::wrong(format!("{name} has rank 3, which needs its number of heads as an attribute"))
            })?;
            let size = match (hidden.as_known(), hidden.divide_exactly(Dim::known(count))) {
                (_, Some(size)) => size,
                (Some(n), None) => {
                    return Err(Unknown::wrong(format!(
                        "{n} elements of {name} do not divide into {count} heads"
                    )));
                }
                (None, None) => hidden.floor_div(Dim::known(count)),
            };
            Ok([batch, Dim::known(count), rows, size])
        }
        _ => Err(Unknown::wrong(format!("{name} must have rank 3 or 4, but has {}", shape.len()))),
    }
}

fn cases() -> Vec<Case> {
    let op = |a: Attributes| Attention::read(&a).expect("attributes of the operator");
    // Values by onnx.reference.
    vec![
        Case::new("plain", op(Attributes::new()))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 2, 5, 4], 2))
            .input(noise(&[1, 2, 5, 4], 3))
            .expect(floats(
                &[1, 2, 3, 4],
                &[
                    -0.35271552,
                    0.06750235,
                    -0.0091978069,
                    0.22209294,
                    -0.36145762,
                    0.089169428,
                    -0.028043287,
                    0.21302538,
                    -0.36347148,
                    0.13027188,
                    -0.052107316,
                    0.18753788,
                    0.098984897,
                    0.70222461,
                    -0.034207925,
                    -0.36716434,
                    0.11361977,
                    0.72979617,
                    -0.10358948,
                    -0.38763252,
                    0.073272698,
                    0.66599238,
                    0.018761126,
                    -0.2811892,
                ],
            )),
        Case::new("causal and scaled", op(Attributes::new().with("is_causal", 1i64).with("scale", 0.5f32)))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 2, 5, 4], 2))
            .input(noise(&[1, 2, 5, 4], 3))
            .expect(floats(
                &[1, 2, 3, 4],
                &[
                    -0.7730993,
                    0.40058702,
                    0.22594936,
                    -0.85426652,
                    -0.67438424,
                    0.33917457,
                    -0.2320511,
                    -0.072270021,
                    -0.42990789,
                    0.50489438,
                    0.013689241,
                    0.097680964,
                    0.63885033,
                    0.87140048,
                    0.33928943,
                    -0.61779219,
                    0.37901315,
                    0.81130344,
                    -0.25936386,
                    -0.71034855,
                    0.43041506,
                    0.8035897,
                    0.23811477,
                    -0.17315201,
                ],
            )),
        Case::new(
            "capped with float mask",
            op(Attributes::new().with("softcap", 0.5f32).with("qk_matmul_output_mode", 2i64)),
        )
        .input(noise(&[1, 2, 3, 4], 1))
        .input(noise(&[1, 2, 5, 4], 2))
        .input(noise(&[1, 2, 5, 4], 3))
        .input(noise(&[3, 5], 4))
        .absent()
        .absent()
        .outputs(4)
        .expect(floats(
            &[1, 2, 3, 4],
            &[
                -0.34027937,
                0.21402948,
                -0.08021377,
                0.36582035,
                -0.45670602,
                0.15942337,
                -0.23404048,
                0.26595259,
                -0.40681288,
                0.038889829,
                -0.11074774,
                0.12409105,
                0.14200459,
                0.72771245,
                -0.05979896,
                -0.3102437,
                0.20745735,
                0.73595369,
                -0.22921532,
                -0.49550736,
                0.088737719,
                0.66579586,
                -0.0097115254,
                -0.34939831,
            ],
        ))
        .expect(floats(
            &[1, 2, 5, 4],
            &[
                0.18237947,
                0.49829936,
                0.19127616,
                0.53083831,
                -0.37682262,
                -0.30675545,
                0.45270723,
                0.47817466,
                -0.49937525,
                0.45523193,
                -0.32103676,
                -0.1243476,
                0.11158284,
                -0.25239325,
                0.86400211,
                -0.59321803,
                -0.59973085,
                -0.27153683,
                -0.24434887,
                -0.57962257,
                -0.90360099,
                0.054824065,
                -0.2379861,
                -0.33862272,
                0.83238953,
                0.4804903,
                0.050471403,
                0.23954277,
                -0.97668087,
                -0.39822936,
                0.7342788,
                0.20686807,
                -0.46643701,
                -0.31419334,
                0.76712364,
                -0.30231708,
                -0.44237769,
                -0.97858065,
                0.80418873,
                -0.55380428,
            ],
        ))
        .expect(floats(
            &[1, 2, 5, 4],
            &[
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.01787509,
                0.77705878,
                0.39687228,
                0.42377251,
                -0.039670993,
                -0.32799882,
                0.43476823,
                0.59778053,
                -0.38789165,
                -0.79218918,
                -0.65394974,
                0.17598642,
                0.63885033,
                0.87140048,
                0.33928943,
                -0.61779219,
                0.24487047,
                0.78027797,
                -0.56842268,
                -0.75813138,
                0.28243658,
                0.74386162,
                0.39032412,
                0.4492082,
                -0.6219756,
                0.79761183,
                -0.14336132,
                -0.57599121,
                -0.053144306,
                0.33921713,
                -0.2432697,
                -0.26062167,
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 5],
            &[
                0.048736319,
                0.87011492,
                0.65296698,
                0.30721551,
                -0.39175504,
                0.36789197,
                0.96119928,
                -0.079039127,
                -0.41348743,
                -0.064374678,
                0.72916806,
                0.39126962,
                0.3242228,
                0.13452689,
                0.71357226,
                0.026968151,
                0.68032795,
                0.6351459,
                0.046322115,
                -0.089883678,
                -0.086015806,
                1.1581761,
                -0.15690628,
                -0.7762692,
                -0.27766868,
                0.96798885,
                -0.037990272,
                0.47122246,
                0.71601176,
                1.1643295,
            ],
        )),
        Case::new(
            "capped products",
            op(Attributes::new().with("softcap", 0.5f32).with("qk_matmul_output_mode", 1i64)),
        )
        .input(noise(&[1, 2, 3, 4], 1))
        .input(noise(&[1, 2, 5, 4], 2))
        .input(noise(&[1, 2, 5, 4], 3))
        .input(noise(&[3, 5], 4))
        .outputs(4)
        .expect(floats(
            &[1, 2, 3, 4],
            &[
                -0.34027937,
                0.21402948,
                -0.08021377,
                0.36582035,
                -0.45670602,
                0.15942337,
                -0.23404048,
                0.26595259,
                -0.40681288,
                0.038889829,
                -0.11074774,
                0.12409105,
                0.14200459,
                0.72771245,
                -0.05979896,
                -0.3102437,
                0.20745735,
                0.73595369,
                -0.22921532,
                -0.49550736,
                0.088737719,
                0.66579586,
                -0.0097115254,
                -0.34939831,
            ],
        ))
        .expect(floats(
            &[1, 2, 5, 4],
            &[
                0.18237947,
                0.49829936,
                0.19127616,
                0.53083831,
                -0.37682262,
                -0.30675545,
                0.45270723,
                0.47817466,
                -0.49937525,
                0.45523193,
                -0.32103676,
                -0.1243476,
                0.11158284,
                -0.25239325,
                0.86400211,
                -0.59321803,
                -0.59973085,
                -0.27153683,
                -0.24434887,
                -0.57962257,
                -0.90360099,
                0.054824065,
                -0.2379861,
                -0.33862272,
                0.83238953,
                0.4804903,
                0.050471403,
                0.23954277,
                -0.97668087,
                -0.39822936,
                0.7342788,
                0.20686807,
                -0.46643701,
                -0.31419334,
                0.76712364,
                -0.30231708,
                -0.44237769,
                -0.97858065,
                0.80418873,
                -0.55380428,
            ],
        ))
        .expect(floats(
            &[1, 2, 5, 4],
            &[
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.01787509,
                0.77705878,
                0.39687228,
                0.42377251,
                -0.039670993,
                -0.32799882,
                0.43476823,
                0.59778053,
                -0.38789165,
                -0.79218918,
                -0.65394974,
                0.17598642,
                0.63885033,
                0.87140048,
                0.33928943,
                -0.61779219,
                0.24487047,
                0.78027797,
                -0.56842268,
                -0.75813138,
                0.28243658,
                0.74386162,
                0.39032412,
                0.4492082,
                -0.6219756,
                0.79761183,
                -0.14336132,
                -0.57599121,
                -0.053144306,
                0.33921713,
                -0.2432697,
                -0.26062167,
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 5],
            &[
                0.18582468,
                0.085301206,
                -0.065267347,
                0.32366699,
                -0.18091603,
                0.19445527,
                0.11983941,
                0.023482312,
                0.22294103,
                -0.13971728,
                0.14107235,
                -0.0023460437,
                0.23777846,
                -0.22591202,
                0.011123053,
                0.16405651,
                -0.10448576,
                -0.083088391,
                0.062773585,
                0.12095534,
                -0.25945249,
                0.31681621,
                -0.054384835,
                -0.13984071,
                -0.35301128,
                0.37989312,
                -0.43160594,
                0.38477811,
                0.35557282,
                0.46188027,
            ],
        )),
        Case::new("bool mask with an empty row", op(Attributes::new().with("qk_matmul_output_mode", 3i64)))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 2, 5, 4], 2))
            .input(noise(&[1, 2, 5, 4], 3))
            .input(bools(
                &[3, 5],
                &[
                    true, false, true, false, true, false, false, false, false, false, false, true, true,
                    true, true,
                ],
            ))
            .outputs(4)
            .expect(floats(
                &[1, 2, 3, 4],
                &[
                    -0.4287453,
                    0.18768156,
                    0.035323035,
                    -0.16645138,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    -0.24762878,
                    0.053826839,
                    -0.13074167,
                    0.48215991,
                    0.29570779,
                    0.64914441,
                    0.1501593,
                    -0.18980074,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    -0.082155965,
                    0.60954326,
                    -0.069324553,
                    -0.18868595,
                ],
            ))
            .expect(floats(
                &[1, 2, 5, 4],
                &[
                    0.18237947,
                    0.49829936,
                    0.19127616,
                    0.53083831,
                    -0.37682262,
                    -0.30675545,
                    0.45270723,
                    0.47817466,
                    -0.49937525,
                    0.45523193,
                    -0.32103676,
                    -0.1243476,
                    0.11158284,
                    -0.25239325,
                    0.86400211,
                    -0.59321803,
                    -0.59973085,
                    -0.27153683,
                    -0.24434887,
                    -0.57962257,
                    -0.90360099,
                    0.054824065,
                    -0.2379861,
                    -0.33862272,
                    0.83238953,
                    0.4804903,
                    0.050471403,
                    0.23954277,
                    -0.97668087,
                    -0.39822936,
                    0.7342788,
                    0.20686807,
                    -0.46643701,
                    -0.31419334,
                    0.76712364,
                    -0.30231708,
                    -0.44237769,
                    -0.97858065,
                    0.80418873,
                    -0.55380428,
                ],
            ))
            .expect(floats(
                &[1, 2, 5, 4],
                &[
                    -0.7730993,
                    0.40058702,
                    0.22594936,
                    -0.85426652,
                    -0.5671218,
                    0.27244464,
                    -0.72970825,
                    0.77743685,
                    -0.01787509,
                    0.77705878,
                    0.39687228,
                    0.42377251,
                    -0.039670993,
                    -0.32799882,
                    0.43476823,
                    0.59778053,
                    -0.38789165,
                    -0.79218918,
                    -0.65394974,
                    0.17598642,
                    0.63885033,
                    0.87140048,
                    0.33928943,
                    -0.61779219,
                    0.24487047,
                    0.78027797,
                    -0.56842268,
                    -0.75813138,
                    0.28243658,
                    0.74386162,
                    0.39032412,
                    0.4492082,
                    -0.6219756,
                    0.79761183,
                    -0.14336132,
                    -0.57599121,
                    -0.053144306,
                    0.33921713,
                    -0.2432697,
                    -0.26062167,
                ],
            ))
            .expect(floats(
                &[1, 2, 3, 5],
                &[
                    0.40797892,
                    0.0,
                    0.31431818,
                    0.0,
                    0.27770287,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.24405351,
                    0.31682423,
                    0.19175887,
                    0.24736339,
                    0.36634734,
                    0.0,
                    0.2841095,
                    0.0,
                    0.34954318,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.086950086,
                    0.27806622,
                    0.2606006,
                    0.37438309,
                ],
            )),
        Case::new("past", op(Attributes::new().with("is_causal", 1i64).with("qk_matmul_output_mode", 0i64)))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 1, 3, 4], 5))
            .input(noise(&[1, 1, 3, 2], 6))
            .absent()
            .input(noise(&[1, 1, 2, 4], 7))
            .input(noise(&[1, 1, 2, 2], 8))
            .outputs(4)
            .expect(floats(
                &[1, 2, 3, 2],
                &[
                    0.35516915,
                    0.074830823,
                    -0.052905988,
                    -0.21321265,
                    0.063829556,
                    -0.00044738888,
                    0.38290662,
                    0.038169939,
                    -0.016848765,
                    -0.18771251,
                    0.05200243,
                    0.0035829118,
                ],
            ))
            .expect(floats(
                &[1, 1, 5, 4],
                &[
                    -0.22034051,
                    -0.96642339,
                    0.80152136,
                    0.16586059,
                    -0.095116213,
                    -0.50113696,
                    -0.064093992,
                    -0.34384653,
                    -0.22646391,
                    0.50461406,
                    -0.53458166,
                    -0.80132115,
                    -0.62407976,
                    -0.23878214,
                    0.97112703,
                    0.022202978,
                    -0.14709732,
                    0.20688111,
                    -0.099049814,
                    -0.72659534,
                ],
            ))
            .expect(floats(
                &[1, 1, 5, 2],
                &[
                    0.23700926,
                    0.22389619,
                    0.3780587,
                    0.072226509,
                    0.47963402,
                    -0.10737256,
                    -0.8873142,
                    -0.78892231,
                    0.1014844,
                    0.64737606,
                ],
            ))
            .expect(floats(
                &[1, 2, 3, 5],
                &[
                    0.11609472,
                    -0.14055796,
                    -0.098252147,
                    0.35594007,
                    0.034832172,
                    0.064492457,
                    -0.15856212,
                    -0.074925676,
                    0.33897448,
                    0.0084495656,
                    -0.29621106,
                    -0.15703548,
                    0.16369763,
                    -0.027090918,
                    0.025270196,
                    -0.12569092,
                    0.10780554,
                    0.32642686,
                    -0.048638538,
                    0.26112473,
                    -0.12740058,
                    -0.31565237,
                    -0.27888626,
                    0.018991271,
                    -0.25338453,
                    0.4343535,
                    0.38090956,
                    0.19128363,
                    0.35845697,
                    0.25150409,
                ],
            )),
        Case::new("rank 3", op(Attributes::new().with("q_num_heads", 2i64).with("kv_num_heads", 1i64)))
            .input(noise(&[2, 3, 8], 1))
            .input(noise(&[2, 5, 4], 2))
            .input(noise(&[2, 5, 6], 3))
            .expect(floats(
                &[2, 3, 12],
                &[
                    -0.45690632,
                    0.34867069,
                    0.20420791,
                    0.18453138,
                    0.020302193,
                    -0.043611005,
                    -0.44093141,
                    0.350467,
                    0.18515967,
                    0.16161288,
                    0.0056009488,
                    -0.025083791,
                    -0.36959597,
                    0.33197957,
                    0.13967833,
                    0.091217443,
                    -0.040139616,
                    -0.0038799942,
                    -0.33576301,
                    0.34868485,
                    0.12905413,
                    0.12320699,
                    0.033225682,
                    -0.012081541,
                    -0.47751793,
                    0.35524112,
                    0.182594,
                    0.08161249,
                    -0.061618544,
                    0.012668238,
                    -0.29496908,
                    0.40508887,
                    0.067548871,
                    0.12879609,
                    0.10715819,
                    0.053589247,
                    0.14452182,
                    0.12893596,
                    -0.33786288,
                    0.31271976,
                    0.15849318,
                    -0.39707863,
                    0.19031253,
                    0.19172838,
                    -0.31536493,
                    0.32658181,
                    0.090317547,
                    -0.40658996,
                    0.15164158,
                    0.15957187,
                    -0.33336347,
                    0.30910039,
                    0.044662178,
                    -0.3628782,
                    0.1305532,
                    0.13813841,
                    -0.28299809,
                    0.24136642,
                    0.033967521,
                    -0.32773897,
                    0.101786,
                    0.18789519,
                    -0.29579049,
                    0.17362875,
                    -0.14630486,
                    -0.257007,
                    0.10030913,
                    0.15210739,
                    -0.29854143,
                    0.20953073,
                    -0.13276975,
                    -0.25246245,
                ],
            )),
        Case::new(
            "rank 3 with past",
            op(Attributes::new().with("q_num_heads", 2i64).with("kv_num_heads", 2i64)),
        )
        .input(noise(&[1, 2, 4], 1))
        .input(noise(&[1, 2, 4], 2))
        .input(noise(&[1, 2, 4], 3))
        .input(noise(&[1, 1, 2, 5], 9))
        .input(noise(&[1, 2, 3, 2], 4))
        .input(noise(&[1, 2, 3, 2], 5))
        .outputs(3)
        .expect(floats(
            &[1, 2, 4],
            &[
                -0.53608298,
                0.055082064,
                0.28507161,
                -0.19154721,
                -0.57386971,
                -0.092918552,
                -0.16169952,
                -0.14407043,
            ],
        ))
        .expect(floats(
            &[1, 2, 5, 2],
            &[
                -0.13708836,
                0.7848137,
                0.7182343,
                -0.016451472,
                -0.21083902,
                0.17343669,
                0.18237947,
                0.49829936,
                -0.37682262,
                -0.30675545,
                0.84135985,
                -0.10252143,
                -0.63642848,
                0.075342603,
                0.58809572,
                0.39361566,
                0.19127616,
                0.53083831,
                0.45270723,
                0.47817466,
            ],
        ))
        .expect(floats(
            &[1, 2, 5, 2],
            &[
                -0.22646391,
                0.50461406,
                -0.53458166,
                -0.80132115,
                -0.62407976,
                -0.23878214,
                -0.7730993,
                0.40058702,
                -0.5671218,
                0.27244464,
                0.97112703,
                0.022202978,
                -0.14709732,
                0.20688111,
                -0.099049814,
                -0.72659534,
                0.22594936,
                -0.85426652,
                -0.72970825,
                0.77743685,
            ],
        )),
        Case::new("padded cache", op(Attributes::new().with("is_causal", 1i64)))
            .input(noise(&[2, 2, 2, 4], 1))
            .input(noise(&[2, 1, 5, 4], 2))
            .input(noise(&[2, 1, 5, 4], 3))
            .input(noise(&[2, 1, 2, 3], 4))
            .absent()
            .absent()
            .input(ints(&[2], &[3, 1]))
            .expect(floats(
                &[2, 2, 2, 4],
                &[
                    -0.63041407,
                    0.31181991,
                    -0.43605611,
                    0.27605101,
                    -0.4413929,
                    0.5027051,
                    0.026443493,
                    0.058589414,
                    -0.63210684,
                    0.31287301,
                    -0.42820257,
                    0.26264176,
                    -0.37062308,
                    0.54563552,
                    0.075688273,
                    0.1358113,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.63885033,
                    0.87140048,
                    0.33928943,
                    -0.61779219,
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    0.63885033,
                    0.87140048,
                    0.33928943,
                    -0.61779219,
                ],
            )),
        Case::new(
            "window",
            op(Attributes::new().with("left_window_size", 1i64).with("right_window_size", 1i64)),
        )
        .input(noise(&[1, 1, 4, 2], 1))
        .input(noise(&[1, 1, 5, 2], 2))
        .input(noise(&[1, 1, 5, 2], 3))
        .expect(floats(
            &[1, 1, 4, 2],
            &[
                -0.27054095,
                -0.23065062,
                -0.35167789,
                -0.09372329,
                -0.33353549,
                0.037126686,
                -0.49186379,
                0.63538426,
            ],
        )),
        Case::new("softmax in double", op(Attributes::new().with("softmax_precision", 11i64)))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 2, 5, 4], 2))
            .input(noise(&[1, 2, 5, 4], 3))
            .expect(floats(
                &[1, 2, 3, 4],
                &[
                    -0.35271552,
                    0.067502327,
                    -0.0091978051,
                    0.22209294,
                    -0.36145759,
                    0.089169443,
                    -0.028043278,
                    0.21302538,
                    -0.36347145,
                    0.13027188,
                    -0.052107323,
                    0.18753791,
                    0.098984905,
                    0.70222461,
                    -0.034207933,
                    -0.36716431,
                    0.11361977,
                    0.72979617,
                    -0.10358948,
                    -0.38763252,
                    0.073272683,
                    0.66599238,
                    0.018761119,
                    -0.28118917,
                ],
            )),
        Case::new("double", op(Attributes::new()))
            .input(noise_of(DType::F64, &[1, 2, 3, 4], 1))
            .input(noise_of(DType::F64, &[1, 2, 5, 4], 2))
            .input(noise_of(DType::F64, &[1, 2, 5, 4], 3)),
        Case::new("float16", op(Attributes::new()))
            .input(noise_of(DType::F16, &[1, 2, 3, 4], 1))
            .input(noise_of(DType::F16, &[1, 2, 5, 4], 2))
            .input(noise_of(DType::F16, &[1, 2, 5, 4], 3)),
        Case::new("many rows", op(Attributes::new().with("is_causal", 1i64)))
            .input(noise(&[1, 2, 150, 4], 1))
            .input(noise(&[1, 1, 150, 4], 2))
            .input(noise(&[1, 1, 150, 4], 3)),
    ]
}
