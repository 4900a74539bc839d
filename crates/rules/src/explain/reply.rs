//! What a decision leads to.

use super::{ExplainedCluster, ExplainedOutcome, ExplainedUpstream, Explanation, Place, nothing};
use crate::{
    Answer, Cluster, ClusterTarget, Decision, Endpoint, Endpoints, Forward, ForwardAction, Outcome,
    Reason, RequestHead, ServicePort,
};
use http::StatusCode;
use model::selects;

/// The parts of an explanation that depend on the outcome.
pub(super) fn of(
    decision: &Decision<'_>,
    head: &RequestHead<'_>,
    endpoints: &Endpoints,
) -> Explanation {
    match &decision.outcome {
        Outcome::Answer(answer) => answered(answer),
        Outcome::Forward(forward) => forwarded(forward, head, endpoints),
    }
}

fn answered(answer: &Answer) -> Explanation {
    let outcome = match answer.reason {
        Reason::NoHost => ExplainedOutcome::NoHost,
        Reason::NoRoute => ExplainedOutcome::NoRoute,
        Reason::Redirect | Reason::HttpsRedirect => ExplainedOutcome::Redirect,
        Reason::DirectResponse | Reason::CorsPreflight => ExplainedOutcome::DirectResponse,
        Reason::FaultAbort => ExplainedOutcome::Abort,
        Reason::Denied(_) => ExplainedOutcome::Denied,
    };
    let headers = answer.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    Explanation {
        status: Some(answer.status.as_u16()),
        headers: headers.collect(),
        ..nothing(outcome)
    }
}

fn forwarded(forward: &Forward<'_>, head: &RequestHead<'_>, endpoints: &Endpoints) -> Explanation {
    let action = forward.action;
    let clusters: Vec<_> = action
        .destinations
        .iter()
        .map(|destination| cluster(&destination.cluster, destination.weight, endpoints))
        .collect();
    // What names stand for is not asked here.
    let has_none = |cluster: &ExplainedCluster| {
        cluster.endpoints.is_empty() && cluster.unresolved.is_empty() && !cluster.on_demand
    };
    let unreachable = clusters.iter().all(has_none);
    Explanation {
        // Whichever destination is drawn, the gateway answers by itself.
        status: unreachable.then(|| StatusCode::SERVICE_UNAVAILABLE.as_u16()),
        clusters,
        upstream: Some(upstream(action, head, endpoints)),
        ..nothing(ExplainedOutcome::Forward)
    }
}

fn upstream(
    action: &ForwardAction,
    head: &RequestHead<'_>,
    endpoints: &Endpoints,
) -> ExplainedUpstream {
    let fault = action.fault.as_ref();
    ExplainedUpstream {
        path: path(action, head),
        authority: authority(action, head),
        timeout: action.timeout,
        retries: action.retry.attempts,
        per_try_timeout: action.retry.per_try_timeout,
        delay: fault
            .and_then(|fault| fault.delay.as_ref())
            .map(|delay| (delay.duration, delay.share.0)),
        abort: fault
            .and_then(|fault| fault.abort.as_ref())
            .map(|abort| abort.share.0),
        mirrors: action
            .mirrors
            .iter()
            .map(|mirror| cluster(&mirror.cluster, mirror.share.0, endpoints))
            .collect(),
    }
}

fn path(action: &ForwardAction, head: &RequestHead<'_>) -> String {
    match (&action.path_rewrite, head.query) {
        (Some(rewrite), query) => rewrite.apply(head.path, query),
        (None, Some(query)) => format!("{}?{query}", head.path),
        (None, None) => head.path.to_owned(),
    }
}

/// The route's word beats a destination's.
fn authority(action: &ForwardAction, head: &RequestHead<'_>) -> String {
    let of_destination = action
        .destinations
        .first()
        .and_then(|first| first.authority_rewrite.as_ref());
    match action.authority_rewrite.as_ref().or(of_destination) {
        Some(authority) => String::from_utf8_lossy(authority.as_bytes()).into_owned(),
        None => head.authority.to_owned(),
    }
}

/// Where a destination leads.
pub(super) fn cluster(
    target: &ClusterTarget,
    weight: u32,
    endpoints: &Endpoints,
) -> ExplainedCluster {
    let (key, missing) = match target {
        ClusterTarget::Cluster(cluster) => (&cluster.key, None),
        ClusterTarget::Missing(missing) => (&missing.key, Some(missing.reason.to_string())),
    };
    let found = match target {
        ClusterTarget::Cluster(cluster) => Some(&**cluster),
        ClusterTarget::Missing(_) => None,
    };
    let port = key.service();
    let addresses = found.map(|cluster| addresses(cluster, &port, endpoints));
    let unresolved = endpoints.unresolved.get(&port).into_iter();
    ExplainedCluster {
        host: key.host.to_string(),
        subset: key.subset.as_deref().map(str::to_owned),
        port: key.port,
        weight,
        endpoints: addresses.unwrap_or_default(),
        unresolved: unresolved
            .flat_map(|names| names.iter().map(ToString::to_string))
            .collect(),
        on_demand: found.is_some_and(|cluster| cluster.on_demand.is_some()),
        missing,
        policy: found.map(Cluster::policy_in_words).unwrap_or_default(),
        shaped_by: found
            .and_then(|cluster| cluster.origin.as_deref())
            .map(Place::from),
    }
}

fn addresses(cluster: &Cluster, port: &ServicePort, endpoints: &Endpoints) -> Vec<String> {
    let all: &[Endpoint] = endpoints.services.get(port).map_or(&[], |all| all);
    let of_subset = all
        .iter()
        .filter(|endpoint| selects(&cluster.subset_labels, endpoint.labels()));
    of_subset
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}
