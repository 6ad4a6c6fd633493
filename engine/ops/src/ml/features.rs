//! The input of most operators here: rows of features, `[N, C]`, or a single row, `[C]`.

use oxidane_graph::{Dim, InferCtx, OpError, Run, ShownDims, Unknown};
use oxidane_tensor::{CastRules, DType, Tensor};

/// The rows and columns of a shape.
///
/// # Errors
/// When it has another rank.
pub(crate) fn sizes(shape: &[usize]) -> Result<(usize, usize), OpError> {
    match *shape {
        [columns] => Ok((1, columns)),
        [rows, columns] => Ok((rows, columns)),
        _ => Err(OpError::new(format!("the input is {shape:?}, but must be [N,C] or [C]"))),
    }
}

/// The number of rows of the first input while types are worked out; `None` where its rank is not known.
pub(crate) fn rows(ctx: &InferCtx<'_>) -> Result<Option<Dim>, Unknown> {
    match ctx.shape(0) {
        None => Ok(None),
        Some([_]) => Ok(Some(Dim::known(1))),
        Some(&[rows, _]) => Ok(Some(rows)),
        Some(other) => Err(Unknown::wrong(format!(
            "{} is {}, but must be [N,C] or [C]",
            ctx.called(0),
            ShownDims(other)
        ))),
    }
}

/// Sets output `output` to a tensor of a row for each row of the first input.
pub(crate) fn set_rows(
    ctx: &mut InferCtx<'_>,
    output: usize,
    dtype: DType,
    columns: Option<Dim>,
) -> Result<(), Unknown> {
    let rows = rows(ctx)?.unwrap_or_else(|| ctx.unknown_dim(output, 0));
    let columns = columns.unwrap_or_else(|| ctx.unknown_dim(output, 1));
    ctx.set_tensor(output, dtype, [rows, columns]);
    Ok(())
}

/// The elements of a tensor input as `dtype`, dense.
pub(crate) fn cast(run: &Run<'_>, input: usize, dtype: DType) -> Result<Tensor, OpError> {
    Ok(run.tensor(input)?.cast(dtype, CastRules::default())?.to_dense()?)
}
