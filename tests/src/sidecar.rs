//! Sidecars, from outside: how they are started, as whom, and with which files.

use crate::authority::Certificate;
use crate::daemon::{Daemon, Home};
use crate::namespace::Namespace;
use crate::programs::mesh_agent_binary;
use crate::redirection::SIDECAR_ID;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the bootstrap file.
pub(crate) const BOOTSTRAP: &str = "mesh-agent.toml";

/// The folder of a sidecar's certificate, beside its bootstrap file.
pub(crate) const IDENTITY: &str = "identity";

/// Starts the binary from where a sidecar, who may not read everything, finds it.
const START: &str = r#"mount --bind "$0" "$1" && exec setpriv --reuid="$2" --regid="$2" --clear-groups "$1" run --config "$3""#;

/// A running sidecar, stopped on drop.
pub type Agent = Daemon<Sidecar>;

/// What a sidecar is started with.
#[derive(Debug)]
pub struct Sidecar {
    pub(crate) folder: PathBuf,
    pub(crate) machine: Namespace,
    /// Where it sees its binary.
    pub(crate) binary: PathBuf,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Home for Sidecar {
    fn what(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        format!("the sidecar of {}", name.to_string_lossy())
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn namespace(&self) -> Option<&Namespace> {
        Some(&self.machine)
    }

    fn command(&self) -> Command {
        let mut command = self.machine.command("unshare");
        command
            .args(["--mount", "sh", "-c", START])
            .args([mesh_agent_binary(), self.binary.clone()])
            .arg(SIDECAR_ID.to_string())
            .arg(self.folder.join(BOOTSTRAP))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Who a service account is.
pub(crate) fn spiffe_id(namespace: &str, account: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
}

pub(crate) fn put_identity(folder: &Path, certificate: &Certificate, roots: &str) {
    fs::create_dir_all(folder).expect("the folder can be made");
    for (name, content) in [
        ("key.pem", certificate.key.as_str()),
        ("cert-chain.pem", certificate.chain.as_str()),
        ("root-cert.pem", roots),
    ] {
        put_for_sidecar(&folder.join(name), content);
    }
}

/// Writes a file that only a sidecar can read.
fn put_for_sidecar(path: &Path, content: &str) {
    let beside = path.with_extension("new");
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600);
    let mut file = file.open(&beside).expect("the folder can be written");
    file.write_all(content.as_bytes())
        .expect("the file is written");
    give_away(&beside);
    fs::rename(&beside, path).expect("the file can be renamed");
}

pub(crate) fn give_away(path: &Path) {
    chown(path, Some(SIDECAR_ID), Some(SIDECAR_ID)).expect("root can give it away");
}
