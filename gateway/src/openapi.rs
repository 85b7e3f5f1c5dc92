//! The description of what is answered over plain HTTP: `openapi.json` by hand, with the schemas of the wire types from
//! their declarations.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use peregrine_proto::describe::{Body, Declaration, WireType, declarations};
use serde_json::{Map, Value, json};

use crate::rest::{Refused, not_modified};

static DOCUMENT: LazyLock<Option<Value>> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(include_str!("openapi.json")).ok()?;
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let schemas = document["components"]["schemas"].as_object_mut()?;
    for declaration in declarations() {
        if let Some(schema) = schema(&declaration) {
            schemas.insert(declaration.name.into(), schema);
        }
    }
    Some(document)
});

/// `GET /api/openapi.json`: this interface as an OpenAPI document.
pub(crate) async fn document(headers: HeaderMap) -> Result<Response, Refused> {
    let document = DOCUMENT.as_ref();
    document.map(|document| not_modified(&headers, document)).ok_or_else(|| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "this build has no description of its interface")
    })
}

/// A wire type as it is in JSON; none for messages, which travel over WebSockets only.
fn schema(declaration: &Declaration) -> Option<Value> {
    match &declaration.body {
        Body::Struct(fields) => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|field| {
                    let mut schema = of_type(&field.wire);
                    schema["description"] = field.doc.clone().into();
                    (field.name.to_owned(), schema)
                })
                .collect();
            let required: Vec<&str> =
                fields.iter().filter(|field| !field.optional).map(|field| field.name).collect();
            Some(json!({
                "type": "object", "description": declaration.doc, "properties": properties, "required": required
            }))
        }
        Body::Enum(variants) => {
            let names: Vec<&str> = variants.iter().map(|variant| variant.name).collect();
            Some(json!({ "type": "string", "description": declaration.doc, "enum": names }))
        }
        Body::Union(_) => None,
    }
}

fn of_type(wire: &WireType) -> Value {
    match wire {
        WireType::Bool => json!({ "type": "boolean" }),
        WireType::Int(name) if name.starts_with('u') => json!({ "type": "integer", "minimum": 0 }),
        WireType::Int(_) => json!({ "type": "integer" }),
        WireType::Float(_) => json!({ "type": "number" }),
        WireType::Text => json!({ "type": "string" }),
        WireType::Bytes => {
            json!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } })
        }
        WireType::Named(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        WireType::Optional(inner) => json!({ "anyOf": [of_type(inner), { "type": "null" }] }),
        WireType::List(inner) => json!({ "type": "array", "items": of_type(inner) }),
        WireType::Map(inner) => json!({ "type": "object", "additionalProperties": of_type(inner) }),
        WireType::Array(inner, length) => {
            json!({ "type": "array", "items": of_type(inner), "minItems": length, "maxItems": length })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use peregrine_proto::CameraConfig;

    use super::*;

    fn document() -> &'static Value {
        DOCUMENT.as_ref().expect("openapi.json is JSON")
    }

    /// The routes as they stand in the code, without WebSockets.
    fn routes() -> BTreeSet<(String, String)> {
        let code = include_str!("http.rs");
        let mut routes = BTreeSet::new();
        for line in code.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once('"').unwrap();
            if path.starts_with("/ws") {
                continue;
            }
            for method in ["get", "put", "post", "delete"] {
                if handlers.contains(&format!("{method}(")) {
                    routes.insert((path.to_owned(), method.to_owned()));
                }
            }
        }
        routes
    }

    #[test]
    fn route_is_not_described_or_does_not_exist() {
        let paths = document()["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, operations)| {
                operations.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
            })
            .filter(|(_, method)| method != "parameters")
            .collect();
        assert_eq!(described, routes());
    }

    #[test]
    fn reference_leads_nowhere() {
        fn check(value: &Value) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, value)| match value.as_str() {
                    Some(place) if key == "$ref" => {
                        assert!(document().pointer(place.trim_start_matches('#')).is_some(), "{place}");
                    }
                    _ => check(value),
                }),
                Value::Array(values) => values.iter().for_each(check),
                _ => {}
            }
        }
        check(document());
    }

    /// Every key of a camera's configuration is described, and no other.
    #[test]
    fn camera_is_described_otherwise_than_it_is_read() {
        let full: CameraConfig = serde_json::from_value(json!({
            "id": "a", "name": "A", "source": { "uri": "a.mp4", "fps": 1.0, "max_frames": 1, "damaged": "keep", "pixel_aspect": 2.0 },
            "analysis": { "size": { "width": 640, "height": 480 }, "track": { "doubtful": false }, "groups": { "boats": ["boat"] },
                          "region_drawn_on": { "width": 640, "height": 480, "pixel_aspect": 2.0 } },
            "calibration": { "points": [{ "image": [0, 0], "ground": [0, 0] }], "drawn_on": { "width": 640, "height": 480, "pixel_aspect": 2.0 } },
        }))
        .unwrap();
        fn resolved(schema: &Value) -> &Value {
            let place = schema["$ref"].as_str().map(|place| place.trim_start_matches('#'));
            place.map_or(schema, |place| document().pointer(place).unwrap())
        }
        fn compare(at: &str, value: &Value, schema: &Value) {
            let Value::Object(value) = value else { return };
            let schema = resolved(schema);
            let any: Vec<&Value> = match schema["anyOf"].as_array() {
                Some(any) => any.iter().map(resolved).collect(),
                None => vec![schema],
            };
            // The keys of a map are people's own.
            if any.iter().any(|schema| schema["additionalProperties"].is_object()) {
                return;
            }
            let described = any.iter().find_map(|schema| schema["properties"].as_object());
            let properties = described.unwrap_or_else(|| panic!("{at} is not described"));
            assert!(value.keys().eq(properties.keys()), "{at}: {:?} {:?}", value.keys(), properties.keys());
            for (key, value) in value {
                compare(&format!("{at}.{key}"), value, &properties[key]);
            }
        }
        let schema = &document()["components"]["schemas"]["CameraConfig"];
        compare("camera", &serde_json::to_value(full).unwrap(), schema);
    }
}
