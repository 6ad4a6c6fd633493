//! Recipes: how a picture, a recording or a file becomes a model's inputs, and how to show its outputs.
//! `testdata/recipes.md` describes them.

mod boxes;
mod bytes;
mod heatmap;
pub(crate) mod image;
mod labels;
mod ranking;
mod rows;
mod sound;
pub(crate) mod spec;

use crate::outputs;
use anyhow::{Context, Result, anyhow, bail, ensure};
use image::{Image, Picture};
use oxidane::{Session, Tensor};
use oxidane_inspect::Progress;
use sound::Recording;
use spec::{Recipe, Show, Sound};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the command line says.
pub(crate) struct Call<'a> {
    pub(crate) recipe: &'a Path,
    pub(crate) model: Option<&'a Path>,
    pub(crate) source: Option<&'a Path>,
    pub(crate) out: &'a Path,
    /// The `.npz` file for the outputs of all runs.
    pub(crate) outputs: Option<&'a Path>,
    pub(crate) threads: usize,
}

/// What the inputs were made of, for showing.
pub(crate) enum Source {
    /// A picture and how it became an input.
    Picture(Box<Image>, Picture),
    /// A recording and how it became inputs.
    Recording(Sound, Recording),
    /// Bytes, or nothing.
    Other,
}

/// What there is to show.
pub(crate) struct Results {
    pub(crate) source: Source,
    /// For each run, the outputs that are shown (all of them where they are written, too), by name.
    pub(crate) runs: Vec<Vec<(String, Tensor)>>,
    pub(crate) metadata: Vec<(String, String)>,
    /// The recipe's folder.
    pub(crate) folder: PathBuf,
    /// What files that are written are called, without ending: in the folder of `--out`.
    pub(crate) name: PathBuf,
}

impl Results {
    /// An output of the last run.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn last(&self, output: &str) -> Result<&Tensor> {
        let found = self.runs.last().and_then(|run| run.iter().find(|(name, _)| name == output));
        found.map(|(_, tensor)| tensor).with_context(|| format!("there is no output `{output}`"))
    }

    /// The file for a kind of show; a further one of the same kind gets a number.
    pub(crate) fn file(&self, ending: &str) -> PathBuf {
        let mut path = self.name.clone().into_os_string();
        path.push(ending);
        PathBuf::from(path)
    }
}

/// Runs a recipe, prints what it shows, and writes its files.
///
/// # Errors
/// When the recipe, its files or the model are at fault.
pub(crate) fn run(call: &Call<'_>) -> Result<()> {
    if let Some(to) = call.outputs {
        ensure!(outputs::is_npz(to), "a recipe writes its outputs as an .npz file, not as {}", to.display());
    }
    let recipe = Recipe::open(call.recipe)?;
    let place = || call.recipe.display().to_string();
    let folder =
        call.recipe.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let model_path = match (call.model, &recipe.model) {
        (Some(model), _) => model.to_owned(),
        (None, Some(model)) => folder.join(model),
        (None, None) => bail!("{} names no model; give one with --model", place()),
    };
    let source_path = match (call.source, &recipe.source) {
        (Some(source), _) => Some(source.to_owned()),
        (None, Some(source)) => Some(folder.join(source)),
        (None, None) => None,
    };
    let start = Instant::now();
    let model = crate::open(&model_path)?;
    let metadata = model.onnx().metadata().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let session = crate::compile(model, &model_path, call.threads, crate::Precision::F32)?;
    let loaded = start.elapsed();
    check_names(&recipe, &session).with_context(place)?;

    let (feed, source) = feed(&recipe, source_path.as_deref()).with_context(place)?;
    let start = Instant::now();
    let kept: Vec<&str> = match call.outputs {
        Some(_) => session.outputs().iter().map(|port| port.name.as_str()).collect(),
        None => recipe.show.iter().map(Show::output).collect::<Result<_>>()?,
    };
    let runs = run_all(&kept, &session, feed).with_context(|| model_path.display().to_string())?;
    let took = start.elapsed();
    if let Some(to) = call.outputs {
        outputs::write_runs(to, &runs).with_context(|| format!("cannot write {}", to.display()))?;
    }

    let name = folder.canonicalize().ok().and_then(|f| Some(f.file_name()?.to_owned()));
    let results = Results {
        source,
        runs,
        metadata,
        name: call.out.join(name.unwrap_or_else(|| "recipe".into())),
        folder,
    };
    if !recipe.show.is_empty() {
        std::fs::create_dir_all(call.out)
            .with_context(|| format!("cannot make the folder {}", call.out.display()))?;
    }
    for show in &recipe.show {
        display(show, &results).with_context(place)?;
    }
    let times = match results.runs.len() {
        1 => format!("ran in {}", shown(took)),
        n => format!("{n} runs in {}", shown(took)),
    };
    println!(
        "{}: loaded in {}, {times} on {} threads",
        model_path.display(),
        shown(loaded),
        session.runtime().threads()
    );
    Ok(())
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Whether the recipe's inputs and outputs are the model's.
fn check_names(recipe: &Recipe, session: &Session) -> Result<()> {
    let (inputs, outputs) = (session.inputs(), session.outputs());
    let listed = |ports: &[oxidane::Port]| {
        ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ")
    };
    for name in recipe.inputs.keys() {
        ensure!(
            inputs.iter().any(|p| p.name == *name),
            "the model has no input `{name}`; its inputs are {}",
            listed(inputs)
        );
    }
    for port in inputs {
        ensure!(
            port.optional || recipe.inputs.contains_key(&port.name),
            "the recipe says nothing of the model's input `{}`",
            port.name
        );
    }
    let states = recipe.inputs.values().filter_map(|input| Some(input.state.as_ref()?.next.as_str()));
    let shows = recipe.show.iter().map(Show::output).collect::<Result<Vec<_>>>()?;
    for name in states.chain(shows) {
        ensure!(
            outputs.iter().any(|p| p.name == name),
            "the model has no output `{name}`; its outputs are {}",
            listed(outputs)
        );
    }
    Ok(())
}

/// The inputs of all runs.
struct Feed {
    fixed: Vec<(String, Tensor)>,
    windows: Vec<(String, Vec<Tensor>)>,
    /// Inputs that are outputs of the run before.
    states: Vec<(String, String)>,
}

fn feed(recipe: &Recipe, path: Option<&Path>) -> Result<(Feed, Source)> {
    let path = || path.context("the recipe names no source; give a file");
    let mut feed = Feed { fixed: Vec::new(), windows: Vec::new(), states: Vec::new() };
    let mut source = Source::Other;
    for (name, input) in &recipe.inputs {
        let kinds = [
            input.image.is_some(),
            input.sound.is_some(),
            input.bytes.is_some(),
            input.constant.is_some(),
            input.state.is_some(),
        ];
        ensure!(
            kinds.iter().filter(|k| **k).count() == 1,
            "input `{name}` has to be one of image, sound, bytes, constant and state"
        );
        let place = || format!("input `{name}`");
        if let Some(image) = &input.image {
            let picture = Picture::open(path()?)?;
            feed.fixed.push((name.clone(), image.tensor(&picture).with_context(place)?));
            source = Source::Picture(Box::new(image.clone()), picture);
        } else if let Some(sound) = &input.sound {
            let recording = Recording::open(path()?)?;
            feed.windows.push((name.clone(), sound.windows(&recording).with_context(place)?));
            source = Source::Recording(sound.clone(), recording);
        } else if let Some(bytes) = &input.bytes {
            let path = path()?;
            let data = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            feed.fixed.push((name.clone(), bytes.tensor(&data).with_context(place)?));
        } else if let Some(constant) = &input.constant {
            let tensor = constant.dtype.filled(&constant.shape, constant.value).with_context(place)?;
            feed.fixed.push((name.clone(), tensor));
        } else if let Some(state) = &input.state {
            feed.fixed
                .push((name.clone(), state.dtype.filled(&state.shape, state.value).with_context(place)?));
            feed.states.push((name.clone(), state.next.clone()));
        }
    }
    Ok((feed, source))
}

fn run_all(kept: &[&str], session: &Session, mut feed: Feed) -> Result<Vec<Vec<(String, Tensor)>>> {
    let count = feed.windows.iter().map(|(_, w)| w.len()).min().unwrap_or(1);
    let mut progress = Progress::new(count);
    let mut runs = Vec::with_capacity(count);
    for i in 0..count {
        let windows = feed.windows.iter().filter_map(|(name, w)| Some((name, w.get(i)?)));
        let fixed = feed.fixed.iter().map(|(name, tensor)| (name, tensor));
        let inputs: Vec<(String, Tensor)> =
            fixed.chain(windows).map(|(n, t)| (n.clone(), t.clone())).collect();
        let outputs = session.run(inputs)?;
        let tensor = |name: &str| -> Result<Tensor> {
            let datum = outputs.get(name).and_then(|d| d.as_tensor());
            datum.cloned().ok_or_else(|| anyhow!("output `{name}` is no tensor"))
        };
        for (input, output) in &feed.states {
            let next = tensor(output)?;
            if let Some(slot) = feed.fixed.iter_mut().find(|(name, _)| name == input) {
                slot.1 = next;
            }
        }
        runs.push(kept.iter().map(|name| Ok((name.to_string(), tensor(name)?))).collect::<Result<_>>()?);
        progress.step();
    }
    progress.finish();
    Ok(runs)
}

fn display(show: &Show, results: &Results) -> Result<()> {
    let output = show.output()?;
    let place = || format!("showing `{output}`");
    if let Some(show) = &show.topk {
        ranking::topk(show, results).with_context(place)?;
    } else if let Some(show) = &show.text {
        ranking::text(show, results).with_context(place)?;
    } else if let Some(show) = &show.boxes {
        boxes::boxes(show, results).with_context(place)?;
    } else if let Some(show) = &show.heatmap {
        heatmap::heatmap(show, results).with_context(place)?;
    } else if let Some(show) = &show.segments {
        rows::segments(show, results).with_context(place)?;
    } else if let Some(show) = &show.table {
        rows::table(show, results).with_context(place)?;
    }
    Ok(())
}
