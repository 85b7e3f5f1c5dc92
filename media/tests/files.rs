//! Video files against the ffmpeg program and OpenCV.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod clips;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::Ordering,
};

use clips::*;
use peregrine_media::{AllowList, OpenOptions, Plane, SourceError, open, synthetic};
use peregrine_proto::{ColourMatrix, ColourRange, Size};

#[test]
fn frames_are_missing_or_differ_from_the_ffmpeg_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let mut arguments = vec!["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=2"];
    arguments.extend(["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac"]);
    arguments.extend(H264);
    arguments.push(path.to_str().unwrap());
    if !ffmpeg(&arguments) {
        return;
    }
    let expected = ffmpeg_i420(&path, "yuv420p");
    let (frames, error) = read_all(open_path(&path).as_mut());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.len(), 50);
    for (i, (frame, expected)) in frames.iter().zip(expected.chunks(320 * 240 * 3 / 2)).enumerate() {
        assert_eq!(frame.position, i as u64);
        assert_eq!(frame.media_time_us, i as i64 * 40_000);
        assert!(!frame.discontinuity);
        assert!(tight(&frame.picture) == expected, "frame {i} differs");
    }
    let reference = opencv_frames(&path);
    assert_eq!(reference.len(), 50);
    for i in [0, 49] {
        let off = difference(&to_bgr(&frames[i].picture), &reference[i]);
        assert!(off < 1.5, "frame {i} is off by {off} from OpenCV's");
    }
}

#[test]
fn decoder_threads_change_the_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mkv");
    if !clip(&path, "320x240", 40, &H264) {
        return;
    }
    let read = |decode_threads| {
        let options = OpenOptions { decode_threads, ..OpenOptions::default() };
        let uri = config(path.to_str().unwrap(), None);
        let mut source = open(&uri, &AllowList::anything(), &options).unwrap();
        read_all(source.as_mut()).0.iter().map(|f| (f.media_time_us, tight(&f.picture))).collect::<Vec<_>>()
    };
    let (one, four) = (read(1), read(4));
    assert_eq!(one.len(), 40);
    assert!(one == four);
}

#[test]
fn second_pass_or_skipping_gives_other_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    if !clip(&path, "160x120", 30, &H264) {
        return;
    }
    let mut source = open_path(&path);
    let (first, _) = read_all(source.as_mut());
    source.rewind().unwrap();
    let (second, _) = read_all(source.as_mut());
    assert_eq!((first.len(), second.len()), (30, 30));
    assert!(!first[0].discontinuity && second[0].discontinuity && !second[1].discontinuity);
    for (a, b) in first.iter().zip(&second) {
        assert_eq!((a.position, a.media_time_us), (b.position, b.media_time_us));
        assert!(tight(&a.picture) == tight(&b.picture));
    }
    let mut source = open_path(&path);
    source.skip_to(20).unwrap();
    let frame = source.next().unwrap().unwrap();
    assert_eq!((frame.position, frame.media_time_us), (20, first[20].media_time_us));
    assert!(tight(&frame.picture) == tight(&first[20].picture));
    source.skip_to(5).unwrap();
    assert_eq!(source.next().unwrap().unwrap().position, 21);
    source.skip_to(1000).unwrap();
    assert!(source.next().unwrap().is_none());
}

#[test]
fn true_rate_is_not_exact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    if !clip(&path, "160x120", 30, &["-c:v", "mpeg4"]) {
        return;
    }
    for fps in [7.0, 29.97, 0.5] {
        let uri = config(path.to_str().unwrap(), Some(fps));
        let mut source = open(&uri, &AllowList::anything(), &OpenOptions::default()).unwrap();
        assert_eq!(source.info().fps, fps);
        let (frames, _) = read_all(source.as_mut());
        for (i, frame) in frames.iter().enumerate() {
            assert_eq!(frame.media_time_us, (i as f64 * 1e6 / fps).round() as i64);
        }
    }
}

#[test]
fn variable_frame_times_differ_from_ffprobes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let mut arguments = vec!["-vf", "select='lt(n,8)+not(mod(n,5))'", "-vsync", "vfr"];
    arguments.extend(H264);
    if !clip(&path, "160x120", 20, &arguments) {
        return;
    }
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    let expected: Vec<i64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| (line.trim_end_matches(',').parse::<f64>().unwrap() * 1e6).round() as i64)
        .collect();
    let (frames, error) = read_all(open_path(&path).as_mut());
    assert!(error.is_none(), "{error:?}");
    let times: Vec<i64> = frames.iter().map(|frame| frame.media_time_us).collect();
    assert_eq!(times.len(), 20);
    let relative: Vec<i64> = expected.iter().map(|time| time - expected[0]).collect();
    for (time, expected) in times.iter().zip(&relative) {
        assert!((time - expected).abs() <= 1, "{times:?} for {relative:?}");
    }
    assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 150_000), "{times:?}");
}

/// H.264 without B-frames.
const PLAIN: [&str; 8] = ["-c:v", "libx264", "-bf", "0", "-g", "12", "-pix_fmt", "yuv420p"];

/// A clip of 60 frames, 25 a second, whose packets get other times in each container: by an expression of `setts` in which
/// `S` stands for a second.
fn restamped(folder: &Path, encoder: &[&str], setts: &str) -> Option<[PathBuf; 3]> {
    let plain = folder.join("plain.mp4");
    if !clip(&plain, "160x120", 60, encoder) {
        return None;
    }
    Some([("mkv", "1000"), ("ts", "90000"), ("mp4", "90000")].map(|(container, second)| {
        let path = folder.join(format!("restamped.{container}"));
        let setts = format!("setts={}", setts.replace("*S", &format!("*{second}")));
        let mut arguments = vec!["-i", plain.to_str().unwrap(), "-c", "copy", "-bsf:v", &setts];
        if container == "mp4" {
            arguments.extend(["-video_track_timescale", second]);
        }
        arguments.extend(["-muxdelay", "0", path.to_str().unwrap()]);
        assert!(ffmpeg(&arguments));
        path
    }))
}

#[test]
fn single_untidy_times_move_the_frames_of_a_file() {
    for (name, encoder, expression) in [
        ("ahead", PLAIN, "if(eq(N\\,15)\\,PTS+9800*S\\,PTS)"),
        ("ahead with B-frames", H264, "if(eq(N\\,15)+eq(N\\,30)\\,PTS+9800*S\\,PTS)"),
        ("ahead by seconds", PLAIN, "if(eq(mod(N\\,20)\\,15)\\,PTS+5*S\\,PTS)"),
        ("ahead by a second, two in a row", PLAIN, "if(eq(N\\,15)+eq(N\\,16)\\,PTS+1*S\\,PTS)"),
        ("slightly ahead", PLAIN, "if(eq(N\\,15)\\,PTS+0.06*S\\,PTS)"),
        ("repeated", PLAIN, "if(eq(mod(N\\,10)\\,5)\\,PTS-0.04*S\\,PTS)"),
        ("slightly behind", PLAIN, "if(eq(N\\,15)\\,PTS-0.06*S\\,PTS)"),
        ("behind with B-frames", H264, "if(eq(N\\,25)\\,PTS-0.9*S\\,PTS)"),
        ("the first ahead", PLAIN, "if(eq(N\\,0)\\,PTS+7*S\\,PTS)"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some(files) = restamped(folder.path(), &encoder, &format!("pts={expression}")) else { return };
        // (In MP4 such times are spoilt by the muxer.)
        for path in &files[..2] {
            let name = format!("{name}, {}", path.display());
            let mut source = open_path(path);
            let (frames, error) = read_all(source.as_mut());
            assert!(error.is_none(), "{name}: {error:?}");
            assert!(frames.iter().map(|frame| frame.position).eq(0..60), "{name}");
            assert!(frames.iter().all(|frame| !frame.discontinuity), "{name}");
            let times: Vec<i64> = frames.iter().map(|frame| frame.media_time_us).collect();
            for (frame, time) in times.iter().enumerate() {
                assert!((time - frame as i64 * 40_000).abs() <= 1000, "{name}: frame {frame}: {times:?}");
            }
            let repaired = source.counts().times.total();
            assert!((1..=6).contains(&repaired), "{name}: {:?}", source.counts());
            // The same on every pass and after every restart.
            source.rewind().unwrap();
            assert!(read_all(source.as_mut()).0.iter().map(|frame| frame.media_time_us).eq(times.clone()));
            for position in [15, 16, 17, 59] {
                let mut source = open_path(path);
                source.skip_to(position).unwrap();
                let frame = source.next().unwrap().unwrap();
                assert_eq!((frame.position, frame.media_time_us), (position, times[position as usize]));
            }
        }
    }
}

#[test]
fn gaps_and_joins_of_a_file_are_smoothed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(files) = restamped(
        folder.path(),
        &PLAIN,
        "pts=PTS+if(gte(N\\,30)\\,300*S\\,0):dts=DTS+if(gte(N\\,30)\\,300*S\\,0)",
    ) else {
        return;
    };
    for path in &files {
        let mut source = open_path(path);
        let (frames, _) = read_all(source.as_mut());
        let steps: Vec<i64> =
            frames.windows(2).map(|pair| pair[1].media_time_us - pair[0].media_time_us).collect();
        assert_eq!(frames.len(), 60, "{}", path.display());
        assert_eq!(
            steps.iter().filter(|step| **step > 299_000_000).count(),
            1,
            "{}: {steps:?}",
            path.display()
        );
        assert_eq!(source.counts().times.total(), 0, "{}", path.display());
    }
    // Recordings behind each other, each with a clock of its own.
    let Some(files) = restamped(folder.path(), &H264, "pts=PTS") else { return };
    let piece = fs::read(&files[1]).unwrap();
    let joined = folder.path().join("joined.ts");
    fs::write(&joined, [&piece[..], &piece, &piece].concat()).unwrap();
    let mut source = open_path(&joined);
    let (frames, _) = read_all(source.as_mut());
    assert_eq!(frames.len(), 180);
    let breaks: Vec<u64> =
        frames.iter().filter(|frame| frame.discontinuity).map(|frame| frame.position).collect();
    assert_eq!(breaks, [60, 120]);
    assert!(frames.iter().all(|frame| frame.media_time_us == frame.position as i64 * 40_000));
}

#[test]
fn times_in_the_order_of_decoding_shake_the_frames() {
    let folder = tempfile::tempdir().unwrap();
    let Some(files) = restamped(folder.path(), &H264, "ts=TS") else { return };
    // (In MP4 the muxer leaves frames out then.)
    for path in &files[..2] {
        let mut source = open_path(path);
        let (frames, _) = read_all(source.as_mut());
        assert_eq!(frames.len(), 60, "{}", path.display());
        let steps: Vec<i64> =
            frames.windows(2).map(|pair| pair[1].media_time_us - pair[0].media_time_us).collect();
        // But for those at its beginning, before it shows, and those that are still in the decoder at its end.
        let even = steps[8..54].iter().all(|step| (39_000..=41_000).contains(step));
        assert!(even && steps.iter().all(|step| *step <= 160_000), "{}: {steps:?}", path.display());
        assert!(source.counts().times.total() < 10, "{:?}", source.counts());
    }
}

#[test]
fn last_frames_of_a_damaged_file_are_lost_with_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.ts");
    let arguments = ["-c:v", "libx264", "-bf", "0", "-g", "5", "-pix_fmt", "yuv420p"];
    if !clip(&path, "160x120", 30, &arguments) {
        return;
    }
    let (whole, _) = read_all(open_path(&path).as_mut());
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 188 * 188 * 3 / 4);
    fs::write(&path, bytes).unwrap();
    let decoded = ffmpeg_i420(&path, "yuv420p").len() / (160 * 120 * 3 / 2);
    let (frames, _) = read_all(open_path(&path).as_mut());
    assert!(decoded > 15 && frames.len() == decoded, "{} of {decoded}", frames.len());
    assert!(frames.iter().zip(&whole).all(|(a, b)| a.media_time_us == b.media_time_us));
}

#[test]
fn odd_sizes_lose_their_last_row_or_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.mkv");
    if !clip(&path, "321x241", 3, &["-c:v", "ffv1", "-pix_fmt", "yuv420p"]) {
        return;
    }
    let expected = ffmpeg_i420(&path, "yuv420p");
    let (frames, _) = read_all(open_path(&path).as_mut());
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[0].picture.size(), Size { width: 321, height: 241 });
    let all: Vec<u8> = frames.iter().flat_map(|frame| tight(&frame.picture)).collect();
    assert!(all == expected);
}

#[test]
fn other_pixel_formats_look_different() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["yuv444p", "yuv422p", "yuv420p10le", "bgr0", "yuv410p"] {
        for size in ["320x240", "321x241"] {
            let path = folder.path().join(format!("{format}-{size}.mkv"));
            if !clip(&path, size, 2, &["-c:v", "ffv1", "-pix_fmt", format]) {
                return;
            }
            let expected = ffmpeg_i420(&path, "yuv420p");
            let (frames, error) = read_all(open_path(&path).as_mut());
            assert!(error.is_none(), "{format}: {error:?}");
            let all: Vec<u8> = frames.iter().flat_map(|frame| tight(&frame.picture)).collect();
            let off = mean_difference(&all, &expected);
            assert!(off < 1.5, "{format} {size} is off by {off}");
        }
    }
}

#[test]
fn grey_video_is_squeezed_or_coloured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grey.mkv");
    if !clip(&path, "320x240", 1, &["-c:v", "ffv1", "-pix_fmt", "gray"]) {
        return;
    }
    let picture = open_path(&path).next().unwrap().unwrap().picture;
    assert_eq!(picture.colour().range, ColourRange::Full);
    let (found, expected) = (tight(&picture), ffmpeg_i420(&path, "gray"));
    assert!(found[..320 * 240] == expected);
    assert!(found[320 * 240..].iter().all(|value| *value == 128));
}

#[test]
fn turned_pictures_differ_from_the_ffmpeg_programs() {
    let folder = tempfile::tempdir().unwrap();
    let upright = folder.path().join("clip.mp4");
    if !clip(&upright, "320x180", 4, &H264) {
        return;
    }
    let mut seen = HashSet::new();
    for degrees in ["90", "180", "270"] {
        let path = folder.path().join(format!("turned{degrees}.mp4"));
        let turn = format!("rotate={degrees}");
        let from = upright.to_str().unwrap();
        ffmpeg(&["-i", from, "-c", "copy", "-metadata:s:v:0", &turn, path.to_str().unwrap()]);
        let mut source = open_path(&path);
        let announced = source.info().size;
        let (frames, _) = read_all(source.as_mut());
        let picture = &frames[3].picture;
        assert!(seen.insert(picture.rotation()) && picture.rotation() != 0);
        assert_eq!(picture.size(), announced);
        // The program turns by itself. (OpenCV 4.6 turns the wrong way, later ones as this does.)
        let expected = ffmpeg_i420(&path, "yuv420p");
        assert!(tight(picture) == expected[3 * 320 * 180 * 3 / 2..], "{degrees}");
    }
}

/// What a picture looks like whose track has a display matrix: its pixel at (x, y) is shown at (a·x + c·y, b·x + d·y).
fn displayed(plane: Plane<'_>, [a, b, c, d]: [i32; 4]) -> Vec<u8> {
    let (w, h) = (plane.width as i32, plane.height as i32);
    let (width, height) = ((a * w + c * h).abs(), (b * w + d * h).abs());
    let mut shown = vec![0; (width * height) as usize];
    for y in 0..h {
        for (x, value) in (0..w).zip(plane.row(y as usize)) {
            // The centres of pixels, doubled, and moved to where the picture begins.
            let (cx, cy) = (2 * x + 1, 2 * y + 1);
            let to_x = (a * cx + c * cy - 1).div_euclid(2) + if a + c < 0 { width } else { 0 };
            let to_y = (b * cx + d * cy - 1).div_euclid(2) + if b + d < 0 { height } else { 0 };
            shown[(to_y * width + to_x) as usize] = *value;
        }
    }
    shown
}

#[test]
fn pictures_are_not_turned_and_mirrored_as_their_matrix_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    if !clip(&path, "64x48", 1, &H264) {
        return;
    }
    let bytes = fs::read(&path).unwrap();
    let header = bytes.windows(4).position(|name| name == b"tkhd").unwrap();
    let upright = open_path(&path).next().unwrap().unwrap().picture;
    for matrix in [
        [1, 0, 0, 1],
        [-1, 0, 0, 1],
        [1, 0, 0, -1],
        [-1, 0, 0, -1],
        [0, 1, -1, 0],
        [0, -1, 1, 0],
        [0, 1, 1, 0],
        [0, -1, -1, 0],
    ] {
        let [a, b, c, d]: [i32; 4] = matrix;
        let mut turned = bytes.clone();
        let rows = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30];
        let at = header + 44;
        for (index, value) in rows.into_iter().enumerate() {
            turned[at + 4 * index..at + 4 * index + 4].copy_from_slice(&value.to_be_bytes());
        }
        fs::write(&path, turned).unwrap();
        let mut source = open_path(&path);
        let announced = source.info().size;
        let picture = source.next().unwrap().unwrap().picture;
        assert_eq!(picture.size(), announced, "{matrix:?}");
        assert_eq!(picture.size().width == 48, a == 0, "{matrix:?}");
        let expected: Vec<u8> = upright.planes().into_iter().flat_map(|p| displayed(p, matrix)).collect();
        assert!(tight(&picture) == expected, "{matrix:?}");
    }
}

#[test]
fn colour_description_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str], ColourMatrix, ColourRange); 5] = [
        ("640x360", &[], ColourMatrix::Bt601, ColourRange::Limited),
        ("1280x720", &[], ColourMatrix::Bt709, ColourRange::Limited),
        ("640x360", &["-colorspace", "bt709"], ColourMatrix::Bt709, ColourRange::Limited),
        ("1280x720", &["-colorspace", "smpte170m"], ColourMatrix::Bt601, ColourRange::Limited),
        ("640x360", &["-color_range", "pc"], ColourMatrix::Bt601, ColourRange::Full),
    ];
    for (i, (size, arguments, matrix, range)) in cases.into_iter().enumerate() {
        let path = folder.path().join(format!("{i}.mp4"));
        let mut all = H264.to_vec();
        all.extend(arguments);
        if !clip(&path, size, 1, &all) {
            return;
        }
        let colour = open_path(&path).next().unwrap().unwrap().picture.colour();
        assert_eq!((colour.matrix, colour.range), (matrix, range), "case {i}");
    }
}

#[test]
fn full_range_is_squeezed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("white.avi");
    let white = ["-f", "lavfi", "-i", "color=white:size=64x64", "-frames:v", "1"];
    let mut arguments = white.to_vec();
    arguments.extend(["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "2", path.to_str().unwrap()]);
    if !ffmpeg(&arguments) {
        return;
    }
    let frame = open_path(&path).next().unwrap().unwrap();
    assert_eq!(frame.picture.colour().range, ColourRange::Full);
    assert!(frame.picture.planes()[0].row(0)[0] >= 254);
}

#[test]
fn pixel_aspect_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.mp4");
    let mut arguments = vec!["-vf", "setsar=16/11"];
    arguments.extend(H264);
    if !clip(&path, "160x120", 1, &arguments) {
        return;
    }
    let aspect = |path: &Path| open_path(path).next().unwrap().unwrap().picture.pixel_aspect();
    assert!((aspect(&path) - 16.0 / 11.0).abs() < 1e-3, "{}", aspect(&path));
    // Where only the container says it: 160x120 to be shown as 2:1.
    let container = folder.path().join("container.mkv");
    assert!(clip(&path, "160x120", 1, &H264));
    let (from, to) = (path.to_str().unwrap(), container.to_str().unwrap());
    ffmpeg(&["-i", from, "-c", "copy", "-aspect", "2:1", to]);
    assert!((aspect(&container) - 1.5).abs() < 1e-3, "{}", aspect(&container));
    // Turned, a wide pixel is a high one.
    let turned = folder.path().join("turned.mp4");
    ffmpeg(&["-i", to, "-c", "copy", "-metadata:s:v:0", "rotate=90", turned.to_str().unwrap()]);
    assert!((aspect(&turned) - 1.0 / 1.5).abs() < 1e-3, "{}", aspect(&turned));
}

#[test]
fn truncated_file_is_silently_short() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.mp4");
    let mut arguments = H264.to_vec();
    arguments.extend(["-g", "10", "-movflags", "faststart"]);
    if !clip(&whole, "320x240", 60, &arguments) {
        return;
    }
    let (expected, _) = read_all(open_path(&whole).as_mut());
    let bytes = fs::read(&whole).unwrap();
    let cut = folder.path().join("cut.mp4");
    for share in [40, 61, 83] {
        fs::write(&cut, &bytes[..bytes.len() * share / 100]).unwrap();
        let (frames, error) = read_all(open_path(&cut).as_mut());
        let Some(SourceError::Damaged { frames: counted, why, .. }) = error else {
            panic!("{share}%: {error:?} after {}", frames.len());
        };
        assert!(why.contains("truncated"), "{why}");
        assert_eq!(counted as usize, frames.len());
        assert!(frames.len() > 10 && frames.len() < 60, "{share}%: {} frames", frames.len());
        // All but those at the cut are the whole file's.
        for (a, b) in frames.iter().zip(&expected).take(frames.len() - 4) {
            assert!(tight(&a.picture) == tight(&b.picture), "{share}%: frame {} differs", a.position);
        }
    }
}

#[test]
fn truncated_file_without_an_index_hangs_or_passes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in
        [("clip.mp4", H264.to_vec()), ("clip.avi", vec!["-c:v", "mpeg4"]), ("clip.mkv", H264.to_vec())]
    {
        let path = folder.path().join(name);
        if !clip(&path, "320x240", 60, &arguments) {
            return;
        }
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() * 3 / 5]).unwrap();
        match open_any(path.to_str().unwrap()) {
            Err(error) => {
                assert!(name.ends_with("mp4"), "{name}: {error}");
                assert!(error.to_string().contains("truncated"), "{error}");
                assert!(!error.retryable());
            }
            Ok(mut source) => {
                let (frames, error) = read_all(source.as_mut());
                assert!(frames.len() > 10, "{name}: {} frames", frames.len());
                let error = error.expect(name);
                assert!(error.to_string().contains("truncated"), "{error}");
            }
        }
    }
}

#[test]
fn broken_pictures_are_not_marked() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.mkv");
    let arguments = ["-c:v", "libx264", "-bf", "0", "-g", "15", "-qp", "20", "-pix_fmt", "yuv420p"];
    if !clip(&whole, "320x240", 60, &arguments) {
        return;
    }
    let (expected, _) = read_all(open_path(&whole).as_mut());
    assert!(expected.len() == 60 && expected.iter().all(|frame| frame.damage.is_none()));
    let bytes = fs::read(&whole).unwrap();
    let path = folder.path().join("broken.mkv");
    let (mut changed, mut marked, mut found) = (0, 0, 0);
    for share in [20, 30, 40, 55, 70] {
        let mut broken = bytes.clone();
        let at = bytes.len() * share / 100;
        broken[at..at + 40].iter_mut().for_each(|byte| *byte ^= 0xff);
        fs::write(&path, broken).unwrap();
        let (frames, _) = read_all(open_path(&path).as_mut());
        for frame in &frames {
            let same = tight(&frame.picture) == tight(&expected[frame.position as usize].picture);
            changed += u32::from(!same);
            marked += u32::from(frame.damage.is_some());
            found += u32::from(!same && frame.damage.is_some());
        }
    }
    // A change that happens to be valid cannot be found.
    assert!(changed > 10 && found * 10 >= changed * 9, "{found} of {changed} found, {marked} marked");
    assert!(found * 10 >= marked * 9, "{found} of {changed} found, {marked} marked");
}

#[test]
fn unknown_codec_is_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    if !clip(&path, "160x120", 5, &["-c:v", "mpeg4"]) {
        return;
    }
    let mut bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() - 4 {
        if &bytes[at..at + 4] == b"FMP4" {
            bytes[at..at + 4].copy_from_slice(b"QQ42");
        }
    }
    fs::write(&path, bytes).unwrap();
    let error = open_any(path.to_str().unwrap()).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("QQ42") && text.contains("libx264") && text.contains("clip.avi"), "{text}");
    assert!(!error.retryable());
}

#[test]
fn bad_files_have_no_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let concat = "ffconcat version 1.0\nfile /etc/hostname\n";
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n";
    for (path, expected) in [
        (folder.path().join("missing.mp4"), "no such file"),
        (folder.path().to_owned(), "images:"),
        (write("empty.mp4", b""), "empty"),
        (write("text.mp4", b"hello, this is no video at all\n"), "no video"),
        (write("list.mp4", concat.as_bytes()), "no video"),
        (write("list.m3u8", playlist.as_bytes()), "no video"),
    ] {
        let error = open_any(path.to_str().unwrap()).err().expect(expected);
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(path.to_str().unwrap()), "{text}");
        assert!(!error.retryable());
    }
    let sound = folder.path().join("sound.mp4");
    if ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", sound.to_str().unwrap()]) {
        let text = open_any(sound.to_str().unwrap()).err().unwrap().to_string();
        assert!(text.contains("no video track"), "{text}");
    }
}

#[test]
fn stopping_waits_for_the_end_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    if !clip(&path, "160x120", 30, &H264) {
        return;
    }
    let options = OpenOptions::default();
    let mut source = open(&config(path.to_str().unwrap(), None), &AllowList::anything(), &options).unwrap();
    assert!(source.next().unwrap().is_some());
    options.stop.store(true, Ordering::Relaxed);
    assert!(matches!(source.next(), Err(SourceError::Stopped { .. })));
}

#[test]
fn recorded_scene_is_not_the_rendered_one() {
    let folder = tempfile::tempdir().unwrap();
    let (video, truth) = (folder.path().join("scene.mp4"), folder.path().join("truth.jsonl"));
    let config = synthetic::SceneConfig { frames: 40, ..synthetic::SceneConfig::default() };
    let scene = synthetic::Scene::new(config).unwrap();
    synthetic::record(&scene, &video, Some(&truth)).unwrap();
    let (frames, error) = read_all(open_path(&video).as_mut());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.len(), 40);
    let lines = fs::read_to_string(&truth).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 41);
    for (i, frame) in frames.iter().enumerate() {
        assert_eq!(synthetic::read_frame_number(&frame.picture), Some(i as u32));
        assert_eq!(frame.picture.colour(), scene.render(0).colour());
        let truth = scene.truth(i as u64);
        assert_eq!(lines[i + 1], serde_json::to_string(&truth).unwrap());
        assert_eq!(truth.media_time_us, frame.media_time_us);
        let off = mean_difference(&tight(&frame.picture), &tight(&scene.render(i as u64)));
        assert!(off < 2.0, "frame {i} is off by {off}");
    }
}

#[test]
fn reference_clips_have_other_counts_than_opencvs() {
    for (path, frames) in [("data/videos/car-detection.mp4", 377), ("data/videos/highway.avi", 1699)] {
        let Some(path) = shared(path) else { continue };
        let (found, error) = read_all(open_path(&path).as_mut());
        assert!(error.is_none(), "{error:?}");
        let reference = opencv_frames(&path);
        assert_eq!((found.len(), reference.len()), (frames, frames));
        for i in [0, frames / 2, frames - 1] {
            let off = difference(&to_bgr(&found[i].picture), &reference[i]);
            assert!(off < 1.5, "frame {i} is off by {off}");
        }
    }
}
