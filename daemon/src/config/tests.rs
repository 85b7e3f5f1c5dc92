use std::{fs, time::Duration};

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    redis: RedisSection,
    model: Model,
    sources: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Model {
    path: String,
    threads: u16,
    token: String,
    provider: Provider,
}

impl Default for Model {
    fn default() -> Self {
        Self { path: "model.onnx".into(), threads: 2, token: String::new(), provider: Provider::Cpu }
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Provider {
    #[default]
    Cpu,
    Cuda,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    uri: String,
    fps: Option<f64>,
}

#[derive(Debug, PartialEq)]
struct Config(Raw);

impl DaemonConfig for Config {
    type Raw = Raw;
    const NAME: &'static str = "tester";
    const ADMIN: &'static str = "127.0.0.1:9999";
    fn build(raw: Raw, problems: &mut Problems) -> Option<Self> {
        raw.redis.check(problems);
        if raw.model.threads == 0 {
            problems.add("model.threads", "0 threads run nothing: use 1 or more");
        }
        Some(Self(raw))
    }
}

/// Loads from a file's text, variables and settings.
fn load_text(file: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Loaded<Config>, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    fs::write(&path, file).unwrap();
    let args = CommonArgs {
        config: Some(path.clone()),
        set: set.iter().map(|s| s.to_string()).collect(),
        ..CommonArgs::default()
    };
    let env = env.iter().map(|(k, v)| (k.into(), v.into()));
    load_from(&args, env).map_err(|errors| {
        let shown = |p: &Problem| p.to_string().replace(&path.display().to_string(), "t.toml");
        errors.problems.iter().map(shown).collect()
    })
}

#[test]
fn later_origin_loses() {
    let file = "[model]\nthreads = 3\npath = 'file'\nprovider = 'cuda'\n[redis]\nurl = 'redis://file'";
    let env = [("PEREGRINE_MODEL__THREADS", "4"), ("PEREGRINE_REDIS__URL", "redis://env")];
    let Loaded { config: Config(raw), shell, .. } =
        load_text(file, &env, &["model.threads=5", "daemon.grace_s=3"]).unwrap();
    assert_eq!(raw.model.threads, 5);
    assert_eq!(raw.redis.url, "redis://env");
    assert_eq!((raw.model.path.as_str(), raw.model.provider), ("file", Provider::Cuda));
    assert_eq!(raw.redis.frames_url, None);
    assert_eq!(shell.grace, Duration::from_secs(3));
    assert_eq!(shell.admin.listen.as_deref(), Some("127.0.0.1:9999"));
    assert!(shell.worker.ends_with(&format!("-{}", std::process::id())));
}

#[test]
fn named_flag_loses_against_a_file() {
    let args = CommonArgs {
        log: Some("debug".into()),
        log_format: Some(LogFormat::Json),
        admin: Some("127.0.0.1:1".into()),
        set: vec!["log.level=warn".into()],
        ..CommonArgs::default()
    };
    let shell = load_from::<Config>(&args, std::iter::empty()).unwrap().shell;
    assert_eq!((shell.log.level.as_str(), shell.log.format), ("debug", LogFormat::Json));
    assert_eq!(shell.admin.listen.as_deref(), Some("127.0.0.1:1"));
}

#[test]
fn only_the_first_problem_is_reported() {
    let file = "[redis]\nulr = 'redis://x'\nurl = 'http://x'\n[model]\nthreads = 'many'\nprovider = 'cud'\nurl = 'x'\n\
                [nonsense]\na = 1\n[log]\nlevel = 'loud'\n[daemon]\ngrace = 1";
    let env = [("PEREGRINE_MODEL__PATHS", "/a")];
    let problems = load_text(file, &env, &["admin.listen=9100", "what"]).unwrap_err();
    let expected = [
        "--set: `what` is no setting: write section.key=value",
        "redis.ulr (t.toml:2): unknown key; did you mean `redis.url`?",
        "redis.url (t.toml:3): `http://x` is no address of Redis: use redis://host:6379, redis+unix:///path/to/socket, \
         redis+cluster://host:6379,host:6379 or redis+sentinel://host:26379/master-name",
        "model.threads (t.toml:5): invalid type: found string \"many\", expected u16",
        "model.provider (t.toml:6): `cud` is none of cpu, cuda; did you mean `cuda`?",
        "model.url (t.toml:7): unknown key; did you mean `redis.url`?",
        "nonsense (t.toml:8): unknown key; known here: redis, model, sources, daemon, log, admin, metrics, spans",
        "log.level (t.toml:11): `loud` is no log level: use off, error, warn, info, debug or trace, or `info,<module>=debug`",
        "daemon.grace (t.toml:13): unknown key; did you mean `daemon.grace_s`?",
        "model.paths (PEREGRINE_MODEL__PATHS): unknown key; did you mean `model.path`?",
        "admin.listen (--set admin.listen): `9100` is no host and port: use one such as 127.0.0.1:9100",
    ];
    for text in expected {
        assert!(problems.iter().any(|p| p == text), "missing `{text}` in {problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}

#[test]
fn broken_file_is_half_read() {
    let problems = load_text("[redis]\nurl = \n[model\n", &[], &[]).unwrap_err();
    assert!(problems.iter().any(|p| p.starts_with("t.toml:2: ")), "{problems:?}");
    assert!(problems.iter().any(|p| p.starts_with("t.toml:3: ")), "{problems:?}");
}

#[test]
fn missing_file_is_taken_for_an_empty_one() {
    let args = CommonArgs { config: Some("/nowhere/p.toml".into()), ..CommonArgs::default() };
    let errors = load_from::<Config>(&args, std::iter::empty()).unwrap_err();
    assert!(errors.to_string().contains("/nowhere/p.toml: cannot be read"), "{errors}");
}

#[test]
fn list_entry_with_an_unknown_key_is_accepted() {
    let file = "[[sources]]\nuri = 'a'\n[[sources]]\nuri = 'b'\nfsp = 7\n";
    let problems = load_text(file, &[], &[]).unwrap_err();
    assert_eq!(problems, ["sources.1.fsp (t.toml:5): unknown key; did you mean `sources.1.fps`?"]);
}

#[test]
fn text_that_looks_like_a_number_is_refused() {
    let loaded =
        load_text("", &[("PEREGRINE_MODEL__PATH", "12")], &["daemon.name=007", "model.token=true"]).unwrap();
    assert_eq!(loaded.config.0.model.path, "12");
    assert_eq!(loaded.config.0.model.token, "true");
    assert_eq!(loaded.shell.worker, "007");
}

#[test]
fn foreign_variable_is_taken_for_configuration() {
    // Of the project, of other daemons, of Kubernetes, and of somebody else.
    let kubernetes = [
        ("PEREGRINE_MODEL_PATH_SERVICE_HOST", "10.0.0.7"),
        ("PEREGRINE_GATEWAY_SERVICE_PORT", "8080"),
        ("PEREGRINE_GATEWAY_SERVICE_PORT_HTTP", "8080"),
        ("PEREGRINE_GATEWAY_PORT", "tcp://10.0.0.7:8080"),
        ("PEREGRINE_GATEWAY_PORT_8080_TCP_PROTO", "tcp"),
        ("PEREGRINE_GATEWAY_PORT_8080_TCP_ADDR", "fd00::7"),
    ];
    let others = [("PEREGRINE_GATEWAY__TOKNES", "[]"), ("PEREGRINE_PRODUCER__FILE_QUEUE", "3")];
    let ours = [("PEREGRINE_SHARED", "/x"), ("PEREGRINE_CI", "1")];
    let foreign = [("PEREGRINE_FALCON", "1"), ("PEREGRINE_GATEWAY_TOKENS", "[]")];
    let all = [&kubernetes[..], &others, &ours, &foreign].concat();
    let loaded = load_text("", &all, &[]).unwrap();
    assert_eq!(loaded.unread, ["PEREGRINE_FALCON", "PEREGRINE_GATEWAY_TOKENS"]);
}

#[test]
fn misspelt_variable_is_ignored() {
    for (name, said) in [
        (
            "PEREGRINE_MODEL_PATH",
            "PEREGRINE_MODEL_PATH: nobody reads this; did you mean `PEREGRINE_MODEL__PATH`?",
        ),
        (
            "PEREGRINE_DAEMON_GRACE_S",
            "PEREGRINE_DAEMON_GRACE_S: nobody reads this; did you mean `PEREGRINE_DAEMON__GRACE_S`?",
        ),
        (
            "PEREGRINE_MODEL__PAHT",
            "model.paht (PEREGRINE_MODEL__PAHT): unknown key; did you mean `model.path`?",
        ),
        ("PEREGRINE_MODLE__PATH", "modle (PEREGRINE_MODLE__PATH): unknown key; did you mean `model`?"),
    ] {
        assert_eq!(load_text("", &[(name, "1")], &[]).unwrap_err(), [said]);
    }
    assert!(load_text("", &[("PEREGRINE_NO__SUCH", "1")], &[]).is_err());
}

#[test]
fn list_as_json_is_refused() {
    let json = r#"[{"uri": "a", "fps": 5}, {"uri": "b"}]"#;
    let set = format!("sources={json}");
    let loaded = load_text("", &[], &[&set]).unwrap();
    assert_eq!(
        loaded.config.0.sources.iter().map(|source| source.uri.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn problem_of_a_list_quotes_it() {
    let problems = load_text("", &[], &[r#"sources=[{"token": "hunter2"]"#]).unwrap_err();
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.contains("is neither TOML (") && problem.contains(") nor JSON ("), "{problem}");
    assert!(!problem.contains("hunter2"), "{problem}");
}

#[test]
fn effective_configuration_shows_a_secret() {
    let set =
        ["redis.url=redis://:hunter2@h", "model.token=hunter2", "sources=[{uri='rtsp://u:hunter2@c/1'}]"];
    let loaded = load_text("", &[], &set).unwrap();
    assert_eq!(loaded.config.0.sources[0].uri, "rtsp://u:hunter2@c/1");
    assert!(!loaded.effective.contains("hunter2"), "{}", loaded.effective);
    for text in ["redis://***@h", "rtsp://***@c/1", "listen = \"127.0.0.1:9999\"", "level = \"info\""] {
        assert!(loaded.effective.contains(text), "{}", loaded.effective);
    }
    assert!(!format!("{:?}", loaded.config).contains("hunter2@h"));
}

#[test]
fn effective_configuration_cannot_be_loaded_again() {
    let first = load_text("[model]\nthreads = 7\n[[sources]]\nuri = 'a'\n", &[], &[]).unwrap();
    let second = load_text(&first.effective, &[], &[]).unwrap();
    assert_eq!(first.config, second.config);
    assert_eq!(first.effective, second.effective);
}

#[test]
fn problem_quotes_a_secret() {
    let problems = load_text("", &[], &["redis.url=http://u:hunter2@h", "model.threads=redis://u:hunter2@h"]);
    let problems = problems.unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(!problems.concat().contains("hunter2"), "{problems:?}");
}
