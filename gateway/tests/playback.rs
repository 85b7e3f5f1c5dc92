//! Going back in time, and going on after a lost connection: against a real Redis, with real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod stand;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use peregrine_daemon::{Health, Shell, Shutdown};
use peregrine_gateway::Gateway;
use peregrine_proto::{
    CameraId, ClientMessage, FrameId, Gap, Pause, Ping, Play, Playback, PlaybackSpeed, PlaybackState,
    PlaybackStep, Seek, ServerMessage, Subscribe, Unsubscribe,
};
use stand::*;

/// What a test looks at, in the order in which it came.
#[derive(Debug, Clone, PartialEq)]
enum Came {
    Playback(Playback),
    Result(FrameId),
    Picture(FrameId, Vec<u8>),
    Gap(Gap),
}

async fn next(client: &mut Client) -> Came {
    client
        .until(|message| match message {
            ServerMessage::Playback(playback) => Some(Came::Playback(playback)),
            ServerMessage::Result(result) => Some(Came::Result(result.id)),
            ServerMessage::Preview(picture) => Some(Came::Picture(picture.id, picture.jpeg.into_vec())),
            ServerMessage::Gap(gap) => Some(Came::Gap(gap)),
            _ => None,
        })
        .await
}

/// The answer to a request; what came before it is passed over.
async fn answer(client: &mut Client, id: u32) -> Playback {
    loop {
        if let Came::Playback(playback) = next(client).await
            && playback.request_id == Some(id)
        {
            return playback;
        }
    }
}

async fn result(client: &mut Client) -> FrameId {
    loop {
        if let Came::Result(id) = next(client).await {
            return id;
        }
    }
}

/// Everything that had been sent when the gateway answered a ping.
async fn all_there_is(client: &mut Client) -> Vec<Came> {
    let mut came = Vec::new();
    for round in 0..2 {
        // Control goes before data: what is answered second was written after the data.
        client.send(&ClientMessage::Ping(Ping { client_time_us: round })).await;
        loop {
            match client.next().await.unwrap() {
                ServerMessage::Pong(_) => break,
                ServerMessage::Playback(playback) => came.push(Came::Playback(playback)),
                ServerMessage::Result(result) => came.push(Came::Result(result.id)),
                ServerMessage::Preview(picture) => {
                    came.push(Came::Picture(picture.id, picture.jpeg.into_vec()));
                }
                ServerMessage::Gap(gap) => came.push(Came::Gap(gap)),
                _ => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    came
}

fn seek(camera: &CameraId, request_id: u32, to: FrameId) -> ClientMessage {
    ClientMessage::Seek(Seek { request_id, camera: camera.clone(), to, nearest: false })
}

fn nearest(camera: &CameraId, request_id: u32, ms: u64) -> ClientMessage {
    let to = FrameId { ms, seq: 0 };
    ClientMessage::Seek(Seek { request_id, camera: camera.clone(), to, nearest: true })
}

fn step(camera: &CameraId, request_id: u32, frames: i32) -> ClientMessage {
    ClientMessage::Step(PlaybackStep { request_id, camera: camera.clone(), frames })
}

fn pause(camera: &CameraId, request_id: u32) -> ClientMessage {
    ClientMessage::Pause(Pause { request_id, camera: camera.clone() })
}

fn play(camera: &CameraId, request_id: u32) -> ClientMessage {
    ClientMessage::Play(Play { request_id, camera: camera.clone() })
}

fn speed(camera: &CameraId, request_id: u32, speed: f32) -> ClientMessage {
    ClientMessage::Speed(PlaybackSpeed { request_id, camera: camera.clone(), speed })
}

fn resume(camera: &CameraId, after: FrameId) -> ClientMessage {
    ClientMessage::Subscribe(Subscribe {
        cameras: vec![camera.clone()],
        results: true,
        resume_after: Some(after),
        ..Subscribe::default()
    })
}

async fn commit(camera: &mut Camera, frames: usize) -> Vec<FrameId> {
    let mut ids = Vec::new();
    for _ in 0..frames {
        ids.push(camera.commit(1).await);
    }
    ids
}

#[tokio::test]
async fn seek_shows_another_frame_or_another_frames_picture() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let ids = commit(&mut camera, 20).await;
    for (n, id) in (0_u8..).zip(&ids) {
        if n % 2 == 0 {
            camera.picture(*id, &[0xff, n]).await;
        }
    }
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, Some(640)).await;
    assert_eq!(result(&mut client).await, ids[19]);
    let mut epoch = 0;
    for (request, n) in (1..).zip([3_usize, 18, 4, 4, 0, 19]) {
        client.send(&seek(&camera.id, request, ids[n])).await;
        let told = answer(&mut client, request).await;
        assert_eq!((told.state, told.at), (PlaybackState::Paused, Some(ids[n])));
        assert_eq!((told.first, told.last), (Some(ids[0]), Some(ids[19])));
        assert_eq!(told.has_picture, n % 2 == 0);
        assert!(told.seek_epoch > epoch, "{} after {epoch}", told.seek_epoch);
        epoch = told.seek_epoch;
        let mut expected = vec![Came::Result(ids[n])];
        if told.has_picture {
            expected.insert(0, Came::Picture(ids[n], vec![0xff, u8::try_from(n).unwrap()]));
        }
        assert_eq!(all_there_is(&mut client).await, expected);
    }
    client.send(&nearest(&camera.id, 50, ids[7].ms)).await;
    assert_eq!(answer(&mut client, 50).await.at.unwrap().ms, ids[7].ms);
    client.send(&nearest(&camera.id, 51, 0)).await;
    assert_eq!(answer(&mut client, 51).await.at, Some(ids[0]), "the oldest is nearest to what was before it");
    client.send(&nearest(&camera.id, 52, u64::MAX)).await;
    assert_eq!(answer(&mut client, 52).await.at, Some(ids[19]));
}

#[tokio::test]
async fn step_leaves_a_frame_out() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let ids = commit(&mut camera, 10).await;
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, None).await;
    client.send(&seek(&camera.id, 1, ids[4])).await;
    answer(&mut client, 1).await;
    assert_eq!(result(&mut client).await, ids[4]);
    for (request, (frames, expected)) in
        (2..).zip([(1, 5), (1, 6), (-1, 5), (-3, 2), (5, 7), (0, 7), (100, 9), (-100, 0)])
    {
        client.send(&step(&camera.id, request, frames)).await;
        let told = answer(&mut client, request).await;
        assert_eq!((told.at, told.problem), (Some(ids[expected]), None), "{frames}");
        assert_eq!(result(&mut client).await, ids[expected]);
    }
    client.send(&step(&camera.id, 20, -1)).await;
    let told = answer(&mut client, 20).await;
    assert_eq!(told.at, Some(ids[0]), "it stays where it is");
    assert!(told.problem.unwrap().contains("oldest"));
}

#[tokio::test]
async fn what_is_live_comes_while_paused_or_does_not_come_afterwards() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    commit(&mut camera, 3).await;
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, Some(640)).await;
    let mut bystander = stand.client().await;
    bystander.subscribe(&[&camera.id], true, None).await;
    result(&mut client).await;
    result(&mut bystander).await;
    for id in commit(&mut camera, 5).await {
        assert_eq!(result(&mut client).await, id);
        assert_eq!(result(&mut bystander).await, id);
    }
    client.send(&pause(&camera.id, 1)).await;
    let told = answer(&mut client, 1).await;
    assert_eq!((told.state, told.at), (PlaybackState::Paused, told.last));
    let meanwhile = commit(&mut camera, 20).await;
    camera.picture(meanwhile[19], b"new").await;
    for id in &meanwhile {
        assert_eq!(result(&mut bystander).await, *id);
    }
    assert_eq!(all_there_is(&mut client).await, [], "paused");
    assert_eq!(camera.watched().await, [640], "pictures are made for what is seen later");
    client.send(&step(&camera.id, 2, 1)).await;
    assert_eq!(answer(&mut client, 2).await.at, Some(meanwhile[0]));
    assert_eq!(next(&mut client).await, Came::Result(meanwhile[0]));
    client.send(&play(&camera.id, 3)).await;
    let told = answer(&mut client, 3).await;
    assert_eq!((told.state, told.at), (PlaybackState::Live, None));
    assert_eq!(result(&mut client).await, meanwhile[19], "begins with the latest");
    let id = camera.commit(1).await;
    assert_eq!(result(&mut client).await, id);
}

/// Nothing from before a jump may come after its answer, however fast results pour in and however many jumps wait.
#[tokio::test]
async fn frame_from_before_a_seek_comes_after_it() {
    let stand = Stand::with(|config| config.outbox = SMALL_OUTBOX).await;
    let mut camera = stand.camera("yard").await;
    let old = commit(&mut camera, 30).await;
    let id = camera.id.clone();
    let mut client = stand.client().await;
    client.subscribe(&[&id], true, None).await;
    result(&mut client).await;
    let pouring = tokio::spawn(async move {
        loop {
            camera.commit(5).await;
        }
    });
    let mut request = 0;
    for round in 0..40_usize {
        for n in [round % 30, (round * 7) % 30, (round * 11) % 30] {
            request += 1;
            client.send(&seek(&id, request, old[n])).await;
        }
        if round % 3 == 0 {
            request += 1;
            client.send(&speed(&id, request, 4.0)).await;
        }
        let (mut at, mut epoch, mut state) = (None, 0, PlaybackState::Live);
        loop {
            match next(&mut client).await {
                Came::Playback(told) => {
                    assert!(told.seek_epoch >= epoch);
                    (at, epoch, state) = (told.at, told.seek_epoch, told.state);
                    if told.request_id == Some(request) {
                        break;
                    }
                }
                Came::Result(came) if at.is_some() => {
                    // The position itself, or played on from it.
                    assert!(Some(came) >= at, "{came} after a jump to {at:?}");
                    assert!(state != PlaybackState::Paused || Some(came) == at, "{came}, paused at {at:?}");
                }
                _ => {}
            }
        }
        if round % 5 == 4 {
            request += 1;
            client.send(&play(&id, request)).await;
            assert_eq!(answer(&mut client, request).await.state, PlaybackState::Live);
            assert!(result(&mut client).await > old[29], "a frame of before");
        }
    }
    pouring.abort();
}

#[tokio::test]
async fn playing_leaves_a_frame_out_or_keeps_another_time() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut ids = Vec::new();
    for n in 0..20_u8 {
        let id = camera.commit(1).await;
        camera.picture(id, &[n]).await;
        ids.push(id);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, Some(640)).await;
    client.send(&seek(&camera.id, 1, ids[2])).await;
    answer(&mut client, 1).await;
    assert_eq!(result(&mut client).await, ids[2]);
    client.send(&speed(&camera.id, 2, 2.0)).await;
    let began = Instant::now();
    assert_eq!(answer(&mut client, 2).await.state, PlaybackState::Playing);
    for (n, id) in (0_u8..).zip(&ids).skip(3) {
        assert_eq!(next(&mut client).await, Came::Picture(*id, vec![n]));
        assert_eq!(next(&mut client).await, Came::Result(*id));
    }
    let took = began.elapsed().as_secs_f64();
    let expected = (ids[19].ms - ids[2].ms) as f64 / 2000.0;
    // A busy machine is late; half as fast would be the other speed.
    assert!(took > expected - 0.25 && took < 2.0 * expected, "{took} s instead of {expected} s");
    let Came::Playback(told) = next(&mut client).await else { panic!("not told that live is reached") };
    assert_eq!((told.request_id, told.state), (None, PlaybackState::Live));
    let id = camera.commit(1).await;
    assert_eq!(next(&mut client).await, Came::Result(id), "goes on live, and nothing comes twice");
}

/// What is told next of a client's place, and the results before it.
async fn told(client: &mut Client) -> (Playback, Vec<FrameId>) {
    let mut results = Vec::new();
    loop {
        match next(client).await {
            Came::Playback(playback) => return (playback, results),
            Came::Result(id) => results.push(id),
            Came::Picture(..) | Came::Gap(_) => {}
        }
    }
}

#[tokio::test]
async fn end_of_a_file_is_not_told_or_cannot_be_left() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut ids = commit(&mut camera, 10).await;
    ids.push(camera.commit_end().await);
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, None).await;
    client.send(&seek(&camera.id, 1, ids[4])).await;
    answer(&mut client, 1).await;
    assert_eq!(result(&mut client).await, ids[4]);
    client.send(&speed(&camera.id, 2, 16.0)).await;
    assert_eq!(answer(&mut client, 2).await.state, PlaybackState::Playing);
    let (ended, results) = told(&mut client).await;
    assert_eq!(results, ids[5..]);
    assert_eq!((ended.request_id, ended.state, ended.at), (None, PlaybackState::Ended, Some(ids[10])));
    client.send(&step(&camera.id, 3, -3)).await;
    let back = answer(&mut client, 3).await;
    assert_eq!((back.state, back.at), (PlaybackState::Paused, Some(ids[7])));
}

#[tokio::test]
async fn wait_for_what_is_to_come_is_not_told_or_loses_a_frame() {
    let mut stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut ids = Vec::new();
    for _ in 0..60 {
        ids.push(camera.commit(1).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, None).await;
    client.send(&seek(&camera.id, 1, ids[0])).await;
    answer(&mut client, 1).await;
    assert_eq!(result(&mut client).await, ids[0]);
    client.send(&speed(&camera.id, 2, 1.0)).await;
    answer(&mut client, 2).await;
    assert_eq!(result(&mut client).await, ids[1], "the next frames are read ahead");
    stand.redis.kill();
    let (waiting, before) = told(&mut client).await;
    assert_eq!((waiting.request_id, waiting.state), (None, PlaybackState::Buffering));
    assert_eq!(waiting.at, before.last().copied());
    stand.redis.start_again().await;
    let (goes_on, between) = told(&mut client).await;
    assert_eq!(goes_on.state, PlaybackState::Playing);
    let (live, after) = told(&mut client).await;
    assert_eq!(live.state, PlaybackState::Live);
    assert_eq!([before, between, after].concat(), ids[2..]);
}

#[tokio::test]
async fn resumed_client_misses_a_result_or_gets_one_twice() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let before = commit(&mut camera, 100).await;
    let mut client = stand.client().await;
    client.send(&resume(&camera.id, before[9])).await;
    // Live from here on, while the client still makes up for what it missed.
    let live = commit(&mut camera, 100).await;
    for id in before[10..].iter().chain(&live) {
        assert_eq!(next(&mut client).await, Came::Result(*id));
    }
    let id = camera.commit(1).await;
    assert_eq!(next(&mut client).await, Came::Result(id));
    drop(client);
    let mut again = stand.client().await;
    again.send(&resume(&camera.id, id)).await;
    let next_id = camera.commit(1).await;
    assert_eq!(next(&mut again).await, Came::Result(next_id), "nothing was missed, nothing comes again");
}

#[tokio::test]
async fn client_of_many_cameras_misses_results_of_some_when_it_resumes() {
    let stand = Stand::start().await;
    let (mut expected, mut resumes) = (BTreeSet::new(), Vec::new());
    for number in 0..40 {
        let mut camera = stand.camera(&format!("yard-{number}")).await;
        let ids = commit(&mut camera, 3).await;
        expected.extend(ids[1..].iter().map(|id| (camera.id.clone(), *id)));
        resumes.push(resume(&camera.id, ids[0]));
    }
    let mut client = stand.client().await;
    for message in &resumes {
        client.send(message).await;
    }
    let mut found = BTreeSet::new();
    while found.len() < expected.len() {
        match client.next().await.unwrap() {
            ServerMessage::Result(message) => _ = found.insert((message.camera, message.id)),
            ServerMessage::Gap(gap) => panic!("{gap:?}"),
            ServerMessage::Problem(problem) => panic!("{problem:?}"),
            _ => {}
        }
    }
    assert_eq!(found, expected);
    // To stand still on so many is refused.
    for number in 0..17 {
        client.send(&pause(&CameraId::new(&format!("yard-{number}")).unwrap(), number)).await;
    }
    assert_eq!(answer(&mut client, 0).await.problem, None);
    let problem = answer(&mut client, 16).await.problem.unwrap();
    assert!(problem.contains("16 cameras are played back already"), "{problem}");
}

#[tokio::test]
async fn restart_of_the_gateway_makes_a_gap() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    commit(&mut camera, 1).await;
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, None).await;
    let mut last = result(&mut client).await;
    for id in commit(&mut camera, 10).await {
        last = result(&mut client).await;
        assert_eq!(last, id);
    }
    stand.shutdown.trigger();
    client.closed().await;
    stand.serving.await.unwrap().unwrap();
    let meanwhile = commit(&mut camera, 50).await;
    let shell = Shell { shutdown: Shutdown::new(), health: Health::starting(), worker: "again".into() };
    let gateway = Gateway::bind(config(&stand.redis.url()), shell).await.unwrap();
    let address = gateway.address();
    tokio::spawn(gateway.serve());
    let mut client = Client::connect(address, None, None).await.unwrap();
    client.send(&resume(&camera.id, last)).await;
    let after = commit(&mut camera, 50).await;
    for id in meanwhile.iter().chain(&after) {
        assert_eq!(next(&mut client).await, Came::Result(*id));
    }
}

#[tokio::test]
async fn gap_is_not_told() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let ids = commit(&mut camera, 50).await;
    stand.redis.cli(&["XTRIM", "peregrine:{yard}:results", "MINID", &ids[30].to_string()]);
    let mut client = stand.client().await;
    client.send(&resume(&camera.id, ids[10])).await;
    let gap = Gap { camera: camera.id.clone(), after: ids[10], first: Some(ids[30]) };
    assert_eq!(next(&mut client).await, Came::Gap(gap));
    for id in &ids[30..] {
        assert_eq!(next(&mut client).await, Came::Result(*id));
    }
    client.send(&seek(&camera.id, 1, ids[10])).await;
    let told = answer(&mut client, 1).await;
    assert_eq!((told.state, told.first, told.last), (PlaybackState::Live, Some(ids[30]), Some(ids[49])));
    let problem = told.problem.unwrap();
    assert!(problem.contains(&format!("seek between {} and {}", ids[30], ids[49])), "{problem}");
    let id = camera.commit(1).await;
    assert_eq!(next(&mut client).await, Came::Result(id), "a seek in vain ends what is live");

    let later = FrameId { ms: id.ms + 60_000, seq: 0 };
    let mut ahead = stand.client().await;
    ahead.send(&resume(&camera.id, later)).await;
    let gap = Gap { camera: camera.id.clone(), after: later, first: None };
    assert_eq!(next(&mut ahead).await, Came::Gap(gap), "a frame that never was");
    assert_eq!(result(&mut ahead).await, id);
    let id = camera.commit(1).await;
    assert_eq!(result(&mut ahead).await, id);
}

#[tokio::test]
async fn nonsense_is_obeyed_or_stops_what_is_live() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, None).await;
    let yard = camera.id.clone();
    client.send(&pause(&yard, 1)).await;
    assert!(answer(&mut client, 1).await.problem.unwrap().contains("nothing of `yard` is held"));
    let id = camera.commit(1).await;
    assert_eq!(result(&mut client).await, id, "still live");
    let nobody = CameraId::new("nobody").unwrap();
    for (request, (message, expected)) in (2..).zip([
        (pause(&nobody, 2), "no camera `nobody`"),
        (seek(&yard, 3, FrameId { ms: 1, seq: 1 }), "seek between"),
        (seek(&yard, 4, FrameId::MAX), "seek between"),
        (step(&yard, 5, 1), "pause it before"),
        (speed(&yard, 6, 2.0), "seek back before"),
    ]) {
        client.send(&message).await;
        let told = answer(&mut client, request).await;
        assert!(told.problem.as_ref().is_some_and(|p| p.contains(expected)), "{told:?}");
        assert_eq!(told.state, PlaybackState::Live);
    }
    client.send(&pause(&yard, 10)).await;
    assert_eq!(answer(&mut client, 10).await.problem, None);
    for (request, message) in (11..).zip([
        step(&yard, 11, i32::MIN),
        step(&yard, 12, 101),
        speed(&yard, 13, f32::NAN),
        speed(&yard, 14, -1.0),
        speed(&yard, 15, 1e9),
    ]) {
        client.send(&message).await;
        let told = answer(&mut client, request).await;
        assert!(told.problem.is_some() && told.state == PlaybackState::Paused, "{told:?}");
    }
    client
        .send(&ClientMessage::Subscribe(Subscribe { resume_after: Some(id), ..Subscribe::default() }))
        .await;
    client
        .send(&ClientMessage::Subscribe(Subscribe { max_rate: Some(f32::INFINITY), ..Subscribe::default() }))
        .await;
    client.send(&play(&yard, 20)).await;
    assert_eq!(answer(&mut client, 20).await.state, PlaybackState::Live);
    assert_eq!(client.problems.len(), 2, "{:?}", client.problems);
}

#[tokio::test]
async fn client_that_vanishes_or_unsubscribes_leaves_something_behind() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let ids = commit(&mut camera, 200).await;
    let mut client = stand.client().await;
    client.subscribe(&[&camera.id], true, Some(640)).await;
    client.send(&seek(&camera.id, 1, ids[0])).await;
    answer(&mut client, 1).await;
    client.send(&speed(&camera.id, 2, 0.1)).await;
    answer(&mut client, 2).await;
    client.send(&ClientMessage::Unsubscribe(Unsubscribe { cameras: vec![camera.id.clone()] })).await;
    all_there_is(&mut client).await;
    let id = camera.commit(1).await;
    assert_eq!(all_there_is(&mut client).await, [], "neither live nor played back");
    client.subscribe(&[&camera.id], true, Some(640)).await;
    assert_eq!(result(&mut client).await, id, "live again");
    client.send(&seek(&camera.id, 3, ids[0])).await;
    client.send(&speed(&camera.id, 4, 1.0)).await;
    answer(&mut client, 4).await;
    drop(client);
    let idle = async || {
        let before = stand.redis.calls("xrange") + stand.redis.calls("xread");
        tokio::time::sleep(Duration::from_millis(300)).await;
        (stand.redis.calls("xrange") + stand.redis.calls("xread") == before).then_some(())
    };
    eventually("reading stops", idle).await;
    eventually("nobody watches", async || camera.watched().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn faster_than_the_rate_that_was_asked_for() {
    let stand = Stand::start().await;
    let mut camera = stand.camera("yard").await;
    let mut client = stand.client().await;
    client
        .send(&ClientMessage::Subscribe(Subscribe {
            results: true,
            max_rate: Some(10.0),
            ..Subscribe::default()
        }))
        .await;
    let began = Instant::now();
    let mut last = FrameId::ZERO;
    while began.elapsed() < Duration::from_secs(2) {
        last = camera.commit(1).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut count = 0;
    while result(&mut client).await != last {
        count += 1;
    }
    assert!((15..=23).contains(&count), "{count} in two seconds, and the last one");
}
