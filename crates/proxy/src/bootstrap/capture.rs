//! `[capture]`: how the connections of a sidecar's workload come to it.

use rules::{LocalPortOptions, NameOptions, SidecarOptions, Target};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Istio's port for DNS of a workload.
const DNS_PORT: u16 = 15053;

/// How the connections of a workload come to its sidecar.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Capture {
    /// Whether connections are redirected. Absent: they are.
    pub mode: Option<InterceptionMode>,
    /// Where what the workload sends is redirected to. Default `0.0.0.0:15001`.
    pub outbound: SocketAddr,
    /// Where what the workload receives is redirected to. Default `0.0.0.0:15006`.
    pub inbound: SocketAddr,
    /// Where DNS of the workload is redirected to. Default port 15053 of loopback, of IPv6 too where there is any; and
    /// nowhere where nothing is redirected.
    pub dns: Option<Vec<SocketAddr>>,
    /// Which virtual addresses are given to services that have none, for who asks for them by name. Absent: of IPv4.
    pub auto_allocate: Option<AutoAllocate>,
    /// Whether the application gets what it receives on loopback, rather than on the address that was connected to.
    pub inbound_on_loopback: bool,
    /// Addresses at which the workload reaches a service each.
    #[serde(deserialize_with = "services")]
    pub services: BTreeMap<SocketAddr, Target>,
}

/// How connections are intercepted.
///
/// Source: Istio `interceptionMode`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InterceptionMode {
    /// They are redirected by netfilter.
    #[default]
    Redirect,
    /// They are not: the application connects on purpose.
    None,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            mode: None,
            outbound: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15001)),
            inbound: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15006)),
            dns: None,
            auto_allocate: None,
            inbound_on_loopback: false,
            services: BTreeMap::new(),
        }
    }
}

/// Kinds of virtual addresses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AutoAllocate {
    /// None are given.
    Off,
    /// Of IPv4, from `240.240.0.0/16`.
    #[default]
    V4,
    /// Of IPv6, from `2001:2::/48`.
    V6,
    /// Of both.
    Both,
}

impl From<AutoAllocate> for rules::AutoAllocate {
    fn from(written: AutoAllocate) -> Self {
        match written {
            AutoAllocate::Off => Self::Off,
            AutoAllocate::V4 => Self::V4,
            AutoAllocate::V6 => Self::V6,
            AutoAllocate::Both => Self::Both,
        }
    }
}

impl Capture {
    /// Whether connections are redirected.
    pub fn mode(&self) -> InterceptionMode {
        self.mode.unwrap_or_default()
    }

    /// Where DNS is answered. Empty: nowhere.
    pub fn dns_addresses(&self) -> Vec<SocketAddr> {
        match (self.mode(), &self.dns) {
            (InterceptionMode::None, _) => Vec::new(),
            (InterceptionMode::Redirect, Some(addresses)) => addresses.clone(),
            (InterceptionMode::Redirect, None) => {
                let v6 = has_ipv6().then_some(IpAddr::V6(Ipv6Addr::LOCALHOST));
                let families = [IpAddr::V4(Ipv4Addr::LOCALHOST)].into_iter().chain(v6);
                families.map(|ip| SocketAddr::new(ip, DNS_PORT)).collect()
            }
        }
    }

    /// What the workload may ask for by name. Absent: it asks nobody here.
    pub fn names(&self) -> Option<NameOptions> {
        (!self.dns_addresses().is_empty()).then(|| NameOptions {
            auto_allocate: self.auto_allocate.unwrap_or_default().into(),
        })
    }

    /// The same as rules want it.
    pub fn options(&self) -> SidecarOptions {
        let redirected = self.mode() == InterceptionMode::Redirect;
        let ports = self
            .services
            .iter()
            .map(|(address, service)| LocalPortOptions {
                address: *address,
                service: service.clone(),
            });
        SidecarOptions {
            outbound: redirected.then(|| everywhere(self.outbound)),
            inbound: redirected.then(|| everywhere(self.inbound)),
            inbound_on_loopback: self.inbound_on_loopback,
            ports: ports.collect(),
            ..SidecarOptions::default()
        }
    }
}

/// `0.0.0.0` stands for every address of the machine, those of IPv6 too where there are any: redirect rules are made
/// for both.
pub fn everywhere(address: SocketAddr) -> SocketAddr {
    let is_every = address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    match is_every && has_ipv6() {
        true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port())),
        false => address,
    }
}

/// Whether the kernel has IPv6 on. No packet is sent.
fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn services<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<SocketAddr, Target>, D::Error> {
    let written = BTreeMap::<SocketAddr, String>::deserialize(deserializer)?;
    let services = written.into_iter().map(|(address, text)| {
        let service = Target::parse(&text, None).map_err(|error| {
            serde::de::Error::custom(format_args!(
                "`{text}`: {error}; write a service and its port, as `reviews:9080`"
            ))
        })?;
        Ok((address, service))
    });
    services.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> SidecarOptions {
        toml::from_str::<Capture>(text).unwrap().options()
    }

    #[test]
    fn without_redirection_there_are_only_services() {
        let of_all = options("");
        assert_eq!(of_all.outbound.unwrap().port(), 15001);
        assert_eq!(of_all.inbound.unwrap().port(), 15006);
        let text = "mode = 'NONE'\nservices = { '127.0.0.1:1' = 'reviews:9080' }";
        let none = options(text);
        assert_eq!((none.outbound, none.inbound), (None, None));
        assert_eq!(none.ports[0].service.to_string(), "reviews:9080");
    }

    #[test]
    fn a_service_has_a_port() {
        let text = "services = { '127.0.0.1:1' = 'reviews' }";
        let refused = toml::from_str::<Capture>(text).unwrap_err().to_string();
        assert!(refused.contains("as `reviews:9080`"), "{refused}");
    }
}
