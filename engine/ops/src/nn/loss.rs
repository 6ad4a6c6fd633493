//! What the losses of classification share: the class of each sample picked, ignored samples, weights of classes,
//! and the reduction to one number.

use crate::ints;
use crate::math::binary::{Binary, DIV, EQUAL, MUL};
use crate::math::cast::Cast;
use crate::math::reduce::Reduce;
use crate::math::unary::Unary;
use crate::math::where_::Where;
use crate::tensor::{
    gather::Gather, gather_elements::GatherElements, squeeze::Squeeze, unsqueeze::Unsqueeze,
};
use oxidane_graph::{Build, Dims, InferCtx, OpError, ShownDims, Type, Unknown, ValueId};
use oxidane_kernels::Function;
use oxidane_kernels::reduce::Reduction as Kind;
use oxidane_tensor::{DType, Tensor};

/// What becomes of the losses of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    None,
    Sum,
    /// Their sum over the sum of their weights.
    Mean,
}

impl Reduction {
    /// From the attribute `reduction`.
    ///
    /// # Errors
    /// When it is another word.
    pub(crate) fn new(name: &str) -> Result<Reduction, OpError> {
        match name {
            "none" => Ok(Reduction::None),
            "sum" => Ok(Reduction::Sum),
            "mean" => Ok(Reduction::Mean),
            other => Err(OpError::new(format!(
                "attribute `reduction` is `{other}`, but must be none, sum or mean"
            ))),
        }
    }
}

/// Sets the type of output 0, the loss of scores (input 0) and classes (input 1).
///
/// # Errors
/// When the shapes are known not to fit.
pub(crate) fn infer_loss(ctx: &mut InferCtx<'_>, reduction: Reduction) -> Result<(), Unknown> {
    let dtype = ctx.dtype(0)?;
    let samples = |scores: &[oxidane_graph::Dim]| -> Dims {
        scores.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, &d)| d).collect()
    };
    if let Some(scores) = ctx.shape(0)
        && scores.len() < 2
    {
        return Err(Unknown::wrong(format!(
            "the scores {} must have a batch and classes",
            ShownDims(scores)
        )));
    }
    let shape = match (ctx.shape(0), ctx.shape(1)) {
        (Some(scores), Some(classes)) => {
            let from = samples(scores);
            let met = Type::meet(
                &Type::tensor(dtype, from.iter().copied()),
                &Type::tensor(dtype, classes.iter().copied()),
            );
            let met = met.map_err(|_| {
                OpError::new(format!(
                    "classes {} do not fit scores {}; they must have the same shape without the scores' axis 1",
                    ShownDims(classes),
                    ShownDims(scores)
                ))
            })?;
            met.shape().map(Dims::from_slice)
        }
        (Some(scores), None) => Some(samples(scores)),
        (None, Some(classes)) => Some(Dims::from_slice(classes)),
        (None, None) => None,
    };
    match (reduction, shape) {
        (Reduction::None, Some(shape)) => ctx.set_tensor(0, dtype, shape),
        (Reduction::None, None) => ctx.set_unranked(0, dtype),
        _ => ctx.set_tensor(0, dtype, []),
    }
    Ok(())
}

/// The loss of logarithms of shares `logs` of shape `[N, C, d...]`, of classes `[N, d...]`.
///
/// # Errors
/// When the shapes do not fit, or a class that is not ignored does not exist.
pub(crate) fn negative_log_likelihood(
    (logs, shape): (&[f64], &[usize]),
    classes: &Tensor,
    weights: Option<&Tensor>,
    ignored: Option<i64>,
    reduction: Reduction,
    dtype: DType,
) -> Result<Tensor, OpError> {
    let fits = shape.len() >= 2
        && classes.rank() + 1 == shape.len()
        && classes.shape()[0] == shape[0]
        && classes.shape()[1..] == shape[2..];
    if !fits {
        return Err(OpError::new(format!(
            "classes {:?} do not fit scores {shape:?}; they must have the same shape without the scores' axis 1",
            classes.shape()
        )));
    }
    let count = shape[1];
    let inner: usize = shape[2..].iter().product();
    let weights = weights.map(Tensor::to_f64s).transpose()?;
    if let Some(weights) = &weights
        && weights.len() != count
    {
        return Err(OpError::new(format!("there are {} weights for {count} classes", weights.len())));
    }
    let mut losses = Vec::with_capacity(classes.len());
    let (mut sum, mut total) = (0.0, 0.0);
    for (at, class) in classes.to_i64s()?.into_iter().enumerate() {
        if Some(class) == ignored {
            losses.push(0.0);
            continue;
        }
        let known = usize::try_from(class).ok().filter(|&c| c < count).ok_or_else(|| {
            OpError::new(format!("sample {at} is of class {class}, but there are {count} classes"))
                .help("give classes from 0, or set ignore_index to the number that stands for none")
        })?;
        let (batch, place) = (at / inner, at % inner);
        let weight = weights.as_ref().map_or(1.0, |w| w[known]);
        let loss = -logs[(batch * count + known) * inner + place] * weight;
        sum += loss;
        total += weight;
        losses.push(loss);
    }
    Ok(match reduction {
        Reduction::None => Tensor::from_f64s(dtype, classes.shape(), &losses)?,
        Reduction::Sum => Tensor::from_f64s(dtype, &[], &[sum])?,
        Reduction::Mean => Tensor::from_f64s(dtype, &[], &[sum / total])?,
    })
}

/// As [`negative_log_likelihood`], in standard operators; `None` where the element type is not known.
///
/// # Errors
/// When there is no memory for a constant.
pub(crate) fn expand(
    build: &mut Build<'_>,
    logs: ValueId,
    classes: ValueId,
    weights: Option<ValueId>,
    ignored: Option<i64>,
    reduction: Reduction,
) -> Result<Option<ValueId>, OpError> {
    let Some(dtype) = build.ty(logs).and_then(Type::dtype) else { return Ok(None) };
    let number = |build: &mut Build<'_>, value: f64| -> Result<ValueId, OpError> {
        Ok(build.constant(Tensor::from_f64s(dtype, &[], &[value])?))
    };
    let to = DType::I64;
    let mut class = build.add(Cast::new(to), &[classes]);
    let mut left_out = None;
    if let Some(ignored) = ignored {
        let ignored = build.constant(Tensor::scalar(ignored));
        let mask = build.add(Binary::of(&EQUAL), &[class, ignored]);
        let first = build.constant(Tensor::scalar(0i64));
        class = build.add(Where {}, &[mask, first, class]);
        left_out = Some(mask);
    }
    let axis = build.constant(ints(&[1], &[1]));
    let index = build.add(Unsqueeze {}, &[class, axis]);
    let picked = build.add(GatherElements { axis: 1 }, &[logs, index]);
    let picked = build.add(Squeeze {}, &[picked, axis]);
    let mut loss = build.add(Unary::new(Function::Neg)?, &[picked]);
    let mut weight = weights.map(|w| build.add(Gather { axis: 0 }, &[w, class]));
    if let Some(weight) = weight {
        loss = build.add(Binary::of(&MUL), &[loss, weight]);
    }
    if let Some(mask) = left_out {
        let zero = number(build, 0.0)?;
        let one = number(build, 1.0)?;
        loss = build.add(Where {}, &[mask, zero, loss]);
        weight = Some(build.add(Where {}, &[mask, zero, weight.unwrap_or(one)]));
    }
    Ok(Some(match (reduction, weight) {
        (Reduction::None, _) => loss,
        (Reduction::Sum, _) => build.add(Reduce::new(Kind::Sum, false), &[loss]),
        (Reduction::Mean, None) => build.add(Reduce::new(Kind::Mean, false), &[loss]),
        (Reduction::Mean, Some(weight)) => {
            let sum = build.add(Reduce::new(Kind::Sum, false), &[loss]);
            let total = build.add(Reduce::new(Kind::Sum, false), &[weight]);
            build.add(Binary::of(&DIV), &[sum, total])
        }
    }))
}
