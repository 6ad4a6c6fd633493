//! Pictures from encoded bytes: BMP, JPEG, JPEG 2000, PNG, PNM, TIFF and WebP.
//!
//! The decoders stand in a crate of their own, which depends on no other of the house, so that they build beside the
//! kernels and not within the operators.

#![forbid(unsafe_code)]

mod jpeg;

use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is wanted of each element of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Brightness by the weights of ITU-R BT.601.
    Gray,
}

impl Channels {
    /// Bytes of an element.
    pub fn count(self) -> usize {
        match self {
            Channels::Rgb | Channels::Bgr => 3,
            Channels::Gray => 1,
        }
    }
}

/// Why bytes are no picture.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(String);

fn undecodable(why: impl ToString) -> Undecodable {
    Undecodable(why.to_string())
}

/// A picture of which only the header has been read.
pub struct Header<'a> {
    bytes: &'a [u8],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Decoders may take so much beside what the elements of a picture take.
const OVERHEAD: u64 = 16 << 20;
/// Bytes that decoders may take an element: four channels of two bytes, or of `f32`, twice.
const ELEMENT: usize = 32;

fn is_jpeg2000(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x00\x00\x00\x0cjP  ") || bytes.starts_with(b"\xff\x4f\xff\x51")
}

/// Decoders are written for broken input, but a slip of theirs shall not end the process.
fn caught<T>(work: impl FnOnce() -> Result<T, Undecodable>) -> Result<T, Undecodable> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(undecodable("the decoder failed")))
}

fn jpeg2000(bytes: &[u8]) -> Result<hayro_jpeg2000::Image<'_>, Undecodable> {
    hayro_jpeg2000::Image::new(bytes, &hayro_jpeg2000::DecodeSettings::default()).map_err(undecodable)
}

impl<'a> Header<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the bytes are of no known format or broken.
    pub fn read(bytes: &'a [u8]) -> Result<Header<'a>, Undecodable> {
        caught(|| {
            let (width, height) = if is_jpeg2000(bytes) {
                let image = jpeg2000(bytes)?;
                (image.width(), image.height())
            } else {
                reader(bytes, OVERHEAD)?.into_decoder().map_err(undecodable)?.dimensions()
            };
            let size = |n: u32| usize::try_from(n).map_err(undecodable);
            Ok(Header { bytes, height: size(height)?, width: size(width)? })
        })
    }

    /// Bytes that decoding may take beside the result; `None` where they cannot be counted.
    pub fn scratch(&self) -> Option<usize> {
        self.height.checked_mul(self.width)?.checked_mul(ELEMENT)
    }

    /// Decodes the picture into `output`, row by row, each element as its channels.
    ///
    /// # Errors
    /// When the bytes are broken, or `output` has not the size of the picture.
    pub fn decode(&self, channels: Channels, output: &mut [u8]) -> Result<(), Undecodable> {
        let count = self.height.checked_mul(self.width);
        if count.and_then(|n| n.checked_mul(channels.count())) != Some(output.len()) {
            return Err(undecodable("the output has another size than the picture"));
        }
        let picture = caught(|| self.picture())?;
        if picture.samples.len() != count.unwrap_or(0) * if picture.gray { 1 } else { 3 } {
            return Err(undecodable("the picture has another size than its header says"));
        }
        match (channels, picture.gray) {
            (Channels::Gray, true) | (Channels::Rgb, false) => output.copy_from_slice(&picture.samples),
            (_, true) => {
                for (to, &y) in output.chunks_exact_mut(3).zip(&picture.samples) {
                    to.fill(y);
                }
            }
            (Channels::Bgr, false) => {
                for (to, from) in output.chunks_exact_mut(3).zip(picture.samples.chunks_exact(3)) {
                    to.copy_from_slice(&[from[2], from[1], from[0]]);
                }
            }
            (Channels::Gray, false) => {
                for (to, from) in output.iter_mut().zip(picture.samples.chunks_exact(3)) {
                    *to = brightness([from[0], from[1], from[2]]);
                }
            }
        }
        Ok(())
    }

    fn picture(&self) -> Result<Picture, Undecodable> {
        if is_jpeg2000(self.bytes) {
            return from_jpeg2000(self.bytes);
        }
        if self.bytes.starts_with(b"\xff\xd8")
            && let Some(picture) = jpeg::decode(self.bytes)
        {
            return Ok(picture);
        }
        let scratch = self.scratch().ok_or_else(|| undecodable("the picture is too large"))?;
        let image =
            reader(self.bytes, (scratch as u64).saturating_add(OVERHEAD))?.decode().map_err(undecodable)?;
        let gray = matches!(
            image,
            DynamicImage::ImageLuma8(_)
                | DynamicImage::ImageLumaA8(_)
                | DynamicImage::ImageLuma16(_)
                | DynamicImage::ImageLumaA16(_)
        );
        let samples = if gray { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
        Ok(Picture { gray, samples })
    }
}

/// A decoded picture, of one or of three bytes an element.
struct Picture {
    gray: bool,
    samples: Vec<u8>,
}

fn reader(bytes: &[u8], memory: u64) -> Result<ImageReader<Cursor<&[u8]>>, Undecodable> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(undecodable)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(memory);
    reader.limits(limits);
    Ok(reader)
}

fn from_jpeg2000(bytes: &[u8]) -> Result<Picture, Undecodable> {
    let image = jpeg2000(bytes)?;
    let colors = usize::from(image.color_space().num_channels());
    let channels = colors + usize::from(image.has_alpha());
    let cmyk = matches!(image.color_space(), hayro_jpeg2000::ColorSpace::CMYK);
    let mut context = hayro_jpeg2000::DecoderContext::default();
    let samples = image.decode(&mut context).map_err(undecodable)?.data_u8();
    let elements = samples.chunks_exact(channels.max(1));
    let samples = match colors {
        1 | 2 => return Ok(Picture { gray: true, samples: elements.map(|e| e[0]).collect() }),
        4 if cmyk => elements
            .flat_map(|e| {
                let over = |ink: u8| (u16::from(255 - ink) * u16::from(255 - e[3]) / 255) as u8;
                [over(e[0]), over(e[1]), over(e[2])]
            })
            .collect(),
        n if n >= 3 => elements.flat_map(|e| [e[0], e[1], e[2]]).collect(),
        _ => return Err(undecodable("the picture has no channels")),
    };
    Ok(Picture { gray: false, samples })
}

/// Brightness by the weights of ITU-R BT.601, in 16 bits behind the point.
fn brightness([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of three elements: red, green, blue, black, white, gray.
    const PPM: &[u8] =
        b"P6 3 2 255\n\xff\x00\x00\x00\xff\x00\x00\x00\xff\x00\x00\x00\xff\xff\xff\x80\x80\x80";

    #[test]
    fn channels_come_in_their_order() {
        let header = Header::read(PPM).unwrap();
        assert_eq!((header.height, header.width), (2, 3));
        let mut rgb = [0; 18];
        header.decode(Channels::Rgb, &mut rgb).unwrap();
        assert_eq!(rgb, PPM[PPM.len() - 18..]);
        let mut bgr = [0; 18];
        header.decode(Channels::Bgr, &mut bgr).unwrap();
        assert_eq!(bgr[..6], [0, 0, 255, 0, 255, 0]);
        let mut gray = [0; 6];
        header.decode(Channels::Gray, &mut gray).unwrap();
        // Pillow's.
        assert_eq!(gray, [76, 150, 29, 0, 255, 128]);
        assert!(header.decode(Channels::Gray, &mut [0; 7]).is_err());
    }

    #[test]
    fn broken_bytes_are_errors() {
        for bytes in [
            &b""[..],
            b"P6",
            b"P6 3 2 255\n\xff",
            b"no picture",
            b"\x00\x00\x00\x0cjP  \r\n\x87\n",
            b"\xff\x4f\xff\x51\x00",
        ] {
            let decoded = Header::read(bytes).and_then(|header| {
                let mut output = vec![0; header.height * header.width];
                header.decode(Channels::Gray, &mut output)
            });
            assert!(decoded.is_err(), "{bytes:?}");
        }
        // A header that promises more than anyone has is read, and refused by whoever asks for the memory.
        let header = Header::read(b"P6 60000 60000 255\n").unwrap();
        assert!(header.scratch().is_some_and(|bytes| bytes > 1 << 36));
        assert!(Header::read(b"P6 4000000000 4000000000 255\n").is_err());
    }

    #[test]
    fn any_cut_and_any_flipped_byte_is_survived() {
        for at in 0..PPM.len() {
            let mut bytes = PPM.to_vec();
            bytes[at] ^= 0x55;
            for bytes in [&PPM[..at], &bytes] {
                if let Ok(header) = Header::read(bytes)
                    && header.scratch().is_some_and(|s| s < 1 << 20)
                {
                    let mut output = vec![0; header.height * header.width];
                    let _ = header.decode(Channels::Gray, &mut output);
                }
            }
        }
    }
}
