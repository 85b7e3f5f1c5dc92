//! A collector of spans: takes what daemons send by OTLP over HTTP, and keeps it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message;

/// A running collector; its threads end with the process.
pub struct Collector {
    /// Where it listens, as `OTEL_EXPORTER_OTLP_ENDPOINT` wants it.
    pub endpoint: String,
    spans: Arc<Mutex<Vec<Received>>>,
}

/// A span, and who sent it.
#[derive(Debug, Clone)]
pub struct Received {
    /// `service.name` of the sender.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Received {
    /// A text attribute of the span; empty where there is none.
    pub fn attribute(&self, key: &str) -> &str {
        text(&self.span.attributes, key)
    }

    /// How long it was, nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        self.span.end_time_unix_nano.saturating_sub(self.span.start_time_unix_nano)
    }
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let spans = Arc::<Mutex<Vec<Received>>>::default();
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A daemon that is killed breaks its connection off.
                thread::spawn(move || serve(connection, &kept));
            }
        });
        Ok(Self { endpoint, spans })
    }

    /// What has come so far.
    pub fn spans(&self) -> Vec<Received> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes one request after another.
fn serve(connection: TcpStream, kept: &Mutex<Vec<Received>>) -> Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut answers = connection;
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 && line != "\r\n" {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request = ExportTraceServiceRequest::decode(&body[..]).context("no export of spans")?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend(received(request));
        // An empty answer is one that accepts everything.
        answers.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
}

fn received(request: ExportTraceServiceRequest) -> Vec<Received> {
    let of_resource = |spans: opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
        let service = spans
            .resource
            .map(|resource| text(&resource.attributes, "service.name").to_owned())
            .unwrap_or_default();
        let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(|span| Received { service: service.clone(), span }).collect::<Vec<_>>()
    };
    request.resource_spans.into_iter().flat_map(of_resource).collect()
}

fn text<'a>(attributes: &'a [opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> &'a str {
    let value =
        attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.as_ref());
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}
