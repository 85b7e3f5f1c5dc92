//! `processor track`: detections in MOT text to tracks in MOT text.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use peregrine_proto::{AnalysisConfig, Detection, Size, TrackConfig, TrackState};

use crate::{class_groups::ClassGroups, track::Tracker};

/// Follows the objects of a file of detections.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Detections, one a line: `frame,-1,left,top,width,height,score,…` (MOTChallenge; frames from 1, scores 0 to 1).
    #[arg(long, value_name = "FILE")]
    pub detections: PathBuf,
    /// The sequence's `seqinfo.ini`: `frameRate`, `seqLength`, `imWidth` and `imHeight`.
    #[arg(long, value_name = "FILE")]
    pub sequence: PathBuf,
    /// Where to write the tracks, one box a line: `frame,id,left,top,width,height,score,-1,-1,-1`.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Thresholds of the tracker, TOML: the keys of a camera's `[analysis.track]`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, or a line is no detection.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let sequence = Sequence::parse(&read(&args.sequence)?)
        .with_context(|| format!("{} is no seqinfo.ini", args.sequence.display()))?;
    let frames = parse_detections(&read(&args.detections)?, &args.detections)?;
    let track: TrackConfig = match &args.config {
        Some(path) => {
            toml::from_str(&read(path)?).with_context(|| format!("{} cannot be used", path.display()))?
        }
        None => TrackConfig::default(),
    };
    let out = &args.out;
    let mut writer =
        BufWriter::new(File::create(out).with_context(|| format!("cannot write {}", out.display()))?);
    let analysis = AnalysisConfig { track, ..AnalysisConfig::default() };
    let mut tracker = Tracker::new(&analysis, ClassGroups::default());
    let last = sequence.frames.or_else(|| frames.keys().next_back().copied()).unwrap_or(0);
    for frame in 1..=last {
        let media_time_us = (f64::from(frame - 1) * 1e6 / sequence.fps).round() as i64;
        let detections = frames.get(&frame).map_or(&[][..], Vec::as_slice);
        for track in tracker.update(media_time_us, sequence.picture, detections).tracks {
            if track.state != TrackState::Tracked {
                continue;
            }
            let [left, top, right, bottom] = track.xyxy;
            let (id, width, height, score) = (track.track_id, right - left, bottom - top, track.confidence);
            writeln!(writer, "{frame},{id},{left:.2},{top:.2},{width:.2},{height:.2},{score:.3},-1,-1,-1")
                .with_context(|| format!("cannot write {}", out.display()))?;
        }
    }
    writer.flush().with_context(|| format!("cannot write {}", out.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What a `seqinfo.ini` says that matters here.
#[derive(Debug, PartialEq)]
struct Sequence {
    fps: f64,
    frames: Option<u32>,
    picture: Option<Size>,
}

impl Sequence {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let values: BTreeMap<String, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim().to_lowercase(), value.trim()))
            .collect();
        let rate = values.get("framerate").context("it has no line `frameRate=…`")?;
        let fps = rate.parse().ok().filter(|fps: &f64| fps.is_finite() && *fps > 0.0);
        let fps = fps.with_context(|| format!("frameRate is `{rate}`: it must be a number above 0"))?;
        let frames = values.get("seqlength").map(|length| {
            length
                .parse()
                .with_context(|| format!("seqLength is `{length}`: it must be a whole number of frames"))
        });
        let side = |key: &str| values.get(key).and_then(|side| side.parse().ok());
        let picture = side("imwidth").zip(side("imheight"));
        let picture = picture.map(|(width, height)| Size { width, height });
        Ok(Self { fps, frames: frames.transpose()?, picture })
    }
}

/// Detections by frame.
fn parse_detections(text: &str, path: &Path) -> anyhow::Result<BTreeMap<u32, Vec<Detection>>> {
    let mut frames = BTreeMap::<u32, Vec<Detection>>::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = parse_detection(line).with_context(|| {
            format!(
                "{} line {}: expected `frame,-1,left,top,width,height,score`, found `{line}`",
                path.display(),
                index + 1
            )
        });
        let (frame, detection) = parsed?;
        frames.entry(frame).or_default().push(detection);
    }
    Ok(frames)
}

fn parse_detection(line: &str) -> anyhow::Result<(u32, Detection)> {
    let values: Vec<f64> = line
        .split(',')
        .take(7)
        .map(|value| value.trim().parse())
        .collect::<Result<_, std::num::ParseFloatError>>()?;
    let [frame, _, left, top, width, height, score] = values[..] else {
        anyhow::bail!("{} values are too few", values.len());
    };
    anyhow::ensure!(
        frame >= 1.0 && frame.fract() == 0.0 && frame < 1e9,
        "frame {frame} is no whole number from 1"
    );
    anyhow::ensure!((0.0..1.001).contains(&score), "score {score} is not between 0 and 1");
    let xyxy = [left, top, left + width, top + height].map(|value| value as f32);
    Ok((frame as u32, Detection { xyxy, confidence: score as f32, class_id: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(detections: &str, sequence: &str) -> anyhow::Result<String> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        fs::write(file("det.txt"), detections)?;
        fs::write(file("seqinfo.ini"), sequence)?;
        let (detections, sequence, out) = (file("det.txt"), file("seqinfo.ini"), file("out.txt"));
        run(&Args { detections, sequence, out: out.clone(), config: None })?;
        Ok(fs::read_to_string(out)?)
    }

    const SEQUENCE: &str = "[Sequence]\nname=x\nframeRate=10\nseqLength=3\n";

    #[test]
    fn tracks_come_out_as_mot_text() {
        let out =
            run_on("1,-1,10,20,30,60,0.9,-1,-1,-1\n\n3,-1,10,20,30,60,0.8,-1,-1,-1\n", SEQUENCE).unwrap();
        assert_eq!(
            out,
            "1,1,10.00,20.00,30.00,60.00,0.900,-1,-1,-1\n3,1,10.00,20.00,30.00,60.00,0.800,-1,-1,-1\n"
        );
    }

    #[test]
    fn unusable_input_is_refused_by_file_and_line() {
        let said = |detections, sequence| format!("{:#}", run_on(detections, sequence).unwrap_err());
        let line = said("1,-1,10,20,30,60,0.9\n2,-1,ten,20,30,60,0.9\n", SEQUENCE);
        assert!(line.contains("det.txt line 2") && line.contains("2,-1,ten"), "{line}");
        assert!(said("1,-1,10,20\n", SEQUENCE).contains("4 values are too few"));
        assert!(said("1,-1,1,2,3,4,87.5\n", SEQUENCE).contains("score 87.5 is not between 0 and 1"));
        assert!(said("0,-1,1,2,3,4,0.5\n", SEQUENCE).contains("frame 0 is no whole number from 1"));
        assert!(said("", "seqLength=3\n").contains("no line `frameRate=…`"));
        assert!(said("", "frameRate=fast\n").contains("frameRate is `fast`"));
    }
}
