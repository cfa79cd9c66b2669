//! How long something took, counted without a lock, since every call is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The upper ends of the buckets; beyond them is one more.
const ENDS: [Duration; 12] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seconds(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; ENDS.len() + 1],
    /// Of all durations.
    nanoseconds: AtomicU64,
}

impl Seconds {
    pub(crate) fn observe(&self, took: Duration) {
        let at = ENDS.iter().position(|end| took <= *end).unwrap_or(ENDS.len());
        self.0.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.0.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl EncodeMetric for Seconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let ends = ENDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let buckets: Vec<_> = ends.zip(self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn durations_are_counted_in_the_first_bucket_that_holds_them() {
        let (mut registry, seconds) = (Registry::default(), Seconds::default());
        registry.register("took", "How long", seconds.clone());
        for millis in [0, 1, 2, 300_000, 300_001] {
            seconds.observe(Duration::from_millis(millis));
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes it");
        for line in [
            "took_sum 600.004",
            "took_count 5",
            "took_bucket{le=\"0.001\"} 2",
            "took_bucket{le=\"0.005\"} 3",
            "took_bucket{le=\"60.0\"} 3",
            "took_bucket{le=\"300.0\"} 4",
            "took_bucket{le=\"+Inf\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
