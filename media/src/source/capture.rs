//! Cameras and pipelines through OpenCV's `VideoCapture`.

use std::{
    fs, io,
    path::Path,
    sync::{
        Once,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use ffmpeg_next::{format::Pixel, frame};
use opencv::{
    core::{CV_8UC1, CV_8UC3, CV_8UC4, LogLevel, Mat, MatTraitConst},
    videoio::{self, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst},
};
use peregrine_proto::{Size, SourceUri, mask};

use super::{
    Captured, OpenOptions, Source, SourceError, SourceInfo, TimeRepairs, seconds_text,
    times::{Clock, Times},
};
use crate::{Picture, convert::Converter};

/// A capture that OpenCV reads. It lives on a thread of its own: a device or a pipeline may block for ever, and OpenCV
/// cannot be interrupted. A thread that is blocked so is left behind until its call returns.
pub(super) struct CaptureSource {
    what: What,
    shown: String,
    options: OpenOptions,
    fps: Option<f64>,
    info: SourceInfo,
    times: Times,
    frames: Receiver<FromCapture>,
    position: u64,
    ended: bool,
}

/// What is captured, and through which of OpenCV's backends.
#[derive(Clone)]
struct What {
    /// As OpenCV takes it, credentials and all.
    name: String,
    uri: SourceUri,
    index: Option<i32>,
    backend: i32,
}

/// From the capturing thread: first `Opened` or `Failed`, then frames, then `Ended` or `Failed`.
enum FromCapture {
    Opened(SourceInfo),
    Frame { picture: Picture, arrival: Clock, capture: Duration, decode: Duration },
    Ended,
    Failed(String),
}

impl CaptureSource {
    /// A video device, by its path.
    pub(super) fn open_device(
        path: &Path,
        uri: &SourceUri,
        options: &OpenOptions,
    ) -> Result<Self, SourceError> {
        let (name, shown) = (path.display().to_string(), uri.to_string());
        if !path.exists() {
            let why = "there is no such device: is the camera plugged in?".into();
            return Err(SourceError::Lost { uri: shown, why });
        }
        if fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            let why = "no permission to use it: add this user to the group `video`".into();
            return Err(SourceError::Unusable { uri: shown, why });
        }
        let what = What { name, uri: uri.clone(), index: None, backend: videoio::CAP_V4L2 };
        Self::start(what, None, options)
    }

    /// Whatever `VideoCapture` takes: a device number, a GStreamer pipeline (it has a ` ! ` in it), a file or an address.
    pub(super) fn open(
        text: &str,
        uri: &SourceUri,
        fps: Option<f64>,
        options: &OpenOptions,
    ) -> Result<Self, SourceError> {
        let backend = if is_pipeline(text) { videoio::CAP_GSTREAMER } else { videoio::CAP_ANY };
        let what = What { name: text.to_owned(), uri: uri.clone(), index: text.parse().ok(), backend };
        Self::start(what, fps, options)
    }

    fn start(what: What, fps: Option<f64>, options: &OpenOptions) -> Result<Self, SourceError> {
        let shown = what.uri.to_string();
        let (sender, frames) = sync_channel(1);
        let on_thread = what.clone();
        let spawned = thread::Builder::new().name("capture".into()).spawn(move || {
            let last = match capture(&on_thread, &sender) {
                Ok(()) => FromCapture::Ended,
                Err(why) => FromCapture::Failed(on_thread.uri.scrub(&why)),
            };
            // Nobody listens any more where this fails.
            let _ = sender.send(last);
        });
        if let Err(error) = spawned {
            return Err(SourceError::Lost { uri: shown, why: format!("no thread to capture on: {error}") });
        }
        let mut source = Self {
            what,
            shown,
            options: options.clone(),
            fps,
            info: SourceInfo { size: Size { width: 0, height: 0 }, fps: 0.0, live: true, frames: None },
            times: Times::of_arrival(),
            frames,
            position: 0,
            ended: false,
        };
        match source.receive()? {
            Some(FromCapture::Opened(info)) => source.info = info,
            Some(FromCapture::Failed(why)) => {
                return Err(SourceError::Lost { uri: source.shown, why });
            }
            _ => return Err(source.lost("it gave no frame")),
        }
        if !source.info.live {
            source.info.fps = fps.unwrap_or(source.info.fps);
            source.times = Times::of_rate(source.info.fps);
        }
        Ok(source)
    }

    /// Waits for the capturing thread, at most for the timeout; none when it is gone.
    fn receive(&self) -> Result<Option<FromCapture>, SourceError> {
        let started = Instant::now();
        loop {
            if self.options.stop.load(Ordering::Relaxed) {
                return Err(SourceError::Stopped { uri: self.shown.clone() });
            }
            match self.frames.recv_timeout(Duration::from_millis(100).min(self.options.timeout)) {
                Ok(message) => return Ok(Some(message)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if started.elapsed() < self.options.timeout => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(
                        self.lost(&format!("nothing came for {}", seconds_text(self.options.timeout)))
                    );
                }
            }
        }
    }

    fn lost(&self, why: &str) -> SourceError {
        SourceError::Lost { uri: self.shown.clone(), why: why.to_owned() }
    }
}

impl Source for CaptureSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let (picture, arrival, capture, decode) = match self.receive()? {
            Some(FromCapture::Frame { picture, arrival, capture, decode }) => {
                (picture, arrival, capture, decode)
            }
            Some(FromCapture::Failed(why)) => {
                return Err(SourceError::Lost { uri: self.shown.clone(), why });
            }
            _ if self.info.live => return Err(self.lost("the capture ended")),
            _ => {
                self.ended = true;
                return Ok(None);
            }
        };
        let position = self.position;
        self.position += 1;
        let (media_time_us, jumped) = self.times.of(position, None, arrival, &mut TimeRepairs::default());
        Ok(Some(Captured {
            picture,
            position,
            media_time_us,
            captured_at_us: arrival.wall_us,
            arrived: arrival.steady,
            discontinuity: jumped,
            damage: None,
            capture,
            decode,
        }))
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        if self.info.live {
            return Err(SourceError::NoRewind { uri: self.shown.clone() });
        }
        *self = Self::start(self.what.clone(), self.fps, &self.options)?;
        self.times.mark_discontinuity();
        Ok(())
    }

    fn skip_to(&mut self, position: u64) -> Result<(), SourceError> {
        while !self.info.live && self.position < position {
            if self.next()?.is_none() {
                break;
            }
        }
        Ok(())
    }
}

fn is_pipeline(text: &str) -> bool {
    text.contains(" ! ")
}

/// Runs on the capturing thread until the capture ends or nobody listens.
fn capture(what: &What, to: &SyncSender<FromCapture>) -> Result<(), String> {
    quiet();
    let mut capture = match what.index {
        Some(index) => VideoCapture::new(index, what.backend),
        None => VideoCapture::from_file(&what.name, what.backend),
    }
    .map_err(|error| in_words(&error))?;
    if !capture.is_opened().unwrap_or(false) {
        return Err(if is_pipeline(&what.name) {
            "GStreamer does not accept the pipeline: try it with `gst-launch-1.0` (it must end in `appsink`), and check \
             that OpenCV was built with GStreamer"
                .into()
        } else {
            "OpenCV cannot open it".into()
        });
    }
    let property = |id| capture.get(id).ok().filter(|value: &f64| value.is_finite() && *value > 0.0);
    let fps = property(videoio::CAP_PROP_FPS).filter(|fps| *fps <= 1000.0).unwrap_or(0.0);
    let frames = property(videoio::CAP_PROP_FRAME_COUNT).map(|count| count as u64);
    let size = Size {
        width: property(videoio::CAP_PROP_FRAME_WIDTH).unwrap_or(0.0) as u32,
        height: property(videoio::CAP_PROP_FRAME_HEIGHT).unwrap_or(0.0) as u32,
    };
    let live = frames.is_none() && !ends_by_itself(&what.name);
    if to.send(FromCapture::Opened(SourceInfo { size, fps, live, frames })).is_err() {
        return Ok(());
    }
    let mut converter = Converter::default();
    let mut mat = Mat::default();
    loop {
        let started = Instant::now();
        if !capture.read(&mut mat).map_err(|error| in_words(&error))? || mat.empty() {
            return Ok(());
        }
        let (arrival, capture) = (Clock::now(), started.elapsed());
        let started = Instant::now();
        let picture = to_picture(&mat, size, &mut converter)?;
        let decode = started.elapsed();
        if to.send(FromCapture::Frame { picture, arrival, capture, decode }).is_err() {
            return Ok(());
        }
    }
}

/// Whether a pipeline says itself that it has an end: then its end is no loss, and it waits for its reader.
fn ends_by_itself(text: &str) -> bool {
    is_pipeline(text) && ["num-buffers=", "filesrc "].iter().any(|sign| text.contains(sign))
}

/// The picture of what OpenCV gave: BGR, BGRA or grey.
pub(super) fn to_picture(mat: &Mat, announced: Size, converter: &mut Converter) -> Result<Picture, String> {
    let (format, channels) = match mat.typ() {
        CV_8UC3 => (Pixel::BGR24, 3),
        CV_8UC4 => (Pixel::BGRA, 4),
        CV_8UC1 if announced.height > 0 && mat.rows() as u32 == announced.height / 2 * 3 => {
            return Err(
                "the pipeline gives YUV: let it give BGR with `… ! videoconvert ! video/x-raw,format=BGR ! \
                        appsink`"
                    .into(),
            );
        }
        CV_8UC1 => (Pixel::GRAY8, 1),
        other => {
            return Err(format!(
                "OpenCV gives pictures of type {other}: only 8-bit BGR, BGRA or grey is read"
            ));
        }
    };
    let (width, height) = (mat.cols().max(0) as u32, mat.rows().max(0) as u32);
    if width == 0 || height == 0 {
        return Err("OpenCV gives an empty picture".into());
    }
    let mut frame = frame::Video::new(format, width, height);
    let stride = frame.stride(0);
    let row_len = width as usize * channels;
    for (y, row) in frame.data_mut(0).chunks_mut(stride).enumerate() {
        let from = mat.ptr(y as i32).map_err(|error| in_words(&error))?;
        // SAFETY: `ptr` checked that the row exists; a row of a matrix has `cols` elements of `channels` bytes.
        #[allow(unsafe_code)]
        let from = unsafe { std::slice::from_raw_parts(from, row_len) };
        row[..row_len].copy_from_slice(from);
    }
    converter.picture(frame).map_err(|error| format!("its pixels cannot be converted: {error}"))
}

fn in_words(error: &opencv::Error) -> String {
    mask(error.message.trim()).into_owned()
}

/// Keeps OpenCV's own lines off stderr, and those of the FFmpeg in it: they carry addresses with their passwords. What
/// environment variables would switch on is [`heed_no_debug_variables`]'s.
///
/// [`heed_no_debug_variables`]: crate::heed_no_debug_variables
pub(super) fn quiet() {
    static ONCE: Once = Once::new();
    super::libav::quiet();
    ONCE.call_once(|| {
        if let Err(error) = opencv::core::set_log_level(LogLevel::LOG_LEVEL_SILENT) {
            tracing::warn!(%error, "OpenCV's own log cannot be switched off");
        }
    });
}
