//! Endpoints of a ServiceEntry, and of what is no Pod.

use super::index::of_spec;
use super::names::{NameSite, NamedAddress};
use super::{Finding, Workloads, unknown};
use crate::compile::{Help, ServiceView, warning};
use crate::{Endpoint, EndpointAddr, Workload};
use ipnet::IpNet;
use model::{
    At, Diagnostic, Hostname, Labels, Location, Meta, Resolution, ServiceEntry, ServiceEntryPort,
    WorkloadAddress, WorkloadEntry,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The port wanted of workloads.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'p> {
    /// Its name among a workload's own ports.
    pub(super) name: &'p str,
    /// Its number where a workload does not name it.
    pub(super) number: u16,
    /// How many of a name's addresses count.
    pub(super) take: Take,
    /// Addresses that names may stand for although they are forbidden.
    pub(super) named: &'p [IpNet],
}

/// How many of a name's addresses count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Take {
    /// Each is an endpoint.
    All,
    /// One endpoint, at the first.
    First,
}

impl Take {
    fn of(self, addresses: &[NamedAddress]) -> &[NamedAddress] {
        match self {
            Self::All => addresses,
            Self::First => &addresses[..addresses.len().min(1)],
        }
    }
}

impl Workloads<'_> {
    /// Its endpoints, the workloads it selects, or its host where it is a name that has neither.
    pub(super) fn of_entry(
        &self,
        view: &ServiceView,
        entry: &ServiceEntry,
        port: &ServiceEntryPort,
        finding: &mut Finding,
    ) {
        let wanted = Wanted {
            name: &port.name,
            number: port.target_port.unwrap_or(port.number),
            take: match entry.resolution {
                Resolution::DnsRoundRobin => Take::First,
                _ => Take::All,
            },
            named: &entry.addresses,
        };
        match entry.resolution {
            Resolution::DynamicDns => {}
            // A gateway's clients have no other destination in mind than the host, so its name is what is dialled.
            Resolution::None => self.add_host(view, entry, wanted, finding),
            Resolution::Dns | Resolution::DnsRoundRobin if has_nothing_else(entry) => {
                self.add_host(view, entry, wanted, finding);
            }
            Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => {
                self.add_endpoints(entry, wanted, finding);
            }
        }
    }

    fn add_endpoints(&self, entry: &ServiceEntry, wanted: Wanted<'_>, finding: &mut Finding) {
        for (index, spec) in entry.endpoints.iter().enumerate() {
            let site = NameSite {
                meta: &entry.meta,
                path: format!("spec.endpoints[{index}].address"),
                at: spec.at,
            };
            let workload = of_own(entry, spec);
            if entry.location == Location::MeshInternal && entry.subject_alt_names.is_empty() {
                let path = format!("spec.endpoints[{index}]");
                let told = self.any_identity(&workload, &entry.meta, path, spec.at);
                finding.diagnostics.extend(told);
            }
            let workload = Some(Arc::new(workload));
            self.add_workload((spec, &workload), wanted, &site, finding);
        }
        if let Some(selector) = &entry.workload_selector {
            let namespace = &entry.meta.reference.namespace;
            for selected in self.selected_entries(namespace, selector) {
                self.add_entry(selected, wanted, finding);
            }
            for pod in self.selected_pods(namespace, selector) {
                let endpoint = self.of_pod(pod, wanted.number);
                finding.add(endpoint, super::standing(pod, false));
            }
        }
    }

    /// A WorkloadEntry that is selected.
    pub(super) fn add_entry(
        &self,
        entry: &WorkloadEntry,
        wanted: Wanted<'_>,
        finding: &mut Finding,
    ) {
        let site = NameSite {
            meta: &entry.meta,
            path: "spec.address".into(),
            at: entry.workload.at,
        };
        let workload = self.shared.workloads.of_entry(entry);
        let told = workload.as_deref().and_then(|workload| {
            self.any_identity(workload, &entry.meta, "spec".into(), entry.workload.at)
        });
        finding.diagnostics.extend(told);
        self.add_workload((&entry.workload, &workload), wanted, &site, finding);
    }

    /// What is to be said where TLS is begun with somebody of whom nobody has said who it is.
    fn any_identity(
        &self,
        workload: &Workload,
        meta: &Meta,
        path: String,
        at: At,
    ) -> Option<Diagnostic> {
        let is_unknown = workload.in_mesh && workload.service_account.is_none();
        let message = "no service account is named, so any workload of the mesh is taken for it";
        let told = warning(meta, "any_identity", path, at, message);
        (self.shared.auto_mtls && is_unknown)
            .then(|| told.help("name the account that it runs as in `serviceAccount`"))
    }

    fn add_workload(
        &self,
        (spec, workload): (&model::Workload, &Option<Arc<Workload>>),
        wanted: Wanted<'_>,
        site: &NameSite<'_>,
        finding: &mut Finding,
    ) {
        let own = spec.ports.get(wanted.name).copied();
        let port = own.unwrap_or(wanted.number);
        let at = |address| Endpoint {
            weight: spec.weight.unwrap_or(1).max(1),
            locality: spec.locality.as_deref().unwrap_or_default().into(),
            ..self.endpoint(address, workload.clone())
        };
        match &spec.address {
            Some(WorkloadAddress::Ip(address)) => finding.ready.push(at(tcp(*address, port))),
            Some(WorkloadAddress::Unix(path)) => {
                finding
                    .ready
                    .push(at(EndpointAddr::Unix(path.as_str().into())));
            }
            Some(WorkloadAddress::Host(name)) => {
                for found in wanted
                    .take
                    .of(&self.addresses(name, site, wanted.named, finding))
                {
                    finding.ready.push(Endpoint {
                        forbidden: found.forbidden,
                        ..at(tcp(found.address, port))
                    });
                }
            }
            None => {}
        }
    }

    fn add_host(
        &self,
        view: &ServiceView,
        entry: &ServiceEntry,
        wanted: Wanted<'_>,
        finding: &mut Finding,
    ) {
        let index = place_of(entry, &view.host);
        let site = NameSite {
            meta: &entry.meta,
            path: format!("spec.hosts[{index}]"),
            at: entry
                .hosts
                .get(index)
                .map(|host| host.at)
                .unwrap_or_default(),
        };
        // What a wildcard stands for is found when it is asked for.
        if let Ok(address) = view.host.parse() {
            let address = tcp(address, wanted.number);
            finding.ready.push(Endpoint::at(address));
        } else if let Ok(name) = Hostname::try_from(&*view.host)
            // No name is there (RFC 6761, section 6.4): it is a label for addresses.
            && !view.host.ends_with(".invalid")
        {
            self.add_name(&name, &Labels::new(), wanted, &site, finding);
        }
    }

    /// A name of which nothing but its addresses is known, and these labels.
    pub(super) fn add_name(
        &self,
        name: &Hostname,
        labels: &Labels,
        wanted: Wanted<'_>,
        site: &NameSite<'_>,
        finding: &mut Finding,
    ) {
        let workload = unknown(labels);
        for found in wanted
            .take
            .of(&self.addresses(name, site, wanted.named, finding))
        {
            finding.ready.push(Endpoint {
                forbidden: found.forbidden,
                ..self.endpoint(tcp(found.address, wanted.number), workload.clone())
            });
        }
    }
}

fn has_nothing_else(entry: &ServiceEntry) -> bool {
    entry.endpoints.is_empty() && entry.workload_selector.is_none()
}

/// Which of its hosts it is; a short one was expanded.
fn place_of(entry: &ServiceEntry, host: &str) -> usize {
    let is = |written: &str| {
        let rest = host.strip_prefix(written);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut hosts = entry.hosts.iter();
    hosts
        .position(|one| is(one.value.as_str()))
        .unwrap_or_default()
}

pub(super) fn tcp(address: IpAddr, port: u16) -> EndpointAddr {
    EndpointAddr::Tcp(SocketAddr::new(address, port))
}

/// An endpoint that a ServiceEntry has of its own. As in Istio, it is called by that.
fn of_own(entry: &ServiceEntry, spec: &model::Workload) -> Workload {
    Workload {
        name: entry.meta.reference.name.clone(),
        namespace: entry.meta.reference.namespace.clone(),
        ..of_spec(spec)
    }
}
