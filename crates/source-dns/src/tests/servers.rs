//! Look-ups by a DNS server on loopback.

use crate::Settings;
use crate::lookup::{Failure, Family, Found, Lookup};
use crate::system::System;
use e2e::{Mood, NameServer};
use model::Hostname;
use std::net::IpAddr;
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

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
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
