use std::time::Duration;

use anyhow::Result;
use peregrine_proto::FrameId;
use peregrine_streams::{Balance, Flow, Redis, RedisUrls, ResultReader, Role, WorkerId};

use crate::{
    certificate::certificate,
    server::Server,
    support::{Chain, cam, write, writer},
};

/// For what is sure to come.
const BLOCK: Duration = Duration::from_secs(30);

fn free_port() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}

#[tokio::test]
async fn streams_do_not_work_over_tls_or_trust_anybody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [cert, key] = certificate(folder.path())?.map(|path| path.display().to_string());
    let port = free_port()?;
    let server = Server::with(&[
        "--save",
        "",
        "--tls-port",
        &port,
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ])
    .await?;
    // As docs/operations.md says.
    let rights = ["on", ">secret", "~peregrine:*", "+@all", "-@admin", "+client", "+role"];
    let () = server.command(&[&["ACL", "SETUSER", "peregrine"][..], &rights].concat()).await?;
    let url = |credentials: &str, ca: &str| format!("rediss://{credentials}localhost:{port}/{ca}");
    let open = async |url: String| Redis::open(&RedisUrls::single(url)).await;
    let trusting = format!("?tls_ca={cert}");

    let redis = open(url("peregrine:secret@", &trusting)).await?;
    redis.ping().await?;
    let mut writer = writer(&redis, &cam("b"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    assert_eq!(Chain::take(&redis, &cam("b"), "worker").await?.run(1, BLOCK).await?, 1);
    let mut balance = Balance::new(&redis, Role::Processor, WorkerId::new("w"), BLOCK);
    balance.tick(&[cam("b"), cam("c")], true).await?;

    let mut reader = ResultReader::new(&redis);
    reader.follow(&cam("a"), FrameId::ZERO);
    let write = async {
        server.until_blocked(1).await?;
        server
            .command::<String>(&[
                "XADD",
                &peregrine_streams::keys::results(&cam("a")),
                "1-1",
                "r",
                "x",
                "f",
                "1",
            ])
            .await
    };
    let (read, written) = tokio::join!(reader.read(Duration::from_secs(5)), write);
    assert_eq!((read?[0].id.to_string(), written?), ("1-1".into(), "1-1".into()));

    let untrusted =
        open(url("peregrine:secret@", "")).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(untrusted.contains("certificate") && !untrusted.contains("secret"), "{untrusted}");
    let stranger = open(url("peregrine:wrong@", &trusting))
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(stranger.contains("user name or password") && !stranger.contains("wrong@"), "{stranger}");
    let elsewhere = url("peregrine:secret@", &trusting).replace("localhost", "127.0.0.1");
    assert!(open(elsewhere).await.is_err(), "the certificate is of another name");
    Ok(())
}
