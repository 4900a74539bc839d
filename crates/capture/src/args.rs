//! The flags of `mesh-agent iptables`: those of `istio-iptables`, and ours.

mod resolve;
#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::install::{Action, Session};
use crate::lock::Lock;
use std::env;
use std::io::Write;
use std::path::PathBuf;

/// Redirects the traffic of a pod or a machine to the agent.
///
/// A flag that is absent counts as its environment variable says, where it has one, and has the default of a pod
/// without annotations otherwise.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct IptablesArgs {
    /// Print what would be installed, and change nothing
    #[arg(long, short = 'n', visible_alias = "dry-run", conflicts_with = "clean")]
    pub print: bool,

    /// Remove what was installed, and leave everything else as it is
    #[arg(long, visible_alias = "cleanup-only")]
    pub clean: bool,

    /// Port to which outbound TCP connections are redirected [default: 15001]
    #[arg(long, short = 'p', value_name = "PORT")]
    pub envoy_port: Option<String>,

    /// Port to which inbound TCP connections are redirected [env: INBOUND_CAPTURE_PORT] [default: 15006]
    #[arg(long, short = 'z', value_name = "PORT")]
    pub inbound_capture_port: Option<String>,

    /// Port of tunnels, which is never captured [env: INBOUND_TUNNEL_PORT] [default: 15008]
    #[arg(long, short = 'e', value_name = "PORT")]
    pub inbound_tunnel_port: Option<String>,

    /// Users whose traffic is the agent's own: numbers or names [env: PROXY_UID] [default: 1337]
    #[arg(long, short = 'u', value_name = "USERS")]
    pub proxy_uid: Option<String>,

    /// Groups whose traffic is the agent's own [env: PROXY_GID] [default: what -u says]
    #[arg(long, short = 'g', value_name = "GROUPS")]
    pub proxy_gid: Option<String>,

    /// How connections are intercepted: REDIRECT or NONE [env: ISTIO_INBOUND_INTERCEPTION_MODE] [default: REDIRECT]
    #[arg(long, short = 'm', value_name = "MODE")]
    pub istio_inbound_interception_mode: Option<String>,

    /// Inbound ports to capture, `*` for all, empty for none [env: ISTIO_INBOUND_PORTS] [default: *]
    #[arg(long, short = 'b', value_name = "PORTS")]
    pub istio_inbound_ports: Option<String>,

    /// Inbound ports not to capture when -b is `*` [env: ISTIO_LOCAL_EXCLUDE_PORTS] [default: 15090,15021,15020]
    #[arg(long, short = 'd', value_name = "PORTS")]
    pub istio_local_exclude_ports: Option<String>,

    /// Destinations to capture, `*` for all, empty for none [env: ISTIO_SERVICE_CIDR] [default: *]
    #[arg(long, short = 'i', value_name = "NETWORKS")]
    pub istio_service_cidr: Option<String>,

    /// Destinations not to capture [env: ISTIO_SERVICE_EXCLUDE_CIDR]
    #[arg(long, short = 'x', value_name = "NETWORKS")]
    pub istio_service_exclude_cidr: Option<String>,

    /// Outbound ports to capture whatever the destination [env: ISTIO_OUTBOUND_PORTS]
    #[arg(long, short = 'q', value_name = "PORTS")]
    pub istio_outbound_ports: Option<String>,

    /// Outbound ports not to capture [env: ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE]
    #[arg(long, short = 'o', value_name = "PORTS")]
    pub istio_local_outbound_ports_exclude: Option<String>,

    /// Network interfaces whose traffic is not captured [env: ISTIO_EXCLUDE_INTERFACES]
    #[arg(long, short = 'c', value_name = "INTERFACES")]
    pub istio_exclude_interfaces: Option<String>,

    /// Network interfaces of virtual machines, whose traffic is captured as outbound [env: KUBE_VIRT_INTERFACES]
    #[arg(long, short = 'k', value_name = "INTERFACES")]
    pub kube_virt_interfaces: Option<String>,

    /// Groups whose outbound traffic alone is captured [env: ISTIO_OUTBOUND_OWNER_GROUPS] [default: *]
    #[arg(long, value_name = "GROUPS")]
    pub outbound_owner_groups: Option<String>,

    /// Groups whose outbound traffic is not captured [env: ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE]
    #[arg(long, value_name = "GROUPS")]
    pub outbound_owner_groups_exclude: Option<String>,

    /// Loopback addresses of IPv4 that are left alone [env: ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR] [default: 127.0.0.1/32]
    #[arg(long, value_name = "NETWORK")]
    pub outbound_ipv4_loopback_cidr: Option<String>,

    /// Capture DNS queries to the machine's name servers [env: ISTIO_META_DNS_CAPTURE, REDIRECT_DNS]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub redirect_dns: Option<bool>,

    /// With --redirect-dns: capture queries to any name server [env: CAPTURE_ALL_DNS]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub capture_all_dns: Option<bool>,

    /// The file that names the machine's name servers
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,

    /// Drop packets that belong to no connection [env: INVALID_DROP, DROP_INVALID]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub drop_invalid: Option<bool>,

    /// Capture IPv6: `auto` where the machine has it, `on`, or `off` [default: auto]
    #[arg(long, value_name = "WHETHER")]
    pub ipv6: Option<String>,

    /// The same as --ipv6 on [env: ISTIO_DUAL_STACK, DUAL_STACK]
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        conflicts_with = "ipv6"
    )]
    pub dual_stack: Option<bool>,

    /// Make the rules that Istio made at first: one port for both directions, without -z, -e and DNS
    #[arg(long, conflicts_with_all = ["inbound_capture_port", "inbound_tunnel_port"])]
    pub legacy: bool,

    /// Install even when everything is in place already [env: FORCE_APPLY]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub force_apply: Option<bool>,

    /// Use nftables instead of iptables [env: NATIVE_NFTABLES]
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        conflicts_with = "force_iptables_binary"
    )]
    pub native_nftables: Option<bool>,

    /// Use this variant of iptables, `nft` or `legacy`, instead of the one that has rules [env: FORCE_IPTABLES_BINARY]
    #[arg(long, value_name = "VARIANT")]
    pub force_iptables_binary: Option<String>,
}

impl IptablesArgs {
    /// Prints, installs or removes rules, and writes what was done, or would be, to `out`.
    ///
    /// # Errors
    ///
    /// When the flags or the environment do not make sense ([`Error::is_usage`]), or the machine does not have, or does
    /// not permit, what is needed.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), Error> {
        let environment =
            |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let request = self.request(&environment)?;
        let _lock = (request.action != Action::Print).then(Lock::take);
        Session::of_machine().run(&request, out)
    }
}
