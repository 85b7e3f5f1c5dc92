//! Reads frames, detects, tracks, measures speed, commits results; and the offline analyze, track and speed commands.

pub mod camera_analysis;
pub mod commands;
pub mod infer;
pub mod model;
pub mod postprocess;
pub mod preprocess;

mod commit;
mod config;
mod journey;
mod leased;
mod read;
mod run;

pub use config::Config;
pub use run::run;
