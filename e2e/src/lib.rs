//! Whole-system tests with the real binaries, and what they need: clips and models made on the spot, servers, and comparisons.
//!
//! The tests themselves are in `tests/`, one file a promise. They use what `./dev setup test` fetches.

pub mod addresses;
pub mod chaos;
pub mod clips;
pub mod fuzz;
pub mod http;
pub mod monitor;
pub mod onnx;
pub mod otlp;
pub mod programs;
pub mod results;
pub mod rtsp;
pub mod slow_link;
pub mod system;
