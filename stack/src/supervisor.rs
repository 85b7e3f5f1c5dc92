//! Keeps processes running: one thread starts them all, looks after them, and takes them along when it ends.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::{
        fs::OpenOptionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use peregrine_daemon::Backoff;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// How often the thread looks whether a process ended.
const LOOK: Duration = Duration::from_millis(25);
/// A process that ran for so long was healthy: its next restart is quick again.
const PROVEN: Duration = Duration::from_secs(20);
/// Notices that nobody reads are forgotten, oldest first.
const MOST_NOTICES: usize = 100;

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name here, such as `processor-1`.
    pub name: String,
    /// The executable.
    pub executable: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// What its environment has beside ours.
    pub env: Vec<(String, String)>,
    /// Where its output goes, appended.
    pub log: PathBuf,
}

/// A process as it is now.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its name here.
    pub name: String,
    /// Its process id while it runs.
    pub pid: Option<u32>,
    /// Whether it is meant to run.
    pub wanted: bool,
    /// How often it was started again after it died.
    pub restarts: u32,
    /// How it ended the last time.
    pub last_end: Option<ExitStatus>,
    /// Where its health and metrics are, once it has said so.
    pub admin: Option<SocketAddr>,
    /// Its output.
    pub log: PathBuf,
    /// Where in it the output of this start begins, bytes.
    pub log_start: u64,
}

impl Process {
    /// The last lines that it wrote since it was started the last time.
    pub fn last_words(&self) -> String {
        tail(&self.log, self.log_start)
    }
}

/// What other threads see.
#[derive(Default)]
struct Shared {
    programs: Vec<Program>,
    processes: Vec<Process>,
    notices: VecDeque<String>,
    /// Set when a process refuses its configuration: starting it again would change nothing.
    refused: Option<String>,
}

enum Order {
    Start(Program),
    Stop { name: String, grace: Duration },
    Signal { name: String, signal: Signal },
    KillAll,
}

/// The thread that owns the processes. Dropping it kills them.
pub struct Supervisor {
    orders: Option<SyncSender<(Order, SyncSender<()>)>>,
    shared: Arc<(Mutex<Shared>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the thread, with no process yet.
    pub fn new() -> io::Result<Self> {
        let (orders, received) = sync_channel(16);
        let shared = Arc::<(Mutex<Shared>, Condvar)>::default();
        let members = Members { members: Vec::new(), shared: shared.clone() };
        // Linux ends children with the *thread* that started them, so it must be one that lives as long as the stack.
        let thread =
            thread::Builder::new().name("supervisor".into()).spawn(move || members.run(&received))?;
        Ok(Self { orders: Some(orders), shared, thread: Some(thread) })
    }

    /// Starts a program, or starts it again under the name it had; from now on it is kept running.
    pub fn start(&self, program: Program) {
        self.order(Order::Start(program));
    }

    /// Asks a process to end with SIGTERM, kills it after `grace`, and returns once it is gone.
    pub fn stop(&self, name: &str, grace: Duration) {
        self.order(Order::Stop { name: name.into(), grace });
        let gone = |processes: &[Process]| {
            processes.iter().all(|p| p.name != name || (p.pid.is_none() && !p.wanted))
        };
        self.wait_for(grace + Duration::from_secs(2), gone);
    }

    /// Sends a signal. A process that dies of it is started again.
    pub fn signal(&self, name: &str, signal: Signal) {
        self.order(Order::Signal { name: name.into(), signal });
    }

    /// Kills every process at once.
    pub fn kill_all(&self) {
        self.order(Order::KillAll);
    }

    /// All processes as they are now.
    pub fn processes(&self) -> Vec<Process> {
        lock(&self.shared.0).processes.clone()
    }

    /// One of them.
    pub fn process(&self, name: &str) -> Option<Process> {
        self.processes().into_iter().find(|p| p.name == name)
    }

    /// What runs under this name.
    pub fn program(&self, name: &str) -> Option<Program> {
        lock(&self.shared.0).programs.iter().find(|program| program.name == name).cloned()
    }

    /// What happened that somebody should know, since the last call.
    pub fn notices(&self) -> Vec<String> {
        lock(&self.shared.0).notices.drain(..).collect()
    }

    /// Why a process will never run, if that is so.
    pub fn refused(&self) -> Option<String> {
        lock(&self.shared.0).refused.clone()
    }

    /// Waits until the processes are as `fine` wants them; false when that takes too long.
    pub fn wait_for(&self, longest: Duration, fine: impl Fn(&[Process]) -> bool) -> bool {
        let (shared, changed) = &*self.shared;
        let waited = changed.wait_timeout_while(lock(shared), longest, |shared| !fine(&shared.processes));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Returns when the order was carried out, and shows in [`Supervisor::processes`].
    fn order(&self, order: Order) {
        let (done, carried_out) = sync_channel(1);
        // The thread ends only with us: neither can fail.
        if let Some(orders) = &self.orders
            && orders.send((order, done)).is_ok()
        {
            let _ = carried_out.recv();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Member {
    program: Program,
    child: Option<Child>,
    wanted: bool,
    start_at: Instant,
    started_at: Instant,
    kill_at: Option<Instant>,
    backoff: Backoff,
    restarts: u32,
    last_end: Option<ExitStatus>,
    admin: Option<SocketAddr>,
    /// Length of the log when the process was started: what follows is its own.
    log_start: u64,
}

struct Members {
    members: Vec<Member>,
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

impl Members {
    fn run(mut self, orders: &Receiver<(Order, SyncSender<()>)>) {
        loop {
            let mut asked = None;
            match orders.recv_timeout(LOOK) {
                Ok((order, done)) => {
                    self.obey(order);
                    asked = Some(done);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for index in 0..self.members.len() {
                self.reap(index);
                self.start_if_due(index);
                self.members[index].find_admin();
            }
            self.publish();
            asked.map(|done| done.send(()));
        }
        self.kill_all();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start(program) => {
                let now = Instant::now();
                match self.members.iter_mut().find(|m| m.program.name == program.name) {
                    Some(member) => {
                        (member.program, member.wanted, member.start_at, member.kill_at) =
                            (program, true, now, None);
                    }
                    None => self.members.push(Member {
                        program,
                        child: None,
                        wanted: true,
                        start_at: now,
                        started_at: now,
                        kill_at: None,
                        backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
                        restarts: 0,
                        last_end: None,
                        admin: None,
                        log_start: 0,
                    }),
                }
            }
            Order::Stop { name, grace } => {
                if let Some(member) = self.members.iter_mut().find(|m| m.program.name == name) {
                    member.wanted = false;
                    member.kill_at = Some(Instant::now() + grace);
                    member.signal(Signal::TERM);
                }
            }
            Order::Signal { name, signal } => {
                if let Some(member) = self.members.iter_mut().find(|m| m.program.name == name) {
                    member.signal(signal);
                }
            }
            Order::KillAll => self.kill_all(),
        }
    }

    fn reap(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(child) = &mut member.child else { return };
        match child.try_wait() {
            Ok(None) if member.kill_at.is_some_and(|at| at <= Instant::now()) => {
                member.kill_at = None;
                member.signal(Signal::KILL);
                self.notice(format!(
                    "{} did not end in time and was killed",
                    self.members[index].program.name
                ));
            }
            Ok(None) => {}
            Ok(Some(status)) => self.ended(index, status),
            // Not ours any more: as good as gone.
            Err(_) => self.ended(index, ExitStatus::from_raw(0)),
        }
    }

    fn ended(&mut self, index: usize, status: ExitStatus) {
        /// What `peregrine_daemon` answers to a configuration that it cannot use.
        const CONFIGURATION: i32 = 2;
        let member = &mut self.members[index];
        (member.child, member.admin, member.kill_at, member.last_end) = (None, None, None, Some(status));
        if !member.wanted {
            return;
        }
        let (name, log) = (&member.program.name, &member.program.log);
        if status.code() == Some(CONFIGURATION) {
            member.wanted = false;
            let refused = format!("{name} cannot run:\n{}", tail(log, member.log_start));
            lock(&self.shared.0).refused = Some(refused);
            return;
        }
        if member.started_at.elapsed() > PROVEN {
            member.backoff.healthy();
        }
        let pause = member.backoff.failed();
        member.start_at = Instant::now() + pause;
        member.restarts += 1;
        let notice = format!(
            "{name} died ({}); starting it again in {:.1} s; its log is {}",
            describe(status),
            pause.as_secs_f64(),
            log.display()
        );
        self.notice(notice);
    }

    fn start_if_due(&mut self, index: usize) {
        let member = &mut self.members[index];
        if !member.wanted || member.child.is_some() || member.start_at > Instant::now() {
            return;
        }
        member.started_at = Instant::now();
        member.log_start = std::fs::metadata(&member.program.log).map_or(0, |log| log.len());
        match spawn(&member.program) {
            Ok(child) => member.child = Some(child),
            Err(error) => {
                member.wanted = false;
                let refused = format!("cannot start {}: {error}", member.program.executable.display());
                lock(&self.shared.0).refused = Some(refused);
            }
        }
    }

    fn kill_all(&mut self) {
        for member in &mut self.members {
            member.wanted = false;
            member.signal(Signal::KILL);
        }
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let _ = child.wait();
            }
        }
        self.publish();
    }

    fn notice(&self, text: String) {
        let mut shared = lock(&self.shared.0);
        if shared.notices.len() == MOST_NOTICES {
            shared.notices.pop_front();
        }
        shared.notices.push_back(text);
    }

    fn publish(&self) {
        let (shared, changed) = &*self.shared;
        let programs = self.members.iter().map(|member| member.program.clone()).collect();
        let processes = self.members.iter().map(Member::snapshot).collect();
        let mut now = lock(shared);
        (now.programs, now.processes) = (programs, processes);
        drop(now);
        changed.notify_all();
    }
}

impl Member {
    fn signal(&self, signal: Signal) {
        // A child that was not waited for keeps its number, so this cannot hit another process.
        if let Some(pid) = self.child.as_ref().map(Child::id).and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Daemons choose a free port for health and metrics, and log it when they start.
    fn find_admin(&mut self) {
        if self.child.is_none() || self.admin.is_some() || self.started_at.elapsed() > Duration::from_secs(10)
        {
            return;
        }
        let text = read_from(&self.program.log, self.log_start).unwrap_or_default();
        let address = text.split("admin=http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        self.admin = address.and_then(|address| address.parse().ok());
    }

    fn snapshot(&self) -> Process {
        Process {
            name: self.program.name.clone(),
            pid: self.child.as_ref().map(Child::id),
            wanted: self.wanted,
            restarts: self.restarts,
            last_end: self.last_end,
            admin: self.admin,
            log: self.program.log.clone(),
            log_start: self.log_start,
        }
    }
}

/// Starts a program in a process group of its own (Ctrl-C in the terminal is ours to pass on), and so that the kernel kills it
/// should this process be killed.
fn spawn(program: &Program) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&program.log)?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(&program.executable)
        .args(&program.args)
        .envs(program.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for an unknown reason".into(),
    }
}

/// The last lines that a process wrote.
fn tail(log: &Path, from: u64) -> String {
    let text = read_from(log, from).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn read_from(path: &Path, from: u64) -> io::Result<String> {
    /// What a daemon says while it starts, and more.
    const MOST: u64 = 256 * 1024;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(MOST))))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, name: &str, script: &str) -> Program {
        Program {
            name: name.into(),
            executable: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            log: folder.join(format!("{name}.log")),
        }
    }

    #[test]
    fn a_process_that_dies_stays_dead() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new().unwrap();
        supervisor.start(shell(folder.path(), "a", "sleep 60"));
        assert!(supervisor.wait_for(Duration::from_secs(10), |all| all[0].pid.is_some()));
        supervisor.signal("a", Signal::KILL);
        assert!(
            supervisor.wait_for(Duration::from_secs(10), |all| all[0].restarts == 1 && all[0].pid.is_some())
        );
        assert!(supervisor.notices()[0].contains("a died (signal 9)"));
    }

    #[test]
    fn a_stopped_process_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new().unwrap();
        supervisor.start(shell(folder.path(), "a", "sleep 60"));
        assert!(supervisor.wait_for(Duration::from_secs(10), |all| all[0].pid.is_some()));
        supervisor.stop("a", Duration::from_secs(5));
        let process = supervisor.process("a").unwrap();
        assert_eq!((process.pid, process.wanted, process.restarts), (None, false, 0));
        assert!(supervisor.notices().is_empty());
    }

    #[test]
    fn a_process_that_ignores_sigterm_is_waited_for_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new().unwrap();
        supervisor.start(shell(folder.path(), "a", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"));
        let log = folder.path().join("a.log");
        while !tail(&log, 0).contains("deaf") {
            thread::sleep(Duration::from_millis(5));
        }
        supervisor.stop("a", Duration::from_millis(50));
        assert_eq!(supervisor.process("a").unwrap().pid, None);
    }

    #[test]
    fn a_refused_configuration_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new().unwrap();
        supervisor.start(shell(folder.path(), "a", "echo 'no such key' >&2; exit 2"));
        assert!(supervisor.wait_for(Duration::from_secs(10), |all| !all[0].wanted));
        assert!(supervisor.refused().unwrap().contains("no such key"));
    }

    #[test]
    fn processes_outlive_their_supervisor() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new().unwrap();
        supervisor.start(shell(folder.path(), "a", "sleep 60"));
        assert!(supervisor.wait_for(Duration::from_secs(10), |all| all[0].pid.is_some()));
        let pid = supervisor.process("a").unwrap().pid.unwrap();
        drop(supervisor);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn the_admin_address_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new().unwrap();
        let says = "echo 'INFO started daemon=\"gateway\" admin=http://127.0.0.1:4711 x=1'; sleep 60";
        supervisor.start(shell(folder.path(), "a", says));
        assert!(
            supervisor
                .wait_for(Duration::from_secs(10), |all| all[0].admin.is_some_and(|a| a.port() == 4711))
        );
    }
}
