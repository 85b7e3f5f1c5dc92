//! Writes the synthetic scene as a video file, with its truth as JSON Lines.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use peregrine_media::synthetic::{Scene, SceneConfig, record};

/// Writes a rendered road scene as a video, with the exact positions and speeds of everything in it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The scene, as after `synthetic:` in a source's address.
    #[arg(long, default_value = "road?w=768&h=432&fps=25&vehicles=8&people=2&seed=1")]
    scene: String,
    /// The video to write; its ending says the container.
    #[arg(long)]
    out: PathBuf,
    /// The truth to write: first the scene and its calibration, then one line a frame.
    #[arg(long)]
    truth: Option<PathBuf>,
    /// How many frames.
    #[arg(long, default_value_t = 250)]
    frames: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let parsed = SceneConfig::parse(&arguments.scene).map_err(anyhow::Error::msg)?;
    let scene = Scene::new(SceneConfig { frames: arguments.frames, ..parsed }).map_err(anyhow::Error::msg)?;
    record(&scene, &arguments.out, arguments.truth.as_deref())
        .with_context(|| format!("cannot write {}", arguments.out.display()))
}
