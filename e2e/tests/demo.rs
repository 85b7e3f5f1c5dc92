//! The demo as users start it: `stack demo --headless --json`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use peregrine_e2e::{programs, system::*};
use peregrine_proto::CameraConfig;
use peregrine_stack::{default_model, demo_clip, project_root};
use serde_json::Value;

/// Runs the demo; returns its summary and the file of its results.
fn demo(name: &str, arguments: &[&str]) -> Result<(Value, PathBuf)> {
    let folder = folder(name)?;
    let (results, run_dir) = (folder.join("results.jsonl"), folder.join("run"));
    let mut all = vec!["demo", "--headless", "--json", "--port", "0"];
    all.extend(["--results", results.to_str().unwrap(), "--run-dir", run_dir.to_str().unwrap()]);
    all.extend(arguments);
    let output = programs::run("stack", all)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {}: {said}", output.status);
    Ok((serde_json::from_slice(&output.stdout)?, results))
}

/// A number of the summary.
fn number(summary: &Value, pointer: &str) -> f64 {
    summary.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {summary:#}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn python(arguments: &[&str]) -> Result<String> {
    let interpreter = programs::fetched(project_root().join(".cache/venv/bin/python"))?;
    let output = Command::new(interpreter).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes a camera's configuration; returns the file.
fn camera_file(name: &str, camera: &CameraConfig) -> Result<PathBuf> {
    let file = folder(&format!("{name}-camera"))?.join("camera.toml");
    fs::write(&file, toml::to_string(camera)?)?;
    Ok(file)
}

#[test]
fn people_of_the_demo_clip_are_missed_or_at_wrong_speeds() -> Result<()> {
    const FRAMES: u64 = 140;
    let camera = camera_file("demo-clip", &demo_camera(FRAMES)?)?;
    let (summary, results) = demo("demo-clip", &["--camera", text(&camera), "--pace", "fast"])?;
    assert_eq!(summary["balanced"], true, "{summary:#}");
    assert_eq!(summary["problems"], serde_json::json!([]), "{summary:#}");
    for count in ["/frames/produced", "/frames/processed"] {
        assert_eq!(number(&summary, count), FRAMES as f64, "{count} in {summary:#}");
    }
    let median = number(&summary, "/speed_mps/median");
    assert!((0.5..=1.8).contains(&median), "people walk at {median} m/s");

    // The same frames by everybody's Python.
    let reference = project_root().join("e2e/reference");
    let truth = results.with_file_name("reference.jsonl");
    let (clip, model, frames) = (demo_clip(), programs::fetched(default_model())?, FRAMES.to_string());
    let options = ["--model", text(&model), "--head", "yolov8", "--frames", &frames, "--out", text(&truth)];
    python(&[&[text(&reference.join("reference.py")), "video", text(&clip)], &options[..]].concat())?;
    let score = python(&[text(&reference.join("ap.py")), text(&results), text(&truth), "--class", "0"])?;
    let score: Value = serde_json::from_str(&score)?;
    assert_eq!(number(&score, "/frames"), FRAMES as f64, "{score}");
    assert!(number(&score, "/ap50") > 0.95, "{score}");
    Ok(())
}

#[test]
fn other_model_or_clip_finds_nothing() -> Result<()> {
    const FRAMES: u64 = 30;
    let Some(data) = programs::shared("data") else { return Ok(()) };
    let models = data.join("models");
    let mut cars = demo_camera(FRAMES)?;
    cars.source.uri = data.join("videos/car-detection.mp4").display().to_string().into();
    (cars.source.fps, cars.calibration) = (None, None);
    // The lot is empty for the first hundred frames: look at all of the clip, and at a car for a part of it.
    (cars.source.every, cars.source.max_frames) = (4, Some(80));
    cars.analysis.classes = vec!["person".into(), "car".into()];
    for (name, model, camera, least) in [
        ("yolox", models.join("yolox_nano.onnx"), demo_camera(FRAMES)?, 0.5),
        ("centernet", models.join("centernet_512.onnx"), demo_camera(FRAMES)?, 0.5),
        ("yolo11", models.join("yolo11n_320_int8.onnx"), demo_camera(FRAMES)?, 0.5),
        ("cars", default_model(), cars, 0.05),
    ] {
        let frames = camera.source.max_frames.context("no end")? as f64;
        let name = format!("demo-{name}");
        let camera = camera_file(&name, &camera)?;
        let (summary, _) =
            demo(&name, &["--model", text(&model), "--camera", text(&camera), "--pace", "fast"])?;
        assert_eq!(summary["balanced"], true, "{name}: {summary:#}");
        assert_eq!(number(&summary, "/frames/processed"), frames, "{name}: {summary:#}");
        assert!(number(&summary, "/objects/per_frame") > least, "{name}: {summary:#}");
    }
    Ok(())
}

#[test]
fn demo_of_a_bad_source_waits_instead_of_saying_why() -> Result<()> {
    for (source, words) in [
        ("/nowhere/clip.mp4", ["/nowhere/clip.mp4", "file"]),
        ("images:/nowhere", ["/nowhere", "camera-1"]),
        ("synthetic:nonsense", ["nonsense", "camera-1"]),
        ("gopher://host/clip", ["gopher", "rtsp://"]),
    ] {
        let why = demo("demo-bad-source", &["--seconds", "60", "--video", source]).unwrap_err().to_string();
        for word in words {
            assert!(why.contains(word), "`{word}` is missing in: {why}");
        }
    }
    Ok(())
}
