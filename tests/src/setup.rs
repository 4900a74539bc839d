//! What a gateway is given: its bootstrap file, its folder of resources, its ports.

use crate::authority::{Certificate, put_secret};
use crate::gateway::Gateway;
use crate::namespace::Namespace;
use crate::port::Port;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The name of the bootstrap file.
pub(crate) const BOOTSTRAP: &str = "gateway.toml";

/// What a gateway is started with.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    /// The network namespace it is in, if it is not the test's own.
    namespace: Option<Namespace>,
    address: IpAddr,
    listen: String,
    ports: BTreeMap<u16, Port>,
    log_format: &'static str,
    drain: (&'static str, &'static str),
    tls: BTreeMap<&'static str, String>,
    sections: String,
    proxy: String,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// A gateway with no resources; its Gateway servers of port 80 are bound to a free port.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("resources")).expect("a folder in it");
        Self {
            folder,
            namespace: None,
            address: Ipv4Addr::LOCALHOST.into(),
            listen: String::new(),
            ports: BTreeMap::from([(80, Port::reserve())]),
            log_format: "json",
            drain: ("0s", "10s"),
            tls: BTreeMap::from([("certificates", r#""certs""#.to_owned())]),
            sections: String::new(),
            proxy: String::new(),
            environment: Vec::new(),
        }
    }

    /// As [`Setup::new`] in a network namespace, where it listens at this address: on the ports its Gateway servers say,
    /// and on the usual ones for its own pages.
    pub(crate) fn within(namespace: &Namespace, address: IpAddr) -> Self {
        Self {
            namespace: Some(namespace.clone()),
            address,
            ports: BTreeMap::from([(80, Port::unreserved(80))]),
            ..Self::new()
        }
    }

    /// With a file in its folder of resources.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.resources().join(name), content).expect("the folder can be written");
        self
    }

    /// With one more port of Gateway servers bound to a free port.
    #[must_use]
    pub fn port(mut self, number: u16) -> Self {
        let port = match self.namespace {
            Some(_) => Port::unreserved(number),
            None => Port::reserve(),
        };
        self.ports.insert(number, port);
        self
    }

    /// With a key of `[listen]` and its value, as TOML has it.
    #[must_use]
    pub fn listen(mut self, key: &str, value: &str) -> Self {
        let _ = writeln!(self.listen, "{key} = {value}");
        self
    }

    /// With the access log in Envoy's text form.
    #[must_use]
    pub fn text_log(mut self) -> Self {
        self.log_format = "text";
        self
    }

    /// With these `delay` and `timeout` of `[drain]`.
    #[must_use]
    pub fn drain(mut self, delay: &'static str, timeout: &'static str) -> Self {
        self.drain = (delay, timeout);
        self
    }

    /// With a certificate in its folder of certificates, for servers that name this credential.
    #[must_use]
    pub fn certificate(self, name: &str, certificate: &Certificate) -> Self {
        certificate.put(&self.certificates().join(name));
        self
    }

    /// With a file beside a credential's certificate, such as `ca.crt`.
    #[must_use]
    pub fn beside_certificate(self, name: &str, file: &str, content: &str) -> Self {
        let folder = self.certificates().join(name);
        fs::create_dir_all(&folder).expect("the folder can be made");
        put_secret(&folder.join(file), content);
        self
    }

    /// With a key of `[tls]` and its value, as TOML has it.
    #[must_use]
    pub fn tls(mut self, key: &'static str, value: &str) -> Self {
        self.tls.insert(key, value.to_owned());
        self
    }

    /// With more sections of the bootstrap file.
    #[must_use]
    pub fn section(mut self, toml: &str) -> Self {
        self.sections.push_str(toml);
        self
    }

    /// With a file beside its bootstrap file that only the owner can read.
    #[must_use]
    pub fn beside(self, name: &str, content: &str) -> Self {
        put_secret(&self.folder().join(name), content);
        self
    }

    /// At this place, `region/zone/subzone`.
    #[must_use]
    pub fn locality(self, place: &str) -> Self {
        self.proxy(&format!("locality = {place:?}"))
    }

    /// With a line of `[proxy]`.
    #[must_use]
    pub(crate) fn proxy(mut self, line: &str) -> Self {
        let _ = writeln!(self.proxy, "{line}");
        self
    }

    /// With the path of a file of its folder in the environment of its process.
    #[must_use]
    pub fn environment(mut self, name: &'static str, file: &str) -> Self {
        self.environment.push((name, self.folder().join(file)));
        self
    }

    pub(crate) fn in_environment(&self) -> &[(&'static str, PathBuf)] {
        &self.environment
    }

    /// Where its listeners are.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Where it is, unless that is where the test is.
    pub(crate) fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// Where a Gateway server's port will be bound.
    ///
    /// # Panics
    ///
    /// When the port was not asked for.
    pub fn bound(&self, number: u16) -> u16 {
        self.ports[&number].number()
    }

    /// The folder of resources.
    pub fn resources(&self) -> PathBuf {
        self.folder.path().join("resources")
    }

    /// The folder of certificates.
    pub fn certificates(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// The folder of the bootstrap file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of the bootstrap file, which is written now.
    pub fn written(&self, ports: &Ports) -> PathBuf {
        let path = self.folder.path().join(BOOTSTRAP);
        fs::write(&path, self.bootstrap(ports)).expect("the folder can be written");
        path
    }

    /// Starts it and waits until it says it is ready.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn start(self) -> Gateway {
        let own = match self.namespace {
            Some(_) => Ports::usual(),
            None => Ports::reserve(),
        };
        self.written(&own);
        Gateway::launch(self, own)
    }

    fn bootstrap(&self, own: &Ports) -> String {
        let mut map = String::new();
        for (number, port) in &self.ports {
            let _ = write!(map, "{number} = {}, ", port.number());
        }
        let map = map.trim_end_matches([',', ' ']);
        let [admin, status, metrics] = own.numbers();
        let (log, (delay, timeout)) = (self.log_format, self.drain);
        let (proxy, address, listen) = (&self.proxy, self.address, &self.listen);
        let mut sections = "\n[tls]\n".to_owned();
        for (key, value) in &self.tls {
            let _ = writeln!(sections, "{key} = {value}");
        }
        sections += &self.sections;
        format!(
            r#"
[proxy]
name = "istio-ingressgateway"
namespace = "istio-system"
labels = {{ istio = "ingressgateway" }}
workers = 2
{proxy}
[resources]
files = ["resources"]

[listen]
address = "{address}"
ports = {{ {map} }}
{listen}

[admin]
address = "127.0.0.1:{admin}"

[status]
address = "127.0.0.1:{status}"

[metrics]
address = "127.0.0.1:{metrics}"

[access-log]
path = "access.log"
format = "{log}"

[drain]
delay = "{delay}"
timeout = "{timeout}"
{sections}"#
        )
    }
}

/// The ports of the gateway's own pages.
#[derive(Debug)]
pub struct Ports {
    pub(crate) admin: Port,
    pub(crate) status: Port,
    pub(crate) metrics: Port,
}

impl Ports {
    /// Three free ones.
    pub fn reserve() -> Self {
        Self {
            admin: Port::reserve(),
            status: Port::reserve(),
            metrics: Port::reserve(),
        }
    }

    /// Those that are the default.
    pub(crate) fn usual() -> Self {
        Self {
            admin: Port::unreserved(15000),
            status: Port::unreserved(15021),
            metrics: Port::unreserved(15020),
        }
    }

    fn numbers(&self) -> [u16; 3] {
        [&self.admin, &self.status, &self.metrics].map(Port::number)
    }
}
