//! The dashboard in Chromium, on a running stack.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use peregrine_e2e::{programs, system::*};
use peregrine_media::synthetic::{Scene, SceneConfig};
use peregrine_stack::{control, project_root};

/// The tests themselves are in `browser/dashboard.test.mjs`: this is the system that they look at.
#[test]
fn dashboard_shows_or_does_something_wrong() -> Result<()> {
    const SCENE: &str = "road?w=768&h=432&fps=10";
    let folder = folder("browser")?;
    let tests = project_root().join("e2e/browser");
    programs::fetched(tests.join("node_modules"))?;
    programs::fetched(project_root().join("web/dist/index.html"))?;

    let scene = SceneConfig::parse(SCENE).and_then(Scene::new).map_err(anyhow::Error::msg)?;
    let mut road = camera("road", &format!("synthetic:{SCENE}"), "")?;
    road.calibration = Some(scene.calibration());
    let stack = Arc::new(stack(&folder, vec![road])?.gateway(0).start()?);
    control::serve(&stack)?;

    let control =
        format!("{} ctl --run-dir {}", programs::binary("stack")?.display(), stack.folder().display());
    let status = Command::new("node")
        .args(["--test", "--test-reporter=spec", "dashboard.test.mjs"])
        .current_dir(&tests)
        .env("PEREGRINE_URL", stack.gateway_url().context("no gateway")?)
        .env("PEREGRINE_CAMERA", "road")
        .env("PEREGRINE_STACK_CONTROL", control)
        .status()
        .context("cannot start node: ./dev setup test, then eval \"$(./dev env)\"")?;
    ensure!(status.success(), "see above; pictures of what it looked like are in e2e/browser/artifacts");
    Ok(())
}
