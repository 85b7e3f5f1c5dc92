use std::time::Duration;

use anyhow::Result;
use peregrine_proto::{
    CameraConfig, CameraId, FrameId, FrameResult, LossCount, LossReason, ResultStatus, SCHEMA, Size,
};
use peregrine_streams::{
    Account, Balance, Danger, DangerKind, Flow, IngestReader, ModelAnnouncement, PreviewReader, Redis,
    RedisUrls, ResultReader, Role, RunningDaemon, ServerRole, SourceHealth, SourceState, Wake, WorkerId,
    keys,
};

use crate::{
    server::Server,
    support::{Chain, cam, result, write, writer},
};

/// For what is sure to come.
const BLOCK: Duration = Duration::from_secs(30);

fn config(id: &str) -> CameraConfig {
    serde_json::from_value(serde_json::json!({ "id": id, "source": { "uri": "synthetic:road" } })).unwrap()
}

#[tokio::test]
async fn cameras_are_kept_and_changes_wake() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut control = redis.control();
    server.until_blocked(1).await?;
    assert!(redis.put_camera(&config("a")).await?);
    assert!(!redis.put_camera(&config("a")).await?, "nothing changed");
    let woken = tokio::time::timeout(BLOCK, control.next()).await??;
    assert_eq!(woken, [Wake::CameraChanged { camera: cam("a") }]);
    assert_eq!(redis.camera(&cam("a")).await?, Some(config("a")));
    assert!(redis.remove_camera(&cam("a")).await?);
    assert!(!redis.remove_camera(&cam("a")).await?);
    assert_eq!(redis.cameras().await?.cameras.len(), 0);
    Ok(())
}

#[tokio::test]
async fn setting_that_endangers_data_is_not_found() -> Result<()> {
    let (server, frames) = (Server::start().await?, Server::start().await?);
    let urls = RedisUrls { state: server.url(), frames: Some(frames.url()) };
    let redis = Redis::open(&urls).await?;
    let set = async |server: &Server, name, value| -> Result<()> {
        let () = server.command(&["CONFIG", "SET", name, value]).await?;
        Ok(())
    };
    for server in [&server, &frames] {
        set(server, "maxmemory", "100mb").await?;
        set(server, "maxmemory-policy", "noeviction").await?;
        set(server, "appendonly", "no").await?;
    }
    let state = |kind| Danger { server: ServerRole::State, kind };
    assert_eq!(redis.dangers().await?, [state(DangerKind::NotKept)].into(), "frames need not be kept");
    set(&server, "appendonly", "yes").await?;
    assert_eq!(redis.dangers().await?, [].into());
    for policy in ["allkeys-lru", "volatile-lru", "volatile-ttl", "allkeys-random"] {
        set(&server, "maxmemory-policy", policy).await?;
        set(&frames, "maxmemory-policy", policy).await?;
        let evicts = Danger { server: ServerRole::Frames, kind: DangerKind::Evicts };
        assert_eq!(redis.dangers().await?, [state(DangerKind::Evicts), evicts].into(), "{policy}");
    }
    set(&server, "maxmemory-policy", "noeviction").await?;
    set(&server, "maxmemory", "0").await?;
    assert!(redis.dangers().await?.contains(&state(DangerKind::NoLimit)));
    Ok(())
}

#[tokio::test]
async fn daemon_that_left_or_fell_silent_is_still_listed() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let running = |worker: &str| RunningDaemon {
        daemon: "processor".into(),
        worker: worker.into(),
        address: "192.0.2.7:9100".into(),
    };
    let (one, two) = (running("one"), running("two"));
    redis.announce_daemon(&one).await?;
    redis.announce_daemon(&two).await?;
    redis.announce_daemon(&one).await?;
    assert_eq!(redis.daemons().await?, [one.clone(), two.clone()]);
    redis.withdraw_daemon(&two).await?;
    assert_eq!(redis.daemons().await?, std::slice::from_ref(&one));
    // Its last sign of life was twenty seconds ago.
    let () = server
        .command(&["ZINCRBY", keys::DAEMONS, "-20000", &format!("processor one 192.0.2.7:9100 {SCHEMA}")])
        .await?;
    assert_eq!(redis.daemons().await?, []);
    Ok(())
}

#[tokio::test]
async fn what_a_file_gave_before_undoes_what_people_changed() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let with_name = |name: &str| CameraConfig { name: name.into(), ..config("a") };
    assert!(redis.register_camera(&with_name("file")).await?);
    redis.put_camera(&with_name("people")).await?;
    assert!(!redis.register_camera(&with_name("file")).await?);
    assert_eq!(redis.camera(&cam("a")).await?, Some(with_name("people")));
    redis.remove_camera(&cam("a")).await?;
    assert!(!redis.register_camera(&with_name("file")).await?);
    assert_eq!(redis.camera(&cam("a")).await?, None, "it was removed");
    assert!(redis.register_camera(&with_name("file, changed")).await?, "a changed file counts");
    assert_eq!(redis.camera(&cam("a")).await?, Some(with_name("file, changed")));
    let () = server.command(&["FLUSHALL"]).await?;
    assert!(redis.register_camera(&with_name("file, changed")).await?, "redis was emptied");
    Ok(())
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the release before wrote it so")]
async fn an_upgrade_undoes_what_people_changed_or_keeps_addresses_twice() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut file = config("a");
    file.source.uri = "rtsp://user:hunter2@cam/1".into();
    let people = CameraConfig { name: "people".into(), ..file.clone() };
    redis.put_camera(&people).await?;
    let plain = serde_json::to_string(&file.in_full())?;
    let () = server.command(&["HSET", keys::REGISTERED, "a", &plain]).await?;
    assert!(!redis.register_camera(&file).await?);
    assert_eq!(redis.camera(&cam("a")).await?, Some(people.clone()));
    let kept: String = server.command(&["HGET", keys::REGISTERED, "a"]).await?;
    assert!(kept.starts_with("sha256:"), "{kept}");
    assert!(!redis.register_camera(&file).await?);
    assert_eq!(redis.camera(&cam("a")).await?, Some(people));
    file.source.uri = "rtsp://user:hunter3@cam/1".into();
    assert!(redis.register_camera(&file).await?, "another password is another entry");
    Ok(())
}

#[test]
#[allow(clippy::disallowed_methods, reason = "there is no password in it")]
fn a_default_is_given() {
    let mut camera = config("a");
    camera.analysis.confidence = 0.3;
    let given = peregrine_streams::given(&camera.in_full());
    assert_eq!(
        given,
        serde_json::json!({ "source": { "uri": camera.source.uri }, "analysis": { "confidence": 0.3 } })
    );
}

#[test]
fn a_source_is_taken_for_another_one() {
    let (address, other) = ("http://u:one@cam/a.mp4?pwd=x".into(), "http://u:two@cam/a.mp4?pwd=x".into());
    let state = |fingerprint: &str| SourceState { fingerprint: fingerprint.into(), ..SourceState::default() };
    let now = state(&peregrine_streams::fingerprint(&cam("a"), &address, SCHEMA));
    assert!(now.is_of(&cam("a"), &address), "a file is read from its beginning again");
    assert!(!now.is_of(&cam("a"), &other) && !now.is_of(&cam("b"), &address));
    // As the release before wrote it.
    for before in ["http://***@cam/a.mp4?pwd=***", "http://u:one@cam/a.mp4?pwd=x"] {
        assert!(state(before).is_of(&cam("a"), &address), "{before}");
    }
    for before in ["", "http://***@cam/b.mp4?pwd=***", "http://***@cam/a.mp4", "***@cam/a.mp4?pwd=y"] {
        assert!(!state(before).is_of(&cam("a"), &address), "{before}");
    }
}

#[tokio::test]
async fn change_of_a_camera_is_lost_to_another_at_the_same_time() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    assert!(redis.add_camera(&config("a")).await?);
    let named = |name: &str| CameraConfig { name: name.into(), ..config("a") };
    assert!(!redis.add_camera(&named("second")).await?, "there is one already");
    let (first, second) = (redis.stored_camera(&cam("a")).await?, redis.stored_camera(&cam("a")).await?);
    assert!(redis.replace_camera(&first.unwrap(), &named("first")).await?);
    assert!(!redis.replace_camera(&second.unwrap(), &named("second")).await?);
    assert_eq!(redis.camera(&cam("a")).await?.unwrap().name, "first");
    let removed = redis.stored_camera(&cam("a")).await?.unwrap();
    redis.remove_camera(&cam("a")).await?;
    assert!(!redis.replace_camera(&removed, &named("again")).await?);
    assert!(redis.stored_camera(&cam("a")).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn end_of_a_frame_is_missing_in_the_account() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 4 }).await?;
    for position in 0..8 {
        write(&mut writer, position).await?;
    }
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let frames = chain.read(BLOCK).await?;
    let ends = [ResultStatus::Ok, ResultStatus::Skipped, ResultStatus::End];
    for (frame, status) in frames.iter().zip(ends) {
        let reason = (status == ResultStatus::Skipped).then_some(LossReason::TooOld);
        let result = FrameResult { status, reason, ..result(&frame.header) };
        chain.try_commit(frame.id, chain.at, b"", &result).await?;
        // The retry after a lost answer.
        chain.try_commit(frame.id, chain.at, b"", &result).await?;
        chain.at = frame.id;
    }
    let account = redis.accounts(&[cam("c"), cam("none")]).await?;
    assert_eq!(account[1], Account::default());
    let account = &account[0];
    assert_eq!((account.results, account.ended, account.processed()), (3, 1, 1));
    assert_eq!(account.skipped.get(LossReason::TooOld), 1);
    assert_eq!(account.waiting as usize, frames.len() - 3);
    assert_eq!(account.lost.get(LossReason::QueueFull) as usize, 8 - frames.len());
    assert_eq!(account.accounted() + account.ended, 8);
    Ok(())
}

#[tokio::test]
async fn worker_is_listed_without_its_last_sign_of_life() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    for worker in [WorkerId::new("w"), WorkerId::new("w")] {
        Balance::new(&redis, Role::Processor, worker, BLOCK).tick(&[], true).await?;
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    let heartbeats = redis.heartbeats(Role::Processor).await?;
    assert_eq!(heartbeats.len(), 1, "one worker, whatever its lives: {heartbeats:?}");
    assert_eq!(heartbeats[0].worker, "w");
    assert!((Duration::from_millis(20)..BLOCK).contains(&heartbeats[0].seen_ago), "{heartbeats:?}");
    assert_eq!(redis.heartbeats(Role::Producer).await?, []);
    Ok(())
}

#[tokio::test]
async fn camera_that_cannot_be_read_does_not_hide_the_others() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    redis.put_camera(&config("good")).await?;
    let () = server.command(&["HSET", keys::CAMERAS, "broken", "{", "strange", r#"{"id":"other"}"#]).await?;
    let other = serde_json::to_string(&config("other"))?;
    let () = server.command(&["HSET", keys::CAMERAS, "renamed", &other]).await?;
    let cameras = redis.cameras().await?;
    assert_eq!(cameras.cameras.keys().map(CameraId::as_str).collect::<Vec<_>>(), ["good"]);
    assert_eq!(
        cameras.broken.keys().map(String::as_str).collect::<Vec<_>>(),
        ["broken", "renamed", "strange"]
    );
    Ok(())
}

#[tokio::test]
async fn source_state_comes_back_as_it_was_written() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let state = SourceState {
        state: SourceHealth::Reconnecting,
        error: "cannot open \"x\": it's gone".into(),
        size: Some(Size { width: 1920, height: 1080 }),
        pixel_aspect: Some(2.0),
        analysed: None,
        fps: 7.5,
        position: Some(42),
        first_n: 7,
        published: u64::from(u32::MAX) + 1,
        lost: vec![LossCount { reason: LossReason::Undecodable, count: 3 }],
        fingerprint: "f".into(),
        worker: "p".into(),
        updated_us: 1_700_000_000_000_000,
    };
    redis.put_source_state(&cam("a"), &state).await?;
    assert_eq!(redis.source_states(&[cam("a"), cam("b")]).await?, [Some(state), None]);
    Ok(())
}

#[tokio::test]
async fn models_are_announced_newest_first() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let model = |name: &str, announced_at_us| ModelAnnouncement {
        name: name.into(),
        input: Size { width: 416, height: 416 },
        classes: vec!["person".into()],
        default: true,
        announced_at_us,
    };
    redis.announce_model(&model("old", 1)).await?;
    redis.announce_model(&model("new", 2)).await?;
    assert_eq!(redis.models().await?, [model("new", 2), model("old", 1)]);
    // By a clock that is a day ahead, or before it was set back.
    let tomorrow = model("of tomorrow", peregrine_streams::wall_clock_us() + 86_400_000_000);
    redis.announce_model(&tomorrow).await?;
    assert_eq!(redis.models().await?, [model("new", 2), model("old", 1), tomorrow]);
    Ok(())
}

#[tokio::test]
async fn frame_that_a_client_brings_after_the_clock_went_back_is_read() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("a");
    let mut reader = IngestReader::new(&redis, &camera, Duration::from_millis(1));
    let key = "peregrine:{a}:ingest";
    let () = server.command(&["XADD", key, "1700000000000-0", "jpeg", "first"]).await?;
    assert_eq!(reader.next().await?.map(|frame| frame.jpeg), Some("first".into()));
    assert!(reader.next().await?.is_none(), "it was read");
    // It expires, and the clock stands where it stood in 2001 when the next one comes.
    let () = server.command(&["DEL", key]).await?;
    let () = server.command(&["XADD", key, "1000000000000-0", "jpeg", "second"]).await?;
    assert_eq!(reader.next().await?.map(|frame| frame.jpeg), Some("second".into()));
    assert!(reader.next().await?.is_none(), "it was read");
    Ok(())
}

#[tokio::test]
async fn viewers_expire() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    redis.watch(&cam("a"), 640, Duration::from_secs(60)).await?;
    redis.watch(&cam("a"), 320, Duration::from_millis(1)).await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(redis.watched(&[cam("a"), cam("b")]).await?, [vec![640], vec![]]);
    Ok(())
}

#[tokio::test]
async fn previews_are_bounded_and_found_by_frame() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let size = Size { width: 64, height: 36 };
    let id = |ms| FrameId { ms, seq: 0 };
    for ms in 1..=1000 {
        redis.put_preview(&cam("a"), id(ms), size, &[ms as u8; 100], ms == 2, 50).await?;
    }
    let kept: u64 = server.command(&["XLEN", "peregrine:{a}:previews"]).await?;
    assert!((50..=200).contains(&kept), "{kept} pictures");
    let latest = redis.latest_preview(&cam("a")).await?.unwrap();
    assert_eq!((latest.id, latest.size, latest.jpeg.len()), (id(1000), size, 100));
    assert!(redis.preview_of(&cam("a"), id(1)).await?.is_none());
    let mut reader = PreviewReader::new(&redis);
    reader.follow(&cam("a"), id(998));
    let ids: Vec<_> = reader.read(BLOCK).await?.into_iter().map(|p| p.id).collect();
    assert_eq!(ids, [id(999), id(1000)]);
    Ok(())
}

#[tokio::test]
async fn late_reader_joins_at_the_newest_result_and_resumes_where_it_left() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 100 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let mut reader = ResultReader::new(&redis);
    assert!(reader.join(&cam("empty")).await?.is_none());
    for position in 0..5 {
        write(&mut writer, position).await?;
    }
    chain.run(5, BLOCK).await?;
    let newest = reader.join(&cam("c")).await?.unwrap();
    assert_eq!(newest.decode()?.n, 5);
    assert!(reader.read(Duration::from_millis(20)).await?.is_empty());
    write(&mut writer, 5).await?;
    chain.run(1, BLOCK).await?;
    let next = reader.read(BLOCK).await?.remove(0);
    assert_eq!(next.decode()?.n, 6);
    let () = server.command(&["XADD", "peregrine:{c}:results", "*", "not", "a result"]).await?;
    let mut resumed = ResultReader::new(&redis);
    resumed.follow(&cam("c"), newest.id);
    assert_eq!(resumed.read(BLOCK).await?.into_iter().map(|r| r.id).collect::<Vec<_>>(), [next.id]);
    Ok(())
}
