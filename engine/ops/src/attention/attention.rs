//! [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html): scaled dot-product attention with a cache.

use super::layout::{Layout, cat, compute};
use crate::{Case, Form, Room, Step, attributes, bools, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
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
    vec![]
}
