//! [MultiHeadAttention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention): attention of projections, packed or not.

use super::formula::{Formula, plain, ranked};
use super::heads::{FILTER, scaled};
use crate::{Case, Form, Room, attributes, floats, ints_of, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, Dims, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// Attention with biases of the projections, masks and a cache.
    pub struct MultiHeadAttention { mask_filter_value: Option<f32>, num_heads: i64, scale: Option<f32>, unidirectional: bool = false }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("query", types::FLOAT, "T"),
        Param::optional("key", types::FLOAT, "T"),
        Param::optional("value", types::FLOAT, "T"),
        Param::optional("bias", types::FLOAT, "T"),
        Param::optional("key_padding_mask", types::INT32, "M"),
        Param::optional("attention_bias", types::FLOAT, "T"),
        Param::optional("past_key", types::FLOAT, "T"),
        Param::optional("past_value", types::FLOAT, "T"),
        Param::optional("past_sequence_length", types::INT32, "M"),
        Param::optional("cache_indirection", types::INT32, "M"),
    ],
    outputs: &[
        Param::one("output", types::FLOAT, "T"),
        Param::optional("present_key", types::FLOAT, "T"),
        Param::optional("present_value", types::FLOAT, "T"),
        Param::optional("qk", types::FLOAT, "QK"),
    ],
};

/// The room of MultiHeadAttention.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "MultiHeadAttention",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(MultiHeadAttention::read(a)?)),
    steps: &[],
    cases,
};

impl Op for MultiHeadAttention {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let heads = Dim::known(self.num_heads.max(1));
        let dims = |ctx: &InferCtx<'_>, input: usize| ctx.shape(input).map(Dims::from_slice);
        let (query, key, value) = (dims(ctx, 0), dims(ctx, 1), dims(ctx, 2));
        let value_size = match (query.as_deref(), key.as_deref(), value.as_deref()) {
            (Some(&[_, _, heads, _, size]), ..) | (_, Some(&[_, _, heads, _, size]), _) => Some(heads * size),
            (_, _, Some(&[_, _, size])) => Some(size),
            (_, _, Some(&[_, heads, _, size])) => Some(heads * size),
            _ => None,
        };
        let new = match (query.as_deref(), key.as_deref()) {
            (Some(&[_, rows, _, _, _]), _) => Some(rows),
            (_, Some(&[_, rows, _] | &[_, rows, _, _, _] | &[_, _, rows, _])) => Some(rows),
            _ => None,
        };
        let keys = match (ctx.has_input(6), ranked::<4>(ctx, 6)?, new) {
            (false, _, Some(new)) => new,
            (true, Some([_, _, past, _]), Some(new)) => past + new,
            _ => ctx.unknown_dim(1, 2),
        };
        let (Some(query), Some(value_size)) = (query.filter(|q| q.len() >= 3), value_size) else {
            (0..4).for_each(|i| ctx.set_unranked(i, dtype));
            return Ok(());
        };
        let size = match query[..] {
            [_, _, _, _, size] => size,
            _ => query[2].floor_div(heads),
        };
        ctx.set_tensor(0, dtype, [query[0], query[1], value_size]);
        ctx.set_tensor(1, dtype, [query[0], heads, keys, size]);
        ctx.set_tensor(2, dtype, [query[0], heads, keys, value_size.floor_div(heads)]);
        ctx.set_tensor(3, dtype, [query[0], heads, query[1], keys]);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        f.without(&[(8, "past_sequence_length"), (9, "cache_indirection")])?;
        let heads = self.num_heads;
        let query = f.need(0)?;
        let dtype = f.dtype(query)?;
        let mut sides = [Some(query), f.input(1), f.input(2)];
        let unpacked = match (f.rank(query)?, sides[1].map(|k| f.rank(k)).transpose()?) {
            (5, _) => Some((query, 0)),
            (_, Some(5)) => sides[1].map(|key| (key, 1)),
            _ => None,
        };
        // Packed projections lie side by side for each head.
        if let Some((packed, first)) = unpacked {
            let [batch, rows, _, _, _] = f.sizes(packed)?;
            for (i, side) in sides[first..].iter_mut().enumerate() {
                let own = f.pick(packed, 3, i as i64)?;
                *side = Some(f.reshape(own, &[batch, rows, -1])?);
            }
        }
        let [Some(mut q), Some(mut k), Some(mut v)] = sides else {
            return Err(OpError::new("key and value are missing, and query is not packed"));
        };
        let kept = f.rank(k)? == 4;
        let [batch, rows, hidden] = f.sizes(q)?;
        if let Some(bias) = f.input(3) {
            let [all] = f.sizes(bias)?;
            let key_size = if kept { hidden } else { f.sizes::<3>(k)?[2] };
            let parts = f.parts(bias, &[hidden, key_size, all - hidden - key_size])?;
            q = f.op("Add", &[q, parts[0]])?;
            if !kept {
                k = f.op("Add", &[k, parts[1]])?;
                v = f.op("Add", &[v, parts[2]])?;
            }
        }
        let mut keys = if kept { f.sizes::<4>(k)?[2] } else { f.sizes::<3>(k)?[1] };
        if let Some(past) = f.input(6) {
            keys += f.sizes::<4>(past)?[2];
        }
        let filter = self.mask_filter_value.unwrap_or(FILTER);
        let mask = f.input(4).map(|m| f.mask(m, [batch, rows, keys], filter, dtype)).transpose()?;
        let mask = f.sum(mask, f.input(5))?;
        let mut attributes = scaled(plain().with("is_causal", self.unidirectional), self.scale);
        if kept {
            q = f.heads(q, heads)?;
        } else {
            attributes.set("q_num_heads", heads);
            attributes.set("kv_num_heads", heads);
        }
        if f.wants(3) {
            attributes.set("qk_matmul_output_mode", 2i64);
        }
        let inputs = [Some(q), Some(k), Some(v), mask, f.input(6), f.input(7)];
        let count = (1..4).rfind(|&i| f.wants(i)).map_or(1, |i| i + 1);
        let mut made = f.node("Attention", &attributes, &inputs, count)?.to_vec();
        if kept {
            made[0] = f.rows(made[0])?;
        }
        Ok(Some(made))
    }
}

fn cases() -> Vec<Case> {
    let op = |a: Attributes| MultiHeadAttention::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime and NumPy.
    vec![
        Case::new("plain", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[2, 5, 4], 2))
            .input(noise(&[2, 5, 8], 3))
            .expect(floats(
                &[2, 3, 8],
                &[
                    -0.33981559,
                    0.33762413,
                    -0.15313965,
                    -0.33454287,
                    0.055435542,
                    0.38055235,
                    0.093733497,
                    0.28972885,
                    -0.34311467,
                    0.32261083,
                    -0.15838911,
                    -0.31560257,
                    0.042154133,
                    0.36349741,
                    0.074405961,
                    0.28276071,
                    -0.34847793,
                    0.30062869,
                    -0.16606916,
                    -0.29202479,
                    0.040475938,
                    0.36617649,
                    0.021544153,
                    0.1873139,
                    -0.24464479,
                    -0.12506285,
                    0.13818854,
                    0.15771143,
                    -0.024219848,
                    -0.20641895,
                    0.14849404,
                    -0.32586089,
                    -0.19372827,
                    -0.23174627,
                    0.19496369,
                    0.25214437,
                    -0.027867408,
                    -0.23890562,
                    0.1652827,
                    -0.29664874,
                    -0.28994462,
                    -0.012709395,
                    0.06906037,
                    0.0017793399,
                    -0.017292058,
                    -0.21699704,
                    0.13629164,
                    -0.31350386,
                ],
            )),
        Case::new("biases", op(Attributes::new().with("num_heads", 2i64).with("scale", 0.3f32)))
            .input(noise(&[1, 3, 4], 1))
            .input(noise(&[1, 5, 4], 2))
            .input(noise(&[1, 5, 8], 3))
            .input(noise(&[16], 4))
            .expect(floats(
                &[1, 3, 8],
                &[
                    -0.97994089,
                    0.40081277,
                    0.43167555,
                    0.069183245,
                    0.13663231,
                    0.73501253,
                    0.77913046,
                    0.85745347,
                    -0.98130119,
                    0.39436901,
                    0.42934582,
                    0.077198029,
                    0.13143593,
                    0.72845668,
                    0.77127743,
                    0.85438341,
                    -0.98351949,
                    0.38500139,
                    0.42609739,
                    0.087373622,
                    0.12906842,
                    0.72730052,
                    0.74722838,
                    0.81400996,
                ],
            )),
        Case::new(
            "lengths",
            op(Attributes::new().with("num_heads", 2i64).with("mask_filter_value", -100.0f32)),
        )
        .input(noise(&[2, 3, 4], 1))
        .input(noise(&[2, 5, 4], 2))
        .input(noise(&[2, 5, 4], 3))
        .absent()
        .input(ints_of(DType::I32, &[2], &[3, 5]))
        .expect(floats(
            &[2, 3, 4],
            &[
                -0.45297256,
                0.49749014,
                -0.11859941,
                0.13319753,
                -0.43759397,
                0.50426644,
                -0.10925517,
                0.12225438,
                -0.41741434,
                0.51385123,
                -0.029700575,
                0.10315011,
                0.10359364,
                0.70961469,
                -0.041257937,
                -0.37695882,
                0.13099666,
                0.73604691,
                -0.044433754,
                -0.30272147,
                0.08544527,
                0.66876698,
                -0.043456275,
                -0.37052134,
            ],
        )),
        Case::new("flags and bias", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[2, 3, 4], 1))
            .input(noise(&[2, 5, 4], 2))
            .input(noise(&[2, 5, 4], 3))
            .absent()
            .input(ints_of(DType::I32, &[2, 5], &[1, 1, 0, 1, 0, 1, 0, 0, 1, 1]))
            .input(noise(&[1, 2, 3, 5], 6))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -0.62441409,
                    0.27177697,
                    0.11430172,
                    0.54509038,
                    -0.64413309,
                    0.28441083,
                    -0.068392582,
                    -0.15638819,
                    -0.30894658,
                    -0.038528021,
                    0.024444878,
                    0.32857946,
                    0.22957264,
                    0.6832009,
                    -0.099342532,
                    -0.51961941,
                    0.22188418,
                    0.64966428,
                    0.16207026,
                    -0.54073423,
                    -0.2826277,
                    0.66329396,
                    -0.037607625,
                    -0.54867256,
                ],
            )),
        Case::new("causal past", op(Attributes::new().with("num_heads", 2i64).with("unidirectional", 1i64)))
            .input(noise(&[1, 2, 4], 1))
            .input(noise(&[1, 2, 4], 2))
            .input(noise(&[1, 2, 4], 3))
            .absent()
            .absent()
            .absent()
            .input(noise(&[1, 2, 3, 2], 4))
            .input(noise(&[1, 2, 3, 2], 5))
            .outputs(3)
            .expect(floats(
                &[1, 2, 4],
                &[
                    -0.53071392,
                    0.0082068164,
                    0.34878293,
                    -0.36418474,
                    -0.53329384,
                    0.072415248,
                    0.096186809,
                    -0.12860288,
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
        Case::new("packed", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[1, 3, 2, 3, 4], 1))
            .expect(floats(
                &[1, 3, 8],
                &[
                    -0.17530642,
                    -0.0014188308,
                    0.024841677,
                    0.31506893,
                    0.067024596,
                    -0.35305282,
                    -0.41542009,
                    -0.091932833,
                    -0.17456225,
                    -0.013344647,
                    -0.00079047226,
                    0.30240682,
                    -0.15475164,
                    -0.32609105,
                    -0.24502814,
                    -0.4694066,
                    -0.066490233,
                    -0.19977172,
                    0.2580784,
                    0.42906371,
                    -0.025569947,
                    -0.36173874,
                    -0.3546631,
                    -0.21851665,
                ],
            )),
        Case::new("packed keys", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[1, 3, 8], 1))
            .input(noise(&[1, 5, 2, 2, 4], 2))
            .expect(floats(
                &[1, 3, 8],
                &[
                    -0.35879269,
                    -0.13352127,
                    0.18887813,
                    -0.32846412,
                    -0.025279643,
                    -0.2725234,
                    0.61944038,
                    0.092322759,
                    -0.36271209,
                    -0.032929063,
                    0.11682598,
                    -0.34012067,
                    0.1246964,
                    -0.25860435,
                    0.67517209,
                    0.066245168,
                    -0.3718749,
                    -0.12023291,
                    0.2191032,
                    -0.23276386,
                    0.24632759,
                    -0.24831292,
                    0.71450967,
                    0.016256632,
                ],
            )),
        Case::new("kept keys", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[1, 3, 8], 1))
            .input(noise(&[1, 2, 5, 4], 2))
            .input(noise(&[1, 2, 5, 4], 3))
            .input(noise(&[24], 4))
            .expect(floats(
                &[1, 3, 8],
                &[
                    -0.35521549,
                    0.093091175,
                    0.037405584,
                    0.19433063,
                    0.029243141,
                    0.6970275,
                    -0.025152218,
                    -0.28292373,
                    -0.36996368,
                    0.16973104,
                    -0.0042439196,
                    0.15463684,
                    0.04993178,
                    0.68718153,
                    -0.025623167,
                    -0.32243699,
                    -0.42169353,
                    0.19553363,
                    0.01659397,
                    0.077548593,
                    0.031646013,
                    0.65243024,
                    0.014360068,
                    -0.24526899,
                ],
            )),
        Case::new("scores", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[1, 3, 4], 1))
            .input(noise(&[1, 5, 4], 2))
            .input(noise(&[1, 5, 4], 3))
            .outputs(4)
            .expect(floats(
                &[1, 3, 4],
                &[
                    -0.36491922,
                    0.12137762,
                    -0.02550843,
                    0.28482223,
                    -0.35928965,
                    0.12263169,
                    -0.042831142,
                    0.26071742,
                    -0.3518672,
                    0.12610152,
                    -0.07374049,
                    0.20037945,
                ],
            ))
            .expect(floats(
                &[1, 2, 5, 2],
                &[
                    0.18237947,
                    0.49829936,
                    -0.37682262,
                    -0.30675545,
                    -0.49937525,
                    0.45523193,
                    0.11158284,
                    -0.25239325,
                    -0.59973085,
                    -0.27153683,
                    0.19127616,
                    0.53083831,
                    0.45270723,
                    0.47817466,
                    -0.32103676,
                    -0.1243476,
                    0.86400211,
                    -0.59321803,
                    -0.24434887,
                    -0.57962257,
                ],
            ))
            .expect(floats(
                &[1, 2, 5, 2],
                &[
                    -0.7730993,
                    0.40058702,
                    -0.5671218,
                    0.27244464,
                    -0.01787509,
                    0.77705878,
                    -0.039670993,
                    -0.32799882,
                    -0.38789165,
                    -0.79218918,
                    0.22594936,
                    -0.85426652,
                    -0.72970825,
                    0.77743685,
                    0.39687228,
                    0.42377251,
                    0.43476823,
                    0.59778053,
                    -0.65394974,
                    0.17598642,
                ],
            ))
            .expect(floats(
                &[1, 2, 3, 5],
                &[
                    0.19037063,
                    -0.14209566,
                    0.11122578,
                    -0.07722529,
                    -0.15083694,
                    0.17088668,
                    -0.084346481,
                    0.2086117,
                    -0.10263213,
                    -0.053682603,
                    0.15185755,
                    -0.013236871,
                    0.34075236,
                    -0.13878569,
                    0.069022328,
                    0.085638188,
                    0.26392102,
                    -0.20405743,
                    0.62218958,
                    -0.1171511,
                    0.1193918,
                    0.25718692,
                    -0.17537823,
                    0.44172424,
                    -0.14930558,
                    0.053210985,
                    0.0099190343,
                    0.024982246,
                    -0.20556815,
                    -0.053289361,
                ],
            )),
    ]
}
