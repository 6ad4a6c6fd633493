//! [CastMap](https://onnx.ai/onnx/operators/onnx_aionnxml_CastMap.html): the values of a map as a tensor.

use super::DOMAIN;
use crate::{Case, Form, Room, attributes, floats, ints, of_room, strings, types};
use oxidane_graph::{Call, Dim, InferCtx, Kernel, Op, OpError, Param, Signature, Unknown, kernel, shared};
use oxidane_tensor::{CastRules, DType, Datum, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

attributes! {
    /// The values in the order of their keys, as `[1, C]`.
    pub struct CastMap {
        /// The element type of the result: `TO_FLOAT`, `TO_STRING` or `TO_INT64`.
        cast_to: String = "TO_FLOAT".to_owned(),
        /// `DENSE` puts the values one after the other, `SPARSE` at the place that the key says.
        map_form: String = "DENSE".to_owned(),
        /// The number of places of the sparse form; what has no key is zero there, or the text `0.f`.
        max_map: i64 = 1,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[Param::one("X", types::CASTABLE_MAPS, "T1")],
    outputs: &[Param::one("Y", types::MAP_CAST, "T2")],
};

/// The room of CastMap.
pub static ROOM: Room = Room {
    domain: DOMAIN,
    name: "CastMap",
    since: &[1],
    signature: &SIGNATURE,
    read: |a| Ok(shared(CastMap::read(a)?)),
    steps: &[],
    cases: || {
        crate::with_cases!();
        let op = |to: &str, form: &str, max_map| CastMap {
            cast_to: to.to_owned(),
            map_form: form.to_owned(),
            max_map,
        };
        let map = |keys: &[i64], values: Vec<Tensor>| Datum::Map {
            keys: ints(&[keys.len()], keys),
            values: Arc::new(values.into_iter().map(Datum::from).collect()),
        };
        let numbers = || map(&[3, 0], vec![Tensor::scalar(2.5f32), Tensor::scalar(-1.0f32)]);
        let words = || map(&[1, 2], vec![strings(&[], &["4"]), strings(&[], &["-2"])]);
        vec![
            // ONNX Runtime's rules.
            Case::new("dense", op("TO_FLOAT", "DENSE", 1))
                .input(numbers())
                .expect(floats(&[1, 2], &[-1.0, 2.5])),
            Case::new("sparse", op("TO_INT64", "SPARSE", 5))
                .input(numbers())
                .expect(ints(&[1, 5], &[-1, 0, 0, 2, 0])),
            Case::new("text", op("TO_STRING", "SPARSE", 2))
                .input(numbers())
                .expect(strings(&[1, 2], &["-1.000000", "0.f"])),
            Case::new("from text", op("TO_FLOAT", "DENSE", 1))
                .input(words())
                .expect(floats(&[1, 2], &[4.0, -2.0])),
            Case::new("integers from text", op("TO_INT64", "DENSE", 1))
                .input(words())
                .expect(ints(&[1, 2], &[4, -2])),
            Case::new("text from text", op("TO_STRING", "DENSE", 1))
                .input(words())
                .expect(strings(&[1, 2], &["4", "-2"])),
        ]
    },
};

impl CastMap {
    fn target(&self) -> Result<DType, OpError> {
        match self.cast_to.as_str() {
            "TO_FLOAT" => Ok(DType::F32),
            "TO_STRING" => Ok(DType::String),
            "TO_INT64" => Ok(DType::I64),
            other => Err(OpError::new(format!("cast_to is `{other}`"))
                .help("it may be TO_FLOAT, TO_STRING or TO_INT64")),
        }
    }

    /// The number of places of the sparse form.
    fn places(&self) -> Result<Option<usize>, OpError> {
        match self.map_form.as_str() {
            "DENSE" => Ok(None),
            "SPARSE" => match usize::try_from(self.max_map) {
                Ok(places) if places > 0 => Ok(Some(places)),
                _ => Err(OpError::new(format!("max_map is {}, but must be positive", self.max_map))),
            },
            other => Err(OpError::new(format!("map_form is `{other}`")).help("it may be DENSE or SPARSE")),
        }
    }

    /// A value of the map as a tensor of one element of the target.
    fn cast(&self, value: &Datum, target: DType) -> Result<Tensor, OpError> {
        let value = value.as_tensor().filter(|v| v.len() == 1);
        let value = value.ok_or_else(|| OpError::new("a value of the map is no single element"))?;
        let value = value.reshape(&[1])?;
        if target == DType::String && value.dtype() != DType::String {
            let text = format!("{:.6}", value.to_f64s()?[0]);
            return Ok(Tensor::from_strings(&[1], vec![Arc::from(text)])?);
        }
        Ok(value.cast(target, CastRules::default())?)
    }
}

impl Op for CastMap {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let columns = match self.places()? {
            Some(places) => Dim::from(places),
            None => ctx.unknown_dim(0, 1),
        };
        ctx.set_tensor(0, self.target()?, [Dim::known(1), columns]);
        Ok(())
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let op = self.clone();
        let (target, places) = (op.target()?, op.places()?);
        kernel(move |run| {
            let Datum::Map { keys, values } = run.datum(0)? else {
                return Err(OpError::new("the input is no map"));
            };
            let sorted: BTreeMap<i64, &Datum> = keys.to_i64s()?.into_iter().zip(values.iter()).collect();
            let cast: Vec<(i64, Tensor)> = sorted
                .into_iter()
                .map(|(key, value)| Ok((key, op.cast(value, target)?)))
                .collect::<Result<_, OpError>>()?;
            if let (Some(_), Some((key, _))) = (places, cast.first())
                && *key < 0
            {
                return Err(OpError::new(format!("the key {key} is no place: it is negative")));
            }
            let columns = places.unwrap_or(cast.len());
            // Keys beyond the last place are left out.
            let placed = cast
                .iter()
                .enumerate()
                .map(|(i, (key, value))| (if places.is_some() { *key as usize } else { i }, value))
                .filter(|(at, _)| *at < columns);
            let shape = [1, columns];
            match target {
                DType::String => {
                    let mut out = crate::tensor::moves::empty_strings(run, 0, &shape)?;
                    if places.is_some() {
                        out.fill(Arc::from("0.f"));
                    }
                    for (at, value) in placed {
                        out[at] = crate::text::texts(value)?[0].clone();
                    }
                    run.set(0, Tensor::from_strings(&shape, out)?);
                }
                DType::F32 => run.write::<f32>(0, &shape, |out| {
                    out.fill(0.0);
                    for (at, value) in placed {
                        out[at] = value.values::<f32>()?[0];
                    }
                    Ok(())
                })?,
                _ => run.write::<i64>(0, &shape, |out| {
                    out.fill(0);
                    for (at, value) in placed {
                        out[at] = value.values::<i64>()?[0];
                    }
                    Ok(())
                })?,
            }
            Ok(())
        })
    }
}
