//! Video files made on the spot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// A moving test picture, H.264 in MP4, 10 frames a second; no two frames are equal.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub fn test_picture(folder: &Path, name: &str, size: &str, frames: u32) -> Result<PathBuf> {
    let path = folder.join(name);
    let source = format!("testsrc2=size={size}:rate=10,hue=H=0.1*t:b=sin(n/9)");
    let frames = frames.to_string();
    let mut arguments = vec!["-f", "lavfi", "-i", &source, "-frames:v", &frames];
    arguments.extend([
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "10",
        "-bf",
        "0",
    ]);
    ffmpeg(&arguments, &path)?;
    Ok(path)
}

/// As good as noise, which takes a decoder long; H.264 in MP4, 10 frames a second.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub fn noise(folder: &Path, name: &str, size: &str, frames: u32) -> Result<PathBuf> {
    let path = folder.join(name);
    let source = format!("testsrc2=size={size}:rate=10,noise=alls=60:allf=t");
    let frames = frames.to_string();
    let mut arguments = vec!["-f", "lavfi", "-i", &source, "-frames:v", &frames];
    arguments.extend(["-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p"]);
    ffmpeg(&arguments, &path)?;
    Ok(path)
}

/// The first half of a file: an MP4 without its index.
///
/// # Errors
/// When a file cannot be read or written.
pub fn cut_in_half(path: &Path) -> Result<PathBuf> {
    let bytes = fs::read(path)?;
    let cut = path.with_extension("cut.mp4");
    fs::write(&cut, &bytes[..bytes.len() / 2])?;
    Ok(cut)
}

/// An AVI whose stream claims a codec that does not exist.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub fn of_unknown_codec(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("unknown-codec.avi");
    ffmpeg(
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=64x64:rate=10",
            "-frames:v",
            "5",
            "-c:v",
            "mpeg4",
            "-vtag",
            "FMP4",
        ],
        &path,
    )?;
    let mut bytes = fs::read(&path)?;
    for at in 0..bytes.len().saturating_sub(4) {
        if &bytes[at..at + 4] == b"FMP4" {
            bytes[at..at + 4].copy_from_slice(b"QZQZ");
        }
    }
    fs::write(&path, bytes)?;
    Ok(path)
}

/// Every frame of a clip as a numbered PNG in a folder of its own.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub fn as_images(clip: &Path) -> Result<PathBuf> {
    let folder = clip.with_extension("images");
    fs::create_dir_all(&folder)?;
    let clip = clip.to_str().context("the path is no UTF-8")?;
    ffmpeg(&["-i", clip], &folder.join("%04d.png"))?;
    Ok(folder)
}

fn ffmpeg(arguments: &[&str], out: &Path) -> Result<()> {
    let done = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(arguments)
        .arg(out)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ffmpeg: apt-get install ffmpeg")?;
    ensure!(done.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
