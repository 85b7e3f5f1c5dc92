//! Every decoder that sees bytes of strangers.

use std::{cell::RefCell, sync::LazyLock};

use peregrine_gateway::foreign;
use peregrine_media::{
    AllowConfig, AllowList, Jpeg, JpegDecoder,
    synthetic::{Scene, SceneConfig},
};
use peregrine_processor::camera_analysis::CameraAnalysis;
use peregrine_proto::{
    CameraConfig, DetectAnswer, DetectRequest, Detection, FrameHeader, FrameId, FrameResult, PictureShape,
    ServerMessage, SourceUri, Step, StepMap, brief, codec::Checked, compact, decode, encode, mask,
    without_values,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;

use crate::addresses;

use super::make::{Form, value, values};

/// A decoder and what it is given.
pub(super) struct Decoder {
    pub(super) name: &'static str,
    /// Its share of the inputs.
    pub(super) weight: u64,
    /// Makes an input as it should be, or nearly.
    pub(super) make: fn(&mut StdRng) -> Vec<u8>,
    /// Reads it; an error is what the stranger is told.
    pub(super) read: fn(&[u8]) -> Result<(), String>,
}

fn of(
    name: &'static str,
    weight: u64,
    make: fn(&mut StdRng) -> Vec<u8>,
    read: fn(&[u8]) -> Result<(), String>,
) -> Decoder {
    Decoder { name, weight, make, read }
}

/// All of them; the one that uses a library in C comes last.
pub(super) fn decoders() -> Vec<Decoder> {
    vec![
        of("client message", 16, |r| value(r, "ClientMessage", Form::Positional), foreign::binary_message),
        of("client message (JSON)", 16, |r| value(r, "ClientMessage", Form::Json), foreign::text_message),
        of("posted steps", 12, |r| steps(r, Form::Named), foreign::steps_as_message_pack),
        of("posted steps (JSON)", 12, |r| steps(r, Form::Json), foreign::steps_as_json),
        of("posted calibration", 4, |r| sample(r, &POINTS), foreign::calibration),
        of("request head", 8, |r| sample(r, &HEADS), foreign::request_head),
        of("camera configuration", 8, |r| sample(r, &CAMERAS), camera),
        of("text with credentials", 4, |r| sample(r, &ADDRESSES), credentials),
        of("address", 8, |r| r.random::<u64>().to_be_bytes().to_vec(), address),
        of("frame header", 8, |r| value(r, "FrameHeader", Form::Positional), header),
        of("frame result", 8, |r| value(r, "FrameResult", Form::Positional), wire::<FrameResult>),
        of("compact result", 16, compact_result, read_compact),
        of("server message", 8, |r| value(r, "ServerMessage", Form::Positional), server_message),
        of("step", 4, |r| value(r, "Step", Form::Positional), wire::<Step>),
        of("map of steps", 4, |r| value(r, "StepMap", Form::Positional), wire::<StepMap>),
        of("detection request", 4, |r| value(r, "DetectRequest", Form::Positional), wire::<DetectRequest>),
        of("detection answer", 4, |r| value(r, "DetectAnswer", Form::Positional), wire::<DetectAnswer>),
        of("checkpoint", 4, |r| sample(r, &CHECKPOINTS), checkpoint),
        of("JPEG", 1, |r| sample(r, &PICTURES), jpeg),
    ]
}

/// Whatever is read can be written, and read again.
fn wire<T: Checked + Serialize>(bytes: &[u8]) -> Result<(), String> {
    let value: T = decode(bytes).map_err(|error| error.to_string())?;
    assert!(decode::<T>(&encode(&value)).is_ok(), "what was read cannot be read again");
    Ok(())
}

fn header(bytes: &[u8]) -> Result<(), String> {
    wire::<FrameHeader>(bytes)?;
    let header: FrameHeader = decode(bytes).map_err(|error| error.to_string())?;
    assert!(header.data_len() < 1 << 30, "a frame of a gigabyte is taken");
    Ok(())
}

/// As clients read it: the result in it, too, and the same as JSON.
fn server_message(bytes: &[u8]) -> Result<(), String> {
    wire::<ServerMessage>(bytes)?;
    let message = decode::<ServerMessage>(bytes).map_err(|error| error.to_string())?;
    if let ServerMessage::Result(result) = &message {
        result.to_compact();
    }
    serde_json::to_vec(&message).map(drop).map_err(|error| error.to_string())
}

const ID: FrameId = FrameId { ms: 1_700_000_000_123, seq: 0 };

fn compact_result(random: &mut StdRng) -> Vec<u8> {
    let bytes = value(random, "FrameResult", Form::Positional);
    decode(&bytes).map(|result| compact::encode(ID, &result)).unwrap_or(bytes)
}

fn read_compact(bytes: &[u8]) -> Result<(), String> {
    let result = compact::decode(ID, bytes).map_err(|error| error.to_string())?;
    assert!(compact::decode(ID, &compact::encode(ID, &result)).is_ok(), "what was read cannot be read again");
    Ok(())
}

fn steps(random: &mut StdRng, form: Form) -> Vec<u8> {
    if random.random() { value(random, "Step", form) } else { values(random, "Step", form) }
}

/// One of some samples.
fn sample<T: AsRef<[u8]>>(random: &mut StdRng, samples: &LazyLock<Vec<T>>) -> Vec<u8> {
    samples[random.random_range(0..samples.len())].as_ref().to_vec()
}

static POINTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let point = |u: f64, v: f64| {
        format!(r#"{{"image": [{u}, {v}], "ground": [{}, {}]}}"#, u / 20.0 + v / 90.0, v / 15.0)
    };
    let points = |all: &[(f64, f64)]| {
        format!(
            r#"{{"points": [{}]}}"#,
            all.iter().map(|(u, v)| point(*u, *v)).collect::<Vec<_>>().join(", ")
        )
    };
    let square = [(100.5, 100.5), (600.5, 120.0), (620.0, 400.0), (80.0, 420.5)];
    vec![
        points(&square),
        points(&[&square[..], &[(300.0, 200.0), (310.0, 333.0)]].concat()),
        points(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]),
    ]
});

static HEADS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    vec![
        "/api/cameras/gate/results?from=1700000000000-0&to=1700000060000-0&limit=100\nhost: localhost:8080\n\
         authorization: Bearer a-token-of-some-length\ncontent-type: application/json; charset=utf-8\nif-none-match: W/\"0123456789ab\", \"x\"",
        "/ws?limit=7\nhost: 127.0.0.1\norigin: http://127.0.0.1\ncontent-type: application/msgpack\n\
         sec-websocket-protocol: peregrine.json, peregrine.bearer.a-token-of-some-length\nsec-websocket-protocol: chat",
        "http://[::1]:8080/%2e%2e/etc/passwd?from=%31-0&limit=%00\nhost: [::1]:8080\norigin: https://dash.example.org\ncontent-type: application/x-msgpack",
    ]
});

static CAMERAS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    vec![
        r#"{"id": "yard", "source": {"uri": "rtsp://user:password@camera.local/stream"}}"#,
        r#"{"id": "street", "name": "Street", "source": {"uri": "synthetic:road?w=768&h=432&fps=10&vehicles=3&seed=7", "every": 2, "max_frames": 5, "loop": true, "pace": "fast", "fps": 7.5},
            "analysis": {"size": {"width": 416, "height": 234}, "classes": ["person", "car"], "confidence": 0.4, "nms_iou": 0.5, "region": [[0, 0], [700.5, 0], [700, 400]],
              "track": {"high_threshold": 0.6, "low_threshold": 0.1, "track_activation_threshold": 0.7, "minimum_matching_threshold": 0.2, "lost_track_buffer_s": 1.5, "max_tracks": 64}},
            "calibration": {"points": [{"image": [150, 330], "ground": [-13.497, -4.257]}, {"image": [640, 330], "ground": [-9.496, -12.485]},
              {"image": [700, 520], "ground": [-15.882, -15.616]}, {"image": [60, 520], "ground": [-19.747, -8.511]}]}}"#,
        r#"{"id": "a", "source": {"uri": "images:clips/../x"}, "calibration": {"world_from_image": [[0.02, 0.001, -3], [0.0, 0.03, 1.5], [0.00001, 0.0002, 1]]}}"#,
    ]
});

static ADDRESSES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    vec![
        "cannot open rtsp://user:pa@ss/word@cam.local:554/stream?token=abc&x=1, nor https://cam/?pwd=x",
        "opencv:rtspsrc location=rtsp://cam/1 user-id=me user-pw=\"se cret\" ! decodebin ! appsink",
        "redis://:secret@[::1]:6379/0",
    ]
});

const CALIBRATED: &str = r#"{"id": "gate", "source": {"uri": "clip.mp4"}, "calibration": {"points": [
    {"image": [150, 330], "ground": [-13.497, -4.257]}, {"image": [640, 330], "ground": [-9.496, -12.485]},
    {"image": [700, 520], "ground": [-15.882, -15.616]}, {"image": [60, 520], "ground": [-19.747, -8.511]}]}}"#;
const SOURCE: PictureShape = PictureShape { width: 768, height: 576, pixel_aspect: 1.0 };

fn analysis() -> Option<CameraAnalysis> {
    let names = ["person", "bicycle", "car"].map(str::to_owned);
    CameraAnalysis::new(&serde_json::from_str(CALIBRATED).ok()?, &names).ok()
}

fn people(frame: i64) -> Vec<Detection> {
    let x = 300.0 + 3.0 * frame as f32;
    [(x, 0.9), (x + 90.0, 0.8)]
        .map(|(x, confidence)| Detection { xyxy: [x, 320.0, x + 30.0, 400.0], confidence, class_id: 0 })
        .into()
}

/// States after some frames.
static CHECKPOINTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let Some(mut analysis) = analysis() else { return Vec::new() };
    let mut after = |frame: i64| {
        analysis.update(frame * 142_857, false, SOURCE, &people(frame), |_| {});
        analysis.state()
    };
    (0..12).map(&mut after).collect()
});

/// A camera goes on from it for some frames.
fn checkpoint(bytes: &[u8]) -> Result<(), String> {
    let Some(mut analysis) = analysis() else { return Err("no analysis".into()) };
    analysis.restore(bytes).map_err(|error| error.to_string())?;
    for frame in 12..15 {
        analysis.update(frame * 142_857, false, SOURCE, &people(frame), |_| {});
    }
    Ok(())
}

/// As the gateway takes it, the producer opens it and the processor follows it.
fn camera(bytes: &[u8]) -> Result<(), String> {
    static ALLOWED: LazyLock<AllowList> = LazyLock::new(|| {
        let hosts = vec!["camera.local".to_owned(), "10.0.0.0/8".to_owned()];
        AllowList::new(AllowConfig { hosts, ..AllowConfig::default() })
    });
    let config: CameraConfig =
        serde_json::from_slice(bytes).map_err(|error| brief(mask(&error.to_string())))?;
    let names = ["person", "bicycle", "car"].map(str::to_owned);
    CameraAnalysis::new(&config, &names).map_err(|problems| brief(problems.join("; ")))?;
    let uri = &config.source.uri;
    if let Some(scene) = uri.to_string().strip_prefix("synthetic:") {
        SceneConfig::parse(scene).map_err(brief)?;
    }
    ALLOWED.check(uri).map_err(brief)
}

/// What is masked once has nothing left to be masked.
fn credentials(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let masked = mask(&text);
    if masked == text { Ok(()) } else { Err("there are credentials in it".into()) }
}

static NETWORK: LazyLock<AllowList> = LazyLock::new(|| {
    let hosts = vec!["127.0.0.1".to_owned(), "cam.example".to_owned()];
    AllowList::new(AllowConfig { hosts, ..AllowConfig::default() })
});

/// Any bytes are the seed of an address with a secret in it, and nothing that is made of it shows the secret.
fn address(bytes: &[u8]) -> Result<(), String> {
    let seed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let text = addresses::address(&mut StdRng::seed_from_u64(seed));
    let least = serde_json::json!({ "id": "gate", "source": { "uri": text } }).to_string();
    let config: CameraConfig = serde_json::from_str(&least).map_err(|error| brief(error.to_string()))?;
    let uri = config.source.uri.clone();
    let masked = uri.to_string();
    assert_eq!(SourceUri::from(masked.as_str()).to_string(), masked, "masked again, it is another");
    assert!(uri.fits(&masked), "{masked} is not its masked form");
    assert!(
        SourceUri::from(masked.as_str()).keeping(Some(&uri)) == Ok(uri.clone()),
        "{masked} does not keep what is hidden"
    );
    let mut edited = SourceUri::from(format!("{masked}&channel=2"));
    if let Ok(kept) = edited.keeping(Some(&uri)) {
        assert!(kept.fits("***&channel=2"), "an edit is lost: {kept}");
    }
    edited = masked.replacen("127.0.0.1", "127.0.0.9", 1).into();
    assert!(
        edited.to_string() == masked || edited.keeping(Some(&uri)).is_err(),
        "{edited} keeps the credentials"
    );
    let opened = NETWORK.check(&uri).map_err(|error| error.to_string());
    let refused = serde_json::from_value::<CameraConfig>(serde_json::json!({ "id": "gate", "source": text }));
    for said in [
        masked,
        format!("{uri:?} {config:?} {:#?}", config.source),
        serde_json::to_string(&config).map_err(|error| error.to_string())?,
        toml_of(&config)?,
        uri.scrub(&format!("cannot open {text}: no host {text:?}")),
        refused.err().map(|error| without_values(&error.to_string()).into_owned()).unwrap_or_default(),
        opened.clone().err().unwrap_or_default(),
    ] {
        assert!(!addresses::shows_secret(&said), "of {text} is said {said}");
    }
    opened.map_err(brief)
}

fn toml_of(config: &CameraConfig) -> Result<String, String> {
    toml::to_string(config).map_err(|error| error.to_string())
}

static PICTURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let scene = SceneConfig::parse("road?w=160&h=96").and_then(Scene::new);
    let (Ok(scene), Ok(mut encoder)) = (scene, Jpeg::new()) else { return Vec::new() };
    (0..4)
        .filter_map(|frame| encoder.encode(&scene.render(frame), 160, 20).ok())
        .map(|jpeg| jpeg.bytes)
        .collect()
});

/// As the gateway looks at it and the producer decodes it.
fn jpeg(bytes: &[u8]) -> Result<(), String> {
    thread_local! {
        static DECODER: RefCell<Option<JpegDecoder>> = RefCell::new(JpegDecoder::new().ok());
    }
    DECODER.with_borrow_mut(|decoder| match decoder {
        Some(decoder) => decoder.decode(bytes).map(drop).map_err(|error| error.to_string()),
        None => Err("no decoder".into()),
    })
}
