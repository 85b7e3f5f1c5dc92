//! Every metric of the project, once: name, kind, meaning, labels and buckets. `docs/metrics.md` is generated from here.

mod process;
mod samples;
mod series;
mod takeover;

use std::{
    fmt::Write,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use peregrine_proto::Stage;

pub use samples::{Labels, Samples};
pub(crate) use series::CONTENT_TYPE;
pub use series::{CameraSeries, Counter, Gauge, Histogram, text};
pub use takeover::Takeover;

/// What kind of series a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size, in these buckets.
    Histogram(Buckets),
}

/// Upper bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Buckets {
    /// The bounds, rising.
    pub bounds: &'static [f64],
    /// Why these.
    pub why: &'static str,
}

const STAGE_SECONDS: Buckets = Buckets {
    bounds: &[
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.25,
        0.5, 1.0, 5.0,
    ],
    why: "From a tracker's tenth of a millisecond to a wait of seconds, densest at 10 to 80 ms, where inference and the frame \
          intervals of 15 to 60 fps lie.",
};

const AGE_SECONDS: Buckets = Buckets {
    bounds: &[0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0],
    why: "A live picture is good below 100 ms and noticeably late above 400 ms; beyond a second only the order of magnitude \
          matters.",
};

const BATCH_FRAMES: Buckets = Buckets {
    bounds: &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
    why: "Batches are powers of two in practice, and none is larger than 32.",
};

const TAKEOVER_SECONDS: Buckets = Buckets {
    bounds: &[0.5, 1.0, 2.0, 3.0, 3.25, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0],
    why: "A lease runs out after 3 s, and its camera is promised within 3.5 s: densest there. Longer ones are sources that open \
          slowly, or that had no frame.",
};

const ROUND_TRIP_SECONDS: Buckets = Buckets {
    bounds: &[0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0],
    why: "A local server answers in a tenth of a millisecond, one in the next rack in half of one; at 5 s it is given up.",
};

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $kind:expr, [$($label:literal),*];)*) => {
        /// The name of everything that is measured, in one place.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $($(#[doc = $doc])+ $variant,)* }

        impl Metric {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant),*];

            /// The name: `peregrine_<what>_<unit>[_total]`.
            pub const fn name(self) -> &'static str { match self { $(Metric::$variant => $name),* } }

            /// What kind of series it is.
            pub const fn kind(self) -> Kind { match self { $(Metric::$variant => $kind),* } }

            /// What it means, in a sentence.
            pub fn help(self) -> String { match self { $(Metric::$variant => peregrine_proto::describe::doc(&[$($doc),+])),* } }

            /// The names of its labels, in the order in which their values are given.
            pub const fn labels(self) -> &'static [&'static str] { match self { $(Metric::$variant => &[$($label),*]),* } }
        }
    };
}

metrics! {
    /// Always 1; says which daemon and release runs.
    BuildInfo = "peregrine_build_info", Kind::Gauge, ["daemon", "version"];
    /// When this process began, seconds since the Unix epoch: another value is another process.
    ProcessStart = "peregrine_process_start_time_seconds", Kind::Gauge, [];
    /// CPU time used by this process, user and system.
    ProcessCpu = "peregrine_process_cpu_seconds_total", Kind::Counter, [];
    /// Memory of this process that is resident.
    ProcessMemory = "peregrine_process_resident_memory_bytes", Kind::Gauge, [];
    /// Time that threads of this process were ready to run and waited for a core: how starved it is.
    ProcessCpuWait = "peregrine_process_cpu_wait_seconds_total", Kind::Counter, [];
    /// Cores that this process may use, by its affinity and the limits of its control groups.
    ProcessCores = "peregrine_process_cores", Kind::Gauge, [];
    /// Cores of this machine.
    MachineCores = "peregrine_machine_cores", Kind::Gauge, [];
    /// Time that the cores of this machine had nothing to do, all together.
    MachineIdle = "peregrine_machine_idle_seconds_total", Kind::Counter, [];
    /// Threads of this process.
    ProcessThreads = "peregrine_process_threads", Kind::Gauge, [];

    /// How long a stage took for one frame, by a monotonic clock. Stages are named in the order of a frame's journey.
    StageDuration = "peregrine_stage_duration_seconds", Kind::Histogram(STAGE_SECONDS), ["stage", "camera"];
    /// From a frame's capture to its committed result, by the wall clocks of the two machines; by Redis' where the processor's is wrong.
    ResultAge = "peregrine_result_age_seconds", Kind::Histogram(AGE_SECONDS), ["camera"];

    /// Frames taken from the source, before any was left out.
    FramesCaptured = "peregrine_frames_captured_total", Kind::Counter, ["camera"];
    /// Frames given to the camera's stream.
    FramesPublished = "peregrine_frames_published_total", Kind::Counter, ["camera"];
    /// Frames lost on their way to the stream, as the producer counts them.
    FramesDropped = "peregrine_frames_dropped_total", Kind::Counter, ["camera", "reason"];
    /// Frames with a committed analysis.
    FramesProcessed = "peregrine_frames_processed_total", Kind::Counter, ["camera"];
    /// Frames committed without an analysis.
    FramesSkipped = "peregrine_frames_skipped_total", Kind::Counter, ["camera", "reason"];
    /// Frames that left the stream unread: gaps in the frames' own count, as the processor sees them.
    FramesLost = "peregrine_frames_lost_total", Kind::Counter, ["camera", "reason"];
    /// Frames that lie in the camera's stream, waiting.
    BacklogFrames = "peregrine_backlog_frames", Kind::Gauge, ["camera"];
    /// Age of the oldest frame that waits for its result, from its capture; 0 where none waits.
    BacklogAge = "peregrine_backlog_age_seconds", Kind::Gauge, ["camera"];
    /// Media time that was analysed: its rate is how many times faster than the camera's own clock.
    MediaSeconds = "peregrine_media_seconds_total", Kind::Counter, ["camera"];
    /// Where the frames of the camera's stream ended, as Redis holds it: published = processed + skipped + lost + waiting,
    /// exactly while nothing moves. Every gateway says the same.
    LedgerFrames = "peregrine_ledger_frames", Kind::Gauge, ["camera", "end"];

    /// Frames a second that should be analysed: the source's own rate, or what `every` leaves of it. 0 where the source does not
    /// say, for a file that is read as fast as there is room, and after its end.
    TargetFps = "peregrine_target_fps", Kind::Gauge, ["camera"];
    /// 1 while the source gives frames, 0 while it is being opened or was lost.
    SourceUp = "peregrine_source_up", Kind::Gauge, ["camera"];
    /// How often a source was opened again after it was lost.
    SourceReconnects = "peregrine_source_reconnects_total", Kind::Counter, ["camera"];
    /// Frames whose presentation time could not be true, by what was wrong: `ahead`, `behind`, `repeated`, `missing`; or `jump`,
    /// where the clock of a live source was set. They got a media time that fits the frames around them.
    TimesRepaired = "peregrine_times_repaired_total", Kind::Counter, ["camera", "kind"];
    /// Pictures that the decoder marked as broken, by what it found: `corrupt`, `missing_reference`, `concealed`; or `predicted` from
    /// a broken one. Whether they were analysed, `reason="damaged"` of the dropped frames says.
    PicturesDamaged = "peregrine_pictures_damaged_total", Kind::Counter, ["camera", "kind"];
    /// 1 while so many pictures are damaged that all are analysed.
    DamageAnalysed = "peregrine_damage_analysed", Kind::Gauge, ["camera"];
    /// JPEG pictures encoded for people who watch.
    PreviewsEncoded = "peregrine_previews_encoded_total", Kind::Counter, ["camera"];
    /// Pictures that were wanted but not sent, because encoding or Redis was behind.
    PreviewsDropped = "peregrine_previews_dropped_total", Kind::Counter, ["camera"];

    /// Cameras that this worker owns.
    LeasesHeld = "peregrine_leases_held", Kind::Gauge, ["role"];
    /// Leases taken.
    LeasesAcquired = "peregrine_leases_acquired_total", Kind::Counter, ["role"];
    /// Leases given up or taken away, by the reason.
    LeasesLost = "peregrine_leases_lost_total", Kind::Counter, ["role", "reason"];
    /// Leases taken over from an owner that had not released them.
    Takeovers = "peregrine_takeovers_total", Kind::Counter, ["role"];
    /// From the last sign of life of an owner that did not release its camera to the first frame that its successor
    /// committed or published.
    TakeoverDuration = "peregrine_takeover_duration_seconds", Kind::Histogram(TAKEOVER_SECONDS), ["role"];
    /// Commits by their outcome.
    Commits = "peregrine_commits_total", Kind::Counter, ["outcome"];
    /// Bytes of the tracker's state in the last checkpoint.
    CheckpointBytes = "peregrine_checkpoint_bytes", Kind::Gauge, ["camera"];

    /// Redis commands that failed, by the kind of failure.
    RedisErrors = "peregrine_redis_errors_total", Kind::Counter, ["kind"];
    /// Connections to Redis made again after one was lost.
    RedisReconnects = "peregrine_redis_reconnects_total", Kind::Counter, [];
    /// 1 where a setting of Redis endangers data: `evicts` (a `maxmemory-policy` other than `noeviction`), `no_limit` (no
    /// `maxmemory`), `not_kept` (no append-only file). Looked at once a minute.
    RedisDanger = "peregrine_redis_danger", Kind::Gauge, ["server", "danger"];
    /// From a command or script being sent to its reply, by what it is for; reads that block are left out.
    RedisRoundTrip = "peregrine_redis_round_trip_seconds", Kind::Histogram(ROUND_TRIP_SECONDS), ["operation"];
    /// Spans that were made and not taken by the collector.
    SpansDropped = "peregrine_spans_dropped_total", Kind::Counter, [];

    /// Always 1; says which model runs on which execution provider.
    ModelInfo = "peregrine_model_info", Kind::Gauge, ["model", "head", "provider"];
    /// 1 while what the model gives cannot be right, by the reason: `scores_out_of_range`, `boxes_under_a_pixel`, `boxes_outside`,
    /// `classes_not_whole`, `outputs_ambiguous`. 0 when it looks right again; no series where nothing was ever wrong.
    ModelDoubted = "peregrine_model_doubted", Kind::Gauge, ["model", "reason"];
    /// Frames in one call of the model.
    BatchSize = "peregrine_batch_frames", Kind::Histogram(BATCH_FRAMES), [];
    /// Most frames that one call of the model takes, as measured at start or configured.
    BatchLimit = "peregrine_batch_limit_frames", Kind::Gauge, [];
    /// How long a call of the model waits for more frames, as measured at start.
    BatchWait = "peregrine_batch_wait_seconds", Kind::Gauge, [];
    /// Frames of cameras too much for this worker that others were asked to detect, by the outcome: `answered`; or `late`,
    /// `gone` and `refused`, which were detected here after all.
    OffloadedFrames = "peregrine_offloaded_frames_total", Kind::Counter, ["outcome"];
    /// Frames that other workers asked for, by the outcome: `detected`, or `gone` before it came to that.
    HelpedFrames = "peregrine_helped_frames_total", Kind::Counter, ["outcome"];
    /// Objects detected.
    Detections = "peregrine_detections_total", Kind::Counter, ["camera"];
    /// Tracks that are being followed, lost ones included.
    Tracks = "peregrine_tracks", Kind::Gauge, ["camera"];
    /// Tracks given up early, or not begun, because the camera had `max_tracks` already.
    TracksCrowdedOut = "peregrine_tracks_crowded_out_total", Kind::Counter, ["camera"];
    /// The largest distance between a calibration point and the picture of its place on the ground: how well they agree.
    CalibrationResidual = "peregrine_calibration_residual_pixels", Kind::Gauge, ["camera"];
    /// 1 while the camera's `region` or `calibration` is switched off, because it was drawn on a picture of another shape.
    DrawnOff = "peregrine_drawn_off", Kind::Gauge, ["camera", "what"];

    /// Clients connected over WebSocket.
    Clients = "peregrine_clients", Kind::Gauge, [];
    /// Messages handed to clients, by kind.
    MessagesSent = "peregrine_messages_sent_total", Kind::Counter, ["kind"];
    /// Messages dropped because their client was too slow, by kind.
    MessagesDropped = "peregrine_messages_dropped_total", Kind::Counter, ["kind"];
    /// WebSockets ended, by the route and the reason, such as `closed_by_client`, `no_write_progress`, `protocol_error`.
    Disconnects = "peregrine_disconnects_total", Kind::Counter, ["route", "reason"];
    /// Requests answered, by route and status.
    HttpRequests = "peregrine_http_requests_total", Kind::Counter, ["route", "status"];
    /// Frames that clients brought for a camera, by the outcome: `taken`; or `skipped`, because the pipeline was busy.
    FramesIngested = "peregrine_frames_ingested_total", Kind::Counter, ["camera", "outcome"];
    /// Steps made elsewhere and taken into their streams.
    StepsIngested = "peregrine_steps_ingested_total", Kind::Counter, [];
    /// From a frame's capture to painted in a browser, as browsers report it, on the gateway's clock.
    PaintAge = "peregrine_paint_age_seconds", Kind::Histogram(AGE_SECONDS), ["camera"];
}

/// The histograms of one camera's stages: made with the first frame that has the stage, then recording takes no lock.
#[derive(Debug)]
pub struct StageHistograms {
    camera: String,
    /// By the number of the stage, the last for all that this release does not know.
    made: Vec<OnceLock<Histogram>>,
}

impl StageHistograms {
    /// Those of a camera.
    pub fn new(camera: &str) -> Self {
        Self { camera: camera.to_owned(), made: (0..=Stage::ALL.len()).map(|_| OnceLock::new()).collect() }
    }

    /// Counts how long a stage took.
    pub fn record(&self, stage: Stage, took: std::time::Duration) {
        // Stages are numbered from 0 in the order of `Stage::ALL`; those of later releases are counted together, as `other`.
        if let Some(made) = self.made.get(usize::from(stage.code()).min(Stage::ALL.len())) {
            let make = || Metric::StageDuration.histogram([stage.as_str(), &self.camera]);
            made.get_or_init(make).observe(took.as_secs_f64());
        }
    }
}

/// Begins to measure: every series carries the name of this worker, and says which release runs.
pub(crate) fn begin(daemon: &str, worker: &str) {
    series::set_worker(worker);
    Metric::BuildInfo.gauge([daemon, env!("CARGO_PKG_VERSION")]).set(1.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Metric::ProcessStart.gauge([]).set(now.as_secs_f64());
}

/// Measures nothing in this process.
pub(crate) fn turn_off() {
    series::turn_off();
}

/// All series of now, with what the kernel knows of this process and this machine.
pub(crate) fn page() -> String {
    process::observe();
    text()
}

/// The documentation of every metric, as Markdown.
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\nGenerated from `daemon/src/metrics.rs`; `UPDATE_GENERATED=1 cargo test -p peregrine-daemon` writes it anew.\n\n\
         Every daemon serves them under `/metrics` on its admin port. Labels are bounded by configuration: never a track id or an \
         address. Every series also has the label `worker`, the name of the process among its peers. Series with the label \
         `camera` end when the process lets that camera go, and begin at zero when it takes it again.\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    let mut buckets = Vec::new();
    for metric in Metric::ALL {
        let kind = match metric.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        if let Kind::Histogram(these) = metric.kind() {
            buckets.push((metric.name(), these));
        }
        let labels: Vec<String> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let _ =
            writeln!(text, "| `{}` | {kind} | {} | {} |", metric.name(), labels.join(", "), metric.help());
    }
    text.push_str("\n## Buckets\n");
    for (name, Buckets { bounds, why }) in buckets {
        let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
        let _ = write!(text, "\n`{name}`: {}\n\n{why}\n", bounds.join(", "));
    }
    text
}
