//! [QAttention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QAttention): self-attention behind the projection of a quantized input.

use super::formula::{Formula, ranked};
use super::heads::{FILTER, Projected};
use crate::{Case, Form, Room, attributes, floats, ints_of, noise, of_expansion, of_room, types};
use oxidane_graph::{
    Attributes, Build, Dim, InferCtx, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// Attention of the queries, keys and values that the product of input and weights holds.
    pub struct QAttention { do_rotary: bool = false, mask_filter_value: Option<f32>, num_heads: i64, past_present_share_buffer: bool = false, scale: Option<f32>, unidirectional: bool = false }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input", types::BYTES, "T1"),
        Param::one("weight", types::BYTES, "T2"),
        Param::one("bias", types::FLOAT, "T3"),
        Param::one("input_scale", types::FLOAT, "T3"),
        Param::one("weight_scale", types::FLOAT, "T3"),
        Param::optional("mask_index", types::INT32, "T4"),
        Param::optional("input_zero_point", types::BYTES, "T1"),
        Param::optional("weight_zero_point", types::BYTES, "T2"),
        Param::optional("past", types::FLOAT, "T3"),
    ],
    outputs: &[Param::one("output", types::FLOAT, "T3"), Param::optional("present", types::FLOAT, "T3")],
};

/// The room of QAttention.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "QAttention",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(QAttention::read(a)?)),
    steps: &[],
    cases,
};

impl Op for QAttention {
    of_room!();
    of_expansion!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(2)?;
        let (x, weights) = (ranked::<3>(ctx, 0)?, ranked::<2>(ctx, 1)?);
        let (Some([batch, rows, _]), Some([_, all])) = (x, weights) else {
            ctx.set_unranked(0, dtype);
            ctx.set_unranked(1, dtype);
            return Ok(());
        };
        let heads = Dim::known(self.num_heads.max(1));
        let value = all.floor_div(Dim::known(3));
        ctx.set_tensor(0, dtype, [batch, rows, value]);
        let keys = match (ctx.has_input(8), ranked::<5>(ctx, 8)?) {
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
        let (x, weight, bias) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let dtype = f.dtype(bias)?;
        // The integers as floats, whose products are as exact.
        let mut sides = [(x, 6), (weight, 7)];
        for (side, zero) in &mut sides {
            *side = f.cast(*side, DType::F32)?;
            if let Some(zero) = f.input(*zero) {
                let zero = f.cast(zero, DType::F32)?;
                *side = f.op("Sub", &[*side, zero])?;
            }
        }
        let product = f.op("MatMul", &[sides[0].0, sides[1].0])?;
        let (a, b) = (f.need(3)?, f.need(4)?);
        let (a, b) = (f.cast(a, DType::F32)?, f.cast(b, DType::F32)?);
        let scale = f.op("Mul", &[a, b])?;
        let scaled = f.op("Mul", &[product, scale])?;
        let scaled = f.cast(scaled, dtype)?;
        let projections = f.op("Add", &[scaled, bias])?;
        let [_, all] = f.sizes(weight)?;
        let attention = Projected {
            heads: self.num_heads,
            sizes: [all / 3; 3],
            causal: self.unidirectional,
            scale: self.scale,
            filter: self.mask_filter_value.unwrap_or(FILTER),
        };
        let rest = [f.input(5), f.input(8), None];
        Ok(Some(attention.attend(&mut f, projections, rest)?))
    }
}

fn cases() -> Vec<Case> {
    let op = |a: Attributes| QAttention::read(&a).expect("attributes of the operator");
    // Values by ONNX Runtime.
    vec![
        Case::new("bytes", op(Attributes::new().with("num_heads", 2i64)))
            .input(ints_of(
                DType::U8,
                &[2, 3, 4],
                &[
                    216, 162, 130, 68, 78, 10, 19, 4, 44, 207, 165, 232, 128, 154, 247, 186, 161, 138, 142,
                    238, 70, 208, 171, 0,
                ],
            ))
            .input(ints_of(
                DType::I8,
                &[4, 12],
                &[
                    -22, 71, 10, -94, 52, 45, 69, -65, -83, 72, -96, 8, -84, -41, -4, -16, -20, -95, -99,
                    -76, -99, 34, 5, 29, -49, 23, 52, -24, -8, 99, 60, 96, -25, 37, 90, 30, 68, 37, 40, -23,
                    75, -73, 15, 44, 69, 5, -25, -38,
                ],
            ))
            .input(noise(&[12], 3))
            .input(floats(&[], &[0.0099999998]))
            .input(floats(&[], &[0.02]))
            .absent()
            .input(ints_of(DType::U8, &[], &[120]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    1.5961504,
                    -1.3083224,
                    -0.90549308,
                    1.1879103,
                    0.42049301,
                    0.82171762,
                    2.1610358,
                    0.22488546,
                    0.4896549,
                    0.1317236,
                    -0.65103495,
                    0.8742823,
                    -2.7962852,
                    0.93631351,
                    0.0099347858,
                    0.11774349,
                    -1.2049108,
                    1.7429373,
                    0.63016498,
                    0.55251354,
                    -2.8412015,
                    0.9128924,
                    1.8975151,
                    1.2088877,
                ],
            ))
            .tolerance(0.0001),
        Case::new(
            "columns, mask and past",
            op(Attributes::new()
                .with("num_heads", 2i64)
                .with("unidirectional", 1i64)
                .with("mask_filter_value", -1000.0f32)),
        )
        .input(ints_of(DType::U8, &[1, 3, 4], &[107, 123, 183, 226, 18, 238, 135, 91, 171, 145, 64, 82]))
        .input(ints_of(
            DType::U8,
            &[4, 12],
            &[
                183, 151, 128, 86, 193, 99, 83, 227, 67, 57, 182, 158, 12, 21, 96, 212, 102, 200, 80, 61,
                201, 223, 20, 14, 171, 85, 146, 38, 219, 114, 228, 203, 179, 58, 195, 13, 145, 103, 254, 50,
                241, 23, 158, 147, 229, 76, 230, 171,
            ],
        ))
        .input(noise(&[12], 3))
        .input(floats(&[], &[0.0099999998]))
        .input(floats(
            &[12],
            &[
                0.02,
                0.021,
                0.022,
                0.023,
                0.024,
                0.025,
                0.026000001,
                0.027000001,
                0.028000001,
                0.028999999,
                0.029999999,
                0.030999999,
            ],
        ))
        .absent()
        .input(ints_of(DType::U8, &[], &[100]))
        .input(ints_of(DType::U8, &[12], &[128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128]))
        .input(noise(&[2, 1, 2, 2, 2], 9))
        .outputs(2)
        .expect(floats(
            &[1, 3, 4],
            &[
                4.7523127,
                -2.1732728,
                0.99927378,
                -0.48756683,
                1.0036013,
                0.76531142,
                4.4724164,
                -1.2238683,
                2.8720291,
                4.2033782,
                -0.5144124,
                -0.080664106,
            ],
        ))
        .expect(floats(
            &[2, 1, 2, 5, 2],
            &[
                0.36472547,
                0.5013898,
                -0.46935511,
                0.5696274,
                4.6283979,
                -2.9623055,
                -2.1871219,
                3.464695,
                -1.0147218,
                1.1661947,
                -0.47489315,
                -0.77078384,
                0.29161748,
                0.96709704,
                2.0421519,
                2.8756065,
                -0.65274823,
                -3.2482629,
                -3.1984081,
                1.0398768,
                -0.56192881,
                0.57832193,
                0.17947547,
                -0.57045937,
                5.0812049,
                -2.3184011,
                4.4486847,
                5.6925588,
                -1.3338751,
                1.5571587,
                0.97150278,
                -0.51936036,
                0.52007198,
                0.77161616,
                5.2889719,
                -1.6033173,
                -4.9746275,
                -6.583467,
                -1.1853276,
                0.53723252,
            ],
        ))
        .tolerance(0.0001),
        Case::new("lengths", op(Attributes::new().with("num_heads", 2i64).with("scale", 0.5f32)))
            .input(ints_of(
                DType::U8,
                &[2, 3, 4],
                &[
                    227, 50, 193, 240, 12, 93, 162, 26, 130, 160, 194, 236, 104, 112, 120, 243, 49, 127, 12,
                    108, 241, 158, 89, 253,
                ],
            ))
            .input(ints_of(
                DType::I8,
                &[4, 12],
                &[
                    20, 89, -97, -8, 66, 51, -19, -1, -16, 5, -54, 57, -85, -18, -44, 46, 49, 42, 84, 86,
                    -64, -78, -74, 45, 94, 85, 33, 93, 74, -98, -77, 72, -84, 96, 65, 91, -28, -71, 3, 94,
                    -27, 77, -24, 64, -55, -5, -35, -54,
                ],
            ))
            .input(noise(&[12], 3))
            .input(floats(&[], &[0.0099999998]))
            .input(floats(&[], &[0.02]))
            .input(ints_of(DType::I32, &[2], &[2, 3]))
            .input(ints_of(DType::U8, &[], &[120]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -2.0036695,
                    3.2547121,
                    0.47861385,
                    1.035645,
                    -1.6189605,
                    3.0929055,
                    3.1628308,
                    0.72963315,
                    -0.15343544,
                    2.4765131,
                    0.48438865,
                    1.0349869,
                    1.3506348,
                    -0.99224639,
                    -1.6805785,
                    -0.51813662,
                    1.8739129,
                    -1.3345703,
                    -0.26655528,
                    -2.1483665,
                    1.4574722,
                    -1.0872788,
                    -1.0997119,
                    -0.70321232,
                ],
            ))
            .tolerance(0.0001),
    ]
}
