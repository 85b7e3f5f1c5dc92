//! Clips that the ffmpeg program makes for a test, and what to compare them with.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use opencv::{
    core::{Mat, MatTraitConst, MatTraitConstManual},
    imgproc,
    videoio::{self, VideoCapture, VideoCaptureTrait},
};
use peregrine_media::{AllowList, Captured, OpenOptions, Picture, Source, SourceError, open};
use peregrine_proto::{Pace, SourceConfig};

/// Runs ffmpeg; false, with a message, where there is none.
pub(crate) fn ffmpeg(arguments: &[&str]) -> bool {
    match Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-y"]).args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(_) => {
            println!("skipped: no ffmpeg program is installed (apt-get install ffmpeg)");
            false
        }
    }
}

/// A test picture that moves, encoded with these arguments.
pub(crate) fn clip(to: &Path, size: &str, frames: u32, arguments: &[&str]) -> bool {
    let source = format!("testsrc2=size={size}:rate=25");
    let frames = frames.to_string();
    let mut all = vec!["-f", "lavfi", "-i", &source, "-frames:v", &frames];
    all.extend(arguments);
    // The filter itself makes even sizes only.
    all.extend(["-s", size]);
    all.push(to.to_str().unwrap());
    ffmpeg(&all)
}

/// H.264 with B-frames.
pub(crate) const H264: [&str; 8] =
    ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-pix_fmt", "yuv420p"];

pub(crate) fn config(uri: &str, fps: Option<f64>) -> SourceConfig {
    SourceConfig { fps, pace: Pace::Fast, ..SourceConfig::new(uri) }
}

pub(crate) fn open_any(uri: &str) -> Result<Box<dyn Source>, SourceError> {
    open(&config(uri, None), &AllowList::anything(), &OpenOptions::default())
}

pub(crate) fn open_path(path: &Path) -> Box<dyn Source> {
    open_any(path.to_str().unwrap()).unwrap()
}

/// All frames, and the error that ended them.
pub(crate) fn read_all(source: &mut dyn Source) -> (Vec<Captured>, Option<SourceError>) {
    let mut frames = Vec::new();
    loop {
        match source.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// Tight I420 bytes.
pub(crate) fn tight(picture: &Picture) -> Vec<u8> {
    picture.planes().iter().flat_map(|plane| (0..plane.height).flat_map(|y| plane.row(y).to_vec())).collect()
}

/// Every frame's tight I420 bytes as the ffmpeg program decodes them.
pub(crate) fn ffmpeg_i420(path: &Path, format: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-nostdin",
            "-i",
            path.to_str().unwrap(),
            "-map",
            "0:v:0",
            "-vsync",
            "passthrough",
        ])
        .args(["-f", "rawvideo", "-pix_fmt", format, "-"])
        .output()
        .unwrap();
    output.stdout
}

/// Every frame as OpenCV decodes it, BGR.
pub(crate) fn opencv_frames(path: &Path) -> Vec<Mat> {
    let mut capture = VideoCapture::from_file(path.to_str().unwrap(), videoio::CAP_FFMPEG).unwrap();
    let mut frames = Vec::new();
    loop {
        let mut frame = Mat::default();
        if !capture.read(&mut frame).unwrap() {
            return frames;
        }
        frames.push(frame);
    }
}

/// A limited-range BT.601 picture of even size as OpenCV makes BGR of it.
pub(crate) fn to_bgr(picture: &Picture) -> Mat {
    let bytes = tight(picture);
    let rows = picture.size().height as i32 * 3 / 2;
    let yuv = Mat::from_slice(&bytes).unwrap();
    let yuv = yuv.reshape(1, rows).unwrap();
    let mut bgr = Mat::default();
    imgproc::cvt_color_def(&yuv, &mut bgr, imgproc::COLOR_YUV2BGR_I420).unwrap();
    bgr
}

/// Mean absolute difference of all values.
pub(crate) fn difference(a: &Mat, b: &Mat) -> f64 {
    assert_eq!((a.rows(), a.cols(), a.typ()), (b.rows(), b.cols(), b.typ()));
    let (a, b) = (a.data_bytes().unwrap(), b.data_bytes().unwrap());
    mean_difference(a, b)
}

pub(crate) fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

/// A file of the reference data, or none with a message where it is not beside the checkout.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PEREGRINE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let file = folder.join(path);
    if file.exists() {
        return Some(file);
    }
    println!("skipped: {path} is not there (set PEREGRINE_SHARED to the folder of the reference data)");
    None
}
