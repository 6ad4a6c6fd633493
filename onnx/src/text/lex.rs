//! The characters of a text: space, names, literals.

use super::TextError;

/// A literal value.
#[derive(Debug, PartialEq)]
pub(super) enum Literal<'a> {
    /// A whole number, as it is written.
    Int(&'a str),
    /// A number with a point or an exponent, or `inf`, `nan`, as it is written.
    Float(&'a str),
    /// A string in quotes.
    Text(String),
}

pub(super) type Result<T> = std::result::Result<T, TextError>;

/// A place in a text.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Whether this is the content of a note, in which line breaks are escaped.
    in_note: bool,
    /// Notes passed since they were last taken: where their contents start and end.
    notes: Vec<(usize, usize)>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // A mark of the byte order says nothing about UTF-8.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lexer { text, at, in_note: false, notes: Vec::new() }
    }

    /// The notes passed since the last call, in order.
    pub(super) fn take_notes(&mut self) -> Vec<Lexer<'a>> {
        self.skip_space();
        let notes = std::mem::take(&mut self.notes);
        notes.into_iter().map(|(start, end)| self.note(start, end)).collect()
    }

    fn note(&self, start: usize, end: usize) -> Lexer<'a> {
        Lexer { text: &self.text[..end], at: start, in_note: true, notes: Vec::new() }
    }

    /// Fails if there are notes that were not taken.
    pub(super) fn no_notes(&self, wanted: &str) -> Result<()> {
        match self.notes.first() {
            Some(&(start, end)) => self.note(start, end).fail(wanted),
            None => Ok(()),
        }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn here(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    pub(super) fn skip_space(&mut self) {
        while let Some(byte) = self.here() {
            match byte {
                b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => self.at += 1,
                b'#' => {
                    let rest = &self.bytes()[self.at..];
                    let len = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                    if rest.starts_with(b"#@") && !self.in_note {
                        self.notes.push((self.at + 2, self.at + len));
                    }
                    self.at += len;
                }
                _ => return,
            }
        }
    }

    /// The next byte after space; None at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.here()
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Passes `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<()> {
        if self.eat(byte) { Ok(()) } else { self.fail(&format!("`{}`", byte as char)) }
    }

    /// Passes `=>`.
    pub(super) fn expect_arrow(&mut self) -> Result<()> {
        self.skip_space();
        if self.bytes()[self.at..].starts_with(b"=>") {
            self.at += 2;
            return Ok(());
        }
        self.fail("`=>`")
    }

    /// An error at the next token.
    pub(super) fn fail<T>(&self, expected: &str) -> Result<T> {
        Err(self.error(expected))
    }

    pub(super) fn error(&self, expected: &str) -> TextError {
        let mut place = self.clone();
        place.skip_space();
        place.error_here(expected)
    }

    /// An error exactly here.
    fn error_here(&self, expected: &str) -> TextError {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &self.text[self.at..];
        let quoted = rest.starts_with('"');
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-') || quoted;
        let starts_word = rest.starts_with(is_word);
        let word = rest
            .char_indices()
            .find(|&(i, c)| i > 0 && !(starts_word && is_word(c)))
            .map_or(rest.len(), |(i, _)| i);
        let token: String = rest[..word].chars().take(40).collect();
        TextError {
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            found: if token.is_empty() { "the end of the text".into() } else { format!("`{token}`") },
            expected: expected.into(),
        }
    }

    /// An error at the start of what was just read.
    pub(super) fn error_at(&self, start: usize, expected: &str) -> TextError {
        Lexer { at: start, ..self.clone() }.error_here(expected)
    }

    /// Where the next token starts, for [`Lexer::error_at`].
    pub(super) fn start(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// A name without quotes; empty if there is none.
    pub(super) fn word(&mut self) -> &'a str {
        let word = self.peek_word();
        self.at += word.len();
        word
    }

    /// As [`Lexer::word`], without passing it.
    pub(super) fn peek_word(&mut self) -> &'a str {
        self.skip_space();
        let rest = &self.bytes()[self.at..];
        if !rest.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_') {
            return "";
        }
        let len = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'));
        &self.text[self.at..self.at + len.unwrap_or(rest.len())]
    }

    /// Whether bytes in hexadecimal come next: `x"..."`.
    pub(super) fn hex_is_next(&mut self) -> bool {
        self.skip_space();
        self.bytes()[self.at..].starts_with(b"x\"")
    }

    /// Bytes in hexadecimal.
    pub(super) fn hex(&mut self) -> Result<Vec<u8>> {
        if !self.hex_is_next() {
            return self.fail("bytes in hexadecimal, such as x\"00ff\"");
        }
        self.at += 1;
        self.hex_string()
    }

    /// Pairs of hexadecimal digits in quotes.
    pub(super) fn hex_string(&mut self) -> Result<Vec<u8>> {
        if self.peek() != Some(b'"') {
            return self.fail("bytes in hexadecimal, in quotes");
        }
        let start = self.at + 1;
        let rest = &self.bytes()[start..];
        let Some(len) = rest.iter().position(|&b| b == b'"') else {
            return self.fail("a closing quote");
        };
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let mut bytes = Vec::with_capacity(len / 2);
        for pair in rest[..len].chunks(2) {
            match pair {
                [high, low] if digit(*high).is_some() && digit(*low).is_some() => {
                    bytes.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                }
                _ => return self.fail("pairs of hexadecimal digits"),
            }
        }
        self.at = start + len + 1;
        Ok(bytes)
    }

    /// A string in quotes.
    pub(super) fn string(&mut self) -> Result<String> {
        if self.peek() != Some(b'"') {
            return self.fail("a string in quotes");
        }
        let start = self.at + 1;
        let bytes = self.bytes();
        let mut at = start;
        let mut plain = start;
        let mut value = String::new();
        loop {
            match bytes.get(at) {
                None => return self.fail("a closing quote"),
                Some(b'"') => break,
                Some(b'\\') => {
                    value.push_str(&self.text[plain..at]);
                    // The escaped character stands for itself; it may have several bytes.
                    plain = at + 1;
                    match bytes.get(plain) {
                        None => return self.fail("a closing quote"),
                        Some(b'n') if self.in_note => {
                            value.push('\n');
                            plain += 1;
                        }
                        Some(b'r') if self.in_note => {
                            value.push('\r');
                            plain += 1;
                        }
                        Some(_) => {}
                    }
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        value.push_str(&self.text[plain..at]);
        self.at = at + 1;
        Ok(value)
    }

    /// A name, with or without quotes.
    pub(super) fn name(&mut self, what: &str) -> Result<String> {
        if self.peek() == Some(b'"') {
            return self.string();
        }
        match self.word() {
            "" => self.fail(what),
            word => Ok(word.to_owned()),
        }
    }

    /// Whether a float in letters comes next: `inf`, `infinity`, `nan`, however written.
    pub(super) fn float_word_is_next(&mut self) -> bool {
        let rest = self.peek_word();
        ["inf", "infinity", "nan"].iter().any(|word| rest.eq_ignore_ascii_case(word))
    }

    /// A number as it is written, or a string.
    pub(super) fn literal(&mut self, what: &str) -> Result<Literal<'a>> {
        match self.peek() {
            Some(b'"') => self.string().map(Literal::Text),
            _ => self.number(what),
        }
    }

    /// A number as it is written.
    pub(super) fn number(&mut self, what: &str) -> Result<Literal<'a>> {
        self.skip_space();
        let bytes = self.bytes();
        let start = self.at;
        let mut at = start + usize::from(self.here() == Some(b'-'));
        if bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
            let mut word = Lexer { at, notes: Vec::new(), ..*self };
            if !word.float_word_is_next() {
                return self.fail(what);
            }
            self.at = at + word.peek_word().len();
            return Ok(Literal::Float(&self.text[start..self.at]));
        }
        if !bytes.get(at).is_some_and(u8::is_ascii_digit) {
            return self.fail(what);
        }
        let mut is_float = false;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'0'..=b'9' => {}
                b'.' if !is_float => is_float = true,
                _ => break,
            }
            at += 1;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            is_float = true;
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
        }
        self.at = at;
        let number = &self.text[start..at];
        Ok(if is_float { Literal::Float(number) } else { Literal::Int(number) })
    }

    /// A whole number of 64 bits.
    pub(super) fn int(&mut self) -> Result<i64> {
        let start = self.start();
        match self.number("a whole number")? {
            Literal::Int(text) => {
                text.parse().map_err(|_| self.error_at(start, "a whole number that fits 64 bits"))
            }
            _ => Err(self.error_at(start, "a whole number")),
        }
    }

    /// A whole number of 64 bits without a sign.
    pub(super) fn unsigned(&mut self) -> Result<u64> {
        let start = self.start();
        match self.number("a whole number")? {
            Literal::Int(text) => {
                text.parse().map_err(|_| self.error_at(start, "a whole number from 0 to 2^64 - 1"))
            }
            _ => Err(self.error_at(start, "a whole number")),
        }
    }

    /// A 32-bit float; a number too large for one is an error, one too small is zero.
    pub(super) fn float(&mut self) -> Result<f32> {
        let start = self.start();
        let value = match self.number("a number")? {
            Literal::Int(text) | Literal::Float(text) => super::number::parse_f32(text),
            Literal::Text(_) => None,
        };
        value.ok_or_else(|| self.error_at(start, "a number that fits 32-bit floating point"))
    }

    /// A 64-bit float.
    pub(super) fn double(&mut self) -> Result<f64> {
        let start = self.start();
        let value = match self.number("a number")? {
            Literal::Int(text) | Literal::Float(text) => super::number::parse_f64(text),
            Literal::Text(_) => None,
        };
        value.ok_or_else(|| self.error_at(start, "a number that fits 64-bit floating point"))
    }
}
