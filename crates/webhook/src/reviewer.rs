//! From the body of a question to the body of its answer.

use crate::pods;
use crate::review::{Answer, Request, Unasked};
use crate::validate::validate;
use inject::InjectOptions;
use prometheus::{IntCounterVec, Opts};
use telemetry::Metrics;

/// What is asked, by its path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Webhook {
    /// `/validate`
    Validate,
    /// `/inject`
    Inject,
}

impl Webhook {
    /// What a path asks for.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/validate" => Some(Self::Validate),
            "/inject" => Some(Self::Inject),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Inject => "inject",
        }
    }
}

/// Answers questions.
pub struct Reviewer {
    injection: InjectOptions,
    reviews: IntCounterVec,
}

/// Why there can be no [`Reviewer`].
#[derive(Debug, thiserror::Error)]
pub enum NoReviewer {
    /// What every sidecar is to have is not possible.
    #[error("{0}")]
    Injection(String),
    /// Another one counts already.
    #[error("reviews are counted already")]
    Metrics(#[from] prometheus::Error),
}

impl Reviewer {
    /// Gives pods a sidecar that has `injection`, and counts in `tidegate_webhook_reviews_total`.
    ///
    /// # Errors
    ///
    /// The options cannot be used for any pod, or somebody counts already.
    pub fn new(injection: InjectOptions, metrics: &Metrics) -> Result<Self, NoReviewer> {
        pods::check_options(&injection).map_err(NoReviewer::Injection)?;
        let reviews = IntCounterVec::new(
            Opts::new(
                "tidegate_webhook_reviews_total",
                "Questions of API servers: allowed, patched, refused, or failed, which were none or took too long",
            ),
            &["webhook", "result"],
        )?;
        metrics.register(reviews.clone())?;
        Ok(Self { injection, reviews })
    }

    /// The body of the answer.
    ///
    /// # Errors
    ///
    /// The body is no question.
    pub(crate) fn answer(&self, webhook: Webhook, body: &[u8]) -> Result<Vec<u8>, Unasked> {
        let request = Request::read(body)?;
        let answer = match webhook {
            Webhook::Validate => validate(&request),
            Webhook::Inject => pods::give_sidecar(&request, &self.injection),
        };
        if let Some(why) = &answer.refusal {
            let (kind, namespace) = (&request.kind.kind, &request.namespace);
            tracing::debug!(uid = request.uid, kind, namespace, "refused: {why}");
        }
        let written = answer.write(&request.uid)?;
        self.count(webhook, result(&answer));
        Ok(written)
    }

    /// Counts a question that was not answered.
    pub(crate) fn failed(&self, webhook: Webhook) {
        self.count(webhook, "failed");
    }

    fn count(&self, webhook: Webhook, result: &str) {
        let labels = [webhook.as_str(), result];
        self.reviews.with_label_values(&labels).inc();
    }
}

fn result(answer: &Answer) -> &'static str {
    match (&answer.refusal, &answer.patch) {
        (Some(_), _) => "refused",
        (None, Some(_)) => "patched",
        (None, None) => "allowed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use serde_json::{Value, json};

    fn review(group: &str, kind: &str, object: Value) -> String {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1",
                "kind": {"group": group, "version": "v1", "kind": kind},
                "operation": "UPDATE",
                "namespace": "shop",
                "object": object,
                "oldObject": object,
            },
        });
        review.to_string()
    }

    /// Whatever comes in place of a part of a question, there is an answer, or a reason why there is none.
    #[test]
    fn what_is_damaged_is_answered_or_refused() {
        let metadata = json!({"name": "cart", "labels": {"a": "b"}, "annotations": {"sidecar.istio.io/inject": "true"}});
        let service = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": {"hosts": ["cart"], "http": [{"timeout": "1s", "route": [{"destination": {"host": "cart", "port": {"number": 80}}}]}]}});
        let pod = json!({"metadata": metadata, "spec": {"volumes": [], "containers": [{"name": "a", "image": "a", "ports": [{"containerPort": 80}]}]}});
        let good = [
            (
                Webhook::Validate,
                review("networking.istio.io", "VirtualService", service),
            ),
            (
                Webhook::Inject,
                review("", "Pod", pod).replace("UPDATE", "CREATE"),
            ),
        ];
        let parts = [
            "null",
            "[]",
            "{}",
            "-1",
            "1e300",
            "\"\"",
            "\"é\\u0000\"",
            "true",
            "[[[{}]]]",
            ",",
            "\"",
            "}",
        ];
        let reviewer = Reviewer::new(InjectOptions::default(), &Metrics::new("0")).unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        let mut answered = 0;
        for number in 0..4000 {
            let (webhook, good) = &good[number % good.len()];
            // From the end of one value to that of another, which keeps much of it JSON.
            let ends: Vec<_> = good
                .match_indices([':', ','])
                .map(|(at, _)| at + 1)
                .collect();
            let start = ends[random.random_range(0..ends.len())];
            let length = good[start..].find([',', '}', ']']).unwrap_or(0);
            let part = parts[random.random_range(0..parts.len())];
            let damaged = [&good[..start], part, &good[start + length..]].concat();
            if let Ok(answer) = reviewer.answer(*webhook, damaged.as_bytes()) {
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                assert!(answer["response"]["allowed"].is_boolean(), "{damaged}");
                answered += 1;
            }
        }
        assert!(answered > 500, "{answered}");
    }
}
