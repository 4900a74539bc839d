//! What flags and environment mean together.

use super::IptablesArgs;
use crate::backend::Backend;
use crate::environment::{Environment, Said, is_set};
use crate::error::{Error, InvalidOption};
use crate::install::{Action, Request};
use crate::iptables::Variant;
use crate::options::{CaptureOptions, DnsCapture, Ipv6, Layout, OwnerGroups, Selection};
use crate::values::{self, InvalidValue, interface, joined, list, owner, port, selection};

/// More groups to capture are refused: they are conditions of one rule, of which iptables takes no more.
const MAX_GROUPS: usize = 64;

impl IptablesArgs {
    /// What these flags capture, in this environment.
    ///
    /// # Errors
    ///
    /// When they do not make sense.
    pub fn options(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<CaptureOptions, Error> {
        let mut options = CaptureOptions::default();
        self.read_outbound(environment, &mut options)?;
        self.read_inbound(environment, &mut options)?;
        self.read_interfaces(environment, &mut options)?;
        self.read_owners(environment, &mut options)?;
        options.drop_invalid = is_set(
            environment,
            self.drop_invalid,
            &["INVALID_DROP", "DROP_INVALID"],
        )?;
        options.ipv6 = self.ipv6(environment)?;
        options.layout = self.layout(environment, options.outbound_port)?;
        Ok(options)
    }

    /// What of the workload's own connections is captured, and where it goes.
    fn read_outbound(
        &self,
        environment: Environment<'_>,
        options: &mut CaptureOptions,
    ) -> Result<(), InvalidOption> {
        let to = said("--envoy-port", &self.envoy_port, &[]);
        set(
            &mut options.outbound_port,
            to.read_filled(environment, port)?,
        );
        let networks = said(
            "--istio-service-cidr",
            &self.istio_service_cidr,
            &["ISTIO_SERVICE_CIDR"],
        );
        let networks = networks.read(environment, |text| selection(text, values::network))?;
        set(&mut options.outbound_networks, networks);
        let excluded = said(
            "--istio-service-exclude-cidr",
            &self.istio_service_exclude_cidr,
            &["ISTIO_SERVICE_EXCLUDE_CIDR"],
        );
        let excluded = excluded.read(environment, |text| list(text, values::network))?;
        set(&mut options.excluded_outbound_networks, excluded);
        let ports = said(
            "--istio-outbound-ports",
            &self.istio_outbound_ports,
            &["ISTIO_OUTBOUND_PORTS"],
        );
        let ports = ports.read(environment, |text| list(text, port))?;
        set(&mut options.included_outbound_ports, ports);
        let excluded = said(
            "--istio-local-outbound-ports-exclude",
            &self.istio_local_outbound_ports_exclude,
            &["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"],
        );
        let excluded = excluded.read(environment, |text| list(text, port))?;
        set(&mut options.excluded_outbound_ports, excluded);
        let loopback = said(
            "--outbound-ipv4-loopback-cidr",
            &self.outbound_ipv4_loopback_cidr,
            &["ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"],
        );
        let loopback = loopback.read_filled(environment, values::loopback_network)?;
        set(&mut options.loopback, loopback);
        Ok(())
    }

    /// What of the connections to the workload is captured, and how.
    fn read_inbound(
        &self,
        environment: Environment<'_>,
        options: &mut CaptureOptions,
    ) -> Result<(), InvalidOption> {
        let mode = said(
            "--istio-inbound-interception-mode",
            &self.istio_inbound_interception_mode,
            &["ISTIO_INBOUND_INTERCEPTION_MODE"],
        );
        let mode = mode.read(environment, values::interception)?;
        set(&mut options.interception, mode);
        let ports = said(
            "--istio-inbound-ports",
            &self.istio_inbound_ports,
            &["ISTIO_INBOUND_PORTS"],
        );
        let ports = ports.read(environment, |text| selection(text, port))?;
        set(&mut options.inbound_ports, ports);
        let excluded = said(
            "--istio-local-exclude-ports",
            &self.istio_local_exclude_ports,
            &["ISTIO_LOCAL_EXCLUDE_PORTS"],
        );
        let excluded = excluded.read(environment, |text| list(text, port))?;
        set(&mut options.excluded_inbound_ports, excluded);
        Ok(())
    }

    /// The devices whose connections are treated differently.
    fn read_interfaces(
        &self,
        environment: Environment<'_>,
        options: &mut CaptureOptions,
    ) -> Result<(), InvalidOption> {
        let excluded = said(
            "--istio-exclude-interfaces",
            &self.istio_exclude_interfaces,
            &["ISTIO_EXCLUDE_INTERFACES"],
        );
        let excluded = excluded.read(environment, |text| list(text, interface))?;
        set(&mut options.excluded_interfaces, excluded);
        let rerouted = said(
            "--kube-virt-interfaces",
            &self.kube_virt_interfaces,
            &["KUBE_VIRT_INTERFACES"],
        );
        let rerouted = rerouted.read(environment, |text| list(text, interface))?;
        set(&mut options.rerouted_interfaces, rerouted);
        Ok(())
    }

    /// The users and groups whose connections are treated differently.
    fn read_owners(
        &self,
        environment: Environment<'_>,
        options: &mut CaptureOptions,
    ) -> Result<(), Error> {
        let users = said("--proxy-uid", &self.proxy_uid, &["PROXY_UID"]);
        let users = users.read_filled(environment, |text| list(text, owner))?;
        set(&mut options.proxy_users, users);
        let groups = said("--proxy-gid", &self.proxy_gid, &["PROXY_GID"]);
        let groups = groups.read_filled(environment, |text| list(text, owner))?;
        options.proxy_groups = groups.unwrap_or_else(|| options.proxy_users.clone());
        options.owner_groups = self.owner_groups(environment)?;
        Ok(())
    }

    pub(crate) fn request(&self, environment: Environment<'_>) -> Result<Request, Error> {
        let options = self.options(environment)?;
        Ok(Request {
            action: self.action(environment)?,
            notes: notes(&options),
            options,
            resolv_conf: self.resolv_conf.clone(),
            backend: self.backend(environment)?,
            is_forced: is_set(environment, self.force_apply, &["FORCE_APPLY"])?,
        })
    }

    fn action(&self, environment: Environment<'_>) -> Result<Action, Error> {
        if self.print {
            return Ok(Action::Print);
        }
        if self.clean {
            return Ok(Action::Clean);
        }
        if is_set(environment, None, &["DRY_RUN"])? {
            return Ok(Action::Print);
        }
        let cleans = is_set(environment, None, &["CLEANUP_ONLY"])?;
        Ok(if cleans {
            Action::Clean
        } else {
            Action::Install
        })
    }

    fn owner_groups(&self, environment: Environment<'_>) -> Result<OwnerGroups, Error> {
        let only = said(
            "--outbound-owner-groups",
            &self.outbound_owner_groups,
            &["ISTIO_OUTBOUND_OWNER_GROUPS"],
        );
        let all_but = said(
            "--outbound-owner-groups-exclude",
            &self.outbound_owner_groups_exclude,
            &["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"],
        );
        let few = |text: &str| match selection(text, owner)? {
            Selection::These(groups) if groups.len() > MAX_GROUPS => {
                Err(InvalidValue::TooManyGroups)
            }
            groups => Ok(groups),
        };
        let excluded = all_but
            .read(environment, |text| list(text, owner))?
            .unwrap_or_default();
        match only.read(environment, few)? {
            Some(Selection::These(_)) if !excluded.is_empty() => Err(Error::Conflict(
                "groups are either captured (--outbound-owner-groups) or excluded \
                 (--outbound-owner-groups-exclude), not both"
                    .to_owned(),
            )),
            Some(Selection::These(groups)) => Ok(OwnerGroups::Only(groups)),
            Some(Selection::All) | None => Ok(OwnerGroups::AllBut(excluded)),
        }
    }

    fn ipv6(&self, environment: Environment<'_>) -> Result<Ipv6, InvalidOption> {
        let asked = said("--ipv6", &self.ipv6, &[]);
        if let Some(ipv6) = asked.read(environment, ipv6)? {
            return Ok(ipv6);
        }
        let is_on = is_set(
            environment,
            self.dual_stack,
            &["ISTIO_DUAL_STACK", "DUAL_STACK"],
        )?;
        Ok(if is_on { Ipv6::On } else { Ipv6::Auto })
    }

    fn layout(&self, environment: Environment<'_>, outbound_port: u16) -> Result<Layout, Error> {
        let dns = self.dns(environment)?;
        if self.legacy {
            return match dns {
                DnsCapture::Off => Ok(Layout::SinglePort),
                _ => Err(Error::Conflict(
                    "the rules of --legacy cannot capture DNS".to_owned(),
                )),
            };
        }
        let inbound = said(
            "--inbound-capture-port",
            &self.inbound_capture_port,
            &["INBOUND_CAPTURE_PORT"],
        );
        let tunnel = said(
            "--inbound-tunnel-port",
            &self.inbound_tunnel_port,
            &["INBOUND_TUNNEL_PORT"],
        );
        let inbound_port = inbound.read_filled(environment, port)?.unwrap_or(15006);
        if inbound_port == outbound_port {
            return Err(Error::Conflict(format!(
                "port {outbound_port} cannot take both directions: give -p and -z different ports, or use --legacy"
            )));
        }
        let tunnel_port = tunnel.read_filled(environment, port)?.unwrap_or(15008);
        Ok(Layout::Istio {
            inbound_port,
            tunnel_port,
            dns,
        })
    }

    fn dns(&self, environment: Environment<'_>) -> Result<DnsCapture, Error> {
        let redirects = is_set(
            environment,
            self.redirect_dns,
            &["ISTIO_META_DNS_CAPTURE", "REDIRECT_DNS"],
        )?;
        let takes_all = is_set(environment, self.capture_all_dns, &["CAPTURE_ALL_DNS"])?;
        match (redirects, takes_all) {
            (false, true) if self.capture_all_dns == Some(true) => Err(Error::Conflict(
                "--capture-all-dns does nothing without --redirect-dns".to_owned(),
            )),
            (false, _) => Ok(DnsCapture::Off),
            (true, false) => Ok(DnsCapture::NameServers),
            (true, true) => Ok(DnsCapture::All),
        }
    }

    fn backend(&self, environment: Environment<'_>) -> Result<Backend, Error> {
        let forced = said(
            "--force-iptables-binary",
            &self.force_iptables_binary,
            &["FORCE_IPTABLES_BINARY"],
        );
        let forced = forced.read_filled(environment, variant)?;
        let is_native = is_set(environment, self.native_nftables, &["NATIVE_NFTABLES"])?;
        match (forced, is_native) {
            (Some(_), true) => Err(Error::Conflict(
                "either --native-nftables or --force-iptables-binary can be said, not both"
                    .to_owned(),
            )),
            (Some(variant), false) => Ok(Backend::Iptables(variant)),
            (None, true) => Ok(Backend::Nftables),
            (None, false) => Ok(Backend::Auto),
        }
    }
}

fn set<T>(option: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *option = said;
    }
}

fn said<'a>(
    flag: &'static str,
    value: &'a Option<String>,
    variables: &'static [&'static str],
) -> Said<'a> {
    Said {
        flag,
        value: value.as_deref(),
        variables,
    }
}

fn ipv6(text: &str) -> Result<Ipv6, InvalidValue> {
    match text {
        "auto" => Ok(Ipv6::Auto),
        "on" => Ok(Ipv6::On),
        "off" => Ok(Ipv6::Off),
        _ => Err(InvalidValue::Ipv6(text.to_owned())),
    }
}

fn variant(text: &str) -> Result<Variant, InvalidValue> {
    match text {
        "nft" => Ok(Variant::Nft),
        "legacy" => Ok(Variant::Legacy),
        _ => Err(InvalidValue::Variant(text.to_owned())),
    }
}

/// What options say to no effect.
fn notes(options: &CaptureOptions) -> Vec<String> {
    let Selection::These(ports) = &options.inbound_ports else {
        return Vec::new();
    };
    let excluded = options.excluded_inbound_ports.iter().copied();
    let both: Vec<u16> = excluded.filter(|port| ports.contains(port)).collect();
    if both.is_empty() {
        return Vec::new();
    }
    let ports = joined(&both);
    vec![format!(
        "inbound ports that are listed to be captured are, also when they are excluded: {ports}"
    )]
}
