//! [StringSplit](https://onnx.ai/onnx/operators/onnx__StringSplit.html): strings cut at a delimiter.

use crate::tensor::moves::empty_strings;
use crate::text::{text_input, texts};
use crate::{Case, Form, Room, attributes, ints, of_room, strings, types};
use oxidane_graph::{Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

attributes! {
    /// The pieces of each string along a new last axis, padded with empty strings, and how many there are.
    ///
    /// White space is what Unicode calls so. Nothing is cut beyond `maxsplit` times; between white space the
    /// rest then ends at its last other character, as the specification and ONNX Runtime have it.
    pub struct StringSplit {
        /// Where to cut; absent or empty cuts at runs of white space.
        delimiter: Option<String>,
        maxsplit: Option<i64>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::STRING, "T1")],
    outputs: &[Param::one("Y", types::STRING, "T2"), Param::one("Z", types::INT64, "T3")],
};

/// The room of StringSplit.
pub static ROOM: Room = Room {
    domain: "",
    name: "StringSplit",
    since: &[20],
    signature: &SIGNATURE,
    read: |a| Ok(shared(StringSplit::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let by = |delimiter: Option<&str>, maxsplit| StringSplit {
            delimiter: delimiter.map(str::to_owned),
            maxsplit,
        };
        let x = || strings(&[2, 2], &[" a b  c ", "", "x,y,,z", " "]);
        vec![
            // ONNX Runtime.
            Case::new("white space", by(None, None))
                .input(x())
                .outputs(2)
                .expect(strings(&[2, 2, 3], &["a", "b", "c", "", "", "", "x,y,,z", "", "", "", "", ""]))
                .expect(ints(&[2, 2], &[3, 0, 1, 0])),
            Case::new("one cut", by(Some(""), Some(1)))
                .input(x())
                .outputs(2)
                .expect(strings(&[2, 2, 2], &["a", "b  c", "", "", "x,y,,z", "", "", ""]))
                .expect(ints(&[2, 2], &[2, 0, 1, 0])),
            Case::new("delimiter", by(Some(","), Some(2)))
                .input(strings(&[2], &["x,y,,z", " "]))
                .outputs(2)
                .expect(strings(&[2, 3], &["x", "y", ",z", " ", "", ""]))
                .expect(ints(&[2], &[3, 1])),
            // str.split: text without the delimiter is one piece, be it empty.
            Case::new("empty pieces", by(Some("--"), None))
                .input(strings(&[3], &["--a----b", "", "c"]))
                .outputs(2)
                .expect(strings(&[3, 4], &["", "a", "", "b", "", "", "", "", "c", "", "", ""]))
                .expect(ints(&[3], &[4, 1, 1])),
            Case::new("no cut", by(None, Some(0)))
                .input(strings(&[1], &[" a b "]))
                .outputs(2)
                .expect(strings(&[1, 1], &["a b"]))
                .expect(ints(&[1], &[1])),
            Case::new("scalar", by(None, None))
                .input(strings(&[], &["a b"]))
                .outputs(2)
                .expect(strings(&[2], &["a", "b"]))
                .expect(ints(&[], &[2])),
            Case::new("nothing", by(None, None))
                .input(strings(&[0], &[]))
                .outputs(2)
                .expect(strings(&[0, 0], &[]))
                .expect(ints(&[0], &[])),
        ]
    },
};

impl StringSplit {
    /// The pieces of a text.
    fn pieces<'t>(&self, text: &'t str, cuts: usize, out: &mut Vec<&'t str>) {
        out.clear();
        match self.delimiter.as_deref() {
            None | Some("") => {
                let mut rest = text.trim();
                while !rest.is_empty() {
                    let end = rest.find(char::is_whitespace).filter(|_| out.len() < cuts);
                    let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
                    out.push(piece);
                    rest = after.trim_start();
                }
            }
            Some(delimiter) => out.extend(text.splitn(cuts.saturating_add(1), delimiter)),
        }
    }
}

impl Op for StringSplit {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match ctx.shape(0).map(Dims::from_slice) {
            Some(dims) => {
                let mut pieces = dims.clone();
                pieces.push(ctx.unknown_dim(0, dims.len()));
                ctx.set_tensor(0, DType::String, pieces);
                ctx.set_tensor(1, DType::I64, dims);
            }
            None => {
                ctx.set_unranked(0, DType::String);
                ctx.set_unranked(1, DType::I64);
            }
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        // As in Python, a negative number sets no limit.
        let cuts = op.maxsplit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        kernel(move |run| {
            let x = text_input(run, 0)?;
            let texts = texts(&x)?;
            let mut pieces = Vec::new();
            let mut counts = Vec::with_capacity(texts.len());
            for text in texts {
                op.pieces(text, cuts, &mut pieces);
                counts.push(pieces.len());
            }
            let most = counts.iter().copied().max().unwrap_or(0);
            let mut shape = Shape::from_slice(x.shape());
            shape.push(most);
            let mut split = empty_strings(run, 0, &shape)?;
            if most > 0 {
                for (text, row) in texts.iter().zip(split.chunks_exact_mut(most)) {
                    op.pieces(text, cuts, &mut pieces);
                    for (to, piece) in row.iter_mut().zip(&pieces) {
                        *to = if piece.len() == text.len() { text.clone() } else { Arc::from(*piece) };
                    }
                }
            }
            run.set(0, Tensor::from_strings(&shape, split)?);
            let counts: Vec<i64> = counts.iter().map(|&n| n as i64).collect();
            run.set(1, Tensor::new(x.shape(), &counts)?);
            Ok(())
        })
    }
}
