//! Takes frames from sources and publishes them to Redis: capture, decode, resize, credit, publish.
//!
//! One process hosts many cameras. Each runs on a thread of its own, under a lease, as one loop whose lines are the
//! stages ([`camera`]); beside it a second thread encodes pictures while somebody watches.

mod camera;
mod config;
mod ingest;
mod lookout;
mod pace;
mod preview;
mod publish;
mod reconnecting;
mod report;
mod resize;
mod run;

pub use config::{Config, RawConfig};
pub use run::run;
