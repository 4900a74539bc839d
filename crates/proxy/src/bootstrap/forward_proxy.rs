//! `[forward-proxy]`: how the clients of `[listen] forward-proxy` are told apart and treated.

use super::Bootstrap;
use ipnet::IpNet;
use model::{Labels, TlsVersion};
use rules::{
    CallerOptions, ClientCertificate, ClientOptions, ClientVerification, CredentialRef, EgressMode,
    ForwardProxyOptions, TlsTermination,
};
use serde::Deserialize;
use std::path::PathBuf;

/// What is spoken inside TLS: tunnels are asked for in HTTP/1.1.
const ALPN: &[&str] = &["http/1.1"];

/// How clients are told apart and treated.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ForwardProxy {
    mode: Mode,
    /// A credential by the name that Gateways have for it. Empty: the port is in clear.
    credential: String,
    client_certificates: ClientCertificates,
    /// Clients that are told apart, the first that fits counts.
    clients: Vec<Client>,
    /// The namespace that all others are taken for. Absent: the proxy's own without `clients`, nobody's with them.
    client_namespace: Option<String>,
    /// Where what was learnt is kept. Empty: nowhere.
    pub learned: PathBuf,
}

impl Default for ForwardProxy {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            credential: String::new(),
            client_certificates: ClientCertificates::default(),
            clients: Vec::new(),
            client_namespace: None,
            learned: PathBuf::from(".learned.json"),
        }
    }
}

/// Whether what is not allowed is refused.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Enforce,
    Shadow,
    Learn,
}

/// Whether clients show a certificate where the port is in TLS.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ClientCertificates {
    #[default]
    Required,
    Optional,
    Ignored,
}

/// Clients that see the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    try_from = "WrittenClient"
)]
struct Client {
    namespace: String,
    networks: Vec<IpNet>,
    principals: Vec<String>,
    labels: Labels,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenClient {
    namespace: String,
    #[serde(default)]
    networks: Vec<IpNet>,
    #[serde(default)]
    principals: Vec<String>,
    #[serde(default)]
    labels: Labels,
}

impl TryFrom<WrittenClient> for Client {
    type Error = String;

    fn try_from(written: WrittenClient) -> Result<Self, String> {
        let WrittenClient {
            namespace,
            networks,
            principals,
            labels,
        } = written;
        if namespace.is_empty() {
            return Err("`namespace` must not be empty".to_owned());
        }
        if networks.is_empty() && principals.is_empty() {
            return Err(
                "a client needs `networks` or `principals`; for all others there is `client-namespace`"
                    .to_owned(),
            );
        }
        let in_the_middle =
            |one: &&String| one.trim_end_matches('*').contains('*') || one.ends_with("**");
        if let Some(principal) = principals.iter().find(in_the_middle) {
            return Err(format!("`{principal}`: `*` may stand at the end only"));
        }
        Ok(Self {
            namespace,
            networks,
            principals,
            labels,
        })
    }
}

impl Bootstrap {
    /// The forward proxy, if there is one.
    pub fn forward_proxy(&self) -> Option<ForwardProxyOptions> {
        let address = self.listen.forward_proxy?;
        let of = &self.forward_proxy;
        Some(ForwardProxyOptions {
            address,
            tls: of.tls(),
            clients: of.clients.iter().map(Client::options).collect(),
            others: self.other_clients(),
            mode: of.mode(),
        })
    }

    fn other_clients(&self) -> Option<CallerOptions> {
        let of = &self.forward_proxy;
        match &of.client_namespace {
            Some(namespace) => Some(CallerOptions {
                namespace: namespace.as_str().into(),
                labels: Labels::new(),
            }),
            None => of.clients.is_empty().then(|| CallerOptions {
                namespace: self.proxy.namespace.as_str().into(),
                labels: self.proxy.labels.clone(),
            }),
        }
    }
}

impl ForwardProxy {
    /// Whether what is not allowed is refused.
    pub fn mode(&self) -> EgressMode {
        match self.mode {
            Mode::Enforce => EgressMode::Enforce,
            Mode::Shadow => EgressMode::Shadow,
            Mode::Learn => EgressMode::Learn,
        }
    }

    /// Why it cannot be used, if it cannot.
    pub fn problem(&self) -> Option<&'static str> {
        let asks_for_names = self
            .clients
            .iter()
            .any(|client| !client.principals.is_empty());
        (asks_for_names && self.credential.is_empty()).then_some(
            "`principals` are names in certificates, which clients show in TLS only: set `credential`",
        )
    }

    fn tls(&self) -> Option<TlsTermination> {
        if self.credential.is_empty() {
            return None;
        }
        let mode = match self.client_certificates {
            ClientCertificates::Required => ClientCertificate::Required,
            ClientCertificates::Optional => ClientCertificate::Optional,
            ClientCertificates::Ignored => ClientCertificate::Ignored,
        };
        let authorities = CredentialRef::AuthoritiesNamed(self.credential.as_str().into());
        Some(TlsTermination {
            certificates: vec![CredentialRef::Named(self.credential.as_str().into())],
            client: ClientVerification {
                mode,
                authorities: (mode != ClientCertificate::Ignored).then_some(authorities),
                ..ClientVerification::default()
            },
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            cipher_suites: Vec::new(),
            alpn: ALPN.to_vec(),
        })
    }
}

impl Client {
    fn options(&self) -> ClientOptions {
        ClientOptions {
            networks: self.networks.clone(),
            principals: self.principals.clone(),
            caller: CallerOptions {
                namespace: self.namespace.as_str().into(),
                labels: self.labels.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let refused = toml::from_str::<ForwardProxy>(text)
            .unwrap_err()
            .to_string();
        assert!(refused.contains(want), "{refused}");
    }

    #[test]
    fn what_cannot_be_is_a_mistake() {
        check_refused("mode = 'ENFORCE'", "unknown variant `ENFORCE`");
        check_refused("client = []", "unknown field `client`");
        check_refused(
            "clients = [{ networks = ['10.0.0.0/8'] }]",
            "missing field `namespace`",
        );
        check_refused(
            "clients = [{ namespace = 'a' }]",
            "needs `networks` or `principals`",
        );
        check_refused(
            "clients = [{ namespace = '', networks = ['10.0.0.0/8'] }]",
            "must not be empty",
        );
        check_refused(
            "clients = [{ namespace = 'a', networks = ['10.0.0.0'] }]",
            "invalid IP address syntax",
        );
        check_refused(
            "clients = [{ namespace = 'a', principals = ['spiffe://*/ns/a/*'] }]",
            "at the end only",
        );
    }

    fn bootstrap(text: &str) -> Bootstrap {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn without_an_address_there_is_none() {
        assert_eq!(
            bootstrap("[forward-proxy]\nmode = 'learn'").forward_proxy(),
            None
        );
    }

    #[test]
    fn clients_that_are_not_told_apart_are_the_proxy_itself() {
        let options = bootstrap("[listen]\nforward-proxy = '127.0.0.1:1'").forward_proxy();
        let options = options.unwrap();
        let others = options.others.unwrap();
        assert_eq!(&*others.namespace, "istio-system");
        assert_eq!(others.labels["istio"], "ingressgateway");
        assert!(options.tls.is_none() && options.clients.is_empty());
        assert_eq!(options.mode, EgressMode::Enforce);
    }

    #[test]
    fn every_key_is_read() {
        let text = "
            [listen]
            forward-proxy = '[::1]:15080'
            [forward-proxy]
            mode = 'shadow'
            credential = 'egress'
            client-certificates = 'optional'
            client-namespace = 'guests'
            learned = '/var/lib/learned.json'
            [[forward-proxy.clients]]
            namespace = 'a'
            networks = ['10.1.0.0/16', '2001:db8::/32']
            principals = ['spiffe://cluster.local/ns/a/sa/*']
            labels = { app = 'x' }
        ";
        let options = bootstrap(text).forward_proxy().unwrap();
        assert_eq!(options.mode, EgressMode::Shadow);
        assert_eq!(&*options.others.unwrap().namespace, "guests");
        let tls = options.tls.unwrap();
        assert_eq!(tls.client.mode, ClientCertificate::Optional);
        assert!(tls.client.authorities.is_some());
        let client = &options.clients[0];
        assert_eq!((client.networks.len(), client.principals.len()), (2, 1));
        assert_eq!(client.caller.labels["app"], "x");
    }

    #[test]
    fn clients_that_are_told_apart_leave_no_place_for_others() {
        let text = "[listen]\nforward-proxy = '127.0.0.1:1'\n\
                    [[forward-proxy.clients]]\nnamespace = 'a'\nnetworks = ['10.0.0.0/8']";
        assert_eq!(bootstrap(text).forward_proxy().unwrap().others, None);
        let named = "clients = [{ namespace = 'a', principals = ['x'] }]";
        let named: ForwardProxy = toml::from_str(named).unwrap();
        assert!(
            named
                .problem()
                .is_some_and(|why| why.contains("credential"))
        );
    }
}
