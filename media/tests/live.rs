//! Network streams and captures: real servers, and servers that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod clips;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clips::*;
use peregrine_media::{AllowList, OpenOptions, Source, SourceError, TimeRepair, open};
use peregrine_proto::Size;

fn open_within(uri: &str, timeout: Duration) -> Result<Box<dyn Source>, SourceError> {
    let options = OpenOptions { timeout, ..OpenOptions::default() };
    open(&config(uri, None), &AllowList::anything(), &options)
}

/// A real RTSP server that serves one clip; ends with the value.
struct RtspServer {
    child: Child,
    port: u16,
}

impl RtspServer {
    /// None, with a message, where GStreamer's server is not installed.
    fn start(clip: &Path, password: Option<&str>) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rtsp_server.py");
        let spawned = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(clip)
            .args(password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let port = spawned.ok().and_then(|mut child| {
            let mut line = String::new();
            BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
            let port = line.trim().parse().ok();
            if port.is_none() {
                let _ = child.wait();
            }
            Some(Self { child, port: port? })
        });
        if port.is_none() {
            println!(
                "skipped: no RTSP server (apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 \
                 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad)"
            );
        }
        port
    }

    fn signal(&self, name: &str) {
        Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

#[test]
fn rtsp_frames_are_missing_or_have_other_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    // Without B-frames, as cameras send.
    if !clip(&path, "320x240", 50, &["-c:v", "libx264", "-bf", "0", "-g", "10", "-pix_fmt", "yuv420p"]) {
        return;
    }
    let Some(server) = RtspServer::start(&path, Some("hunter2")) else { return };
    let uri = format!("rtsp://user:hunter2@127.0.0.1:{}/clip", server.port);
    let mut source = open_within(&uri, Duration::from_secs(10)).unwrap();
    assert!(source.info().live);
    assert_eq!(source.info().size, Size { width: 320, height: 240 });
    let begin = now_us();
    let (frames, error) = read_all(source.as_mut());
    let error = error.expect("a live stream's end is a loss");
    assert!(error.retryable() && !error.to_string().contains("hunter2"), "{error}");
    assert_eq!(frames.len(), 50);
    assert!(frames.windows(2).all(|pair| pair[0].media_time_us < pair[1].media_time_us));
    // The first frames come at once, out of what was read to find out what the stream is.
    let apart: Vec<i64> = frames.iter().map(|f| f.media_time_us - f.captured_at_us).collect();
    assert!(apart.iter().all(|apart| apart.abs() < 500_000), "{apart:?}");
    assert!(
        frames.windows(2).all(|pair| (pair[1].media_time_us - pair[0].media_time_us - 40_000).abs() < 100)
    );
    // Paced by the server, not as fast as they can be read.
    let span = frames[49].captured_at_us - frames[0].captured_at_us;
    assert!(span > 1_000_000 && now_us() - begin < 20_000_000, "{span}");
    assert!(matches!(source.rewind(), Err(SourceError::NoRewind { .. })));
    let reference = opencv_frames(&path);
    let off = difference(&to_bgr(&frames[49].picture), &reference[49]);
    assert!(off < 1.5, "last frame is off by {off}");
    // Wrong credentials are no passing weakness.
    let wrong = format!("rtsp://user:hunter3@127.0.0.1:{}/clip", server.port);
    let error = open_within(&wrong, Duration::from_secs(10)).err().unwrap();
    assert!(!error.retryable() && error.to_string().contains("password"), "{error}");
}

#[test]
fn rtsp_frames_with_b_frames_are_unevenly_timed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    if !clip(&path, "320x240", 60, &H264) {
        return;
    }
    let Some(server) = RtspServer::start(&path, None) else { return };
    let uri = format!("rtsp://127.0.0.1:{}/clip", server.port);
    let (frames, _) = read_all(open_within(&uri, Duration::from_secs(10)).unwrap().as_mut());
    assert_eq!(frames.len(), 60);
    assert!(frames.iter().skip(1).all(|frame| !frame.discontinuity));
    // The clip has 25 frames a second.
    let steps = frames.windows(2).map(|pair| pair[1].media_time_us - pair[0].media_time_us);
    assert!(steps.clone().all(|step| (39_900..=40_100).contains(&step)), "{:?}", steps.collect::<Vec<_>>());
    // A frame was captured before what is shown after it.
    assert!(frames.windows(2).all(|pair| pair[0].captured_at_us <= pair[1].captured_at_us));
    let span = frames[59].captured_at_us - frames[0].captured_at_us;
    assert!((1_200_000..3_500_000).contains(&span), "{span}");
}

#[test]
fn clock_of_a_live_stream_that_is_set_tears_its_frames_apart() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.mp4");
    if !clip(&plain, "160x120", 75, &["-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"]) {
        return;
    }
    // MPEG-TS over HTTP at its own rate; its clock goes in ticks of a 90,000th of a second. (A muxer does not let it go back.)
    let cases = [
        ("ts=TS+if(gte(N\\,40)\\,20*90000\\,0)", Some(TimeRepair::Jump), 1),
        ("pts=PTS+if(eq(mod(N\\,25)\\,20)\\,9800*90000\\,0):dts=DTS", None, 3),
        ("ts=TS", None, 0),
    ];
    let streams = cases.map(|(setts, kind, repaired)| {
        let folder = folder.path().to_owned();
        thread::spawn(move || {
            let path = folder.join(format!("{}.ts", setts.len()));
            let setts = format!("setts={setts}");
            let arguments =
                ["-i", folder.join("plain.mp4").to_str().unwrap(), "-c", "copy", "-bsf:v", &setts]
                    .map(str::to_owned);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let to = ["-output_ts_offset", "1000", "-muxdelay", "0", path.to_str().unwrap()];
            assert!(ffmpeg(&[&arguments[..], &to].concat()));
            let body = fs::read(&path).unwrap();
            let address = serve(move |mut stream| {
                read_request(&mut stream);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let (begin, span) = (Instant::now(), Duration::from_secs(3));
                let mut sent = 0;
                while sent < body.len() {
                    let share = begin.elapsed().as_secs_f64() / span.as_secs_f64();
                    let until = ((body.len() as f64 * share) as usize).clamp(sent, body.len());
                    if stream.write_all(&body[sent..until]).is_err() {
                        return;
                    }
                    sent = until;
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let mut source = open_within(&format!("http://{address}/a.ts"), Duration::from_secs(10)).unwrap();
            assert!(source.info().live);
            let (frames, _) = read_all(source.as_mut());
            assert!(frames.len() >= 70, "{setts}: {}", frames.len());
            assert!(frames.iter().skip(1).all(|frame| !frame.discontinuity), "{setts}");
            let steps: Vec<i64> =
                frames.windows(2).map(|pair| pair[1].media_time_us - pair[0].media_time_us).collect();
            assert!(steps.iter().all(|step| (39_900..=40_100).contains(step)), "{setts}: {steps:?}");
            let times = source.counts().times;
            assert_eq!(
                (kind.map_or(repaired, |kind| times.get(kind)), times.total()),
                (repaired, repaired),
                "{setts}"
            );
        })
    });
    for stream in streams {
        stream.join().unwrap();
    }
}

#[test]
fn mjpeg_over_http_has_a_made_up_rate() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mpjpeg");
    if !clip(&path, "320x240", 30, &["-f", "mpjpeg"]) {
        return;
    }
    let body = fs::read(&path).unwrap();
    let begins: Vec<usize> =
        (0..body.len()).filter(|at| body[*at..].starts_with(b"--ffmpeg")).chain([body.len()]).collect();
    let address = serve(move |mut stream| {
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=ffmpeg\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for part in begins.windows(2) {
            if stream.write_all(&body[part[0]..part[1]]).is_err() {
                break;
            }
            thread::sleep(INTERVAL);
        }
    });
    let mut source = open_within(&format!("http://{address}/video"), Duration::from_secs(5)).unwrap();
    assert!(source.info().live && source.info().fps == 0.0, "{:?}", source.info());
    let (frames, _) = read_all(source.as_mut());
    assert!(frames.len() >= 28, "{}", frames.len());
    // What came while the source was opened comes at once.
    let span = frames[27].media_time_us - frames[17].media_time_us;
    assert!((span - 1_000_000).abs() < 300_000, "10 frames of 10 a second span {span} µs");
}

#[test]
fn dead_or_frozen_rtsp_server_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    if !clip(&path, "320x240", 500, &["-c:v", "libx264", "-bf", "0", "-g", "10", "-pix_fmt", "yuv420p"]) {
        return;
    }
    for signal in ["KILL", "STOP"] {
        let Some(server) = RtspServer::start(&path, None) else { return };
        let uri = format!("rtsp://127.0.0.1:{}/clip", server.port);
        let mut source = open_within(&uri, Duration::from_secs(3)).unwrap();
        assert!(source.next().unwrap().is_some());
        server.signal(signal);
        let begin = Instant::now();
        let (_, error) = read_all(source.as_mut());
        assert!(error.expect(signal).retryable());
        assert!(begin.elapsed() < Duration::from_secs(10), "{signal}: {:?}", begin.elapsed());
        server.signal("CONT");
    }
}

/// A server on a port of its own that does this with every connection.
fn serve(answer: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream);
        }
    });
    address
}

fn read_request(stream: &mut std::net::TcpStream) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        bytes.push(byte[0]);
    }
}

#[test]
fn silent_server_hangs_the_caller() {
    let address = serve(|stream| {
        thread::sleep(Duration::from_secs(60));
        drop(stream);
    });
    for scheme in ["rtsp", "http"] {
        let begin = Instant::now();
        let error = open_within(&format!("{scheme}://{address}/a"), Duration::from_secs(1)).err().unwrap();
        assert!(error.retryable() && error.to_string().contains("nothing came for 1 s"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
    // Somebody else ends the wait.
    let options = OpenOptions { timeout: Duration::from_secs(60), ..OpenOptions::default() };
    let stop = options.stop.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
    });
    let begin = Instant::now();
    let error = open(&config(&format!("rtsp://{address}/a"), None), &AllowList::anything(), &options);
    assert!(matches!(error.err().unwrap(), SourceError::Stopped { .. }));
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn video_over_http_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let mut arguments = H264.to_vec();
    arguments.extend(["-movflags", "faststart"]);
    if !clip(&path, "320x240", 30, &arguments) {
        return;
    }
    let body = fs::read(&path).unwrap();
    let address = serve(move |mut stream| {
        read_request(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // The client may have seen enough.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    });
    let mut source = open_within(&format!("http://{address}/clip.mp4"), Duration::from_secs(5)).unwrap();
    assert!(!source.info().live);
    let (frames, error) = read_all(source.as_mut());
    assert!(error.is_none(), "{error:?}");
    let (expected, _) = read_all(open_path(&path).as_mut());
    assert_eq!(frames.len(), expected.len());
    for (a, b) in frames.iter().zip(&expected) {
        assert_eq!(a.media_time_us, b.media_time_us);
        assert!(tight(&a.picture) == tight(&b.picture));
    }
}

#[test]
fn http_refusals_are_not_explained() {
    for (status, expected, retryable) in [
        ("401 Unauthorized", "password", false),
        ("403 Forbidden", "forbids", false),
        ("404 Not Found", "404", true),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let address = serve(move |mut stream| {
            read_request(&mut stream);
            let _ = stream.write_all(answer.as_bytes());
        });
        let error = open_within(&format!("http://{address}/a"), Duration::from_secs(5)).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.retryable(), retryable, "{error}");
    }
}

#[test]
fn pipeline_gives_no_frames_or_never_ends() {
    let pipeline = "opencv:videotestsrc num-buffers=60 ! video/x-raw,width=320,height=240,framerate=100/1 ! \
                    videoconvert ! video/x-raw,format=BGR ! appsink";
    let mut source = match open_any(pipeline) {
        Ok(source) => source,
        Err(error) if error.to_string().contains("GStreamer does not accept") => {
            println!("skipped: no GStreamer test source (apt-get install gstreamer1.0-plugins-base)");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(!source.info().live);
    let (frames, error) = read_all(source.as_mut());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.len(), 60);
    assert_eq!(frames[59].media_time_us, 590_000);
    let picture = &frames[0].picture;
    assert_eq!(picture.size(), Size { width: 320, height: 240 });
    // The colour bars begin with (nearly) white; the second is yellow: little U, neutral V.
    let [y, u, v] = picture.planes();
    assert!(y.row(10)[10] > 170 && u.row(5)[5].abs_diff(128) < 3, "{}", y.row(10)[10]);
    assert!(u.row(5)[35] < 60 && v.row(5)[35].abs_diff(140) < 12, "{} {}", u.row(5)[35], v.row(5)[35]);
    source.rewind().unwrap();
    let again = source.next().unwrap().unwrap();
    assert!(again.discontinuity && again.position == 0);
}

#[test]
fn broken_pipeline_is_accepted() {
    let error = open_any("opencv:nosuchelement ! appsink").err().unwrap();
    assert!(error.to_string().contains("GStreamer does not accept"), "{error}");
}

#[test]
fn opencv_file_differs_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    if !clip(&path, "320x240", 20, &H264) {
        return;
    }
    let (expected, _) = read_all(open_path(&path).as_mut());
    let mut source = open_any(&format!("opencv:{}", path.display())).unwrap();
    assert_eq!((source.info().live, source.info().frames), (false, Some(20)));
    let (frames, error) = read_all(source.as_mut());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.len(), 20);
    for (a, b) in frames.iter().zip(&expected) {
        // Through BGR and back.
        let off = mean_difference(&tight(&a.picture), &tight(&b.picture));
        assert!(off < 3.0, "frame {} is off by {off}", a.position);
    }
}

#[test]
fn broken_picture_of_a_folder_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert!(open_any(&format!("images:{path}")).err().unwrap().to_string().contains("no .jpg"));
    for (name, colour, size) in [
        ("f2.png", "red", "64x48"),
        ("f10.jpg", "blue", "64x48"),
        ("f1.bmp", "white", "64x48"),
        ("f11.png", "black", "33x21"),
    ] {
        let source = format!("color={colour}:size={size}");
        let to = folder.path().join(name);
        if !ffmpeg(&["-f", "lavfi", "-i", &source, "-frames:v", "1", "-s", size, to.to_str().unwrap()]) {
            return;
        }
    }
    fs::write(folder.path().join("f3.png"), b"this is no picture").unwrap();
    fs::write(folder.path().join("notes.txt"), b"not looked at").unwrap();
    let mut source = open_any(&format!("images:{path}")).unwrap();
    assert_eq!((source.info().fps, source.info().frames), (10.0, Some(5)));
    let (frames, error) = read_all(source.as_mut());
    assert!(error.is_none(), "{error:?}");
    let positions: Vec<u64> = frames.iter().map(|frame| frame.position).collect();
    // f1, f2, f10, f11; f3 is broken.
    assert_eq!(positions, [0, 1, 3, 4]);
    assert_eq!(source.counts().undecodable, 1);
    assert_eq!(frames[2].media_time_us, 300_000);
    let luma: Vec<u8> = frames.iter().map(|frame| frame.picture.planes()[0].row(3)[3]).collect();
    // White, red, blue, black in BT.601 limited range.
    for (found, expected) in luma.iter().zip([235, 82, 41, 16]) {
        assert!(found.abs_diff(expected) <= 2, "{luma:?}");
    }
    assert_eq!(frames[3].picture.size(), Size { width: 33, height: 21 });
    // Another size alone does not start the tracks anew: the analysis decides.
    assert!(frames[1..].iter().all(|frame| !frame.discontinuity));
    source.rewind().unwrap();
    source.skip_to(3).unwrap();
    assert_eq!(source.next().unwrap().unwrap().position, 3);
}
