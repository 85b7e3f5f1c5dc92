//! The compact form of results: exact to its stated resolution over any values, and safe with any bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{f32::consts::PI, f64::consts::TAU};

use peregrine_proto::*;
use proptest::{option, prelude::*, sample::select};

const ID: FrameId = FrameId { ms: 1_700_000_000_123, seq: 0 };

/// Mostly what cameras give, now and then what does not fit.
fn number(usual: std::ops::Range<f32>) -> impl Strategy<Value = f32> {
    prop_oneof![200 => usual, 1 => any::<f32>()]
}

fn xyxy() -> impl Strategy<Value = [f32; 4]> {
    let edge = || number(-200.0..8000.0);
    [edge(), edge(), edge(), edge()]
}

fn detection() -> impl Strategy<Value = Detection> {
    (xyxy(), number(0.0..1.0), any::<u16>()).prop_map(|(xyxy, confidence, class_id)| Detection {
        xyxy,
        confidence,
        class_id,
    })
}

fn speed() -> impl Strategy<Value = Speed> {
    (number(0.0..60.0), number(0.0..5.0), number(-PI..PI))
        .prop_map(|(speed_mps, std_error_mps, heading_rad)| Speed { speed_mps, std_error_mps, heading_rad })
}

fn track() -> impl Strategy<Value = Track> {
    let ground = option::of([number(-500.0..500.0), number(-500.0..500.0)]);
    let place = (xyxy(), ground, option::of(speed()), any::<bool>());
    let class = (0..3_u16, option::of(number(0.0..1.0)));
    let kind = (
        any::<u32>(),
        (0..5_u8).prop_map(TrackState::from_code),
        number(0.0..1.0),
        class,
        option::of(0..8_u16),
    );
    (place, kind).prop_map(
        |(
            (xyxy, ground_m, speed, in_region),
            (track_id, state, confidence, (class_id, class_share), detection),
        )| Track {
            track_id,
            state,
            xyxy,
            confidence,
            class_id,
            detection,
            ground_m,
            speed,
            in_region,
            class_share,
        },
    )
}

fn stages() -> impl Strategy<Value = Vec<StageTime>> {
    let stages: Vec<_> = (0..55).map(Stage::from_code).collect();
    prop::sample::subsequence(stages, 0..=Stage::ALL.len()).prop_flat_map(|stages| {
        let times = prop::collection::vec(any::<u32>(), stages.len());
        times.prop_map(move |times| {
            stages.iter().zip(times).map(|(&stage, us)| StageTime { stage, us }).collect()
        })
    })
}

/// A result, with tracks like their detections as the tracker makes them, so that every part of the form is met.
fn result() -> impl Strategy<Value = FrameResult> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>());
    let times = (any::<i64>(), prop_oneof![any::<i64>(), Just(1_700_000_000_123_456)], stages());
    let ends = (
        (0..18_u8).prop_map(ResultStatus::from_code),
        option::of(any::<u8>().prop_map(LossReason::from_code)),
        any::<(u32, u32)>(),
        any::<String>(),
    );
    let losses = prop::collection::vec((select(LossReason::ALL), any::<u64>()), 0..4);
    let notices = prop::collection::vec(any::<u8>().prop_map(Notice::from_code), 0..4);
    let seen =
        (prop::collection::vec(detection(), 0..8), prop::collection::vec(track(), 0..8), any::<bool>());
    (counts, times, ends, (losses, notices), seen).prop_map(
        |(
            (n, inc, position, track_epoch),
            (media_time_us, captured_at_us, stages),
            (status, reason, (width, height), worker),
            (losses, notices),
            (detections, mut tracks, alike),
        )| {
            for track in &mut tracks {
                track.detection = track.detection.filter(|index| usize::from(*index) < detections.len());
                if let (Some(index), true) = (track.detection, alike) {
                    let Detection { xyxy, confidence, class_id } = detections[usize::from(index)];
                    (track.confidence, track.class_id) = (confidence, class_id);
                    track.xyxy = xyxy.map(|edge| edge + 1.3);
                }
            }
            FrameResult {
                schema: SCHEMA,
                n,
                inc,
                position,
                media_time_us,
                captured_at_us,
                status,
                reason,
                source: Size { width, height },
                track_epoch,
                detections,
                tracks,
                stages,
                worker,
                lost: losses.into_iter().map(|(reason, count)| LossCount { reason, count }).collect(),
                notices,
            }
        },
    )
}

/// How far a value may be off: half a step, and what 32 bits cannot tell.
fn close(sent: f32, back: f32, step: f32) -> bool {
    (sent - back).abs() <= step / 2.0 + sent.abs() * f32::EPSILON
}

/// Moves every quantised value of `back` that is close enough onto what was sent.
fn forgive(sent: &FrameResult, mut back: FrameResult) -> FrameResult {
    let forgive = |sent: f32, back: &mut f32, step: f32| {
        if close(sent, *back, step) {
            *back = sent;
        }
    };
    for (sent, back) in sent.detections.iter().zip(&mut back.detections) {
        (0..4).for_each(|i| forgive(sent.xyxy[i], &mut back.xyxy[i], 1.0 / 8.0));
        forgive(sent.confidence, &mut back.confidence, 1.0 / 255.0);
    }
    for (sent, back) in sent.tracks.iter().zip(&mut back.tracks) {
        (0..4).for_each(|i| forgive(sent.xyxy[i], &mut back.xyxy[i], 1.0 / 8.0));
        forgive(sent.confidence, &mut back.confidence, 1.0 / 255.0);
        if let (Some(sent), Some(back)) = (sent.class_share, &mut back.class_share) {
            forgive(sent, back, 1.0 / 255.0);
        }
        if let (Some(sent), Some(back)) = (sent.ground_m, &mut back.ground_m) {
            (0..2).for_each(|i| forgive(sent[i], &mut back[i], 0.01));
        }
        if let (Some(sent), Some(back)) = (sent.speed, &mut back.speed) {
            forgive(sent.speed_mps, &mut back.speed_mps, 0.01);
            forgive(sent.std_error_mps, &mut back.std_error_mps, 0.01);
            let apart = f64::from(sent.heading_rad) - f64::from(back.heading_rad);
            if (apart - (apart / TAU).round() * TAU).abs() <= TAU / 512.0 + 1e-6 {
                back.heading_rad = sent.heading_rad;
            }
        }
    }
    back
}

/// Compares also what is not a number.
fn text(result: &FrameResult) -> String {
    format!("{result:?}")
}

/// Whether this is one of the two compact forms.
fn is_packed(bytes: &[u8]) -> bool {
    matches!(bytes[0], 1 | 2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn result_is_off_by_more_than_half_a_step(sent in result(), schema in 2..=3_u16) {
        let sent = sent.for_schema(schema);
        let bytes = compact::encode(ID, &sent);
        let back = compact::decode(ID, &bytes).unwrap();
        if is_packed(&bytes) {
            prop_assert_eq!(u16::from(bytes[0]), schema - 1);
            prop_assert_eq!(text(&forgive(&sent, back.clone())), text(&sent));
        } else {
            prop_assert_eq!(text(&back), text(&sent), "what does not fit comes back unchanged");
        }
        prop_assert_eq!(compact::encode(ID, &back), bytes, "the second time nothing moves");
    }

    #[test]
    fn any_bytes_panic(ms: u64, mut bytes: Vec<u8>) {
        let id = FrameId { ms, seq: 0 };
        let _ = compact::decode(id, &bytes);
        bytes.insert(0, 1);
        let _ = compact::decode(id, &bytes);
        bytes[0] = 2;
        let _ = compact::decode(id, &bytes);
    }

    #[test]
    fn damaged_bytes_panic(sent in result(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = compact::encode(ID, &sent);
        let whole = bytes.len();
        bytes.truncate(cut.index(whole) + 1);
        if is_packed(&bytes) && bytes.len() < whole {
            prop_assert!(compact::decode(ID, &bytes).is_err(), "cut short, and not noticed");
        }
        let i = at.index(bytes.len());
        bytes[i] = byte;
        if let Ok(read) = compact::decode(ID, &bytes) {
            let _ = compact::encode(ID, &read);
        }
    }
}

fn empty() -> FrameResult {
    FrameResult {
        schema: SCHEMA,
        n: 1,
        inc: 1,
        position: 0,
        media_time_us: 0,
        captured_at_us: 1_700_000_000_123_456,
        status: ResultStatus::Ok,
        reason: None,
        source: Size { width: 640, height: 480 },
        track_epoch: 0,
        detections: Vec::new(),
        tracks: Vec::new(),
        stages: Vec::new(),
        worker: String::new(),
        lost: Vec::new(),
        notices: Vec::new(),
    }
}

#[test]
fn value_that_does_not_fit_is_changed() {
    let box_of = |edge: f32| Detection { xyxy: [0.0, 0.0, edge, 1.0], confidence: 0.5, class_id: 0 };
    let largest = 524_288.0;
    assert_eq!(compact::encode(ID, &FrameResult { detections: vec![box_of(largest)], ..empty() })[0], 2);
    for edge in [largest + 1.0, -2.0 * largest, f32::NAN, f32::INFINITY, f32::MIN] {
        let sent = FrameResult { detections: vec![box_of(edge)], ..empty() };
        let bytes = compact::encode(ID, &sent);
        assert!(!is_packed(&bytes), "{edge} fits");
        assert_eq!(text(&compact::decode(ID, &bytes).unwrap()), text(&sent));
    }
    let time = StageTime { stage: Stage::Wait, us: 7 };
    let twice = FrameResult { stages: vec![time, time], ..empty() };
    assert_eq!(compact::decode(ID, &compact::encode(ID, &twice)).unwrap(), twice);
}

#[test]
fn numbers_in_the_bytes_are_believed() {
    let packed = compact::encode(ID, &empty());
    // Before the tracks, the stages, the worker, the losses and the notices: each takes a byte.
    let detections = packed.len() - 6;
    let mut many = packed[..detections].to_vec();
    many.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    let error = compact::decode(ID, &many).unwrap_err().to_string();
    assert_eq!(error, "not a valid compact result: it is cut short");
    for form in [1, 2] {
        let too_long = [[form, 0].as_slice(), &[0xff; 40]].concat();
        let error = compact::decode(ID, &too_long).unwrap_err().to_string();
        assert!(error.contains("out of range"), "{error}");
    }
}

#[test]
fn what_a_later_release_adds_is_refused() {
    let packed = compact::encode(ID, &empty());
    let longer = [packed.as_slice(), &[7, 7, 7]].concat();
    assert_eq!(compact::decode(ID, &longer).unwrap(), empty());
    // Form 1 does not change any more: what follows it is damage.
    let old = compact::encode(ID, &empty().for_schema(2));
    let followed = [old.as_slice(), &[0]].concat();
    assert!(matches!(compact::decode(ID, &followed), Err(DecodeError::Trailing { extra: 1, .. })));
}

#[test]
fn code_without_room_is_changed() {
    let track = Track {
        track_id: 1,
        state: TrackState::Other(4),
        xyxy: [0.0; 4],
        confidence: 0.5,
        class_id: 0,
        detection: None,
        ground_m: None,
        speed: None,
        in_region: true,
        class_share: None,
    };
    for sent in [
        FrameResult { status: ResultStatus::Other(16), ..empty() },
        FrameResult { stages: vec![StageTime { stage: Stage::Other(53), us: 1 }], ..empty() },
        FrameResult { tracks: vec![track], ..empty() },
    ] {
        let bytes = compact::encode(ID, &sent);
        assert!(!is_packed(&bytes));
        assert_eq!(compact::decode(ID, &bytes).unwrap(), sent);
    }
}

#[test]
fn stages_come_back_in_another_order_than_theirs() {
    let time = |stage, us| StageTime { stage, us };
    let sent = FrameResult { stages: vec![time(Stage::Infer, 5), time(Stage::Decode, 3)], ..empty() };
    let back = compact::decode(ID, &compact::encode(ID, &sent)).unwrap();
    assert_eq!(back.stages, [time(Stage::Decode, 3), time(Stage::Infer, 5)]);
}

#[test]
fn message_for_people_has_bytes_in_it() {
    let message = ResultMessage {
        camera: CameraId::new("gate").unwrap(),
        id: ID,
        seen_at_us: 5,
        result: encode(&empty()).into(),
    };
    let compact = message.to_compact();
    assert!(compact.result.len() < message.result.len() && compact.frame_result().unwrap() == empty());
    let message = ServerMessage::Result(message);
    let json = serde_json::to_value(&message).unwrap();
    assert_eq!(json["result"]["result"]["source"]["width"], 640);
    assert_eq!(serde_json::from_value::<ServerMessage>(json).unwrap(), message);
    let size = Size { width: 1, height: 1 };
    let camera = CameraId::new("gate").unwrap();
    let preview = ServerMessage::Preview(Preview {
        camera,
        id: ID,
        size,
        jpeg: vec![0xff, 0xd8].into(),
        damaged: false,
    });
    let json = serde_json::to_value(&preview).unwrap();
    assert_eq!(json["preview"]["jpeg"], "/9g=");
    assert_eq!(serde_json::from_value::<ServerMessage>(json).unwrap(), preview);
}
