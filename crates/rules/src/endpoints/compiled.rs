//! What a service is compiled to.

use super::Standing;
use crate::compile::Source;
use crate::{Endpoint, EndpointAddr, Members};
use ahash::HashSet;
use model::{Diagnostic, Hostname, SliceEndpoint};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a service was compiled to.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) source: Source,
    /// Whether it was taken over from the service that this one is another name of.
    pub(super) is_copy: bool,
    pub(super) ports: Vec<CompiledPort>,
    /// Names it has among its endpoints.
    pub(super) names: BTreeSet<Hostname>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Debug)]
pub(super) struct CompiledPort {
    pub(super) number: u16,
    pub(super) endpoints: Arc<[Endpoint]>,
    /// Names among these of which no address is known.
    pub(super) unresolved: Arc<[Hostname]>,
    /// Those with names of their own. Absent: there are none.
    pub(super) members: Option<Arc<Members>>,
}

impl Compiled {
    pub(super) fn new(source: &Source) -> Self {
        Self {
            source: source.clone(),
            is_copy: false,
            ports: Vec::new(),
            names: BTreeSet::new(),
            diagnostics: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, number: u16, finding: Finding) {
        self.names.extend(finding.names);
        self.diagnostics.extend(finding.diagnostics);
        let found = match finding.ready.is_empty() {
            true => finding.leaving,
            false => finding.ready,
        };
        self.ports.push(CompiledPort {
            number,
            endpoints: distinct(found).into(),
            unresolved: finding.unresolved.into(),
            members: (!finding.members.is_empty()).then(|| Arc::new(finding.members)),
        });
    }

    /// The same with the lists of `before` where they are equal.
    pub(super) fn sharing(mut self, before: Option<&Self>) -> Self {
        for port in &mut self.ports {
            let before = before.and_then(|before| before.port(port.number));
            if let Some(before) = before.filter(|before| before.endpoints == port.endpoints) {
                port.endpoints = before.endpoints.clone();
            }
        }
        self
    }

    pub(super) fn port(&self, number: u16) -> Option<&CompiledPort> {
        self.ports.iter().find(|port| port.number == number)
    }
}

/// What is found out about one service port.
#[derive(Debug, Default)]
pub(super) struct Finding {
    pub(super) ready: Vec<Endpoint>,
    /// Used when no endpoint is ready.
    pub(super) leaving: Vec<Endpoint>,
    pub(super) names: BTreeSet<Hostname>,
    pub(super) unresolved: Vec<Hostname>,
    pub(super) members: Members,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Finding {
    pub(super) fn add(&mut self, endpoint: Option<Endpoint>, standing: Option<Standing>) {
        match standing {
            Some(Standing::Ready) => self.ready.extend(endpoint),
            Some(Standing::Leaving) => self.leaving.extend(endpoint),
            None => {}
        }
    }

    /// Notes the addresses of an endpoint that has a name of its own.
    pub(super) fn add_member(&mut self, endpoint: &SliceEndpoint) {
        let (Some(name), Some(address)) = (&endpoint.hostname, endpoint.addresses.first()) else {
            return;
        };
        // Names are asked for in lower case.
        let name = name.to_ascii_lowercase();
        self.members.entry(name.into()).or_default().push(*address);
    }
}

/// The first of each address.
fn distinct(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut seen: HashSet<EndpointAddr> = HashSet::default();
    endpoints
        .into_iter()
        .filter(|endpoint| seen.insert(endpoint.address.clone()))
        .collect()
}
