//! Probes and hooks of the application, which the agent takes over.
//!
//! The kubelet speaks no mutual TLS, and its connections would be taken for a client's. So it asks the agent's own
//! port, which is not captured, and the agent asks the application.

use crate::finding::Report;
use crate::pod::{Container, Pod};
use crate::settings::Settings;
use crate::yaml::{Node, json, map, number, text};

/// What the agent takes over from one pod.
#[derive(Debug, Default)]
pub(crate) struct Probers(Vec<Prober>);

/// One probe or hook.
#[derive(Debug)]
struct Prober {
    /// Where it is in the pod.
    container: (&'static str, usize),
    path: &'static [&'static str],
    /// The field that says how the application is asked.
    handler: &'static str,
    /// Where the agent is asked instead.
    url: String,
    /// How the agent asks the application.
    original: Node,
}

/// Where handlers are in a container, and what the agent's paths for them end in.
///
/// Source: Istio `FormatProberURL`.
const PLACES: [(&[&str], &str, &str); 5] = [
    (&["readinessProbe"], "app-health", "readyz"),
    (&["livenessProbe"], "app-health", "livez"),
    (&["startupProbe"], "app-health", "startupz"),
    (&["lifecycle", "preStop"], "app-lifecycle", "prestopz"),
    (&["lifecycle", "postStart"], "app-lifecycle", "poststartz"),
];

/// The ways of asking that go over the network. Commands run in the container as before.
const HANDLERS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

impl Probers {
    /// Collects what the agent takes over. What it could not ask is told.
    pub(crate) fn of(pod: &Pod<'_>, settings: &Settings, report: &mut Report<'_>) -> Self {
        let mut probers = Self::default();
        if !settings.rewrites_probes || settings.status_port.is_none() {
            return probers;
        }
        for (list, containers) in [
            ("initContainers", &pod.init_containers),
            ("containers", &pod.containers),
        ] {
            for (index, container) in containers
                .iter()
                .enumerate()
                .filter(|(_, container)| !container.is_ours())
            {
                probers.collect(container, (list, index), report);
            }
        }
        probers
    }

    fn collect(
        &mut self,
        container: &Container<'_>,
        at: (&'static str, usize),
        report: &mut Report<'_>,
    ) {
        for (path, area, end) in PLACES {
            let Some(probe) = container.node.follow(path) else {
                continue;
            };
            let Some(handler) = HANDLERS
                .into_iter()
                .find(|handler| probe.get(handler).is_some())
            else {
                continue;
            };
            if let Some(original) = original(container, probe, (path, handler), report) {
                let url = format!("/{area}/{}/{end}", container.name);
                self.0.push(Prober {
                    container: at,
                    path,
                    handler,
                    url,
                    original,
                });
            }
        }
    }

    /// As the agent reads them from `ISTIO_KUBE_APP_PROBERS`. Absent: there are none.
    pub(crate) fn to_json(&self) -> Option<String> {
        let probers = self
            .0
            .iter()
            .map(|prober| (prober.url.as_str(), prober.original.clone()));
        (!self.0.is_empty()).then(|| json(&map(probers)))
    }

    /// Has the kubelet ask the agent.
    pub(crate) fn apply(&self, spec: &mut Node, status_port: u16) {
        for prober in &self.0 {
            let (list, index) = prober.container;
            let container = spec
                .get_mut(list)
                .and_then(|list| list.items_mut().get_mut(index));
            if let Some(probe) = container.and_then(|container| container.follow_mut(prober.path)) {
                redirect(probe, prober, status_port);
            }
        }
    }
}

fn redirect(probe: &mut Node, prober: &Prober, status_port: u16) {
    probe.rename(prober.handler, "httpGet");
    let Some(get) = probe.get_mut("httpGet") else {
        return;
    };
    get.set("path", text(&*prober.url));
    get.set("port", number(status_port));
    // The agent's own port has no TLS, and is at the pod's address.
    if get.get("scheme").is_some() {
        get.set("scheme", text("HTTP"));
    }
    get.remove("host");
    get.remove("service");
}

/// How the agent asks, with the port as a number.
fn original(
    container: &Container<'_>,
    probe: &Node,
    (path, handler): (&[&str], &str),
    report: &mut Report<'_>,
) -> Option<Node> {
    let at = format!("{}.{}.{handler}", container.path, path.join("."));
    let asked = probe.get(handler)?;
    if !asked.is_mapping() {
        report.error(asked.start(), &at, "wrong_type", "must be an object");
        return None;
    }
    let port = match asked.get("port") {
        Some(port) => port_number(container, port),
        None => Err("is required".to_owned()),
    };
    let port = match port {
        Ok(port) => port,
        Err(why) => {
            let place = asked.get("port").unwrap_or(asked).start();
            report.error(place, &format!("{at}.port"), "invalid_probe", why);
            return None;
        }
    };
    let mut original = asked.without_origin();
    original.set("port", number(port));
    let mut prober = map([(handler, original)]);
    if let Some(timeout) = probe.get("timeoutSeconds") {
        prober.set("timeoutSeconds", timeout.without_origin());
    }
    Some(prober)
}

/// A port by its number or by the name that the container gives it.
fn port_number(container: &Container<'_>, port: &Node) -> Result<u16, String> {
    let number = |number: i64| u16::try_from(number).ok().filter(|port| *port > 0);
    if let Some(port) = port.as_int() {
        return number(port).ok_or_else(|| format!("{port} is no port: ports are 1 to 65535"));
    }
    let Some(name) = port.as_str() else {
        return Err("must be a number or the name of a port".to_owned());
    };
    let ports = container.ports();
    let named = |port: &&Node| port.get("name").and_then(Node::as_str) == Some(name);
    let found = ports
        .iter()
        .find(named)
        .and_then(|port| port.get("containerPort"))
        .and_then(Node::as_int);
    // The kubelet takes a number in quotes too.
    let found = found.or_else(|| name.parse().ok()).and_then(number);
    found.ok_or_else(|| {
        let names = ports
            .iter()
            .filter_map(|port| port.get("name").and_then(Node::as_str));
        let names: Vec<&str> = names.collect();
        let known = if names.is_empty() {
            "it names none".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        };
        format!("container {} has no port `{name}`: {known}", container.name)
    })
}
