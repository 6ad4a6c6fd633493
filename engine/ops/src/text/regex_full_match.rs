//! [RegexFullMatch](https://onnx.ai/onnx/operators/onnx__RegexFullMatch.html): does a pattern match all of a
//! text?
//!
//! Patterns are in [RE2's syntax](https://github.com/google/re2/wiki/Syntax). The `regex` crate shares its matching
//! in linear time and nearly all of its syntax; [`translated`] writes what differs in the crate's way.

use crate::text::{text_input, texts};
use crate::{Case, Form, Room, attributes, bools, of_room, strings, types};
use oxidane_graph::{Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{DType, Tensor};
use regex::Regex;

attributes! {
    /// For each string, whether the pattern matches it from its first to its last character.
    pub struct RegexFullMatch {
        pattern: Option<String>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::STRING, "T1")],
    outputs: &[Param::one("Y", types::BOOL, "T2")],
};

/// The room of RegexFullMatch.
pub static ROOM: Room = Room {
    domain: "",
    name: "RegexFullMatch",
    since: &[20],
    signature: &SIGNATURE,
    read: |a| Ok(shared(RegexFullMatch::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |pattern: &str| RegexFullMatch { pattern: Some(pattern.to_owned()) };
        vec![
            // RE2, through ONNX Runtime.
            Case::new("address", op(r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)"))
                .input(strings(&[2, 2], &["account@gmail.com", "not email", "x@gmail.com.de", "@yahoo.com"]))
                .expect(bools(&[2, 2], &[true, false, false, true])),
            Case::new("alternatives are anchored", op("a|b"))
                .input(strings(&[4], &["a", "b", "ab", "xb"]))
                .expect(bools(&[4], &[true, true, false, false])),
            Case::new("classes are ASCII", op(r"\w\d|\s|[^\D]x"))
                .input(strings(&[4], &["é٣", "a1", "\u{a0}", "7x"]))
                .expect(bools(&[4], &[false, true, false, true])),
            Case::new("lines", op("a.b|(?s)c.d"))
                .input(strings(&[3], &["a\nb", "axb", "c\nd"]))
                .expect(bools(&[3], &[false, true, true])),
            Case::new("quoted", op(r"\Qa.b\E[[&&]\x{e9}\101"))
                .input(strings(&[3], &["a.b&éA", "axb&éA", "a.b[éA"]))
                .expect(bools(&[3], &[true, false, true])),
            Case::new("no pattern", RegexFullMatch { pattern: None })
                .input(strings(&[2], &["", "a"]))
                .expect(bools(&[2], &[true, false])),
        ]
    },
};

/// A pattern of RE2 in the syntax of the `regex` crate: `\d`, `\w`, `\s` and `\b` know ASCII alone, `\Q...\E`
/// quotes, a backslash with digits is a character's code, and classes have no operators inside.
fn translated(pattern: &str) -> Result<String, OpError> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                let Some(escaped) = rest.next() else {
                    return Err(OpError::new("the pattern ends in a backslash"));
                };
                match escaped {
                    'Q' => {
                        let mut quoted = String::new();
                        for c in rest.by_ref() {
                            quoted.push(c);
                            if quoted.ends_with("\\E") {
                                quoted.truncate(quoted.len() - 2);
                                break;
                            }
                        }
                        out.push_str(&regex::escape(&quoted));
                    }
                    'd' => out.push_str("[0-9]"),
                    'D' => out.push_str("[^0-9]"),
                    'w' => out.push_str("[0-9A-Za-z_]"),
                    'W' => out.push_str("[^0-9A-Za-z_]"),
                    's' => out.push_str(r"[\t\n\f\r ]"),
                    'S' => out.push_str(r"[^\t\n\f\r ]"),
                    'b' => out.push_str(r"(?-u:\b)"),
                    'B' => out.push_str(r"(?-u:\B)"),
                    '0'..='7' => {
                        let mut code = escaped.to_digit(8).unwrap_or(0);
                        let mut digits = 1;
                        while digits < 3
                            && let Some(digit) = rest.peek().and_then(|c| c.to_digit(8))
                        {
                            code = code * 8 + digit;
                            digits += 1;
                            rest.next();
                        }
                        if escaped != '0' && digits == 1 {
                            return Err(OpError::new(format!(
                                "the pattern refers back to a group by `\\{escaped}`, which RE2 does not have"
                            )));
                        }
                        out.push_str(&format!("\\x{{{code:x}}}"));
                    }
                    'C' => return Err(OpError::unsupported("`\\C` (a single byte) in a pattern")),
                    // The crate has other meanings for some of these.
                    c if c.is_ascii_punctuation() => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
                    c => out.extend(['\\', c]),
                }
            }
            '[' if !class => {
                class = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // The first of a class stands for itself.
                if rest.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            '[' if rest.peek() == Some(&':') => {
                out.push('[');
                for c in rest.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '[' | '&' | '~' if class => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// A pattern of RE2.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn expression(pattern: &str) -> Result<Regex, OpError> {
    build(pattern, &translated(pattern)?)
}

/// A pattern of RE2 that matches whole texts alone.
fn compile(pattern: &str) -> Result<Regex, OpError> {
    // Read by itself first: it may not close the group around it.
    let own = translated(pattern)?;
    build(pattern, &own)?;
    build(pattern, &format!("\\A(?:{own})\\z"))
}

fn build(pattern: &str, translated: &str) -> Result<Regex, OpError> {
    Regex::new(translated).map_err(|why| {
        OpError::new(format!("the pattern `{pattern}` cannot be read: {why}"))
            .help("patterns are in RE2's syntax, see https://github.com/google/re2/wiki/Syntax")
    })
}

impl Op for RegexFullMatch {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        match ctx.shape(0).map(Dims::from_slice) {
            Some(dims) => ctx.set_tensor(0, DType::Bool, dims),
            None => ctx.set_unranked(0, DType::Bool),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let regex = compile(self.pattern.as_deref().unwrap_or_default())?;
        kernel(move |run| {
            let x = text_input(run, 0)?;
            let matches: Vec<bool> = texts(&x)?.iter().map(|text| regex.is_match(text)).collect();
            run.set(0, Tensor::from_bools(x.shape(), &matches)?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_re2_refuses() {
        for pattern in ["(", "a)", "a)|(b", "[", "\\", r"(a)\1", "a**b)", r"\C"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn syntax_that_differs() {
        let matches = |pattern: &str, text: &str| compile(pattern).unwrap().is_match(text);
        assert!(matches(r"\<\>", "<>") && matches("[]a]+", "]a") && matches("[^]a]", "b"));
        assert!(matches("[[:alpha:]\\d]+", "a1") && matches("[a&&b]+", "&ab") && matches("[a~~b]+", "~ab"));
        assert!(matches(r"a\b é\B.", "a éé") && !matches(r"\pN", "a") && matches(r"\p{Greek}", "α"));
        assert!(matches(r"\Q(\E", "(") && matches(r"\Q[x", "[x") && matches(r"\07\012", "\u{7}\n"));
        assert!(matches("(?i)ä", "Ä") && !matches("a$", "a\n") && matches("(?P<n>a)(?U:b*)", "abb"));
    }
}
