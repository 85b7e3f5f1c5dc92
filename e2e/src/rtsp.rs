//! A real RTSP server: GStreamer's, in a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct RtspServer {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl RtspServer {
    /// Serves a clip under `/clip`, to anybody or to one user with a password. Each client sees it from its beginning, at
    /// its own rate.
    ///
    /// # Errors
    /// When Python, GStreamer or their bindings are missing.
    pub fn serve(clip: &Path, credentials: Option<(&str, &str)>) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/rtsp.py");
        // Debian's own Python: its bindings to GStreamer are in no other.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(clip).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some((user, password)) = credentials {
            command.args([user, password]);
        }
        let mut child = command.spawn().context("cannot run /usr/bin/python3")?;
        let mut address = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut address)?;
        }
        let server = Self { child, address: address.trim().to_owned() };
        ensure!(
            !server.address.is_empty(),
            "the RTSP server did not start: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 \
             gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
        );
        Ok(server)
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
