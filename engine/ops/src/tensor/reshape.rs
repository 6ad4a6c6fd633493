//! [Reshape](https://onnx.ai/onnx/operators/onnx__Reshape.html): the same elements under another shape.

use crate::formula::Formula;
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Build, Call, Dim, Dims, InferCtx, Kernel, NodeId, Op, OpError, Param, ShownDims, Signature, Unknown,
    ValueId, kernel, shared,
};
use oxidane_tensor::Shape;

attributes! {
    /// The input's elements, in row-major order, under the shape of the second input.
    pub struct Reshape {
        /// Whether a zero in the shape is a zero; otherwise it copies the input's size.
        allowzero: bool = false,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("data", types::ALL, "T"), Param::one("shape", types::INT64, "")],
    outputs: &[Param::one("reshaped", types::ALL, "T")],
};

/// The room of Reshape.
pub static ROOM: Room = Room {
    domain: "",
    name: "Reshape",
    since: &[1, 5, 13, 14, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| Ok(shared(Reshape::read(a)?)),
    steps: &[
        Step {
            to: 5,
            up: |d| {
                d.attributes.take("consumed_inputs");
                d.ints_to_input("shape", 1)
            },
            down: |d| d.input_to_ints(1, "shape"),
        },
        Step { to: 14, up: |_| Ok(()), down: |d| d.drop_default("allowzero", false) },
    ],
    cases: || {
        crate::with_cases!();
        let data = || floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let flat = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        vec![
            Case::new("inferred", Reshape { allowzero: false })
                .input(data())
                .input(ints(&[2], &[-1, 2]))
                .expect(floats(&[3, 2], &flat)),
            Case::new("copied", Reshape { allowzero: false })
                .input(data())
                .input(ints(&[3], &[0, 1, -1]))
                .expect(floats(&[2, 1, 3], &flat)),
            Case::new("zero", Reshape { allowzero: true })
                .input(floats(&[0, 3], &[]))
                .input(ints(&[2], &[3, 0]))
                .expect(floats(&[3, 0], &[])),
        ]
    },
};

impl Reshape {
    /// The sizes of the result, from the input's and the wanted ones.
    fn target(&self, input: &[usize], wanted: &[i64]) -> Result<Shape, OpError> {
        let count = oxidane_tensor::element_count(input)?;
        let fault = |why: &str| {
            OpError::new(format!("cannot reshape {input:?} ({count} elements) to {wanted:?}: {why}"))
        };
        let mut shape = Shape::new();
        let mut open = None;
        for (i, &size) in wanted.iter().enumerate() {
            shape.push(match size {
                -1 if open.replace(i).is_some() => return Err(fault("only one size may be -1")),
                -1 => 1,
                0 if !self.allowzero => *input
                    .get(i)
                    .ok_or_else(|| fault(&format!("size {i} copies one that the input lacks")))?,
                n => usize::try_from(n).map_err(|_| fault("sizes may not be negative"))?,
            });
        }
        let known = oxidane_tensor::element_count(&shape)?;
        if let Some(open) = open {
            if known == 0 || count % known != 0 {
                return Err(fault("the size -1 does not come out whole"));
            }
            shape[open] = count / known;
        } else if known != count {
            return Err(fault("the number of elements differs"));
        }
        Ok(shape)
    }
}

impl Op for Reshape {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let dtype = ctx.dtype(0)?;
        let input = ctx.shape(0).map(Dims::from_slice);
        let Some(wanted) = ctx.ints(1) else {
            match ctx.shape(1).and_then(|s| s.first()?.as_size()).filter(|&rank| rank <= 64) {
                Some(rank) => {
                    let dims: Dims = (0..rank).map(|axis| ctx.unknown_dim(0, axis)).collect();
                    ctx.set_tensor(0, dtype, dims);
                }
                None => ctx.set_unranked(0, dtype),
            }
            return Ok(());
        };
        let one = Dim::known(1);
        let mut dims = Dims::new();
        let mut open = None;
        for (i, &size) in wanted.dims.iter().enumerate() {
            dims.push(match size.as_known() {
                Some(-1) if open.replace(i).is_some() => {
                    return Err(Unknown::wrong(format!(
                        "the shape {} has more than one -1",
                        ShownDims(&wanted.dims)
                    )));
                }
                Some(-1) => one,
                Some(0) if !self.allowzero => match &input {
                    Some(shape) => *shape.get(i).ok_or_else(|| {
                        Unknown::wrong(format!(
                            "size {i} of the shape {} copies one that the input {} lacks",
                            ShownDims(&wanted.dims),
                            ShownDims(shape)
                        ))
                    })?,
                    None => ctx.unknown_dim(0, i),
                },
                Some(n) if n < 0 => {
                    return Err(Unknown::wrong(format!("the shape {} is negative", ShownDims(&wanted.dims))));
                }
                _ => size,
            });
        }
        if let Some(input) = &input {
            let total = |dims: &[Dim]| dims.iter().fold(one, |n, &d| n * d);
            if let Some(open) = open {
                // Sizes that stand on both sides cancel, which divides exactly more often.
                let mut above = input.clone();
                let mut below = dims.clone();
                below.remove(open);
                below.retain(|d| match above.iter().position(|a| a == d && *d != Dim::known(0)) {
                    Some(at) => {
                        above.remove(at);
                        false
                    }
                    None => true,
                });
                dims[open] = match (total(&above), total(&below)) {
                    (above, below) if below != Dim::known(0) => match above.divide_exactly(below) {
                        Some(size) => size,
                        None if above.as_known().is_some() && below.as_known().is_some() => {
                            return Err(Unknown::wrong(format!(
                                "cannot reshape {} to {}: the size -1 does not come out whole",
                                ShownDims(input),
                                ShownDims(&wanted.dims)
                            )));
                        }
                        None => above.floor_div(below),
                    },
                    _ => ctx.unknown_dim(0, open),
                };
            } else if let (Some(a), Some(b)) = (total(input).as_known(), total(&dims).as_known())
                && a != b
            {
                return Err(Unknown::wrong(format!(
                    "cannot reshape {} ({a} elements) to {} ({b} elements)",
                    ShownDims(input),
                    ShownDims(&dims)
                )));
            }
        } else if let Some(open) = open {
            dims[open] = ctx.unknown_dim(0, open);
        }
        if let Some(ints) = ctx.ints(0)
            && dims.len() <= 1
        {
            ctx.set_ints(0, ints.dims, dims.is_empty());
        }
        ctx.set_tensor(0, dtype, dims);
        Ok(())
    }

    fn in_place(&self) -> &[usize] {
        &[0]
    }

    fn gradient(
        &self,
        build: &mut Build<'_>,
        node: NodeId,
        outputs: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let inputs = build.graph().node(node).formal_inputs().len();
        let mut gradients = vec![None; inputs];
        let Some(&Some(gradient)) = outputs.first() else { return Ok(gradients) };
        let f = &mut Formula::new(build, node);
        let x = f.need(0)?;
        gradients[0] = Some(f.reshaped_like(gradient, x)?);
        Ok(gradients)
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        kernel(move |run| {
            let wanted = run.ints(1)?;
            let data = run.take(0)?;
            let shape = op.target(data.shape(), &wanted)?;
            run.set(0, data.reshape(&shape)?);
            Ok(())
        })
    }
}
