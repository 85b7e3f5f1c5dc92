//! Steps made elsewhere, from the caller's POST to the clients that follow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod stand;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use peregrine_proto::{
    CameraId, ClientMessage, FrameId, Missed, ServerMessage, Step, StepMap, StreamId, SubscribeSteps, decode,
};
use serde_json::{Value, json};
use stand::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const JSON: &str = "application/json";

async fn post(address: SocketAddr, path: &str, kind: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // A refusal may come before all was taken.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole answer");
    let head = String::from_utf8(answer[..split].to_vec()).unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[split + 4..].to_vec().into() }
}

fn step(number: u64) -> Value {
    let ego = json!({ "x": number, "y": -1.5, "heading": 0.1, "speed_mps": 12, "size": [4.6, 1.9] });
    json!({ "step": number, "sim_time_us": 20_000 * number, "ego": ego, "timings_us": { "plan": 900 } })
}

impl Stand {
    async fn send_steps(&self, steps: &Value) -> FrameId {
        let answer = post(self.address, "/ingest/sim", JSON, steps.to_string().as_bytes()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["last_id"].as_str().unwrap().parse().unwrap()
    }
}

impl Client {
    async fn follow(&mut self, stream: &str) {
        let streams = vec![StreamId::new(stream).unwrap()];
        self.send(&ClientMessage::SubscribeSteps(SubscribeSteps { streams })).await;
    }

    async fn step(&mut self) -> (FrameId, Step) {
        self.until(|message| match message {
            ServerMessage::Step(step) => Some((step.id, decode(&step.step).unwrap())),
            _ => None,
        })
        .await
    }

    async fn map(&mut self) -> StepMap {
        self.until(|message| match message {
            ServerMessage::StepMap(message) => Some(decode(&message.map).unwrap()),
            ServerMessage::Step(_) => panic!("a step before its map"),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn second_or_late_client_sees_something_else() {
    let stand = Stand::start().await;
    let mut early = stand.client().await;
    early.follow("sim").await;
    let mut first = step(1);
    first["map"] = json!({ "lines": [{ "kind": "edge", "points": [[0, 0], [10, 0.5]] }] });
    stand.send_steps(&first).await;
    let map = early.map().await;
    assert_eq!(map.lines[0].points, [[0.0, 0.0], [10.0, 0.5]]);
    assert_eq!(early.step().await.1.step, 1);
    let last = stand.send_steps(&json!([step(2), step(3)])).await;
    assert_eq!(early.step().await.1.step, 2);
    let (id, shown) = early.step().await;
    assert_eq!((id, shown.step, shown.timings_us["plan"]), (last, 3, 900.0));
    assert!(shown.map.is_none() && shown.wall_time_us > 1_600_000_000_000_000);

    let mut late = stand.client().await;
    late.follow("sim").await;
    assert_eq!(late.map().await, map);
    assert_eq!(late.step().await, (id, shown), "the newest step, at once");
    stand.send_steps(&step(4)).await;
    assert_eq!(late.step().await, early.step().await);

    let listed = early
        .until(|message| match message {
            ServerMessage::Streams(list) => list.streams.into_iter().next(),
            _ => None,
        })
        .await;
    assert_eq!((listed.stream.as_str(), listed.live), ("sim", true));
}

#[tokio::test]
async fn steps_are_read_though_nobody_follows() {
    let stand = Stand::start().await;
    let mut client = stand.client().await;
    client.follow("sim").await;
    stand.send_steps(&step(1)).await;
    client.step().await;
    client.send(&ClientMessage::SubscribeSteps(SubscribeSteps { streams: Vec::new() })).await;
    let idle = async || {
        let before = stand.redis.calls("xread");
        tokio::time::sleep(Duration::from_millis(300)).await;
        (stand.redis.calls("xread") == before).then_some(before)
    };
    let before = eventually("reading stops", idle).await;
    for number in 2..20 {
        stand.send_steps(&step(number)).await;
    }
    assert_eq!(stand.redis.calls("xread"), before);
    client.follow("sim").await;
    assert_eq!(client.step().await.1.step, 19, "not the old one that was kept");
}

#[tokio::test]
async fn slow_client_is_not_told_which_steps_it_missed() {
    let stand = Stand::with(|config| {
        config.outbox = SMALL_OUTBOX;
        config.send_buffer_bytes = 4096;
    })
    .await;
    let mut slow = stand.client_with_small_buffer().await;
    slow.follow("sim").await;
    stand.send_steps(&step(1)).await;
    slow.step().await;
    let mut large = step(2);
    large["trajectory"] = vec![[1.0, 2.0, 3.0]; 900].into();
    for _ in 0..3 {
        stand.send_steps(&vec![large.clone(); 100].into()).await;
    }
    let last = stand.send_steps(&step(3)).await;
    let (mut received, mut missed) = (0, 0);
    loop {
        match slow.next().await.unwrap() {
            ServerMessage::Missed(Missed { camera, total }) => {
                assert_eq!(camera.as_str(), "sim");
                missed = total;
            }
            ServerMessage::Step(step) => {
                received += 1;
                if step.id == last {
                    break;
                }
            }
            _ => {}
        }
    }
    assert!(missed > 0);
    assert_eq!(received + missed, 301, "received and missed are all there were");
}

#[tokio::test]
async fn wrong_post_is_taken_or_refused_without_a_way_out() {
    let stand = Stand::start().await;
    let camera = stand.camera("yard").await;
    let good = step(1).to_string();
    let far = good.replace("-1.5", "1e30");
    let huge = vec![b' '; (2 << 20) + 1];
    for (path, kind, body, status, words) in [
        ("/ingest/no%20name", JSON, good.as_bytes(), 400, "no name of a stream"),
        ("/ingest/sim", "text/plain", good.as_bytes(), 415, "application/json"),
        ("/ingest/sim", JSON, &b"\xff\x00"[..], 400, "not JSON"),
        ("/ingest/sim", JSON, far.as_bytes(), 422, "ego.y"),
        ("/ingest/sim", "application/msgpack", &b"\x81"[..], 400, "not MessagePack"),
        ("/ingest/sim", JSON, &huge[..], 413, "2 MiB"),
        ("/ingest/yard", JSON, good.as_bytes(), 409, "is a camera"),
    ] {
        let answer = post(stand.address, path, kind, body).await;
        assert_eq!(answer.status, status, "{path} {kind} {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.json()["detail"].as_str().unwrap().contains(words), "{}", answer.text());
    }
    assert_eq!(stand.get("/ingest/sim").await.status, 405);
    let head =
        format!("POST /ingest/sim HTTP/1.1\r\nhost: {}\r\norigin: https://evil.example\r\n", stand.address);
    assert_eq!(request(stand.address, &head).await.status, 403);
    assert_eq!(stand.redis.cli(&["EXISTS", "peregrine:{sim}:steps", "peregrine:{yard}:steps"]).trim(), "0");
    assert_eq!(camera.id, CameraId::new("yard").unwrap());
    stand.send_steps(&step(1)).await;
}

#[tokio::test]
async fn more_streams_come_than_there_may_be() {
    let stand = Stand::start().await;
    let body = step(1).to_string();
    for n in 0..64 {
        assert_eq!(post(stand.address, &format!("/ingest/sim-{n}"), JSON, body.as_bytes()).await.status, 202);
    }
    let answer = post(stand.address, "/ingest/one-too-many", JSON, body.as_bytes()).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(post(stand.address, "/ingest/sim-3", JSON, body.as_bytes()).await.status, 202);
}

#[tokio::test]
async fn caller_waits_for_a_redis_that_is_away() {
    let mut stand = Stand::start().await;
    stand.send_steps(&step(1)).await;
    stand.redis.kill();
    let body = step(2).to_string();
    for _ in 0..10 {
        let began = Instant::now();
        let answer = post(stand.address, "/ingest/sim", JSON, body.as_bytes()).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        // An answer of Redis is waited for longer than this.
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    stand.redis.start_again().await;
    eventually("steps are taken again", async || {
        (post(stand.address, "/ingest/sim", JSON, body.as_bytes()).await.status == 202).then_some(())
    })
    .await;
}

/// A gateway in a process of its own, so that it can be killed.
struct Killable(Child);

impl Killable {
    fn start(redis_url: &str, address: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["--admin", "127.0.0.1:0"]);
        for setting in [format!("redis.url={redis_url}"), format!("gateway.listen={address}")] {
            command.args(["--set", &setting]);
        }
        Self(command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The interpreter with `requests` that `./dev setup test` makes, or the one that PYTHON names.
fn python() -> PathBuf {
    let made = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/venv/bin/python");
    std::env::var_os("PYTHON").map_or(made, PathBuf::from)
}

fn project_file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[tokio::test]
async fn killed_gateway_holds_up_or_breaks_a_simulator() {
    let redis = RedisServer::start().await;
    let address = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    };
    let gateway = Killable::start(&redis.url(), address);
    eventually("the gateway listens", async || TcpStream::connect(address).await.ok()).await;
    let simulator = Command::new(python())
        .arg(project_file("examples/simulator.py"))
        .args(["--url", &format!("http://{address}"), "--rate", "50", "--seconds", "6", "--timeout", "0.2"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python with requests is needed for this test: ./dev setup test, or set PYTHON");
    let steps = || redis.cli(&["XLEN", "peregrine:{simulator}:steps"]).trim().parse::<u64>().unwrap_or(0);
    eventually("steps come", async || (steps() > 50).then_some(())).await;
    drop(gateway);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = steps();
    let _again = Killable::start(&redis.url(), address);
    let output = tokio::task::spawn_blocking(|| simulator.wait_with_output()).await.unwrap().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).expect("the simulator ends with its report");
    println!("{report}");
    assert!(output.status.success());
    assert_eq!(report["steps"], 300);
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("delivered") + count("lost"), 300, "each step was delivered or counted");
    assert!(count("lost") > 25 && steps() > before, "lost while it was away, delivered afterwards: {report}");
    // A call has 0.2 s; the rest is for a busy machine.
    assert!(report["max_ms"].as_f64().unwrap() < 400.0, "{report}");
}
