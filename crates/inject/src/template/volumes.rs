//! Volumes, and where the sidecar has them.

use super::Facts;
use crate::downward::{LABELS_FILE, POD_INFO};
use crate::identity::Identity;
use crate::yaml::{Node, list, map, text};

const BOOTSTRAP: &str = "mesh-agent-config";
const RESOURCES: &str = "mesh-agent-resources";
const POD_INFO_VOLUME: &str = "istio-podinfo";
const DATA: &str = "istio-data";
const TOKEN: &str = "mesh-agent-token";
const CERTIFICATES: &str = "workload-certs";
const SOCKET: &str = "workload-socket";

/// Where Istio's agent has the socket of the Workload API.
const SOCKET_FOLDER: &str = "/var/run/secrets/workload-spiffe-uds";

/// Where clients of the API server look for what they need. A container that has a volume there gets no other.
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The volumes of a pod.
pub(crate) fn volumes(facts: &Facts<'_>) -> Vec<Node> {
    let options = facts.options;
    let mut volumes = vec![volume(
        BOOTSTRAP,
        "configMap",
        map([("name", text(&*options.bootstrap.name))]),
    )];
    if !options.resources.is_empty() {
        let sources = options
            .resources
            .iter()
            .map(|name| map([("configMap", map([("name", text(&**name))]))]));
        volumes.push(volume(
            RESOURCES,
            "projected",
            map([("sources", list(sources))]),
        ));
    }
    let field = |name: &str| {
        let field = map([("fieldPath", text(format!("metadata.{name}")))]);
        map([("path", text(name)), ("fieldRef", field)])
    };
    let items = list([field(LABELS_FILE), field("annotations")]);
    volumes.push(volume(
        POD_INFO_VOLUME,
        "downwardAPI",
        map([("items", items)]),
    ));
    volumes.push(volume(DATA, "emptyDir", map::<&str>([])));
    if options.api_server {
        volumes.push(volume(TOKEN, "projected", token()));
    }
    volumes.extend(identity(facts));
    volumes.extend(facts.settings.volumes.iter().cloned());
    volumes
}

/// Where the sidecar has them.
pub(super) fn mounts(facts: &Facts<'_>, bootstrap_folder: &str) -> Vec<Node> {
    let mut mounts = vec![mount(BOOTSTRAP, bootstrap_folder, true)];
    if !facts.options.resources.is_empty() {
        mounts.push(mount(RESOURCES, "/etc/istio/resources", true));
    }
    mounts.push(mount(POD_INFO_VOLUME, POD_INFO, true));
    // The root of its file system is read-only; here it keeps what is to outlive a restart of the container.
    mounts.push(mount(DATA, "/var/lib/istio/data", false));
    if facts.options.api_server {
        mounts.push(mount(TOKEN, TOKEN_FOLDER, true));
    }
    match facts.options.identity {
        Identity::None => {}
        Identity::Secret { .. } | Identity::Csi { .. } => {
            mounts.push(mount(
                CERTIFICATES,
                "/var/run/secrets/workload-spiffe-credentials",
                true,
            ));
        }
        Identity::Socket { .. } | Identity::CsiSocket { .. } => {
            mounts.push(mount(SOCKET, SOCKET_FOLDER, true))
        }
    }
    mounts.extend(facts.settings.mounts.iter().cloned());
    mounts
}

/// What the API server gives a pod by itself, where nobody says that it shall not.
fn token() -> Node {
    let path = |path: &str| ("path", text(path));
    let account = map([path("token")]);
    let authority = map([
        ("name", text("kube-root-ca.crt")),
        (
            "items",
            list([map([("key", text("ca.crt")), path("ca.crt")])]),
        ),
    ]);
    let field = map([("fieldPath", text("metadata.namespace"))]);
    let namespace = map([path("namespace"), ("fieldRef", field)]);
    let sources = list([
        map([("serviceAccountToken", account)]),
        map([("configMap", authority)]),
        map([("downwardAPI", map([("items", list([namespace]))]))]),
    ]);
    map([("sources", sources)])
}

/// The address of the Workload API, as the SPIFFE project has it in the environment.
pub(super) fn socket(identity: &Identity) -> Option<String> {
    match identity {
        Identity::Socket { socket, .. } | Identity::CsiSocket { socket, .. } => {
            Some(format!("unix://{SOCKET_FOLDER}/{socket}"))
        }
        _ => None,
    }
}

fn identity(facts: &Facts<'_>) -> Option<Node> {
    let csi = |driver: &str| map([("driver", text(driver)), ("readOnly", Node::from(true))]);
    Some(match &facts.options.identity {
        Identity::None => return None,
        Identity::Secret { name } => {
            let own = || format!("istio.{}", facts.pod.service_account());
            let name = name.clone().unwrap_or_else(own);
            volume(CERTIFICATES, "secret", map([("secretName", text(name))]))
        }
        Identity::Csi { driver } => volume(CERTIFICATES, "csi", csi(driver)),
        Identity::Socket { folder, .. } => {
            let path = map([("path", text(&**folder)), ("type", text("Directory"))]);
            volume(SOCKET, "hostPath", path)
        }
        Identity::CsiSocket { driver, .. } => volume(SOCKET, "csi", csi(driver)),
    })
}

fn volume(name: &str, kind: &str, source: Node) -> Node {
    map([("name", text(name)), (kind, source)])
}

fn mount(name: &str, path: &str, is_read_only: bool) -> Node {
    let mut mount = map([("name", text(name)), ("mountPath", text(path))]);
    if is_read_only {
        mount.set("readOnly", Node::from(true));
    }
    mount
}
