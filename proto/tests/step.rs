//! Steps as clients write them, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use peregrine_proto::{codec::Checked, *};
use proptest::prelude::*;

fn step() -> Step {
    let size = [4.5, 1.8];
    Step {
        step: 7,
        sim_time_us: 140_000,
        wall_time_us: 1_700_000_000_123_456,
        ego: Some(Ego { x: 1.0, y: -2.0, heading: 0.5, speed_mps: 8.0, size }),
        trajectory: vec![[1.0, -2.0, 0.0], [2.0, -1.5, 0.1]],
        objects: vec![StepObject {
            id: 3,
            class: "car".into(),
            x: 20.0,
            y: 1.0,
            heading: 3.1,
            speed_mps: 6.0,
            size,
        }],
        timings_us: BTreeMap::from([("plan".into(), 1200.0)]),
        scalars: BTreeMap::from([("reward".into(), 0.25)]),
        map: None,
        result: None,
    }
}

fn result() -> FrameResult {
    FrameResult {
        schema: SCHEMA,
        n: 7,
        inc: 1,
        position: 6,
        media_time_us: 140_000,
        captured_at_us: 1_700_000_000_123_456,
        status: ResultStatus::Ok,
        reason: None,
        source: Size { width: 640, height: 480 },
        track_epoch: 0,
        detections: vec![Detection { xyxy: [1.0, 2.0, 3.5, 4.0], confidence: 0.75, class_id: 0 }],
        tracks: Vec::new(),
        stages: Vec::new(),
        worker: "elsewhere".into(),
        lost: Vec::new(),
        notices: Vec::new(),
    }
}

fn map(points: usize) -> Option<StepMap> {
    Some(StepMap { lines: vec![MapLine { kind: "edge".into(), points: vec![[0.0, 1.0]; points] }] })
}

#[test]
fn smallest_step_is_refused() {
    let smallest: Step = serde_json::from_str(r#"{"step": 1, "sim_time_us": 20000}"#).unwrap();
    assert!(smallest.check().is_ok() && smallest.ego.is_none() && smallest.objects.is_empty());
    assert!(step().check().is_ok());
    assert!(Step { map: map(MOST_MAP_POINTS), ..step() }.check().is_ok());
}

#[test]
fn step_changes_on_the_wire() {
    for sent in [step(), Step { map: map(2), ..step() }, Step { result: Some(result()), ..step() }] {
        assert_eq!(decode::<Step>(&encode(&sent)).unwrap(), sent);
        let json = serde_json::to_string(&sent).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&json).unwrap(), sent);
    }
    assert!(serde_json::to_string(&step()).unwrap().contains(r#""timings_us":{"plan":1200.0}"#));
}

#[test]
fn refused_step_does_not_name_the_field() {
    let ego = step().ego.unwrap();
    let object = step().objects.remove(0);
    let seen = |left: f32| Detection { xyxy: [left, 2.0, 3.5, 4.0], confidence: 0.75, class_id: 0 };
    let many = |n: usize| (0..n).map(|i| (format!("c{i}"), 1.0)).collect::<BTreeMap<_, _>>();
    for (wrong, field) in [
        (Step { ego: Some(Ego { x: f64::NAN, ..ego }), ..step() }, "ego.x"),
        (Step { ego: Some(Ego { heading: f64::INFINITY, ..ego }), ..step() }, "ego.heading"),
        (Step { ego: Some(Ego { size: [-1.0, 2.0], ..ego }), ..step() }, "ego.size"),
        (Step { trajectory: vec![[0.0, 2e7, 0.0]], ..step() }, "trajectory[0]"),
        (Step { trajectory: vec![[0.0; 3]; MOST_PATH_POINTS + 1], ..step() }, "trajectory"),
        (Step { objects: vec![StepObject { y: 1e300, ..object.clone() }], ..step() }, "objects[0].y"),
        (
            Step { objects: vec![StepObject { class: "".into(), ..object.clone() }], ..step() },
            "objects[0].class",
        ),
        (Step { objects: vec![object; MOST_OBJECTS + 1], ..step() }, "objects"),
        (Step { timings_us: many(MOST_NAMED_VALUES + 1), ..step() }, "timings_us"),
        (Step { scalars: BTreeMap::from([("loss".into(), f64::NAN)]), ..step() }, "scalars.loss"),
        (Step { scalars: BTreeMap::from([("__proto__".into(), 1.0)]), ..step() }, "scalars"),
        (Step { result: Some(FrameResult { schema: SCHEMA + 1, ..result() }), ..step() }, "result.schema"),
        (
            Step { result: Some(FrameResult { source: Size { width: 0, height: 9 }, ..result() }), ..step() },
            "result.source",
        ),
        (
            Step {
                result: Some(FrameResult { detections: vec![seen(1.0); MOST_OBJECTS + 1], ..result() }),
                ..step()
            },
            "result.detections",
        ),
        (
            Step { result: Some(FrameResult { detections: vec![seen(f32::NAN)], ..result() }), ..step() },
            "result has the box",
        ),
        (Step { map: map(MOST_MAP_POINTS + 1), ..step() }, "map.lines"),
    ] {
        let why = wrong.check().unwrap_err();
        assert!(why.starts_with(&format!("{field} ")), "{field}: {why}");
    }
}

#[test]
fn misspelt_field_is_left_out_silently() {
    let error =
        serde_json::from_str::<Step>(r#"{"step": 1, "sim_time_us": 2, "trajektory": []}"#).unwrap_err();
    assert!(error.to_string().contains("trajektory"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decode::<Step>(&bytes);
        let _ = serde_json::from_slice::<Step>(&bytes);
    }
}
