//! `docs/protocol.md`, `web/src/wire.ts` and `web/src/link/compact.vectors.json` are generated from the declarations in
//! this crate.
//! `UPDATE_GENERATED=1 cargo test -p peregrine-proto --test generated` writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fmt::Write as _, fs, path::Path};

use peregrine_proto::{
    CameraId, ClientMessage, Detection, FrameId, FrameResult, Gap, LossCount, LossReason, Notice,
    OLDEST_SCHEMA, Playback, PlaybackSpeed, PlaybackState, PlaybackStep, ResultMessage, ResultStatus, SCHEMA,
    Seek, ServerMessage, Size, Speed, Stage, StageTime, Subscribe, Track, TrackState, compact,
    describe::{Body, Declaration, Field, WireType, declarations},
    encode,
};

#[test]
fn protocol_document_is_up_to_date() {
    assert_generated("docs/protocol.md", &document());
}

#[test]
fn typescript_is_up_to_date() {
    assert_generated("web/src/wire.ts", &typescript());
}

#[test]
fn compact_vectors_are_up_to_date() {
    assert_generated("web/src/link/compact.vectors.json", &vectors());
}

#[test]
fn every_named_type_is_declared() {
    let declared = declarations();
    let known: Vec<_> = declared.iter().map(|d| d.name).collect();
    for declaration in &declared {
        if let Body::Struct(fields) | Body::Union(fields) = &declaration.body {
            for field in fields {
                let name = leaf(&field.wire);
                assert!(
                    name.is_none_or(|n| known.contains(&n)),
                    "{name:?} in {} is missing",
                    declaration.name
                );
                assert!(!field.doc.is_empty(), "{}.{} has no documentation", declaration.name, field.name);
            }
        }
    }
}

#[test]
fn code_of_an_enum_is_left_out_or_used_twice() {
    for declaration in declarations() {
        if let Body::Enum(variants) = declaration.body {
            let codes: Vec<_> = variants.iter().map(|v| usize::from(v.code)).collect();
            assert_eq!(codes, (0..variants.len()).collect::<Vec<_>>(), "{}", declaration.name);
        }
    }
}

#[test]
fn field_that_must_be_there_follows_one_that_may_be_missing() {
    for declaration in declarations() {
        if let Body::Struct(fields) = declaration.body {
            let optional: Vec<_> = fields.iter().map(|field| field.optional).collect();
            assert!(optional.is_sorted(), "{}: {optional:?}", declaration.name);
        }
    }
}

fn leaf(wire: &WireType) -> Option<&'static str> {
    match wire {
        WireType::Named(name) => Some(name),
        WireType::Optional(inner)
        | WireType::List(inner)
        | WireType::Array(inner, _)
        | WireType::Map(inner) => leaf(inner),
        _ => None,
    }
}

fn assert_generated(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let advice = "run UPDATE_GENERATED=1 cargo test -p peregrine-proto --test generated";
    assert!(found == text, "{path} is not what the declarations say: {advice}");
}

fn document() -> String {
    let mut out = format!(
        "# Protocol\n\
        Generated from the declarations in `proto/src`; do not edit. Schema version {SCHEMA}.\n\n\
        Everything is MessagePack, but for clients that ask for JSON. A struct is an array of its fields in the order given here; a field that is not there at \
        the end of the array has its default, and fields behind those that a reader knows are of a later release: it passes over them. \
        A plain enum is its code; values are only added, so a code that a reader does not know is of a later release, too: it keeps the number \
        (here as `other:` and the code). A message is a map with one entry: the \
        variant's name and its value. Pixels and pictures are binary. In JSON (offline files, REST and clients that ask for it) structs are objects and \
        enums are names.\n\n\
        Schema 2 is read as well, and written while a daemon of the release before announces itself \
        ([Upgrading](operations.md#upgrading)). In schema 2 there are none of the fields that may be missing, and no values that \
        came with schema 3: `damaged` counts as `undecodable`, and reasons of later releases as `not_wanted`.\n\n\
        A client connects to `/ws` and sends and receives one message per WebSocket message, see [Encodings](#encodings). \
         A client that brings frames connects to `/ws/ingest/{{camera}}` and sends one JPEG per binary message; each is answered by a \
         `FrameAnswer` as JSON in a text message. \
        In Redis, an entry of `peregrine:{{camera}}:frames` has the fields `h` (an encoded `FrameHeader`) and `d` (the pixels); an entry of \
        `peregrine:{{camera}}:results` has `r` (an encoded `FrameResult`) and `f` (the epoch of the \
         lease under which it was written, decimal) under the id of its frame. \
         The list `peregrine:detect:requests:{{model}}` holds encoded `DetectRequest`s, `peregrine:detect:answers:{{worker}}` the \
         `DetectAnswer`s for one worker.\n\n\
        Both sockets keep to RFC 6455 and say why they end in the close frame: 1002 what came is no frame that may stand there, 1007 a text is no UTF-8 \
         or five messages made no sense, 1008 the client did not read or did not answer pings, 1009 a message is too large (64 KiB to `/ws`, which \
         `gateway.max_message_bytes` changes; 4 MiB to `/ws/ingest`), 1001 the gateway shuts down. Who says goodbye gets its own code back.\n"
    );
    out += &encodings();
    out += &playback_section();
    for d in declarations() {
        let _ = write!(out, "\n## {}\n{}\n\n", d.name, d.doc);
        match &d.body {
            Body::Struct(fields) => {
                out += "| # | field | type | meaning |\n|---|---|---|---|\n";
                for (i, f) in fields.iter().enumerate() {
                    let _ = writeln!(out, "| {i} | `{}` | {} | {} |", f.name, doc_type(&f.wire), f.doc);
                }
            }
            Body::Union(fields) => {
                out += "| message | value | meaning |\n|---|---|---|\n";
                for f in fields {
                    let _ = writeln!(out, "| `{}` | {} | {} |", f.name, doc_type(&f.wire), f.doc);
                }
            }
            Body::Enum(variants) => {
                out += "| code | name | meaning |\n|---|---|---|\n";
                for v in variants {
                    let _ = writeln!(out, "| {} | `{}` | {} |", v.code, v.name, v.doc);
                }
            }
        }
    }
    out
}

fn encodings() -> String {
    let message = ResultMessage {
        camera: CameraId::new("gate").unwrap(),
        id: FRAME,
        seen_at_us: 1_700_000_000_190_000,
        result: encode(&sample()).into(),
    };
    let compact = encode(&ServerMessage::Result(message.to_compact()));
    let message = ServerMessage::Result(message);
    let mut out = format!("\n{}", include_str!("encodings.md"));
    let _ = write!(out, "### Compact results\n{}", include_str!("../src/compact.md"));
    let json = serde_json::to_string_pretty(&message).unwrap();
    out += "\n### One message in each encoding\nThe frame is `1700000000123-0`.\n\n";
    for (encoding, length, text) in [
        ("json", serde_json::to_string(&message).unwrap().len(), json),
        ("msgpack", encode(&message).len(), hex(&encode(&message))),
        ("compact", compact.len(), hex(&compact)),
    ] {
        let text = text.as_bytes().chunks(if encoding == "json" { usize::MAX } else { 96 });
        let lines: Vec<_> = text.map(|line| std::str::from_utf8(line).unwrap()).collect();
        let fence = if encoding == "json" { "json" } else { "" };
        let lines = lines.join("\n");
        let _ = write!(out, "`peregrine.{encoding}`, {length} bytes:\n```{fence}\n{lines}\n```\n");
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const FRAME: FrameId = FrameId { ms: 1_700_000_000_123, seq: 0 };

/// A walking person, and one that was lost from sight.
fn sample() -> FrameResult {
    let time = |stage, us| StageTime { stage, us };
    let walking = Track {
        track_id: 4,
        state: TrackState::Tracked,
        xyxy: [252.0626, 219.1472, 281.1, 308.897],
        confidence: 0.7902,
        class_id: 0,
        detection: Some(0),
        ground_m: Some([-11.4678, -5.502]),
        speed: Some(Speed { speed_mps: 1.314, std_error_mps: 0.083, heading_rad: -2.5 }),
        in_region: true,
        class_share: Some(0.93),
    };
    FrameResult {
        schema: SCHEMA,
        n: 216,
        inc: 1,
        position: 215,
        media_time_us: 30_714_286,
        captured_at_us: 1_700_000_000_123_456,
        status: ResultStatus::Ok,
        reason: None,
        source: Size { width: 768, height: 576 },
        track_epoch: 0,
        detections: vec![Detection {
            xyxy: [252.3, 219.0, 280.9388, 309.25],
            confidence: 0.7902,
            class_id: 0,
        }],
        tracks: vec![
            walking,
            Track {
                track_id: 7,
                state: TrackState::Lost,
                xyxy: [-3.2, 186.2, 17.46, 231.75],
                confidence: 0.4143,
                class_id: 2,
                detection: None,
                ground_m: None,
                speed: None,
                in_region: false,
                class_share: None,
            },
        ],
        stages: vec![time(Stage::Decode, 1871), time(Stage::Infer, 41_509), time(Stage::Zones, 0)],
        worker: "processor-1".into(),
        lost: vec![LossCount { reason: LossReason::QueueFull, count: 3 }],
        notices: vec![Notice::Doubtful],
    }
}

/// What the dashboard's own decoder is tried with: bytes, and what they mean.
fn vectors() -> String {
    let sample = sample();
    let mut alike = sample.clone();
    alike.tracks[1] = Track { track_id: 2, detection: Some(0), ..alike.tracks[0] };
    let skipped = FrameResult {
        position: 9_000_000_000,
        media_time_us: 1_700_000_000_123_450,
        captured_at_us: 1_700_000_000_122_999,
        status: ResultStatus::Skipped,
        reason: Some(LossReason::TooOld),
        detections: Vec::new(),
        tracks: Vec::new(),
        stages: Stage::ALL
            .iter()
            .map(|&stage| StageTime { stage, us: u32::MAX - u32::from(stage.code()) })
            .collect(),
        worker: "Prozessor-Ä".into(),
        lost: Vec::new(),
        ..sample.clone()
    };
    let later = FrameResult {
        status: ResultStatus::Other(9),
        reason: Some(LossReason::Other(200)),
        notices: vec![Notice::DamagedKept, Notice::Other(77)],
        stages: vec![StageTime { stage: Stage::Other(52), us: 8 }],
        ..alike.clone()
    };
    let of_the_old_form = sample.clone().for_schema(2);
    let vectors: Vec<_> = [sample, alike, skipped, later, of_the_old_form]
        .iter()
        .map(|result| {
            let bytes = compact::encode(FRAME, result);
            let result = compact::decode(FRAME, &bytes).unwrap();
            serde_json::json!({ "id": FRAME, "bytes": hex(&bytes), "result": result })
        })
        .collect();
    serde_json::to_string_pretty(&vectors).unwrap() + "\n"
}

/// How a client goes back in time, as a conversation of messages that are encoded here and so cannot be out of date.
fn playback_section() -> String {
    let camera = CameraId::new("yard").unwrap();
    let id = |ms: u64| FrameId { ms: 1_700_000_000_000 + ms, seq: 0 };
    let told = |request_id, seek_epoch, state, at| Playback {
        request_id,
        camera: camera.clone(),
        seek_epoch,
        state,
        speed: 1.0,
        at,
        first: Some(id(0)),
        last: Some(id(60_000)),
        has_picture: at.is_some(),
        problem: None,
    };
    let seek = |request_id, to, nearest| {
        ClientMessage::Seek(Seek { request_id, camera: camera.clone(), to, nearest })
    };
    let step = ClientMessage::Step(PlaybackStep { request_id: 2, camera: camera.clone(), frames: -1 });
    let refused = Playback {
        problem: Some(format!(
            "frame {} of `yard` is not held: seek between {} and {}",
            id(7),
            id(0),
            id(60_000)
        )),
        has_picture: false,
        ..told(Some(3), 2, PlaybackState::Paused, Some(id(40_100)))
    };
    let speed = ClientMessage::Speed(PlaybackSpeed { request_id: 4, camera: camera.clone(), speed: 2.0 });
    let playing = Playback {
        speed: 2.0,
        has_picture: false,
        ..told(Some(4), 2, PlaybackState::Playing, Some(id(40_100)))
    };
    let resume = ClientMessage::Subscribe(Subscribe {
        cameras: vec![camera.clone()],
        results: true,
        resume_after: Some(id(50_000)),
        ..Subscribe::default()
    });
    let gap = ServerMessage::Gap(Gap { camera: camera.clone(), after: id(50_000), first: Some(id(90_000)) });
    let asked = |message: &ClientMessage| format!("→ {}\n", serde_json::to_string(message).unwrap());
    let came = |message: &ServerMessage| format!("← {}\n", serde_json::to_string(message).unwrap());
    let data = "← preview and result of that frame\n";
    let seeks = [
        asked(&seek(1, id(40_130), true)),
        came(&ServerMessage::Playback(told(Some(1), 1, PlaybackState::Paused, Some(id(40_133))))),
        data.into(),
        asked(&step),
        came(&ServerMessage::Playback(told(Some(2), 2, PlaybackState::Paused, Some(id(40_100))))),
        data.into(),
        asked(&seek(3, id(7), false)),
        came(&ServerMessage::Playback(refused)),
        asked(&speed),
        came(&ServerMessage::Playback(playing)),
        "← previews and results at twice the speed, until live is reached:\n".into(),
        came(&ServerMessage::Playback(told(None, 2, PlaybackState::Live, None))),
    ];
    let resumes = [asked(&resume), came(&gap), "← every result that is held, then every new one\n".into()];
    format!(
        "\n{}\n```\n{}```\n\n{}\n```\n{}```\n",
        include_str!("playback.md").trim(),
        seeks.concat(),
        "After a lost connection a client goes on behind the last result that it has. What the stream still holds comes \
         without a gap or a repetition; where it does not reach back so far, `gap` says so first:",
        resumes.concat()
    )
}

fn doc_type(wire: &WireType) -> String {
    match wire {
        WireType::Bool => "bool".into(),
        WireType::Int(name) | WireType::Float(name) => (*name).into(),
        WireType::Text => "text".into(),
        WireType::Bytes => "binary".into(),
        WireType::Named(name) => format!("[{name}](#{})", name.to_lowercase()),
        WireType::Optional(inner) => format!("{} or nil", doc_type(inner)),
        WireType::List(inner) => format!("list of {}", doc_type(inner)),
        WireType::Array(inner, n) => format!("{n} × {}", doc_type(inner)),
        WireType::Map(inner) => format!("map of text to {}", doc_type(inner)),
    }
}

fn typescript() -> String {
    let mut out = format!(
        "// Generated from the declarations in proto/src; do not edit.\n\
        // A value travels as MessagePack: a struct as an array of its fields, a plain enum as its code, a message as a map with one entry.\n\
        // The `read…` functions take what a MessagePack decoder gives; they throw a WireError on anything else.\n\n\
        export const SCHEMA = {SCHEMA};\n\
        /** The oldest that is read. */\n\
        export const OLDEST_SCHEMA = {OLDEST_SCHEMA};\n"
    );
    out += include_str!("wire_prelude.ts");
    for d in declarations() {
        let _ = write!(out, "\n/** {} */\n", d.doc);
        match &d.body {
            Body::Enum(variants) => {
                let names = variants.iter().map(|v| format!("{:?}", v.name)).collect::<Vec<_>>().join(" | ");
                let codes = variants
                    .iter()
                    .map(|v| format!("[{}, {:?}]", v.code, v.name))
                    .collect::<Vec<_>>()
                    .join(", ");
                let n = d.name;
                let _ = write!(
                    out,
                    "export type {n} = {names} | Other;\n\
                    const codesOf{n}: ReadonlyMap<number, {n}> = new Map<number, {n}>([{codes}]);\n\
                    export function read{n}(value: unknown): {n} {{ return readEnum(codesOf{n}, value); }}\n"
                );
            }
            Body::Struct(fields) => {
                let _ = writeln!(out, "export interface {} {{", d.name);
                for f in fields {
                    let _ = writeln!(out, "  /** {} */\n  {}: {};", f.doc, f.name, ts_type(&f.wire));
                }
                out += "}\n";
                let _ = writeln!(out, "export function read{}(value: unknown): {} {{", d.name, d.name);
                let _ = writeln!(out, "  const a = readArray(value, {:?});\n  return {{", d.name);
                for (i, f) in fields.iter().enumerate() {
                    let _ = writeln!(out, "    {}: {},", f.name, ts_read(&f.wire, &from(i, f)));
                }
                out += "  };\n}\n";
                if is_sent_by_clients(&d) {
                    let list = fields.iter().map(|f| format!("v.{}", f.name)).collect::<Vec<_>>().join(", ");
                    let _ = writeln!(
                        out,
                        "export function write{0}(v: {0}): unknown[] {{ return [{list}]; }}",
                        d.name
                    );
                }
            }
            Body::Union(fields) => {
                let kinds = fields
                    .iter()
                    .map(|f| format!("  | {{ kind: {:?}; value: {} }}", f.name, ts_type(&f.wire)))
                    .collect::<Vec<_>>()
                    .join("\n");
                let _ = writeln!(out, "export type {} =\n{kinds};", d.name);
                if d.name == "ClientMessage" {
                    let _ = writeln!(
                        out,
                        "export function write{0}(m: {0}): Record<string, unknown> {{\n  switch (m.kind) {{",
                        d.name
                    );
                    for f in fields {
                        let inner = doc_name(&f.wire);
                        let _ = writeln!(
                            out,
                            "    case {:?}: return {{ {}: write{inner}(m.value) }};",
                            f.name, f.name
                        );
                    }
                    out += "  }\n}\n";
                } else {
                    let _ = writeln!(out, "export function read{0}(value: unknown): {0} {{", d.name);
                    let _ = writeln!(
                        out,
                        "  const [kind, inner] = readVariant(value, {:?});\n  switch (kind) {{",
                        d.name
                    );
                    for f in fields {
                        let _ = writeln!(
                            out,
                            "    case {:?}: return {{ kind, value: {} }};",
                            f.name,
                            ts_read(&f.wire, "inner")
                        );
                    }
                    let _ = writeln!(
                        out,
                        "    default: throw new WireError(`${{kind}} is no {}`);\n  }}\n}}",
                        d.name
                    );
                }
            }
        }
    }
    out
}

fn is_sent_by_clients(d: &Declaration) -> bool {
    let client = declarations().into_iter().find(|d| d.name == "ClientMessage").unwrap();
    match client.body {
        Body::Union(fields) => fields.iter().any(|f| doc_name(&f.wire) == d.name),
        _ => false,
    }
}

fn doc_name(wire: &WireType) -> &'static str {
    leaf(wire).unwrap()
}

fn ts_type(wire: &WireType) -> String {
    match wire {
        WireType::Bool => "boolean".into(),
        WireType::Int(_) | WireType::Float(_) => "number".into(),
        WireType::Text => "string".into(),
        WireType::Bytes => "Uint8Array".into(),
        WireType::Named(name) => (*name).into(),
        WireType::Optional(inner) => format!("{} | null", ts_type(inner)),
        WireType::List(inner) => format!("{}[]", ts_type(inner)),
        WireType::Array(inner, n) => format!("[{}]", vec![ts_type(inner); *n].join(", ")),
        WireType::Map(inner) => format!("Record<string, {}>", ts_type(inner)),
    }
}

/// Where a field stands, with what it has where it is not there.
fn from(i: usize, field: &Field) -> String {
    let value = match &field.wire {
        _ if !field.optional => return format!("a[{i}]"),
        WireType::Bool => "false",
        WireType::Int(_) | WireType::Float(_) => "0",
        WireType::Text => "\"\"",
        WireType::List(_) => "[]",
        WireType::Map(_) => "{}",
        WireType::Optional(_) => return format!("a[{i}]"),
        other => panic!("{}: a default for {other:?} is not written yet", field.name),
    };
    format!("a[{i}] ?? {value}")
}

fn ts_read(wire: &WireType, from: &str) -> String {
    match wire {
        WireType::Bool => format!("readBoolean({from})"),
        WireType::Int(_) | WireType::Float(_) => format!("readNumber({from})"),
        WireType::Text => format!("readText({from})"),
        WireType::Bytes => format!("readBytes({from})"),
        WireType::Named(name) => format!("read{name}({from})"),
        WireType::Optional(inner) => format!("({from} ?? null) === null ? null : {}", ts_read(inner, from)),
        WireType::List(inner) => format!("readList({from}, (x) => {})", ts_read(inner, "x")),
        WireType::Array(inner, n) => {
            format!("readList({from}, (x) => {}, {n}) as {}", ts_read(inner, "x"), ts_type(wire))
        }
        WireType::Map(inner) => format!("readMap({from}, (x) => {})", ts_read(inner, "x")),
    }
}
