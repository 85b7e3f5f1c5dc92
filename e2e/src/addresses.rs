//! Addresses as people and cameras' manuals write them, each with a secret in it that nobody may see again.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// The secret: long and mixed, so that it is known for a token also where it stands alone in a path.
pub const SECRET: &str = "Zq7hunter2Wm4Kx9Rt";

/// Paths and queries of makers of cameras; `{s}` is the secret, `{u}` a user's name. Those without `{s}` stand behind a
/// user's name and password.
const MAKERS: [&str; 44] = [
    "/Streaming/Channels/101?transportmode=unicast&profile=Profile_1",
    "/ISAPI/Streaming/channels/102/picture?auth={s}",
    "/h264/ch1/main/av_stream",
    "/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif",
    "/cam/realmonitor?channel=1&subtype=1&authbasic={s}",
    "/axis-media/media.amp?videocodec=h264&resolution=1280x720&fps=15",
    "/axis-cgi/mjpg/video.cgi?resolution=640x480&access_token={s}",
    "/h264Preview_01_main",
    "/cgi-bin/api.cgi?cmd=Snap&channel=0&rs={s}&user={u}&password={s}",
    "/flv?port=1935&app=bcs&stream=channel0_main.bcs&user={u}&password={s}",
    "/videoMain",
    "/cgi-bin/CGIProxy.fcgi?cmd=snapPicture2&usr={u}&pwd={s}",
    "/live.sdp",
    "/rtsp_tunnel?inst=1&line=1&h26x=4",
    "/media/video1",
    "/nphMotionJpeg?Resolution=640x480&Quality=Standard",
    "/profile2/media.smp",
    "/unicast/c1/s0/live",
    "/{s}",
    "/stream1",
    "/video/mjpg.cgi?profileid=1&sessionid={s}",
    "/cgi-bin/faststream.jpg?stream=full&fps=10",
    "/defaultPrimary?streamType=u",
    "/h264.sdp?res=half&x0=0&y0=0&x1=1600&y1=1200&qp=20&doublescan=0&ssn={s}",
    "/CH001.sdp",
    "/user={u}_password={s}_channel=1_stream=0.sdp?real_stream",
    "/user={u}&password={s}&channel=1&stream=0.sdp?",
    "/videostream.cgi?user={u}&pwd={s}&resolution=32&rate=0",
    "/snapshot.cgi?loginuse={u}&loginpas={s}",
    "/cgi-bin/hi3510/snap.cgi?&-getstream&-chn=1&-usr={u}&-pwd={s}",
    "/livestream/12?action=play&userpwd={u}:{s}",
    "/tcp/av0_0",
    "/0/{u}:{s}/main",
    "/user:{s}/s",
    "/live/ch0?usr={u}&passwordmd5={s}&key={s}&t={s}",
    "/ch0_0.264?passcode={s}",
    "/StreamingSetting?version=1.0&action=getRTSPStream&ChannelID=1&ChannelName={s}",
    "/hls/{s}/index.m3u8",
    "/hls/live.m3u8?st={s}&e=1732950000",
    "/onvif/profile1/media.smp;jsessionid={s}",
    "/live?u={u}&p={s}",
    "/live#token={s}",
    "/login/{u}/password/{s}/ch1",
    "/proxy?url=rtsp%3A%2F%2F{u}%3A{s}%4010.0.0.9%2Flive",
];

const HOSTS: [&str; 6] =
    ["127.0.0.1:1", "127.0.0.1:2", "[::1]:1", "cam.example", "camera.local:554", "10.255.255.1:8554"];
const USERS: [&str; 7] = ["admin", "root", "ad min", "a@b", "ad/min", "ad#1", ""];
/// Characters around the secret in a password.
const AROUND: [&str; 22] = [
    "", "", "", " ", "my ", "p@", "#", "1#2", "12/", "/", "?", "?a=", ":", "%", "%zz", "&", "=", ";", "+",
    "ü", "!", "'",
];
const PIPELINES: [&str; 4] = [
    "opencv:rtspsrc location=rtsp://127.0.0.1:1/a user-id={u} user-pw={s} latency=20 ! decodebin ! videoconvert ! appsink",
    "opencv:rtspsrc location=\"rtsp://{u}:{s}@127.0.0.1:1/a\" ! appsink",
    "opencv:souphttpsrc location=http://127.0.0.1:1/a?token={s} user-pw=\"my {s}\" ! jpegdec ! appsink",
    "opencv:souphttpsrc location=http://127.0.0.1:1/a extra-headers=\"h,Authorization={s}\" ! jpegdec ! appsink",
];

/// An address with the secret in it.
pub fn address(random: &mut StdRng) -> String {
    if random.random_range(0..20) == 0 {
        let pipeline = pick(random, &PIPELINES);
        return pipeline.replace("{u}", "operator").replace("{s}", SECRET);
    }
    let scheme = pick(
        random,
        &["rtsp", "rtsp", "rtsps", "http", "https", "RTSP", "rtmp", "opencv:rtsp", "opencv:http"],
    );
    let (host, maker) = (pick(random, &HOSTS), pick(random, &MAKERS));
    let tail = maker.replace("{u}", "operator").replace("{s}", &encoded(random, SECRET));
    let user = if maker.contains("{s}") && random.random() { String::new() } else { userinfo(random) + "@" };
    let whole = format!("{scheme}://{user}{host}{tail}");
    match random.random_range(0..20) {
        // The scheme is forgotten, or half of it.
        0 if !user.is_empty() && user.contains(':') && !user.starts_with(['/', '.']) => {
            format!("{user}{host}{tail}")
        }
        1 if !user.is_empty() => whole.replacen("://", ":", 1),
        // Broken off behind the secret.
        2 => cut(random, &whole),
        // Encoded as a whole, as it stands in another address' query.
        3 => percent(&whole, true),
        _ => whole,
    }
}

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(random).copied().unwrap_or_default()
}

fn userinfo(random: &mut StdRng) -> String {
    let password = format!("{}{SECRET}{}", pick(random, &AROUND), pick(random, &AROUND));
    let (user, password) = match random.random_range(0..10) {
        0 => (String::new(), password),
        // The secret is the user.
        1 => return percent(&password, false),
        _ => (pick(random, &USERS).to_owned(), password),
    };
    match random.random_range(0..8) {
        0 => format!("{}:{}", percent(&user, false), percent(&password, false)),
        1 => percent(&format!("{user}:{password}"), true),
        2 => percent(&percent(&format!("{user}:{password}"), false), false),
        _ => format!("{user}:{password}"),
    }
}

fn encoded(random: &mut StdRng, text: &str) -> String {
    match random.random_range(0..10) {
        0 => percent(text, true),
        1 => percent(&percent(text, true), false),
        _ => text.to_owned(),
    }
}

/// Percent-encoded: what has to be, or `all` of it.
fn percent(text: &str, all: bool) -> String {
    let plain = |byte: u8| !all && (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

/// Broken off somewhere behind the last secret.
fn cut(random: &mut StdRng, text: &str) -> String {
    let from = text.rfind(SECRET).map_or(text.len(), |at| at + SECRET.len());
    text[..text.floor_char_boundary(random.random_range(from..=text.len()))].to_owned()
}

/// Whether a text shows the secret, however it is encoded.
pub fn shows_secret(text: &str) -> bool {
    let mut text = text.to_owned();
    for _ in 0..6 {
        if text.to_lowercase().contains(&SECRET.to_lowercase()) {
            return true;
        }
        text = decoded(&text);
    }
    false
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
