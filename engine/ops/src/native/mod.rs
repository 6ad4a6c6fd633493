//! Operators of the domain `oxidane`: what a graph that is about to run is written in, such as convolutions on channels in
//! blocks of 16 as [`oxidane_kernels::blocked`] has them. Each expands into standard operators; no file has them.

pub mod activation;
pub mod block;
pub mod conv;
pub mod global_average_pool;
pub mod pool;
pub mod product;
pub mod quantized_conv;
pub mod quantized_max_pool;
pub mod unblock;

use oxidane_graph::{Dim, OpError, ShownDims};

/// The domain.
pub const DOMAIN: &str = "oxidane";

/// Channels of a block.
pub(crate) const BLOCK: usize = 16;

/// Blocks that hold so many channels.
pub(crate) fn blocks(channels: Dim) -> Dim {
    channels.ceil_div(Dim::from(BLOCK))
}

/// The batch, the blocks and the spatial sizes of a blocked shape.
pub(crate) fn parts(shape: &[Dim]) -> Result<(Dim, Dim, &[Dim]), OpError> {
    match shape {
        [batch, blocks, spatial @ .., lanes] if lanes.as_known().is_none_or(|n| n == BLOCK as i64) => {
            Ok((*batch, *blocks, spatial))
        }
        _ => Err(OpError::new(format!(
            "a blocked tensor has a batch, blocks, spatial sizes and {BLOCK} lanes, not {}",
            ShownDims(shape)
        ))),
    }
}

/// The batch, the blocks and the spatial sizes of a blocked tensor.
pub(crate) fn sizes(shape: &[usize]) -> Result<(usize, usize, &[usize]), OpError> {
    match shape {
        [batch, blocks, spatial @ .., BLOCK] => Ok((*batch, *blocks, spatial)),
        _ => Err(OpError::new(format!(
            "a blocked tensor has a batch, blocks, spatial sizes and {BLOCK} lanes, not {shape:?}"
        ))),
    }
}
