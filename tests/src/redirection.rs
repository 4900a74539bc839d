//! The rules that redirect a pod's connections to its sidecar.

use crate::namespace::Namespace;
use crate::programs::mesh_agent_binary;

/// The user and group of sidecars: their own connections are not redirected.
pub(crate) const SIDECAR_ID: u32 = 1337;

/// Redirects what a pod sends and receives, as the container does that comes before its others.
///
/// # Panics
///
/// When it cannot be done: root can, with iptables.
#[track_caller]
pub(crate) fn redirect(pod: &Namespace, flags: &[String]) {
    let flags = flags.iter().map(String::as_str);
    let arguments: Vec<_> = ["iptables"].into_iter().chain(flags).collect();
    let ran = pod.run(mesh_agent_binary(), &arguments);
    assert_eq!(
        ran.code, 0,
        "tests of sidecars need root and iptables (`tests/run` installs it): {ran:?}"
    );
}
