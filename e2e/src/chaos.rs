//! Chaos: a real stack, faults drawn from a seed, and afterwards every promise checked from the streams alone.
//!
//! Two cameras read a file at its true rate, of which nothing may be lost; one is live, whose losses must be counted.
//! All processors reach Redis through a [proxy](proxy::Proxy) that can swallow a connection.
//! An undisturbed `processor analyze` over the same file says which tracks there have to be.
//!
//! With a checkout of the release before, the run begins with its daemons and ends with those of this release: replicas are
//! swapped under load, see [`rollout`].
//!
//! The control is a run in which COMMIT has lost its checks (fence, order, id): the proxy swaps the script. It must
//! break a promise; a check that cannot fail would prove nothing.

mod check;
pub mod clocks;
mod faults;
mod proxy;
pub mod rollout;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use peregrine_proto::{CameraConfig, CameraId, FrameId, FrameResult};
use peregrine_stack::{Daemon, RedisOptions, Stack};
use peregrine_streams::ResultEntry;
use rand::{SeedableRng, rngs::StdRng};

pub use self::check::Promise;
use self::{check::Checked, clocks::Clocks, faults::Fault, proxy::Proxy, rollout::Rollout};
use crate::{
    clips, programs,
    results::{essence, of_file},
    system,
};

const FPS: u32 = 20;
const FILES: [&str; 2] = ["file-1", "file-2"];
const LIVE: &str = "live";
/// The share of an upgrade in which all replicas are of this release.
const FOR_THE_NEW: f64 = 0.6;
/// After the last fault, no camera stands still for longer. (A file read at its true rate does not hurry after a standstill:
/// it comes to its end by as much later.)
const STANDSTILL: Duration = Duration::from_secs(45);

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides which fault strikes whom and when.
    pub seed: u64,
    /// How long faults strike.
    pub lasts: Duration,
    /// Replicas.
    pub processors: usize,
    /// TTL of the leases.
    pub ttl: Duration,
    /// Whether COMMIT loses its checks.
    pub control: bool,
    /// A checkout of the release before, from which to upgrade.
    pub before: Option<PathBuf>,
    /// Where logs and data go.
    pub folder: PathBuf,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u32>,
    /// Frames with a result, over all cameras.
    pub frames: u64,
    /// Frames of the live camera that were lost and counted.
    pub lost_and_counted: u64,
    /// Frames left out and counted, such as those that had become too old.
    pub skipped: u64,
    /// How often a camera changed its owner.
    pub owners_changed: u64,
    /// Each promise that was broken, with the first few places where.
    pub broken: BTreeMap<Promise, Vec<String>>,
}

/// Runs a plan; `say` hears what happens.
///
/// # Errors
/// When the stack cannot be started, or does not come to an end. A broken promise is no error but an outcome.
pub fn run(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    fs::create_dir_all(&plan.folder)?;
    let frames = u32::try_from(plan.lasts.as_secs())? * FPS;
    say(&format!("making a clip of {frames} frames, and analysing it undisturbed"));
    let clip = clips::test_picture(&plan.folder, "clip.mp4", "160x90", frames)?;
    let expected = undisturbed(&clip, &plan.folder)?;
    ensure!(expected.len() == frames as usize, "{} frames of {frames} analysed", expected.len());

    let sockets = tempfile::Builder::new().prefix("peregrine-chaos-").tempdir()?;
    let entrance = sockets.path().join("proxy.sock");
    let ttl_ms = plan.ttl.as_millis();
    let clocks = Clocks::new(&plan.folder)?;
    let mut rollout = plan.before.as_ref().map(|before| Rollout::new(before, plan.processors)).transpose()?;
    let mut stack = clocks
        .give(system::stack(&plan.folder, cameras(&clip)?)?)?
        .redis(RedisOptions { append_only: true, ..RedisOptions::default() })
        .set(Daemon::Producer, format!("producer.lease_ttl_ms={ttl_ms}"))
        .set(Daemon::Producer, "producer.model_wait_ms=0")
        .set(Daemon::Processor, format!("processor.lease_ttl_ms={ttl_ms}"))
        // Everything is looked at in the end.
        .set(Daemon::Processor, "processor.results_kept=10000000")
        .set(Daemon::Processor, "model.threads=1")
        .set(Daemon::Processor, format!("redis.url=redis+unix://{}", entrance.display()))
        // Where they have to begin is decided by the proxy, which has to know the stack's Redis first.
        .processors(0)
        .drain_within(Duration::from_secs(30));
    if let Some(rollout) = &rollout {
        stack = stack.executables(rollout.before()).gateway(0);
    }
    let stack = stack.start()?;
    let proxy = Proxy::start(&entrance, redis_socket(&stack)?)?;
    if plan.control {
        proxy.swap(check::commit_without_checks(&stack)?);
    }
    stack.scale(plan.processors)?;

    let mut outcome = Outcome::default();
    let until = Instant::now() + plan.lasts;
    while Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        let fault = match &rollout {
            Some(rollout) if left < plan.lasts.mul_f64(FOR_THE_NEW) && rollout.next().is_some() => {
                Fault::Upgrade
            }
            rollout => Fault::draw(&mut random, plan, rollout.as_ref()),
        };
        say(&format!("{:4.0} s left: {fault}", left.as_secs_f64()));
        *outcome.faults.entry(fault.name()).or_default() += 1;
        fault.strike(&stack, &proxy, &clocks, rollout.as_mut())?;
        thread::sleep(faults::pause(&mut random));
    }
    say("no more faults: waiting for the files to end");
    let ended = wait_for_ends(&stack);
    stack.stop("producer")?;
    let mut checked = Checked::new(rollout.is_some());
    if let Err(stuck) = ended {
        checked.broke(Promise::NothingHangs, stuck.to_string());
    }
    wait_until_nothing_waits(&stack, &mut checked);
    for camera in FILES.into_iter().chain([LIVE]) {
        let camera = CameraId::new(camera)?;
        let entries = system::block_on(all_results(&stack, &camera))?;
        let ledger = stack.ledgers()?.into_iter().find(|ledger| ledger.camera == camera);
        let ledger = ledger.with_context(|| format!("there is no account of {camera}"))?;
        let lossless = camera.as_str() != LIVE;
        checked.camera(&camera, &entries, lossless.then_some(expected.as_slice()), &ledger)?;
    }
    if rollout.is_some() {
        checked.upgraded();
    }
    Ok(checked.into(outcome))
}

fn cameras(clip: &Path) -> Result<Vec<CameraConfig>> {
    let clip = clip.display().to_string();
    let live = "opencv:videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=90,framerate=20/1 \
                ! videoconvert ! appsink max-buffers=4 drop=true";
    let mut cameras = vec![system::camera(LIVE, live, "")?];
    for file in FILES {
        cameras.push(system::camera(file, &clip, &format!("fps = {FPS}"))?);
    }
    for camera in &mut cameras {
        let (width, height) = system::WATCHER_INPUT;
        camera.analysis.size = Some(peregrine_proto::Size { width, height });
    }
    Ok(cameras)
}

/// What the file's results have to be: those of one process that nobody disturbs.
fn undisturbed(clip: &Path, folder: &Path) -> Result<Vec<FrameResult>> {
    let out = folder.join("undisturbed.jsonl");
    let camera = folder.join("camera.toml");
    let configs = cameras(clip)?;
    let config = configs.last().context("no camera")?;
    fs::write(&camera, toml::to_string(config)?)?;
    let camera = camera.display().to_string();
    programs::analyze(clip, &system::watcher(folder)?, &out, &["--camera", &camera])?
        .map_err(anyhow::Error::msg)?;
    Ok(essence(of_file(&out)?))
}

fn redis_socket(stack: &Stack) -> Result<PathBuf> {
    let url = stack.redis_urls().state;
    Ok(url.strip_prefix("redis+unix://").with_context(|| format!("{url} is no socket"))?.into())
}

fn wait_for_ends(stack: &Stack) -> Result<()> {
    let at = |camera: &str| {
        stack.tally(|tally| {
            let of = tally.iter().find(|(id, _)| id.as_str() == camera);
            of.map_or((false, 0), |(_, tally)| (tally.ended > 0, tally.last_n))
        })
    };
    for camera in FILES {
        let mut last = (Instant::now(), 0);
        loop {
            let (ended, n) = at(camera);
            if ended {
                break;
            }
            if n > last.1 {
                last = (Instant::now(), n);
            }
            stack.check_refused()?;
            if last.0.elapsed() > STANDSTILL {
                bail!("{camera} stands still at n {n} since {} s", STANDSTILL.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Frames that were published before the producer ended are still analysed.
fn wait_until_nothing_waits(stack: &Stack, checked: &mut Checked) {
    let deadline = Instant::now() + STANDSTILL;
    loop {
        let waiting =
            stack.ledgers().map(|all| all.iter().map(|ledger| ledger.redis.frames_left).sum::<u64>());
        if matches!(waiting, Ok(0)) {
            return;
        }
        if Instant::now() > deadline {
            checked.broke(Promise::NothingHangs, format!("frames still wait at the end: {waiting:?}"));
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Every entry of a camera's results, from the first on.
async fn all_results(stack: &Stack, camera: &CameraId) -> Result<Vec<ResultEntry>> {
    const AT_ONCE: usize = 1000;
    let redis = system::redis(stack).await?;
    let last = FrameId { ms: u64::MAX, seq: 0 };
    let (mut all, mut from) = (Vec::new(), FrameId::ZERO);
    loop {
        let some = redis.results_between(camera, from, last, AT_ONCE).await?;
        let Some(newest) = some.last().map(|entry| entry.id) else { return Ok(all) };
        from = newest.next();
        all.extend(some);
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (fault, times) in &self.faults {
            writeln!(f, "{times:4} x {fault}")?;
        }
        writeln!(
            f,
            "{} results; cameras changed their owner {} times; live frames: {} lost and counted, {} skipped and counted",
            self.frames, self.owners_changed, self.lost_and_counted, self.skipped
        )?;
        for (promise, places) in &self.broken {
            writeln!(f, "BROKEN: {promise}")?;
            for place in places {
                writeln!(f, "  {place}")?;
            }
        }
        write!(
            f,
            "{}",
            if self.broken.is_empty() { "every promise was kept" } else { "promises were broken" }
        )
    }
}
