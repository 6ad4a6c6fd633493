//! [Tokenizer](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Tokenizer)
//! of ONNX Runtime: strings cut into tokens, as models of text vectorizers begin with.

use crate::tensor::moves::empty_strings;
use crate::text::regex_full_match::expression;
use crate::text::{text_input, texts};
use crate::{Case, Form, Room, attributes, of_room, strings, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Shape, Tensor};
use regex::Regex;
use std::sync::Arc;

attributes! {
    /// The tokens of each string of `[C]` or `[N, C]` along a new last axis, padded to the longest.
    pub struct Tokenizer {
        /// Whether tokens are enclosed by the characters 2 and 3.
        mark: bool,
        /// Shorter tokens are left out.
        mincharnum: i64,
        /// What fills up rows.
        pad_value: String,
        /// Patterns that stand between tokens, each applied to what those before left whole; a single empty one
        /// makes each character a token.
        separators: Option<Vec<String>>,
        /// A pattern that matches tokens, in place of separators.
        tokenexp: Option<String>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::STRING, "T")],
    outputs: &[Param::one("Y", types::STRING, "T")],
};

/// The room of Tokenizer.
pub static ROOM: Room = Room {
    domain: "com.microsoft",
    name: "Tokenizer",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Tokenizer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let by = |separators: &[&str]| Tokenizer {
            mark: false,
            mincharnum: 1,
            pad_value: "#".to_owned(),
            separators: Some(separators.iter().map(|&s| s.to_owned()).collect()),
            tokenexp: None,
        };
        let words = |mincharnum| Tokenizer {
            separators: None,
            tokenexp: Some(r"[a-zA-Z0-9_]+".to_owned()),
            mincharnum,
            ..by(&[])
        };
        vec![
            // ONNX Runtime.
            Case::new("expression", words(1))
                .input(strings(&[2], &["a cat, a dog", "ok"]))
                .expect(strings(&[2, 4], &["a", "cat", "a", "dog", "ok", "#", "#", "#"])),
            Case::new("longer words", words(3))
                .input(strings(&[2], &["a cat, a dog", "ok"]))
                .expect(strings(&[2, 2], &["cat", "dog", "#", "#"])),
            Case::new("separators", by(&[";", ",+"]))
                .input(strings(&[1, 2], &["a;b,,c", ";d"]))
                .expect(strings(&[1, 2, 3], &["a", "b", "c", "d", "#", "#"])),
            Case::new("characters, marked", Tokenizer { mark: true, ..by(&[""]) })
                .input(strings(&[2], &["äb", "c"]))
                .expect(strings(&[2, 4], &["\u{2}", "ä", "b", "\u{3}", "\u{2}", "c", "\u{3}", "#"])),
            Case::new("nothing", words(1)).input(strings(&[1], &["?!"])).expect(strings(&[1, 0], &[])),
        ]
    },
};

/// How texts are cut.
enum Cut {
    Characters,
    Tokens(Regex),
    Separators(Vec<Regex>),
}

impl Cut {
    fn tokens<'t>(&self, text: &'t str, least: usize, out: &mut Vec<&'t str>) {
        out.clear();
        match self {
            Cut::Characters => out.extend(text.split("").filter(|t| !t.is_empty())),
            Cut::Tokens(token) => out.extend(token.find_iter(text).map(|m| m.as_str())),
            Cut::Separators(all) => {
                out.push(text);
                for separator in all {
                    *out = out.iter().flat_map(|piece| separator.split(piece)).collect();
                }
            }
        }
        out.retain(|token| !token.is_empty() && (least < 2 || token.chars().nth(least - 1).is_some()));
    }
}

impl Op for Tokenizer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match ctx.shape(0).map(Dims::from_slice) {
            Some(mut dims) if matches!(dims.len(), 1 | 2) => {
                dims.push(ctx.unknown_dim(0, dims.len()));
                ctx.set_tensor(0, DType::String, dims);
                Ok(())
            }
            Some(dims) => Err(Unknown::wrong(format!(
                "{} is {}, but must be [C] or [N,C]",
                ctx.called(0),
                ShownDims(&dims)
            ))),
            None => {
                ctx.set_unranked(0, DType::String);
                Ok(())
            }
        }
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let separators = self.separators.as_deref().unwrap_or_default();
        let cut = match (separators, self.tokenexp.as_deref().unwrap_or_default()) {
            ([], "") => {
                return Err(OpError::new("it has neither separators nor an expression for tokens"));
            }
            ([], token) => Cut::Tokens(expression(token)?),
            ([only], "") if only.is_empty() => Cut::Characters,
            (all, "") => Cut::Separators(all.iter().map(|s| expression(s)).collect::<Result<_, _>>()?),
            _ => return Err(OpError::new("it has both separators and an expression for tokens")),
        };
        let least = usize::try_from(self.mincharnum)
            .map_err(|_| OpError::new(format!("mincharnum is {}", self.mincharnum)))?;
        let (mark, pad) = (self.mark, Arc::<str>::from(self.pad_value.as_str()));
        let ends: [Arc<str>; 2] = ["\u{2}", "\u{3}"].map(Arc::from);
        kernel(move |run| {
            let x = text_input(run, 0)?;
            let texts = texts(&x)?;
            let mut tokens = Vec::new();
            let mut longest = 0;
            for text in texts {
                cut.tokens(text, least, &mut tokens);
                longest = longest.max(tokens.len());
            }
            let marks = if mark && longest > 0 { 2 } else { 0 };
            let mut shape = Shape::from_slice(x.shape());
            shape.push(longest + marks);
            let mut out = empty_strings(run, 0, &shape)?;
            if longest > 0 {
                for (text, row) in texts.iter().zip(out.chunks_exact_mut(longest + marks)) {
                    cut.tokens(text, least, &mut tokens);
                    row.fill(pad.clone());
                    for (to, token) in row[marks / 2..].iter_mut().zip(&tokens) {
                        *to = Arc::from(*token);
                    }
                    if marks > 0 {
                        [row[0], row[tokens.len() + 1]] = ends.clone();
                    }
                }
            }
            run.set(0, Tensor::from_strings(&shape, out)?);
            Ok(())
        })
    }
}
