use proptest::prelude::*;

use super::*;
use crate::SourceUri;

fn masked(address: &str) -> String {
    Parts::of(address).masked()
}

#[test]
fn lists_are_not_sorted() {
    for list in [&words::HARMLESS[..], &words::CREDENTIALS[..]] {
        assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
        assert!(list.iter().all(|word| *word == word.to_ascii_lowercase()));
    }
    assert!(!words::HARMLESS.iter().any(|word| words::CREDENTIALS.contains(word)));
}

#[test]
fn user_and_password_show_in_an_address() {
    for (address, shown) in [
        ("rtsp://user:secret@10.0.0.5:554/ch1", "rtsp://***@10.0.0.5:554/ch1"),
        ("rtsp://admin:my secret@cam/s", "rtsp://***@cam/s"),
        ("rtsp://ad min:secret@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:p@ss#secret@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:12/3456@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:12?34:56@cam/s", "rtsp://***@cam/s"),
        ("rtsp://:secret@cam/s", "rtsp://***@cam/s"),
        ("rtsp://token/secret@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin%3Asecret%40cam/s", "rtsp://***/s"),
        ("rtsp%3A%2F%2Fadmin%3Asecret%40cam%2Fs", "***"),
        ("rtsp://admin:secret", "rtsp://***"),
        ("rtsp:admin:secret@cam/s", "rtsp:***@cam/s"),
        ("rtsp:/admin:secret@cam/s", "rtsp:/***@cam/s"),
        ("admin:secret@cam/s", "***@cam/s"),
        ("admin:a://secret@cam/s", "***://***@cam/s"),
        ("srt://u:secret@cam:9000?latency=20", "srt://***@cam:9000?latency=20"),
        ("file:/var/rtsp://a:my secret@x", "file:/var/rtsp://***@x"),
        ("redis+cluster://user:secret@a:1,b:2", "redis+cluster://***@a:1,b:2"),
        ("http://[fe80::1%25eth0]:80/a", "http://[fe80::1%25eth0]:80/a"),
    ] {
        assert_eq!(masked(address), shown);
    }
}

#[test]
fn paths_and_queries_show_what_may_be_a_credential() {
    for (address, shown) in [
        ("http://cam/v?user=admin&pwd=x1&ch=2", "http://cam/v?user=***&pwd=***&ch=2"),
        ("http://cam/s.cgi?loginuse=admin&loginpas=secret", "http://cam/s.cgi?loginuse=***&loginpas=***"),
        ("http://cam/s?user=a;pwd=b;fps=10", "http://cam/s?user=***;pwd=***;fps=10"),
        ("http://cam/s?st=secret&e=17", "http://cam/s?***&***"),
        ("http://cam/s?channel=secret", "http://cam/s?channel=***"),
        ("http://cam/s?secret", "http://cam/s?***"),
        ("http://cam/s?channel=1#secret", "http://cam/s?channel=1#***"),
        ("http://cam/s?%70wd=secret", "http://cam/s?***"),
        (
            "http://cam/s?resolution=1280x720&fps=15&codec=h264",
            "http://cam/s?resolution=1280x720&fps=15&codec=h264",
        ),
        (
            "rtsp://cam/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp",
            "rtsp://cam/user=***_password=***_channel=1_stream=0.sdp",
        ),
        (
            "rtsp://cam/user=admin&password=a=b&channel=1&stream=0.sdp?",
            "rtsp://cam/user=***&password=***&channel=1&stream=0.sdp?",
        ),
        ("rtsp://cam/0/admin:secret/main", "rtsp://cam/0/***/main"),
        ("rtsp://cam/user:secret/s", "rtsp://cam/user:***/s"),
        ("rtsp://cam/x%3Dsecret/s", "rtsp://cam/***/s"),
        ("rtsp://cam/x%253Dsecret/s", "rtsp://cam/***/s"),
        ("http://cam/password/secret/s", "http://cam/password/***/s"),
        ("http://cam/hls/a1b2c3d4e5f6a7b8/i.m3u8", "http://cam/hls/***/i.m3u8"),
        ("http://cam/hls/Tr0ub4dor/i.m3u8?key=Tr0ub4dor", "http://cam/hls/***/i.m3u8?***"),
        ("cam.example/v?user=a&pwd=secret", "cam.example/v?user=***&pwd=***"),
        ("cam:554/v?loginpas=secret", "cam:554/v?loginpas=***"),
        ("loginpas=secret&channel=1", "loginpas=***&channel=1"),
    ] {
        assert_eq!(masked(address), shown);
    }
}

#[test]
fn cameras_cannot_be_recognised() {
    for address in [
        "",
        "clip.mp4",
        "my clips/Parking lot, 2024-11-30.mp4",
        "/data/VID_20241130_101112345.mp4",
        "/rec/2024-11-30T10:11:12/pic@2x.png",
        "images:/data/frames-of-2024-11-30/a1b2c3d4e5f6a7b8",
        "v4l2:/dev/video0",
        "opencv:0",
        "ingest:",
        "synthetic:road?w=768&h=432&fps=10&vehicles=3&people=4&seed=7&frames=30&signals=1",
        "rtsp://cam.example:554/frontdoor",
        "rtsp://10.0.0.7/Streaming/Channels/101?transportmode=unicast&profile=Profile_1",
        "rtsp://cam/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif",
        "rtsp://cam/h264Preview_01_main",
        "rtsp://cam/axis-media/media.amp?videocodec=h264&resolution=1280x720&fps=15",
        "rtsp://cam/unicast/c1/s0/live",
        "http://cam/nphMotionJpeg?Resolution=640x480&Quality=Standard",
        "opencv:videotestsrc num-buffers=30 is-live=false ! video/x-raw,width=320,height=180,framerate=10/1 ! videoconvert ! video/x-raw,format=BGR ! appsink",
    ] {
        assert_eq!(masked(address), address);
    }
}

#[test]
fn a_pipeline_shows_its_credentials() {
    for (pipeline, shown) in [
        (
            "opencv:rtspsrc location=rtsp://u:secret@h/a latency=20 user-id=me user-pw=\"my \\\" own\" ! decodebin ! appsink",
            "opencv:rtspsrc location=rtsp://***@h/a latency=20 user-id=*** user-pw=*** ! decodebin ! appsink",
        ),
        (
            "opencv:rtspsrc location=\"rtsp://h/a?pwd=x\" ! appsink",
            "opencv:rtspsrc location=\"rtsp://h/a?pwd=***\" ! appsink",
        ),
        ("opencv:rtspsrc user-pw=my secret ! appsink", "opencv:rtspsrc user-pw=*** *** ! appsink"),
        ("opencv:rtspsrc user-pw=\"my secret ! appsink", "opencv:rtspsrc user-pw=***"),
        (
            "opencv:souphttpsrc location=http://h/ extra-headers=\"h,a=secret\" ! appsink",
            "opencv:souphttpsrc location=http://h/ *** ! appsink",
        ),
        ("opencv:rtsp://a:my secret@h/s", "opencv:rtsp://***@h/s"),
    ] {
        assert_eq!(masked(pipeline), shown);
    }
}

#[test]
fn credentials_remain_in_a_text() {
    for (text, shown) in [
        ("rtsp://user:p@ss/w?r#d@host/a", "rtsp://***@host/a"),
        ("https://token@host/a?ch=1", "https://***@host/a?ch=1"),
        ("from rtsp://a:b@h to http://c:d@i.", "from rtsp://***@h to http://***@i."),
        ("cannot open rtsp://admin:my secret@cam/1: timed out", "cannot open rtsp://***@cam/1: timed out"),
        (
            "rtspsrc location=rtsp://h/a user-id=me user-pw=\"my own\" ! appsink",
            "rtspsrc location=rtsp://h/a user-id=*** user-pw=*** ! appsink",
        ),
        ("redis://:secret@host:6379/0", "redis://***@host:6379/0"),
        ("redis://a:b@h,redis://c:d@i", "redis://***@h,redis://***@i"),
        ("rtsp://:://p@h", "rtsp://***@h"),
        ("{\"uri\":\"rtsp://u:p\\\"w@h\"}", "{\"uri\":\"rtsp://***@h\"}"),
        ("{\"a\":\"http://h/b\",\"c\":\"d@e\"}", "{\"a\":\"http://h/b\",\"c\":\"d@e\"}"),
        ("cannot open `rtsp://u:p@ss@cam/1`: timed out", "cannot open `rtsp://***@cam/1`: timed out"),
        ("no host `admin:secret@cam/1`", "no host `***@cam/1`"),
        ("http://a/x?loginpas=secret, again", "http://a/x?loginpas=***, again"),
    ] {
        assert_eq!(mask(text), shown);
    }
    let error = "source: invalid type: string \"host/s my \\\"secret\", expected struct SourceConfig";
    assert_eq!(without_values(error), "source: invalid type: a text, expected struct SourceConfig");
}

#[test]
fn harmless_text_is_changed() {
    for text in [
        "",
        "clip.mp4",
        "rtsp://host:554/path",
        "mail someone@example.org",
        "a == b",
        "monkey=5 tokens=3",
        "grüße://",
        "redis+unix:///run/redis.sock",
        "listening on http://[::1]:8080/ (and http://localhost:8080)",
    ] {
        assert!(matches!(mask(text), Cow::Borrowed(same) if same == text), "{text} became {}", mask(text));
    }
}

proptest! {
    #[test]
    fn password_shines_through(
        before in "[ a-zé]{0,8}",
        user in "[a-zA-Z0-9._%-]{0,8}",
        password in "[a-zA-Z0-9!$%&()*+,;=:@/?#. _~-]{0,12}",
        host in "[a-z]{1,8}(:[0-9]{1,5})?",
        after in "( [ -~é]{0,12})?",
    ) {
        let address = format!("rtsp://{user}:{password}hunter2{password}@{host}/path");
        let shown = masked(&address);
        prop_assert!(!shown.contains("hunter2") && shown.ends_with(&format!("@{host}/path")), "{}", shown);
        let text = format!("{before} {address}{after}");
        let shown = mask(&text);
        prop_assert!(!shown.contains("hunter2"), "{}", shown);
        prop_assert!(shown.contains(&host) || after.contains(['@', '"']), "{}", shown);
    }

    #[test]
    fn masking_again_changes_more(text in "(\\PC|[:/@?&=#;%. \"!_-]|://|\\*\\*\\*|user|pwd=|opencv:|rtsp:|a1){0,30}") {
        let once = masked(&text);
        prop_assert_eq!(masked(&once), once.clone());
        let once = mask(&text).into_owned();
        prop_assert_eq!(mask(&once).into_owned(), once.clone());
    }
}

#[test]
fn secret_in_another_case_stays_in_a_text() {
    let uri = SourceUri::from("http://admin:Tr0ub4dorXyz9");
    let said = uri.scrub("no host tr0ub4dorxyz9, and not TR0UB4DORXYZ9, é");
    assert_eq!(said, "no host ***, and not ***, é");
}
