//! Control flow, and operators on sequences and optionals.

pub mod batch_scan;
pub mod call;
pub mod concat_from_sequence;
pub mod if_;
pub mod loop_;
pub mod optional;
pub mod optional_get_element;
pub mod optional_has_element;
pub mod scan;
mod sequence;
pub mod sequence_at;
pub mod sequence_construct;
pub mod sequence_empty;
pub mod sequence_erase;
pub mod sequence_insert;
pub mod sequence_length;
pub mod sequence_map;
pub mod split_to_sequence;
