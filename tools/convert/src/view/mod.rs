//! One HTML page that shows a model.

mod content;

use crate::source::Source;
use crate::writing::dim;
use anyhow::{Context, Result};
use clap::Args;
use oxidane_inspect::{say, size};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HTML: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// Writes one self-contained HTML page that shows a model; it needs no network.
///
/// The graph is laid out by the modules in its nodes' names, which open and close; nodes show their attributes, types, and
/// how their weights are spread. A run on made inputs colors nodes by their time, and each node tells which passes
/// of --level full change it.
///
/// Example:
///   onnx-convert view model.onnx model.html
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct View {
    /// The model.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The page to write.
    #[arg(value_name = "OUT.html")]
    output: PathBuf,
    /// Does not run the model, so that there is no heat map.
    #[arg(long)]
    no_run: bool,
    /// An .npz file with inputs by name for the run; by default inputs are made.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// The size of a symbolic dimension in the run; by default small ones are tried. May be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = dim)]
    dim: Vec<(String, i64)>,
}

impl View {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let source = Source::open(&self.input)?;
        let title = self.input.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let title = match title.as_str() {
            // A file that is called like all others says less than its folder.
            "model" => {
                let folder = self.input.parent().and_then(Path::file_name);
                folder.map_or(title.clone(), |f| f.to_string_lossy().into_owned())
            }
            _ => title,
        };
        let run = match self.no_run {
            true => None,
            false => Some(content::Run { inputs: self.inputs.as_deref(), sizes: &self.dim }),
        };
        let data = content::of(&source.model, &title, run)?;
        // A closing tag inside the data would end it.
        let data = serde_json::to_string(&data)?.replace("</", "<\\/").replace("<!--", "<\\u0021--");
        let mut page = String::with_capacity(HTML.len() + CSS.len() + JS.len() + data.len());
        let mut rest = HTML;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").context("the page's frame is damaged")?;
            page.push_str(before);
            match name {
                "title" => page.push_str(&escaped(&title)),
                "css" => page.push_str(CSS.trim_end()),
                "js" => page.push_str(JS.trim_end()),
                _ => page.push_str(&data),
            }
            rest = after;
        }
        page.push_str(rest);
        oxidane::onnx::write_beside(&self.output, page.as_bytes())
            .with_context(|| self.output.display().to_string())?;
        say!("{}: {}", self.output.display(), size(page.len() as u128));
        Ok(ExitCode::SUCCESS)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
