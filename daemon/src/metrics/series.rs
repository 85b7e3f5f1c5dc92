//! The series behind the metrics: found once under a lock, counted without it, gone with their camera. The metrics themselves and
//! their text form are those of the `prometheus-client` crate.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{counter, gauge},
    registry::Registry,
};

use super::{Kind, Metric};

/// Only grows. Cheap to clone.
pub type Counter = counter::Counter<f64, AtomicU64>;
/// Goes up and down. Cheap to clone.
pub type Gauge = gauge::Gauge<f64, AtomicU64>;
pub use prometheus_client::metrics::histogram::Histogram;

static TABLE: Mutex<Table> =
    Mutex::new(Table { worker: String::new(), series: BTreeMap::new(), cameras: BTreeMap::new() });
/// Set where nothing is to be measured: every series is then one that nobody reads.
static OFF: AtomicBool = AtomicBool::new(false);

/// All series of this process.
struct Table {
    /// The value of the label `worker`; no label while empty.
    worker: String,
    /// By the values of their labels.
    series: BTreeMap<Metric, BTreeMap<Vec<String>, Series>>,
    /// How many hold each camera.
    cameras: BTreeMap<String, usize>,
}

enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Series {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Counter::default()),
            Kind::Gauge => Self::Gauge(Gauge::default()),
            Kind::Histogram(buckets) => Self::Histogram(Histogram::new(buckets.bounds.iter().copied())),
        }
    }

    fn as_metric(&self) -> &dyn EncodeMetric {
        match self {
            Self::Counter(counter) => counter,
            Self::Gauge(gauge) => gauge,
            Self::Histogram(histogram) => histogram,
        }
    }
}

impl Metric {
    /// The counter with these label values, in the order of [`Metric::labels`]. Keep it: finding one takes a lock.
    pub fn counter<const N: usize>(self, values: [&str; N]) -> Counter {
        self.find(&values, |series| match series {
            Series::Counter(counter) => Some(counter.clone()),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The gauge with these label values, in the order of [`Metric::labels`].
    pub fn gauge<const N: usize>(self, values: [&str; N]) -> Gauge {
        self.find(&values, |series| match series {
            Series::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The histogram with these label values, in the order of [`Metric::labels`].
    pub fn histogram<const N: usize>(self, values: [&str; N]) -> Histogram {
        self.find(&values, |series| match series {
            Series::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        })
        .unwrap_or_else(|| Histogram::new([]))
    }

    fn find<T>(self, values: &[&str], take: impl FnOnce(&Series) -> Option<T>) -> Option<T> {
        debug_assert_eq!(self.labels().len(), values.len(), "{self:?} has labels {:?}", self.labels());
        let taken = if OFF.load(Ordering::Relaxed) {
            take(&Series::new(self.kind()))
        } else {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let mut table = table();
            take(
                table
                    .series
                    .entry(self)
                    .or_default()
                    .entry(values)
                    .or_insert_with(|| Series::new(self.kind())),
            )
        };
        debug_assert!(taken.is_some(), "{self:?} is a {:?}", self.kind());
        taken
    }
}

/// Whoever works for a camera holds this. When the last one lets go, the series of that camera end, in all metrics.
/// Series that are found before it is held, or kept after it was let go, count for nobody.
#[derive(Debug)]
pub struct CameraSeries(String);

impl CameraSeries {
    /// The series of a camera may be seen from now on.
    pub fn hold(camera: &str) -> Self {
        *table().cameras.entry(camera.to_owned()).or_default() += 1;
        Self(camera.to_owned())
    }
}

impl Drop for CameraSeries {
    fn drop(&mut self) {
        let mut table = table();
        if let Some(holders) = table.cameras.get_mut(&self.0) {
            *holders -= 1;
            if *holders == 0 {
                table.cameras.remove(&self.0);
                table.tidy();
            }
        }
    }
}

impl Table {
    /// Ends the series of cameras that nobody holds.
    fn tidy(&mut self) {
        for (metric, series) in &mut self.series {
            if let Some(at) = metric.labels().iter().position(|label| *label == "camera") {
                series.retain(|values, _| self.cameras.contains_key(&values[at]));
            }
        }
    }
}

fn table() -> MutexGuard<'static, Table> {
    // A lock whose holder panicked is still a lock: every change is complete before it is given back.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every series from now on carries this worker's name.
pub(super) fn set_worker(worker: &str) {
    worker.clone_into(&mut table().worker);
}

/// From now on nothing is measured.
pub(super) fn turn_off() {
    OFF.store(true, Ordering::Relaxed);
}

/// Takes over a total that somebody else counts.
pub(super) fn reach(counter: &Counter, total: f64) {
    counter.inner().store(total.to_bits(), Ordering::Relaxed);
}

/// All series of the table, in the order of the documentation.
#[derive(Debug)]
struct All;

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut table = table();
        table.tidy();
        for (metric, series) in &table.series {
            let Some(any) = series.values().next() else { continue };
            // The text form adds the suffix of counters itself.
            let name = metric.name().trim_end_matches("_total");
            let mut metrics =
                encoder.encode_descriptor(name, &metric.help(), None, any.as_metric().metric_type())?;
            for (values, series) in series {
                let own = metric.labels().iter().copied().zip(values.iter().map(String::as_str));
                let worker = (!table.worker.is_empty()).then_some(("worker", table.worker.as_str()));
                let labels: Vec<(&str, &str)> = own.chain(worker).collect();
                series.as_metric().encode(metrics.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// What [`text`] is, for those who ask over HTTP.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All series, in the text form of OpenMetrics 1.0.
pub fn text() -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All));
    let mut text = String::new();
    // A String takes everything.
    let _ = encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(camera: &str) -> Vec<String> {
        let label = format!("camera=\"{camera}\"");
        text().lines().filter(|line| line.contains(&label)).map(str::to_owned).collect()
    }

    #[test]
    fn released_camera_is_still_shown() {
        let held = [CameraSeries::hold("leaving"), CameraSeries::hold("leaving")];
        Metric::FramesProcessed.counter(["leaving"]).inc_by(3.0);
        Metric::FramesLost.counter(["leaving", "queue_full"]).inc();
        Metric::ResultAge.histogram(["leaving"]).observe(0.05);
        let [first, second] = held;
        drop(first);
        assert_eq!(
            lines("leaving").len(),
            2 + super::super::AGE_SECONDS.bounds.len() + 3,
            "{:?}",
            lines("leaving")
        );
        drop(second);
        assert_eq!(lines("leaving"), Vec::<String>::new());
        // What comes late is not kept for ever.
        Metric::FramesProcessed.counter(["leaving"]).inc();
        assert_eq!(lines("leaving"), Vec::<String>::new());
        // Taken again, it counts from nothing, as of a process that was started anew.
        let _held = CameraSeries::hold("leaving");
        Metric::FramesProcessed.counter(["leaving"]).inc();
        assert_eq!(lines("leaving").len(), 1);
        assert!(lines("leaving")[0].ends_with(" 1.0"), "{:?}", lines("leaving"));
    }

    #[test]
    fn histogram_counts_a_bound_in_the_bucket_above() {
        let _held = CameraSeries::hold("sizes");
        let histogram = Metric::ResultAge.histogram(["sizes"]);
        [0.005, 0.01, 0.0101, 31.0].into_iter().for_each(|value| histogram.observe(value));
        let value = |start: &str| {
            let lines = lines("sizes");
            let line = lines
                .iter()
                .find(|line| line.starts_with("peregrine_result_age_seconds") && line.contains(start));
            line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(value("le=\"0.01\""), 2.0);
        assert_eq!(value("le=\"0.02\""), 3.0);
        assert_eq!(value("le=\"30.0\""), 3.0);
        assert_eq!(value("le=\"+Inf\""), 4.0);
        assert_eq!(value("_count"), 4.0);
        assert!((value("_sum") - 31.0251).abs() < 1e-9);
    }

    #[test]
    fn label_value_breaks_the_text() {
        Metric::ModelInfo.gauge(["a\"b\\c\nd", "x", "y"]).set(1.0);
        assert!(text().contains(r#"model="a\"b\\c\nd","#), "{}", text());
    }
}
