//! [QAttention](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QAttention): self-attention behind the projection of a quantized input.

use super::heads::{FILTER, Projected};
use crate::formula::{Formula, ranked};
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
    crate::with_cases!();
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
            .input(floats(&[], &[0.01]))
            .input(floats(&[], &[0.02]))
            .absent()
            .input(ints_of(DType::U8, &[], &[120]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    1.59615, -1.308322, -0.905493, 1.18791, 0.420493, 0.821718, 2.161036, 0.224885, 0.489655,
                    0.131724, -0.651035, 0.874282, -2.796285, 0.936314, 0.009935, 0.117743, -1.204911,
                    1.742937, 0.630165, 0.552514, -2.841202, 0.912892, 1.897515, 1.208888,
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
        .input(floats(&[], &[0.01]))
        .input(floats(
            &[12],
            &[0.02, 0.021, 0.022, 0.023, 0.024, 0.025, 0.026, 0.027, 0.028, 0.029, 0.03, 0.031],
        ))
        .absent()
        .input(ints_of(DType::U8, &[], &[100]))
        .input(ints_of(DType::U8, &[12], &[128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128]))
        .input(noise(&[2, 1, 2, 2, 2], 9))
        .outputs(2)
        .expect(floats(
            &[1, 3, 4],
            &[
                4.752313, -2.173273, 0.999274, -0.487567, 1.003601, 0.765311, 4.472416, -1.223868, 2.872029,
                4.203378, -0.514412, -0.080664,
            ],
        ))
        .expect(floats(
            &[2, 1, 2, 5, 2],
            &[
                0.364725, 0.50139, -0.469355, 0.569627, 4.628398, -2.962306, -2.187122, 3.464695, -1.014722,
                1.166195, -0.474893, -0.770784, 0.291617, 0.967097, 2.042152, 2.875607, -0.652748, -3.248263,
                -3.198408, 1.039877, -0.561929, 0.578322, 0.179475, -0.570459, 5.081205, -2.318401, 4.448685,
                5.692559, -1.333875, 1.557159, 0.971503, -0.51936, 0.520072, 0.771616, 5.288972, -1.603317,
                -4.974627, -6.583467, -1.185328, 0.537233,
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
            .input(floats(&[], &[0.01]))
            .input(floats(&[], &[0.02]))
            .input(ints_of(DType::I32, &[2], &[2, 3]))
            .input(ints_of(DType::U8, &[], &[120]))
            .expect(floats(
                &[2, 3, 4],
                &[
                    -2.00367, 3.254712, 0.478614, 1.035645, -1.61896, 3.092906, 3.162831, 0.729633,
                    -0.153435, 2.476513, 0.484389, 1.034987, 1.350635, -0.992246, -1.680578, -0.518137,
                    1.873913, -1.33457, -0.266555, -2.148366, 1.457472, -1.087279, -1.099712, -0.703212,
                ],
            ))
            .tolerance(0.0001),
    ]
}
