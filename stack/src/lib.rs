//! Starts a private local stack of Redis and the daemons: one launcher for the demo, the tests and the benchmarks.
//!
//! ```no_run
//! # fn example(camera: peregrine_proto::CameraConfig) -> anyhow::Result<()> {
//! let stack = peregrine_stack::Stack::builder().cameras(vec![camera]).processors(2).start()?;
//! println!("{}", stack.gateway_url().unwrap_or_default());
//! stack.scale(3)?;
//! let summary = stack.stop_and_drain();
//! assert!(summary.balanced);
//! # Ok(())
//! # }
//! ```
//! Everything is private: sockets in a folder that nobody else can enter, ports on localhost that were free. Nothing is left running,
//! however the program that started it ends.

pub mod control;
mod follow;
pub mod ledger;
mod memory;
mod pick;
pub mod quantiles;
mod redis_server;
pub mod summary;
pub mod supervisor;
pub mod tally;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use peregrine_daemon::ask;
pub use peregrine_daemon::metrics::Samples;
use peregrine_proto::{CameraConfig, CameraId};
use peregrine_streams::{RedisUrls, SourceState, given};
use tempfile::TempDir;

pub use memory::Memory;
pub use pick::{default_model, demo_clip, project_root};
pub use redis_server::RedisOptions;
pub use summary::Summary;
pub use supervisor::{Process, Signal};
use supervisor::{Program, Supervisor};

/// What a daemon gets to drain after SIGTERM before it is killed; its own grace period is 10 s.
const GRACE: Duration = Duration::from_secs(12);
/// The most processors that one machine is asked to run.
const MOST_PROCESSORS: usize = 64;

/// The daemons by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Daemon {
    /// Sources to frames.
    Producer,
    /// Frames to results.
    Processor,
    /// Results to browsers.
    Gateway,
}

impl Daemon {
    /// The name of its executable.
    pub fn executable(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Processor => "processor",
            Self::Gateway => "gateway",
        }
    }
}

/// What to start. Made by [`Stack::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    cameras: Vec<CameraConfig>,
    processors: usize,
    model: Option<PathBuf>,
    producer: bool,
    gateway: Option<u16>,
    web_dir: Option<PathBuf>,
    redis: RedisOptions,
    frames_redis: bool,
    settings: Vec<(Daemon, String)>,
    env: Vec<(Daemon, String, String)>,
    executables: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    results: Option<PathBuf>,
    ready_within: Duration,
    drain_within: Duration,
    cancelled: Arc<AtomicBool>,
}

impl Builder {
    /// The cameras that the producer gets in its configuration.
    pub fn cameras(mut self, cameras: Vec<CameraConfig>) -> Self {
        self.cameras = cameras;
        self
    }

    /// How many processors; one unless said.
    pub fn processors(mut self, processors: usize) -> Self {
        self.processors = processors;
        self
    }

    /// The model; the default model unless said.
    pub fn model(mut self, model: impl Into<PathBuf>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Whether a producer runs; yes unless said.
    pub fn producer(mut self, runs: bool) -> Self {
        self.producer = runs;
        self
    }

    /// Starts a gateway on this port of localhost, or the next free one; any free one for 0. None unless said.
    pub fn gateway(mut self, port: u16) -> Self {
        self.gateway = Some(port);
        self
    }

    /// The dashboard that the gateway serves; `web/dist` of the project unless said.
    pub fn web_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.web_dir = Some(dir.into());
        self
    }

    /// How Redis keeps its data.
    pub fn redis(mut self, options: RedisOptions) -> Self {
        self.redis = options;
        self
    }

    /// Frames go to a second Redis, without persistence.
    pub fn frames_redis(mut self, separate: bool) -> Self {
        self.frames_redis = separate;
        self
    }

    /// Sets a key of every daemon of a kind, `section.key=value`.
    pub fn set(mut self, daemon: Daemon, setting: impl Into<String>) -> Self {
        self.settings.push((daemon, setting.into()));
        self
    }

    /// Sets a variable in the environment of every daemon of a kind.
    pub fn env(mut self, daemon: Daemon, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((daemon, key.into(), value.into()));
        self
    }

    /// Where the executables are; beside the running one unless said.
    pub fn executables(mut self, folder: impl Into<PathBuf>) -> Self {
        self.executables = Some(folder.into());
        self
    }

    /// Where logs, configurations and data go, kept afterwards; a temporary folder unless said.
    pub fn run_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.run_dir = Some(folder.into());
        self
    }

    /// Writes every result to this file, a line of JSON each.
    pub fn results(mut self, file: impl Into<PathBuf>) -> Self {
        self.results = Some(file.into());
        self
    }

    /// What all daemons together may take until they are ready; a minute unless said.
    pub fn ready_within(mut self, longest: Duration) -> Self {
        self.ready_within = longest;
        self
    }

    /// What may be spent at the end on frames that still wait; 20 s unless said.
    pub fn drain_within(mut self, longest: Duration) -> Self {
        self.drain_within = longest;
        self
    }

    /// Starting is given up once this becomes true.
    pub fn cancelled_by(mut self, cancelled: Arc<AtomicBool>) -> Self {
        self.cancelled = cancelled;
        self
    }

    /// Starts everything, and waits until every daemon is ready.
    ///
    /// # Errors
    /// When something is missing, or a daemon ends or does not become ready: with what it said last. Nothing is left running then.
    pub fn start(self) -> anyhow::Result<Stack> {
        Stack::start(self)
    }
}

/// A running stack. Dropping it kills everything at once; [`Stack::stop_and_drain`] is the orderly way.
pub struct Stack {
    plan: Builder,
    folder: PathBuf,
    redis: PathBuf,
    frames_redis: Option<PathBuf>,
    gateway: Option<SocketAddr>,
    cameras: Vec<CameraId>,
    processors: AtomicUsize,
    scaling: Mutex<()>,
    started: Instant,
    /// Before the folders: it lets go of files when it ends.
    follower: follow::Follower,
    supervisor: Supervisor,
    sockets: TempDir,
    _temporary: Option<TempDir>,
}

impl Stack {
    /// One processor, the default model, no camera, no gateway.
    pub fn builder() -> Builder {
        Builder {
            cameras: Vec::new(),
            processors: 1,
            model: None,
            producer: true,
            gateway: None,
            web_dir: None,
            redis: RedisOptions::default(),
            frames_redis: false,
            settings: Vec::new(),
            env: Vec::new(),
            executables: None,
            run_dir: None,
            results: None,
            ready_within: Duration::from_secs(60),
            drain_within: Duration::from_secs(20),
            cancelled: Arc::default(),
        }
    }

    fn start(mut plan: Builder) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut needed = Vec::new();
        needed.extend(plan.producer.then_some(Daemon::Producer));
        needed.extend((plan.processors > 0).then_some(Daemon::Processor));
        needed.extend(plan.gateway.map(|_| Daemon::Gateway));
        plan.executables = Some(pick::executables(plan.executables.take(), &needed)?);
        if plan.processors > 0 {
            plan.model = Some(pick::model(plan.model.take())?);
        }
        let problems: Vec<String> = plan.cameras.iter().flat_map(CameraConfig::problems).collect();
        if !problems.is_empty() {
            bail!("the cameras cannot run:\n  {}", problems.join("\n  "));
        }
        let gateway = plan.gateway.map(pick::port).transpose()?;
        // The path of a socket has at most 107 bytes: a folder of the project may be too deep for it.
        let sockets = tempfile::Builder::new()
            .prefix("peregrine-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let temporary = match plan.run_dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("peregrine-run-").tempdir()?),
        };
        let folder = match (&plan.run_dir, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_path_buf(),
            (None, None) => bail!("there is no folder to run in"),
        };
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;

        let supervisor = Supervisor::new()?;
        let redis = redis_server::start(&supervisor, "redis", sockets.path(), &folder, plan.redis)?;
        let frames_redis = if plan.frames_redis {
            let options = RedisOptions { append_only: false, ..plan.redis };
            Some(redis_server::start(&supervisor, "frames-redis", sockets.path(), &folder, options)?)
        } else {
            None
        };
        let cameras: Vec<CameraId> = plan.cameras.iter().map(|camera| camera.id.clone()).collect();
        let follower = follow::Follower::start(&redis_server::url(&redis), &cameras, plan.results.clone())?;
        let stack = Self {
            processors: AtomicUsize::new(plan.processors),
            scaling: Mutex::new(()),
            plan,
            folder,
            redis,
            frames_redis,
            gateway,
            cameras,
            started,
            follower,
            supervisor,
            sockets,
            _temporary: temporary,
        };
        stack.start_daemons()?;
        Ok(stack)
    }

    fn start_daemons(&self) -> anyhow::Result<()> {
        for number in 1..=self.plan.processors {
            self.launch(Daemon::Processor, &format!("processor-{number}"))?;
        }
        if self.plan.producer {
            self.launch(Daemon::Producer, "producer")?;
        }
        if self.gateway.is_some() {
            self.launch(Daemon::Gateway, "gateway")?;
        }
        let watched = || !self.plan.cancelled.load(Ordering::Relaxed);
        self.await_ready_while(self.plan.ready_within, watched)
    }

    /// Writes the daemon's configuration and starts it.
    fn launch(&self, daemon: Daemon, name: &str) -> anyhow::Result<()> {
        let config = self.folder.join(format!("{name}.toml"));
        write_private(&config, &self.config(daemon, name)?)
            .with_context(|| format!("cannot write {}", config.display()))?;
        let mut args = vec!["--config".to_owned(), config.display().to_string()];
        for (_, setting) in self.plan.settings.iter().filter(|(of, _)| *of == daemon) {
            args.extend(["--set".to_owned(), setting.clone()]);
        }
        let env = self.plan.env.iter().filter(|(of, ..)| *of == daemon);
        let executables = self.plan.executables.as_deref().unwrap_or(Path::new("."));
        self.supervisor.start(Program {
            name: name.into(),
            executable: executables.join(daemon.executable()),
            args,
            env: env.map(|(_, key, value)| (key.clone(), value.clone())).collect(),
            log: self.folder.join(format!("{name}.log")),
        });
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "only its owner can read the file")]
    fn config(&self, daemon: Daemon, name: &str) -> anyhow::Result<String> {
        let mut redis = toml::Table::new();
        redis.insert("url".into(), redis_server::url(&self.redis).into());
        if let Some(frames) = &self.frames_redis {
            redis.insert("frames_url".into(), redis_server::url(frames).into());
        }
        let mut config = toml::Table::new();
        let section = |entries: Vec<(&str, toml::Value)>| -> toml::Value {
            toml::Table::from_iter(entries.into_iter().map(|(key, value)| (key.to_owned(), value))).into()
        };
        config.insert("daemon".into(), section(vec![("name", name.into())]));
        config.insert("redis".into(), redis.into());
        config.insert("admin".into(), section(vec![("listen", "127.0.0.1:0".into())]));
        match daemon {
            Daemon::Producer => {
                let camera = |camera: &CameraConfig| {
                    // Without what is the default: the executables may be those of an earlier release.
                    let mut entry = toml::Table::try_from(given(&camera.in_full()))?;
                    entry.insert("id".into(), camera.id.as_str().into());
                    Ok(entry.into())
                };
                let cameras: Vec<toml::Value> =
                    self.plan.cameras.iter().map(camera).collect::<anyhow::Result<_>>()?;
                config.insert("camera".into(), cameras.into());
            }
            Daemon::Processor => {
                let model = self.plan.model.clone().unwrap_or_default();
                let mut entries = vec![("path", model.display().to_string().into())];
                // What ./dev fetched, for those who start the stack without it.
                let library = project_root().join(".cache/onnxruntime/libonnxruntime.so.1.31.1");
                if std::env::var_os("ORT_DYLIB_PATH").is_none() && library.is_file() {
                    entries.push(("library", library.display().to_string().into()));
                }
                // Several of them share the processor's cores instead of fighting for each.
                if self.plan.processors > 1 {
                    let cores = thread::available_parallelism().map_or(1, usize::from);
                    let threads = (cores / self.plan.processors).max(1);
                    entries.push(("threads", i64::try_from(threads)?.into()));
                }
                config.insert("model".into(), section(entries));
            }
            Daemon::Gateway => {
                let listen = self.gateway.map(|address| address.to_string()).unwrap_or_default();
                let web = self.plan.web_dir.clone().unwrap_or_else(|| project_root().join("web/dist"));
                config.insert("gateway".into(), section(vec![("listen", listen.into())]));
                config.insert("web".into(), section(vec![("dir", web.display().to_string().into())]));
            }
        }
        Ok(toml::to_string(&config)?)
    }

    /// Waits until every daemon that should run answers that it is ready.
    ///
    /// # Errors
    /// When one refuses its configuration, dies before it was ready, or takes too long: with what it said last.
    pub fn await_ready(&self, longest: Duration) -> anyhow::Result<()> {
        self.await_ready_while(longest, || true)
    }

    fn await_ready_while(&self, longest: Duration, go_on: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + longest;
        let restarts: BTreeMap<String, u32> =
            self.daemons().into_iter().map(|p| (p.name, p.restarts)).collect();
        while go_on() {
            self.check_refused()?;
            let unready = self.daemons().into_iter().find(|daemon| !is_ready(daemon));
            let Some(daemon) = unready else { return Ok(()) };
            // Nothing here is far away: what fails while it starts will fail again.
            if daemon.restarts > restarts.get(&daemon.name).copied().unwrap_or(0) {
                bail!("{} does not start:\n{}", daemon.name, daemon.last_words());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {} s:\n{}", daemon.name, longest.as_secs(), daemon.last_words());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("ended before everything was ready")
    }

    /// Says why a daemon will never run, if that is so.
    ///
    /// # Errors
    /// With what it said.
    pub fn check_refused(&self) -> anyhow::Result<()> {
        self.supervisor.refused().map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
    }

    /// The daemons that should run.
    fn daemons(&self) -> Vec<Process> {
        let daemon = |process: &Process| process.wanted && !process.name.ends_with("redis");
        self.supervisor.processes().into_iter().filter(daemon).collect()
    }

    /// Redis and the daemons as they are now.
    pub fn processes(&self) -> Vec<Process> {
        self.supervisor.processes()
    }

    /// What happened that a person should know, since the last call.
    pub fn notices(&self) -> Vec<String> {
        self.supervisor.notices()
    }

    /// Where Redis is.
    pub fn redis_urls(&self) -> RedisUrls {
        RedisUrls {
            state: redis_server::url(&self.redis),
            frames: self.frames_redis.as_deref().map(redis_server::url),
        }
    }

    /// Where the dashboard is; none without a gateway.
    pub fn gateway_url(&self) -> Option<String> {
        self.gateway.map(|address| format!("http://{address}"))
    }

    /// The folder of logs and configurations.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of sockets, which nobody else can enter.
    pub fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// The text of a daemon's `/metrics`.
    ///
    /// # Errors
    /// When the daemon does not run or does not answer.
    pub fn metrics(&self, name: &str) -> anyhow::Result<Samples> {
        Ok(Samples::parse(&self.metrics_text(name)?))
    }

    /// The same as the process writes it.
    ///
    /// # Errors
    /// As for [`Stack::metrics`].
    pub fn metrics_text(&self, name: &str) -> anyhow::Result<String> {
        let process = self.supervisor.process(name).with_context(|| format!("there is no {name}"))?;
        let admin = process.admin.with_context(|| format!("{name} has no address for metrics yet"))?;
        let (status, body) =
            ask(&admin.to_string(), "/metrics").with_context(|| format!("{name} does not answer"))?;
        if status != 200 { bail!("{name} answers {status}") } else { Ok(body) }
    }

    /// Sends a signal to a process (`redis`, `producer`, `processor-1`, `gateway`). One that dies of it is started again.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        self.known(name)?;
        self.supervisor.signal(name, signal);
        Ok(())
    }

    /// Ends a process in an orderly way; it stays ended until it is started.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn stop(&self, name: &str) -> anyhow::Result<()> {
        self.known(name)?;
        self.supervisor.stop(name, GRACE);
        Ok(())
    }

    /// Starts a stopped process again, as it was, and waits until it is ready.
    ///
    /// # Errors
    /// When there is no such process, or it does not become ready.
    pub fn resume(&self, name: &str) -> anyhow::Result<()> {
        self.supervisor.start(self.known(name)?);
        if name.ends_with("redis") {
            redis_server::await_answer(&self.sockets.path().join(format!("{name}.sock")))
        } else {
            self.await_ready(self.plan.ready_within)
        }
    }

    /// Stops a process and starts it again.
    ///
    /// # Errors
    /// When there is no such process, or it does not become ready.
    pub fn restart(&self, name: &str) -> anyhow::Result<()> {
        self.stop(name)?;
        self.resume(name)
    }

    /// Stops a process and starts the executable of the same name in another folder in its place.
    ///
    /// # Errors
    /// When there is no such process, or it does not become ready.
    pub fn restart_from(&self, name: &str, executables: &Path) -> anyhow::Result<()> {
        let mut program = self.known(name)?;
        self.supervisor.stop(name, GRACE);
        let executable = program.executable.file_name().context("it has no executable")?;
        program.executable = executables.join(executable);
        self.supervisor.start(program);
        self.await_ready(self.plan.ready_within)
    }

    fn known(&self, name: &str) -> anyhow::Result<Program> {
        self.supervisor.program(name).with_context(|| {
            let names: Vec<String> = self.processes().into_iter().map(|p| p.name).collect();
            format!("there is no process `{name}`; there are {}", names.join(", "))
        })
    }

    /// How many processors should run.
    pub fn processors(&self) -> usize {
        self.processors.load(Ordering::Relaxed)
    }

    /// Starts more processors, or ends some in an orderly way; cameras move by themselves.
    ///
    /// # Errors
    /// When the number makes no sense or a new one does not become ready.
    pub fn scale(&self, processors: usize) -> anyhow::Result<()> {
        if processors > MOST_PROCESSORS {
            bail!("{processors} processors are more than this makes sense for: use 0 to {MOST_PROCESSORS}");
        }
        let _one_at_a_time = self.scaling.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.processors.swap(processors, Ordering::Relaxed);
        for number in now + 1..=processors {
            self.launch(Daemon::Processor, &format!("processor-{number}"))?;
        }
        self.stop_processors(processors + 1, now);
        self.await_ready(self.plan.ready_within)
    }

    /// All at once, so that none takes cameras of another that stops as well.
    fn stop_processors(&self, first: usize, last: usize) {
        thread::scope(|scope| {
            for number in first..=last {
                scope.spawn(move || self.supervisor.stop(&format!("processor-{number}"), GRACE));
            }
        });
    }

    /// Looks at what was counted so far.
    pub fn tally<T>(&self, look: impl FnOnce(&tally::Tally) -> T) -> T {
        self.follower.with(|tally| look(tally))
    }

    /// What the producer says of a camera's source; none where it has not had the camera yet.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub fn source_state(&self, camera: &CameraId) -> anyhow::Result<Option<SourceState>> {
        let mut state = redis::Client::open(redis_server::url(&self.redis))?.get_connection()?;
        Ok(ledger::source_state(&mut state, camera)?)
    }

    /// The cameras that it was started with.
    pub fn cameras(&self) -> &[CameraId] {
        &self.cameras
    }

    /// The account of every camera as of now; while frames flow, counts made at different moments need not agree.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub fn ledgers(&self) -> anyhow::Result<Vec<ledger::Ledger>> {
        let mut state = redis::Client::open(redis_server::url(&self.redis))?.get_connection()?;
        let frames = self.frames_redis.as_ref().unwrap_or(&self.redis);
        let mut frames = redis::Client::open(redis_server::url(frames))?.get_connection()?;
        let mut ledgers = Vec::new();
        for camera in &self.cameras {
            let counts = ledger::redis_counts(&mut state, &mut frames, camera)?;
            let producer = ledger::source_state(&mut state, camera)?.map(Into::into).unwrap_or_default();
            let tally = self.follower.with(|tally| tally.get(camera).cloned()).unwrap_or_default();
            ledgers.push(ledger::Ledger::new(camera.clone(), counts, producer, &tally));
        }
        Ok(ledgers)
    }

    /// Whether every camera's file has ended and all its frames have results.
    pub fn all_ended(&self) -> bool {
        self.follower.with(|tally| !tally.is_empty() && tally.values().all(|camera| camera.ended > 0))
    }

    /// Ends the producer, lets the processors finish what waits, draws up the balance, and ends the rest: processors, gateway, Redis.
    pub fn stop_and_drain(&self) -> Summary {
        let analysed = self.summary_span();
        self.supervisor.stop("producer", GRACE);
        let drained = self.drain();
        let mut summary = summary::Summary::of(self, analysed);
        if let Err(why) = drained {
            summary.fail(why);
        }
        self.stop_processors(1, self.processors());
        self.supervisor.stop("gateway", GRACE);
        self.supervisor.stop("redis", GRACE);
        self.supervisor.stop("frames-redis", GRACE);
        summary
    }

    /// Kills everything at once.
    pub fn kill_all(&self) {
        self.supervisor.kill_all();
    }

    /// Waits until no frame waits and every result was read.
    fn drain(&self) -> Result<(), String> {
        /// The last counts arrive within this once no frame waits.
        const SETTLE: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + self.plan.drain_within;
        let mut settled = Instant::now();
        loop {
            let ledgers = self.ledgers().map_err(|error| format!("the counts cannot be read: {error:#}"))?;
            let waiting: u64 = ledgers.iter().map(|ledger| ledger.redis.frames_left).sum();
            if waiting == 0 && ledgers.iter().all(|ledger| ledger.balanced) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let seconds = self.plan.drain_within.as_secs();
                // Counts that do not agree although nothing waits are the summary's to tell.
                return if waiting == 0 {
                    Ok(())
                } else {
                    Err(format!("{waiting} frames still waited after {seconds} s"))
                };
            }
            if waiting > 0 {
                settled = Instant::now();
            } else if settled.elapsed() > SETTLE {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// From the first result to now.
    fn summary_span(&self) -> Option<(Instant, Instant)> {
        let first = self.tally(|tally| tally.values().filter_map(|camera| camera.first).min())?;
        Some((first, Instant::now()))
    }
}

fn is_ready(process: &Process) -> bool {
    process.pid.is_some()
        && process
            .admin
            .is_some_and(|admin| ask(&admin.to_string(), "/readyz").is_ok_and(|(status, _)| status == 200))
}

/// A file that only its owner can read: addresses of cameras may hold passwords.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
