//! A whole daemon in a process of its own: `examples/heartbeat.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn heartbeat() -> Command {
    // Examples lie beside the folder of the test binaries.
    let path: PathBuf =
        env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("heartbeat");
    assert!(path.exists(), "{} is missing: cargo build -p peregrine-daemon --examples", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running daemon; its log is read line by line.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    admin: String,
}

impl Running {
    fn start(settings: &[&str]) -> Self {
        let mut command = heartbeat();
        command.args(["--log-format", "json"]);
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self { child, log, admin: String::new() };
        let started = running.line("started");
        running.admin = started["admin"].as_str().unwrap().trim_start_matches("http://").to_owned();
        running
    }

    /// The next log line with this message.
    fn line(&mut self, message: &str) -> serde_json::Value {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ended before `{message}`");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            if value["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return value;
            }
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> i32 {
        self.child.wait().unwrap().code().expect("ended by a signal")
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.get_as(path, "host: localhost\r\n")
    }

    /// `headers` are lines, each with its end.
    fn get_as(&self, path: &str, headers: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(&self.admin).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.get("/readyz").0 != 200 {
            assert!(Instant::now() < deadline, "never ready");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn metrics_hang_while_every_worker_thread_is_busy() {
    let daemon = Running::start(&["heartbeat.hogs=64", "daemon.name=chest"]);
    daemon.wait_until_ready();
    assert_eq!(daemon.get("/healthz").0, 200);
    let (status, metrics) = daemon.get("/metrics");
    assert_eq!(status, 200);
    for line in [
        "peregrine_frames_processed_total{camera=\"heart\",worker=\"chest\"} 1.0",
        "# TYPE peregrine_process_cpu_seconds counter",
        "peregrine_build_info{daemon=\"heartbeat\"",
        "# TYPE peregrine_process_resident_memory_bytes gauge",
    ] {
        assert!(metrics.contains(line), "`{line}` is missing in:\n{metrics}");
    }
}

#[test]
fn metrics_are_read_by_a_page_that_has_its_name_point_here() {
    let daemon = Running::start(&["admin.hosts=['metrics.example.org']"]);
    daemon.wait_until_ready();
    let status = |headers: &str| daemon.get_as("/metrics", headers).0;
    assert_eq!(status("host: evil.example:9100\r\n"), 403);
    assert_eq!(status("host: 127.0.0.1\r\norigin: http://evil.example\r\n"), 403);
    assert_eq!(status("host: metrics.example.org:9100\r\n"), 200);
}

#[test]
fn flame_graph_is_drawn_unasked_or_does_not_show_what_is_busy() {
    let daemon = Running::start(&["heartbeat.hogs=1"]);
    daemon.wait_until_ready();
    assert_eq!(daemon.get("/debug/pprof/flamegraph?seconds=1").0, 404, "it is off");
    let daemon = Running::start(&["heartbeat.hogs=1", "admin.profiles=true"]);
    daemon.wait_until_ready();
    let (status, svg) = daemon.get("/debug/pprof/flamegraph?seconds=2");
    assert_eq!(status, 200, "{svg}");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(svg.contains("heartbeat::run"), "the hog is not in it:\n{svg}");
    assert_eq!(daemon.get("/debug/pprof/flamegraph?seconds=1000").0, 400);
}

#[test]
fn work_in_hand_is_cut_off_by_sigterm() {
    let mut daemon = Running::start(&["heartbeat.drain_s=0.3"]);
    daemon.wait_until_ready();
    daemon.signal("TERM");
    daemon.line("draining");
    daemon.line("drained");
    assert_eq!(daemon.exit_code(), 0);
}

#[test]
fn draining_outlives_the_grace_period() {
    let mut daemon = Running::start(&["heartbeat.drain_s=3600", "daemon.grace_s=0.2"]);
    daemon.wait_until_ready();
    daemon.signal("TERM");
    daemon.line("draining took longer");
    assert_eq!(daemon.exit_code(), 3);
}

#[test]
fn second_ctrl_c_waits_for_the_drain() {
    let mut daemon = Running::start(&["heartbeat.drain_s=3600", "daemon.grace_s=3600"]);
    daemon.wait_until_ready();
    daemon.signal("INT");
    daemon.line("draining");
    assert_eq!(daemon.get("/readyz"), (503, "draining\n".into()));
    // A launcher in the same terminal forwards a SIGTERM of its own: that is no second ctrl-c.
    daemon.signal("TERM");
    assert_eq!(daemon.get("/healthz").0, 200);
    daemon.signal("INT");
    assert_eq!(daemon.exit_code(), 130);
}

#[test]
fn taken_port_is_reported_without_the_way_out() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let output = heartbeat().args(["--admin", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = format!("port {address} is taken: choose another with --admin HOST:PORT");
    assert!(text(&output).contains(&expected), "{}", text(&output));
}

#[test]
fn wrong_configuration_starts_anyway() {
    let output =
        heartbeat().args(["--set", "heartbeat.evry_s=1", "--set", "heartbeat.every_s=0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = "heartbeat: 2 problems with the configuration\n  heartbeat.evry_s (--set heartbeat.evry_s): unknown key; \
                    did you mean `heartbeat.every_s`?\n  heartbeat.every_s (--set heartbeat.every_s): 0 is no interval: use more \
                    than 0\n";
    assert_eq!(text(&output), expected);
}

#[test]
fn check_config_starts_the_daemon() {
    let output = heartbeat().args(["--check-config", "--set", "heartbeat.every_s=5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(shown.contains("[heartbeat]") && shown.contains("every_s = 5"), "{shown}");
    assert_eq!(text(&output), "");
}
