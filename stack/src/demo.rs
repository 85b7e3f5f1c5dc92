//! `stack demo`: everything at once, with its state in the terminal and an account at the end.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use peregrine_proto::{CameraConfig, CameraId, Pace, SourceUri, without_values};
use peregrine_stack::{Daemon, RedisOptions, Stack, Summary, control, demo_clip};
use peregrine_streams::SourceHealth;

use crate::{Interrupt, default_run_dir, show::Screen};

const DEMO_CAMERA: &str = include_str!("../demo.toml");
/// The gateway's port, or the next free one.
const PORT: u16 = 8080;
/// A run of so many seconds gives up when none has begun by then; one without an end waits for its camera.
const FIRST_RESULT_WITHIN: Duration = Duration::from_secs(60);

/// Runs everything on a clip or on cameras of yours, until Ctrl-C.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Your clip or address, or `-` to read it from standard input: clip.mp4, rtsp://host/path, v4l2:/dev/video0, opencv:PIPELINE, images:FOLDER, synthetic:SCENE.
    #[arg(long, value_name = "V")]
    video: Option<String>,
    /// Your model, an ONNX file.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Your camera's configuration (TOML, or JSON as the gateway gives it): source, classes, thresholds, region, calibration.
    #[arg(long, value_name = "FILE")]
    camera: Option<PathBuf>,
    /// What cameras added in the browser may open beside that: a host (192.168.1.20, camera.local:554, *.lan), a folder of
    /// files, or `v4l2` for the devices of this machine. Give it as often as you like.
    #[arg(long, value_name = "WHAT")]
    allow: Vec<String>,
    /// So many cameras of the same source.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    cameras: u16,
    /// So many processors share the cameras; `./dev scale processor=K` changes it later.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    processors: u16,
    /// Ends so many seconds after the first result, with a summary.
    #[arg(long, value_name = "N", value_parser = positive)]
    seconds: Option<f64>,
    /// No browser is expected: nothing says to open one.
    #[arg(long)]
    headless: bool,
    /// Prints the summary as JSON to standard output; everything else goes to standard error.
    #[arg(long)]
    json: bool,
    /// Reads files at their true rate, or as fast as there is room (once, then).
    #[arg(long, value_name = "PACE", value_parser = ["realtime", "fast"], default_value = "realtime")]
    pace: String,
    /// Reads files once instead of again and again.
    #[arg(long)]
    once: bool,
    /// Writes every result to this file, a line of JSON each.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Where logs and configurations go.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The port of the dashboard; the next free one where it is taken.
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    port: u16,
}

fn positive(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if seconds > 0.0 && seconds <= 1e9 { Ok(seconds) } else { Err("use a number above 0".into()) }
}

/// Runs the demo to its end.
pub(crate) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let video = video(&args)?;
    let interrupt = Interrupt::watch()?;
    let cameras = cameras(&args, video)?;
    let folder = fresh_run_dir(args.run_dir.clone().unwrap_or_else(default_run_dir))?;
    let mut builder = Stack::builder()
        .redis(RedisOptions { maxmemory_mb: 512 + 64 * u32::from(args.cameras), ..RedisOptions::default() })
        .cameras(cameras)
        .processors(args.processors.into())
        .gateway(args.port)
        .run_dir(&folder)
        .cancelled_by(interrupt.requested.clone());
    for (key, list) in allowed(&args.allow)? {
        builder = builder.set(Daemon::Producer, format!("allow.{key}={}", toml::Value::from(list)));
    }
    if let Some(model) = &args.model {
        builder = builder.model(std::path::absolute(model)?);
    }
    if let Some(results) = &args.results {
        builder = builder.results(results);
    }
    let stack = match builder.start() {
        Ok(stack) => Arc::new(stack),
        Err(_) if interrupt.is_requested() => return Ok(ExitCode::from(130)),
        Err(error) => return Err(error),
    };
    interrupt.kills(&stack);
    control::serve(&stack)?;

    let mut screen = Screen::new(args.seconds);
    let address = stack.gateway_url().unwrap_or_default();
    if args.headless {
        screen.say(&format!(
            "running without a browser; the dashboard is at {address}; logs are in {}",
            folder.display()
        ));
    } else {
        screen.say(&format!("open {address}      Ctrl-C ends the demo; logs are in {}", folder.display()));
    }
    let watched = watch(&stack, &args, &interrupt, &mut screen);
    screen.clear();
    if let Err(error) = watched {
        stack.kill_all();
        return Err(error);
    }
    screen.say("ending: what waits is finished first");
    let summary = stack.stop_and_drain();
    report(&summary, args.json, &mut screen);
    let fine = summary.balanced && (summary.frames.processed > 0 || interrupt.is_requested());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The producer's `[allow]` section: what a word means is seen by what it is.
fn allowed(words: &[String]) -> anyhow::Result<BTreeMap<&'static str, Vec<String>>> {
    let mut allowed: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for word in words {
        let (key, value) = match Path::new(word) {
            folder if folder.is_dir() => ("folders", std::path::absolute(folder)?.display().to_string()),
            path if path.components().count() > 1 => {
                bail!(
                    "--allow {word}: there is no such folder; for a camera, give its host alone, without rtsp:// and path"
                )
            }
            _ if matches!(word.as_str(), "v4l2" | "opencv") => ("schemes", word.clone()),
            _ => ("hosts", word.clone()),
        };
        allowed.entry(key).or_default().push(value);
    }
    Ok(allowed)
}

/// Shows how it goes until it is over.
fn watch(stack: &Stack, args: &DemoArgs, interrupt: &Interrupt, screen: &mut Screen) -> anyhow::Result<()> {
    let started = Instant::now();
    while !interrupt.is_requested() {
        stack.check_refused()?;
        let first = stack.tally(|tally| tally.values().filter_map(|camera| camera.first).min());
        match (first, args.seconds) {
            (Some(first), Some(seconds)) if first.elapsed().as_secs_f64() >= seconds => break,
            (None, Some(_)) if started.elapsed() > FIRST_RESULT_WITHIN => return Err(no_result(stack)),
            _ => {}
        }
        if stack.all_ended() {
            break;
        }
        if first.is_none() {
            refuse_failed_source(stack)?;
        }
        screen.update(stack);
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Says what is known of why nothing came.
fn no_result(stack: &Stack) -> anyhow::Error {
    let state = |camera: &CameraId| Some((camera.clone(), stack.source_state(camera).ok()??.error));
    let errors = stack.cameras().iter().filter_map(state).filter(|(_, error)| !error.is_empty());
    let errors: String = errors.map(|(camera, error)| format!("\n  camera {camera}: {error}")).collect();
    let seconds = FIRST_RESULT_WITHIN.as_secs();
    anyhow::anyhow!("no result came within {seconds} s; logs are in {}{errors}", stack.folder().display())
}

/// A source that cannot be opened says why; without it there is nothing to wait for.
fn refuse_failed_source(stack: &Stack) -> anyhow::Result<()> {
    for camera in stack.cameras() {
        if let Some(source) = stack.source_state(camera)?
            && source.state == SourceHealth::Failed
        {
            bail!("camera {camera}: {}", source.error);
        }
    }
    Ok(())
}

/// An empty folder for logs; what an earlier demo left is kept once, beside it.
fn fresh_run_dir(folder: PathBuf) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    if control::send(&folder, "status").is_ok() {
        bail!(
            "a demo already runs in {}: end it with Ctrl-C, or give this one another --run-dir",
            folder.display()
        );
    }
    if folder.exists() {
        let before = folder.with_extension("before");
        let moved = fs::remove_dir_all(&before).or(Ok(())).and_then(|()| fs::rename(&folder, &before));
        moved.with_context(|| format!("cannot move {} out of the way", folder.display()))?;
    }
    // Its content is for its owner alone: addresses may hold passwords.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}

/// The source that the arguments name. Everybody on this machine sees a process' arguments: where they hold a password, the
/// process starts anew and reads the address from its standard input.
fn video(args: &DemoArgs) -> anyhow::Result<Option<SourceUri>> {
    let Some(given) = args.video.as_deref() else { return Ok(None) };
    if given != "-" {
        let uri = SourceUri::new(given);
        return if uri.has_secrets() { Err(start_anew(given)) } else { Ok(Some(uri)) };
    }
    let mut text = String::new();
    io::stdin()
        .take(1 << 16)
        .read_to_string(&mut text)
        .context("no address can be read from standard input")?;
    Ok(Some(text.trim_end_matches('\n').into()))
}

/// Only comes back where it failed.
fn start_anew(video: &str) -> anyhow::Error {
    let anew = || -> anyhow::Result<io::Error> {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(video.as_bytes())?;
        drop(writer);
        let hidden = |arg: OsString| match arg.to_str() {
            Some(text) if text == video => "-".into(),
            Some(text) if text.strip_prefix("--video=") == Some(video) => "--video=-".into(),
            _ => arg,
        };
        let arguments = std::env::args_os().skip(1).map(hidden);
        Ok(Command::new(std::env::current_exe()?).args(arguments).stdin(reader).exec())
    };
    let error = anew().map_or_else(|error| error, anyhow::Error::from);
    error.context("the address cannot be taken out of the process' arguments: give `--video -`, and it on standard input")
}

/// The camera that the arguments describe, as often as they say.
fn cameras(args: &DemoArgs, video: Option<SourceUri>) -> anyhow::Result<Vec<CameraConfig>> {
    let mut camera = match (&args.camera, &video) {
        (Some(file), _) => {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read the camera file {}", file.display()))?;
            let read = match file.extension().is_some_and(|extension| extension == "json") {
                true => serde_json::from_str(&text).map_err(|error| error.to_string()),
                // Without the line itself, which may be the one with the address.
                false => toml::from_str(&text).map_err(|error| {
                    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                    format!("line {}: {}", before.split('\n').count(), error.message())
                }),
            };
            read.map_err(|why| anyhow::anyhow!("{}", without_values(&why)))
                .with_context(|| format!("{} is no camera configuration", file.display()))?
        }
        (None, Some(_)) => toml::from_str("id = \"camera-1\"\n[source]\nuri = \"\"\nloop = true\n")?,
        (None, None) => {
            let mut camera: CameraConfig = toml::from_str(DEMO_CAMERA)?;
            let clip = demo_clip();
            if !clip.is_file() {
                bail!(
                    "the demo clip is not there yet ({}): ./dev setup fetches it, or give your own with --video",
                    clip.display()
                );
            }
            camera.source.uri = clip.display().to_string().into();
            camera
        }
    };
    if let Some(video) = video {
        camera.source.uri = video;
    }
    if camera.source.uri.is_masked() {
        bail!("{} has `***` for its credentials: put them back", camera.source.uri);
    }
    camera.source.uri = absolute(camera.source.uri)?;
    if args.pace == "fast" {
        camera.source.pace = Pace::Fast;
    }
    if args.once || args.pace == "fast" {
        camera.source.repeat = false;
    }
    (1..=args.cameras)
        .map(|number| {
            let id = if number == 1 {
                camera.id.clone()
            } else {
                CameraId::new(&format!("{}-{number}", camera.id))?
            };
            Ok(CameraConfig { id, ..camera.clone() })
        })
        .collect()
}

/// A path as the daemons see it, wherever they run; an address (`scheme:…`) as it is.
#[allow(clippy::disallowed_methods, reason = "what it becomes is what is opened")]
fn absolute(uri: SourceUri) -> anyhow::Result<SourceUri> {
    let path = uri.in_full();
    let scheme = path.split_once(':').map_or("", |(scheme, _)| scheme);
    if !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
        return Ok(uri);
    }
    if !Path::new(path).exists() {
        bail!("there is no video {uri}: give the path of a file, or an address such as rtsp://host/path");
    }
    Ok(std::path::absolute(path)?.display().to_string().into())
}

fn report(summary: &Summary, json: bool, screen: &mut Screen) {
    if json {
        let text = serde_json::to_string_pretty(summary).unwrap_or_default();
        // Nobody is left to tell when standard output is closed.
        let _ = writeln!(std::io::stdout(), "{text}");
        for problem in &summary.problems {
            screen.say(problem);
        }
    } else {
        screen.say(&crate::show::summary(summary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_taken_for_something_else() {
        let folder = std::env::temp_dir().display().to_string();
        let words = ["192.168.1.20".to_owned(), folder.clone(), "v4l2".into(), "*.lan".into()];
        let found = allowed(&words).unwrap();
        assert_eq!(found["hosts"], ["192.168.1.20", "*.lan"]);
        assert_eq!((&found["folders"], &found["schemes"]), (&vec![folder], &vec!["v4l2".to_owned()]));
        let refused = allowed(&["rtsp://192.168.1.20/stream".to_owned()]).unwrap_err().to_string();
        assert!(refused.contains("host alone"), "{refused}");
    }
}
