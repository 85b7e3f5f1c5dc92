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
        }],
        stages: vec![StageTime { stage: Stage::Infer, us: 40_000 }],
        worker: "processor-1".into(),
        lost: vec![],
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
    let preview = ServerMessage::Preview(Preview { camera, id, size, jpeg: ByteBuf::from(vec![0xff, 0xd8]) });
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
    };
    assert!(encode(&ServerMessage::Preview(preview)).len() < 1040);
}

#[test]
fn another_schema_version_is_named() {
    let bytes = encode(&FrameHeader { schema: SCHEMA + 1, ..header() });
    let error = decode::<FrameHeader>(&bytes).unwrap_err().to_string();
    assert!(error.contains("same release"), "{error}");
}

#[test]
fn nonsense_header_is_refused() {
    for wrong in [
        FrameHeader { source: Size { width: 0, height: 4 }, ..header() },
        FrameHeader { scale: [f64::NAN, 1.0], ..header() },
        FrameHeader { rotation: 45, ..header() },
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
