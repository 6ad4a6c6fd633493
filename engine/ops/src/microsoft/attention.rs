//! [Attention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Attention): self-attention behind the projection of its input.

use super::heads::{FILTER, Projected};
use crate::formula::{Formula, ranked};
use crate::{Case, Form, Room, attributes, floats, ints_of, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// Attention of the queries, keys and values that `input * weights + bias` holds.
    pub struct Attention { do_rotary: bool = false, mask_filter_value: Option<f32>, num_heads: i64, past_present_share_buffer: bool = false, qkv_hidden_sizes: Option<Vec<i64>>, rotary_embedding_dim: Option<i64>, scale: Option<f32>, unidirectional: bool = false }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::FLOAT, "T"),
        Param::one("weights", types::FLOAT, "T"),
        Param::optional("bias", types::FLOAT, "T"),
        Param::optional("mask_index", types::INT32, "M"),
        Param::optional("past", types::FLOAT, "T"),
        Param::optional("attention_bias", types::FLOAT, "T"),
        Param::optional("past_sequence_length", types::INT32, "M"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T"), Param::optional("present", types::FLOAT, "T")],
};

/// The room of Attention.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "Attention",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Attention::read(a)?)),
    steps: &[],
    cases,
};

impl Op for Attention {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let (x, weights) = (ranked::<3>(ctx, 0)?, ranked::<2>(ctx, 1)?);
        let (Some([batch, rows, _]), Some([_, all])) = (x, weights) else {
            ctx.set_unranked(0, dtype);
            ctx.set_unranked(1, dtype);
            return Ok(());
        };
        let heads = Dim::known(self.num_heads.max(1));
        let value = match self.qkv_hidden_sizes.as_deref() {
            Some(&[_, _, value]) => Dim::known(value),
            _ => all.floor_div(Dim::known(3)),
        };
        ctx.set_tensor(0, dtype, [batch, rows, value]);
        let keys = match (ctx.has_input(4), ranked::<5>(ctx, 4)?) {
            (false, _) => rows,
            (true, Some([_, _, _, past, _])) => past + rows,
            (true, None) => ctx.unknown_dim(1, 3),
        };
        ctx.set_tensor(1, dtype, [Dim::known(2), batch, heads, keys, value.floor_div(heads)]);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        if self.do_rotary || self.past_present_share_buffer {
            return Err(OpError::unsupported("do_rotary and past_present_share_buffer are not supported"));
        }
        f.without(&[(6, "past_sequence_length")])?;
        let (x, weights) = (f.need(0)?, f.need(1)?);
        let [_, all] = f.sizes(weights)?;
        let sizes = match self.qkv_hidden_sizes.as_deref() {
            None => [all / 3; 3],
            Some(&[q, k, v]) => [q, k, v],
            Some(_) => return Err(OpError::new("qkv_hidden_sizes must have three elements")),
        };
        let mut projections = f.op("MatMul", &[x, weights])?;
        if let Some(bias) = f.input(2) {
            projections = f.op("Add", &[projections, bias])?;
        }
        let attention = Projected {
            heads: self.num_heads,
            sizes,
            causal: self.unidirectional,
            scale: self.scale,
            filter: self.mask_filter_value.unwrap_or(FILTER),
        };
        let rest = [f.input(3), f.input(4), f.input(5)];
        Ok(Some(attention.attend(&mut f, projections, rest)?))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| Attention::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("plain", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 12], 2))
            .input(noise(&[12], 3))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.565226, 0.588574, 0.77376, 0.101968, -0.6315, 0.581479, 0.774511, 0.100814, -0.793799,
                    0.566712, 0.768257, 0.109277, 0.04842, 0.659414, 0.335532, 0.29341, -0.154799, 0.708611,
                    0.029669, 0.178735, 0.032226, 0.66492, 0.575121, 0.382423,
                ],
            )),
        Case::new(
            "causal and scaled",
            op(Attributes::new().with("num_heads", 2i64).with("unidirectional", 1i64).with("scale", 0.25f32)),
        )
        .input(noise(&[2, 3, 4], 1))
        .input(noise(&[4, 12], 2))
        .input(noise(&[12], 3))
        .expect(floats(
            &[2, 3, 4],
            &[
                -1.043324, 0.58284, 0.853036, -0.122136, -0.901141, 0.547596, 0.891037, -0.031184, -0.698629,
                0.574588, 0.753218, 0.1301, -0.418739, 0.864553, -0.325558, -0.014134, -0.399334, 0.795156,
                0.226353, 0.213954, -0.01385, 0.67208, 0.41249, 0.322826,
            ],
        )),
        Case::new("lengths", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 12], 2))
            .input(noise(&[12], 3))
            .input(ints_of(DType::I32, &[2], &[2, 3]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.896616, 0.546474, 0.889594, -0.034637, -0.901954, 0.547797, 0.889493, -0.034879,
                    -0.919229, 0.552079, 0.889911, -0.033878, 0.04842, 0.659414, 0.335532, 0.29341,
                    -0.154799, 0.708611, 0.029669, 0.178735, 0.032226, 0.66492, 0.575121, 0.382423,
                ],
            )),
        Case::new(
            "ends and starts",
            op(Attributes::new().with("num_heads", 2i64).with("mask_filter_value", -1000.0f32)),
        )
        .input(noise(&[2, 3, 4], 1))
        .input(noise(&[4, 12], 2))
        .input(noise(&[12], 3))
        .input(ints_of(DType::I32, &[4], &[2, 3, 1, 0]))
        .expect(floats(
            &[2, 3, 4],
            &[
                -0.75807, 0.512131, 0.930729, 0.063816, -0.75807, 0.512131, 0.930729, 0.063816, -0.75807,
                0.512131, 0.930729, 0.063816, 0.04842, 0.659414, 0.335532, 0.29341, -0.154799, 0.708611,
                0.029669, 0.178735, 0.032226, 0.66492, 0.575121, 0.382423,
            ],
        )),
        Case::new("flags", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 12], 2))
            .input(noise(&[12], 3))
            .input(ints_of(DType::I32, &[2, 3], &[1, 0, 1, 1, 1, 0]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.482722, 0.621278, 0.690494, 0.122205, -0.56975, 0.615311, 0.691673, 0.120433,
                    -0.814622, 0.598521, 0.683276, 0.133056, -0.40785, 0.82561, 0.424077, 0.295667,
                    -0.397831, 0.789777, -0.056313, 0.097137, -0.407643, 0.824868, 0.700006, 0.4097,
                ],
            )),
        Case::new("flags of rows", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 12], 2))
            .input(noise(&[12], 3))
            .input(ints_of(DType::I32, &[2, 3, 3], &[1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.482722, 0.621278, 0.690494, 0.122205, -0.901954, 0.547797, 0.889493, -0.034879,
                    -0.10267, 0.647337, 0.449839, 0.483969, 0.135535, 0.644773, -0.098118, 0.132049,
                    -0.397831, 0.789777, -0.056313, 0.097137, 0.665157, 0.434769, 0.145397, 0.288563,
                ],
            )),
        Case::new("past", op(Attributes::new().with("num_heads", 2i64).with("unidirectional", 1i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 12], 2))
            .input(noise(&[12], 3))
            .absent()
            .input(noise(&[2, 2, 2, 2, 2], 9))
            .outputs(2)
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.079016, 0.012415, 0.463578, -0.499854, -0.331174, 0.202963, 0.553036, -0.441387,
                    -0.614019, 0.464974, 0.545675, -0.438625, -0.104699, 0.4862, -0.100184, -0.096286,
                    -0.072758, 0.447868, 0.150337, 0.187806, 0.078102, 0.506586, 0.458915, 0.25644,
                ],
            ))
            .expect(floats(
                &[2, 2, 2, 5, 2],
                &[
                    0.364725, 0.50139, -0.469355, 0.569627, -1.897358, -0.203294, -1.550506, -0.167233,
                    -0.447279, 0.181067, -0.474893, -0.770784, 0.291617, 0.967097, 0.011592, 0.711401,
                    -0.399865, 0.591932, -1.415735, 0.266941, -0.561929, 0.578322, 0.179475, -0.570459,
                    -0.834494, 0.775851, -0.959293, -0.641832, -0.171717, 1.268622, 0.971503, -0.51936,
                    0.520072, 0.771616, -0.224263, 0.435759, -1.241401, 0.899848, -0.182791, 0.577367,
                    0.130572, -0.60591, 0.214172, 0.352765, -1.043324, 0.58284, -0.75807, 0.512131, -0.10267,
                    0.647337, 0.533225, -0.838171, -0.062568, -0.252242, 0.853036, -0.122136, 0.930729,
                    0.063816, 0.449839, 0.483969, -0.056376, 0.335495, 0.921447, -0.481056, -0.418739,
                    0.864553, -0.381587, 0.731684, 0.665157, 0.434769, 0.271001, 0.404898, -0.385435,
                    -0.998159, -0.325558, -0.014134, 1.169575, 0.603759, 0.145397, 0.288563,
                ],
            )),
        Case::new("bias", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[4, 12], 2))
            .input(noise(&[12], 3))
            .absent()
            .absent()
            .input(noise(&[1, 2, 3, 3], 7))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.329397, 0.623697, 0.631075, 0.252983, -0.733564, 0.574079, 0.778617, 0.091139,
                    -0.859528, 0.565363, 0.836897, 0.066945, 0.350925, 0.553708, 0.16469, 0.258058, -0.24179,
                    0.74432, 0.01325, 0.169541, -0.111141, 0.721805, 0.808865, 0.465691,
                ],
            )),
        Case::new(
            "sizes",
            op(Attributes::new().with("num_heads", 2i64).with("qkv_hidden_sizes", vec![4i64, 4, 8])),
        )
        .input(noise(&[2, 3, 4], 1))
        .input(noise(&[4, 16], 2))
        .input(noise(&[16], 3))
        .expect(floats(
            &[2, 3, 8],
            &[
                0.822657, 0.585131, -0.140143, 0.758747, -0.101022, -0.606517, 1.404235, 1.206604, 0.82616,
                0.579011, -0.156102, 0.765396, -0.115913, -0.602967, 1.377148, 1.194174, 0.81659, 0.595664,
                -0.112841, 0.747394, -0.189906, -0.585567, 1.244528, 1.132124, 0.154753, 0.705397, 0.349561,
                0.551005, -0.003111, -0.442262, 0.793206, 0.745336, 0.548738, 0.772728, -0.004696, 0.289283,
                -0.033261, -0.392995, 0.649438, 0.766504, 0.02715, 0.653572, 0.457795, 0.627382, 0.005412,
                -0.460824, 0.846501, 0.736991,
            ],
        )),
    ]
}
