//! Reads frames, detects, tracks, measures speed, commits results; and the offline analyze, track and speed commands.

pub mod assignment;
pub mod camera_analysis;
pub mod class_groups;
pub mod commands;
pub mod infer;
pub mod kalman;
pub mod model;
pub mod postprocess;
pub mod preprocess;
pub mod region;
pub mod speed;
pub mod straight_line;
pub mod track;

mod commit;
mod config;
mod drawn;
mod help;
mod journey;
mod leased;
mod offload;
mod packed;
mod read;
mod run;

pub use config::Config;
pub use drawn::{DrawnEvent, DrawnNews, DrawnThing};
pub use run::run;
