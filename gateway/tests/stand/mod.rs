//! What the tests stand on: a Redis of their own, a gateway in this process, cameras that commit as a processor
//! does, and clients that speak the protocol.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use peregrine_daemon::{Health, Shell, Shutdown};
use peregrine_gateway::{Config, Gateway, OutboxLimits, RawConfig};
use peregrine_proto::{
    CameraConfig, CameraId, ClientMessage, Detection, FrameId, FrameResult, ResultStatus, SCHEMA,
    ServerMessage, Size, SourceConfig, Subscribe, decode, encode,
};
use peregrine_streams::{
    Acquired, Commit, Grant, Intake, ModelAnnouncement, Redis, RedisUrls, Role, SourceHealth, SourceState,
    WorkerId, wall_clock_us,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::frame::CloseFrame},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A private Redis with an append-only file, on a unix socket.
pub(crate) struct RedisServer {
    folder: TempDir,
    process: Child,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = spawn_redis(folder.path());
        let server = Self { folder, process };
        server.answers().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }

    pub(crate) async fn connect(&self) -> Redis {
        Redis::open(&RedisUrls::single(self.url())).await.unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = spawn_redis(self.folder.path());
        self.answers().await;
    }

    /// How often a command ran.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats = self.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let socket = self.folder.path().join("redis.sock");
        let output = Command::new("redis-cli").arg("-s").arg(socket).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    async fn answers(&self) {
        eventually("Redis answers", async || {
            Redis::open(&RedisUrls::single(self.url())).await.is_ok().then_some(())
        })
        .await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn_redis(folder: &Path) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            "0",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--maxmemory",
            "1gb",
        ])
        .arg("--unixsocket")
        .arg(folder.join("redis.sock"))
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is needed for this test: apt-get install redis-server")
}

/// Tries until there is an answer.
pub(crate) async fn eventually<T>(what: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = attempt().await {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The gateway under test.
pub(crate) struct Stand {
    pub(crate) redis: RedisServer,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) health: Health,
    pub(crate) serving: JoinHandle<anyhow::Result<()>>,
}

impl Stand {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let redis = RedisServer::start().await;
        let mut config = config(&redis.url());
        change(&mut config);
        let (shutdown, health) = (Shutdown::new(), Health::starting());
        let shell = Shell { shutdown: shutdown.clone(), health: health.clone(), worker: "test".into() };
        let gateway = Gateway::bind(config, shell).await.unwrap();
        let address = gateway.address();
        Self { redis, address, shutdown, health, serving: tokio::spawn(gateway.serve()) }
    }

    pub(crate) async fn camera(&self, id: &str) -> Camera {
        Camera::add(self.redis.connect().await, id).await
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address, None, None).await.unwrap()
    }

    /// A client whose kernel buffers little, so that a stop in reading shows soon.
    pub(crate) async fn client_with_small_buffer(&self) -> Client {
        Client::connect(self.address, None, Some(4096)).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "").await
    }

    /// `headers` are lines, each with its end.
    pub(crate) async fn get_with(&self, path: &str, headers: &str) -> Answer {
        request(self.address, &format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}", self.address)).await
    }

    /// Sends JSON.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &serde_json::Value,
    ) -> Answer {
        let (host, body) = (self.address, body.to_string());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n{headers}",
            body.len()
        );
        request_with(TcpStream::connect(self.address).await.unwrap(), &head, &body).await
    }
}

pub(crate) fn config(redis_url: &str) -> Config {
    let mut raw = RawConfig::default();
    raw.redis.url = redis_url.into();
    raw.gateway.listen = "127.0.0.1:0".into();
    let mut problems = peregrine_daemon::Problems::default();
    <Config as peregrine_daemon::DaemonConfig>::build(raw, &mut problems).unwrap()
}

pub(crate) const SMALL_OUTBOX: OutboxLimits = OutboxLimits { messages: 8, bytes: 1 << 20, control: 8 };

/// A camera that is produced and processed by this test.
pub(crate) struct Camera {
    pub(crate) id: CameraId,
    pub(crate) redis: Redis,
    grant: Box<Grant>,
    last: FrameId,
    intake: Intake,
}

impl Camera {
    async fn add(redis: Redis, id: &str) -> Self {
        let id = CameraId::new(id).unwrap();
        redis.put_camera(&camera_config(&id)).await.unwrap();
        let model = ModelAnnouncement {
            name: "m".into(),
            input: Size { width: 416, height: 416 },
            classes: vec!["person".into(), "car".into()],
            default: true,
            announced_at_us: wall_clock_us(),
        };
        redis.announce_model(&model).await.unwrap();
        let worker = WorkerId::new("w1");
        let ttl = Duration::from_secs(60);
        for role in [Role::Producer, Role::Processor] {
            let Acquired::Granted(grant) = redis.acquire(role, &id, &worker, ttl).await.unwrap() else {
                panic!("camera {id} is free")
            };
            if role == Role::Processor {
                let intake = Intake::from_checkpoint(&grant.checkpoint);
                let last = grant.checkpoint.id;
                let camera = Self { id, redis, grant, last, intake };
                camera.source_is(SourceHealth::Live, "").await;
                return camera;
            }
        }
        unreachable!()
    }

    pub(crate) async fn source_is(&self, state: SourceHealth, error: &str) {
        let state = SourceState {
            state,
            error: error.into(),
            size: Some(Size { width: 640, height: 480 }),
            fps: 25.0,
            updated_us: wall_clock_us(),
            published: self.intake.n,
            ..SourceState::default()
        };
        self.redis.put_source_state(&self.id, &state).await.unwrap();
    }

    /// Commits a result with so many detections.
    pub(crate) async fn commit(&mut self, detections: usize) -> FrameId {
        self.commit_as(ResultStatus::Ok, detections).await
    }

    /// Commits the result that closes a file.
    pub(crate) async fn commit_end(&mut self) -> FrameId {
        self.source_is(SourceHealth::Ended, "").await;
        self.commit_as(ResultStatus::End, 0).await
    }

    async fn commit_as(&mut self, status: ResultStatus, detections: usize) -> FrameId {
        let now = wall_clock_us();
        let ms = u64::try_from(now / 1000).unwrap();
        let id = FrameId { ms, seq: 0 }.max(self.last.next());
        self.intake.n += 1;
        let result = FrameResult {
            schema: SCHEMA,
            n: self.intake.n,
            inc: 1,
            position: self.intake.n,
            media_time_us: now,
            captured_at_us: now,
            status,
            reason: None,
            source: Size { width: 640, height: 480 },
            track_epoch: 0,
            detections: vec![
                Detection { xyxy: [1.0, 2.0, 3.0, 4.5], confidence: 0.5, class_id: 0 };
                detections
            ],
            tracks: Vec::new(),
            stages: Vec::new(),
            worker: "w1".into(),
            lost: Vec::new(),
            notices: Vec::new(),
        };
        let commit = Commit {
            lease: &self.grant.lease,
            id,
            expected: self.last,
            intake: &self.intake,
            state: &[],
            result: &result,
            results_kept: 1000,
        };
        self.redis.commit(&commit).await.unwrap();
        self.last = id;
        id
    }

    /// Publishes a picture of this frame.
    pub(crate) async fn picture(&self, id: FrameId, jpeg: &[u8]) {
        let size = Size { width: 320, height: 240 };
        self.redis.put_preview(&self.id, id, size, jpeg, false, 100).await.unwrap();
    }

    pub(crate) async fn watched(&self) -> Vec<u32> {
        self.redis.watched(std::slice::from_ref(&self.id)).await.unwrap().remove(0)
    }
}

pub(crate) fn camera_config(id: &CameraId) -> CameraConfig {
    CameraConfig {
        id: id.clone(),
        name: "Yard".into(),
        source: SourceConfig::new("rtsp://user:secret@cam.example/1"),
        analysis: Default::default(),
        calibration: None,
    }
}

/// A client of the gateway.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// All the gateway complained about.
    pub(crate) problems: Vec<String>,
    /// What came back for WebSocket pings.
    pub(crate) pongs: Vec<Bytes>,
    /// Bytes of the last message.
    pub(crate) received: usize,
}

impl Client {
    pub(crate) async fn connect(
        address: SocketAddr,
        origin: Option<&str>,
        receive_buffer: Option<u32>,
    ) -> Result<Self, Error> {
        let headers: Vec<(&'static str, &str)> =
            origin.map(|origin| ("origin", origin)).into_iter().collect();
        Self::connect_with(address, &headers, receive_buffer).await
    }

    pub(crate) async fn connect_with(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
        receive_buffer: Option<u32>,
    ) -> Result<Self, Error> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(size) = receive_buffer {
            socket.set_recv_buffer_size(size).unwrap();
        }
        let stream = socket.connect(address).await.unwrap();
        let mut request = format!("ws://{address}/ws").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self::new(socket))
    }

    fn new(socket: WebSocketStream<TcpStream>) -> Self {
        Self { socket, problems: Vec::new(), pongs: Vec::new(), received: 0 }
    }

    /// A client that offers these subprotocols; with it the one that the gateway took.
    pub(crate) async fn offering(address: SocketAddr, subprotocols: &str) -> Result<(Self, String), Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}/ws").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", subprotocols.parse().unwrap());
        let (socket, answer) = tokio_tungstenite::client_async(request, stream).await?;
        let taken = answer.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned();
        Ok((Self::new(socket), taken))
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage) {
        self.send_raw(Message::Binary(encode(message).into())).await;
    }

    /// In as few writes as possible.
    pub(crate) async fn send_at_once(&mut self, messages: &[ClientMessage]) {
        for message in messages {
            self.socket.feed(Message::Binary(encode(message).into())).await.unwrap();
        }
        self.socket.flush().await.unwrap();
    }

    pub(crate) async fn try_send_raw(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.try_send_raw(message).await.unwrap();
    }

    pub(crate) async fn subscribe(
        &mut self,
        cameras: &[&CameraId],
        results: bool,
        preview_width: Option<u32>,
    ) {
        let cameras = cameras.iter().map(|&camera| camera.clone()).collect();
        self.send(&ClientMessage::Subscribe(Subscribe {
            cameras,
            results,
            preview_width,
            ..Subscribe::default()
        }))
        .await;
    }

    /// The next message of the protocol, or how the gateway closed.
    pub(crate) async fn next(&mut self) -> Result<ServerMessage, Option<CloseFrame>> {
        loop {
            let next =
                tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the gateway says something");
            match next {
                Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) => {
                    self.received = message.len();
                    let message = match &message {
                        Message::Text(text) => serde_json::from_str(text).expect("JSON of the protocol"),
                        other => decode(&other.clone().into_data())
                            .expect("what the gateway sends is of the protocol"),
                    };
                    if let ServerMessage::Problem(problem) = &message {
                        self.problems.push(problem.message.clone());
                    }
                    return Ok(message);
                }
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(Message::Pong(brought))) => self.pongs.push(brought),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The first message of a kind; others are passed over.
    pub(crate) async fn until<T>(&mut self, pick: impl Fn(ServerMessage) -> Option<T>) -> T {
        loop {
            match self.next().await {
                Ok(message) => {
                    if let Some(picked) = pick(message) {
                        return picked;
                    }
                }
                Err(close) => panic!("the gateway closed: {close:?}, it said {:?}", self.problems),
            }
        }
    }

    pub(crate) async fn result(&mut self) -> (CameraId, FrameId, FrameResult) {
        self.until(|message| match message {
            ServerMessage::Result(r) => Some((r.camera.clone(), r.id, r.frame_result().unwrap())),
            _ => None,
        })
        .await
    }

    pub(crate) async fn result_id(&mut self) -> FrameId {
        self.result().await.1
    }

    /// How the gateway closes, all messages before it passed over.
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Err(close) = self.next().await {
                return close;
            }
        }
    }
}

/// What the gateway answered to a plain request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let named = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(named).map_or("", |line| line[name.len() + 1..].trim())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request as it stands and reads the answer.
pub(crate) async fn request(address: SocketAddr, head: &str) -> Answer {
    request_with(TcpStream::connect(address).await.unwrap(), head, "").await
}

/// The same over any connection, and with a body.
pub(crate) async fn request_with(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    body: &str,
) -> Answer {
    stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole answer");
    let head = String::from_utf8(answer[..split].to_vec()).unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[split + 4..].to_vec().into() }
}

/// A dashboard of three files.
pub(crate) fn built_dashboard(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder.join("assets")).unwrap();
    std::fs::write(folder.join("index.html"), "<!doctype html><title>dashboard</title>").unwrap();
    std::fs::write(folder.join("assets/app-0a1b2c.js"), "export {}").unwrap();
    folder.to_owned()
}
