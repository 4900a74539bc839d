//! How long answers may be.

use super::upstream::{Upstream, addresses, only, response};
use super::world::{Fixed, World, check, query, with_edns};
use crate::Found;
use crate::message::Raw;
use crate::query::Transport;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::net::{IpAddr, Ipv4Addr};

/// A name with so many addresses.
fn many(count: u32) -> Fixed {
    let addresses = (0..count).map(|at| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + at)));
    let found = Found::Addresses(addresses.collect());
    Fixed([("many.test".to_owned(), found)].into())
}

fn octets(count: u8) -> impl Iterator<Item = [u8; 4]> {
    (0..count).map(|at| [192, 0, 2, at])
}

#[tokio::test]
async fn a_known_answer_is_cut_to_what_its_client_takes() {
    let world = World::with(Some(many(300)), [], |_| {}).await;
    let plain = query("many.test", RecordType::A);
    // 12 bytes of header, 15 of question, 16 each; EDNS takes 11 more.
    for (asked, limit, want) in [
        (plain.clone(), 512, 30),
        (with_edns(plain.clone(), 0), 512, 29),
        (with_edns(plain.clone(), 1232), 1232, 74),
    ] {
        let raw = world.udp_raw(&asked.to_vec().unwrap()).await;
        assert!(raw.len() <= limit, "{}", raw.len());
        let answer = world.udp(&asked).await;
        assert!(answer.metadata.truncation);
        assert_eq!(answer.edns.is_some(), asked.edns.is_some());
        // Nearly as many as would fit.
        assert!(
            (want - 2..=want).contains(&answer.answers.len()),
            "{}",
            answer.answers.len()
        );
    }
    assert_eq!(world.stats().truncated, 6);
    for asked in [plain.clone(), with_edns(plain.clone(), 512)] {
        let answer = world.tcp(&asked).await;
        assert!(!answer.metadata.truncation);
        assert_eq!(answer.answers.len(), 300);
    }
    let whole = world.udp(&with_edns(plain, 65_535)).await;
    assert_eq!(whole.answers.len(), 300);
}

#[tokio::test]
async fn one_answer_has_a_thousand_addresses_at_most() {
    let world = World::with(Some(many(5000)), [], |_| {}).await;
    let asked = query("many.test", RecordType::A);
    let (one, other) = (world.tcp(&asked).await, world.tcp(&asked).await);
    assert_eq!((one.answers.len(), other.answers.len()), (1024, 1024));
    assert_ne!(one.answers, other.answers, "others come the next time");
}

/// Cut over UDP, whole over TCP.
fn cut_over_udp(query: &[u8], over: Transport, count: u8) -> Vec<Vec<u8>> {
    match over {
        Transport::Tcp => vec![addresses(query, octets(count))],
        Transport::Udp => {
            let mut message = response(query);
            message.metadata.truncation = true;
            vec![message.to_vec().unwrap()]
        }
    }
}

#[tokio::test]
async fn what_a_nameserver_cut_is_asked_for_again_over_tcp() {
    let upstream = Upstream::start(|query, over| cut_over_udp(query, over, 60)).await;
    let world = World::start(&[], &upstream).await;
    let asked = query("long.test", RecordType::A);
    // Who takes it is given it, and who does not is told that it is longer.
    let whole = world.udp(&with_edns(asked.clone(), 4096)).await;
    assert_eq!(
        (whole.answers.len(), whole.metadata.truncation),
        (60, false)
    );
    let cut = world.udp(&asked).await;
    assert_eq!((cut.answers.len(), cut.metadata.truncation), (0, true));
    let over_tcp = world.tcp(&asked).await;
    assert_eq!(
        (over_tcp.answers.len(), over_tcp.metadata.truncation),
        (60, false)
    );
    let ways: Vec<_> = upstream.asked().iter().map(|(over, _)| *over).collect();
    assert_eq!(ways, [Transport::Udp, Transport::Tcp].repeat(3));
    assert_eq!(world.stats().truncated, 1);
}

#[tokio::test]
async fn what_was_cut_is_better_than_nothing() {
    let upstream = Upstream::start(|query, over| match over {
        Transport::Udp => {
            let mut message =
                hickory_proto::op::Message::from_vec(&addresses(query, octets(3))).unwrap();
            message.metadata.truncation = true;
            vec![message.to_vec().unwrap()]
        }
        Transport::Tcp => Vec::new(),
    });
    let upstream = upstream.await;
    let world = World::start(&[], &upstream).await;
    let cut = world.ask("long.test", RecordType::A).await;
    assert_eq!((cut.answers.len(), cut.metadata.truncation), (3, true));
}

/// Some servers do not care what their client takes.
#[tokio::test]
async fn what_is_too_long_for_its_client_is_cut_here() {
    let upstream = Upstream::start(|query, over| match over {
        Transport::Udp => vec![addresses(query, octets(60))],
        Transport::Tcp => Vec::new(),
    });
    let upstream = upstream.await;
    let world = World::start(&[], &upstream).await;
    let asked = query("long.test", RecordType::A);
    let raw = world.udp_raw(&asked.to_vec().unwrap()).await;
    let message = Raw::new(&raw).unwrap();
    assert!(message.is_truncated() && message.question().is_some());
    assert_eq!(raw.len(), 12 + 15);
    let whole = world.udp(&with_edns(asked, 1000)).await;
    assert_eq!(
        (whole.answers.len(), whole.metadata.truncation),
        (60, false)
    );
}

#[tokio::test]
async fn a_long_answer_behind_another_name_is_cut_as_well() {
    let upstream = Upstream::start(|query, over| cut_over_udp(query, over, 60)).await;
    let world = World::start(&[("a.test", &["->", "long.test"])], &upstream).await;
    let cut = world.ask("a.test", RecordType::A).await;
    assert!(
        cut.metadata.truncation && (25..32).contains(&cut.answers.len()),
        "{cut}"
    );
    let whole = world.tcp(&query("a.test", RecordType::A)).await;
    assert_eq!(
        (whole.answers.len(), whole.metadata.truncation),
        (61, false)
    );
}

#[tokio::test]
async fn the_longest_name_is_answered() {
    let label = "x".repeat(62);
    let name = format!("{label}.{label}.{label}.{}", "y".repeat(60));
    let upstream = Upstream::start(|query, _| vec![only(query, ResponseCode::NoError)]).await;
    let world = World::start(&[(&name, &["10.0.0.1"])], &upstream).await;
    let answer = world.ask(&name, RecordType::A).await;
    check(
        &answer,
        ResponseCode::NoError,
        &[&format!("{name}. 30 10.0.0.1")],
    );
}

#[tokio::test]
async fn what_is_too_long_for_a_datagram_is_taken_over_tcp() {
    let upstream = Upstream::start(|query, _| {
        let all = (0..=u8::MAX).chain(0..=u8::MAX);
        vec![addresses(query, all.map(|at| [192, 0, 2, at]))]
    });
    let upstream = upstream.await;
    let world = World::start(&[("a.test", &["->", "long.test"])], &upstream).await;
    let whole = world.tcp(&query("long.test", RecordType::A)).await;
    assert_eq!(
        (whole.answers.len(), whole.metadata.truncation),
        (512, false)
    );
    let behind_another = world.tcp(&query("a.test", RecordType::A)).await;
    assert_eq!(behind_another.answers.len(), 513);
    let over_udp = with_edns(query("long.test", RecordType::A), 65_535);
    assert_eq!(world.udp(&over_udp).await.answers.len(), 512);
}
