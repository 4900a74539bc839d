//! Look-ups by a DNS server on loopback.

use super::script::addresses;
use crate::lookup::{Failure, Family, Found, Lookup};
use crate::system::System;
use crate::{LookupFamily, Resolver, Settings, Unresolved};
use e2e::{Mood, NameServer};
use model::Hostname;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

fn asking(server: &NameServer, timeout: Duration) -> System {
    System::new(&Settings {
        servers: vec![server.address()],
        timeout,
        ..Settings::default()
    })
}

async fn look_up(system: &System, name: &str, family: Family) -> Result<Found, Failure> {
    let name = Hostname::try_from(name).unwrap();
    system.lookup(&name, family).await
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn all_addresses_of_a_kind_are_found_and_their_time_to_live() {
    let server = NameServer::start();
    server.set(
        "a.example.com",
        &["192.0.2.2", "192.0.2.1", "2001:db8::1"],
        17,
    );
    let system = asking(&server, PATIENCE);
    let v4 = look_up(&system, "A.example.com", Family::V4).await.unwrap();
    assert_eq!(v4.addresses, addresses(&["192.0.2.2", "192.0.2.1"]));
    assert_eq!(v4.ttl, Duration::from_secs(17));
    let v6 = look_up(&system, "a.example.com", Family::V6).await.unwrap();
    assert_eq!(v6.addresses, addresses(&["2001:db8::1"]));
}

/// How long an answer counts is not the resolver's business.
#[tokio::test]
async fn every_look_up_asks_the_server() {
    let server = NameServer::start();
    let system = asking(&server, PATIENCE);
    for address in ["192.0.2.1", "192.0.2.2"] {
        server.set("a.example.com", &[address], 3600);
        let found = look_up(&system, "a.example.com", Family::V4).await.unwrap();
        assert_eq!(found.addresses, addresses(&[address]));
    }
    server.remove("a.example.com");
    for _ in 0..2 {
        let gone = look_up(&system, "a.example.com", Family::V4).await;
        assert_eq!(gone, Err(Failure::NoSuchName { ttl: None }));
    }
    assert_eq!(server.queries("a.example.com"), 4);
}

#[tokio::test]
async fn what_a_server_knows_is_told_from_what_nobody_knows() {
    let server = NameServer::start();
    server.set("six.example.com", &["2001:db8::1"], 60);
    let system = asking(&server, Duration::from_millis(300));
    let none = look_up(&system, "six.example.com", Family::V4).await;
    assert_eq!(none, Err(Failure::NoAddress { ttl: None }));
    let gone = look_up(&system, "gone.example.com", Family::V4).await;
    assert_eq!(gone, Err(Failure::NoSuchName { ttl: None }));
    for mood in [Mood::Failing, Mood::Silent] {
        server.mood(mood);
        let failed = look_up(&system, "six.example.com", Family::V6).await;
        assert!(
            failed.as_ref().is_err_and(Failure::is_temporary),
            "{mood:?}: {failed:?}"
        );
    }
    server.mood(Mood::Well);
    let again = look_up(&system, "six.example.com", Family::V6).await;
    assert!(again.is_ok(), "{again:?}");
}

/// Answers one question with NXDOMAIN and an SOA record.
fn denying(ttl: u32, minimum: u32) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        let (_, client) = socket.recv_from(&mut query).unwrap();
        let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap();
        let mut answer = query[..2].to_vec();
        answer.extend([0x81, 0x83, 0, 1, 0, 0, 0, 1, 0, 0]);
        answer.extend(&query[12..name_end + 5]);
        // Of the root, class IN, with two names of one byte and five numbers.
        answer.extend([0, 0, 6, 0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend([0, 22, 0, 0]);
        answer.extend([0; 16]);
        answer.extend(minimum.to_be_bytes());
        socket.send_to(&answer, client).unwrap();
    });
    address
}

#[tokio::test]
async fn that_there_is_nothing_counts_as_long_as_the_soa_record_says() {
    for (ttl, minimum) in [(60, 17), (17, 60)] {
        let system = System::new(&Settings {
            servers: vec![denying(ttl, minimum)],
            ..Settings::default()
        });
        let gone = look_up(&system, "gone.example.com", Family::V4).await;
        let ttl = Some(Duration::from_secs(17));
        assert_eq!(gone, Err(Failure::NoSuchName { ttl }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_what_a_server_says() {
    let server = NameServer::start();
    server.set("a.example.com", &["192.0.2.2", "192.0.2.1"], 60);
    let resolver = Resolver::new(Settings {
        servers: vec![server.address()],
        family: LookupFamily::V4Only,
        ..Settings::default()
    });
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let resolver = resolver.clone();
            let name = Hostname::try_from("a.example.com").unwrap();
            tokio::spawn(async move { resolver.resolve(&name).await })
        })
        .collect();
    let mut told = Vec::new();
    for request in requests {
        told.push(request.await.unwrap().unwrap());
    }
    assert_eq!(*told[0], addresses(&["192.0.2.2", "192.0.2.1"]));
    assert!(told.iter().all(|one| Arc::ptr_eq(one, &told[0])));
    assert_eq!(server.queries("a.example.com"), 1);
    let gone = Hostname::try_from("gone.example.com").unwrap();
    let gone = resolver.resolve(&gone).await;
    assert_eq!(gone, Err(Unresolved::NoSuchName));
    let stats = resolver.stats();
    assert_eq!((stats.hits + stats.misses, stats.entries), (101, 2));
}
