//! Attention in the operators that came before it.

use super::attention::Attention;
use crate::formula::{Formula, plain};
use oxidane_graph::{Dim, OpError, Type, ValueId};
use oxidane_tensor::DType;

/// Some sizes of a value, as a vector.
fn sizes(f: &mut Formula<'_, '_>, value: ValueId, start: i64, end: i64) -> Result<ValueId, OpError> {
    f.with("Shape", plain().with("start", start).with("end", end), &[value])
}

/// One size of a value, as a scalar.
fn size(f: &mut Formula<'_, '_>, value: ValueId, axis: i64) -> Result<ValueId, OpError> {
    let size = sizes(f, value, axis, axis + 1)?;
    let scalar = f.ints(&[])?;
    f.op("Reshape", &[size, scalar])
}

/// A tensor of heads as (batch, head, row, element).
fn split(f: &mut Formula<'_, '_>, value: ValueId, heads: i64) -> Result<ValueId, OpError> {
    match f.rank(value)? {
        3 => {
            let apart = f.reshape(value, &[0, 0, heads, -1])?;
            f.transpose(apart, &[0, 2, 1, 3])
        }
        _ => Ok(value),
    }
}

/// Of a tensor of rank 3, whose heads the attribute counts, or 4: how many heads it has, and of which size.
fn heads_of(f: &mut Formula<'_, '_>, value: ValueId, attribute: Option<i64>) -> Option<(i64, Option<i64>)> {
    match f.build().ty(value)?.shape()? {
        [_, heads, _, size] => Some((heads.as_known()?, size.as_known())),
        [_, _, hidden] => {
            let heads = attribute.filter(|&h| h > 0)?;
            Some((heads, hidden.as_known().map(|n| n / heads)))
        }
        _ => None,
    }
}

/// Where the query's place among the keys begins: behind the past, or so that the last query is the last key.
fn offset(f: &mut Formula<'_, '_>, queries: ValueId) -> Result<Option<ValueId>, OpError> {
    if let Some(past) = f.input(4) {
        return Ok(Some(size(f, past, 2)?));
    }
    let Some(valid) = f.input(6) else { return Ok(None) };
    let valid = f.reshape(valid, &[-1, 1, 1, 1])?;
    Ok(Some(f.op("Sub", &[valid, queries])?))
}

/// Which keys each query sees, to be broadcast to the scores; none where it sees all.
fn visible(
    op: &Attention,
    f: &mut Formula<'_, '_>,
    query: ValueId,
    key: ValueId,
) -> Result<Option<ValueId>, OpError> {
    let left = Some(op.left_window_size).filter(|&n| n >= 0);
    let right = Some(op.right_window_size).filter(|&n| n >= 0);
    let behind = [op.is_causal.then_some(0), right].into_iter().flatten().min();
    let keys = size(f, key, 2)?;
    let columns = f.count(keys)?;
    let mut all: Option<ValueId> = None;
    let mut and = |f: &mut Formula<'_, '_>, more: ValueId| -> Result<(), OpError> {
        all = Some(match all {
            None => more,
            Some(all) => f.op("And", &[all, more])?,
        });
        Ok(())
    };
    if let Some(valid) = f.input(6) {
        let valid = f.reshape(valid, &[-1, 1, 1, 1])?;
        let more = f.op("Less", &[columns, valid])?;
        and(f, more)?;
    }
    if left.is_some() || behind.is_some() {
        let queries = size(f, query, 2)?;
        let rows = f.count(queries)?;
        let mut rows = f.reshape(rows, &[-1, 1])?;
        if let Some(offset) = offset(f, queries)? {
            rows = f.op("Add", &[rows, offset])?;
        }
        let way = f.op("Sub", &[columns, rows])?;
        if let Some(left) = left {
            let least = f.scalar(-left as f64, DType::I64)?;
            let more = f.op("GreaterOrEqual", &[way, least])?;
            and(f, more)?;
        }
        if let Some(behind) = behind {
            let most = f.scalar(behind as f64, DType::I64)?;
            let more = f.op("LessOrEqual", &[way, most])?;
            and(f, more)?;
        }
    }
    Ok(all)
}

/// The mask as numbers to add for all keys; those that it does not cover are hidden.
fn bias(f: &mut Formula<'_, '_>, mask: ValueId, key: ValueId, dtype: DType) -> Result<ValueId, OpError> {
    let hidden = f.scalar(f64::NEG_INFINITY, dtype)?;
    let mask = match f.dtype(mask)? {
        DType::Bool => {
            let zero = f.scalar(0.0, dtype)?;
            f.op("Where", &[mask, zero, hidden])?
        }
        _ => f.cast(mask, dtype)?,
    };
    let last = |f: &mut Formula<'_, '_>, value, axis: usize| -> Option<Dim> {
        f.build().ty(value).and_then(Type::shape)?.iter().rev().nth(axis).copied()
    };
    if f.rank(mask)? == 0 || last(f, mask, 0).is_some_and(|own| last(f, key, 1) == Some(own)) {
        return Ok(mask);
    }
    let keys = sizes(f, key, 2, 3)?;
    let own = sizes(f, mask, -1, i64::MAX)?;
    let missing = f.op("Sub", &[keys, own])?;
    let (zero, axis) = (f.ints(&[0])?, f.ints(&[-1])?);
    let pads = f.concat(&[zero, missing], 0)?;
    f.op("Pad", &[mask, pads, hidden, axis])
}

/// The four outputs; none where ranks, types or numbers of heads are not known.
pub(super) fn expand(op: &Attention, f: &mut Formula<'_, '_>) -> Result<Option<Vec<ValueId>>, OpError> {
    let (query, key, value) = (f.need(0)?, f.need(1)?, f.need(2)?);
    let (Ok(dtype), Some((heads, head_size)), Some((kv_heads, _)), Some((value_heads, _))) = (
        f.dtype(query),
        heads_of(f, query, op.q_num_heads),
        heads_of(f, key, op.kv_num_heads),
        heads_of(f, value, op.kv_num_heads),
    ) else {
        return Ok(None);
    };
    if let Some(mask) = f.input(3)
        && (f.rank(mask).is_err() || f.dtype(mask).is_err())
    {
        return Ok(None);
    }
    if kv_heads < 1 || heads % kv_heads != 0 || value_heads != kv_heads {
        return Err(OpError::new(format!(
            "{heads} heads of queries do not divide among {kv_heads} of keys and {value_heads} of values"
        )));
    }
    let scale = match (op.scale, head_size) {
        (Some(scale), _) => f64::from(scale),
        (None, Some(size)) => 1.0 / (size as f64).sqrt(),
        (None, None) => return Ok(None),
    };
    let flat = f.rank(query)? == 3;
    let mut query = split(f, query, heads)?;
    let [mut key, mut value] = [split(f, key, kv_heads)?, split(f, value, kv_heads)?];
    if let (Some(past_key), Some(past_value)) = (f.input(4), f.input(5)) {
        key = f.concat(&[past_key, key], 2)?;
        value = f.concat(&[past_value, value], 2)?;
    }
    let (present_key, present_value) = (key, value);
    let seen = visible(op, f, query, key)?;
    let bias = f.input(3).map(|mask| bias(f, mask, key, dtype)).transpose()?;

    // Narrow types keep their range where both sides take the root of the scale.
    let narrow = matches!(dtype, DType::F16 | DType::BF16) && scale >= 0.0;
    let factor = f.scalar(if narrow { scale.sqrt() } else { scale }, dtype)?;
    let query_sizes = sizes(f, query, 0, i64::MAX)?;
    query = f.op("Mul", &[query, factor])?;
    let mut turned = f.turned(key)?;
    if narrow {
        turned = f.op("Mul", &[turned, factor])?;
    }
    // Heads of queries in groups, one for each head of keys.
    let grouped = heads != kv_heads;
    let [first, rows] = [sizes(f, query, 0, 1)?, sizes(f, query, 2, 3)?];
    let [kv, each] = [f.ints(&[kv_heads])?, f.ints(&[heads / kv_heads])?];
    let axis = f.ints(&[2])?;
    if grouped {
        let element = sizes(f, query, 3, 4)?;
        let shape = f.concat(&[first, kv, each, rows, element], 0)?;
        query = f.op("Reshape", &[query, shape])?;
        turned = f.op("Unsqueeze", &[turned, axis])?;
        value = f.op("Unsqueeze", &[value, axis])?;
    }
    let mut scores = f.op("MatMul", &[query, turned])?;
    let keys = sizes(f, key, 2, 3)?;
    if grouped {
        let count = f.ints(&[heads])?;
        let shape = f.concat(&[first, count, rows, keys], 0)?;
        scores = f.op("Reshape", &[scores, shape])?;
    }
    let mut stages = vec![scores];
    if op.softcap > 0.0 {
        let cap = f.scalar(op.softcap.into(), dtype)?;
        let part = f.op("Div", &[scores, cap])?;
        let bent = f.op("Tanh", &[part])?;
        scores = f.op("Mul", &[bent, cap])?;
    }
    stages.push(scores);
    if let Some(bias) = bias {
        scores = f.op("Add", &[scores, bias])?;
    }
    let hidden = f.scalar(f64::NEG_INFINITY, dtype)?;
    if let Some(seen) = seen {
        scores = f.op("Where", &[seen, scores, hidden])?;
    }
    stages.push(scores);
    let precision = op.softmax_precision.unwrap_or(dtype);
    let softmax = |f: &mut Formula<'_, '_>, scores| -> Result<ValueId, OpError> {
        let scores = f.cast(scores, precision)?;
        let shares = f.with("Softmax", plain().with("axis", -1i64), &[scores])?;
        f.cast(shares, dtype)
    };
    let shares = match bias.is_some() || seen.is_some() {
        false => softmax(f, scores)?,
        true => {
            // A query that sees no key takes nothing.
            let last = f.ints(&[-1])?;
            let top = f.op("ReduceMax", &[scores, last])?;
            let blind = f.op("Equal", &[top, hidden])?;
            let zero = f.scalar(0.0, dtype)?;
            let scores = f.op("Where", &[blind, zero, scores])?;
            let shares = softmax(f, scores)?;
            f.op("Where", &[blind, zero, shares])?
        }
    };
    stages.push(shares);
    let mut mixed = shares;
    if grouped {
        let shape = f.concat(&[first, kv, each, rows, keys], 0)?;
        mixed = f.op("Reshape", &[mixed, shape])?;
    }
    mixed = f.op("MatMul", &[mixed, value])?;
    if grouped {
        let before = f.slice(query_sizes, 0, 0, 3)?;
        let element = sizes(f, present_value, 3, 4)?;
        let shape = f.concat(&[before, element], 0)?;
        mixed = f.op("Reshape", &[mixed, shape])?;
    }
    if flat {
        let rows = f.transpose(mixed, &[0, 2, 1, 3])?;
        mixed = f.reshape(rows, &[0, 0, -1])?;
    }
    let stage = usize::try_from(op.qk_matmul_output_mode).ok().and_then(|mode| stages.get(mode).copied());
    let stage = stage.ok_or_else(|| {
        OpError::new(format!("qk_matmul_output_mode is {}, but may be 0 to 3", op.qk_matmul_output_mode))
    })?;
    Ok(Some(vec![mixed, present_key, present_value, stage]))
}
