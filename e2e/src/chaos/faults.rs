//! What can go wrong, and doing it.

use std::{fmt, thread, time::Duration};

use anyhow::Result;
use peregrine_stack::{Daemon, Signal, Stack};
use rand::{Rng, rngs::StdRng};

use super::{Plan, clocks::Clocks, proxy::Proxy, rollout::Rollout};
use crate::system::command;

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
    /// The wall clock of a daemon's machine jumps by so many seconds, and back after a time.
    JumpClock(Daemon, f64, Duration),
    /// The next replica of the release before is swapped for one of this release.
    Upgrade,
    /// The replica that was swapped last is swapped back.
    Downgrade,
}

impl Fault {
    /// The next one.
    pub(super) fn draw(random: &mut StdRng, plan: &Plan, rollout: Option<&Rollout>) -> Self {
        let processor = format!("processor-{}", random.random_range(1..=plan.processors));
        let beyond_the_lease = plan.ttl.mul_f64(random.random_range(1.3..3.0));
        if plan.control {
            // What the checks of COMMIT are there for.
            return Self::StopProcessor(processor, beyond_the_lease);
        }
        // Most of what happens while both releases are there.
        if let Some(rollout) = rollout.filter(|rollout| rollout.next().is_some()) {
            match random.random_range(0..6) {
                0 | 1 => return Self::Upgrade,
                2 if rollout.last().is_some() => return Self::Downgrade,
                _ => {}
            }
        }
        match random.random_range(0..16) {
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
            13 => Self::StopProducer(beyond_the_lease),
            jump => {
                let whose = if jump == 14 { Daemon::Producer } else { Daemon::Processor };
                // Below what a producer refuses.
                let seconds = random.random_range(-4.5..4.5);
                Self::JumpClock(whose, seconds, Duration::from_millis(random.random_range(500..5000)))
            }
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
            Self::Upgrade => "replica upgraded",
            Self::Downgrade => "replica swapped back",
            Self::JumpClock(Daemon::Producer, ..) => "clock of the producer jumped",
            Self::JumpClock(..) => "clock of the processors jumped",
        }
    }

    /// Does it, and takes back what does not end by itself.
    pub(super) fn strike(
        &self,
        stack: &Stack,
        proxy: &Proxy,
        clocks: &Clocks,
        rollout: Option<&mut Rollout>,
    ) -> Result<()> {
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
            Self::Upgrade => rollout.map_or(Ok(()), |rollout| rollout.go_on(stack)),
            Self::Downgrade => rollout.map_or(Ok(()), |rollout| rollout.go_back(stack)),
            Self::JumpClock(whose, seconds, time) => {
                clocks.set(*whose, *seconds)?;
                thread::sleep(*time);
                clocks.set(*whose, 0.0)
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, whom, time) = match self {
            Self::KillProcessor(name) | Self::EndProcessor(name) => (self.name(), name.as_str(), None),
            Self::StopProcessor(name, time) => (self.name(), name.as_str(), Some(time)),
            Self::StopRedis(time)
            | Self::FillRedis(time)
            | Self::StopProducer(time)
            | Self::JumpClock(_, _, time) => (self.name(), "", Some(time)),
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
