//! No secret in a camera's address comes back from anywhere: 2,000 addresses through a running stack, 200 through the calls
//! that open them, and one through the demo's command line. What the type itself shows is a decoder of `./dev fuzz`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peregrine_e2e::{
    addresses::{SECRET, address, shows_secret},
    http,
    otlp::Collector,
    programs,
    system::*,
};
use peregrine_media::{AllowList, OpenOptions};
use peregrine_proto::{ClientMessage, SourceConfig, Subscribe, encode};
use peregrine_stack::{Daemon, Stack};
use peregrine_streams::keys;
use rand::{SeedableRng, rngs::StdRng};
use redis::Value;
use serde_json::json;
use tokio_tungstenite::tungstenite::{self, Message, stream::MaybeTlsStream};

const SEED: u64 = 17;
const THROUGH_A_STACK: usize = 2_000;
/// So many cameras are there at once.
const AT_ONCE: usize = 100;
const OPENED: usize = 200;
/// Set in the process that opens them.
const OPENING: &str = "PEREGRINE_TEST_OPENING";

fn addresses(count: usize) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(SEED);
    (0..count).map(|_| address(&mut random)).collect()
}

#[test]
fn secret_shows_in_a_running_stack() -> Result<()> {
    let folder = folder("secrets")?;
    let collector = Collector::start()?;
    let mut builder = stack(&folder, vec![camera("road", "synthetic:road?w=160&h=96&fps=5", "")?])?
        .gateway(0)
        .set(Daemon::Producer, "allow.hosts=[\"127.0.0.1\", \"[::1]\"]")
        .set(Daemon::Producer, "producer.reconnect_ms=250")
        .set(Daemon::Gateway, "gateway.writes_per_second=100000");
    for daemon in [Daemon::Producer, Daemon::Processor, Daemon::Gateway] {
        builder = builder.set(daemon, "log.level=debug").set(daemon, "spans.ratio=1").env(
            daemon,
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &collector.endpoint,
        );
    }
    let stack = builder.start()?;
    results(&stack, "road", 5, Duration::from_secs(60))?;
    let listener = Listener::start(&stack)?;
    let gateway = stack.gateway_url().context("no gateway")?;
    let mut said = Said::default();
    for (round, some) in addresses(THROUGH_A_STACK).chunks(AT_ONCE).enumerate() {
        let mut added = Vec::new();
        for (number, uri) in some.iter().enumerate() {
            let id = format!("cam-{round}-{number}");
            let config = json!({ "id": id, "source": { "uri": uri } }).to_string();
            let answer = http::send(&gateway, "POST", "/api/cameras", &config)?;
            ensure!(answer.status == 201, "{uri}: {}", answer.text());
            said.check("POST", uri, &answer.text());
            let path = format!("/api/cameras/{id}");
            let shown = http::get(&gateway, &format!("{path}/config"))?;
            said.check("GET", uri, &shown.text());
            // As the setup page sends back what it was shown.
            let mut edited: serde_json::Value = serde_json::from_slice(&shown.body)?;
            edited["name"] = "edited".into();
            let changed = http::send(&gateway, "PUT", &path, &edited.to_string())?;
            ensure!(changed.status == 200, "{uri}: {}", changed.text());
            said.check("PUT", uri, &changed.text());
            added.push(path);
        }
        let whole = block_on(async { Ok(redis(&stack).await?.cameras().await?.cameras) })?;
        for uri in some {
            let kept = whole.values().any(|camera| camera.source.uri == uri.as_str().into());
            ensure!(kept, "{uri} is not kept as it was written");
        }
        for path in ["/api/cameras", "/api/state", "/api/workers", "/api/ledger"] {
            said.check(path, "", &http::get(&gateway, path)?.text());
        }
        for name in ["producer", "processor-1", "gateway"] {
            said.check(name, "", &stack.metrics_text(name)?);
        }
        let places = keys_with_the_secret(&stack)?;
        ensure!(places == BTreeSet::from([keys::CAMERAS.to_owned()]), "it lies in {places:?}");
        for path in added {
            ensure!(http::send(&gateway, "DELETE", &path, "")?.status == 204, "{path} stays");
        }
    }
    ensure!(keys_with_the_secret(&stack)?.is_empty(), "it outlives the cameras");
    let urls = stack.redis_urls();
    let setting = format!("redis.url={}", urls.state);
    let explained = programs::run("gateway", ["explain", "--seconds", "1", "--set", &setting])?;
    said.check("explain", "", &format!("{explained:?}"));
    said.check("the WebSocket", "", &listener.stop()?);
    said.check("spans", "", &format!("{:?}", collector.spans()));
    let folder = stack.folder().to_owned();
    stack.stop_and_drain();
    let mut logs = String::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "log") {
            logs += &fs::read_to_string(&path)?;
        }
    }
    ensure!(logs.contains("://***@"), "nothing was said at all");
    said.check("the logs", "", &logs);
    said.end()
}

/// Texts that were checked, and those in which the secret was found.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn check(&mut self, place: &str, uri: &str, text: &str) {
        // A long text is looked at line by line: all of it would be decoded.
        if let Some(line) = text.lines().find(|line| shows_secret(line)) {
            self.0.push(format!("{place} says of {uri}: {line:.400}"));
        }
    }

    fn end(self) -> Result<()> {
        ensure!(
            self.0.is_empty(),
            "{} times, as here:\n{}",
            self.0.len(),
            self.0[..self.0.len().min(5)].join("\n")
        );
        Ok(())
    }
}

/// A client of everything, until it is stopped.
struct Listener {
    stop: Arc<AtomicBool>,
    heard: thread::JoinHandle<String>,
}

impl Listener {
    fn start(stack: &Stack) -> Result<Self> {
        let address = stack.gateway_url().context("no gateway")?.replacen("http", "ws", 1);
        let (mut client, _) = tungstenite::connect(format!("{address}/ws"))?;
        let all = Subscribe { results: true, ..Subscribe::default() };
        client.send(Message::Binary(encode(&ClientMessage::Subscribe(all)).into()))?;
        if let MaybeTlsStream::Plain(stream) = client.get_ref() {
            TcpStream::set_read_timeout(stream, Some(Duration::from_millis(500)))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let heard = thread::spawn(move || {
            let mut heard = String::new();
            while !until.load(Ordering::Relaxed) {
                // Nothing for a while is no end.
                if let Ok(Message::Binary(bytes)) = client.read() {
                    heard += &String::from_utf8_lossy(&bytes);
                    heard.push('\n');
                }
            }
            heard
        });
        Ok(Self { stop, heard })
    }

    fn stop(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let heard = self.heard.join().map_err(|_| anyhow::anyhow!("the client broke down"))?;
        ensure!(heard.contains("cam-"), "the client heard of no camera");
        Ok(heard)
    }
}

/// The keys of Redis in which the secret is found.
fn keys_with_the_secret(stack: &Stack) -> Result<BTreeSet<String>> {
    let mut connection = redis::Client::open(stack.redis_urls().state)?.get_connection()?;
    let all: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection)?;
    ensure!(all.iter().any(|key| key == keys::REGISTERED), "{all:?}");
    let mut found = BTreeSet::new();
    for key in all {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection)?;
        let mut read = match kind.as_str() {
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "list" => redis::cmd("LRANGE"),
            "zset" => redis::cmd("ZRANGE"),
            "set" => redis::cmd("SMEMBERS"),
            "stream" => redis::cmd("XRANGE"),
            _ => continue,
        };
        read.arg(&key);
        match kind.as_str() {
            "list" | "zset" => drop(read.arg(0).arg(-1)),
            "stream" => drop(read.arg("-").arg("+")),
            _ => {}
        }
        let mut texts = vec![key.clone()];
        collect(&read.query(&mut connection)?, &mut texts);
        if texts.iter().any(|text| shows_secret(text)) {
            found.insert(key);
        }
    }
    Ok(found)
}

/// The texts in an answer; pictures are none.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::BulkString(bytes) if bytes.len() < 1 << 14 => {
            texts.push(String::from_utf8_lossy(bytes).into_owned())
        }
        Value::SimpleString(text) => texts.push(text.clone()),
        Value::Array(values) | Value::Set(values) => values.iter().for_each(|value| collect(value, texts)),
        Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            collect(key, texts);
            collect(value, texts);
        }),
        _ => {}
    }
}

/// Those that lead nowhere beyond this machine.
fn near_addresses(count: usize) -> Vec<String> {
    let near = |uri: String| {
        let far = ["cam.example", "camera.local:554", "10.255.255.1:8554"];
        far.iter().fold(uri, |uri, host| uri.replace(host, "127.0.0.1:1"))
    };
    addresses(count).into_iter().map(near).collect()
}

/// Runs in a process of its own, see below.
#[test]
fn opens_addresses_with_a_secret() {
    let Ok(first) = std::env::var(OPENING) else { return };
    peregrine_media::heed_no_debug_variables();
    let mut all = near_addresses(OPENED);
    all.sort_by_key(|uri| uri.starts_with("opencv:") != (first == "opencv"));
    let options = OpenOptions { timeout: Duration::from_secs(2), ..OpenOptions::default() };
    for uri in all {
        let source = SourceConfig::new(uri);
        let error = peregrine_media::open(&source, &AllowList::anything(), &options).err().unwrap();
        println!("{error} {error:?} {source:?}");
    }
}

#[test]
fn secret_shows_where_sources_are_opened() -> Result<()> {
    let mut said = Said::default();
    for first in ["opencv", "ffmpeg"] {
        let mut opening = Command::new(std::env::current_exe()?);
        opening.args(["--exact", "opens_addresses_with_a_secret", "--nocapture"]).env(OPENING, first);
        if first == "opencv" {
            opening.envs([
                ("OPENCV_LOG_LEVEL", "5"),
                ("OPENCV_VIDEOIO_DEBUG", "1"),
                ("OPENCV_FFMPEG_DEBUG", "1"),
                ("OPENCV_DUMP_ERRORS", "1"),
                ("GST_DEBUG", "5"),
            ]);
        }
        let output = opening.output()?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && text.matches("://***@").count() > OPENED / 2, "{text}");
        said.check(first, "", &text);
    }
    let all = near_addresses(OPENED);
    let anything = AllowList::anything();
    let folder = folder("secrets-config")?;
    for (name, some) in [
        ("refused", all.clone()),
        ("taken", all.iter().filter(|uri| anything.check(&uri.as_str().into()).is_ok()).cloned().collect()),
    ] {
        let table = |(number, uri): (usize, &String)| {
            format!("[[camera]]\nid = \"cam-{number}\"\nsource.uri = {}\n", toml::Value::from(uri.as_str()))
        };
        let config = folder.join(format!("{name}.toml"));
        fs::write(&config, some.iter().enumerate().map(table).collect::<String>())?;
        let shown = programs::run("producer", ["--check-config", "--config", config.to_str().unwrap()])?;
        ensure!(shown.status.success() == (name == "taken") && some.len() > OPENED / 3, "{name}: {shown:?}");
        said.check(
            name,
            "",
            &(String::from_utf8_lossy(&shown.stdout) + String::from_utf8_lossy(&shown.stderr)),
        );
    }
    for uri in &all[..20] {
        let out = folder.join("out.jsonl");
        let refused = programs::analyze(Path::new(uri), Path::new("simulated:0"), &out, &[])?;
        said.check("analyze", uri, &refused.expect_err("nothing is there"));
    }
    said.end()
}

#[test]
fn password_of_the_demo_shows_in_the_list_of_processes_or_in_files_of_others() -> Result<()> {
    let folder = folder("secrets-demo")?;
    let video = format!("rtsp://admin:my {SECRET}@127.0.0.1:1/frontdoor?channel=1").replace(' ', "%20");
    let run = folder.join("run");
    let mut demo = Command::new(programs::binary("stack")?)
        .args(["demo", "--headless", "--port", "0", "--run-dir", run.to_str().unwrap(), "--video", &video])
        .env("ORT_DYLIB_PATH", programs::onnx_runtime()?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("said"))?)
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(90);
    let log = run.join("producer.log");
    let begun = || fs::read_to_string(&log).is_ok_and(|text| text.contains("source lost"));
    while !begun() && demo.try_wait()?.is_none() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    let ready = begun();
    let (mut seen, mut shown) = (0, Vec::new());
    for process in fs::read_dir("/proc")?.flatten() {
        let process = process.path();
        // Of whatever runs here the arguments, and of ours the environment.
        for file in ["cmdline", "environ"] {
            let text =
                String::from_utf8_lossy(&fs::read(process.join(file)).unwrap_or_default()).into_owned();
            seen += usize::from(file == "cmdline" && text.contains("secrets-demo"));
            if shows_secret(&text) {
                shown.push(format!("{}: {text}", process.join(file).display()));
            }
        }
    }
    let mut open = Vec::new();
    for entry in fs::read_dir(&run)?.flatten() {
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            open.push(format!("{} {mode:o}", entry.path().display()));
        }
    }
    let folder_mode = fs::metadata(&run)?.permissions().mode() & 0o777;
    let pid = demo.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status()?;
    demo.wait()?;
    let said = fs::read_to_string(folder.join("said"))?;
    ensure!(ready, "the demo did not begin: {said}");
    ensure!(seen >= 4, "only {seen} of its processes were seen");
    ensure!(shown.is_empty(), "{shown:?}");
    ensure!(open.is_empty() && folder_mode == 0o700, "{folder_mode:o} {open:?}");
    ensure!(!shows_secret(&said), "{said}");
    Ok(())
}
