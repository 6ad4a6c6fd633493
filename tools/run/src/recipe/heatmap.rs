//! Values as colours.

use crate::recipe::boxes::{map_size, uncut, write_png};
use crate::recipe::rows::Rows;
use crate::recipe::spec::HeatMap;
use crate::recipe::{Results, Source};
use anyhow::{Result, bail, ensure};
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, Rgb, RgbImage};

/// Longer recordings are drawn with fewer columns.
const MOST_COLUMNS: usize = 4096;

/// Draws an output over its picture, or the rows of a recording, and writes that.
///
/// # Errors
/// When the output is no map, or the file cannot be written.
pub(crate) fn heatmap(show: &HeatMap, results: &Results) -> Result<()> {
    ensure!((0.0..=1.0).contains(&show.opacity), "opacity has to be between 0 and 1");
    let drawn = match &results.source {
        Source::Picture(image, picture) => {
            let [left, top, width, height] = uncut(image)?.place(picture)?;
            let output = results.last(&show.output)?;
            let (h, w) = map_size(output.shape())?;
            let values = output.to_f64s()?;
            let values = values.get(..h * w).unwrap_or_default();
            let levels = levels(values, show.range);
            let map =
                GrayImage::from_fn(w as u32, h as u32, |x, y| Luma([levels[y as usize * w + x as usize]]));
            let map = imageops::resize(&map, width, height, FilterType::Triangle);
            let mut drawn = picture.pixels.clone();
            for (x, y, &Luma([level])) in map.enumerate_pixels() {
                let under = drawn.get_pixel_mut(left + x, top + y);
                *under = over(*under, colour(level), show.opacity * f64::from(level) / 255.0);
            }
            drawn
        }
        Source::Recording(..) => {
            let rows = Rows::of(results, &show.output, show.trim)?;
            let (count, columns) = (rows.times.len(), rows.columns);
            ensure!(count > 0 && columns > 0 && columns <= 1 << 14, "there are no rows to draw");
            let levels = levels(&rows.values, show.range);
            let width = count.min(MOST_COLUMNS);
            // Few indices get several pixels each.
            let tall = (200 / columns).clamp(1, 16);
            RgbImage::from_fn(width as u32, (columns * tall) as u32, |x, y| {
                let row = x as usize * count / width;
                let index = columns - 1 - y as usize / tall;
                colour(levels[row * columns + index])
            })
        }
        Source::Other => bail!("a heat map needs an image or sound input"),
    };
    write_png(&drawn, results, ".heatmap.png")
}

/// Values brought to 0..255.
fn levels(values: &[f64], range: Option<[f64; 2]>) -> Vec<u8> {
    let finite = values.iter().copied().filter(|v| v.is_finite());
    let [low, high] = range.unwrap_or_else(|| {
        [finite.clone().fold(f64::INFINITY, f64::min), finite.fold(f64::NEG_INFINITY, f64::max)]
    });
    let span = high - low;
    let level =
        |v: &f64| if span > 0.0 { ((v - low) / span * 255.0).round().clamp(0.0, 255.0) as u8 } else { 0 };
    values.iter().map(level).collect()
}

/// From dark blue through violet and orange to light yellow, ever lighter.
fn colour(level: u8) -> Rgb<u8> {
    const STOPS: [[f64; 3]; 5] = [
        [8.0, 6.0, 40.0],
        [90.0, 15.0, 110.0],
        [190.0, 55.0, 85.0],
        [248.0, 145.0, 30.0],
        [252.0, 255.0, 165.0],
    ];
    let at = f64::from(level) / 255.0 * (STOPS.len() - 1) as f64;
    let stop = (at as usize).min(STOPS.len() - 2);
    let part = at - stop as f64;
    let mix = |c: usize| (STOPS[stop][c] + part * (STOPS[stop + 1][c] - STOPS[stop][c])).round() as u8;
    Rgb([mix(0), mix(1), mix(2)])
}

fn over(under: Rgb<u8>, colour: Rgb<u8>, opacity: f64) -> Rgb<u8> {
    let mix =
        |c: usize| (f64::from(under.0[c]) * (1.0 - opacity) + f64::from(colour.0[c]) * opacity).round() as u8;
    Rgb([mix(0), mix(1), mix(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_colours() {
        assert_eq!(levels(&[0.0, 0.5, 1.0, f64::NAN], None), [0, 128, 255, 0]);
        assert_eq!(levels(&[2.0, 2.0], None), [0, 0]);
        assert_eq!(levels(&[-1.0, 0.5, 9.0], Some([0.0, 1.0])), [0, 128, 255]);
        assert_eq!(colour(0).0, [8, 6, 40]);
        assert_eq!(colour(255).0, [252, 255, 165]);
    }
}
