//! The names of everything that lies in Redis. `{camera}` is a hash tag: all of a camera is in one cluster slot. So is what
//! all share, under `{_}`, which is no camera's name: it comes and goes together, and [`crate::Tick::forgotten`] tells.

use peregrine_proto::{CameraId, StreamId};

use crate::Role;

/// Hash: camera id → its configuration as JSON. Addresses stand here in full, and nowhere else.
pub const CAMERAS: &str = "peregrine:{_}:cameras";
/// Hash: camera id → a hash of its configuration as a file gave it last.
pub const REGISTERED: &str = "peregrine:{_}:registered";
/// The key of the tags by which a change of a configuration is noticed.
pub const TAG_KEY: &str = "peregrine:{_}:tag_key";
/// Hash: model name → what the processors announce about it, as JSON.
pub const MODELS: &str = "peregrine:{_}:models";
/// Sorted set: stream of steps → when one came, milliseconds of the server's clock.
pub const STREAMS: &str = "peregrine:{_}:streams";
/// Sorted set: daemon, its name, the address of its metrics and the newest schema that it reads → its last sign of life, milliseconds of the server's clock.
pub const DAEMONS: &str = "peregrine:{_}:daemons";
/// The schema version that is written; until it stands here, the one before.
pub const SCHEMA: &str = "peregrine:{_}:schema";
/// Stream of small wake-ups.
pub const CONTROL: &str = "peregrine:{_}:control";

/// List: frames that any idle worker with this model may detect.
pub fn detect_requests(model: &str) -> String {
    format!("peregrine:detect:requests:{model}")
}

/// List: what was detected for a worker that had asked.
pub fn detect_answers(worker: &str) -> String {
    format!("peregrine:detect:answers:{worker}")
}

/// Sorted set: worker, nonce and the newest schema that it reads → its last heartbeat, milliseconds of the server's clock.
pub fn workers(role: Role) -> &'static str {
    match role {
        Role::Processor => "peregrine:{_}:workers",
        Role::Producer => "peregrine:{_}:producers",
    }
}

/// String: camera → why this worker cannot have it, as JSON. Goes away with the worker.
pub fn unfit(role: Role, worker: &str) -> String {
    match role {
        Role::Processor => format!("peregrine:{{_}}:unfit:processor:{worker}"),
        Role::Producer => format!("peregrine:{{_}}:unfit:producer:{worker}"),
    }
}

/// Hash: who holds the camera in this role.
pub fn lease(role: Role, camera: &CameraId) -> String {
    match role {
        Role::Processor => format!("peregrine:{{{camera}}}:owner"),
        Role::Producer => format!("peregrine:{{{camera}}}:producer"),
    }
}

/// Stream of frames.
pub fn frames(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:frames")
}

/// Stream of results, under the ids of their frames.
pub fn results(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:results")
}

/// Stream of JPEG pictures, under the ids of their frames.
pub fn previews(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:previews")
}

/// Hash: how far the camera was analysed, and the analysis' state there.
pub fn checkpoint(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:checkpoint")
}

/// Hash: what the producer knows of the source.
pub fn source(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:source")
}

/// Hash: picture width → until when somebody watches it, milliseconds of the server's clock.
pub fn viewers(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:viewers")
}

/// Stream of steps made elsewhere.
pub fn steps(stream: &StreamId) -> String {
    format!("peregrine:{{{stream}}}:steps")
}

/// The map of a stream of steps.
pub fn step_map(stream: &StreamId) -> String {
    format!("peregrine:{{{stream}}}:map")
}

/// Stream of at most one JPEG frame that a client brought.
pub fn ingest(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:ingest")
}

/// String: there while the camera's producer wants a frame of a client; why it could not use the last one, else 1.
pub fn ingest_asked(camera: &CameraId) -> String {
    format!("peregrine:{{{camera}}}:asked")
}
