//! Every kind of source, and what must never be said about any.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use peregrine_e2e::{clips, http, programs, rtsp::RtspServer, system::*};
use peregrine_proto::{ResultStatus, Size};
use peregrine_streams::SourceHealth;

const LONGEST: Duration = Duration::from_secs(60);

#[test]
fn source_gives_no_results() -> Result<()> {
    let folder = folder("sources")?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", 30)?;
    let images = clips::as_images(&clip)?;
    let server = RtspServer::serve(&clip, None)?;
    let pipeline = "opencv:videotestsrc num-buffers=30 is-live=false ! video/x-raw,width=320,height=180,framerate=10/1 \
                    ! videoconvert ! video/x-raw,format=BGR ! appsink";
    let cameras = vec![
        camera("file", &clip.display().to_string(), "")?,
        camera("rtsp", &format!("rtsp://{}/clip", server.address), "")?,
        camera("opencv", pipeline, "")?,
        camera("images", &format!("images:{}", images.display()), "fps = 10")?,
        camera("synthetic", "synthetic:road?w=320&h=180&fps=10&frames=30", "")?,
    ];
    let names: Vec<String> = cameras.iter().map(|camera| camera.id.to_string()).collect();
    let stack = stack(&folder, cameras)?.start()?;
    for name in names {
        let results = results(&stack, &name, 20, LONGEST).with_context(|| format!("source {name}"))?;
        assert!(results.iter().all(|(_, r)| r.status == ResultStatus::Ok), "source {name}");
        assert!(results.iter().all(|(_, r)| r.source == Size { width: 320, height: 180 }), "source {name}");
        assert!(results.iter().any(|(_, r)| !r.tracks.is_empty()), "source {name} has no tracks");
    }
    Ok(())
}

#[test]
fn credentials_are_shown() -> Result<()> {
    const SECRET: &str = "hunter2-secret";
    let folder = folder("credentials")?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", 30)?;
    let server = RtspServer::serve(&clip, Some(("user", SECRET)))?;
    let address = &server.address;
    let cameras = vec![
        camera("good", &format!("rtsp://user:{SECRET}@{address}/clip"), "")?,
        // Answered with 401, with 404, by nobody, and by a pipeline's element.
        camera("refused", &format!("rtsp://{SECRET}:{SECRET}@{address}/clip"), "")?,
        camera("absent", &format!("rtsp://user:{SECRET}@{address}/nothing"), "")?,
        camera("silent", &format!("rtsp://user:{SECRET}@127.0.0.1:1/clip"), "")?,
        camera(
            "pipeline",
            &format!("opencv:rtspsrc location=rtsp://user:{SECRET}@127.0.0.1:1/ ! appsink"),
            "",
        )?,
    ];
    let names: Vec<String> = cameras.iter().map(|camera| camera.id.to_string()).collect();
    let stack = stack(&folder, cameras)?
        .gateway(0)
        .set(peregrine_stack::Daemon::Producer, "log.level=debug")
        .set(peregrine_stack::Daemon::Gateway, "log.level=debug")
        .start()?;
    results(&stack, "good", 10, LONGEST)?;

    let mut said = Vec::new();
    for name in &names[1..] {
        let failing = |state: &peregrine_streams::SourceState| !state.error.is_empty();
        let state = source_state(&stack, name, LONGEST, failing)?;
        assert!(
            matches!(state.state, SourceHealth::Reconnecting | SourceHealth::Failed),
            "{name}: {state:?}"
        );
        said.push((format!("source state of {name}"), format!("{state:?}")));
    }
    let gateway = stack.gateway_url().unwrap();
    for path in [
        "/api/cameras",
        "/api/cameras/good",
        "/api/cameras/silent",
        "/api/cameras/silent/snapshot",
        "/api/state",
    ] {
        said.push((path.to_owned(), http::get(&gateway, path)?.text()));
    }
    assert!(said.iter().any(|(path, text)| path == "/api/cameras" && text.contains("good")), "{said:?}");
    for name in ["producer", "processor-1", "gateway"] {
        said.push((format!("metrics of {name}"), stack.metrics_text(name)?));
    }
    let config = stack.folder().join("producer.toml");
    let shown = programs::run("producer", ["--check-config", "--config", config.to_str().unwrap()])?;
    assert!(shown.status.success());
    said.push(("--check-config".into(), format!("{shown:?}")));
    let folder = stack.folder().to_owned();
    stack.stop_and_drain();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "log") {
            said.push((path.display().to_string(), fs::read_to_string(path)?));
        }
    }
    assert!(said.iter().any(|(_, text)| text.contains("rtsp://***@")), "nothing was said at all");
    for (place, text) in said {
        assert!(!text.contains(SECRET), "{place} says: {text}");
    }
    Ok(())
}
