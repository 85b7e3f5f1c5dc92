//! Reading many streams of one kind over one blocking connection.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use peregrine_proto::{CameraId, FrameId};
use redis::{Cmd, Value};
use tokio::sync::Notify;

use crate::{StreamError, connection::Link, value};

/// The longest that one read blocks.
pub const LONGEST_BLOCK: Duration = Duration::from_secs(5);
/// A stream without entries for so long is looked at: it may have been made anew behind the cursor.
const QUIET: Duration = Duration::from_secs(2);
/// No more entries of one stream in one reply than this.
const MOST_PER_READ: usize = 64;

/// Ends the wait of a reader, from anywhere.
#[derive(Debug, Clone, Default)]
pub struct Waker(Arc<Notify>);

impl Waker {
    /// The reader's current or next wait ends at once.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Follows streams of cameras. A camera is read only while its allowance lasts.
pub(crate) struct Follower {
    link: Link,
    side: Arc<Link>,
    key: fn(&CameraId) -> String,
    cursors: Vec<Cursor>,
    first: usize,
    waker: Waker,
    /// The server's number of the blocking connection, and of which one.
    client: Option<(u64, i64)>,
    /// A read was dropped while the server still blocks on it.
    abandoned: bool,
    /// Entries beyond which the cursors have moved, not handed out yet. They stay here while more is waited for: that
    /// may fail, or be dropped.
    found: Vec<(CameraId, value::Entry)>,
}

struct Cursor {
    camera: CameraId,
    key: String,
    after: FrameId,
    allowance: usize,
    quiet_since: Instant,
}

/// What a read brought.
pub(crate) struct Batch {
    pub(crate) entries: Vec<(CameraId, value::Entry)>,
    /// Cameras whose stream was made anew, with smaller ids than were read before.
    pub(crate) recreated: Vec<CameraId>,
}

impl Follower {
    pub(crate) fn new(side: &Arc<Link>, key: fn(&CameraId) -> String) -> Self {
        Self {
            link: side.blocking(LONGEST_BLOCK),
            side: side.clone(),
            key,
            cursors: Vec::new(),
            first: 0,
            waker: Waker::default(),
            client: None,
            abandoned: false,
            found: Vec::new(),
        }
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn follow(&mut self, camera: &CameraId, after: FrameId, allowance: usize) {
        self.unfollow(camera);
        let quiet_since = Instant::now();
        self.cursors.push(Cursor {
            camera: camera.clone(),
            key: (self.key)(camera),
            after,
            allowance,
            quiet_since,
        });
    }

    pub(crate) fn unfollow(&mut self, camera: &CameraId) {
        self.cursors.retain(|cursor| cursor.camera != *camera);
        self.found.retain(|(found, _)| found != camera);
    }

    pub(crate) fn cameras(&self) -> impl Iterator<Item = &CameraId> {
        self.cursors.iter().map(|cursor| &cursor.camera)
    }

    pub(crate) fn allow(&mut self, camera: &CameraId, allowance: usize) {
        if let Some(cursor) = self.cursors.iter_mut().find(|cursor| cursor.camera == *camera) {
            cursor.allowance = allowance;
        }
    }

    /// Reads what there is, or waits up to `block` for it.
    pub(crate) async fn read(&mut self, block: Duration) -> Result<Batch, StreamError> {
        let block = block.min(LONGEST_BLOCK);
        if self.abandoned {
            self.link.drop_connection().await;
            self.abandoned = false;
        }
        if !self.found.is_empty() {
            return Ok(Batch { entries: std::mem::take(&mut self.found), recreated: Vec::new() });
        }
        let Some(count) = self.turn() else {
            let _ = tokio::time::timeout(block, self.waker.0.notified()).await;
            return Ok(Batch { entries: Vec::new(), recreated: Vec::new() });
        };
        let command = self.xread(count, Some(block));
        let reply = self.run_blocking(&command).await?;
        self.take(reply)?;
        // A blocked reader wakes with the first entry that comes: others have often come right behind it.
        if self.found.len() == 1
            && let Some(count) = self.turn()
            && let Ok(reply) = self.link.run(&self.xread(count, None)).await
        {
            // What went wrong here goes wrong again in the next read, and is told there.
            let _ = self.take(reply);
        }
        let recreated = if self.found.is_empty() { self.look_for_recreated().await? } else { Vec::new() };
        Ok(Batch { entries: std::mem::take(&mut self.found), recreated })
    }

    /// Moves the cursor that stands first in the next command, and says how many entries of each to ask for:
    /// none where no camera has an allowance.
    fn turn(&mut self) -> Option<usize> {
        self.first = (self.first + 1) % self.cursors.len().max(1);
        let allowances = self.cursors.iter().map(|c| c.allowance).filter(|&a| a > 0);
        allowances.min().map(|least| least.min(MOST_PER_READ))
    }

    fn xread(&self, count: usize, block: Option<Duration>) -> Cmd {
        let (head, tail) = self.cursors.split_at(self.first.min(self.cursors.len()));
        let wanted = || tail.iter().chain(head).filter(|c| c.allowance > 0);
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(count);
        if let Some(block) = block {
            // Zero would mean for ever.
            command.arg("BLOCK").arg(block.as_millis().max(1) as u64);
        }
        command.arg("STREAMS");
        wanted().for_each(|cursor| {
            command.arg(&cursor.key);
        });
        wanted().for_each(|cursor| {
            command.arg(cursor.after.to_string());
        });
        command
    }

    /// Sends a blocking read and lets the waker end it.
    async fn run_blocking(&mut self, command: &Cmd) -> Result<Value, StreamError> {
        let generation = self.link.generation().await;
        let client = match self.client {
            Some((of, id)) if of == generation && generation != 0 => id,
            _ => {
                let id = self.link.client_id().await?;
                self.client = Some((self.link.generation().await, id));
                id
            }
        };
        self.abandoned = true;
        let mut reply = std::pin::pin!(self.link.run(command));
        let value = tokio::select! {
            biased;
            value = &mut reply => value,
            () = self.waker.0.notified() => loop {
                // The server may not have begun to block yet; then there is nothing to end, and we ask again.
                let mut unblock = redis::cmd("CLIENT");
                unblock.arg("UNBLOCK").arg(client);
                let ended = matches!(self.side.run(&unblock).await, Ok(Value::Int(1)));
                let patience = if ended { Duration::from_secs(1) } else { Duration::from_millis(1) };
                if let Ok(value) = tokio::time::timeout(patience, &mut reply).await {
                    break value;
                }
            },
        };
        self.abandoned = false;
        value
    }

    /// Takes the entries of a reply, and moves the cursors beyond them.
    fn take(&mut self, reply: Value) -> Result<(), StreamError> {
        let unreadable = StreamError::Answer { what: "XREAD", found: "a list of another form".into() };
        let streams = value::streams(reply).ok_or(unreadable)?;
        let by_key: HashMap<&str, usize> =
            self.cursors.iter().enumerate().map(|(at, cursor)| (cursor.key.as_str(), at)).collect();
        let found: Vec<_> = streams
            .into_iter()
            .filter_map(|(key, list)| by_key.get(key.as_str()).map(|&at| (at, list)))
            .collect();
        for (at, list) in found {
            let cursor = &mut self.cursors[at];
            cursor.quiet_since = Instant::now();
            for entry in list {
                cursor.after = cursor.after.max(entry.id);
                cursor.allowance = cursor.allowance.saturating_sub(1);
                self.found.push((cursor.camera.clone(), entry));
            }
        }
        Ok(())
    }

    /// A cursor beyond the end of a stream that was made anew reads nothing, silently, for ever.
    async fn look_for_recreated(&mut self) -> Result<Vec<CameraId>, StreamError> {
        let quiet =
            |c: &&mut Cursor| c.allowance > 0 && c.quiet_since.elapsed() > QUIET && c.after != FrameId::ZERO;
        let quiet: Vec<&mut Cursor> = self.cursors.iter_mut().filter(quiet).collect();
        let mut look = redis::pipe();
        for cursor in &quiet {
            look.cmd("XINFO").arg("STREAM").arg(&cursor.key);
        }
        let answers = self.side.run_all(&look).await?;
        let mut recreated = Vec::new();
        for (cursor, answer) in quiet.into_iter().zip(answers) {
            cursor.quiet_since = Instant::now();
            if last_generated(answer).is_some_and(|last| last < cursor.after) {
                recreated.push(cursor.camera.clone());
            }
        }
        Ok(recreated)
    }
}

/// The id generated last, of an answer to XINFO STREAM; none where there is no such stream.
pub(crate) fn last_generated(answer: Value) -> Option<FrameId> {
    let pairs = value::pairs(answer)?;
    pairs.iter().find(|(name, _)| name == "last-generated-id").and_then(|(_, id)| value::frame_id(id))
}
