//! What a person sees of a demo in the terminal.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use peregrine_proto::CameraId;
use peregrine_stack::{Stack, Summary, ledger::Ledger, tally::CameraTally};

/// Rates are means over this long.
const WINDOW: Duration = Duration::from_secs(4);

/// Standard error: lines that stay, and below them, on a terminal, a table that is written anew in its place.
pub(crate) struct Screen {
    terminal: bool,
    started: Instant,
    seconds: Option<f64>,
    updated: Option<Instant>,
    lines: usize,
    /// The latest counts, oldest first.
    history: VecDeque<Sample>,
}

/// Frames in and results out of each camera at a moment.
struct Sample {
    at: Instant,
    counts: BTreeMap<CameraId, (u64, u64)>,
}

impl Screen {
    /// An empty one. `seconds` is how long the demo will run.
    pub(crate) fn new(seconds: Option<f64>) -> Self {
        let terminal = stderr().is_terminal();
        Self { terminal, started: Instant::now(), seconds, updated: None, lines: 0, history: VecDeque::new() }
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(stderr(), "{}", peregrine_proto::mask(text));
    }

    /// Takes the table away.
    pub(crate) fn clear(&mut self) {
        if self.lines > 0 {
            let _ = write!(stderr(), "\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }

    /// Says what happened, and shows how it goes: four times a second on a terminal, every five seconds elsewhere.
    pub(crate) fn update(&mut self, stack: &Stack) {
        for notice in stack.notices() {
            self.say(&notice);
        }
        let period = if self.terminal { Duration::from_millis(250) } else { Duration::from_secs(5) };
        if self.updated.is_some_and(|updated| updated.elapsed() < period) {
            return;
        }
        self.updated = Some(Instant::now());
        // Redis may be away for a moment; the next look will tell.
        let Ok(ledgers) = stack.ledgers() else { return };
        let table = self.table(stack, &ledgers);
        if !self.terminal {
            let _ = write!(stderr(), "{table}");
            return;
        }
        self.clear();
        let _ = write!(stderr(), "{table}");
        self.lines = table.lines().count();
    }

    fn table(&mut self, stack: &Stack, ledgers: &[Ledger]) -> String {
        let now = Instant::now();
        let counts = |ledger: &Ledger| {
            (ledger.camera.clone(), (ledger.redis.frames_added, ledger.redis.results_added))
        };
        self.history.push_back(Sample { at: now, counts: ledgers.iter().map(counts).collect() });
        while self.history.len() > 2 && self.history[1].at + WINDOW < now {
            self.history.pop_front();
        }
        let mut text = self.heading(stack);
        let _ = writeln!(
            text,
            "{:16} {:>6} {:>6} {:>8} {:>14} {:>8} {:>8}  state",
            "camera", "in/s", "out/s", "waiting", "age p50/p95 ms", "objects", "dropped"
        );
        for ledger in ledgers {
            let (fps_in, fps_out) = self.rates(&ledger.camera);
            let tally = stack.tally(|tally| tally.get(&ledger.camera).cloned()).unwrap_or_default();
            let (p50, p95) = ages(&tally);
            let dropped: u64 = ledger.dropped().values().sum();
            let _ = writeln!(
                text,
                "{:16} {fps_in:>6.1} {fps_out:>6.1} {:>8} {:>14} {:>8} {:>8}  {}",
                ledger.camera.as_str(),
                ledger.redis.frames_left,
                format!("{p50:.0}/{p95:.0}"),
                tally.objects,
                dropped,
                state(stack, &ledger.camera)
            );
        }
        text
    }

    fn heading(&self, stack: &Stack) -> String {
        let first = stack.tally(|tally| tally.values().filter_map(|camera| camera.first).min());
        let since = match (first, self.seconds) {
            (None, _) => {
                format!("waiting for the first result, {:.0} s", self.started.elapsed().as_secs_f64())
            }
            (Some(first), None) => format!("running for {:.0} s", first.elapsed().as_secs_f64()),
            (Some(first), Some(seconds)) => {
                format!("{:.0} of {seconds:.0} s", first.elapsed().as_secs_f64().min(seconds))
            }
        };
        let processors = stack.processors();
        let s = if processors == 1 { "" } else { "s" };
        let address = stack.gateway_url().unwrap_or_default();
        format!("{since} · {processors} processor{s} · {address}\n")
    }

    fn rates(&self, camera: &CameraId) -> (f64, f64) {
        let (Some(old), Some(new)) = (self.history.front(), self.history.back()) else { return (0.0, 0.0) };
        let seconds = (new.at - old.at).as_secs_f64();
        let (Some(old), Some(new)) = (old.counts.get(camera), new.counts.get(camera)) else {
            return (0.0, 0.0);
        };
        let rate =
            |old: u64, new: u64| if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 };
        (rate(old.0, new.0), rate(old.1, new.1))
    }
}

fn ages(tally: &CameraTally) -> (f64, f64) {
    let mut ages: Vec<f64> = tally.recent_ages_ms.iter().copied().collect();
    ages.sort_by(f64::total_cmp);
    let at = |q: f64| ages.get((q * ages.len() as f64) as usize).copied().unwrap_or(0.0);
    (at(0.5), at(0.95))
}

fn state(stack: &Stack, camera: &CameraId) -> String {
    match stack.source_state(camera) {
        Ok(Some(source)) if source.error.is_empty() => format!("{:?}", source.state).to_lowercase(),
        Ok(Some(source)) => format!("{:?}: {}", source.state, source.error).to_lowercase(),
        Ok(None) => "no producer yet".into(),
        Err(_) => "redis does not answer".into(),
    }
}

/// A summary for people.
pub(crate) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:12} {value}");
    };
    let frames = &summary.frames;
    line(
        "frames",
        format!(
            "{} produced, {} processed, {} skipped, {} dropped, {} poison, {} waiting",
            frames.produced,
            frames.processed,
            frames.skipped.total,
            frames.dropped.total,
            frames.poison,
            frames.waiting
        ),
    );
    for (what, counts) in [("skipped", &frames.skipped), ("dropped", &frames.dropped)] {
        for (reason, count) in &counts.by_reason {
            line("", format!("{what}: {count} {reason}"));
        }
    }
    line(
        "balance",
        if summary.balanced {
            "every count agrees".into()
        } else {
            format!("NOT BALANCED\n{}", summary.problems.join("\n"))
        },
    );
    line("rate", format!("{:.2} frames/s over {:.1} s", summary.fps, summary.seconds));
    if let Some(first) = summary.seconds_to_first_result {
        line("start", format!("first result after {first:.1} s"));
    }
    if let Some(age) = summary.latency_ms.end_to_end {
        line(
            "age",
            format!("p50 {:.1}  p95 {:.1}  p99 {:.1} ms from capture to result", age.p50, age.p95, age.p99),
        );
    }
    for stage in &summary.latency_ms.stages {
        line(
            "",
            format!(
                "{:12} p50 {:>7.2}  p95 {:>7.2}  p99 {:>7.2} ms",
                stage.stage.as_str(),
                stage.ms.p50,
                stage.ms.p95,
                stage.ms.p99
            ),
        );
    }
    line(
        "objects",
        format!("{} detections, {:.2} a frame", summary.objects.total, summary.objects.per_frame),
    );
    let tracks = &summary.tracks;
    line(
        "tracks",
        format!(
            "{} confirmed, {} with a speed, {} of them moving",
            tracks.confirmed, tracks.measured, tracks.moving
        ),
    );
    let speed = &summary.speed_mps;
    if let (Some(p10), Some(median), Some(p90)) = (speed.p10, speed.median, speed.p90) {
        line("speeds", format!("median {median:.2} m/s of moving tracks, 80% between {p10:.2} and {p90:.2}"));
    }
    text.trim_end().to_owned()
}
