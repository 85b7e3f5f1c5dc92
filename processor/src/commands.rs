//! The offline commands: one file each, with its arguments and its `run`.

pub mod analyze;
pub mod speed;
pub mod track;
