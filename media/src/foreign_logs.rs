//! Messages that FFmpeg, OpenCV and GStreamer write to standard error by themselves. They have addresses with passwords in them.

use std::{env, os::unix::process::CommandExt, process::Command};

/// Variables that switch on messages of the libraries, or files of theirs, that no code of ours can switch off again: some are read
/// before `main`.
const VARIABLES: [&str; 10] = [
    "GST_DEBUG",
    "GST_DEBUG_DUMP_DOT_DIR",
    "GST_DEBUG_FILE",
    "GST_TRACERS",
    "G_MESSAGES_DEBUG",
    "OPENCV_DUMP_ERRORS",
    "OPENCV_FFMPEG_DEBUG",
    "OPENCV_FFMPEG_LOGLEVEL",
    "OPENCV_LOG_LEVEL",
    "OPENCV_VIDEOIO_DEBUG",
];

/// Starts the process anew without the environment variables that make the libraries write what they open, where any is
/// set. Call it first in `main`.
pub fn heed_no_debug_variables() {
    let set: Vec<&str> = VARIABLES.into_iter().filter(|name| env::var_os(name).is_some()).collect();
    if set.is_empty() {
        return;
    }
    let names = set.join(", ");
    eprintln!("{names} set aside: what the libraries would write has addresses with their passwords");
    let Ok(program) = env::current_exe() else { return };
    let mut anew = Command::new(program);
    anew.args(env::args_os().skip(1));
    for name in set {
        anew.env_remove(name);
    }
    // It only comes back where it failed.
    let error = anew.exec();
    eprintln!("{names} cannot be set aside: {error}");
}
