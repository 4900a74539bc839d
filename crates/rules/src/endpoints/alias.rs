//! ExternalName Services that are other names of services of the registry.

use super::compiled::{Compiled, CompiledPort};
use crate::compile::{Registry, ServiceView, Source, warning};
use ahash::HashMap;
use model::{At, Diagnostic, Hostname, Meta, Service, ServiceType};
use std::sync::Arc;

/// How many other names there may be before the service itself.
const MAX_STEPS: usize = 8;

/// The name that an ExternalName Service stands for.
pub(super) fn name_of(view: &ServiceView) -> Option<&Hostname> {
    external(view)?.external_name.as_ref()
}

fn external(view: &ServiceView) -> Option<&Service> {
    match &view.source {
        Source::Service(service) if service.service_type == ServiceType::ExternalName => {
            Some(service)
        }
        _ => None,
    }
}

/// Whether it stands for a service of the registry, rather than for a name to be resolved.
pub(super) fn is_alias(view: &ServiceView, services: &Registry) -> bool {
    name_of(view).is_some_and(|name| services.get(name.as_str()).is_some())
}

/// Its ports, with the endpoints that the service it stands for has on ports of the same numbers.
pub(super) fn compile(
    view: &ServiceView,
    services: &Registry,
    known: &HashMap<Arc<str>, Compiled>,
) -> Compiled {
    let mut compiled = Compiled::new(&view.source);
    compiled.is_copy = true;
    let target = target(view, services).and_then(|target| known.get(&target.host));
    let Some(service) = external(view) else {
        return compiled;
    };
    for port in &view.ports {
        let of_target = target.and_then(|target| target.port(port.number));
        if of_target.is_none() {
            let why = why_not(service, target.is_some(), port.number);
            compiled.diagnostics.push(unusable(&service.meta, why));
        }
        compiled.ports.push(CompiledPort {
            number: port.number,
            endpoints: of_target.map_or_else(|| Arc::from([]), |port| port.endpoints.clone()),
            unresolved: of_target.map_or_else(|| Arc::from([]), |port| port.unresolved.clone()),
            members: None,
        });
    }
    compiled
}

/// The service at the end of the names. Absent: there is none, as they go in a circle or on too long.
fn target<'s>(view: &'s ServiceView, services: &'s Registry) -> Option<&'s ServiceView> {
    let mut view = view;
    for _ in 0..MAX_STEPS {
        let next = name_of(view).and_then(|name| services.get(name.as_str()));
        let Some(next) = next else {
            return Some(view);
        };
        view = next;
    }
    None
}

fn why_not(service: &Service, has_target: bool, port: u16) -> String {
    let name = service.external_name.as_ref().map(Hostname::as_str);
    let name = name.unwrap_or_default();
    if has_target {
        format!("service {name:?} has no port {port}, so this one has no endpoints on it")
    } else {
        format!(
            "{name:?} stands for further names in a circle, or for too many one after the other"
        )
    }
}

fn unusable(meta: &Meta, why: String) -> Diagnostic {
    warning(
        meta,
        "unusable_alias",
        "spec.externalName",
        At::default(),
        why,
    )
}
