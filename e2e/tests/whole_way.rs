//! One frame's whole way: its stages account for all of its time, and its spans tell one story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use peregrine_e2e::{
    clips,
    monitor::Monitor,
    otlp::{Collector, Received},
    rtsp::RtspServer,
    system::*,
};
use peregrine_proto::{
    CameraId, ClientMessage, FrameId, FrameResult, ResultStatus, ServerMessage, Stage, Subscribe, decode,
    encode,
};
use peregrine_stack::{Builder, Daemon, Stack};
use peregrine_streams::keys;
use tokio_tungstenite::tungstenite::Message;

const LONGEST: Duration = Duration::from_secs(90);

/// What the stages took, and what an independent clock says between capture and commit, microseconds.
struct Way {
    result: FrameResult,
    /// Those before `commit`.
    stages_us: i64,
    /// From sending the commit to its answer.
    commit_us: i64,
    clocked_us: i64,
}

impl Way {
    /// The part of the time that no stage explains. Redis' clock stands somewhere within `commit`: when the script runs.
    fn gap(&self) -> f64 {
        let rest = self.clocked_us - self.stages_us;
        (rest - rest.clamp(0, self.commit_us)) as f64 / self.clocked_us as f64
    }
}

/// What watches a stack from outside.
struct Witnesses {
    collector: Collector,
    monitor: Monitor,
}

impl Witnesses {
    fn of(stack: &Stack, collector: Collector) -> Result<Self> {
        Ok(Self { collector, monitor: Monitor::start(stack)? })
    }

    /// How long the commit of each frame took, as its span says, microseconds.
    fn commits_us(&self, camera: &CameraId) -> BTreeMap<String, i64> {
        let spans = self.collector.spans().into_iter();
        let of_camera = spans.filter(|span| {
            span.span.name == Stage::Commit.as_str() && span.attribute("peregrine.camera") == camera.as_str()
        });
        let us = |span: &Received| i64::try_from(span.nanoseconds() / 1000).unwrap();
        of_camera.map(|span| (span.attribute("peregrine.frame").to_owned(), us(&span))).collect()
    }
}

/// Every frame's spans go to the collector.
fn collected(builder: Builder, collector: &Collector) -> Builder {
    [Daemon::Producer, Daemon::Processor, Daemon::Gateway].into_iter().fold(builder, |builder, daemon| {
        let endpoint = collector.endpoint.clone();
        builder.set(daemon, "spans.ratio=1").env(daemon, "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    })
}

/// The ways of the analysed frames. A frame's capture is the producer's own stamp; when its commit is executed, Redis says. Those that
/// were committed before anybody watched Redis are left out.
fn ways(witnesses: &Witnesses, camera: &CameraId, results: Vec<(FrameId, FrameResult)>) -> Vec<Way> {
    let commits_us = witnesses.commits_us(camera);
    let analysed = results.into_iter().filter(|(_, result)| result.status == ResultStatus::Ok);
    let way = |(id, result): (FrameId, FrameResult)| {
        let committed_us = witnesses.monitor.added_us(&keys::results(camera), &id.to_string())?;
        let commit_us = *commits_us.get(&id.to_string())?;
        // Capturing ends where the clock begins.
        let after_capture = result.stages.iter().filter(|time| time.stage != Stage::Capture);
        let stages_us = after_capture.map(|time| i64::from(time.us)).sum();
        Some(Way { stages_us, commit_us, clocked_us: committed_us - result.captured_at_us, result })
    };
    analysed.filter_map(way).collect()
}

/// Of every frame, what no stage explains is below one twentieth.
fn no_gap(stack: &Stack, witnesses: &Witnesses, camera: &CameraId, frames: usize) -> Result<()> {
    let results = results(stack, camera.as_str(), frames, LONGEST)?;
    // Spans are sent once a second.
    thread::sleep(Duration::from_secs(3));
    let ways = ways(witnesses, camera, results);
    ensure!(ways.len() >= frames / 2, "{} of {frames} frames of {camera} were seen", ways.len());
    let mut gaps: Vec<f64> = ways.iter().map(Way::gap).collect();
    gaps.sort_by(f64::total_cmp);
    eprintln!(
        "{camera}: {} frames, unexplained {:.4} (median), {:.4} to {:.4}",
        gaps.len(),
        gaps[gaps.len() / 2],
        gaps[0],
        gaps[gaps.len() - 1]
    );
    for way in &ways {
        assert!(
            way.gap().abs() <= 0.05,
            "frame {} of {camera}: {} us by the clock of Redis, {} us in its stages and at most {} in commit: {:?}",
            way.result.position,
            way.clocked_us,
            way.stages_us,
            way.commit_us,
            way.result.stages
        );
    }
    Ok(())
}

/// Waits for 40 ms: what a model takes, and no core.
const MODEL: &str = "simulated:40";

#[test]
fn time_of_a_file_s_frame_is_not_in_its_stages() -> Result<()> {
    const FRAMES: u32 = 200;
    let folder = folder("whole-way-file")?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", FRAMES)?.display().to_string();
    let (fast, paced) = (camera("fast", &clip, "pace = 'fast'")?, camera("paced", &clip, "fps = 10")?);
    let collector = Collector::start()?;
    let builder = stack(&folder, vec![fast.clone(), paced.clone()])?.model(MODEL);
    let stack = collected(builder, &collector).start()?;
    let witnesses = Witnesses::of(&stack, collector)?;
    no_gap(&stack, &witnesses, &fast.id, 150)?;
    no_gap(&stack, &witnesses, &paced.id, 80)
}

#[test]
fn time_of_a_live_frame_is_not_in_its_stages() -> Result<()> {
    let folder = folder("whole-way-live")?;
    let server = RtspServer::serve(&clips::test_picture(&folder, "clip.mp4", "320x180", 600)?, None)?;
    let live = camera("live", &format!("rtsp://{}/clip", server.address), "")?;
    let collector = Collector::start()?;
    let stack = collected(stack(&folder, vec![live.clone()])?.model(MODEL), &collector).start()?;
    let witnesses = Witnesses::of(&stack, collector)?;
    no_gap(&stack, &witnesses, &live.id, 100)
}

/// A client that takes results until enough have come, as a browser would.
fn watch(stack: &Stack, camera: &CameraId, enough: usize) -> Result<()> {
    let url = format!("{}/ws", stack.gateway_url().context("no gateway")?.replacen("http", "ws", 1));
    block_on(async {
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
        let subscribe = Subscribe { cameras: vec![camera.clone()], results: true, ..Subscribe::default() };
        socket.send(Message::Binary(encode(&ClientMessage::Subscribe(subscribe)).into())).await?;
        let mut seen = 0;
        while seen < enough {
            let next = tokio::time::timeout(LONGEST, socket.next()).await?.context("closed")??;
            let Message::Binary(bytes) = next else { continue };
            seen += usize::from(matches!(decode(&bytes)?, ServerMessage::Result(_)));
        }
        Ok(())
    })
}

#[test]
fn spans_of_a_frame_tell_several_stories_or_a_daemon_s_is_missing() -> Result<()> {
    let folder = folder("whole-way-spans")?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", 100)?;
    let collector = Collector::start()?;
    let yard = camera("yard", &clip.display().to_string(), "fps = 20\nloop = true")?;
    let stack = collected(stack(&folder, vec![yard.clone()])?.gateway(0), &collector).start()?;
    watch(&stack, &yard.id, 60)?;

    let expected: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("peregrine-producer", vec!["frame", "capture", "decode", "resize", "credit", "publish"]),
        (
            "peregrine-processor",
            vec![
                "queue",
                "read",
                "wait",
                "preprocess",
                "infer",
                "postprocess",
                "track",
                "speed",
                "zones",
                "commit",
            ],
        ),
        ("peregrine-gateway", vec!["relay"]),
    ]);
    let deadline = Instant::now() + Duration::from_secs(90);
    let complete = |spans: &[Received]| {
        expected.iter().all(|(service, names)| {
            names
                .iter()
                .all(|name| spans.iter().any(|span| span.service == *service && span.span.name == *name))
        })
    };
    let traces = loop {
        let mut traces: BTreeMap<Vec<u8>, Vec<Received>> = BTreeMap::new();
        collector
            .spans()
            .into_iter()
            .for_each(|span| traces.entry(span.span.trace_id.clone()).or_default().push(span));
        if traces.values().filter(|spans| complete(spans)).count() >= 40 {
            break traces;
        }
        ensure!(Instant::now() < deadline, "{} traces, none or few of them whole", traces.len());
        thread::sleep(Duration::from_millis(200));
    };
    for spans in traces.values().filter(|spans| complete(spans)) {
        let frames: BTreeSet<&str> = spans.iter().map(|span| span.attribute("peregrine.frame")).collect();
        assert_eq!(frames.len(), 1, "one trace, several frames");
        let whole: Vec<_> = spans.iter().filter(|span| span.span.name == "frame").collect();
        assert_eq!(whole.len(), 1, "one frame, several beginnings");
        assert!(whole[0].span.parent_span_id.is_empty(), "the frame is no beginning");
        for span in spans.iter().filter(|span| span.span.name != "frame") {
            assert_eq!(
                span.span.parent_span_id, whole[0].span.span_id,
                "{} is another's child",
                span.span.name
            );
            assert!(
                span.span.start_time_unix_nano >= whole[0].span.start_time_unix_nano,
                "{}",
                span.span.name
            );
            assert_ne!(span.span.span_id, whole[0].span.span_id);
        }
        // From its capture on, each stage begins where the one before it ends: what lies between is in no stage.
        let one = |name: &str| &spans.iter().find(|span| span.span.name == name).unwrap().span;
        let explained: u64 = spans
            .iter()
            .filter(|span| !["frame", "capture", "publish", "relay"].contains(&span.span.name.as_str()))
            .map(Received::nanoseconds)
            .sum();
        let clocked = one("commit").end_time_unix_nano - one("capture").end_time_unix_nano;
        let gap = (clocked as f64 - explained as f64).abs();
        assert!(
            gap < 0.05 * clocked as f64 + 1e6,
            "{clocked} ns between capture and commit, {explained} in stages"
        );
    }
    Ok(())
}
