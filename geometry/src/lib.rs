//! From the picture to the ground plane and back: a homography, from points or from a matrix.
//!
//! The processor measures speeds with it, the gateway answers calibrations with it.
//! Picture coordinates are source pixels (pixel centres at half-integers), ground coordinates are metres.

mod homography;
mod polygon;
mod view;

pub use homography::{Calibration, CalibrationError, Homography, Space};
pub use polygon::crosses_itself;
pub use view::{Doubt, PERSON_M, View};
