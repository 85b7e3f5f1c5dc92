//! Whether the gateway answers as its OpenAPI document says, judged by schemathesis: an independent program that makes
//! up requests, right and wrong ones, and compares the answers with the document.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "shared with the other tests, which need more of it")]
mod stand;

use std::path::PathBuf;

use peregrine_gateway::{Role, Token, sum_of};
use stand::*;
use tokio::process::Command;

/// Installed by `./dev setup test`; left out where it is not, but not on a machine for tests.
fn schemathesis() -> Option<PathBuf> {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/venv/bin/schemathesis");
    let program = std::env::var_os("PEREGRINE_SCHEMATHESIS").map_or(program, PathBuf::from);
    if program.is_file() {
        return Some(program);
    }
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{} is missing", program.display());
    eprintln!("skipped: {} is missing; `./dev test` provides it", program.display());
    None
}

#[tokio::test]
async fn answers_are_not_as_described() {
    let Some(program) = schemathesis() else { return };
    let stand = Stand::with(|config| {
        config.tokens = vec![Token::new("tester", Role::Admin, sum_of("tester-token"))];
        config.writes_per_second = 1e6;
    })
    .await;
    let mut yard = stand.camera("yard").await;
    for _ in 0..3 {
        yard.commit(2).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(program)
        .arg("--config-file")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/api/openapi.json", stand.address))
        .args(["--header", "Authorization: Bearer tester-token"])
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("POST /api/cameras") || said.contains("passed"), "nothing was tried: {said}");
    // It may have changed or removed the camera, but not the gateway.
    assert_eq!(stand.get("/api/version").await.status, 200);
}
