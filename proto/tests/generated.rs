//! `docs/protocol.md` and `web/src/wire.ts` are generated from the declarations in this crate.
//! `UPDATE_GENERATED=1 cargo test -p peregrine-proto --test generated` writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fmt::Write as _, fs, path::Path};

use peregrine_proto::{
    SCHEMA,
    describe::{Body, Declaration, WireType, declarations},
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
        Everything is MessagePack. A struct is an array of its fields in the order given here; a field that is not there at \
        the end of the array has its default. A plain enum is its code. A message is a map with one entry: the \
        variant's name and its value. Pixels and pictures are binary. In JSON (offline files and REST) structs are objects and \
        enums are names.\n\n\
        A browser connects to `/ws` and sends and receives one message per binary WebSocket message. \
        A client that brings frames connects to `/ws/ingest/{{camera}}` and sends one JPEG per binary message; each is answered by a \
        `FrameAnswer` as JSON in a text message. \
        In Redis, an entry of `peregrine:{{camera}}:frames` has the fields `h` (an encoded `FrameHeader`) and `d` (the pixels); an entry of \
        `peregrine:{{camera}}:results` has `r` (an encoded `FrameResult`) and `f` (the epoch of the \
         lease under which it was written, decimal) under the id of its frame. \
         The list `peregrine:detect:requests:{{model}}` holds encoded `DetectRequest`s, `peregrine:detect:answers:{{worker}}` the \
         `DetectAnswer`s for one worker.\n"
    );
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
        export const SCHEMA = {SCHEMA};\n"
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
                    "export type {n} = {names};\n\
                    const codesOf{n}: ReadonlyMap<number, {n}> = new Map<number, {n}>([{codes}]);\n\
                    export function read{n}(value: unknown): {n} {{ return readEnum(codesOf{n}, value, {n:?}); }}\n"
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
                    let _ = writeln!(out, "    {}: {},", f.name, ts_read(&f.wire, &format!("a[{i}]")));
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
