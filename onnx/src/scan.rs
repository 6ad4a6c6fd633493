//! The look at a file's structure before it is decoded.
//!
//! Protobuf's wire format is walked once, with an explicit stack and without reading the weights: every
//! declared length is checked against the bytes that exist, nesting and the memory that decoding will
//! take are bounded, and whatever is wrong is reported with its byte and its field. What passes decodes
//! without surprises.

use std::fmt::Write;

use crate::error::Error;
use crate::proto::fields::{Field, Kind, MESSAGES};

/// How deeply messages may nest below the model: the limit of every protobuf library.
pub(crate) const DEPTH: usize = 100;

/// What the walk learnt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Fields that this version of ONNX does not know.
    pub(crate) unknown_fields: u64,
    /// An upper bound of the memory that the decoded messages take, in bytes, without the contents of
    /// `bytes` fields, which stay where they are.
    pub(crate) memory: u64,
}

struct Frame {
    message: usize,
    start: usize,
    end: usize,
    /// Where this message's own key starts in its parent, and the field it is.
    key: usize,
    field: &'static str,
    repeated: bool,
    number: u32,
}

struct Walk<'a> {
    bytes: &'a [u8],
    file: &'a str,
    stack: Vec<Frame>,
    summary: Summary,
}

/// Walks `bytes` as a ModelProto.
pub(crate) fn scan(bytes: &[u8], file: &str, memory_limit: u64) -> Result<Summary, Error> {
    let root =
        Frame { message: 0, start: 0, end: bytes.len(), key: 0, field: "model", repeated: false, number: 0 };
    let mut walk = Walk { bytes, file, stack: vec![root], summary: Summary::default() };
    let mut at = 0;
    while let Some(top) = walk.stack.last() {
        if at == top.end {
            walk.stack.pop();
            continue;
        }
        at = walk.field(at)?;
        if walk.summary.memory > memory_limit {
            let field = walk.path(at, None);
            return Err(Error::TooLarge { file: file.into(), at: at as u64, field, limit: memory_limit });
        }
    }
    Ok(walk.summary)
}

impl Walk<'_> {
    fn end(&self) -> usize {
        self.stack.last().map_or(0, |frame| frame.end)
    }

    /// Reads the field whose key is at `at`; for a message enters it. Returns where to go on.
    fn field(&mut self, at: usize) -> Result<usize, Error> {
        let (key, mut next) = self.varint(at, None)?;
        let (number, wire) = ((key >> 3) as u32, key & 7);
        if key > u64::from(u32::MAX) || number == 0 {
            return Err(self.malformed(at, None, "no field has this number"));
        }
        let message = &MESSAGES[self.stack.last().map_or(0, |frame| frame.message)];
        let field = message.fields.iter().find(|field| field.number == number);
        let Some(field) = field else {
            self.summary.unknown_fields += 1;
            return self.skip(at, number, wire, next);
        };
        let wants = match field.kind {
            Kind::Varint(_) => 0,
            Kind::Fixed64 => 1,
            Kind::Fixed32 => 5,
            Kind::Text | Kind::Bytes | Kind::Message(_) => 2,
        };
        let packed = wire == 2 && wants != 2 && field.repeated;
        if wire != wants && !packed {
            let what = format!("a field of {} in wire type {wire} where {wants} belongs", message.name);
            return Err(self.malformed(at, Some(field), &what));
        }
        match wire {
            0 => {
                next = self.varint(next, Some(field))?.1;
                self.charge(field, 1);
                Ok(next)
            }
            1 => {
                self.charge(field, 1);
                self.advance(next, 8, Some(field))
            }
            5 => {
                self.charge(field, 1);
                self.advance(next, 4, Some(field))
            }
            _ => {
                let (len, content) = self.varint(next, Some(field))?;
                let end = self.advance(content, len, Some(field))?;
                match field.kind {
                    Kind::Message(inner) => {
                        // The root is no message inside another one.
                        if self.stack.len() > DEPTH {
                            return Err(Error::TooDeep {
                                file: self.file.into(),
                                at: at as u64,
                                field: self.path(at, Some(field)),
                                limit: DEPTH,
                            });
                        }
                        let size = MESSAGES[inner].size as u64;
                        self.summary.memory += if field.repeated { 2 * size } else { size };
                        self.stack.push(Frame {
                            message: inner,
                            start: content,
                            end,
                            key: at,
                            field: field.name,
                            repeated: field.repeated,
                            number,
                        });
                        return Ok(content);
                    }
                    Kind::Text => {
                        if let Err(error) = std::str::from_utf8(&self.bytes[content..end]) {
                            let at = content + error.valid_up_to();
                            return Err(self.malformed(at, Some(field), "a string that is not UTF-8"));
                        }
                        self.summary.memory += 40 + len;
                    }
                    Kind::Bytes => self.summary.memory += 40,
                    Kind::Fixed32 => self.charge(field, len / 4),
                    Kind::Fixed64 => self.charge(field, len / 8),
                    Kind::Varint(_) => {
                        let ends = self.bytes[content..end].iter().filter(|&&byte| byte < 0x80).count();
                        self.charge(field, ends as u64);
                    }
                }
                Ok(end)
            }
        }
    }

    fn charge(&mut self, field: &Field, elements: u64) {
        // A growing vector holds up to twice its elements.
        let size = match field.kind {
            _ if !field.repeated => 0,
            Kind::Varint(size) => u64::from(size),
            Kind::Fixed32 => 4,
            _ => 8,
        };
        self.summary.memory = self.summary.memory.saturating_add(elements.saturating_mul(2 * size));
    }

    /// Skips a field of an unknown number; groups, which ONNX does not use, without recursion.
    fn skip(&mut self, at: usize, number: u32, wire: u64, mut next: usize) -> Result<usize, Error> {
        let mut open = Vec::new();
        let (mut number, mut wire) = (number, wire);
        loop {
            match wire {
                0 => next = self.varint(next, None)?.1,
                1 => next = self.advance(next, 8, None)?,
                2 => {
                    let (len, content) = self.varint(next, None)?;
                    next = self.advance(content, len, None)?;
                }
                3 => open.push(number),
                4 if open.last() == Some(&number) => {
                    open.pop();
                }
                5 => next = self.advance(next, 4, None)?,
                4 => return Err(self.malformed(at, None, "the end of a group that was not begun")),
                _ => return Err(self.malformed(at, None, &format!("wire type {wire} does not exist"))),
            }
            if open.is_empty() {
                return Ok(next);
            }
            if open.len() + self.stack.len() > DEPTH {
                return Err(Error::TooDeep {
                    file: self.file.into(),
                    at: at as u64,
                    field: self.path(at, None),
                    limit: DEPTH,
                });
            }
            let (key, after) = self.varint(next, None)?;
            (number, wire, next) = ((key >> 3) as u32, key & 7, after);
            if key > u64::from(u32::MAX) || number == 0 {
                return Err(self.malformed(at, None, "no field has this number"));
            }
        }
    }

    fn varint(&self, at: usize, field: Option<&Field>) -> Result<(u64, usize), Error> {
        let end = self.end();
        let mut value = 0u64;
        for i in 0..10 {
            let Some(&byte) = self.bytes[..end].get(at + i) else {
                return Err(self.short(at, i as u64 + 1, field));
            };
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok((value, at + i + 1));
            }
        }
        Err(self.malformed(at, field, "a number of more than 64 bits"))
    }

    fn advance(&self, at: usize, len: u64, field: Option<&Field>) -> Result<usize, Error> {
        if len > (self.end() - at) as u64 { Err(self.short(at, len, field)) } else { Ok(at + len as usize) }
    }

    /// Something of `len` bytes at `at` does not fit where it is.
    fn short(&self, at: usize, len: u64, field: Option<&Field>) -> Error {
        let have = (self.end() - at) as u64;
        if self.end() == self.bytes.len() {
            return Error::Truncated {
                file: self.file.into(),
                field: self.path(at, field),
                at: at as u64,
                declared: len,
                have,
                end: self.bytes.len() as u64,
            };
        }
        let what = format!("it says it is {len} bytes long, but the message around it ends after {have}");
        self.malformed(at, field, &what)
    }

    fn malformed(&self, at: usize, field: Option<&Field>, what: &str) -> Error {
        Error::Malformed {
            file: self.file.into(),
            at: at as u64,
            field: self.path(at, field),
            what: what.into(),
        }
    }

    /// The field being read at `at`, such as `graph.node[3].attribute[0].t.raw_data`.
    fn path(&self, at: usize, field: Option<&Field>) -> String {
        let mut path = String::new();
        let mut steps: Vec<(&str, Option<usize>)> = Vec::new();
        for pair in self.stack.windows(2) {
            let child = &pair[1];
            let index = child.repeated.then(|| self.count(&pair[0], child.key, child.number));
            steps.push((child.field, index));
        }
        if let (Some(field), Some(top)) = (field, self.stack.last()) {
            steps.push((field.name, field.repeated.then(|| self.count(top, at, field.number))));
        }
        if steps.is_empty() {
            return "the model".into();
        }
        for (i, (name, index)) in steps.iter().enumerate() {
            // A path of a hundred steps helps nobody.
            if steps.len() > 14 && (8..steps.len() - 4).contains(&i) {
                if i == 8 {
                    path.push_str(". ... ");
                }
                continue;
            }
            if i > 0 {
                path.push('.');
            }
            path.push_str(name);
            if let Some(index) = index {
                // Writing into a string does not fail.
                let _ = write!(path, "[{index}]");
            }
        }
        path
    }

    /// How many fields of `number` come before byte `key` in the message of `frame`, which was walked up
    /// to there already.
    fn count(&self, frame: &Frame, key: usize, number: u32) -> usize {
        let (mut at, mut count) = (frame.start, 0);
        let bare = Walk {
            bytes: self.bytes,
            file: self.file,
            stack: vec![Frame { field: frame.field, ..*frame }],
            summary: Summary::default(),
        };
        while at < key {
            let Ok((tag, next)) = bare.varint(at, None) else { break };
            let end = match tag & 7 {
                0 => bare.varint(next, None).map(|(_, end)| end),
                1 => bare.advance(next, 8, None),
                5 => bare.advance(next, 4, None),
                2 => bare.varint(next, None).and_then(|(len, content)| bare.advance(content, len, None)),
                // Inside of a group nothing counts.
                _ => Ok(next),
            };
            let Ok(end) = end else { break };
            if (tag >> 3) as u32 == number && end <= key {
                count += 1;
            }
            at = end;
        }
        count
    }
}
