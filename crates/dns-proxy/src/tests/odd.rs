//! What is no query, or none that is answered.

use super::upstream::Upstream;
use super::world::{Fixed, World, check, query, receive, with_edns};
use crate::Settings;
use crate::query::Transport;
use crate::resolv::ResolvConf;
use crate::work::{Desk, Step};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use proptest::prelude::*;
use std::sync::Arc;
use tokio::sync::watch;

fn packet() -> Vec<u8> {
    query("a.test", RecordType::A).to_vec().unwrap()
}

/// Nothing comes back for `packets`, but for what comes after them.
async fn check_silence(packets: &[Vec<u8>]) {
    let upstream = Upstream::silent().await;
    let world = World::start(&[("a.test", &["10.0.0.1"])], &upstream).await;
    let client = world.client().await;
    for packet in packets {
        client.send(packet).await.unwrap();
    }
    let last = packet();
    client.send(&last).await.unwrap();
    assert_eq!(receive(&client).await[..2], last[..2]);
    assert_eq!(world.stats().malformed, packets.len() as u64);
}

/// Else two servers could answer each other for ever.
#[tokio::test]
async fn garbage_and_answers_are_not_answered() {
    let mut answer = packet();
    answer[2] |= 0x80;
    let garbage = b"no DNS".to_vec();
    check_silence(&[garbage, Vec::new(), answer, packet()[..11].to_vec()]).await;
}

/// The code that comes back for a packet, with nothing else.
async fn check_refused(packet: &[u8], want: ResponseCode) {
    let upstream = Upstream::silent().await;
    let world = World::start(&[("a.test", &["10.0.0.1"])], &upstream).await;
    let refused = world.udp_raw(packet).await;
    assert_eq!(refused.len(), 12, "{refused:02x?}");
    let message = Message::from_vec(&refused).unwrap();
    check(&message, want, &[]);
    assert_eq!(message.metadata.id.to_be_bytes(), packet[..2]);
    assert!(message.metadata.recursion_desired);
    assert_eq!(world.stats().malformed, 1);
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn what_is_no_query_is_not_implemented() {
    for code in [OpCode::Notify, OpCode::Status, OpCode::Update] {
        let mut packet = packet();
        packet[2] |= u8::from(code) << 3;
        check_refused(&packet, ResponseCode::NotImp).await;
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_a_format_error() {
    let changes: [fn(&mut Vec<u8>); 8] = [
        |packet| packet[5] = 0,
        |packet| packet[5] = 2,
        |packet| packet[4] = 0xff,
        |packet| packet[12] = 0x40,
        |packet| packet[12] = 63,
        |packet| packet.truncate(20),
        |packet| packet[7] = 1,
        |packet| packet[11] = 1,
    ];
    for change in changes {
        let mut packet = packet();
        change(&mut packet);
        check_refused(&packet, ResponseCode::FormErr).await;
    }
    // A name that points to itself.
    let mut circle = packet();
    circle[12..14].copy_from_slice(&[0xc0, 12]);
    check_refused(&circle, ResponseCode::FormErr).await;
    let mut twice = with_edns(query("a.test", RecordType::A), 1232)
        .to_vec()
        .unwrap();
    twice.extend_from_within(twice.len() - 11..);
    twice[11] = 2;
    check_refused(&twice, ResponseCode::FormErr).await;
    let mut long = packet();
    long.extend([0; 5000]);
    long[11] = 200;
    check_refused(&long, ResponseCode::FormErr).await;
}

#[tokio::test]
async fn a_zone_is_not_handed_out() {
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        let packet = query("a.test", kind).to_vec().unwrap();
        check_refused(&packet, ResponseCode::Refused).await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_over_tcp_does_not_end_the_connection() {
    let upstream = Upstream::silent().await;
    let world = World::start(&[("a.test", &["10.0.0.1"])], &upstream).await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let mut odd = packet();
    odd[5] = 2;
    for (packet, want) in [
        (odd, ResponseCode::FormErr),
        (packet(), ResponseCode::NoError),
    ] {
        crate::tcp::write_message(&mut stream, &packet)
            .await
            .unwrap();
        let answer = crate::tcp::read_message(&mut stream, 512).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.response_code, want);
    }
}

/// A desk without sockets.
fn desk() -> Desk {
    let settings = Settings {
        resolv_conf: "/nonexistent/resolv.conf".into(),
        servers: vec!["192.0.2.1:53".parse().unwrap()],
        ..Settings::default()
    };
    let names: Arc<dyn crate::Names> = Arc::new(Fixed::new(&[("a.test", &["10.0.0.1"])]));
    let (_, names) = watch::channel(Some(names));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let resolv = runtime.block_on(ResolvConf::read(&settings, Vec::new()));
    Desk::new(settings, names, resolv, Arc::default())
}

fn check_step(desk: &Desk, packet: &[u8], over: Transport) -> Result<(), TestCaseError> {
    match desk.step(packet, over) {
        Step::Silence => {
            let is_none = packet.len() < 12 || packet[2] & 0x80 != 0;
            prop_assert!(is_none, "{:02x?}", packet);
        }
        Step::Reply(reply) => {
            prop_assert!(Message::from_vec(&reply).is_ok(), "{:02x?}", packet);
            prop_assert_eq!(&reply[..2], &packet[..2]);
            prop_assert!(over == Transport::Tcp || reply.len() <= 512 || packet.len() > 100);
        }
        Step::Ask(errand) => prop_assert_eq!(&errand.query.packet, packet),
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_or_not(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
        let desk = desk();
        for over in [Transport::Udp, Transport::Tcp] {
            check_step(&desk, &packet, over)?;
        }
    }

    #[test]
    fn a_query_with_some_bytes_changed_is_answered_or_not(
        changes in proptest::collection::vec((0usize..60, any::<u8>()), 1..6),
        length in 0usize..60,
    ) {
        let mut packet = with_edns(query("a.test", RecordType::A), 1232).to_vec().unwrap();
        for (at, byte) in changes {
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
        }
        packet.truncate(length.max(20));
        check_step(&desk(), &packet, Transport::Udp)?;
    }
}
