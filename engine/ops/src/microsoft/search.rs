//! What the searches of ONNX Runtime share: the decoder's inputs at each turn, the rules that change the scores of
//! tokens, and the Loop around them.

use crate::control::call::splice_call;
use crate::control::loop_::Loop;
use crate::formula::{Formula, body_input, plain};
use oxidane_graph::{Build, Dim, Graph, InferCtx, NodeId, NodeSpec, OpError, Source, Type, Unknown, ValueId};
use oxidane_tensor::{DType, Tensor};
use std::sync::Arc;

/// The score of a token that must not come.
const NEVER: f64 = f32::MIN as f64;

/// A decoder as GPT-2's: from `input_ids`, `position_ids`, `attention_mask` and a past state for each layer of shape
/// (2, batch, heads, past, head size) to the scores of tokens and the states.
pub(super) struct Decoder {
    graph: Graph,
    /// The values of the graph around that it reads, behind its own inputs.
    captured: Vec<ValueId>,
    layers: usize,
    heads: i64,
    head_size: i64,
    dtype: DType,
}

impl Decoder {
    /// The decoder of a node.
    ///
    /// # Errors
    /// When it has not that form, or the model is of another kind.
    pub(super) fn of(build: &Build<'_>, node: NodeId, model_type: i64) -> Result<Decoder, OpError> {
        if model_type != 0 {
            let kind = match model_type {
                1 => "encoder and decoder",
                2 => "Whisper",
                _ => "unknown kind",
            };
            return Err(OpError::unsupported(format!(
                "model_type {model_type} ({kind}) is not supported, only 0 (a decoder as GPT-2's)"
            )));
        }
        let node = build.graph().node(node);
        let captured: Vec<ValueId> = node.captured().iter().flatten().copied().collect();
        let graph = node.bodies().first().cloned();
        let graph = graph.ok_or_else(|| OpError::new("the attribute `decoder` is missing"))?;
        let inputs = graph.inputs().len().saturating_sub(captured.len());
        let layers = graph.outputs().len().saturating_sub(1);
        if layers == 0 || inputs != layers + 3 {
            return Err(OpError::unsupported(format!(
                "the decoder has {inputs} inputs and {} outputs; it must take input_ids, position_ids, \
                 attention_mask and the past of each layer, and give logits and the present of each layer",
                graph.outputs().len()
            ))
            .help("export it without past_present_share_buffer"));
        }
        let past = graph.value(graph.inputs()[3]).ty().cloned();
        let sizes = past.as_ref().and_then(Type::shape).filter(|dims| dims.len() == 5);
        let known = sizes.and_then(|dims| Some((dims[2].as_known()?, dims[4].as_known()?)));
        let dtype = past.as_ref().and_then(Type::dtype);
        let (Some((heads, head_size)), Some(dtype)) = (known, dtype) else {
            return Err(OpError::new(
                "the past of the decoder must have a known number of heads and a known head size",
            )
            .help("declare its shape as (2, batch, heads, past, head size)"));
        };
        Ok(Decoder { graph, captured, layers, heads, head_size, dtype })
    }
}

/// The numbers of a search that are the same at each turn.
pub(super) struct Limits {
    pub(super) eos: i64,
    pub(super) pad: i64,
    /// Runs of so many tokens come once.
    pub(super) ngram: i64,
    /// Tokens that there are, where the scores are for more.
    pub(super) vocabulary: Option<i64>,
}

/// The values, outside of the Loop, that change scores.
#[derive(Clone, Copy, Default)]
pub(super) struct Wishes {
    pub(super) min_length: Option<ValueId>,
    pub(super) repetition_penalty: Option<ValueId>,
    pub(super) vocab_mask: Option<ValueId>,
    pub(super) prefix_vocab_mask: Option<ValueId>,
}

/// What the decoder is fed with at first, a row a sequence.
pub(super) struct Start {
    pub(super) ids: ValueId,
    pub(super) positions: ValueId,
    pub(super) mask: ValueId,
    /// The position of the first new token.
    pub(super) next: ValueId,
    pub(super) past: ValueId,
}

/// The first inputs of the decoder, each sequence repeated `times` where that is given.
pub(super) fn start(
    f: &mut Formula<'_, '_>,
    decoder: &Decoder,
    ids: ValueId,
    attention: Option<ValueId>,
    pad: i64,
    times: Option<ValueId>,
) -> Result<Start, OpError> {
    let zero = f.scalar(0.0, DType::I32)?;
    let one = f.scalar(1.0, DType::I32)?;
    let mask = match attention {
        Some(mask) => mask,
        None => {
            let pad = f.scalar(pad as f64, DType::I32)?;
            let padding = f.op("Equal", &[ids, pad])?;
            f.op("Where", &[padding, zero, one])?
        }
    };
    let (ids, mask) = match times {
        Some(times) => (repeated(f, ids, times)?, repeated(f, mask, times)?),
        None => (ids, mask),
    };
    let last = f.scalar(1.0, DType::I64)?;
    let count = f.op("CumSum", &[mask, last])?;
    let before = f.op("Sub", &[count, one])?;
    let masked = f.op("Equal", &[mask, zero])?;
    let positions = f.op("Where", &[masked, zero, before])?;
    let axis = f.ints(&[1])?;
    let next = f.with("ReduceSum", plain().with("keepdims", 0i64), &[mask, axis])?;
    let rows = f.with("Shape", plain().with("start", 0i64).with("end", 1i64), &[ids])?;
    let (two, rest) = (f.ints(&[2])?, f.ints(&[decoder.heads, 0, decoder.head_size])?);
    let shape = f.concat(&[two, rows, rest], 0)?;
    let nothing = Tensor::from_f64s(decoder.dtype, &[1], &[0.0])?;
    let past = f.with("ConstantOfShape", plain().with("value", nothing), &[shape])?;
    Ok(Start { ids, positions, mask, next, past })
}

/// Each row of a matrix `times` times.
fn repeated(f: &mut Formula<'_, '_>, rows: ValueId, times: ValueId) -> Result<ValueId, OpError> {
    let axis = f.ints(&[1])?;
    let wide = f.op("Unsqueeze", &[rows, axis])?;
    let (one, times) = (f.ints(&[1])?, flat(f, times)?);
    let shape = f.concat(&[one, times, one], 0)?;
    let wide = f.op("Expand", &[wide, shape])?;
    let columns = f.with("Shape", plain().with("start", 1i64), &[rows])?;
    let all = f.ints(&[-1])?;
    let shape = f.concat(&[all, columns], 0)?;
    f.op("Reshape", &[wide, shape])
}

/// An integer as an `int64` vector of one element.
pub(super) fn flat(f: &mut Formula<'_, '_>, number: ValueId) -> Result<ValueId, OpError> {
    let number = f.with("Cast", plain().with("to", DType::I64), &[number])?;
    f.reshape(number, &[1])
}

/// An integer as an `int64` scalar.
pub(super) fn single(f: &mut Formula<'_, '_>, number: ValueId) -> Result<ValueId, OpError> {
    let number = f.with("Cast", plain().with("to", DType::I64), &[number])?;
    let none = f.ints(&[])?;
    f.op("Reshape", &[number, none])
}

/// The body of the Loop, on its way.
pub(super) struct Turn {
    pub(super) body: Graph,
    pub(super) turn: ValueId,
    /// The decoder's inputs but for the past.
    ids: ValueId,
    positions: ValueId,
    mask: ValueId,
    next: ValueId,
    pasts: Vec<ValueId>,
    /// All tokens so far, a row a sequence.
    pub(super) sequences: ValueId,
    /// What else is handed on.
    pub(super) own: Vec<ValueId>,
    /// The values outside that its last inputs stand for.
    outside: Vec<ValueId>,
    decoder: Graph,
    decoder_captures: Vec<ValueId>,
    presents: Vec<ValueId>,
}

impl Turn {
    /// A body whose carried values are those of the decoder, the sequences, and `own` of the types given.
    pub(super) fn new(decoder: Decoder, own: &[Type]) -> Result<Turn, OpError> {
        let mut body = Graph::new("search");
        let mut input = |name: &str, ty: Type| body_input(&mut body, name, Some(ty));
        let matrix = |name: &str| {
            let sizes = ["rows", "columns"].map(|axis| Dim::unknown(&format!("{name}.{axis}")));
            Type::tensor(DType::I32, sizes)
        };
        let turn = input("turn", Type::fixed(DType::I64, &[]))?;
        input("more", Type::fixed(DType::Bool, &[]))?;
        let ids = input("input_ids", matrix("input_ids"))?;
        let positions = input("position_ids", matrix("position_ids"))?;
        let mask = input("attention_mask", matrix("attention_mask"))?;
        let next = input("next_position", Type::tensor(DType::I32, [Dim::unknown("next_position.rows")]))?;
        let sequences = input("sequences", matrix("sequences"))?;
        let mut pasts = Vec::with_capacity(decoder.layers);
        for layer in 0..decoder.layers {
            let name = format!("past_{layer}");
            let open = |axis: &str| Dim::unknown(&format!("{name}.{axis}"));
            let sizes = [
                Dim::known(2),
                open("rows"),
                Dim::known(decoder.heads),
                open("length"),
                Dim::known(decoder.head_size),
            ];
            pasts.push(input(&name, Type::tensor(decoder.dtype, sizes))?);
        }
        let mut carried = Vec::with_capacity(own.len());
        for (i, ty) in own.iter().enumerate() {
            carried.push(input(&format!("carried_{i}"), ty.clone())?);
        }
        let Decoder { graph, captured, .. } = decoder;
        let mut turn = Turn {
            body,
            turn,
            ids,
            positions,
            mask,
            next,
            pasts,
            sequences,
            own: carried,
            outside: Vec::new(),
            decoder: graph,
            decoder_captures: Vec::new(),
            presents: Vec::new(),
        };
        turn.decoder_captures =
            captured.into_iter().map(|v| turn.capture(v, None)).collect::<Result<_, _>>()?;
        Ok(turn)
    }

    /// A value from outside, inside.
    pub(super) fn capture(&mut self, outside: ValueId, ty: Option<Type>) -> Result<ValueId, OpError> {
        let inside = self.body.add_input("", ty, None)?;
        self.outside.push(outside);
        Ok(inside)
    }

    /// The scores of the next token as `float`, a row a sequence, changed as is wished; `first` is given to what
    /// the decoder says before that.
    pub(super) fn scores(
        &mut self,
        limits: &Limits,
        wishes: &Wishes,
        logarithmic: bool,
        times: Option<ValueId>,
    ) -> Result<ValueId, OpError> {
        let logits = self.body.add_undefined("")?;
        let mut outputs = vec![Some(logits)];
        for _ in &self.pasts {
            let present = self.body.add_undefined("")?;
            self.presents.push(present);
            outputs.push(Some(present));
        }
        let mut inputs = vec![Some(self.ids), Some(self.positions), Some(self.mask)];
        inputs.extend(self.pasts.iter().chain(&self.decoder_captures).map(|&v| Some(v)));
        let decoder = std::mem::take(&mut self.decoder);
        splice_call(decoder, &mut self.body, &inputs, &outputs)?;

        let mut build = Build::new(&mut self.body, "search");
        let f = &mut Formula::free(&mut build);
        // The last position of each row.
        let (start, end, axis) = (f.ints(&[-1])?, f.ints(&[i64::MAX])?, f.ints(&[1])?);
        let last = f.op("Slice", &[logits, start, end, axis])?;
        let last = f.op("Squeeze", &[last, axis])?;
        let mut scores = f.with("Cast", plain().with("to", DType::F32), &[last])?;
        if let Some(size) = limits.vocabulary {
            scores = f.slice(scores, 1, 0, size)?;
        }
        if logarithmic {
            scores = f.with("LogSoftmax", plain().with("axis", -1i64), &[scores])?;
        }
        let columns = f.with("Shape", plain().with("start", 1i64), &[self.sequences])?;
        let never = f.scalar(NEVER, DType::F32)?;
        let shape = f.op("Shape", &[scores])?;
        if let Some(penalty) = wishes.repetition_penalty {
            let there = marked(f, self.sequences, None, shape)?;
            let penalty = f.with("Cast", plain().with("to", DType::F32), &[penalty])?;
            let (more, less) = (f.op("Mul", &[scores, penalty])?, f.op("Div", &[scores, penalty])?);
            let zero = f.scalar(0.0, DType::F32)?;
            let below = f.op("Less", &[scores, zero])?;
            let changed = f.op("Where", &[below, more, less])?;
            scores = f.op("Where", &[there, changed, scores])?;
        }
        if limits.ngram > 0 {
            let repeats = repeats(f, self.sequences, columns, limits.ngram, shape)?;
            scores = f.op("Where", &[repeats, never, scores])?;
        }
        let none = f.scalar(0.0, DType::I32)?;
        if let Some(mask) = wishes.vocab_mask {
            let barred = f.op("Equal", &[mask, none])?;
            scores = f.op("Where", &[barred, never, scores])?;
        }
        if let Some(mask) = wishes.prefix_vocab_mask {
            // It speaks of the first new token alone.
            let mask = match times {
                Some(times) => repeated(f, mask, times)?,
                None => mask,
            };
            let barred = f.op("Equal", &[mask, none])?;
            let zero = f.scalar(0.0, DType::I64)?;
            let first = f.op("Equal", &[self.turn, zero])?;
            let barred = f.op("And", &[barred, first])?;
            scores = f.op("Where", &[barred, never, scores])?;
        }
        if let Some(least) = wishes.min_length {
            let least = f.with("Cast", plain().with("to", DType::I64), &[least])?;
            let short = f.op("Less", &[columns, least])?;
            let size = f.with("Gather", plain().with("axis", 0i64), &[shape, axis])?;
            let none = f.ints(&[])?;
            let size = f.op("Reshape", &[size, none])?;
            let tokens = f.count(size)?;
            let eos = f.scalar(limits.eos as f64, DType::I64)?;
            let ends = f.op("Equal", &[tokens, eos])?;
            let barred = f.op("And", &[short, ends])?;
            scores = f.op("Where", &[barred, never, scores])?;
        }
        Ok(scores)
    }

    /// Ends the body: each sequence gets its next token (`int32`), in the order of `rows` where beams change places,
    /// and `own` and `scans` are handed on. Adds the Loop, and gives the sequences and what came of `own` and `scans`.
    pub(super) fn close(
        mut self,
        outer: &mut Formula<'_, '_>,
        start: &Start,
        turns: ValueId,
        initial: &[ValueId],
        end: End<'_>,
    ) -> Result<Vec<ValueId>, OpError> {
        let mut build = Build::new(&mut self.body, "search");
        let f = &mut Formula::free(&mut build);
        let ordered = |f: &mut Formula<'_, '_>, value: ValueId, axis: i64| match end.rows {
            Some(rows) => f.with("Gather", plain().with("axis", axis), &[value, rows]),
            None => Ok(value),
        };
        let axis = f.ints(&[1])?;
        let column = f.op("Unsqueeze", &[end.tokens, axis])?;
        let before = ordered(f, self.sequences, 0)?;
        let sequences = f.concat(&[before, column], 1)?;
        let positions = f.op("Unsqueeze", &[self.next, axis])?;
        let one = f.scalar(1.0, DType::I32)?;
        let next = f.op("Add", &[self.next, one])?;
        let shape = f.op("Shape", &[column])?;
        let value = Tensor::new(&[1], &[1i32])?;
        let ones = f.with("ConstantOfShape", plain().with("value", value), &[shape])?;
        let mask = f.concat(&[self.mask, ones], 1)?;
        let mut results = vec![end.more, column, positions, mask, next, sequences];
        for &present in &self.presents {
            results.push(ordered(f, present, 1)?);
        }
        results.extend(end.own);
        results.extend(end.scans);
        // A body gives each value once, and none of its inputs as it came.
        let mut given = Vec::with_capacity(results.len());
        for value in results {
            let plain = !matches!(f.build().graph().value(value).source(), Source::Node(..));
            given.push(if plain || given.contains(&value) { f.op("Identity", &[value])? } else { value });
        }
        let carried = given.len() - end.scans.len() - 1;
        let results = given.len() - 1;
        self.body.set_outputs(given);

        let yes = outer.build().constant(Tensor::from_bools(&[], &[true])?);
        let turns = single(outer, turns)?;
        let mut inputs = vec![turns, yes, start.ids, start.positions, start.mask, start.next, start.ids];
        inputs.extend(self.pasts.iter().map(|_| start.past));
        inputs.extend(initial);
        debug_assert_eq!(inputs.len(), carried + 2);
        let mut outputs = Vec::with_capacity(results);
        for _ in 0..results {
            outputs.push(Some(outer.build().graph_mut().add_undefined("")?));
        }
        let captures = self.outside.len();
        let inputs: Vec<Option<ValueId>> = inputs.into_iter().chain(self.outside).map(Some).collect();
        outer.build().add_spec(NodeSpec {
            captures,
            bodies: vec![self.body],
            ..NodeSpec::new(Arc::new(Loop {}), &inputs, &outputs)
        })?;
        let skipped = 4;
        let behind = skipped + 1 + self.pasts.len();
        let kept = outputs.into_iter().flatten().enumerate();
        Ok(kept.filter(|(i, _)| *i == skipped || *i >= behind).map(|(_, v)| v).collect())
    }
}

/// What a turn decides.
pub(super) struct End<'a> {
    /// Whether there is another turn.
    pub(super) more: ValueId,
    pub(super) tokens: ValueId,
    pub(super) rows: Option<ValueId>,
    pub(super) own: &'a [ValueId],
    pub(super) scans: &'a [ValueId],
}

/// The places of `shape` whose column stands in the row of `tokens`, but for those that `only` leaves out.
fn marked(
    f: &mut Formula<'_, '_>,
    tokens: ValueId,
    only: Option<ValueId>,
    shape: ValueId,
) -> Result<ValueId, OpError> {
    let columns = f.with("Cast", plain().with("to", DType::I64), &[tokens])?;
    let nothing = Tensor::new(&[1], &[0i32])?;
    let board = f.with("ConstantOfShape", plain().with("value", nothing), &[shape])?;
    let marks = match only {
        Some(only) => f.with("Cast", plain().with("to", DType::I32), &[only])?,
        None => {
            let size = f.op("Shape", &[columns])?;
            let one = Tensor::new(&[1], &[1i32])?;
            f.with("ConstantOfShape", plain().with("value", one), &[size])?
        }
    };
    let attributes = plain().with("axis", 1i64).with("reduction", "max".to_owned());
    let board = f.with("ScatterElements", attributes, &[board, columns, marks])?;
    let zero = f.scalar(0.0, DType::I32)?;
    f.op("Greater", &[board, zero])
}

/// The tokens that would end a run of `size` tokens that the sequence has already.
fn repeats(
    f: &mut Formula<'_, '_>,
    sequences: ValueId,
    length: ValueId,
    size: i64,
    shape: ValueId,
) -> Result<ValueId, OpError> {
    let (axis, zero) = (f.ints(&[1])?, f.ints(&[0])?);
    let from = |f: &mut Formula<'_, '_>, by: i64| -> Result<ValueId, OpError> {
        let by = f.ints(&[by])?;
        let end = f.op("Add", &[length, by])?;
        f.op("Max", &[end, zero])
    };
    // Runs may begin at so many places.
    let places = from(f, 1 - size)?;
    let mut equal: Option<ValueId> = None;
    for k in 0..size - 1 {
        let start = f.ints(&[k])?;
        let end = f.op("Add", &[places, start])?;
        let there = f.op("Slice", &[sequences, start, end, axis])?;
        let (first, behind) = (from(f, k + 1 - size)?, from(f, k + 2 - size)?);
        let here = f.op("Slice", &[sequences, first, behind, axis])?;
        let same = f.op("Equal", &[there, here])?;
        equal = Some(match equal {
            Some(before) => f.op("And", &[before, same])?,
            None => same,
        });
    }
    let start = f.ints(&[size - 1])?;
    let end = f.op("Add", &[places, start])?;
    let tokens = f.op("Slice", &[sequences, start, end, axis])?;
    marked(f, tokens, equal, shape)
}

/// The first `length` columns, filled up with `pad`: sequences of the length that was asked for.
pub(super) fn filled_up(
    f: &mut Formula<'_, '_>,
    sequences: ValueId,
    length: ValueId,
    pad: i64,
) -> Result<ValueId, OpError> {
    let columns = f.with("Shape", plain().with("start", 1i64), &[sequences])?;
    let length = flat(f, length)?;
    let missing = f.op("Sub", &[length, columns])?;
    let zeros = f.ints(&[0, 0, 0])?;
    let pads = f.concat(&[zeros, missing], 0)?;
    let pad = f.scalar(pad as f64, DType::I32)?;
    f.op("Pad", &[sequences, pads, pad])
}

/// The sizes of the result that are known before it runs.
pub(super) fn size(ctx: &InferCtx<'_>, input: usize, output: usize, axis: usize) -> Dim {
    match ctx.known_ints(input).as_deref() {
        Some(&[n]) => Dim::known(n),
        _ => ctx.unknown_dim(output, axis),
    }
}

/// The first size of `input_ids`.
///
/// # Errors
/// When it has another rank than 2.
pub(super) fn batch(ctx: &InferCtx<'_>, output: usize) -> Result<Dim, Unknown> {
    match ctx.shape(0) {
        Some(&[batch, _]) => Ok(batch),
        Some(dims) => {
            Err(Unknown::wrong(format!("{} has rank {}, but must have rank 2", ctx.called(0), dims.len())))
        }
        None => Ok(ctx.unknown_dim(output, 0)),
    }
}

/// A decoder for cases: the scores of a token depend on the one before it alone, and the states hold nothing.
pub(super) fn table_decoder() -> Graph {
    const SCORES: [f32; 25] = [
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.25, 1.0, 2.0, 1.75, 1.0, 1.5, 2.0, 0.5,
        1.25, 0.25, 2.0, 1.5, 0.75, 1.0,
    ];
    let mut graph = Graph::new("decoder");
    let mut input = |name: &str, dtype: DType, sizes: &[&str]| {
        let dims = sizes.iter().map(|&size| match size.parse::<i64>() {
            Ok(size) => Dim::known(size),
            Err(_) => Dim::symbol(size),
        });
        let ty = Type::tensor(dtype, dims);
        let id = graph.add_input(name, Some(ty.clone()), None).expect("a fresh name");
        graph.set_declared(id, Some(ty));
        id
    };
    let ids = input("input_ids", DType::I32, &["rows", "columns"]);
    input("position_ids", DType::I32, &["rows", "columns"]);
    input("attention_mask", DType::I32, &["rows", "all"]);
    let past = input("past_0", DType::F32, &["2", "rows", "1", "past", "1"]);
    let mut build = Build::new(&mut graph, "");
    let table = build.constant(crate::floats(&[5, 5], &SCORES));
    let f = &mut Formula::free(&mut build);
    let mut make = || -> Result<Vec<ValueId>, OpError> {
        let logits = f.op("Gather", &[table, ids])?;
        let rows = f.with("Shape", plain().with("end", 1i64), &[ids])?;
        let columns = f.with("Shape", plain().with("start", 1i64), &[ids])?;
        let (two, one) = (f.ints(&[2])?, f.ints(&[1])?);
        let shape = f.concat(&[two, rows, one, columns, one], 0)?;
        let new = f.op("ConstantOfShape", &[shape])?;
        Ok(vec![logits, f.concat(&[past, new], 3)?])
    };
    let outputs = make().expect("standard operators");
    graph.set_outputs(outputs);
    graph
}
