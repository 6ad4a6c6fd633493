//! [GroupQueryAttention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention): attention over a cache, with several heads of queries to one of keys.

use super::formula::{Formula, plain, ranked};
use super::heads::scaled;
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
        let (start, axis) = (f.ints(&[0])?, f.ints(&[2])?);
        let mut keys = f.op("Slice", &[present[0], start, total, axis])?;
        let mut values = f.op("Slice", &[present[1], start, total, axis])?;
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
                    -0.7730993,
                    0.40058702,
                    0.22594936,
                    -0.85426652,
                    -0.5671218,
                    0.27244464,
                    -0.72970825,
                    0.77743685,
                    -0.7730993,
                    0.40058702,
                    0.22594936,
                    -0.85426652,
                    -0.5671218,
                    0.27244464,
                    -0.72970825,
                    0.77743685,
                    -0.43409482,
                    0.56957746,
                    0.30267313,
                    -0.2805813,
                    -0.33036008,
                    0.0029180248,
                    -0.20699893,
                    0.6967929,
                    -0.42633486,
                    0.57344568,
                    0.30442938,
                    -0.26744938,
                    -0.3249405,
                    -0.0032515656,
                    -0.19503385,
                    0.69494683,
                    -0.37793332,
                    0.17292458,
                    0.018828427,
                    -0.069511026,
                    -0.0038232745,
                    0.2358515,
                    0.025269702,
                    0.28368548,
                    -0.36778131,
                    0.20677777,
                    0.041233439,
                    -0.060198288,
                    -0.016213797,
                    0.20895895,
                    0.031045992,
                    0.30837464,
                    0.24487047,
                    0.78027797,
                    -0.56842268,
                    -0.75813138,
                    0.28243658,
                    0.74386162,
                    0.39032412,
                    0.4492082,
                    0.24487047,
                    0.78027797,
                    -0.56842268,
                    -0.75813138,
                    0.28243658,
                    0.74386162,
                    0.39032412,
                    0.4492082,
                    -0.15850653,
                    0.78834403,
                    -0.37062517,
                    -0.67337447,
                    0.1262778,
                    0.55556488,
                    0.095488399,
                    0.1188969,
                    -0.10874204,
                    0.78734899,
                    -0.39502743,
                    -0.68383098,
                    0.14554308,
                    0.57879502,
                    0.13186221,
                    0.15964732,
                    -0.40917853,
                    0.43369058,
                    -0.0062007327,
                    -0.034833394,
                    -0.10286051,
                    0.36347878,
                    0.40789202,
                    -0.38619602,
                    -0.30906913,
                    0.66821402,
                    -0.21411036,
                    -0.44115096,
                    0.022764305,
                    0.45957926,
                    0.15512902,
                    -0.1070467,
                ],
            ))
            .expect(floats(
                &[2, 1, 3, 8],
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
                    0.58615357,
                    -0.6623736,
                    -0.98356217,
                    0.35622358,
                    0.67761934,
                    -0.12761799,
                    0.95926195,
                    0.70196515,
                ],
            ))
            .expect(floats(
                &[2, 1, 3, 8],
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
                    -0.68556201,
                    0.016002931,
                    0.41350248,
                    0.7126258,
                    -0.36529213,
                    0.14612626,
                    0.78907305,
                    -0.96531862,
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
                0.13746971,
                0.22621092,
                -0.051348951,
                -0.72573173,
                0.073419198,
                0.22379464,
                0.0052525899,
                0.00051682815,
                -0.40216967,
                0.16825148,
                0.23060432,
                0.27338162,
                -0.27140442,
                0.011900676,
                0.16824514,
                -0.1725809,
                0.11717514,
                0.18172628,
                0.038390126,
                -0.70360202,
                0.21453294,
                0.20249598,
                0.038972005,
                -0.063613035,
                -0.40838456,
                0.13051191,
                0.26042697,
                0.27216178,
                -0.16898519,
                -0.11542387,
                0.12373359,
                -0.091217361,
                -0.19214858,
                -0.29821408,
                -0.072646149,
                0.052747872,
                -0.1665522,
                0.013633601,
                0.076201357,
                0.28281921,
                0.1201126,
                0.067669265,
                0.089078762,
                -0.29395127,
                0.26947808,
                -0.086791024,
                0.080085523,
                -0.34706661,
                -0.22883257,
                -0.20191571,
                -0.18467869,
                0.12013409,
                -0.074263267,
                0.082106471,
                0.10989723,
                0.23790565,
                0.2001093,
                0.21830153,
                -0.14352478,
                -0.29823101,
                0.29923186,
                -0.017141692,
                0.12278455,
                -0.16872607,
            ],
        ))
        .expect(floats(
            &[2, 1, 5, 16],
            &[
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
                0.74850118,
                -0.094585545,
                0.90935755,
                0.87795037,
                0.66220415,
                -0.077898115,
                -0.68537015,
                -0.089536145,
                -0.77027088,
                0.97493011,
                -0.63983876,
                0.75130481,
                -0.68793035,
                0.42524576,
                0.87273502,
                -0.75590402,
                -0.08287286,
                0.68853062,
                -0.45612761,
                -0.61106271,
                0.95487726,
                -0.21770222,
                0.9415043,
                0.41745269,
                -0.25453156,
                -0.10422359,
                -0.75441712,
                -0.99663866,
                0.058068138,
                0.25781226,
                -0.068119787,
                -0.43258649,
                0.30302075,
                0.52402782,
                -0.5687089,
                0.95845383,
                -0.71266085,
                -0.17261453,
                -0.056666024,
                -0.87641293,
                -0.23667705,
                0.53903681,
                0.82594681,
                -0.15622792,
                -0.19557843,
                0.36128744,
                0.75123125,
                -0.44535434,
                0.73918027,
                -0.36883593,
                -0.3222968,
                -0.99880558,
                0.098148212,
                -0.64374959,
                0.035453688,
                -0.13634963,
                -0.44579396,
                0.37584817,
                -0.14976612,
                -0.46368104,
                0.015680652,
                0.013721118,
                0.39467284,
                -0.1982011,
                -0.19717878,
                0.12685309,
                0.37069404,
                0.27147055,
                0.60101378,
                0.067125969,
                -0.54177034,
                -0.46578026,
                0.057058446,
                0.98327005,
                0.13751675,
                0.35589218,
                0.020145833,
                -0.80336493,
                0.081113257,
                -0.9966349,
                -0.73233044,
                -0.59370261,
                0.17719603,
                -0.13297474,
                0.89113146,
                -0.66508639,
                -0.52490181,
                -0.91711837,
                0.86734307,
                -0.77397203,
                0.13509603,
                0.87505364,
                -0.18543994,
                0.95625597,
                0.22908385,
                -0.19989309,
                0.67835087,
                -0.22171947,
                0.97415274,
                -0.28927299,
                -0.50572312,
                -0.64275998,
                0.81454325,
                0.8283931,
                -0.12036674,
                -0.077320859,
                0.70698148,
                -0.2524128,
                0.56681556,
                -0.025107555,
                0.69121248,
                -0.29731989,
                -0.98783374,
                -0.3234455,
                0.40679604,
                0.80525941,
                -0.96652126,
                -0.38081485,
                0.42954534,
                -0.23216408,
                0.94948506,
                0.99925929,
                -0.0037504516,
                -0.024828775,
                -0.12551682,
                0.098069087,
                -0.23323318,
                0.92366898,
                -0.97611219,
                -0.14103977,
                -0.045940317,
                0.23183517,
                -0.17413561,
                -0.12883218,
                0.17843343,
                0.19152765,
                -0.069662146,
                0.090013534,
                -0.29252899,
                0.27501124,
                -0.080412798,
                -0.51052183,
                -0.19534469,
                0.19975248,
                -1.6488991,
                0.39119229,
                0.12050957,
                -0.051665761,
            ],
        ))
        .expect(floats(
            &[2, 1, 5, 16],
            &[
                0.47963402,
                -0.10737256,
                -0.8873142,
                -0.78892231,
                0.1014844,
                0.64737606,
                -0.6147595,
                -0.59468108,
                -0.76424468,
                0.81748998,
                -0.75114924,
                -0.0038369999,
                -0.60236758,
                0.77494317,
                -0.18126731,
                -0.93216497,
                0.22983846,
                0.02430076,
                0.8047151,
                -0.54130739,
                0.99210727,
                0.3295624,
                0.34220108,
                -0.97682846,
                -0.3684006,
                -0.1580902,
                0.21708995,
                0.4283922,
                0.82836914,
                -0.98423564,
                0.10035602,
                0.51220113,
                0.90022361,
                0.93466222,
                -0.070048228,
                -0.75254428,
                -0.88822341,
                0.28899375,
                0.8625524,
                0.0085897371,
                -0.1997145,
                -0.54911959,
                0.47399026,
                0.6092003,
                -0.65587169,
                0.61997354,
                0.97584397,
                -0.64390516,
                0.014453786,
                -0.10528691,
                -0.30856109,
                -0.65606052,
                0.8581199,
                -0.53199881,
                0.45503482,
                0.76841044,
                -0.70535129,
                -0.30946407,
                0.96588516,
                -0.099130437,
                -0.96774709,
                -0.016102152,
                -0.51006263,
                -0.50689983,
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
                -0.14138801,
                -0.74926871,
                0.72443688,
                -0.51423168,
                0.0033021513,
                -0.58037746,
                -0.26367521,
                0.48123345,
                0.72229099,
                -0.93851638,
                0.5553205,
                -0.18204142,
                0.67625773,
                0.26848796,
                0.52862072,
                -0.50501299,
                -0.82598627,
                0.69193149,
                -0.27202374,
                0.27961358,
                0.13209565,
                -0.8017565,
                0.51499033,
                0.59804583,
                0.25834152,
                0.13078898,
                -0.52595019,
                -0.70774752,
                0.57228941,
                -0.21977375,
                -0.14497384,
                -0.71671104,
                -0.081585065,
                -0.8203336,
                0.048667599,
                -0.06416481,
                -0.45881271,
                0.14209308,
                0.10991732,
                0.15205617,
                -0.49730772,
                -0.14484,
                0.96465886,
                -0.47336709,
                -0.036819085,
                -0.31821987,
                -0.21587265,
                -0.99957108,
                0.5657177,
                0.38607815,
                -0.26666209,
                0.43687624,
                -0.99522102,
                0.55228305,
                -0.47755444,
                0.84501868,
                0.37491471,
                0.69164163,
                -0.58980852,
                0.94542384,
                0.032283507,
                -0.68895298,
                0.15849113,
                0.72189713,
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
                -0.28825957,
                0.20071174,
                -0.12373076,
                -0.30444512,
                0.11170135,
                0.1531096,
                -0.24123035,
                -0.15995382,
                -0.22196229,
                0.13904272,
                -0.073932566,
                -0.31480345,
                0.20693961,
                0.10140286,
                -0.22220097,
                -0.14171292,
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
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.43409485,
                0.5695774,
                0.30267313,
                -0.2805813,
                -0.33036008,
                0.0029180266,
                -0.20699891,
                0.69679284,
                -0.42633483,
                0.57344562,
                0.30442935,
                -0.26744938,
                -0.3249405,
                -0.0032515647,
                -0.19503388,
                0.69494689,
                -0.18635069,
                0.062550217,
                -0.081587046,
                0.31095076,
                0.26927271,
                0.21811058,
                0.3912949,
                0.044307072,
                -0.17417198,
                0.11420041,
                -0.047000319,
                0.3191064,
                0.2469399,
                0.17863359,
                0.39443749,
                0.084316365,
                -0.071583092,
                -0.0061357901,
                -0.61119598,
                -0.29096541,
                0.46068427,
                0.80764562,
                0.3648009,
                -0.084414266,
                0.015103422,
                0.20928749,
                -0.59947908,
                -0.41893679,
                0.41185668,
                0.79017323,
                0.37179253,
                0.061761606,
                -0.15850654,
                0.78834403,
                -0.37062517,
                -0.67337447,
                0.1262778,
                0.55556488,
                0.095488399,
                0.11889689,
                -0.10874204,
                0.78734905,
                -0.39502743,
                -0.68383098,
                0.14554307,
                0.57879502,
                0.13186221,
                0.15964732,
                -0.66250259,
                0.29945159,
                0.21155713,
                0.24531187,
                -0.25209245,
                0.21615021,
                0.41469637,
                -0.70976192,
                -0.63791466,
                0.60168743,
                -0.0037733198,
                -0.25297603,
                -0.13138981,
                0.29081541,
                0.015505699,
                -0.43726674,
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
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.42443153,
                0.5743944,
                0.30486012,
                -0.26422849,
                -0.3236112,
                -0.0047647944,
                -0.19209917,
                0.69449407,
                -0.42461953,
                0.57430071,
                0.30481756,
                -0.2645466,
                -0.32374251,
                -0.0046153376,
                -0.192389,
                0.69453877,
                -0.37853041,
                0.17189701,
                0.018183567,
                -0.070321985,
                -0.0037464136,
                0.23680334,
                0.0245995,
                0.28314039,
                -0.36931184,
                0.19632256,
                0.034118418,
                -0.060140096,
                -0.010725064,
                0.21651146,
                0.03201092,
                0.29961482,
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
                0.78787804,
                0.82538033,
                -0.39628744,
                -0.73683012,
                -0.34863269,
                0.88034785,
                -0.21267569,
                -0.82453835,
                0.21409947,
                -0.68904501,
                0.91666418,
                0.75123054,
                0.05291196,
                -0.86326003,
                0.50470287,
                0.068132982,
                0.78787804,
                0.82538033,
                -0.39628744,
                -0.73683012,
                -0.34863269,
                0.88034785,
                -0.21267569,
                -0.82453835,
                0.21409947,
                -0.68904501,
                0.91666418,
                0.75123054,
                0.05291196,
                -0.86326003,
                0.50470287,
                0.068132982,
                0.45348042,
                0.4162209,
                -0.54801738,
                -0.77762485,
                0.51165533,
                0.18628179,
                -0.10853052,
                -0.20819108,
                0.32661301,
                0.069907226,
                0.9319756,
                0.2341774,
                -0.3489559,
                -0.696504,
                -0.3500379,
                -0.11224808,
                0.55597156,
                0.54162616,
                -0.50151294,
                -0.76512146,
                0.24798153,
                0.39900941,
                -0.14045048,
                -0.3970983,
                0.29212821,
                -0.16270769,
                0.92728275,
                0.3926515,
                -0.22578549,
                -0.74761385,
                -0.088064305,
                -0.056962222,
                -0.022702469,
                0.14914575,
                0.046075895,
                -0.20979191,
                0.05744322,
                0.13031414,
                -0.39181876,
                -0.23883073,
                0.33043432,
                -0.17937382,
                0.81769115,
                0.53269523,
                -0.33858266,
                -0.78204519,
                -0.28492954,
                0.14184196,
                0.22990482,
                0.32212123,
                -0.18873377,
                -0.4489421,
                0.13185471,
                0.252473,
                -0.28434193,
                -0.31265929,
                0.31289643,
                -0.17903979,
                0.86482072,
                0.47696272,
                -0.28630292,
                -0.76870066,
                -0.19230053,
                0.057724986,
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
                -0.42974418,
                0.22267507,
                0.12559891,
                -0.47486275,
                -0.31524709,
                0.15144432,
                -0.40562433,
                0.43215531,
                -0.3817057,
                0.19778357,
                0.11155897,
                -0.42178074,
                -0.28000751,
                0.13451527,
                -0.36028203,
                0.3838473,
                -0.31495973,
                0.4132598,
                0.21960604,
                -0.20357722,
                -0.23969448,
                0.0021171917,
                -0.15018915,
                0.50556165,
                -0.27373981,
                0.36819631,
                0.19546711,
                -0.17172313,
                -0.20863684,
                -0.0020877561,
                -0.12522675,
                0.44620946,
                -0.28743333,
                0.13151598,
                0.014319773,
                -0.052865904,
                -0.0029077546,
                0.17937443,
                0.019218611,
                0.21575406,
                -0.26364914,
                0.14823152,
                0.029558752,
                -0.043153986,
                -0.011623085,
                0.14979513,
                0.022255739,
                0.2210626,
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
                    -0.35947743,
                    0.18626584,
                    0.10506243,
                    -0.39721873,
                    -0.26370156,
                    0.12668191,
                    -0.33930135,
                    0.3614943,
                    -0.28708613,
                    0.14875576,
                    0.083905041,
                    -0.31722713,
                    -0.21059753,
                    0.1011708,
                    -0.27097312,
                    0.28869686,
                    -0.28101629,
                    0.3687225,
                    0.19593893,
                    -0.18163754,
                    -0.2138624,
                    0.0018890143,
                    -0.13400313,
                    0.45107687,
                    -0.22200888,
                    0.29861513,
                    0.15852804,
                    -0.13927114,
                    -0.16920896,
                    -0.0016932198,
                    -0.10156159,
                    0.36188549,
                    -0.26002866,
                    0.11897694,
                    0.012954507,
                    -0.047825519,
                    -0.0026305181,
                    0.16227239,
                    0.017386263,
                    0.19518353,
                    -0.22261538,
                    0.12516111,
                    0.024958292,
                    -0.036437586,
                    -0.0098141013,
                    0.12648135,
                    0.018791918,
                    0.18665692,
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
                    -0.7730993,
                    0.40058702,
                    0.22594936,
                    -0.85426652,
                    -0.5671218,
                    0.27244464,
                    -0.72970825,
                    0.77743685,
                    -0.7730993,
                    0.40058702,
                    0.22594936,
                    -0.85426652,
                    -0.5671218,
                    0.27244464,
                    -0.72970825,
                    0.77743685,
                    -0.60487425,
                    0.48444551,
                    0.2640222,
                    -0.56958526,
                    -0.44963291,
                    0.13869676,
                    -0.47032285,
                    0.73741865,
                    -0.65189582,
                    0.46100575,
                    0.25338021,
                    -0.64915818,
                    -0.48247293,
                    0.17608142,
                    -0.54282522,
                    0.74860436,
                    -0.26824293,
                    0.49871463,
                    0.23298474,
                    0.042036504,
                    -0.11064598,
                    -0.028577976,
                    0.10139786,
                    0.51280439,
                    -0.46828806,
                    0.38648498,
                    0.17897458,
                    -0.29307488,
                    -0.2418946,
                    0.1386455,
                    -0.20275962,
                    0.54861647,
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
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.49522039,
                0.53910691,
                0.28883913,
                -0.38402197,
                -0.37305036,
                0.051516108,
                -0.30124813,
                0.71133369,
                -0.41469753,
                0.5792467,
                0.3070631,
                -0.24775599,
                -0.31681293,
                -0.01250384,
                -0.17709035,
                0.69217849,
                -0.3517628,
                0.22067048,
                0.048984345,
                -0.034704879,
                -0.0090234503,
                0.19236171,
                0.053718302,
                0.31012523,
                -0.42418534,
                0.20261398,
                0.045195732,
                -0.16219363,
                -0.07181292,
                0.23814552,
                -0.064140029,
                0.34434068,
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
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.47741801,
                0.54798114,
                0.29286817,
                -0.3538956,
                -0.36061713,
                0.03736227,
                -0.27379873,
                0.70709872,
                -0.41140595,
                0.58088756,
                0.30780807,
                -0.24218574,
                -0.3145141,
                -0.015120837,
                -0.17201506,
                0.69139552,
                -0.35840583,
                0.20655832,
                0.03993823,
                -0.042995583,
                -0.0063553923,
                0.20470345,
                0.047180463,
                0.30153823,
                -0.4195123,
                0.19276144,
                0.037745979,
                -0.15095711,
                -0.060307052,
                0.24239336,
                -0.052755758,
                0.33176139,
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
                -0.40754667,
                0.21726243,
                0.053398918,
                -0.13577291,
                -0.064491682,
                0.22076324,
                -0.040664788,
                0.34636423,
                -0.35544819,
                0.1495066,
                -0.00026431793,
                -0.021998892,
                0.035308477,
                0.24060935,
                0.071817949,
                0.24574053,
                -0.42103449,
                0.1846437,
                0.032262351,
                -0.15152226,
                -0.056391146,
                0.24841395,
                -0.052578345,
                0.32519609,
                -0.40925619,
                -0.033246927,
                -0.12133709,
                -0.07045003,
                0.10323013,
                0.38531858,
                0.042342886,
                0.11175361,
                -0.37793335,
                0.17292455,
                0.018828427,
                -0.069511034,
                -0.0038232692,
                0.2358515,
                0.025269717,
                0.28368545,
                -0.36778131,
                0.20677778,
                0.04123342,
                -0.060198296,
                -0.016213795,
                0.20895897,
                0.031045988,
                0.30837458,
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
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.42443153,
                0.5743944,
                0.30486012,
                -0.26422849,
                -0.3236112,
                -0.0047647944,
                -0.19209917,
                0.69449407,
                -0.42461953,
                0.57430071,
                0.30481756,
                -0.2645466,
                -0.32374251,
                -0.0046153376,
                -0.192389,
                0.69453877,
                -0.37853041,
                0.17189701,
                0.018183567,
                -0.070321985,
                -0.0037464136,
                0.23680334,
                0.0245995,
                0.28314039,
                -0.36931184,
                0.19632256,
                0.034118418,
                -0.060140096,
                -0.010725064,
                0.21651146,
                0.03201092,
                0.29961482,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
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
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
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
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 3],
            &[
                0.21047631,
                0.0,
                0.0,
                0.31839964,
                0.16479628,
                0.0,
                0.036299866,
                0.14820999,
                -0.02638207,
                -0.025042785,
                0.0,
                0.0,
                -0.030193567,
                -0.18479842,
                0.0,
                -0.19026537,
                -0.010391505,
                -0.28468889,
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
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.60487425,
                0.48444551,
                0.2640222,
                -0.56958526,
                -0.44963291,
                0.13869676,
                -0.47032285,
                0.73741865,
                -0.65189582,
                0.46100575,
                0.25338021,
                -0.64915818,
                -0.48247293,
                0.17608142,
                -0.54282522,
                0.74860436,
                -0.26824293,
                0.49871463,
                0.23298474,
                0.042036504,
                -0.11064598,
                -0.028577976,
                0.10139786,
                0.51280439,
                -0.46828806,
                0.38648498,
                0.17897458,
                -0.29307488,
                -0.2418946,
                0.1386455,
                -0.20275962,
                0.54861647,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
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
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
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
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 3],
            &[
                0.58915007,
                0.0,
                0.0,
                0.94601297,
                -0.3037076,
                0.0,
                0.32798132,
                1.1198921,
                -0.58833539,
                0.55325818,
                0.0,
                0.0,
                0.94127244,
                -0.71333838,
                0.0,
                0.57127613,
                0.12017903,
                -0.9292106,
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
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.7730993,
                0.40058702,
                0.22594936,
                -0.85426652,
                -0.5671218,
                0.27244464,
                -0.72970825,
                0.77743685,
                -0.43409485,
                0.5695774,
                0.30267313,
                -0.2805813,
                -0.33036008,
                0.0029180266,
                -0.20699891,
                0.69679284,
                -0.42633483,
                0.57344562,
                0.30442935,
                -0.26744938,
                -0.3249405,
                -0.0032515647,
                -0.19503388,
                0.69494689,
                -0.37793335,
                0.17292455,
                0.018828427,
                -0.069511034,
                -0.0038232692,
                0.2358515,
                0.025269717,
                0.28368545,
                -0.36778131,
                0.20677778,
                0.04123342,
                -0.060198296,
                -0.016213795,
                0.20895897,
                0.031045988,
                0.30837458,
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
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
            ],
        ))
        .expect(floats(
            &[1, 1, 3, 8],
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
            ],
        ))
        .expect(floats(
            &[1, 2, 3, 3],
            &[
                1.0, 0.0, 0.0, 0.55112076, 0.44887927, 0.0, 0.32651573, 0.36683398, 0.30665022, 1.0, 0.0,
                0.0, 0.54084569, 0.45915431, 0.0, 0.32326013, 0.39088148, 0.28585839,
            ],
        )),
    ]
}
