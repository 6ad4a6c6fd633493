//! [FlexAttention](https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html): attention whose scores and
//! probabilities pass through subgraphs of the model.

use super::layout::{Layout, compute};
use crate::math::by_type::by_type;
use crate::math::unary::Unary;
use crate::{Case, Form, Room, attributes, floats, noise, noise_of, types};
use oxidane_graph::{
    Attributes, Build, Call, Dim, Graph, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Type, Unknown,
    kernel, shared,
};
use oxidane_kernels::Function;
use oxidane_kernels::attention::{self as loops, Compute, Span};
use oxidane_kernels::matmul::matmul;
use oxidane_kernels::softmax::{Softmax, softmax};
use oxidane_tensor::{CastRules, DType, Datum, Tensor, TensorMut};
use std::sync::Arc;

attributes! {
    /// The attributes that are no graphs.
    pub struct Plain {
        /// One over the square root of the head's size where it is absent.
        scale: Option<f32>,
        /// `float`, or `double` for inputs of that type, where it is absent.
        softmax_precision: Option<DType>,
    }
}

/// `prob_mod(softmax(score_mod(Q K^T * scale))) V` for each head.
#[derive(Debug, Clone)]
pub struct FlexAttention {
    /// The attributes that are no graphs.
    pub plain: Plain,
    /// Which of the two bodies there are.
    pub bodies: Vec<&'static str>,
}

const BODIES: [&str; 2] = ["score_mod", "prob_mod"];

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("Q", types::FLOAT, "T1"),
        Param::one("K", types::FLOAT, "T1"),
        Param::one("V", types::FLOAT, "T1"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T1")],
};

/// The room of FlexAttention.
pub static ROOM: Room = Room {
    domain: "ai.onnx.preview",
    name: "FlexAttention",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(FlexAttention { plain: Plain::read(a)?, bodies: Vec::new() })),
    steps: &[],
    cases,
};

impl FlexAttention {
    /// The type that scores and probabilities have.
    fn precision(&self, dtype: DType) -> DType {
        let own = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        self.plain.softmax_precision.unwrap_or(own)
    }

    /// What a body makes of a tensor, which keeps its shape and type.
    fn modified(&self, run: &Run<'_>, name: &str, tensor: Tensor) -> Result<Tensor, OpError> {
        let Some(body) = self.bodies.iter().position(|b| *b == name) else { return Ok(tensor) };
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        match run.body(body, vec![Datum::Tensor(tensor)])?.into_iter().next() {
            Some(Datum::Tensor(made)) if made.dtype() == dtype && made.shape() == shape => Ok(made),
            Some(Datum::Tensor(made)) => Err(OpError::new(format!(
                "{name} must keep {dtype} of shape {shape:?}, but gave {} of {:?}",
                made.dtype(),
                made.shape()
            ))),
            _ => Err(OpError::new(format!("{name} must give one tensor"))),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let [q, k, v] = [0, 1, 2].map(|i| run.tensor(i).cloned());
        let (q, k, v) = (q?, k?, v?);
        let [ql, kl, vl] = [("Q", &q), ("K", &k), ("V", &v)].map(|(name, t)| match t.rank() {
            4 => Layout::of(name, t, None),
            rank => Err(OpError::new(format!("{name} must have rank 4, but has {rank}"))),
        });
        let (ql, kl, vl) = (ql?, kl?, vl?);
        let fits = (ql.batch, kl.batch) == (vl.batch, vl.batch)
            && (kl.heads, kl.rows, kl.size) == (vl.heads, vl.rows, ql.size)
            && kl.heads > 0
            && ql.heads.is_multiple_of(kl.heads);
        if !fits {
            return Err(OpError::new(format!(
                "Q, K and V of {:?}, {:?} and {:?} do not go together",
                q.shape(),
                k.shape(),
                v.shape()
            ))
            .help("batches, the size of a head and the lengths of K and V agree, and Q's heads are a multiple of K's"));
        }
        let dtype = q.dtype();
        let precision = self.precision(dtype);
        let scale = self.plain.scale.unwrap_or(1.0 / (ql.size as f32).sqrt());
        let shape = [ql.batch, ql.heads, ql.rows, vl.size];
        if self.bodies.is_empty() && precision == compute_type(precision) && dtype.bits() <= precision.bits()
        {
            return match precision {
                DType::F64 => self.tiled::<f64>(run, (&q, &k, &v), (ql, kl, vl), scale),
                _ => self.tiled::<f32>(run, (&q, &k, &v), (ql, kl, vl), scale),
            };
        }
        // The bodies see all scores at once; what they take counts against the budget of the run.
        let scores = [ql.batch, ql.heads, ql.rows, kl.rows];
        drop(run.allocate(0, precision, &scores)?);
        let root = |t: &Tensor| match dtype {
            DType::F64 => scaled::<f64>(t, scale),
            _ => scaled::<f32>(t, scale),
        };
        // Query heads that share a key head lie side by side: together they are the rows of one product.
        let together = ql.heads / kl.heads * ql.rows;
        let rows = root(&q)?.reshape(&[ql.batch, kl.heads, together, ql.size])?;
        let products = matmul(run.pool(), &rows, &root(&k)?.permute(&[0, 1, 3, 2])?)?;
        let products = products.cast(precision, CastRules::default())?.reshape(&scores)?;
        run.checkpoint()?;
        let modified = self.modified(run, "score_mod", products)?.to_dense()?;
        let shares = by_type!(precision, float T => {
            let mut out = TensorMut::zeroed(precision, &scores)?;
            softmax::<T>(run.pool(), Softmax::Softmax, (modified.slice()?, &scores), 3, out.slice_mut()?)?;
            Ok(out.freeze())
        })?;
        let shares = self.modified(run, "prob_mod", shares)?;
        run.checkpoint()?;
        let shares = shares.reshape(&[ql.batch, kl.heads, together, kl.rows])?;
        let out = matmul(run.pool(), &shares, &v.cast(precision, CastRules::default())?)?;
        run.set(0, out.cast(dtype, CastRules::default())?.reshape(&shape)?);
        Ok(())
    }

    /// Without bodies nobody sees the scores.
    fn tiled<T: Compute>(
        &self,
        run: &mut Run<'_>,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
        (ql, kl, vl): (Layout, Layout, Layout),
        scale: f32,
    ) -> Result<(), OpError> {
        let dtype = q.dtype();
        let (q, k) = (scaled::<T>(q, scale)?, scaled::<T>(k, scale)?);
        let (q, k, v) = (compute::<T>(&q)?, compute::<T>(&k)?, compute::<T>(v)?);
        run.check_scratch(ql.batch.checked_mul(size_of::<Span>()))?;
        let spans = vec![Span { first: None, end: None, valid: kl.rows }; ql.batch];
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
            scale: T::of(1.0),
            cap: T::of(0.0),
            bias: None,
            spans: &spans,
            dtype: T::DTYPE,
            softmax: T::DTYPE,
        };
        let placed = Layout { size: vl.size, ..ql };
        let mut out = run.allocate(0, T::DTYPE, &[ql.batch, ql.heads, ql.rows, vl.size])?;
        let host = &*run;
        let go_on = || host.checkpoint().is_ok();
        loops::attention(run.pool(), &call, out.slice_mut()?, placed.steps(), None, &go_on)?;
        run.checkpoint()?;
        run.set(0, out.freeze().cast(dtype, CastRules::default())?);
        Ok(())
    }
}

/// The type of [`Compute`] for scores of this type.
fn compute_type(precision: DType) -> DType {
    if precision == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The tensor times the root of the scale, in its own type.
fn scaled<T: Compute>(t: &Tensor, scale: f32) -> Result<Tensor, OpError> {
    let dtype = t.dtype();
    let mut root = [T::of(scale.sqrt().into())];
    loops::scale(&mut root, T::of(1.0), dtype);
    let mut wide = compute::<T>(t)?.into_mut()?;
    loops::scale(wide.slice_mut::<T>()?, root[0], dtype);
    Ok(wide.freeze().cast(dtype, CastRules::default())?)
}

impl Op for FlexAttention {
    fn domain(&self) -> &str {
        ROOM.domain
    }

    fn name(&self) -> &str {
        ROOM.name
    }

    fn attributes(&self) -> Attributes {
        self.plain.write()
    }

    fn signature(&self) -> Option<&'static Signature> {
        Some(&SIGNATURE)
    }

    fn body_names(&self) -> &[&str] {
        &self.bodies
    }

    fn with_bodies(&self, given: &[&str]) -> Option<Arc<dyn Op>> {
        let bodies = BODIES.into_iter().filter(|name| given.contains(name)).collect();
        Some(shared(FlexAttention { plain: self.plain.clone(), bodies }))
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let dims = |ctx: &InferCtx<'_>, i: usize| ctx.shape(i).and_then(|s| <[Dim; 4]>::try_from(s).ok());
        for i in 0..3 {
            if let Some(shape) = ctx.shape(i)
                && shape.len() != 4
            {
                return Err(Unknown::wrong(format!("{} must have rank 4", ctx.called(i))));
            }
        }
        let (q, k, v) = (dims(ctx, 0), dims(ctx, 1), dims(ctx, 2));
        let scores = match (q, k) {
            (Some([batch, heads, rows, _]), Some([_, _, keys, _])) => {
                Type::tensor(self.precision(dtype), [batch, heads, rows, keys])
            }
            _ => Type::unranked(self.precision(dtype)),
        };
        for (i, name) in self.bodies.iter().enumerate() {
            let outputs = ctx.infer_body(i, &[Some(scores.clone())])?;
            let [made] = &outputs[..] else {
                return Err(Unknown::wrong(format!(
                    "{name} gives {} outputs, but must give one",
                    outputs.len()
                )));
            };
            if let Some(made) = made
                && !made.agrees(&scores)
            {
                return Err(Unknown::wrong(format!("{name} must keep {scores}, but gives {made}")));
            }
        }
        match (q, v) {
            (Some([batch, heads, rows, _]), Some([_, _, _, size])) => {
                ctx.set_tensor(0, dtype, [batch, heads, rows, size]);
            }
            _ => ctx.set_unranked(0, dtype),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes, bodies: &[&'static str]| FlexAttention {
        plain: Plain::read(&a).expect("attributes of the operator"),
        bodies: bodies.to_vec(),
    };
    // A body of one function.
    let body = |function| {
        let mut body = Graph::new("body");
        let x = body.add_input("x", None, None).expect("a fresh name");
        let y = Build::new(&mut body, "").add(Unary::new(function).expect("a function with a room"), &[x]);
        body.set_outputs(vec![y]);
        body
    };
    // Values by NumPy.
    vec![
        Case::new("plain", op(Attributes::new(), &[]))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 1, 5, 4], 2))
            .input(noise(&[1, 1, 5, 2], 3))
            .expect(floats(
                &[1, 2, 3, 2],
                &[
                    -0.417385, 0.288257, -0.401793, 0.265763, -0.380041, 0.25913, -0.374499, 0.344946,
                    -0.413799, 0.213695, -0.307959, 0.339962,
                ],
            )),
        Case::new("scaled", op(Attributes::new().with("scale", 0.25f32), &[]))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 1, 5, 4], 2))
            .input(noise(&[1, 1, 5, 2], 3))
            .expect(floats(
                &[1, 2, 3, 2],
                &[
                    -0.394606, 0.279372, -0.387249, 0.269251, -0.375267, 0.265963, -0.373897, 0.310293,
                    -0.392786, 0.240996, -0.33838, 0.303911,
                ],
            )),
        Case::new("scores", op(Attributes::new(), &["score_mod"]))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 1, 5, 4], 2))
            .input(noise(&[1, 1, 5, 2], 3))
            .body(body(Function::Tanh))
            .expect(floats(
                &[1, 2, 3, 2],
                &[
                    -0.415602, 0.286081, -0.401239, 0.265367, -0.379941, 0.259446, -0.374703, 0.344121,
                    -0.410096, 0.214491, -0.314434, 0.331592,
                ],
            )),
        Case::new("both", op(Attributes::new().with("softmax_precision", 1i64), &["score_mod", "prob_mod"]))
            .input(noise(&[1, 2, 3, 4], 1))
            .input(noise(&[1, 1, 5, 4], 2))
            .input(noise(&[1, 1, 5, 2], 3))
            .body(body(Function::Tanh))
            .body(body(Function::Sqrt))
            .expect(floats(
                &[1, 2, 3, 2],
                &[
                    -0.876319, 0.619651, -0.863372, 0.600341, -0.836325, 0.59318, -0.833422, 0.690555,
                    -0.86634, 0.535762, -0.755053, 0.663564,
                ],
            )),
        Case::new("float16", op(Attributes::new().with("softmax_precision", 11i64), &[]))
            .input(noise_of(DType::F16, &[1, 2, 3, 4], 1))
            .input(noise_of(DType::F16, &[1, 2, 3, 4], 2))
            .input(noise_of(DType::F16, &[1, 2, 3, 4], 3)),
        Case::new("double", op(Attributes::new(), &["prob_mod"]))
            .input(noise_of(DType::F64, &[1, 2, 3, 4], 1))
            .input(noise_of(DType::F64, &[1, 2, 3, 4], 2))
            .input(noise_of(DType::F64, &[1, 2, 3, 4], 3))
            .body(body(Function::Sqrt)),
    ]
}
