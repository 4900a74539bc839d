use super::IptablesArgs;
use crate::backend::Backend;
use crate::error::Error;
use crate::install::Action;
use crate::iptables::Variant;
use crate::options::{
    CaptureOptions, DnsCapture, Interception, Ipv6, Layout, OwnerGroups, Selection,
};
use crate::test_options::any_options;
use crate::values::Owner;
use clap::{CommandFactory as _, Parser as _};
use proptest::prelude::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: IptablesArgs,
}

type Variables = [(&'static str, &'static str)];

fn args(words: &[&str]) -> IptablesArgs {
    let words = ["iptables"].iter().chain(words);
    Cli::try_parse_from(words).unwrap().args
}

fn environment(variables: &Variables) -> impl Fn(&str) -> Option<String> {
    move |asked| {
        let found = variables.iter().find(|(name, _)| *name == asked);
        found.map(|(_, value)| (*value).to_owned())
    }
}

fn options(words: &[&str], variables: &Variables) -> CaptureOptions {
    args(words).options(&environment(variables)).unwrap()
}

#[track_caller]
fn check_error(words: &[&str], variables: &Variables, want: &str) {
    let error = args(words).request(&environment(variables)).unwrap_err();
    assert_eq!(error.to_string(), want);
    assert!(error.is_usage(), "{error}");
}

#[test]
fn the_flags_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_istio_init_passes_is_the_default() {
    let words = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020";
    let words: Vec<&str> = words.split(' ').collect();
    assert_eq!(options(&words, &[]), CaptureOptions::default());
    assert_eq!(options(&[], &[]), CaptureOptions::default());
}

#[test]
fn flags_have_istios_long_names() {
    let options = options(
        &[
            "--envoy-port=1",
            "--inbound-capture-port=2",
            "--inbound-tunnel-port=3",
            "--proxy-uid=4",
            "--proxy-gid=5",
            "--istio-inbound-interception-mode=NONE",
            "--istio-inbound-ports=6",
            "--istio-local-exclude-ports=7",
            "--istio-service-cidr=10.0.0.1/24",
            "--istio-service-exclude-cidr=10.0.0.8/29",
            "--istio-outbound-ports=8",
            "--istio-local-outbound-ports-exclude=9",
            "--istio-exclude-interfaces=eth1",
            "--kube-virt-interfaces=tap0",
            "--redirect-dns",
            "--drop-invalid=true",
            "--dual-stack",
        ],
        &[],
    );
    let want = CaptureOptions {
        outbound_port: 1,
        proxy_users: vec![Owner::Id(4)],
        proxy_groups: vec![Owner::Id(5)],
        interception: Interception::None,
        inbound_ports: Selection::These(vec![6]),
        excluded_inbound_ports: vec![7],
        outbound_networks: Selection::These(vec!["10.0.0.0/24".parse().unwrap()]),
        excluded_outbound_networks: vec!["10.0.0.8/29".parse().unwrap()],
        included_outbound_ports: vec![8],
        excluded_outbound_ports: vec![9],
        excluded_interfaces: vec!["eth1".parse().unwrap()],
        rerouted_interfaces: vec!["tap0".parse().unwrap()],
        drop_invalid: true,
        ipv6: Ipv6::On,
        layout: Layout::Istio {
            inbound_port: 2,
            tunnel_port: 3,
            dns: DnsCapture::NameServers,
        },
        ..CaptureOptions::default()
    };
    assert_eq!(options, want);
}

#[test]
fn the_environment_counts_where_a_flag_is_absent() {
    let variables = [
        ("INBOUND_CAPTURE_PORT", "2"),
        ("INBOUND_TUNNEL_PORT", "3"),
        ("PROXY_UID", "mesh-agent"),
        ("ISTIO_INBOUND_PORTS", ""),
        ("ISTIO_LOCAL_EXCLUDE_PORTS", "7"),
        ("ISTIO_SERVICE_CIDR", "10.0.0.0/8"),
        ("ISTIO_SERVICE_EXCLUDE_CIDR", "10.1.0.0/16"),
        ("ISTIO_OUTBOUND_PORTS", "8"),
        ("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", "9"),
        ("ISTIO_EXCLUDE_INTERFACES", "eth1"),
        ("KUBE_VIRT_INTERFACES", "tap0"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS", "java,202"),
        ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.0/8"),
        ("ISTIO_META_DNS_CAPTURE", "true"),
        ("CAPTURE_ALL_DNS", "1"),
        ("INVALID_DROP", "T"),
        ("ISTIO_DUAL_STACK", "true"),
        // A Service called `envoy` makes Kubernetes set it.
        ("ENVOY_PORT", "tcp://10.0.0.9:80"),
    ];
    let owner = |name: &str| Owner::Name(name.to_owned());
    let want = CaptureOptions {
        proxy_users: vec![owner("mesh-agent")],
        proxy_groups: vec![owner("mesh-agent")],
        inbound_ports: Selection::These(vec![]),
        excluded_inbound_ports: vec![7],
        outbound_networks: Selection::These(vec!["10.0.0.0/8".parse().unwrap()]),
        excluded_outbound_networks: vec!["10.1.0.0/16".parse().unwrap()],
        included_outbound_ports: vec![8],
        excluded_outbound_ports: vec![9],
        excluded_interfaces: vec!["eth1".parse().unwrap()],
        rerouted_interfaces: vec!["tap0".parse().unwrap()],
        owner_groups: OwnerGroups::Only(vec![owner("java"), Owner::Id(202)]),
        drop_invalid: true,
        ipv6: Ipv6::On,
        loopback: "127.0.0.0/8".parse().unwrap(),
        layout: Layout::Istio {
            inbound_port: 2,
            tunnel_port: 3,
            dns: DnsCapture::All,
        },
        ..CaptureOptions::default()
    };
    assert_eq!(options(&[], &variables), want);

    let flags = [
        "-b",
        "*",
        "-i",
        "*",
        "--redirect-dns=false",
        "-z",
        "15006",
        "--drop-invalid=false",
    ];
    let flagged = options(&flags, &variables);
    assert_eq!(flagged.inbound_ports, Selection::All);
    assert_eq!(flagged.outbound_networks, Selection::All);
    let layout = Layout::Istio {
        inbound_port: 15006,
        tunnel_port: 3,
        dns: DnsCapture::Off,
    };
    assert_eq!((flagged.layout, flagged.drop_invalid), (layout, false));
}

#[test]
fn an_empty_variable_is_an_empty_list_or_nothing_said() {
    let variables = [
        ("PROXY_UID", ""),
        ("INBOUND_CAPTURE_PORT", ""),
        ("ISTIO_META_DNS_CAPTURE", ""),
        ("ISTIO_INBOUND_INTERCEPTION_MODE", ""),
        ("ISTIO_SERVICE_CIDR", ""),
    ];
    let want = CaptureOptions {
        outbound_networks: Selection::These(vec![]),
        ..CaptureOptions::default()
    };
    assert_eq!(options(&[], &variables), want);
}

#[test]
fn groups_follow_users_unless_they_are_named() {
    let owners = |words: &[&str]| options(words, &[]).proxy_groups;
    assert_eq!(owners(&["-u", "3,4"]), [Owner::Id(3), Owner::Id(4)]);
    assert_eq!(owners(&["-u", "3", "-g", "5"]), [Owner::Id(5)]);
}

#[test]
fn what_is_to_be_done() {
    let request = |words: &[&str], variables: &Variables| {
        let request = args(words).request(&environment(variables)).unwrap();
        (request.action, request.backend, request.is_forced)
    };
    let (print, install, clean) = (Action::Print, Action::Install, Action::Clean);
    for (words, variables, want) in [
        (&[][..], &[][..], (install, Backend::Auto, false)),
        (&["--print"], &[], (print, Backend::Auto, false)),
        (
            &["-n"],
            &[("CLEANUP_ONLY", "true")],
            (print, Backend::Auto, false),
        ),
        (&["--dry-run"], &[], (print, Backend::Auto, false)),
        (
            &["--clean"],
            &[("DRY_RUN", "true")],
            (clean, Backend::Auto, false),
        ),
        (&["--cleanup-only"], &[], (clean, Backend::Auto, false)),
        (&[], &[("DRY_RUN", "true")], (print, Backend::Auto, false)),
        (
            &[],
            &[("CLEANUP_ONLY", "true")],
            (clean, Backend::Auto, false),
        ),
        (
            &["--native-nftables"],
            &[],
            (install, Backend::Nftables, false),
        ),
        (
            &[],
            &[("NATIVE_NFTABLES", "true")],
            (install, Backend::Nftables, false),
        ),
        (
            &["--force-iptables-binary", "legacy", "--force-apply"],
            &[],
            (install, Backend::Iptables(Variant::Legacy), true),
        ),
        (
            &[],
            &[("FORCE_IPTABLES_BINARY", "nft"), ("FORCE_APPLY", "1")],
            (install, Backend::Iptables(Variant::Nft), true),
        ),
    ] {
        assert_eq!(request(words, variables), want, "{words:?} {variables:?}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    check_error(
        &["-b", "80,x"],
        &[],
        "--istio-inbound-ports: `x` is no port: ports are 1 to 65535",
    );
    check_error(
        &[],
        &[("ISTIO_SERVICE_CIDR", "10.0.0.0/40")],
        "ISTIO_SERVICE_CIDR: `10.0.0.0/40` is no network: write it like 10.0.0.0/8 or fd00::/8",
    );
    check_error(
        &["-x", "*"],
        &[],
        "--istio-service-exclude-cidr: `*` is not possible here: list what is meant",
    );
    check_error(
        &["-m", "tproxy"],
        &[],
        "--istio-inbound-interception-mode: `tproxy` is no interception mode: they are REDIRECT and NONE",
    );
    check_error(
        &["-m", "TPROXY"],
        &[],
        "--istio-inbound-interception-mode: TPROXY is not supported: mesh-agent takes connections that were \
         redirected, and has no transparent listener for those that TPROXY would hand over; use REDIRECT",
    );
    check_error(
        &[],
        &[("INVALID_DROP", "yes")],
        "INVALID_DROP: `yes` is neither `true` nor `false`",
    );
    check_error(
        &["--ipv6", "yes"],
        &[],
        "--ipv6: `yes` is neither `auto`, `on` nor `off`",
    );
    check_error(
        &["--force-iptables-binary", "iptables"],
        &[],
        "--force-iptables-binary: `iptables` is no variant of iptables: they are `nft` and `legacy`",
    );
}

#[test]
fn what_does_not_go_together_is_told() {
    check_error(
        &["-p", "15006"],
        &[],
        "port 15006 cannot take both directions: give -p and -z different ports, or use --legacy",
    );
    check_error(
        &["--legacy", "--redirect-dns"],
        &[],
        "the rules of --legacy cannot capture DNS",
    );
    check_error(
        &["--capture-all-dns"],
        &[],
        "--capture-all-dns does nothing without --redirect-dns",
    );
    check_error(
        &["--native-nftables"],
        &[("FORCE_IPTABLES_BINARY", "nft")],
        "either --native-nftables or --force-iptables-binary can be said, not both",
    );
    check_error(
        &[
            "--outbound-owner-groups",
            "1",
            "--outbound-owner-groups-exclude",
            "2",
        ],
        &[],
        "groups are either captured (--outbound-owner-groups) or excluded (--outbound-owner-groups-exclude), not both",
    );
    for words in [
        ["--print", "--clean", ""],
        ["--legacy", "-z", "1"],
        ["--dual-stack", "--ipv6", "on"],
    ] {
        let words = words.iter().filter(|word| !word.is_empty());
        assert!(Cli::try_parse_from(["iptables"].iter().chain(words)).is_err());
    }
}

#[test]
fn groups_to_capture_have_a_bound() {
    let groups = |count: u32| {
        (0..count)
            .map(|id| id.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let only = |count| args(&["--outbound-owner-groups", &groups(count)]).options(&|_| None);
    assert!(only(64).is_ok());
    assert!(matches!(only(65), Err(Error::Option(_))));
}

proptest! {
    /// What injection writes into a pod means there what it means here.
    #[test]
    fn options_survive_being_written_as_arguments(options in any_options()) {
        let written = options.to_args();
        let words: Vec<&str> = written.iter().map(String::as_str).collect();
        prop_assert_eq!(args(&words).options(&|_| None).unwrap(), options);
    }
}
