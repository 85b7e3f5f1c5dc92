//! Files and network streams through FFmpeg's libraries.

use std::{
    collections::VecDeque,
    ffi::{c_char, c_int, c_void},
    fs, io,
    path::Path,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ffmpeg_next::{
    Dictionary, Error as AvError, Packet, Rational, codec, decoder, ffi, format, frame, media, picture,
    threading,
};
use peregrine_proto::{Size, SourceUri};

use super::{
    Captured, Damage, OpenOptions, Source, SourceCounts, SourceError, SourceInfo,
    file_times::{FileTimes, Timed},
    seconds_text,
    times::{Clock, Times},
};
use crate::{convert::Converter, picture::Orientation};

/// Containers that hold one video each. Lists of other files (`concat`, `hls`, `image2`, `sdp`, …) are left out: through
/// them a file in an allowed folder could open what is not allowed.
const FILE_FORMATS: &str = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,m4v,mjpeg,ivf,obu,av1,gif,\
                            nut,mxf,dv,rm,yuv4mpegpipe,wtv,swf,vc1,nsv,live_flv";

/// Errors in a row after which a network stream counts as lost.
const MOST_ERRORS_IN_A_ROW: u32 = 250;

/// A track that ends so much earlier than its header says is truncated, microseconds.
const EARLY_END_US: i64 = 500_000;

/// A video file or network stream.
pub(super) struct LibavSource {
    /// As libav takes it.
    address: String,
    /// As people may see it.
    shown: String,
    is_file: bool,
    options: OpenOptions,
    fps: Option<f64>,
    info: SourceInfo,
    timing: Timing,
    stream: Stream,
    /// Position of the next frame that is given.
    next: u64,
    /// The error that ended a file early, reported after the frames that came before it.
    broken: Option<SourceError>,
    counts: SourceCounts,
    said_b_frames: bool,
}

/// One pass over the stream, from opening to its end.
struct Stream {
    input: format::context::Input,
    decoder: decoder::Opened,
    converter: Converter,
    deadline: Arc<Deadline>,
    index: usize,
    time_base: Rational,
    orientation: Orientation,
    untidy: Untidy,
    intact: Intact,
    /// Pictures decoded so far: the next one's position.
    pictures: u64,
    packets: u64,
    /// Packets that the container's index promises.
    promised: Option<u64>,
    /// Where the track should end, and where its packets did, microseconds.
    should_end_us: Option<i64>,
    ended_us: i64,
    /// What the demuxer said last, where that was no clean end.
    damage: Option<String>,
    draining: bool,
    ended: bool,
    /// Wall clock at which the packets that are still in the decoder came, by presentation time.
    arrivals: VecDeque<(Option<i64>, Clock)>,
    /// When the newest packet came.
    newest: Clock,
    errors_in_a_row: u32,
}

/// Whether a stream's presentation times are those of another order than the one in which frames are shown: some muxers
/// number packets as they come. The decoding times rise then, and are taken instead. (Libav's own guess takes them for good
/// from the first untidy time on.)
#[derive(Debug, Default)]
struct Untidy {
    last: (Option<i64>, Option<i64>),
    frames: u32,
    /// How often presentation times went back where decoding times did not, lately.
    faults: u32,
}

impl Untidy {
    /// So many faults lately are no single untidy times.
    const MOST_FAULTS: u32 = 2;
    /// One fault is forgotten after so many frames.
    const FORGET: u32 = 16;

    fn choose(&mut self, presentation: Option<i64>, decoding: Option<i64>) -> Option<i64> {
        let rises =
            |this: Option<i64>, last: Option<i64>| this.zip(last).is_none_or(|(this, last)| this > last);
        self.frames += 1;
        if self.faults < Self::MOST_FAULTS {
            if self.frames.is_multiple_of(Self::FORGET) {
                self.faults = self.faults.saturating_sub(1);
            }
            if !rises(presentation, self.last.0) && decoding.is_some() && rises(decoding, self.last.1) {
                self.faults += 1;
            }
        }
        self.last = (presentation, decoding);
        if self.faults < Self::MOST_FAULTS { presentation.or(decoding) } else { decoding.or(presentation) }
    }
}

/// Follows damage from picture to picture. The decoder marks those in which it found errors; what is predicted from them is as
/// wrong, until a picture that stands alone.
#[derive(Debug, Default)]
struct Intact {
    /// Pictures since the last marked one that others are predicted from.
    since_damage: Option<u32>,
}

impl Intact {
    /// Streams that renew their pictures bit by bit have none that stand alone: after so many without an error all is new.
    const RENEWED: u32 = 300;

    fn damage(&mut self, frame: &frame::Video) -> Option<Damage> {
        // SAFETY: the frame is alive and only read.
        #[allow(unsafe_code)]
        let (errors, flags) = unsafe { ((*frame.as_ptr()).decode_error_flags, (*frame.as_ptr()).flags) };
        let alone = frame.is_key();
        let marked = if errors & ffi::FF_DECODE_ERROR_MISSING_REFERENCE as c_int != 0 {
            Some(Damage::MissingReference)
        } else if flags & ffi::AV_FRAME_FLAG_CORRUPT as c_int != 0 {
            Some(Damage::Corrupt)
        } else if errors != 0 {
            Some(Damage::Concealed)
        } else {
            None
        };
        match (marked, self.since_damage) {
            // Few pictures are predicted from one that is itself predicted from both sides.
            (Some(_), _) if frame.kind() != picture::Type::B => self.since_damage = Some(0),
            (None, Some(since)) => {
                self.since_damage = (!alone && since < Self::RENEWED).then_some(since + 1);
            }
            _ => {}
        }
        marked.or(self.since_damage.map(|_| Damage::Predicted))
    }
}

/// When a blocking call into libav has to end; shared with its interrupt callback.
struct Deadline {
    start: Instant,
    at_ms: AtomicU64,
    stop: Arc<AtomicBool>,
}

impl Deadline {
    fn push(&self, timeout: Duration) {
        let at = self.start.elapsed() + timeout;
        self.at_ms.store(at.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn over(&self) -> bool {
        self.stopped() || self.start.elapsed().as_millis() as u64 > self.at_ms.load(Ordering::Relaxed)
    }
}

/// A decoded frame and what it took.
struct Decoded {
    frame: frame::Video,
    damage: Option<Damage>,
    /// When its packet came, or one of a frame that is shown later: it was captured by then.
    arrival: Clock,
    /// When the packet came that made the decoder give it: never before that of the frame shown before it.
    released: Clock,
    capture: Duration,
    decode: Duration,
}

/// A decoded frame in its place.
struct Placed {
    position: u64,
    decoded: Decoded,
}

/// How frames get their media times.
enum Timing {
    AsTheyCome(Times),
    /// A file's, by their presentation times.
    Judged(FileTimes<Placed>),
}

impl Timing {
    fn mark_discontinuity(&mut self) {
        match self {
            Self::AsTheyCome(times) => times.mark_discontinuity(),
            Self::Judged(times) => times.mark_discontinuity(),
        }
    }

    /// Whether media times are nothing but when frames come.
    fn is_by_arrival(&self) -> bool {
        matches!(self, Self::AsTheyCome(times) if times.is_by_arrival())
    }
}

impl LibavSource {
    pub(super) fn open_file(
        path: &Path,
        uri: &SourceUri,
        fps: Option<f64>,
        options: &OpenOptions,
    ) -> Result<Self, SourceError> {
        let shown = uri.to_string();
        let unusable = |why: String| SourceError::Unusable { uri: shown.clone(), why: uri.scrub(&why) };
        check_file(path).map_err(&unusable)?;
        let text = path.to_str().ok_or_else(|| unusable("its name is not UTF-8: rename it".into()))?;
        Self::open(format!("file:{text}"), shown.clone(), true, fps, options)
    }

    pub(super) fn open_network(
        address: &str,
        uri: &SourceUri,
        fps: Option<f64>,
        options: &OpenOptions,
    ) -> Result<Self, SourceError> {
        Self::open(address.to_owned(), uri.to_string(), false, fps, options)
    }

    fn open(
        address: String,
        shown: String,
        is_file: bool,
        fps: Option<f64>,
        options: &OpenOptions,
    ) -> Result<Self, SourceError> {
        let stream = Stream::open(&address, &shown, is_file, options)?;
        let info = stream.info(is_file, fps);
        let timing = stream.timing(fps, &info);
        Ok(Self {
            address,
            shown,
            is_file,
            options: options.clone(),
            fps,
            info,
            timing,
            stream,
            next: 0,
            broken: None,
            counts: SourceCounts::default(),
            said_b_frames: false,
        })
    }

    /// The next frame with its media time, or none at a clean end.
    fn timed(&mut self) -> Result<Option<Timed<Placed>>, SourceError> {
        loop {
            if self.stream.deadline.stopped() {
                return Err(self.failure(AvError::Exit));
            }
            if let Timing::Judged(times) = &mut self.timing
                && let Some(timed) = times.pop()
            {
                self.counts.times = *times.repairs();
                self.next = timed.of.position + 1;
                return Ok(Some(timed));
            }
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            let placed = match self.decode() {
                Ok(placed) => placed,
                Err(error @ SourceError::Stopped { .. }) => return Err(error),
                Err(error) => {
                    self.broken = Some(error);
                    None
                }
            };
            match (&mut self.timing, placed) {
                (Timing::AsTheyCome(times), Some(placed)) => {
                    let presentation_us = self.stream.presentation_us(&placed.decoded.frame);
                    let (position, released) = (placed.position, placed.decoded.released);
                    let (media_time_us, discontinuity) =
                        times.of(position, presentation_us, released, &mut self.counts.times);
                    self.next = position + 1;
                    return Ok(Some(Timed { of: placed, media_time_us, discontinuity }));
                }
                (Timing::Judged(times), Some(placed)) => {
                    times.push(self.stream.presentation_us(&placed.decoded.frame), placed);
                }
                (Timing::Judged(times), None) if !times.is_empty() => times.end(),
                (_, None) => return self.broken.take().map_or(Ok(None), Err),
            }
        }
    }

    /// The next decoded frame, or none at a clean end.
    fn decode(&mut self) -> Result<Option<Placed>, SourceError> {
        // What comes over the network may come again; what is broken in a file stays so.
        let remote = !self.is_file;
        match self.stream.decode(remote, self.options.timeout, &mut self.counts.undecodable) {
            Ok(None) => self.end().map(|()| None),
            Ok(Some(decoded)) => {
                let position = self.stream.pictures;
                self.stream.pictures += 1;
                Ok(Some(Placed { position, decoded }))
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Whether the end was a clean one.
    fn end(&mut self) -> Result<(), SourceError> {
        let stream = &mut self.stream;
        let uri = self.shown.clone();
        if self.info.live {
            return Err(SourceError::Lost { uri, why: "the stream ended".into() });
        }
        if stream.pictures == 0 {
            let why = "none of its pictures can be decoded: it is damaged, or no video".into();
            return Err(SourceError::Unusable { uri, why });
        }
        let missing = stream.promised.filter(|promised| stream.packets < *promised);
        let early =
            stream.should_end_us.map(|end| end - stream.ended_us).filter(|early| *early > EARLY_END_US);
        let why = match (stream.damage.take(), missing, early) {
            (Some(why), ..) => why,
            (None, Some(promised), _) => {
                format!("its index promises {promised} pictures, the rest is missing")
            }
            (None, None, Some(early)) => {
                format!("the last {:.1} s that its header promises are missing", early as f64 / 1e6)
            }
            (None, None, None) => return Ok(()),
        };
        (stream.promised, stream.should_end_us) = (None, None);
        let why = format!("{why}. It seems to be truncated: copy it again");
        Err(SourceError::Damaged { uri, frames: stream.pictures, why })
    }

    fn failure(&self, error: AvError) -> SourceError {
        failure(&self.shown, error, &self.stream.deadline, self.options.timeout)
    }
}

impl Source for LibavSource {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        let had_clock = !self.timing.is_by_arrival();
        let Some(Timed { of: Placed { position, decoded }, media_time_us, discontinuity }) = self.timed()?
        else {
            return Ok(None);
        };
        let started = Instant::now();
        let damage = decoded.damage;
        let pixel_aspect = self.stream.pixel_aspect(&decoded.frame);
        let picture = self
            .stream
            .converter
            .picture(decoded.frame)
            .map_err(|error| SourceError::Unusable {
                uri: self.shown.clone(),
                why: format!("its pixel format cannot be converted: {error}"),
            })?
            .with_pixel_aspect(pixel_aspect)
            .oriented(self.stream.orientation);
        if had_clock && self.timing.is_by_arrival() {
            tracing::warn!(
                source = self.shown,
                "its presentation times make no sense: frames are timed by when they come, which makes speeds less exact. \
                 Connecting again may help, or the camera's firmware"
            );
        }
        if self.info.live && !self.said_b_frames && decoded.arrival.steady < decoded.released.steady {
            self.said_b_frames = true;
            tracing::info!(
                source = self.shown,
                "frames wait in the decoder for those behind them (B-frames): where every moment counts, switch B-frames \
                 off in the camera's encoder"
            );
        }
        self.info.size = picture.size();
        Ok(Some(Captured {
            picture,
            position,
            media_time_us,
            captured_at_us: decoded.arrival.wall_us,
            arrived: decoded.arrival.steady,
            discontinuity,
            damage,
            capture: decoded.capture,
            decode: decoded.decode + started.elapsed(),
        }))
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        if self.info.live {
            return Err(SourceError::NoRewind { uri: self.shown.clone() });
        }
        // Opened again: seeking is not exact in every container, and a second pass must equal the first to the bit.
        self.stream = Stream::open(&self.address, &self.shown, self.is_file, &self.options)?;
        self.timing = self.stream.timing(self.fps, &self.info);
        self.timing.mark_discontinuity();
        (self.next, self.broken) = (0, None);
        Ok(())
    }

    fn skip_to(&mut self, position: u64) -> Result<(), SourceError> {
        // Timed one by one: the media time of each depends on those before it.
        while !self.info.live && self.next < position {
            if self.timed()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn counts(&self) -> SourceCounts {
        self.counts
    }
}

impl Stream {
    fn open(address: &str, shown: &str, is_file: bool, options: &OpenOptions) -> Result<Self, SourceError> {
        quiet();
        let deadline = Arc::new(Deadline {
            start: Instant::now(),
            at_ms: AtomicU64::new(0),
            stop: Arc::clone(&options.stop),
        });
        deadline.push(options.timeout);
        let watched = Arc::clone(&deadline);
        let input = format::input_with_interrupt_and_dictionary(
            address,
            move || watched.over(),
            demuxer_options(address, is_file, options.timeout),
        )
        .map_err(|error| open_failure(shown, is_file, error, &deadline, options.timeout))?;

        let unusable = |why: String| SourceError::Unusable { uri: shown.to_owned(), why };
        let stream = input
            .streams()
            .best(media::Type::Video)
            .filter(|stream| !stream.disposition().contains(format::stream::Disposition::ATTACHED_PIC))
            .ok_or_else(|| unusable("it has no video track".into()))?;
        let parameters = stream.parameters();
        let codec = decoder::find(parameters.id()).ok_or_else(|| {
            let name = codec_name(&parameters);
            unusable(format!(
                "its codec ({name}) cannot be decoded by the installed FFmpeg: convert it where it can be, for \
                 example with `ffmpeg -i <file> -c:v libx264 <new file>`"
            ))
        })?;
        let mut context = codec::Context::from_parameters(parameters)
            .map_err(|error| unusable(format!("its codec's parameters make no sense: {error}")))?;
        if is_file {
            context.set_threading(threading::Config {
                kind: threading::Type::Frame,
                ..threading::Config::count(options.decode_threads.max(1))
            });
        } else {
            // Frame threads hold back a picture each, which a live stream cannot afford.
            context.set_threading(threading::Config::count(1));
        }
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(stream.time_base());
        let decoder = decoder
            .open_as(codec)
            .map_err(|error| unusable(format!("its {} decoder does not start: {error}", codec.name())))?;

        let (index, time_base, orientation) =
            (stream.index(), stream.time_base(), orientation(&stream, shown));
        // The index of MP4 is exact; other containers write estimates.
        let exact = input.format().name().contains("mp4");
        let promised = u64::try_from(stream.frames()).ok().filter(|frames| exact && *frames > 0);
        let should_end_us = stream.metadata().get("DURATION").and_then(clock_us);
        Ok(Self {
            input,
            decoder,
            converter: Converter::default(),
            deadline,
            index,
            time_base,
            orientation,
            untidy: Untidy::default(),
            intact: Intact::default(),
            pictures: 0,
            packets: 0,
            promised,
            should_end_us,
            ended_us: 0,
            damage: None,
            draining: false,
            ended: false,
            arrivals: VecDeque::new(),
            newest: Clock::now(),
            errors_in_a_row: 0,
        })
    }

    fn info(&self, is_file: bool, fps: Option<f64>) -> SourceInfo {
        // Live: what has no known length. An HTTP server's file has one.
        let is_rtsp = self.input.format().name() == "rtsp";
        let live = is_rtsp || (!is_file && self.input.duration() <= 0);
        let (mut size, mut frames, mut rate) = (Size { width: 0, height: 0 }, None, 0.0);
        if let Some(stream) = self.input.stream(self.index) {
            // SAFETY: the parameters belong to the open input and are only read.
            #[allow(unsafe_code)]
            let (width, height) = unsafe {
                let parameters = stream.parameters();
                ((*parameters.as_ptr()).width, (*parameters.as_ptr()).height)
            };
            let (width, height) = (width.max(0) as u32, height.max(0) as u32);
            size = if self.orientation.is_sideways() {
                Size { width: height, height: width }
            } else {
                Size { width, height }
            };
            rate = [stream.avg_frame_rate(), stream.rate()]
                .iter()
                .map(|rate| f64::from(*rate))
                .find(|rate| rate.is_finite() && *rate > 0.0 && *rate <= 1000.0)
                .unwrap_or(0.0);
            frames = u64::try_from(stream.frames()).ok().filter(|frames| *frames > 0 && !live);
            if frames.is_none() && !live && rate > 0.0 && self.input.duration() > 0 {
                let seconds = self.input.duration() as f64 / f64::from(ffi::AV_TIME_BASE);
                frames = Some((seconds * rate).round() as u64);
            }
        }
        if live && self.has_no_times() {
            rate = 0.0;
        }
        SourceInfo { size, fps: fps.unwrap_or(rate), live, frames }
    }

    /// Whether the format, such as MJPEG over HTTP, has no times: libav makes some up then, of 25 frames a second.
    fn has_no_times(&self) -> bool {
        // SAFETY: the format belongs to the open input and is only read.
        #[allow(unsafe_code)]
        let flags = unsafe { (*self.input.format().as_ptr()).flags };
        flags & ffi::AVFMT_NOTIMESTAMPS != 0
    }

    /// Width of the frame's pixels over their height, by the container where it says so, else by the stream itself.
    fn pixel_aspect(&mut self, frame: &frame::Video) -> Option<f32> {
        let mut stream = self.input.stream_mut(self.index)?;
        // SAFETY: stream and frame are valid and only read; the call does not look at the container.
        #[allow(unsafe_code)]
        let ratio = unsafe {
            let (stream, frame) = (stream.as_mut_ptr(), frame.as_ptr().cast_mut());
            Rational::from(ffi::av_guess_sample_aspect_ratio(std::ptr::null_mut(), stream, frame))
        };
        let said = ratio.numerator() > 0 && ratio.denominator() > 0;
        said.then(|| ratio.numerator() as f32 / ratio.denominator() as f32)
    }

    fn timing(&self, fps: Option<f64>, info: &SourceInfo) -> Timing {
        match (info.live, fps) {
            (true, _) if self.has_no_times() => Timing::AsTheyCome(Times::of_arrival()),
            (true, _) => Timing::AsTheyCome(Times::of_live(info.fps)),
            (false, Some(fps)) => Timing::AsTheyCome(Times::of_rate(fps)),
            (false, None) => Timing::Judged(FileTimes::new(info.fps)),
        }
    }

    /// When a frame is to be shown.
    fn presentation_us(&mut self, frame: &frame::Video) -> Option<i64> {
        // SAFETY: the frame is alive and only read.
        #[allow(unsafe_code)]
        let decoding = unsafe { (*frame.as_ptr()).pkt_dts };
        let decoding = (decoding != ffi::AV_NOPTS_VALUE).then_some(decoding);
        self.untidy.choose(frame.pts(), decoding).map(|time| to_us(time, self.time_base))
    }

    fn decode(
        &mut self,
        remote: bool,
        timeout: Duration,
        undecodable: &mut u64,
    ) -> Result<Option<Decoded>, AvError> {
        let (mut capture, mut decode) = (Duration::ZERO, Duration::ZERO);
        while !self.ended {
            if self.deadline.stopped() {
                return Err(AvError::Exit);
            }
            let started = Instant::now();
            let mut frame = frame::Video::empty();
            let received = self.decoder.receive_frame(&mut frame);
            decode += started.elapsed();
            match received {
                Ok(()) => {
                    self.errors_in_a_row = 0;
                    let arrival = self.arrival(frame.timestamp());
                    let damage = self.intact.damage(&frame);
                    return Ok(Some(Decoded {
                        frame,
                        damage,
                        arrival,
                        released: self.newest,
                        capture,
                        decode,
                    }));
                }
                Err(AvError::Eof) => self.ended = true,
                Err(AvError::Other { errno: ffmpeg_next::error::EAGAIN }) if !self.draining => {
                    let started = Instant::now();
                    let read = self.read(timeout);
                    capture += started.elapsed();
                    let started = Instant::now();
                    let sent = match read {
                        Ok(packet) => {
                            self.expect(&packet);
                            self.decoder.send_packet(&packet)
                        }
                        Err(AvError::Exit) => return Err(AvError::Exit),
                        Err(AvError::Eof) => self.drain(),
                        Err(error) if remote => return Err(error),
                        Err(error) => {
                            self.damage = Some(format!("it cannot be read further ({error})"));
                            self.drain()
                        }
                    };
                    decode += started.elapsed();
                    if let Err(error) = sent {
                        self.refused(error, remote, undecodable)?;
                    }
                }
                Err(error) => {
                    if self.draining {
                        self.errors_in_a_row += 1;
                        if self.errors_in_a_row > MOST_ERRORS_IN_A_ROW {
                            self.ended = true;
                        }
                    }
                    self.refused(error, remote, undecodable)?;
                }
            }
        }
        Ok(None)
    }

    /// The decoder could make nothing of a packet: counted, and given up only where a network stream gives nothing else.
    fn refused(&mut self, error: AvError, remote: bool, undecodable: &mut u64) -> Result<(), AvError> {
        *undecodable += 1;
        self.errors_in_a_row += 1;
        if remote && self.errors_in_a_row > MOST_ERRORS_IN_A_ROW { Err(error) } else { Ok(()) }
    }

    /// The next packet of the video stream.
    fn read(&mut self, timeout: Duration) -> Result<Packet, AvError> {
        self.deadline.push(timeout);
        let mut hiccups = 0;
        loop {
            // A new one each time: what libav reads into a packet takes the place of what it held, which would never be freed.
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() == self.index => {
                    self.packets += 1;
                    let end = packet.pts().map_or(0, |pts| to_us(pts + packet.duration(), self.time_base));
                    self.ended_us = self.ended_us.max(end);
                    if packet.is_corrupt() {
                        self.damage = Some("its last picture is incomplete".into());
                    } else {
                        self.damage = None;
                    }
                    return Ok(packet);
                }
                Ok(()) => {}
                Err(AvError::Other { errno: ffmpeg_next::error::EAGAIN }) if hiccups < 1000 => {
                    hiccups += 1;
                    std::thread::sleep(Duration::from_millis(2));
                    if self.deadline.over() {
                        return Err(AvError::Exit);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn drain(&mut self) -> Result<(), AvError> {
        self.draining = true;
        self.errors_in_a_row = 0;
        self.decoder.send_eof()
    }

    /// Notes when a packet came, for the picture that the decoder will make of it later.
    fn expect(&mut self, packet: &Packet) {
        /// More than any decoder holds back.
        const MOST: usize = 64;
        if self.arrivals.len() == MOST {
            self.arrivals.pop_front();
        }
        self.newest = Clock::now();
        self.arrivals.push_back((packet.pts(), self.newest));
    }

    /// By when the frame of this presentation time was captured: its packet had come, or that of a frame which is shown
    /// later (B-frames come behind the frame that follows them).
    fn arrival(&mut self, pts: Option<i64>) -> Clock {
        let found = self.arrivals.iter().position(|(at, _)| at.is_some() && *at == pts);
        let entry = match found {
            Some(index) => self.arrivals.remove(index),
            None => self.arrivals.pop_front(),
        };
        let own = entry.map_or_else(Clock::now, |(_, arrival)| arrival);
        let shown_later = self.arrivals.iter().filter(|(at, _)| pts.is_some() && *at > pts);
        shown_later.map(|(_, arrival)| *arrival).fold(own, Clock::earlier)
    }
}

/// What the demuxer may do, and for how long.
fn demuxer_options(address: &str, is_file: bool, timeout: Duration) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    if is_file {
        options.set("protocol_whitelist", "file");
        options.set("format_whitelist", FILE_FORMATS);
        return options;
    }
    let micros = timeout.as_micros().to_string();
    if address.starts_with("rtsp") {
        options.set("protocol_whitelist", "rtsp,rtsps,rtp,tcp,tls,crypto,http,httpproxy");
        options.set("rtsp_transport", "tcp");
        options.set("timeout", &micros);
        // What is read to find out the frame rate comes late, all at once: a few frames must do.
        options.set("analyzeduration", "1000000");
        options.set("fpsprobesize", "3");
    } else {
        options.set("protocol_whitelist", "http,https,tcp,tls,crypto,httpproxy,hls");
        options.set("rw_timeout", &micros);
    }
    options
}

/// What the file system can say better than libav.
fn check_file(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).and_then(|metadata| fs::File::open(path).map(|_| metadata));
    match metadata {
        Ok(metadata) if metadata.is_dir() => {
            Err(format!("it is a folder: write `images:{}` to read the pictures in it", path.display()))
        }
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => Err("the file is empty".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".into(),
            io::ErrorKind::PermissionDenied => "no permission to read it".into(),
            _ => error.to_string(),
        }),
    }
}

fn open_failure(
    shown: &str,
    is_file: bool,
    error: AvError,
    deadline: &Deadline,
    timeout: Duration,
) -> SourceError {
    let uri = shown.to_owned();
    let unusable = |why: &str| SourceError::Unusable { uri: uri.clone(), why: why.into() };
    match error {
        _ if deadline.over() => failure(shown, error, deadline, timeout),
        AvError::InvalidData if is_file => {
            unusable("it is no video that FFmpeg knows, or truncated so that nothing can be read")
        }
        // What FILE_FORMATS leaves out.
        AvError::Other { errno: ffmpeg_next::error::EINVAL } if is_file => unusable(
            "it is no video in a container that is read here (MP4, Matroska, AVI, MPEG-TS and the like; no playlists): give a video, or make it one with `ffmpeg -i INPUT out.mp4`",
        ),
        AvError::HttpUnauthorized => unusable("user or password are wrong or missing (401)"),
        AvError::HttpForbidden => unusable("the server forbids it (403)"),
        AvError::HttpNotFound => SourceError::Lost { uri, why: "the server has no such stream (404)".into() },
        AvError::ProtocolNotFound => unusable("the installed FFmpeg does not speak this protocol"),
        error if is_file => unusable(&error.to_string()),
        error => failure(shown, error, deadline, timeout),
    }
}

fn failure(shown: &str, error: AvError, deadline: &Deadline, timeout: Duration) -> SourceError {
    let uri = shown.to_owned();
    if deadline.stopped() {
        SourceError::Stopped { uri }
    } else if deadline.over() {
        SourceError::Lost { uri, why: format!("nothing came for {}", seconds_text(timeout)) }
    } else {
        SourceError::Lost { uri, why: format!("the connection failed: {error}") }
    }
}

fn codec_name(parameters: &codec::Parameters) -> String {
    let name = parameters.id().name();
    // SAFETY: the parameters belong to the open input and are only read.
    #[allow(unsafe_code)]
    let tag = unsafe { (*parameters.as_ptr()).codec_tag };
    let tag: String =
        tag.to_le_bytes().iter().map(|b| char::from(*b)).filter(char::is_ascii_graphic).collect();
    if tag.is_empty() || name != "none" { name.to_owned() } else { format!("`{tag}`") }
}

/// How the pictures have to be turned and mirrored, from the track's display matrix.
fn orientation(stream: &format::stream::Stream<'_>, shown: &str) -> Orientation {
    let matrix = stream
        .side_data()
        .find(|data| data.kind() == codec::packet::side_data::Type::DisplayMatrix)
        .map(|data| data.data().to_vec());
    let Some(matrix) = matrix.filter(|matrix| matrix.len() >= 36) else { return Orientation::default() };
    let value = |i: usize| f64::from(i32::from_ne_bytes([0, 1, 2, 3].map(|b| matrix[4 * i + b])));
    // A step to the right in the stored picture goes by (a, b) in the one to be seen, a step down by (c, d).
    let (a, b, c, d) = (value(0), value(1), value(3), value(4));
    let mirrored = a * d - b * c < 0.0;
    let side = if mirrored { -1.0 } else { 1.0 };
    let degrees = (side * b).atan2(side * a).to_degrees().rem_euclid(360.0);
    let quarter = (degrees / 90.0).round() * 90.0;
    if (degrees - quarter).abs() > 1.0 {
        tracing::warn!(source = shown, degrees, "rotation is no multiple of 90 degrees: ignored");
        return Orientation::default();
    }
    Orientation { mirrored, degrees: quarter as u16 % 360 }
}

/// A time as Matroska writes it, `00:01:02.500000000`, in microseconds.
fn clock_us(text: &str) -> Option<i64> {
    let seconds =
        text.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.trim().parse::<f64>().ok()?))?;
    (seconds.is_finite() && seconds > 0.0).then_some((seconds * 1e6) as i64)
}

/// A time in units of the time base as microseconds, rounded.
fn to_us(time: i64, base: Rational) -> i64 {
    let (num, den) = (i128::from(base.numerator()), i128::from(base.denominator().max(1)));
    let scaled = i128::from(time) * num * 1_000_000;
    ((scaled + den.div_euclid(2)).div_euclid(den)) as i64
}

/// Keeps libav's own lines off stderr: they carry addresses with their passwords. What matters comes back as an error.
pub(super) fn quiet() {
    static ONCE: Once = Once::new();
    #[allow(unsafe_code)]
    extern "C" fn silent<T>(_: *mut c_void, _: c_int, _: *const c_char, _: T) {}
    ONCE.call_once(|| {
        // SAFETY: the callback touches none of its arguments; libav allows setting it at any time.
        #[allow(unsafe_code)]
        unsafe {
            ffi::av_log_set_callback(Some(silent));
        }
        if let Err(error) = ffmpeg_next::init() {
            tracing::warn!(%error, "FFmpeg's libraries do not start");
        }
    });
}
