//! Images and what is found in them: sampling, regions of interest, boxes, decoding.

pub mod affine_grid;
pub mod center_crop_pad;
pub mod col2im;
mod complex_parts;
pub mod grid_sample;
pub mod image_decoder;
pub mod max_roi_pool;
pub mod non_max_suppression;
pub mod roi_align;
