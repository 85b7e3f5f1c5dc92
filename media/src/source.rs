mod capture;
mod damage;
mod file_times;
mod images;
mod libav;
mod synthetic;
pub(crate) mod times;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

pub use damage::{Damage, DamageFilter, Verdict};
use peregrine_proto::{Size, SourceConfig};

use crate::{AllowList, Denied, Picture, address::Address};

/// A picture with its place and times.
pub struct Captured {
    /// The pixels.
    pub picture: Picture,
    /// Index of the frame in its source, from 0; starts again after [`Source::rewind`].
    pub position: u64,
    /// Drives tracking and speed, microseconds: index over the true rate where one is configured, else the presentation
    /// time from the first frame on for files, where it can be true. For live sources capture wall time: the first frame's, then as far apart as
    /// their presentation times say, since packets come in bursts and, with B-frames, out of order.
    pub media_time_us: i64,
    /// Wall clock at capture, microseconds since the Unix epoch.
    pub captured_at_us: i64,
    /// The same moment by the monotonic clock.
    pub arrived: Instant,
    /// The media time does not continue the last frame's.
    pub discontinuity: bool,
    /// The damage that the decoder reports; none where the picture is whole.
    pub damage: Option<Damage>,
    /// Waiting for and reading the compressed data.
    pub capture: Duration,
    /// Making a picture of it.
    pub decode: Duration,
}

/// What is known of a source once it is open.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// Width and height after rotation, pixels.
    pub size: Size,
    /// Frames per second: the configured true rate, or what the source says. 0 where unknown.
    pub fps: f64,
    /// Frames come by the clock of the world and are lost when nobody takes them.
    pub live: bool,
    /// How many frames there should be, where it is known.
    pub frames: Option<u64>,
}

/// Something that frames come from. Every call may block, at most for about the timeout of [`OpenOptions`].
pub trait Source: Send {
    /// What is known of it.
    fn info(&self) -> &SourceInfo;

    /// The next picture; none once the source has ended.
    ///
    /// # Errors
    /// When nothing more can be read; [`SourceError::retryable`] says whether opening it again may help.
    fn next(&mut self) -> Result<Option<Captured>, SourceError>;

    /// Starts again at the first frame, which is marked as a discontinuity.
    ///
    /// # Errors
    /// When the source cannot do that (live ones) or the file cannot be read any more.
    fn rewind(&mut self) -> Result<(), SourceError>;

    /// Makes the frame of this position the next one (a producer that continues after a restart). A position behind the
    /// next frame's changes nothing; one behind the end ends the source.
    ///
    /// # Errors
    /// As [`Source::next`].
    fn skip_to(&mut self, position: u64) -> Result<(), SourceError>;

    /// Pictures that were left out so far, and times that were repaired.
    fn counts(&self) -> SourceCounts {
        SourceCounts::default()
    }
}

/// Pictures left out of a source since it was opened, and times that were repaired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Frames that could not be decoded.
    pub undecodable: u64,
    /// Frames whose presentation time could not be true.
    pub times: TimeRepairs,
}

/// Why a frame did not get the media time that its presentation time asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeRepair {
    /// Later than the frames behind it allow.
    Ahead,
    /// Earlier than the frame before it.
    Behind,
    /// The same as that of the frame before it.
    Repeated,
    /// There was none.
    Missing,
    /// The clock of a live source was set: from this frame on all times are later, or earlier, than they were.
    Jump,
}

impl TimeRepair {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ahead, Self::Behind, Self::Repeated, Self::Missing, Self::Jump];

    /// As metrics and summaries name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Behind => "behind",
            Self::Repeated => "repeated",
            Self::Missing => "missing",
            Self::Jump => "jump",
        }
    }

    /// Of a presentation time that cannot be true, and the last one.
    fn of(presentation_us: Option<i64>, before_us: Option<i64>) -> Self {
        match (presentation_us, before_us) {
            (None, _) => Self::Missing,
            (Some(this), Some(before)) if this < before => Self::Behind,
            (Some(this), Some(before)) if this == before => Self::Repeated,
            _ => Self::Ahead,
        }
    }
}

/// How many frames got another media time than their presentation time asks for, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRepairs([u64; TimeRepair::ALL.len()]);

impl TimeRepairs {
    fn add(&mut self, kind: TimeRepair) {
        self.0[kind as usize] += 1;
    }

    /// How many there were for this reason.
    pub fn get(&self, kind: TimeRepair) -> u64 {
        self.0[kind as usize]
    }

    /// The reasons that there were, with their counts.
    pub fn by_kind(&self) -> impl Iterator<Item = (TimeRepair, u64)> {
        TimeRepair::ALL.map(|kind| (kind, self.get(kind))).into_iter().filter(|(_, count)| *count > 0)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// How a source is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Longest wait for the source to open, and for each frame of a live one.
    pub timeout: Duration,
    /// Threads of a file's decoder.
    pub decode_threads: usize,
    /// Raised from elsewhere to end a blocking call with [`SourceError::Stopped`].
    pub stop: Arc<AtomicBool>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), decode_threads: 1, stop: Arc::default() }
    }
}

/// Why a source gives no frames. Addresses in the texts are masked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The allow-list does not have it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The address makes no sense.
    #[error("source {uri}: {why}")]
    Address {
        /// The address, masked.
        uri: String,
        /// What is wrong, with the way out.
        why: String,
    },
    /// It cannot be opened, and trying again will not help.
    #[error("cannot open {uri}: {why}")]
    Unusable {
        /// The address, masked.
        uri: String,
        /// What is wrong, with the way out.
        why: String,
    },
    /// It cannot be reached, or was lost; trying again may help.
    #[error("{uri}: {why}")]
    Lost {
        /// The address, masked.
        uri: String,
        /// What happened.
        why: String,
    },
    /// A file is damaged from here on; what was readable came before.
    #[error("{uri} is damaged after frame {frames}: {why}")]
    Damaged {
        /// The address, masked.
        uri: String,
        /// Frames that were read.
        frames: u64,
        /// What was found.
        why: String,
    },
    /// The caller asked to stop.
    #[error("stopped while waiting for {uri}")]
    Stopped {
        /// The address, masked.
        uri: String,
    },
    /// A live source has no beginning to go back to.
    #[error("{uri} is live and cannot start again from its first frame: switch `loop` off")]
    NoRewind {
        /// The address, masked.
        uri: String,
    },
}

impl SourceError {
    /// Whether opening the source again, after a while, may help.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// Opens a source by the scheme of its address, after the allow-list has agreed.
///
/// # Errors
/// See [`SourceError`].
pub fn open(
    config: &SourceConfig,
    allow: &AllowList,
    options: &OpenOptions,
) -> Result<Box<dyn Source>, SourceError> {
    let bad = |why| SourceError::Address { uri: config.uri.to_string(), why };
    if config.fps.is_some_and(|fps| !(fps.is_finite() && fps > 0.0 && fps <= 1000.0)) {
        return Err(bad("fps must be above 0 and at most 1000".into()));
    }
    let address = Address::parse(&config.uri).map_err(bad)?;
    // What was checked is what is opened: the allow-list resolves links and `..` on the way.
    let address = allow.admit(&config.uri, address)?;
    Ok(match address {
        Address::File(path) => {
            Box::new(libav::LibavSource::open_file(&path, &config.uri, config.fps, options)?)
        }
        Address::Network { uri, .. } => {
            Box::new(libav::LibavSource::open_network(&uri, &config.uri, config.fps, options)?)
        }
        Address::Device(path) => Box::new(capture::CaptureSource::open_device(&path, &config.uri, options)?),
        Address::Capture(text) => {
            Box::new(capture::CaptureSource::open(&text, &config.uri, config.fps, options)?)
        }
        Address::Images(folder) => Box::new(images::ImagesSource::open(&folder, &config.uri, config.fps)?),
        Address::Ingest => return Err(bad("frames of clients come to a producer, not here".into())),
        Address::Synthetic(text) => Box::new(synthetic::SyntheticSource::open(&text, config.fps)?),
    })
}

/// A duration in words.
fn seconds_text(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}
