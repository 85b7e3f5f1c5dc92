//! Findings on what systems said: made up, one trouble at a time.

use peregrine_daemon::metrics::Samples;
use serde_json::Value;

use super::{report::Report, samples::Observed};

/// A daemon that did this every second: counters by their series, gauges as they are.
fn daemon(kind: &str, name: &str, counters: &[(String, f64)], gauges: &[(String, f64)]) -> Observed {
    const SECONDS: f64 = 4.0;
    let info = format!("peregrine_build_info{{daemon=\"{kind}\",version=\"0\",worker=\"{name}\"}} 1\n");
    let line = |(series, value): &(String, f64)| format!("peregrine_{series} {}\n", value * SECONDS);
    let gauges: String =
        gauges.iter().map(|(series, value)| format!("peregrine_{series} {value}\n")).collect();
    let counters: String = counters.iter().map(line).collect();
    Observed {
        address: "127.0.0.1:1".into(),
        before: Samples::default(),
        after: Samples::parse(&(info + &gauges + &counters)),
        seconds: SECONDS,
    }
}

/// A counter or gauge of a camera.
fn of(series: &str, camera: &str, value: f64) -> (String, f64) {
    (format!("{series}{{camera=\"{camera}\"}}"), value)
}

/// A stage that took place so often a second, and so many seconds each.
fn stage(stage: &str, camera: &str, rate: f64, mean: f64) -> [(String, f64); 2] {
    let series = |what| format!("stage_duration_seconds_{what}{{stage=\"{stage}\",camera=\"{camera}\"}}");
    [(series("count"), rate), (series("sum"), rate * mean)]
}

fn round_trips(operation: &str, rate: f64, mean: f64) -> [(String, f64); 2] {
    let series = |what| format!("redis_round_trip_seconds_{what}{{operation=\"{operation}\"}}");
    [(series("count"), rate), (series("sum"), rate * mean)]
}

fn plain(series: &str, value: f64) -> (String, f64) {
    (series.to_owned(), value)
}

/// A producer of one live camera that should have `target` frames a second, gives `captured` and loses none itself.
fn producer(camera: &str, target: f64, captured: f64, decode: f64, cpu: f64) -> Observed {
    let mut counters =
        vec![of("frames_captured_total", camera, captured), of("frames_published_total", camera, captured)];
    counters.extend(stage("capture", camera, captured, 0.01));
    counters.extend(stage("decode", camera, captured, decode));
    counters.extend(stage("resize", camera, captured, 0.001));
    counters.extend(stage("publish", camera, captured, 0.001));
    counters.extend(round_trips("publish", captured, 0.0005));
    counters.push(plain("process_cpu_seconds_total", cpu));
    counters.push(plain("machine_idle_seconds_total", 5.0));
    let gauges =
        [of("source_up", camera, 1.0), of("target_fps", camera, target), plain("machine_cores", 6.0)];
    daemon("producer", "producer", &counters, &gauges)
}

/// A processor in the making.
struct Processor {
    name: String,
    counters: Vec<(String, f64)>,
    gauges: Vec<(String, f64)>,
}

/// A processor that analyses `rate` frames a second of a camera, each `infer` seconds in the model.
fn processor(name: &str, camera: &str, rate: f64, infer: f64) -> Processor {
    let mut counters = vec![
        of("frames_processed_total", camera, rate),
        plain("batch_frames_count", rate),
        plain("batch_frames_sum", rate),
        plain("machine_idle_seconds_total", 5.0),
        plain("process_cpu_seconds_total", 0.9),
        of("result_age_seconds_count", camera, rate),
        of("result_age_seconds_sum", camera, rate * 0.2),
    ];
    counters.extend(stage("preprocess", camera, rate, 0.001));
    counters.extend(stage("infer", camera, rate, infer));
    counters.extend(stage("track", camera, rate, 0.0005));
    counters.extend(round_trips("commit", rate, 0.0005));
    let gauges =
        vec![plain("machine_cores", 6.0), plain("process_cores", 6.0), of("backlog_frames", camera, 8.0)];
    Processor { counters, gauges, name: name.to_owned() }
}

impl Processor {
    fn more(mut self, counters: impl IntoIterator<Item = (String, f64)>) -> Self {
        self.counters.extend(counters);
        self
    }

    /// With another value of a counter that it has.
    fn instead(mut self, series: &str, value: f64) -> Self {
        self.counters.retain(|(name, _)| name != series);
        self.more([plain(series, value)])
    }

    fn seen(&self) -> Observed {
        daemon("processor", &self.name, &self.counters, &self.gauges)
    }
}

fn said(daemons: &[Observed]) -> (Value, String) {
    let report = Report::of(daemons);
    (serde_json::to_value(&report).unwrap(), report.text())
}

/// Cause and stage of the only finding, and what its first remedy gives.
fn only(report: &Value) -> (&str, &str, Option<f64>) {
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{report:#}");
    assert_eq!(report["healthy"], false);
    let finding = &findings[0];
    (
        finding["cause"].as_str().unwrap(),
        finding["stage"].as_str().unwrap(),
        finding["remedies"][0]["gives"].as_f64(),
    )
}

#[test]
fn camera_that_gets_everything_is_found_ill() {
    let (report, text) =
        said(&[producer("yard", 25.0, 25.0, 0.01, 0.3), processor("p-1", "yard", 25.0, 0.02).seen()]);
    assert_eq!(report["healthy"], true, "{text}");
    assert!(text.starts_with("Healthy: 1 camera gets every frame that they should, 25 a second"), "{text}");
    assert!(text.contains("infer in p-1, busy 50% of the time: 2 times"), "{text}");
}

#[test]
fn full_model_of_a_live_camera_is_not_named_while_cores_idle() {
    let full = processor("p-1", "yard", 38.0, 1.0 / 39.0).more([of("frames_lost_total", "yard", 22.0)]);
    let (report, text) = said(&[producer("yard", 60.0, 60.0, 0.004, 0.3), full.seen()]);
    let (cause, stage, gives) = only(&report);
    assert_eq!((cause, stage), ("model", "infer"), "{text}");
    assert!((gives.unwrap() - 60.0).abs() < 0.1, "{text}");
    assert!(text.starts_with("yard gets 38 of 60 frames a second: the model is the bottleneck"), "{text}");
    assert!(text.contains("busy 97% of the time, while 5 cores idle"), "{text}");
}

#[test]
fn processor_is_recommended_where_no_core_is_left_for_it() {
    let full = processor("p-1", "yard", 20.0, 0.049).instead("machine_idle_seconds_total", 0.4);
    let (report, text) = said(&[producer("yard", 60.0, 60.0, 0.004, 0.3), full.seen()]);
    assert!(text.contains("another machine"), "{text}");
    assert_eq!(only(&report).0, "model");
}

#[test]
fn idle_processor_that_does_not_help_is_not_mentioned() {
    let full = processor("p-1", "yard", 20.0, 0.049);
    let idle = processor("p-2", "gate", 2.0, 0.049);
    let mut gate = producer("gate", 2.0, 2.0, 0.004, 0.1);
    gate.address = "127.0.0.1:2".into();
    let (report, text) = said(&[producer("yard", 30.0, 30.0, 0.004, 0.3), gate, full.seen(), idle.seen()]);
    let (cause, _, gives) = only(&report);
    assert_eq!(cause, "model");
    assert!(text.contains("p-2 could help and does not"), "{text}");
    assert!((gives.unwrap() - 30.0).abs() < 0.1, "{text}");
}

#[test]
fn slow_decoder_is_taken_for_a_slow_source() {
    let (report, text) =
        said(&[producer("yard", 30.0, 12.0, 0.08, 0.98), processor("p-1", "yard", 12.0, 0.01).seen()]);
    let (cause, stage, gives) = only(&report);
    assert_eq!((cause, stage), ("decode", "decode"), "{text}");
    // A quarter of the pixels in a quarter of the time is enough for all that is wanted.
    assert!((gives.unwrap() - 30.0).abs() < 0.1, "{text}");
}

#[test]
fn slow_source_is_taken_for_a_slow_decoder() {
    let (report, text) =
        said(&[producer("yard", 30.0, 12.0, 0.005, 0.1), processor("p-1", "yard", 12.0, 0.01).seen()]);
    assert_eq!(only(&report).0, "source", "{text}");
    assert_eq!(only(&report).1, "capture", "{text}");
}

#[test]
fn slow_redis_is_taken_for_something_else_where_no_thread_is_full() {
    let far = processor("p-1", "yard", 9.0, 0.01).more(round_trips("state", 20.0, 0.09)).more([of(
        "frames_lost_total",
        "yard",
        11.0,
    )]);
    let (report, text) = said(&[producer("yard", 20.0, 20.0, 0.005, 0.1), far.seen()]);
    let (cause, stage, gives) = only(&report);
    assert_eq!((cause, stage), ("redis", "commit"), "{text}");
    assert!((gives.unwrap() - 20.0).abs() < 0.1, "{text}");
    assert!(text.contains("shorten the way from p-1 to Redis"), "{text}");
}

#[test]
fn hog_beside_a_processor_is_taken_for_a_slow_model() {
    let starved = processor("p-1", "yard", 5.0, 0.18)
        .instead("process_cpu_seconds_total", 0.15)
        .more([plain("process_cpu_wait_seconds_total", 0.8)]);
    let (report, text) = said(&[producer("yard", 20.0, 20.0, 0.005, 0.1), starved.seen()]);
    let (cause, stage, gives) = only(&report);
    assert_eq!((cause, stage), ("cpu", "infer"), "{text}");
    assert!((gives.unwrap() - 20.0).abs() < 0.1, "{text}");
}

#[test]
fn slow_model_on_a_busy_machine_is_taken_for_a_lack_of_cores() {
    // It waits for a GPU most of the time; a little waiting for a core does not matter.
    let full = processor("p-1", "yard", 20.0, 0.049).more([plain("process_cpu_wait_seconds_total", 0.2)]);
    let (report, text) = said(&[producer("yard", 30.0, 30.0, 0.005, 0.1), full.seen()]);
    assert_eq!(only(&report).0, "model", "{text}");
}

#[test]
fn container_at_its_limit_is_taken_for_a_slow_model() {
    let mut limited = processor("p-1", "yard", 5.0, 0.18).instead("process_cpu_seconds_total", 0.5);
    limited.gauges.retain(|(series, _)| series != "process_cores");
    limited.gauges.push(plain("process_cores", 0.5));
    let (report, text) = said(&[producer("yard", 8.0, 8.0, 0.005, 0.1), limited.seen()]);
    let (cause, stage, gives) = only(&report);
    assert_eq!((cause, stage), ("cpu", "infer"), "{text}");
    assert!((gives.unwrap() - 8.0).abs() < 0.1, "{text}");
    assert!(text.contains("let p-1 use 0.9 cores"), "{text}");
}

#[test]
fn camera_without_a_processor_is_not_noticed() {
    let (report, text) = said(&[producer("yard", 20.0, 20.0, 0.005, 0.1)]);
    assert_eq!(only(&report), ("no_processor", "queue", None), "{text}");
    assert!(text.contains("start a processor"), "{text}");
}

#[test]
fn slow_client_is_not_noticed_or_blamed_on_a_camera() {
    let sent = [
        plain("messages_sent_total{kind=\"result\"}", 50.0),
        plain("messages_dropped_total{kind=\"preview\"}", 10.0),
    ];
    let gateway = daemon("gateway", "g", &sent, &[plain("clients", 3.0)]);
    let (report, text) = said(&[
        producer("yard", 25.0, 25.0, 0.01, 0.3),
        processor("p-1", "yard", 25.0, 0.02).seen(),
        gateway,
    ]);
    assert_eq!(only(&report), ("client", "relay", Some(60.0)), "{text}");
    assert_eq!(report["findings"][0]["cameras"], Value::Array(vec![]));
}

#[test]
fn file_read_as_fast_as_there_is_room_is_found_ill() {
    let (report, text) =
        said(&[producer("clip", 0.0, 38.0, 0.004, 0.3), processor("p-1", "clip", 38.0, 0.026).seen()]);
    assert_eq!(report["healthy"], true, "{text}");
    assert!(text.contains("infer 99%"), "{text}");
}

#[test]
fn setting_of_redis_that_endangers_data_is_not_told() {
    let danger = |kind, on| plain(&format!("redis_danger{{server=\"state\",danger=\"{kind}\"}}"), on);
    let gateway = daemon("gateway", "g", &[], &[danger("evicts", 1.0), danger("not_kept", 0.0)]);
    let (report, text) = said(&[gateway]);
    assert_eq!(report["dangers"].as_array().unwrap().len(), 1, "{text}");
    assert!(text.contains("Data is in danger: the Redis of redis.url evicts keys"), "{text}");
}
