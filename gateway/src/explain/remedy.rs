//! For each cause: what was measured that shows it, what to change, and how many frames that should give.

use peregrine_proto::Stage;
use serde::Serialize;

use super::{
    servers::{self, Server},
    system::{Camera, System, Worker},
    words::{cores, list, ms, number, percent, plural},
};

/// Seconds of a round trip to a Redis that is near and has time.
const USUAL_ROUND_TRIP: f64 = 0.001;
/// So much of a core is always to be had, whatever else a machine does.
const ALWAYS_IDLE: f64 = 0.25;
/// A server that is to do its work in time should rest for a part of it.
const ROOM: f64 = 0.9;

/// What to change, and what it should give.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Remedy {
    /// A sentence.
    pub(super) change: String,
    /// What there should be then instead of the finding's `actual`, a second; none where that cannot be told.
    pub(super) gives: Option<f64>,
}

impl Remedy {
    fn new(change: impl Into<String>, gives: f64) -> Self {
        Self { change: change.into(), gives: Some(gives) }
    }
}

type Evidence = (String, Vec<Remedy>);

/// Processors in which the model is never left alone.
pub(super) fn model(system: &System, cameras: &[&Camera]) -> Evidence {
    let processors: Vec<&Worker> = system.processors().collect();
    let count = processors.len() as f64;
    let mean = infer_mean(&processors);
    let batch = mean_of(&processors, |worker| (worker.inferred, worker.batch)).max(1.0);
    let capacity = batch / mean;
    let others: f64 = system.cameras.iter().map(|camera| camera.processed).sum::<f64>() - actual(cameras);
    let target = target(cameras);
    // A processor more needs as many cores as one has now.
    let each = processors.iter().map(|worker| worker.cpu).sum::<f64>() / count;
    let idle = idle_cores(&processors);
    let room = idle.map_or(f64::MAX, |idle| if each <= ALWAYS_IDLE { f64::MAX } else { idle / each });
    let with = |more: f64| (capacity * (count + more.min(room)) - others).clamp(0.0, target);

    let busiest = processors.iter().map(|worker| worker.model_busy(worker.stage(Stage::Infer).mean()));
    let evidence = format!(
        "A call of the model takes {} for {}, so {} can do {} frames a second; it is busy {} of the time{}.",
        ms(mean),
        if batch > 1.05 { format!("{} frames", number(batch)) } else { "a frame".into() },
        if processors.len() == 1 {
            "the one processor".into()
        } else {
            format!("each of {} processors", processors.len())
        },
        number(capacity),
        percent(busiest.fold(0.0, f64::max)),
        idle.map_or(String::new(), |idle| format!(", while {} idle", cores(idle))),
    );
    let rested: Vec<&str> = processors
        .iter()
        .filter(|worker| worker.model_busy(mean) < 0.6)
        .map(|worker| worker.name.as_str())
        .collect();
    let mut remedies = Vec::new();
    if !rested.is_empty() {
        remedies.push(Remedy::new(
            format!(
                "{} could help and {} not: see that processor.offload is on and the model the same",
                list(&rested),
                if rested.len() == 1 { "does" } else { "do" }
            ),
            with(0.0),
        ));
    }
    let needed = ((target + others) / (capacity * ROOM)).ceil().max(count + 1.0);
    for processors in [count + 1.0, needed] {
        let more = processors - count;
        let elsewhere = if more > room { ", on another machine: this one has no cores for it" } else { "" };
        let gives =
            if more > room { (capacity * processors - others).clamp(0.0, target) } else { with(more) };
        remedies.push(Remedy::new(
            format!(
                "run {} processors instead of {} (--scale processor={0}; ./dev scale processor={0}){elsewhere}",
                number(processors),
                number(count)
            ),
            gives,
        ));
    }
    remedies.dedup();
    let fits = ROOM * count * batch / (target + others);
    remedies.push(Remedy::new(
        format!(
            "or a model that takes at most {} a frame (a smaller one, or a GPU: model.provider)",
            ms(fits / batch)
        ),
        target,
    ));
    (evidence, remedies)
}

/// Cameras that are slow to decode.
pub(super) fn decode(system: &System, cameras: &[&Camera]) -> Evidence {
    let slowest = |a: &&&Camera, b: &&&Camera| made(a).total_cmp(&made(b));
    let Some(worst) = cameras.iter().max_by(slowest) else { return Evidence::default() };
    let (decode, resize, publish) =
        (mean(worst, Stage::Decode), mean(worst, Stage::Resize), mean(worst, Stage::Publish));
    let evidence = format!(
        "The thread of {} takes {} to decode a picture, {} to shrink and {} to publish it: {} frames a second at most.",
        worst.id,
        ms(decode),
        ms(resize),
        ms(publish),
        number(1.0 / made(worst)),
    );
    let half = |camera: &Camera| {
        let time = (mean(camera, Stage::Decode) + mean(camera, Stage::Resize)) / 4.0;
        1.0 / (time + mean(camera, Stage::Publish))
    };
    let with_half = cameras.iter().map(|camera| {
        reachable(system, camera, |server| match server.stage {
            Stage::Decode | Stage::Resize => half(camera),
            _ => server.capacity,
        })
    });
    let mut remedies = vec![Remedy::new(
        "take a stream of half the width and height from the source (most cameras offer a second one)",
        with_half.sum(),
    )];
    let allowed =
        worst.target.map(|target| ROOM / target - resize - publish).filter(|seconds| *seconds > 0.0);
    if let Some(seconds) = allowed {
        remedies.push(Remedy::new(
            format!(
                "or make decoding take at most {} a picture: another codec, a faster machine",
                ms(seconds)
            ),
            target(cameras),
        ));
    }
    (evidence, remedies)
}

/// A worker whose frames wait for Redis.
pub(super) fn redis(system: &System, at: &Worker, cameras: &[&Camera]) -> Evidence {
    let trips: Vec<String> = system
        .workers
        .iter()
        .filter(|worker| worker.redis.rate > 0.0)
        .map(|worker| format!("{} {}", worker.name, ms(worker.redis.mean())))
        .collect();
    let others_are_fine = system.workers.iter().any(|worker| {
        worker.name != at.name && worker.redis.rate > 0.0 && worker.redis.mean() * 5.0 < at.redis.mean()
    });
    let errors = if at.redis_errors > 0.0 {
        format!(" {} fails {} times a second.", at.name, number(at.redis_errors))
    } else {
        String::new()
    };
    let evidence = format!(
        "Redis answers {} after {} on average (usual: below {}). By worker: {}.{errors}",
        at.name,
        ms(at.redis.mean()),
        ms(USUAL_ROUND_TRIP),
        list(&trips),
    );
    let change = if others_are_fine {
        format!(
            "shorten the way from {} to Redis: others are answered at once, so it is the network between them",
            at.name
        )
    } else {
        "give Redis its time back: look for what holds it up (redis-cli SLOWLOG GET, --latency), for swapping, and for a core of its own".into()
    };
    let with = cameras.iter().map(|camera| {
        reachable(system, camera, |server| match server.stage {
            Stage::Commit => 1.0 / USUAL_ROUND_TRIP,
            Stage::Publish => 1.0 / (made(camera) - mean(camera, Stage::Publish) + USUAL_ROUND_TRIP),
            _ => server.capacity,
        })
    });
    (evidence, vec![Remedy::new(change, with.sum())])
}

/// A worker that does not get the cores that it could use.
pub(super) fn cpu(system: &System, at: &Worker, cameras: &[&Camera]) -> Evidence {
    let is_here = |index: Option<usize>| system.worker(index).is_some_and(|worker| worker.name == at.name);
    let all: f64 = system
        .cameras
        .iter()
        .filter(|camera| is_here(camera.producer) || is_here(camera.processor))
        .map(|camera| camera.processed)
        .sum();
    // Cores for one frame a second.
    let cost = if all > 0.0 { at.cpu / all } else { 0.0 };
    let needs = (all - actual(cameras) + target(cameras)) * cost / ROOM;
    let allowed = at.cores.or(at.machine_cores).unwrap_or(1.0);
    let waiting = (at.cpu_wait / servers::work(at)).min(0.95);
    let idle = at.machine_idle.map_or(String::new(), |idle| {
        format!(" {} of its machine's {} idle.", number(idle), cores(at.machine_cores.unwrap_or(idle)))
    });
    let evidence = format!(
        "{} used {} of the {} that it may use; for {} of its work's time it was ready and got no core.{idle}",
        at.name,
        number(at.cpu),
        cores(allowed),
        percent(waiting),
    );
    // How many times as much each of its threads could do then, and the cores that there are for all of them.
    let (change, faster, available) = if at.cpu > 0.9 * allowed {
        let more = needs.max(allowed);
        let change = "(its container's limit, or the cores that it is tied to)";
        (format!("let {} use {} {change}", at.name, cores(more)), more / allowed, more)
    } else {
        let change = format!(
            "take away what else runs on the cores of {}, or let it use others: it needs {}",
            at.name,
            cores(needs)
        );
        (change, 1.0 / (1.0 - waiting), allowed)
    };
    let of_camera = |camera: &&Camera| {
        reachable(system, camera, |server| {
            server.capacity * if is_here(Some(server.worker)) { faster } else { 1.0 }
        })
    };
    let most = if cost > 0.0 { available / cost - (all - actual(cameras)) } else { f64::MAX };
    (evidence, vec![Remedy::new(change, cameras.iter().map(of_camera).sum::<f64>().min(most))])
}

/// A thread of a processor beside the model's.
pub(super) fn analysis(at: &Worker, stage: Stage, cameras: &[&Camera]) -> Evidence {
    let (timing, count) = (at.stage(stage), cameras.len() as f64);
    let evidence =
        format!("{} takes {} for {stage}, on one thread for all its cameras.", at.name, ms(timing.mean()));
    let change = "run another processor: each has such a thread (a smaller analysis.size, or a higher track.low_threshold, makes less work)";
    let gives = (2.0 * actual(cameras)).min(target(cameras));
    (evidence, vec![Remedy { change: change.into(), gives: (count > 1.0).then_some(gives) }])
}

/// Sources that give less than they say.
pub(super) fn source(cameras: &[&Camera]) -> Evidence {
    let silent: Vec<&str> =
        cameras.iter().filter(|camera| !camera.is_up).map(|camera| camera.id.as_str()).collect();
    let given: f64 = cameras.iter().map(|camera| camera.captured).sum();
    let evidence = match silent.len() {
        0 => format!(
            "The sources give {} of {} frames a second, and the threads that read them mostly wait for the next one.",
            number(given),
            number(target(cameras))
        ),
        _ => format!("No frames come from {}: the producer tries again and again.", list(&silent)),
    };
    let change = "look at the camera and the network to it; its state in the dashboard (GET /api/cameras) says what is wrong";
    (evidence, vec![Remedy { change: change.into(), gives: None }])
}

/// Cameras without a processor.
pub(super) fn no_processor(system: &System, cameras: &[&Camera]) -> Evidence {
    let count = system.processors().count();
    let published: f64 = cameras.iter().map(|camera| camera.published).sum();
    let evidence = format!(
        "{} frames a second are published and nobody analyses them; {} there.",
        number(published),
        plural(count as f64, "processor is", "processors are"),
    );
    let change = if count == 0 {
        "start a processor"
    } else {
        "see in the processors' logs why none of them takes the camera"
    };
    (evidence, vec![Remedy { change: change.into(), gives: None }])
}

/// Cameras that get too little although nothing is full.
pub(super) fn unclear(system: &System, cameras: &[&Camera]) -> Evidence {
    let fullest = cameras
        .iter()
        .flat_map(|camera| servers::of(system, camera))
        .max_by(|a, b| a.busy.total_cmp(&b.busy));
    let fullest = fullest.map_or("nothing was measured".into(), |server| {
        format!("the fullest is {}, busy {} of the time", server.stage, percent(server.busy))
    });
    let evidence = format!("Nothing that the frames pass is full: {fullest}.");
    let change = "look again in a while (--seconds 20): it may be catching up, or was held up for a moment";
    (evidence, vec![Remedy { change: change.into(), gives: None }])
}

/// A gateway whose clients lose messages.
pub(super) fn client(gateway: &Worker) -> Evidence {
    let evidence = format!(
        "{} sends {} messages a second to {} and drops {} that were too slow to take; cameras and other clients do not suffer from it.",
        gateway.name,
        number(gateway.sent),
        plural(gateway.clients, "client", "clients"),
        number(gateway.dropped),
    );
    let change = "let slow clients read faster, or ask for less: a max_rate, a smaller preview_width, fewer cameras at a time";
    (evidence, vec![Remedy::new(change, gateway.sent + gateway.dropped)])
}

/// Frames a second that the camera would get if its servers could do what `change` says.
fn reachable(system: &System, camera: &Camera, change: impl Fn(&Server) -> f64) -> f64 {
    let target = camera.target.unwrap_or(f64::MAX);
    servers::of(system, camera).iter().map(change).fold(target, f64::min)
}

fn target(cameras: &[&Camera]) -> f64 {
    cameras.iter().filter_map(|camera| camera.target).sum()
}

fn actual(cameras: &[&Camera]) -> f64 {
    cameras.iter().map(|camera| camera.processed).sum()
}

fn mean(camera: &Camera, stage: Stage) -> f64 {
    camera.stage(stage).mean()
}

/// What the camera's thread in the producer spends on a frame.
fn made(camera: &Camera) -> f64 {
    [Stage::Decode, Stage::Resize, Stage::Publish].iter().map(|stage| mean(camera, *stage)).sum()
}

/// Seconds of a call of the model.
fn infer_mean(processors: &[&Worker]) -> f64 {
    mean_of(processors, |worker| (worker.stage(Stage::Infer).rate, worker.stage(Stage::Infer).mean()))
}

/// The mean of a value, by its weight.
fn mean_of(workers: &[&Worker], of: impl Fn(&Worker) -> (f64, f64)) -> f64 {
    let (weights, sum) = workers
        .iter()
        .map(|worker| of(worker))
        .fold((0.0, 0.0), |(weights, sum), (weight, value)| (weights + weight, sum + weight * value));
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// Idle cores of the machines that these workers run on: each is taken for the one with most.
fn idle_cores(workers: &[&Worker]) -> Option<f64> {
    workers.iter().filter_map(|worker| worker.machine_idle).reduce(f64::max)
}
