//! Pictures as inputs.

use crate::recipe::spec::Dtype;
use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use image::imageops::{self, FilterType};
use oxidane::Tensor;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::Path;

/// How a picture becomes an input; `testdata/recipes.md` says what each key means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Image {
    pub(crate) region: Option<[u32; 4]>,
    pub(crate) size: Option<Size>,
    pub(crate) filter: Filter,
    pub(crate) crop: Option<[NonZeroU32; 2]>,
    pub(crate) channels: Channels,
    pub(crate) scale: f32,
    pub(crate) mean: PerChannel,
    pub(crate) std: PerChannel,
    pub(crate) pad: Option<Pad>,
    pub(crate) layout: Layout,
    pub(crate) dtype: Dtype,
}

impl Default for Image {
    fn default() -> Image {
        Image {
            region: None,
            size: None,
            filter: Filter::default(),
            crop: None,
            channels: Channels::default(),
            scale: 1.0,
            mean: PerChannel::Same(0.0),
            std: PerChannel::Same(1.0),
            pad: None,
            layout: Layout::default(),
            dtype: Dtype::default(),
        }
    }
}

/// The size that a picture is brought to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Size {
    pub(crate) exact: Option<[NonZeroU32; 2]>,
    pub(crate) long_side: Option<NonZeroU32>,
    pub(crate) short_side: Option<NonZeroU32>,
    pub(crate) width: Option<NonZeroU32>,
    pub(crate) height: Option<NonZeroU32>,
    pub(crate) enlarge: Option<bool>,
    pub(crate) multiple_of: Option<NonZeroU32>,
    pub(crate) max_width: Option<NonZeroU32>,
    pub(crate) max_height: Option<NonZeroU32>,
}

/// How pixels are weighed when a picture changes its size.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Filter {
    Nearest,
    #[default]
    Bilinear,
    Bicubic,
}

/// The channels of an input and their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Lightness.
    Gray,
}

/// The order of an input's dimensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// Batch, channels, rows, columns.
    #[default]
    Nchw,
    /// Batch, rows, columns, channels.
    Nhwc,
}

/// A number for all channels, or one for each.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum PerChannel {
    /// For all.
    Same(f32),
    /// In the order of the channels.
    Each(Vec<f32>),
}

impl PerChannel {
    fn values(&self, what: &str, channels: usize) -> Result<Vec<f32>> {
        match self {
            PerChannel::Same(value) => Ok(vec![*value; channels]),
            PerChannel::Each(values) => {
                ensure!(
                    values.len() == channels,
                    "{what} has {} numbers for {channels} channels; give one, or one for each",
                    values.len()
                );
                Ok(values.clone())
            }
        }
    }
}

/// A margin at the right and at the bottom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pad {
    to: [NonZeroU32; 2],
    #[serde(default)]
    value: f32,
}

/// The longest side of a picture or an input, in pixels.
const MOST_SIDE: f64 = 16_384.0;

/// A picture from a file.
pub(crate) struct Picture {
    pub(crate) pixels: RgbImage,
}

impl Picture {
    /// Reads a PNG or JPEG file.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than 16384 pixels on a side.
    pub(crate) fn open(path: &Path) -> Result<Picture> {
        let place = || path.display().to_string();
        let mut reader =
            image::ImageReader::open(path).with_context(place)?.with_guessed_format().with_context(place)?;
        let mut limits = image::Limits::default();
        limits.max_image_width = Some(MOST_SIDE as u32);
        limits.max_image_height = Some(MOST_SIDE as u32);
        reader.limits(limits);
        let picture = reader.decode().with_context(place)?;
        // Transparency is ignored, not blended.
        Ok(Picture { pixels: picture.to_rgb8() })
    }
}

impl Image {
    /// The rectangle of the picture that the input shows: x, y, width, height in pixels.
    ///
    /// # Errors
    /// When the region is empty or not inside the picture.
    pub(crate) fn place(&self, picture: &Picture) -> Result<[u32; 4]> {
        let (width, height) = picture.pixels.dimensions();
        let [x, y, w, h] = self.region.unwrap_or([0, 0, width, height]);
        let inside = |at: u32, size: u32, all: u32| at.checked_add(size).is_some_and(|end| end <= all);
        ensure!(
            w > 0 && h > 0 && inside(x, w, width) && inside(y, h, height),
            "the region {:?} is not inside the picture, which has {width} x {height} pixels",
            [x, y, w, h]
        );
        Ok([x, y, w, h])
    }

    /// The input, of batch size 1.
    ///
    /// # Errors
    /// When sizes, channels or numbers do not fit.
    pub(crate) fn tensor(&self, picture: &Picture) -> Result<Tensor> {
        let [x, y, w, h] = self.place(picture)?;
        let mut pixels = match self.region {
            Some(_) => imageops::crop_imm(&picture.pixels, x, y, w, h).to_image(),
            None => picture.pixels.clone(),
        };
        let (width, height) = self.size.clone().unwrap_or_default().of(w, h)?;
        if (width, height) != (w, h) {
            let filter = match self.filter {
                Filter::Nearest => FilterType::Nearest,
                Filter::Bilinear => FilterType::Triangle,
                Filter::Bicubic => FilterType::CatmullRom,
            };
            pixels = imageops::resize(&pixels, width, height, filter);
        }
        if let Some([w, h]) = self.crop.map(|c| c.map(NonZeroU32::get)) {
            ensure!(
                w <= width && h <= height,
                "a crop of {w} x {h} does not fit into {width} x {height} pixels; set a larger size"
            );
            pixels = imageops::crop_imm(&pixels, (width - w) / 2, (height - h) / 2, w, h).to_image();
        }
        self.values(&pixels)
    }

    fn values(&self, pixels: &RgbImage) -> Result<Tensor> {
        let channels = if self.channels == Channels::Gray { 1 } else { 3 };
        let mean = self.mean.values("mean", channels)?;
        let std = self.std.values("std", channels)?;
        ensure!(self.scale != 0.0 && std.iter().all(|s| *s != 0.0), "scale and std must not be 0");
        let (w, h) = (pixels.width() as usize, pixels.height() as usize);
        let (to_w, to_h, fill) = match &self.pad {
            Some(pad) => (pad.to[0].get() as usize, pad.to[1].get() as usize, pad.value),
            None => (w, h, 0.0),
        };
        ensure!(
            (w..=MOST_SIDE as usize).contains(&to_w) && (h..=MOST_SIDE as usize).contains(&to_h),
            "{w} x {h} pixels cannot be padded to {to_w} x {to_h}"
        );
        let mut values = vec![fill; channels * to_w * to_h];
        for (x, y, pixel) in pixels.enumerate_pixels() {
            let [r, g, b] = pixel.0;
            let colours = match self.channels {
                Channels::Rgb => [r, g, b],
                Channels::Bgr => [b, g, r],
                Channels::Gray => {
                    // Pillow's weights, in 16 bits.
                    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000;
                    [(sum >> 16) as u8; 3]
                }
            };
            let at = y as usize * to_w + x as usize;
            for c in 0..channels {
                let place = match self.layout {
                    Layout::Nchw => c * to_w * to_h + at,
                    Layout::Nhwc => at * channels + c,
                };
                values[place] = (f32::from(colours[c]) / self.scale - mean[c]) / std[c];
            }
        }
        let shape = match self.layout {
            Layout::Nchw => [1, channels, to_h, to_w],
            Layout::Nhwc => [1, to_h, to_w, channels],
        };
        self.dtype.tensor(&shape, &values)
    }
}

impl Size {
    /// The size in pixels that a picture gets.
    fn of(&self, width: u32, height: u32) -> Result<(u32, u32)> {
        let sides = [self.long_side, self.short_side, self.width, self.height];
        let given = usize::from(self.exact.is_some()) + sides.iter().flatten().count();
        if given > 1 {
            bail!("size takes only one of exact, long_side, short_side, width and height");
        }
        let (mut w, mut h) = (f64::from(width), f64::from(height));
        if let Some([exact_w, exact_h]) = self.exact {
            (w, h) = (f64::from(exact_w.get()), f64::from(exact_h.get()));
        } else {
            let factors = sides.iter().zip([w.max(h), w.min(h), w, h]);
            let found = factors.filter_map(|(to, from)| Some(f64::from((*to)?.get()) / from)).next();
            let mut factor = found.unwrap_or(1.0);
            if factor > 1.0 && self.enlarge == Some(false) {
                factor = 1.0;
            }
            (w, h) = (half_up(w * factor).max(1.0), half_up(h * factor).max(1.0));
        }
        if let Some(step) = self.multiple_of {
            let step = f64::from(step.get());
            (w, h) = ((half_up(w / step) * step).max(step), (half_up(h / step) * step).max(step));
        }
        let most = |limit: Option<NonZeroU32>| limit.map_or(f64::INFINITY, |n| f64::from(n.get()));
        (w, h) = (w.min(most(self.max_width)), h.min(most(self.max_height)));
        ensure!(w.max(h) <= MOST_SIDE, "a picture of {w} x {h} pixels is too large");
        Ok((w as u32, h as u32))
    }
}

fn half_up(x: f64) -> f64 {
    (x + 0.5).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(yaml: &str, w: u32, h: u32) -> Result<(u32, u32)> {
        serde_saphyr::from_str::<Size>(yaml)?.of(w, h)
    }

    #[test]
    fn sizes() {
        assert_eq!(size("{long_side: 800, multiple_of: 32}", 384, 172).unwrap(), (800, 352));
        assert_eq!(size("{height: 48, max_width: 320}", 296, 30).unwrap(), (320, 48));
        assert_eq!(size("{short_side: 256, enlarge: false}", 100, 200).unwrap(), (100, 200));
        assert_eq!(size("{exact: [3, 4]}", 100, 200).unwrap(), (3, 4));
        assert!(size("{exact: [3, 4], width: 3}", 100, 200).is_err());
        assert!(size("{width: 0}", 100, 200).is_err());
        let error = size("{hight: 3}", 100, 200).unwrap_err().to_string();
        assert!(error.contains("hight") && error.contains("height"), "{error}");
    }

    #[test]
    fn values_by_layout_and_channel() {
        let pixels = RgbImage::from_raw(2, 1, vec![0, 51, 255, 10, 20, 30]).unwrap();
        let picture = Picture { pixels };
        let image: Image =
            serde_saphyr::from_str("{channels: bgr, scale: 255, pad: {to: [3, 1], value: -1}}").unwrap();
        let tensor = image.tensor(&picture).unwrap();
        assert_eq!(tensor.shape(), [1, 3, 1, 3]);
        let values = tensor.to_f64s().unwrap();
        let wanted = [1.0, 30.0 / 255.0, -1.0, 0.2, 20.0 / 255.0, -1.0, 0.0, 10.0 / 255.0, -1.0];
        assert!(values.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
        let image: Image =
            serde_saphyr::from_str("{layout: nhwc, dtype: uint8, mean: [300, 0, 0.5]}").unwrap();
        let tensor = image.tensor(&picture).unwrap();
        assert_eq!(tensor.shape(), [1, 1, 2, 3]);
        // Half goes to even, and what is below zero is cut.
        assert_eq!(tensor.to_f64s().unwrap(), [0.0, 51.0, 254.0, 0.0, 20.0, 30.0]);
        let image: Image = serde_saphyr::from_str("{region: [1, 0, 2, 1]}").unwrap();
        assert!(image.tensor(&picture).unwrap_err().to_string().contains("2 x 1"));
    }
}
