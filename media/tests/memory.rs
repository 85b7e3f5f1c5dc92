//! What a source holds of memory, pass after pass: alone in its process, so that nothing else changes it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod clips;

use std::fs;

use clips::{ffmpeg, open_path};

/// Resident memory of this process, MB.
fn resident_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1e3
}

#[test]
fn packets_that_give_no_picture_are_kept() {
    const PASSES: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("sound.mov");
    // In each pass 4 MB of sound, which nobody hears, and the packets that come before the first picture.
    let picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"];
    let sound = ["-f", "lavfi", "-i", "anoisesrc=sample_rate=48000", "-ac", "2", "-c:a", "pcm_s16le"];
    let output = ["-t", "20", "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", clip.to_str().unwrap()];
    if !ffmpeg(&[&picture[..], &sound[..], &output[..]].concat()) {
        return;
    }
    let mut source = open_path(&clip);
    let mut pass = || {
        while source.next().unwrap().is_some() {}
        source.rewind().unwrap();
    };
    pass();
    let before = resident_mb();
    (0..PASSES).for_each(|_| pass());
    let more = resident_mb() - before;
    assert!(more < 20.0, "{more:.0} MB more after {PASSES} passes");
}
