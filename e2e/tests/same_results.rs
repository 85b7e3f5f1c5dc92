//! The demo clip at its true rate, as fast as possible, and offline: the same results, bit for bit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fs, time::Duration};

use anyhow::Result;
use peregrine_e2e::{programs, results::*, system::*};
use peregrine_proto::{CameraId, FrameResult, Pace};
use peregrine_stack::{default_model, demo_clip};

/// The first six seconds.
const FRAMES: u64 = 42;

#[test]
fn results_depend_on_how_fast_the_clip_is_read() -> Result<()> {
    let folder = folder("same-results")?;
    let model = programs::fetched(default_model())?;
    let mut fast = demo_camera(FRAMES)?;
    fast.id = CameraId::new("fast")?;
    fast.analysis.region = vec![[60.0, 200.0], [700.0, 200.0], [700.0, 560.0], [60.0, 560.0]];
    let mut paced = fast.clone();
    paced.id = CameraId::new("paced")?;
    paced.source.pace = Pace::Realtime;

    let stack = stack(&folder, vec![paced.clone(), fast])?.model(&model).start()?;
    let run = |camera: &str| -> Result<Vec<FrameResult>> {
        let results = results(&stack, camera, usize::MAX, Duration::from_secs(240))?;
        each_frame_once(&results, FRAMES)?;
        Ok(essence(results.into_iter().map(|(_, result)| result)))
    };
    let fast = run("fast")?;
    let at_true_rate = run("paced")?;
    drop(stack);

    assert!(at_true_rate.iter().any(|r| r.tracks.iter().any(|t| t.speed.is_some())), "nothing has a speed");
    for (slow, fast) in at_true_rate.iter().zip(&fast) {
        assert_eq!(slow, fast, "frame {}", slow.position);
    }

    let out = folder.join("offline.jsonl");
    let file = folder.join("camera.toml");
    fs::write(&file, toml::to_string(&paced)?)?;
    let arguments = ["--camera", file.to_str().unwrap()];
    programs::analyze(&demo_clip(), &model, &out, &arguments)?.map_err(anyhow::Error::msg)?;
    let offline = essence(of_file(&out)?);
    assert_eq!(offline.len(), at_true_rate.len());
    for (offline, live) in offline.iter().zip(&at_true_rate) {
        assert_eq!(offline, live, "frame {}", live.position);
    }
    Ok(())
}
