//! [ImageDecoder](https://onnx.ai/onnx/operators/onnx__ImageDecoder.html): a picture from the bytes of a file.

use crate::{Case, Form, Room, attributes, of_room};
use oxidane_graph::{
    Call, Dim, InferCtx, Kernel, Op, OpError, Param, Run, Signature, Types, Unknown, kernel, shared,
};
use oxidane_images::{Channels, Header};
use oxidane_tensor::{DType, Tensor};

attributes! {
    /// The picture (rows, columns, channels) that the bytes encode, without elements where they encode none.
    pub struct ImageDecoder {
        pixel_format: String = "RGB".into(),
    }
}

const BYTES: Types = Types::tensors(&[DType::U8]);

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("encoded_stream", BYTES, "T1")],
    outputs: &[Param::one("image", BYTES, "T2")],
};

/// The room of ImageDecoder.
pub static ROOM: Room = Room {
    domain: "",
    name: "ImageDecoder",
    since: &[20],
    signature: &SIGNATURE,
    read: |a| Ok(shared(ImageDecoder::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let bytes = |shape: &[usize], bytes: &[u8]| Tensor::new(shape, bytes).expect("as many bytes");
        let of = |name, format: &str, encoded: &[u8]| {
            Case::new(name, ImageDecoder { pixel_format: format.into() })
                .input(bytes(&[encoded.len()], encoded))
        };
        let ppm = b"P6 2 1 255\n\x01\x02\x03\xff\x00\x00";
        vec![
            of("rgb", "RGB", ppm).expect(bytes(&[1, 2, 3], &[1, 2, 3, 255, 0, 0])),
            of("bgr", "BGR", ppm).expect(bytes(&[1, 2, 3], &[3, 2, 1, 0, 0, 255])),
            // Pillow's convert("L").
            of("gray", "Grayscale", ppm).expect(bytes(&[1, 2, 1], &[2, 76])),
            of("no picture", "RGB", b"text").expect(bytes(&[0, 0, 3], &[])),
            of("cut", "Grayscale", &ppm[..14]).expect(bytes(&[0, 0, 1], &[])),
        ]
    },
};

impl ImageDecoder {
    fn channels(&self) -> Result<Channels, OpError> {
        match self.pixel_format.as_str() {
            "RGB" => Ok(Channels::Rgb),
            "BGR" => Ok(Channels::Bgr),
            "Grayscale" => Ok(Channels::Gray),
            other => Err(OpError::new(format!("attribute `pixel_format` is `{other}`"))
                .help("it is one of RGB, BGR, Grayscale")),
        }
    }
}

/// The picture; `None` where the bytes are none.
fn decoded(run: &Run<'_>, encoded: &[u8], channels: Channels) -> Result<Option<Tensor>, OpError> {
    let Ok(header) = Header::read(encoded) else { return Ok(None) };
    let (height, width) = (header.height, header.width);
    let scratch = header.scratch().ok_or_else(|| {
        OpError::new(format!("the picture has {height} rows and {width} columns, which is too large"))
    })?;
    // Decoders have memory of their own; asking for as much keeps it within the budget, whatever the header says.
    drop(run.allocate(0, DType::U8, &[scratch])?);
    let mut out = run.allocate(0, DType::U8, &[height, width, channels.count()])?;
    match header.decode(channels, out.slice_mut()?) {
        Ok(()) => Ok(Some(out.freeze())),
        Err(_) => Ok(None),
    }
}

impl Op for ImageDecoder {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let channels = self.channels()?.count();
        if ctx.shape(0).is_some_and(|s| s.len() != 1) {
            return Err(Unknown::wrong("the encoded bytes must be one-dimensional"));
        }
        let (height, width) = (ctx.unknown_dim(0, 0), ctx.unknown_dim(0, 1));
        ctx.set_tensor(0, DType::U8, [height, width, Dim::from(channels)]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let channels = self.channels()?;
        kernel(move |run| {
            let encoded = run.dense(0)?;
            let picture = match decoded(run, encoded.slice()?, channels)? {
                Some(picture) => picture,
                None => Tensor::zeros(DType::U8, &[0, 0, channels.count()])?,
            };
            run.set(0, picture);
            Ok(())
        })
    }
}
