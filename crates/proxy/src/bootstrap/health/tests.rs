use super::*;
use crate::bootstrap::{Bootstrap, InvalidBootstrap};
use std::path::Path;

fn parse(text: &str) -> Result<Bootstrap, InvalidBootstrap> {
    let parsed = toml::from_str(text);
    parsed.map_err(|error| InvalidBootstrap::new(Path::new("g.toml"), text, &error))
}

fn checks(text: &str) -> HealthChecks {
    toml::from_str(text).unwrap()
}

fn check(keys: &str) -> Check {
    let checks = checks(&format!("['a.test']\n{keys}"));
    (**checks.of("a.test", 80).unwrap()).clone()
}

/// Where a mistake among the keys of one check is told, and how.
#[track_caller]
fn check_refused(keys: &str, want: &str) {
    let text = format!("[proxy]\n[health-checks.\"a.test\"]\n{keys}");
    let refused = parse(&text).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.starts_with(want), "{refused}");
}

#[test]
fn what_is_absent_has_a_default() {
    let want = Check {
        ask: Ask::Http {
            host: None,
            path: PathAndQuery::from_static("/"),
            expected: Statuses::default(),
        },
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        jitter: Duration::from_secs(1),
        healthy_threshold: NonZeroU32::new(1).unwrap(),
        unhealthy_threshold: NonZeroU32::new(3).unwrap(),
    };
    assert_eq!(check("protocol = 'http'"), want);
    assert_eq!(check("protocol = 'tcp'").ask, Ask::Tcp);
    let jitter = check("protocol = 'tcp'\ninterval = '5s'").jitter;
    assert_eq!(jitter, Duration::from_millis(500));
    assert!(HealthChecks::default().is_empty());
}

#[test]
fn every_key_is_read() {
    let http = check(
        "protocol = 'http'\npath = '/healthz?deep=1'\nhost = 'b.test:8000'\n\
         expected-statuses = [204, '300-399']\ninterval = '5s'\ntimeout = '100ms'\n\
         jitter = '0s'\nhealthy-threshold = 2\nunhealthy-threshold = 4",
    );
    let want = Check {
        ask: Ask::Http {
            host: Some(Authority::from_static("b.test:8000")),
            path: PathAndQuery::from_static("/healthz?deep=1"),
            expected: Statuses::parse(&["204", "300-399"]).unwrap(),
        },
        interval: Duration::from_secs(5),
        timeout: Duration::from_millis(100),
        jitter: Duration::ZERO,
        healthy_threshold: NonZeroU32::new(2).unwrap(),
        unhealthy_threshold: NonZeroU32::new(4).unwrap(),
    };
    assert_eq!(http, want);
    let grpc = check("protocol = 'grpc'\nservice = 'shop.Cart'\nhost = '[::1]:80'");
    let want = Ask::Grpc {
        host: Some(Authority::from_static("[::1]:80")),
        service: "shop.Cart".into(),
    };
    assert_eq!(grpc.ask, want);
}

#[test]
fn the_most_specific_host_of_the_port_wins() {
    let checks = checks(
        "['*']\nprotocol = 'http'\npath = '/any'\n\
         ['*.b.test']\nprotocol = 'http'\npath = '/suffix'\n\
         ['A.b.test']\nprotocol = 'http'\npath = '/exact'\nport = 80",
    );
    for (host, port, want) in [
        ("a.b.test", 80, "/exact"),
        ("a.b.test", 81, "/suffix"),
        ("c.b.test", 80, "/suffix"),
        ("b.test", 80, "/any"),
    ] {
        let Ask::Http { path, .. } = &checks.of(host, port).unwrap().ask else {
            panic!("{host} is asked otherwise");
        };
        assert_eq!(path, want, "{host}:{port}");
    }
}

#[test]
fn who_has_no_check_is_not_asked() {
    let checks = checks("['a.test']\nprotocol = 'tcp'\nport = 80");
    assert!(checks.of("a.test", 80).is_some());
    assert!(checks.of("a.test", 81).is_none());
    assert!(checks.of("b.test", 80).is_none());
}

#[test]
fn bad_values_are_told_with_their_place() {
    for (keys, want) in [
        ("", "g.toml:2:1: missing field `protocol`"),
        ("protocol = 'udp'", "g.toml:3:12: unknown variant `udp`"),
        (
            "protocol = 'http'\nintervall = '1s'",
            "g.toml:4:1: unknown field `intervall`",
        ),
        (
            "protocol = 'http'\ninterval = '1'",
            "g.toml:4:12: `1` is not a duration",
        ),
        (
            "protocol = 'http'\ninterval = '9ms'",
            "g.toml:4:12: must be at least 10ms",
        ),
        (
            "protocol = 'http'\ntimeout = '0s'",
            "g.toml:4:11: must be at least 10ms",
        ),
        (
            "protocol = 'http'\ntimeout = '25h'",
            "g.toml:4:11: must be at most 24h",
        ),
        (
            "protocol = 'http'\njitter = '25h'",
            "g.toml:4:10: must be at most 24h",
        ),
        ("protocol = 'http'\nport = 0", "g.toml:4:8: "),
        ("protocol = 'http'\nport = 65536", "g.toml:4:8: "),
        ("protocol = 'http'\nhealthy-threshold = 0", "g.toml:4:21: "),
        (
            "protocol = 'http'\nunhealthy-threshold = -1",
            "g.toml:4:23: ",
        ),
        (
            "protocol = 'http'\npath = 'healthz'",
            "g.toml:4:8: `healthz` is no path",
        ),
        (
            "protocol = 'http'\npath = '/a#b'",
            "g.toml:4:8: `/a#b` is no path",
        ),
        (
            "protocol = 'http'\npath = '/a b'",
            "g.toml:4:8: `/a b` is no path",
        ),
        (
            "protocol = 'http'\nhost = 'a@b'",
            "g.toml:4:8: `a@b` is no host",
        ),
        (
            "protocol = 'http'\nhost = 'a:99999'",
            "g.toml:4:8: `a:99999` is no host",
        ),
        ("protocol = 'http'\nhost = ''", "g.toml:4:8: `` is no host"),
        (
            "protocol = 'http'\nexpected-statuses = []",
            "g.toml:4:21: no status is given",
        ),
        (
            "protocol = 'http'\nexpected-statuses = [99]",
            "g.toml:4:21: `99` is neither",
        ),
        (
            "protocol = 'http'\nexpected-statuses = ['2xx']",
            "g.toml:4:21: `2xx` is neither",
        ),
        (
            "protocol = 'http'\nexpected-statuses = [true]",
            "g.toml:4:22: invalid type",
        ),
    ] {
        check_refused(keys, want);
    }
}

#[test]
fn keys_of_another_protocol_are_mistakes() {
    for (keys, want) in [
        (
            "protocol = 'grpc'\npath = '/'",
            "`path` is of no use with protocol \"grpc\"",
        ),
        (
            "protocol = 'tcp'\nexpected-statuses = [200]",
            "`expected-statuses` is of no use with protocol \"tcp\"",
        ),
        (
            "protocol = 'http'\nservice = 's'",
            "`service` is of no use with protocol \"http\"",
        ),
        (
            "protocol = 'tcp'\nhost = 'b.test'",
            "`host` is of no use with protocol \"tcp\"",
        ),
    ] {
        check_refused(keys, &format!("g.toml:2:1: {want}"));
    }
}

#[test]
fn hosts_are_whole_names_and_there_once() {
    for (text, want) in [
        (
            "[health-checks.httpbin]",
            "[health-checks.\"httpbin\"]: no service is called so",
        ),
        (
            "[health-checks.\"*a.test\"]",
            "[health-checks.\"*a.test\"]: a wildcard must be",
        ),
        (
            "[health-checks.\"\"]",
            "[health-checks.\"\"]: host must not be empty",
        ),
        (
            "[health-checks.\"b.test\"]\nprotocol = 'tcp'\n[health-checks.\"B.test\"]",
            "[health-checks]: host `b.test` is there twice",
        ),
    ] {
        let text = format!("{text}\nprotocol = 'tcp'");
        let refused = parse(&text).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains(want), "{refused}");
    }
}

#[test]
fn the_example_that_is_commented_out_can_be_used() {
    let file = include_str!("../../../../../conf/gateway.toml");
    let section = file
        .lines()
        .skip_while(|line| !line.starts_with("# [health-checks."));
    let section: String = section
        .map_while(|line| line.strip_prefix("# "))
        .flat_map(|line| [line, "\n"])
        .collect();
    let bootstrap = parse(&section).unwrap();
    let host = "httpbin.default.svc.cluster.local";
    assert!(bootstrap.health_checks.of(host, 8000).is_some());
}
