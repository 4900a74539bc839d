//! What is learnt, proposed, read again and compiled.

use super::Row;
use super::entries::Asked;
use super::learned::Seen;
use super::propose::{Proposal, Wish, propose};
use super::registry::{Present, allows, proxy_of};
use crate::bootstrap::Bootstrap;
use crate::resources::settings;
use config::{Change, Configuration, Content, Published};
use dataplane::PassageProtocol;
use model::{HostPattern, Severity};
use proptest::prelude::*;
use rules::{Denial, ForbiddenNetworks, Reached};
use std::time::SystemTime;

const BOOTSTRAP: &str = "[listen]\nforward-proxy = '127.0.0.1:0'\n";

/// What is in force with these resources.
fn published(bootstrap: &str, texts: &[&str]) -> Published {
    let bootstrap: Bootstrap = toml::from_str(bootstrap).unwrap();
    let mut configuration = Configuration::new(settings(&bootstrap, None));
    let changes = texts.iter().enumerate().map(|(number, text)| Change {
        file: format!("{number}.yaml").into(),
        content: Content::Text((*text).into()),
    });
    configuration.apply(changes.collect());
    configuration.compile(SystemTime::UNIX_EPOCH).unwrap()
}

fn row(host: &str, port: u16, protocol: PassageProtocol) -> Row {
    Row {
        host: host.to_owned(),
        port,
        protocol,
        seen: Seen {
            count: 3,
            received: 10,
            sent: 200,
            first_seen: 1_767_225_600,
            last_seen: 1_767_229_200,
            clients: vec!["10.0.0.1".parse().unwrap()],
            of_further_clients: 0,
            denial: Some(Denial::NotInRegistry),
        },
    }
}

fn wish(fold: &[&str]) -> Wish {
    let fold = fold.iter().map(|one| HostPattern::try_from(*one).unwrap());
    Wish {
        fold: fold.collect(),
        namespace: None,
        default_namespace: "default".to_owned(),
        min_count: 1,
        forbidden: ForbiddenNetworks::default(),
    }
}

fn proposed_to(resources: &str, rows: &[Row], wish: &Wish) -> Proposal {
    let published = published(BOOTSTRAP, &[resources]);
    let present = Present {
        proxy: proxy_of(&published.table).unwrap(),
        resources: &published.resources,
    };
    propose(rows, wish, Some(present))
}

fn errors(published: &Published) -> Vec<String> {
    let diagnostics = published.diagnostics.iter();
    let errors = diagnostics.filter(|one| one.severity == Severity::Error);
    errors.map(ToString::to_string).collect()
}

/// That what is proposed has no errors and allows these rows, beside `texts`.
#[track_caller]
fn check_allowed(texts: &[&str], rows: &[Row]) {
    let published = published(BOOTSTRAP, texts);
    assert_eq!(errors(&published), Vec::<String>::new(), "{texts:?}");
    let proxy = proxy_of(&published.table).unwrap();
    for row in rows {
        let asked = Asked::new(row).unwrap();
        let caller = proxy
            .caller(row.seen.clients[0], std::iter::empty())
            .unwrap();
        let reached = caller.outbound.reach(&asked.target);
        assert!(
            matches!(reached, Reached::Service(_)),
            "{}: {reached:?} with {texts:?}",
            asked.target
        );
        assert!(
            allows(proxy, &asked),
            "{} {:?} with {texts:?}",
            asked.target,
            row.protocol
        );
    }
}

use PassageProtocol::{Http, Tcp, Tls};

#[test]
fn an_entry_says_what_was_seen() {
    let mut rows = [
        row("api.example.com", 443, Tls),
        row("api.example.com", 80, Http),
        row("198.51.100.7", 5432, Tcp),
        row("2001:db8::1", 443, Tls),
    ];
    rows[3].seen.count = 1;
    rows[3].seen.of_further_clients = 1;
    let proposal = propose(&rows, &wish(&[]), None);
    assert_eq!((proposal.entries, proposal.warnings.len()), (3, 0));
    let want = r#"# 6 requests or connections from 2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z,
# 20 bytes received and 400 sent,
# by 10.0.0.1.
# Port 80: HTTP 3 times.
# Port 443: TLS 3 times.
# Without it: not_in_registry.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: "egress-api-example-com"
spec:
  hosts:
  - "api.example.com"
  location: MESH_EXTERNAL
  resolution: DNS
  ports:
  - number: 80
    name: http-80
    protocol: HTTP
  - number: 443
    name: tls-443
    protocol: TLS
---
# 3 requests or connections from 2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z,
# 10 bytes received and 200 sent,
# by 10.0.0.1.
# Port 5432: TCP 3 times.
# Without it: not_in_registry.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: "egress-198-51-100-7"
spec:
  hosts:
  - "egress-198-51-100-7.invalid"
  addresses:
  - "198.51.100.7"
  location: MESH_EXTERNAL
  resolution: NONE
  ports:
  - number: 5432
    name: tcp-5432
    protocol: TCP
---
# 1 request or connection from 2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z,
# 10 bytes received and 200 sent,
# by 10.0.0.1 and others.
# Port 443: TLS once.
# Without it: not_in_registry.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: "egress-2001-db8-0-0-0-0-0-1"
spec:
  hosts:
  - "egress-2001-db8-0-0-0-0-0-1.invalid"
  addresses:
  - "2001:db8::1"
  location: MESH_EXTERNAL
  resolution: NONE
  ports:
  - number: 443
    name: tls-443
    protocol: TLS
"#;
    assert_eq!(proposal.yaml, want);
    check_allowed(&[&proposal.yaml], &rows);
}

/// The hosts of what is proposed, each with its ports.
fn hosts(yaml: &str) -> Vec<String> {
    let published = published(BOOTSTRAP, &[yaml]);
    assert_eq!(errors(&published), Vec::<String>::new(), "{yaml}");
    let entries = published.resources.service_entries.values();
    let mut hosts: Vec<String> = entries
        .map(|entry| {
            let ports = entry.ports.iter();
            let ports: Vec<_> = ports
                .map(|port| format!("{} {}", port.number, port.protocol))
                .collect();
            format!("{} {}", entry.hosts[0].value, ports.join(", "))
        })
        .collect();
    hosts.sort();
    hosts
}

#[test]
fn hosts_are_folded_where_asked_only() {
    let rows = [
        row("a.example.org", 443, Tls),
        row("b.a.example.org", 80, Http),
        row("example.org", 443, Tls),
        row("notexample.org", 443, Tls),
        row("x.deep.example.org", 443, Tls),
    ];
    let all = [
        "a.example.org 443 TLS",
        "b.a.example.org 80 HTTP",
        "example.org 443 TLS",
        "notexample.org 443 TLS",
        "x.deep.example.org 443 TLS",
    ];
    assert_eq!(hosts(&propose(&rows, &wish(&[]), None).yaml), all);
    let folded = [
        "*.deep.example.org 443 TLS",
        "*.example.org 80 HTTP, 443 TLS",
        "example.org 443 TLS",
        "notexample.org 443 TLS",
    ];
    for fold in [
        &["*.example.org", "*.deep.example.org"],
        &["*.deep.example.org", "*.example.org"],
    ] {
        let proposal = propose(&rows, &wish(fold), None);
        assert_eq!(hosts(&proposal.yaml), folded);
        assert!(
            proposal
                .yaml
                .contains("# Of a.example.org, b.a.example.org:")
        );
        check_allowed(&[&proposal.yaml], &rows);
    }
}

#[test]
fn what_speaks_several_protocols_is_allowed_all_of_them() {
    let rows = [
        row("a.test", 1, Http),
        row("a.test", 1, Tls),
        row("a.test", 2, Tls),
        row("a.test", 2, Tcp),
        row("a.test", 3, Http),
        row("a.test", 3, Tcp),
    ];
    let proposal = propose(&rows, &wish(&[]), None);
    let want = ["a.test 1 UNSPECIFIED, 2 TCP, 3 UNSPECIFIED"];
    assert_eq!(hosts(&proposal.yaml), want);
    check_allowed(&[&proposal.yaml], &rows);
}

#[test]
fn names_are_labels_and_none_is_there_twice() {
    let long = format!("{0}.{0}.test", "a".repeat(60));
    let dashes = format!("{}.{}.test", "a".repeat(55), "b".repeat(9));
    let hosts = ["a-b.test", "a.b.test", "a-b-2.test", &long, &dashes];
    let rows = hosts.map(|host| row(host, 443, Tls));
    let proposal = propose(&rows, &wish(&[]), None);
    let names = proposal
        .yaml
        .lines()
        .filter_map(|line| line.strip_prefix("  name: \""));
    let names: Vec<_> = names.map(|name| name.trim_end_matches('"')).collect();
    assert_eq!(names.len(), 5);
    for name in &names {
        assert!(model::is_dns_label(name), "{name}");
        assert_eq!(
            names.iter().filter(|other| *other == name).count(),
            1,
            "{names:?}"
        );
    }
    check_allowed(&[&proposal.yaml], &rows);
}

#[test]
fn what_no_entry_can_have_is_left_out_and_told() {
    for host in [
        "",
        "*",
        "*.com",
        "a_b.test",
        "a b.test",
        "a.test\n# x",
        "a.test\"",
        "localhost",
        "127.1",
        "a..test",
        "bücher.test",
        "egress-10-0-0-1.invalid",
        &"a".repeat(300),
    ] {
        let proposal = propose(&[row(host, 443, Tls)], &wish(&["*.test"]), None);
        assert_eq!((&*proposal.yaml, proposal.entries), ("", 0), "{host}");
        let [warning] = &*proposal.warnings else {
            panic!("{host}: {:?}", proposal.warnings);
        };
        assert!(
            warning.contains("left out") && !warning.contains('\n'),
            "{warning}"
        );
    }
    assert_eq!(
        propose(&[row("a.test", 0, Tls)], &wish(&[]), None)
            .warnings
            .len(),
        1
    );
}

const PRESENT: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: there}
spec:
  hosts: ['*.there.test']
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: network}
spec:
  hosts: [network.test]
  addresses: [10.1.0.0/16]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

#[test]
fn what_is_allowed_already_is_left_out() {
    let rows = [
        row("a.there.test", 443, Tls),
        row("a.there.test", 80, Http),
        row("10.1.2.3", 5432, Tcp),
        row("10.1.2.3", 5432, Tls),
    ];
    let proposal = proposed_to(PRESENT, &rows, &wish(&[]));
    assert_eq!((&*proposal.yaml, proposal.asked.len()), ("", 4));
    let more = [
        row("a.there.test", 8443, Tls),
        row("10.2.0.1", 5432, Tcp),
        row("10.1.2.3", 80, Http),
        row("there.test", 443, Tls),
    ];
    let all = [&rows[..], &more].concat();
    let proposal = proposed_to(PRESENT, &all, &wish(&[]));
    let want = [
        "a.there.test 8443 TLS",
        "egress-10-1-2-3.invalid 80 HTTP",
        "egress-10-2-0-1.invalid 5432 TCP",
        "there.test 443 TLS",
    ];
    assert_eq!(hosts(&proposal.yaml), want);
    check_allowed(&[PRESENT, &proposal.yaml], &all);
}

#[test]
fn what_was_allowed_stays_so_on_the_same_port() {
    let rows = [
        row("a.there.test", 443, Tls),
        row("a.there.test", 443, Http),
    ];
    let proposal = proposed_to(PRESENT, &rows, &wish(&[]));
    assert_eq!(hosts(&proposal.yaml), ["a.there.test 443 UNSPECIFIED"]);
    check_allowed(&[PRESENT, &proposal.yaml], &rows);
}

#[test]
fn a_wildcard_is_no_use_where_another_is_more_specific() {
    let rows = [
        row("a.there.test", 80, Tls),
        row("b.test", 80, Tls),
        row("c.there.test", 80, Http),
    ];
    let proposal = proposed_to(PRESENT, &rows, &wish(&["*.test"]));
    assert_eq!(
        hosts(&proposal.yaml),
        ["*.test 80 TLS", "a.there.test 80 TLS"]
    );
    check_allowed(&[PRESENT, &proposal.yaml], &rows);
}

#[test]
fn an_entry_like_those_proposed_gets_more_ports() {
    let first = [row("a.test", 443, Tls), row("10.9.0.1", 22, Tcp)];
    let before = proposed_to("", &first, &wish(&[])).yaml;
    let all = [
        &first[..],
        &[row("a.test", 80, Http), row("10.9.0.1", 443, Tls)],
    ]
    .concat();
    let proposal = proposed_to(&before, &all, &wish(&[]));
    let replaced = [
        "ServiceEntry default/egress-a-test",
        "ServiceEntry default/egress-10-9-0-1",
    ];
    assert_eq!(proposal.replaced, replaced);
    assert!(
        proposal
            .yaml
            .contains("  name: \"egress-a-test\"\n  namespace: \"default\"\n")
    );
    check_allowed(&[&proposal.yaml], &all);
}

#[test]
fn of_another_entry_with_the_same_host_it_is_told() {
    let present = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own}
spec:
  hosts: [a.test, b.test]
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}]
";
    let rows = [row("a.test", 80, Http), row("c.test", 80, Http)];
    let proposal = proposed_to(present, &rows, &wish(&[]));
    assert_eq!(hosts(&proposal.yaml), ["c.test 80 HTTP"]);
    let want = "a.test is a host of ServiceEntry default/own already, and of several with one host one counts: \
                let that have port 80 HTTP";
    assert_eq!(proposal.warnings, [want]);
}

#[test]
fn names_of_present_objects_are_not_taken() {
    let present = PRESENT.replace("{name: there}", "{name: egress-a-test}");
    let proposal = proposed_to(&present, &[row("a.test", 1, Tcp)], &wish(&[]));
    assert!(
        proposal.yaml.contains("\"egress-a-test-2\""),
        "{}",
        proposal.yaml
    );
    let elsewhere = Wish {
        namespace: Some("null".to_owned()),
        ..wish(&[])
    };
    let proposal = proposed_to(&present, &[row("a.test", 1, Tcp)], &elsewhere);
    assert!(
        proposal
            .yaml
            .contains("  name: \"egress-a-test\"\n  namespace: \"null\"\n")
    );
}

#[test]
fn what_was_seen_too_seldom_is_left_out() {
    let mut rows = [row("a.test", 443, Tls), row("b.test", 443, Tls)];
    rows[1].seen.count = 9;
    let wish = Wish {
        min_count: 4,
        ..wish(&[])
    };
    assert_eq!(hosts(&propose(&rows, &wish, None).yaml), ["b.test 443 TLS"]);
}

#[test]
fn what_an_entry_does_not_help_against_is_told() {
    let mut rows = [row("a.test", 443, Tls)];
    rows[0].seen.denial = Some(Denial::Address);
    let yaml = propose(&rows, &wish(&[]), None).yaml;
    assert!(
        yaml.contains("# It does not help against forbidden_address."),
        "{yaml}"
    );
}

#[test]
fn addresses_of_machines_themselves_are_pointed_out() {
    let mut rows = [row("169.254.169.254", 80, Http), row("10.0.0.1", 80, Http)];
    rows[0].seen.denial = Some(Denial::Address);
    let proposal = propose(&rows, &wish(&[]), None);
    let want = "169.254.169.254 is in a forbidden network, and egress-169-254-169-254 would allow it: \
                is that what you want?";
    assert_eq!(proposal.warnings, [want]);
    assert_eq!(proposal.yaml.matches("# Look twice").count(), 1);
    assert!(!proposal.yaml.contains("does not help"));
}

#[test]
fn every_client_counts() {
    let bootstrap = "[listen]\nforward-proxy = '127.0.0.1:0'\n[forward-proxy]\nclient-namespace = 'b'\n\
        [[forward-proxy.clients]]\nnamespace = 'a'\nnetworks = ['10.0.0.0/8']\n";
    let mut rows = [row("a.there.test", 443, Tls)];
    let proposed = |present: &str, rows: &[Row]| {
        let published = published(bootstrap, &[present]);
        let present = Present {
            proxy: proxy_of(&published.table).unwrap(),
            resources: &published.resources,
        };
        propose(rows, &wish(&[]), Some(present)).entries
    };
    let for_a = PRESENT.replace("spec:", "spec:\n  exportTo: [a]");
    assert_eq!(proposed(&for_a, &rows), 0);
    rows[0].seen.clients.push("192.0.2.1".parse().unwrap());
    assert_eq!(proposed(&for_a, &rows), 1);
    assert_eq!(proposed(PRESENT, &rows), 0);
}

#[test]
fn as_much_as_can_be_learnt_can_be_loaded() {
    let ports = (1..=10_000).map(|port| row("a.test", port, Tcp));
    let yaml = propose(&ports.collect::<Vec<_>>(), &wish(&[]), None).yaml;
    assert!(
        yaml.len() < model::Limits::default().document_bytes,
        "{}",
        yaml.len()
    );
    let label = "a".repeat(62);
    let hosts = (0..10_000).map(|number| {
        let mut row = row(
            &format!("h{number:05}.{label}.{label}.{label}.test"),
            443,
            Tls,
        );
        let clients =
            (0..16).map(|number| format!("2001:db8:1111:2222:3333:4444:5555:{number:x}fff"));
        row.seen.clients = clients.map(|client| client.parse().unwrap()).collect();
        row
    });
    let yaml = propose(&hosts.collect::<Vec<_>>(), &wish(&[]), None).yaml;
    assert!(
        yaml.len() < model::Limits::default().file_bytes,
        "{}",
        yaml.len()
    );
}

fn any_host() -> impl Strategy<Value = String> {
    let label = prop_oneof!["[a-c]", "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?"];
    let name = proptest::collection::vec(label, 1..4).prop_map(|labels| labels.join(".") + ".test");
    prop_oneof![
        4 => name,
        1 => (0u8..4, 0u8..4).prop_map(|(three, four)| format!("10.0.{three}.{four}")),
        1 => (0u16..4).prop_map(|last| format!("2001:db8::{last}")),
        1 => any::<[u16; 8]>().prop_map(|parts| std::net::Ipv6Addr::from(parts).to_string()),
    ]
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let port = prop_oneof![Just(80), Just(443), 1u16..=65535];
    let protocol = prop_oneof![Just(Http), Just(Tls), Just(Tcp)];
    let row =
        (any_host(), port, protocol).prop_map(|(host, port, protocol)| row(&host, port, protocol));
    proptest::collection::vec(row, 0..12)
}

fn any_folds() -> impl Strategy<Value = Vec<&'static str>> {
    let one = prop_oneof![
        Just("*.test"),
        Just("*.a.test"),
        Just("*.b.a.test"),
        Just("*.c.test")
    ];
    proptest::collection::vec(one, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_proposed_allows_what_was_learnt(rows in any_rows(), fold in any_folds()) {
        let proposal = propose(&rows, &wish(&fold), None);
        if !rows.is_empty() {
            check_allowed(&[&proposal.yaml], &rows);
        }
    }

    /// Nothing new is proposed beside what allows everything.
    #[test]
    fn what_is_proposed_once_is_not_proposed_again(rows in any_rows(), fold in any_folds()) {
        let once = propose(&rows, &wish(&fold), None);
        let again = proposed_to(&once.yaml, &rows, &wish(&[]));
        prop_assert_eq!(again.yaml, "");
    }

    /// Of what is present, nothing that clients were seen to use is lost.
    #[test]
    fn what_is_proposed_beside_others_allows_what_was_learnt(rows in any_rows(), fold in any_folds()) {
        let present = PRESENT.replace("there.test", "a.test");
        let proposal = proposed_to(&present, &rows, &wish(&fold));
        if proposal.replaced.is_empty() && !rows.is_empty() {
            check_allowed(&[&present, &proposal.yaml], &rows);
        }
    }

    #[test]
    fn nothing_that_stands_in_the_file_breaks_the_output(
        hosts in proptest::collection::vec("\\PC{0,12}|[a-z.\\-_*:\\[\\]\n#'\"]{0,12}", 1..6),
        times in any::<(u64, u64, u64)>(),
    ) {
        let rows: Vec<Row> = hosts.iter().map(|host| {
            let mut row = row(host, 443, Tls);
            (row.seen.count, row.seen.first_seen, row.seen.last_seen) = times;
            row
        }).collect();
        let proposal = propose(&rows, &wish(&["*.test"]), None);
        let published = published(BOOTSTRAP, &[&proposal.yaml]);
        prop_assert_eq!(errors(&published), Vec::<String>::new());
        prop_assert_eq!(published.resources.service_entries.len(), proposal.entries);
    }
}
