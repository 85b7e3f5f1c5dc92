//! Trouble with the servers, told to whoever counts it.

use std::sync::OnceLock;

use crate::StreamError;

/// What happened between this process and Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A command or a connection failed, of this kind: `unreachable`, `timeout`, `not_serving`, `full`, `refused`, `other`.
    Error(&'static str),
    /// A connection that was lost was made again.
    Reconnected,
}

static OBSERVER: OnceLock<fn(Trouble)> = OnceLock::new();

/// From now on, `observer` is told of all trouble of this process, once each. The first one stays.
pub fn observe_trouble(observer: fn(Trouble)) {
    // Whoever comes later is a second `main` in one process, as in tests.
    let _ = OBSERVER.set(observer);
}

/// Tells of an error, and gives it back.
pub(crate) fn noticed(error: StreamError) -> StreamError {
    tell(Trouble::Error(match error {
        StreamError::Unreachable { .. } => "unreachable",
        StreamError::Timeout { .. } => "timeout",
        StreamError::NotServing { .. } => "not_serving",
        StreamError::Full { .. } => "full",
        StreamError::Refused { .. } => "refused",
        _ => "other",
    }));
    error
}

pub(crate) fn reconnected() {
    tell(Trouble::Reconnected);
}

fn tell(trouble: Trouble) {
    if let Some(observer) = OBSERVER.get() {
        observer(trouble);
    }
}
