use super::*;
use crate::testing::origin;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

#[track_caller]
fn check_target(text: &str, want: Result<(&str, u16), InvalidTarget>) {
    let found = Target::parse(text, Some(80));
    let found = found.as_ref().map(|one| (one.authority(), one.port()));
    assert_eq!(found.map_err(|error| *error), want, "{text}");
}

/// Promise 20.
#[test]
fn a_host_is_one_however_it_is_spelt() {
    for text in [
        "a.test",
        "A.TEST",
        "a.test.",
        "a.test:80",
        "A.test.:80",
        "a.test:",
    ] {
        check_target(text, Ok(("a.test", 80)));
    }
    check_target("a.test:8080", Ok(("a.test", 8080)));
    check_target("xn--bcher-kva.test", Ok(("xn--bcher-kva.test", 80)));
    check_target("a_b.test", Ok(("a_b.test", 80)));
    check_target("192.0.2.1:443", Ok(("192.0.2.1", 443)));
    check_target("[2001:DB8:0::1]:443", Ok(("[2001:db8::1]", 443)));
    check_target("[::ffff:192.0.2.1]", Ok(("192.0.2.1", 80)));
}

/// Promise 20.
#[test]
fn what_may_be_read_in_two_ways_is_no_host() {
    check_target("a.test@b.test", Err(InvalidTarget::UserInfo));
    check_target("a.test:80@b.test:80", Err(InvalidTarget::UserInfo));
    for text in [
        "",
        ":80",
        ".",
        "a..test",
        ".a.test",
        "a b.test",
        "a.test/",
        "a.test?x",
        "a.test#x",
        "a.test\\b",
        "a.test%00",
        "a%2etest",
        "bücher.test",
        "a.test..",
    ] {
        check_target(text, Err(InvalidTarget::Host));
    }
    // Brackets are for IPv6 addresses, and nothing but a port comes after them.
    for text in [
        "[a.test]",
        "[a.test]:80",
        "[192.0.2.1]",
        "[::1]a.test",
        "[::1]80:80",
        "[::1",
        "::1]",
        "[[::1]]",
    ] {
        check_target(text, Err(InvalidTarget::Host));
    }
    // What inet_aton(3) takes for 127.0.0.1.
    for text in [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.0x1",
    ] {
        check_target(text, Err(InvalidTarget::Host));
    }
    for text in [
        "a.test:0",
        "a.test:65536",
        "a.test:+80",
        "a.test:-1",
        "a.test:8 0",
        "a.test:x",
    ] {
        assert!(Target::parse(text, Some(80)).is_err(), "{text}");
    }
    assert_eq!(Target::parse("a.test", None), Err(InvalidTarget::Port));
}

#[test]
fn a_name_is_compared_as_it_is_read() {
    let target = Target::parse("a.test:443", None).unwrap();
    for name in ["a.test", "A.Test", "a.test."] {
        assert!(target.is_host(name), "{name}");
    }
    for name in ["b.test", "a.test:443", "x.a.test", ""] {
        assert!(!target.is_host(name), "{name}");
    }
}

fn service(host: &str, protocol: OutboundProtocol) -> Arc<OutboundService> {
    Arc::new(OutboundService {
        host: host.into(),
        protocol,
        routes: TcpRoutes::default(),
        origin: origin(),
    })
}

fn outbound(services: &[(u16, &str, OutboundProtocol)]) -> Outbound {
    let mut ports: HashMap<u16, OutboundPort> = HashMap::default();
    for (port, host, protocol) in services {
        let port = ports.entry(*port).or_default();
        let service = service(host, *protocol);
        if let Ok(network) = host.parse() {
            port.addresses.add(network, service);
        } else {
            port.services.add(host, service);
        }
    }
    let ports = ports.into_iter();
    let ports = ports.map(|(number, port)| (number, Arc::new(port)));
    Outbound::new(ports.collect(), HostMap::default(), Otherwise::default())
}

#[track_caller]
fn check_reached(outbound: &Outbound, target: &str, want: Result<&str, Denial>) {
    let target = Target::parse(target, None).unwrap();
    let found = match outbound.reach(&target) {
        Reached::Service(service) => Ok(&*service.host),
        Reached::Passed(..) => panic!("{target} is passed"),
        Reached::Refused(denial) => Err(denial),
    };
    assert_eq!(found, want, "{target}");
}

/// Promise 20.
#[test]
fn names_and_ports_are_the_permission() {
    use OutboundProtocol::{Tcp, Tls};
    let mut outbound = outbound(&[
        (443, "a.example.org", Tls),
        (443, "*.example.org", Tls),
        (5432, "10.1.0.0/16", Tcp),
        (5432, "10.1.2.0/24", Tcp),
        (443, "*.1", Tls),
    ]);
    let hidden = origin().resource.clone();
    outbound.hidden.add("*.secret.test", Arc::new(hidden));
    let cases = [
        ("a.example.org:443", Ok("a.example.org")),
        ("A.EXAMPLE.ORG.:443", Ok("a.example.org")),
        ("b.example.org:443", Ok("*.example.org")),
        ("c.b.example.org:443", Ok("*.example.org")),
        ("example.org:443", Err(Denial::NotInRegistry)),
        ("notexample.org:443", Err(Denial::NotInRegistry)),
        ("a.example.org.evil.test:443", Err(Denial::NotInRegistry)),
        ("a.example.org:80", Err(Denial::Port)),
        ("10.1.9.9:5432", Ok("10.1.0.0/16")),
        ("10.1.2.9:5432", Ok("10.1.2.0/24")),
        ("[::ffff:10.1.2.9]:5432", Ok("10.1.2.0/24")),
        ("10.1.2.9:443", Err(Denial::Port)),
        ("10.2.0.1:5432", Err(Denial::NotInRegistry)),
        ("192.0.2.1:443", Err(Denial::NotInRegistry)),
        ("x.secret.test:443", Err(Denial::NotVisible)),
    ];
    for (target, want) in cases {
        check_reached(&outbound, target, want);
    }
}

#[test]
fn what_is_unknown_is_let_through_where_the_policy_says_so() {
    let mut outbound = outbound(&[]);
    let target = Target::parse("a.test:443", None).unwrap();
    for (policy, want) in [
        (UnknownPolicy::Passed, None),
        (UnknownPolicy::Noted, Some(Denial::NotInRegistry)),
    ] {
        outbound.otherwise.policy = policy;
        let Reached::Passed(_, denial) = outbound.reach(&target) else {
            panic!("{policy:?} refuses");
        };
        assert_eq!(denial, want);
    }
}

fn caller(namespace: &str, networks: &[&str], principals: &[&str]) -> Arc<Caller> {
    Arc::new(Caller {
        namespace: namespace.into(),
        networks: networks.iter().map(|one| one.parse().unwrap()).collect(),
        principals: principals.iter().map(|one| (*one).to_owned()).collect(),
        outbound: Arc::default(),
    })
}

#[test]
fn the_first_client_that_fits_counts() {
    let mut proxy = ForwardProxy {
        callers: vec![
            caller("both", &["10.1.0.0/16"], &["spiffe://td/ns/both/*"]),
            caller("network", &["10.1.0.0/16"], &[]),
            caller("name", &[], &["spiffe://td/ns/name/sa/one"]),
        ],
        others: None,
        mode: EgressMode::Enforce,
    };
    let who = |proxy: &ForwardProxy, address: &str, names: &[&str]| {
        let caller = proxy.caller(address.parse().unwrap(), names.iter().copied());
        caller.map(|caller| caller.namespace.to_string())
    };
    for (address, names, want) in [
        ("10.1.2.3", &["spiffe://td/ns/both/sa/x"][..], Some("both")),
        ("::ffff:10.1.2.3", &[], Some("network")),
        (
            "10.2.0.1",
            &["x", "spiffe://td/ns/name/sa/one"],
            Some("name"),
        ),
        ("10.2.0.1", &["spiffe://td/ns/name/sa/one/more"], None),
        ("10.2.0.1", &["spiffe://td/ns/both/sa/x"], None),
    ] {
        assert_eq!(
            who(&proxy, address, names).as_deref(),
            want,
            "{address} {names:?}"
        );
    }
    proxy.others = Some(caller("others", &[], &[]));
    assert_eq!(who(&proxy, "10.2.0.1", &[]).as_deref(), Some("others"));
}

/// Promise 20.
#[test]
fn addresses_of_machines_themselves_are_forbidden() {
    let forbidden = crate::ForbiddenNetworks::default();
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "255.255.255.255",
        "224.0.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "::ffff:0:127.0.0.1",
    ] {
        assert!(forbidden.forbid(address.parse().unwrap()), "{address}");
    }
    for address in [
        "10.0.0.1",
        "192.168.1.1",
        "8.8.8.8",
        "2001:db8::1",
        "fd00::1",
        "64:ff9b::808:808",
    ] {
        assert!(!forbidden.forbid(address.parse().unwrap()), "{address}");
    }
    assert_eq!(
        forbidden.networks().len(),
        crate::ForbiddenNetworks::DEFAULT.len()
    );
}

/// The definition, written down plainly.
fn naive(networks: &[IpNetOf], address: IpAddr) -> Option<usize> {
    let has = networks
        .iter()
        .enumerate()
        .filter(|(_, net)| net.contains(&address));
    // Of two with one network the first.
    has.rev()
        .max_by_key(|(_, net)| net.prefix_len())
        .map(|(at, _)| at)
}

type IpNetOf = ipnet::IpNet;

proptest! {
    #[test]
    fn the_smallest_network_wins(
        networks in proptest::collection::vec((0u8..4, 0u8..4, 6u8..=32), 0..20),
        address in (0u8..4, 0u8..4),
    ) {
        let networks: Vec<IpNetOf> = networks
            .into_iter()
            .map(|(two, four, length)| {
                IpNetOf::new(Ipv4Addr::new(10, two, 0, four).into(), length).unwrap().trunc()
            })
            .collect();
        let mut map = NetworkMap::default();
        for (at, network) in networks.iter().enumerate() {
            map.add(*network, at);
        }
        let address = IpAddr::from([10, address.0, 0, address.1]);
        let found = map.get(address).map(|at| networks[*at]);
        prop_assert_eq!(found, naive(&networks, address).map(|at| networks[at]));
    }
}

/// Promise 20.
#[test]
fn a_network_of_everything_does_not_mean_the_machine() {
    let forbidden = crate::ForbiddenNetworks::default();
    for (networks, address, want) in [
        (&["0.0.0.0/0"][..], "169.254.169.254", true),
        (&["0.0.0.0/0"], "8.8.8.8", false),
        (&["169.254.0.0/16"], "169.254.169.254", false),
        (&["169.254.169.254/32"], "169.254.169.254", false),
        (&["169.254.169.254/32"], "169.254.169.253", true),
        (&["127.0.0.0/8"], "::ffff:127.0.0.1", false),
        (&["::/0"], "::1", true),
        (&["64:ff9b::7f00:1/128"], "64:ff9b::7f00:1", false),
        (&[], "127.0.0.1", true),
    ] {
        let named: Vec<IpNetOf> = networks.iter().map(|one| one.parse().unwrap()).collect();
        let address = address.parse().unwrap();
        assert_eq!(
            forbidden.forbid_unless(address, &named),
            want,
            "{address} {networks:?}"
        );
    }
}
