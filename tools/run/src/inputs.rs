//! A model's inputs from files, pictures, or at random.

use crate::outputs::is_npz;
use crate::recipe::image::{Channels, Filter, Image, Layout, PerChannel, Picture, Size};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use oxidane::graph::Source;
use oxidane::{DType, Datum, Model, Tensor, Type, npz};
use oxidane_inspect::made::Random;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// Where inputs come from.
#[derive(Args, Clone, Default)]
pub(crate) struct InputArgs {
    /// The inputs: an .npz file with an array for each input by name, or a folder with input_0.pb, input_1.pb, ...
    #[arg(long, value_name = "FILE.npz|FOLDER")]
    inputs: Option<PathBuf>,
    /// One input from an .npy file; may be repeated.
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = parse_file)]
    input: Vec<(String, PathBuf)>,
    /// One input from a PNG or JPEG file; may be repeated.
    #[arg(long, value_name = "NAME=PICTURE", value_parser = parse_file)]
    image: Vec<(String, PathBuf)>,
    /// The size that pictures are brought to.
    #[arg(long, value_name = "WxH", value_parser = parse_size, requires = "image")]
    size: Option<(NonZeroU32, NonZeroU32)>,
    /// The order of a picture's dimensions.
    #[arg(long, value_enum, default_value = "nchw", requires = "image")]
    layout: Layout,
    /// The order of a picture's channels.
    #[arg(long, value_enum, default_value = "rgb", requires = "image")]
    channels: Channels,
    /// Divides a picture's values, 0 to 255, by this; without a number by 255.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "255",
          requires = "image")]
    scale: Option<f32>,
    /// Is subtracted from a picture's values, after --scale: a number, or one a channel.
    #[arg(
        long,
        value_name = "A,B,C",
        value_delimiter = ',',
        requires = "image",
        allow_negative_numbers = true
    )]
    mean: Vec<f32>,
    /// Divides a picture's values, after --mean: a number, or one a channel.
    #[arg(
        long,
        value_name = "A,B,C",
        value_delimiter = ',',
        requires = "image",
        allow_negative_numbers = true
    )]
    std: Vec<f32>,
    /// Makes every other input at random, the same for the same seed: floats from -1 to 1, integers 0 or 1.
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    /// The size of a symbolic dimension of random inputs; 1 where it is not given. May be repeated.
    #[arg(long, value_name = "NAME=N", value_parser = parse_dim, requires = "random")]
    dim: Vec<(String, i64)>,
}

fn parse_file(text: &str) -> Result<(String, PathBuf), String> {
    // Names may contain `=`, files hardly.
    match text.rsplit_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(file)))
        }
        _ => Err("is not NAME=FILE".to_owned()),
    }
}

fn parse_size(text: &str) -> Result<(NonZeroU32, NonZeroU32), String> {
    let sides = text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.ok_or_else(|| "is not WIDTHxHEIGHT, such as 224x224".to_owned())
}

/// `NAME=N` of a dimension.
pub(crate) fn parse_dim(text: &str) -> Result<(String, i64), String> {
    let parts = text.rsplit_once('=').and_then(|(name, n)| Some((name.to_owned(), n.parse::<i64>().ok()?)));
    parts
        .filter(|(name, n)| !name.is_empty() && *n >= 0)
        .ok_or_else(|| "is not NAME=N, such as batch=4".to_owned())
}

impl InputArgs {
    /// The inputs by name, those left out that have a default.
    ///
    /// # Errors
    /// When a file cannot be read or an input cannot be made.
    pub(crate) fn read(&self, model: &Model) -> Result<Vec<(String, Datum)>> {
        let mut inputs: Vec<(String, Datum)> = Vec::new();
        if let Some(path) = &self.inputs {
            inputs = match path.is_dir() {
                true => from_folder(model, path)?,
                false if is_npz(path) => {
                    npz::read_npz(path)?.into_iter().map(|(name, tensor)| (name, tensor.into())).collect()
                }
                false if path.exists() => bail!("{} is neither an .npz file nor a folder", path.display()),
                false => bail!("{} does not exist", path.display()),
            };
        }
        let mut add = |name: &str, tensor: Tensor| match inputs.iter().any(|(n, _)| n == name) {
            true => Err(anyhow!("input `{name}` is given twice")),
            false => {
                inputs.push((name.to_owned(), tensor.into()));
                Ok(())
            }
        };
        for (name, file) in &self.input {
            add(name, npz::read_npy(file)?)?;
        }
        for (name, file) in &self.image {
            let ty = model.graph().value_named(name).and_then(|id| model.graph().value(id).ty());
            let image = self.picture(ty.and_then(Type::dtype));
            let tensor = image.tensor(&Picture::open(file)?).with_context(|| file.display().to_string())?;
            add(name, tensor)?;
        }
        if let Some(seed) = self.random {
            let mut random = Random::new(seed);
            for &id in model.graph().inputs() {
                let value = model.graph().value(id);
                let has_default = matches!(value.source(), Source::Input { default: Some(_) });
                if !has_default && !inputs.iter().any(|(n, _)| n == value.name()) {
                    let ty = value.declared().or(value.ty());
                    let datum = random.datum(ty, &self.dim).with_context(|| {
                        format!("input `{}` cannot be made at random; give it with --input", value.name())
                    })?;
                    inputs.push((value.name().to_owned(), datum));
                }
            }
        }
        Ok(inputs)
    }

    fn picture(&self, dtype: Option<DType>) -> Image {
        let several = |values: &[f32], otherwise: f32| match values {
            [] => PerChannel::Same(otherwise),
            &[one] => PerChannel::Same(one),
            more => PerChannel::Each(more.to_vec()),
        };
        Image {
            size: self.size.map(|(w, h)| Size { exact: Some([w, h]), ..Size::default() }),
            filter: Filter::Bilinear,
            channels: self.channels,
            scale: self.scale.unwrap_or(1.0),
            mean: several(&self.mean, 0.0),
            std: several(&self.std, 1.0),
            layout: self.layout,
            dtype: dtype.unwrap_or(DType::F32).into(),
            ..Image::default()
        }
    }
}

fn from_folder(model: &Model, folder: &Path) -> Result<Vec<(String, Datum)>> {
    let mut files = Vec::new();
    loop {
        let path = folder.join(format!("input_{}.pb", files.len()));
        match std::fs::read(&path) {
            Ok(bytes) => files.push(Bytes::from(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    let data = model.inputs_from_bytes(&files).with_context(|| format!("{}", folder.display()))?;
    let names = model.graph().inputs().iter().map(|&id| model.graph().value(id).name().to_owned());
    Ok(names.zip(data).filter_map(|(name, datum)| Some((name, datum?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        assert_eq!(parse_file("a=b:0=c.npy").unwrap(), ("a=b:0".to_owned(), PathBuf::from("c.npy")));
        assert!(parse_file("c.npy").is_err());
        assert!(parse_size("224x0").is_err() && parse_size("224").is_err());
        assert_eq!(parse_size("224x160").unwrap().0.get(), 224);
        assert_eq!(parse_dim("n=4").unwrap(), ("n".to_owned(), 4));
        assert!(parse_dim("n=-1").is_err() && parse_dim("=1").is_err());
    }
}
