//! What an analysed video comes to, for people.

use std::{collections::BTreeMap, fmt, time::Instant};

use peregrine_media::SourceCounts;
use peregrine_proto::{FrameResult, Notice, Stage, TrackState};

/// Metres per second to kilometres per hour.
const KMH: f32 = 3.6;

/// Counts over all frames.
#[derive(Debug)]
pub(super) struct Summary {
    began: Instant,
    frames: u64,
    detections: u64,
    /// Microseconds of each frame, by stage in the order of the journey.
    stages: BTreeMap<u8, (Stage, Vec<u32>)>,
    /// Frames by what stood beside their results.
    notices: BTreeMap<Notice, u64>,
    /// Each track that was seen, with its last speed in metres per second.
    tracks: BTreeMap<(u32, u32), Option<f32>>,
    source: SourceCounts,
    /// Damaged pictures that were not analysed, by what the decoder found.
    left_out: BTreeMap<&'static str, u64>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            frames: 0,
            detections: 0,
            stages: BTreeMap::new(),
            notices: BTreeMap::new(),
            tracks: BTreeMap::new(),
            source: SourceCounts::default(),
            left_out: BTreeMap::new(),
        }
    }
}

impl Summary {
    pub(super) fn add(&mut self, result: &FrameResult) {
        self.frames += 1;
        self.detections += result.detections.len() as u64;
        for notice in &result.notices {
            *self.notices.entry(*notice).or_default() += 1;
        }
        for time in &result.stages {
            self.stages.entry(time.stage.code()).or_insert((time.stage, Vec::new())).1.push(time.us);
        }
        for track in result.tracks.iter().filter(|track| track.state == TrackState::Tracked) {
            let speed = self.tracks.entry((result.track_epoch, track.track_id)).or_default();
            *speed = track.speed.map(|speed| speed.speed_mps).or(*speed);
        }
    }

    /// What was left out of the source, or put right.
    pub(super) fn source(&mut self, counts: &SourceCounts, left_out: BTreeMap<&'static str, u64>) {
        (self.source, self.left_out) = (*counts, left_out);
    }

    /// Damaged pictures that were not analysed.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.values().sum()
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.began.elapsed().as_secs_f64();
        let Self { frames, detections, .. } = self;
        writeln!(
            f,
            "{frames} frames in {seconds:.1} s ({:.1}/s), {detections} detections",
            *frames as f64 / seconds
        )?;
        if self.source.undecodable > 0 {
            writeln!(f, "{} frames could not be decoded", self.source.undecodable)?;
        }
        let left_out = self.left_out();
        if left_out > 0 {
            let kinds: Vec<String> =
                self.left_out.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(
                f,
                "{left_out} damaged pictures were left out ({}); with `source.damaged = \"keep\"` they are analysed",
                kinds.join(", ")
            )?;
        }
        let kept = [Notice::DamagedKept, Notice::DamageAnalysed];
        let damaged: u64 = kept.iter().filter_map(|notice| self.notices.get(notice)).sum();
        if damaged > 0 {
            writeln!(f, "{damaged} damaged pictures were analysed: what they show may be wrong")?;
        }
        let times = &self.source.times;
        if times.total() > 0 {
            let kinds: Vec<String> =
                times.by_kind().map(|(kind, count)| format!("{count} {}", kind.as_str())).collect();
            writeln!(
                f,
                "{} frames were timed by those around them, their own times could not be true: {}",
                times.total(),
                kinds.join(", ")
            )?;
        }
        let mut speeds: Vec<f32> = self.tracks.values().flatten().copied().collect();
        speeds.sort_by(f32::total_cmp);
        write!(f, "{} tracks", self.tracks.len())?;
        match speeds.as_slice() {
            [] => writeln!(f, ", none with a speed")?,
            [slowest, .., fastest] => {
                let median = quantile(&speeds, 0.5);
                writeln!(
                    f,
                    ", {} with a speed: median {median:.2} m/s ({:.1} km/h), {slowest:.2} to {fastest:.2} m/s",
                    speeds.len(),
                    median * KMH
                )?;
            }
            [only] => writeln!(f, ", one with a speed: {only:.2} m/s ({:.1} km/h)", only * KMH)?,
        }
        for (notice, frames) in &self.notices {
            writeln!(f, "{notice} in {frames} of {} frames", self.frames)?;
        }
        writeln!(f, "{:<12} {:>9} {:>9}", "stage, ms", "p50", "p95")?;
        for (stage, times) in self.stages.values() {
            let mut times = times.clone();
            times.sort_unstable();
            let ms = |share| f64::from(quantile(&times, share)) / 1000.0;
            writeln!(f, "{:<12} {:>9.2} {:>9.2}", stage.as_str(), ms(0.5), ms(0.95))?;
        }
        Ok(())
    }
}

/// The value below which this share of sorted values lies; there is at least one.
fn quantile<T: Copy>(sorted: &[T], share: f64) -> T {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
