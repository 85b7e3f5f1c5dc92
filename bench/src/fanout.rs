//! What a thousand clients cost the gateway, and whether some of them disturb the others.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use peregrine_proto::{CameraConfig, CameraId, FrameId, ResultMessage, ServerMessage, Subscribe, encode};
use peregrine_stack::{Memory, Samples, Stack, quantiles::Quantiles};
use peregrine_streams::{
    Acquired, Commit, CommitOutcome, Intake, Redis, RedisUrls, Role, WorkerId, wall_clock_us,
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use crate::{Report, client::Client, cpu, units};

/// Connects many clients that watch a camera each, and writes results to Redis as processors do. Measures what comes, how late, and
/// the gateway's CPU time for each message beside the bare cost of writing the same bytes to as many sockets. Half-way through,
/// some clients stop reading.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clients.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Cameras.
    #[arg(long, default_value_t = 10)]
    cameras: usize,
    /// Results a second of each camera.
    #[arg(long, default_value_t = 30)]
    fps: u32,
    /// How long it is measured.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// So many clients stop reading half-way through.
    #[arg(long, default_value_t = 100)]
    stalled: usize,
}

/// The bare cost: writes messages to its clients, and does nothing else. Started by `fanout` itself.
#[derive(Debug, clap::Args)]
pub(crate) struct FloorArgs {
    #[arg(long)]
    clients: usize,
    #[arg(long)]
    cameras: usize,
    #[arg(long)]
    fps: u32,
    #[arg(long)]
    seconds: u64,
}

/// A stalled client is to be gone within this.
const GONE_WITHIN: Duration = Duration::from_secs(15);
/// 99% of the messages are to be relayed within this, milliseconds.
const RELAYED_WITHIN: f64 = 50.0;
/// Times the bare cost that a message may cost.
const COST_ALLOWED: f64 = 2.0;
/// Growth of the gateway's memory from a quarter of the time to its end, megabytes.
const GROWTH_ALLOWED: f64 = 4.0;
const FLOOR_SECONDS: u64 = 20;
/// Until everybody is connected and has had its first messages.
const SETTLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// What the clients saw, all together.
#[derive(Default)]
struct Seen {
    /// While this is set, messages are counted.
    counting: AtomicBool,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Clients, and what they missed or got in a wrong order.
    missed: AtomicU64,
    disordered: AtomicU64,
    /// Which part of the run it is.
    part: AtomicUsize,
    /// Milliseconds from the result's write to the client, by part.
    ages: [Mutex<Quantiles>; Part::ALL.len()],
    /// The clients that are to stop reading do.
    stalling: AtomicBool,
    /// The clients have seen enough; results go on coming, so that none waits for one in vain.
    enough: AtomicBool,
    stop: AtomicBool,
}

/// A part of the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    Stalling,
    After,
}

impl Part {
    const ALL: [Self; 3] = [Self::Before, Self::Stalling, Self::After];

    fn name(self) -> &'static str {
        match self {
            Self::Before => "before some stop reading",
            Self::Stalling => "while they are being found out",
            Self::After => "when they are gone",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    ensure!(
        args.cameras > 0 && args.stalled < args.clients,
        "there must be cameras, and clients that go on reading"
    );
    let cameras =
        (1..=args.cameras).map(|n| CameraId::new(&format!("camera-{n}"))).collect::<Result<Vec<_>, _>>()?;
    let stack = Stack::builder().producer(false).processors(0).gateway(0).start()?;
    let seen = Arc::new(Seen::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let writer = thread::spawn({
        let (urls, cameras, seen, fps) = (stack.redis_urls(), cameras.clone(), Arc::clone(&seen), args.fps);
        move || -> Result<()> {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(write_results(&urls, &cameras, fps, &seen))
        }
    });
    let outcome = measure(args, &stack, &runtime, &cameras, &seen);
    seen.stop.store(true, Ordering::Relaxed);
    writer.join().ok().context("the writer broke down")??;
    let measured = outcome?;
    stack.stop_and_drain();
    drop(stack);
    let floor = floor(args, &runtime, measured.bytes_each)?;
    report(args, &measured, floor, &seen)
}

// --- Results, as processors write them ------------------------------------------------------------------------------

/// Commits results of all cameras, evenly over time, until it is told to stop. A frame's id says when that was, to the microsecond.
async fn write_results(urls: &RedisUrls, cameras: &[CameraId], fps: u32, seen: &Seen) -> Result<()> {
    let redis = Redis::open(urls).await?;
    let worker = WorkerId::new("bench");
    let mut leases = Vec::new();
    for camera in cameras {
        let config: CameraConfig = serde_json::from_value(
            serde_json::json!({ "id": camera, "source": { "uri": "synthetic:road" } }),
        )?;
        redis.put_camera(&config).await?;
        match redis.acquire(Role::Processor, camera, &worker, Duration::from_secs(60)).await? {
            Acquired::Granted(grant) => leases.push((grant.lease, FrameId::ZERO)),
            Acquired::Refused { holder, .. } => bail!("{camera} is held by {holder}"),
        }
    }
    let mut result = units::result();
    let mut intake = Intake::default();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / fps / u32::try_from(cameras.len())?);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    while !seen.stop.load(Ordering::Relaxed) {
        result.n += 1;
        intake.n = result.n;
        for (lease, expected) in &mut leases {
            tick.tick().await;
            let now_us = wall_clock_us();
            (result.media_time_us, result.captured_at_us) = (now_us, now_us);
            let id = id_of(now_us);
            let commit = Commit {
                lease,
                id,
                expected: *expected,
                intake: &intake,
                state: &[],
                result: &result,
                results_kept: 1000,
            };
            match redis.commit(&commit).await? {
                CommitOutcome::Committed { .. } => *expected = id,
                other => bail!("a commit led to {other:?}"),
            }
        }
    }
    Ok(())
}

fn id_of(us: i64) -> FrameId {
    let us = us.unsigned_abs();
    FrameId { ms: us / 1000, seq: us % 1000 }
}

fn age_ms(id: FrameId) -> f64 {
    let written_us = id.ms * 1000 + id.seq;
    (wall_clock_us().unsigned_abs().saturating_sub(written_us)) as f64 / 1e3
}

// --- Clients --------------------------------------------------------------------------------------------------------

/// What came out of the gateway's part.
struct Measured {
    cpu_us_each: f64,
    bytes_each: usize,
    gone_after: Option<Duration>,
    reasons: String,
    memory_mb: Vec<f64>,
}

fn measure(
    args: &Args,
    stack: &Stack,
    runtime: &tokio::runtime::Runtime,
    cameras: &[CameraId],
    seen: &Arc<Seen>,
) -> Result<Measured> {
    let gateway = stack
        .processes()
        .into_iter()
        .find(|process| process.name == "gateway")
        .and_then(|process| process.pid);
    let gateway = gateway.context("the gateway does not run")?;
    eprintln!("{} clients connect …", args.clients);
    let mut clients = Vec::new();
    for number in 0..args.clients {
        let camera = cameras[number % cameras.len()].clone();
        let subscribe = Subscribe { cameras: vec![camera], results: true, ..Subscribe::default() };
        let client = runtime.block_on(Client::subscribe(stack, subscribe))?;
        clients.push(runtime.spawn(watch(client, number < args.stalled, Arc::clone(seen))));
    }
    thread::sleep(SETTLE);
    seen.counting.store(true, Ordering::SeqCst);
    let half = Duration::from_secs_f64(args.minutes * 30.0);
    let mut memory_mb = Vec::new();
    let before = (
        cpu::of_process(gateway)?,
        seen.messages.load(Ordering::Relaxed),
        seen.bytes.load(Ordering::Relaxed),
    );
    eprintln!("{} minutes, half of it before {} clients stop reading …", args.minutes, args.stalled);
    let sample = |until: Instant, memory_mb: &mut Vec<f64>| -> Result<()> {
        while Instant::now() < until {
            thread::sleep(Duration::from_secs(1).min(until.saturating_duration_since(Instant::now())));
            memory_mb.push(Memory::of(gateway)?.resident as f64 / 1e6);
        }
        Ok(())
    };
    sample(Instant::now() + half, &mut memory_mb)?;
    let cpu_us = (cpu::of_process(gateway)? - before.0).as_secs_f64() * 1e6;
    let messages = seen.messages.load(Ordering::Relaxed) - before.1;
    let bytes = seen.bytes.load(Ordering::Relaxed) - before.2;
    ensure!(messages > 0, "no client got a message");

    let stalled_at = Instant::now();
    seen.part.store(Part::Stalling as usize, Ordering::Relaxed);
    seen.stalling.store(true, Ordering::SeqCst);
    let mut gone_after = None;
    while stalled_at.elapsed() < 2 * GONE_WITHIN && gone_after.is_none() && args.stalled > 0 {
        thread::sleep(Duration::from_millis(200));
        let gone = disconnects(&stack.metrics("gateway")?).iter().map(|(_, count)| *count).sum::<f64>();
        gone_after = (gone as usize >= args.stalled).then(|| stalled_at.elapsed());
    }
    seen.part.store(Part::After as usize, Ordering::Relaxed);
    sample(stalled_at + half, &mut memory_mb)?;
    let reasons: Vec<String> = disconnects(&stack.metrics("gateway")?)
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    seen.enough.store(true, Ordering::SeqCst);
    for client in clients {
        runtime.block_on(client)??;
    }
    Ok(Measured {
        cpu_us_each: cpu_us / messages as f64,
        bytes_each: (bytes / messages) as usize,
        gone_after,
        reasons: reasons.join(", "),
        memory_mb,
    })
}

/// Reads until the end, or until it is to stall: then it holds its connection and reads nothing.
async fn watch(mut client: Client, stalls: bool, seen: Arc<Seen>) -> Result<()> {
    let mut last = None;
    let mut ages = Quantiles::default();
    let mut part = Part::Before as usize;
    while !seen.enough.load(Ordering::Relaxed) {
        if stalls && seen.stalling.load(Ordering::Relaxed) {
            while !seen.enough.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            break;
        }
        let (message, bytes) = client.next_with_size(PATIENCE).await?;
        if !seen.counting.load(Ordering::Relaxed) {
            continue;
        }
        match message {
            ServerMessage::Result(result) => {
                ages.add(age_ms(result.id));
                if last.is_some_and(|last| result.id <= last) {
                    seen.disordered.fetch_add(1, Ordering::Relaxed);
                }
                last = Some(result.id);
                seen.messages.fetch_add(1, Ordering::Relaxed);
                seen.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            ServerMessage::Missed(missed) => {
                seen.missed.fetch_add(missed.total, Ordering::Relaxed);
            }
            _ => {}
        }
        let now = seen.part.load(Ordering::Relaxed);
        if now != part {
            add_ages(&seen, part, &std::mem::take(&mut ages));
            part = now;
        }
    }
    add_ages(&seen, part, &ages);
    Ok(())
}

fn add_ages(seen: &Seen, part: usize, ages: &Quantiles) {
    if ages.count() > 0 {
        seen.ages[part].lock().unwrap_or_else(PoisonError::into_inner).merge(ages);
    }
}

/// Connections ended by the gateway, by reason.
fn disconnects(metrics: &Samples) -> Vec<(String, f64)> {
    let series = metrics.with("peregrine_disconnects_total", &[]);
    series.filter_map(|(labels, count)| Some((labels.get("reason")?.clone(), count))).collect()
}

// --- The floor ------------------------------------------------------------------------------------------------------

/// Microseconds of CPU for writing such a message to a socket, with as many sockets and messages a second, and clients that do
/// with it what they did before.
fn floor(args: &Args, runtime: &tokio::runtime::Runtime, bytes: usize) -> Result<f64> {
    eprintln!("the bare cost of writing {bytes} bytes to each, {FLOOR_SECONDS} s …");
    let mut child = Command::new(std::env::current_exe()?)
        .arg("fanout-floor")
        .args(["--clients", &args.clients.to_string(), "--cameras", &args.cameras.to_string()])
        .args(["--fps", &args.fps.to_string(), "--seconds", &FLOOR_SECONDS.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let outcome = floor_of(args, runtime, &mut child, bytes);
    child.kill().ok();
    child.wait()?;
    outcome
}

fn floor_of(
    args: &Args,
    runtime: &tokio::runtime::Runtime,
    child: &mut Child,
    expected: usize,
) -> Result<f64> {
    let mut lines = BufReader::new(child.stdout.take().context("the floor says nothing")?).lines();
    let address: SocketAddr = lines.next().context("the floor did not start")??.parse()?;
    let mut readers = Vec::new();
    for _ in 0..args.clients {
        // One after another: more at once than may wait to be accepted would be lost.
        let mut client = runtime.block_on(Client::without_greeting(address))?;
        readers.push(runtime.spawn(async move {
            let (_, bytes) = client.next_with_size(PATIENCE).await?;
            // It ends with the connection.
            while client.next_with_size(PATIENCE).await.is_ok() {}
            Ok::<_, anyhow::Error>(bytes)
        }));
    }
    let said = lines.next().context("the floor broke off")??;
    for reader in readers {
        let bytes = runtime.block_on(reader)??;
        ensure!(bytes.abs_diff(expected) <= 8, "the floor wrote {bytes} bytes, the gateway {expected}");
    }
    Ok(said.parse()?)
}

/// The child's side: says its address, waits for its clients, writes, and says what a message cost, in microseconds.
pub(crate) fn run_floor(args: &FloorArgs) -> Result<()> {
    let mut out = std::io::stdout();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(out, "{}", listener.local_addr()?)?;
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..args.clients {
        let (client, _) = listener.accept()?;
        client.set_nodelay(true)?;
        // As the gateway sets them unless told otherwise.
        let socket = socket2::SockRef::from(&client);
        socket.set_send_buffer_size(64 * 1024)?;
        socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
        clients.push(client);
    }
    let message = message()?;
    let (began, cpu_before) = (Instant::now(), cpu::of_this_thread()?);
    let (mut ticks, mut written) = (0_u32, 0_u64);
    let between = Duration::from_secs(1) / args.fps / u32::try_from(args.cameras)?;
    while began.elapsed() < Duration::from_secs(args.seconds) {
        let camera = ticks as usize % args.cameras;
        for client in clients.iter_mut().skip(camera).step_by(args.cameras) {
            client.write_all(&message)?;
            written += 1;
        }
        ticks += 1;
        thread::sleep((between * ticks).saturating_sub(began.elapsed()));
    }
    let cpu = cpu::of_this_thread()? - cpu_before;
    writeln!(out, "{}", cpu.as_secs_f64() * 1e6 / written as f64)?;
    Ok(())
}

/// A result as the gateway writes it.
fn message() -> Result<Vec<u8>> {
    let now_us = wall_clock_us();
    let mut result = units::result();
    (result.media_time_us, result.captured_at_us) = (now_us, now_us);
    let result = ResultMessage {
        camera: CameraId::new("camera-1")?,
        id: id_of(now_us),
        seen_at_us: now_us,
        result: encode(&result).into(),
    };
    let message = encode(&ServerMessage::Result(result.to_compact()));
    let mut framed = Vec::new();
    Frame::message(message, OpCode::Data(Data::Binary), true).format(&mut framed)?;
    Ok(framed)
}

// --- What it comes to -----------------------------------------------------------------------------------------------

fn report(args: &Args, measured: &Measured, floor_us: f64, seen: &Seen) -> Result<Report> {
    let Measured { cpu_us_each, bytes_each, gone_after, reasons, memory_mb } = measured;
    let mut text = format!(
        "{} clients, each watching one of {} cameras of {} results a second, for {} minutes; {bytes_each} bytes a message\n\
         milliseconds from a result's write to the client      p50      p99      max   messages\n",
        args.clients, args.cameras, args.fps, args.minutes
    );
    let mut broken = Vec::new();
    for part in Part::ALL {
        let ages = seen.ages[part as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let Some(spread) = ages.spread() else { continue };
        writeln!(
            text,
            "  {:<48} {:8.2} {:8.2} {:8.2} {:10}",
            part.name(),
            spread.p50,
            spread.p99,
            spread.max,
            ages.count()
        )?;
        if spread.p99 > RELAYED_WITHIN {
            broken.push(format!("99% of the messages come within {RELAYED_WITHIN} ms {}", part.name()));
        }
    }
    let (missed, disordered) = (seen.missed.load(Ordering::Relaxed), seen.disordered.load(Ordering::Relaxed));
    writeln!(text, "missed by clients that read: {missed}; out of order: {disordered}")?;
    if missed + disordered > 0 {
        broken.push("who keeps up misses nothing".into());
    }
    match gone_after {
        Some(after) => writeln!(
            text,
            "{} clients that stopped reading were gone after {:.1} s: {reasons}",
            args.stalled,
            after.as_secs_f64()
        )?,
        None => writeln!(text, "{} clients stopped reading: {reasons}", args.stalled)?,
    }
    if args.stalled > 0 && gone_after.is_none_or(|after| after > GONE_WITHIN) {
        broken.push(format!("who does not read is gone within {} s", GONE_WITHIN.as_secs()));
    }
    let (first, last) = (memory_mb[memory_mb.len() / 4], memory_mb.last().copied().unwrap_or_default());
    let most = memory_mb.iter().copied().fold(0.0, f64::max);
    writeln!(
        text,
        "the gateway's memory: {first:.1} MB after a quarter of the time, {last:.1} MB at its end, at most {most:.1} MB"
    )?;
    if last - first > GROWTH_ALLOWED {
        broken.push(format!("its memory grows by less than {GROWTH_ALLOWED} MB"));
    }
    let ratio = cpu_us_each / floor_us;
    writeln!(
        text,
        "CPU time of a message: gateway {cpu_us_each:.2} µs, bare writing {floor_us:.2} µs: {ratio:.2} times"
    )?;
    if ratio > COST_ALLOWED {
        broken.push(format!("a message costs at most {COST_ALLOWED} times the bare writing"));
    }
    Ok(Report { text, broken })
}
