//! [BeamSearch](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.BeamSearch):
//! sequences whose tokens are likely together, from several that are followed at a time. A row of a batch is searched
//! as it would be alone.

use super::search::{Decoder, End, Limits, Turn, Wishes, batch, filled_up, flat, size, start, table_decoder};
use crate::formula::{Formula, plain};
use crate::{Case, Form, Room, attributes, floats, ints_of, of_expansion, of_room, types};
use oxidane_graph::{
    Build, Dim, InferCtx, NodeId, Op, OpError, Param, Signature, Type, Unknown, ValueId, shared,
};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// Goes on with each row of `input_ids` in `num_beams` ways, and gives the `num_return_sequences` likeliest that
    /// have ended or reached `max_length`, by the sum of logarithms over a power of the length.
    pub struct BeamSearch {
        decoder_start_token_id: i64 = -1,
        /// Whether a row is done as soon as `num_beams` of its sequences have ended.
        early_stopping: bool = false,
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
        Param::one("input_ids", types::INT32, "F"),
        Param::optional("max_length", types::INT32, "I"),
        Param::optional("min_length", types::INT32, "I"),
        Param::optional("num_beams", types::INT32, "I"),
        Param::optional("num_return_sequences", types::INT32, "I"),
        Param::optional("length_penalty", types::FLOAT, "T"),
        Param::optional("repetition_penalty", types::FLOAT, "T"),
        Param::optional("vocab_mask", types::INT32, "M"),
        Param::optional("prefix_vocab_mask", types::INT32, "M"),
        Param::optional("attention_mask", types::INT32, "I"),
        Param::optional("decoder_input_ids", types::INT32, "I"),
        Param::optional("logits_processor", types::INT32, "I"),
    ],
    outputs: &[
        Param::one("sequences", types::INT32, "I"),
        Param::optional("sequences_scores", types::FLOAT, "T"),
        Param::optional("scores", types::FLOAT, "T"),
    ],
};

/// The room of BeamSearch.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "BeamSearch",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(BeamSearch::read(a)?)),
    steps: &[],
    cases,
};

/// How long sequences become where no length is given.
const LONGEST: i64 = 4096;

impl Op for BeamSearch {
    of_room!();
    of_expansion!();

    fn body_names(&self) -> &[&str] {
        &["decoder"]
    }

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let rows = batch(ctx, 0)?;
        let absent = |ctx: &InferCtx<'_>, input: usize, axis, default: i64| match ctx.has_input(input) {
            true => size(ctx, input, 0, axis),
            false => Dim::known(default),
        };
        let (returned, length) = (absent(ctx, 4, 1, 1), absent(ctx, 1, 2, LONGEST));
        ctx.set_tensor(0, DType::I32, [rows, returned, length]);
        ctx.set_tensor(1, DType::F32, [rows, returned]);
        let turns = match ctx.shape(0) {
            Some(&[_, columns]) if !length.is_unknown() => length - columns,
            _ => ctx.unknown_dim(2, 0),
        };
        let beams = match ctx.has_input(3) {
            true => size(ctx, 3, 2, 2),
            false => Dim::known(1),
        };
        let tokens = ctx.unknown_dim(2, 3);
        ctx.set_tensor(2, DType::F32, [turns, rows, beams, tokens]);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let decoder = Decoder::of(build, node, self.model_type)?;
        let mut f = Formula::new(build, node);
        f.without(&[(10, "decoder_input_ids"), (11, "logits_processor")])?;
        let (ids, attention, power) = (f.need(0)?, f.input(9), f.input(5));
        let mut number = |slot, default: i64| match f.input(slot) {
            Some(value) => flat(&mut f, value),
            None => f.ints(&[default]),
        };
        let (length, beams, returned) = (number(1, LONGEST)?, number(3, 1)?, number(4, 1)?);
        let first = start(&mut f, &decoder, ids, attention, self.pad_token_id, Some(beams))?;
        let columns = f.with("Shape", plain().with("start", 1i64), &[ids])?;
        let turns = f.op("Sub", &[length, columns])?;
        let initial = initial(&mut f, ids, beams, length, self.pad_token_id)?;

        let open = |name: &str| Dim::unknown(name);
        let table = [open("beams.rows"), open("beams.columns")];
        let carried = [
            Type::tensor(DType::F32, table),
            Type::tensor(DType::F32, table),
            Type::tensor(DType::I32, [table[0], table[1], open("beams.length")]),
            Type::tensor(DType::Bool, [table[0]]),
        ];
        let mut turn = Turn::new(decoder, &carried)?;
        let mut capture = |slot| f.input(slot).map(|v| turn.capture(v, f.build().ty(v).cloned())).transpose();
        let wishes = Wishes {
            min_length: capture(2)?,
            repetition_penalty: capture(6)?,
            vocab_mask: capture(7)?,
            prefix_vocab_mask: capture(8)?,
        };
        let inner_power = capture(5)?;
        let vector = || Some(Type::fixed(DType::I64, &[1]));
        let (inner_beams, inner_length) = (turn.capture(beams, vector())?, turn.capture(length, vector())?);
        let limits = Limits {
            eos: self.eos_token_id,
            pad: self.pad_token_id,
            ngram: self.no_repeat_ngram_size,
            vocabulary: (self.vocab_size > 0).then_some(self.vocab_size),
        };
        let scores = turn.scores(&limits, &wishes, true, Some(inner_beams))?;
        let [sums, found, tokens, done] = turn.own[..] else {
            return Err(OpError::new("the search has lost what it hands on"));
        };
        let sequences = turn.sequences;
        let mut inner = Build::new(&mut turn.body, "search");
        let g = &mut Formula::free(&mut inner);
        let candidates = Candidates::best(g, scores, sums, inner_beams, limits.eos)?;

        // Sequences that end here, if they are among the first `num_beams`.
        let (zero, one) = (g.ints(&[0])?, g.ints(&[1])?);
        let front = |g: &mut Formula<'_, '_>, value| g.op("Slice", &[value, zero, inner_beams, one]);
        let (ends, likely, rows) =
            (front(g, candidates.ends)?, front(g, candidates.sums)?, front(g, candidates.rows)?);
        let running = g.op("Not", &[done])?;
        let running = g.op("Unsqueeze", &[running, one])?;
        let ends = g.op("And", &[ends, running])?;
        let so_far = Length { sequences, power: inner_power, longest: inner_length, pad: limits.pad };
        let likely = so_far.weigh(g, likely)?;
        let found = Found { scores: found, tokens }.joined(g, &so_far, ends, likely, rows, inner_beams)?;

        // A row is done when no sequence can become better than the worst that was found.
        let last = g.ints(&[-1])?;
        let worst = g.with("Gather", plain().with("axis", 1i64), &[found.scores, last])?;
        let empty = g.scalar(f64::NEG_INFINITY, DType::F32)?;
        let mut finished = g.op("Greater", &[worst, empty])?;
        if !self.early_stopping {
            let best = g.with("Gather", plain().with("axis", 1i64), &[candidates.sums, zero])?;
            let best = so_far.weigh(g, best)?;
            let hopeless = g.op("GreaterOrEqual", &[worst, best])?;
            finished = g.op("And", &[finished, hopeless])?;
        }
        let finished = g.op("Squeeze", &[finished, one])?;
        let now_done = g.op("Or", &[done, finished])?;
        let running = g.op("Not", &[now_done])?;
        let running = g.with("Cast", plain().with("to", DType::I32), &[running])?;
        let running = g.with("ReduceMax", plain().with("keepdims", 0i64), &[running])?;
        let more = g.with("Cast", plain().with("to", DType::Bool), &[running])?;

        let (next_tokens, next_rows, next_sums) = candidates.go_on(g, done, inner_beams, limits.pad)?;
        let own = [next_sums, found.scores, found.tokens, now_done];
        let scans: &[ValueId] = if f.wants(2) { &[candidates.table] } else { &[] };
        let end = End { more, tokens: next_tokens, rows: Some(next_rows), own: &own, scans };
        let results = turn.close(&mut f, &first, turns, &initial, end)?;

        // What is still open counts as it is.
        let [sequences, sums, found, tokens, done, scans @ ..] = &results[..] else {
            return Err(OpError::new("the search has lost its results"));
        };
        let length = Length { sequences: *sequences, power, longest: length, pad: self.pad_token_id };
        let one = f.ints(&[1])?;
        let running = f.op("Not", &[*done])?;
        let running = f.op("Unsqueeze", &[running, one])?;
        let likely = length.weigh(&mut f, *sums)?;
        let rows = f.op("Shape", &[*sums])?;
        let all = f.op("Size", &[*sums])?;
        let all = f.count(all)?;
        let rows = f.op("Reshape", &[all, rows])?;
        let found = Found { scores: *found, tokens: *tokens };
        let found = found.joined(&mut f, &length, running, likely, rows, beams)?;
        let zero = f.ints(&[0])?;
        let mut outputs = Vec::new();
        let batch = f.with("Shape", plain().with("end", 1i64), &[ids])?;
        let table = f.concat(&[batch, returned], 0)?;
        let texts = f.concat(&[table, length.longest], 0)?;
        for (value, shape) in [(found.tokens, texts), (found.scores, table)] {
            let best = f.op("Slice", &[value, zero, returned, one])?;
            // More sequences than beams do not have that shape.
            outputs.push(f.op("Reshape", &[best, shape])?);
        }
        if let &[scores] = scans {
            // Turns that were not needed have no scores.
            let had = f.with("Shape", plain().with("end", 1i64), &[scores])?;
            let missing = f.op("Sub", &[turns, had])?;
            let (front, back) = (f.ints(&[0; 4])?, f.ints(&[0; 3])?);
            let pads = f.concat(&[front, missing, back], 0)?;
            outputs.push(f.op("Pad", &[scores, pads])?);
        }
        Ok(Some(outputs))
    }
}

/// The sums, the sequences that were found with their scores, and whether a row is done, before the first turn.
fn initial(
    f: &mut Formula<'_, '_>,
    ids: ValueId,
    beams: ValueId,
    length: ValueId,
    pad: i64,
) -> Result<[ValueId; 4], OpError> {
    let rows = f.with("Shape", plain().with("end", 1i64), &[ids])?;
    let table = f.concat(&[rows, beams], 0)?;
    // All beams of a row but the first begin so badly that they lose at once.
    let places = f.reshape(beams, &[])?;
    let places = f.count(places)?;
    let zero = f.scalar(0.0, DType::I64)?;
    let others = f.op("Greater", &[places, zero])?;
    let (good, bad) = (f.scalar(0.0, DType::F32)?, f.scalar(-1e9, DType::F32)?);
    let sums = f.op("Where", &[others, bad, good])?;
    let sums = f.op("Expand", &[sums, table])?;
    let empty = f.scalar(f64::NEG_INFINITY, DType::F32)?;
    let found = f.op("Expand", &[empty, table])?;
    let texts = f.concat(&[rows, beams, length], 0)?;
    let pad = f.scalar(pad as f64, DType::I32)?;
    let tokens = f.op("Expand", &[pad, texts])?;
    let no = Tensor::from_bools(&[1], &[false])?;
    let done = f.with("ConstantOfShape", plain().with("value", no), &[rows])?;
    Ok([sums, found, tokens, done])
}

/// The `2 num_beams` likeliest ways to go on with each row, best first.
struct Candidates {
    /// The scores of all, (rows, beams, tokens).
    table: ValueId,
    sums: ValueId,
    tokens: ValueId,
    /// The places of their sequences among all.
    rows: ValueId,
    /// Whether the token is the end.
    ends: ValueId,
    /// Twice the number of beams.
    count: ValueId,
}

impl Candidates {
    fn best(
        f: &mut Formula<'_, '_>,
        scores: ValueId,
        sums: ValueId,
        beams: ValueId,
        eos: i64,
    ) -> Result<Candidates, OpError> {
        let sizes = f.op("Shape", &[sums])?;
        let vocabulary = f.with("Shape", plain().with("start", 1i64), &[scores])?;
        let shape = f.concat(&[sizes, vocabulary], 0)?;
        let table = f.op("Reshape", &[scores, shape])?;
        let last = f.ints(&[2])?;
        let sums = f.op("Unsqueeze", &[sums, last])?;
        let table = f.op("Add", &[table, sums])?;
        let flat = f.with("Flatten", plain().with("axis", 1i64), &[table])?;
        let two = f.ints(&[2])?;
        let count = f.op("Mul", &[beams, two])?;
        let best = f.node("TopK", &plain().with("axis", 1i64), &[Some(flat), Some(count)], 2)?;
        let (sums, places) = (best[0], best[1]);
        let beam = f.op("Div", &[places, vocabulary])?;
        let tokens = f.op("Mod", &[places, vocabulary])?;
        let rows = offset(f, beam, beams)?;
        let eos = f.scalar(eos as f64, DType::I64)?;
        let ends = f.op("Equal", &[tokens, eos])?;
        Ok(Candidates { table, sums, tokens, rows, ends, count })
    }

    /// The first `beams` of each row that do not end: tokens and rows as vectors, and sums. Rows that were done
    /// before get padding.
    fn go_on(
        &self,
        f: &mut Formula<'_, '_>,
        done: ValueId,
        beams: ValueId,
        pad: i64,
    ) -> Result<(ValueId, ValueId, ValueId), OpError> {
        let none = f.ints(&[])?;
        let count = f.op("Reshape", &[self.count, none])?;
        let order = f.count(count)?;
        let behind = f.op("Add", &[order, count])?;
        let keys = f.op("Where", &[self.ends, behind, order])?;
        let attributes = plain().with("axis", 1i64).with("largest", 0i64);
        let order = f.node("TopK", &attributes, &[Some(keys), Some(beams)], 2)?[1];
        let axis = f.ints(&[1])?;
        let done = f.op("Unsqueeze", &[done, axis])?;
        let fillings =
            [f.scalar(pad as f64, DType::I64)?, f.scalar(0.0, DType::I64)?, f.scalar(0.0, DType::F32)?];
        let mut picked = Vec::with_capacity(3);
        for (value, filling) in [self.tokens, self.rows, self.sums].into_iter().zip(fillings) {
            let own = f.with("GatherElements", plain().with("axis", 1i64), &[value, order])?;
            picked.push(f.op("Where", &[done, filling, own])?);
        }
        let tokens = f.with("Cast", plain().with("to", DType::I32), &[picked[0]])?;
        Ok((f.reshape(tokens, &[-1])?, f.reshape(picked[1], &[-1])?, picked[2]))
    }
}

/// Places within rows of `width` as places among all.
fn offset(f: &mut Formula<'_, '_>, places: ValueId, width: ValueId) -> Result<ValueId, OpError> {
    let rows = f.with("Shape", plain().with("end", 1i64), &[places])?;
    let rows = f.reshape(rows, &[])?;
    let rows = f.count(rows)?;
    let first = f.op("Mul", &[rows, width])?;
    let axis = f.ints(&[1])?;
    let first = f.op("Unsqueeze", &[first, axis])?;
    f.op("Add", &[places, first])
}

/// The sequences as long as they are, and what their length weighs.
struct Length {
    sequences: ValueId,
    power: Option<ValueId>,
    longest: ValueId,
    pad: i64,
}

impl Length {
    /// Sums over the power of the length.
    fn weigh(&self, f: &mut Formula<'_, '_>, sums: ValueId) -> Result<ValueId, OpError> {
        let length = f.with("Shape", plain().with("start", 1i64), &[self.sequences])?;
        let mut length = f.with("Cast", plain().with("to", DType::F32), &[length])?;
        if let Some(power) = self.power {
            let power = f.with("Cast", plain().with("to", DType::F32), &[power])?;
            length = f.op("Pow", &[length, power])?;
        }
        f.op("Div", &[sums, length])
    }
}

/// The best sequences of each row that have ended: scores, best first and minus infinity where there is none, and
/// tokens.
struct Found {
    scores: ValueId,
    tokens: ValueId,
}

impl Found {
    /// With those sequences of `rows` that `count`, of which only the best stay.
    fn joined(
        &self,
        f: &mut Formula<'_, '_>,
        length: &Length,
        count: ValueId,
        scores: ValueId,
        rows: ValueId,
        beams: ValueId,
    ) -> Result<Found, OpError> {
        let empty = f.scalar(f64::NEG_INFINITY, DType::F32)?;
        let scores = f.op("Where", &[count, scores, empty])?;
        let scores = f.concat(&[self.scores, scores], 1)?;
        let best = f.node("TopK", &plain().with("axis", 1i64), &[Some(scores), Some(beams)], 2)?;
        let sequences = filled_up(f, length.sequences, length.longest, length.pad)?;
        let new = f.with("Gather", plain().with("axis", 0i64), &[sequences, rows])?;
        let all = f.concat(&[self.tokens, new], 1)?;
        let (each, columns) = (f.ints(&[-1])?, f.with("Shape", plain().with("start", 2i64), &[all])?);
        let shape = f.concat(&[each, columns], 0)?;
        let all = f.op("Reshape", &[all, shape])?;
        let two = f.ints(&[2])?;
        let width = f.op("Mul", &[beams, two])?;
        let places = offset(f, best[1], width)?;
        let tokens = f.with("Gather", plain().with("axis", 0i64), &[all, places])?;
        Ok(Found { scores: best[0], tokens })
    }
}

/// ONNX Runtime's results.
fn cases() -> Vec<Case> {
    crate::with_cases!();
    let op = |early_stopping, no_repeat_ngram_size| BeamSearch {
        decoder_start_token_id: -1,
        early_stopping,
        eos_token_id: 1,
        model_type: 0,
        no_repeat_ngram_size,
        pad_token_id: 0,
        vocab_size: -1,
    };
    let words = |shape: &[usize], values: &[i64]| ints_of(DType::I32, shape, values);
    let number = |value: i64| words(&[1], &[value]);
    vec![
        Case::new("three beams", op(true, 0))
            .input(words(&[2, 2], &[0, 2, 4, 3]))
            .input(number(6))
            .input(number(0))
            .input(number(3))
            .input(number(2))
            .input(floats(&[1], &[0.5]))
            .input(floats(&[1], &[1.0]))
            .outputs(3)
            .body(table_decoder())
            .expect(words(
                &[2, 2, 6],
                &[0, 2, 4, 0, 0, 0, 0, 2, 3, 0, 0, 0, 4, 3, 0, 0, 0, 0, 4, 3, 4, 0, 0, 0],
            ))
            .expect(floats(&[2, 2], &[-1.197_074, -1.394_657_6, -1.047_963, -1.513_733]))
            .tolerance(1e-5),
        Case::new("no repeats", op(false, 2))
            .input(words(&[1, 2], &[0, 2]))
            .input(number(6))
            .input(number(4))
            .input(number(2))
            .input(number(2))
            .input(floats(&[1], &[1.0]))
            .input(floats(&[1], &[1.2]))
            .outputs(2)
            .body(table_decoder())
            .expect(words(&[1, 2, 6], &[0, 2, 3, 2, 4, 2, 0, 2, 3, 2, 4, 0]))
            .expect(floats(&[1, 2], &[-0.827_230_6, -0.837_084]))
            .tolerance(1e-5),
    ]
}
