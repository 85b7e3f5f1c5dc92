//! The same scene in many forms: whatever container, size, rotation, pixel shape or clock it comes with, `processor analyze` finds
//! the same objects, or says that it does not.
//!
//! The detector of most tests measures a red box to the pixel, so that every difference is of what lies around it; eleven forms are
//! tried with a real one too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use peregrine_e2e::{onnx::Model, programs};
use peregrine_proto::FrameResult;
use peregrine_stack::project_root;

/// The scene: 640x480, 25 frames a second.
const WIDTH: usize = 640;
const HEIGHT: usize = 480;
const FRAMES: usize = 40;
/// Pixels that the red box moves in a frame, to the right; with [`METRES_A_PIXEL`], 2 m/s.
const STEP: usize = 4;
const METRES_A_PIXEL: f64 = 0.02;

/// A form of the scene.
struct Form {
    name: &'static str,
    /// The file's ending: the container.
    ending: &'static str,
    /// Arguments of ffmpeg that make the form of the scene.
    ffmpeg: &'static [&'static str],
    /// Where a point of the scene lies in it: factor and offset of each axis.
    place: Place,
    /// How many times as long an analysed pixel is as one of the scene: boxes are that much less exact.
    coarse: f64,
}

#[derive(Clone, Copy)]
struct Place {
    scale: [f64; 2],
    offset: [f64; 2],
}

const SAME: Place = Place { scale: [1.0, 1.0], offset: [0.0, 0.0] };

impl Place {
    fn of(self, x: f64, y: f64) -> [f64; 2] {
        [x * self.scale[0] + self.offset[0], y * self.scale[1] + self.offset[1]]
    }

    fn back(self, [left, top, right, bottom]: [f32; 4]) -> [f64; 4] {
        let [x, y] = [0, 1].map(|axis| move |at: f32| (f64::from(at) - self.offset[axis]) / self.scale[axis]);
        [x(left), y(top), x(right), y(bottom)]
    }
}

const COPY: &[&str] = &["-c", "copy"];

const fn form(name: &'static str, ending: &'static str, ffmpeg: &'static [&'static str]) -> Form {
    Form { name, ending, ffmpeg, place: SAME, coarse: 1.0 }
}

const fn placed(
    name: &'static str,
    ffmpeg: &'static [&'static str],
    scale: [f64; 2],
    offset: [f64; 2],
    coarse: f64,
) -> Form {
    Form { name, ending: "mp4", ffmpeg, place: Place { scale, offset }, coarse }
}

/// Encodes what a filter made as exactly as H.264 does.
macro_rules! filter {
    ($filter:literal) => {
        &["-vf", $filter, "-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv420p"]
    };
}

/// Sets time stamps without encoding anew.
macro_rules! stamps {
    ($times:literal) => {
        &["-c", "copy", "-bsf:v", concat!("setts=", $times)]
    };
}

const FORMS: &[Form] = &[
    // Containers.
    form("matroska", "mkv", COPY),
    form("quicktime", "mov", COPY),
    form("avi", "avi", COPY),
    form("transport stream", "ts", COPY),
    form("transport stream of a disc", "m2ts", COPY),
    form("flash", "flv", COPY),
    form("nut", "nut", COPY),
    form("mobile", "3gp", COPY),
    form("apple's mp4", "m4v", COPY),
    form("fragments", "mp4", &["-c", "copy", "-movflags", "frag_keyframe+empty_moov"]),
    form("index first", "mp4", &["-c", "copy", "-movflags", "+faststart"]),
    form("no container", "h264", COPY),
    // Codecs and pixel formats.
    form("mpeg-4", "avi", &["-c:v", "mpeg4", "-q:v", "1"]),
    form("motion jpeg", "avi", &["-c:v", "mjpeg", "-q:v", "1"]),
    form("mpeg-2", "mpg", &["-c:v", "mpeg2video", "-q:v", "1"]),
    form("ffv1", "mkv", &["-c:v", "ffv1"]),
    form("vp8", "webm", &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "8M"]),
    form(
        "full chroma",
        "mp4",
        &["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv444p"],
    ),
    form(
        "half chroma",
        "mp4",
        &["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv422p"],
    ),
    form(
        "ten bits",
        "mp4",
        &["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv420p10le"],
    ),
    form("full range", "mp4", filter!("scale=out_range=full,format=yuvj420p")),
    form("frames out of order", "mp4", &["-c:v", "libx264", "-preset", "veryfast", "-qp", "4", "-bf", "3"]),
    form("one key frame", "mp4", &["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-g", "1000"]),
    form("with sound", "mp4", &["-f", "lavfi", "-i", "sine=d=1.6", "-c:v", "copy", "-shortest"]),
    // Sizes and margins.
    placed("twice the size", filter!("scale=1280:960:flags=neighbor"), [2.0, 2.0], [0.0, 0.0], 1.0),
    placed("larger by a half", filter!("scale=960:720:flags=neighbor"), [1.5, 1.5], [0.0, 0.0], 1.0),
    placed("half the size", filter!("scale=320:240:flags=area"), [0.5, 0.5], [0.0, 0.0], 2.0),
    placed("margins above and below", filter!("pad=640:640:0:80:gray"), [1.0, 1.0], [0.0, 80.0], 1.0),
    placed("margins left and right", filter!("pad=854:480:106:0:black"), [1.0, 1.0], [106.0, 0.0], 1.4),
    placed("margins all around", filter!("pad=1280:960:320:240:gray"), [1.0, 1.0], [320.0, 240.0], 2.0),
    // Pixels that are not square.
    placed("narrow pixels", filter!("scale=1280:480:flags=neighbor,setsar=1/2"), [2.0, 1.0], [0.0, 0.0], 1.0),
    placed("wide pixels", filter!("scale=320:480:flags=area,setsar=2"), [0.5, 1.0], [0.0, 0.0], 2.0),
    placed("pixels of a DVD", filter!("scale=720:480,setsar=8/9"), [1.125, 1.0], [0.0, 0.0], 1.2),
    // Turned, and turned back by the container.
    form("turned left", "mp4", filter!("transpose=2")),
    form("turned right", "mp4", filter!("transpose=1")),
    form("upside down", "mp4", filter!("hflip,vflip")),
    // Clocks.
    form("begins late", "mkv", stamps!("ts=TS+100000/TB")),
    form("one frame hours ahead", "mkv", stamps!("pts=if(eq(N\\,15)\\,PTS+9800000\\,PTS)")),
    form("one frame seconds ahead", "mkv", stamps!("pts=if(eq(N\\,15)\\,PTS+5000\\,PTS)")),
    form("one frame behind", "mkv", stamps!("pts=if(eq(N\\,15)\\,PTS-400\\,PTS)")),
    form("two frames of one time", "mkv", stamps!("pts=if(eq(mod(N\\,10)\\,5)\\,PTS-40\\,PTS)")),
    form("a frame slightly behind", "mkv", stamps!("pts=if(eq(mod(N\\,10)\\,5)\\,PTS-50\\,PTS)")),
    form("untidy times", "mkv", stamps!("pts=PTS+if(mod(N\\,2)\\,4\\,0)")),
    form(
        "a clock that wraps",
        "ts",
        &["-c", "copy", "-output_ts_offset", "95442.9", "-muxdelay", "0", "-muxpreload", "0"],
    ),
];

/// Forms that are turned, with the degrees by which the container turns them back.
const TURNED: [(&str, &str); 3] = [("turned left", "-90"), ("turned right", "90"), ("upside down", "180")];

/// The analysis of a form.
struct Analysed {
    results: Vec<FrameResult>,
    said: String,
    failed: bool,
}

impl Analysed {
    /// Whether whoever ran the command was told that something is amiss, and how often.
    fn is_told(&self) -> bool {
        let amiss = ["WARN", "could not be true", "damaged", "not to be trusted"];
        self.failed && !self.said.is_empty()
            || amiss.iter().any(|word| self.said.contains(word))
            || self.results.iter().any(|result| !result.notices.is_empty())
    }

    fn ids(&self) -> BTreeSet<(u32, u32)> {
        let tracks = self
            .results
            .iter()
            .flat_map(|result| result.tracks.iter().map(|track| (result.track_epoch, track.track_id)));
        tracks.collect()
    }
}

#[test]
fn another_form_of_a_scene_gives_other_results_in_silence() -> Result<()> {
    let folder = folder("metamorphic")?;
    let (model, scene, base) = red_scene(&folder)?;
    ensure!(base.results.len() == FRAMES && base.ids().len() == 1, "the scene itself: {}", base.said);
    ensure!(speeds(&base).len() > FRAMES / 2, "the scene has no speeds");

    let wrong = in_parallel(FORMS, |form| {
        let video = make(&folder, form, &scene)?;
        let found = analyze(&folder, form.name, &video, &model, Some(form.place))?;
        Ok(differs(&base, &found, form.place, form.coarse, 1.0).filter(|_| !found.is_told()))
    })?;
    ensure!(wrong.is_empty(), "{} of {} forms:{}", wrong.len(), FORMS.len(), listed(&wrong));
    Ok(())
}

#[test]
fn a_scene_that_is_another_one_passes() -> Result<()> {
    let folder = folder("metamorphic-control")?;
    let (model, scene, base) = red_scene(&folder)?;
    for (form, said) in [
        (form("shifted", "mp4", filter!("crop=632:480:8:0,pad=640:480:0:0:gray")), "px apart"),
        (
            form(
                "faster",
                "mp4",
                &[
                    "-vf",
                    "setpts=PTS/1.1",
                    "-r",
                    "27.5",
                    "-c:v",
                    "libx264",
                    "-preset",
                    "ultrafast",
                    "-qp",
                    "4",
                ],
            ),
            "m/s",
        ),
        (form("shorter", "mp4", &["-c", "copy", "-frames:v", "30"]), "frames"),
    ] {
        let video = make(&folder, &form, &scene)?;
        let found = analyze(&folder, form.name, &video, &model, Some(SAME))?;
        let Some(why) = differs(&base, &found, SAME, 1.0, 1.0) else { bail!("{} passes", form.name) };
        ensure!(why.contains(said) && !found.is_told(), "{}: {why}", form.name);
    }
    Ok(())
}

#[test]
fn another_form_of_people_gives_other_results_in_silence() -> Result<()> {
    const LIKE: f64 = 2.0;
    let folder = folder("metamorphic-people")?;
    let model = programs::fetched(project_root().join(".cache/models/nanodet.onnx"))?;
    let clip = programs::fetched(project_root().join(".cache/clips/vtest.avi"))?;
    let scene = folder.join("scene.mkv");
    // Exact, so that what is made of it is not encoded from something that was.
    run_ffmpeg(&["-i", text(&clip)?, "-frames:v", "25", "-c:v", "ffv1"], &scene)?;
    let base = analyze(&folder, "base", &scene, &model, None)?;
    ensure!(base.results.len() == 25 && base.ids().len() > 3, "the scene itself: {}", base.said);
    let forms = [
        form("avi", "avi", COPY),
        form("nut", "nut", COPY),
        form("quicktime", "mov", filter!("null")),
        form("transport stream", "ts", filter!("null")),
        form("flash", "flv", filter!("null")),
        form("mpeg-4", "mp4", filter!("null")),
        form("motion jpeg", "avi", &["-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj420p"]),
        placed("twice the size", filter!("scale=1536:1152:flags=bicubic"), [2.0, 2.0], [0.0, 0.0], 1.0),
        placed(
            "narrow pixels",
            filter!("scale=1536:576:flags=bicubic,setsar=1/2"),
            [2.0, 1.0],
            [0.0, 0.0],
            1.0,
        ),
        form(
            "ten bits",
            "mp4",
            &["-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-pix_fmt", "yuv420p10le"],
        ),
        form("upside down", "mp4", filter!("hflip,vflip")),
    ];
    let wrong = in_parallel(&forms, |form| {
        let video = make(&folder, form, &scene)?;
        let found = analyze(&folder, form.name, &video, &model, None)?;
        Ok(differs(&base, &found, form.place, LIKE, 0.95).filter(|_| !found.is_told()))
    })?;
    ensure!(wrong.is_empty(), "{} of {} forms:{}", wrong.len(), forms.len(), listed(&wrong));
    Ok(())
}

/// How a form's results differ from the scene's; none where they are the same: frames and ids as many, this share of the scene's
/// detections within so many pixels of the scene, speeds within 1% or half a told error.
fn differs(base: &Analysed, found: &Analysed, place: Place, pixels: f64, share: f64) -> Option<String> {
    if found.failed {
        return Some(format!("failed: {}", found.said));
    }
    let (frames, ids) = (base.results.len(), base.ids().len());
    let (found_frames, found_ids) = (found.results.len(), found.ids().len());
    if found_frames != frames {
        return Some(format!("{found_frames} frames, not {frames}"));
    }
    if (found_ids as f64) < share * ids as f64 || (found_ids as f64) > ids as f64 / share {
        return Some(format!("{found_ids} ids, not {ids}"));
    }
    let (mut all, mut like, mut worst) = (0, 0, 0.0f64);
    for (base, found) in base.results.iter().zip(&found.results) {
        for detection in &base.detections {
            let wanted = detection.xyxy.map(f64::from);
            let apart = |other: &peregrine_proto::Detection| {
                let sides = place.back(other.xyxy);
                wanted.iter().zip(sides).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let nearest = found.detections.iter().map(apart).fold(f64::INFINITY, f64::min);
            all += 1;
            like += usize::from(nearest <= pixels);
            worst = worst.max(nearest);
        }
    }
    if (like as f64) < share * f64::from(all) {
        return Some(format!("{} of {all} boxes differ, up to {worst:.2} px apart", all as usize - like));
    }
    let (wanted, got) = (speeds(base), speeds(found));
    if (got.len() as f64) < 0.9 * wanted.len() as f64 {
        return Some(format!("{} speeds, not {}", got.len(), wanted.len()));
    }
    wanted.iter().find_map(|(at, (speed, error))| {
        let (other, other_error) = got.get(at)?;
        let apart = (speed - other).abs();
        let off = apart > 0.01 * speed.abs() && apart > 0.5 * error.max(*other_error);
        off.then(|| format!("frame {at}: {other:.3} m/s, not {speed:.3} m/s"))
    })
}

/// The speed and its error by the frame's place, where there is one track.
fn speeds(analysed: &Analysed) -> BTreeMap<usize, (f32, f32)> {
    let of = |(at, result): (usize, &FrameResult)| {
        let [track] = &result.tracks[..] else { return None };
        track.speed.map(|speed| (at, (speed.speed_mps, speed.std_error_mps)))
    };
    analysed.results.iter().enumerate().filter_map(of).collect()
}

/// The model that sees what is red, the scene, and the scene's analysis.
fn red_scene(folder: &Path) -> Result<(PathBuf, PathBuf, Analysed)> {
    let (model, scene) = (folder.join("red.onnx"), folder.join("scene.mp4"));
    Model::red_box(640, 640).write(&model)?;
    write_scene(&scene)?;
    let base = analyze(folder, "base", &scene, &model, Some(SAME))?;
    Ok((model, scene, base))
}

/// A red box that moves to the right on grey.
fn write_scene(path: &Path) -> Result<()> {
    let size = format!("{WIDTH}x{HEIGHT}");
    let mut ffmpeg = Command::new("ffmpeg")
        .args([
            "-hide_banner",
            "-loglevel",
            "error",
            "-y",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-video_size",
            &size,
        ])
        .args([
            "-framerate",
            "25",
            "-i",
            "-",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-qp",
            "4",
            "-g",
            "10",
        ])
        .args(["-bf", "0", "-pix_fmt", "yuv420p"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run ffmpeg: apt-get install ffmpeg")?;
    let mut input = ffmpeg.stdin.take().context("ffmpeg takes no input")?;
    for frame in 0..FRAMES {
        let mut picture = vec![110u8; 3 * WIDTH * HEIGHT];
        let left = 80 + STEP * frame;
        for y in 200..240 {
            for x in left..left + 60 {
                picture[3 * (y * WIDTH + x)..][..3].copy_from_slice(&[220, 30, 30]);
            }
        }
        input.write_all(&picture)?;
    }
    drop(input);
    ensure!(ffmpeg.wait()?.success(), "ffmpeg failed");
    Ok(())
}

/// Makes a form of the scene.
fn make(folder: &Path, form: &Form, scene: &Path) -> Result<PathBuf> {
    let file = |name: &str| folder.join(format!("{}.{}", name.replace(' ', "-"), form.ending));
    let made = file(form.name);
    let arguments: Vec<&str> = ["-i", text(scene)?].into_iter().chain(form.ffmpeg.iter().copied()).collect();
    run_ffmpeg(&arguments, &made)?;
    let Some((_, degrees)) = TURNED.iter().find(|(name, _)| *name == form.name) else { return Ok(made) };
    let turned = file(&format!("{} back", form.name));
    let rotate = format!("rotate={degrees}");
    run_ffmpeg(&["-i", text(&made)?, "-c", "copy", "-metadata:s:v", &rotate], &turned)?;
    Ok(turned)
}

/// Analyses a video; with a calibration of the scene's ground, where it is the scene.
fn analyze(folder: &Path, name: &str, video: &Path, model: &Path, place: Option<Place>) -> Result<Analysed> {
    let name = name.replace(' ', "-");
    let (out, camera) = (folder.join(format!("{name}.jsonl")), folder.join(format!("{name}.toml")));
    let mut config = String::from("id = \"a\"\n[source]\nuri = \"x\"\n");
    if let Some(place) = place {
        config.push_str("[calibration]\npoints = [\n");
        for (x, y) in [(100.0, 150.0), (500.0, 150.0), (500.0, 300.0), (100.0, 300.0)] {
            let [left, top] = place.of(x, y);
            let ground = [x, y].map(|at| at * METRES_A_PIXEL);
            writeln!(config, "{{ image = [{left:.3}, {top:.3}], ground = {ground:?} }},")?;
        }
        config.push_str("]\n");
    }
    fs::write(&camera, config)?;
    let arguments = ["analyze", "--video", text(video)?, "--model", text(model)?, "--out", text(&out)?];
    let output = programs::run("processor", arguments.into_iter().chain(["--camera", text(&camera)?]))?;
    let lines = fs::read_to_string(&out).unwrap_or_default();
    let results = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Analysed { results, said, failed: !output.status.success() })
}

/// The faults of each form; two forms are analysed at a time.
fn in_parallel(
    forms: &[Form],
    wrong: impl Fn(&Form) -> Result<Option<String>> + Sync,
) -> Result<Vec<(&'static str, String)>> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(form) = forms.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(why) = wrong(form).with_context(|| form.name)? {
                    found.lock().unwrap().push((form.name, why));
                }
            }
            Ok(())
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().try_for_each(|worker| worker.join().unwrap())
    })?;
    Ok(found.into_inner().unwrap())
}

fn listed(wrong: &[(&str, String)]) -> String {
    wrong.iter().fold(String::new(), |list, (name, why)| format!("{list}\n  {name}: {why}"))
}

fn folder(name: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is no UTF-8")
}

fn run_ffmpeg(arguments: &[&str], out: &Path) -> Result<()> {
    let done = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(arguments)
        .arg(out)
        .output()
        .context("cannot run ffmpeg: apt-get install ffmpeg")?;
    ensure!(done.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
