//! What has to be there before traffic is wanted.

use crate::bootstrap::Bootstrap;
use config::{CredentialState, CredentialStatus};
use dataplane::net::ListenerStatus;
use rules::{CredentialRef, ListenerKey};
use std::net::SocketAddr;

/// What has to be there before traffic is wanted, beside a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// Any listener, if there is to be one: a gateway serves what it can (promise 9).
    AnyListener,
    /// All that a sidecar's workload comes to: what is redirected to nobody is lost.
    Sidecar {
        listeners: Vec<ListenerKey>,
        /// Whether it has an identity, which peers ask for.
        identity: bool,
    },
}

impl Wanted {
    pub(super) fn of(bootstrap: &Bootstrap) -> Self {
        let Some(capture) = &bootstrap.capture else {
            return Self::AnyListener;
        };
        let options = capture.options();
        let redirected = [
            options.outbound,
            options.inbound,
            bootstrap.listen.forward_proxy,
        ];
        let services = options.ports.iter().map(|port| port.address);
        let addresses = redirected.into_iter().flatten().chain(services);
        Self::Sidecar {
            listeners: addresses.map(key).collect(),
            identity: bootstrap.tls.has_identity(),
        }
    }

    /// What is not there yet, in words that follow `not ready: `.
    pub(super) fn missing(
        &self,
        listeners: &[ListenerStatus],
        credentials: &[CredentialStatus],
    ) -> Option<String> {
        match self {
            Self::AnyListener => {
                let is_served = |listener: &ListenerStatus| listener.error.is_none();
                let any = listeners.is_empty() || listeners.iter().any(is_served);
                (!any).then(|| "no listener could be bound".to_owned())
            }
            Self::Sidecar {
                listeners: wanted,
                identity,
            } => {
                let unbound = wanted.iter().find_map(|key| unbound(*key, listeners));
                unbound.or_else(|| credentials.iter().filter(|_| *identity).find_map(lacking))
            }
        }
    }
}

fn key(address: SocketAddr) -> ListenerKey {
    ListenerKey {
        bind: Some(address.ip()),
        port: address.port(),
    }
}

fn unbound(key: ListenerKey, listeners: &[ListenerStatus]) -> Option<String> {
    let Some(listener) = listeners.iter().find(|listener| listener.key == key) else {
        return Some(format!("port {} is not listened on", key.port));
    };
    let error = listener.error.as_ref()?;
    Some(format!("{} cannot be bound: {error}", listener.address))
}

/// An identity that a server or a cluster needs, and that is not there.
fn lacking(status: &CredentialStatus) -> Option<String> {
    let is_identity = matches!(
        status.reference,
        CredentialRef::Workload | CredentialRef::WorkloadAuthorities
    );
    if !is_identity || status.state != CredentialState::Missing {
        return None;
    }
    let (kind, name) = status.kind_and_name();
    let problem = status.problem.as_deref().unwrap_or("not there yet");
    Some(format!("{kind} of the {name}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, error: Option<&str>) -> ListenerStatus {
        let address = address.parse().unwrap();
        ListenerStatus {
            key: key(address),
            address,
            error: error.map(str::to_owned),
            connections: 0,
        }
    }

    fn credential(reference: CredentialRef, state: CredentialState) -> CredentialStatus {
        CredentialStatus {
            reference,
            source: None,
            names: Vec::new(),
            not_before: None,
            not_after: None,
            next_update: None,
            state,
            problem: (state == CredentialState::Missing).then(|| "no such file".to_owned()),
        }
    }

    fn sidecar(text: &str, identity: bool) -> Wanted {
        Wanted::of(&Bootstrap {
            capture: Some(toml::from_str(text).unwrap()),
            tls: toml::from_str(if identity { "identity = 'here'" } else { "" }).unwrap(),
            ..Bootstrap::default()
        })
    }

    const IN_USE: Option<&str> = Some("address in use");

    /// Promise 9.
    #[test]
    fn a_gateway_serves_what_it_can() {
        let gateway = Wanted::of(&Bootstrap::default());
        let (bound, failed) = (
            listener("0.0.0.0:80", None),
            listener("0.0.0.0:443", IN_USE),
        );
        for (listeners, want) in [
            (&[][..], None),
            (&[bound, failed.clone()], None),
            (&[failed], Some("no listener could be bound")),
        ] {
            assert_eq!(gateway.missing(listeners, &[]).as_deref(), want);
        }
    }

    /// Promise 21.
    #[test]
    fn a_sidecar_listens_wherever_its_workload_comes() {
        let text = "outbound = '10.0.0.5:15001'\ninbound = '10.0.0.5:15006'\n\
                    services = { '127.0.0.1:9080' = 'reviews:9080' }";
        let redirected = sidecar(text, false);
        let out = || listener("10.0.0.5:15001", None);
        let into = || listener("10.0.0.5:15006", None);
        let service = || listener("127.0.0.1:9080", None);
        for (listeners, want) in [
            (vec![], Some("port 15001 is not listened on")),
            (vec![out(), into()], Some("port 9080 is not listened on")),
            (
                vec![out(), listener("10.0.0.5:15006", IN_USE), service()],
                Some("10.0.0.5:15006 cannot be bound: address in use"),
            ),
            // Those of a Sidecar are its own affair.
            (
                vec![out(), into(), service(), listener("127.0.0.1:1", IN_USE)],
                None,
            ),
        ] {
            assert_eq!(redirected.missing(&listeners, &[]).as_deref(), want);
        }
        let none = sidecar("mode = 'NONE'", false);
        assert_eq!(none.missing(&[], &[]), None);
    }

    #[test]
    fn a_sidecar_with_an_identity_has_it() {
        use CredentialRef::{Workload, WorkloadAuthorities};
        use CredentialState::{Missing, OutOfTime, Served};
        let of_gateway = || credential(CredentialRef::Named("web".into()), Missing);
        for (identity, authorities, want) in [
            (Served, OutOfTime, None),
            (
                Missing,
                Served,
                Some("credential of the mesh identity: no such file"),
            ),
            (
                Served,
                Missing,
                Some("authorities of the mesh identity: no such file"),
            ),
        ] {
            let credentials = [
                of_gateway(),
                credential(Workload, identity),
                credential(WorkloadAuthorities, authorities),
            ];
            let of = |identity| sidecar("mode = 'NONE'", identity).missing(&[], &credentials);
            assert_eq!(of(true).as_deref(), want);
            assert_eq!(of(false), None);
        }
    }
}
