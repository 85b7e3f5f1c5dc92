//! Results as they were committed, followed by whoever shows or keeps them.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use peregrine_proto::{CameraId, DecodeError, FrameId, FrameResult};

use crate::{Redis, StreamError, Waker, follow::Follower, keys, value};

/// A result in its stream.
#[derive(Debug, Clone)]
pub struct ResultEntry {
    /// Whose.
    pub camera: CameraId,
    /// The frame's id.
    pub id: FrameId,
    /// The encoded [`FrameResult`], to be passed on as it is.
    pub encoded: Bytes,
    /// The lease epoch of the processor that wrote it.
    pub epoch: u64,
}

impl ResultEntry {
    /// Reads the result.
    ///
    /// # Errors
    /// When it is none, or of another release.
    pub fn decode(&self) -> Result<FrameResult, DecodeError> {
        peregrine_proto::decode(&self.encoded)
    }

    pub(crate) fn from_entry(camera: CameraId, mut entry: value::Entry) -> Option<Self> {
        let encoded = entry.take("r")?;
        let epoch = entry.take("f")?;
        let epoch = std::str::from_utf8(&epoch).ok()?.parse().ok()?;
        Some(Self { camera, id: entry.id, encoded, epoch })
    }
}

/// Follows the results of many cameras over one blocking connection.
pub struct ResultReader {
    follower: Follower,
    redis: Redis,
}

impl ResultReader {
    /// A reader that follows no camera yet.
    pub fn new(redis: &Redis) -> Self {
        Self { follower: Follower::new(&redis.state, keys::results), redis: redis.clone() }
    }

    /// Follows a camera after a given result: to resume.
    pub fn follow(&mut self, camera: &CameraId, after: FrameId) {
        self.follower.follow(camera, after, usize::MAX);
    }

    /// Follows a camera from its newest result on, and gives that one: to join late.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn join(&mut self, camera: &CameraId) -> Result<Option<ResultEntry>, StreamError> {
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(keys::results(camera)).arg("+").arg("-").arg("COUNT").arg(1);
        let entry = value::entries(self.redis.state.run(&newest).await?).unwrap_or_default().pop();
        self.follow(camera, entry.as_ref().map_or(FrameId::ZERO, |entry| entry.id));
        Ok(entry.and_then(|entry| ResultEntry::from_entry(camera.clone(), entry)))
    }

    /// Stops following a camera.
    pub fn unfollow(&mut self, camera: &CameraId) {
        self.follower.unfollow(camera);
    }

    /// The cameras that are followed.
    pub fn cameras(&self) -> impl Iterator<Item = &CameraId> {
        self.follower.cameras()
    }

    /// Ends a wait of this reader from elsewhere.
    pub fn waker(&self) -> Waker {
        self.follower.waker()
    }

    /// Reads what there is, or waits for it; nothing after `block` (5 s at most) or a wake-up. Entries that are no
    /// results are left out. A stream that was made anew is followed from its beginning.
    ///
    /// # Errors
    /// When the connection is lost or does not answer. Nothing is lost by it: read again.
    pub async fn read(&mut self, block: Duration) -> Result<Vec<ResultEntry>, StreamError> {
        let batch = self.follower.read(block).await?;
        for camera in &batch.recreated {
            self.follow(camera, FrameId::ZERO);
        }
        let parse = |(camera, entry): (CameraId, value::Entry)| {
            let id = entry.id;
            let parsed = ResultEntry::from_entry(camera.clone(), entry);
            if parsed.is_none() {
                tracing::warn!(%camera, %id, "left out an entry that is no result");
            }
            parsed
        };
        Ok(batch.entries.into_iter().filter_map(parse).collect())
    }
}

impl Redis {
    /// Results between two ids, both included, oldest first, at most `most`: for a look back in time.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn results_between(
        &self,
        camera: &CameraId,
        from: FrameId,
        to: FrameId,
        most: usize,
    ) -> Result<Vec<ResultEntry>, StreamError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(keys::results(camera)).arg(from.to_string()).arg(to.to_string()).arg("COUNT").arg(most);
        self.results_of(camera, &range).await
    }

    /// Results before an id, the newest first, at most `most`: for a look further back.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn results_before(
        &self,
        camera: &CameraId,
        before: FrameId,
        most: usize,
    ) -> Result<Vec<ResultEntry>, StreamError> {
        if before == FrameId::ZERO {
            return Ok(Vec::new());
        }
        let mut range = redis::cmd("XREVRANGE");
        range.arg(keys::results(camera)).arg(format!("({before}")).arg("-").arg("COUNT").arg(most);
        self.results_of(camera, &range).await
    }

    /// The ids of the oldest and the newest result that are held; none where there is no result.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn results_held(&self, camera: &CameraId) -> Result<Option<(FrameId, FrameId)>, StreamError> {
        let ends = [("XRANGE", "-", "+"), ("XREVRANGE", "+", "-")];
        let ids = self.result_ids(camera, ends).await?;
        Ok(ids.first().copied().flatten().zip(ids.get(1).copied().flatten()))
    }

    /// Stretches without results in what is held, oldest first: the last result before each, and the first behind it. Only those
    /// longer than a `parts`-th of what is held, and than `least`, are looked for: they are found by looking at places as far apart.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn result_gaps(
        &self,
        camera: &CameraId,
        parts: u64,
        least: Duration,
    ) -> Result<Vec<(FrameId, FrameId)>, StreamError> {
        let Some((first, last)) = self.results_held(camera).await? else { return Ok(Vec::new()) };
        let least = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        let longer_than = (last.ms.saturating_sub(first.ms) / parts.max(1)).max(least).max(1);
        // A gap so long covers one of these places and the next.
        let step = longer_than.div_ceil(2);
        let places: Vec<u64> =
            (first.ms..last.ms).step_by(usize::try_from(step).unwrap_or(usize::MAX)).collect();
        let looks = places.iter().map(|place| ("XRANGE", place.to_string(), "+"));
        let found = self.result_ids(camera, looks).await?;
        let behind: BTreeSet<FrameId> = found
            .into_iter()
            .zip(places)
            .filter_map(|(found, place)| found.filter(|id| id.ms >= place.saturating_add(step)))
            .collect();
        let looks = behind.iter().map(|id| ("XREVRANGE", format!("({id}"), "-"));
        let before = self.result_ids(camera, looks).await?;
        let gaps = before.into_iter().zip(behind).filter_map(|(before, behind)| Some((before?, behind)));
        Ok(gaps.filter(|(before, behind)| behind.ms - before.ms > longer_than).collect())
    }

    /// The first id that each of these looks finds: a command, where it begins and where it ends.
    async fn result_ids<T: redis::ToRedisArgs>(
        &self,
        camera: &CameraId,
        looks: impl IntoIterator<Item = (&'static str, T, &'static str)>,
    ) -> Result<Vec<Option<FrameId>>, StreamError> {
        let key = keys::results(camera);
        let mut commands = redis::pipe();
        for (command, from, to) in looks {
            commands.cmd(command).arg(&key).arg(from).arg(to).arg("COUNT").arg(1);
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let id = |answer| value::entries(answer)?.pop().map(|entry| entry.id);
        Ok(self.state.run_all(&commands).await?.into_iter().map(id).collect())
    }

    async fn results_of(
        &self,
        camera: &CameraId,
        range: &redis::Cmd,
    ) -> Result<Vec<ResultEntry>, StreamError> {
        let entries = value::entries(self.state.run(range).await?).unwrap_or_default();
        Ok(entries.into_iter().filter_map(|entry| ResultEntry::from_entry(camera.clone(), entry)).collect())
    }
}
