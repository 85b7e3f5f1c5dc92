use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use peregrine_proto::{CameraId, FrameHeader, FrameId, LossReason, Stage};
use redis::Value;
use tokio::task::JoinHandle;

use crate::{
    Lease, Losses, Redis, StreamError,
    connection::{MAX_CLOCK_SKEW, wall_clock_us},
    follow::last_generated,
    frames::LastFrame,
    keys,
    servers::Servers,
    value,
};

/// How long one wait for a result lasts before the backlog is counted again.
const CREDIT_BLOCK: Duration = Duration::from_secs(1);
/// How long a live source waits for an answer. Whatever it shows while it waits, it may have dropped before anybody could count it.
const LIVE_PATIENCE: Duration = Duration::from_millis(250);
/// Between two attempts while Redis is full.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What happens when the consumer is slower than the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// A live source: at most `queue` frames wait, the oldest goes.
    Live {
        /// Frames, at least 1; about 8.
        queue: u32,
    },
    /// A file: the source waits while `queue` frames are not yet committed. Nothing is lost, also while Redis is
    /// full or away.
    Lossless {
        /// Frames, at least 1.
        queue: u32,
    },
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the stream.
    Written {
        /// Its id.
        id: FrameId,
        /// Its number.
        n: u64,
        /// How long it waited for room.
        credit: Duration,
        /// How long writing took.
        took: Duration,
    },
    /// It is lost and counted; it took no number.
    Dropped(LossReason),
    /// The answer was lost: the next one tells whether the frame is in the stream, and counts it if it is not.
    Unanswered,
}

/// Answers for which a live source did not wait any longer: they come in the background.
#[derive(Default)]
struct Late {
    /// To the frame that was sent.
    added: Option<JoinHandle<Result<(), StreamError>>>,
    /// To the question which frame is the newest.
    newest: Option<JoinHandle<Result<Option<FrameId>, StreamError>>>,
}

impl Late {
    /// Whether one is still to come.
    fn is_awaited(&self) -> bool {
        self.added.as_ref().is_some_and(|added| !added.is_finished())
            || self.newest.as_ref().is_some_and(|newest| !newest.is_finished())
    }
}

/// What `work` comes to within a live source's patience; where that takes longer, it goes on in the background.
async fn patiently<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinHandle<T>> {
    let mut work = Box::pin(work);
    match tokio::time::timeout(LIVE_PATIENCE, &mut work).await {
        Ok(done) => Ok(done),
        Err(_) => Err(tokio::spawn(work)),
    }
}

/// Writes one camera's frames, in order, each under its capture time.
pub struct FrameWriter {
    redis: Redis,
    camera: CameraId,
    key: String,
    inc: u64,
    flow: Flow,
    first_n: u64,
    next_n: u64,
    last_id: FrameId,
    last_frame: Option<LastFrame>,
    lost: Losses,
    /// The frame that was sent and not answered.
    unanswered: Option<FrameId>,
    /// What a live flow does not wait for.
    late: Late,
    window: Window,
    clock: Clock,
}

impl FrameWriter {
    /// Finds out where the camera's last producer stopped, and continues there.
    ///
    /// # Errors
    /// When a server does not answer, or its clock is more than [`MAX_CLOCK_SKEW`] from this machine's: ids are
    /// times, and one from the far future would stay the newest for long.
    pub async fn open(redis: &Redis, lease: &Lease, flow: Flow) -> Result<Self, StreamError> {
        let camera = lease.camera.clone();
        let clock = Clock::set(redis, &keys::frames(&camera)).await?;
        let last_frame = redis.last_frame(&camera).await?;
        let checkpoint = redis.checkpoint(&camera).await?;
        let mut last_id = checkpoint.id;
        for (servers, key) in [(&redis.state, keys::results(&camera)), (&redis.frames, keys::frames(&camera))]
        {
            last_id = last_id.max(newest_id(servers, &key).await?.unwrap_or_default());
        }
        let next_n = last_frame.as_ref().map_or(0, |frame| frame.n).max(checkpoint.n) + 1;
        let window = match flow {
            Flow::Live { .. } => Window::default(),
            Flow::Lossless { .. } => Window::open(redis, &camera).await?,
        };
        Ok(Self {
            redis: redis.clone(),
            key: keys::frames(&camera),
            inc: lease.epoch,
            camera,
            flow,
            first_n: next_n,
            next_n,
            last_id,
            last_frame,
            lost: Losses::default(),
            unanswered: None,
            late: Late::default(),
            window,
            clock,
        })
    }

    /// The newest frame of the producer before this one.
    pub fn last_frame(&self) -> Option<&LastFrame> {
        self.last_frame.as_ref()
    }

    /// What this writer lost before the stream.
    pub fn lost(&self) -> &Losses {
        &self.lost
    }

    /// How many frames this writer has in the stream by now, as far as it knows: [`Self::settle`] makes it certain.
    pub fn published(&self) -> u64 {
        self.next_n - self.first_n
    }

    /// Finds out what became of a frame whose answer was lost, or whose call was dropped, and counts it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn settle(&mut self) -> Result<(), StreamError> {
        if self.unanswered.is_none() {
            return Ok(());
        }
        if let Some(added) = self.late.added.take()
            && let Ok(Ok(())) = added.await
        {
            self.settled(self.unanswered);
            return Ok(());
        }
        self.late.newest = None;
        let newest = self.newest().await?;
        self.settled(newest);
        Ok(())
    }

    /// As [`Self::settle`], but for no longer than a live source can wait: false when the answer is still to come.
    async fn settle_live(&mut self) -> Result<bool, StreamError> {
        if self.unanswered.is_none() {
            return Ok(true);
        }
        if self.late.is_awaited() {
            return Ok(false);
        }
        if let Some(added) = self.late.added.take()
            && let Ok(Ok(())) = added.await
        {
            self.settled(self.unanswered);
            return Ok(true);
        }
        let newest = match self.late.newest.take() {
            Some(newest) => newest.await.ok(),
            None => None,
        };
        let newest = match newest {
            Some(newest) => newest,
            None => {
                let (frames, key) = (Arc::clone(&self.redis.frames), self.key.clone());
                match patiently(async move { newest_id(&frames, &key).await }).await {
                    Ok(newest) => newest,
                    Err(late) => {
                        self.late.newest = Some(late);
                        return Ok(false);
                    }
                }
            }
        };
        self.settled(newest?);
        Ok(true)
    }

    /// Counts the unanswered frame, now that the newest one in the stream is known.
    fn settled(&mut self, newest: Option<FrameId>) {
        let Some(id) = self.unanswered else { return };
        if newest == Some(id) {
            self.written(id, Duration::ZERO, Instant::now());
            if matches!(self.flow, Flow::Lossless { .. }) {
                self.window.sent(id);
            }
        } else {
            self.unanswered = None;
            self.lost.add(LossReason::RedisUnreachable, 1);
        }
    }

    /// Writes a frame. `n`, `inc` and `lossless` of its header are filled in, the writer's losses are added to
    /// those that it holds, and the wait for room, or for the answer to the frame before it, is stamped.
    ///
    /// Of a lossless flow this returns when the frame is in the stream, however long that takes: race it against
    /// shutdown. Dropping the call is safe.
    ///
    /// # Errors
    /// When a successor writes the camera, when the clocks have drifted apart, or what trying again would not mend.
    pub async fn publish(&mut self, header: &mut FrameHeader, data: &[u8]) -> Result<Published, StreamError> {
        let came = Instant::now();
        self.clock.check(&self.redis, &self.key, header.captured_at_us).await?;
        match self.flow {
            Flow::Live { queue } => self.publish_live(header, data, queue.max(1), came).await,
            Flow::Lossless { queue } => self.publish_lossless(header, data, queue.max(1), came).await,
        }
    }

    async fn publish_live(
        &mut self,
        header: &mut FrameHeader,
        data: &[u8],
        queue: u32,
        came: Instant,
    ) -> Result<Published, StreamError> {
        if self.redis.frames.is_down(&self.key) {
            // Connecting again has its own pace; a live source does not wait for it.
            return Ok(self.drop_frame(LossReason::RedisUnreachable));
        }
        match self.settle_live().await {
            Ok(true) => {}
            Ok(false) => return Ok(self.drop_frame(LossReason::RedisUnreachable)),
            Err(error) if error.is_transient() => return Ok(self.drop_frame(reason(&error))),
            Err(error) => return Err(error),
        }
        let id = self.next_id(header);
        let began = Instant::now();
        header.stamp(Stage::Hold, began.duration_since(came));
        let mut commands = redis::pipe();
        // Two commands, because a full Redis refuses XADD MAXLEN before it trims, but allows XTRIM.
        commands.cmd("XTRIM").arg(&self.key).arg("MAXLEN").arg("=").arg(queue - 1);
        commands.add_command(self.xadd(id, header, data));
        self.unanswered = Some(id);
        let frames = Arc::clone(&self.redis.frames);
        let added = patiently(async move {
            match frames.run_all(&commands).await?.pop() {
                Some(Value::ServerError(error)) => Err(frames.refusal(error, "XADD".into())),
                _ => Ok(()),
            }
        });
        let added = match added.await {
            Ok(added) => added,
            Err(late) => {
                self.late.added = Some(late);
                return Ok(Published::Unanswered);
            }
        };
        match added {
            Ok(()) => Ok(self.written(id, Duration::ZERO, began)),
            Err(StreamError::Unreachable { .. } | StreamError::Timeout { .. }) => Ok(Published::Unanswered),
            Err(error) => {
                self.unanswered = None;
                if error.is_transient() {
                    Ok(self.drop_frame(reason(&error)))
                } else {
                    let newest = self.newest().await?;
                    Err(self.refused(error, id, newest))
                }
            }
        }
    }

    async fn publish_lossless(
        &mut self,
        header: &mut FrameHeader,
        data: &[u8],
        queue: u32,
        came: Instant,
    ) -> Result<Published, StreamError> {
        // A frame of a call that was dropped may be in the stream or not; it was never reported, so it counts
        // as lost if it is not.
        while let Err(error) = self.settle().await {
            self.ride_out(error).await?;
        }
        while self.window.waiting() >= queue as usize {
            if let Err(error) = self.window.wait(&self.redis, &self.camera).await {
                self.ride_out(error).await?;
            }
        }
        let credit = came.elapsed();
        header.stamp(Stage::Credit, credit);
        let id = self.next_id(header);
        let began = Instant::now();
        let command = self.xadd(id, header, data);
        loop {
            self.unanswered = Some(id);
            let refused = match self.redis.frames.run(&command).await {
                Ok(_) => break,
                Err(error) if error.is_transient() => {
                    self.ride_out(error).await?;
                    continue;
                }
                Err(error) => error,
            };
            match self.newest().await {
                // The answer was lost, the frame was not.
                Ok(Some(newest)) if newest == id => break,
                Ok(newest) => return Err(self.refused(refused, id, newest)),
                Err(error) => self.ride_out(error).await?,
            }
        }
        self.window.sent(id);
        Ok(self.written(id, credit, began))
    }

    fn xadd(&self, id: FrameId, header: &mut FrameHeader, data: &[u8]) -> redis::Cmd {
        header.n = self.next_n;
        header.inc = self.inc;
        header.lossless = matches!(self.flow, Flow::Lossless { .. });
        let mut lost: Losses = header.lost.iter().copied().collect();
        self.lost.to_vec().into_iter().for_each(|count| lost.add(count.reason, count.count));
        header.lost = lost.to_vec();
        let encoded = peregrine_proto::encode(&header.clone().for_schema(self.redis.schema()));
        let mut command = redis::Cmd::with_capacity(7, data.len() + encoded.len() + 256);
        command.arg("XADD").arg(&self.key).arg(id.to_string()).arg("h").arg(encoded).arg("d").arg(data);
        command
    }

    fn next_id(&self, header: &FrameHeader) -> FrameId {
        let captured = FrameId::at_us(header.captured_at_us);
        captured.max(self.last_id.next())
    }

    fn written(&mut self, id: FrameId, credit: Duration, began: Instant) -> Published {
        self.unanswered = None;
        self.last_id = id;
        let n = self.next_n;
        self.next_n += 1;
        Published::Written { id, n, credit, took: began.elapsed() }
    }

    fn drop_frame(&mut self, reason: LossReason) -> Published {
        self.lost.add(reason, 1);
        Published::Dropped(reason)
    }

    async fn newest(&self) -> Result<Option<FrameId>, StreamError> {
        newest_id(&self.redis.frames, &self.key).await
    }

    /// Waits a little while Redis is full or away; other errors end the writer.
    async fn ride_out(&self, error: StreamError) -> Result<(), StreamError> {
        if !error.is_transient() {
            return Err(error);
        }
        tracing::debug!(camera = %self.camera, %error, "waiting for redis");
        tokio::time::sleep(FULL_PAUSE).await;
        Ok(())
    }

    /// Tells a refusal because somebody else has written newer frames from other refusals.
    fn refused(&mut self, error: StreamError, id: FrameId, newest: Option<FrameId>) -> StreamError {
        self.unanswered = None;
        match newest {
            Some(newest) if newest >= id => StreamError::Succeeded { camera: self.camera.clone() },
            _ => error,
        }
    }
}

fn reason(error: &StreamError) -> LossReason {
    match error {
        StreamError::Full { .. } => LossReason::RedisFull,
        _ => LossReason::RedisUnreachable,
    }
}

/// The id generated last in a stream; none where there is no such stream.
async fn newest_id(servers: &Servers, key: &str) -> Result<Option<FrameId>, StreamError> {
    match servers.run(redis::cmd("XINFO").arg("STREAM").arg(key)).await {
        Ok(answer) => Ok(last_generated(answer)),
        Err(StreamError::Refused { why, .. }) if why.contains("no such key") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Frames of a lossless flow that are published and not committed: each result seen is a credit.
#[derive(Default)]
struct Window {
    /// Ours, oldest first.
    ours: VecDeque<FrameId>,
    /// Those of the producer before us.
    before: usize,
    /// The last result seen. Reading from "now" would miss those that came while nobody waited.
    seen: FrameId,
    results: Option<Servers>,
}

impl Window {
    async fn open(redis: &Redis, camera: &CameraId) -> Result<Self, StreamError> {
        let seen = newest_id(&redis.state, &keys::results(camera)).await?.unwrap_or_default();
        let before = redis.backlog(camera).await?.try_into().unwrap_or(usize::MAX);
        let results = Some(redis.state.blocking(CREDIT_BLOCK));
        Ok(Self { ours: VecDeque::new(), before, seen, results })
    }

    fn waiting(&self) -> usize {
        self.before.saturating_add(self.ours.len())
    }

    fn sent(&mut self, id: FrameId) {
        self.ours.push_back(id);
    }

    /// Waits for results, or, after a second without one, counts what lies in the stream: entries also vanish
    /// without a result, when they are no frames or the server was flushed.
    async fn wait(&mut self, redis: &Redis, camera: &CameraId) -> Result<(), StreamError> {
        let Some(results) = &self.results else { return Ok(()) };
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(64).arg("BLOCK").arg(CREDIT_BLOCK.as_millis() as u64);
        command.arg("STREAMS").arg(keys::results(camera)).arg(self.seen.to_string());
        let streams = value::streams(results.run(&command).await?).unwrap_or_default();
        let ids: Vec<FrameId> =
            streams.into_iter().flat_map(|(_, entries)| entries).map(|entry| entry.id).collect();
        for &id in &ids {
            self.committed(id);
        }
        if ids.is_empty() {
            let left = usize::try_from(redis.backlog(camera).await?).unwrap_or(usize::MAX);
            while self.waiting() > left && self.before > 0 {
                self.before -= 1;
            }
            while self.waiting() > left {
                self.ours.pop_front();
            }
        }
        Ok(())
    }

    fn committed(&mut self, id: FrameId) {
        self.seen = self.seen.max(id);
        match self.ours.front() {
            Some(&first) if id >= first => {
                self.before = 0;
                while self.ours.front().is_some_and(|&ours| ours <= id) {
                    self.ours.pop_front();
                }
            }
            _ => self.before = self.before.saturating_sub(1),
        }
    }
}

/// Watches that this machine's wall clock stays with that of the server where the frames go.
struct Clock {
    server_us: i64,
    at: Instant,
}

impl Clock {
    async fn set(redis: &Redis, key: &str) -> Result<Self, StreamError> {
        let server_us = redis.frames.time_us(key).await?;
        let offset_us = wall_clock_us() - server_us;
        if offset_us.unsigned_abs() > MAX_CLOCK_SKEW.as_micros() as u64 {
            return Err(StreamError::Clock { url: redis.frames.url.clone(), offset_ms: offset_us / 1000 });
        }
        Ok(Self { server_us, at: Instant::now() })
    }

    /// A time that is not near where the monotonic clock expects it means that one of the clocks was set (or that the
    /// machine slept): the server is asked again.
    async fn check(&mut self, redis: &Redis, key: &str, captured_at_us: i64) -> Result<(), StreamError> {
        let elapsed = i64::try_from(self.at.elapsed().as_micros()).unwrap_or(i64::MAX);
        let expected = self.server_us.saturating_add(elapsed);
        if captured_at_us.saturating_sub(expected).unsigned_abs() > MAX_CLOCK_SKEW.as_micros() as u64 {
            match Self::set(redis, key).await {
                Ok(clock) => *self = clock,
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
