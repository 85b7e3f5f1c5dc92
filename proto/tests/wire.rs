//! Byte snapshots, round trips, and whatever bytes come from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use peregrine_proto::*;
use proptest::prelude::*;
use serde_bytes::ByteBuf;

fn header() -> FrameHeader {
    FrameHeader {
        schema: SCHEMA,
        n: 7,
        inc: 2,
        position: 6,
        media_time_us: 857_143,
        captured_at_us: 1_700_000_000_123_456,
        source: Size { width: 768, height: 576 },
        analysed: Size { width: 416, height: 312 },
        scale: [768.0 / 416.0, 576.0 / 312.0],
        pixel_aspect: 1.0,
        rotation: 0,
        format: PixelFormat::I420,
        colour: Colour { matrix: ColourMatrix::Bt601, range: ColourRange::Limited },
        discontinuity: false,
        end: false,
        lossless: true,
        lost: vec![LossCount { reason: LossReason::QueueFull, count: 3 }],
        stages: vec![StageTime { stage: Stage::Decode, us: 1500 }],
        damaged: true,
    }
}

#[test]
fn scale_of_a_picture_is_of_another_size() {
    let size = |width, height| Size { width, height };
    let scale = |source, analysed| FrameHeader::of_picture(source, analysed).scale;
    assert_eq!(scale(size(1920, 1080), size(416, 234)), [1920.0 / 416.0, 1080.0 / 234.0]);
    assert_eq!(scale(size(0, 0), size(0, 0)), [1.0, 1.0], "no picture");
}

fn result() -> FrameResult {
    FrameResult {
        schema: SCHEMA,
        n: 7,
        inc: 2,
        position: 6,
        media_time_us: 857_143,
        captured_at_us: 1_700_000_000_123_456,
        status: ResultStatus::Ok,
        reason: None,
        source: Size { width: 768, height: 576 },
        track_epoch: 1,
        detections: vec![Detection { xyxy: [1.0, 2.0, 3.5, 4.0], confidence: 0.75, class_id: 0 }],
        tracks: vec![Track {
            track_id: 4,
            state: TrackState::Tracked,
            xyxy: [1.0, 2.0, 3.5, 4.0],
            confidence: 0.75,
            class_id: 0,
            detection: Some(0),
            ground_m: Some([1.5, -2.0]),
            speed: Some(Speed { speed_mps: 1.25, std_error_mps: 0.125, heading_rad: 0.5 }),
            in_region: true,
            class_share: Some(0.75),
        }],
        stages: vec![StageTime { stage: Stage::Infer, us: 40_000 }],
        worker: "processor-1".into(),
        lost: vec![],
        notices: vec![Notice::RegionOff],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join("")
}

#[test]
fn frame_header_bytes_stand() {
    insta::assert_snapshot!(hex(&encode(&header())));
}

#[test]
fn frame_result_bytes_stand() {
    insta::assert_snapshot!(hex(&encode(&result())));
}

#[test]
fn messages_bytes_stand() {
    let camera = CameraId::new("gate").unwrap();
    let id = FrameId { ms: 1_700_000_000_123, seq: 1 };
    let subscribe = ClientMessage::Subscribe(Subscribe {
        cameras: vec![camera.clone()],
        results: true,
        preview_width: Some(960),
        resume_after: None,
        max_rate: None,
    });
    insta::assert_snapshot!("subscribe", hex(&encode(&subscribe)));
    let size = Size { width: 960, height: 720 };
    let preview = ServerMessage::Preview(Preview {
        camera,
        id,
        size,
        jpeg: ByteBuf::from(vec![0xff, 0xd8]),
        damaged: false,
    });
    insta::assert_snapshot!("preview", hex(&encode(&preview)));
    assert_eq!(decode::<ServerMessage>(&encode(&preview)).unwrap(), preview);
    assert_eq!(decode::<ClientMessage>(&encode(&subscribe)).unwrap(), subscribe);
}

#[test]
fn offload_bytes_stand() {
    let request = DetectRequest {
        schema: SCHEMA,
        camera: CameraId::new("gate").unwrap(),
        id: FrameId { ms: 1_700_000_000_123, seq: 1 },
        confidence: 0.1,
        nms_iou: 0.65,
        classes: Some(vec![0, 2]),
        ticket: 7,
        answer_to: "processor-1.0000abcd".into(),
    };
    insta::assert_snapshot!("detect_request", hex(&encode(&request)));
    let detection = Detection { xyxy: [1.0, 2.0, 3.5, 4.0], confidence: 0.9, class_id: 2 };
    let answer = DetectAnswer {
        schema: SCHEMA,
        ticket: 7,
        detections: Some(vec![detection]),
        stages: vec![StageTime { stage: Stage::Infer, us: 40_000 }],
        worker: "processor-2".into(),
    };
    insta::assert_snapshot!("detect_answer", hex(&encode(&answer)));
    assert_eq!(decode::<DetectRequest>(&encode(&request)).unwrap(), request);
    assert_eq!(decode::<DetectAnswer>(&encode(&answer)).unwrap(), answer);
}

#[test]
fn json_has_names_and_comes_back() {
    let json = serde_json::to_string(&result()).unwrap();
    assert!(json.contains(r#""stage":"infer""#) && json.contains(r#""state":"tracked""#), "{json}");
    assert_eq!(serde_json::from_str::<FrameResult>(&json).unwrap(), result());
}

#[test]
fn binary_is_sent_as_binary_not_as_numbers() {
    let preview = Preview {
        camera: CameraId::new("a").unwrap(),
        id: FrameId::ZERO,
        size: Size { width: 1, height: 1 },
        jpeg: ByteBuf::from(vec![200; 1000]),
        damaged: true,
    };
    assert!(encode(&ServerMessage::Preview(preview)).len() < 1040);
}

#[test]
fn another_schema_version_is_named() {
    for schema in [OLDEST_SCHEMA - 1, SCHEMA + 1] {
        let error =
            decode::<FrameHeader>(&encode(&FrameHeader { schema, ..header() })).unwrap_err().to_string();
        assert!(error.contains("reads 2 to 3: run the same release"), "{error}");
    }
}

/// Bytes that the last release of schema 2 wrote for the same values.
const OLD_HEADER: &str = "dc001202070206ce000d1437cf00060a241820224092cd0300cd024092cd01a0cd013892cb3ffd89d89d89d89ecb3ffd89d89d89d89eca3f8000000000920000c2c2c391920003919201cd05dc";
const OLD_RESULT: &str = "9f02070206ce000d1437cf00060a241820224000c092cd0300cd024001919394ca3f800000ca40000000ca40600000ca40800000ca3f400000009199040194ca3f800000ca40000000ca40600000ca40800000ca3f400000000092ca3fc00000cac000000093ca3fa00000ca3e000000ca3f000000c391920acd9c40ab70726f636573736f722d3190";

#[test]
fn schema_2_is_written_as_it_was() {
    let header = header().for_schema(2);
    assert_eq!(hex(&encode(&header)), OLD_HEADER);
    assert_eq!(
        decode::<FrameHeader>(&encode(&header)).unwrap(),
        FrameHeader { schema: 2, damaged: false, ..header }
    );
    let told = result().for_schema(2);
    assert_eq!(hex(&encode(&told)), OLD_RESULT);
    assert_eq!(decode::<FrameResult>(&encode(&told)).unwrap(), told);
}

#[test]
fn loss_that_schema_2_does_not_know_is_told_twice_or_not_at_all() {
    let count = |reason, count| LossCount { reason, count };
    let lost = vec![
        count(LossReason::Undecodable, 2),
        count(LossReason::NotWanted, 5),
        count(LossReason::Damaged, 3),
    ];
    let told = FrameHeader { lost, ..header() }.for_schema(2).lost;
    assert_eq!(told, [count(LossReason::Undecodable, 5), count(LossReason::NotWanted, 5)]);
    for &reason in LossReason::ALL {
        assert!(reason.for_schema(2).code() <= 9, "schema 2 ends at 9");
        assert_eq!(reason.for_schema(SCHEMA), reason);
    }
}

#[test]
fn code_of_a_later_release_is_refused_or_changed() {
    let sent = FrameResult {
        status: ResultStatus::Other(250),
        reason: Some(LossReason::Other(17)),
        notices: vec![Notice::Other(99)],
        stages: vec![StageTime { stage: Stage::Other(40), us: 1 }],
        ..result()
    };
    let bytes = encode(&sent);
    let back: FrameResult = decode(&bytes).unwrap();
    assert_eq!((&back, encode(&back)), (&sent, bytes));
    let json = serde_json::to_string(&sent).unwrap();
    assert!(json.contains(r#""status":"other:250","reason":"other:17""#), "{json}");
    assert_eq!(serde_json::from_str::<FrameResult>(&json).unwrap(), sent);
    assert_eq!(
        (LossReason::Other(17).as_str(), LossReason::from_code(4)),
        ("other", LossReason::Undecodable)
    );
    assert_eq!("other:4".parse(), Ok(LossReason::Undecodable), "one value has one name");
    assert!("other:256".parse::<LossReason>().is_err() && "bad".parse::<LossReason>().is_err());
}

#[test]
fn field_of_a_later_release_is_refused() {
    let result = result();
    let longer = [longer(&encode(&result.tracks[0])), longer(&encode(&result.detections[0]))];
    let shorter = [encode(&result.tracks[0]), encode(&result.detections[0])];
    let bytes =
        shorter.iter().zip(&longer).fold(encode(&result), |bytes, (from, to)| replaced(&bytes, from, to));
    assert_eq!(decode::<FrameResult>(&self::longer(&bytes)).unwrap(), result);
    let json = serde_json::to_string(&result).unwrap().replace(r#""schema":3"#, r#""schema":3,"shcema":4"#);
    assert!(serde_json::from_str::<FrameResult>(&json).is_err(), "in JSON a name may be mistyped");
}

/// A struct with two more fields: a text and a list.
fn longer(bytes: &[u8]) -> Vec<u8> {
    let (count, fields) = match bytes {
        [0xdc, high, low, fields @ ..] => (u16::from_be_bytes([*high, *low]), fields),
        [first @ 0x90..=0x9f, fields @ ..] => (u16::from(first - 0x90), fields),
        other => panic!("{other:?} is no struct"),
    };
    let [high, low] = (count + 2).to_be_bytes();
    [&[0xdc, high, low], fields, &[0xa3, b'n', b'e', b'w', 0x91, 7]].concat()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn nonsense_header_is_refused() {
    for wrong in [
        FrameHeader { source: Size { width: 0, height: 4 }, ..header() },
        FrameHeader { scale: [f64::NAN, 1.0], ..header() },
        FrameHeader { rotation: 45, ..header() },
        FrameHeader { format: PixelFormat::Other(1), ..header() },
        FrameHeader {
            colour: Colour { matrix: ColourMatrix::Other(3), range: ColourRange::Full },
            ..header()
        },
    ] {
        assert!(matches!(decode::<FrameHeader>(&encode(&wrong)), Err(DecodeError::Invalid { .. })));
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encode(&header());
    bytes.push(0);
    assert!(matches!(decode::<FrameHeader>(&bytes), Err(DecodeError::Trailing { extra: 1, .. })));
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let bytes = vec![0x91; 100_000];
    assert!(decode::<ServerMessage>(&bytes).is_err());
}

proptest! {
    #[test]
    fn result_round_trips(n: u64, position: u64, media_time_us: i64, boxes: Vec<([f32; 4], f32, u16)>, worker: String) {
        let detections = boxes.iter().map(|&(xyxy, confidence, class_id)| Detection { xyxy, confidence, class_id }).collect();
        let sent = FrameResult { n, position, media_time_us, detections, worker, ..result() };
        let bytes = encode(&sent);
        let back: FrameResult = decode(&bytes).unwrap();
        prop_assert_eq!(encode(&back), bytes);
    }

    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decode::<FrameHeader>(&bytes);
        let _ = decode::<FrameResult>(&bytes);
        let _ = decode::<DetectRequest>(&bytes);
        let _ = decode::<DetectAnswer>(&bytes);
        let _ = decode::<ClientMessage>(&bytes);
        let _ = decode::<ServerMessage>(&bytes);
    }

    #[test]
    fn damaged_bytes_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = encode(&result());
        let i = at.index(bytes.len());
        bytes[i] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = decode::<FrameResult>(&bytes);
    }

    #[test]
    fn frame_ids_keep_order_and_text(ms in 0..u64::MAX, seq: u64) {
        let id = FrameId { ms, seq };
        prop_assert!(id.next() > id);
        prop_assert_eq!(id.to_string().parse::<FrameId>().unwrap(), id);
    }

    #[test]
    fn camera_ids_are_safe_in_keys(text: String) {
        if let Ok(id) = CameraId::new(&text) {
            let unsafe_in_keys = id.as_str().contains(['{', '}', ':', '/', ' ', '\n']);
            prop_assert!(!unsafe_in_keys);
        }
    }
}
