//! Video sources, decoding to I420, resizing and JPEG: used by the producer and by offline analysis.
//!
//! [`open`] turns a camera's source address into a [`Source`], whose [`Source::next`] gives [`Captured`] pictures with
//! their times. [`Resizer`] makes the small tight I420 that is analysed, [`Jpeg`] the picture that people watch.

mod address;
mod allow;
mod convert;
mod foreign_logs;
mod jpeg;
mod jpeg_decoder;
mod picture;
mod resize;
mod source;
pub mod synthetic;

pub use allow::{AllowConfig, AllowList, Denied};
pub use foreign_logs::heed_no_debug_variables;
pub use jpeg::{Jpeg, JpegError, JpegPicture};
pub use jpeg_decoder::{JpegDecoder, JpegUnreadable};
pub use picture::{Picture, PictureError, Plane};
pub use resize::{ResizeError, Resizer, fit};
pub use source::{
    Captured, Damage, DamageFilter, OpenOptions, Source, SourceCounts, SourceError, SourceInfo, TimeRepair,
    TimeRepairs, Verdict, open,
};
