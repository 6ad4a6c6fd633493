//! [Constant](https://onnx.ai/onnx/operators/onnx__Constant.html): a tensor from one of eight attributes.

use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, of_room, types};
use oxidane_graph::{
    Call, InferCtx, Kernel, Op, OpError, Param, Signature, SparseTensor, Type, Unknown, kernel, shared,
};
use oxidane_tensor::{Tensor, TensorMut, element_count};
use std::sync::Arc;

attributes! {
    /// A constant; exactly one of the attributes is given.
    pub struct Constant {
        sparse_value: Option<SparseTensor>,
        value: Option<Tensor>,
        value_float: Option<f32>,
        value_floats: Option<Vec<f32>>,
        value_int: Option<i64>,
        value_ints: Option<Vec<i64>>,
        value_string: Option<String>,
        value_strings: Option<Vec<String>>,
    }
}

static SIGNATURE: Signature = Signature { inputs: &[], outputs: &[Param::one("output", types::ALL, "T")] };

/// The room of Constant.
pub static ROOM: Room = Room {
    domain: "",
    name: "Constant",
    since: &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25],
    signature: &SIGNATURE,
    read: |a| {
        let op = Constant::read(a)?;
        match a.len() {
            1 => Ok(shared(op)),
            n => Err(OpError::new(format!("Constant has {n} value attributes, but must have exactly one"))),
        }
    },
    steps: &[
        Step {
            to: 11,
            up: |_| Ok(()),
            down: |d| match d.attributes.get("sparse_value") {
                None => Ok(()),
                Some(_) => Err(OpError::new("a sparse constant cannot be expressed in this opset")
                    .help("export to opset 11 or later")),
            },
        },
        // Opset 12 brought numbers and texts that need no tensor.
        Step { to: 12, up: |_| Ok(()), down: as_tensor },
    ],
    cases: || {
        crate::with_cases!();
        let sparse = SparseTensor {
            values: floats(&[2], &[3.0, 4.0]),
            indices: ints(&[2], &[1, 5]),
            shape: vec![2, 3],
        };
        vec![
            Case::new("tensor", Constant::of(floats(&[2], &[1.0, 2.0]))).expect(floats(&[2], &[1.0, 2.0])),
            Case::new(
                "ints",
                Constant { value: None, value_ints: Some(vec![7, -1]), ..Constant::of(ints(&[], &[0])) },
            )
            .expect(ints(&[2], &[7, -1])),
            Case::new(
                "sparse",
                Constant { value: None, sparse_value: Some(sparse), ..Constant::of(ints(&[], &[0])) },
            )
            .expect(floats(&[2, 3], &[0.0, 3.0, 0.0, 0.0, 0.0, 4.0])),
        ]
    },
};

fn as_tensor(d: &mut Draft<'_>) -> Result<(), OpError> {
    let value = if let Some(v) = d.take::<f32>("value_float")? {
        Tensor::new(&[], &[v])?
    } else if let Some(all) = d.take::<Vec<f32>>("value_floats")? {
        Tensor::new(&[all.len()], &all)?
    } else if let Some(v) = d.take::<i64>("value_int")? {
        Tensor::new(&[], &[v])?
    } else if let Some(all) = d.take::<Vec<i64>>("value_ints")? {
        Tensor::new(&[all.len()], &all)?
    } else if let Some(text) = d.take::<String>("value_string")? {
        Tensor::from_strings(&[], vec![text.into()])?
    } else if let Some(all) = d.take::<Vec<String>>("value_strings")? {
        Tensor::from_strings(&[all.len()], all.into_iter().map(Into::into).collect())?
    } else {
        return Ok(());
    };
    d.attributes.set("value", value);
    Ok(())
}

impl Constant {
    /// A constant of a tensor.
    pub fn of(value: Tensor) -> Constant {
        Constant {
            sparse_value: None,
            value: Some(value),
            value_float: None,
            value_floats: None,
            value_int: None,
            value_ints: None,
            value_string: None,
            value_strings: None,
        }
    }

    /// The tensor, whatever attribute it is given by.
    ///
    /// # Errors
    /// When a sparse value contradicts itself or there is no memory for it.
    pub fn tensor(&self) -> Result<Tensor, OpError> {
        let text = |s: &String| Arc::from(s.as_str());
        if let Some(tensor) = &self.value {
            Ok(tensor.clone())
        } else if let Some(v) = self.value_float {
            Ok(Tensor::scalar(v))
        } else if let Some(v) = self.value_int {
            Ok(Tensor::scalar(v))
        } else if let Some(v) = &self.value_floats {
            Ok(Tensor::new(&[v.len()], v)?)
        } else if let Some(v) = &self.value_ints {
            Ok(Tensor::new(&[v.len()], v)?)
        } else if let Some(v) = &self.value_string {
            Ok(Tensor::from_strings(&[], vec![text(v)])?)
        } else if let Some(v) = &self.value_strings {
            Ok(Tensor::from_strings(&[v.len()], v.iter().map(text).collect())?)
        } else if let Some(sparse) = &self.sparse_value {
            dense(sparse)
        } else {
            Err(OpError::new("Constant has no value"))
        }
    }
}

/// The dense form of a sparse tensor.
///
/// # Errors
/// When an index lies outside the shape, counts disagree, or there is no memory.
pub fn dense(sparse: &SparseTensor) -> Result<Tensor, OpError> {
    let shape: Vec<usize> = sparse
        .shape
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| OpError::new(format!("a sparse tensor has the size {d}"))))
        .collect::<Result<_, _>>()?;
    let count = element_count(&shape)?;
    let values = sparse.values.to_dense()?;
    let places = sparse.indices.values::<i64>()?;
    let outside = || OpError::new(format!("an index of a sparse tensor lies outside its shape {shape:?}"));
    let width = match sparse.indices.shape() {
        [n] if *n == values.len() => 1,
        [n, rank] if *n == values.len() && *rank == shape.len() => *rank,
        other => {
            return Err(OpError::new(format!(
                "a sparse tensor of {} values and rank {} has indices of shape {other:?}",
                values.len(),
                shape.len()
            )));
        }
    };
    let linear = places.chunks(width.max(1)).map(|row| match row {
        [at] if sparse.indices.rank() == 1 => usize::try_from(*at).ok().filter(|&at| at < count),
        row => row.iter().zip(&shape).try_fold(0usize, |sum, (&at, &size)| {
            let at = usize::try_from(at).ok().filter(|&at| at < size)?;
            Some(sum * size + at)
        }),
    });
    let unit = values.dtype().bits() / 8;
    let (Some(source), true) = (values.dense_bytes(), unit > 0) else {
        return Err(OpError::unsupported(format!("sparse tensors of {}", values.dtype())));
    };
    let mut out = TensorMut::zeroed(values.dtype(), &shape)?;
    let bytes = out.as_bytes_mut();
    for (at, value) in linear.zip(source.chunks_exact(unit)) {
        let at = at.ok_or_else(outside)? * unit;
        bytes.get_mut(at..at + unit).ok_or_else(outside)?.copy_from_slice(value);
    }
    Ok(out.freeze())
}

impl Op for Constant {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        if let Some(sparse) = &self.sparse_value {
            // The dense form may be large: its type is enough here.
            let shape = sparse.shape.iter().map(|&d| oxidane_graph::Dim::from(d));
            ctx.set_tensor(0, sparse.values.dtype(), shape);
            return Ok(());
        }
        let tensor = self.tensor()?;
        ctx.set(0, Type::fixed(tensor.dtype(), tensor.shape()));
        ctx.set_constant(0, tensor);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let tensor = self.tensor()?;
        kernel(move |run| {
            run.set(0, tensor.clone());
            Ok(())
        })
    }
}
