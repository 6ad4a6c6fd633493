//! [GroupNormalization](https://onnx.ai/onnx/operators/onnx__GroupNormalization.html): groups of channels of each
//! item brought to mean 0 and variance 1.

use super::instance_normalization::normalize;
use crate::formula::Formula;
use crate::math::by_type::by_type;
use crate::tensor::{expand::Expand, reshape::Reshape};
use crate::{Case, Draft, Form, Room, Step, attributes, floats, ints, noise, noise_of, of_room, types};
use oxidane_graph::{
    Build, Call, InferCtx, Kernel, NodeId, Op, OpError, Param, Signature, Unknown, ValueId, kernel, shared,
};
use oxidane_tensor::DType;

attributes! {
    /// `(x - mean) / sqrt(variance + epsilon)` by the statistics of each group of channels of each item, times the
    /// scale of the channel plus its bias.
    pub struct GroupNormalization {
        epsilon: f32 = 1e-5,
        num_groups: i64,
        /// The type that statistics are formed in; the kernel never uses a smaller one than `float`.
        stash_type: i64 = 1,
    }
}

static SIGNATURE: Signature = Signature {
    inputs: &[
        Param::one("X", types::FLOAT, "T"),
        Param::one("scale", types::FLOAT, "T"),
        Param::one("bias", types::FLOAT, "T"),
    ],
    outputs: &[Param::one("Y", types::FLOAT, "T")],
};

/// The room of GroupNormalization.
pub static ROOM: Room = Room {
    domain: "",
    name: "GroupNormalization",
    since: &[18, 21],
    signature: &SIGNATURE,
    read: |a| Ok(shared(GroupNormalization::read(a)?)),
    steps: &[Step { to: 21, up: by_channel, down: by_group }],
    cases: || {
        crate::with_cases!();
        let op = |num_groups| GroupNormalization { epsilon: 1e-5, num_groups, stash_type: 1 };
        let mut cases = vec![
            // By hand: the groups have the means 1 and 5 and the variances 1 and 4.
            Case::new("two", GroupNormalization { epsilon: 0.0, ..op(2) })
                .input(floats(&[1, 4, 1], &[0.0, 2.0, 3.0, 7.0]))
                .input(floats(&[4], &[1.0, 2.0, 3.0, 4.0]))
                .input(floats(&[4], &[0.0, 1.0, 0.0, -1.0]))
                .expect(floats(&[1, 4, 1], &[-1.0, 3.0, -3.0, 3.0])),
            Case::new("one", op(1)).input(noise(&[2, 4, 3], 1)).input(noise(&[4], 2)).input(noise(&[4], 3)),
        ];
        for (name, dtype) in [
            ("float", DType::F32),
            ("double", DType::F64),
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
        ] {
            cases.push(
                Case::new(name, op(3))
                    .input(noise_of(dtype, &[2, 6, 4, 5], 4))
                    .input(noise_of(dtype, &[6], 5))
                    .input(noise_of(dtype, &[6], 6)),
            );
        }
        cases
    },
};

/// Opset 18 has a scale and a bias for each group: each becomes that of the group's channels.
fn by_channel(draft: &mut Draft<'_>) -> Result<(), OpError> {
    let groups = draft.attributes.value::<i64>("num_groups")?.filter(|&g| g > 0).unwrap_or(1);
    let channels = draft.ty(0).and_then(|t| t.shape()?.get(1)?.as_known()).ok_or_else(|| {
        OpError::unsupported("the number of channels is not known, which opset 18's scale of groups needs")
            .help("declare the input's shape, or raise the model to opset 21")
    })?;
    for slot in [1, 2] {
        let Some(value) = draft.input(slot) else { continue };
        let column = draft.add_constant(ints(&[2], &[groups, 1]));
        let wide = draft.add_constant(ints(&[2], &[groups, channels / groups]));
        let flat = draft.add_constant(ints(&[1], &[channels]));
        let value = draft.add(Reshape { allowzero: false }, &[value, column]);
        let value = draft.add(Expand {}, &[value, wide]);
        let value = draft.add(Reshape { allowzero: false }, &[value, flat]);
        draft.set_input(slot, Some(value));
    }
    Ok(())
}

/// Back to a scale and a bias for each group, where they are constant and alike within each.
fn by_group(draft: &mut Draft<'_>) -> Result<(), OpError> {
    draft.drop_default("stash_type", 1i64)?;
    let groups = draft.attributes.value::<i64>("num_groups")?.unwrap_or(1);
    for slot in [1, 2] {
        let fault = |why: &str| {
            OpError::new(format!("input {slot} {why}, but this opset wants one value a group"))
                .help("export to opset 21 or later")
        };
        let all = draft.constant(slot).ok_or_else(|| fault("is computed"))?;
        let count = usize::try_from(groups)
            .ok()
            .filter(|&g| g > 0 && all.rank() == 1 && all.len().is_multiple_of(g))
            .ok_or_else(|| fault("does not divide into the groups"))?;
        let rows = all.reshape(&[count, all.len() / count])?;
        let values = rows.to_f64s()?;
        let width = (all.len() / count).max(1);
        if values.chunks(width).any(|row| row.iter().any(|v| v.to_bits() != row[0].to_bits())) {
            return Err(fault("differs within a group"));
        }
        let first = rows.slice_axis(1, 0, 1.min(width), 1)?.to_dense()?.reshape(&[count])?;
        let first = draft.add_constant(first);
        draft.set_input(slot, Some(first));
    }
    Ok(())
}

impl Op for GroupNormalization {
    of_room!();

    fn infer(&self, ctx: &mut InferCtx<'_>) -> Result<(), Unknown> {
        let x = ctx.known_ty(0)?.clone();
        if let Some(channels) = x.shape().and_then(|s| s.get(1)?.as_known())
            && (self.num_groups < 1 || channels % self.num_groups != 0)
        {
            return Err(Unknown::wrong(format!(
                "{channels} channels do not divide into {} groups",
                self.num_groups
            )));
        }
        ctx.set(0, x);
        Ok(())
    }

    fn expand(&self, build: &mut Build<'_>, node: NodeId) -> Result<Option<Vec<ValueId>>, OpError> {
        let f = &mut Formula::new(build, node);
        let (x, scale, bias) = (f.need(0)?, f.need(1)?, f.need(2)?);
        let (dtype, rank) = (f.dtype(x)?, f.rank(x)?);
        let wide = f.widened(x)?;
        let own = f.dtype(wide)?;
        let groups = f.reshape(wide, &[0, self.num_groups, -1])?;
        let axis = f.ints(&[2])?;
        let mean = f.op("ReduceMean", &[groups, axis])?;
        let off = f.op("Sub", &[groups, mean])?;
        let square = f.op("Mul", &[off, off])?;
        let variance = f.op("ReduceMean", &[square, axis])?;
        let epsilon = f.number(self.epsilon.into(), wide)?;
        let variance = f.op("Add", &[variance, epsilon])?;
        let deviation = f.op("Sqrt", &[variance])?;
        let normal = f.op("Div", &[off, deviation])?;
        let normal = f.reshaped_like(normal, x)?;
        let mut column = vec![1i64; rank.max(2) - 1];
        column[0] = -1;
        let (scale, bias) = (f.cast(scale, own)?, f.cast(bias, own)?);
        let (scale, bias) = (f.reshape(scale, &column)?, f.reshape(bias, &column)?);
        let y = f.op("Mul", &[normal, scale])?;
        let y = f.op("Add", &[y, bias])?;
        Ok(Some(vec![f.cast(y, dtype)?]))
    }

    fn kernel(&self, _: &Call<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let epsilon = self.epsilon;
        let groups = usize::try_from(self.num_groups).map_err(|_| {
            OpError::new(format!("attribute `num_groups` is {}, but must be positive", self.num_groups))
        })?;
        kernel(
            move |run| by_type!(run.tensor(0)?.dtype(), float T => normalize::<T>(run, Some(groups), epsilon)),
        )
    }
}
