//! `POST /ingest/{stream}`: steps made elsewhere, one or a batch, as JSON or MessagePack.
//!
//! Whoever posts is a simulator or a robot with something better to do: it is answered within a short time, whatever
//! Redis does.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use peregrine_daemon::{Metric, metrics::Counter};
use peregrine_proto::{Step, StreamId, codec::Checked, encode};
use peregrine_streams::{NewStep, Redis, STREAM_KEPT, wall_clock_us};
use rmp_serde::decode::{Error as MessagePackError, ReadReader};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{error::Category, json};
use tokio::sync::Semaphore;
use tracing::debug;

use crate::{http::App, rest::Refused};

/// Largest body, bytes.
const MOST_BYTES: usize = 2 << 20;
/// Most steps in a batch: more than stay in a stream would be of no use.
const MOST_STEPS: usize = peregrine_streams::STEPS_KEPT;
/// Streams at once: each takes memory in Redis for an hour.
const MOST_STREAMS: usize = 64;
/// Requests at once. What they bring is in memory.
const MOST_REQUESTS: usize = 128;
/// A body that takes longer to arrive is cut off.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Without an answer from Redis within this, the caller goes on without us.
const SOON: Duration = Duration::from_millis(500);
/// A larger body is read on a thread of its own: it would hold up others.
const LARGE: usize = 64 * 1024;
/// How often it is noted that steps of a stream come.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// What is remembered between requests.
#[derive(Debug)]
pub(crate) struct Ingest {
    /// When it was last noted that steps of a stream come: those that were admitted.
    noted: Mutex<HashMap<StreamId, Instant>>,
    places: Semaphore,
    taken: Counter,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            noted: Mutex::default(),
            places: Semaphore::new(MOST_REQUESTS),
            taken: Metric::StepsIngested.counter([]),
        }
    }
}

/// `POST /ingest/{stream}`
pub(crate) async fn take_steps(
    State(app): State<Arc<App>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let stream = StreamId::new(&stream).map_err(|_| {
        let help = "use 1 to 64 letters, digits, `-`, `_` or `.`, starting with a letter or digit";
        Refused::new(StatusCode::BAD_REQUEST, format!("`{stream}` is no name of a stream: {help}"))
    })?;
    let format = Format::of(&headers)?;
    let _place = app.ingest.places.try_acquire().map_err(|_| {
        Refused::unavailable(format!(
            "{MOST_REQUESTS} requests are being taken already: try again in a moment"
        ))
    })?;
    let body = whole(body).await?;
    let schema = app.redis.schema();
    let steps = if body.len() > LARGE {
        let read = tokio::task::spawn_blocking(move || read_steps(format, &body, schema)).await;
        read.unwrap_or_else(|_| Err(Refused::unavailable("the gateway is shutting down")))?
    } else {
        read_steps(format, &body, schema)?
    };
    let redis = &app.redis;
    if redis.is_away_for(&stream) {
        return Err(away());
    }
    let kept = async {
        app.ingest.admit(redis, &stream).await?;
        Ok::<_, Refused>(redis.put_steps(&stream, &steps).await?)
    };
    let last_id = tokio::time::timeout(SOON, kept).await.map_err(|_| away())??;
    app.ingest.taken.inc_by(steps.len() as f64);
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": steps.len(), "last_id": last_id }))).into_response())
}

/// Any other method.
pub(crate) async fn post_only() -> Refused {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes POST only: see gateway/README.md")
}

fn away() -> Refused {
    Refused::unavailable("Redis does not answer, so the steps are not kept: go on, and send later ones")
}

/// Reads a body, but neither too much nor for ever.
async fn whole(body: Body) -> Result<Bytes, Refused> {
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, MOST_BYTES)).await;
    let read = read.map_err(|_| {
        let text = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
        Refused::new(StatusCode::REQUEST_TIMEOUT, text)
    })?;
    read.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit"));
        if too_large {
            let text = format!("the body is larger than {} MiB: send smaller batches", MOST_BYTES >> 20);
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        } else {
            Refused::new(StatusCode::BAD_REQUEST, "the body ended early: send as much as content-length says")
        }
    })
}

impl Ingest {
    /// Lets a stream in, where it is one or may become one, and notes now and then that its steps come.
    async fn admit(&self, redis: &Redis, stream: &StreamId) -> Result<(), Refused> {
        let noted = self.noted().get(stream).copied();
        match noted {
            Some(at) if at.elapsed() < NOTE_EVERY => return Ok(()),
            // The caller need not wait for it.
            Some(_) => drop(tokio::spawn({
                let (redis, stream) = (redis.clone(), stream.clone());
                async move {
                    if let Err(error) = redis.note_stream(&stream).await {
                        debug!(%stream, %error, "it was not noted that steps come");
                    }
                }
            })),
            None => {
                is_free(redis, stream).await?;
                redis.note_stream(stream).await?;
            }
        }
        let mut noted = self.noted();
        noted.retain(|_, at| at.elapsed() < STREAM_KEPT);
        noted.insert(stream.clone(), Instant::now());
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<StreamId, Instant>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn is_free(redis: &Redis, stream: &StreamId) -> Result<(), Refused> {
    if redis.camera(stream).await?.is_some() {
        let text = format!("`{stream}` is a camera: choose another name for the stream");
        return Err(Refused::new(StatusCode::CONFLICT, text));
    }
    let known = redis.streams().await?;
    if known.len() >= MOST_STREAMS && known.iter().all(|known| known.stream != *stream) {
        let text = format!(
            "{MOST_STREAMS} streams exist already: use one of them; each is forgotten an hour after its last step"
        );
        return Err(Refused::new(StatusCode::CONFLICT, text));
    }
    Ok(())
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    MessagePack,
}

impl Format {
    /// Other pages cannot send these types without asking first, which is never granted.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let named = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Ok(Self::MessagePack)
            }
            _ => Err(Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "set content-type to application/json or application/msgpack",
            )),
        }
    }
}

/// Steps as they go into their stream: checked, the map apart, results in this schema version at the newest.
pub(crate) fn read_steps(format: Format, body: &[u8], schema: u16) -> Result<Vec<NewStep>, Refused> {
    let batch = match format {
        Format::Json => read_json(body)?,
        Format::MessagePack => read_message_pack(body)?,
    };
    let (steps, alone) = match batch {
        Batch::One(step) => (vec![*step], true),
        Batch::Many(steps) => (steps, false),
    };
    if steps.is_empty() {
        return Err(unprocessable("the batch is empty: send at least one step"));
    }
    let received_at_us = wall_clock_us();
    let prepare = |(at, mut step): (usize, Step)| {
        step.check().map_err(|why| unprocessable(if alone { why } else { format!("[{at}].{why}") }))?;
        if step.wall_time_us == 0 {
            step.wall_time_us = received_at_us;
        }
        step.result = step.result.map(|result| match result.schema > schema {
            true => result.for_schema(schema),
            false => result,
        });
        let map = step.map.take().map(|map| encode(&map));
        Ok(NewStep { step: encode(&step), map })
    };
    steps.into_iter().enumerate().map(prepare).collect()
}

fn unprocessable(why: impl Into<String>) -> Refused {
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

/// Bytes that are no JSON are another mistake than JSON that is no step.
fn read_json(body: &[u8]) -> Result<Batch, Refused> {
    // Keeping account of the place takes as long again as reading: it is done for a mistake only.
    if let Ok(batch) = serde_json::from_slice(body) {
        return Ok(batch);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader);
    let refused = |error: serde_json::Error, at: String| match error.classify() {
        Category::Data => unprocessable(format!("{at}{error}")),
        _ => Refused::new(StatusCode::BAD_REQUEST, format!("not JSON: {at}{error}")),
    };
    let batch = read.map_err(|error| {
        let at = place(error.path());
        refused(error.into_inner(), at)
    })?;
    reader.end().map_err(|error| refused(error, String::new()))?;
    Ok(batch)
}

fn read_message_pack(body: &[u8]) -> Result<Batch, Refused> {
    let mut rest = body;
    let read = Batch::deserialize(&mut shallow(&mut rest));
    // As with JSON.
    let read = read.or_else(|_| {
        rest = body;
        serde_path_to_error::deserialize(&mut shallow(&mut rest))
    });
    let batch = read.map_err(|error| {
        let at = place(error.path());
        match error.into_inner() {
            error @ (MessagePackError::TypeMismatch(_)
            | MessagePackError::OutOfRange
            | MessagePackError::LengthMismatch(_)
            | MessagePackError::Syntax(_)
            | MessagePackError::Uncategorized(_)) => unprocessable(format!("{at}{error}")),
            error => Refused::new(StatusCode::BAD_REQUEST, format!("not MessagePack: {at}{error}")),
        }
    })?;
    if rest.is_empty() {
        return Ok(batch);
    }
    let text = format!("{} bytes follow the steps: send a list of them instead", rest.len());
    Err(Refused::new(StatusCode::BAD_REQUEST, text))
}

/// A reader that goes no deeper than a step does.
fn shallow<R: io::Read>(body: R) -> rmp_serde::Deserializer<ReadReader<R>> {
    let mut reader = rmp_serde::Deserializer::new(body);
    reader.set_max_depth(16);
    reader
}

/// Where in a body something is, for the front of a sentence.
fn place(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_some() { format!("{path}: ") } else { String::new() }
}

/// A step, or a list of them.
enum Batch {
    One(Box<Step>),
    Many(Vec<Step>),
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BatchVisitor)
    }
}

struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step, or a list of steps")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Batch, A::Error> {
        Step::deserialize(MapAccessDeserializer::new(map)).map(|step| Batch::One(Box::new(step)))
    }

    /// Counts while it reads: a step can be much larger in memory than in the body.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Batch, A::Error> {
        let mut steps = Vec::new();
        while let Some(step) = list.next_element()? {
            if steps.len() == MOST_STEPS {
                return Err(A::Error::custom(format!(
                    "a batch has at most {MOST_STEPS} steps: send several"
                )));
            }
            steps.push(step);
        }
        Ok(Batch::Many(steps))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use peregrine_proto::SCHEMA;

    use super::*;

    const STEP: &str = r#"{"step": 1, "sim_time_us": 20000, "ego": {"x": 1, "y": 2.5, "heading": 0, "speed_mps": 3, "size": [4, 2]}}"#;

    fn refusal(format: Format, body: &[u8]) -> (u16, String) {
        let refused = read_steps(format, body, SCHEMA).expect_err("taken");
        (refused.status.as_u16(), refused.detail)
    }

    fn message_pack(json: &str) -> Vec<u8> {
        rmp_serde::to_vec_named(&serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap()
    }

    #[test]
    fn step_is_read_differently_from_json_and_message_pack() {
        let decode = |taken: &NewStep| peregrine_proto::decode::<Step>(&taken.step).unwrap();
        for body in [STEP.to_owned(), format!("[{STEP}, {STEP}]")] {
            let json = read_steps(Format::Json, body.as_bytes(), SCHEMA).unwrap();
            let packed = read_steps(Format::MessagePack, &message_pack(&body), SCHEMA).unwrap();
            assert_eq!(json.len(), packed.len());
            let [mut one, mut other] = [&json[0], &packed[0]].map(decode);
            assert!(one.wall_time_us > 0, "the gateway's own clock");
            (one.wall_time_us, other.wall_time_us) = (0, 0);
            assert_eq!(one, other);
            assert_eq!(one.ego.unwrap().y, 2.5);
        }
    }

    #[test]
    fn map_stays_in_its_step() {
        let map = r#"{"lines": [{"kind": "edge", "points": [[0, 1], [2, 3]]}]}"#;
        let body = format!(r#"{{"step": 1, "sim_time_us": 0, "map": {map}}}"#);
        let taken = read_steps(Format::Json, body.as_bytes(), SCHEMA).unwrap().remove(0);
        assert_eq!(peregrine_proto::decode::<Step>(&taken.step).unwrap().map, None);
        assert!(taken.map.is_some_and(|map| map.len() > 30));
    }

    #[test]
    fn refusal_does_not_say_what_is_wrong() {
        let nan = STEP.replace("2.5", "NaN");
        let batch = format!("[{STEP}, {}]", STEP.replace("2.5", "1e9"));
        for (body, status, words) in [
            ("", 400, "not JSON"),
            ("{", 400, "not JSON"),
            (nan.as_str(), 400, "ego.y"),
            ("[]", 422, "at least one"),
            ("7", 422, "a step, or a list of steps"),
            (r#"{"step": 1}"#, 422, "sim_time_us"),
            (r#"{"step": 1, "sim_time_us": 0, "speed": 3}"#, 422, "unknown field `speed`"),
            (r#"{"step": 1, "sim_time_us": 0, "objects": [{"id": "x"}]}"#, 422, "objects[0].id"),
            (batch.as_str(), 422, "[1].ego.y"),
            (&format!("{STEP} {STEP}"), 400, "trailing"),
            (&"[".repeat(100_000), 422, "[0]"),
        ] {
            let found = refusal(Format::Json, body.as_bytes());
            assert!(found.0 == status && found.1.contains(words), "{body:.80}: {found:?}");
        }
        for (body, status, words) in [
            (vec![], 400, "not MessagePack"),
            (vec![0x81], 400, "not MessagePack"),
            (vec![0x91; 100_000], 422, "[0]"),
            (vec![0xdd, 0xff, 0xff, 0xff, 0xff], 400, "not MessagePack"),
            (message_pack(r#"{"step": -1, "sim_time_us": 0}"#), 422, "step"),
            (message_pack(r#"{"step": 1, "sim_time_us": 0, "ego": {"x": "here"}}"#), 422, "ego.x"),
            ([message_pack(STEP), message_pack(STEP)].concat(), 400, "bytes follow"),
        ] {
            let found = refusal(Format::MessagePack, &body);
            assert!(found.0 == status && found.1.contains(words), "{body:.20?}: {found:?}");
        }
    }

    #[test]
    fn batch_without_end_is_read_to_its_end() {
        let many = format!("[{}]", vec!["[1, 2]"; MOST_STEPS + 1].join(","));
        assert!(refusal(Format::Json, many.as_bytes()).1.contains("at most 1000 steps"));
    }

    #[test]
    fn page_may_post_without_asking_first() {
        let of = |kind: &'static str| {
            Format::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]))
        };
        assert_eq!(of("application/json; charset=utf-8").unwrap(), Format::Json);
        assert_eq!(of("Application/MsgPack").unwrap(), Format::MessagePack);
        for other in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            assert!(of(other).is_err(), "{other}");
        }
        assert!(Format::of(&HeaderMap::new()).is_err());
    }
}
