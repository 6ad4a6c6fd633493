//! [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html): scaled dot-product attention with a cache.

use super::expand;
use super::layout::{Layout, cat, compute, side};
use crate::formula::Formula;
use crate::{Case, Form, Room, Step, attributes, bools, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature,
    Unknown, ValueId, kernel, shared,
};
use oxidane_kernels::attention::{self as loops, Bias, Compute, Scores, Span};
use oxidane_tensor::{CastRules, DType, Shape, Tensor, TensorMut, element_count};
use smallvec::SmallVec;

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
    ) -> Result<Spans, OpError> {
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
        run.check_scratch(ql.batch.checked_mul(size_of::<Span>()))?;
        let spans = self.spans((ql.batch, ql.rows, kl.rows), past_rows, valid.as_deref())?;
        let mask = run.try_tensor(3)?.map(|m| mask::<T>(m)).transpose()?;
        let bias = match &mask {
            Some(mask) => Some(bias(mask, [ql.batch, ql.heads, ql.rows, kl.rows])?),
            None => None,
        };
        let scale = f64::from(self.scale.unwrap_or(1.0 / (ql.size as f32).sqrt()));
        let (mut q, mut k, v) = (side::<T>(&ql, &q)?, side::<T>(&kl, &k)?, side::<T>(&vl, &v)?);
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
        // Heads of a row side by side even where the shape puts heads first: what comes next turns them back.
        let shape = match flat {
            true => Shape::from_slice(&[ql.batch, ql.rows, element_count(&[ql.heads, vl.size])?]),
            false => Shape::from_slice(&[ql.batch, ql.rows, ql.heads, vl.size]),
        };
        let placed = Layout { size: vl.size, flat: true, ..ql };
        let call = loops::Attention {
            batches: ql.batch,
            heads: ql.heads,
            kv_heads: kl.heads,
            queries: ql.rows,
            keys: kl.rows,
            size: ql.size,
            value_size: vl.size,
            query: ql.heads(&q)?,
            key: kl.heads(&k)?,
            value: vl.heads(&v)?,
            scale: factor,
            cap: T::of(self.softcap.into()),
            bias,
            spans: &spans,
            dtype,
            softmax: self.softmax_precision.unwrap_or(dtype),
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
        let out = out.freeze().cast(dtype, CastRules::default())?;
        run.set(0, if flat { out } else { out.permute(&[0, 2, 1, 3])? });
        if let Some((_, tensor)) = seen {
            run.set(3, tensor.freeze().cast(dtype, CastRules::default())?);
        }
        Ok(())
    }
}

/// The keys that each batch's queries see; few batches need no memory of their own.
type Spans = SmallVec<[Span; 4]>;

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

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        expand::expand(self, &mut Formula::new(build, node))
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
    crate::with_cases!();
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
                    -0.352716, 0.067502, -0.009198, 0.222093, -0.361458, 0.089169, -0.028043, 0.213025,
                    -0.363471, 0.130272, -0.052107, 0.187538, 0.098985, 0.702225, -0.034208, -0.367164,
                    0.11362, 0.729796, -0.103589, -0.387633, 0.073273, 0.665992, 0.018761, -0.281189,
                ],
            )),
        Case::new("causal and scaled", op(Attributes::new().with("is_causal", 1i64).with("scale", 0.5f32)))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 2, 5, 4], 2))
            .input(noise(&[1, 2, 5, 4], 3))
            .expect(floats(
                &[1, 2, 3, 4],
                &[
                    -0.773099, 0.400587, 0.225949, -0.854267, -0.674384, 0.339175, -0.232051, -0.07227,
                    -0.429908, 0.504894, 0.013689, 0.097681, 0.63885, 0.8714, 0.339289, -0.617792, 0.379013,
                    0.811303, -0.259364, -0.710349, 0.430415, 0.80359, 0.238115, -0.173152,
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
                -0.340279, 0.214029, -0.080214, 0.36582, -0.456706, 0.159423, -0.23404, 0.265953, -0.406813,
                0.03889, -0.110748, 0.124091, 0.142005, 0.727712, -0.059799, -0.310244, 0.207457, 0.735954,
                -0.229215, -0.495507, 0.088738, 0.665796, -0.009712, -0.349398,
            ],
        ))
        .expect(noise(&[1, 2, 5, 4], 2))
        .expect(noise(&[1, 2, 5, 4], 3))
        .expect(floats(
            &[1, 2, 3, 5],
            &[
                0.048736, 0.870115, 0.652967, 0.307216, -0.391755, 0.367892, 0.961199, -0.079039, -0.413487,
                -0.064375, 0.729168, 0.39127, 0.324223, 0.134527, 0.713572, 0.026968, 0.680328, 0.635146,
                0.046322, -0.089884, -0.086016, 1.158176, -0.156906, -0.776269, -0.277669, 0.967989,
                -0.03799, 0.471222, 0.716012, 1.16433,
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
                -0.340279, 0.214029, -0.080214, 0.36582, -0.456706, 0.159423, -0.23404, 0.265953, -0.406813,
                0.03889, -0.110748, 0.124091, 0.142005, 0.727712, -0.059799, -0.310244, 0.207457, 0.735954,
                -0.229215, -0.495507, 0.088738, 0.665796, -0.009712, -0.349398,
            ],
        ))
        .expect(noise(&[1, 2, 5, 4], 2))
        .expect(noise(&[1, 2, 5, 4], 3))
        .expect(floats(
            &[1, 2, 3, 5],
            &[
                0.185825, 0.085301, -0.065267, 0.323667, -0.180916, 0.194455, 0.119839, 0.023482, 0.222941,
                -0.139717, 0.141072, -0.002346, 0.237778, -0.225912, 0.011123, 0.164057, -0.104486,
                -0.083088, 0.062774, 0.120955, -0.259452, 0.316816, -0.054385, -0.139841, -0.353011,
                0.379893, -0.431606, 0.384778, 0.355573, 0.46188,
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
                    -0.428745, 0.187682, 0.035323, -0.166451, 0.0, 0.0, 0.0, 0.0, -0.247629, 0.053827,
                    -0.130742, 0.48216, 0.295708, 0.649144, 0.150159, -0.189801, 0.0, 0.0, 0.0, 0.0,
                    -0.082156, 0.609543, -0.069325, -0.188686,
                ],
            ))
            .expect(noise(&[1, 2, 5, 4], 2))
            .expect(noise(&[1, 2, 5, 4], 3))
            .expect(floats(
                &[1, 2, 3, 5],
                &[
                    0.407979, 0.0, 0.314318, 0.0, 0.277703, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.244054, 0.316824,
                    0.191759, 0.247363, 0.366347, 0.0, 0.28411, 0.0, 0.349543, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                    0.08695, 0.278066, 0.260601, 0.374383,
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
                    0.355169, 0.074831, -0.052906, -0.213213, 0.06383, -0.000447, 0.382907, 0.03817,
                    -0.016849, -0.187713, 0.052002, 0.003583,
                ],
            ))
            .expect(floats(
                &[1, 1, 5, 4],
                &[
                    -0.220341, -0.966423, 0.801521, 0.165861, -0.095116, -0.501137, -0.064094, -0.343847,
                    -0.226464, 0.504614, -0.534582, -0.801321, -0.62408, -0.238782, 0.971127, 0.022203,
                    -0.147097, 0.206881, -0.09905, -0.726595,
                ],
            ))
            .expect(floats(
                &[1, 1, 5, 2],
                &[
                    0.237009, 0.223896, 0.378059, 0.072227, 0.479634, -0.107373, -0.887314, -0.788922,
                    0.101484, 0.647376,
                ],
            ))
            .expect(floats(
                &[1, 2, 3, 5],
                &[
                    0.116095, -0.140558, -0.098252, 0.35594, 0.034832, 0.064492, -0.158562, -0.074926,
                    0.338974, 0.00845, -0.296211, -0.157035, 0.163698, -0.027091, 0.02527, -0.125691,
                    0.107806, 0.326427, -0.048639, 0.261125, -0.127401, -0.315652, -0.278886, 0.018991,
                    -0.253385, 0.434354, 0.38091, 0.191284, 0.358457, 0.251504,
                ],
            )),
        Case::new("rank 3", op(Attributes::new().with("q_num_heads", 2i64).with("kv_num_heads", 1i64)))
            .input(noise(&[2, 3, 8], 1))
            .input(noise(&[2, 5, 4], 2))
            .input(noise(&[2, 5, 6], 3))
            .expect(floats(
                &[2, 3, 12],
                &[
                    -0.456906, 0.348671, 0.204208, 0.184531, 0.020302, -0.043611, -0.440931, 0.350467,
                    0.18516, 0.161613, 0.005601, -0.025084, -0.369596, 0.33198, 0.139678, 0.091217, -0.04014,
                    -0.00388, -0.335763, 0.348685, 0.129054, 0.123207, 0.033226, -0.012082, -0.477518,
                    0.355241, 0.182594, 0.081612, -0.061619, 0.012668, -0.294969, 0.405089, 0.067549,
                    0.128796, 0.107158, 0.053589, 0.144522, 0.128936, -0.337863, 0.31272, 0.158493,
                    -0.397079, 0.190313, 0.191728, -0.315365, 0.326582, 0.090318, -0.40659, 0.151642,
                    0.159572, -0.333363, 0.3091, 0.044662, -0.362878, 0.130553, 0.138138, -0.282998,
                    0.241366, 0.033968, -0.327739, 0.101786, 0.187895, -0.29579, 0.173629, -0.146305,
                    -0.257007, 0.100309, 0.152107, -0.298541, 0.209531, -0.13277, -0.252462,
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
            &[-0.536083, 0.055082, 0.285072, -0.191547, -0.57387, -0.092919, -0.1617, -0.14407],
        ))
        .expect(floats(
            &[1, 2, 5, 2],
            &[
                -0.137088, 0.784814, 0.718234, -0.016451, -0.210839, 0.173437, 0.182379, 0.498299, -0.376823,
                -0.306755, 0.84136, -0.102521, -0.636428, 0.075343, 0.588096, 0.393616, 0.191276, 0.530838,
                0.452707, 0.478175,
            ],
        ))
        .expect(floats(
            &[1, 2, 5, 2],
            &[
                -0.226464, 0.504614, -0.534582, -0.801321, -0.62408, -0.238782, -0.773099, 0.400587,
                -0.567122, 0.272445, 0.971127, 0.022203, -0.147097, 0.206881, -0.09905, -0.726595, 0.225949,
                -0.854267, -0.729708, 0.777437,
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
                    -0.630414, 0.31182, -0.436056, 0.276051, -0.441393, 0.502705, 0.026443, 0.058589,
                    -0.632107, 0.312873, -0.428203, 0.262642, -0.370623, 0.545636, 0.075688, 0.135811, 0.0,
                    0.0, 0.0, 0.0, 0.63885, 0.8714, 0.339289, -0.617792, 0.0, 0.0, 0.0, 0.0, 0.63885, 0.8714,
                    0.339289, -0.617792,
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
            &[-0.270541, -0.230651, -0.351678, -0.093723, -0.333535, 0.037127, -0.491864, 0.635384],
        )),
        Case::new("softmax in double", op(Attributes::new().with("softmax_precision", 11i64)))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 2, 5, 4], 2))
            .input(noise(&[1, 2, 5, 4], 3))
            .expect(floats(
                &[1, 2, 3, 4],
                &[
                    -0.352716, 0.067502, -0.009198, 0.222093, -0.361458, 0.089169, -0.028043, 0.213025,
                    -0.363471, 0.130272, -0.052107, 0.187538, 0.098985, 0.702225, -0.034208, -0.367164,
                    0.11362, 0.729796, -0.103589, -0.387633, 0.073273, 0.665992, 0.018761, -0.281189,
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
