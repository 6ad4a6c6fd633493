//! [TfIdfVectorizer](https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html): how often known n-grams occur.

use crate::text::{text_input, texts};
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, ShownDims, Signature, Unknown, kernel, shared,
};
use oxidane_tensor::DType;
use std::collections::HashMap;
use std::sync::Arc;

attributes! {
    /// Counts, for each row, the n-grams of a pool: all of `min_gram_length` to `max_gram_length` items that
    /// stand 1 to `max_skip_count` + 1 items apart.
    pub struct TfIdfVectorizer {
        max_gram_length: i64,
        max_skip_count: i64,
        min_gram_length: i64,
        /// `TF` counts, `IDF` gives the weight of what occurs, `TFIDF` counts times weight.
        mode: String,
        /// Where the 1-grams, 2-grams, ... begin in the pool.
        ngram_counts: Vec<i64>,
        /// The column of each n-gram.
        ngram_indexes: Vec<i64>,
        pool_int64s: Option<Vec<i64>>,
        pool_strings: Option<Vec<String>>,
        /// The weight of each n-gram; 1 where they are left out.
        weights: Option<Vec<f32>>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::STRING_OR_INDEX, "T")],
    outputs: &[Param::one("Y", types::FLOAT32, "T1")],
};

/// The room of TfIdfVectorizer.
pub static ROOM: Room = Room {
    domain: "",
    name: "TfIdfVectorizer",
    since: &[9],
    signature: &SIGNATURE,
    read: |a| Ok(shared(TfIdfVectorizer::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let numbers = |mode: &str| TfIdfVectorizer {
            max_gram_length: 2,
            max_skip_count: 0,
            min_gram_length: 1,
            mode: mode.to_owned(),
            ngram_counts: vec![0, 4],
            ngram_indexes: vec![0, 1, 2, 3, 4, 5, 6],
            pool_int64s: Some(vec![2, 3, 5, 4, 5, 6, 7, 8, 6, 7]),
            pool_strings: None,
            weights: None,
        };
        let weighted = |mode: &str| TfIdfVectorizer {
            max_gram_length: 1,
            ngram_counts: vec![0],
            ngram_indexes: vec![2, 0],
            pool_int64s: Some(vec![7, 8]),
            weights: Some(vec![0.5, 0.25]),
            ..numbers(mode)
        };
        let words = TfIdfVectorizer {
            min_gram_length: 2,
            ngram_counts: vec![0, 0],
            ngram_indexes: vec![0, 1],
            pool_int64s: None,
            pool_strings: Some(["a", "b", "b", "a"].map(str::to_owned).to_vec()),
            ..numbers("TF")
        };
        let rows = || ints(&[2, 6], &[1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8]);
        vec![
            // ONNX Runtime.
            Case::new("counts", numbers("TF")).input(rows()).expect(floats(
                &[2, 7],
                &[0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0],
            )),
            Case::new("skips", TfIdfVectorizer { max_skip_count: 5, min_gram_length: 2, ..numbers("TF") })
                .input(rows())
                .expect(floats(
                    &[2, 7],
                    &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
                )),
            Case::new("one row", weighted("IDF"))
                .input(ints(&[3], &[7, 7, 8]))
                .expect(floats(&[3], &[0.25, 0.0, 0.5])),
            Case::new("weighted", weighted("TFIDF"))
                .input(ints(&[3], &[7, 7, 8]).cast(DType::I32, Default::default()).expect("integers"))
                .expect(floats(&[3], &[0.25, 0.0, 1.0])),
            Case::new("words", words)
                .input(strings(&[2, 3], &["a", "b", "a", "b", "b", "b"]))
                .expect(floats(&[2, 2], &[1.0, 1.0, 0.0, 0.0])),
        ]
    },
};

/// Where an n-gram goes, and what it weighs.
#[derive(Clone, Copy)]
struct Entry {
    column: usize,
    weight: f32,
}

/// The pool: n-grams as numbers of items, which for strings are numbers of distinct strings.
struct Pool {
    entries: HashMap<Box<[i64]>, Entry>,
    words: Option<HashMap<Arc<str>, i64>>,
    columns: usize,
}

impl TfIdfVectorizer {
    /// The number of columns.
    fn columns(&self) -> Result<usize, OpError> {
        let wrong = |i: &i64| OpError::new(format!("ngram_indexes holds {i}, which is no column"));
        self.ngram_indexes.iter().try_fold(0usize, |most, i| {
            Ok(most.max(usize::try_from(*i).ok().and_then(|i| i.checked_add(1)).ok_or_else(|| wrong(i))?))
        })
    }

    fn pool(&self) -> Result<Pool, OpError> {
        let wrong = |what: String| Err(OpError::new(what));
        if self.min_gram_length < 1 || self.max_gram_length < self.min_gram_length {
            return wrong(format!(
                "n-grams of {} to {} items do not exist",
                self.min_gram_length, self.max_gram_length
            ));
        }
        if self.max_skip_count < 0 {
            return wrong(format!("max_skip_count is {}, but may not be negative", self.max_skip_count));
        }
        if self.max_gram_length > self.ngram_counts.len() as i64 {
            return wrong(format!(
                "max_gram_length is {}, but ngram_counts ends at {}",
                self.max_gram_length,
                self.ngram_counts.len()
            ));
        }
        if let Some(weights) = &self.weights
            && weights.len() != self.ngram_indexes.len()
        {
            return wrong(format!(
                "there are {} weights for {} n-grams",
                weights.len(),
                self.ngram_indexes.len()
            ));
        }
        let mut words = None;
        let items = match (&self.pool_int64s, &self.pool_strings) {
            (_, Some(strings)) if !strings.is_empty() => {
                let known = words.insert(HashMap::new());
                let number = |s: &String| {
                    let next = known.len() as i64;
                    *known.entry(Arc::from(s.as_str())).or_insert(next)
                };
                strings.iter().map(number).collect()
            }
            (Some(numbers), _) => numbers.clone(),
            _ => return wrong("it has neither pool_int64s nor pool_strings".to_owned()),
        };
        let mut entries = HashMap::new();
        let mut id = 0;
        for (i, &start) in self.ngram_counts.iter().enumerate() {
            let size = i + 1;
            let end = self.ngram_counts.get(size).copied().unwrap_or(items.len() as i64);
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let Some(range) = range.and_then(|(start, end)| items.get(start..end)) else {
                return wrong(format!(
                    "the {size}-grams are items {start} to {end} of a pool of {}",
                    items.len()
                ));
            };
            if range.len() % size != 0 {
                return wrong(format!("{} items are no whole {size}-grams", range.len()));
            }
            for gram in range.chunks_exact(size) {
                let Some(&column) = self.ngram_indexes.get(id) else {
                    return wrong(format!("ngram_indexes has no index for n-gram {id}"));
                };
                let weight = self.weights.as_ref().map_or(1.0, |w| w[id]);
                id += 1;
                if (self.min_gram_length..=self.max_gram_length).contains(&(size as i64)) {
                    // Negative indices are refused where the columns are counted.
                    let entry = Entry { column: column.max(0) as usize, weight };
                    if entries.insert(Box::from(gram), entry).is_some() {
                        return wrong(format!("{size}-gram {gram:?} is in the pool twice"));
                    }
                }
            }
        }
        Ok(Pool { entries, words, columns: self.columns()? })
    }

    /// Adds the n-grams of a row to its columns.
    fn count(&self, pool: &Pool, row: &[i64], gram: &mut Vec<i64>, out: &mut [f32]) {
        let mut found = |gram: &[i64]| {
            let Some(entry) = pool.entries.get(gram) else { return };
            match self.mode.as_str() {
                "TF" => out[entry.column] += 1.0,
                "IDF" => out[entry.column] = entry.weight,
                _ => out[entry.column] += entry.weight,
            }
        };
        let least = self.min_gram_length as usize;
        let most = self.max_gram_length as usize;
        if least == 1 {
            // Single items do not depend on the distance.
            row.iter().for_each(|item| found(&[*item]));
        }
        let least = least.max(2);
        if least > most {
            return;
        }
        for distance in 1..=(self.max_skip_count as usize).saturating_add(1) {
            // Farther apart nothing fits into the row.
            if distance.saturating_mul(least - 1) >= row.len() {
                break;
            }
            for start in 0..row.len() - distance * (least - 1) {
                gram.clear();
                for item in row[start..].iter().step_by(distance).take(most) {
                    gram.push(*item);
                    if gram.len() >= least {
                        found(gram);
                    }
                }
            }
        }
    }
}

impl Op for TfIdfVectorizer {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let columns = Dim::from(self.columns()?);
        match ctx.shape(0) {
            Some([] | [_]) => ctx.set_tensor(0, DType::F32, [columns]),
            Some(&[rows, _]) => ctx.set_tensor(0, DType::F32, [rows, columns]),
            Some(other) => {
                return Err(Unknown::wrong(format!(
                    "{} is {}, but must be [C] or [N,C]",
                    ctx.called(0),
                    ShownDims(other)
                )));
            }
            None => ctx.set_unranked(0, DType::F32),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        if !matches!(self.mode.as_str(), "TF" | "IDF" | "TFIDF") {
            return Err(OpError::new(format!("mode is `{}`", self.mode)).help("it may be TF, IDF or TFIDF"));
        }
        let pool = self.pool()?;
        let op = self.clone();
        kernel(move |run| {
            let shape = run.tensor(0)?.shape().to_vec();
            let (rows, length, out_shape) = match shape[..] {
                [] => (1, 1, vec![pool.columns]),
                [c] => (1, c, vec![pool.columns]),
                [n, c] => (n, c, vec![n, pool.columns]),
                _ => return Err(OpError::new(format!("the input is {shape:?}, but must be [C] or [N,C]"))),
            };
            let items: Vec<i64> = match &pool.words {
                // -1 is no word of the pool.
                Some(words) => {
                    let x = text_input(run, 0)?;
                    texts(&x)?.iter().map(|text| words.get(text).copied().unwrap_or(-1)).collect()
                }
                None if run.tensor(0)?.dtype() == DType::String => {
                    return Err(OpError::new("the input is text, but the pool holds integers"));
                }
                None => run.tensor(0)?.to_i64s()?,
            };
            let mut out = run.allocate(0, DType::F32, &out_shape)?;
            let counts = out.slice_mut::<f32>()?;
            counts.fill(0.0);
            let mut gram = Vec::new();
            if pool.columns > 0 {
                for (i, out) in counts.chunks_exact_mut(pool.columns).enumerate() {
                    if i % 64 == 0 {
                        run.checkpoint()?;
                    }
                    debug_assert!(i < rows);
                    op.count(&pool, &items[i * length..(i + 1) * length], &mut gram, out);
                }
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
