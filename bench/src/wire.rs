//! What a result costs on its way to a client, in bytes and CPU time: in each encoding that there is, and in some that
//! there could be.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, ensure};
use peregrine_proto::{
    CameraId, FrameId, FrameResult, ResultMessage, ServerMessage, Size, Track, compact, decode, encode,
};
use serde::Deserialize;
use zstd::bulk::{Compressor, Decompressor};

use crate::Report;

/// Measures the messages that bring results to a client: bytes, and CPU time to write and to read one. Dictionaries are made
/// of the first half of the results, everything is measured on the second.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Results as `./dev demo --headless --seconds 113 --results FILE` writes them, a line of JSON each.
    results: PathBuf,
}

/// What the default may need of what plain MessagePack needs.
const MOST_OF_PLAIN: f64 = 0.40;
const LEVEL: i32 = 3;
const DICTIONARY_BYTES: usize = 8 * 1024;
/// A message is never larger than this.
const MOST_BYTES: usize = 1 << 20;
/// All messages are written and read so often; the fastest time counts, when nothing else was in the way.
const ROUNDS: usize = 30;

/// A way to write messages.
struct Encoding {
    name: &'static str,
    write: fn(&ServerMessage) -> Result<Vec<u8>>,
    read: fn(&[u8]) -> Result<FrameResult>,
}

const ENCODINGS: [Encoding; 3] = [
    Encoding {
        name: "json",
        write: |m| Ok(serde_json::to_vec(m)?),
        read: |b| read(serde_json::from_slice(b)?),
    },
    Encoding { name: "msgpack", write: |m| Ok(encode(m)), read: |b| read(decode(b)?) },
    Encoding { name: "compact", write: write_compact, read: |b| read(decode(b)?) },
];

fn write_compact(message: &ServerMessage) -> Result<Vec<u8>> {
    let message = result_of(message).context("only results are measured")?;
    Ok(encode(&ServerMessage::Result(message.to_compact())))
}

fn read(message: ServerMessage) -> Result<FrameResult> {
    Ok(result_of(&message).context("only results are measured")?.frame_result()?)
}

fn result_of(message: &ServerMessage) -> Option<&ResultMessage> {
    match message {
        ServerMessage::Result(result) => Some(result),
        _ => None,
    }
}

/// What one encoding costs, per message.
struct Cost {
    name: String,
    bytes: f64,
    /// Microseconds to write and to read one; none where only the bytes are estimated.
    us: Option<[f64; 2]>,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let results = load(args)?;
    ensure!(results.len() >= 100, "{} results are too few to say anything: use 100 or more", results.len());
    let (earlier, measured) = results.split_at(results.len() / 2);
    let rate = rate(measured)?;
    let (earlier, messages) = (messages(earlier)?, messages(measured)?);
    let mut costs = Vec::new();
    for encoding in &ENCODINGS {
        let samples = earlier.iter().map(encoding.write).collect::<Result<Vec<_>>>()?;
        let dictionary = zstd::dict::from_samples(&samples, DICTIONARY_BYTES)
            .with_context(|| format!("no dictionary can be made of {} messages", samples.len()))?;
        costs.push(plain(encoding, &messages)?);
        costs.push(compressed(encoding, "zstd", &messages, &[])?);
        costs.push(compressed(encoding, "zstd, shared dictionary", &messages, &dictionary)?);
    }
    let plain = costs.iter().find(|cost| cost.name == "msgpack").map_or(f64::NAN, |cost| cost.bytes);
    let default = costs.iter().find(|cost| cost.name == "compact").map_or(f64::NAN, |cost| cost.bytes);
    costs.push(Cost {
        name: "compact, delta to a keyframe a second (at least)".into(),
        bytes: default - saved_by_delta(measured, rate),
        us: None,
    });
    let mut text = format!(
        "{} results of {} at {rate:.2} per second, {:.1} detections and {:.1} tracks each\n\n\
         encoding                                           bytes a result   bytes/s a client   of msgpack   write us   read us\n",
        measured.len(),
        args.results.display(),
        mean(measured, |(_, result)| result.detections.len()),
        mean(measured, |(_, result)| result.tracks.len()),
    );
    for Cost { name, bytes, us } in &costs {
        let times = us.map(|[write, read]| format!(" {write:10.1} {read:9.1}")).unwrap_or_default();
        text += &format!(
            "{name:<50} {bytes:14.1} {:18.0} {:11.1}%{times}\n",
            bytes * rate,
            100.0 * bytes / plain
        );
    }
    let mut broken = Vec::new();
    if default > MOST_OF_PLAIN * plain {
        broken.push(format!(
            "the default encoding needs {:.1}% of the bytes of plain MessagePack, more than {:.0}%",
            100.0 * default / plain,
            100.0 * MOST_OF_PLAIN
        ));
    }
    Ok(Report { text, broken })
}

/// One line of a results file.
#[derive(Deserialize)]
struct Line {
    id: FrameId,
    #[serde(flatten)]
    result: serde_json::Map<String, serde_json::Value>,
}

fn load(args: &Args) -> Result<Vec<(FrameId, FrameResult)>> {
    let file = args.results.display();
    let text = fs::read_to_string(&args.results).with_context(|| format!("cannot read {file}"))?;
    let parse = |line: &str| -> Result<_> {
        let Line { id, mut result } = serde_json::from_str(line)?;
        result.remove("camera");
        Ok((id, serde_json::from_value(result.into())?))
    };
    text.lines()
        .map(|line| parse(line).with_context(|| format!("{file} has a line that is no result: {line}")))
        .collect()
}

fn rate(results: &[(FrameId, FrameResult)]) -> Result<f64> {
    let (Some((first, _)), Some((last, _))) = (results.first(), results.last()) else {
        anyhow::bail!("there are no results")
    };
    let seconds = last.ms.saturating_sub(first.ms) as f64 / 1e3;
    ensure!(seconds > 0.0, "the results are of one moment");
    Ok((results.len() - 1) as f64 / seconds)
}

/// What the gateway makes of results for clients that want them as they stand in the stream.
fn messages(results: &[(FrameId, FrameResult)]) -> Result<Vec<ServerMessage>> {
    let camera = CameraId::new("demo")?;
    let message = |(id, result): &(FrameId, FrameResult)| {
        let times = result.stages.iter().map(|time| i64::from(time.us)).sum::<i64>();
        ServerMessage::Result(ResultMessage {
            camera: camera.clone(),
            id: *id,
            seen_at_us: result.captured_at_us + times,
            result: encode(result).into(),
        })
    };
    Ok(results.iter().map(message).collect())
}

fn plain(encoding: &Encoding, messages: &[ServerMessage]) -> Result<Cost> {
    measure(encoding.name.into(), messages, |m| (encoding.write)(m), |b| (encoding.read)(b))
}

fn compressed(encoding: &Encoding, how: &str, messages: &[ServerMessage], dictionary: &[u8]) -> Result<Cost> {
    let mut compressor = Compressor::with_dictionary(LEVEL, dictionary)?;
    let mut decompressor = Decompressor::with_dictionary(dictionary)?;
    measure(
        format!("{}, {how}", encoding.name),
        messages,
        |message| Ok(compressor.compress(&(encoding.write)(message)?)?),
        |bytes| (encoding.read)(&decompressor.decompress(bytes, MOST_BYTES)?),
    )
}

fn measure(
    name: String,
    messages: &[ServerMessage],
    mut write: impl FnMut(&ServerMessage) -> Result<Vec<u8>>,
    mut read: impl FnMut(&[u8]) -> Result<FrameResult>,
) -> Result<Cost> {
    let mut written = Vec::new();
    let write_us = fastest(messages.len(), || {
        written = messages.iter().map(&mut write).collect::<Result<_>>()?;
        Ok(())
    })?;
    let read_us = fastest(messages.len(), || {
        written.iter().try_for_each(|bytes| read(bytes).map(|result| drop(std::hint::black_box(result))))
    })?;
    Ok(Cost { name, bytes: mean(&written, Vec::len), us: Some([write_us, read_us]) })
}

/// Microseconds a message, at best.
fn fastest(messages: usize, mut all: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        all()?;
        least = least.min(began.elapsed().as_secs_f64() * 1e6 / messages as f64);
    }
    Ok(least)
}

fn mean<T>(of: &[T], count: impl Fn(&T) -> usize) -> f64 {
    of.iter().map(count).sum::<usize>() as f64 / of.len() as f64
}

/// Bytes a result that a delta encoding could take off the compact form: one whole result a second, and of the others what
/// never changes left out and each number written as its difference from the keyframe's, wherever that is shorter.
fn saved_by_delta(results: &[(FrameId, FrameResult)], rate: f64) -> f64 {
    let every = (rate.round() as usize).max(1);
    let seconds = results.chunks(every);
    let saved: usize = seconds
        .filter_map(|second| second.split_first())
        .map(|((_, key), rest)| rest.iter().map(|(id, result)| saved_of_one(*id, key, result)).sum::<usize>())
        .sum();
    saved as f64 / results.len() as f64
}

fn saved_of_one(id: FrameId, key: &FrameResult, result: &FrameResult) -> usize {
    let FrameResult { source, track_epoch, worker, lost, .. } = result;
    let unchanged =
        (source, track_epoch, worker, lost) == (&key.source, &key.track_epoch, &key.worker, &key.lost);
    let nothing = Size { width: 0, height: 0 };
    let without = FrameResult { source: nothing, worker: String::new(), lost: Vec::new(), ..result.clone() };
    let whole = compact::encode(id, result).len();
    let head = if unchanged { whole - compact::encode(id, &without).len() } else { 0 };
    let before: BTreeMap<u32, &Track> = key.tracks.iter().map(|track| (track.track_id, track)).collect();
    let tracks = result.tracks.iter().filter_map(|track| Some((*before.get(&track.track_id)?, track)));
    head + tracks.map(|(before, track)| saved_of_track(key, before, result, track)).sum::<usize>()
}

/// The box of the detection, the place on the ground and the speed: all else of a track is a byte each already.
fn saved_of_track(key: &FrameResult, before: &Track, result: &FrameResult, track: &Track) -> usize {
    let box_of = |result: &FrameResult, track: &Track| {
        let detection = result.detections.get(usize::from(track.detection?))?;
        let [left, top, right, bottom] = detection.xyxy.map(|edge| f64::from(edge) * 8.0);
        Some([left, top, right - left, bottom - top])
    };
    let saved = |before: f64, now: f64| varint(now).saturating_sub(varint(now - before));
    let mut total = 0;
    if let (Some(before), Some(now)) = (box_of(key, before), box_of(result, track)) {
        total += before.into_iter().zip(now).map(|(before, now)| saved(before, now)).sum::<usize>();
    }
    if let (Some(before), Some(now)) = (before.ground_m, track.ground_m) {
        total += (0..2).map(|i| saved(f64::from(before[i]) * 1e2, f64::from(now[i]) * 1e2)).sum::<usize>();
    }
    if let (Some(before), Some(now)) = (before.speed, track.speed) {
        total += saved(f64::from(before.speed_mps) * 1e2, f64::from(now.speed_mps) * 1e2);
    }
    total
}

/// Bytes of a signed integer of variable length.
fn varint(value: f64) -> usize {
    let bits = 65 - (value.round().abs() as u64).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}
