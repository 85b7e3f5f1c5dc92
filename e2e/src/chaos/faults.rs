//! What can go wrong, and doing it.

use std::{fmt, thread, time::Duration};

use anyhow::{Context, Result};
use peregrine_stack::{Signal, Stack};
use rand::{Rng, rngs::StdRng};

use super::{Plan, proxy::Proxy};

/// One of them, with whom it strikes.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// `kill -9`; it is started again by itself.
    KillProcessor(String),
    /// SIGSTOP for longer than the lease lasts, then SIGCONT: it wakes and finds its cameras taken.
    StopProcessor(String, Duration),
    /// SIGTERM, and a new start.
    EndProcessor(String),
    /// Every connection of every daemon is closed.
    CloseConnections,
    /// One connection of a processor leads nowhere from now on, and nobody is told.
    BlackholeConnection(usize),
    /// `kill -9`; started again with its append-only file.
    KillRedis,
    /// SIGSTOP, then SIGCONT.
    StopRedis(Duration),
    /// Writes are refused for a time.
    FillRedis(Duration),
    /// `kill -9` of the producer; it is started again by itself.
    KillProducer,
    /// SIGSTOP of the producer for longer than its leases last, then SIGCONT.
    StopProducer(Duration),
}

impl Fault {
    /// The next one.
    pub(super) fn draw(random: &mut StdRng, plan: &Plan) -> Self {
        let processor = format!("processor-{}", random.random_range(1..=plan.processors));
        let beyond_the_lease = plan.ttl.mul_f64(random.random_range(1.3..3.0));
        if plan.control {
            // What the checks of COMMIT are there for.
            return Self::StopProcessor(processor, beyond_the_lease);
        }
        match random.random_range(0..14) {
            0..=2 => Self::KillProcessor(processor),
            3..=5 => Self::StopProcessor(processor, beyond_the_lease),
            6 | 7 => Self::EndProcessor(processor),
            8 => Self::CloseConnections,
            9 => Self::BlackholeConnection(random.random_range(0..1000)),
            10 => Self::KillRedis,
            11 => match random.random() {
                true => Self::StopRedis(Duration::from_millis(random.random_range(200..6000))),
                false => Self::FillRedis(Duration::from_millis(random.random_range(500..3000))),
            },
            12 => Self::KillProducer,
            _ => Self::StopProducer(beyond_the_lease),
        }
    }

    /// Its kind.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::KillProcessor(_) => "processor killed",
            Self::StopProcessor(..) => "processor stopped beyond its lease",
            Self::EndProcessor(_) => "processor ended and started",
            Self::CloseConnections => "connections closed",
            Self::BlackholeConnection(_) => "connection blackholed",
            Self::KillRedis => "redis killed",
            Self::StopRedis(_) => "redis stopped",
            Self::FillRedis(_) => "redis full",
            Self::KillProducer => "producer killed",
            Self::StopProducer(_) => "producer stopped beyond its lease",
        }
    }

    /// Does it, and takes back what does not end by itself.
    pub(super) fn strike(&self, stack: &Stack, proxy: &Proxy) -> Result<()> {
        let stop = |name: &str, time: Duration| -> Result<()> {
            stack.kill(name, Signal::STOP)?;
            thread::sleep(time);
            stack.kill(name, Signal::CONT)
        };
        match self {
            Self::KillProcessor(name) => stack.kill(name, Signal::KILL),
            Self::StopProcessor(name, time) => stop(name, *time),
            Self::EndProcessor(name) => stack.restart(name),
            Self::CloseConnections => command(stack, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
            Self::BlackholeConnection(index) => {
                proxy.blackhole(*index);
                Ok(())
            }
            Self::KillRedis => stack.kill("redis", Signal::KILL),
            Self::StopRedis(time) => stop("redis", *time),
            Self::FillRedis(time) => {
                command(stack, &["CONFIG", "SET", "maxmemory", "1"])?;
                thread::sleep(*time);
                command(stack, &["CONFIG", "SET", "maxmemory", "512mb"])
            }
            Self::KillProducer => stack.kill("producer", Signal::KILL),
            Self::StopProducer(time) => stop("producer", *time),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, whom, time) = match self {
            Self::KillProcessor(name) | Self::EndProcessor(name) => (self.name(), name.as_str(), None),
            Self::StopProcessor(name, time) => (self.name(), name.as_str(), Some(time)),
            Self::StopRedis(time) | Self::FillRedis(time) | Self::StopProducer(time) => {
                (self.name(), "", Some(time))
            }
            _ => (self.name(), "", None),
        };
        f.write_str(what)?;
        if !whom.is_empty() {
            write!(f, ": {whom}")?;
        }
        time.map_or(Ok(()), |time| write!(f, ", {:.1} s", time.as_secs_f64()))
    }
}

/// Between two faults: sometimes the next one strikes before the last one is over.
pub(super) fn pause(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(100..4000))
}

/// Redis may be on its way back from another fault.
fn command(stack: &Stack, words: &[&str]) -> Result<()> {
    let client = redis::Client::open(stack.redis_urls().state)?;
    let mut last = None;
    for _ in 0..300 {
        let answer = client.get_connection().and_then(|mut connection| {
            redis::cmd(words[0]).arg(&words[1..]).query::<redis::Value>(&mut connection)
        });
        match answer {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no answer"), Into::into)).context(words.join(" "))
}
