//! What a mesh knows of its Services and Pods, written as a cluster would.

use crate::files::replace;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// The objects of a mesh, in the folder that its sidecars watch.
#[derive(Debug)]
pub(crate) struct Registry {
    folder: PathBuf,
    services: BTreeMap<String, ServiceSpec>,
    pods: BTreeMap<String, PodSpec>,
}

/// A Service, as a test asks for it: it selects Pods by the label `app`.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    name: String,
    namespace: String,
    app: String,
    ports: Vec<ServicePort>,
    headless: bool,
    is_dual: bool,
    /// Counts from 1; part of its virtual addresses.
    number: u8,
}

#[derive(Clone, Debug)]
struct ServicePort {
    name: String,
    number: u16,
    target: u16,
}

/// What the registry says of a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodSpec {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) account: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) address_v6: Ipv6Addr,
}

impl ServiceSpec {
    /// A Service in `default` without ports, for the Pods whose label `app` is its name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            app: name.to_owned(),
            ports: Vec::new(),
            headless: false,
            is_dual: false,
            number: 0,
        }
    }

    /// With a port, the same at its Pods; the name tells its protocol.
    #[must_use]
    pub fn port(self, name: &str, number: u16) -> Self {
        self.port_to(name, number, number)
    }

    /// With a port that is another at its Pods.
    #[must_use]
    pub fn port_to(mut self, name: &str, number: u16, target: u16) -> Self {
        self.ports.push(ServicePort {
            name: name.to_owned(),
            number,
            target,
        });
        self
    }

    /// In this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// For the Pods with this label `app`.
    #[must_use]
    pub fn app(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    /// Without a virtual address.
    #[must_use]
    pub fn headless(mut self) -> Self {
        self.headless = true;
        self
    }

    /// With a virtual address of IPv6 too, and endpoints that have both.
    #[must_use]
    pub fn dual_stack(mut self) -> Self {
        self.is_dual = true;
        self
    }

    fn virtual_addresses(&self) -> Vec<IpAddr> {
        let low = u16::from(self.number);
        let v4 = Ipv4Addr::new(10, 96, 0, self.number).into();
        let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, low).into();
        match (self.headless, self.is_dual) {
            (true, _) => Vec::new(),
            (false, false) => vec![v4],
            (false, true) => vec![v4, v6],
        }
    }

    /// The names by which a client of this namespace may know it.
    fn is_called(&self, host: &str, from: &str) -> bool {
        let (name, namespace) = (&self.name, &self.namespace);
        let long = format!("{name}.{namespace}");
        let of_cluster = format!("{long}.svc.cluster.local");
        (host == name && from == namespace)
            || [&long, &format!("{long}.svc"), &of_cluster].contains(&&host.to_owned())
    }
}

impl Registry {
    /// An empty one that writes into this folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            services: BTreeMap::new(),
            pods: BTreeMap::new(),
        }
    }

    /// Adds a Service; returns its virtual address of IPv4, unless it is headless.
    pub(crate) fn add_service(&mut self, mut service: ServiceSpec) -> Option<Ipv4Addr> {
        service.number = u8::try_from(self.services.len() + 1).expect("few services");
        let key = format!("{}-{}", service.namespace, service.name);
        self.write(&format!("service-{key}.yaml"), &yaml_of_service(&service));
        self.write(&format!("endpoints-{key}.yaml"), &self.slices(&service));
        let addresses = service.virtual_addresses();
        self.services.insert(key, service);
        addresses.into_iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// Adds a Pod, and makes it an endpoint of the Services it is for.
    pub(crate) fn add_pod(&mut self, pod: PodSpec) {
        let key = format!("{}-{}", pod.namespace, pod.name);
        self.write(&format!("pod-{key}.yaml"), &yaml_of_pod(&pod));
        self.pods.insert(key, pod.clone());
        self.write_slices_with(&pod);
    }

    /// A Pod that there is no more.
    pub(crate) fn remove_pod(&mut self, namespace: &str, name: &str) {
        let key = format!("{namespace}-{name}");
        if let Some(pod) = self.pods.remove(&key) {
            self.write_slices_with(&pod);
            let file = self.folder.join(format!("pod-{key}.yaml"));
            std::fs::remove_file(file).expect("the file is there");
        }
    }

    /// The virtual addresses of the Service that a client of this namespace knows by this name.
    pub(crate) fn resolve(&self, host: &str, from: &str) -> Vec<IpAddr> {
        let mut services = self.services.values();
        let called = services.find(|service| service.is_called(host, from));
        called.map_or_else(Vec::new, ServiceSpec::virtual_addresses)
    }

    fn write_slices_with(&self, pod: &PodSpec) {
        for (key, service) in &self.services {
            if is_for(service, pod) {
                self.write(&format!("endpoints-{key}.yaml"), &self.slices(service));
            }
        }
    }

    fn slices(&self, service: &ServiceSpec) -> String {
        let pods: Vec<_> = (self.pods.values())
            .filter(|pod| is_for(service, pod))
            .collect();
        let mut text = slice(service, &pods, "IPv4", |pod| pod.address.into());
        if service.is_dual {
            text += "---\n";
            text += &slice(service, &pods, "IPv6", |pod| pod.address_v6.into());
        }
        text
    }

    fn write(&self, name: &str, text: &str) {
        replace(&self.folder, name, text);
    }
}

fn is_for(service: &ServiceSpec, pod: &PodSpec) -> bool {
    service.namespace == pod.namespace && pod.labels.get("app") == Some(&service.app)
}

fn yaml_of_service(service: &ServiceSpec) -> String {
    let ServiceSpec {
        name,
        namespace,
        app,
        ..
    } = service;
    let mut text = format!(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  \
           selector: {{app: {app}}}\n"
    );
    let addresses = service.virtual_addresses();
    match addresses.first() {
        Some(first) => {
            let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "  clusterIP: {:?}", first.to_string());
            let _ = writeln!(text, "  clusterIPs: {all:?}");
        }
        None => text += "  clusterIP: None\n",
    }
    text += "  ports:\n";
    for port in &service.ports {
        let (name, number, target) = (&port.name, port.number, port.target);
        let _ = writeln!(
            text,
            "  - {{name: {name}, port: {number}, targetPort: {target}, protocol: TCP}}"
        );
    }
    text
}

fn yaml_of_pod(pod: &PodSpec) -> String {
    let PodSpec {
        name,
        namespace,
        labels,
        account,
        address,
        address_v6,
    } = pod;
    let mut text = format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata:\n  \
           name: {name}\n  \
           namespace: {namespace}\n  \
           labels:\n"
    );
    for (key, value) in labels {
        let _ = writeln!(text, "    {key}: {value:?}");
    }
    let _ = write!(
        text,
        "spec:\n  \
           serviceAccountName: {account}\n  \
           containers: [{{name: app, image: app}}]\n\
         status:\n  \
           phase: Running\n  \
           podIP: {address}\n  \
           podIPs: [{{ip: {address}}}, {{ip: \"{address_v6}\"}}]\n  \
           conditions: [{{type: Ready, status: \"True\"}}]\n"
    );
    text
}

fn slice(
    service: &ServiceSpec,
    pods: &[&PodSpec],
    family: &str,
    address: impl Fn(&PodSpec) -> IpAddr,
) -> String {
    let ServiceSpec {
        name, namespace, ..
    } = service;
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\n\
         kind: EndpointSlice\n\
         metadata:\n  \
           name: {name}-{suffix}\n  \
           namespace: {namespace}\n  \
           labels: {{kubernetes.io/service-name: {name}}}\n\
         addressType: {family}\n\
         ports:\n",
        suffix = family.to_lowercase()
    );
    for port in &service.ports {
        let (name, target) = (&port.name, port.target);
        let _ = writeln!(text, "- {{name: {name}, port: {target}, protocol: TCP}}");
    }
    if pods.is_empty() {
        text += "endpoints: []\n";
        return text;
    }
    text += "endpoints:\n";
    for pod in pods {
        let (address, name) = (address(pod), &pod.name);
        let _ = writeln!(
            text,
            "- addresses: [\"{address}\"]\n  \
               conditions: {{ready: true}}\n  \
               targetRef: {{kind: Pod, namespace: {namespace}, name: {name}}}"
        );
    }
    text
}
