//! Who gets in: tokens, roles, pages from elsewhere, limits, TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod stand;

#[path = "../../streams/tests/protocol/certificate.rs"]
mod certificate;

use std::{path::Path, sync::Arc};

use peregrine_daemon::{Health, Shell, Shutdown};
use peregrine_gateway::{Config, Gateway, Role, TlsFiles, Token, sum_of};
use serde_json::{Value, json};
use stand::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::Error;

fn with_tokens(config: &mut Config) {
    let token = |name: &str, role| Token::new(name, role, sum_of(&format!("{name}-token")));
    config.tokens =
        vec![token("eye", Role::Viewer), token("hand", Role::Operator), token("head", Role::Admin)];
}

fn bearer(name: &str) -> String {
    format!("authorization: Bearer {name}-token\r\n")
}

#[tokio::test]
async fn caller_without_the_role_gets_through() {
    let stand = Stand::with(|config| {
        with_tokens(config);
        config.grafana = Some("http://grafana.example:3000/".into());
    })
    .await;
    let points = json!({ "points": [] });
    let camera = json!({ "id": "gate", "source": { "uri": "synthetic:road" } });
    // What is done, by whom: nobody, somebody with a wrong token, viewer, operator, admin.
    for (method, path, body, expected) in [
        ("GET", "/", &Value::Null, [503, 503, 503, 503, 503]),
        ("GET", "/api/version", &Value::Null, [200, 200, 200, 200, 200]),
        ("GET", "/api/openapi.json", &Value::Null, [200, 200, 200, 200, 200]),
        ("GET", "/api/session", &Value::Null, [401, 401, 200, 200, 200]),
        ("GET", "/api/cameras", &Value::Null, [401, 401, 200, 200, 200]),
        ("GET", "/api/cameras/gate", &Value::Null, [401, 401, 404, 404, 404]),
        ("GET", "/api/cameras/gate/config", &Value::Null, [401, 401, 404, 404, 404]),
        ("GET", "/api/cameras/gate/results", &Value::Null, [401, 401, 404, 404, 404]),
        ("GET", "/api/cameras/gate/results/latest", &Value::Null, [401, 401, 404, 404, 404]),
        ("GET", "/api/cameras/gate/results/gaps", &Value::Null, [401, 401, 404, 404, 404]),
        ("GET", "/api/cameras/gate/snapshot", &Value::Null, [401, 401, 404, 404, 404]),
        ("GET", "/api/models", &Value::Null, [401, 401, 200, 200, 200]),
        ("GET", "/api/workers", &Value::Null, [401, 401, 200, 200, 200]),
        ("GET", "/api/ledger", &Value::Null, [401, 401, 200, 200, 200]),
        ("POST", "/api/calibration", &points, [401, 401, 403, 422, 422]),
        ("POST", "/api/cameras", &camera, [401, 401, 403, 403, 201]),
        ("PUT", "/api/cameras/gate", &camera, [401, 401, 403, 403, 200]),
        ("DELETE", "/api/cameras/gate", &Value::Null, [401, 401, 403, 403, 204]),
        ("GET", "/api/nothing", &Value::Null, [404, 404, 404, 404, 404]),
    ] {
        let callers = [String::new(), bearer("wrong"), bearer("eye"), bearer("hand"), bearer("head")];
        for (headers, expected) in callers.iter().zip(expected) {
            let answer = stand.send(method, path, headers, body).await;
            assert_eq!(answer.status, expected, "{method} {path} with {headers}: {}", answer.text());
            assert_eq!(answer.header("www-authenticate").starts_with("Bearer"), expected == 401);
            assert!(!answer.text().contains("-token"), "{}", answer.text());
        }
    }
    let session = stand.get_with("/api/session", &bearer("hand")).await;
    assert_eq!(
        session.json(),
        json!({ "name": "hand", "role": "operator", "grafana": "http://grafana.example:3000/" })
    );
    let in_address = stand.get("/api/cameras?token=head-token&access_token=head-token").await;
    assert_eq!(in_address.status, 401, "a token in an address ends up in logs");
}

#[tokio::test]
async fn watcher_without_a_token_is_let_in() {
    let stand = Stand::with(with_tokens).await;
    let connect =
        async |headers: &[(&'static str, &str)]| Client::connect_with(stand.address, headers, None).await;
    for refused in [&[][..], &[("authorization", "Bearer nonsense")], &[("authorization", "Basic eye-token")]]
    {
        match connect(refused).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 401),
            _ => panic!("let in with {refused:?}"),
        }
    }
    assert!(connect(&[("authorization", "Bearer eye-token")]).await.is_ok());
}

/// A browser offers its token beside its protocol; echoed, it would stand in every proxy's log.
#[tokio::test]
async fn token_offered_as_a_subprotocol_is_refused_or_echoed() {
    let stand = Stand::with(with_tokens).await;
    let upgrade = async |protocols: &str| {
        let mut stream = TcpStream::connect(stand.address).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: {protocols}\r\n\r\n",
            stand.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 2048];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).to_ascii_lowercase()
    };
    let fine = upgrade("peregrine.msgpack, peregrine.bearer.eye-token").await;
    assert!(fine.starts_with("http/1.1 101"), "{fine}");
    assert!(fine.contains("sec-websocket-protocol: peregrine.msgpack\r\n"), "{fine}");
    assert!(!fine.contains("eye-token"), "{fine}");
    assert!(upgrade("peregrine.msgpack, peregrine.bearer.eye").await.starts_with("http/1.1 401"));
    assert!(upgrade("peregrine.msgpack").await.starts_with("http/1.1 401"));
}

#[tokio::test]
async fn page_from_elsewhere_can_write() {
    let stand = Stand::start().await;
    let camera = json!({ "id": "gate", "source": { "uri": "synthetic:road" } });
    for (origin, expected) in
        [("https://evil.example", 403), ("null", 403), (&format!("http://{}", stand.address), 201)]
    {
        let answer = stand.send("POST", "/api/cameras", &format!("origin: {origin}\r\n"), &camera).await;
        assert_eq!(answer.status, expected, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let simple = format!(
        "DELETE /api/cameras/gate HTTP/1.1\r\nhost: evil.example\r\norigin: http://{}\r\n",
        stand.address
    );
    assert_eq!(request(stand.address, &simple).await.status, 403, "a rebound name");
}

#[tokio::test]
async fn writes_are_not_limited() {
    let stand = Stand::with(|config| {
        with_tokens(config);
        config.writes_per_second = 1.0;
    })
    .await;
    let points = json!({ "points": [] });
    let mut statuses = Vec::new();
    let mut last = None;
    for _ in 0..5 {
        let answer = stand.send("POST", "/api/calibration", &bearer("hand"), &points).await;
        statuses.push(answer.status);
        last = Some(answer);
    }
    assert_eq!(statuses, [422, 422, 422, 429, 429]);
    assert_eq!(last.unwrap().header("retry-after"), "1");
    let other = stand.send("POST", "/api/calibration", &bearer("head"), &points).await;
    assert_eq!(other.status, 422, "each has a limit of its own");
    assert_eq!(stand.get_with("/api/cameras", &bearer("hand")).await.status, 200, "reading goes on");
}

#[tokio::test]
async fn one_address_takes_all_connections() {
    let stand = Stand::with(|config| config.max_connections_per_address = 1).await;
    let first = stand.client().await;
    let refused = stand.get("/api/version").await;
    assert_eq!(refused.status, 503);
    assert!(refused.json()["detail"].as_str().unwrap().contains("max_connections_per_address"));
    drop(first);
    eventually("there is room again", async || (stand.get("/api/version").await.status == 200).then_some(()))
        .await;
}

fn certificate(folder: &Path) -> TlsFiles {
    let [cert, key] = certificate::certificate(folder).unwrap();
    TlsFiles { cert, key }
}

#[tokio::test]
async fn tls_does_not_protect_requests_and_watchers() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.cert).unwrap()).unwrap();
    let stand = Stand::with(|config| {
        config.tls = Some(files.clone());
        config.max_connections_per_address = 2;
    })
    .await;
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let connect = async || {
        let stream = TcpStream::connect(stand.address).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
    };
    let head = "GET /api/version HTTP/1.1\r\nhost: localhost\r\n";
    let answer = request_with(connect().await.unwrap(), head, "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("strict-transport-security").starts_with("max-age="));

    let (socket, _) =
        tokio_tungstenite::client_async("ws://localhost/ws", connect().await.unwrap()).await.unwrap();
    // The place of the first connection is given back although it was one of TLS.
    eventually("there is room again", async || {
        let stream = connect().await.ok()?;
        (request_with(stream, head, "").await.status == 200).then_some(())
    })
    .await;
    drop(socket);

    let mut plain = TcpStream::connect(stand.address).await.unwrap();
    plain.write_all(b"GET /api/version HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");
}

#[tokio::test]
async fn wrong_certificate_is_not_explained() {
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path());
    let other = tempfile::tempdir().unwrap();
    let stranger = certificate(other.path());
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n").unwrap();
    let redis = RedisServer::start().await;
    for (files, says) in [
        (TlsFiles { key: folder.path().join("nowhere.pem"), ..good.clone() }, "nowhere.pem"),
        (TlsFiles { cert: good.key.clone(), ..good.clone() }, "gateway.tls_cert"),
        (TlsFiles { key: good.cert.clone(), ..good.clone() }, "gateway.tls_key"),
        (TlsFiles { key: garbage, ..good.clone() }, "gateway.tls_key"),
        (TlsFiles { key: stranger.key, ..good.clone() }, "cannot be used together"),
    ] {
        let mut config = config(&redis.url());
        config.tls = Some(files);
        let shell = Shell { shutdown: Shutdown::new(), health: Health::starting(), worker: "other".into() };
        let error = Gateway::bind(config, shell).await.err().expect("no TLS").to_string();
        assert!(error.contains(says) && !error.contains("secret"), "{says}: {error}");
    }
}
