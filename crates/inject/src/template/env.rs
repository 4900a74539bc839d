//! What the agent is told by its environment, by the names that Istio has for it.

use super::{Facts, volumes};
use crate::downward;
use crate::pod::Container;
use crate::settings::{STATUS_PORT, Settings};
use crate::yaml::{Node, json, list, map, number, text};

/// The variables of the sidecar, all of which it reads.
pub(super) fn sidecar(facts: &Facts<'_>) -> Vec<Node> {
    let (settings, options) = (facts.settings, facts.options);
    let mode = settings.redirect.interception.as_str();
    let mut env = vec![
        from_pod(downward::POD_NAME, "metadata.name"),
        from_pod(downward::POD_NAMESPACE, "metadata.namespace"),
        from_pod(downward::INSTANCE_IP, "status.podIP"),
        from_pod(downward::SERVICE_ACCOUNT, "spec.serviceAccountName"),
        literal(downward::TRUST_DOMAIN, &options.trust_domain),
        literal(downward::CLUSTER_ID, &options.cluster_id),
        literal(downward::INTERCEPTION_MODE, mode),
        literal(downward::POD_PORTS, &json(&pod_ports(facts))),
    ];
    let mut add =
        |name, value: Option<String>| env.extend(value.map(|value| literal(name, &value)));
    add(downward::WORKLOAD_NAME, facts.workload.map(str::to_owned));
    add(downward::PROXY_CONFIG, proxy_config(settings));
    add(
        downward::SPIFFE_ENDPOINT_SOCKET,
        volumes::socket(&options.identity),
    );
    add(downward::APP_PROBERS, facts.probers.clone());
    add(
        downward::PROMETHEUS_ANNOTATIONS,
        facts.application_metrics.clone(),
    );
    if !settings.config.sets(downward::DNS_CAPTURE) {
        add(
            downward::DNS_CAPTURE,
            Some(settings.captures_dns.to_string()),
        );
    }
    env.extend(metadata(settings));
    env
}

/// The variables of ProxyConfig, which both containers have.
pub(super) fn metadata(settings: &Settings) -> Vec<Node> {
    let given = settings.config.metadata.iter();
    given.map(|(name, value)| variable(name, value)).collect()
}

/// Kubernetes puts other variables into what looks like `$(NAME)`, and has `$$` stand for `$`.
fn literal(name: &str, value: &str) -> Node {
    variable(name, &value.replace('$', "$$"))
}

fn variable(name: &str, value: &str) -> Node {
    map([("name", text(name)), ("value", text(value))])
}

fn from_pod(name: &str, field: &str) -> Node {
    let source = map([("fieldRef", map([("fieldPath", text(field))]))]);
    map([("name", text(name)), ("valueFrom", source)])
}

/// Ports that containers name, for Services that refer to them by name.
fn pod_ports(facts: &Facts<'_>) -> Node {
    let ports = facts.pod.app_containers().flat_map(Container::ports);
    list(
        ports
            .filter(|port| port.is_mapping())
            .map(Node::without_origin),
    )
}

/// What the pod says in ProxyConfig that is for the agent itself.
fn proxy_config(settings: &Settings) -> Option<String> {
    let mut config = map::<&str>([]);
    if let Some(threads) = settings.config.concurrency {
        config.set("concurrency", number(threads));
    }
    if settings.status_port != Some(STATUS_PORT) {
        config.set(
            "statusPort",
            number(settings.status_port.unwrap_or_default()),
        );
    }
    if let Some((drain, _)) = &settings.config.drain {
        config.set("terminationDrainDuration", text(&**drain));
    }
    (!config.entries().is_empty()).then(|| json(&config))
}
