//! Pods: machines with an application and, mostly, a sidecar.

use crate::authority::{Authority, Certificate};
use crate::client::{Connection, Request, Response};
use crate::mesh::{Mesh, lock};
use crate::namespace::{Lease, Namespace};
use crate::origin::{After, Exchange, Origin};
use crate::redirection::redirect;
use crate::registry::{PodSpec, Registry};
use crate::setup::Ports;
use crate::sidecar::{Agent, BOOTSTRAP, IDENTITY, Sidecar, give_away, put_identity, spiffe_id};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What a pod is made of.
#[derive(Debug)]
#[must_use]
pub struct PodSetup<'m> {
    mesh: &'m Mesh,
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    account: String,
    config: BTreeMap<&'static str, Vec<String>>,
    identity: Option<(Certificate, String)>,
    /// Of the command that redirects. Absent: nothing is redirected.
    redirection: Option<Vec<String>>,
    environment: Vec<(&'static str, String)>,
    drain: (&'static str, &'static str),
}

/// A pod. Its application is whatever a test does in it.
#[derive(Debug)]
pub struct Pod {
    agent: Option<Agent>,
    machine: Namespace,
    spec: PodSpec,
    registry: Arc<Mutex<Registry>>,
    _lease: Lease<1>,
}

impl<'m> PodSetup<'m> {
    pub(crate) fn new(mesh: &'m Mesh, name: &str) -> Self {
        let (app, version) = name.rsplit_once('-').unwrap_or((name, "v1"));
        let labels = [("app", app), ("version", version)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            mesh,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            labels: labels.into(),
            account: "default".to_owned(),
            config: BTreeMap::new(),
            identity: None,
            redirection: Some(Vec::new()),
            environment: Vec::new(),
            drain: ("0s", "10s"),
        }
    }

    /// In this namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// With one more label, or another one.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With this service account.
    pub fn account(mut self, account: &str) -> Self {
        account.clone_into(&mut self.account);
        self
    }

    /// With a line of a section of its bootstrap file.
    pub fn config(mut self, section: &'static str, line: &str) -> Self {
        self.config
            .entry(section)
            .or_default()
            .push(line.to_owned());
        self
    }

    /// With a certificate of this authority for its namespace and service account as they are now, and the label of pods
    /// that speak the mesh's TLS.
    pub fn identity(self, authority: &Authority) -> Self {
        let id = spiffe_id(&self.namespace, &self.account);
        let certificate = authority.issue(&[&id]);
        self.certificate(certificate, authority.pem())
    }

    /// With this certificate, and these authorities to trust.
    pub fn certificate(self, certificate: Certificate, roots: String) -> Self {
        let mut setup = self
            .config("tls", &format!("identity = {IDENTITY:?}"))
            .label("security.istio.io/tlsMode", "istio");
        setup.identity = Some((certificate, roots));
        setup
    }

    /// With flags of `mesh-agent iptables`.
    pub fn redirection(mut self, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        self.redirection.get_or_insert_default().extend(flags);
        self
    }

    /// With these `delay` and `timeout` of `[drain]`.
    pub fn drain(mut self, delay: &'static str, timeout: &'static str) -> Self {
        self.drain = (delay, timeout);
        self
    }

    /// With a variable in the environment of its sidecar, as injection sets them.
    pub fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Its application goes to the sidecar on purpose: nothing is redirected.
    pub fn without_redirection(mut self) -> Self {
        self.redirection = None;
        self.config("capture", "mode = \"NONE\"")
    }

    /// Makes it, with a sidecar that is ready.
    ///
    /// # Panics
    ///
    /// When the sidecar does not get ready.
    #[track_caller]
    pub fn start(self) -> Pod {
        let redirection = self.redirection.clone();
        let mut environment = self.environment.clone();
        let sidecar = self.sidecar_folder();
        let mut pod = self.join();
        environment.push(("INSTANCE_IP", pod.address().to_string()));
        if let Some(flags) = redirection {
            redirect(&pod.machine, &flags);
        }
        let binary = sidecar.with_file_name("mesh-agent");
        File::create(&binary).expect("the folder can be written");
        let sidecar = Sidecar {
            folder: sidecar,
            machine: pod.machine.clone(),
            binary,
            environment,
        };
        pod.agent = Some(Agent::launch(sidecar, Ports::usual()));
        pod
    }

    /// Makes it without a sidecar.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[track_caller]
    pub fn alone(self) -> Pod {
        self.join()
    }

    #[track_caller]
    fn join(self) -> Pod {
        let (lease, machine, address, address_v6) = self.mesh.join(&self.name);
        let spec = PodSpec {
            name: self.name,
            namespace: self.namespace,
            labels: self.labels,
            account: self.account,
            address,
            address_v6,
        };
        self.mesh.enroll(spec.clone());
        Pod {
            agent: None,
            machine,
            spec,
            registry: self.mesh.registry(),
            _lease: lease,
        }
    }

    /// The folder of its sidecar, which is all the sidecar can write to.
    fn sidecar_folder(&self) -> PathBuf {
        let pods = self.mesh.folder().join("pods");
        let folder = pods.join(format!("{}-{}", self.namespace, self.name));
        for path in [&folder, &folder.join("resources")] {
            fs::create_dir(path).expect("the folder can be written");
            give_away(path);
        }
        let bootstrap = self.bootstrap();
        fs::write(folder.join(BOOTSTRAP), bootstrap).expect("the folder can be written");
        if let Some((certificate, roots)) = &self.identity {
            put_identity(&folder.join(IDENTITY), certificate, roots);
        }
        folder
    }

    fn bootstrap(&self) -> String {
        let resources = self.mesh.resources();
        let labels = self.labels.iter();
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key:?} = {value:?}"))
            .collect();
        let (delay, timeout) = self.drain;
        let mut sections = BTreeMap::from([
            (
                "proxy",
                vec![
                    format!("name = {:?}", self.name),
                    format!("namespace = {:?}", self.namespace),
                    format!("labels = {{ {} }}", labels.join(", ")),
                    format!("service-account = {:?}", self.account),
                ],
            ),
            (
                "resources",
                vec![format!("files = [{resources:?}, \"resources\"]")],
            ),
            (
                "access-log",
                vec!["path = \"access.log\"\nformat = \"json\"".to_owned()],
            ),
            (
                "drain",
                vec![format!("delay = {delay:?}\ntimeout = {timeout:?}")],
            ),
        ]);
        for (section, lines) in &self.config {
            sections.entry(section).or_default().extend(lines.clone());
        }
        let sections = sections.iter();
        let texts = sections.map(|(name, lines)| format!("[{name}]\n{}\n", lines.join("\n")));
        texts.collect::<Vec<_>>().join("\n")
    }
}

impl Pod {
    /// Its sidecar.
    ///
    /// # Panics
    ///
    /// When it has none.
    #[track_caller]
    pub fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("a pod with a sidecar")
    }

    /// Its sidecar, to be stopped or started again.
    ///
    /// # Panics
    ///
    /// When it has none.
    #[track_caller]
    pub fn agent_mut(&mut self) -> &mut Agent {
        self.agent.as_mut().expect("a pod with a sidecar")
    }

    pub(crate) fn spec(&self) -> &PodSpec {
        &self.spec
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.spec.address
    }

    /// Its address of IPv6.
    pub fn address_v6(&self) -> Ipv6Addr {
        self.spec.address_v6
    }

    /// Its machine, for running programs.
    pub fn machine(&self) -> &Namespace {
        &self.machine
    }

    /// Does something as its application.
    ///
    /// # Panics
    ///
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.machine.enter(work)
    }

    /// An application that serves HTTP at all of its addresses.
    pub fn serve<F>(&self, port: u16, handler: F) -> Origin
    where
        F: Fn(&mut Exchange<'_>) -> io::Result<After> + Send + Sync + 'static,
    {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        self.enter(|| Origin::bound_to(everywhere, handler))
    }

    /// Where a name leads to on a port, as the pod's application knows it: an address, or a Service of the mesh.
    ///
    /// # Panics
    ///
    /// When it is neither.
    #[track_caller]
    pub fn resolve(&self, host: &str, port: u16) -> SocketAddr {
        let address = host.parse::<IpAddr>().ok().or_else(|| {
            let registry = lock(&self.registry);
            registry
                .resolve(host, &self.spec.namespace)
                .first()
                .copied()
        });
        match address {
            Some(address) => SocketAddr::new(address, port),
            None => panic!("{host} is no Service with a virtual address"),
        }
    }

    /// Its application connects to an address.
    ///
    /// # Errors
    ///
    /// When nothing accepts there.
    pub fn dial(&self, address: impl Into<SocketAddr>) -> io::Result<Connection> {
        let address = address.into();
        self.enter(|| Connection::open_at(address))
    }

    /// As [`Pod::dial`].
    ///
    /// # Panics
    ///
    /// When nothing accepts there.
    #[track_caller]
    pub fn connect(&self, address: impl Into<SocketAddr>) -> Connection {
        let address = address.into();
        match self.dial(address) {
            Ok(connection) => connection,
            Err(error) => panic!("{} connects to {address}: {error}", self.spec.name),
        }
    }

    /// `GET` of its application, such as `reviews:9080/reviews/0`, on a connection of its own.
    ///
    /// # Panics
    ///
    /// When there is no whole response.
    #[track_caller]
    pub fn get(&self, url: &str) -> Response {
        self.get_with(url, &[])
    }

    /// As [`Pod::get`], with these headers.
    ///
    /// # Panics
    ///
    /// When there is no whole response.
    #[track_caller]
    pub fn get_with(&self, url: &str, headers: &[(&str, &str)]) -> Response {
        match self.try_get(url, headers) {
            Ok(response) => response,
            Err(error) => panic!("{} asks for {url}: {error}", self.spec.name),
        }
    }

    /// As [`Pod::get_with`].
    ///
    /// # Errors
    ///
    /// When there is no whole response.
    #[track_caller]
    pub fn try_get(&self, url: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        let (authority, path) = url.split_once('/').unwrap_or((url, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().expect("a port")),
            None => (authority, 80),
        };
        let address = self.resolve(host.trim_matches(['[', ']']), port);
        let request = Request::get(authority, &format!("/{path}"));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        self.dial(address)?.send(&request)
    }

    /// Gives its sidecar another certificate, and other authorities to trust.
    ///
    /// # Panics
    ///
    /// When it has no sidecar.
    pub fn put_identity(&self, certificate: &Certificate, roots: &str) {
        put_identity(&self.agent().folder().join(IDENTITY), certificate, roots);
    }

    /// Who it is in the mesh.
    pub fn spiffe_id(&self) -> String {
        spiffe_id(&self.spec.namespace, &self.spec.account)
    }
}
