//! The two containers.

use super::{Facts, env, volumes};
use crate::pod::{INIT, SIDECAR};
use crate::redirect;
use crate::settings::{Resources, Settings};
use crate::yaml::{Node, list, map, number, text};

/// The program, found by the path of its image.
const PROGRAM: &str = "mesh-agent";

/// The port of `/healthz/ready`.
const READY_PORT: i64 = 15021;

/// Where the bootstrap file is.
const BOOTSTRAP_FOLDER: &str = "/etc/istio/mesh-agent";

/// The sidecar.
pub(crate) fn sidecar(facts: &Facts<'_>) -> Node {
    let settings = facts.settings;
    let mut container = base(SIDECAR, facts);
    let bootstrap = format!("{BOOTSTRAP_FOLDER}/{}", facts.options.bootstrap.key);
    let args = [
        "run",
        "--config",
        &bootstrap,
        "--log-level",
        settings.log_level.as_str(),
    ];
    container.set("args", list(args.map(text)));
    if let Some(port) = settings.status_port {
        // The name by which Istio's PodMonitors find a proxy's metrics.
        let port = [
            ("containerPort", number(port)),
            ("name", text("http-envoy-prom")),
            ("protocol", text("TCP")),
        ];
        container.set("ports", list([map(port)]));
    }
    container.set("env", list(env::sidecar(facts)));
    if let Some(hook) = hook(settings) {
        container.set("lifecycle", map([hook]));
    }
    probes(&mut container, settings);
    container.set("resources", resources(&settings.resources));
    container.set("securityContext", unprivileged(settings));
    container.set(
        "volumeMounts",
        list(volumes::mounts(facts, BOOTSTRAP_FOLDER)),
    );
    container
}

/// The hook that a sidecar has by the way it starts and ends.
///
/// One that is an ordinary container gets SIGTERM with the application, which starts after what follows the hook. A
/// native one starts first anyway, and gets SIGTERM only when the application has ended: the hook tells it before that
/// its pod ends, so that clients turn elsewhere in time, and that it need not wait for them afterwards.
fn hook(settings: &Settings) -> Option<(&'static str, Node)> {
    let run = |words: &[&str]| {
        let words = std::iter::once(&PROGRAM).chain(words);
        let command = list(words.map(|word| text(*word)));
        map([("exec", map([("command", command)]))])
    };
    if !settings.is_native {
        return settings.holds.then(|| ("postStart", run(&["wait"])));
    }
    let port = settings.status_port?.to_string();
    let drain = run(&["request", "--debug-port", &port, "POST", "drain"]);
    Some(("preStop", drain))
}

/// The container that writes the redirect rules. `None`: nothing is redirected.
pub(crate) fn init(facts: &Facts<'_>) -> Option<Node> {
    let settings = facts.settings;
    if !redirect::redirects(&settings.redirect) {
        return None;
    }
    let mut container = base(INIT, facts);
    let arguments = redirect::arguments(
        &settings.redirect,
        redirect::owner(facts.pod),
        settings.captures_dns,
    );
    container.set("args", list(arguments.into_iter().map(text)));
    let env = env::metadata(settings);
    if !env.is_empty() {
        container.set("env", list(env));
    }
    container.set("resources", resources(&settings.resources));
    container.set("securityContext", administrator());
    Some(container)
}

fn base(name: &str, facts: &Facts<'_>) -> Node {
    let mut container = map([
        ("name", text(name)),
        ("image", text(&*facts.settings.image)),
    ]);
    if let Some(policy) = facts.options.image_pull_policy {
        container.set("imagePullPolicy", text(policy.as_str()));
    }
    if name == SIDECAR && facts.settings.is_native {
        container.set("restartPolicy", text("Always"));
    }
    container.set("command", list([text(PROGRAM)]));
    container
}

/// Until the first success Kubernetes asks every second, for ten minutes; then at the pace of the annotations.
fn probes(container: &mut Node, settings: &Settings) {
    if settings.status_port.is_none() {
        return;
    }
    let probe = |delay, period, failures| {
        let get = map([
            ("path", text("/healthz/ready")),
            ("port", number(READY_PORT)),
        ]);
        map([
            ("httpGet", get),
            ("initialDelaySeconds", number(delay)),
            ("periodSeconds", number(period)),
            ("timeoutSeconds", number(3)),
            ("failureThreshold", number(failures)),
        ])
    };
    let ready = &settings.readiness;
    container.set("startupProbe", probe(0, 1, 600));
    container.set(
        "readinessProbe",
        probe(ready.initial_delay, ready.period, ready.failures),
    );
}

fn resources(resources: &Resources) -> Node {
    let mut node = map::<&str>([]);
    for (key, amounts) in [
        ("requests", &resources.requests),
        ("limits", &resources.limits),
    ] {
        if !amounts.is_empty() {
            node.set(
                key,
                map(amounts
                    .iter()
                    .map(|(resource, amount)| (*resource, text(amount.as_str())))),
            );
        }
    }
    node
}

fn unprivileged(settings: &Settings) -> Node {
    let mut capabilities = map::<&str>([]);
    if settings.binds_low_ports {
        capabilities.set("add", list([text("NET_BIND_SERVICE")]));
    }
    capabilities.set("drop", list([text("ALL")]));
    // A capability reaches no other user than root; the group still tells the agent's traffic.
    let (user, is_other) = if settings.binds_low_ports {
        (0, false)
    } else {
        (redirect::OWNER, true)
    };
    map([
        ("allowPrivilegeEscalation", Node::from(false)),
        ("capabilities", capabilities),
        ("privileged", Node::from(false)),
        ("readOnlyRootFilesystem", Node::from(true)),
        ("runAsGroup", number(redirect::OWNER)),
        ("runAsNonRoot", Node::from(is_other)),
        ("runAsUser", number(user)),
    ])
}

/// Rules are written by root alone, who also needs its lock file.
fn administrator() -> Node {
    let add = list([text("NET_ADMIN"), text("NET_RAW")]);
    map([
        ("allowPrivilegeEscalation", Node::from(false)),
        (
            "capabilities",
            map([("add", add), ("drop", list([text("ALL")]))]),
        ),
        ("privileged", Node::from(false)),
        ("readOnlyRootFilesystem", Node::from(false)),
        ("runAsGroup", number(0)),
        ("runAsNonRoot", Node::from(false)),
        ("runAsUser", number(0)),
    ])
}
