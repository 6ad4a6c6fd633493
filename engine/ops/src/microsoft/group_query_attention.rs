//! [GroupQueryAttention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention): attention over a cache, with several heads of queries to one of keys.

use super::heads::scaled;
use crate::formula::{Formula, plain, ranked};
use crate::{Case, Form, Room, attributes, floats, ints_of, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Attention with rotary positions, where new keys and values are written into a cache.
    pub struct GroupQueryAttention { causal: bool = true, do_rotary: bool = false, k_norm_epsilon: Option<f32>, k_quant_type: String = "NONE".to_owned(), kv_cache_bit_width: Option<i64>, kv_num_heads: i64, local_window_size: i64 = -1, num_heads: i64, q_norm_epsilon: Option<f32>, qk_norm_epsilon: f32 = 1e-6, qk_output: i64 = 0, rotary_interleaved: bool = false, scale: Option<f32>, sliding_window_cache: bool = false, smooth_softmax: i64 = -1, softcap: f32 = 0.0, v_quant_type: String = "NONE".to_owned() }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("query", types::FLOAT, "T"),
        Param::optional("key", types::FLOAT, "T"),
        Param::optional("value", types::FLOAT, "T"),
        Param::optional("past_key", types::FLOAT, "C"),
        Param::optional("past_value", types::FLOAT, "C"),
        Param::one("seqlens_k", types::INT32, "M"),
        Param::one("total_sequence_length", types::INT32, "M"),
        Param::optional("cos_cache", types::FLOAT, "T"),
        Param::optional("sin_cache", types::FLOAT, "T"),
        Param::optional("position_ids", types::INT64, ""),
        Param::optional("attention_bias", types::FLOAT, "T"),
        Param::optional("head_sink", types::FLOAT, "T"),
        Param::optional("k_scale", types::FLOAT32, "S"),
        Param::optional("v_scale", types::FLOAT32, "S"),
        Param::optional("q_norm_weight", types::FLOAT, "T"),
        Param::optional("k_norm_weight", types::FLOAT, "T"),
        Param::optional("query_seqlens", types::INT32, "M"),
    ],
    outputs: &[
        Param::one("output", types::FLOAT, "T"),
        Param::optional("present_key", types::FLOAT, "C"),
        Param::optional("present_value", types::FLOAT, "C"),
        Param::optional("output_qk", types::FLOAT, "T"),
    ],
};

/// The room of GroupQueryAttention.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "GroupQueryAttention",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GroupQueryAttention::read(a)?)),
    steps: &[],
    cases,
};

impl Op for GroupQueryAttention {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let (heads, kv) = (self.num_heads.max(1), self.kv_num_heads.max(1));
        let Some([batch, rows, hidden]) = ranked::<3>(ctx, 0)? else {
            (0..4).for_each(|i| ctx.set_unranked(i, dtype));
            return Ok(());
        };
        let all = if ctx.has_input(1) { heads } else { heads.saturating_add(kv.saturating_mul(2)) };
        let size = hidden.floor_div(Dim::known(all));
        ctx.set_tensor(0, dtype, [batch, rows, size * Dim::known(heads)]);
        for output in [1, 2] {
            let keys = ctx.unknown_dim(1, 2);
            ctx.set_tensor(output, dtype, [batch, Dim::known(kv), keys, size]);
        }
        let keys = ctx.unknown_dim(3, 3);
        ctx.set_tensor(3, dtype, [batch, Dim::known(heads), rows, keys]);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let mut f = Formula::new(build, node);
        if self.k_quant_type != "NONE" || self.v_quant_type != "NONE" || self.sliding_window_cache {
            return Err(OpError::unsupported(
                "quantized caches and caches of a window's size are not supported",
            ));
        }
        f.without(&[(12, "k_scale"), (13, "v_scale"), (16, "query_seqlens")])?;
        let (heads, kv) = (self.num_heads, self.kv_num_heads);
        if heads < 1 || kv < 1 || heads % kv != 0 {
            return Err(OpError::new(format!("{heads} heads of queries do not divide among {kv} of keys")));
        }
        let query = f.need(0)?;
        let [batch, rows, hidden] = f.sizes(query)?;
        let dtype = f.dtype(query)?;
        let sides = match (f.input(1), f.input(2)) {
            (Some(key), Some(value)) => vec![query, key, value],
            (None, None) => {
                let size = hidden / (heads + 2 * kv);
                f.parts(query, &[heads * size, kv * size, kv * size])?
            }
            _ => return Err(OpError::new("key and value must be given together")),
        };
        let (mut q, mut k, v) = (f.heads(sides[0], heads)?, f.heads(sides[1], kv)?, f.heads(sides[2], kv)?);
        let size = f.sizes::<4>(q)?[3];
        let norms = [(&mut q, 14, self.q_norm_epsilon), (&mut k, 15, self.k_norm_epsilon)];
        for (side, slot, epsilon) in norms {
            if let Some(weight) = f.input(slot) {
                let epsilon = epsilon.unwrap_or(self.qk_norm_epsilon);
                *side = f.with("RMSNormalization", plain().with("epsilon", epsilon), &[*side, weight])?;
            }
        }
        // How many rows of each batch were kept before; a padded prompt says fewer than none.
        let lengths = f.need(5)?;
        let lengths = f.cast(lengths, DType::I64)?;
        let lengths = f.reshape(lengths, &[-1])?;
        let (fresh, zero, one) = (
            f.scalar((rows - 1) as f64, DType::I64)?,
            f.scalar(0.0, DType::I64)?,
            f.scalar(1.0, DType::I64)?,
        );
        let before = f.op("Sub", &[lengths, fresh])?;
        let before = f.op("Max", &[before, zero])?;
        let end = f.scalar(rows as f64, DType::I64)?;
        let steps = f.count(end)?;
        if self.do_rotary {
            let (cos, sin) = (f.need(7)?, f.need(8)?);
            let places = match f.input(9) {
                Some(places) => places,
                None => {
                    let starts = f.reshape(before, &[-1, 1])?;
                    f.op("Add", &[starts, steps])?
                }
            };
            let turned = f.sizes::<2>(cos)?[1] * 2;
            let attributes =
                plain().with("interleaved", self.rotary_interleaved).with("rotary_embedding_dim", turned);
            q = f.with("RotaryEmbedding", attributes.clone(), &[q, cos, sin, places])?;
            k = f.with("RotaryEmbedding", attributes, &[k, cos, sin, places])?;
        }
        let total = f.need(6)?;
        let total = f.cast(total, DType::I64)?;
        let total = f.reshape(total, &[1])?;
        let mut present = Vec::new();
        for (new, past) in [(k, f.input(3)), (v, f.input(4))] {
            let size = f.sizes::<4>(new)?[3];
            let space = match past {
                None => {
                    let least = f.ints(&[rows])?;
                    let keys = f.op("Max", &[total, least])?;
                    let (front, back) = (f.ints(&[batch, kv])?, f.ints(&[size])?);
                    let shape = f.concat(&[front, keys, back], 0)?;
                    let nought = Tensor::from_f64s(dtype, &[1], &[0.0])?;
                    f.with("ConstantOfShape", plain().with("value", nought), &[shape])?
                }
                Some(past) => {
                    let had = f.ints(&[f.sizes::<4>(past)?[2]])?;
                    let more = f.op("Sub", &[total, had])?;
                    let more = f.op("Max", &[more, zero])?;
                    let (front, back) = (f.ints(&[0; 6])?, f.ints(&[0])?);
                    let pads = f.concat(&[front, more, back], 0)?;
                    f.op("Pad", &[past, pads])?
                }
            };
            present.push(f.with("TensorScatter", plain().with("axis", 2i64), &[space, new, before])?);
        }
        // Parts that must make up the whole, where a slice would count a negative total from the end.
        let whole = f.with("Shape", plain().with("start", 2i64).with("end", 3i64), &[present[0]])?;
        let unused = f.op("Sub", &[whole, total])?;
        let parts = f.concat(&[total, unused], 0)?;
        let split = plain().with("axis", 2i64);
        let mut keys = f.node("Split", &split, &[Some(present[0]), Some(parts)], 2)?[0];
        let mut values = f.node("Split", &split, &[Some(present[1]), Some(parts)], 2)?[0];
        let last = f.reshape(total, &[])?;
        let places = f.count(last)?;
        let seen = if self.causal {
            let own = f.reshape(before, &[-1, 1, 1, 1])?;
            let column = f.reshape(steps, &[rows, 1])?;
            let own = f.op("Add", &[own, column])?;
            let mut seen = f.op("LessOrEqual", &[places, own])?;
            if self.local_window_size > 0 {
                // The window counts the query's own place.
                let window = f.scalar(self.local_window_size as f64, DType::I64)?;
                let edge = f.op("Sub", &[own, window])?;
                let inside = f.op("Greater", &[places, edge])?;
                seen = f.op("And", &[seen, inside])?;
            }
            seen
        } else {
            let valid = f.op("Add", &[lengths, one])?;
            let valid = f.reshape(valid, &[-1, 1, 1, 1])?;
            f.op("Less", &[places, valid])?
        };
        let low = f.scalar(f64::NEG_INFINITY, dtype)?;
        let bias = match f.input(10) {
            Some(bias) => bias,
            None => f.scalar(0.0, dtype)?,
        };
        let mut mask = f.op("Where", &[seen, bias, low])?;
        // A sink is one more key, of nothing, whose score is the sink's and whose value is nothing.
        let sink = match f.input(11) {
            Some(sink) => Some(f.reshape(sink, &[1, heads, 1, 1])?),
            None if self.smooth_softmax > 0 => Some(f.scalar(0.0, dtype)?),
            None => None,
        };
        if let Some(sink) = sink {
            let column = f.ints(&[batch, heads, rows, 1])?;
            mask = f.op("Expand", &[mask, column])?;
            let sink = f.op("Expand", &[sink, column])?;
            mask = f.concat(&[mask, sink], 3)?;
            let pads = f.ints(&[0, 0, 0, 0, 0, 0, 1, 0])?;
            keys = f.op("Pad", &[keys, pads])?;
            values = f.op("Pad", &[values, pads])?;
        }
        let mode = match (self.qk_output, f.wants(3)) {
            (2, _) => 3i64,
            (1, _) | (0, false) => 2,
            (other, _) => {
                return Err(OpError::new(format!("qk_output is {other}, but output 3 is asked for")));
            }
        };
        let attributes = plain().with("softcap", self.softcap).with("qk_matmul_output_mode", mode);
        let attributes = scaled(attributes, self.scale);
        let count = if f.wants(3) { 4 } else { 1 };
        let made =
            f.node("Attention", &attributes, &[Some(q), Some(keys), Some(values), Some(mask)], count)?;
        let out = f.transpose(made[0], &[0, 2, 1, 3])?;
        let out = f.reshape(out, &[batch, rows, heads * size])?;
        let mut outputs = vec![out, present[0], present[1]];
        if let Some(&scores) = made.get(3) {
            let (zero, last) = (f.ints(&[0])?, f.ints(&[3])?);
            let mut scores = f.op("Slice", &[scores, zero, total, last])?;
            if mode == 2 {
                // Keys that are not seen show no score.
                let nought = f.scalar(0.0, dtype)?;
                scores = f.op("Where", &[seen, scores, nought])?;
            }
            outputs.push(scores);
        }
        Ok(Some(outputs))
    }
}

fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |a: Attributes| GroupQueryAttention::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime and NumPy.
    vec![
        Case::new("prompt", op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64)))
            .input(noise(&[2, 3, 16], 1))
            .input(noise(&[2, 3, 8], 2))
            .input(noise(&[2, 3, 8], 3))
            .absent()
            .absent()
            .input(ints_of(DType::I32, &[2], &[2, 2]))
            .input(ints_of(DType::I32, &[1], &[3]))
            .outputs(3)
            .expect(floats(
                &[2, 3, 16],
                &[
                    -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                    -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                    -0.434095, 0.569577, 0.302673, -0.280581, -0.33036, 0.002918, -0.206999, 0.696793,
                    -0.426335, 0.573446, 0.304429, -0.267449, -0.324941, -0.003252, -0.195034, 0.694947,
                    -0.377933, 0.172925, 0.018828, -0.069511, -0.003823, 0.235851, 0.02527, 0.283685,
                    -0.367781, 0.206778, 0.041233, -0.060198, -0.016214, 0.208959, 0.031046, 0.308375,
                    0.24487, 0.780278, -0.568423, -0.758131, 0.282437, 0.743862, 0.390324, 0.449208, 0.24487,
                    0.780278, -0.568423, -0.758131, 0.282437, 0.743862, 0.390324, 0.449208, -0.158507,
                    0.788344, -0.370625, -0.673374, 0.126278, 0.555565, 0.095488, 0.118897, -0.108742,
                    0.787349, -0.395027, -0.683831, 0.145543, 0.578795, 0.131862, 0.159647, -0.409179,
                    0.433691, -0.006201, -0.034833, -0.102861, 0.363479, 0.407892, -0.386196, -0.309069,
                    0.668214, -0.21411, -0.441151, 0.022764, 0.459579, 0.155129, -0.107047,
                ],
            ))
            .expect(floats(
                &[2, 1, 3, 8],
                &[
                    0.182379, 0.498299, 0.191276, 0.530838, -0.376823, -0.306755, 0.452707, 0.478175,
                    -0.499375, 0.455232, -0.321037, -0.124348, 0.111583, -0.252393, 0.864002, -0.593218,
                    -0.599731, -0.271537, -0.244349, -0.579623, -0.903601, 0.054824, -0.237986, -0.338623,
                    0.83239, 0.48049, 0.050471, 0.239543, -0.976681, -0.398229, 0.734279, 0.206868,
                    -0.466437, -0.314193, 0.767124, -0.302317, -0.442378, -0.978581, 0.804189, -0.553804,
                    0.586154, -0.662374, -0.983562, 0.356224, 0.677619, -0.127618, 0.959262, 0.701965,
                ],
            ))
            .expect(floats(
                &[2, 1, 3, 8],
                &[
                    -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                    -0.017875, 0.777059, 0.396872, 0.423773, -0.039671, -0.327999, 0.434768, 0.597781,
                    -0.387892, -0.792189, -0.65395, 0.175986, 0.63885, 0.8714, 0.339289, -0.617792, 0.24487,
                    0.780278, -0.568423, -0.758131, 0.282437, 0.743862, 0.390324, 0.449208, -0.621976,
                    0.797612, -0.143361, -0.575991, -0.053144, 0.339217, -0.24327, -0.260622, -0.685562,
                    0.016003, 0.413502, 0.712626, -0.365292, 0.146126, 0.789073, -0.965319,
                ],
            )),
        Case::new(
            "decode rotary",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("kv_num_heads", 1i64)
                .with("do_rotary", 1i64)
                .with("rotary_interleaved", 0i64)),
        )
        .input(noise(&[2, 1, 32], 1))
        .input(noise(&[2, 1, 16], 2))
        .input(noise(&[2, 1, 16], 3))
        .input(noise(&[2, 1, 4, 16], 5))
        .input(noise(&[2, 1, 4, 16], 6))
        .input(ints_of(DType::I32, &[2], &[4, 4]))
        .input(ints_of(DType::I32, &[1], &[5]))
        .input(noise(&[8, 8], 21))
        .input(noise(&[8, 8], 22))
        .outputs(3)
        .expect(floats(
            &[2, 1, 32],
            &[
                0.13747, 0.226211, -0.051349, -0.725732, 0.073419, 0.223795, 0.005253, 0.000517, -0.40217,
                0.168251, 0.230604, 0.273382, -0.271404, 0.011901, 0.168245, -0.172581, 0.117175, 0.181726,
                0.03839, -0.703602, 0.214533, 0.202496, 0.038972, -0.063613, -0.408385, 0.130512, 0.260427,
                0.272162, -0.168985, -0.115424, 0.123734, -0.091217, -0.192149, -0.298214, -0.072646,
                0.052748, -0.166552, 0.013634, 0.076201, 0.282819, 0.120113, 0.067669, 0.089079, -0.293951,
                0.269478, -0.086791, 0.080086, -0.347067, -0.228833, -0.201916, -0.184679, 0.120134,
                -0.074263, 0.082106, 0.109897, 0.237906, 0.200109, 0.218302, -0.143525, -0.298231, 0.299232,
                -0.017142, 0.122785, -0.168726,
            ],
        ))
        .expect(floats(
            &[2, 1, 5, 16],
            &[
                -0.226464, 0.504614, -0.534582, -0.801321, -0.62408, -0.238782, 0.971127, 0.022203,
                -0.147097, 0.206881, -0.09905, -0.726595, 0.748501, -0.094586, 0.909358, 0.87795, 0.662204,
                -0.077898, -0.68537, -0.089536, -0.770271, 0.97493, -0.639839, 0.751305, -0.68793, 0.425246,
                0.872735, -0.755904, -0.082873, 0.688531, -0.456128, -0.611063, 0.954877, -0.217702,
                0.941504, 0.417453, -0.254532, -0.104224, -0.754417, -0.996639, 0.058068, 0.257812, -0.06812,
                -0.432586, 0.303021, 0.524028, -0.568709, 0.958454, -0.712661, -0.172615, -0.056666,
                -0.876413, -0.236677, 0.539037, 0.825947, -0.156228, -0.195578, 0.361287, 0.751231,
                -0.445354, 0.73918, -0.368836, -0.322297, -0.998806, 0.098148, -0.64375, 0.035454, -0.13635,
                -0.445794, 0.375848, -0.149766, -0.463681, 0.015681, 0.013721, 0.394673, -0.198201,
                -0.197179, 0.126853, 0.370694, 0.271471, 0.601014, 0.067126, -0.54177, -0.46578, 0.057058,
                0.98327, 0.137517, 0.355892, 0.020146, -0.803365, 0.081113, -0.996635, -0.73233, -0.593703,
                0.177196, -0.132975, 0.891131, -0.665086, -0.524902, -0.917118, 0.867343, -0.773972,
                0.135096, 0.875054, -0.18544, 0.956256, 0.229084, -0.199893, 0.678351, -0.221719, 0.974153,
                -0.289273, -0.505723, -0.64276, 0.814543, 0.828393, -0.120367, -0.077321, 0.706981,
                -0.252413, 0.566816, -0.025108, 0.691212, -0.29732, -0.987834, -0.323445, 0.406796, 0.805259,
                -0.966521, -0.380815, 0.429545, -0.232164, 0.949485, 0.999259, -0.00375, -0.024829,
                -0.125517, 0.098069, -0.233233, 0.923669, -0.976112, -0.14104, -0.04594, 0.231835, -0.174136,
                -0.128832, 0.178433, 0.191528, -0.069662, 0.090014, -0.292529, 0.275011, -0.080413,
                -0.510522, -0.195345, 0.199752, -1.648899, 0.391192, 0.12051, -0.051666,
            ],
        ))
        .expect(floats(
            &[2, 1, 5, 16],
            &[
                0.479634, -0.107373, -0.887314, -0.788922, 0.101484, 0.647376, -0.61476, -0.594681,
                -0.764245, 0.81749, -0.751149, -0.003837, -0.602368, 0.774943, -0.181267, -0.932165,
                0.229838, 0.024301, 0.804715, -0.541307, 0.992107, 0.329562, 0.342201, -0.976828, -0.368401,
                -0.15809, 0.21709, 0.428392, 0.828369, -0.984236, 0.100356, 0.512201, 0.900224, 0.934662,
                -0.070048, -0.752544, -0.888223, 0.288994, 0.862552, 0.00859, -0.199714, -0.54912, 0.47399,
                0.6092, -0.655872, 0.619974, 0.975844, -0.643905, 0.014454, -0.105287, -0.308561, -0.656061,
                0.85812, -0.531999, 0.455035, 0.76841, -0.705351, -0.309464, 0.965885, -0.09913, -0.967747,
                -0.016102, -0.510063, -0.5069, -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445,
                -0.729708, 0.777437, -0.017875, 0.777059, 0.396872, 0.423773, -0.039671, -0.327999, 0.434768,
                0.597781, -0.141388, -0.749269, 0.724437, -0.514232, 0.003302, -0.580377, -0.263675,
                0.481233, 0.722291, -0.938516, 0.555321, -0.182041, 0.676258, 0.268488, 0.528621, -0.505013,
                -0.825986, 0.691931, -0.272024, 0.279614, 0.132096, -0.801757, 0.51499, 0.598046, 0.258342,
                0.130789, -0.52595, -0.707748, 0.572289, -0.219774, -0.144974, -0.716711, -0.081585,
                -0.820334, 0.048668, -0.064165, -0.458813, 0.142093, 0.109917, 0.152056, -0.497308, -0.14484,
                0.964659, -0.473367, -0.036819, -0.31822, -0.215873, -0.999571, 0.565718, 0.386078,
                -0.266662, 0.436876, -0.995221, 0.552283, -0.477554, 0.845019, 0.374915, 0.691642, -0.589809,
                0.945424, 0.032284, -0.688953, 0.158491, 0.721897, -0.387892, -0.792189, -0.65395, 0.175986,
                0.63885, 0.8714, 0.339289, -0.617792, 0.24487, 0.780278, -0.568423, -0.758131, 0.282437,
                0.743862, 0.390324, 0.449208,
            ],
        )),
        Case::new(
            "into a buffer",
            op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64).with("scale", 0.4f32)),
        )
        .input(noise(&[1, 1, 16], 1))
        .input(noise(&[1, 1, 8], 2))
        .input(noise(&[1, 1, 8], 3))
        .input(noise(&[1, 1, 8, 8], 5))
        .input(noise(&[1, 1, 8, 8], 6))
        .input(ints_of(DType::I32, &[1], &[4]))
        .input(ints_of(DType::I32, &[1], &[5]))
        .outputs(3)
        .expect(floats(
            &[1, 1, 16],
            &[
                -0.28826, 0.200712, -0.123731, -0.304445, 0.111701, 0.15311, -0.24123, -0.159954, -0.221962,
                0.139043, -0.073933, -0.314803, 0.20694, 0.101403, -0.222201, -0.141713,
            ],
        )),
        Case::new(
            "window",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("kv_num_heads", 1i64)
                .with("local_window_size", 2i64)),
        )
        .input(noise(&[1, 6, 16], 1))
        .input(noise(&[1, 6, 8], 2))
        .input(noise(&[1, 6, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[5]))
        .input(ints_of(DType::I32, &[1], &[6]))
        .expect(floats(
            &[1, 6, 16],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.434095, 0.569577, 0.302673, -0.280581, -0.33036, 0.002918, -0.206999, 0.696793, -0.426335,
                0.573446, 0.304429, -0.267449, -0.324941, -0.003252, -0.195034, 0.694947, -0.186351, 0.06255,
                -0.081587, 0.310951, 0.269273, 0.218111, 0.391295, 0.044307, -0.174172, 0.1142, -0.047,
                0.319106, 0.24694, 0.178634, 0.394437, 0.084316, -0.071583, -0.006136, -0.611196, -0.290965,
                0.460684, 0.807646, 0.364801, -0.084414, 0.015103, 0.209287, -0.599479, -0.418937, 0.411857,
                0.790173, 0.371793, 0.061762, -0.158507, 0.788344, -0.370625, -0.673374, 0.126278, 0.555565,
                0.095488, 0.118897, -0.108742, 0.787349, -0.395027, -0.683831, 0.145543, 0.578795, 0.131862,
                0.159647, -0.662503, 0.299452, 0.211557, 0.245312, -0.252092, 0.21615, 0.414696, -0.709762,
                -0.637915, 0.601687, -0.003773, -0.252976, -0.13139, 0.290815, 0.015506, -0.437267,
            ],
        )),
        Case::new(
            "capped",
            op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64).with("softcap", 0.5f32)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.424432, 0.574394, 0.30486, -0.264228, -0.323611, -0.004765, -0.192099, 0.694494, -0.42462,
                0.574301, 0.304818, -0.264547, -0.323743, -0.004615, -0.192389, 0.694539, -0.37853, 0.171897,
                0.018184, -0.070322, -0.003746, 0.236803, 0.0246, 0.28314, -0.369312, 0.196323, 0.034118,
                -0.06014, -0.010725, 0.216511, 0.032011, 0.299615,
            ],
        )),
        Case::new(
            "packed rotary interleaved",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("kv_num_heads", 1i64)
                .with("do_rotary", 1i64)
                .with("rotary_interleaved", 1i64)),
        )
        .input(noise(&[1, 3, 64], 1))
        .absent()
        .absent()
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .input(noise(&[8, 8], 21))
        .input(noise(&[8, 8], 22))
        .expect(floats(
            &[1, 3, 32],
            &[
                0.787878, 0.82538, -0.396287, -0.73683, -0.348633, 0.880348, -0.212676, -0.824538, 0.214099,
                -0.689045, 0.916664, 0.751231, 0.052912, -0.86326, 0.504703, 0.068133, 0.787878, 0.82538,
                -0.396287, -0.73683, -0.348633, 0.880348, -0.212676, -0.824538, 0.214099, -0.689045,
                0.916664, 0.751231, 0.052912, -0.86326, 0.504703, 0.068133, 0.45348, 0.416221, -0.548017,
                -0.777625, 0.511655, 0.186282, -0.108531, -0.208191, 0.326613, 0.069907, 0.931976, 0.234177,
                -0.348956, -0.696504, -0.350038, -0.112248, 0.555972, 0.541626, -0.501513, -0.765121,
                0.247982, 0.399009, -0.14045, -0.397098, 0.292128, -0.162708, 0.927283, 0.392651, -0.225785,
                -0.747614, -0.088064, -0.056962, -0.022702, 0.149146, 0.046076, -0.209792, 0.057443,
                0.130314, -0.391819, -0.238831, 0.330434, -0.179374, 0.817691, 0.532695, -0.338583,
                -0.782045, -0.28493, 0.141842, 0.229905, 0.322121, -0.188734, -0.448942, 0.131855, 0.252473,
                -0.284342, -0.312659, 0.312896, -0.17904, 0.864821, 0.476963, -0.286303, -0.768701,
                -0.192301, 0.057725,
            ],
        )),
        Case::new(
            "smooth",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("kv_num_heads", 1i64)
                .with("smooth_softmax", 1i64)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.429744, 0.222675, 0.125599, -0.474863, -0.315247, 0.151444, -0.405624, 0.432155,
                -0.381706, 0.197784, 0.111559, -0.421781, -0.280008, 0.134515, -0.360282, 0.383847, -0.31496,
                0.41326, 0.219606, -0.203577, -0.239694, 0.002117, -0.150189, 0.505562, -0.27374, 0.368196,
                0.195467, -0.171723, -0.208637, -0.002088, -0.125227, 0.446209, -0.287433, 0.131516, 0.01432,
                -0.052866, -0.002908, 0.179374, 0.019219, 0.215754, -0.263649, 0.148232, 0.029559, -0.043154,
                -0.011623, 0.149795, 0.022256, 0.221063,
            ],
        )),
        Case::new("sink", op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64)))
            .input(noise(&[1, 3, 16], 1))
            .input(noise(&[1, 3, 8], 2))
            .input(noise(&[1, 3, 8], 3))
            .absent()
            .absent()
            .input(ints_of(DType::I32, &[1], &[2]))
            .input(ints_of(DType::I32, &[1], &[3]))
            .absent()
            .absent()
            .absent()
            .absent()
            .input(noise(&[2], 9))
            .expect(floats(
                &[1, 3, 16],
                &[
                    -0.359477, 0.186266, 0.105062, -0.397219, -0.263702, 0.126682, -0.339301, 0.361494,
                    -0.287086, 0.148756, 0.083905, -0.317227, -0.210598, 0.101171, -0.270973, 0.288697,
                    -0.281016, 0.368722, 0.195939, -0.181638, -0.213862, 0.001889, -0.134003, 0.451077,
                    -0.222009, 0.298615, 0.158528, -0.139271, -0.169209, -0.001693, -0.101562, 0.361885,
                    -0.260029, 0.118977, 0.012955, -0.047826, -0.002631, 0.162272, 0.017386, 0.195184,
                    -0.222615, 0.125161, 0.024958, -0.036438, -0.009814, 0.126481, 0.018792, 0.186657,
                ],
            )),
        Case::new("bias", op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64)))
            .input(noise(&[1, 3, 16], 1))
            .input(noise(&[1, 3, 8], 2))
            .input(noise(&[1, 3, 8], 3))
            .absent()
            .absent()
            .input(ints_of(DType::I32, &[1], &[2]))
            .input(ints_of(DType::I32, &[1], &[3]))
            .absent()
            .absent()
            .absent()
            .input(noise(&[1, 2, 3, 3], 9))
            .expect(floats(
                &[1, 3, 16],
                &[
                    -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                    -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                    -0.604874, 0.484446, 0.264022, -0.569585, -0.449633, 0.138697, -0.470323, 0.737419,
                    -0.651896, 0.461006, 0.25338, -0.649158, -0.482473, 0.176081, -0.542825, 0.748604,
                    -0.268243, 0.498715, 0.232985, 0.042037, -0.110646, -0.028578, 0.101398, 0.512804,
                    -0.468288, 0.386485, 0.178975, -0.293075, -0.241895, 0.138645, -0.20276, 0.548616,
                ],
            )),
        Case::new(
            "norms",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("kv_num_heads", 1i64)
                .with("qk_norm_epsilon", 0.01f32)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .absent()
        .absent()
        .absent()
        .absent()
        .absent()
        .absent()
        .absent()
        .input(noise(&[8], 8))
        .input(noise(&[8], 9))
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437, -0.49522,
                0.539107, 0.288839, -0.384022, -0.37305, 0.051516, -0.301248, 0.711334, -0.414698, 0.579247,
                0.307063, -0.247756, -0.316813, -0.012504, -0.17709, 0.692178, -0.351763, 0.22067, 0.048984,
                -0.034705, -0.009023, 0.192362, 0.053718, 0.310125, -0.424185, 0.202614, 0.045196, -0.162194,
                -0.071813, 0.238146, -0.06414, 0.344341,
            ],
        )),
        Case::new(
            "norm epsilons",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("kv_num_heads", 1i64)
                .with("q_norm_epsilon", 0.01f32)
                .with("k_norm_epsilon", 0.1f32)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .absent()
        .absent()
        .absent()
        .absent()
        .absent()
        .absent()
        .absent()
        .input(noise(&[8], 8))
        .input(noise(&[8], 9))
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.477418, 0.547981, 0.292868, -0.353896, -0.360617, 0.037362, -0.273799, 0.707099,
                -0.411406, 0.580888, 0.307808, -0.242186, -0.314514, -0.015121, -0.172015, 0.691396,
                -0.358406, 0.206558, 0.039938, -0.042996, -0.006355, 0.204703, 0.04718, 0.301538, -0.419512,
                0.192761, 0.037746, -0.150957, -0.060307, 0.242393, -0.052756, 0.331761,
            ],
        )),
        Case::new(
            "both ways",
            op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64).with("causal", 0i64)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.407547, 0.217262, 0.053399, -0.135773, -0.064492, 0.220763, -0.040665, 0.346364,
                -0.355448, 0.149507, -0.000264, -0.021999, 0.035308, 0.240609, 0.071818, 0.245741, -0.421034,
                0.184644, 0.032262, -0.151522, -0.056391, 0.248414, -0.052578, 0.325196, -0.409256,
                -0.033247, -0.121337, -0.07045, 0.10323, 0.385319, 0.042343, 0.111754, -0.377933, 0.172925,
                0.018828, -0.069511, -0.003823, 0.235851, 0.02527, 0.283685, -0.367781, 0.206778, 0.041233,
                -0.060198, -0.016214, 0.208959, 0.031046, 0.308375,
            ],
        )),
        Case::new(
            "scores",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("kv_num_heads", 1i64)
                .with("qk_output", 1i64)
                .with("softcap", 0.5f32)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .outputs(4)
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.424432, 0.574394, 0.30486, -0.264228, -0.323611, -0.004765, -0.192099, 0.694494, -0.42462,
                0.574301, 0.304818, -0.264547, -0.323743, -0.004615, -0.192389, 0.694539, -0.37853, 0.171897,
                0.018184, -0.070322, -0.003746, 0.236803, 0.0246, 0.28314, -0.369312, 0.196323, 0.034118,
                -0.06014, -0.010725, 0.216511, 0.032011, 0.299615,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
            &[
                0.182379, 0.498299, 0.191276, 0.530838, -0.376823, -0.306755, 0.452707, 0.478175, -0.499375,
                0.455232, -0.321037, -0.124348, 0.111583, -0.252393, 0.864002, -0.593218, -0.599731,
                -0.271537, -0.244349, -0.579623, -0.903601, 0.054824, -0.237986, -0.338623,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.017875, 0.777059, 0.396872, 0.423773, -0.039671, -0.327999, 0.434768, 0.597781, -0.387892,
                -0.792189, -0.65395, 0.175986, 0.63885, 0.8714, 0.339289, -0.617792,
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 3],
            &[
                0.210476, 0.0, 0.0, 0.3184, 0.164796, 0.0, 0.0363, 0.14821, -0.026382, -0.025043, 0.0, 0.0,
                -0.030194, -0.184798, 0.0, -0.190265, -0.010392, -0.284689,
            ],
        )),
        Case::new(
            "scores with bias",
            op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64).with("qk_output", 1i64)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .absent()
        .absent()
        .absent()
        .input(noise(&[1, 2, 3, 3], 9))
        .outputs(4)
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.604874, 0.484446, 0.264022, -0.569585, -0.449633, 0.138697, -0.470323, 0.737419,
                -0.651896, 0.461006, 0.25338, -0.649158, -0.482473, 0.176081, -0.542825, 0.748604, -0.268243,
                0.498715, 0.232985, 0.042037, -0.110646, -0.028578, 0.101398, 0.512804, -0.468288, 0.386485,
                0.178975, -0.293075, -0.241895, 0.138645, -0.20276, 0.548616,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
            &[
                0.182379, 0.498299, 0.191276, 0.530838, -0.376823, -0.306755, 0.452707, 0.478175, -0.499375,
                0.455232, -0.321037, -0.124348, 0.111583, -0.252393, 0.864002, -0.593218, -0.599731,
                -0.271537, -0.244349, -0.579623, -0.903601, 0.054824, -0.237986, -0.338623,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.017875, 0.777059, 0.396872, 0.423773, -0.039671, -0.327999, 0.434768, 0.597781, -0.387892,
                -0.792189, -0.65395, 0.175986, 0.63885, 0.8714, 0.339289, -0.617792,
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 3],
            &[
                0.58915, 0.0, 0.0, 0.946013, -0.303708, 0.0, 0.327981, 1.119892, -0.588335, 0.553258, 0.0,
                0.0, 0.941272, -0.713338, 0.0, 0.571276, 0.120179, -0.929211,
            ],
        )),
        Case::new(
            "shares",
            op(Attributes::new().with("num_heads", 2i64).with("kv_num_heads", 1i64).with("qk_output", 2i64)),
        )
        .input(noise(&[1, 3, 16], 1))
        .input(noise(&[1, 3, 8], 2))
        .input(noise(&[1, 3, 8], 3))
        .absent()
        .absent()
        .input(ints_of(DType::I32, &[1], &[2]))
        .input(ints_of(DType::I32, &[1], &[3]))
        .outputs(4)
        .expect(floats(
            &[1, 3, 16],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.434095, 0.569577, 0.302673, -0.280581, -0.33036, 0.002918, -0.206999, 0.696793, -0.426335,
                0.573446, 0.304429, -0.267449, -0.324941, -0.003252, -0.195034, 0.694947, -0.377933,
                0.172925, 0.018828, -0.069511, -0.003823, 0.235851, 0.02527, 0.283685, -0.367781, 0.206778,
                0.041233, -0.060198, -0.016214, 0.208959, 0.031046, 0.308375,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
            &[
                0.182379, 0.498299, 0.191276, 0.530838, -0.376823, -0.306755, 0.452707, 0.478175, -0.499375,
                0.455232, -0.321037, -0.124348, 0.111583, -0.252393, 0.864002, -0.593218, -0.599731,
                -0.271537, -0.244349, -0.579623, -0.903601, 0.054824, -0.237986, -0.338623,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
            &[
                -0.773099, 0.400587, 0.225949, -0.854267, -0.567122, 0.272445, -0.729708, 0.777437,
                -0.017875, 0.777059, 0.396872, 0.423773, -0.039671, -0.327999, 0.434768, 0.597781, -0.387892,
                -0.792189, -0.65395, 0.175986, 0.63885, 0.8714, 0.339289, -0.617792,
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 3],
            &[
                1.0, 0.0, 0.0, 0.551121, 0.448879, 0.0, 0.326516, 0.366834, 0.30665, 1.0, 0.0, 0.0, 0.540846,
                0.459154, 0.0, 0.32326, 0.390881, 0.285858,
            ],
        )),
    ]
}
