//! A sidecar without a pod of its own, to which its application goes on purpose.

use crate::daemon::{Daemon, Home};
use crate::namespace::Namespace;
use crate::port::Port;
use crate::programs::mesh_agent_binary;
use crate::setup::Ports;
use crate::sidecar::BOOTSTRAP;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A running one, stopped on drop.
pub type LoneAgent = Daemon<LoneSidecar>;

/// What it is started with.
#[derive(Debug)]
pub struct LoneSidecar {
    folder: TempDir,
    services: Vec<(String, Port)>,
}

impl Home for LoneSidecar {
    fn what(&self) -> String {
        "the sidecar".to_owned()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn namespace(&self) -> Option<&Namespace> {
        None
    }

    fn command(&self) -> Command {
        let mut command = Command::new(mesh_agent_binary());
        command
            .arg("run")
            .arg("--config")
            .arg(self.folder().join(BOOTSTRAP));
        command
    }
}

impl LoneAgent {
    /// Starts one of a workload in namespace `shop`, for whom each of these services, as in `cart.bank:80`, has a port of its
    /// own, and with more sections of the bootstrap file.
    ///
    /// # Panics
    ///
    /// When it does not get ready.
    #[track_caller]
    pub fn start_for(services: &[&str], sections: &str) -> Self {
        let home = LoneSidecar {
            folder: tempfile::tempdir().expect("a temporary folder"),
            services: services
                .iter()
                .map(|service| ((*service).to_owned(), Port::reserve()))
                .collect(),
        };
        let own = Ports::reserve();
        let bootstrap = home.bootstrap(&own, sections);
        fs::write(home.folder().join(BOOTSTRAP), bootstrap).expect("the folder can be written");
        Self::launch(home, own)
    }

    /// Where a service is reached.
    ///
    /// # Panics
    ///
    /// When it was not asked for.
    pub fn port_of(&self, service: &str) -> u16 {
        let mut services = self.home.services.iter();
        let found = services.find(|(name, _)| name == service);
        found.expect("a service that was asked for").1.number()
    }
}

impl LoneSidecar {
    fn bootstrap(&self, own: &Ports, sections: &str) -> String {
        let mut services = String::new();
        for (service, port) in &self.services {
            let _ = write!(
                services,
                "\"127.0.0.1:{}\" = \"{service}\", ",
                port.number()
            );
        }
        let services = services.trim_end_matches([',', ' ']);
        let [admin, status, metrics] = [&own.admin, &own.status, &own.metrics].map(Port::number);
        format!(
            r#"
[proxy]
name = "web"
namespace = "shop"
labels = {{ app = "web" }}
workers = 1

[capture]
mode = "NONE"
dns = []
services = {{ {services} }}

[admin]
address = "127.0.0.1:{admin}"

[status]
address = "127.0.0.1:{status}"

[metrics]
address = "127.0.0.1:{metrics}"

[access-log]
path = "access.log"
format = "json"

[drain]
delay = "0s"
timeout = "10s"
{sections}"#
        )
    }
}
