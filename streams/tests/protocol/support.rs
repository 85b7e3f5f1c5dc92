use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use peregrine_proto::{CameraId, FrameHeader, FrameId, FrameResult, ResultStatus, SCHEMA, Size};
use peregrine_streams::{
    Acquired, Arrival, Commit, CommitOutcome, Flow, Frame, FrameReader, FrameWriter, Grant, Intake,
    Published, Redis, ResultEntry, Role, Seen, WorkerId, wall_clock_us,
};

/// Longer than any test takes.
pub(crate) const TTL: Duration = Duration::from_secs(60);
pub(crate) const SIZE: Size = Size { width: 4, height: 2 };
pub(crate) const PIXELS: [u8; 12] = [7; 12];

pub(crate) fn cam(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

pub(crate) fn header(position: u64) -> FrameHeader {
    FrameHeader {
        position,
        media_time_us: position as i64 * 100_000,
        captured_at_us: wall_clock_us(),
        ..FrameHeader::of_picture(SIZE, SIZE)
    }
}

pub(crate) async fn grant(
    redis: &Redis,
    role: Role,
    camera: &CameraId,
    worker: &WorkerId,
    ttl: Duration,
) -> Result<Grant> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match redis.acquire(role, camera, worker, ttl).await? {
            Acquired::Granted(grant) => return Ok(*grant),
            Acquired::Refused { .. } if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
            Acquired::Refused { holder, .. } => bail!("{holder} holds {camera}"),
        }
    }
}

pub(crate) async fn writer(redis: &Redis, camera: &CameraId, flow: Flow) -> Result<FrameWriter> {
    let grant = grant(redis, Role::Producer, camera, &WorkerId::new("producer"), TTL).await?;
    Ok(FrameWriter::open(redis, &grant.lease, flow).await?)
}

pub(crate) async fn write(writer: &mut FrameWriter, position: u64) -> Result<Published> {
    Ok(writer.publish(&mut header(position), &PIXELS).await?)
}

/// A processor that does nothing but keep a chain of all it saw as its state.
pub(crate) struct Chain {
    pub(crate) redis: Redis,
    pub(crate) grant: Grant,
    pub(crate) intake: Intake,
    pub(crate) at: FrameId,
    pub(crate) state: Vec<u8>,
    pub(crate) reader: FrameReader,
}

impl Chain {
    pub(crate) async fn take(redis: &Redis, camera: &CameraId, worker: &str) -> Result<Self> {
        Self::take_for(redis, camera, worker, TTL).await
    }

    pub(crate) async fn take_for(
        redis: &Redis,
        camera: &CameraId,
        worker: &str,
        ttl: Duration,
    ) -> Result<Self> {
        let grant = grant(redis, Role::Processor, camera, &WorkerId::new(worker), ttl).await?;
        let mut reader = FrameReader::new(redis);
        reader.follow(camera, grant.checkpoint.id, usize::MAX);
        Ok(Self {
            redis: redis.clone(),
            intake: Intake::from_checkpoint(&grant.checkpoint),
            at: grant.checkpoint.id,
            state: grant.checkpoint.state.to_vec(),
            grant,
            reader,
        })
    }

    pub(crate) async fn read(&mut self, block: Duration) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        for arrival in self.reader.read(block).await? {
            match arrival {
                Arrival::Frame(frame) => {
                    if let Seen::Next { .. } = self.intake.see(&frame.header) {
                        frames.push(frame);
                    }
                }
                Arrival::Malformed { .. } => self.intake.see_garbage(),
                Arrival::Recreated { camera } => bail!("the stream of {camera} was made anew"),
            }
        }
        Ok(frames)
    }

    /// Commits a frame. Frames must have been read one at a time for the losses to be right.
    pub(crate) async fn commit(&mut self, id: FrameId, header: &FrameHeader) -> Result<CommitOutcome> {
        let state = link(&self.state, header.n);
        let outcome = self.try_commit(id, self.at, &state, &result(header)).await?;
        if !matches!(outcome, CommitOutcome::Fenced | CommitOutcome::Stale { .. }) {
            self.at = id;
            self.state = state;
        }
        Ok(outcome)
    }

    pub(crate) async fn try_commit(
        &self,
        id: FrameId,
        expected: FrameId,
        state: &[u8],
        result: &FrameResult,
    ) -> Result<CommitOutcome> {
        let lease = &self.grant.lease;
        let intake = &self.intake;
        Ok(self
            .redis
            .commit(&Commit { lease, id, expected, intake, state, result, results_kept: 100_000 })
            .await?)
    }

    /// Processes until so many frames are done or nothing has come for a while.
    pub(crate) async fn run(&mut self, frames: usize, patience: Duration) -> Result<usize> {
        let mut done = 0;
        let mut since = Instant::now();
        while done < frames && since.elapsed() < patience {
            for frame in self.read(Duration::from_millis(100)).await? {
                anyhow::ensure!(
                    matches!(self.commit(frame.id, &frame.header).await?, CommitOutcome::Committed { .. }),
                    "frame {} was not committed",
                    frame.header.n
                );
                done += 1;
                since = Instant::now();
            }
        }
        Ok(done)
    }
}

/// The next link of the chain.
pub(crate) fn link(state: &[u8], n: u64) -> Vec<u8> {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = state.iter().chain(&n.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, fold);
    hash.to_le_bytes().to_vec()
}

pub(crate) fn result(header: &FrameHeader) -> FrameResult {
    FrameResult {
        schema: SCHEMA,
        n: header.n,
        inc: header.inc,
        position: header.position,
        media_time_us: header.media_time_us,
        captured_at_us: header.captured_at_us,
        status: ResultStatus::Ok,
        reason: None,
        source: header.source,
        track_epoch: 0,
        detections: Vec::new(),
        tracks: Vec::new(),
        stages: Vec::new(),
        worker: "test".into(),
        lost: Vec::new(),
        notices: Vec::new(),
    }
}

pub(crate) async fn results(redis: &Redis, camera: &CameraId) -> Result<Vec<(ResultEntry, FrameResult)>> {
    let most = FrameId { ms: u64::MAX, seq: u64::MAX };
    let entries = redis.results_between(camera, FrameId::ZERO, most, 1_000_000).await?;
    entries.into_iter().map(|entry| Ok((entry.clone(), entry.decode()?))).collect()
}

/// The numbers of the frames that have a result, in the order of the stream.
pub(crate) async fn numbers(redis: &Redis, camera: &CameraId) -> Result<Vec<u64>> {
    Ok(results(redis, camera).await?.into_iter().map(|(_, result)| result.n).collect())
}

/// A wire between a client and a server that can be cut.
pub(crate) mod wire {
    use std::{
        path::{Path, PathBuf},
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU32, Ordering},
        },
    };

    use anyhow::Result;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{UnixListener, UnixStream},
    };

    /// Never cut.
    const WHOLE: u32 = u32::MAX;

    #[derive(Clone)]
    pub(crate) struct Wire {
        swallow: Arc<AtomicBool>,
        /// Answers that still come through.
        left: Arc<AtomicU32>,
        /// Answers that were lost with their connection.
        cuts: Arc<AtomicU32>,
        path: PathBuf,
    }

    impl Wire {
        pub(crate) async fn to(server: &Path) -> Result<Self> {
            let path = server.with_extension("wire");
            let listener = UnixListener::bind(&path)?;
            let wire = Self {
                swallow: Arc::default(),
                left: Arc::new(AtomicU32::new(WHOLE)),
                cuts: Arc::default(),
                path,
            };
            let (server, this) = (server.to_owned(), wire.clone());
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    if let Ok(server) = UnixStream::connect(&server).await {
                        tokio::spawn(this.clone().carry(client, server));
                    }
                }
            });
            Ok(wire)
        }

        async fn carry(self, client: UnixStream, server: UnixStream) {
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let upward = async {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            };
            let downward = async {
                let mut buffer = vec![0; 65536];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    let count_down = |left| (left != WHOLE && left > 0).then(|| left - 1);
                    let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count_down);
                    if left == Err(0) {
                        self.cuts.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    let swallow = self.swallow.load(Ordering::SeqCst);
                    if !swallow && to_client.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! { () = upward => {}, () = downward => {} }
        }

        pub(crate) fn url(&self) -> String {
            format!("redis+unix://{}", self.path.display())
        }

        /// How many answers were lost with their connection.
        pub(crate) fn cuts(&self) -> u32 {
            self.cuts.load(Ordering::SeqCst)
        }

        pub(crate) fn pass(&self) {
            self.left.store(WHOLE, Ordering::SeqCst);
            self.swallow.store(false, Ordering::SeqCst);
        }

        /// Requests arrive, answers do not.
        pub(crate) fn swallow_answers(&self) {
            self.swallow.store(true, Ordering::SeqCst);
        }

        /// So many answers come through; the one after them is lost together with its connection, and all later ones.
        pub(crate) fn cut_after(&self, answers: u32) {
            self.left.store(answers, Ordering::SeqCst);
        }
    }
}
