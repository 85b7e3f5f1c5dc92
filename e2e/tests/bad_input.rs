//! What users get wrong: a message that names the thing and the way out, and nothing else harmed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use peregrine_e2e::{clips, onnx::Model, programs, results::*, system::*};
use peregrine_streams::SourceHealth;

const LONGEST: Duration = Duration::from_secs(60);

/// What `processor analyze` says about a video or a model that it cannot use.
fn refusal(video: &Path, model: &Path, more: &[&str]) -> Result<String> {
    let out = model.with_extension("jsonl");
    let said = programs::analyze(video, model, &out, more)?.expect_err("it was accepted");
    assert!(!said.contains("panicked"), "{said}");
    Ok(said)
}

/// The message names the thing, and each of these words of the way out.
fn assert_says(said: &str, thing: &Path, words: &[&str]) {
    let name = thing.file_name().unwrap().to_str().unwrap();
    for word in [&[name], words].concat() {
        assert!(said.contains(word), "`{word}` is missing in: {said}");
    }
}

/// A folder with a sound clip and a sound model.
fn sound(name: &str) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let folder = folder(name)?;
    let clip = clips::test_picture(&folder, "clip.mp4", "64x64", 10)?;
    let model = watcher(&folder)?;
    Ok((folder, clip, model))
}

#[test]
fn missing_video_is_not_named() -> Result<()> {
    let (folder, _, model) = sound("bad-missing-video")?;
    let video = folder.join("nowhere.mp4");
    assert_says(&refusal(&video, &model, &[])?, &video, &["no such file"]);
    Ok(())
}

#[test]
fn truncated_video_is_not_named() -> Result<()> {
    let (_, clip, model) = sound("bad-truncated-video")?;
    let video = clips::cut_in_half(&clip)?;
    assert_says(&refusal(&video, &model, &[])?, &video, &[]);
    Ok(())
}

#[test]
fn undecodable_codec_is_not_named() -> Result<()> {
    let (folder, _, model) = sound("bad-codec")?;
    let video = clips::of_unknown_codec(&folder)?;
    assert_says(&refusal(&video, &model, &[])?, &video, &["codec", "ffmpeg"]);
    Ok(())
}

#[test]
fn file_that_is_no_model_is_not_named() -> Result<()> {
    let (folder, clip, sound) = sound("bad-not-onnx")?;
    let model = folder.join("notes.onnx");
    fs::write(&model, "this is no model")?;
    assert_says(&refusal(&clip, &model, &[])?, &model, &["no whole ONNX model", "export"]);
    fs::write(&model, &fs::read(sound)?[..200])?;
    assert_says(&refusal(&clip, &model, &[])?, &model, &["no whole ONNX model"]);
    Ok(())
}

#[test]
fn missing_model_is_not_named() -> Result<()> {
    let (folder, clip, _) = sound("bad-missing-model")?;
    let model = folder.join("nowhere.onnx");
    assert_says(&refusal(&clip, &model, &[])?, &model, &["cannot be read"]);
    Ok(())
}

#[test]
fn unknown_head_is_not_named() -> Result<()> {
    let (folder, clip, _) = sound("bad-head")?;
    let model = folder.join("odd.onnx");
    Model::with_unknown_head().write(&model)?;
    assert_says(&refusal(&clip, &model, &[])?, &model, &["1x7x3", "yolov8", "odd.toml"]);
    Ok(())
}

#[test]
fn collinear_calibration_is_accepted() -> Result<()> {
    let (folder, clip, model) = sound("bad-calibration")?;
    let points =
        (1..=4).map(|i| format!("[[calibration.points]]\nimage = [{0}, {0}]\nground = [{i}, {i}]\n", i * 10));
    let crooked = camera("crooked", "clip.mp4", &points.collect::<String>())?;
    let file = folder.join("camera.toml");
    fs::write(&file, toml::to_string(&crooked)?)?;
    let said = refusal(&clip, &model, &["--camera", file.to_str().unwrap()])?;
    for word in ["calibration", "line"] {
        assert!(said.contains(word), "{said}");
    }
    Ok(())
}

#[test]
fn unknown_key_of_a_camera_is_accepted() -> Result<()> {
    let (folder, clip, model) = sound("bad-camera-key")?;
    let file = folder.join("camera.toml");
    fs::write(&file, "id = 'a'\n[source]\nuri = 'clip.mp4'\n[analysis]\nconfidnce = 0.5\n")?;
    let said = refusal(&clip, &model, &["--camera", file.to_str().unwrap()])?;
    assert_says(&said, &file, &["confidnce", "confidence"]);
    Ok(())
}

#[test]
fn unknown_configuration_key_is_accepted() -> Result<()> {
    for daemon in ["producer", "processor", "gateway"] {
        let output = programs::run(daemon, ["--set", "redis.ulr=redis://h", "--set", "log.levle=info"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{daemon}: {said}");
        for text in [
            "redis.ulr (--set redis.ulr): unknown key; did you mean `redis.url`?",
            "log.levle (--set log.levle): unknown key; did you mean `log.level`?",
        ] {
            assert!(said.contains(text), "{daemon}: {said}");
        }
    }
    Ok(())
}

#[test]
fn variable_of_another_daemon_is_refused_or_one_of_its_own_ignored() -> Result<()> {
    let daemons = ["producer", "processor", "gateway"];
    let shown = |daemon: &str, variable: Option<&str>| {
        let mut command = Command::new(programs::binary(daemon)?);
        command.args(["--check-config"]);
        if daemon == "processor" {
            command.args(["--set", "model.path=model.onnx"]);
        }
        Ok::<_, anyhow::Error>(command.envs(variable.map(|name| (name, "1"))).output()?)
    };
    let sections: Vec<(&str, Vec<String>)> = daemons
        .into_iter()
        .map(|daemon| {
            let config: toml::Table = toml::from_str(&String::from_utf8(shown(daemon, None)?.stdout)?)?;
            Ok((daemon, config.keys().cloned().collect()))
        })
        .collect::<Result<_>>()?;
    let all: BTreeSet<&String> = sections.iter().flat_map(|(_, sections)| sections).collect();
    for (daemon, own) in &sections {
        for section in &all {
            let variable = format!("PEREGRINE_{}__NO_SUCH_KEY", section.to_uppercase());
            let output = shown(daemon, Some(&variable))?;
            let wanted = if own.contains(section) { 2 } else { 0 };
            assert_eq!(output.status.code(), Some(wanted), "{daemon} with {variable}: {output:?}");
        }
    }
    Ok(())
}

#[test]
fn address_whose_credentials_were_hidden_is_accepted() -> Result<()> {
    let file = folder("bad-hidden-credentials")?.join("producer.toml");
    fs::write(&file, "[[camera]]\nid = 'yard'\n[camera.source]\nuri = 'rtsp://***@127.0.0.1/1'\n")?;
    let output = programs::run("producer", ["--check-config", "--config", file.to_str().unwrap()])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("camera yard: source.uri has `***`") && said.contains("put them back"), "{said}");
    Ok(())
}

#[test]
fn taken_port_is_not_named() -> Result<()> {
    let folder = folder("bad-port")?;
    let model = watcher(&folder)?;
    let model = format!("model.path={}", model.display());
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let address = holder.local_addr()?.to_string();
    for (daemon, more) in [("producer", None), ("processor", Some(&model)), ("gateway", None)] {
        let mut arguments = vec!["--admin", &address];
        if let Some(more) = more {
            arguments.extend(["--set", more]);
        }
        let output = programs::run(daemon, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{daemon}: {said}");
        assert!(
            said.contains(&format!("port {address} is taken")) && said.contains("--admin"),
            "{daemon}: {said}"
        );
    }
    Ok(())
}

#[test]
fn taken_port_of_the_gateway_is_not_named() -> Result<()> {
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let address = holder.local_addr()?;
    let stack = stack(&folder("bad-gateway-port")?, Vec::new())?.processors(0).producer(false).start()?;
    let listen = format!("gateway.listen={address}");
    let redis = format!("redis.url={}", stack.redis_urls().state);
    let output = programs::run("gateway", ["--set", &listen, "--set", &redis])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for word in ["taken", "gateway.listen", &address.port().to_string()] {
        assert!(said.contains(word), "`{word}` is missing in: {said}");
    }
    Ok(())
}

#[test]
fn missing_redis_is_not_named() -> Result<()> {
    let folder = folder("bad-redis")?;
    let model = format!("model.path={}", watcher(&folder)?.display());
    // Nobody listens on port 1.
    for (daemon, more) in [("producer", None), ("processor", Some(&model)), ("gateway", None)] {
        let mut arguments =
            vec!["--set", "redis.url=redis://:hunter2@127.0.0.1:1", "--set", "gateway.listen=127.0.0.1:0"];
        if daemon != "gateway" {
            arguments.truncate(2);
        }
        if let Some(more) = more {
            arguments.extend(["--set", more]);
        }
        let output = programs::run(daemon, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{daemon}: {said}");
        assert!(said.contains("127.0.0.1:1") && said.contains("redis.url"), "{daemon}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("panicked"), "{daemon}: {said}");
    }
    Ok(())
}

#[test]
fn bad_camera_takes_the_good_one_along() -> Result<()> {
    let (folder, clip, _) = sound("bad-cameras")?;
    let cut = clips::cut_in_half(&clip)?;
    let codec = clips::of_unknown_codec(&folder)?;
    let outside = folder.join("outside");
    fs::create_dir(&outside)?;
    let outside = outside.join("private.mp4");
    fs::copy(&clip, &outside)?;
    let uri = |path: &Path| path.display().to_string();
    let cameras = vec![
        camera("missing", &uri(&folder.join("nowhere.mp4")), "")?,
        camera("cut", &uri(&cut), "")?,
        camera("codec", &uri(&codec), "")?,
        camera("good", &uri(&clip), "fps = 5\nloop = true")?,
    ];
    let stack = stack(&folder, cameras)?.start()?;
    // Not in the producer's own configuration: somebody else's wish.
    let foreign = camera("foreign", &uri(&outside), "")?;
    block_on(async { Ok(redis(&stack).await?.put_camera(&foreign).await?) })?;

    for (name, words) in [
        ("missing", vec!["nowhere.mp4", "no such file"]),
        ("cut", vec!["clip.cut.mp4"]),
        ("codec", vec!["unknown-codec.avi", "codec"]),
        ("foreign", vec!["private.mp4", "not allowed", "folders"]),
    ] {
        let state = source_state(&stack, name, LONGEST, |state| state.state == SourceHealth::Failed)?;
        for word in words {
            assert!(state.error.contains(word), "`{word}` is missing in what {name} says: {}", state.error);
        }
    }
    let good = results(&stack, "good", 15, LONGEST)?;
    each_frame_once(&good[..10], 10)
}
