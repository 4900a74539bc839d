//! Receipts: which change of the configuration became live, and when.

use crate::Metrics;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Receipts that are kept.
const KEPT: usize = 64;

/// Names of changed objects that one receipt keeps; of the others, the number.
const CHANGES_KEPT: usize = 32;

/// What became of one change of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The configuration that came of it. For a refused change: the one that stays.
    pub generation: u64,
    /// How much of it was accepted.
    pub result: ReloadResult,
    /// The objects that were added, changed or removed: `VirtualService shop/checkout changed`.
    pub changed: Vec<String>,
    /// Objects changed beyond those in `changed`; [`Receipts::record`] shortens the list.
    pub changed_more: usize,
    /// Objects in the whole configuration that are refused.
    pub errors: usize,
    /// Warnings about the whole configuration.
    pub warnings: usize,
    /// When the change was noticed.
    pub received_at: SystemTime,
    /// When every request met it. Absent: it did not become live.
    pub live_at: Option<SystemTime>,
    /// From noticing it to its being live or refused.
    pub duration: Duration,
}

/// How much of a change was accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReloadResult {
    /// All.
    Success,
    /// Some objects were refused; their last good versions stay.
    Partial,
    /// None; the last configuration stays.
    Failure,
}

impl ReloadResult {
    /// `success`, `partial` or `failure`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failure => "failure",
        }
    }
}

/// The last receipts, newest first: for the admin page, the log and the metrics.
pub struct Receipts {
    kept: Mutex<VecDeque<Arc<Receipt>>>,
    metrics: Arc<Metrics>,
}

impl Receipts {
    /// None yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            kept: Mutex::default(),
            metrics,
        }
    }

    /// Keeps, logs and counts a receipt.
    pub fn record(&self, mut receipt: Receipt) {
        receipt.changed_more += receipt.changed.len().saturating_sub(CHANGES_KEPT);
        receipt.changed.truncate(CHANGES_KEPT);
        receipt.changed.shrink_to_fit();
        receipt.log();
        self.metrics.record_receipt(&receipt);
        let mut kept = self.lock();
        kept.truncate(KEPT - 1);
        kept.push_front(Arc::new(receipt));
    }

    /// The last ones, newest first.
    pub fn recent(&self) -> Vec<Arc<Receipt>> {
        self.lock().iter().cloned().collect()
    }

    /// `{"receipts": [{"generation": …, "result": …, "changed": […], …}]}`, newest first.
    pub fn to_json(&self) -> Value {
        let receipts: Vec<_> = self
            .recent()
            .iter()
            .map(|receipt| receipt.to_json())
            .collect();
        json!({ "receipts": receipts })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Receipt>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receipt {
    fn to_json(&self) -> Value {
        json!({
            "generation": self.generation,
            "result": self.result.as_str(),
            "changed": self.changed,
            "changed_more": self.changed_more,
            "errors": self.errors,
            "warnings": self.warnings,
            "received_at": timestamp(self.received_at),
            "live_at": self.live_at.map(timestamp),
            "duration_milliseconds": self.duration.as_secs_f64() * 1000.0,
        })
    }

    fn log(&self) {
        let result = self.result.as_str();
        let changed = self.changed.join(", ");
        let duration = self.duration;
        let Self {
            generation,
            errors,
            warnings,
            changed_more,
            ..
        } = *self;
        match self.result {
            ReloadResult::Success => {
                tracing::info!(
                    generation,
                    result,
                    errors,
                    warnings,
                    ?duration,
                    changed,
                    changed_more,
                    "configuration changed"
                );
            }
            ReloadResult::Partial | ReloadResult::Failure => {
                tracing::warn!(
                    generation,
                    result,
                    errors,
                    warnings,
                    ?duration,
                    changed,
                    changed_more,
                    "configuration changed"
                );
            }
        }
    }
}

/// RFC 3339 in milliseconds, as in the access log.
fn timestamp(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn receipt(generation: u64) -> Receipt {
        Receipt {
            generation,
            result: ReloadResult::Partial,
            changed: vec!["VirtualService shop/checkout changed".into()],
            changed_more: 0,
            errors: 1,
            warnings: 2,
            received_at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_120),
            live_at: Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_125)),
            duration: Duration::from_millis(5),
        }
    }

    fn receipts() -> (Arc<Metrics>, Receipts) {
        let metrics = Arc::new(Metrics::new("0.0.0"));
        (metrics.clone(), Receipts::new(metrics))
    }

    /// Promise 7.
    #[test]
    fn a_receipt_tells_what_changed_and_when_it_became_live() {
        let (metrics, receipts) = receipts();
        receipts.record(receipt(7));
        let want = json!({ "receipts": [{
            "generation": 7,
            "result": "partial",
            "changed": ["VirtualService shop/checkout changed"],
            "changed_more": 0,
            "errors": 1,
            "warnings": 2,
            "received_at": "2023-11-14T22:13:20.120Z",
            "live_at": "2023-11-14T22:13:20.125Z",
            "duration_milliseconds": 5.0,
        }]});
        assert_eq!(receipts.to_json(), want);
        let text = metrics.text();
        for line in [
            "tidegate_config_generation 7\n",
            "tidegate_config_live_timestamp_seconds 1700000000\n",
            "tidegate_config_reload_total{result=\"partial\"} 1\n",
            "tidegate_config_diagnostics{severity=\"error\"} 1\n",
            "tidegate_config_diagnostics{severity=\"warning\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_refused_change_leaves_the_generation() {
        let (metrics, receipts) = receipts();
        receipts.record(receipt(7));
        receipts.record(Receipt {
            result: ReloadResult::Failure,
            live_at: None,
            ..receipt(8)
        });
        let text = metrics.text();
        assert!(text.contains("tidegate_config_generation 7\n"), "{text}");
        assert!(
            text.contains("tidegate_config_reload_total{result=\"failure\"} 1\n"),
            "{text}"
        );
    }

    /// Promise 17.
    #[test]
    fn only_so_many_receipts_and_names_are_kept() {
        let (_, receipts) = receipts();
        for generation in 0..200 {
            let changed = vec!["Service default/httpbin added".to_owned(); 100];
            receipts.record(Receipt {
                changed,
                ..receipt(generation)
            });
        }
        let recent = receipts.recent();
        assert_eq!((recent.len(), recent[0].generation), (KEPT, 199));
        assert_eq!(
            (recent[0].changed.len(), recent[0].changed_more),
            (CHANGES_KEPT, 100 - CHANGES_KEPT)
        );
    }
}
