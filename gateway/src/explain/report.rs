//! What was found: a few sentences that anyone understands, then the tables.

use std::fmt::Write;

use peregrine_daemon::Metric;
use peregrine_proto::Stage;
use peregrine_streams::Danger;
use serde::Serialize;

use super::{
    diagnosis::{self, Cause, Finding},
    samples::{Observed, Timing},
    servers::{self, Server},
    system::{Camera, System, Worker},
    words::{list, ms, number, percent, plural},
};

/// The most cameras in the table: those that are worst off.
const MOST_CAMERAS: usize = 20;

/// Everything that `explain` says. Rates are a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Whether every camera gets what it should, and every client.
    pub(crate) healthy: bool,
    /// The time that was looked at.
    seconds: f64,
    /// The worst first.
    findings: Vec<Finding>,
    /// Settings of Redis that endanger data, a sentence each.
    dangers: Vec<String>,
    cameras: Vec<CameraRow>,
    stages: Vec<StageRow>,
    workers: Vec<WorkerRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct CameraRow {
    camera: String,
    /// None where a file is read as fast as there is room, or the source does not say.
    target_fps: Option<f64>,
    captured_fps: f64,
    published_fps: f64,
    processed_fps: f64,
    /// Dropped, skipped or lost anywhere.
    lost_fps: f64,
    /// From capture to result.
    age_ms: Option<f64>,
    backlog: f64,
    /// The fullest of all that its frames pass.
    fullest: Option<Fullest>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Fullest {
    stage: Stage,
    worker: String,
    busy: f64,
    /// Frames of this camera that it could do.
    capacity_fps: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct StageRow {
    stage: Stage,
    /// Of all cameras; none for stages after the commit, which follow from who watches.
    target_fps: Option<f64>,
    actual_fps: f64,
    mean_ms: f64,
    /// Frames in this stage at a time.
    at_a_time: f64,
    /// The fullest thread that spends most of its time here.
    busy: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct WorkerRow {
    worker: String,
    daemon: String,
    /// Cores in use, and how many it may use.
    cpu: f64,
    cores: Option<f64>,
    /// Threads that waited for a core.
    cpu_wait: f64,
    redis_round_trip_ms: Option<f64>,
}

/// What any daemon saw of it.
fn dangers(daemons: &[Observed]) -> Vec<String> {
    let is_seen = |danger: &Danger| {
        let labels = [("server", danger.server.as_str()), ("danger", danger.kind.as_str())];
        daemons.iter().any(|daemon| daemon.gauge(Metric::RedisDanger, &labels).is_some_and(|on| on > 0.0))
    };
    Danger::all().filter(is_seen).map(|danger| danger.to_string()).collect()
}

impl Report {
    /// What two looks at each daemon tell.
    pub(crate) fn of(daemons: &[Observed]) -> Self {
        let system = System::of(daemons);
        let findings = diagnosis::findings(&system);
        let mut cameras: Vec<CameraRow> =
            system.cameras.iter().map(|camera| camera_row(&system, camera)).collect();
        // Stable: equally well off, they stay in the order of their names.
        cameras.sort_by(|a, b| b.missing().total_cmp(&a.missing()));
        Self {
            healthy: findings.is_empty(),
            seconds: daemons.iter().map(|daemon| daemon.seconds).fold(0.0, f64::max),
            findings,
            dangers: dangers(daemons),
            cameras,
            stages: stage_rows(&system),
            workers: system.workers.iter().map(worker_row).collect(),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if self.healthy {
            text += &self.well();
        }
        for finding in &self.findings {
            text += &told(finding);
        }
        for danger in &self.dangers {
            let _ = writeln!(text, "Data is in danger: {danger}.");
        }
        text + &self.camera_table() + &self.stage_table() + &self.worker_table()
    }

    fn well(&self) -> String {
        let analysed: f64 = self.cameras.iter().map(|camera| camera.processed_fps).sum();
        let ages: Vec<f64> = self.cameras.iter().filter_map(|camera| camera.age_ms).collect();
        let age = match ages.len() {
            0 => String::new(),
            count => format!(", {} after their capture", ms(ages.iter().sum::<f64>() / count as f64 / 1e3)),
        };
        let mut text = format!(
            "Healthy: {} every frame that they should, {} a second{age}.\n",
            plural(self.cameras.len() as f64, "camera gets", "cameras get"),
            number(analysed),
        );
        let silent: Vec<&str> = self
            .cameras
            .iter()
            .filter(|camera| camera.captured_fps <= 0.0)
            .map(|camera| camera.camera.as_str())
            .collect();
        if !silent.is_empty() {
            let _ = writeln!(
                text,
                "  No frames come from {}: ended, or never begun; the dashboard says which.",
                list(&silent)
            );
        }
        let fullest = self.cameras.iter().filter_map(|camera| camera.fullest.as_ref());
        if let Some(fullest) =
            fullest.max_by(|a, b| a.busy.total_cmp(&b.busy)).filter(|fullest| fullest.busy > 0.0)
        {
            let _ = writeln!(
                text,
                "  The fullest is {} in {}, busy {} of the time: {} times as many frames would fill it.",
                fullest.stage,
                fullest.worker,
                percent(fullest.busy),
                number(1.0 / fullest.busy)
            );
        }
        text
    }

    fn camera_table(&self) -> String {
        let mut rows = vec![
            [
                "camera",
                "target/s",
                "captured/s",
                "published/s",
                "analysed/s",
                "lost/s",
                "age",
                "waiting",
                "fullest",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        rows.extend(self.cameras.iter().take(MOST_CAMERAS).map(|row| {
            vec![
                row.camera.clone(),
                row.target_fps.map_or("any".into(), number),
                number(row.captured_fps),
                number(row.published_fps),
                number(row.processed_fps),
                number(row.lost_fps),
                row.age_ms.map_or("–".into(), |age| ms(age / 1e3)),
                number(row.backlog),
                row.fullest
                    .as_ref()
                    .map_or("–".into(), |full| format!("{} {}", full.stage, percent(full.busy))),
            ]
        }));
        let more = self.cameras.len().saturating_sub(MOST_CAMERAS);
        let more =
            if more > 0 { format!("  and {more} others that are better off\n") } else { String::new() };
        table(&rows) + &more
    }

    fn stage_table(&self) -> String {
        let mut rows =
            vec![["stage", "target/s", "actual/s", "mean", "at a time", "busy"].map(str::to_owned).to_vec()];
        rows.extend(self.stages.iter().map(|row| {
            vec![
                row.stage.to_string(),
                row.target_fps.map_or("–".into(), number),
                number(row.actual_fps),
                ms(row.mean_ms / 1e3),
                format!("{:.2}", row.at_a_time),
                row.busy.map_or(String::new(), percent),
            ]
        }));
        table(&rows)
    }

    fn worker_table(&self) -> String {
        let mut rows =
            vec![["worker", "cores used", "may use", "waiting", "Redis answers"].map(str::to_owned).to_vec()];
        rows.extend(self.workers.iter().map(|row| {
            vec![
                row.worker.clone(),
                format!("{:.2}", row.cpu),
                row.cores.map_or("–".into(), number),
                format!("{:.2}", row.cpu_wait),
                row.redis_round_trip_ms.map_or("–".into(), |trip| ms(trip / 1e3)),
            ]
        }));
        table(&rows)
    }
}

impl CameraRow {
    fn missing(&self) -> f64 {
        self.target_fps.map_or(0.0, |target| target - self.processed_fps)
    }
}

/// A finding in sentences.
fn told(finding: &Finding) -> String {
    let Finding { cause, stage, workers, cameras, target, actual, .. } = finding;
    let (who, workers) = (list(cameras), list(workers));
    let s = if cameras.len() == 1 { "s" } else { "" };
    let gets = format!("{who} get{s} {} of {} frames a second", number(*actual), number(*target));
    let headline = match cause {
        Cause::Source if *actual <= 0.0 => format!("{who} give{s} no frames"),
        Cause::Source => format!("{gets}: the source gives no more"),
        Cause::Decode => format!("{gets}: making pictures of what the source gives takes too long"),
        Cause::Redis => format!("{gets}: Redis answers {workers} too slowly"),
        Cause::NoProcessor => format!("{gets}: no processor analyses {who}"),
        Cause::Model => format!("{gets}: the model is the bottleneck"),
        Cause::Analysis => format!("{gets}: {workers} cannot do more beside the model"),
        Cause::Cpu => format!("{gets}: {workers} lacks processor time"),
        Cause::Client => format!(
            "Clients of {workers} take {} of {} messages a second: they are too slow",
            number(*actual),
            number(*target)
        ),
        Cause::Unclear => format!("{gets}, or late: nothing is full"),
    };
    let mut text = format!("{headline} (stage {stage}).\n  {}\n", finding.evidence);
    for remedy in &finding.remedies {
        let gives = remedy.gives.map_or(String::new(), |gives| {
            let unit = if *cause == Cause::Client { "messages" } else { "frames" };
            format!(" → about {} {unit} a second", number(gives))
        });
        let _ = writeln!(text, "  - {}{gives}", remedy.change);
    }
    text
}

fn camera_row(system: &System, camera: &Camera) -> CameraRow {
    let fullest = servers::of(system, camera).into_iter().max_by(|a, b| a.busy.total_cmp(&b.busy));
    let named = |Server { stage, worker, busy, capacity, .. }| Fullest {
        stage,
        worker: system.worker(Some(worker)).map(|worker| worker.name.clone()).unwrap_or_default(),
        busy,
        capacity_fps: capacity,
    };
    CameraRow {
        camera: camera.id.clone(),
        target_fps: camera.target,
        captured_fps: camera.captured,
        published_fps: camera.published,
        processed_fps: camera.processed,
        lost_fps: camera.lost,
        age_ms: camera.age.map(|age| age * 1e3),
        backlog: camera.backlog,
        fullest: fullest.map(named),
    }
}

fn stage_rows(system: &System) -> Vec<StageRow> {
    let servers: Vec<Server> = system.cameras.iter().flat_map(|camera| servers::of(system, camera)).collect();
    let target: f64 = system.cameras.iter().filter_map(|camera| camera.target).sum();
    let row = |stage: &Stage| {
        let mut all = Timing::default();
        system.workers.iter().for_each(|worker| all += worker.stage(*stage));
        let busy =
            servers.iter().filter(|server| server.stage == *stage).map(|server| server.busy).reduce(f64::max);
        (all.rate > 0.0).then(|| StageRow {
            stage: *stage,
            target_fps: (*stage <= Stage::Commit && target > 0.0).then_some(target),
            actual_fps: all.rate,
            mean_ms: all.mean() * 1e3,
            at_a_time: all.share,
            busy,
        })
    };
    Stage::ALL.iter().filter_map(row).collect()
}

fn worker_row(worker: &Worker) -> WorkerRow {
    WorkerRow {
        worker: worker.name.clone(),
        daemon: worker.daemon.clone(),
        cpu: worker.cpu,
        cores: worker.cores,
        cpu_wait: worker.cpu_wait,
        redis_round_trip_ms: (worker.redis.rate > 0.0).then(|| worker.redis.mean() * 1e3),
    }
}

/// Columns side by side, the first one to the left and numbers to the right.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::from("\n");
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  "));
    }
    text
}
