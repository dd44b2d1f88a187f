//! What a recorder was told, added up.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses the part it needs"
)]

use std::collections::BTreeMap;

use metrics::Unit;
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// One metric of one pool: its name and, in order, its labels but the pool's name.
pub type Series = (String, Vec<(String, String)>);

/// The metrics of all pools so far. A snapshot of the recorder takes what it shows, so what was seen is added up.
pub struct Exported {
    pub recorder: DebuggingRecorder,
    snapshotter: Snapshotter,
    pools: BTreeMap<String, BTreeMap<Series, Metric>>,
}

#[derive(Clone, Debug)]
pub struct Metric {
    pub kind: MetricKind,
    pub unit: Option<Unit>,
    pub description: Option<String>,
    /// A gauge's value, a counter's count or the sum of a histogram.
    pub value: f64,
    /// How often a histogram was told something.
    pub count: usize,
}

pub const POOL: &str = "db.client.connection.pool.name";

impl Exported {
    pub fn new() -> Self {
        let recorder = DebuggingRecorder::new();
        Self {
            snapshotter: recorder.snapshotter(),
            recorder,
            pools: BTreeMap::new(),
        }
    }

    /// Everything of one pool, as it is now.
    pub fn of(&mut self, pool: &str) -> &BTreeMap<Series, Metric> {
        for (key, unit, description, value) in self.snapshotter.snapshot().into_vec() {
            let (kind, key) = key.into_parts();
            let mut labels: Vec<_> = key
                .labels()
                .map(|label| (label.key().to_owned(), label.value().to_owned()))
                .collect();
            let place = labels
                .iter()
                .position(|(key, _)| key == POOL)
                .expect("every metric names its pool");
            let (_, pool) = labels.remove(place);
            let metric = self
                .pools
                .entry(pool)
                .or_default()
                .entry((key.name().to_owned(), labels))
                .or_insert(Metric {
                    kind,
                    unit,
                    description: description.map(|text| text.to_string()),
                    value: 0.0,
                    count: 0,
                });
            match value {
                DebugValue::Counter(more) => metric.value += more as f64,
                DebugValue::Gauge(more) => metric.value += more.0,
                DebugValue::Histogram(more) => {
                    metric.count += more.len();
                    metric.value += more.iter().map(|value| value.0).sum::<f64>();
                }
            }
        }
        self.pools.entry(pool.to_owned()).or_default()
    }

    /// The value of the only metric of that name with that label.
    pub fn value(&mut self, pool: &str, name: &str, label: Option<&str>) -> f64 {
        self.metric(pool, name, label).value
    }

    pub fn metric(&mut self, pool: &str, name: &str, label: Option<&str>) -> Metric {
        let is_meant = |(known, labels): &Series| {
            known == name && labels.first().map(|(_, value)| &value[..]) == label
        };
        let mut meant = self.of(pool).iter().filter(|(series, _)| is_meant(series));
        let (_, metric) = meant
            .next()
            .unwrap_or_else(|| panic!("{name} of {pool} is exported"));
        assert!(meant.next().is_none(), "{name} of {pool} is exported once");
        metric.clone()
    }

    /// The gauges that are not zero.
    pub fn gauges(&mut self, pool: &str) -> BTreeMap<Series, f64> {
        self.of(pool)
            .iter()
            .filter(|(_, metric)| metric.kind == MetricKind::Gauge && metric.value != 0.0)
            .map(|(series, metric)| (series.clone(), metric.value))
            .collect()
    }
}
