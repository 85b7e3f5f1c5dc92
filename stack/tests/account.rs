//! A stack of Redis alone: the test writes what daemons would, and looks at the account.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use peregrine_proto::{
    CameraConfig, CameraId, FrameId, FrameResult, LossReason, ResultStatus, SCHEMA, Size, encode,
};
use peregrine_stack::{Signal, Stack, Summary};
use peregrine_streams::keys;

fn camera() -> CameraConfig {
    toml::from_str("id = \"a\"\nsource.uri = \"synthetic:road\"").unwrap()
}

fn stack() -> Stack {
    Stack::builder().cameras(vec![camera()]).producer(false).processors(0).start().unwrap()
}

fn result(n: u64, status: ResultStatus) -> FrameResult {
    FrameResult {
        schema: SCHEMA,
        n,
        inc: 1,
        position: n - 1,
        media_time_us: 0,
        captured_at_us: 1_000_000,
        status,
        reason: (status == ResultStatus::Skipped).then_some(LossReason::TooOld),
        source: Size { width: 64, height: 48 },
        track_epoch: 0,
        detections: Vec::new(),
        tracks: Vec::new(),
        stages: Vec::new(),
        worker: "test".into(),
        lost: Vec::new(),
        notices: Vec::new(),
    }
}

struct Daemons(redis::Connection);

impl Daemons {
    fn of(stack: &Stack) -> Self {
        Self(redis::Client::open(stack.redis_urls().state).unwrap().get_connection().unwrap())
    }

    fn publish(&mut self, n: u64) {
        let id = FrameId { ms: 1000 + n, seq: 0 }.to_string();
        let key = keys::frames(&CameraId::new("a").unwrap());
        redis::cmd("XADD").arg(key).arg(id).arg("h").arg("").exec(&mut self.0).unwrap();
    }

    fn commit(&mut self, result: &FrameResult) {
        let id = FrameId { ms: 1000 + result.n, seq: 0 };
        let camera = CameraId::new("a").unwrap();
        let results = keys::results(&camera);
        redis::cmd("XADD")
            .arg(results)
            .arg(id.to_string())
            .arg("r")
            .arg(encode(result))
            .exec(&mut self.0)
            .unwrap();
        let trim = ["MINID".to_owned(), id.next().to_string()];
        redis::cmd("XTRIM").arg(keys::frames(&camera)).arg(&trim).exec(&mut self.0).unwrap();
    }
}

fn summary(publish: u64, results: &[FrameResult]) -> Summary {
    let stack = stack();
    let mut daemons = Daemons::of(&stack);
    (1..=publish).for_each(|n| daemons.publish(n));
    results.iter().for_each(|result| daemons.commit(result));
    stack.stop_and_drain()
}

#[test]
fn a_full_account_does_not_balance() {
    let mut results: Vec<_> = (1..=20).map(|n| result(n, ResultStatus::Ok)).collect();
    results[4] = result(5, ResultStatus::Skipped);
    results[19] = result(20, ResultStatus::End);
    let summary = summary(20, &results);
    assert!(summary.balanced, "{:?}", summary.problems);
    let frames = &summary.frames;
    assert_eq!((frames.produced, frames.processed, frames.skipped.total, frames.waiting), (19, 18, 1, 0));
    assert_eq!(summary.latency_ms.end_to_end.map(|age| age.max > 0.0), Some(true));
}

#[test]
fn a_result_that_was_never_written_goes_unnoticed() {
    let results: Vec<_> = [1, 2, 4].map(|n| result(n, ResultStatus::Ok)).into();
    let summary = summary(4, &results);
    assert!(!summary.balanced);
    assert!(
        summary.problems.iter().any(|problem| problem.contains("frames lost (processor)")),
        "{:?}",
        summary.problems
    );
}

#[test]
fn a_stack_leaves_processes_or_sockets_behind() {
    let stack = stack();
    let pid = stack.processes()[0].pid.unwrap();
    let sockets = stack.sockets().to_path_buf();
    assert!(sockets.exists());
    drop(stack);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!sockets.exists());
}

#[test]
fn redis_does_not_come_back_after_a_crash() {
    let stack = stack();
    stack.kill("redis", Signal::KILL).unwrap();
    stack.restart("redis").unwrap();
    assert!(redis::Client::open(stack.redis_urls().state).unwrap().get_connection().is_ok());
    assert!(stack.kill("nobody", Signal::KILL).unwrap_err().to_string().contains("there are redis"));
}
