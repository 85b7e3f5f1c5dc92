//! The `stack` command: the demo, and changing a running one.

mod demo;
mod show;

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use clap::{Parser, Subcommand};
use peregrine_stack::{Stack, control, project_root};
use tokio::signal::unix::{SignalKind, signal};

/// Starts Redis and all daemons on this machine.
#[derive(Parser)]
#[command(name = "stack", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything on a clip or on cameras of yours, until Ctrl-C.
    Demo(demo::DemoArgs),
    /// Changes a running demo: status, scale processor=K, stop|start|restart NAME.
    Ctl {
        /// The folder of the demo.
        #[arg(long, value_name = "DIR")]
        run_dir: Option<PathBuf>,
        /// The command.
        #[arg(required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Ctl { run_dir, command } => {
            let folder = run_dir.unwrap_or_else(default_run_dir);
            control::send(&folder, &command.join(" ")).map(|answer| {
                // Nobody is left to tell when standard output is closed.
                let _ = std::io::stdout().write_all(answer.as_bytes());
                ExitCode::SUCCESS
            })
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("stack: {}", peregrine_proto::mask(&format!("{error:#}")));
        ExitCode::FAILURE
    })
}

/// Where a demo's logs go.
fn default_run_dir() -> PathBuf {
    project_root().join(".run/demo")
}

/// Ctrl-C, SIGTERM, and a closed terminal.
struct Interrupt {
    requested: Arc<AtomicBool>,
    stack: Arc<OnceLock<Weak<Stack>>>,
}

impl Interrupt {
    /// Watches from now on: the first asks to end, a second one ends at once.
    fn watch() -> anyhow::Result<Self> {
        let requested = Arc::<AtomicBool>::default();
        let stack = Arc::<OnceLock<Weak<Stack>>>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (flag, to_kill) = (requested.clone(), stack.clone());
        let (mut interrupt, mut terminate, mut hangup) = runtime.block_on(async {
            anyhow::Ok((
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ))
        })?;
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                    }
                    if flag.swap(true, Ordering::Relaxed) {
                        if let Some(stack) = to_kill.get().and_then(Weak::upgrade) {
                            stack.kill_all();
                            let _ = std::fs::remove_dir_all(stack.sockets());
                        }
                        // Whatever still runs is killed by the kernel together with us.
                        std::process::exit(130);
                    }
                }
            });
        })?;
        Ok(Self { requested, stack })
    }

    fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// What a second one kills.
    fn kills(&self, stack: &Arc<Stack>) {
        let _ = self.stack.set(Arc::downgrade(stack));
    }
}
