//! Options at random, for tests.

use crate::options::{
    CaptureOptions, DnsCapture, Interception, Ipv6, Layout, OwnerGroups, Selection,
};
use crate::values::{Interface, Owner};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Any options of which rules are made.
pub(crate) fn any_options() -> impl Strategy<Value = CaptureOptions> {
    let destinations = (
        selection(network()),
        list(network()),
        list(port()),
        list(port()),
    );
    let inbound = (
        selection(port()),
        list(port()),
        list(device()),
        list(device()),
    );
    let owners = (owners(1), owners(1), groups());
    let rest = (
        any::<bool>(),
        layout(),
        select(vec![Ipv6::Auto, Ipv6::On, Ipv6::Off]),
        1u16..100,
    );
    (destinations, inbound, owners, rest).prop_map(|(destinations, inbound, owners, rest)| {
        CaptureOptions {
            outbound_port: rest.3,
            proxy_users: owners.0,
            proxy_groups: owners.1,
            interception: Interception::Redirect,
            inbound_ports: inbound.0,
            excluded_inbound_ports: inbound.1,
            outbound_networks: destinations.0,
            excluded_outbound_networks: destinations.1,
            included_outbound_ports: destinations.2,
            excluded_outbound_ports: destinations.3,
            excluded_interfaces: inbound.2,
            rerouted_interfaces: inbound.3,
            owner_groups: owners.2,
            drop_invalid: rest.0,
            ipv6: rest.2,
            loopback: "127.0.0.0/8".parse().unwrap(),
            layout: rest.1,
        }
    })
}

/// Each value once, as they are read.
fn list<T: Clone + std::fmt::Debug + PartialEq>(
    entry: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<T>> {
    distinct(entry, 0)
}

fn distinct<T: Clone + std::fmt::Debug + PartialEq>(
    entry: impl Strategy<Value = T>,
    least: usize,
) -> impl Strategy<Value = Vec<T>> {
    vec(entry, least..4).prop_map(|values| {
        let mut once = Vec::new();
        for value in values {
            if !once.contains(&value) {
                once.push(value);
            }
        }
        once
    })
}

fn selection<T: Clone + std::fmt::Debug + PartialEq>(
    entry: impl Strategy<Value = T>,
) -> impl Strategy<Value = Selection<T>> {
    prop_oneof![Just(Selection::All), list(entry).prop_map(Selection::These)]
}

fn port() -> impl Strategy<Value = u16> {
    1u16..=65535
}

fn network() -> impl Strategy<Value = IpNet> {
    let texts = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "127.1.2.3/32",
        "0.0.0.0/0",
        "fd00::/8",
        "::1/128",
    ];
    select(texts.map(|text| text.parse().unwrap()).to_vec())
}

fn device() -> impl Strategy<Value = Interface> {
    select(
        ["eth0", "eth1", "net+"]
            .map(|name| name.parse().unwrap())
            .to_vec(),
    )
}

fn owners(least: usize) -> impl Strategy<Value = Vec<Owner>> {
    let owner = prop_oneof![
        any::<u32>().prop_map(Owner::Id),
        Just(Owner::Name("mesh-agent".to_owned())),
    ];
    distinct(owner, least)
}

fn groups() -> impl Strategy<Value = OwnerGroups> {
    prop_oneof![
        owners(0).prop_map(OwnerGroups::AllBut),
        owners(0).prop_map(OwnerGroups::Only)
    ]
}

fn layout() -> impl Strategy<Value = Layout> {
    let dns = select(vec![
        DnsCapture::Off,
        DnsCapture::NameServers,
        DnsCapture::All,
    ]);
    let istio =
        (100u16.., port(), dns).prop_map(|(inbound_port, tunnel_port, dns)| Layout::Istio {
            inbound_port,
            tunnel_port,
            dns,
        });
    prop_oneof![istio, Just(Layout::SinglePort)]
}
