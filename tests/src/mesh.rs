//! A mesh: pods on one network, and what a cluster tells their sidecars.

use crate::authority::Authority;
use crate::dns::NameServer;
use crate::files::replace;
use crate::namespace::{Lease, Namespace};
use crate::pod::{Pod, PodSetup};
use crate::poll::eventually;
use crate::registry::{PodSpec, Registry, ServiceSpec};
use crate::setup::Setup;
use crate::sidecar::spiffe_id;
use crate::world::{World, addresses, wait_for_answer};
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// The device of a pod, and of everybody else who is at the router.
const DEVICE: &str = "eth0";

/// Pods of a test's own on one network, and a router between them and the rest of the world:
///
/// ```text
/// pod: 10.244.0.2 --+-- ROUTER -- outside: World::SERVERS, World::NAME_SERVER
/// pod: 10.244.0.3 --+
/// ```
///
/// Pods reach each other at their addresses. The virtual addresses of Services are nobody's: the router says that they
/// cannot be reached, so that only redirected connections to them get anywhere. All of it is gone on drop.
#[derive(Debug)]
pub struct Mesh {
    router: Namespace,
    registry: Arc<Mutex<Registry>>,
    /// The last byte of the next pod's addresses.
    next: AtomicU8,
    _lease: Lease<1>,
    folder: TempDir,
}

/// The rest of the world: servers at [`World::SERVERS`] and [`World::SERVER_V6`], and a DNS server at
/// [`World::NAME_SERVER`] that knows no name yet.
#[derive(Debug)]
pub struct Outside {
    /// Where servers are.
    pub machine: Namespace,
    /// Whom pods may ask for names.
    pub names: NameServer,
    _lease: Lease<1>,
}

impl Mesh {
    /// The router, as pods see it.
    pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
    /// The same by IPv6.
    pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 1);

    /// A new one without pods, apart from all others.
    ///
    /// # Panics
    ///
    /// When it cannot be made: root can, with iproute2.
    #[track_caller]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Sidecars are nobody special, and read what lies there.
        let readable = fs::set_permissions(folder.path(), Permissions::from_mode(0o755));
        readable.expect("the folder is ours");
        let resources = folder.path().join("resources");
        for path in [&resources, &folder.path().join("pods")] {
            fs::create_dir(path).expect("a folder in it");
        }
        let lease = Lease::new(["router"], folder.path());
        let [router] = lease.namespaces.clone();
        router.with_ipv6();
        router.switch("net/ipv4/ip_forward", "1");
        router.switch("net/ipv6/conf/all/forwarding", "1");
        let own = [
            format!("{}/16", Self::ROUTER),
            format!("{}/64", Self::ROUTER_V6),
        ];
        router.ip(&format!(
            "link add pods type bridge\n{}",
            addresses("pods", &own)
        ));
        Self {
            router,
            registry: Arc::new(Mutex::new(Registry::new(resources))),
            next: AtomicU8::new(2),
            _lease: lease,
            folder,
        }
    }

    /// A pod to be: its name is its workload's, and `reviews-v1` has the labels `app: reviews` and `version: v1`.
    pub fn pod(&self, name: &str) -> PodSetup<'_> {
        PodSetup::new(self, name)
    }

    /// A gateway in a pod without a sidecar, which has the resources that are there now, and the identity of a service
    /// account of its namespace.
    pub fn gateway(&self, pod: &Pod, authority: &Authority, account: &str) -> Setup {
        let setup = Setup::within(pod.machine(), pod.address().into())
            .proxy(&format!("service-account = {account:?}"))
            .tls("identity", "\"identity\"");
        let certificate = authority.issue(&[&spiffe_id("istio-system", account)]);
        fs::create_dir(setup.folder().join("identity")).expect("a folder in it");
        let setup = setup
            .beside("identity/key.pem", &certificate.key)
            .beside("identity/cert-chain.pem", &certificate.chain)
            .beside("identity/root-cert.pem", &authority.pem());
        let resources = fs::read_dir(self.resources()).expect("the folder is there");
        resources.fold(setup, |setup, file| {
            let file = file.expect("the folder can be read");
            let content = fs::read(file.path()).expect("the file can be read");
            setup.file(&file.file_name().to_string_lossy(), content)
        })
    }

    /// Adds a Service; returns its virtual address.
    ///
    /// # Panics
    ///
    /// When it is to be headless: [`Mesh::headless`] adds those.
    #[track_caller]
    pub fn service(&self, service: ServiceSpec) -> Ipv4Addr {
        let address = lock(&self.registry).add_service(service);
        address.expect("a Service with a virtual address")
    }

    /// Adds a Service without a virtual address.
    pub fn headless(&self, service: ServiceSpec) {
        lock(&self.registry).add_service(service.headless());
    }

    /// Writes a file of the resources that all sidecars watch.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        replace(&self.resources(), name, content);
    }

    /// Takes a file of the resources away.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.resources().join(name)).expect("the file is there");
    }

    /// Has a pod be no endpoint any more, as one that is deleted; it goes on running.
    pub fn retire(&self, pod: &Pod) {
        let PodSpec {
            namespace, name, ..
        } = pod.spec();
        lock(&self.registry).remove_pod(namespace, name);
    }

    /// Has a retired pod be an endpoint again.
    pub fn readmit(&self, pod: &Pod) {
        self.enroll(pod.spec().clone());
    }

    /// Connects the rest of the world.
    ///
    /// # Panics
    ///
    /// When it cannot be done.
    #[track_caller]
    pub fn outside(&self) -> Outside {
        let (lease, machine) = self.machine("outside");
        self.router.connect("outside", &machine, DEVICE);
        let own = [
            format!("{}/24", World::EDGE_OUTSIDE),
            "2001:db8:51::1/64".to_owned(),
        ];
        self.router.ip(&addresses("outside", &own));
        let servers = World::SERVERS.iter().chain([&World::NAME_SERVER]);
        let mut servers: Vec<_> = servers.map(|at| format!("{at}/24")).collect();
        servers.push(format!("{}/64", World::SERVER_V6));
        machine.ip(&format!(
            "{}route add default via {}\nroute add ::/0 via 2001:db8:51::1\n",
            addresses(DEVICE, &servers),
            World::EDGE_OUTSIDE
        ));
        let address = (World::NAME_SERVER, 53).into();
        let names = machine.enter(|| NameServer::start_at(address));
        self.router.enter(|| wait_for_answer(address));
        Outside {
            machine,
            names,
            _lease: lease,
        }
    }

    /// A machine on the network of pods, and its addresses.
    #[track_caller]
    pub(crate) fn join(&self, role: &str) -> (Lease<1>, Namespace, Ipv4Addr, Ipv6Addr) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (lease, machine) = self.machine(role);
        let wire = format!("pod{number}");
        self.router.connect(&wire, &machine, DEVICE);
        self.router.ip(&format!("link set {wire} master pods up\n"));
        let address = Ipv4Addr::new(10, 244, 0, number);
        let address_v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, number.into());
        let own = [format!("{address}/16"), format!("{address_v6}/64")];
        machine.ip(&format!(
            "{}route add default via {}\nroute add ::/0 via {}\n",
            addresses(DEVICE, &own),
            Self::ROUTER,
            Self::ROUTER_V6
        ));
        for router in [IpAddr::from(Self::ROUTER), Self::ROUTER_V6.into()] {
            machine.enter(|| wait_for_link(router));
        }
        (lease, machine, address, address_v6)
    }

    #[track_caller]
    fn machine(&self, role: &str) -> (Lease<1>, Namespace) {
        let lease = Lease::new([role], self.folder.path());
        let [machine] = lease.namespaces.clone();
        machine.with_ipv6();
        (lease, machine)
    }

    pub(crate) fn enroll(&self, pod: PodSpec) {
        lock(&self.registry).add_pod(pod);
    }

    pub(crate) fn registry(&self) -> Arc<Mutex<Registry>> {
        Arc::clone(&self.registry)
    }

    /// The path of a file that everybody can read.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder().join(name);
        fs::write(&path, content).expect("the folder can be written");
        path.to_str().expect("a path of UTF-8").to_owned()
    }

    /// What every sidecar can read.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that all sidecars watch.
    pub fn resources(&self) -> PathBuf {
        self.folder.path().join("resources")
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A link that was just put up may lose its first packets, and connections wait for a second then. Nobody listens at the
/// router: that it says so proves that it is there.
fn wait_for_link(router: IpAddr) {
    let nobody = SocketAddr::new(router, 1);
    eventually("the router answers", || {
        let dialled = TcpStream::connect_timeout(&nobody, Duration::from_millis(100));
        dialled.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
}
