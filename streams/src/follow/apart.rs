use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use redis::Value;
use tokio::task::{AbortHandle, JoinSet};

use super::{Cursor, Cursors, LONGEST_BLOCK, MOST_PER_READ, Waker};
use crate::{StreamError, servers::Servers};

/// Reads each stream by a command of its own, over a blocking connection of its own.
///
/// A read goes on when the caller stops waiting, and is taken up again by the next: nothing has to be ended on a server.
#[derive(Default)]
pub(super) struct Apart {
    /// By the serial number of the cursor.
    lanes: HashMap<u64, Lane>,
    reads: JoinSet<(u64, Result<Value, StreamError>)>,
}

struct Lane {
    servers: Arc<Servers>,
    reading: Option<AbortHandle>,
    /// The last read failed.
    failing: bool,
}

impl Apart {
    pub(super) async fn read(
        &mut self,
        cursors: &mut Cursors,
        side: &Servers,
        waker: &Waker,
        block: Duration,
    ) -> Result<(), StreamError> {
        let followed: HashSet<u64> = cursors.all.iter().map(|cursor| cursor.serial).collect();
        self.lanes.retain(|serial, _| followed.contains(serial));
        for cursor in cursors.all.iter().filter(|cursor| cursor.allowance > 0) {
            self.start(cursor, side);
        }
        let mut done = tokio::select! {
            biased;
            Some(done) = self.reads.join_next() => Some(done),
            () = waker.0.notified() => None,
            () = tokio::time::sleep(block) => None,
        };
        let mut problem = None;
        while let Some(read) = done {
            if let Ok((serial, reply)) = read {
                problem = self.finish(serial, reply, cursors).err().or(problem);
            }
            done = self.reads.try_join_next();
        }
        match problem {
            // While other nodes answer, one that does not is no reason to stop.
            Some(problem) if cursors.found.is_empty() && self.lanes.values().all(|lane| lane.failing) => {
                Err(problem)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, cursor: &Cursor, side: &Servers) {
        let lane = self.lanes.entry(cursor.serial).or_insert_with(|| Lane {
            servers: Arc::new(side.blocking(LONGEST_BLOCK)),
            reading: None,
            failing: false,
        });
        if lane.reading.is_some() {
            return;
        }
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(cursor.allowance.min(MOST_PER_READ));
        command.arg("BLOCK").arg(LONGEST_BLOCK.as_millis() as u64);
        command.arg("STREAMS").arg(&cursor.key).arg(cursor.after.to_string());
        let (serial, servers) = (cursor.serial, lane.servers.clone());
        lane.reading = Some(self.reads.spawn(async move { (serial, servers.run(&command).await) }));
    }

    fn finish(
        &mut self,
        serial: u64,
        reply: Result<Value, StreamError>,
        cursors: &mut Cursors,
    ) -> Result<(), StreamError> {
        let Some(lane) = self.lanes.get_mut(&serial) else { return Ok(()) };
        lane.reading = None;
        let taken = reply.and_then(|reply| cursors.take(reply));
        if let (Err(error), false) = (&taken, lane.failing) {
            let camera = cursors.all.iter().find(|c| c.serial == serial).map(|c| c.camera.as_str());
            tracing::warn!(camera, %error, "a stream cannot be read: trying again");
        }
        lane.failing = taken.is_err();
        taken
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}
