//! placeholder
/// x
pub struct Conv;
/// x
pub struct Side;
