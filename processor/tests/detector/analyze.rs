//! `processor analyze` as its user runs it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use peregrine_proto::{FrameResult, Notice, ResultStatus, Size};

use crate::support;

fn analyze(video: &str, model: &Path, out: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_processor"))
        .args(["analyze", "--video", video, "--model"])
        .arg(model)
        .arg("--out")
        .arg(out)
        .args(more)
        .env("ORT_DYLIB_PATH", support::library())
        .output()
        .unwrap()
}

fn results(path: &Path) -> Vec<FrameResult> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_second_run_gives_other_results() {
    let (Some(clip), Some(model), Some(())) =
        (support::clip(), support::small_model("yolov8.onnx"), support::onnx_runtime())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let out = folder.path().join(name);
        let done =
            analyze(clip.to_str().unwrap(), &model, &out, &["--frames", "40", "--set", "source.fps=7"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        for wanted in ["40 frames", "tracks", "infer", "p95"] {
            assert!(said.contains(wanted), "no `{wanted}` in: {said}");
        }
        let mut results = results(&out);
        for result in &mut results {
            result.stages.clear();
            result.captured_at_us = 0;
        }
        results
    };
    let first = run("first.jsonl");
    assert_eq!(first, run("second.jsonl"));
    assert_eq!(first.len(), 40);
    assert!(first.iter().enumerate().all(|(i, result)| result.position == i as u64));
    assert!(first.iter().all(|result| result.status == ResultStatus::Ok));
    assert!(first.iter().all(|result| result.source == Size { width: 768, height: 576 }));
    assert_eq!(first[7].media_time_us, 1_000_000, "seven frames a second");
    assert!(first.iter().any(|result| !result.detections.is_empty()));
    assert!(first.iter().any(|result| !result.tracks.is_empty()));
}

#[test]
fn a_missing_video_is_not_named() {
    let (Some(model), Some(())) = (support::small_model("yolov8.onnx"), support::onnx_runtime()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let done = analyze("/nowhere/clip.mp4", &model, &folder.path().join("out.jsonl"), &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success());
    assert!(said.contains("/nowhere/clip.mp4"), "{said}");
}

#[test]
fn an_unknown_class_is_ignored() {
    let (Some(clip), Some(model), Some(())) =
        (support::clip(), support::small_model("yolov8.onnx"), support::onnx_runtime())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let set = ["--set", "analysis.classes=[\"persson\"]"];
    let done = analyze(clip.to_str().unwrap(), &model, &folder.path().join("out.jsonl"), &set);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success());
    assert!(said.contains("persson"), "{said}");
}

#[test]
fn times_that_were_put_right_are_not_told() {
    let (Some(model), Some(())) = (support::small_model("yolov8.onnx"), support::onnx_runtime()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let untidy = ["-bsf:v", "setts=pts=if(eq(N\\,10)\\,PTS+9800*1000\\,if(eq(N\\,20)\\,PTS-100\\,PTS))"];
    let Some(clip) = support::small_clip(folder.path(), &untidy) else { return };
    let out = folder.path().join("out.jsonl");
    let done = analyze(clip.to_str().unwrap(), &model, &out, &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && said.contains("2 frames") && said.contains("1 ahead, 1 repeated"),
        "{said}"
    );
    let times: Vec<i64> = results(&out).iter().map(|result| result.media_time_us).collect();
    assert_eq!(times, (0..30).map(|frame| frame * 100_000).collect::<Vec<_>>());
}

#[test]
fn misread_model_ends_well() {
    let (Some(clip), Some(()), Some(_)) = (support::clip(), support::onnx_runtime(), support::python())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, said_once) in [
        ("shares.onnx", "smaller than a pixel"),
        ("decoded.onnx", "far outside the picture"),
        ("pose.onnx", "outside 0 to 1"),
        ("twins.onnx", "several outputs"),
    ] {
        let Some(model) = support::small_model(name) else { return };
        let out = folder.path().join("out.jsonl");
        let done = analyze(clip.to_str().unwrap(), &model, &out, &["--frames", "10"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{name}: {said}");
        for wanted in [said_once, "WARN", "10 frames in", "not to be trusted"] {
            assert!(said.contains(wanted), "{name}: no `{wanted}` in: {said}");
        }
        // Told when it begins and at the end, not for each frame.
        assert!(said.matches(said_once).count() <= 2, "{name}: {said}");
        assert_eq!(results(&out).len(), 10, "{name}: the results are there all the same");
    }
}

#[test]
fn warnings_of_the_code_are_kept_to_itself() {
    let (Some(clip), Some(model), Some(())) =
        (support::clip(), support::small_model("open_size.onnx"), support::onnx_runtime())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let nameless = folder.path().join("nameless.onnx");
    fs::copy(model, &nameless).unwrap();
    fs::write(folder.path().join("nameless.toml"), "input = [96, 64]").unwrap();
    for (model, warned) in [(nameless.as_path(), "those of COCO"), (Path::new("simulated:1"), "SIMULATED")] {
        let done =
            analyze(clip.to_str().unwrap(), model, &folder.path().join("out.jsonl"), &["--frames", "2"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(said.contains("WARN") && said.contains(warned), "{said}");
    }
}

#[test]
fn damaged_pictures_are_analysed_in_silence() {
    let (Some(model), Some(())) = (support::small_model("yolov8.onnx"), support::onnx_runtime()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let Some(clip) = support::small_clip(folder.path(), &["-g", "10"]) else { return };
    let out = folder.path().join("out.jsonl");
    let mut bytes = fs::read(&clip).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 200].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&clip, bytes).unwrap();
    let run = |more: &[&str]| {
        let done = analyze(clip.to_str().unwrap(), &model, &out, more);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        (results(&out), said)
    };
    let (kept, said) = run(&["--set", "source.damaged=keep"]);
    let damaged = kept.iter().filter(|result| result.notices.contains(&Notice::DamagedKept)).count();
    assert!(damaged > 0, "{said}");
    assert!(said.contains(&format!("{damaged} damaged pictures were analysed")), "{said}");
    let (left, said) = run(&[]);
    assert_eq!(left.len() + damaged, kept.len());
    assert!(said.contains(&format!("{damaged} damaged pictures were left out")), "{said}");
    assert!(
        left.iter().map(|result| result.n).eq(1..=left.len() as u64),
        "left out before they take a number"
    );
}
