//! The Redis protocol: keys, leases, commit scripts, frame and result readers and writers.
//!
//! One stream of frames a camera, one holder at a time. A processor takes a camera's lease ([`Balance`]), reads its
//! frames after the checkpoint ([`FrameReader`]) and writes for each frame its result, the analysis' state and the
//! progress in one script ([`Redis::commit`]), which is refused once somebody else holds the camera. A producer holds
//! a lease of the same kind and writes the frames ([`FrameWriter`]). Whoever shows results follows them
//! ([`ResultReader`]). No pixel passes through a script, and everything that blocks has a connection of its own.

mod address;
mod agreement;
mod balance;
mod clock;
mod cluster;
mod commit;
mod connection;
mod control;
mod daemons;
mod error;
mod follow;
mod frames;
mod ingest;
pub mod keys;
mod lease;
mod ledger;
mod link;
mod offload;
mod previews;
mod progress;
mod registry;
mod results;
mod round_trip;
mod script;
mod sentinel;
mod servers;
mod settings;
mod steps;
mod trouble;
mod unfit;
mod value;

pub use agreement::{Agreement, OldDaemon, QUIET, SchemaState};
pub use balance::{Balance, DEFAULT_TTL, Heartbeat, Tick};
pub use commit::{Checkpoint, Commit, CommitOutcome, Intake, Losses, RESULTS_KEPT, Seen};
pub use connection::{MAX_CLOCK_SKEW, Redis, RedisUrls, wall_clock_us};
pub use control::{Control, Wake};
pub use daemons::RunningDaemon;
pub use error::StreamError;
pub use follow::{LONGEST_BLOCK, Waker};
pub use frames::{Arrival, Flow, Frame, FrameReader, FrameWriter, LastFrame, Published};
pub use ingest::{INGESTED_KEPT_FOR, IngestReader, IngestedFrame, Offered};
pub use lease::{Acquired, Attempt, Grant, Holder, Lease, MOST_ATTEMPTS, Renewed, Role, WorkerId};
pub use ledger::Account;
pub use offload::DetectQueue;
pub use previews::{PreviewEntry, PreviewReader};
pub use progress::Progress;
pub use registry::{Cameras, ModelAnnouncement, SourceHealth, SourceState, StoredCamera, fingerprint, given};
pub use results::{ResultEntry, ResultReader};
pub use round_trip::{Operation, observe_round_trips};
#[doc(hidden)]
pub use script::script_text;
pub use settings::{Danger, DangerKind, ServerRole};
pub use steps::{KnownStream, NewStep, STEPS_KEPT, STREAM_KEPT, StepEntry, StepReader};
pub use trouble::{Trouble, observe_trouble};
pub use unfit::{Reasons, Unfit};
