//! What may be opened, and what errors and logs may say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod clips;

use std::{fs, os::unix::fs::symlink, process::Command};

use clips::{config, open_any};
use peregrine_media::{AllowConfig, AllowList, OpenOptions, SourceError, open};

fn denied(list: &AllowList, uri: &str) -> String {
    match list.check(&uri.into()) {
        Err(SourceError::Denied(denied)) => denied.to_string(),
        other => panic!("{uri}: {other:?}"),
    }
}

#[test]
fn anything_is_open_by_default() {
    let list = AllowList::default();
    for (uri, missing) in [
        ("/etc/hostname", "folders = [\"/etc\"]"),
        ("file:/etc/hostname", "folders = [\"/etc\"]"),
        ("images:/etc", "folders = [\"/etc\"]"),
        ("rtsp://user:secret@camera.local/a", "hosts = [\"camera.local\"]"),
        ("http://10.0.0.9:8080/a", "hosts = [\"10.0.0.9\"]"),
        ("v4l2:/dev/video0", "schemes = [\"v4l2\"]"),
        ("opencv:0", "schemes = [\"opencv\"]"),
    ] {
        let text = denied(&list, uri);
        assert!(text.contains(missing) && !text.contains("secret"), "{text}");
        assert!(open(&config(uri, None), &list, &OpenOptions::default()).is_err());
    }
    list.check(&"synthetic:road".into()).unwrap();
    AllowList::anything().check(&"/etc/hostname".into()).unwrap();
}

#[test]
fn path_tricks_leave_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let (inside, outside) = (root.path().join("videos"), root.path().join("private"));
    fs::create_dir_all(inside.join("deep")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(root.path().join("videos-too")).unwrap();
    fs::write(outside.join("clip.mp4"), b"x").unwrap();
    fs::write(inside.join("clip.mp4"), b"x").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink(outside.join("clip.mp4"), inside.join("linked.mp4")).unwrap();
    symlink(&inside, root.path().join("alias")).unwrap();
    let list = AllowList::new(AllowConfig { folders: vec![inside.clone()], ..AllowConfig::default() });
    let uri = |path: &str| format!("{}/{path}", root.path().display());
    for path in [
        "videos/clip.mp4",
        "videos/deep/../clip.mp4",
        "videos/missing.mp4",
        "alias/clip.mp4",
        "videos/./clip.mp4",
        "private/../videos/clip.mp4",
    ] {
        list.check(&uri(path).into()).unwrap();
        list.check(&format!("file://{}", uri(path)).into()).unwrap();
    }
    for path in [
        "private/clip.mp4",
        "videos/../private/clip.mp4",
        "videos/link/clip.mp4",
        "videos/linked.mp4",
        "videos/missing/../../private/clip.mp4",
        "videos/link/../private/clip.mp4",
        "videos-too/clip.mp4",
        "alias/../private/clip.mp4",
    ] {
        denied(&list, &uri(path));
    }
    denied(&list, &format!("images:{}", outside.display()));
    list.check(&format!("images:{}", inside.display()).into()).unwrap();
}

#[test]
fn host_tricks_reach_another_host() {
    let hosts = ["camera.local", "10.0.0.5:554", "*.site.example", "[::1]:8554"].map(String::from).to_vec();
    let list = AllowList::new(AllowConfig { hosts, ..AllowConfig::default() });
    for uri in [
        "rtsp://camera.local/a",
        "RTSP://u:p@CAMERA.local:8554/a",
        "http://camera.local:80/a",
        "rtsp://10.0.0.5/a",
        "rtsp://10.0.0.5:554",
        "rtsp://north.site.example/a",
        "rtsp://[::1]:8554/a",
    ] {
        list.check(&uri.into()).unwrap();
    }
    for uri in [
        "rtsp://camera.local.evil.example/a",
        "rtsp://camera.local@evil.example/a",
        "rtsp://camera.local:pw@evil.example/a",
        "rtsp://evil.example/camera.local",
        "rtsp://10.0.0.5:8000/a",
        "http://10.0.0.5/a",
        "rtsp://site.example/a",
        "rtsp://evilsite.example/a",
        "rtsp://[::2]:8554/a",
    ] {
        denied(&list, uri);
    }
    // A password with such a sign in it would be taken for a host.
    for uri in ["rtsp://evil.example?@camera.local/", "rtsp://evil.example#@camera.local/"] {
        let error = list.check(&uri.into()).unwrap_err().to_string();
        assert!(error.contains("percent-encode") && !error.contains("evil"), "{error}");
    }
    let every = AllowList::new(AllowConfig { hosts: vec!["*".into()], ..AllowConfig::default() });
    every.check(&"https://anywhere.example/a".into()).unwrap();
}

#[test]
fn named_sources_of_the_local_configuration_are_refused() {
    let mut list = AllowList::default();
    list.trust(&"rtsp://u:p@cam/1".into());
    list.check(&"rtsp://u:p@cam/1".into()).unwrap();
    denied(&list, "rtsp://u:p@cam/2");
    let list = AllowList::new(AllowConfig {
        schemes: vec!["opencv".into(), "v4l2".into()],
        ..AllowConfig::default()
    });
    list.check(&"opencv:videotestsrc ! appsink".into()).unwrap();
    list.check(&"v4l2:/dev/video7".into()).unwrap();
    denied(&list, "v4l2:/dev/video0/../../etc/hostname");
    denied(&list, "v4l2:/dev/sda");
}

#[test]
fn bad_addresses_have_no_clear_error() {
    for (uri, expected) in [
        ("", "empty"),
        ("gopher://x/y", "no scheme known here"),
        ("rtsp:/host", "rtsp://host"),
        ("rtsp:///path", "no host"),
        ("rtsp://host:99999/a", "no port"),
        ("rtsp://user:se/cret@host/a", "percent-encode"),
        ("rtsp://cret:12/3456@host/a", "percent-encode"),
        ("rtsp://user:p@cret#1@host/a", "percent-encode"),
        ("rtsp://user:my cret@host/a", "percent-encode"),
        ("cret:pass@host/a", "what stands before its first `:` is no scheme"),
        ("http://host/a b", "percent-encode"),
        ("file:", "nothing follows"),
        ("synthetic:moon", "no scene `moon`"),
        ("clip\0.mp4", "control"),
    ] {
        let error = open_any(uri).err().expect(uri);
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("cret"), "{uri}: {text}");
        assert!(!error.retryable());
    }
    let error = open(&config("synthetic:road", Some(0.0)), &AllowList::anything(), &OpenOptions::default());
    assert!(error.err().unwrap().to_string().contains("fps"));
}

#[test]
fn missing_device_is_given_up() {
    let error = open_any("v4l2:/dev/video99").err().unwrap();
    assert!(error.retryable() && error.to_string().contains("plugged"), "{error}");
}

/// Runs in a process of its own, see below.
#[test]
fn opens_addresses_with_a_password() {
    if std::env::var_os("PEREGRINE_TEST_PASSWORD").is_none() {
        return;
    }
    peregrine_media::heed_no_debug_variables();
    for uri in [
        // OpenCV is the first to open anything.
        "opencv:http://user:hunter2@127.0.0.1:1/a?token=hunter2",
        "opencv:/nowhere/user:hunter2@host/hunter2 %d.png?pwd=hunter2",
        "rtsp://user:hunter2@127.0.0.1:1/a",
        "rtsp://user:my hunter2@127.0.0.1:1/a",
        "rtsp://127.0.0.1:1/user=a_password=hunter2_channel=1.sdp",
        "file:/nowhere/rtsp://a:my hunter2@127.0.0.1",
        "http://user:hunter2@127.0.0.1:1/a",
        "https://user:hunter2@127.0.0.1:1/a?pwd=hunter2",
        "opencv:rtsp://user:hunter2@127.0.0.1:1/a",
        "opencv:rtspsrc location=rtsp://127.0.0.1:1/a user-pw=hunter2 ! decodebin ! appsink",
    ] {
        let error = open_any(uri).err().unwrap();
        println!("{error} {error:?}");
    }
}

#[test]
fn password_reaches_the_terminal() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opens_addresses_with_a_password", "--nocapture"])
        .env("PEREGRINE_TEST_PASSWORD", "1")
        .envs([("OPENCV_LOG_LEVEL", "VERBOSE"), ("OPENCV_VIDEOIO_DEBUG", "1"), ("OPENCV_FFMPEG_DEBUG", "1")])
        .envs([("OPENCV_DUMP_ERRORS", "1"), ("GST_DEBUG", "5"), ("G_MESSAGES_DEBUG", "all")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("127.0.0.1") && !text.contains("hunter2"), "{text}");
}
