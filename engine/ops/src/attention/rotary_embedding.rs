//! [RotaryEmbedding](https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html): pairs of elements turned by an
//! angle of their position.

use super::layout::Layout;
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Run, Signature, Unknown, ValueId,
    kernel, shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};

attributes! {
    /// Turns the first elements of each head by angles whose cosines and sines are given.
    pub struct RotaryEmbedding {
        /// Whether pairs lie side by side; otherwise the second half belongs to the first.
        interleaved: bool = false,
        /// For inputs of rank 3.
        num_heads: Option<i64>,
        /// How many elements are turned; 0 for all.
        rotary_embedding_dim: i64 = 0,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("cos_cache", types::FLOAT, "T"),
        Param::one("sin_cache", types::FLOAT, "T"),
        Param::optional("position_ids", types::INT64, ""),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of RotaryEmbedding.
pub static ROOM: Room = Room {
    domain: "",
    name: "RotaryEmbedding",
    since: &[23],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RotaryEmbedding::read(a)?)),
    steps: &[],
    cases,
};

impl RotaryEmbedding {
    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let x = run.tensor(0)?.clone();
        let layout = Layout::of("X", &x, self.num_heads.filter(|&n| n != 0))?;
        let turned = match usize::try_from(self.rotary_embedding_dim) {
            Ok(0) => layout.size,
            Ok(n) if n <= layout.size => n,
            _ => {
                return Err(OpError::new(format!(
                    "rotary_embedding_dim is {}, but a head has {} elements",
                    self.rotary_embedding_dim, layout.size
                )));
            }
        };
        if turned % 2 != 0 {
            return Err(OpError::new(format!("{turned} elements cannot be turned in pairs")));
        }
        let half = turned / 2;
        let wide = |t: &Tensor| t.cast(DType::F32, CastRules::default())?.to_dense();
        let (cos, sin) = (wide(run.tensor(1)?)?, wide(run.tensor(2)?)?);
        let places = match run.try_tensor(3)? {
            Some(ids) => {
                if cos.rank() != 2 || ids.shape() != [layout.batch, layout.rows] {
                    return Err(OpError::new(format!(
                        "with position_ids of shape {:?} the caches must be of rank 2, but cos_cache is {:?}",
                        ids.shape(),
                        cos.shape()
                    ))
                    .help("position_ids are of shape (batch, sequence)"));
                }
                let size = cos.shape()[0];
                let place = |&id: &i64| {
                    usize::try_from(id).ok().filter(|&id| id < size).ok_or_else(|| {
                        OpError::new(format!("position {id} is outside the caches, which hold {size}"))
                    })
                };
                Some(run.ints(3)?.iter().map(place).collect::<Result<Vec<_>, _>>()?)
            }
            None if cos.shape() == [layout.batch, layout.rows, half] => None,
            None => {
                return Err(OpError::new(format!(
                    "cos_cache is {:?}, but must be {:?} without position_ids",
                    cos.shape(),
                    [layout.batch, layout.rows, half]
                )));
            }
        };
        if cos.shape() != sin.shape() || cos.shape().last() != Some(&half) {
            return Err(OpError::new(format!(
                "the caches {:?} and {:?} must hold {half} elements for each position",
                cos.shape(),
                sin.shape()
            )));
        }
        let dtype = x.dtype();
        let mut out = wide(&x)?.into_mut()?;
        let (cos, sin) = (cos.slice::<f32>()?, sin.slice::<f32>()?);
        let (batch, head, row) = layout.steps();
        let data = out.slice_mut::<f32>()?;
        // Narrow types round after each step of the definition.
        let round: fn(f32) -> f32 = match dtype {
            DType::F16 => |v| half::f16::from_f32(v).to_f32(),
            DType::BF16 => |v| half::bf16::from_f32(v).to_f32(),
            _ => |v| v,
        };
        let (step, second) = if self.interleaved { (2, 1) } else { (1, half) };
        // A batch of empty items may be of any size.
        let items = if data.is_empty() { 0 } else { layout.batch };
        for b in 0..items {
            run.checkpoint()?;
            for s in 0..layout.rows {
                let at = b * layout.rows + s;
                let at = places.as_ref().map_or(at, |p: &Vec<usize>| p[at]) * half;
                let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
                for h in 0..layout.heads {
                    let line = &mut data[b * batch + h * head + s * row..][..turned];
                    for (i, (&c, &s)) in cos.iter().zip(sin).enumerate() {
                        let (p, q) = (i * step, i * step + second);
                        let (x, y) = (line[p], line[q]);
                        line[p] = round(round(c * x) - round(s * y));
                        line[q] = round(round(s * x) + round(c * y));
                    }
                }
            }
        }
        run.set(0, out.freeze().cast(dtype, CastRules::default())?);
        Ok(())
    }
}

impl Op for RotaryEmbedding {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        match x.shape().map(<[_]>::len) {
            Some(3) if self.num_heads.is_none_or(|n| n < 1) => {
                return Err(Unknown::wrong("X has rank 3, which needs the attribute num_heads"));
            }
            None | Some(3 | 4) => {}
            Some(rank) => return Err(Unknown::wrong(format!("X must have rank 3 or 4, but has {rank}"))),
        }
        ctx.set(0, x);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| op.run(run))
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (x, mut cos, mut sin) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let Ok(rank) = f.rank(x) else { return Ok(None) };
        let given = f.op("Shape", &[x])?;
        let heads = match rank {
            3 => f.reshape(x, &[0, 0, self.num_heads.unwrap_or(0), -1])?,
            _ => f.transpose(x, &[0, 2, 1, 3])?,
        };
        if let Some(ids) = f.input(3) {
            cos = f.with("Gather", plain().with("axis", 0i64), &[cos, ids])?;
            sin = f.with("Gather", plain().with("axis", 0i64), &[sin, ids])?;
        }
        let axis = f.ints(&[2])?;
        let [cos, sin] = [f.op("Unsqueeze", &[cos, axis])?, f.op("Unsqueeze", &[sin, axis])?];
        let (mut turned, mut rest) = (heads, None);
        if self.rotary_embedding_dim != 0 {
            turned = f.slice(heads, 3, 0, self.rotary_embedding_dim)?;
            rest = Some(f.slice(heads, 3, self.rotary_embedding_dim, i64::MAX)?);
        }
        let last = f.ints(&[-1])?;
        let [a, b] = match self.interleaved {
            true => {
                let [zero, one, two] = [f.ints(&[0])?, f.ints(&[1])?, f.ints(&[2])?];
                let end = f.ints(&[i64::MAX])?;
                [
                    f.op("Slice", &[turned, zero, end, last, two])?,
                    f.op("Slice", &[turned, one, end, last, two])?,
                ]
            }
            false => {
                let halves = plain().with("axis", -1i64).with("num_outputs", 2i64);
                let halves = f.node("Split", &halves, &[Some(turned)], 2)?;
                [halves[0], halves[1]]
            }
        };
        let [ac, bs] = [f.op("Mul", &[cos, a])?, f.op("Mul", &[sin, b])?];
        let [as_, bc] = [f.op("Mul", &[sin, a])?, f.op("Mul", &[cos, b])?];
        let [a, b] = [f.op("Sub", &[ac, bs])?, f.op("Add", &[as_, bc])?];
        let mut made = match self.interleaved {
            true => {
                let [a, b] = [f.op("Unsqueeze", &[a, last])?, f.op("Unsqueeze", &[b, last])?];
                let pairs = f.concat(&[a, b], -1)?;
                f.reshaped_like(pairs, turned)?
            }
            false => f.concat(&[a, b], -1)?,
        };
        if let Some(rest) = rest {
            made = f.concat(&[made, rest], -1)?;
        }
        let made = match rank {
            3 => f.with("Reshape", plain().with("allowzero", true), &[made, given])?,
            _ => f.transpose(made, &[0, 2, 1, 3])?,
        };
        Ok(Some(vec![made]))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| RotaryEmbedding::read(&a).expect("attributes of the operator");
    // Values by onnx.reference.
    vec![
        Case::new("halves", op(Attributes::new()))
            .input(noise(&[2, 2, 3, 4], 1))
            .input(noise(&[6, 2], 21))
            .input(noise(&[6, 2], 22))
            .input(ints(&[2, 3], &[0, 1, 2, 5, 3, 4]))
            .expect(floats(
                &[2, 2, 3, 4],
                &[
                    -0.656339, 0.505299, -0.817103, 0.336154, 0.633587, 0.142959, 0.1321, 0.195278, 0.479208,
                    -0.172618, -0.128195, 0.319452, 0.157437, 0.630571, 0.070543, -0.500649, 0.322291,
                    -0.074528, -0.228017, 0.449773, 0.717128, 0.506435, -0.570698, -0.415136, -0.215625,
                    -0.236367, 0.109184, -0.286687, -0.549258, -0.868561, 0.531338, 0.070033, 0.264433,
                    -0.106203, 0.053716, -0.098292, 0.18436, -0.076185, 0.31287, 0.209523, 0.27438,
                    -0.415024, -0.679911, -0.171134, -0.062084, 0.939064, 0.407731, 0.41141,
                ],
            )),
        Case::new("interleaved", op(Attributes::new().with("interleaved", 1i64).with("num_heads", 2i64)))
            .input(noise(&[1, 2, 8], 1))
            .input(noise(&[6, 2], 21))
            .input(noise(&[6, 2], 22))
            .input(ints(&[1, 2], &[5, 1]))
            .expect(floats(
                &[1, 2, 8],
                &[
                    0.176722, 0.227473, 0.125912, 0.32912, 0.05655, 0.298701, 0.052152, 0.276006, 0.476546,
                    0.392675, -0.130644, -0.002414, 0.046446, 0.079331, 0.190974, -0.245384,
                ],
            )),
        Case::new("part", op(Attributes::new().with("rotary_embedding_dim", 4i64)))
            .input(noise(&[1, 2, 2, 6], 1))
            .input(noise(&[1, 2, 2], 2))
            .input(noise(&[1, 2, 2], 3))
            .expect(floats(
                &[1, 2, 2, 6],
                &[
                    0.752543, 0.289524, 0.068885, 0.141462, -0.111471, 0.525789, 0.241284, 0.526793,
                    0.088469, 0.272718, -0.191716, 0.210841, -0.115447, 0.29674, 0.046318, -0.307734,
                    0.290669, 0.630701, 0.265654, -0.307139, -0.083931, -1.101033, -0.00824, -0.753782,
                ],
            )),
        Case::new("float16", op(Attributes::new()))
            .input(noise_of(DType::F16, &[1, 2, 2, 4], 1))
            .input(noise_of(DType::F16, &[1, 2, 2], 2))
            .input(noise_of(DType::F16, &[1, 2, 2], 3)),
    ]
}
