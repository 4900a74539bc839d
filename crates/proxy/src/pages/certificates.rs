//! `/certs`: certificates and authorities, and how long they last. Keys are not among it.

use super::wants;
use crate::serve::Serving;
use config::CredentialStatus;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::SystemTime;
use telemetry::server::{PageRequest, PageResponse};

const SECONDS_OF_DAY: i64 = 86_400;

pub(super) fn show(serving: &Serving, request: &PageRequest) -> PageResponse {
    let published = serving.published();
    let all = published
        .as_ref()
        .map_or(&[][..], |published| &published.credential_status);
    let now = SystemTime::now();
    if wants(request, "json") {
        let all: Vec<Value> = all.iter().map(|one| as_json(one, now)).collect();
        return PageResponse::json(&json!({ "certificates": all }));
    }
    PageResponse::text(all.iter().map(|one| as_text(one, now)).collect::<String>())
}

fn as_text(status: &CredentialStatus, now: SystemTime) -> String {
    let (kind, name) = status.kind_and_name();
    let mut text = format!("{kind} {name}: {}\n", status.state.as_str());
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name}: {value}");
    };
    if let Some(problem) = &status.problem {
        line("problem", problem.clone());
    }
    if let Some(source) = &status.source {
        line("source", source.clone());
        line("names", status.names.join(", "));
    }
    if let Some(from) = status.not_before {
        line("not before", shown(from));
    }
    if let Some(until) = status.not_after {
        let left = days_left(until, now);
        line("not after", format!("{}, {left} days left", shown(until)));
    }
    if let Some(until) = status.next_update {
        let left = days_left(until, now);
        let value = format!("next update {}, {left} days left", shown(until));
        line("revocations", value);
    }
    text
}

fn as_json(status: &CredentialStatus, now: SystemTime) -> Value {
    let (kind, name) = status.kind_and_name();
    json!({
        "kind": kind,
        "name": name,
        "state": status.state.as_str(),
        "problem": status.problem,
        "source": status.source,
        "names": status.names,
        "not_before": status.not_before.map(shown),
        "not_after": status.not_after.map(shown),
        "next_update": status.next_update.map(shown),
        "days_left": status.not_after.map(|until| days_left(until, now)),
    })
}

fn shown(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().to_string()
}

/// Whole days; below zero when they are over.
fn days_left(until: SystemTime, now: SystemTime) -> i64 {
    let seconds = |time| Timestamp::try_from(time).unwrap_or_default().as_second();
    (seconds(until) - seconds(now)).div_euclid(SECONDS_OF_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::CredentialState;
    use rules::CredentialRef;
    use std::time::Duration;

    #[test]
    fn a_certificate_is_told_with_its_time_and_its_trouble() {
        let day = Duration::from_secs(86_400);
        let start = SystemTime::UNIX_EPOCH;
        let status = CredentialStatus {
            reference: CredentialRef::Named("shop".into()),
            source: Some("certs/shop/tls.crt, certs/shop/tls.key".into()),
            names: vec!["shop.test".into(), "*.shop.test".into()],
            not_before: Some(start),
            not_after: Some(start + 90 * day),
            next_update: Some(start + 31 * day),
            state: CredentialState::LastGood,
            problem: Some("it is broken".into()),
        };
        let want = "credential shop: last good one served\n  problem: it is broken\n  \
                    source: certs/shop/tls.crt, certs/shop/tls.key\n  names: shop.test, *.shop.test\n  \
                    not before: 1970-01-01T00:00:00Z\n  not after: 1970-04-01T00:00:00Z, 59 days left\n  \
                    revocations: next update 1970-02-01T00:00:00Z, 0 days left\n";
        let now = start + 30 * day + Duration::from_secs(1);
        assert_eq!(as_text(&status, now), want);
        assert_eq!(as_json(&status, start + 91 * day)["days_left"], -1);
    }

    #[test]
    fn what_is_missing_has_no_time() {
        let status = CredentialStatus {
            reference: CredentialRef::AuthoritiesNamed("shop".into()),
            source: None,
            names: Vec::new(),
            not_before: None,
            not_after: None,
            next_update: None,
            state: CredentialState::Missing,
            problem: None,
        };
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(as_text(&status, now), "authorities shop: missing\n");
        assert!(as_json(&status, now)["not_after"].is_null());
    }
}
