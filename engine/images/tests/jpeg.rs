//! JPEG files decode to the bit as by libjpeg-turbo. The pictures beside this file are Pillow's: the .ppm files are
//! what it decodes the .jpg files to.

use oxidane_images::{Channels, Header};

fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::read(bytes).ok().filter(|h| h.scratch().is_some_and(|s| s < 1 << 24))?;
    let mut output = vec![0; header.height * header.width * 3];
    header.decode(Channels::Rgb, &mut output).ok()?;
    Some(output)
}

const PICTURES: [(&str, &[u8], &[u8]); 3] = [
    ("progressive", include_bytes!("pictures/progressive.jpg"), include_bytes!("pictures/progressive.ppm")),
    ("restarts", include_bytes!("pictures/restarts.jpg"), include_bytes!("pictures/restarts.ppm")),
    ("plain", include_bytes!("pictures/plain.jpg"), include_bytes!("pictures/plain.ppm")),
];

#[test]
fn pictures_agree_to_the_bit() {
    for (name, jpeg, ppm) in PICTURES {
        assert_eq!(decoded(jpeg), decoded(ppm), "{name}");
    }
}

#[test]
fn damage_is_survived() {
    for (_, jpeg, _) in PICTURES {
        for at in 0..jpeg.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = jpeg.to_vec();
                bytes[at] ^= flip;
                decoded(&bytes);
            }
            decoded(&jpeg[..at]);
        }
    }
}
