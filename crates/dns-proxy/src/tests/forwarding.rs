//! Names that others know.

use super::upstream::{Upstream, address, only, response};
use super::world::{Fixed, PATIENCE, World, check, query, with_edns};
use crate::message::set_id;
use crate::query::Transport;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, RecordType};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const ANSWER: &[&str] = &["www.example.com. 77 192.0.2.53"];

async fn asking(servers: &[SocketAddr], limit: Duration) -> World {
    World::with(Some(Fixed::default()), servers, |settings| {
        settings.timeout = limit
    })
    .await
}

#[tokio::test]
async fn a_query_and_its_answer_stay_as_they_are_but_for_the_number() {
    let sent = std::sync::Arc::new(Mutex::new(Vec::new()));
    let answers = sent.clone();
    let upstream = Upstream::start(move |query, _| {
        // Bytes behind the message, too.
        let mut answer = address(query, [192, 0, 2, 53]);
        answer.extend(b"trailing");
        answers.lock().unwrap().clone_from(&answer);
        vec![answer]
    });
    let upstream = upstream.await;
    let world = World::start(&[], &upstream).await;
    let mut asked = with_edns(query("WWW.example.com", RecordType::TXT), 1400);
    let options = asked.edns.as_mut().unwrap().options_mut();
    options.insert(EdnsOption::Unknown(65_001, b"kept".to_vec()));
    asked.metadata.authentic_data = true;
    let packet = asked.to_vec().unwrap();
    let mut answer = world.udp_raw(&packet).await;
    let (over, mut asked_on) = upstream.asked().remove(0);
    assert_eq!(over, Transport::Udp);
    set_id(&mut asked_on, asked.metadata.id);
    assert_eq!(asked_on, packet);
    assert_eq!(answer[..2], packet[..2]);
    let sent = sent.lock().unwrap().clone();
    set_id(&mut answer, u16::from_be_bytes([sent[0], sent[1]]));
    assert_eq!(answer, sent);
    let stats = world.stats();
    assert_eq!((stats.answered, stats.forwarded, stats.failed), (0, 1, 0));
}

#[tokio::test]
async fn each_query_has_a_number_and_a_port_of_its_own() {
    let ids = std::sync::Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let seen = ids.clone();
    let upstream = Upstream::start(move |query, _| {
        seen.lock().unwrap().insert([query[0], query[1]]);
        vec![address(query, [192, 0, 2, 53])]
    });
    let upstream = upstream.await;
    let world = World::start(&[], &upstream).await;
    let asked = query("www.example.com", RecordType::A);
    for _ in 0..16 {
        check(&world.udp(&asked).await, ResponseCode::NoError, ANSWER);
    }
    // Sixteen of 65,536 are hardly ever fewer.
    assert!(ids.lock().unwrap().len() > 12);
}

#[tokio::test]
async fn who_asks_over_tcp_is_answered_there_one_after_the_other() {
    let upstream = Upstream::knowing_all().await;
    let world = World::start(&[("a.test", &["10.0.0.1"])], &upstream).await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let asked: Vec<_> = ["www.example.com", "a.test", "www.example.com"]
        .map(|name| query(name, RecordType::A))
        .into();
    let mut framed = Vec::new();
    for message in &asked {
        let packet = message.to_vec().unwrap();
        framed.extend((packet.len() as u16).to_be_bytes());
        framed.extend(packet);
    }
    use tokio::io::AsyncWriteExt;
    stream.write_all(&framed).await.unwrap();
    for (message, want) in asked.iter().zip([ANSWER, &["a.test. 30 10.0.0.1"], ANSWER]) {
        let answer = crate::tcp::read_message(&mut stream, 65_535).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.id, message.metadata.id);
        check(&answer, ResponseCode::NoError, want);
    }
    assert_eq!(world.stats().connections, 1);
}

#[tokio::test]
async fn other_classes_are_others_business() {
    let upstream = Upstream::saying(ResponseCode::NoError).await;
    let world = World::start(&[("a.test", &["10.0.0.1"])], &upstream).await;
    let mut asked = query("a.test", RecordType::A);
    asked.queries[0].set_query_class(DNSClass::CH);
    world.udp(&asked).await;
    assert_eq!(upstream.names(), ["a.test."]);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_silent() {
    let (silent, knowing) = (Upstream::silent().await, Upstream::knowing_all().await);
    let servers = [silent.address, knowing.address];
    let world = asking(&servers, Duration::from_millis(500)).await;
    let answer = world.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::NoError, ANSWER);
    assert_eq!((silent.asked().len(), knowing.asked().len()), (1, 1));
    assert_eq!(world.stats().nameserver_failures, 1);
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_not_waited_for() {
    let knowing = Upstream::knowing_all().await;
    // Nobody can have bound it for all addresses.
    let closed = ([127, 77, 0, 1], knowing.address.port()).into();
    let world = asking(&[closed, knowing.address], PATIENCE).await;
    let began = Instant::now();
    let answer = world.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::NoError, ANSWER);
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_cannot_answer() {
    for code in [
        ResponseCode::ServFail,
        ResponseCode::Refused,
        ResponseCode::NotImp,
    ] {
        let (failing, knowing) = (Upstream::saying(code).await, Upstream::knowing_all().await);
        let world = asking(&[failing.address, knowing.address], PATIENCE).await;
        let answer = world.ask("www.example.com", RecordType::A).await;
        check(&answer, ResponseCode::NoError, ANSWER);
    }
    // That there is no such name is an answer.
    let denying = Upstream::saying(ResponseCode::NXDomain).await;
    let knowing = Upstream::knowing_all().await;
    let world = asking(&[denying.address, knowing.address], PATIENCE).await;
    let answer = world.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::NXDomain, &[]);
}

#[tokio::test]
async fn when_no_server_can_answer_the_first_word_is_said_on() {
    let one = Upstream::saying(ResponseCode::Refused).await;
    let other = Upstream::saying(ResponseCode::ServFail).await;
    let world = asking(&[one.address, other.address], PATIENCE).await;
    let answer = world.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::Refused, &[]);
    // Who has spoken is not asked again.
    assert_eq!((one.asked().len(), other.asked().len()), (1, 1));
}

#[tokio::test]
async fn when_all_servers_are_silent_it_is_a_failure() {
    let silent = Upstream::silent().await;
    let world = asking(&[silent.address], Duration::from_millis(20)).await;
    let answer = world.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::ServFail, &[]);
    assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
    // It is tried again, as datagrams get lost.
    silent.has_been_asked(2).await;
    assert_eq!(world.stats().failed, 1);
}

#[tokio::test]
async fn all_servers_together_have_so_much_time() {
    let silent = Upstream::silent().await;
    let world = World::with(Some(Fixed::default()), [silent.address], |settings| {
        settings.patience = Duration::from_millis(30);
    });
    let answer = world.await.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::ServFail, &[]);
}

#[tokio::test]
async fn answers_to_other_queries_are_not_taken() {
    let upstream = Upstream::start(|query, _| {
        let mut other_number = address(query, [192, 0, 2, 66]);
        other_number[0] ^= 0xff;
        let mut other_name = address(query, [192, 0, 2, 66]);
        other_name[13] ^= 0x01;
        let no_answer = query.to_vec();
        let mut nothing = only(query, ResponseCode::NoError);
        nothing.truncate(12);
        nothing[5] = 0;
        let right = address(query, [192, 0, 2, 53]);
        let garbage = b"garbage".to_vec();
        vec![other_number, other_name, no_answer, nothing, garbage, right]
    });
    let upstream = upstream.await;
    let world = World::start(&[], &upstream).await;
    let answer = world.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::NoError, ANSWER);
    assert_eq!(world.stats().strays, 5);
}

/// Somebody who guesses number and question still is somebody else.
#[tokio::test]
async fn answers_of_others_than_who_was_asked_are_not_taken() {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    // A server hears of the port by the query, as an attacker might by guessing.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address_of_server = server.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, client) = server.recv_from(&mut buffer).unwrap();
        let query = &buffer[..length];
        other
            .send_to(&address(query, [192, 0, 2, 66]), client)
            .unwrap();
        server
            .send_to(&address(query, [192, 0, 2, 53]), client)
            .unwrap();
    });
    let world = asking(&[address_of_server], PATIENCE).await;
    let answer = world.ask("www.example.com", RecordType::A).await;
    check(&answer, ResponseCode::NoError, ANSWER);
    answering.join().unwrap();
}

#[tokio::test]
async fn an_answer_over_tcp_must_be_one_as_well() {
    let upstream = Upstream::start(|query, over| {
        let mut answer = response(query);
        answer.metadata.truncation = over == Transport::Udp;
        let mut answer = answer.to_vec().unwrap();
        if over == Transport::Tcp {
            answer[0] ^= 0xff;
        }
        vec![answer]
    });
    let upstream = upstream.await;
    let world = World::start(&[], &upstream).await;
    let answer = world.ask("www.example.com", RecordType::A).await;
    assert!(answer.metadata.truncation, "what came over UDP counts");
    assert_eq!(world.stats().strays, 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_no_answer_behind_another_name() {
    let upstream = Upstream::start(|query, _| {
        let mut answer = only(query, ResponseCode::NoError);
        answer[7] = 1;
        vec![answer]
    });
    let upstream = upstream.await;
    let world = World::start(&[("a.test", &["->", "b.test"])], &upstream).await;
    let answer = world.ask("a.test", RecordType::A).await;
    check(&answer, ResponseCode::ServFail, &[]);
    assert_eq!(world.stats().failed, 1);
}
