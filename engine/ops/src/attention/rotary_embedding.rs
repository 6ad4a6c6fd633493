//! [RotaryEmbedding](https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html): pairs of elements turned by an
//! angle of their position.

use super::layout::Layout;
use crate::{Case, Form, Room, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Attributes, Call, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Unknown, kernel, shared,
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
        for b in 0..layout.batch {
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
}

fn cases() -> Vec<Case> {
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
                    -0.65633929,
                    0.50529939,
                    -0.81710261,
                    0.33615395,
                    0.63358724,
                    0.1429586,
                    0.13210003,
                    0.19527796,
                    0.47920811,
                    -0.17261758,
                    -0.12819526,
                    0.31945202,
                    0.1574371,
                    0.63057125,
                    0.070543289,
                    -0.50064892,
                    0.32229093,
                    -0.074528217,
                    -0.22801702,
                    0.44977254,
                    0.71712768,
                    0.50643468,
                    -0.57069808,
                    -0.41513556,
                    -0.21562503,
                    -0.23636705,
                    0.10918441,
                    -0.28668684,
                    -0.54925799,
                    -0.86856133,
                    0.53133792,
                    0.07003279,
                    0.26443288,
                    -0.10620289,
                    0.053715728,
                    -0.098291926,
                    0.18436037,
                    -0.07618463,
                    0.31287009,
                    0.20952269,
                    0.27437973,
                    -0.41502425,
                    -0.67991096,
                    -0.1711342,
                    -0.062084302,
                    0.93906438,
                    0.40773094,
                    0.41141036,
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
                    0.17672232,
                    0.22747305,
                    0.12591201,
                    0.32912043,
                    0.056550376,
                    0.29870051,
                    0.052151907,
                    0.27600554,
                    0.47654611,
                    0.39267522,
                    -0.13064429,
                    -0.0024138168,
                    0.046446454,
                    0.079331122,
                    0.19097449,
                    -0.24538371,
                ],
            )),
        Case::new("part", op(Attributes::new().with("rotary_embedding_dim", 4i64)))
            .input(noise(&[1, 2, 2, 6], 1))
            .input(noise(&[1, 2, 2], 2))
            .input(noise(&[1, 2, 2], 3))
            .expect(floats(
                &[1, 2, 2, 6],
                &[
                    0.75254273,
                    0.28952375,
                    0.068885051,
                    0.14146245,
                    -0.1114706,
                    0.52578878,
                    0.24128398,
                    0.52679276,
                    0.088469237,
                    0.27271828,
                    -0.19171566,
                    0.21084073,
                    -0.11544701,
                    0.29673964,
                    0.046317745,
                    -0.30773398,
                    0.29066929,
                    0.63070118,
                    0.2656537,
                    -0.30713853,
                    -0.083930694,
                    -1.1010334,
                    -0.0082400972,
                    -0.75378221,
                ],
            )),
        Case::new("float16", op(Attributes::new()))
            .input(noise_of(DType::F16, &[1, 2, 2, 4], 1))
            .input(noise_of(DType::F16, &[1, 2, 2], 2))
            .input(noise_of(DType::F16, &[1, 2, 2], 3)),
    ]
}
