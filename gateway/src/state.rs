//! What the gateway knows of each camera: asked of Redis once a second while somebody wants to know.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use peregrine_daemon::{Health, Shutdown};
use peregrine_proto::{
    CameraConfig, CameraHealth, CameraId, CameraState, Cameras, PictureShape, Problem, ServerMessage, mask,
};
use peregrine_streams::{
    Holder, MAX_CLOCK_SKEW, Progress, Reasons, Redis, Role, SourceHealth, SourceState, StreamError,
};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::relay::Hub;

/// How often Redis is asked while somebody wants to know.
const EVERY: Duration = Duration::from_secs(1);
/// How old an answer may be.
const FRESH: Duration = Duration::from_millis(1500);
/// For how long after a question the answer is kept up to date.
const INTEREST: Duration = Duration::from_secs(30);
/// How often an idle gateway makes sure that Redis is there, for `/readyz`.
const IDLE_CHECK: Duration = Duration::from_secs(5);
/// Who had an owner so recently is only changing hands, as cameras do when their configuration changes.
const CHANGES_HANDS: Duration = Duration::from_millis(1500);
/// Rates are taken over this long.
const RATE_OVER: Duration = Duration::from_secs(4);

/// All cameras at one moment.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    pub(crate) cameras: BTreeMap<CameraId, Known>,
    /// When Redis was asked for it.
    asked: Option<Instant>,
    /// Why Redis did not answer, if it did not; the cameras are then as they were before.
    pub(crate) unreachable: Option<String>,
}

/// A camera: how it is doing, and how it is set up. None where its configuration cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) state: CameraState,
    pub(crate) config: Option<CameraConfig>,
}

/// Answers what is known of the cameras.
#[derive(Debug)]
pub(crate) struct States {
    overview: watch::Sender<(Option<Instant>, Arc<Overview>)>,
    last_asked: Mutex<Option<Instant>>,
    asked: Notify,
}

impl States {
    pub(crate) fn new() -> Arc<Self> {
        let overview = watch::Sender::new((None, Arc::default()));
        Arc::new(Self { overview, last_asked: Mutex::default(), asked: Notify::new() })
    }

    /// All cameras, not older than a moment.
    pub(crate) async fn fresh(&self) -> Arc<Overview> {
        *self.last_asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut overview = self.overview.subscribe();
        let is_fresh = |(taken, _): &(Option<Instant>, _)| taken.is_some_and(|taken| taken.elapsed() < FRESH);
        if !is_fresh(&overview.borrow()) {
            self.asked.notify_one();
            let _ = overview.wait_for(is_fresh).await;
        }
        overview.borrow().1.clone()
    }

    /// All cameras as they are from now on: something was changed here.
    pub(crate) async fn anew(&self) -> Arc<Overview> {
        let now = Instant::now();
        *self.last_asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        let mut overview = self.overview.subscribe();
        self.asked.notify_one();
        let _ = overview.wait_for(|(_, overview)| overview.asked.is_some_and(|asked| asked > now)).await;
        overview.borrow().1.clone()
    }

    fn asked_within(&self, time: Duration) -> bool {
        let last = *self.last_asked.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < time)
    }

    /// Keeps the answer up to date while clients are connected or somebody asked lately.
    pub(crate) async fn watch(
        self: Arc<Self>,
        redis: Redis,
        hub: Arc<Hub>,
        health: Health,
        shutdown: Shutdown,
    ) {
        let mut members = hub.members();
        let mut looks = Looks::new();
        let mut was_unreachable = false;
        while !shutdown.is_requested() {
            let wanted = *members.borrow_and_update() > 0 || self.asked_within(INTEREST);
            let asked = Some(Instant::now());
            let answer = if wanted {
                observe(&redis).await
            } else {
                hub.forget_cameras();
                redis.ping().await.map(|()| Vec::new())
            };
            let unreachable = answer.as_ref().err().map(ToString::to_string);
            match &unreachable {
                Some(why) if !was_unreachable => {
                    warn!(error = %why, "lost Redis, trying again");
                    health.ready(false, why.clone());
                    let message = format!("the gateway lost Redis and tries again: {why}");
                    hub.tell(&ServerMessage::Problem(Problem { message }));
                }
                None if was_unreachable => {
                    info!("Redis is back");
                    health.ready(true, "serving");
                }
                _ => {}
            }
            was_unreachable = unreachable.is_some();
            if wanted {
                let overview = match answer {
                    Ok(observed) => Overview { cameras: looks.describe(observed), asked, unreachable: None },
                    Err(error) => unknown(&self.overview.borrow().1, asked, error),
                };
                if overview.unreachable.is_none() {
                    hub.set_known(&overview.cameras.keys().cloned().collect::<BTreeSet<_>>());
                }
                let cameras = overview.cameras.values().map(|known| known.state.clone()).collect();
                hub.tell_cameras(ServerMessage::Cameras(Cameras { cameras }));
                self.overview.send_replace((Some(Instant::now()), Arc::new(overview)));
            }
            let idle = !wanted;
            tokio::select! {
                () = tokio::time::sleep(if idle { IDLE_CHECK } else { EVERY }) => {}
                _ = members.changed(), if idle => {}
                () = self.asked.notified() => {}
                () = shutdown.requested() => {}
            }
        }
    }
}

/// The cameras as they were, marked as not known any more.
fn unknown(before: &Overview, asked: Option<Instant>, error: StreamError) -> Overview {
    let why = error.to_string();
    let mut cameras = before.cameras.clone();
    for known in cameras.values_mut() {
        known.state.health = CameraHealth::Reconnecting;
        known.state.error = Some(format!("the gateway lost Redis and tries again: {why}"));
        (known.state.fps_in, known.state.fps_out) = (0.0, 0.0);
    }
    Overview { cameras, asked, unreachable: Some(why) }
}

/// What Redis says of one camera.
struct Observed {
    camera: CameraId,
    config: Result<CameraConfig, String>,
    model: Option<String>,
    source: Option<SourceState>,
    producer: Option<Holder>,
    owner: Option<Holder>,
    progress: Progress,
    /// Why producers, and why processors cannot have it, by worker.
    unfit: [Vec<String>; 2],
}

async fn observe(redis: &Redis) -> Result<Vec<Observed>, StreamError> {
    let listed = redis.cameras().await?;
    let ids: Vec<CameraId> = listed.cameras.keys().cloned().collect();
    let (models, sources, producers, owners, progress, unfit_producers, unfit_processors) = tokio::try_join!(
        redis.models(),
        redis.source_states(&ids),
        redis.holders(Role::Producer, &ids),
        redis.holders(Role::Processor, &ids),
        redis.progress(&ids),
        redis.unfit(Role::Producer),
        redis.unfit(Role::Processor),
    )?;
    let model = models.iter().find(|model| model.default).or(models.first()).map(|model| &model.name);
    let mut rest = sources.into_iter().zip(producers).zip(owners).zip(progress);
    let mut observed = Vec::with_capacity(ids.len());
    for (camera, config) in listed.cameras {
        let Some((((source, producer), owner), progress)) = rest.next() else { break };
        let unfit = [&unfit_producers, &unfit_processors].map(|workers| unfit_for(&camera, workers));
        let (config, model) = (Ok(config), model.cloned());
        observed.push(Observed { camera, config, model, source, producer, owner, progress, unfit });
    }
    for (id, why) in listed.broken {
        if let Ok(camera) = CameraId::new(&id) {
            let (config, progress) = (Err(why), Progress::default());
            observed.push(Observed {
                camera,
                config,
                model: None,
                source: None,
                producer: None,
                owner: None,
                progress,
                unfit: Default::default(),
            });
        }
    }
    Ok(observed)
}

/// Why workers cannot have a camera, a sentence each.
fn unfit_for(camera: &CameraId, workers: &BTreeMap<String, Reasons>) -> Vec<String> {
    let of = |(worker, reasons): (&String, &Reasons)| {
        reasons.get(camera.as_str()).map(|why| format!("{worker} cannot: {why}"))
    };
    workers.iter().filter_map(of).collect()
}

/// What only several looks tell: rates of counts, and whether a camera is only changing hands.
#[derive(Debug)]
struct Looks {
    began: Instant,
    cameras: BTreeMap<CameraId, CameraLooks>,
}

#[derive(Debug, Default)]
struct CameraLooks {
    /// By the producer's clock, because it writes its count when it likes.
    published: Counted,
    /// By ours.
    results: Counted,
    /// When an owner was seen last.
    owned: Option<Instant>,
}

impl Looks {
    fn new() -> Self {
        Self { began: Instant::now(), cameras: BTreeMap::new() }
    }

    fn describe(&mut self, observed: Vec<Observed>) -> BTreeMap<CameraId, Known> {
        let now_us = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.cameras.retain(|camera, _| observed.iter().any(|o| o.camera == *camera));
        observed
            .into_iter()
            .map(|observed| {
                let looks = self.cameras.entry(observed.camera.clone()).or_default();
                let fps_out = looks.results.rate(now_us, now_us, observed.progress.results);
                let source = observed.source.as_ref();
                let fps_in = source
                    .map_or(0.0, |source| looks.published.rate(source.updated_us, now_us, source.published));
                if observed.owner.is_some() {
                    looks.owned = Some(Instant::now());
                }
                let owned = looks.owned.is_some_and(|at| at.elapsed() < CHANGES_HANDS);
                (observed.camera.clone(), describe(observed, fps_in, fps_out, owned))
            })
            .collect()
    }
}

/// A count at some moments.
#[derive(Debug, Default)]
struct Counted {
    counts: VecDeque<(i64, u64)>,
    /// When the last one was seen.
    seen_us: i64,
}

impl Counted {
    /// The rate per second over the last seconds, or since the last time that anybody asked, of a count at a moment of the
    /// clock of whoever counts, seen now by our monotonic one. It begins anew where the count did, and where that clock was set.
    fn rate(&mut self, at_us: i64, now_us: i64, count: u64) -> f32 {
        let was_set = |before: i64| {
            let (theirs, ours) = (at_us.saturating_sub(before), now_us - self.seen_us);
            theirs < 0 || theirs > 0 && theirs.abs_diff(ours) > MAX_CLOCK_SKEW.as_micros() as u64
        };
        if self.counts.back().is_some_and(|&(before, last)| count < last || was_set(before)) {
            self.counts.clear();
        }
        if self.counts.back().is_none_or(|&(before, _)| at_us > before) {
            self.counts.push_back((at_us, count));
            self.seen_us = now_us;
        }
        let over = i64::try_from(RATE_OVER.as_micros()).unwrap_or(i64::MAX);
        while self.counts.len() > 2 && self.counts.get(1).is_some_and(|&(second, _)| at_us - second >= over) {
            self.counts.pop_front();
        }
        match (self.counts.front(), self.counts.back()) {
            (Some(&(from, first)), Some(&(to, last))) if to > from => {
                ((last - first) as f64 * 1e6 / (to - from) as f64) as f32
            }
            _ => 0.0,
        }
    }
}

fn describe(observed: Observed, fps_in: f32, fps_out: f32, owned: bool) -> Known {
    let (health, error) = health(&observed, owned);
    let source = observed.source.unwrap_or_default();
    let config = observed.config.ok();
    let state = CameraState {
        name: config.as_ref().map_or_else(|| observed.camera.to_string(), |c| c.display_name().to_owned()),
        camera: observed.camera,
        health,
        error: error.map(|error| mask(&error).into_owned()),
        region: config.as_ref().map(|c| region_in(c, &source)).unwrap_or_default(),
        source: source.size,
        source_fps: source.fps as f32,
        // What stands still gives no frames, whatever the last count says.
        fps_in: if matches!(health, CameraHealth::Live | CameraHealth::NoOwner) { fps_in } else { 0.0 },
        fps_out,
        backlog: u32::try_from(observed.progress.backlog).unwrap_or(u32::MAX),
        owner: observed.owner.map(|owner| owner.worker),
        model: observed.model,
        calibrated: config.as_ref().is_some_and(|c| c.calibration.is_some()),
    };
    Known { state, config }
}

/// The region in the pixels of the source's picture of now; none where it was drawn on one of another shape.
fn region_in(config: &CameraConfig, source: &SourceState) -> Vec<[f32; 2]> {
    let region = &config.analysis.region;
    let (Some(on), Some(size)) = (config.analysis.region_drawn_on, source.size) else {
        return region.clone();
    };
    let now = PictureShape::new(size, source.pixel_aspect.unwrap_or(on.pixel_aspect));
    let Some([sx, sy]) = on.scale_to(&now) else { return Vec::new() };
    region.iter().map(|[x, y]| [(f64::from(*x) * sx) as f32, (f64::from(*y) * sy) as f32]).collect()
}

/// How a camera is doing, and a sentence about it where something is to be done. `owned`: somebody analyses it, or did so a moment ago.
fn health(observed: &Observed, owned: bool) -> (CameraHealth, Option<String>) {
    let Observed { config, source, producer, progress, unfit: [unfit_producers, unfit_processors], .. } =
        observed;
    if let Err(why) = config {
        return (CameraHealth::Failed, Some(why.clone()));
    }
    let state = source.as_ref().map(|source| source.state).unwrap_or_default();
    let said = source.as_ref().map(|source| source.error.clone()).filter(|error| !error.is_empty());
    let waiting = progress.backlog > 0;
    let no_owner = || {
        let text = "no processor analyses this camera: start one, or wait until one takes it";
        (CameraHealth::NoOwner, Some(with_reasons(text, unfit_processors)))
    };
    match (state, producer, owned) {
        (SourceHealth::Failed, ..) => (CameraHealth::Failed, said),
        (SourceHealth::Ended, _, false) if waiting => no_owner(),
        (SourceHealth::Ended, _, true) if waiting => (CameraHealth::Live, said),
        (SourceHealth::Ended, ..) => (CameraHealth::Ended, said),
        (_, None, _) => {
            let text = "no producer reads this camera: start one that may open its source";
            (CameraHealth::NoProducer, Some(said.unwrap_or_else(|| with_reasons(text, unfit_producers))))
        }
        (SourceHealth::Reconnecting, ..) => (CameraHealth::Reconnecting, said),
        (SourceHealth::Starting, ..) => (CameraHealth::Starting, said),
        (SourceHealth::Live, _, false) => no_owner(),
        (SourceHealth::Live, _, true) if progress.results == 0 => (CameraHealth::Starting, said),
        (SourceHealth::Live, ..) => (CameraHealth::Live, said),
    }
}

/// A sentence, and after it why those that are there do not do it.
fn with_reasons(text: &str, reasons: &[String]) -> String {
    [text].into_iter().chain(reasons.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use peregrine_proto::{Size, SourceConfig};

    use super::*;

    fn observed(
        state: Option<SourceHealth>,
        producer: bool,
        owner: bool,
        backlog: u64,
        results: u64,
    ) -> Observed {
        let holder = |held: bool, worker: &str| held.then(|| Holder { worker: worker.into(), epoch: 1 });
        let uri = "rtsp://user:secret@cam/1".to_owned();
        let source = SourceConfig::new(uri);
        let camera = CameraId::new("yard").unwrap();
        let (name, analysis) = (String::new(), Default::default());
        Observed {
            config: Ok(CameraConfig { id: camera.clone(), name, source, analysis, calibration: None }),
            camera,
            model: Some("m".into()),
            source: state.map(|state| SourceState {
                state,
                error: "cannot open rtsp://user:secret@cam/1".into(),
                ..SourceState::default()
            }),
            producer: holder(producer, "p1"),
            owner: holder(owner, "w1"),
            progress: Progress { backlog, results },
            unfit: Default::default(),
        }
    }

    #[test]
    fn region_lies_elsewhere_in_a_picture_of_another_size() {
        let mut config = observed(None, true, true, 0, 0).config.unwrap();
        config.analysis.region = vec![[0.0, 0.0], [640.0, 0.0], [640.0, 480.0]];
        config.analysis.region_drawn_on = Some(PictureShape::new(Size { width: 640, height: 480 }, 1.0));
        let on = |width, height, pixel_aspect| {
            let size = Some(Size { width, height });
            region_in(&config, &SourceState { size, pixel_aspect, ..SourceState::default() })
        };
        assert_eq!(region_in(&config, &SourceState::default()), config.analysis.region);
        assert_eq!(on(1280, 960, None)[2], [1280.0, 960.0]);
        assert_eq!(on(320, 480, Some(2.0))[2], [320.0, 480.0]);
        assert_eq!(on(640, 360, Some(1.0)), Vec::<[f32; 2]>::new());
    }

    #[test]
    fn health_is_not_what_leases_and_source_say() {
        use CameraHealth as Is;
        use SourceHealth as Src;
        for (source, producer, owner, backlog, results, expected) in [
            (None, false, false, 0, 0, Is::NoProducer),
            (None, true, false, 0, 0, Is::Starting),
            (Some(Src::Starting), true, true, 0, 0, Is::Starting),
            (Some(Src::Live), true, true, 1, 0, Is::Starting),
            (Some(Src::Live), true, true, 1, 9, Is::Live),
            (Some(Src::Live), true, false, 8, 9, Is::NoOwner),
            (Some(Src::Live), false, true, 0, 9, Is::NoProducer),
            (Some(Src::Reconnecting), true, true, 0, 9, Is::Reconnecting),
            (Some(Src::Reconnecting), true, false, 0, 0, Is::Reconnecting),
            (Some(Src::Ended), true, true, 3, 9, Is::Live),
            (Some(Src::Ended), false, false, 3, 9, Is::NoOwner),
            (Some(Src::Ended), false, true, 0, 9, Is::Ended),
            (Some(Src::Failed), false, false, 0, 0, Is::Failed),
        ] {
            let found = health(&observed(source, producer, owner, backlog, results), owner).0;
            assert_eq!(found, expected, "{source:?} {producer} {owner} {backlog} {results}");
        }
    }

    #[test]
    fn camera_that_changes_hands_has_no_processor() {
        let look = |looks: &mut Looks, owner| {
            let known = looks.describe(vec![observed(Some(SourceHealth::Live), true, owner, 8, 9)]);
            known.into_values().next().unwrap().state.health
        };
        let mut looks = Looks::new();
        assert_eq!(look(&mut looks, false), CameraHealth::NoOwner, "nobody has been seen");
        assert_eq!(look(&mut looks, true), CameraHealth::Live);
        assert_eq!(look(&mut looks, false), CameraHealth::Live);
        std::thread::sleep(CHANGES_HANDS);
        assert_eq!(look(&mut looks, false), CameraHealth::NoOwner);
    }

    #[test]
    fn credentials_show_in_a_state() {
        let known = describe(observed(Some(SourceHealth::Failed), true, true, 0, 0), 1.0, 1.0, true);
        assert_eq!(known.state.error.as_deref(), Some("cannot open rtsp://***@cam/1"));
        assert_eq!(known.state.owner.as_deref(), Some("w1"));
    }

    #[test]
    fn unreadable_configuration_hides_the_camera() {
        let mut broken = observed(None, false, false, 0, 0);
        broken.config = Err("its configuration cannot be read".into());
        let known = describe(broken, 0.0, 0.0, false);
        assert_eq!(known.state.health, CameraHealth::Failed);
        assert_eq!(known.state.name, "yard");
    }

    #[test]
    fn processor_that_cannot_have_a_camera_is_not_named() {
        let mut left = observed(Some(SourceHealth::Live), true, false, 0, 0);
        let reasons = Reasons::from([("yard".into(), "it has an unknown key".into())]);
        let workers = BTreeMap::from([("w2".into(), reasons), ("w3".into(), Reasons::new())]);
        left.unfit[1] = unfit_for(&left.camera, &workers);
        let said = describe(left, 0.0, 0.0, false).state.error.unwrap();
        assert_eq!(
            said,
            "no processor analyses this camera: start one, or wait until one takes it; w2 cannot: it has an unknown key"
        );
    }

    #[test]
    fn rate_is_not_that_of_the_last_seconds() {
        let mut counted = Counted::default();
        let mut rate = |at_us: i64, count: u64| counted.rate(at_us, at_us, count);
        let second = 1_000_000;
        assert_eq!(rate(0, 100), 0.0);
        assert_eq!(rate(second, 107), 7.0);
        for s in 2..=10 {
            rate(s * second, 100 + 7 * s as u64);
        }
        assert_eq!(rate(10 * second, 170), 7.0, "the same sample again changes nothing");
        for s in 11..=16 {
            rate(s * second, 170);
        }
        assert_eq!(rate(16 * second, 170), 0.0);
        assert_eq!(rate(76 * second, 770), 10.0, "after a pause, since the last question");
        assert_eq!(rate(77 * second, 3), 0.0, "a counter that began anew");
        assert_eq!(rate(78 * second, 8), 5.0);
    }

    #[test]
    fn rate_after_a_clock_was_set_is_of_one_clock() {
        let second = 1_000_000;
        let hour = 3600 * second;
        for jump in [hour, -hour] {
            let mut counted = Counted::default();
            assert_eq!(counted.rate(hour, 0, 100), 0.0);
            assert_eq!(counted.rate(hour + second, second, 107), 7.0);
            assert_eq!(counted.rate(hour + jump + 2 * second, 2 * second, 114), 0.0);
            assert_eq!(counted.rate(hour + jump + 3 * second, 3 * second, 121), 7.0);
        }
    }
}
