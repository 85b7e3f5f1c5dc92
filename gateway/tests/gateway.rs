//! The whole gateway against a real Redis, with real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod stand;

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use peregrine_daemon::{Health, Shell, Shutdown};
use peregrine_gateway::Gateway;
use peregrine_proto::{
    CameraHealth, CameraId, CameraState, ClientMessage, FrameId, Missed, Painted, Ping, ResultStatus, SCHEMA,
    ServerMessage, Unsubscribe, encode,
};
use peregrine_streams::{IngestReader, SourceHealth};
use stand::*;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The sum over all series of this name whose labels contain a text.
fn metric(name: &str, labels: &str) -> f64 {
    let text = peregrine_daemon::metrics::text();
    let of_name = text.lines().filter_map(|line| line.strip_prefix(name));
    let fitting = of_name.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels));
    fitting.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn camera_states(message: ServerMessage) -> Option<Vec<CameraState>> {
    match message {
        ServerMessage::Cameras(list) => Some(list.cameras),
        _ => None,
    }
}

#[tokio::test]
async fn newcomer_misses_the_latest_result_or_what_follows() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    camera.commit(1).await;
    let latest = camera.commit(2).await;
    let mut first = stand.client().await;
    let ServerMessage::Welcome(welcome) = first.next().await.unwrap() else { panic!("not greeted first") };
    assert_eq!(welcome.schema, SCHEMA);
    first.subscribe(&[&camera.id], true, None).await;
    let (from, id, result) = first.result().await;
    assert_eq!((&from, id), (&camera.id, latest));
    assert_eq!((result.status, result.detections.len()), (ResultStatus::Ok, 2));
    let mut expected = Vec::new();
    for _ in 0..50 {
        expected.push(camera.commit(1).await);
    }
    for id in &expected {
        assert_eq!(first.result_id().await, *id);
    }
    let mut second = stand.client().await;
    second.subscribe(&[], true, None).await;
    assert_eq!(second.result_id().await, expected[49], "one who joins a camera that is followed already");
    expected.push(camera.commit(1).await);
    assert_eq!(first.result_id().await, expected[50]);
    assert_eq!(second.result_id().await, expected[50]);
    assert!(first.problems.is_empty() && second.problems.is_empty());
    second.send(&ClientMessage::Unsubscribe(Unsubscribe { cameras: Vec::new() })).await;
    second.subscribe(&[], true, None).await;
    assert_eq!(second.result_id().await, expected[50], "joins again");
}

#[tokio::test]
async fn encodings_say_different_things() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut sizes = Vec::new();
    for encoding in ["peregrine.json", "peregrine.msgpack", "peregrine.compact"] {
        let (mut client, taken) =
            Client::offering(stand.address, &format!("chat, {encoding}")).await.unwrap();
        assert_eq!(taken, encoding);
        let subscribe = r#"{"subscribe":{"cameras":["yard"],"results":true}}"#;
        client.send_raw(Message::Text(subscribe.into())).await;
        let id = camera.commit(20).await;
        let result = loop {
            let (from, found, result) = client.result().await;
            assert_eq!(from, camera.id);
            if found == id {
                break result;
            }
        };
        let [detection, ..] = &result.detections[..] else { panic!("no detection") };
        assert_eq!(detection.xyxy, [1.0, 2.0, 3.0, 4.5], "{encoding}");
        assert!((detection.confidence - 0.5).abs() < 0.002, "{encoding}");
        sizes.push(client.received);
        client.send_raw(Message::Text(r#"{"ping":{"client_time_us":-5}}"#.into())).await;
        let pong = client.until(|m| if let ServerMessage::Pong(pong) = m { Some(pong) } else { None }).await;
        assert_eq!(pong.client_time_us, -5);
        camera.picture(id, &[0xff, 0xd8]).await;
        client.subscribe(&[&camera.id], false, Some(640)).await;
        let picture =
            |m| if let ServerMessage::Preview(p) = m { Some((p.id, p.jpeg.into_vec())) } else { None };
        assert_eq!(client.until(picture).await, (id, vec![0xff, 0xd8]), "{encoding}");
        assert!(client.problems.is_empty(), "{:?}", client.problems);
    }
    assert!(sizes[0] > 2 * sizes[1] && sizes[1] > 2 * sizes[2], "{sizes:?}");
}

#[tokio::test]
async fn unknown_encoding_is_served_or_a_token_repeated() {
    let stand = Stand::start().await;
    for unknown in ["peregrine.cbor", "peregrine.cbor, peregrine.bearer.s3cret"] {
        let upgrade = format!(
            "GET /ws HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: {unknown}\r\nconnection: upgrade\r\n",
            stand.address
        );
        let refused = request(stand.address, &upgrade).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("offer peregrine.compact") && !detail.contains("s3cret"), "{detail}");
    }
}

#[tokio::test]
async fn subscription_to_a_camera_that_comes_later_is_lost() {
    let stand = Stand::start().await;
    let mut client = stand.client().await;
    let later = CameraId::new("later").unwrap();
    client.subscribe(&[&later], true, None).await;
    let notice =
        client.until(|m| if let ServerMessage::Problem(p) = m { Some(p.message) } else { None }).await;
    assert!(notice.contains("`later`"), "{notice}");
    let mut camera = stand.camera("later").await;
    let id = camera.commit(1).await;
    assert_eq!(client.result_id().await, id);
}

#[tokio::test]
async fn idle_gateway_reads_results() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    client.subscribe(&[], true, Some(640)).await;
    camera.commit(1).await;
    client.result_id().await;
    drop(client);
    let idle = async || {
        let before = stand.redis.calls("xread");
        tokio::time::sleep(Duration::from_millis(300)).await;
        (stand.redis.calls("xread") == before).then_some(before)
    };
    let before = eventually("reading stops", idle).await;
    for _ in 0..20 {
        camera.commit(1).await;
    }
    assert_eq!(stand.redis.calls("xread"), before);
}

#[tokio::test]
async fn slow_client_delays_another_or_is_not_told_what_it_missed() {
    let stand = Stand::with(|config| {
        config.outbox = SMALL_OUTBOX;
        config.send_buffer_bytes = 4096;
    })
    .await;
    let mut camera = stand.camera("yard").await;
    let mut slow = stand.client_with_small_buffer().await;
    slow.subscribe(&[&camera.id], true, None).await;
    let mut fast = stand.client().await;
    fast.subscribe(&[&camera.id], true, None).await;
    let first = camera.commit(100).await;
    assert_eq!(slow.result_id().await, first);
    assert_eq!(fast.result_id().await, first);
    let mut last = first;
    for _ in 0..300 {
        last = camera.commit(100).await;
        assert_eq!(fast.result_id().await, last, "one who keeps up misses nothing");
    }
    let (mut received, mut told) = (0, None);
    loop {
        match slow.next().await.unwrap() {
            ServerMessage::Missed(Missed { camera: of, total }) => {
                assert_eq!(of, camera.id);
                assert!(told < Some(total), "the count rises");
                told = Some(total);
            }
            ServerMessage::Result(result) => {
                received += 1;
                if result.id == last {
                    break;
                }
            }
            _ => {}
        }
    }
    assert_eq!(
        received + told.expect("told of what it missed"),
        300,
        "received and missed are all there were"
    );
}

#[tokio::test]
async fn stalled_client_stays_or_disturbs_others() {
    let stand = Stand::with(|config| {
        config.stalled = Duration::from_secs(1);
        config.send_buffer_bytes = 4096;
    })
    .await;
    let mut camera = stand.camera("yard").await;
    let mut stalled = stand.client_with_small_buffer().await;
    stalled.subscribe(&[&camera.id], true, None).await;
    let mut lively = stand.client().await;
    lively.subscribe(&[&camera.id], true, None).await;
    let report = Painted { camera: camera.id.clone(), id: FrameId::ZERO, deliver_us: 0, paint_us: 0 };
    let report = Message::Binary(encode(&ClientMessage::Painted(report)).into());
    let began = Instant::now();
    while metric("peregrine_disconnects_total", "no_write_progress") == 0.0 {
        // It still sends, so that only its not reading is a reason.
        let _ = stalled.try_send_raw(report.clone()).await;
        for _ in 0..10 {
            let id = camera.commit(100).await;
            assert_eq!(lively.result_id().await, id);
        }
        assert!(began.elapsed() < Duration::from_secs(60), "still connected");
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "not given its time: {:?}", began.elapsed());
    let id = camera.commit(1).await;
    assert_eq!(lively.result_id().await, id);
}

#[tokio::test]
async fn silent_client_stays() {
    let stand = Stand::with(|config| config.stalled = Duration::from_secs(1)).await;
    let _silent = stand.client().await;
    eventually("it is closed", async || {
        (metric("peregrine_disconnects_total", "no_sign_of_life") > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pause_of_the_gateway_is_held_against_its_clients() {
    let stand = Stand::with(|config| config.stalled = Duration::from_millis(600)).await;
    let mut client = stand.client().await;
    for client_time_us in [7, 8] {
        client.send(&ClientMessage::Ping(Ping { client_time_us })).await;
        let pong = client.until(|m| if let ServerMessage::Pong(pong) = m { Some(pong) } else { None }).await;
        assert_eq!(pong.client_time_us, client_time_us);
        // The gateway runs on this thread, too. When it goes on, it has heard nothing for too long.
        std::thread::sleep(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.send(&ClientMessage::Ping(Ping { client_time_us: 9 })).await;
    client.until(|m| matches!(m, ServerMessage::Pong(_)).then_some(())).await;
}

#[tokio::test]
async fn quiet_client_that_answers_pings_is_closed() {
    let stand = Stand::with(|config| config.stalled = Duration::from_millis(600)).await;
    let mut client = stand.client().await;
    let began = Instant::now();
    let mut lists = 0;
    while began.elapsed() < Duration::from_secs(2) {
        // Reading answers the pings.
        match tokio::time::timeout(Duration::from_millis(200), client.next()).await {
            Ok(message) => lists += u32::from(message.is_ok_and(|m| matches!(m, ServerMessage::Cameras(_)))),
            Err(_) => continue,
        }
    }
    client.send(&ClientMessage::Ping(Ping { client_time_us: 7 })).await;
    let pong = client.until(|m| if let ServerMessage::Pong(pong) = m { Some(pong) } else { None }).await;
    assert_eq!(pong.client_time_us, 7);
    assert!(pong.server_time_us > 1_600_000_000_000_000);
    assert_eq!(lists, 1, "an unchanged list is sent once");
}

#[tokio::test]
async fn ping_of_a_client_that_reads_late_breaks_a_message_or_has_no_answer() {
    let stand = Stand::with(|config| {
        config.outbox = SMALL_OUTBOX;
        config.send_buffer_bytes = 4096;
    })
    .await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client_with_small_buffer().await;
    client.subscribe(&[&camera.id], true, None).await;
    let mut last = camera.commit(100).await;
    assert_eq!(client.result_id().await, last);
    for number in 0..100 {
        last = camera.commit(100).await;
        client.send_raw(Message::Ping(vec![number].into())).await;
    }
    while client.result_id().await != last {}
    client.send(&ClientMessage::Ping(Ping { client_time_us: 7 })).await;
    client.until(|m| matches!(m, ServerMessage::Pong(_)).then_some(())).await;
    assert_eq!(client.pongs.last().map(|brought| brought[0]), Some(99), "the last is answered in any case");
    assert!(client.pongs.is_sorted(), "{:?}", client.pongs);
}

#[tokio::test]
async fn goodbye_of_a_client_is_not_answered() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, None).await;
    for _ in 0..10 {
        camera.commit(100).await;
    }
    client.send_raw(Message::Close(None)).await;
    let close = client.closed().await.expect("an answer behind what was on its way");
    assert_eq!(u16::from(close.code), 1000);
    assert!(client.problems.is_empty(), "{:?}", client.problems);
}

#[tokio::test]
async fn pictures_are_asked_for_while_nobody_watches() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, None).await;
    let id = camera.commit(1).await;
    assert_eq!(client.result_id().await, id);
    assert!(camera.watched().await.is_empty(), "results alone ask for no pictures");
    client.subscribe(&[&camera.id], true, Some(640)).await;
    eventually("somebody watches", async || (camera.watched().await == [640]).then_some(())).await;
    let mut other = stand.client().await;
    other.subscribe(&[&camera.id], false, Some(960)).await;
    eventually("the widest counts", async || camera.watched().await.contains(&960).then_some(())).await;
    let picture = |m| if let ServerMessage::Preview(p) = m { Some((p.id, p.jpeg.into_vec())) } else { None };
    for round in 0..3_u8 {
        let id = camera.commit(1).await;
        camera.picture(id, &[0xff, 0xd8, round]).await;
        assert_eq!(client.until(picture).await, (id, vec![0xff, 0xd8, round]));
        assert_eq!(other.until(picture).await.0, id);
    }
    client.subscribe(&[&camera.id], true, None).await;
    drop(other);
    eventually("nobody watches", async || camera.watched().await.is_empty().then_some(())).await;
    assert_eq!(stand.redis.cli(&["EXISTS", "peregrine:{yard}:viewers"]).trim(), "0");
}

#[tokio::test]
async fn garbage_ends_more_than_its_own_session() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    let mut bystander = stand.client().await;
    bystander.subscribe(&[], true, None).await;
    for garbage in [
        Message::Text("subscribe".into()),
        Message::Binary(vec![0xc1; 40].into()),
        Message::Binary(vec![0x81, 0xa4, b'p', b'i', b'n', b'g', 0x90].into()),
        Message::Binary(vec![0xdd, 0xff, 0xff, 0xff, 0xff].into()),
        Message::Binary(vec![].into()),
    ] {
        client.send_raw(garbage).await;
    }
    let close = client.closed().await.expect("closed with a reason");
    assert_eq!(u16::from(close.code), 1007);
    assert_eq!(client.problems.len(), 6, "each mistake is told, and the farewell: {:?}", client.problems);
    let mut large = stand.client().await;
    large.send_raw(Message::Binary(vec![0; 70_000].into())).await;
    assert_eq!(u16::from(large.closed().await.expect("closed with a reason").code), 1009);
    let id = camera.commit(1).await;
    assert_eq!(bystander.result_id().await, id);
}

#[tokio::test]
async fn flood_of_pings_without_reading_grows() {
    let stand = Stand::with(|config| {
        config.outbox = SMALL_OUTBOX;
        config.send_buffer_bytes = 4096;
    })
    .await;
    let mut client = stand.client_with_small_buffer().await;
    let ping = Message::Binary(encode(&ClientMessage::Ping(Ping { client_time_us: 1 })).into());
    let flood = async { while client.try_send_raw(ping.clone()).await.is_ok() {} };
    let ended = eventually("the flood is ended", async || {
        (metric("peregrine_disconnects_total", "control_queue_full") > 0.0).then_some(())
    });
    tokio::join!(flood, ended);
}

#[tokio::test]
async fn state_of_a_camera_is_wrong() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    for _ in 0..20 {
        camera.commit(1).await;
        camera.source_is(SourceHealth::Live, "").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let state = client
        .until(|m| camera_states(m)?.into_iter().find(|s| s.health == CameraHealth::Live && s.fps_out > 0.0))
        .await;
    assert_eq!((state.name.as_str(), state.owner.as_deref()), ("Yard", Some("w1")));
    assert_eq!(state.model.as_deref(), Some("m"));
    assert!((1.0..=30.0).contains(&state.fps_out), "{}", state.fps_out);
    assert_eq!(state.backlog, 0);
    camera.source_is(SourceHealth::Reconnecting, "cannot open rtsp://user:secret@cam.example/1").await;
    let state = client
        .until(|m| camera_states(m)?.into_iter().find(|s| s.health == CameraHealth::Reconnecting))
        .await;
    assert_eq!(state.error.as_deref(), Some("cannot open rtsp://***@cam.example/1"));
    let listed = stand.get("/api/cameras").await;
    assert_eq!(listed.json()[0]["health"], "reconnecting");
    assert!(!listed.text().contains("secret"));
    camera.redis.remove_camera(&camera.id).await.unwrap();
    client.until(|m| camera_states(m)?.is_empty().then_some(())).await;
}

#[tokio::test]
async fn rest_leaks_credentials_or_answers_without_a_way_out() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let version = stand.get("/api/version").await;
    assert_eq!((version.status, &version.json()["schema"]), (200, &serde_json::json!(SCHEMA)));
    let set_up = stand.get("/api/cameras/yard").await;
    assert_eq!(set_up.json()["config"]["source"]["uri"], "rtsp://***@cam.example/1");
    assert_eq!(set_up.json()["state"]["camera"], "yard");
    assert!(!set_up.text().contains("secret"));
    let none_yet = stand.get("/api/cameras/yard/results/latest").await;
    assert_eq!(none_yet.status, 404);
    let id = camera.commit(3).await;
    let latest = stand.get("/api/cameras/yard/results/latest").await;
    assert_eq!(latest.header("peregrine-frame-id"), id.to_string());
    assert_eq!(latest.json()["status"], "ok");
    assert_eq!(latest.json()["detections"].as_array().unwrap().len(), 3);
    for path in
        ["/api/cameras/nobody", "/api/cameras/no%20body", "/api/nothing", "/api/cameras/nobody/snapshot"]
    {
        let answer = stand.get(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, "application/problem+json"),
            "{path}"
        );
        assert!(answer.json()["detail"].as_str().unwrap().len() > 10);
    }
    let post = format!("POST /api/version HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n", stand.address);
    assert_eq!(request(stand.address, &post).await.status, 405);
    assert_eq!(stand.get("/ws").await.status, 400);
}

#[tokio::test]
async fn snapshot_is_old_or_waits_for_ever() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let old = camera.commit(1).await;
    camera.picture(old, b"old").await;
    let began = Instant::now();
    let none = stand.get("/api/cameras/yard/snapshot").await;
    assert_eq!(none.status, 503, "an old picture does not pass for a new one");
    assert!(none.json()["detail"].as_str().unwrap().contains("no picture within a second"));
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(stand.get("/api/cameras/yard/snapshot?width=9").await.status, 400);
    let snapshot = async { stand.get("/api/cameras/yard/snapshot?width=480").await };
    let producer = async {
        eventually("the request counts as a viewer", async || {
            camera.watched().await.contains(&480).then_some(())
        })
        .await;
        let id = FrameId { ms: old.ms + 1000, seq: 0 };
        camera.picture(id, b"new").await;
        id
    };
    let (answer, id) = tokio::join!(snapshot, producer);
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.text().as_str()),
        (200, "image/jpeg", "new")
    );
    assert_eq!(answer.header("peregrine-frame-id"), id.to_string());
    camera.source_is(SourceHealth::Ended, "").await;
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let last = stand.get("/api/cameras/yard/snapshot").await;
    assert_eq!(
        (last.status, last.text().as_str()),
        (200, "new"),
        "the last picture of a file that has ended"
    );
}

#[tokio::test]
async fn paint_reports_are_counted_twice_or_without_their_frame() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("painted").await;
    let mut client = stand.client().await;
    client.subscribe(&[], true, None).await;
    let id = camera.commit(1).await;
    assert_eq!(client.result_id().await, id);
    let painted = |id| {
        ClientMessage::Painted(Painted {
            camera: CameraId::new("painted").unwrap(),
            id,
            deliver_us: 9_000,
            paint_us: 4_000,
        })
    };
    for id in [id, id, FrameId { ms: 1, seq: 1 }] {
        client.send(&painted(id)).await;
    }
    client.send(&ClientMessage::Ping(Ping { client_time_us: 0 })).await;
    client.until(|m| matches!(m, ServerMessage::Pong(_)).then_some(())).await;
    assert_eq!(metric("peregrine_paint_age_seconds_count", "painted"), 1.0);
    assert_eq!(metric("peregrine_stage_duration_seconds_count", r#"stage="deliver",camera="painted""#), 1.0);
    assert_eq!(metric("peregrine_stage_duration_seconds_sum", r#"stage="paint",camera="painted""#), 0.004);
    assert_eq!(metric("peregrine_stage_duration_seconds_count", r#"stage="relay",camera="painted""#), 1.0);
    assert!(metric("peregrine_paint_age_seconds_sum", "painted") >= 0.004);
}

#[tokio::test]
async fn foreign_page_may_connect() {
    let stand = Stand::with(|config| config.origins = vec!["https://dash.example.org".into()]).await;
    let own = format!("http://{}", stand.address);
    for fine in [own.as_str(), "https://dash.example.org"] {
        assert!(Client::connect(stand.address, Some(fine), None).await.is_ok(), "{fine}");
    }
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        match Client::connect(stand.address, Some(foreign), None).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403),
            _ => panic!("{foreign} may connect"),
        }
        let brings =
            format!("GET /ws/ingest/yard HTTP/1.1\r\nhost: {}\r\norigin: {foreign}\r\n", stand.address);
        assert_eq!(request(stand.address, &brings).await.status, 403, "{foreign} may bring frames");
    }
    let rebound = request(stand.address, "GET /api/cameras HTTP/1.1\r\nhost: evil.example:8080\r\n").await;
    assert_eq!(rebound.status, 403);
}

#[tokio::test]
async fn more_clients_than_allowed_connect() {
    let stand = Stand::with(|config| config.max_clients = 1).await;
    let first = stand.client().await;
    match Client::connect(stand.address, None, None).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
        _ => panic!("a second client connected"),
    }
    drop(first);
    eventually("the place is free again", async || {
        Client::connect(stand.address, None, None).await.ok().map(drop)
    })
    .await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_served() {
    let stand = Stand::with(|config| config.max_connections = 1).await;
    let first = stand.client().await;
    let refused = stand.get("/api/version").await;
    assert_eq!(refused.status, 503);
    assert!(refused.json()["detail"].as_str().unwrap().contains("max_connections"));
    drop(first);
    eventually("there is room again", async || (stand.get("/api/version").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn taken_port_is_not_named() {
    let stand = Stand::start().await;
    let mut config = config(&stand.redis.url());
    config.listen = vec![stand.address];
    let shell = Shell { shutdown: Shutdown::new(), health: Health::starting(), worker: "other".into() };
    let error = Gateway::bind(config, shell).await.err().expect("the port is taken").to_string();
    assert!(error.contains(&stand.address.port().to_string()), "{error}");
    assert!(error.contains("--set gateway.listen="), "{error}");
}

#[tokio::test]
async fn gateway_does_not_survive_a_restart_of_redis() {
    let mut stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    client.subscribe(&[], true, None).await;
    let before = camera.commit(1).await;
    assert_eq!(client.result_id().await, before);
    stand.redis.kill();
    client
        .until(|m| {
            if let ServerMessage::Problem(p) = m {
                p.message.contains("lost Redis").then_some(())
            } else {
                None
            }
        })
        .await;
    let state = client
        .until(|m| camera_states(m)?.into_iter().find(|s| s.health == CameraHealth::Reconnecting))
        .await;
    assert!(state.error.unwrap().contains("lost Redis"));
    assert!(!stand.health.get().0, "not ready");
    let refused = stand.get("/api/cameras").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(stand.get("/api/version").await.status, 200);
    stand.redis.start_again().await;
    let after = camera.commit(2).await;
    assert_eq!(client.result_id().await, after, "goes on without being asked again");
    client.until(|m| camera_states(m)?.into_iter().find(|s| s.health == CameraHealth::Live)).await;
    eventually("ready again", async || stand.health.get().0.then_some(())).await;
}

#[tokio::test]
async fn shutdown_does_not_say_goodbye() {
    let stand = Stand::start().await;
    let mut client = stand.client().await;
    client.until(camera_states).await;
    let began = Instant::now();
    stand.shutdown.trigger();
    assert_eq!(u16::from(client.closed().await.expect("a close frame").code), 1001);
    assert!(client.problems[0].contains("shutting down"));
    stand.serving.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn dashboard_is_served_without_its_protections() {
    let folder = tempfile::tempdir().unwrap();
    let web = built_dashboard(&folder.path().join("dist"));
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    let stand = Stand::with(|config| config.web_dir = web).await;
    for path in ["/", "/index.html"] {
        let page = stand.get(path).await;
        assert_eq!((page.status, page.header("cache-control")), (200, "no-cache"), "{path}");
        assert!(page.text().contains("dashboard"), "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
    }
    let place = stand.get("/camera/yard").await;
    assert_eq!((place.status, place.header("location")), (307, "/#/camera/yard"));
    let script = stand.get("/assets/app-0a1b2c.js").await;
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript"));
    assert!(script.header("cache-control").contains("immutable"));
    let missing = stand.get("/assets/app-gone.js").await;
    assert_eq!((missing.status, missing.header("cache-control")), (404, "no-store"));
    for trick in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//secret.txt",
    ] {
        let answer = stand.get(trick).await;
        assert!(!answer.text().contains("secret\n") && answer.text() != "secret", "{trick}");
    }
}

#[tokio::test]
async fn text_is_sent_in_full_to_who_takes_it_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let web = built_dashboard(folder.path());
    std::fs::write(web.join("assets/app-0a1b2c.js.br"), "compressed by the build").unwrap();
    let stand = Stand::with(|config| config.web_dir = web).await;
    let camera = stand.camera("yard").await;
    let encoding = async |path: &str, takes: &str| {
        let answer = stand.get_with(path, &format!("accept-encoding: {takes}\r\n")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.header("content-encoding").to_owned()
    };
    assert_eq!(encoding("/api/openapi.json", "gzip, br").await, "gzip");
    assert_eq!(encoding("/api/openapi.json", "identity").await, "");
    assert_eq!(encoding("/api/version", "gzip").await, "", "it fits into a packet");
    let picture = async {
        let newest = u64::try_from(peregrine_streams::wall_clock_us() / 1000).unwrap() + 1000;
        eventually("somebody asks", async || (!camera.watched().await.is_empty()).then_some(())).await;
        camera.picture(FrameId { ms: newest, seq: 0 }, &[0xff; 4096]).await;
    };
    let (shown, ()) = tokio::join!(encoding("/api/cameras/yard/snapshot", "gzip"), picture);
    assert_eq!(shown, "", "a picture is compressed already");
    assert_eq!(encoding("/assets/app-0a1b2c.js", "gzip, br").await, "br");
}

#[tokio::test]
async fn missing_dashboard_is_not_explained() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let stand = Stand::with(|config| config.web_dir = nowhere).await;
    let page = stand.get("/").await;
    assert_eq!(page.status, 503);
    assert!(page.text().contains("npm run build"));
    assert_eq!(stand.get("/api/version").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_much_at_once_is_cut_off() {
    let stand = Stand::start().await;
    let mut client = stand.client().await;
    let pings: Vec<_> = (0..500).map(|n| ClientMessage::Ping(Ping { client_time_us: n })).collect();
    client.send_at_once(&pings).await;
    for n in 0..500 {
        let pong = client
            .until(|message| match message {
                ServerMessage::Pong(pong) => Some(pong),
                _ => None,
            })
            .await;
        assert_eq!(pong.client_time_us, n);
    }
}

#[tokio::test]
async fn who_brings_a_frame_that_cannot_be_decoded_is_not_told() {
    let stand = Stand::start().await;
    let (redis, phone) = (stand.redis.connect().await, CameraId::new("phone").unwrap());
    let config = serde_json::json!({ "id": "phone", "source": { "uri": "ingest:" } });
    redis.put_camera(&serde_json::from_value(config).unwrap()).await.unwrap();
    let stream = tokio::net::TcpStream::connect(stand.address).await.unwrap();
    let address = format!("ws://{}/ws/ingest/phone", stand.address);
    let (mut socket, _) = tokio_tungstenite::client_async(address, stream).await.unwrap();
    let mut bring = async || {
        socket.send(Message::Binary(vec![0xff, 0xd8, 0xff, 0xd9].into())).await.unwrap();
        loop {
            // Others ask for a sign of life.
            if let Message::Text(answer) = socket.next().await.unwrap().unwrap() {
                return serde_json::from_str::<serde_json::Value>(&answer).unwrap();
            }
        }
    };
    let mut producer = IngestReader::new(&redis, &phone, Duration::from_millis(20));
    producer.next().await.unwrap();
    let first = bring().await;
    assert_eq!((&first["taken"], &first["problem"]), (&true.into(), &serde_json::Value::Null));
    producer.next().await.unwrap().expect("a frame");
    producer.refuse("the frame before could not be decoded".into());
    producer.next().await.unwrap();
    let second = bring().await;
    assert_eq!(
        (&second["taken"], &second["problem"]),
        (&true.into(), &"the frame before could not be decoded".into())
    );
    producer.next().await.unwrap().expect("a frame");
    producer.next().await.unwrap();
    assert_eq!(bring().await["problem"], serde_json::Value::Null, "the second could be decoded");
}
