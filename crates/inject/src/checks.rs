//! What does not go together in a pod.

use crate::annotations::path;
use crate::finding::Report;
use crate::pod::{INIT, Pod, SIDECAR};
use crate::proxy_config;
use crate::redirect;
use crate::settings::Settings;
use crate::yaml::Node;
use std::time::Duration;

/// What does not go together in a pod.
pub(crate) fn check(pod: &Pod<'_>, settings: &Settings, report: &mut Report<'_>) {
    check_ports(pod, settings, report);
    check_users(pod, report);
    check_init(pod, report);
    check_drain(pod, settings, report);
    check_order(pod, settings, report);
}

/// An application cannot have the agent's ports, and what it has at those of Istio is not captured.
fn check_ports(pod: &Pod<'_>, settings: &Settings, report: &mut Report<'_>) {
    for container in pod
        .all_containers()
        .filter(|container| !container.is_ours())
    {
        for (index, port) in container.ports().iter().enumerate() {
            let path = format!("{}.ports[{index}].containerPort", container.path);
            check_port(port, &path, settings, report);
        }
    }
}

fn check_port(port: &Node, path: &str, settings: &Settings, report: &mut Report<'_>) {
    let Some(number) = port.get("containerPort") else {
        return;
    };
    let is_udp = port.get("protocol").and_then(Node::as_str) == Some("UDP");
    match number.as_int() {
        Some(taken) if is_taken(taken, is_udp, settings) => {
            let message = format!("{taken} is a port of the sidecar's");
            report.error(number.start(), path, "reserved_port", message);
        }
        Some(reserved @ (15004 | 15008 | 15053 | 15090)) if !is_udp => {
            let message = format!("{reserved} is one of Istio's ports");
            let help = "connections to 15008 and 15090 are not captured, and other proxies have these ports";
            let said = [message, help.to_owned()];
            report.warn(number.start(), path, "reserved_port", said);
        }
        _ => {}
    }
}

/// Whether the agent binds a port itself.
fn is_taken(port: i64, is_udp: bool, settings: &Settings) -> bool {
    let is_status = settings.status_port.map(i64::from) == Some(port);
    let is_tcp = is_status || matches!(port, 15000 | 15001 | 15006 | 15021);
    (is_tcp && !is_udp) || (port == 15053 && settings.captures_dns)
}

/// What runs as the sidecar's user or group passes by the sidecar. In an init container that may be meant.
fn check_users(pod: &Pod<'_>, report: &mut Report<'_>) {
    let (user, group) = redirect::owner(pod);
    for (key, reserved) in [("runAsUser", user), ("runAsGroup", group)] {
        let id = |of: &Node| {
            let id = of.get("securityContext")?.get(key)?;
            Some((id.as_int()?, id.start()))
        };
        let of_pod = id(pod.spec);
        let mut inherits = false;
        for container in pod.app_containers() {
            match id(container.node) {
                Some((own, at)) if own == reserved => {
                    let path = format!("{}.securityContext.{key}", container.path);
                    tell_user(at, &path, reserved, report);
                }
                Some(_) => {}
                None => inherits = true,
            }
        }
        if let Some((_, at)) = of_pod.filter(|(id, _)| inherits && *id == reserved) {
            let path = format!("spec.securityContext.{key}");
            tell_user(at, &path, reserved, report);
        }
    }
}

fn tell_user(at: Option<usize>, path: &str, id: i64, report: &mut Report<'_>) {
    let message = format!(
        "{id} is the sidecar's, and its traffic is not captured: no rule would hold for this"
    );
    let said = [message, "take another number".to_owned()];
    report.error_with_help(at, path, "reserved_user", said);
}

/// The name is needed among the init containers.
fn check_init(pod: &Pod<'_>, report: &mut Report<'_>) {
    if let Some(container) = pod
        .containers
        .iter()
        .find(|container| container.name == INIT)
    {
        let message = format!("the name `{INIT}` is that of the init container for redirect rules");
        let at = container.node.get("name").and_then(Node::start);
        report.error(
            at,
            &format!("{}.name", container.path),
            "reserved_name",
            message,
        );
    }
}

fn check_drain(pod: &Pod<'_>, settings: &Settings, report: &mut Report<'_>) {
    /// What Kubernetes gives a pod that says nothing.
    const DEFAULT_GRACE: i64 = 30;

    let Some((drain, length)) = &settings.config.drain else {
        return;
    };
    let grace = pod.spec.get("terminationGracePeriodSeconds");
    let grace = grace.and_then(Node::as_int).unwrap_or(DEFAULT_GRACE);
    if *length < Duration::from_secs(u64::try_from(grace).unwrap_or_default()) {
        return;
    }
    let message = format!(
        "`terminationDrainDuration` is {drain}, and Kubernetes kills the pod after {grace}s"
    );
    let help = "make spec.terminationGracePeriodSeconds longer".to_owned();
    let at = pod
        .annotations
        .get(proxy_config::ANNOTATION)
        .and_then(|(_, at)| *at);
    let path = path(proxy_config::ANNOTATION);
    report.warn(at, &path, "drain_too_long", [message, help]);
}

/// A sidecar that the pod declares is not moved.
fn check_order(pod: &Pod<'_>, settings: &Settings, report: &mut Report<'_>) {
    let list = if settings.is_native {
        &pod.init_containers
    } else {
        &pod.containers
    };
    let position = list
        .iter()
        .filter(|container| container.name != INIT)
        .position(|container| container.name == SIDECAR);
    let must_be_first = settings.is_native || settings.holds;
    let late = position.filter(|position| must_be_first && *position > 0);
    if let Some(container) = late.and_then(|_| pod.declared_sidecar()) {
        let message = "the containers before this one start before the sidecar is ready".to_owned();
        let (at, said) = (container.node.start(), [message, "put it first".to_owned()]);
        report.warn(at, &container.path, "sidecar_not_first", said);
    }
}
