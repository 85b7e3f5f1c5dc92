//! The whole pipeline over the same clip: producer, Redis, processor, gateway and one client that receives each result.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use peregrine_proto::{CameraConfig, CameraId, CameraState, ResultStatus, ServerMessage, Stage, Subscribe};
use peregrine_stack::{Builder, Daemon, Stack};

use crate::{client::Client, cpu};

/// What one run of the pipeline cost.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Cost {
    /// Frames between the first and the last look.
    pub(crate) frames: u64,
    /// Number of the frame at the first look, and at the last.
    pub(crate) between: [u64; 2],
    /// Frames per second in between.
    pub(crate) fps: f64,
    /// CPU milliseconds per frame, by process.
    pub(crate) cpu_ms: BTreeMap<String, f64>,
    /// Mean wall milliseconds per frame, by stage.
    pub(crate) stage_ms: BTreeMap<&'static str, f64>,
}

impl Cost {
    /// All processes together.
    pub(crate) fn total_ms(&self) -> f64 {
        self.cpu_ms.values().sum()
    }
}

/// The daemons of the stack that is measured.
pub(crate) const DAEMONS: [Daemon; 3] = [Daemon::Producer, Daemon::Processor, Daemon::Gateway];
/// Frames before the first look: start-up is not what is measured.
const WARM_UP: u64 = 30;
/// Longest wait for a message.
const LONGEST: Duration = Duration::from_secs(30);

/// Runs such a stack over `frames` frames of its clip.
pub(crate) fn measure(builder: Builder, frames: u64) -> anyhow::Result<Cost> {
    let stack = builder.start()?;
    let cost = watch(&stack, frames)?;
    finish(stack, cost)
}

/// The stack that is measured: one camera, as fast as it goes. Its processor comes with the one who watches.
pub(crate) fn stack(clip: &Path, model: &Path, threads: usize) -> anyhow::Result<Builder> {
    let camera: CameraConfig = serde_json::from_value(serde_json::json!({
        "id": "bench",
        "source": { "uri": clip, "pace": "fast", "loop": true },
        "analysis": { "classes": ["person"] },
    }))?;
    Ok(Stack::builder()
        .cameras(vec![camera])
        .model(model)
        .processors(0)
        .gateway(0)
        .set(Daemon::Processor, format!("model.threads={threads}")))
}

/// Stops the stack: what it cost counts only when its account balances.
pub(crate) fn finish(stack: Stack, cost: Cost) -> anyhow::Result<Cost> {
    let summary = stack.stop_and_drain();
    ensure!(
        summary.balanced,
        "the counts of frames do not balance, so what was measured is not trusted: {}",
        serde_json::to_string_pretty(&summary.cameras)?
    );
    Ok(cost)
}

/// Watches `frames` frames as a client of the gateway.
pub(crate) fn watch(stack: &Stack, frames: u64) -> anyhow::Result<Cost> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(stack, frames))
}

async fn follow(stack: &Stack, frames: u64) -> anyhow::Result<Cost> {
    let subscribe =
        Subscribe { cameras: vec![CameraId::new("bench")?], results: true, ..Subscribe::default() };
    let mut client = Client::subscribe(stack, subscribe).await?;
    let is_bench = |camera: &CameraState| camera.camera.as_str() == "bench";
    while !matches!(client.next(LONGEST).await?, ServerMessage::Cameras(all) if all.cameras.iter().any(is_bench))
    {
    }
    // The source waits for it: whoever is there already misses no frame, and every run counts the same ones.
    stack.scale(1)?;
    let (mut seen, mut stages) = (0, BTreeMap::<Stage, u64>::new());
    let mut begin = None;
    loop {
        let ServerMessage::Result(message) = client.next(LONGEST).await? else { continue };
        let result = message.frame_result()?;
        if result.status != ResultStatus::Ok {
            continue;
        }
        seen += 1;
        if seen == WARM_UP {
            begin = Some((Instant::now(), result.n, by_process(stack)?));
            continue;
        }
        let Some((since, first, before)) = &begin else { continue };
        for time in &result.stages {
            *stages.entry(time.stage).or_default() += u64::from(time.us);
        }
        if seen < WARM_UP + frames {
            continue;
        }
        let took = since.elapsed();
        let after = by_process(stack)?;
        let n = frames as f64;
        let cost = |(name, after): (&String, &Duration)| match before.get(name) {
            Some(before) => Ok((name.clone(), (*after - *before).as_secs_f64() * 1e3 / n)),
            None => bail!("{name} was started anew while it was measured"),
        };
        return Ok(Cost {
            frames,
            between: [*first, result.n],
            fps: n / took.as_secs_f64(),
            cpu_ms: after.iter().map(cost).collect::<anyhow::Result<_>>()?,
            stage_ms: stages.iter().map(|(stage, us)| (stage.as_str(), *us as f64 / 1e3 / n)).collect(),
        });
    }
}

fn by_process(stack: &Stack) -> anyhow::Result<BTreeMap<String, Duration>> {
    let processes = stack.processes();
    let running = processes.iter().filter_map(|process| Some((process.name.clone(), process.pid?)));
    running.map(|(name, pid)| Ok((name, cpu::of_process(pid)?))).collect()
}
