use crate::Cli;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use oxidane_inspect::say;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the steps that a YAML file lists, each on what the one before it wrote.
///
/// A step is the name of a command, with its options as keys without the dashes: a flag is `true`, an option that may
/// be repeated takes a list. `compose` names the other model as `with`; `check` and `view` (with `page`) read the
/// model and write none. Paths are taken from the folder of the recipe. Every step verifies as its command does; the
/// first that fails ends the recipe with its exit code, and the output is not written.
///
///   model: model.onnx
///   output: small.onnx
///   steps:
///     - edit: {set-dim: [batch=1]}
///     - optimize: {level: basic, without: [cse]}
///     - opset: {to: 17}
///     - fp16
///     - check
///
/// Example:
///   onnx-convert recipe steps.yaml
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunRecipe {
    /// The recipe.
    #[arg(value_name = "RECIPE.yaml")]
    recipe: PathBuf,
    /// The model, in place of the recipe's.
    #[arg(value_name = "IN")]
    input: Option<PathBuf>,
    /// Where to write, in place of the recipe's `output`.
    #[arg(value_name = "OUT")]
    output: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    model: Option<PathBuf>,
    output: Option<PathBuf>,
    steps: Vec<Value>,
}

/// Commands that write a model.
const REWRITE: &[&str] = &["optimize", "opset", "fp16", "bf16", "extract", "edit", "weights", "compose"];
/// Options that are paths.
const PATHS: &[&str] = &["from", "with", "inputs", "page"];

impl RunRecipe {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let called = || self.recipe.display().to_string();
        let text = std::fs::read_to_string(&self.recipe).with_context(called)?;
        let recipe: Recipe = serde_saphyr::from_str(&text).with_context(called)?;
        let folder = self.recipe.parent().unwrap_or(Path::new("")).to_owned();
        let from_recipe = |path: &PathBuf| folder.join(path);
        let input = self.input.clone().or(recipe.model.as_ref().map(from_recipe));
        let input = input.with_context(|| format!("{}: there is no `model`, and none is given", called()))?;
        let output = self.output.clone().or(recipe.output.as_ref().map(from_recipe));
        let output =
            output.with_context(|| format!("{}: there is no `output`, and none is given", called()))?;
        let steps: Result<Vec<_>> = recipe
            .steps
            .iter()
            .enumerate()
            .map(|(i, step)| parts(step).with_context(|| at(&called(), i)))
            .collect();
        let steps = steps?;
        let Some(last) = steps.iter().rposition(|(name, _)| REWRITE.contains(&name.as_str())) else {
            bail!("{}: no step writes a model; those that do are {}", called(), REWRITE.join(", "));
        };
        // Beside the output, so that large models do not fill another disk.
        let beside = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let between = tempfile::tempdir_in(beside).with_context(|| beside.display().to_string())?;
        let mut current = input;
        for (i, (name, options)) in steps.iter().enumerate() {
            let rewrites = REWRITE.contains(&name.as_str());
            let target = match rewrites {
                true if i == last => Some(output.clone()),
                true => Some(between.path().join(format!("step{i}.onnx"))),
                false => None,
            };
            let arguments = arguments(name, options, &current, target.as_deref(), &folder)
                .with_context(|| at(&called(), i))?;
            // What is wrong with the options is said as the command itself would say it.
            let cli = Cli::try_parse_from(arguments).map_err(|e| {
                let said = e.to_string();
                anyhow::anyhow!("{}: {}", at(&called(), i), said.trim_start_matches("error: ").trim())
            })?;
            say!("{}. {name}", i + 1);
            let code = cli.run().with_context(|| at(&called(), i))?;
            if code != ExitCode::SUCCESS {
                return Ok(code);
            }
            if let Some(target) = target {
                current = target;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn at(recipe: &str, step: usize) -> String {
    format!("{recipe}: step {}", step + 1)
}

/// The command of a step and its options.
fn parts(step: &Value) -> Result<(String, Map<String, Value>)> {
    const FORM: &str = "a step is the name of a command, or a command with its options";
    let (name, options) = match step {
        Value::String(name) => (name.clone(), Map::new()),
        Value::Object(map) if map.len() == 1 => {
            let (name, options) = map.iter().next().context(FORM)?;
            match options {
                Value::Object(options) => (name.clone(), options.clone()),
                Value::Null => (name.clone(), Map::new()),
                _ => bail!("the options of {name} must be keys with values"),
            }
        }
        _ => bail!(FORM),
    };
    if !REWRITE.contains(&name.as_str()) && !matches!(name.as_str(), "check" | "view") {
        bail!("there is no step `{name}`; the steps are {}, check, view", REWRITE.join(", "));
    }
    Ok((name, options))
}

/// The command line of a step.
fn arguments(
    name: &str,
    options: &Map<String, Value>,
    input: &Path,
    output: Option<&Path>,
    folder: &Path,
) -> Result<Vec<OsString>> {
    let mut options = options.clone();
    let mut taken = |key: &str| -> Result<Option<OsString>> {
        match options.remove(key) {
            None => Ok(None),
            Some(Value::String(path)) => Ok(Some(folder.join(path).into())),
            Some(_) => bail!("`{key}` must be a path"),
        }
    };
    let mut line: Vec<OsString> = vec!["onnx-convert".into(), name.into(), input.into()];
    if name == "compose" {
        line.push(taken("with")?.context("compose needs the other model as `with`")?);
    }
    if name == "view" {
        line.push(taken("page")?.context("view needs the page to write as `page`")?);
    }
    line.extend(output.map(Into::into));
    for (key, value) in &options {
        let values = match value {
            Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        for value in values {
            let text = match value {
                Value::Bool(true) => {
                    line.push(format!("--{key}").into());
                    continue;
                }
                Value::Bool(false) => continue,
                Value::String(text) if PATHS.contains(&key.as_str()) && name != "extract" => {
                    folder.join(text).into_os_string()
                }
                Value::String(text) => text.into(),
                Value::Number(number) => number.to_string().into(),
                _ => bail!("`{key}` must be a text, a number, true, false, or a list of them"),
            };
            let mut argument: OsString = format!("--{key}=").into();
            argument.push(text);
            line.push(argument);
        }
    }
    Ok(line)
}
