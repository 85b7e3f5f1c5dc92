mod capture;
mod images;
mod libav;
mod synthetic;

use std::{
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use peregrine_proto::{Size, SourceConfig, mask};

use crate::{AllowList, Denied, Picture, address::Address};

/// A picture with its place and times.
pub struct Captured {
    /// The pixels.
    pub picture: Picture,
    /// Index of the frame in its source, from 0; starts again after [`Source::rewind`].
    pub position: u64,
    /// Drives tracking and speed, microseconds: index over the true rate where one is configured, else the presentation
    /// time from the first frame on for files, capture wall time for live sources.
    pub media_time_us: i64,
    /// Wall clock at capture, microseconds since the Unix epoch.
    pub captured_at_us: i64,
    /// The same moment by the monotonic clock.
    pub arrived: Instant,
    /// The media time does not continue the last frame's.
    pub discontinuity: bool,
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

    /// Frames of the source so far that could not be decoded.
    fn undecodable(&self) -> u64 {
        0
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
    let bad = |why| SourceError::Address { uri: mask(&config.uri).into_owned(), why };
    if config.fps.is_some_and(|fps| !(fps.is_finite() && fps > 0.0 && fps <= 1000.0)) {
        return Err(bad("fps must be above 0 and at most 1000".into()));
    }
    let address = Address::parse(&config.uri).map_err(bad)?;
    // What was checked is what is opened: the allow-list resolves links and `..` on the way.
    let address = allow.admit(&config.uri, address)?;
    Ok(match address {
        Address::File(path) => Box::new(libav::LibavSource::open_file(&path, config.fps, options)?),
        Address::Network { uri, .. } => {
            Box::new(libav::LibavSource::open_network(&uri, config.fps, options)?)
        }
        Address::Device(path) => Box::new(capture::CaptureSource::open_device(&path, options)?),
        Address::Capture(text) => Box::new(capture::CaptureSource::open(&text, config.fps, options)?),
        Address::Images(folder) => Box::new(images::ImagesSource::open(&folder, config.fps)?),
        Address::Ingest => return Err(bad("frames of clients come to a producer, not here".into())),
        Address::Synthetic(text) => Box::new(synthetic::SyntheticSource::open(&text, config.fps)?),
    })
}

/// A moment by the wall clock and by the steady one.
#[derive(Debug, Clone, Copy)]
struct Clock {
    wall_us: i64,
    steady: Instant,
}

impl Clock {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_us: wall.as_micros().try_into().unwrap_or(i64::MAX), steady: Instant::now() }
    }

    /// The wall clock at this moment had it run steadily since the process began: no jumps when it is set.
    fn steady_wall_us(&self) -> i64 {
        static ORIGIN: OnceLock<Clock> = OnceLock::new();
        let origin = ORIGIN.get_or_init(Clock::now);
        let since = self.steady.saturating_duration_since(origin.steady);
        origin.wall_us + since.as_micros() as i64
    }
}

/// Gives each frame its media time.
struct Times {
    /// The true rate, where it is configured.
    rate: Option<f64>,
    /// Stands in where a presentation time is missing, microseconds.
    step_us: i64,
    live: bool,
    first_us: Option<i64>,
    last_us: Option<i64>,
    discontinuity: bool,
}

impl Times {
    fn new(rate: Option<f64>, nominal_fps: f64, live: bool) -> Self {
        let fps = if nominal_fps > 0.0 { nominal_fps } else { 25.0 };
        let step_us = (1e6 / fps).round() as i64;
        Self {
            rate: rate.filter(|_| !live),
            step_us,
            live,
            first_us: None,
            last_us: None,
            discontinuity: false,
        }
    }

    /// The next frame does not continue the last one.
    fn mark_discontinuity(&mut self) {
        self.discontinuity = true;
    }

    /// Media time of a frame in microseconds, and whether it does not continue the last frame's.
    fn of(&mut self, position: u64, presentation_us: Option<i64>, arrival: Clock) -> (i64, bool) {
        let mut jumped = std::mem::take(&mut self.discontinuity);
        let time = if let Some(rate) = self.rate {
            index_time_us(position, rate)
        } else if self.live {
            let now = arrival.steady_wall_us();
            self.last_us.map_or(now, |last| now.max(last + 1))
        } else {
            let expected = self.last_us.map_or(0, |last| last + self.step_us);
            let time = match (presentation_us, self.first_us) {
                (Some(time), Some(first)) => time - first,
                (Some(time), None) => {
                    self.first_us = Some(time);
                    0
                }
                (None, _) => expected,
            };
            match self.last_us {
                Some(last) if time <= last => {
                    // Two frames of one time are an untidy file; going back further is a cut in it.
                    jumped |= time < last - self.step_us;
                    self.first_us = self.first_us.map(|first| first + time - expected);
                    expected
                }
                _ => time,
            }
        };
        self.last_us = Some(time);
        (time, jumped)
    }
}

/// Index over rate in microseconds, rounded: exact, so that any two runs agree to the bit.
pub(crate) fn index_time_us(position: u64, fps: f64) -> i64 {
    // Rates have at most six decimals; `30000/1001` written as 29.97003 is within a millionth.
    let micro_fps = (fps * 1e6).round().max(1.0) as u128;
    let time = (u128::from(position) * 1_000_000_000_000 + micro_fps / 2) / micro_fps;
    time.try_into().unwrap_or(i64::MAX)
}

/// A duration in words.
fn seconds_text(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}
