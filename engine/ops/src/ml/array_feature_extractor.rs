//! [ArrayFeatureExtractor](https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html): columns picked
//! by index.

use super::DOMAIN;
use crate::tensor::gather::Slices;
use crate::tensor::moves::move_elements;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{
    Call, Dim, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared,
};

attributes! {
    /// The elements of the last axis at the indices of the second input, whatever its shape. The result has at
    /// least two dimensions.
    pub struct ArrayFeatureExtractor {}
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::FEATURES_OR_STRING, "T"), Param::one("Y", types::INT64, "")],
    outputs: &[Param::one("Z", types::FEATURES_OR_STRING, "T")],
};

/// The room of ArrayFeatureExtractor.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "ArrayFeatureExtractor",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(ArrayFeatureExtractor::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = || ArrayFeatureExtractor {};
        vec![
            // ONNX Runtime.
            Case::new("matrix", op())
                .input(floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
                .input(ints(&[1, 3], &[1, 0, 1]))
                .expect(floats(&[2, 3], &[2.0, 1.0, 2.0, 5.0, 4.0, 5.0])),
            Case::new("vector", op())
                .input(strings(&[3], &["a", "b", "c"]))
                .input(ints(&[2], &[2, 0]))
                .expect(strings(&[1, 2], &["c", "a"])),
            Case::new("int64", op())
                .input(ints(&[1, 2, 2], &[1, 2, 3, 4]))
                .input(ints(&[1], &[1]))
                .expect(ints(&[1, 2, 1], &[2, 4])),
        ]
    },
};

impl Op for ArrayFeatureExtractor {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let Some(x) = ctx.shape(0) else {
            ctx.set_unranked(0, dtype);
            return Ok(());
        };
        if x.is_empty() {
            return Err(Unknown::wrong(format!("{} is a scalar, but must have a last axis", ctx.called(0))));
        }
        let mut dims = Dims::from_slice(x);
        let last = dims.len() - 1;
        let one = Dim::known(1);
        dims[last] = match ctx.shape(1) {
            Some(y) => y.iter().fold(one, |n, &d| n * d),
            None => ctx.unknown_dim(0, last),
        };
        if last == 0 {
            dims.insert(0, one);
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        kernel(move |run| {
            let indices = run.tensor(1)?.to_i64s()?;
            let x = run.take(0)?;
            let own = x.shape();
            let Some((&size, outer)) = own.split_last() else {
                return Err(OpError::new("the input is a scalar, but must have a last axis"));
            };
            if let Some(wrong) = indices.iter().find(|&&i| i < 0 || i as u64 >= size as u64) {
                return Err(OpError::new(format!(
                    "index {wrong} is outside of the {size} elements of {own:?}"
                )));
            }
            let mut shape = outer.to_vec();
            if shape.is_empty() {
                shape.push(1);
            }
            shape.push(indices.len());
            move_elements(
                run,
                0,
                &[&x],
                &shape,
                &Slices { shape: own, axis: own.len() - 1, indices: &indices },
            )
        })
    }
}
