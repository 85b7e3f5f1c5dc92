//! The series behind the metrics: found once under a lock, counted without one, gone with their camera.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Kind, Metric};

static TABLE: Mutex<Table> =
    Mutex::new(Table { worker: String::new(), series: BTreeMap::new(), cameras: BTreeMap::new() });
/// Set where nothing is to be measured: every series is then one that nobody reads.
static OFF: AtomicBool = AtomicBool::new(false);

/// All series of this process.
struct Table {
    /// The value of the label `worker`, escaped; no label while empty.
    worker: String,
    /// By metric and label values, which is the order of the text.
    series: BTreeMap<(Metric, Vec<String>), Series>,
    /// How many hold each camera.
    cameras: BTreeMap<String, usize>,
}

enum Series {
    Value(Value),
    Distribution(Arc<Distribution>),
}

/// A number that many change at once: the bits of an `f64`, exact for counts up to 2^53.
#[derive(Debug, Clone, Default)]
struct Value(Arc<AtomicU64>);

impl Value {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    fn add(&self, more: f64) {
        add(&self.0, more);
    }
}

fn add(bits: &AtomicU64, more: f64) {
    let sum = |bits| Some((f64::from_bits(bits) + more).to_bits());
    // It never declines, so it never fails.
    let _ = bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
}

/// Only grows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Counter(Value);

impl Counter {
    /// Counts so many more.
    pub fn increment(&self, more: u64) {
        self.0.add(more as f64);
    }

    /// Counts more of something that has fractions, such as seconds.
    pub fn add(&self, more: f64) {
        self.0.add(more.max(0.0));
    }

    /// Takes over a total that somebody else counts.
    pub(super) fn reach(&self, total: f64) {
        self.0.set(total);
    }
}

/// Goes up and down. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gauge(Value);

impl Gauge {
    /// It has this value now.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// It is so much more.
    pub fn increment(&self, more: f64) {
        self.0.add(more);
    }

    /// It is so much less.
    pub fn decrement(&self, less: f64) {
        self.0.add(-less);
    }
}

/// Counts by size. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Distribution>);

impl Histogram {
    /// Counts one of this size.
    pub fn record(&self, value: f64) {
        let Distribution { bounds, counts, sum } = &*self.0;
        counts[bounds.partition_point(|bound| *bound < value)].fetch_add(1, Ordering::Relaxed);
        add(sum, value);
    }
}

#[derive(Debug)]
struct Distribution {
    bounds: &'static [f64],
    /// One for each bound, and one for what is larger than all.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Distribution {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }
}

impl Series {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter | Kind::Gauge => Self::Value(Value::default()),
            Kind::Histogram(buckets) => Self::Distribution(Arc::new(Distribution::new(buckets.bounds))),
        }
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let braced = |more: &str| match labels.len() + more.len() {
            0 => String::new(),
            _ => format!("{{{labels}{}{more}}}", if labels.is_empty() || more.is_empty() { "" } else { "," }),
        };
        match self {
            Self::Value(value) => {
                let _ = writeln!(text, "{name}{} {}", braced(""), value.get());
            }
            Self::Distribution(distribution) => {
                let mut count = 0;
                let bounds = distribution.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                for (bound, own) in bounds.zip(&distribution.counts) {
                    count += own.load(Ordering::Relaxed);
                    let _ = writeln!(text, "{name}_bucket{} {count}", braced(&format!("le=\"{bound}\"")));
                }
                let sum = f64::from_bits(distribution.sum.load(Ordering::Relaxed));
                let _ = writeln!(text, "{name}_sum{0} {sum}\n{name}_count{0} {count}", braced(""));
            }
        }
    }
}

impl Metric {
    /// The counter with these label values, in the order of [`Metric::labels`]. Keep it: finding one takes a lock.
    pub fn counter<const N: usize>(self, values: [&str; N]) -> Counter {
        debug_assert_eq!(self.kind(), Kind::Counter, "{self:?}");
        Counter(self.value(&values))
    }

    /// The gauge with these label values, in the order of [`Metric::labels`].
    pub fn gauge<const N: usize>(self, values: [&str; N]) -> Gauge {
        debug_assert_eq!(self.kind(), Kind::Gauge, "{self:?}");
        Gauge(self.value(&values))
    }

    /// The histogram with these label values, in the order of [`Metric::labels`].
    pub fn histogram<const N: usize>(self, values: [&str; N]) -> Histogram {
        debug_assert!(matches!(self.kind(), Kind::Histogram(_)), "{self:?}");
        self.find(&values, |series| match series {
            Series::Distribution(distribution) => Histogram(Arc::clone(distribution)),
            Series::Value(_) => Histogram(Arc::new(Distribution::new(&[]))),
        })
    }

    fn value(self, values: &[&str]) -> Value {
        self.find(values, |series| match series {
            Series::Value(value) => value.clone(),
            Series::Distribution(_) => Value::default(),
        })
    }

    fn find<T>(self, values: &[&str], take: impl FnOnce(&Series) -> T) -> T {
        debug_assert_eq!(self.labels().len(), values.len(), "{self:?} has labels {:?}", self.labels());
        if OFF.load(Ordering::Relaxed) {
            return take(&Series::new(self.kind()));
        }
        let name = (self, values.iter().map(|value| (*value).to_owned()).collect());
        take(table().series.entry(name).or_insert_with(|| Series::new(self.kind())))
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
        let Self { series, cameras, .. } = self;
        series.retain(|(metric, values), _| {
            let camera = metric.labels().iter().position(|label| *label == "camera");
            camera.is_none_or(|at| cameras.contains_key(&values[at]))
        });
    }

    fn labels(&self, metric: Metric, values: &[String]) -> String {
        let own =
            metric.labels().iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
        let worker = (!self.worker.is_empty()).then(|| format!("worker=\"{}\"", self.worker));
        own.chain(worker).collect::<Vec<_>>().join(",")
    }
}

fn table() -> MutexGuard<'static, Table> {
    // A lock whose holder panicked is still a lock: every change is complete before it is given back.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// Every series from now on carries this worker's name.
pub(super) fn set_worker(worker: &str) {
    table().worker = escaped(worker);
}

/// From now on nothing is measured.
pub(super) fn turn_off() {
    OFF.store(true, Ordering::Relaxed);
}

/// All series, in Prometheus' text form.
pub fn text() -> String {
    let mut table = table();
    table.tidy();
    let (mut text, mut last) = (String::new(), None);
    for ((metric, values), series) in &table.series {
        if last.replace(*metric) != Some(*metric) {
            let kind = match metric.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            let (name, help) = (metric.name(), metric.help().replace('\\', r"\\").replace('\n', r"\n"));
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        series.write(&mut text, metric.name(), &table.labels(*metric, values));
    }
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
        Metric::FramesProcessed.counter(["leaving"]).increment(3);
        Metric::FramesLost.counter(["leaving", "queue_full"]).increment(1);
        Metric::ResultAge.histogram(["leaving"]).record(0.05);
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
        Metric::FramesProcessed.counter(["leaving"]).increment(1);
        assert_eq!(lines("leaving"), Vec::<String>::new());
        // Taken again, it counts from nothing, as of a process that was started anew.
        let _held = CameraSeries::hold("leaving");
        Metric::FramesProcessed.counter(["leaving"]).increment(1);
        assert_eq!(lines("leaving").len(), 1);
        assert!(lines("leaving")[0].ends_with(" 1"), "{:?}", lines("leaving"));
    }

    #[test]
    fn histogram_counts_a_bound_in_the_bucket_above() {
        let _held = CameraSeries::hold("sizes");
        let histogram = Metric::ResultAge.histogram(["sizes"]);
        [0.005, 0.01, 0.0101, 31.0].into_iter().for_each(|value| histogram.record(value));
        let value = |start: &str| {
            let lines = lines("sizes");
            let line = lines
                .iter()
                .find(|line| line.starts_with("peregrine_result_age_seconds") && line.contains(start));
            line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(value("le=\"0.01\""), 2.0);
        assert_eq!(value("le=\"0.02\""), 3.0);
        assert_eq!(value("le=\"30\""), 3.0);
        assert_eq!(value("le=\"+Inf\""), 4.0);
        assert_eq!(value("_count"), 4.0);
        assert!((value("_sum") - 31.0251).abs() < 1e-9);
    }

    #[test]
    fn label_value_breaks_the_text() {
        Metric::ModelInfo.gauge(["a\"b\\c\nd", "x", "y"]).set(1.0);
        assert!(text().contains(r#"model="a\"b\\c\nd","#), "{}", text());
    }

    #[test]
    fn counts_of_many_threads_are_lost() {
        let counter = Metric::StepsIngested.counter([]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.increment(1)));
            }
        });
        assert!(text().lines().any(|line| line == "peregrine_steps_ingested_total 40000"), "{}", text());
    }
}
