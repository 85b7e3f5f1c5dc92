//! The clip that is measured: the demo clip, encoded anew at 1080p with pinned arguments.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

/// Makes the 1080p clip in `folder`, unless it is there.
pub(crate) fn full_hd(demo: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let clip = folder.join("bench-1080p.mp4");
    if clip.is_file() {
        return Ok(clip);
    }
    ensure!(demo.is_file(), "the demo clip is not there ({}): ./dev setup fetches it", demo.display());
    eprintln!("encoding the 1080p clip (a minute or two, once) …");
    // Under another name until it is whole.
    let unfinished = folder.join("bench-1080p.unfinished.mp4");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y", "-i"])
        .arg(demo)
        .args(["-an", "-vf", "scale=1920:1080:flags=bicubic,setsar=1", "-pix_fmt", "yuv420p"])
        .args(["-c:v", "libx264", "-preset", "fast", "-crf", "20", "-g", "50", "-threads", "2"])
        .arg(&unfinished)
        .status()
        .context("ffmpeg cannot be started: ./dev bench installs it")?;
    ensure!(status.success(), "ffmpeg could not encode the 1080p clip");
    std::fs::rename(&unfinished, &clip).with_context(|| format!("cannot name {}", clip.display()))?;
    Ok(clip)
}
