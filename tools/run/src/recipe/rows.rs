//! Outputs over time: when is what, and tables.

use crate::outputs::write_all;
use crate::recipe::spec::{Segments, Sound, Table};
use crate::recipe::{Results, Source};
use anyhow::{Result, bail, ensure};

/// The rows of all runs.
pub(crate) struct Rows {
    /// The second that each row stands for.
    pub(crate) times: Vec<f64>,
    /// Row by row.
    pub(crate) values: Vec<f64>,
    /// How many there are in a row.
    pub(crate) columns: usize,
    /// Seconds of the recording.
    pub(crate) seconds: f64,
}

impl Rows {
    /// Joins an output of all runs, `trim` rows dropped at both ends of each.
    ///
    /// # Errors
    /// When the inputs are not from a recording, or the output does not fit.
    pub(crate) fn of(results: &Results, output: &str, trim: usize) -> Result<Rows> {
        let Source::Recording(sound, recording) = &results.source else {
            bail!("segments and tables need a sound input");
        };
        let mut rows =
            Rows { times: Vec::new(), values: Vec::new(), columns: 0, seconds: recording.seconds() };
        for (run, outputs) in results.runs.iter().enumerate() {
            for (_, tensor) in outputs.iter().filter(|(name, _)| name == output).take(1) {
                let columns = match sound.together {
                    true => tensor.shape().get(1..).unwrap_or_default().iter().product(),
                    false => tensor.shape().last().copied().unwrap_or(1),
                };
                ensure!(
                    columns > 0 && (run == 0 || columns == rows.columns),
                    "an output of shape {:?} has no rows that can be joined",
                    tensor.shape()
                );
                rows.columns = columns;
                rows.add(sound, run, trim, &tensor.to_f64s()?);
            }
        }
        let kept = rows.times.partition_point(|t| *t < rows.seconds);
        rows.times.truncate(kept);
        rows.values.truncate(kept * rows.columns);
        Ok(rows)
    }

    fn add(&mut self, sound: &Sound, run: usize, trim: usize, values: &[f64]) {
        let all = values.len() / self.columns;
        let trim = if sound.together { 0 } else { trim };
        let count = all.saturating_sub(trim.saturating_mul(2));
        let (rate, hop) = (sound.rate.get() as f64, sound.hop() as f64);
        for row in 0..count {
            self.times.push(match sound.together {
                true => row as f64 * hop / rate,
                false => (run as f64 * hop + row as f64 * hop / count as f64) / rate,
            });
        }
        let from = trim.min(all) * self.columns;
        self.values.extend(&values[from..from + count * self.columns]);
    }

    /// When a row ends: where the next one starts, the last one as long as the one before, none after the end.
    fn end(&self, row: usize) -> f64 {
        let step = match self.times.as_slice() {
            [.., a, b] => b - a,
            _ => self.seconds,
        };
        let next = self.times.get(row + 1).copied();
        next.unwrap_or_else(|| self.times.get(row).map_or(0.0, |t| t + step)).min(self.seconds)
    }

    /// The rows' values of a column.
    fn column(&self, column: usize) -> impl Iterator<Item = f64> + '_ {
        self.values.chunks_exact(self.columns.max(1)).map(move |row| row[column])
    }
}

/// A stretch of time in which a column's values are high.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    start: f64,
    end: f64,
    peak: f64,
}

fn stretches(rows: &Rows, column: usize, show: &Segments) -> Vec<Segment> {
    // Times are sums of fractions: a gap may come out a little longer than it is.
    const SLACK: f64 = 1e-6;
    let mut found: Vec<Segment> = Vec::new();
    for (row, value) in rows.column(column).enumerate() {
        if value > show.threshold {
            let (start, end) = (rows.times[row], rows.end(row));
            match found.last_mut().filter(|last| start - last.end <= show.min_gap + SLACK) {
                Some(last) => {
                    last.end = end;
                    last.peak = last.peak.max(value);
                }
                None => found.push(Segment { start, end, peak: value }),
            }
        }
    }
    found.retain(|s| s.end - s.start >= show.min_length);
    found
}

/// Prints when what is.
///
/// # Errors
/// When the output cannot be joined or the labels cannot be read.
pub(crate) fn segments(show: &Segments, results: &Results) -> Result<()> {
    let rows = Rows::of(results, &show.output, show.trim)?;
    let labels = show.labels.read(&results.folder, &results.metadata)?;
    let mut found: Vec<(Segment, String)> = Vec::new();
    for column in 0..rows.columns {
        found.extend(stretches(&rows, column, show).into_iter().map(|s| (s, labels.of(column))));
    }
    found.sort_by(|(a, x), (b, y)| a.start.total_cmp(&b.start).then_with(|| x.cmp(y)));
    if found.is_empty() {
        println!("nothing over {}", show.threshold);
    }
    for (segment, label) in found {
        println!("{:7.2} s to {:7.2} s  {label}  {:.2}", segment.start, segment.end, segment.peak);
    }
    Ok(())
}

/// Prints rows of numbers and writes all of them.
///
/// # Errors
/// When the output cannot be joined or the file cannot be written.
pub(crate) fn table(show: &Table, results: &Results) -> Result<()> {
    let rows = Rows::of(results, &show.output, show.trim)?;
    let name = |column: usize| show.columns.get(column).cloned().unwrap_or_else(|| column.to_string());
    let names: Vec<String> = (0..rows.columns).map(name).collect();
    let mut csv = format!("seconds,{}\n", names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(","));
    for (time, row) in rows.times.iter().zip(rows.values.chunks_exact(rows.columns.max(1))) {
        let values: Vec<String> = row.iter().map(|v| (*v as f32).to_string()).collect();
        csv.push_str(&format!("{time:.6},{}\n", values.join(",")));
    }
    let file = results.file(".table.csv");
    write_all(&[(file.clone(), csv.into_bytes())])?;
    println!("seconds  {}", names.join("  "));
    for row in evenly(rows.times.len(), show.rows.get()) {
        let values = &rows.values[row * rows.columns..(row + 1) * rows.columns];
        let texts: Vec<String> =
            values.iter().zip(&names).map(|(v, n)| format!("{:>1$}", format!("{v:.4}"), n.len())).collect();
        println!("{:7.3}  {}", rows.times[row], texts.join("  "));
    }
    println!("{} rows in {}", rows.times.len(), file.display());
    Ok(())
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// At most `shown` of `count` indices, the first and the last among them.
fn evenly(count: usize, shown: usize) -> Vec<usize> {
    match (count, shown) {
        (0, _) => Vec::new(),
        (_, 1) => vec![0],
        (count, shown) if count <= shown => (0..count).collect(),
        (count, shown) => {
            (0..shown).map(|i| (i as f64 * (count - 1) as f64 / (shown - 1) as f64) as usize).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_join_and_drop() {
        let values = [0.9, 0.8, 0.1, 0.7, 0.0, 0.0, 0.0, 0.6, 0.0, 0.9];
        let rows = Rows {
            times: (0..10).map(|i| f64::from(i) * 0.5).collect(),
            values: values.to_vec(),
            columns: 1,
            seconds: 4.8,
        };
        let show = |more: &str| -> Segments {
            serde_saphyr::from_str(&format!("{{output: o, threshold: 0.5{more}}}")).unwrap()
        };
        let spans = |more: &str| -> Vec<(f64, f64)> {
            stretches(&rows, 0, &show(more)).iter().map(|s| (s.start, s.end)).collect()
        };
        assert_eq!(spans(""), [(0.0, 1.0), (1.5, 2.0), (3.5, 4.0), (4.5, 4.8)]);
        assert_eq!(spans(", min_gap: 0.5"), [(0.0, 2.0), (3.5, 4.8)]);
        assert_eq!(spans(", min_gap: 0.5, min_length: 1.5"), [(0.0, 2.0)]);
    }

    #[test]
    fn rows_evenly() {
        assert_eq!(evenly(5, 20), [0, 1, 2, 3, 4]);
        assert_eq!(evenly(100, 3), [0, 49, 99]);
        assert!(evenly(0, 3).is_empty());
    }
}
