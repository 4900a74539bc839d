//! What options become, against files in `testdata`: the first line is a command, the rest is what it prints.

use crate::args::IptablesArgs;
use crate::install::Session;
use crate::machine::Ipv6State;
use crate::process::Toolbox;
use clap::Parser as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: IptablesArgs,
}

/// What a command prints on a machine with IPv6 and without tools.
fn printed(command: &str) -> String {
    let words = command
        .split(' ')
        .map(|word| if word == "''" { "" } else { word });
    let args = Cli::try_parse_from(words).unwrap().args;
    let toolbox = Toolbox::of(Vec::new(), Duration::ZERO);
    let ipv6 = Ipv6State {
        is_on: true,
        leads_outside: true,
        has_own_source: false,
    };
    let mut out = Vec::new();
    let request = args.request(&|_| None).unwrap();
    Session::of(toolbox, ipv6).run(&request, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn check(name: &str) {
    let path = format!("testdata/{name}");
    let text = fs::read_to_string(&path).unwrap();
    let (command, want) = text.split_once('\n').unwrap();
    let got = printed(command.trim_start_matches("# "));
    assert_eq!(got, want, "{path}");
}

#[test]
fn a_pod_of_today() {
    check("pod.rules");
    let command = "iptables --print -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x '' -b * -d 15090,15021,15020";
    assert_eq!(
        printed(command),
        printed("iptables --print"),
        "the defaults are those of a pod"
    );
}

/// The rules that Istio gives a pod, in the words in which it gives them to iptables: of each rule the same options,
/// in each chain the same order.
#[test]
fn a_pod_has_istios_rules() {
    let istio = fs::read_to_string("testdata/istio-pod.txt").unwrap();
    let printed = printed("iptables --print --ipv6 off");
    assert_eq!(by_chain(&printed), by_chain(&istio));
}

/// The options of each rule by chain. `-m tcp` is said by `-p tcp` as well.
fn by_chain(text: &str) -> BTreeMap<String, Vec<BTreeSet<String>>> {
    let mut chains = BTreeMap::<String, Vec<BTreeSet<String>>>::new();
    for line in text.lines().filter(|line| line.starts_with("-A ")) {
        let line = line.replace("-m tcp ", "").replace("! -", "!-");
        let words: Vec<&str> = line.split(' ').collect();
        let options = words[2..]
            .chunks(2)
            .map(|option| option.join(" "))
            .collect();
        chains.entry(words[1].to_owned()).or_default().push(options);
    }
    chains
}

#[test]
fn nothing_but_the_chains_when_nothing_is_captured() {
    check("nothing.rules");
}

#[test]
fn lists_of_ports_and_networks() {
    check("lists.rules");
}

#[test]
fn devices_left_alone_and_devices_of_virtual_machines() {
    check("devices.rules");
    check("devices-of-networks.rules");
}

#[test]
fn owners_by_number_and_name() {
    check("owners.rules");
    check("groups.rules");
}

#[test]
fn dns_to_the_name_servers_or_to_any() {
    check("dns.rules");
    check("dns-all.rules");
}

#[test]
fn a_name_server_and_a_network_on_loopback() {
    check("loopback.rules");
}

#[test]
fn packets_of_no_connection_are_dropped() {
    check("drop-invalid.rules");
}

#[test]
fn nftables() {
    check("pod.nft");
    check("everything.nft");
}

#[test]
fn a_dns_server_of_one_family_leaves_the_other_alone() {
    let printed =
        printed("iptables --print --redirect-dns --resolv-conf testdata/resolv-local.conf");
    let (v4, v6) = printed.split_once("# ip6tables-restore").unwrap();
    assert!(
        v4.contains("15053") && !v6.contains("15053") && !v6.contains("*raw"),
        "{printed}"
    );
    // Queries over TCP that the agent itself receives from its machine are alike in both.
    assert!(v6.contains("! --dports 53,15008"), "{printed}");
}

#[test]
fn no_name_server_captures_no_dns() {
    let printed = printed("iptables --print --redirect-dns --resolv-conf /dev/null");
    let (note, rest) = printed.split_once('\n').unwrap();
    assert_eq!(
        note,
        "# note: DNS is not captured: /dev/null names no server"
    );
    assert_eq!(rest, self::printed("iptables --print"));
}

#[test]
fn mode_none_installs_nothing() {
    let want = "# interception mode NONE: nothing is installed\n";
    assert_eq!(printed("iptables --print -m NONE"), want);
}

#[test]
fn an_included_port_is_captured_also_when_it_is_excluded() {
    let printed = printed("iptables --print -b 80,443 -d 443,15020");
    let want = "# note: inbound ports that are listed to be captured are, also when they are excluded: 443\n";
    assert!(printed.starts_with(want), "{printed}");
    assert!(printed.contains("-A ISTIO_INBOUND -p tcp -m tcp --dport 443 -j ISTIO_IN_REDIRECT"));
}

/// The seed's page, rule by rule and in its order.
#[test]
fn the_first_layout_is_that_of_the_seed() {
    let seed = fs::read_to_string("testdata/seed/iptables-capture.rules").unwrap();
    let printed = printed("iptables --print --legacy -b 9080 --ipv6 off");
    let rules = |text: &str| {
        let rules = text.lines().filter(|line| line.starts_with("-A "));
        rules.map(str::to_owned).collect::<Vec<_>>()
    };
    let own_chains = |text: &str| {
        let chains = text.lines().filter(|line| line.starts_with(":ISTIO"));
        chains.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(rules(&printed), rules(&seed));
    assert_eq!(own_chains(&printed), own_chains(&seed));
}

#[test]
fn the_first_layout_knows_the_other_options() {
    check("legacy.rules");
}
