//! Reads every result stream from its beginning, over a plain connection of its own.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use peregrine_proto::{CameraId, FrameId, FrameResult, decode};
use peregrine_streams::{keys, wall_clock_us};
use redis::{
    Connection, RedisResult,
    streams::{StreamReadOptions, StreamReadReply},
};
use serde::Serialize;

use crate::tally::Tally;

/// One line of a results file.
#[derive(Serialize)]
struct Line<'a> {
    camera: &'a CameraId,
    id: FrameId,
    #[serde(flatten)]
    result: &'a FrameResult,
}

/// Counts results in a thread of its own until it is dropped.
pub(crate) struct Follower {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows these cameras from their first result on, and writes each result to `file` where one is given.
    pub(crate) fn start(url: &str, cameras: &[CameraId], file: Option<PathBuf>) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let file = file.map(|path| File::create(path).map(BufWriter::new)).transpose()?;
        let tally: Tally = cameras.iter().map(|camera| (camera.clone(), Default::default())).collect();
        let tally = Arc::new(Mutex::new(tally));
        let stop = Arc::new(AtomicBool::new(false));
        let mut reader = Reader {
            tally: tally.clone(),
            file,
            cursors: cameras.iter().map(|c| (c.clone(), FrameId::ZERO)).collect(),
        };
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("follower".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Redis may be away for a while: a test restarts it.
                let lost = client.get_connection().and_then(|mut connection| {
                    while !stopped.load(Ordering::Relaxed) {
                        reader.read(&mut connection)?;
                    }
                    Ok(())
                });
                if lost.is_err() {
                    thread::sleep(Duration::from_millis(100));
                }
            }
            if let Some(mut file) = reader.file.take() {
                let _ = file.flush();
            }
        })?;
        Ok(Self { tally, stop, thread: Some(thread) })
    }

    /// What was counted so far.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        look(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Reader {
    tally: Arc<Mutex<Tally>>,
    file: Option<BufWriter<File>>,
    cursors: Vec<(CameraId, FrameId)>,
}

impl Reader {
    fn read(&mut self, connection: &mut Connection) -> RedisResult<()> {
        if self.cursors.is_empty() {
            thread::sleep(Duration::from_millis(100));
            return Ok(());
        }
        let streams: Vec<String> = self.cursors.iter().map(|(camera, _)| keys::results(camera)).collect();
        let after: Vec<String> = self.cursors.iter().map(|(_, id)| id.to_string()).collect();
        let options = StreamReadOptions::default().block(200).count(64);
        let mut command = redis::cmd("XREAD");
        command.arg(options).arg("STREAMS").arg(&streams).arg(&after);
        let reply: Option<StreamReadReply> = command.query(connection)?;
        let seen_at_us = wall_clock_us();
        for stream in reply.unwrap_or_default().keys {
            let Some(index) = streams.iter().position(|name| *name == stream.key) else { continue };
            for entry in stream.ids {
                let (camera, cursor) = &mut self.cursors[index];
                let Ok(id) = entry.id.parse() else { continue };
                *cursor = id;
                let decoded = entry.get::<Vec<u8>>("r").map(|bytes| decode::<FrameResult>(&bytes));
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                let camera_tally = tally.entry(camera.clone()).or_default();
                match decoded {
                    Some(Ok(result)) => {
                        camera_tally.add(id, &result, seen_at_us);
                        drop(tally);
                        if let Some(file) = &mut self.file {
                            let line = Line { camera, id, result: &result };
                            let _ = serde_json::to_writer(&mut *file, &line).map(|()| file.write_all(b"\n"));
                        }
                    }
                    _ => camera_tally.unreadable += 1,
                }
            }
        }
        Ok(())
    }
}
