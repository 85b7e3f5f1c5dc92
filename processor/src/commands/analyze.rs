//! `processor analyze`: the daemon's stages over a video and without Redis, results as JSON lines.
//!
//! ```text
//! capture, decode, resize, preprocess ─1─► infer ─1─► postprocess, track, speed, zones, write
//! (thread)                                 (thread)   (main thread)
//! ```
//! The numbers are the capacities of the queues between the threads.

mod summary;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use peregrine_media::{
    AllowList, Captured, DamageFilter, OpenOptions, Resizer, Source, SourceCounts, SourceInfo, Verdict,
};
use peregrine_proto::{
    CameraConfig, Damaged, FrameHeader, FrameResult, ResultStatus, SCHEMA, Size, Stage, StageTime,
    without_values,
};

use self::summary::Summary;
use crate::{
    camera_analysis::CameraAnalysis,
    drawn::DrawnNews,
    journey::StageClock,
    model::{Detector, ModelConfig, ModelInput, Preprocessor, RawOutput, Session, Wanted},
};

/// Analyses a video without Redis: one JSON object a frame, as the daemon would commit it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The video: a file, or any other source address that a camera may have.
    #[arg(long, value_name = "SOURCE", required_unless_present = "camera")]
    pub video: Option<String>,
    /// The model, an ONNX file; `<model>.toml` beside it may describe it.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// A camera's configuration (TOML): its classes, thresholds, region and calibration.
    #[arg(long, value_name = "FILE")]
    pub camera: Option<PathBuf>,
    /// Where to write the results, one JSON object a line; `-` for the standard output.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Stop after so many frames.
    #[arg(long, value_name = "N")]
    pub frames: Option<u64>,
    /// Overrides one value of the camera's configuration, or of the model's: `analysis.confidence=0.5`,
    /// `model.threads=4`. May be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the configuration, the model or the video cannot be used, or the results cannot be written; and when they were, but what
/// the model gave cannot be right.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (camera, model) = configuration(args)?;
    let detector = Detector::open(&model)?;
    let mut analysis = CameraAnalysis::new(&camera, &detector.info().classes).map_err(|problems| {
        anyhow::anyhow!("the camera's configuration cannot be used:\n  {}", problems.join("\n  "))
    })?;
    let source = peregrine_media::open(&camera.source, &AllowList::anything(), &OpenOptions::default())?;
    let progress = Progress::new(source.info(), &camera, args.frames);
    let mut out = Output::create(&args.out)?;

    let input = detector.info().input;
    let Detector { preprocessor, session, mut postprocessor, .. } = detector;
    let most = args.frames.or(camera.source.max_frames).unwrap_or(u64::MAX);
    let reader = FrameReader {
        source,
        filter: DamageFilter::new(camera.source.damaged == Damaged::Keep),
        left_out: BTreeMap::new(),
        pixel_aspect: camera.source.pixel_aspect,
        analysed: camera.analysis.size,
        input,
        every: camera.source.every,
        most,
    };
    let classes = analysis.kept_classes().map(<[u16]>::to_vec);
    let mut summary = Summary::default();
    let ended = thread::scope(|scope| {
        let (to_infer, from_preprocess) = sync_channel(1);
        let (to_analyse, from_infer) = sync_channel(1);
        let (give_back, spare) = sync_channel(3);
        let reading = scope.spawn(move || reader.read(&preprocessor, &to_infer, &spare));
        let inferring = scope.spawn(move || infer(session, &from_preprocess, &to_analyse, &give_back));
        let mut written = Ok(());
        let mut picture = None;
        for InHand { header, mut clock, made } in from_infer {
            clock.lap(Stage::Wait);
            if picture.replace(header.source) != Some(header.source) {
                for doubt in analysis.calibration_doubts(header.source) {
                    eprintln!("the calibration can hardly be right: {doubt}");
                }
            }
            let wanted = Wanted {
                confidence: analysis.least_confidence(),
                nms_iou: camera.analysis.nms_iou,
                classes: classes.as_deref(),
                source: header.source,
            };
            written = postprocessor.run(&made, &wanted).map_err(anyhow::Error::from).and_then(|detections| {
                clock.lap(Stage::Postprocess);
                let seen = analysis.update(
                    header.media_time_us,
                    header.discontinuity,
                    header.picture(),
                    &detections,
                    |stage| clock.lap(stage),
                );
                seen.news.iter().for_each(|news| progress.say(news));
                let result = FrameResult {
                    schema: SCHEMA,
                    n: header.n,
                    inc: header.inc,
                    position: header.position,
                    media_time_us: header.media_time_us,
                    captured_at_us: header.captured_at_us,
                    status: ResultStatus::Ok,
                    reason: None,
                    source: header.source,
                    track_epoch: seen.track_epoch,
                    detections: seen.detections,
                    tracks: seen.tracks,
                    stages: clock.stages(),
                    worker: "analyze".into(),
                    lost: Vec::new(),
                    notices: {
                        let damaged = header.damaged.then(|| analysis.damaged_notice());
                        let notices = postprocessor.doubts().iter().chain(&seen.notices).copied();
                        notices.chain(damaged).collect()
                    },
                };
                summary.add(&result);
                progress.step(result.n);
                out.write(&result)
            });
            if written.is_err() {
                break;
            }
        }
        // Whatever ended the loop, the threads before it end when their queues are gone.
        let read = joined(reading.join().map(|(counts, left_out, read)| {
            summary.source(&counts, left_out);
            read
        }));
        let inferred = joined(inferring.join());
        written.and(inferred).and(read)
    });
    progress.done();
    if summary.frames() > 0 {
        eprint!("{summary}");
    }
    ended?;
    if summary.frames() == 0 {
        if summary.left_out() > 0 {
            bail!(
                "all {} pictures of the video are damaged: analyse them with `--set source.damaged=keep`",
                summary.left_out()
            );
        }
        bail!("the video has no frames: check that it plays, and `--frames`");
    }
    let doubts = postprocessor.conclude();
    if !doubts.is_empty() {
        let results = args.out.display();
        bail!(
            "the results in {results} are not to be trusted, since the model is misread:\n  {}",
            doubts.join("\n  ")
        );
    }
    Ok(())
}

fn joined(ended: thread::Result<anyhow::Result<()>>) -> anyhow::Result<()> {
    ended.unwrap_or_else(|_| bail!("a stage broke off, see above"))
}

/// A frame in hand with what its last stage made of it.
struct InHand<T> {
    header: FrameHeader,
    clock: StageClock,
    made: T,
}

/// Takes pictures as the producer would, and prepares them.
struct FrameReader {
    source: Box<dyn Source>,
    filter: DamageFilter,
    /// Damaged pictures, by what the decoder found.
    left_out: BTreeMap<&'static str, u64>,
    /// Where the stream does not say it, or wrongly.
    pixel_aspect: Option<f32>,
    analysed: Option<Size>,
    input: Size,
    every: u32,
    most: u64,
}

impl FrameReader {
    /// All frames; with what was left out of the source or put right, however it ended.
    fn read(
        mut self,
        preprocessor: &Preprocessor,
        to_infer: &SyncSender<InHand<ModelInput>>,
        spare: &Receiver<ModelInput>,
    ) -> (SourceCounts, BTreeMap<&'static str, u64>, anyhow::Result<()>) {
        let ended = self.read_frames(preprocessor, to_infer, spare);
        (self.source.counts(), self.left_out, ended)
    }

    fn read_frames(
        &mut self,
        preprocessor: &Preprocessor,
        to_infer: &SyncSender<InHand<ModelInput>>,
        spare: &Receiver<ModelInput>,
    ) -> anyhow::Result<()> {
        let mut resizer = Resizer::new();
        let mut i420 = Vec::new();
        let (mut n, mut jumped) = (0, false);
        while n < self.most {
            let Some(mut captured) = self.source.next()? else { return Ok(()) };
            jumped |= captured.discontinuity;
            captured.picture = captured.picture.with_pixel_aspect(self.pixel_aspect);
            if captured.position % u64::from(self.every.max(1)) != 0 {
                continue;
            }
            let took_all = self.filter.takes_all();
            let verdict = self.filter.judge(captured.media_time_us, captured.damage);
            if self.filter.takes_all() && !took_all {
                eprintln!(
                    "from frame {} on more than half of the pictures are damaged: all are analysed",
                    captured.position
                );
            }
            if let (Some(damage), Some(Verdict::LeftOut)) = (captured.damage, verdict) {
                *self.left_out.entry(damage.as_str()).or_default() += 1;
                continue;
            }
            captured.discontinuity = std::mem::take(&mut jumped);
            n += 1;
            let mut header = self.header(n, &captured);
            let mut clock = StageClock::new(std::mem::take(&mut header.stages), Instant::now());
            resizer.resize(&captured.picture, header.analysed, &mut i420)?;
            clock.lap(Stage::Resize);
            let mut made = spare.try_recv().unwrap_or_else(|_| preprocessor.new_input());
            preprocessor.run(&header, &i420, &mut made)?;
            clock.lap(Stage::Preprocess);
            if to_infer.send(InHand { header, clock, made }).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn header(&self, n: u64, captured: &Captured) -> FrameHeader {
        let source = captured.picture.size();
        let analysed = self
            .analysed
            .unwrap_or_else(|| peregrine_media::fit(source, captured.picture.pixel_aspect(), self.input));
        let us = |took: Duration| took.as_micros().try_into().unwrap_or(u32::MAX);
        FrameHeader {
            n,
            inc: 1,
            position: captured.position,
            media_time_us: captured.media_time_us,
            captured_at_us: captured.captured_at_us,
            pixel_aspect: captured.picture.pixel_aspect(),
            rotation: captured.picture.rotation(),
            colour: captured.picture.colour(),
            discontinuity: captured.discontinuity,
            damaged: captured.damage.is_some(),
            lossless: true,
            stages: vec![
                StageTime { stage: Stage::Capture, us: us(captured.capture) },
                StageTime { stage: Stage::Decode, us: us(captured.decode) },
            ],
            ..FrameHeader::of_picture(source, analysed)
        }
    }
}

fn infer(
    mut session: Session,
    frames: &Receiver<InHand<ModelInput>>,
    to_analyse: &SyncSender<InHand<RawOutput>>,
    give_back: &SyncSender<ModelInput>,
) -> anyhow::Result<()> {
    for InHand { header, mut clock, made } in frames {
        clock.lap(Stage::Wait);
        let output = session.run(&made).with_context(|| format!("frame {}", header.position))?;
        clock.lap(Stage::Infer);
        // A full shelf of spare inputs only means that this one's memory is freed.
        let _ = give_back.try_send(made);
        if to_analyse.send(InHand { header, clock, made: output }).is_err() {
            break;
        }
    }
    Ok(())
}

/// The camera's and the model's configuration: the file, then the video, then the overrides.
fn configuration(args: &Args) -> anyhow::Result<(CameraConfig, ModelConfig)> {
    let mut camera = match &args.camera {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            text.parse::<toml::Table>().map_err(|error| {
                // Without the line itself, which may be the one with the address.
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                anyhow::anyhow!(
                    "{} is no TOML: line {}: {}",
                    path.display(),
                    before.split('\n').count(),
                    error.message()
                )
            })?
        }
        None => toml::Table::new(),
    };
    let mut model = toml::Table::new();
    if let Some(video) = &args.video {
        put(&mut camera, "source.uri", video.as_str().into())?;
    }
    if !camera.contains_key("id") {
        put(&mut camera, "id", "camera".into())?;
    }
    put(&mut model, "path", args.model.to_string_lossy().into_owned().into())?;
    for set in &args.set {
        let (key, value) = set
            .split_once('=')
            .with_context(|| format!("`--set {set}` has no `=`: write it as analysis.confidence=0.5"))?;
        let value = value_of(value);
        match key.strip_prefix("model.") {
            Some(key) => put(&mut model, key, value)?,
            None => put(&mut camera, key, value)?,
        }
    }
    let from = args.camera.as_deref().map_or("the command line".into(), Path::to_string_lossy);
    let camera: CameraConfig = camera.try_into().map_err(|error: toml::de::Error| {
        let why = without_values(error.message());
        anyhow::anyhow!("the camera's configuration ({from}) cannot be used: {why}")
    })?;
    let model = model.try_into().context("`--set model.…` cannot be used")?;
    let problems = camera.problems();
    if !problems.is_empty() {
        bail!("the camera's configuration cannot be used:\n  {}", problems.join("\n  "));
    }
    Ok((camera, model))
}

/// A value as TOML would read it; plain text where it is none.
fn value_of(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.into())
}

/// Puts a value at a dotted key.
fn put(table: &mut toml::Table, key: &str, value: toml::Value) -> anyhow::Result<()> {
    match key.split_once('.') {
        None => {
            table.insert(key.into(), value);
            Ok(())
        }
        Some((section, rest)) => {
            let section_table = table.entry(section).or_insert_with(|| toml::Table::new().into());
            let section_table =
                section_table.as_table_mut().with_context(|| format!("`{section}` has no key `{rest}`"))?;
            put(section_table, rest, value)
        }
    }
}

/// Where the results go.
struct Output {
    name: String,
    writer: BufWriter<Box<dyn Write>>,
}

impl Output {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let to: Box<dyn Write> = if name == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path).with_context(|| format!("cannot write the results to {name}"))?)
        };
        Ok(Self { name, writer: BufWriter::new(to) })
    }

    /// Writes a line at once: whoever follows the file sees it.
    fn write(&mut self, result: &FrameResult) -> anyhow::Result<()> {
        let written = serde_json::to_writer(&mut self.writer, result).map_err(io::Error::from);
        let written = written.and_then(|()| writeln!(self.writer)).and_then(|()| self.writer.flush());
        written.with_context(|| format!("cannot write the results to {}", self.name))
    }
}

/// How far it is: a bar on a terminal, elsewhere a line every few seconds.
struct Progress {
    bar: ProgressBar,
    lines: bool,
    shown: std::cell::Cell<Instant>,
}

impl Progress {
    fn new(info: &SourceInfo, camera: &CameraConfig, frames: Option<u64>) -> Self {
        let there = info.frames.map(|frames| frames.div_ceil(u64::from(camera.source.every.max(1))));
        let most = frames.or(camera.source.max_frames);
        let length = match (there, most) {
            (Some(there), Some(most)) => Some(there.min(most)),
            (there, most) => there.or(most),
        };
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        let template = match length {
            Some(_) => "{bar:32} {pos}/{len} frames, {per_sec}, {eta} left",
            None => "{spinner} {pos} frames, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, lines: !io::stderr().is_terminal(), shown: Instant::now().into() }
    }

    fn step(&self, frames: u64) {
        self.bar.set_position(frames);
        if self.lines && self.shown.get().elapsed() > Duration::from_secs(5) {
            self.shown.set(Instant::now());
            match self.bar.length() {
                Some(all) => eprintln!("{frames} of {all} frames, {:.1}/s", self.bar.per_sec()),
                None => eprintln!("{frames} frames, {:.1}/s", self.bar.per_sec()),
            }
        }
    }

    /// Says something without disturbing the bar.
    fn say(&self, news: &DrawnNews) {
        let kind = if news.is_warning() { "warning" } else { "note" };
        self.bar.suspend(|| eprintln!("{kind}: {news}"));
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(camera: Option<PathBuf>, set: &[&str]) -> Args {
        Args {
            video: Some("clip.avi".into()),
            model: "m.onnx".into(),
            camera,
            out: "-".into(),
            frames: None,
            set: set.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn flags_win_over_the_camera_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "id = \"yard\"\n[source]\nuri = \"other.mp4\"\nfps = 7\n[analysis]\nconfidence = 0.2\n";
        fs::write(file.path(), text).unwrap();
        let set =
            ["analysis.confidence=0.5", "model.threads=4", "analysis.classes=[\"person\"]", "name=The yard"];
        let (camera, model) = configuration(&args(Some(file.path().into()), &set)).unwrap();
        assert_eq!(camera.id.as_str(), "yard");
        assert_eq!(camera.name, "The yard");
        assert_eq!(camera.source.uri, "clip.avi".into());
        assert_eq!(camera.source.fps, Some(7.0));
        assert_eq!(camera.analysis.confidence, 0.5);
        assert_eq!(camera.analysis.classes, ["person"]);
        assert_eq!((model.threads, model.path), (4, "m.onnx".into()));
    }

    #[test]
    fn a_wrong_override_is_refused_by_name() {
        for (set, said) in [
            ("analysis.confidence", "no `=`"),
            ("analysis.confidense=0.5", "confidense"),
            ("model.thread=4", "thread"),
            ("analysis.confidence=7", "use 0 to 1"),
            ("id.x=1", "`id` has no key `x`"),
        ] {
            let error = format!("{:#}", configuration(&args(None, &[set])).unwrap_err());
            assert!(error.contains(said), "{set}: {error}");
        }
    }
}
