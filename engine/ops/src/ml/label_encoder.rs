//! [LabelEncoder](https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html): each element replaced by what a
//! table has for it.

use super::DOMAIN;
use crate::{Case, Form, Room, Step, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{
    Call, Dims, InferCtx, Kernel, Op, OpError, Param, Signature, Type, Unknown, kernel, shared,
};
use oxidane_tensor::{CastRules, DType, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

attributes! {
    /// The value of the key that equals the element, or the default. NaN is a key like others; of a key that is
    /// there twice the last counts.
    pub struct LabelEncoder {
        default_float: f32 = -0.0,
        default_int64: i64 = -1,
        default_string: String = "_Unused".to_owned(),
        /// The default for values that are given as a tensor.
        default_tensor: Option<Tensor>,
        keys_floats: Option<Vec<f32>>,
        keys_int64s: Option<Vec<i64>>,
        keys_strings: Option<Vec<String>>,
        keys_tensor: Option<Tensor>,
        values_floats: Option<Vec<f32>>,
        values_int64s: Option<Vec<i64>>,
        values_strings: Option<Vec<String>>,
        values_tensor: Option<Tensor>,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::ENCODED, "T1")],
    outputs: &[Param::one("Y", types::ENCODED, "T2")],
};

/// The room of LabelEncoder.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "LabelEncoder",
    since: &[1, 2, 4],
    signature: &SIGNATURE,
    read: |a| Ok(shared(LabelEncoder::read(a)?)),
    steps: &[
        Step {
            to: 2,
            up: |d| {
                let classes = d.take::<Vec<String>>("classes_strings")?.unwrap_or_default();
                let numbers: Vec<i64> = (0..classes.len() as i64).collect();
                // Which way it goes, the input says; where that is not known, the default that is given.
                let from_strings = match d.ty(0).and_then(Type::dtype) {
                    Some(dtype) => dtype == DType::String,
                    None => d.attributes.get("default_string").is_none(),
                };
                if from_strings {
                    d.attributes.set("keys_strings", classes);
                    d.attributes.set("values_int64s", numbers);
                } else {
                    d.attributes.set("keys_int64s", numbers);
                    d.attributes.set("values_strings", classes);
                }
                Ok(())
            },
            down: |d| {
                d.drop_default("default_float", -0.0f32)?;
                let numbered = |numbers: &[i64]| numbers.iter().copied().eq(0..numbers.len() as i64);
                let (keys, values) = (d.attributes.clone(), d.attributes.clone());
                let forwards = keys.value::<Vec<String>>("keys_strings")?;
                let backwards = values.value::<Vec<String>>("values_strings")?;
                let numbers = match (&forwards, &backwards) {
                    (Some(_), None) => d.attributes.value::<Vec<i64>>("values_int64s")?,
                    (None, Some(_)) => d.attributes.value::<Vec<i64>>("keys_int64s")?,
                    _ => None,
                };
                let Some(classes) = forwards.or(backwards).filter(|_| numbers.is_some_and(|n| numbered(&n)))
                else {
                    return Err(OpError::new(
                        "this opset maps strings to 0, 1, 2, ... or back, and nothing else",
                    )
                    .help("export to opset 2 of ai.onnx.ml or later"));
                };
                for name in ["keys_strings", "keys_int64s", "values_strings", "values_int64s"] {
                    d.attributes.take(name);
                }
                d.attributes.set("classes_strings", classes);
                Ok(())
            },
        },
        Step {
            to: 4,
            up: |_| Ok(()),
            down: |d| {
                let short = |part: &str| {
                    OpError::new(format!("this opset has no {part} of this type"))
                        .help("export to opset 4 of ai.onnx.ml or later")
                };
                for part in ["keys", "values"] {
                    let Some(tensor) = d.take::<Tensor>(&format!("{part}_tensor"))? else { continue };
                    match tensor.dtype() {
                        DType::String => d.attributes.set(&format!("{part}_strings"), tensor.to_texts()?),
                        DType::I64 => d.attributes.set(&format!("{part}_int64s"), tensor.to_i64s()?),
                        DType::F32 => {
                            d.attributes.set(&format!("{part}_floats"), tensor.values::<f32>()?.into_owned());
                        }
                        _ => return Err(short(part)),
                    }
                }
                let Some(default) = d.take::<Tensor>("default_tensor")? else { return Ok(()) };
                match default.dtype() {
                    DType::String => {
                        d.attributes.set("default_string", default.to_texts()?.pop().unwrap_or_default());
                    }
                    DType::I64 => d.attributes.set("default_int64", default.to_i64s()?.pop().unwrap_or(-1)),
                    DType::F32 => {
                        let value = default.values::<f32>()?.last().copied();
                        d.attributes.set("default_float", value.unwrap_or(-0.0));
                    }
                    _ => return Err(short("default")),
                }
                Ok(())
            },
        },
    ],
    cases: || {
        crate::with_cases!();
        let op = LabelEncoder::default;
        let words = |w: &[&str]| Some(w.iter().map(|&w| w.to_owned()).collect::<Vec<_>>());
        let as_ = |t: Tensor, dtype| t.cast(dtype, CastRules::default()).expect("numbers");
        let mut cases = vec![
            // The specification's examples.
            Case::new(
                "string to int64",
                LabelEncoder {
                    keys_strings: words(&["Amy", "Sally"]),
                    values_int64s: Some(vec![5, 6]),
                    ..op()
                },
            )
            .input(strings(&[5], &["Dori", "Amy", "Amy", "Sally", "Sally"]))
            .expect(ints(&[5], &[-1, 5, 5, 6, 6])),
            Case::new(
                "numbered",
                LabelEncoder { keys_strings: words(&["a", "b"]), values_int64s: Some(vec![0, 1]), ..op() },
            )
            .input(strings(&[2, 2], &["b", "a", "c", "b"]))
            .expect(ints(&[2, 2], &[1, 0, -1, 1])),
            Case::new(
                "numbers to strings",
                LabelEncoder {
                    keys_int64s: Some(vec![0, 1]),
                    values_strings: words(&["a", "b"]),
                    default_string: "none".into(),
                    ..op()
                },
            )
            .input(ints(&[3], &[1, 0, 2]))
            .expect(strings(&[3], &["b", "a", "none"])),
            Case::new(
                "float to int64, the last of equal keys",
                LabelEncoder {
                    keys_floats: Some(vec![f32::NAN, 1.5, 1.5]),
                    values_int64s: Some(vec![7, 8, 9]),
                    default_int64: 0,
                    ..op()
                },
            )
            .input(floats(&[4], &[1.5, f32::NAN, -f32::NAN, 2.0]))
            .expect(ints(&[4], &[9, 7, 7, 0])),
            Case::new(
                "int64 to float",
                LabelEncoder {
                    keys_int64s: Some(vec![3]),
                    values_floats: Some(vec![0.5]),
                    default_float: -2.0,
                    ..op()
                },
            )
            .input(ints(&[], &[3]))
            .expect(floats(&[], &[0.5])),
            Case::new(
                "tensors of strings",
                LabelEncoder {
                    keys_tensor: Some(strings(&[2], &["a", "b"])),
                    values_tensor: Some(strings(&[2], &["x", "y"])),
                    default_tensor: Some(strings(&[1], &["z"])),
                    ..op()
                },
            )
            .input(strings(&[3], &["b", "c", "a"]))
            .expect(strings(&[3], &["y", "z", "x"])),
        ];
        for dtype in [DType::I64, DType::I32, DType::I16, DType::F32, DType::F64] {
            cases.push(
                Case::new(
                    dtype.name(),
                    LabelEncoder {
                        keys_tensor: Some(as_(ints(&[2], &[1, 2]), dtype)),
                        values_tensor: Some(as_(ints(&[2], &[3, 4]), dtype)),
                        default_tensor: Some(as_(ints(&[1], &[42]), dtype)),
                        ..op()
                    },
                )
                .input(as_(ints(&[3], &[2, 5, 1]), dtype))
                .expect(as_(ints(&[3], &[4, 42, 3]), dtype)),
            );
        }
        cases
    },
};

impl Default for LabelEncoder {
    fn default() -> LabelEncoder {
        LabelEncoder {
            default_float: -0.0,
            default_int64: -1,
            default_string: "_Unused".to_owned(),
            default_tensor: None,
            keys_floats: None,
            keys_int64s: None,
            keys_strings: None,
            keys_tensor: None,
            values_floats: None,
            values_int64s: None,
            values_strings: None,
            values_tensor: None,
        }
    }
}

/// An element as something to look up. All NaNs are one; zero has no sign.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Text(Arc<str>),
    Int(i64),
    Float(u64),
}

/// The elements of a tensor as keys.
fn keys(tensor: &Tensor) -> Result<Vec<Key>, OpError> {
    Ok(match tensor.dtype() {
        DType::String => {
            let dense = tensor.to_dense()?;
            dense.as_strings().unwrap_or_default().iter().cloned().map(Key::Text).collect()
        }
        dtype if dtype.is_float() => {
            let bits = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { (v + 0.0).to_bits() };
            tensor.to_f64s()?.into_iter().map(|v| Key::Float(bits(v))).collect()
        }
        _ => tensor.to_i64s()?.into_iter().map(Key::Int).collect(),
    })
}

fn text_tensor(values: &[String]) -> Result<Tensor, OpError> {
    Ok(Tensor::from_strings(&[values.len()], values.iter().map(|v| Arc::from(v.as_str())).collect())?)
}

impl LabelEncoder {
    /// The one list of keys or values that is given.
    fn list(
        part: &str,
        floats: &Option<Vec<f32>>,
        ints: &Option<Vec<i64>>,
        strings: &Option<Vec<String>>,
        tensor: &Option<Tensor>,
    ) -> Result<Tensor, OpError> {
        let mut found = Vec::new();
        if let Some(v) = floats.as_ref().filter(|v| !v.is_empty()) {
            found.push(Tensor::new(&[v.len()], v)?);
        }
        if let Some(v) = ints.as_ref().filter(|v| !v.is_empty()) {
            found.push(Tensor::new(&[v.len()], v)?);
        }
        if let Some(v) = strings.as_ref().filter(|v| !v.is_empty()) {
            found.push(text_tensor(v)?);
        }
        if let Some(v) = tensor {
            found.push(v.reshape(&[v.len()])?);
        }
        match found.len() {
            1 => Ok(found.remove(0)),
            n => Err(OpError::new(format!("it has {n} lists of {part}, but one is needed"))
                .help(format!("set one of {part}_strings, {part}_int64s, {part}_floats and {part}_tensor"))),
        }
    }

    fn keys(&self) -> Result<Tensor, OpError> {
        LabelEncoder::list(
            "keys",
            &self.keys_floats,
            &self.keys_int64s,
            &self.keys_strings,
            &self.keys_tensor,
        )
    }

    fn values(&self) -> Result<Tensor, OpError> {
        LabelEncoder::list(
            "values",
            &self.values_floats,
            &self.values_int64s,
            &self.values_strings,
            &self.values_tensor,
        )
    }

    /// What elements without a key become, as a tensor of one element.
    fn default_value(&self, dtype: DType) -> Result<Tensor, OpError> {
        if let Some(tensor) = self.default_tensor.as_ref().filter(|_| self.values_tensor.is_some()) {
            if tensor.len() != 1 || tensor.dtype() != dtype {
                return Err(OpError::new(format!("the default is {tensor:?}, but must be one {dtype}")));
            }
            return Ok(tensor.reshape(&[1])?);
        }
        let number = match dtype {
            DType::String => return text_tensor(std::slice::from_ref(&self.default_string)),
            dtype if dtype.is_float() => Tensor::new(&[1], &[self.default_float])?,
            _ => Tensor::new(&[1], &[self.default_int64])?,
        };
        Ok(number.cast(dtype, CastRules::default())?)
    }
}

impl Op for LabelEncoder {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let (from, to) = (self.keys()?.dtype(), self.values()?.dtype());
        if let Some(given) = ctx.ty(0).and_then(Type::dtype)
            && given != from
        {
            return Err(Unknown::wrong(format!("{} is {given}, but the keys are {from}", ctx.called(0))));
        }
        match ctx.shape(0).map(Dims::from_slice) {
            Some(dims) => ctx.set_tensor(0, to, dims),
            None => ctx.set_unranked(0, to),
        }
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let (from, values) = (self.keys()?, self.values()?);
        if from.len() != values.len() {
            return Err(OpError::new(format!("there are {} keys for {} values", from.len(), values.len())));
        }
        let table: HashMap<Key, usize> = keys(&from)?.into_iter().zip(0..).collect();
        let default = self.default_value(values.dtype())?;
        // The default stands behind the values.
        let last = values.len();
        let (values, default) = (values.to_dense()?, default.to_dense()?);
        kernel(move |run| {
            let x = run.tensor(0)?;
            if x.dtype() != from.dtype() {
                return Err(OpError::new(format!(
                    "the input is {}, but the keys are {}",
                    x.dtype(),
                    from.dtype()
                )));
            }
            let places = keys(x)?.into_iter().map(|key| table.get(&key).copied().unwrap_or(last));
            let shape = x.shape().to_vec();
            if values.dtype() == DType::String {
                let texts = values.as_strings().unwrap_or_default();
                let other = &default.as_strings().unwrap_or_default()[0];
                let mapped = places.map(|at| texts.get(at).unwrap_or(other).clone()).collect();
                run.set(0, Tensor::from_strings(&shape, mapped)?);
                return Ok(());
            }
            let unit = values.dtype().bits() / 8;
            let bytes = values.dense_bytes().unwrap_or_default();
            let other = default.dense_bytes().unwrap_or_default();
            let mut out = run.allocate(0, values.dtype(), &shape)?;
            for (to, at) in out.as_bytes_mut().chunks_exact_mut(unit).zip(places) {
                to.copy_from_slice(bytes.get(at * unit..(at + 1) * unit).unwrap_or(other));
            }
            run.set(0, out.freeze());
            Ok(())
        })
    }
}
