//! The demo as users start it: `stack demo --headless --json`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use peregrine_e2e::{programs, system::*};
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

#[test]
fn people_of_the_demo_clip_are_missed_or_at_wrong_speeds() -> Result<()> {
    const SECONDS: f64 = 15.0;
    programs::fetched(demo_clip())?;
    let (summary, results) = demo("demo-clip", &["--seconds", "15"])?;
    assert_eq!(summary["balanced"], true, "{summary:#}");
    assert_eq!(summary["problems"], serde_json::json!([]), "{summary:#}");
    let (produced, processed) = (number(&summary, "/frames/produced"), number(&summary, "/frames/processed"));
    assert!(processed >= 0.98 * 7.0 * SECONDS, "{processed} frames in {SECONDS} s");
    assert_eq!(produced, processed, "{summary:#}");
    let median = number(&summary, "/speed_mps/median");
    assert!((0.5..=1.8).contains(&median), "people walk at {median} m/s");

    // The same frames by everybody's Python.
    let reference = project_root().join("e2e/reference");
    let truth = results.with_file_name("reference.jsonl");
    let (clip, model) = (demo_clip(), programs::fetched(default_model())?);
    let frames = fs::read_to_string(&results)?.lines().count().to_string();
    let script = reference.join("reference.py");
    let model = ["--model", text(&model), "--head", "yolov8", "--frames", &frames, "--out", text(&truth)];
    python(&[&[text(&script), "video", text(&clip)], &model[..]].concat())?;
    let score = python(&[text(&reference.join("ap.py")), text(&results), text(&truth), "--class", "0"])?;
    let score: Value = serde_json::from_str(&score)?;
    assert!(number(&score, "/frames") >= processed, "{score}");
    assert!(number(&score, "/ap50") > 0.95, "{score}");
    Ok(())
}

#[test]
fn other_model_or_clip_finds_nothing() -> Result<()> {
    let Some(data) = programs::shared("data") else { return Ok(()) };
    for model in ["yolox_nano", "centernet_512", "yolo11n_320_int8"] {
        let file = data.join("models").join(model).with_extension("onnx");
        let (summary, _) = demo(&format!("demo-{model}"), &["--seconds", "4", "--model", text(&file)])?;
        assert_eq!(summary["balanced"], true, "{model}: {summary:#}");
        assert!(number(&summary, "/frames/processed") >= 0.98 * 7.0 * 4.0, "{model}: {summary:#}");
        assert!(number(&summary, "/objects/per_frame") > 1.0, "{model}: {summary:#}");
    }
    let clip = data.join("videos/car-detection.mp4");
    let (summary, _) = demo("demo-cars", &["--seconds", "4", "--video", text(&clip)])?;
    assert_eq!(summary["balanced"], true, "{summary:#}");
    assert!(number(&summary, "/frames/processed") >= 0.98 * 12.5 * 4.0, "{summary:#}");
    assert!(number(&summary, "/objects/total") > 0.0, "{summary:#}");
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
