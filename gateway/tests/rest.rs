//! Plain requests against a real Redis: what is set up over REST, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod stand;

use std::time::{Duration, Instant};

use peregrine_proto::{CameraId, FrameId};
use peregrine_streams::{Balance, Role, SourceHealth, Unfit, WorkerId};
use serde_json::{Value, json};
use stand::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn camera(id: &str) -> Value {
    json!({ "id": id, "name": "Gate", "source": { "uri": "rtsp://user:secret@cam.example/1" } })
}

/// A refusal's sentence, after a look at the rest of it.
fn refusal(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn camera_is_not_live_within_a_second() {
    let stand = Stand::start().await;
    assert_eq!(stand.get("/api/cameras").await.json(), json!([]));
    let began = Instant::now();
    let added = stand.send("POST", "/api/cameras", "", &camera("gate")).await;
    assert_eq!((added.status, added.header("location")), (201, "/api/cameras/gate"), "{}", added.text());
    assert_eq!(added.json()["config"]["source"]["uri"], "rtsp://***@cam.example/1");
    assert!(!added.text().contains("secret"));
    assert_eq!(stand.get("/api/cameras").await.json()[0]["camera"], "gate");
    let again = stand.send("POST", "/api/cameras", "", &camera("gate")).await;
    assert!(refusal(&again, 409).contains("`gate`"));

    let mut changed = added.json()["config"].clone();
    changed["name"] = "Front gate".into();
    let put = stand.send("PUT", "/api/cameras/gate", "", &changed).await;
    assert_eq!((put.status, &put.json()["state"]["name"]), (200, &json!("Front gate")), "{}", put.text());
    assert_eq!(stand.get("/api/cameras").await.json()[0]["name"], "Front gate");
    let stored = stand.redis.connect().await.camera(&CameraId::new("gate").unwrap()).await.unwrap().unwrap();
    assert!(stored.source.uri == "rtsp://user:secret@cam.example/1".into(), "the mask is no password");

    let gone = stand.send("DELETE", "/api/cameras/gate", "", &Value::Null).await;
    assert_eq!((gone.status, gone.text().as_str()), (204, ""));
    assert_eq!(stand.get("/api/cameras").await.json(), json!([]));
    assert!(began.elapsed() < Duration::from_secs(5), "six writes and reads: {:?}", began.elapsed());
    refusal(&stand.send("DELETE", "/api/cameras/gate", "", &Value::Null).await, 404);
    refusal(&stand.send("PUT", "/api/cameras/gate", "", &camera("gate")).await, 404);
}

#[tokio::test]
async fn hidden_credentials_can_be_sent_elsewhere() {
    let stand = Stand::start().await;
    stand.send("POST", "/api/cameras", "", &camera("gate")).await;
    let mut elsewhere = camera("gate");
    elsewhere["source"]["uri"] = "rtsp://***@evil.example/1".into();
    assert!(
        refusal(&stand.send("PUT", "/api/cameras/gate", "", &elsewhere).await, 422).contains("credentials")
    );
    let mut fresh = camera("other");
    fresh["source"]["uri"] = "rtsp://***@cam.example/1".into();
    refusal(&stand.send("POST", "/api/cameras", "", &fresh).await, 422);
}

#[tokio::test]
async fn address_edited_where_it_is_shown_loses_what_is_hidden() {
    let stand = Stand::start().await;
    let mut config = camera("gate");
    config["source"]["uri"] = "rtsp://me:my secret@cam.example/1?channel=1&loginpas=hidden".into();
    let added = stand.send("POST", "/api/cameras", "", &config).await;
    assert_eq!(added.json()["config"]["source"]["uri"], "rtsp://***@cam.example/1?channel=1&loginpas=***");
    config["source"]["uri"] = "rtsp://***@cam.example/2?loginpas=***&channel=7".into();
    assert_eq!(stand.send("PUT", "/api/cameras/gate", "", &config).await.status, 200);
    let stored = stand.redis.connect().await.camera(&CameraId::new("gate").unwrap()).await.unwrap().unwrap();
    let whole = "rtsp://me:my secret@cam.example/2?loginpas=hidden&channel=7";
    assert!(stored.source.uri == whole.into(), "{stored:?}");
    for elsewhere in [
        "rtsp://***@cam.example:555/2?loginpas=***",
        "http://***@cam.example/2?loginpas=***",
        "rtsp://***@cam.example.org/2?loginpas=***",
        "rtsp://***@cam.example/2?channel=***",
        "rtsp://***@cam.example/2?loginpas=a***",
    ] {
        config["source"]["uri"] = elsewhere.into();
        let refused = stand.send("PUT", "/api/cameras/gate", "", &config).await;
        assert!(refusal(&refused, 422).contains("give the credentials again"), "{elsewhere}");
    }
}

#[tokio::test]
async fn another_password_has_the_same_tag_or_one_to_try_passwords_on() {
    let stand = Stand::start().await;
    let tag = async |password: &str| {
        let mut config = camera("gate");
        config["source"]["uri"] = format!("rtsp://user:{password}@cam.example/1").into();
        stand.send("POST", "/api/cameras", "", &config).await;
        stand.send("PUT", "/api/cameras/gate", "", &config).await.header("etag").to_owned()
    };
    let (first, second) = (tag("one").await, tag("two").await);
    assert_ne!(first, second);
    assert_eq!(tag("one").await, first);
    assert_eq!(stand.get("/api/cameras/gate/config").await.header("etag"), first);
    let (here, elsewhere) = (first, Stand::start().await);
    let mut config = camera("gate");
    config["source"]["uri"] = "rtsp://user:one@cam.example/1".into();
    let there = elsewhere.send("POST", "/api/cameras", "", &config).await;
    assert_ne!(there.header("etag"), here, "the tag can be made by who knows the configuration alone");
}

#[tokio::test]
async fn a_value_in_the_wrong_place_is_told() {
    let stand = Stand::start().await;
    for body in [
        json!({ "id": "gate", "source": "rtsp://admin:my hunter2@cam/1" }),
        json!({ "id": "gate", "source": { "uri": "a", "pace": "http://cam/?t=hunter2 x" } }),
        json!({ "id": "gate", "source": { "uri": "a" }, "calibration": "cam/?loginpas=hunter2" }),
    ] {
        let answer = stand.send("POST", "/api/cameras", "", &body).await;
        assert!(
            (400..500).contains(&answer.status) && !answer.text().contains("hunter2"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn change_that_was_not_seen_is_overwritten() {
    let stand = Stand::start().await;
    let added = stand.send("POST", "/api/cameras", "", &camera("gate")).await;
    let tag = added.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() > 10, "{tag}");
    let mut mine = added.json()["config"].clone();
    mine["name"] = "mine".into();
    let with_tag = |tag: &str| format!("if-match: {tag}\r\n");
    let first = stand.send("PUT", "/api/cameras/gate", &with_tag(&tag), &mine).await;
    assert_eq!(first.status, 200);
    assert_ne!(first.header("etag"), tag);
    let mut theirs = mine.clone();
    theirs["name"] = "theirs".into();
    let late = stand.send("PUT", "/api/cameras/gate", &with_tag(&tag), &theirs).await;
    assert!(refusal(&late, 412).contains("meanwhile"));
    refusal(&stand.send("DELETE", "/api/cameras/gate", &with_tag(&tag), &Value::Null).await, 412);
    assert_eq!(stand.get("/api/cameras/gate").await.header("etag"), first.header("etag"));
    let list = format!("W/\"other\", {}", first.header("etag"));
    assert_eq!(stand.send("PUT", "/api/cameras/gate", &with_tag(&list), &theirs).await.status, 200);
    assert_eq!(stand.send("DELETE", "/api/cameras/gate", &with_tag("*"), &Value::Null).await.status, 204);
}

#[tokio::test]
async fn static_answer_is_sent_again_to_whoever_has_it() {
    let stand = Stand::start().await;
    stand.camera("yard").await;
    for path in ["/api/models", "/api/cameras/yard/config", "/api/openapi.json"] {
        let whole = stand.get(path).await;
        assert_eq!((whole.status, whole.header("cache-control")), (200, "no-cache"), "{path}");
        let tag = whole.header("etag").to_owned();
        let again = stand.get_with(path, &format!("if-none-match: {tag}\r\n")).await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()), "{path}");
        assert_eq!(stand.get_with(path, "if-none-match: \"old\"\r\n").await.status, 200, "{path}");
    }
    assert_eq!(stand.get("/api/models").await.json()["models"][0]["classes"], json!(["person", "car"]));
}

#[tokio::test]
async fn gap_is_not_listed_or_is_somewhere_else() {
    let stand = Stand::start().await;
    stand.camera("yard").await;
    let gaps = async || stand.get("/api/cameras/yard/results/gaps").await.json()["gaps"].clone();
    assert_eq!(gaps().await, json!([]), "nothing is held");
    // A result a second for a quarter of an hour, but for ten seconds, for three, which nobody would see, and for a minute.
    let fill = "for s = 1, 900 do if not (s > 300 and s < 310 or s > 500 and s < 503 or s > 800 and s < 860) then \
        redis.call('XADD', KEYS[1], s * 1000 .. '-0', 'r', 'x', 'f', '1') end end";
    stand.redis.cli(&["EVAL", fill, "1", "peregrine:{yard}:results"]);
    let gap = |after: &str, first: &str| json!({ "camera": "yard", "after": after, "first": first });
    assert_eq!(gaps().await, json!([gap("300000-0", "310000-0"), gap("800000-0", "860000-0")]));
}

#[tokio::test]
async fn camera_that_makes_no_sense_is_added() {
    let stand = Stand::start().await;
    stand.camera("yard").await;
    let with = |key: &str, value: Value| {
        let mut camera = camera("gate");
        *camera.pointer_mut(key).unwrap_or(&mut Value::Null) = value.clone();
        if let Some(key) = key.strip_prefix("/+") {
            camera[key] = value;
        }
        camera
    };
    let triangle = json!([[0, 0], [1, 1], [2, 2], [3, 3]]);
    let points: Vec<Value> =
        triangle.as_array().unwrap().iter().map(|p| json!({ "image": p, "ground": p })).collect();
    for (wrong, says) in [
        (with("/source/uri", json!(" ")), "source.uri is empty"),
        (with("/+name", json!("a\nb")), "name"),
        (with("/+analysis", json!({ "confidence": 2 })), "analysis.confidence is 2"),
        (with("/+analysis", json!({ "classes": ["person", "dragon"] })), "`dragon`"),
        (with("/+analysis", json!({ "region": [[0, 0], [1, 1]] })), "at least three"),
        (with("/+calibration", json!({ "points": points })), "lie on one line"),
        (with("/id", json!("../etc")), "no camera id"),
        (with("/+speed", json!(1)), "unknown field `speed`"),
    ] {
        let answer = stand.send("POST", "/api/cameras", "", &wrong).await;
        let detail = refusal(&answer, 422);
        assert!(detail.contains(says), "{says}: {detail}");
    }
    let two = stand
        .send("POST", "/api/cameras", "", &with("/+analysis", json!({ "confidence": 2, "nms_iou": 3 })))
        .await;
    assert_eq!(two.json()["problems"].as_array().unwrap().len(), 2, "all that is wrong is said at once");
    let other_id = stand.send("PUT", "/api/cameras/yard", "", &camera("gate")).await;
    assert!(refusal(&other_id, 422).contains("`gate`"));
    let quoted =
        stand.send("POST", "/api/cameras", "", &with("/+analysis", json!("rtsp://a:secret@b/"))).await;
    assert!(!quoted.text().contains("secret"), "{}", quoted.text());
    assert_eq!(stand.get("/api/cameras").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn body_that_is_none_is_not_refused() {
    let stand = Stand::start().await;
    let send = async |headers: &str, body: &str| {
        let stream = tokio::net::TcpStream::connect(stand.address).await.unwrap();
        let head = format!("POST /api/cameras HTTP/1.1\r\nhost: {}\r\n{headers}", stand.address);
        request_with(stream, &head, body).await
    };
    let json = "content-type: application/json\r\n";
    refusal(&send(&format!("{json}content-length: 1\r\n"), "{").await, 400);
    refusal(&send("content-type: text/plain\r\ncontent-length: 2\r\n", "{}").await, 415);
    let large = format!("{{\"id\":\"{}\"}}", "a".repeat(70_000));
    refusal(&send(&format!("{json}content-length: {}\r\n", large.len()), &large).await, 413);
    let deep = "[".repeat(60_000);
    refusal(&send(&format!("{json}content-length: {}\r\n", deep.len()), &deep).await, 422);
    let began = Instant::now();
    refusal(&send(&format!("{json}content-length: 5\r\n"), "{").await, 408);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn calibration_is_answered_otherwise_than_it_fits() {
    let stand = Stand::start().await;
    let metres = |[x, y]: [f64; 2]| [x / 100.0, y / 100.0];
    let corners = [[0.0, 0.0], [800.0, 0.0], [800.0, 600.0], [0.0, 600.0]];
    let point = |image: [f64; 2]| json!({ "image": image, "ground": metres(image) });
    let mut points: Vec<Value> = corners.map(point).to_vec();
    points.push(json!({ "image": [400.0, 310.0], "ground": [4.0, 3.0] }));
    let fit = stand.send("POST", "/api/calibration", "", &json!({ "points": points })).await;
    assert_eq!(fit.status, 200, "{}", fit.text());
    let fit = fit.json();
    let residuals: Vec<f64> =
        fit["residuals_px"].as_array().unwrap().iter().map(|r| r.as_f64().unwrap()).collect();
    let rms = (residuals.iter().map(|r| r * r).sum::<f64>() / 5.0).sqrt();
    assert!((fit["rms_px"].as_f64().unwrap() - rms).abs() < 1e-9);
    assert!(
        residuals[4] > residuals[0] && rms > 1.0 && rms < 10.0,
        "the point that is 10 px off: {residuals:?}"
    );
    let apply = |matrix: &Value, [x, y]: [f64; 2]| {
        let row = |r: usize| {
            let m = |c: usize| matrix[r][c].as_f64().unwrap();
            m(0) * x + m(1) * y + m(2)
        };
        [row(0) / row(2), row(1) / row(2)]
    };
    let ground = apply(&fit["world_from_image"], [200.0, 300.0]);
    assert!((ground[0] - 2.0).hypot(ground[1] - 3.0) < 0.1, "{ground:?}");
    let back = apply(&fit["image_from_world"], ground);
    assert!((back[0] - 200.0).hypot(back[1] - 300.0) < 1e-6, "{back:?}");

    let line =
        json!({ "points": [point([0.0, 0.0]), point([1.0, 1.0]), point([2.0, 2.0]), point([3.0, 3.0])] });
    assert!(refusal(&stand.send("POST", "/api/calibration", "", &line).await, 422).contains("one line"));
    let far = [[1e308, 0.0], [0.0, 1e308], [-1e308, 0.0], [1e308, 1e308]].map(point);
    let far = json!({ "points": far });
    refusal(&stand.send("POST", "/api/calibration", "", &far).await, 422);
    let many: Vec<Value> = (0..300).map(|n| point([f64::from(n), 0.0])).collect();
    refusal(&stand.send("POST", "/api/calibration", "", &json!({ "points": many })).await, 422);
}

/// The ground as a pinhole sees it that is 8 m up, looks 20° down and has a focal length of 1000 pixels, times `scale`.
fn pinhole_points(scale: f64) -> Value {
    let [sin, cos] = [20_f64.to_radians().sin(), 20_f64.to_radians().cos()];
    let point = |[x, y]: [f64; 2]| {
        let depth = y * cos + 8.0 * sin;
        let image = [640.0 + 1000.0 * x / depth, 360.0 + 1000.0 * (8.0 * cos - y * sin) / depth];
        json!({ "image": image, "ground": [x * scale, y * scale] })
    };
    [[-3.0, 14.0], [4.0, 14.0], [4.0, 26.0], [-3.0, 26.0]].map(point).to_vec().into()
}

#[tokio::test]
async fn calibration_that_is_a_hundredfold_off_is_saved_with_a_warning() {
    let stand = Stand::start().await;
    let picture = json!({ "width": 1280, "height": 720 });
    let try_out = async |scale: f64| {
        let body = json!({ "points": pinhole_points(scale), "picture": picture });
        stand.send("POST", "/api/calibration", "", &body).await.json()
    };
    let fine = try_out(1.0).await;
    assert_eq!(fine["warnings"], json!([]));
    let view = |name: &str| fine["view"][name].as_f64().unwrap();
    assert!((view("camera_height_m") - 8.0).abs() < 0.2 && (view("tilt_deg") - 20.0).abs() < 1.0, "{fine}");
    assert!((view("nearest_m") - 8.0 / 40_f64.to_radians().tan()).abs() < 0.5, "{fine}");
    assert!(try_out(100.0).await["warnings"][0].as_str().unwrap().contains("800 m above the ground"));
    assert!(try_out(0.01).await["warnings"][0].as_str().unwrap().contains("8.0 cm above the ground"));

    let matrix = json!({ "world_from_image": fine["world_from_image"], "picture": picture });
    let by_matrix = stand.send("POST", "/api/calibration", "", &matrix).await.json();
    assert_eq!(by_matrix["warnings"], json!([]));
    let without_picture =
        stand.send("POST", "/api/calibration", "", &json!({ "points": pinhole_points(1.0) })).await;
    assert_eq!(without_picture.json()["view"], Value::Null);
    let none = json!({ "points": pinhole_points(1.0), "picture": { "width": 0, "height": 720 } });
    assert!(
        refusal(&stand.send("POST", "/api/calibration", "", &none).await, 422).contains("picture is 0x720")
    );

    let calibrated = |scale: f64| {
        let mut camera = camera("yard");
        camera["calibration"] = json!({ "points": pinhole_points(scale) });
        camera
    };
    let added = stand.send("POST", "/api/cameras", "", &calibrated(1.0)).await;
    assert_eq!((added.status, &added.json()["warnings"]), (201, &json!([])), "{}", added.text());
    let changed = stand.send("PUT", "/api/cameras/yard", "", &calibrated(100.0)).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert!(changed.json()["warnings"][0].as_str().unwrap().contains("800 m above the ground"));
    let mut crossed = calibrated(1.0);
    crossed["analysis"] = json!({ "region": [[0, 0], [100, 100], [100, 0], [0, 100]] });
    let crossed = stand.send("PUT", "/api/cameras/yard", "", &crossed).await.json();
    assert!(crossed["warnings"][0].as_str().unwrap().contains("edges cross"), "{crossed}");
    let changed = stand.send("PUT", "/api/cameras/yard", "", &calibrated(100.0)).await;
    let read = stand.get("/api/cameras/yard").await.json();
    assert_eq!(read["warnings"], changed.json()["warnings"]);
}

#[tokio::test]
async fn pages_of_results_repeat_or_leave_out_some() {
    let stand = Stand::start().await;
    let mut yard = stand.camera("yard").await;
    assert_eq!(stand.get("/api/cameras/yard/results").await.json(), json!({ "results": [], "next": null }));
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(yard.commit(1).await);
    }
    let (mut found, mut from) = (Vec::new(), String::from("0-0"));
    loop {
        let page = stand.get(&format!("/api/cameras/yard/results?from={from}&limit=3")).await.json();
        for entry in page["results"].as_array().unwrap() {
            assert_eq!(entry["result"]["status"], "ok");
            found.push(entry["id"].as_str().unwrap().parse::<FrameId>().unwrap());
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut from),
            None => break,
        }
    }
    assert_eq!(found, ids);
    let some = stand.get(&format!("/api/cameras/yard/results?from={}&to={}", ids[2], ids[4])).await.json();
    assert_eq!(some["results"].as_array().unwrap().len(), 3);
    for wrong in ["from=yesterday", "limit=0", "limit=501", "limit=x", "width=1"] {
        refusal(&stand.get(&format!("/api/cameras/yard/results?{wrong}")).await, 400);
    }
    refusal(&stand.get("/api/cameras/nobody/results").await, 404);
}

#[tokio::test]
async fn setting_of_redis_that_endangers_data_is_not_said() {
    let stand = Stand::start().await;
    let set =
        |name: &str, value: &str| assert_eq!(stand.redis.cli(&["CONFIG", "SET", name, value]).trim(), "OK");
    let notices = async || stand.get("/api/workers").await.json()["notices"].clone();
    assert_eq!(notices().await, json!([]));
    set("maxmemory-policy", "volatile-lru");
    let said = notices().await;
    assert!(
        said[0].as_str().is_some_and(|said| said.contains("set its `maxmemory-policy` to `noeviction`")),
        "{said}"
    );
    set("maxmemory", "0");
    set("appendonly", "no");
    assert_eq!(notices().await.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn workers_and_ledger_are_not_what_streams_say() {
    let stand = Stand::start().await;
    let mut yard = stand.camera("yard").await;
    let worker = WorkerId::new("w1");
    let mut balance = Balance::new(&yard.redis, Role::Processor, worker, Duration::from_secs(60));
    balance.tick(&[], true).await.unwrap();
    let workers = stand.get("/api/workers").await.json();
    let w1 = &workers["workers"][0];
    assert_eq!(
        (&w1["worker"], &w1["role"], &w1["cameras"]),
        (&json!("w1"), &json!("processor"), &json!(["yard"]))
    );
    assert!(w1["seen_ms_ago"].as_u64().unwrap() < 10_000);
    assert_eq!((&w1["unfit"], &workers["notices"]), (&json!({}), &json!([])));
    let reasons = [("yard".to_owned(), "it has an unknown key".to_owned())].into();
    Unfit::new(Role::Processor, "w1").say(&yard.redis, reasons).await.unwrap();
    let workers = stand.get("/api/workers").await.json();
    assert_eq!(workers["workers"][0]["unfit"], json!({ "yard": "it has an unknown key" }));
    for _ in 0..5 {
        yard.commit(1).await;
    }
    yard.source_is(SourceHealth::Ended, "").await;
    let ledger = stand.get("/api/ledger").await.json();
    let account = &ledger["cameras"][0];
    assert_eq!(
        (&account["camera"], &account["published"], &account["processed"], &account["balanced"]),
        (&json!("yard"), &json!(5), &json!(5), &json!(true)),
        "{account}"
    );
    yard.commit(1).await;
    assert_eq!(stand.get("/api/ledger").await.json()["cameras"][0]["balanced"], false);
}

#[tokio::test]
async fn wrong_method_is_not_told_the_right_ones() {
    let stand = Stand::start().await;
    for (method, path, allowed) in [
        ("PATCH", "/api/cameras", "GET,HEAD,POST"),
        ("POST", "/api/cameras/yard", "GET,HEAD,PUT,DELETE"),
        ("GET", "/api/calibration", "POST"),
        ("DELETE", "/index.html", "GET,HEAD"),
    ] {
        let answer = stand.send(method, path, "", &Value::Null).await;
        refusal(&answer, 405);
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
    refusal(&stand.get("/api/cameras/%ff").await, 404);
    refusal(&stand.get("/api/cameras/..%2f..%2fetc").await, 404);
}

#[tokio::test]
async fn request_in_hand_is_cut_off_by_the_shutdown() {
    let stand = Stand::start().await;
    let points = [[0, 0], [100, 0], [100, 100], [0, 100]].map(|at| json!({"image": at, "ground": at}));
    let (host, body) = (stand.address, json!({ "points": points }).to_string());
    let head = format!(
        "POST /api/calibration HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // Whatever can end at once has ended.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stand.shutdown.trigger();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stand.serving.await.unwrap().unwrap();
}
