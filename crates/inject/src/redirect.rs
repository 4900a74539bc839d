//! The redirect rules that a pod's annotations ask for.

use crate::annotations::Annotations;
use crate::finding::Report;
use crate::pod::Pod;
use crate::proxy_config::{self, ProxyConfig};
use crate::yaml::Node;
use capture::{CaptureOptions, DnsCapture, Interception, Layout, Owner, Selection};
use std::collections::BTreeMap;

/// The number of the sidecar's user and group, as in Istio.
pub(crate) const OWNER: i64 = 1337;

const INTERCEPTION: &str = "sidecar.istio.io/interceptionMode";
const STATUS_PORT: &str = "status.sidecar.istio.io/port";

/// What a pod's annotations ask for. What has no meaning is told.
pub(crate) fn options(
    annotations: &Annotations<'_>,
    config: &ProxyConfig,
    report: &mut Report<'_>,
) -> Option<CaptureOptions> {
    match CaptureOptions::from_annotations(&with_config(annotations, config)) {
        Ok(options) => Some(options),
        Err(errors) => {
            for error in &errors {
                tell(&error.name, &error.reason.to_string(), annotations, report);
            }
            None
        }
    }
}

/// Both can also be said in ProxyConfig, where an annotation of their own wins.
fn with_config(annotations: &Annotations<'_>, config: &ProxyConfig) -> BTreeMap<String, String> {
    let mut all = annotations.all();
    if let Some(mode) = &config.interception {
        all.entry(INTERCEPTION.to_owned())
            .or_insert_with(|| mode.clone());
    }
    if let Some(port) = config.status_port {
        all.entry(STATUS_PORT.to_owned())
            .or_insert_with(|| port.to_string());
    }
    all
}

fn tell(name: &str, why: &str, annotations: &Annotations<'_>, report: &mut Report<'_>) {
    // The port is read by others too, who tell what is wrong with it.
    if name == STATUS_PORT {
        return;
    }
    let own = annotations.get(name).map(|said| said.tell(report, why));
    if own.is_none()
        && let Some(said) = annotations.get(proxy_config::ANNOTATION)
    {
        said.tell(report, &format!("`interceptionMode`: {why}"));
    }
}

/// Whether anything is redirected.
pub(crate) fn redirects(options: &CaptureOptions) -> bool {
    options.interception != Interception::None
}

/// Whether connections from outside come to the agent, at some port at least.
pub(crate) fn receives(options: &CaptureOptions) -> bool {
    redirects(options) && options.inbound_ports != Selection::These(Vec::new())
}

/// The user and the group of the sidecar, whose traffic is not captured.
pub(crate) fn owner(pod: &Pod<'_>) -> (i64, i64) {
    let declared = pod.declared_sidecar().map(|container| container.node);
    let context = declared.and_then(|node| node.get("securityContext"));
    let id = |key| {
        let id = context.and_then(|context| context.get(key));
        id.and_then(Node::as_int).filter(|id| *id > 0)
    };
    let (user, group) = (id("runAsUser"), id("runAsGroup"));
    (user.unwrap_or(OWNER), group.unwrap_or(OWNER))
}

/// The arguments of `mesh-agent` that write the rules.
pub(crate) fn arguments(
    options: &CaptureOptions,
    owner: (i64, i64),
    captures_dns: bool,
) -> Vec<String> {
    let mut options = options.clone();
    let id = |id: i64| {
        u32::try_from(id)
            .map(|id| vec![Owner::Id(id)])
            .unwrap_or_default()
    };
    (options.proxy_users, options.proxy_groups) = (id(owner.0), id(owner.1));
    if let Layout::Istio { dns, .. } = &mut options.layout
        && captures_dns
    {
        *dns = DnsCapture::NameServers;
    }
    std::iter::once("iptables".to_owned())
        .chain(options.to_args())
        .collect()
}
