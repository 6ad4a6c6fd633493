//! A file's bytes as inputs.

use crate::recipe::spec::Bytes;
use anyhow::{Result, ensure};
use oxidane::Tensor;

/// More tokens are refused.
const MOST_TOKENS: usize = 1 << 28;

impl Bytes {
    /// The input of shape `[1, begin + end]`.
    ///
    /// # Errors
    /// When it would be too large.
    pub(crate) fn tensor(&self, data: &[u8]) -> Result<Tensor> {
        let count = self.begin.checked_add(self.end).filter(|n| *n <= MOST_TOKENS);
        ensure!(count.is_some(), "begin and end ask for more than {MOST_TOKENS} tokens");
        let block = self.block.unwrap_or(data.len()).min(data.len());
        let (mut begin, mut end) = (&data[..block], &data[data.len() - block..]);
        if self.strip {
            let white = |b: &u8| matches!(*b, 9..=13 | 32);
            begin = &begin[begin.iter().position(|b| !white(b)).unwrap_or(begin.len())..];
            end = &end[..end.iter().rposition(|b| !white(b)).map_or(0, |at| at + 1)];
        }
        let begin = &begin[..begin.len().min(self.begin)];
        let end = &end[end.len() - end.len().min(self.end)..];
        let mut tokens: Vec<i64> = begin.iter().map(|&b| i64::from(b)).collect();
        let missing = self.begin - begin.len() + self.end - end.len();
        tokens.extend(std::iter::repeat_n(self.padding, missing));
        tokens.extend(end.iter().map(|&b| i64::from(b)));
        Ok(Tensor::from_i64s(self.dtype.0, &[1, tokens.len()], &tokens)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let tokens = |yaml: &str, data: &[u8]| {
            let bytes: Bytes = serde_saphyr::from_str(yaml).unwrap();
            bytes.tensor(data).unwrap().to_i64s().unwrap()
        };
        assert_eq!(tokens("{begin: 2, end: 3, padding: 256}", b"abcdef"), [97, 98, 100, 101, 102]);
        assert_eq!(tokens("{begin: 3, end: 2, padding: 256, strip: true}", b" a\n"), [97, 10, 256, 32, 97]);
        assert_eq!(tokens("{begin: 2, end: 2, padding: 256, strip: true}", b"  "), [256; 4]);
        assert_eq!(tokens("{begin: 3, end: 3, block: 2}", b"abcdef"), [97, 98, 0, 0, 101, 102]);
    }
}
