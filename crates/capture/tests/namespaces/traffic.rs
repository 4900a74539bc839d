//! Where connections and queries arrive under the rules, with each kind of them and in both families.

use crate::machines::{AGENT, APPLICATION, Who};
use crate::world::{BACKENDS, ELSEWHERE, POD, ROUTER, SERVICE, World, address, udp};

#[test]
fn outbound_connections_arrive_at_the_agent_with_their_destination() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend]);
        for service in SERVICE {
            let landing = world.call(APPLICATION, (service, 80));
            assert_eq!(landing.at, "pod:15001", "{backend:?}");
            assert_eq!(
                landing.original,
                Some(address((service, 80))),
                "{backend:?}"
            );
        }
    }
}

#[test]
fn the_agents_own_connections_go_their_way() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend]);
        for service in SERVICE {
            let by_group = Who {
                user: 5,
                group: 1337,
            };
            let by_user = Who {
                user: 1337,
                group: 5,
            };
            for who in [AGENT, by_group, by_user] {
                assert_eq!(
                    world.call(who, (service, 80)).at,
                    "outside:80",
                    "{backend:?} {who:?}"
                );
            }
        }
        world.iptables(&[backend, &["-u", "5", "-g", "6"]]);
        for service in SERVICE {
            let own = Who { user: 5, group: 5 };
            assert_eq!(
                world.call(own, (service, 80)).at,
                "outside:80",
                "{backend:?}"
            );
            assert_eq!(
                world.call(AGENT, (service, 80)).at,
                "pod:15001",
                "{backend:?}"
            );
        }
    }
}

#[test]
fn excluded_and_included_destinations() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend, &["-x", "10.1.0.9/16,fd00:1::9/32", "-o", "5432"]]);
        for (service, elsewhere) in SERVICE.into_iter().zip(ELSEWHERE) {
            assert_eq!(
                world.call(APPLICATION, (service, 80)).at,
                "outside:80",
                "{backend:?}"
            );
            assert_eq!(
                world.call(APPLICATION, (elsewhere, 80)).at,
                "pod:15001",
                "{backend:?}"
            );
            assert_eq!(
                world.call(APPLICATION, (elsewhere, 5432)).at,
                "outside:5432",
                "{backend:?}"
            );
        }
        // The seed's form, with bits beyond the prefix.
        world.iptables(&[backend, &["-i", "10.1.2.1/24,fd00:1::1/64", "-q", "443"]]);
        for (service, elsewhere) in SERVICE.into_iter().zip(ELSEWHERE) {
            assert_eq!(
                world.call(APPLICATION, (service, 80)).at,
                "pod:15001",
                "{backend:?}"
            );
            assert_eq!(
                world.call(APPLICATION, (elsewhere, 80)).at,
                "outside:80",
                "{backend:?}"
            );
            assert_eq!(
                world.call(APPLICATION, (elsewhere, 443)).at,
                "pod:15001",
                "{backend:?}"
            );
        }
        world.iptables(&[backend, &["-i", ""]]);
        for service in SERVICE {
            assert_eq!(
                world.call(APPLICATION, (service, 80)).at,
                "outside:80",
                "{backend:?}"
            );
        }
    }
}

#[test]
fn inbound_connections_arrive_at_the_other_port() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend]);
        for (pod, router) in POD.into_iter().zip(ROUTER) {
            let landing = world.call_pod((pod, 8080));
            assert_eq!(landing.at, "pod:15006", "{backend:?}");
            assert_eq!(landing.original, Some(address((pod, 8080))), "{backend:?}");
            assert_eq!(landing.from.ip(), address((router, 0)).ip(), "{backend:?}");
            for port in [15008, 15021] {
                assert_eq!(
                    world.call_pod((pod, port)).at,
                    format!("pod:{port}"),
                    "{backend:?}"
                );
            }
        }
        for (flags, captured) in [(["-b", "9080"], 9080), (["-d", "8080"], 9080)] {
            world.iptables(&[backend, &flags]);
            for pod in POD {
                assert_eq!(
                    world.call_pod((pod, captured)).at,
                    "pod:15006",
                    "{backend:?}"
                );
                assert_eq!(world.call_pod((pod, 8080)).at, "pod:8080", "{backend:?}");
            }
        }
        world.iptables(&[backend, &["-b", ""]]);
        for pod in POD {
            assert_eq!(world.call_pod((pod, 8080)).at, "pod:8080", "{backend:?}");
        }
    }
}

#[test]
fn the_machine_itself_is_reached_without_the_agent_unless_the_agent_calls() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend]);
        for (pod, own, loopback) in [(POD[0], "127.0.0.6", "127.0.0.1"), (POD[1], "::6", "::1")] {
            assert_eq!(
                world.call(APPLICATION, (pod, 8080)).at,
                "pod:8080",
                "{backend:?}"
            );
            assert_eq!(
                world.call(APPLICATION, (loopback, 8080)).at,
                "pod:8080",
                "{backend:?}"
            );
            assert_eq!(
                world.call(AGENT, (loopback, 8080)).at,
                "pod:8080",
                "{backend:?}"
            );
            // An application calls a service that is itself: the agent's call is inbound again.
            assert_eq!(
                world.call(AGENT, (pod, 8080)).at,
                "pod:15006",
                "{backend:?}"
            );
            assert_eq!(
                world.call(AGENT, (pod, 15008)).at,
                "pod:15008",
                "{backend:?}"
            );
            // What the agent has let in goes to the application.
            let landing = world.call_from(&world.pod, AGENT, Some(own), (pod, 8080));
            assert_eq!(landing.at, "pod:8080", "{backend:?}");
            assert_eq!(landing.from.ip(), address((own, 0)).ip(), "{backend:?}");
        }
    }
}

#[test]
fn a_network_of_loopback_can_be_captured() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend, &["-i", "127.1.2.3/32"]]);
        assert_eq!(
            world.call(APPLICATION, ("127.1.2.3", 80)).at,
            "pod:15001",
            "{backend:?}"
        );
        assert_eq!(
            world.call(APPLICATION, ("127.0.0.1", 8080)).at,
            "pod:8080",
            "{backend:?}"
        );
    }
}

#[test]
fn devices_left_alone_and_devices_of_virtual_machines() {
    let world = World::new();
    for backend in BACKENDS {
        for device in ["eth0", "eth+"] {
            world.iptables(&[backend, &["-c", device]]);
            assert_eq!(
                world.call(APPLICATION, (SERVICE[0], 80)).at,
                "outside:80",
                "{backend:?}"
            );
            assert_eq!(world.call_pod((POD[0], 8080)).at, "pod:8080", "{backend:?}");
        }
        world.iptables(&[backend, &["-k", "eth0"]]);
        for beyond in ["203.0.113.5", "2001:db8:5::5"] {
            let landing = world.call_pod((beyond, 80));
            assert_eq!(landing.at, "pod:15001", "{backend:?}");
            assert_eq!(landing.original, Some(address((beyond, 80))), "{backend:?}");
        }
    }
}

#[test]
fn groups_captured_or_left_alone() {
    let world = World::new();
    let (one, other) = (Who { user: 9, group: 7 }, Who { user: 9, group: 8 });
    for backend in BACKENDS {
        for (flags, landings) in [
            (
                ["--outbound-owner-groups", "7,5"],
                ["pod:15001", "outside:80"],
            ),
            (
                ["--outbound-owner-groups-exclude", "7,5"],
                ["outside:80", "pod:15001"],
            ),
        ] {
            world.iptables(&[backend, &flags]);
            let found = [one, other].map(|who| world.call(who, (SERVICE[0], 80)).at);
            assert_eq!(found, landings, "{backend:?} {flags:?}");
        }
    }
}

#[test]
fn the_first_layout_has_one_port_for_both() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend, &["--legacy", "-b", "9080"]]);
        for (service, pod) in SERVICE.into_iter().zip(POD) {
            assert_eq!(
                world.call(APPLICATION, (service, 80)).at,
                "pod:15001",
                "{backend:?}"
            );
            assert_eq!(
                world.call(AGENT, (service, 80)).at,
                "outside:80",
                "{backend:?}"
            );
            let landing = world.call_pod((pod, 9080));
            assert_eq!(landing.at, "pod:15001", "{backend:?}");
            assert_eq!(landing.original, Some(address((pod, 9080))), "{backend:?}");
            assert_eq!(world.call_pod((pod, 8080)).at, "pod:8080", "{backend:?}");
        }
    }
}

#[test]
fn dns_queries_are_answered_by_the_agent_in_the_name_of_the_server() {
    let world = World::new();
    let resolv_conf = world.resolv_conf(&ROUTER);
    for backend in BACKENDS {
        world.iptables(&[backend, &["--redirect-dns", "--resolv-conf", &resolv_conf]]);
        for (index, (loopback, any)) in [("127.0.0.1", "0.0.0.0"), ("::1", "::")]
            .into_iter()
            .enumerate()
        {
            let (server, other) = ((ROUTER[index], 53), (ELSEWHERE[index], 53));
            let agent = udp(&world.pod, AGENT, (loopback, 15053));
            check_query(&world, APPLICATION, any, server, &agent, backend);
            assert_eq!(
                world.call(APPLICATION, server).at,
                "pod:15053",
                "{backend:?}"
            );
            assert_eq!(
                world.call(APPLICATION, other).at,
                "pod:15001",
                "{backend:?}"
            );
            assert_eq!(world.call(AGENT, server).at, "outside:53", "{backend:?}");
            // The agent asks the server itself, and an application any other server.
            let outer = udp(&world.outside, APPLICATION, (server.0, 53));
            check_query(&world, AGENT, any, server, &outer, backend);
            drop(outer);
            let outer = udp(&world.outside, APPLICATION, (other.0, 53));
            check_query(&world, APPLICATION, any, other, &outer, backend);
        }
    }
}

#[test]
fn dns_queries_to_any_server_can_be_captured() {
    let world = World::new();
    for backend in BACKENDS {
        world.iptables(&[backend, &["--redirect-dns", "--capture-all-dns"]]);
        for (index, (loopback, any)) in [("127.0.0.1", "0.0.0.0"), ("::1", "::")]
            .into_iter()
            .enumerate()
        {
            let other = (ELSEWHERE[index], 53);
            let agent = udp(&world.pod, AGENT, (loopback, 15053));
            check_query(&world, APPLICATION, any, other, &agent, backend);
            assert_eq!(
                world.call(APPLICATION, other).at,
                "pod:15053",
                "{backend:?}"
            );
            let outer = udp(&world.outside, APPLICATION, (other.0, 53));
            check_query(&world, AGENT, any, other, &outer, backend);
        }
    }
}

#[test]
fn a_name_server_on_the_machine_itself_is_captured() {
    let world = World::new();
    let resolv_conf = world.resolv_conf(&["127.0.0.53"]);
    for backend in BACKENDS {
        world.iptables(&[backend, &["--redirect-dns", "--resolv-conf", &resolv_conf]]);
        let agent = udp(&world.pod, AGENT, ("127.0.0.1", 15053));
        let server = ("127.0.0.53", 53);
        check_query(&world, APPLICATION, "0.0.0.0", server, &agent, backend);
        assert_eq!(
            world.call(APPLICATION, server).at,
            "pod:15053",
            "{backend:?}"
        );
        let stub = udp(&world.pod, APPLICATION, server);
        check_query(&world, AGENT, "0.0.0.0", server, &stub, backend);
    }
}

/// A query of somebody's arrives at `answerer`, and the answer comes back as if from `server`.
#[track_caller]
fn check_query(
    world: &World,
    who: Who,
    any: &str,
    server: (&str, u16),
    answerer: &std::net::UdpSocket,
    backend: &[&str],
) {
    let asking = udp(&world.pod, who, (any, 0));
    asking
        .connect(address(server))
        .expect("a way to the server");
    asking.send(b"question").expect("the question is sent");
    let mut buffer = [0; 64];
    let (length, from) = answerer.recv_from(&mut buffer).unwrap_or_else(|error| {
        panic!("{backend:?}: the query of {who:?} to {server:?} does not arrive: {error}")
    });
    assert_eq!(&buffer[..length], b"question");
    answerer
        .send_to(b"answer", from)
        .expect("the answer is sent");
    let length = asking.recv(&mut buffer).unwrap_or_else(|error| {
        panic!("{backend:?}: the answer from {server:?} to {who:?} does not arrive: {error}")
    });
    assert_eq!(&buffer[..length], b"answer");
}
