//! Names of indices.

use crate::recipe::spec::{Labels, LabelsFrom};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Labels as read.
pub(crate) struct Named(Vec<String>);

impl Named {
    /// The label of an index, or its number.
    pub(crate) fn of(&self, index: usize) -> String {
        self.0.get(index).cloned().unwrap_or_else(|| index.to_string())
    }
}

impl Labels {
    /// Reads the labels; `folder` is the recipe's, `metadata` the model's.
    ///
    /// # Errors
    /// When the file or the metadata are not there or hold no labels.
    pub(crate) fn read(&self, folder: &Path, metadata: &[(String, String)]) -> Result<Named> {
        let from = match self {
            Labels::None => return Ok(Named(Vec::new())),
            Labels::List(list) => return Ok(Named(list.clone())),
            Labels::From(from) => from,
        };
        let mut labels = from.first.clone();
        labels.extend(from.found(folder, metadata)?);
        labels.extend(from.last.iter().cloned());
        Ok(Named(labels))
    }
}

impl LabelsFrom {
    fn found(&self, folder: &Path, metadata: &[(String, String)]) -> Result<Vec<String>> {
        match (&self.file, &self.metadata, self.notes) {
            (Some(file), None, None) => {
                let path = folder.join(file);
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("labels from {}", path.display()))?;
                match &self.key {
                    None => Ok(text.lines().map(str::to_owned).collect()),
                    Some(key) => list(&text, key).with_context(|| format!("labels from {}", path.display())),
                }
            }
            (None, Some(key), None) if self.key.is_none() => {
                let Some((_, text)) = metadata.iter().find(|(k, _)| k == key) else {
                    let known: Vec<&str> = metadata.iter().map(|(k, _)| k.as_str()).collect();
                    bail!("the model's metadata have no `{key}`, only: {}", known.join(", "));
                };
                Ok(text.lines().map(str::to_owned).collect())
            }
            (None, None, Some(first)) if self.key.is_none() => Ok((first..128).map(note).collect()),
            _ => bail!("labels come from one of file (with or without key), metadata and notes"),
        }
    }
}

fn list(text: &str, key: &str) -> Result<Vec<String>> {
    let json: serde_json::Value = serde_json::from_str(text)?;
    let Some(items) = json.get(key).and_then(|v| v.as_array()) else { bail!("there is no list `{key}`") };
    let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    Ok(items.iter().map(text).collect())
}

/// The name of a MIDI note.
fn note(n: usize) -> String {
    const NAMES: [&str; 12] = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
    format!("{}{}", NAMES[n % 12], (n / 12) as i64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<String>> {
        let labels: Labels = serde_saphyr::from_str(yaml)?;
        let metadata = [("words".to_owned(), "a\r\nb\n \n".to_owned())];
        Ok(labels.read(Path::new("."), &metadata)?.0)
    }

    #[test]
    fn every_kind() {
        assert_eq!(read("[x, y]").unwrap(), ["x", "y"]);
        assert_eq!(read("{notes: 21}").unwrap()[..4], ["A0", "A#0", "B0", "C1"]);
        assert_eq!(read("{metadata: words, first: [\"\"], last: [z]}").unwrap(), ["", "a", "b", " ", "z"]);
        assert!(read("{metadata: other}").unwrap_err().to_string().contains("words"));
        assert!(read("{notes: 21, metadata: words}").is_err());
        let error = read("{note: 21}").unwrap_err().to_string();
        assert!(error.contains("note") && error.contains("notes"), "{error}");
    }
}
