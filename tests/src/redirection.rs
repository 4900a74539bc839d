//! The rules that redirect a pod's connections to its sidecar.

use crate::namespace::Namespace;

/// The user and group of sidecars: their own connections are not redirected.
pub(crate) const SIDECAR_ID: u32 = 1337;

/// A family of addresses.
struct Family {
    restore: &'static str,
    loopback: &'static str,
    /// Where connections of a sidecar to its application come from.
    sidecar: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        restore: "iptables-restore",
        loopback: "127.0.0.1/32",
        sidecar: "127.0.0.6/32",
    },
    Family {
        restore: "ip6tables-restore",
        loopback: "::1/128",
        sidecar: "::6/128",
    },
];

/// Redirects what a pod sends and receives, by both families of addresses.
///
/// # Panics
///
/// When it cannot be done: root can, with iptables.
#[track_caller]
pub(crate) fn redirect(pod: &Namespace) {
    // The sidecar's address of IPv6 is not a local one by itself.
    pod.ip("address add ::6/128 dev lo nodad\n");
    for family in &FAMILIES {
        let ran = pod.feed(family.restore, &["--noflush"], rules(family).as_bytes());
        assert_eq!(
            ran.code, 0,
            "tests of sidecars need root and iptables (`tests/run` installs it): {ran:?}"
        );
    }
}

/// Source: Istio, what `istio-iptables` writes when nothing is said.
fn rules(family: &Family) -> String {
    let (loopback, sidecar) = (family.loopback, family.sidecar);
    let mut output = format!("-A ISTIO_OUTPUT -o lo -s {sidecar} -j RETURN\n");
    for kind in ["uid", "gid"] {
        let is_own = format!("-m owner --{kind}-owner {SIDECAR_ID}");
        let is_other = format!("-m owner ! --{kind}-owner {SIDECAR_ID}");
        output += &format!(
            "-A ISTIO_OUTPUT -o lo ! -d {loopback} -p tcp ! --dport 15008 {is_own} -j ISTIO_IN_REDIRECT\n\
             -A ISTIO_OUTPUT -o lo {is_other} -j RETURN\n\
             -A ISTIO_OUTPUT {is_own} -j RETURN\n"
        );
    }
    format!(
        "*nat\n\
         -N ISTIO_INBOUND\n\
         -N ISTIO_REDIRECT\n\
         -N ISTIO_IN_REDIRECT\n\
         -N ISTIO_OUTPUT\n\
         -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n\
         -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n\
         -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n\
         -A PREROUTING -p tcp -j ISTIO_INBOUND\n\
         -A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN\n\
         -A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN\n\
         -A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN\n\
         -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n\
         -A OUTPUT -p tcp -j ISTIO_OUTPUT\n\
         {output}\
         -A ISTIO_OUTPUT -d {loopback} -j RETURN\n\
         -A ISTIO_OUTPUT -j ISTIO_REDIRECT\n\
         COMMIT\n"
    )
}
