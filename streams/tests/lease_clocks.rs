//! Leases under a clock that jumps, against a real Redis: the scripts as they are sent, with one more line that shadows
//! `redis.call('TIME')` by the test's own clock. Every sequence has a camera and a clock of its own; a step of all of them
//! is one pipeline. `PEREGRINE_LEASE_SEQUENCES` says how many there are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "protocol/server.rs"]
mod server;

use anyhow::{Context, Result, ensure};
use peregrine_streams::script_text;
use rand::{Rng, SeedableRng, rngs::StdRng};
use redis::{Value, aio::MultiplexedConnection};

use server::Server;

const STEPS: usize = 40;
const WORKERS: usize = 3;
/// A sequence whose number divides by this has a worker of the release before, the first one.
const WITH_AN_OLD_ONE: usize = 4;
const KEPT_FOR_MS: u64 = 1500;
/// The longest TTL that a worker can be given, which is taken for that of a worker of the release before.
const LONGEST_TTL_MS: u64 = 600_000;
const TEN_YEARS_MS: f64 = 3.2e11;
/// The last argument of each call is the clock, ms.
const SHADOW: &str = "
local server = redis
local redis = setmetatable({call = function(name, ...)
  if name ~= 'TIME' then return server.call(name, ...) end
  local ms = tonumber(ARGV[#ARGV])
  return {math.floor(ms / 1000), ms % 1000 * 1000}
end}, {__index = server})";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Run(u64),
    Jump(i64),
    Acquire(usize),
    Renew(usize),
    Commit(usize),
    Release(usize),
    Want(usize),
}

impl Step {
    fn draw(random: &mut StdRng) -> Self {
        let worker = random.random_range(0..WORKERS);
        match random.random_range(0..20) {
            0..=3 => Self::Run(random.random_range(1..6000)),
            4..=6 => Self::jump(random),
            7..=11 => Self::Acquire(worker),
            12 | 13 => Self::Renew(worker),
            14..=16 => Self::Commit(worker),
            17 => Self::Release(worker),
            _ => Self::Want(worker),
        }
    }

    /// By 1 ms to 10 years, each order of magnitude as often.
    fn jump(random: &mut StdRng) -> Self {
        let ms = TEN_YEARS_MS.powf(random.random_range(0.0..1.0)) as i64;
        Self::Jump(if random.random() { ms } else { -ms })
    }
}

/// What is known of a camera without looking into Redis.
struct Sequence {
    number: usize,
    clock_ms: i64,
    /// Time that really passed.
    run_ms: u64,
    renewed_since_jump: bool,
    ttl_ms: [u64; WORKERS],
    fences: [Option<String>; WORKERS],
    /// Who holds the camera, and when it took it, renewed it or committed last.
    holder: Option<(usize, u64)>,
    epoch: u64,
    committed: u64,
    history: Vec<Step>,
}

impl Sequence {
    fn new(number: usize, random: &mut StdRng) -> Self {
        Self {
            number,
            clock_ms: 1_800_000_000_000,
            run_ms: 0,
            renewed_since_jump: false,
            ttl_ms: [0; WORKERS].map(|_| random.random_range(1000..8000)),
            fences: [const { None }; WORKERS],
            holder: None,
            epoch: 0,
            committed: 0,
            history: Vec::new(),
        }
    }

    fn is_old(&self, worker: usize) -> bool {
        worker == 0 && self.number.is_multiple_of(WITH_AN_OLD_ONE)
    }

    /// The command of a step; none for one that only moves the clock.
    fn command(&mut self, step: Step, scripts: &Scripts) -> Option<redis::Cmd> {
        self.history.push(step);
        let camera = self.number;
        let key = |what: &str| format!("peregrine:{{{camera}}}:{what}");
        let name = |worker: usize| format!("worker-{worker}.0");
        let fence = |worker: usize| self.fences[worker].clone().unwrap_or_else(|| "none".into());
        let (script, worker, keys, mut args) = match step {
            Step::Run(ms) => {
                self.run_ms += ms;
                self.clock_ms += ms as i64;
                return None;
            }
            Step::Jump(ms) => {
                self.renewed_since_jump = false;
                self.clock_ms = (self.clock_ms + ms).max(0);
                return None;
            }
            Step::Acquire(w) => {
                let args = vec![name(w), self.ttl_ms[w].to_string(), "0".into(), "0".into()];
                ("acquire.lua", w, vec![key("owner"), key("checkpoint")], args)
            }
            Step::Renew(w) => {
                ("renew.lua", w, vec![key("owner")], vec![fence(w), self.ttl_ms[w].to_string()])
            }
            Step::Commit(w) => {
                let id = |n: u64| format!("{n}-0");
                let expected = self.committed;
                let n = (expected + 1).to_string();
                let expected = if expected == 0 { "0-0".into() } else { id(expected) };
                let mut args = vec![fence(w), id(self.committed + 1), expected, n];
                args.extend(["1", "", "", "result", "1"].map(String::from));
                args.extend([self.ttl_ms[w].to_string(), "1000".into(), String::new(), String::new()]);
                ("commit.lua", w, ["owner", "frames", "results", "checkpoint"].map(key).to_vec(), args)
            }
            Step::Release(w) => {
                ("release.lua", w, vec![key("owner")], vec![fence(w), KEPT_FOR_MS.to_string()])
            }
            Step::Want(w) => {
                let holder = self.holder.map_or(String::new(), |(holder, _)| name(holder));
                ("want.lua", w, vec![key("owner")], vec![holder, name(w), self.ttl_ms[w].to_string()])
            }
        };
        args.push(self.clock_ms.to_string());
        let mut command = redis::cmd("EVALSHA");
        command.arg(scripts.hash(script, self.is_old(worker))).arg(keys.len()).arg(keys).arg(args);
        Some(command)
    }

    /// Whether the holder has given a sign of life since the last jump, and within its TTL.
    fn holder_is_safe(&self) -> bool {
        let within_ttl = |(holder, seen): (usize, u64)| self.run_ms - seen < self.ttl_ms[holder];
        self.renewed_since_jump && self.holder.is_some_and(within_ttl)
    }

    /// Notes the holder's sign of life.
    fn seen(&mut self, holder: usize) {
        self.holder = Some((holder, self.run_ms));
        self.renewed_since_jump = true;
    }

    /// Compares an answer with what holds.
    fn check(&mut self, step: Step, answer: &Value) -> Result<()> {
        let text = |value: Option<&Value>| match value {
            Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Some(Value::Int(number)) => number.to_string(),
            _ => String::new(),
        };
        ensure!(!matches!(answer, Value::ServerError(_)), "{answer:?}");
        let parts = answer.as_sequence().unwrap_or(std::slice::from_ref(answer));
        let said = text(parts.first());
        let holder = self.holder.map(|(holder, _)| holder);
        match step {
            Step::Acquire(worker) if said == "1" => {
                ensure!(
                    holder == Some(worker) || !self.holder_is_safe(),
                    "worker {worker} robbed {holder:?}, which has renewed since the last jump"
                );
                let epoch: u64 = text(parts.get(2)).parse()?;
                ensure!(epoch > self.epoch, "epoch {epoch} after {}", self.epoch);
                self.epoch = epoch;
                self.fences[worker] = Some(text(parts.get(1)));
                self.seen(worker);
            }
            Step::Renew(worker) | Step::Commit(worker) => {
                let holds = holder == Some(worker);
                ensure!(
                    holds == (said == "OK"),
                    "worker {worker} was told {said}; {holder:?} holds the camera"
                );
                if holds {
                    self.seen(worker);
                    self.committed += u64::from(matches!(step, Step::Commit(_)));
                }
            }
            Step::Release(worker) => {
                ensure!((said == "1") == (holder == Some(worker)), "release by {worker} was told {said}");
                if said == "1" {
                    self.holder = None;
                    self.fences[worker] = None;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// For how long a camera can be without an owner once nobody lives who held it or asked for it: 2 TTL, as measured by
    /// the longest of them.
    fn free_within_ms(&self) -> u64 {
        let old = self.number.is_multiple_of(WITH_AN_OLD_ONE);
        let longest = self.ttl_ms.iter().copied().max().unwrap_or(0).max(KEPT_FOR_MS);
        if old { LONGEST_TTL_MS + 1000 } else { 2 * longest }
    }
}

/// The scripts that a server has learnt, of this release and of the one before.
struct Scripts(Vec<(&'static str, bool, String)>);

impl Scripts {
    const FILES: [&str; 5] = ["acquire.lua", "renew.lua", "commit.lua", "release.lua", "want.lua"];

    async fn load(connection: &mut MultiplexedConnection, shadow: &str, only_old: bool) -> Result<Self> {
        let mut scripts = Vec::new();
        for file in Self::FILES {
            let before = format!("{}/tests/protocol/before/{file}", env!("CARGO_MANIFEST_DIR"));
            let before = std::fs::read_to_string(before)?;
            let now = if only_old { Some(before.as_str()) } else { script_text(file) };
            let now = now.context("there is no such script")?;
            for (code, old) in [(now, false), (before.as_str(), true)] {
                let code = code.replacen('\n', &format!("{shadow}\n"), 1);
                let load = redis::cmd("SCRIPT").arg("LOAD").arg(code).take();
                scripts.push((file, old, load.query_async(connection).await?));
            }
        }
        Ok(Self(scripts))
    }

    fn hash(&self, file: &str, old: bool) -> &str {
        let found = self.0.iter().find(|(name, is_old, _)| *name == file && *is_old == old);
        found.map_or("", |(_, _, hash)| hash)
    }
}

/// One step of each sequence, all in one pipeline.
async fn step_all(
    sequences: &mut [Sequence],
    steps: &[Step],
    scripts: &Scripts,
    connection: &mut MultiplexedConnection,
) -> Result<Vec<Option<Value>>> {
    let mut pipe = redis::pipe();
    let mut asked = Vec::new();
    for (sequence, step) in sequences.iter_mut().zip(steps) {
        let command = sequence.command(*step, scripts);
        asked.push(command.is_some());
        command.into_iter().for_each(|command| {
            pipe.add_command(command);
        });
    }
    let answers: Vec<Value> = match pipe.is_empty() {
        true => Vec::new(),
        false => pipe.query_async(connection).await?,
    };
    let mut answers = answers.into_iter();
    let answers = asked.into_iter().map(|asked| if asked { answers.next() } else { None });
    let answers: Vec<Option<Value>> = answers.collect();
    for ((sequence, step), answer) in sequences.iter_mut().zip(steps).zip(&answers) {
        if let Some(answer) = answer {
            let checked = sequence.check(*step, answer);
            checked.with_context(|| format!("sequence {}: {:?}", sequence.number, sequence.history))?;
        }
    }
    Ok(answers)
}

/// Takes so many cameras through steps and jumps; `only_old` is the control, in which all workers are of the release before.
async fn sequences(count: usize, only_old: bool) -> Result<()> {
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let server = Server::start().await?;
    let mut connection = server.raw().await?;
    let scripts = Scripts::load(&mut connection, SHADOW, only_old).await?;
    let mut sequences: Vec<Sequence> = (0..count).map(|number| Sequence::new(number, &mut random)).collect();
    for _ in 0..STEPS {
        let steps: Vec<Step> = sequences.iter().map(|_| Step::draw(&mut random)).collect();
        let done = step_all(&mut sequences, &steps, &scripts, &mut connection).await;
        done.with_context(|| format!("seed {seed}"))?;
    }
    // Everybody dies as the clock jumps once more.
    let jumps: Vec<Step> = sequences.iter().map(|_| Step::jump(&mut random)).collect();
    step_all(&mut sequences, &jumps, &scripts, &mut connection).await?;
    // One who lives asks now and then, as workers do, and has the camera in the end.
    const ASKS: u64 = 6;
    let takes = vec![Step::Acquire(WORKERS - 1); sequences.len()];
    let mut answers = step_all(&mut sequences, &takes, &scripts, &mut connection).await?;
    for _ in 0..ASKS {
        let run: Vec<Step> =
            sequences.iter().map(|sequence| Step::Run(sequence.free_within_ms().div_ceil(ASKS))).collect();
        step_all(&mut sequences, &run, &scripts, &mut connection).await?;
        answers = step_all(&mut sequences, &takes, &scripts, &mut connection).await?;
    }
    for (sequence, answer) in sequences.iter().zip(answers) {
        let granted = matches!(&answer, Some(Value::Array(parts)) if parts.first() == Some(&Value::Int(1)));
        let Sequence { number, history, .. } = sequence;
        ensure!(granted, "seed {seed}, camera {number} has no owner: {answer:?}, {history:?}");
    }
    let commits: u64 = sequences.iter().map(|sequence| sequence.committed).sum();
    ensure!(commits > count as u64, "only {commits} commits: the steps try nothing");
    Ok(())
}

#[tokio::test]
async fn live_holders_keep_their_cameras_and_dead_ones_are_succeeded_whatever_the_clock_does() -> Result<()> {
    let count = std::env::var("PEREGRINE_LEASE_SEQUENCES").ok().and_then(|count| count.parse().ok());
    sequences(count.unwrap_or(2000), false).await
}

#[tokio::test]
async fn scripts_of_the_release_before_leave_cameras_without_an_owner() -> Result<()> {
    let failure = sequences(2000, true).await.unwrap_err();
    ensure!(failure.to_string().contains("has no owner"), "{failure:?}");
    Ok(())
}
