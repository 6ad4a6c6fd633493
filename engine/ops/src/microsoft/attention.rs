//! [Attention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Attention): self-attention behind the projection of its input.

use super::formula::{Formula, ranked};
use super::heads::{FILTER, Projected};
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
                    -0.56522632,
                    0.58857369,
                    0.77376008,
                    0.10196757,
                    -0.63149953,
                    0.58147866,
                    0.7745114,
                    0.10081425,
                    -0.7937988,
                    0.56671184,
                    0.7682566,
                    0.10927738,
                    0.048420195,
                    0.65941441,
                    0.33553177,
                    0.29341024,
                    -0.1547994,
                    0.70861149,
                    0.029668856,
                    0.17873517,
                    0.032225527,
                    0.66492021,
                    0.57512075,
                    0.38242295,
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
                -1.0433235,
                0.58283985,
                0.85303611,
                -0.12213576,
                -0.90114123,
                0.54759568,
                0.89103681,
                -0.031183982,
                -0.69862938,
                0.574588,
                0.75321817,
                0.13009955,
                -0.41873896,
                0.86455262,
                -0.32555759,
                -0.014133781,
                -0.3993344,
                0.79515553,
                0.22635272,
                0.21395381,
                -0.013850141,
                0.67208028,
                0.41248968,
                0.32282645,
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
                    -0.89661562,
                    0.54647392,
                    0.88959426,
                    -0.034636516,
                    -0.901954,
                    0.54779714,
                    0.88949305,
                    -0.034878943,
                    -0.91922945,
                    0.55207938,
                    0.88991135,
                    -0.033877674,
                    0.048420195,
                    0.65941441,
                    0.33553177,
                    0.29341024,
                    -0.1547994,
                    0.70861149,
                    0.029668856,
                    0.17873517,
                    0.032225527,
                    0.66492021,
                    0.57512075,
                    0.38242295,
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
                -0.75806993,
                0.51213121,
                0.93072915,
                0.063816398,
                -0.75806993,
                0.51213121,
                0.93072915,
                0.063816398,
                -0.75806993,
                0.51213121,
                0.93072915,
                0.063816398,
                0.048420195,
                0.65941441,
                0.33553177,
                0.29341024,
                -0.1547994,
                0.70861149,
                0.029668856,
                0.17873517,
                0.032225527,
                0.66492021,
                0.57512075,
                0.38242295,
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
                    -0.48272163,
                    0.62127829,
                    0.69049406,
                    0.12220524,
                    -0.56974959,
                    0.61531115,
                    0.69167286,
                    0.12043334,
                    -0.81462151,
                    0.59852111,
                    0.68327624,
                    0.13305552,
                    -0.40784991,
                    0.82560986,
                    0.42407748,
                    0.29566738,
                    -0.39783052,
                    0.7897771,
                    -0.056312896,
                    0.097136788,
                    -0.40764257,
                    0.82486826,
                    0.70000595,
                    0.40970016,
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
                    -0.48272163,
                    0.62127829,
                    0.69049406,
                    0.12220524,
                    -0.901954,
                    0.54779714,
                    0.88949305,
                    -0.034878943,
                    -0.10266997,
                    0.64733708,
                    0.44983914,
                    0.48396939,
                    0.13553533,
                    0.6447733,
                    -0.098118261,
                    0.13204861,
                    -0.39783052,
                    0.7897771,
                    -0.056312896,
                    0.097136788,
                    0.66515678,
                    0.4347693,
                    0.14539698,
                    0.28856343,
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
                    -0.079015858,
                    0.012415375,
                    0.46357828,
                    -0.49985355,
                    -0.33117381,
                    0.20296344,
                    0.55303556,
                    -0.44138661,
                    -0.61401886,
                    0.46497402,
                    0.54567486,
                    -0.43862519,
                    -0.10469901,
                    0.48619968,
                    -0.10018396,
                    -0.096286364,
                    -0.072758146,
                    0.44786802,
                    0.15033659,
                    0.18780614,
                    0.078101732,
                    0.5065856,
                    0.4589147,
                    0.25643951,
                ],
            ))
            .expect(floats(
                &[2, 2, 2, 5, 2],
                &[
                    0.36472547,
                    0.5013898,
                    -0.46935511,
                    0.5696274,
                    -1.8973584,
                    -0.20329353,
                    -1.5505056,
                    -0.16723299,
                    -0.44727904,
                    0.18106706,
                    -0.47489315,
                    -0.77078384,
                    0.29161748,
                    0.96709704,
                    0.011591613,
                    0.7114014,
                    -0.39986542,
                    0.5919323,
                    -1.415735,
                    0.26694065,
                    -0.56192881,
                    0.57832193,
                    0.17947547,
                    -0.57045937,
                    -0.83449411,
                    0.77585101,
                    -0.95929265,
                    -0.64183176,
                    -0.17171687,
                    1.2686224,
                    0.97150278,
                    -0.51936036,
                    0.52007198,
                    0.77161616,
                    -0.2242626,
                    0.4357594,
                    -1.2414012,
                    0.89984775,
                    -0.18279129,
                    0.57736659,
                    0.13057204,
                    -0.60590976,
                    0.21417233,
                    0.35276529,
                    -1.0433235,
                    0.58283985,
                    -0.75806993,
                    0.51213121,
                    -0.10266997,
                    0.64733708,
                    0.5332247,
                    -0.83817101,
                    -0.062567748,
                    -0.2522423,
                    0.85303611,
                    -0.12213576,
                    0.93072915,
                    0.063816398,
                    0.44983914,
                    0.48396939,
                    -0.05637598,
                    0.33549514,
                    0.92144698,
                    -0.48105597,
                    -0.41873896,
                    0.86455262,
                    -0.38158673,
                    0.73168391,
                    0.66515678,
                    0.4347693,
                    0.27100122,
                    0.40489841,
                    -0.38543457,
                    -0.99815923,
                    -0.32555759,
                    -0.014133781,
                    1.1695749,
                    0.60375857,
                    0.14539698,
                    0.28856343,
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
                    -0.32939684,
                    0.62369746,
                    0.6310752,
                    0.25298256,
                    -0.73356384,
                    0.5740785,
                    0.77861661,
                    0.091138758,
                    -0.85952842,
                    0.56536317,
                    0.83689749,
                    0.066945292,
                    0.35092515,
                    0.5537082,
                    0.16468991,
                    0.25805816,
                    -0.24179044,
                    0.74432039,
                    0.013250468,
                    0.16954073,
                    -0.11114092,
                    0.7218051,
                    0.80886465,
                    0.46569127,
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
                0.82265651,
                0.58513093,
                -0.14014255,
                0.75874716,
                -0.10102186,
                -0.60651714,
                1.4042352,
                1.2066039,
                0.82616013,
                0.57901078,
                -0.15610178,
                0.76539612,
                -0.11591257,
                -0.60296673,
                1.3771476,
                1.1941739,
                0.81658959,
                0.59566385,
                -0.11284129,
                0.74739367,
                -0.18990649,
                -0.585567,
                1.2445279,
                1.1321239,
                0.15475348,
                0.70539719,
                0.34956056,
                0.55100459,
                -0.0031111583,
                -0.44226167,
                0.79320568,
                0.74533629,
                0.54873836,
                0.77272791,
                -0.0046956255,
                0.28928274,
                -0.033260729,
                -0.39299479,
                0.6494379,
                0.76650357,
                0.027149655,
                0.65357238,
                0.45779473,
                0.62738192,
                0.0054118442,
                -0.46082366,
                0.84650099,
                0.73699105,
            ],
        )),
    ]
}
