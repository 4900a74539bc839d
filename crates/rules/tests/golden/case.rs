//! What stands in `_calls` and `_proxy`.

use ipnet::IpNet;
use rules::{
    AutoAllocate, CallerOptions, ClientOptions, EgressMode, ForwardProxyOptions, LocalPortOptions,
    NameAnswer, NameAnswers, NameOptions, SidecarOptions,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The document `_calls`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calls {
    #[serde(rename = "_calls")]
    pub(crate) calls: Vec<Call>,
}

/// The document `_proxy`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxyDocument {
    #[serde(rename = "_proxy")]
    pub(crate) proxy: ProxyCase,
}

/// The document `_names`: what a resolver told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamesDocument {
    #[serde(rename = "_names")]
    names: BTreeMap<String, Told>,
}

/// Addresses, or why there are none.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    Addresses(Vec<IpAddr>),
    Failure(String),
}

impl NamesDocument {
    pub(crate) fn answers(self) -> NameAnswers {
        let answers = self.names.into_iter().map(|(name, told)| {
            let answer = match told {
                Told::Addresses(addresses) => NameAnswer {
                    addresses,
                    ..NameAnswer::default()
                },
                Told::Failure(why) => NameAnswer {
                    failure: Some(why),
                    ..NameAnswer::default()
                },
            };
            (name.as_str().try_into().expect("a name"), answer)
        });
        answers.collect()
    }
}

/// Whom is compiled for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProxyCase {
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// `region/zone/subzone`
    pub(crate) locality: String,
    /// Calls with `egress` go through it.
    pub(crate) forward_proxy: Option<ForwardProxyCase>,
    /// `outboundTrafficPolicy: ALLOW_ANY`
    pub(crate) allow_any: bool,
    /// Calls with `outbound` and `inbound` come to it.
    pub(crate) sidecar: Option<SidecarCase>,
    /// Calls with `resolve` ask for names of it: the kinds of virtual addresses that are given, `off`, `v4`, `v6` or
    /// `both`.
    names: Option<String>,
    pub(crate) auto_mtls: bool,
    pub(crate) trust_domain_aliases: Vec<String>,
}

/// A sidecar.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SidecarCase {
    inbound_on_loopback: bool,
    /// Ports of its workload by name.
    named_ports: BTreeMap<String, u16>,
    /// Ports of loopback, and the services there.
    services: BTreeMap<u16, String>,
}

/// A forward proxy. Without clients, they are taken for the proxy itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ForwardProxyCase {
    /// Whether nothing is refused, and what would be is told.
    shadow: bool,
    clients: Vec<ClientCase>,
    /// The namespace of all others.
    others: Option<String>,
}

/// Clients of a forward proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientCase {
    namespace: String,
    networks: Vec<IpNet>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl ProxyCase {
    pub(crate) fn sidecar(&self) -> Option<SidecarOptions> {
        let of = self.sidecar.as_ref()?;
        let ports = of.services.iter().map(|(port, service)| LocalPortOptions {
            address: ([127, 0, 0, 1], *port).into(),
            service: rules::Target::parse(service, None).expect("a service"),
        });
        Some(SidecarOptions {
            outbound: Some(([127, 0, 0, 1], OUTBOUND_PORT).into()),
            inbound: Some(([127, 0, 0, 1], INBOUND_PORT).into()),
            inbound_on_loopback: of.inbound_on_loopback,
            ports: ports.collect(),
            named_ports: of.named_ports.clone(),
        })
    }

    pub(crate) fn forward_proxy(&self) -> Option<ForwardProxyOptions> {
        let of = self.forward_proxy.as_ref()?;
        let clients = of.clients.iter().map(|client| ClientOptions {
            networks: client.networks.clone(),
            principals: Vec::new(),
            caller: CallerOptions {
                namespace: client.namespace.as_str().into(),
                labels: client.labels.clone(),
            },
        });
        let itself = CallerOptions {
            namespace: self.namespace.as_str().into(),
            labels: self.labels.clone(),
        };
        let others = of.others.as_deref().map(|namespace| CallerOptions {
            namespace: namespace.into(),
            ..CallerOptions::default()
        });
        Some(ForwardProxyOptions {
            address: ([127, 0, 0, 1], EGRESS_PORT).into(),
            tls: None,
            others: others.or_else(|| of.clients.is_empty().then_some(itself)),
            clients: clients.collect(),
            mode: match of.shadow {
                true => EgressMode::Shadow,
                false => EgressMode::Enforce,
            },
        })
    }

    pub(crate) fn names(&self) -> Option<NameOptions> {
        let auto_allocate = match self.names.as_deref()? {
            "off" => AutoAllocate::Off,
            "v4" => AutoAllocate::V4,
            "v6" => AutoAllocate::V6,
            "both" => AutoAllocate::Both,
            other => panic!("{other:?} are no kinds of addresses"),
        };
        Some(NameOptions { auto_allocate })
    }
}

impl Default for ProxyCase {
    fn default() -> Self {
        let labels = [("istio".to_owned(), "ingressgateway".to_owned())];
        Self {
            namespace: "istio-system".into(),
            labels: labels.into(),
            locality: String::new(),
            forward_proxy: None,
            allow_any: false,
            sidecar: None,
            names: None,
            auto_mtls: false,
            trust_domain_aliases: Vec::new(),
        }
    }
}

/// One request. The method is the key that has the URL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    get: Option<String>,
    post: Option<String>,
    options: Option<String>,
    /// For other methods: `PUT http://…`.
    request: Option<String>,
    /// For connections that are none of HTTP: `tls://SNI:443`, `tls://:443` without a name, `tcp://:3306`.
    connect: Option<String>,
    /// No request: the name, or the address, that the sidecar's workload or a client of the forward proxy asks for in
    /// DNS.
    pub(crate) resolve: Option<String>,
    /// The name asked for in TLS when it is not the URL's.
    sni: Option<String>,
    /// Where the client is. Default `192.0.2.1`.
    pub(crate) peer: Option<IpAddr>,
    /// Where it connects to. Default `192.0.2.2`.
    pub(crate) local: Option<IpAddr>,
    /// The listener's port when it is not the URL's.
    pub(crate) port: Option<u16>,
    /// Whether it goes through the forward proxy; `connect` asks for a tunnel there.
    #[serde(default)]
    pub(crate) egress: bool,
    /// Whether a sidecar's workload sends it, to `local` or to the address that the URL has.
    #[serde(default)]
    pub(crate) outbound: bool,
    /// Whether a sidecar's workload receives it.
    #[serde(default)]
    pub(crate) inbound: bool,
    /// Whether a sidecar's workload sends it to this port of loopback.
    pub(crate) loopback: Option<u16>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Out of 10,000; one after the other, the last again and again. Default 0.
    #[serde(default)]
    pub(crate) draw: Draws,
    pub(crate) want: Want,
}

/// What chance shows.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Draws {
    Always(u32),
    InTurn(Vec<u32>),
}

impl Default for Draws {
    fn default() -> Self {
        Self::Always(0)
    }
}

impl Draws {
    /// Dice that show them.
    pub(crate) fn dice(&self) -> impl FnMut(u32) -> u32 {
        let draws = match self {
            Self::Always(draw) => vec![*draw],
            Self::InTurn(draws) => draws.clone(),
        };
        let mut at = 0;
        move |sides| {
            let draw = draws[at.min(draws.len() - 1)];
            at += 1;
            (u64::from(draw) * u64::from(sides) / 10_000) as u32
        }
    }
}

/// Where the forward proxy listens.
pub(crate) const EGRESS_PORT: u16 = 15080;
/// Where a sidecar does.
pub(crate) const OUTBOUND_PORT: u16 = 15001;
pub(crate) const INBOUND_PORT: u16 = 15006;

/// What must become of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Want {
    pub(crate) status: Option<u16>,
    /// `reviews:9080/v1`, with the namespace when it is not `default`: `reviews.shop:9080/v1`.
    pub(crate) cluster: Option<String>,
    pub(crate) route: Option<String>,
    /// `no_listener`, the reason of an answer that no rule gave, or `no_cluster`.
    pub(crate) error: Option<String>,
    pub(crate) virtual_host: Option<String>,
    /// `shop/cart spec.http[0].match[1]`
    pub(crate) rule: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) body: Option<String>,
    /// Path and query that are sent upstream.
    pub(crate) path: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) delay: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) per_try: Option<String>,
    pub(crate) retries: Option<u32>,
    /// `CONNECT_FAILURE | RESET`, as the flags are named.
    pub(crate) retry_on: Option<String>,
    pub(crate) mirrors: Option<Vec<String>>,
    /// Of the answer, or sent upstream; an empty text means that there is none.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Of the response, after operations on an empty one.
    #[serde(default)]
    pub(crate) response_headers: BTreeMap<String, String>,
    pub(crate) endpoints: Option<Vec<String>>,
    /// Those that are spoken to in TLS, and whom they must be: `10.0.0.1:80 "spiffe://cluster.local/ns/shop/sa/cart"`.
    pub(crate) secured: Option<Vec<String>>,
    /// `http1`, `http2` or `as_client`
    pub(crate) protocol: Option<String>,
    /// `round_robin`…
    pub(crate) balancing: Option<String>,
    pub(crate) grpc_status: Option<u32>,
    /// Why it would be refused, where nothing is.
    pub(crate) would_refuse: Option<String>,
    /// What the client may speak: `Http`, `Tls`…
    pub(crate) speaks: Option<String>,
    /// Part of the reason for a missing cluster.
    pub(crate) reason: Option<String>,
    /// The cluster's policy in the words of `explain`; `none` for what is not set.
    pub(crate) cluster_is: BTreeMap<String, String>,
    pub(crate) connect_timeout: Option<String>,
    /// The TLS server: `default/gw/https`
    pub(crate) server: Option<String>,
    /// `SIMPLE`…
    pub(crate) mode: Option<String>,
    pub(crate) certificates: Option<Vec<String>>,
    /// `ignored`, `optional`…
    pub(crate) client: Option<String>,
    /// `none`, or who they are.
    pub(crate) authorities: Option<String>,
    /// `V1_2-V1_3`
    pub(crate) versions: Option<String>,
    pub(crate) cipher_suites: Option<Vec<String>>,
    pub(crate) alpn: Option<Vec<String>>,
    /// What a name stands for.
    pub(crate) addresses: Option<Vec<String>>,
    /// The other name that a name stands for.
    pub(crate) alias: Option<String>,
    /// The name of an address.
    pub(crate) name: Option<String>,
}

/// A URL in its parts.
pub(crate) struct Target {
    pub(crate) method: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// Absent: in clear, or without a name.
    pub(crate) sni: Option<String>,
}

impl Call {
    pub(crate) fn target(&self) -> Target {
        let (method, url) = if let Some(url) = &self.get {
            ("GET", url.as_str())
        } else if let Some(url) = &self.post {
            ("POST", url.as_str())
        } else if let Some(url) = &self.options {
            ("OPTIONS", url.as_str())
        } else if let Some(url) = &self.connect {
            ("", url.as_str())
        } else {
            self.request
                .as_deref()
                .and_then(|one| one.split_once(' '))
                .expect("a call has a URL")
        };
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        let host = rules::host_of(authority);
        let own_port = authority[host.len()..].trim_start_matches(':').parse().ok();
        let is_tls = matches!(scheme, "https" | "tls");
        let default = if is_tls { 443 } else { 80 };
        let named = (is_tls && !host.is_empty()).then(|| host.to_owned());
        Target {
            sni: self.sni.clone().or(named),
            method: method.into(),
            scheme: scheme.into(),
            authority: authority.into(),
            port: self.port.or(own_port).unwrap_or(default),
            path: path.into(),
            query,
        }
    }
}
