//! [GreedySearch](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GreedySearch):
//! sequences that go on with the likeliest token each time.

use super::search::{Decoder, End, Limits, Turn, Wishes, batch, filled_up, flat, size, start, table_decoder};
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, ints_of, of_expansion, of_room, types};
use oxidane_graph::{
    Build, Dim, InferCtx, NodeId, Op, OpError, Param, Signature, Type, Unknown, ValueId, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// Goes on with each row of `input_ids` until it ends or `max_length` is reached; what is behind the end is
    /// `pad_token_id`, the end itself included.
    pub struct GreedySearch {
        decoder_start_token_id: i64 = -1,
        eos_token_id: i64,
        model_type: i64 = 0,
        /// Runs of so many tokens come once.
        no_repeat_ngram_size: i64 = 0,
        pad_token_id: i64,
        /// Tokens that count, where the decoder scores more.
        vocab_size: i64 = -1,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("input_ids", types::INT32, "I"),
        Param::one("max_length", types::INT32, "I"),
        Param::optional("min_length", types::INT32, "I"),
        Param::optional("repetition_penalty", types::FLOAT, "T"),
        Param::optional("vocab_mask", types::INT32, "I"),
        Param::optional("prefix_vocab_mask", types::INT32, "I"),
        Param::optional("attention_mask", types::INT32, "I"),
    ],
    outputs: &[Param::one("sequences", types::INT32, "I")],
};

/// The room of GreedySearch.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "GreedySearch",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GreedySearch::read(a)?)),
    steps: &[],
    cases,
};

impl Op for GreedySearch {
    of_room!();
    of_expansion!();

    fn body_names(&self) -> &[&str] {
        &["decoder"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let sizes = [batch(ctx, 0)?, size(ctx, 1, 0, 1)];
        ctx.set_tensor(0, DType::I32, sizes);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let decoder = Decoder::of(build, node, self.model_type)?;
        let mut f = Formula::new(build, node);
        let (ids, max_length, attention) = (f.need(0)?, f.need(1)?, f.input(6));
        let first = start(&mut f, &decoder, ids, attention, self.pad_token_id, None)?;
        let columns = f.with("Shape", plain().with("start", 1i64), &[ids])?;
        let length = flat(&mut f, max_length)?;
        let turns = f.op("Sub", &[length, columns])?;
        let rows = f.with("Shape", plain().with("end", 1i64), &[ids])?;
        let no = oxidane_tensor::Tensor::from_bools(&[1], &[false])?;
        let ended = f.with("ConstantOfShape", plain().with("value", no), &[rows])?;

        let rows = Dim::unknown("ended.rows");
        let mut turn = Turn::new(decoder, &[Type::tensor(DType::Bool, [rows])])?;
        let mut capture = |slot| f.input(slot).map(|v| turn.capture(v, f.build().ty(v).cloned())).transpose();
        let wishes = Wishes {
            min_length: capture(2)?,
            repetition_penalty: capture(3)?,
            vocab_mask: capture(4)?,
            prefix_vocab_mask: capture(5)?,
        };
        let limits = Limits {
            eos: self.eos_token_id,
            pad: self.pad_token_id,
            ngram: self.no_repeat_ngram_size,
            vocabulary: (self.vocab_size > 0).then_some(self.vocab_size),
        };
        let scores = turn.scores(&limits, &wishes, false, None)?;
        let before = turn.own[0];
        let mut inner = Build::new(&mut turn.body, "search");
        let g = &mut Formula::free(&mut inner);
        let best = g.with("ArgMax", plain().with("axis", 1i64).with("keepdims", 0i64), &[scores])?;
        let (eos, pad) = (g.scalar(limits.eos as f64, DType::I64)?, g.scalar(limits.pad as f64, DType::I32)?);
        let ends = g.op("Equal", &[best, eos])?;
        let ended_now = g.op("Or", &[before, ends])?;
        let best = g.with("Cast", plain().with("to", DType::I32), &[best])?;
        let tokens = g.op("Where", &[ended_now, pad, best])?;
        let open = g.op("Not", &[ended_now])?;
        let open = g.with("Cast", plain().with("to", DType::I32), &[open])?;
        let open = g.with("ReduceMax", plain().with("keepdims", 0i64), &[open])?;
        let more = g.with("Cast", plain().with("to", DType::Bool), &[open])?;
        let end = End { more, tokens, rows: None, own: &[ended_now], scans: &[] };
        let results = turn.close(&mut f, &first, turns, &[ended], end)?;
        Ok(Some(vec![filled_up(&mut f, results[0], max_length, self.pad_token_id)?]))
    }
}

/// ONNX Runtime's results, but for what stands behind sequences that have all ended, which it leaves as it is.
fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |no_repeat_ngram_size| GreedySearch {
        decoder_start_token_id: -1,
        eos_token_id: 1,
        model_type: 0,
        no_repeat_ngram_size,
        pad_token_id: 0,
        vocab_size: -1,
    };
    let words = |shape: &[usize], values: &[i64]| ints_of(DType::I32, shape, values);
    let ids = || words(&[2, 2], &[0, 2, 4, 3]);
    vec![
        Case::new("plain", op(0))
            .input(ids())
            .input(words(&[1], &[7]))
            .body(table_decoder())
            .expect(words(&[2, 7], &[0, 2, 3, 2, 3, 2, 3, 4, 3, 2, 3, 2, 3, 2])),
        Case::new("no repeats", op(2))
            .input(ids())
            .input(words(&[1], &[7]))
            .input(words(&[1], &[5]))
            .input(floats(&[1], &[1.5]))
            .body(table_decoder())
            .expect(words(&[2, 7], &[0, 2, 3, 2, 4, 0, 0, 4, 3, 2, 3, 0, 0, 0])),
        Case::new("masks", op(2))
            .input(ids())
            .input(words(&[1], &[7]))
            .absent()
            .absent()
            .input(words(&[5], &[1, 1, 1, 0, 1]))
            .input(words(&[2, 5], &[1, 1, 1, 1, 0, 1, 1, 0, 1, 1]))
            .input(words(&[2, 2], &[0, 1, 1, 1]))
            .body(table_decoder())
            .expect(words(&[2, 7], &[0, 2, 2, 4, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0])),
        Case::new("fewer tokens", GreedySearch { vocab_size: 3, ..op(0) })
            .input(words(&[1, 1], &[2]))
            .input(words(&[1], &[4]))
            .body(table_decoder())
            .expect(words(&[1, 4], &[2, 2, 2, 2])),
    ]
}
