//! [MultiHeadAttention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention): attention of projections, packed or not.

use super::heads::{FILTER, scaled};
use crate::formula::{Formula, plain, ranked};
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
    crate::with_cases!();
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
                    -0.339816, 0.337624, -0.15314, -0.334543, 0.055436, 0.380552, 0.093733, 0.289729,
                    -0.343115, 0.322611, -0.158389, -0.315603, 0.042154, 0.363497, 0.074406, 0.282761,
                    -0.348478, 0.300629, -0.166069, -0.292025, 0.040476, 0.366176, 0.021544, 0.187314,
                    -0.244645, -0.125063, 0.138189, 0.157711, -0.02422, -0.206419, 0.148494, -0.325861,
                    -0.193728, -0.231746, 0.194964, 0.252144, -0.027867, -0.238906, 0.165283, -0.296649,
                    -0.289945, -0.012709, 0.06906, 0.001779, -0.017292, -0.216997, 0.136292, -0.313504,
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
                    -0.979941, 0.400813, 0.431676, 0.069183, 0.136632, 0.735013, 0.77913, 0.857453,
                    -0.981301, 0.394369, 0.429346, 0.077198, 0.131436, 0.728457, 0.771277, 0.854383,
                    -0.983519, 0.385001, 0.426097, 0.087374, 0.129068, 0.727301, 0.747228, 0.81401,
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
                -0.452973, 0.49749, -0.118599, 0.133198, -0.437594, 0.504266, -0.109255, 0.122254, -0.417414,
                0.513851, -0.029701, 0.10315, 0.103594, 0.709615, -0.041258, -0.376959, 0.130997, 0.736047,
                -0.044434, -0.302721, 0.085445, 0.668767, -0.043456, -0.370521,
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
                    -0.624414, 0.271777, 0.114302, 0.54509, -0.644133, 0.284411, -0.068393, -0.156388,
                    -0.308947, -0.038528, 0.024445, 0.328579, 0.229573, 0.683201, -0.099343, -0.519619,
                    0.221884, 0.649664, 0.16207, -0.540734, -0.282628, 0.663294, -0.037608, -0.548673,
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
                &[-0.530714, 0.008207, 0.348783, -0.364185, -0.533294, 0.072415, 0.096187, -0.128603],
            ))
            .expect(floats(
                &[1, 2, 5, 2],
                &[
                    -0.137088, 0.784814, 0.718234, -0.016451, -0.210839, 0.173437, 0.182379, 0.498299,
                    -0.376823, -0.306755, 0.84136, -0.102521, -0.636428, 0.075343, 0.588096, 0.393616,
                    0.191276, 0.530838, 0.452707, 0.478175,
                ],
            ))
            .expect(floats(
                &[1, 2, 5, 2],
                &[
                    -0.226464, 0.504614, -0.534582, -0.801321, -0.62408, -0.238782, -0.773099, 0.400587,
                    -0.567122, 0.272445, 0.971127, 0.022203, -0.147097, 0.206881, -0.09905, -0.726595,
                    0.225949, -0.854267, -0.729708, 0.777437,
                ],
            )),
        Case::new("packed", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[1, 3, 2, 3, 4], 1))
            .expect(floats(
                &[1, 3, 8],
                &[
                    -0.175306, -0.001419, 0.024842, 0.315069, 0.067025, -0.353053, -0.41542, -0.091933,
                    -0.174562, -0.013345, -0.00079, 0.302407, -0.154752, -0.326091, -0.245028, -0.469407,
                    -0.06649, -0.199772, 0.258078, 0.429064, -0.02557, -0.361739, -0.354663, -0.218517,
                ],
            )),
        Case::new("packed keys", op(Attributes::new().with("num_heads", 2i64)))
            .input(noise(&[1, 3, 8], 1))
            .input(noise(&[1, 5, 2, 2, 4], 2))
            .expect(floats(
                &[1, 3, 8],
                &[
                    -0.358793, -0.133521, 0.188878, -0.328464, -0.02528, -0.272523, 0.61944, 0.092323,
                    -0.362712, -0.032929, 0.116826, -0.340121, 0.124696, -0.258604, 0.675172, 0.066245,
                    -0.371875, -0.120233, 0.219103, -0.232764, 0.246328, -0.248313, 0.71451, 0.016257,
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
                    -0.355215, 0.093091, 0.037406, 0.194331, 0.029243, 0.697028, -0.025152, -0.282924,
                    -0.369964, 0.169731, -0.004244, 0.154637, 0.049932, 0.687182, -0.025623, -0.322437,
                    -0.421694, 0.195534, 0.016594, 0.077549, 0.031646, 0.65243, 0.01436, -0.245269,
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
                    -0.364919, 0.121378, -0.025508, 0.284822, -0.35929, 0.122632, -0.042831, 0.260717,
                    -0.351867, 0.126102, -0.07374, 0.200379,
                ],
            ))
            .expect(floats(
                &[1, 2, 5, 2],
                &[
                    0.182379, 0.498299, -0.376823, -0.306755, -0.499375, 0.455232, 0.111583, -0.252393,
                    -0.599731, -0.271537, 0.191276, 0.530838, 0.452707, 0.478175, -0.321037, -0.124348,
                    0.864002, -0.593218, -0.244349, -0.579623,
                ],
            ))
            .expect(floats(
                &[1, 2, 5, 2],
                &[
                    -0.773099, 0.400587, -0.567122, 0.272445, -0.017875, 0.777059, -0.039671, -0.327999,
                    -0.387892, -0.792189, 0.225949, -0.854267, -0.729708, 0.777437, 0.396872, 0.423773,
                    0.434768, 0.597781, -0.65395, 0.175986,
                ],
            ))
            .expect(floats(
                &[1, 2, 3, 5],
                &[
                    0.190371, -0.142096, 0.111226, -0.077225, -0.150837, 0.170887, -0.084346, 0.208612,
                    -0.102632, -0.053683, 0.151858, -0.013237, 0.340752, -0.138786, 0.069022, 0.085638,
                    0.263921, -0.204057, 0.62219, -0.117151, 0.119392, 0.257187, -0.175378, 0.441724,
                    -0.149306, 0.053211, 0.009919, 0.024982, -0.205568, -0.053289,
                ],
            )),
    ]
}
