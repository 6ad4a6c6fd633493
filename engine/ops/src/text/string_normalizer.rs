//! [StringNormalizer](https://onnx.ai/onnx/operators/onnx__StringNormalizer.html): stop words taken out, and the
//! case changed.

use crate::text::{text_input, texts};
use crate::{Case, Form, Room, attributes, of_room, strings, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::{DType, Tensor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

attributes! {
    /// The strings of `[C]` or `[1, C]` that are no stop words, in upper or lower case. If none is left, the
    /// result is one empty string.
    ///
    /// Case follows Unicode's full mappings, so that `ß` becomes `SS`. The language of `locale` matters where
    /// Unicode says so: Turkish and Azeri have a dotted and a dotless i.
    pub struct StringNormalizer {
        /// What is done to the case: `NONE`, `LOWER` or `UPPER`.
        case_change_action: String = "NONE".to_owned(),
        /// Whether stop words are told apart by case.
        is_case_sensitive: bool = false,
        locale: Option<String>,
        stopwords: Option<Vec<String>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::STRING, "")],
    outputs: &[Param::one("Y", types::STRING, "")],
};

/// The room of StringNormalizer.
pub static ROOM: Room = Room {
    domain: "",
    name: "StringNormalizer",
    since: &[10],
    signature: &SIGNATURE,
    read: |a| Ok(shared(StringNormalizer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |action: &str, sensitive, stop: &[&str]| StringNormalizer {
            case_change_action: action.to_owned(),
            is_case_sensitive: sensitive,
            locale: None,
            stopwords: (!stop.is_empty()).then(|| stop.iter().map(|&s| s.to_owned()).collect()),
        };
        let turkish =
            |action| StringNormalizer { locale: Some("tr_TR.UTF-8".into()), ..op(action, true, &[]) };
        let week = || strings(&[4], &["monday", "Tuesday", "MONDAY", "thursday"]);
        vec![
            // ONNX Runtime.
            Case::new("sensitive", op("UPPER", true, &["monday"]))
                .input(week())
                .expect(strings(&[3], &["TUESDAY", "MONDAY", "THURSDAY"])),
            Case::new("insensitive", op("NONE", false, &["Monday", "THURSDAY"]))
                .input(week())
                .expect(strings(&[1], &["Tuesday"])),
            Case::new("lower", op("LOWER", false, &["monday"]))
                .input(strings(&[1, 3], &["MONDAY", "ÄÖ", "x"]))
                .expect(strings(&[1, 2], &["äö", "x"])),
            Case::new("nothing left", op("LOWER", true, &["a"]))
                .input(strings(&[1, 2], &["a", "a"]))
                .expect(strings(&[1, 1], &[""])),
            Case::new("nothing to do", op("NONE", false, &[])).input(week()).expect(week()),
            // Unicode's SpecialCasing: i and I of Turkish.
            Case::new("turkish upper", turkish("UPPER"))
                .input(strings(&[2], &["iı", "straße"]))
                .expect(strings(&[2], &["İI", "STRASSE"])),
            Case::new("turkish lower", turkish("LOWER"))
                .input(strings(&[1], &["Iİ"]))
                .expect(strings(&[1], &["ıi"])),
        ]
    },
};

#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    Lower,
    Upper,
}

impl Change {
    /// A text in the other case; `dotless` where i and ı are letters of their own.
    fn apply(self, text: &str, dotless: bool) -> Cow<'_, str> {
        match self {
            Change::None => Cow::Borrowed(text),
            Change::Lower if dotless => text.replace('İ', "i").replace('I', "ı").to_lowercase().into(),
            Change::Upper if dotless => text.replace('i', "İ").to_uppercase().into(),
            Change::Lower => text.to_lowercase().into(),
            Change::Upper => text.to_uppercase().into(),
        }
    }
}

/// The sizes when `left` strings are left of `rank` dimensions.
fn sizes(rank: usize, left: usize) -> Vec<usize> {
    let left = left.max(1);
    if rank == 2 { vec![1, left] } else { vec![left] }
}

impl Op for StringNormalizer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let Some(dims) = ctx.shape(0).map(Dims::from_slice) else {
            ctx.set_unranked(0, DType::String);
            return Ok(());
        };
        let fits = match dims[..] {
            [_] => true,
            [one, _] => one.as_known().is_none_or(|n| n == 1),
            _ => false,
        };
        if !fits {
            return Err(Unknown::wrong(format!(
                "{} is {}, but must be [C] or [1,C]",
                ctx.called(0),
                ShownDims(&dims)
            )));
        }
        let last = dims.len() - 1;
        let left = match dims[last].as_known() {
            // Without stop words all stay; one empty string stands for none.
            Some(n) if self.stopwords.as_ref().is_none_or(Vec::is_empty) => Dim::known(n.max(1)),
            _ => ctx.unknown_dim(0, last),
        };
        let shape =
            if last == 1 { Dims::from_slice(&[Dim::known(1), left]) } else { Dims::from_slice(&[left]) };
        ctx.set_tensor(0, DType::String, shape);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let change = match self.case_change_action.as_str() {
            "NONE" => Change::None,
            "LOWER" => Change::Lower,
            "UPPER" => Change::Upper,
            other => {
                return Err(OpError::new(format!("case_change_action is `{other}`"))
                    .help("it may be NONE, LOWER or UPPER"));
            }
        };
        let language = self.locale.as_deref().unwrap_or_default();
        let language = language.split(['_', '-', '.', '@']).next().unwrap_or_default();
        let dotless = matches!(language, "tr" | "az" | "Turkish" | "turkish");
        // Texts are compared in the case of the result, or in lower case where that stays.
        let compare = match (self.is_case_sensitive, change) {
            (true, _) => Change::None,
            (false, Change::Upper) => Change::Upper,
            (false, _) => Change::Lower,
        };
        let words = self.stopwords.iter().flatten();
        let stop: HashSet<String> = words.map(|w| compare.apply(w, dotless).into_owned()).collect();
        kernel(move |run| {
            let x = text_input(run, 0)?;
            let rank = x.rank();
            if !(rank == 1 || (rank == 2 && x.shape()[0] == 1)) {
                return Err(OpError::new(format!("the input is {:?}, but must be [C] or [1,C]", x.shape())));
            }
            let mut left: Vec<Arc<str>> = Vec::new();
            for text in texts(&x)? {
                if !stop.is_empty() && stop.contains(&*compare.apply(text, dotless)) {
                    continue;
                }
                left.push(match change {
                    Change::None => text.clone(),
                    _ => Arc::from(&*change.apply(text, dotless)),
                });
            }
            let shape = sizes(rank, left.len());
            left.resize(shape.iter().product(), Arc::from(""));
            run.set(0, Tensor::from_strings(&shape, left)?);
            Ok(())
        })
    }
}
