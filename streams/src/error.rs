use std::time::Duration;

/// What went wrong between this process and Redis. Addresses in it carry no credentials.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The address makes no sense.
    #[error(
        "`{url}` is no Redis address ({why}): use redis://host:6379, redis+unix:///path/to/socket, \
         redis+cluster://host:6379,host:6379 or redis+sentinel://host:26379,host:26379/master-name"
    )]
    Address {
        /// The address, masked.
        url: String,
        /// What the parser says.
        why: String,
    },
    /// Nothing answers there.
    #[error("cannot reach Redis at {url} ({why}): start it, or set redis.url to where it runs")]
    Unreachable {
        /// The address, masked.
        url: String,
        /// What the operating system or the client says.
        why: String,
    },
    /// The server did not answer in time: it is paused, overloaded or behind a dead link.
    #[error("Redis at {url} did not answer within {} ms", waited.as_millis())]
    Timeout {
        /// The address, masked.
        url: String,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The server is there but cannot serve now: loading its data, failing over, or a replica.
    #[error("Redis at {url} cannot serve now: {why}")]
    NotServing {
        /// The address, masked.
        url: String,
        /// What the server says.
        why: String,
    },
    /// No key can be made.
    #[error("this system gives no random numbers: see that /dev/urandom is there")]
    Random,
    /// The server's memory is full.
    #[error(
        "Redis at {url} is out of memory: raise maxmemory, or lower the number of cameras or their queue"
    )]
    Full {
        /// The address, masked.
        url: String,
    },
    /// The server refused a command.
    #[error("Redis at {url} refused {what}: {why}")]
    Refused {
        /// The address, masked.
        url: String,
        /// The command.
        what: String,
        /// What the server says.
        why: String,
    },
    /// The server is too old for the scripts.
    #[error("Redis at {url} is version {found}: Peregrine needs 7.0 or newer (or any Valkey)")]
    Version {
        /// The address, masked.
        url: String,
        /// The version found.
        found: String,
    },
    /// What answers there is something else than the address says.
    #[error("Redis at {url} is {found}: use an address of the form {form}")]
    Kind {
        /// The address, masked.
        url: String,
        /// What it is.
        found: &'static str,
        /// What its address would look like.
        form: &'static str,
    },
    /// The server answered something that this build does not understand.
    #[error("Redis answered {what} with something unexpected: {found}")]
    Answer {
        /// The command.
        what: &'static str,
        /// What came.
        found: String,
    },
    /// This machine's clock and the server's are too far apart: frame ids are wall-clock times.
    #[error(
        "this machine's clock is {:.1} s {} the clock of Redis at {url}: set both by NTP (at most {:.0} s apart)",
        (offset_ms.unsigned_abs() as f64) / 1e3, if *offset_ms > 0 { "ahead of" } else { "behind" }, crate::MAX_CLOCK_SKEW.as_secs_f64()
    )]
    Clock {
        /// The address, masked.
        url: String,
        /// Local clock minus the server's, milliseconds.
        offset_ms: i64,
    },
    /// The lease that this writer was opened with has passed to another.
    #[error("another producer holds camera {camera} now")]
    Succeeded {
        /// The camera.
        camera: peregrine_proto::CameraId,
    },
}

impl StreamError {
    /// Whether the same request may succeed later without anybody changing it.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::NotServing { .. } | Self::Full { .. }
        )
    }
}
