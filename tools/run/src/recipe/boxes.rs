//! Rectangles around what a map of probabilities marks.

use crate::outputs::write_all;
use crate::recipe::image::Image;
use crate::recipe::spec::Boxes;
use crate::recipe::{Results, Source};
use anyhow::{Context, Result, bail, ensure};
use image::{Rgb, RgbImage};
use std::io::Cursor;

/// A point, x then y.
type Point = [f64; 2];

/// A rectangle of any direction: its centre, half its sides, and the direction of the first side (of length 1).
#[derive(Debug, Clone, Copy)]
struct Rectangle {
    centre: Point,
    half: [f64; 2],
    along: Point,
}

/// What was found.
#[derive(Debug)]
struct Found {
    score: f64,
    corners: [Point; 4],
}

/// Prints the rectangles and writes the picture with them.
///
/// # Errors
/// When the output is no map over a picture, or the file cannot be written.
pub(crate) fn boxes(show: &Boxes, results: &Results) -> Result<()> {
    let Source::Picture(image, picture) = &results.source else { bail!("boxes need an image input") };
    let region = uncut(image)?.place(picture)?;
    let output = results.last(&show.output)?;
    let (height, width) = map_size(output.shape())?;
    ensure!(output.len() == height * width, "an output of shape {:?} is not one map", output.shape());
    let values = output.to_f64s()?;
    let (most_x, most_y) = (f64::from(picture.pixels.width()), f64::from(picture.pixels.height()));
    let place = |p: Point| {
        let x = p[0] / width as f64 * f64::from(region[2]) + f64::from(region[0]);
        let y = p[1] / height as f64 * f64::from(region[3]) + f64::from(region[1]);
        [x.clamp(0.0, most_x), y.clamp(0.0, most_y)]
    };
    let mut found = find(&values, width, show);
    for one in &mut found {
        one.corners = one.corners.map(place);
    }
    let least = |f: &Found, axis: usize| f.corners.iter().map(|c| c[axis]).fold(f64::INFINITY, f64::min);
    found.sort_by(|a, b| {
        least(a, 1).total_cmp(&least(b, 1)).then_with(|| least(a, 0).total_cmp(&least(b, 0)))
    });
    println!("{} {}:", found.len(), if found.len() == 1 { "box" } else { "boxes" });
    let mut drawn = picture.pixels.clone();
    for one in &found {
        let corners: Vec<String> =
            one.corners.iter().map(|c| format!("({:.0}, {:.0})", c[0], c[1])).collect();
        println!("{:5.2}  {}", one.score, corners.join(" "));
        for (a, b) in one.corners.iter().zip(one.corners.iter().cycle().skip(1)) {
            line(&mut drawn, *a, *b);
        }
    }
    write_png(&drawn, results, ".boxes.png")
}

/// The recipe's image, if its points can be brought back to the source picture.
///
/// # Errors
/// When it is cropped or padded.
pub(crate) fn uncut(image: &Image) -> Result<&Image> {
    ensure!(
        image.crop.is_none() && image.pad.is_none(),
        "boxes and heat maps cannot be shown over a picture with crop or pad"
    );
    Ok(image)
}

/// Rows and columns of a map: the last two dimensions.
///
/// # Errors
/// When there are fewer, or one is empty.
pub(crate) fn map_size(shape: &[usize]) -> Result<(usize, usize)> {
    match shape {
        [.., h, w] if *h > 0 && *w > 0 => Ok((*h, *w)),
        _ => bail!("an output of shape {shape:?} is no map of rows and columns"),
    }
}

/// Writes a picture as the PNG file of that ending and says so.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_png(picture: &RgbImage, results: &Results, ending: &str) -> Result<()> {
    let file = results.file(ending);
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).with_context(|| file.display().to_string())?;
    write_all(&[(file.clone(), png.into_inner())])?;
    println!("picture: {}", file.display());
    Ok(())
}

/// The rectangles in pixels of the map.
fn find(values: &[f64], width: usize, show: &Boxes) -> Vec<Found> {
    let mut found = Vec::new();
    for pixels in components(values, width, show.threshold) {
        let score = pixels.iter().map(|&p| values[p]).sum::<f64>() / pixels.len() as f64;
        let Some(mut rectangle) = smallest_rectangle(corners_of(&pixels, width)) else { continue };
        let [a, b] = rectangle.half;
        if 2.0 * a.min(b) < show.min_side || score < show.score {
            continue;
        }
        let outwards = a * b * show.grow / (a + b);
        rectangle.half = [a + outwards, b + outwards];
        found.push(Found { score, corners: rectangle.corners() });
    }
    found
}

/// The pixels over the threshold, by component; pixels that touch, also at a corner, are in one.
fn components(values: &[f64], width: usize, threshold: f64) -> Vec<Vec<usize>> {
    let height = values.len() / width;
    let mut left: Vec<bool> = values.iter().map(|v| *v > threshold).collect();
    let mut found = Vec::new();
    for first in 0..left.len() {
        if !std::mem::take(&mut left[first]) {
            continue;
        }
        let mut pixels = vec![first];
        let mut next = 0;
        while let Some(&at) = pixels.get(next) {
            next += 1;
            let (x, y) = (at % width, at / width);
            for near_y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for near_x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let near = near_y * width + near_x;
                    if std::mem::take(&mut left[near]) {
                        pixels.push(near);
                    }
                }
            }
        }
        found.push(pixels);
    }
    found
}

/// The corners of the pixels as squares of side 1; of each row only the outermost.
fn corners_of(pixels: &[usize], width: usize) -> Vec<[i64; 2]> {
    let mut rows: std::collections::BTreeMap<usize, (usize, usize)> = std::collections::BTreeMap::new();
    for &at in pixels {
        let (x, y) = (at % width, at / width);
        let row = rows.entry(y).or_insert((x, x));
        *row = (row.0.min(x), row.1.max(x));
    }
    let ends = rows.into_iter().map(|(y, (from, to))| (y as i64, from as i64, to as i64 + 1));
    ends.flat_map(|(y, from, to)| [[from, y], [to, y], [from, y + 1], [to, y + 1]]).collect()
}

/// The convex hull, counter-clockwise in a system whose y goes up, without points on its sides.
fn hull(mut points: Vec<[i64; 2]>) -> Vec<Point> {
    points.sort_unstable();
    points.dedup();
    let chain = |points: &mut dyn Iterator<Item = &[i64; 2]>| {
        let mut hull: Vec<[i64; 2]> = Vec::new();
        for p in points {
            while let [.., a, b] = hull.as_slice()
                && (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) <= 0
            {
                hull.pop();
            }
            hull.push(*p);
        }
        hull.pop();
        hull
    };
    let mut all = chain(&mut points.iter());
    all.extend(chain(&mut points.iter().rev()));
    all.into_iter().map(|p| p.map(|v| v as f64)).collect()
}

fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

/// The smallest rectangle around points; one of its sides lies on a side of their hull.
fn smallest_rectangle(points: Vec<[i64; 2]>) -> Option<Rectangle> {
    let hull = hull(points);
    let mut best: Option<(f64, Rectangle)> = None;
    for (a, b) in hull.iter().zip(hull.iter().cycle().skip(1)) {
        let side = [b[0] - a[0], b[1] - a[1]];
        let length = dot(side, side).sqrt();
        let along = [side[0] / length, side[1] / length];
        let across = [-along[1], along[0]];
        let span = |direction: Point| {
            hull.iter()
                .map(|p| dot(*p, direction))
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let ((p0, p1), (q0, q1)) = (span(along), span(across));
        let area = (p1 - p0) * (q1 - q0);
        if best.is_none_or(|(least, _)| area < least - 1e-9) {
            let (p, q) = ((p0 + p1) / 2.0, (q0 + q1) / 2.0);
            let centre = [p * along[0] + q * across[0], p * along[1] + q * across[1]];
            best = Some((area, Rectangle { centre, half: [(p1 - p0) / 2.0, (q1 - q0) / 2.0], along }));
        }
    }
    best.map(|(_, rectangle)| rectangle)
}

impl Rectangle {
    /// The corners, clockwise on the screen, from the one with the smallest x + y.
    fn corners(&self) -> [Point; 4] {
        let [ux, uy] = self.along;
        let [a, b] = self.half;
        let corner = |s: f64, t: f64| {
            [self.centre[0] + s * a * ux - t * b * uy, self.centre[1] + s * a * uy + t * b * ux]
        };
        let mut corners = [corner(-1.0, -1.0), corner(1.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0)];
        let sum = |i: usize| corners[i][0] + corners[i][1];
        let first = (1..4).fold(0, |best, i| if sum(i) < sum(best) { i } else { best });
        corners.rotate_left(first);
        corners
    }
}

/// Draws a line, two pixels thick.
fn line(picture: &mut RgbImage, a: Point, b: Point) {
    const COLOUR: Rgb<u8> = Rgb([230, 30, 30]);
    let steps = (b[0] - a[0]).abs().max((b[1] - a[1]).abs()).ceil().max(1.0) as usize;
    for i in 0..=steps {
        let t = i as f64 / steps as f64;
        let at = [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
        for (dx, dy) in [(-1.0, -1.0), (0.0, -1.0), (-1.0, 0.0), (0.0, 0.0)] {
            let (x, y) = ((at[0] + dx).round(), (at[1] + dy).round());
            if x >= 0.0 && y >= 0.0 && x < f64::from(picture.width()) && y < f64::from(picture.height()) {
                picture.put_pixel(x as u32, y as u32, COLOUR);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_components() {
        let map = [
            0.9, 0.9, 0.9, 0.0, 0.0, //
            0.9, 0.9, 0.9, 0.0, 0.8, //
            0.0, 0.0, 0.0, 0.8, 0.0,
        ];
        let sizes: Vec<usize> = components(&map, 5, 0.5).iter().map(Vec::len).collect();
        // The 0.8 at the bottom touches both of its neighbours at a corner.
        assert_eq!(sizes, [8]);
        let show: Boxes = serde_saphyr::from_str("{output: o, threshold: 0.85, min_side: 1}").unwrap();
        let found = find(&map, 5, &show);
        assert_eq!(found.len(), 1);
        assert!((found[0].score - 0.9).abs() < 1e-12);
        assert_eq!(found[0].corners, [[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [0.0, 2.0]]);
    }

    #[test]
    fn boxes_grow() {
        let show: Boxes =
            serde_saphyr::from_str("{output: o, threshold: 0.5, grow: 1, min_side: 1}").unwrap();
        let found = find(&[1.0; 4], 2, &show);
        // Area 4, perimeter 8: half a pixel.
        assert_eq!(found[0].corners, [[-0.5, -0.5], [2.5, -0.5], [2.5, 2.5], [-0.5, 2.5]]);
    }

    #[test]
    fn slanted() {
        let rectangle = smallest_rectangle(vec![[2, 0], [4, 2], [2, 4], [0, 2]]).unwrap();
        assert!((4.0 * rectangle.half[0] * rectangle.half[1] - 8.0).abs() < 1e-9);
    }
}
