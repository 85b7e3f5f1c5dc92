#![doc = include_str!("compact.md")]

use crate::{
    DecodeError, Detection, FrameId, FrameResult, LossCount, LossReason, Notice, ResultMessage, ResultStatus,
    Size, Speed, Stage, StageTime, Track, TrackState, codec,
};

/// The first byte of the compact form of results of schema 2; MessagePack of a result begins with another.
const OLD_FORM: u8 = 1;
/// The first byte of the compact form of results of schema 3.
const FORM: u8 = 2;
/// Stages are the bits of a number; JavaScript tells this many apart.
const MOST_STAGES: u8 = 53;
/// Steps in a pixel.
const PER_PIXEL: f64 = 8.0;
/// Steps in a metre, and in a metre per second.
const PER_METRE: f64 = 100.0;
/// Steps from no confidence to all of it.
const PER_SCORE: f64 = 255.0;
/// Steps in a radian: 256 in a turn.
const PER_RADIAN: f64 = 128.0 / std::f64::consts::PI;
/// No value has more steps than this, either way: a 32-bit float still tells each from the next.
const MOST_STEPS: i64 = 1 << 22;

/// Bits of a result's first byte after the form, beside its status.
mod head {
    pub(super) const STATUS: u8 = 0x0f;
    pub(super) const REASON: u8 = 0x10;
    pub(super) const MEDIA_FROM_CAPTURE: u8 = 0x20;
}

/// Bits of a track's first byte, beside its state.
mod bits {
    pub(super) const STATE: u8 = 0x03;
    pub(super) const MATCHED: u8 = 0x04;
    pub(super) const OWN_SCORE: u8 = 0x08;
    pub(super) const GROUND: u8 = 0x10;
    pub(super) const SPEED: u8 = 0x20;
    pub(super) const IN_REGION: u8 = 0x40;
    /// Not in the old form.
    pub(super) const CLASS_SHARE: u8 = 0x80;
}

/// Writes the result of the frame `id`: in the compact form, or in MessagePack where a value does not fit that.
pub fn encode(id: FrameId, result: &FrameResult) -> Vec<u8> {
    pack(id, result).unwrap_or_else(|| codec::encode(result))
}

/// Reads the result of the frame `id`, whichever of the two forms it has.
///
/// # Errors
/// When the bytes are no result, of another schema version, or followed by others.
pub fn decode(id: FrameId, bytes: &[u8]) -> Result<FrameResult, DecodeError> {
    let (schema, packed) = match bytes.split_first() {
        Some((&OLD_FORM, packed)) => (2, packed),
        Some((&FORM, packed)) => (3, packed),
        _ => return codec::decode(bytes),
    };
    let mut reader = Reader(packed);
    let result = unpack(id, schema, &mut reader)
        .map_err(|why| DecodeError::Invalid { what: "compact result", why: why.to_owned() })?;
    match reader.0.len() {
        // What a later release adds stands at the end.
        extra if extra > 0 && schema == 2 => Err(DecodeError::Trailing { what: "compact result", extra }),
        _ => Ok(result),
    }
}

impl ResultMessage {
    /// The result, whichever form it has.
    ///
    /// # Errors
    /// When the bytes are no result, or of another schema version.
    pub fn frame_result(&self) -> Result<FrameResult, DecodeError> {
        decode(self.id, &self.result)
    }

    /// The same message with its result in the compact form; as it is where it cannot be read.
    pub fn to_compact(&self) -> Self {
        let result = match self.frame_result() {
            Ok(result) => encode(self.id, &result).into(),
            Err(_) => self.result.clone(),
        };
        Self { camera: self.camera.clone(), result, ..*self }
    }
}

/// None where a value does not fit.
fn pack(id: FrameId, result: &FrameResult) -> Option<Vec<u8>> {
    let form = match result.schema {
        2 if result.notices.is_empty() => OLD_FORM,
        3 => FORM,
        _ => return None,
    };
    if result.status.code() > head::STATUS {
        return None;
    }
    let mut out = Writer(Vec::with_capacity(512));
    let from_capture = result.media_time_us.wrapping_sub(result.captured_at_us);
    let is_nearer = from_capture.unsigned_abs() < result.media_time_us.unsigned_abs();
    out.byte(form);
    out.byte(
        result.status.code()
            | if result.reason.is_some() { head::REASON } else { 0 }
            | if is_nearer { head::MEDIA_FROM_CAPTURE } else { 0 },
    );
    if let Some(reason) = result.reason {
        out.byte(reason.code());
    }
    out.unsigned(result.n);
    out.unsigned(result.inc);
    out.signed(result.position.wrapping_sub(result.n).cast_signed());
    out.signed(result.captured_at_us.wrapping_sub(id_us(id)));
    out.signed(if is_nearer { from_capture } else { result.media_time_us });
    out.unsigned(result.source.width.into());
    out.unsigned(result.source.height.into());
    out.unsigned(result.track_epoch.into());
    out.count(result.detections.len());
    let mut detected = Vec::with_capacity(result.detections.len());
    for detection in &result.detections {
        detected.push(pack_detection(&mut out, detection)?);
    }
    out.count(result.tracks.len());
    let mut last_id = 0;
    for track in &result.tracks {
        pack_track(&mut out, form, track, &mut last_id, &detected)?;
    }
    pack_stages(&mut out, &result.stages)?;
    out.count(result.worker.len());
    out.0.extend(result.worker.as_bytes());
    out.count(result.lost.len());
    for lost in &result.lost {
        out.byte(lost.reason.code());
        out.unsigned(lost.count);
    }
    if form == FORM {
        out.count(result.notices.len());
        result.notices.iter().for_each(|notice| out.byte(notice.code()));
    }
    Some(out.0)
}

fn unpack(id: FrameId, schema: u16, from: &mut Reader<'_>) -> Read<FrameResult> {
    let first = from.byte()?;
    let status = ResultStatus::from_code(first & head::STATUS);
    let reason = if first & head::REASON == 0 { None } else { Some(from.reason()?) };
    let n = from.unsigned()?;
    let inc = from.unsigned()?;
    let position = n.wrapping_add(from.signed()?.cast_unsigned());
    let captured_at_us = id_us(id).wrapping_add(from.signed()?);
    let begin = if first & head::MEDIA_FROM_CAPTURE == 0 { 0 } else { captured_at_us };
    let media_time_us = from.signed()?.wrapping_add(begin);
    let source = Size { width: from.number()?, height: from.number()? };
    let track_epoch = from.number()?;
    let mut detected = Vec::new();
    for _ in 0..from.count()? {
        detected.push(unpack_detection(from)?);
    }
    let mut tracks = Vec::new();
    let mut last_id = 0;
    for _ in 0..from.count()? {
        tracks.push(unpack_track(from, schema, &mut last_id, &detected)?);
    }
    let stages = unpack_stages(from)?;
    let length = from.count()?;
    let worker = std::str::from_utf8(from.bytes(length)?).map_err(|_| "its worker is no text")?.to_owned();
    let mut lost = Vec::new();
    for _ in 0..from.count()? {
        lost.push(LossCount { reason: from.reason()?, count: from.unsigned()? });
    }
    let mut notices = Vec::new();
    if schema > 2 {
        for _ in 0..from.count()? {
            notices.push(Notice::from_code(from.byte()?));
        }
    }
    Ok(FrameResult {
        schema,
        n,
        inc,
        position,
        media_time_us,
        captured_at_us,
        status,
        reason,
        source,
        track_epoch,
        detections: detected.iter().map(Detected::value).collect(),
        tracks,
        stages,
        worker,
        lost,
        notices,
    })
}

/// A box in steps: left, top, right, bottom.
type Edges = [i64; 4];

/// A detection in steps: tracks are written as differences from it.
#[derive(Clone, Copy, PartialEq)]
struct Detected {
    edges: Edges,
    score: u8,
    class_id: u16,
}

impl Detected {
    fn value(&self) -> Detection {
        Detection { xyxy: pixels(self.edges), confidence: score(self.score), class_id: self.class_id }
    }
}

fn pack_detection(out: &mut Writer, detection: &Detection) -> Option<Detected> {
    let detected = Detected {
        edges: edges(detection.xyxy)?,
        score: score_steps(detection.confidence)?,
        class_id: detection.class_id,
    };
    out.corners(detected.edges);
    out.byte(detected.score);
    out.unsigned(detected.class_id.into());
    Some(detected)
}

fn unpack_detection(from: &mut Reader<'_>) -> Read<Detected> {
    Ok(Detected { edges: from.corners()?, score: from.byte()?, class_id: from.number()? })
}

fn pack_track(
    out: &mut Writer,
    form: u8,
    track: &Track,
    last_id: &mut u32,
    detected: &[Detected],
) -> Option<()> {
    if track.state.code() > bits::STATE || (form == OLD_FORM && track.class_share.is_some()) {
        return None;
    }
    let edges = edges(track.xyxy)?;
    let score = score_steps(track.confidence)?;
    let matched = match track.detection {
        Some(index) => Some((index, detected.get(usize::from(index))?)),
        None => None,
    };
    let has_own_score = matched.is_none_or(|(_, d)| (d.score, d.class_id) != (score, track.class_id));
    out.signed(i64::from(track.track_id) - i64::from(*last_id));
    *last_id = track.track_id;
    out.byte(
        track.state.code()
            | if matched.is_some() { bits::MATCHED } else { 0 }
            | if has_own_score { bits::OWN_SCORE } else { 0 }
            | if track.ground_m.is_some() { bits::GROUND } else { 0 }
            | if track.speed.is_some() { bits::SPEED } else { 0 }
            | if track.in_region { bits::IN_REGION } else { 0 }
            | if track.class_share.is_some() { bits::CLASS_SHARE } else { 0 },
    );
    match matched {
        Some((index, detection)) => {
            out.unsigned(index.into());
            edges.iter().zip(detection.edges).for_each(|(edge, of)| out.signed(edge - of));
        }
        None => out.corners(edges),
    }
    if has_own_score {
        out.byte(score);
        out.unsigned(track.class_id.into());
    }
    if let Some(share) = track.class_share {
        out.byte(score_steps(share)?);
    }
    if let Some(ground) = track.ground_m {
        for metres in ground {
            out.signed(steps(metres, PER_METRE)?);
        }
    }
    if let Some(speed) = &track.speed {
        for mps in [speed.speed_mps, speed.std_error_mps] {
            out.unsigned(steps(mps, PER_METRE)?.try_into().ok()?);
        }
        // A direction: whole turns are taken off.
        out.byte(steps(speed.heading_rad, PER_RADIAN)?.rem_euclid(256).try_into().ok()?);
    }
    Some(())
}

fn unpack_track(from: &mut Reader<'_>, schema: u16, last_id: &mut u32, detected: &[Detected]) -> Read<Track> {
    let id = i64::from(*last_id).checked_add(from.signed()?).and_then(|id| u32::try_from(id).ok());
    *last_id = id.ok_or("a track id is out of range")?;
    let first = from.byte()?;
    let has = |bit: u8| first & bit != 0;
    let state = TrackState::from_code(first & bits::STATE);
    let (detection, edges, mut like) = if has(bits::MATCHED) {
        let index: u16 = from.number()?;
        let matched = detected.get(usize::from(index)).ok_or("a track is matched with no detection")?;
        (Some(index), from.edges(matched.edges)?, Some((matched.score, matched.class_id)))
    } else {
        (None, from.corners()?, None)
    };
    if has(bits::OWN_SCORE) {
        like = Some((from.byte()?, from.number()?));
    }
    let (confidence, class_id) = like.ok_or("a track has no score")?;
    let class_share = match schema > 2 && has(bits::CLASS_SHARE) {
        true => Some(score(from.byte()?)),
        false => None,
    };
    let ground_m = match has(bits::GROUND) {
        true => Some([metres(from.step(0)?), metres(from.step(0)?)]),
        false => None,
    };
    let speed = match has(bits::SPEED) {
        true => Some(Speed {
            speed_mps: metres(from.positive_step()?),
            std_error_mps: metres(from.positive_step()?),
            heading_rad: value(i64::from(from.byte()?.cast_signed()), PER_RADIAN),
        }),
        false => None,
    };
    Ok(Track {
        track_id: *last_id,
        state,
        xyxy: pixels(edges),
        confidence: score(confidence),
        class_id,
        detection,
        ground_m,
        speed,
        in_region: has(bits::IN_REGION),
        class_share,
    })
}

/// A set of bits says which stages there are; their times follow in the order of the stages.
fn pack_stages(out: &mut Writer, stages: &[StageTime]) -> Option<()> {
    let mut sorted = stages.to_vec();
    sorted.sort_by_key(|time| time.stage);
    let has_no_bit = |time: &StageTime| time.stage.code() >= MOST_STAGES;
    if sorted.iter().any(has_no_bit) || sorted.windows(2).any(|pair| pair[0].stage == pair[1].stage) {
        return None;
    }
    out.unsigned(sorted.iter().fold(0, |set, time| set | (1 << time.stage.code())));
    sorted.iter().for_each(|time| out.unsigned(time.us.into()));
    Some(())
}

fn unpack_stages(from: &mut Reader<'_>) -> Read<Vec<StageTime>> {
    let set = from.unsigned()?;
    let codes = (0..64).filter(|code| (set >> code) & 1 == 1);
    codes.map(|code| Ok(StageTime { stage: Stage::from_code(code), us: from.number()? })).collect()
}

/// The frame's capture as its id has it, in microseconds.
fn id_us(id: FrameId) -> i64 {
    id.ms.cast_signed().wrapping_mul(1000)
}

/// A value in whole steps, the nearest; none where it is not finite or too large.
fn steps(value: f32, per_unit: f64) -> Option<i64> {
    let steps = (f64::from(value) * per_unit).round();
    (steps.abs() <= MOST_STEPS as f64).then_some(steps as i64)
}

fn value(steps: i64, per_unit: f64) -> f32 {
    (steps as f64 / per_unit) as f32
}

fn edges(xyxy: [f32; 4]) -> Option<Edges> {
    let [left, top, right, bottom] = xyxy.map(|edge| steps(edge, PER_PIXEL));
    Some([left?, top?, right?, bottom?])
}

fn pixels(edges: Edges) -> [f32; 4] {
    edges.map(|edge| value(edge, PER_PIXEL))
}

fn score_steps(score: f32) -> Option<u8> {
    steps(score, PER_SCORE)?.try_into().ok()
}

fn score(steps: u8) -> f32 {
    value(steps.into(), PER_SCORE)
}

fn metres(steps: i64) -> f32 {
    value(steps, PER_METRE)
}

/// Integers of variable length: seven bits a byte, the lowest first, the highest bit set on all but the last.
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// 0, -1, 1, -2, 2 … as 0, 1, 2, 3, 4 …
    fn signed(&mut self, value: i64) {
        self.unsigned(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn count(&mut self, count: usize) {
        self.unsigned(count as u64);
    }

    /// Left, top, width, height.
    fn corners(&mut self, [left, top, right, bottom]: Edges) {
        [left, top, right - left, bottom - top].into_iter().for_each(|steps| self.signed(steps));
    }
}

/// What is read, or what is wrong with it.
type Read<T> = Result<T, &'static str>;

const CUT_SHORT: &str = "it is cut short";
const OUT_OF_RANGE: &str = "a number is out of range";

/// Bytes that are still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Read<u8> {
        let (&byte, rest) = self.0.split_first().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(byte)
    }

    fn bytes(&mut self, length: usize) -> Read<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn unsigned(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (bits << shift) >> shift != bits {
                return Err(OUT_OF_RANGE);
            }
            value |= bits << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    fn signed(&mut self) -> Read<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Read<T> {
        self.unsigned()?.try_into().map_err(|_| OUT_OF_RANGE)
    }

    /// How many follow: each takes a byte at least.
    fn count(&mut self) -> Read<usize> {
        let count = self.number()?;
        if count <= self.0.len() { Ok(count) } else { Err(CUT_SHORT) }
    }

    /// Steps, written as their difference from others.
    fn step(&mut self, from: i64) -> Read<i64> {
        let steps = from.saturating_add(self.signed()?);
        if (-MOST_STEPS..=MOST_STEPS).contains(&steps) { Ok(steps) } else { Err(OUT_OF_RANGE) }
    }

    fn positive_step(&mut self) -> Read<i64> {
        let steps: i64 = self.number()?;
        if steps <= MOST_STEPS { Ok(steps) } else { Err(OUT_OF_RANGE) }
    }

    fn edges(&mut self, from: Edges) -> Read<Edges> {
        let [left, top, right, bottom] = from;
        Ok([self.step(left)?, self.step(top)?, self.step(right)?, self.step(bottom)?])
    }

    fn corners(&mut self) -> Read<Edges> {
        let (left, top) = (self.step(0)?, self.step(0)?);
        Ok([left, top, self.step(left)?, self.step(top)?])
    }

    fn reason(&mut self) -> Read<LossReason> {
        Ok(LossReason::from_code(self.byte()?))
    }
}
