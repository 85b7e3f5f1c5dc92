//! `gateway explain` names each bottleneck that is made on purpose, with its stage, and what it predicts of the remedy comes true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use peregrine_e2e::{clips, programs, slow_link::SlowLink, system::*};
use peregrine_proto::{CameraConfig, CameraId, ClientMessage, Size, Subscribe, encode};
use peregrine_stack::{Builder, Daemon, Stack, default_model};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, stream::MaybeTlsStream};

/// What it says is looked at again until it is as expected: a busy machine has other bottlenecks for a moment.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it watches, and how long frames are counted.
const SECONDS: u64 = 4;

/// What is analysed is small: it should cost little.
const SIZE: Size = Size { width: 96, height: 54 };

/// One system at a time: they would take the cores from each other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn healthy_system_is_called_ill() -> Result<()> {
    let _alone = alone();
    let cameras = vec![scene("left", "w=160&h=96&fps=10")?, scene("right", "w=160&h=96&fps=10")?];
    let stack = small("explain-healthy", cameras)?.model("simulated:5").processors(2).gateway(0).start()?;
    let said = until(&stack, |said| said["healthy"] == true)?;
    assert_eq!(said["findings"], Value::Array(vec![]));
    // Every replica was found, from Redis alone.
    assert_eq!(said["workers"].as_array().map(Vec::len), Some(4), "{said}");
    let (code, text) = explain(&stack, &[])?;
    assert_eq!(
        code == Some(0),
        text.starts_with("Healthy: 2 cameras get every frame that they should"),
        "{text}"
    );
    Ok(())
}

#[test]
fn slow_model_is_not_named_or_another_processor_gives_something_else() -> Result<()> {
    let _alone = alone();
    let ids = ["a", "b", "c", "d"];
    let cameras = ids.iter().map(|id| scene(id, "w=160&h=96&fps=15")).collect::<Result<_>>()?;
    let stack = small("explain-model", cameras)?.model("simulated:50").start()?;
    let finding = named(&stack, "model", "infer")?;
    // 60 frames a second are wanted, 20 go through one processor.
    assert!(number(&finding["target"]) > 59.0, "{finding}");
    stack.scale(2)?;
    comes_true(&stack, &finding, &ids)
}

#[test]
fn slow_decoding_is_not_named_or_a_smaller_picture_gives_something_else() -> Result<()> {
    let _alone = alone();
    let clips = folder("explain-decode-clips")?;
    let large = clips::noise(&clips, "large.mp4", "2560x1440", 30)?;
    let small_one = clips::noise(&clips, "small.mp4", "1280x720", 30)?;
    let of = |clip: &Path, fps: f64| -> Result<CameraConfig> {
        let mut camera =
            camera("large", &clip.display().to_string(), &format!("loop = true\nfps = {fps:.1}"))?;
        camera.analysis.size = Some(SIZE);
        Ok(camera)
    };
    let stack = small("explain-decode", vec![of(&large, 900.0)?])?
        .set(Daemon::Producer, format!("allow.folders=[{:?}]", clips.display().to_string()))
        .model("simulated:0")
        .start()?;
    let put = |camera: CameraConfig| block_on(async { Ok(redis(&stack).await?.put_camera(&camera).await?) });
    // Twice as many frames as this machine decodes in time, whatever machine it is.
    let said = until(&stack, |said| number(&said["cameras"][0]["processed_fps"]) > 1.0)?;
    let fps = 2.0 * number(&said["cameras"][0]["processed_fps"]);
    put(of(&large, fps)?)?;
    let finding = named(&stack, "decode", "decode")?;
    put(of(&small_one, fps)?)?;
    comes_true(&stack, &finding, &["large"])
}

#[test]
fn slow_redis_is_not_named_or_a_fast_one_gives_something_else() -> Result<()> {
    let _alone = alone();
    let sockets = tempfile::tempdir()?;
    let entrance = sockets.path().join("slow.sock");
    let stack = small("explain-redis", vec![scene("far", "w=160&h=96&fps=20")?])?
        .model("simulated:5")
        .set(Daemon::Processor, format!("redis.url=redis+unix://{}", entrance.display()))
        .processors(0)
        .start()?;
    let link = SlowLink::start(&entrance, stack.sockets().join("redis.sock"), Duration::from_millis(60))?;
    stack.scale(1)?;
    let finding = named(&stack, "redis", "commit")?;
    link.set_delay(Duration::ZERO);
    comes_true(&stack, &finding, &["far"])
}

#[test]
fn starved_processor_is_not_named_or_its_cores_give_something_else() -> Result<()> {
    let _alone = alone();
    let stack = small("explain-cpu", vec![scene("busy", "w=416&h=234&fps=12")?])?
        .model(programs::fetched(default_model())?)
        .set(Daemon::Processor, "model.threads=1")
        .set(Daemon::Processor, "model.batch=1")
        .start()?;
    let pid =
        stack.processes().iter().find_map(|p| (p.name == "processor-1").then_some(p.pid)?).context("pid")?;
    let tied =
        Command::new("taskset").args(["-acp", "0", &pid.to_string()]).stdout(Stdio::null()).status()?;
    assert!(tied.success(), "taskset");
    let hogs = (0..7).map(|_| Hog::start()).collect::<Result<Vec<_>>>()?;
    let finding = named(&stack, "cpu", "infer")?;
    drop(hogs);
    comes_true(&stack, &finding, &["busy"])
}

#[test]
fn slow_client_is_not_named_or_a_fast_one_gets_something_else() -> Result<()> {
    let _alone = alone();
    let ids = ["a", "b"];
    let cameras = ids.iter().map(|id| scene(id, "w=640&h=360&fps=15")).collect::<Result<_>>()?;
    let stack = small("explain-client", cameras)?
        .model("simulated:5")
        .gateway(0)
        .set(Daemon::Gateway, "gateway.queue_messages=16")
        .set(Daemon::Gateway, "gateway.stalled_s=60")
        .start()?;
    let mut client = watch(&stack)?;
    // Ten messages a second, of sixty.
    let slow = until_with(
        &stack,
        || Ok(client.read().map(drop)?),
        |said| said["findings"][0]["cause"] == "client" && said["findings"][0]["stage"] == "relay",
    )?;
    let predicted = number(&slow["findings"][0]["remedies"][0]["gives"]);
    // What waits for it is taken first.
    read_for(&mut client, Duration::from_secs(2))?;
    let taken = read_for(&mut client, Duration::from_secs(SECONDS))?;
    near(taken as f64 / SECONDS as f64, predicted, &slow)
}

/// An endless synthetic scene at its own pace; analysed small.
fn scene(id: &str, scene: &str) -> Result<CameraConfig> {
    let mut camera = camera(id, &format!("synthetic:road?{scene}"), "")?;
    camera.analysis.size = Some(SIZE);
    Ok(camera)
}

fn small(name: &str, cameras: Vec<CameraConfig>) -> Result<Builder> {
    stack(&folder(name)?, cameras)
}

/// The exit code and what it says.
fn explain(stack: &Stack, more: &[&str]) -> Result<(Option<i32>, String)> {
    let done = Command::new(programs::binary("gateway")?)
        .args(["explain", "--seconds", &SECONDS.to_string(), "--set"])
        .arg(format!("redis.url={}", stack.redis_urls().state))
        .args(more)
        .stderr(Stdio::inherit())
        .output()?;
    Ok((done.status.code(), String::from_utf8(done.stdout)?))
}

fn until(stack: &Stack, fine: impl Fn(&Value) -> bool) -> Result<Value> {
    until_with(stack, || Ok(()), fine)
}

/// What it says once it is as expected; something goes on beside it.
fn until_with(
    stack: &Stack,
    mut beside: impl FnMut() -> Result<()>,
    fine: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, text) = thread::scope(|scope| {
            let explaining = scope.spawn(|| explain(stack, &["--json"]));
            while !explaining.is_finished() {
                beside()?;
                thread::sleep(Duration::from_millis(100));
            }
            explaining.join().expect("it does not panic")
        })?;
        let said: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        assert_eq!(code, Some(if said["healthy"] == true { 0 } else { 1 }), "{text}");
        if fine(&said) {
            return Ok(said);
        }
        if Instant::now() > deadline {
            bail!("after {PATIENCE:?} it says {said:#}");
        }
    }
}

/// The worst finding, once it is this one.
fn named(stack: &Stack, cause: &str, stage: &str) -> Result<Value> {
    let said = until(stack, |said| {
        let worst = &said["findings"][0];
        worst["cause"] == cause && worst["stage"] == stage
    })?;
    eprintln!("{:#}", said["findings"][0]);
    Ok(said["findings"][0].clone())
}

/// Whether the cameras get what the finding's first remedy was to give, within 30%.
fn comes_true(stack: &Stack, finding: &Value, cameras: &[&str]) -> Result<()> {
    let predicted = number(&finding["remedies"][0]["gives"]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = frames_a_second(stack, cameras)?;
        eprintln!("{found:.1} frames a second, {predicted:.1} predicted");
        match near(found, predicted, finding) {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

fn near(found: f64, predicted: f64, finding: &Value) -> Result<()> {
    if (found / predicted - 1.0).abs() > 0.3 {
        bail!("{found} a second instead of {predicted}: {finding:#}");
    }
    Ok(())
}

/// Results that come into Redis, whatever the metrics say.
fn frames_a_second(stack: &Stack, cameras: &[&str]) -> Result<f64> {
    let cameras = cameras.iter().map(|id| Ok(CameraId::new(id)?)).collect::<Result<Vec<_>>>()?;
    block_on(async {
        let redis = redis(stack).await?;
        let count =
            async || -> Result<u64> { Ok(redis.progress(&cameras).await?.iter().map(|p| p.results).sum()) };
        let (before, since) = (count().await?, Instant::now());
        tokio::time::sleep(Duration::from_secs(SECONDS)).await;
        Ok((count().await? - before) as f64 / since.elapsed().as_secs_f64())
    })
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// Uses up core 0.
struct Hog(Child);

impl Hog {
    fn start() -> Result<Self> {
        let hog = Command::new("taskset").args(["-c", "0", "sh", "-c", "while :; do :; done"]).spawn()?;
        Ok(Self(hog))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Client = WebSocket<MaybeTlsStream<TcpStream>>;

/// Wants results and pictures of all cameras.
fn watch(stack: &Stack) -> Result<Client> {
    let address = stack.gateway_url().context("no gateway")?.replacen("http", "ws", 1);
    let (mut client, _) = tungstenite::connect(format!("{address}/ws"))?;
    let all = Subscribe { results: true, preview_width: Some(640), ..Subscribe::default() };
    client.send(Message::Binary(encode(&ClientMessage::Subscribe(all)).into()))?;
    Ok(client)
}

/// Reads for so long: how many messages came.
fn read_for(client: &mut Client, time: Duration) -> Result<usize> {
    let until = Instant::now() + time;
    let mut messages = 0;
    while Instant::now() < until {
        messages += usize::from(matches!(client.read()?, Message::Binary(_)));
    }
    Ok(messages)
}
