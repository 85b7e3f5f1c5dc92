//! `processor track`: detections in MOT text to tracks in MOT text.

use std::path::PathBuf;

/// Follows the objects of a file of detections.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Detections, one a line: `frame,-1,left,top,width,height,score,…` (MOTChallenge).
    #[arg(long, value_name = "FILE")]
    pub detections: PathBuf,
    /// The sequence's `seqinfo.ini`: frame rate, length and picture size.
    #[arg(long, value_name = "FILE")]
    pub sequence: PathBuf,
    /// Where to write the tracks, one box a line: `frame,id,left,top,width,height,score,-1,-1,-1`.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, or a line is no detection.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let _ = args;
    anyhow::bail!("not built yet")
}
