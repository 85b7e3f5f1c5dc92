//! Reading many streams of one kind: over one blocking connection, or, from a cluster, over one for each.

mod apart;
mod together;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use peregrine_proto::{CameraId, FrameId};
use redis::Value;
use tokio::sync::Notify;

use self::{apart::Apart, together::Together};
use crate::{
    StreamError,
    servers::{Answer, Servers},
    value,
};

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
    side: Arc<Servers>,
    key: fn(&CameraId) -> String,
    cursors: Cursors,
    waker: Waker,
    reads: Reads,
}

/// How the streams are read.
enum Reads {
    /// By one command for all of them.
    Together(Box<Together>),
    /// By one command each: a cluster takes no command with keys of several cameras.
    Apart(Apart),
}

/// How far each stream was read.
#[derive(Default)]
struct Cursors {
    all: Vec<Cursor>,
    /// Entries beyond which the cursors have moved, not handed out yet. They stay here while more is waited for: that
    /// may fail, or be dropped.
    found: Vec<(CameraId, value::Entry)>,
    /// How many cursors there have been.
    serial: u64,
}

struct Cursor {
    /// Tells this cursor from others of the same camera, before and after.
    serial: u64,
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
    /// Hands entries out as they come.
    pub(crate) fn new(side: &Arc<Servers>, key: fn(&CameraId) -> String) -> Self {
        Self::with(side, key, false)
    }

    /// Looks once more where a single entry came, for those right behind it: for whoever makes batches of them. It takes
    /// as much as another read.
    pub(crate) fn gathering(side: &Arc<Servers>, key: fn(&CameraId) -> String) -> Self {
        Self::with(side, key, true)
    }

    fn with(side: &Arc<Servers>, key: fn(&CameraId) -> String, gathers: bool) -> Self {
        let reads = match side.only() {
            Some(link) => Reads::Together(Box::new(Together::new(link, gathers))),
            None => Reads::Apart(Apart::default()),
        };
        Self { side: side.clone(), key, cursors: Cursors::default(), waker: Waker::default(), reads }
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(crate) fn follow(&mut self, camera: &CameraId, after: FrameId, allowance: usize) {
        self.unfollow(camera);
        self.cursors.serial += 1;
        self.cursors.all.push(Cursor {
            serial: self.cursors.serial,
            camera: camera.clone(),
            key: (self.key)(camera),
            after,
            allowance,
            quiet_since: Instant::now(),
        });
    }

    pub(crate) fn unfollow(&mut self, camera: &CameraId) {
        self.cursors.all.retain(|cursor| cursor.camera != *camera);
        self.cursors.found.retain(|(found, _)| found != camera);
    }

    pub(crate) fn cameras(&self) -> impl Iterator<Item = &CameraId> {
        self.cursors.all.iter().map(|cursor| &cursor.camera)
    }

    pub(crate) fn allow(&mut self, camera: &CameraId, allowance: usize) {
        if let Some(cursor) = self.cursors.all.iter_mut().find(|cursor| cursor.camera == *camera) {
            cursor.allowance = allowance;
        }
    }

    /// Reads what there is, or waits up to `block` for it.
    pub(crate) async fn read(&mut self, block: Duration) -> Result<Batch, StreamError> {
        let block = block.min(LONGEST_BLOCK);
        if self.cursors.found.is_empty() {
            let (cursors, side) = (&mut self.cursors, &self.side);
            match &mut self.reads {
                Reads::Together(together) => together.read(cursors, side, &self.waker, block).await?,
                Reads::Apart(apart) => apart.read(cursors, side, &self.waker, block).await?,
            }
        }
        let nothing = self.cursors.found.is_empty();
        let recreated = if nothing { self.look_for_recreated().await? } else { Vec::new() };
        Ok(Batch { entries: std::mem::take(&mut self.cursors.found), recreated })
    }

    /// A cursor beyond the end of a stream that was made anew reads nothing, silently, for ever.
    async fn look_for_recreated(&mut self) -> Result<Vec<CameraId>, StreamError> {
        let quiet =
            |c: &&mut Cursor| c.allowance > 0 && c.quiet_since.elapsed() > QUIET && c.after != FrameId::ZERO;
        let quiet: Vec<&mut Cursor> = self.cursors.all.iter_mut().filter(quiet).collect();
        let mut look = redis::pipe();
        for cursor in &quiet {
            look.cmd("XINFO").arg("STREAM").arg(&cursor.key);
        }
        let answers = self.side.survey(&look).await?;
        let mut recreated = Vec::new();
        for (cursor, answer) in quiet.into_iter().zip(answers) {
            let Some(Answer { value, .. }) = answer else { continue };
            cursor.quiet_since = Instant::now();
            if last_generated(value).is_some_and(|last| last < cursor.after) {
                recreated.push(cursor.camera.clone());
            }
        }
        Ok(recreated)
    }
}

impl Cursors {
    /// Takes the entries of a reply, and moves the cursors beyond them.
    fn take(&mut self, reply: Value) -> Result<(), StreamError> {
        let unreadable = StreamError::Answer { what: "XREAD", found: "a list of another form".into() };
        let streams = value::streams(reply).ok_or(unreadable)?;
        let by_key: HashMap<&str, usize> =
            self.all.iter().enumerate().map(|(at, cursor)| (cursor.key.as_str(), at)).collect();
        let found: Vec<_> = streams
            .into_iter()
            .filter_map(|(key, list)| by_key.get(key.as_str()).map(|&at| (at, list)))
            .collect();
        for (at, list) in found {
            let cursor = &mut self.all[at];
            cursor.quiet_since = Instant::now();
            // The allowance may have shrunk since the server was asked: what is beyond it is read again.
            for entry in list.into_iter().take(cursor.allowance) {
                cursor.after = cursor.after.max(entry.id);
                cursor.allowance -= 1;
                self.found.push((cursor.camera.clone(), entry));
            }
        }
        Ok(())
    }
}

/// The id generated last, of an answer to XINFO STREAM; none where there is no such stream.
pub(crate) fn last_generated(answer: Value) -> Option<FrameId> {
    let pairs = value::pairs(answer)?;
    pairs.iter().find(|(name, _)| name == "last-generated-id").and_then(|(_, id)| value::frame_id(id))
}
