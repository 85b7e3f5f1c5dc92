//! `processor speed`: tracks of image points to one speed a track.

use std::path::PathBuf;

/// Measures the speed of each track of a file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON with `fps`, `homography_px_to_m` and `tracks` of `id`, `frames`, `x`, `y` (pixels).
    #[arg(long, value_name = "FILE")]
    pub tracks: PathBuf,
    /// Where to write one JSON object a track, one a line: `id`, `speed_kmh`, `std_error_kmh`.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, or is not of this form.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let _ = args;
    anyhow::bail!("not built yet")
}
