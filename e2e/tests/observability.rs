//! Dashboards, rules and alerts, on a running stack with a real Prometheus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use peregrine_e2e::{clips, programs, system::*};
use peregrine_proto::{CalibrationConfig, PictureShape};
use peregrine_stack::{control, project_root};

/// What is checked stands in `observability/check.py`: this is the system that it looks at, and lets faults strike.
#[test]
fn dashboard_or_alert_says_nothing() -> Result<()> {
    let folder = folder("observability")?;
    let python = programs::fetched(project_root().join(".cache/venv/bin/python"))?;
    let clip = clips::test_picture(&folder, "clip.mp4", "160x90", 200)?;
    let live = "opencv:videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=90,framerate=20/1 \
                ! videoconvert ! video/x-raw,format=BGR ! appsink";
    // Calibrated on a picture of another shape.
    let mut turned = camera("turned", "synthetic:road?w=320&h=180&fps=2", "")?;
    turned.calibration = Some(CalibrationConfig {
        points: Vec::new(),
        world_from_image: Some([[0.1, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 1.0]]),
        drawn_on: Some(PictureShape { width: 480, height: 640, pixel_aspect: 1.0 }),
    });
    let cameras = vec![
        camera("road", "synthetic:road?w=768&h=432&fps=10", "")?,
        camera("live", live, "")?,
        camera("push", "ingest:", "")?,
        // Of two frames a second, the few that waited for a processor are enough to be noticed.
        camera("slow", "synthetic:road?w=320&h=180&fps=2", "")?,
        // More than its owner can do, so that others help.
        camera("hot", &clip.display().to_string(), "pace = 'fast'\nloop = true")?,
        camera("gone", "rtsp://127.0.0.1:1/", "")?,
        turned,
    ];
    let stack = Arc::new(stack(&folder, cameras)?.model("simulated:20").processors(2).gateway(0).start()?);
    control::serve(&stack)?;

    let control =
        format!("{} ctl --run-dir {}", programs::binary("stack")?.display(), stack.folder().display());
    let status = Command::new(python)
        .arg(project_root().join("e2e/observability/check.py"))
        .env("PEREGRINE_URL", stack.gateway_url().context("no gateway")?)
        .env("PEREGRINE_STACK_CONTROL", control)
        .env("PEREGRINE_FOLDER", folder.join("prometheus"))
        .status()?;
    ensure!(status.success(), "see above; logs are in {}", folder.display());
    Ok(())
}
