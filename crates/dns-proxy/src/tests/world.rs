//! A server on loopback, who asks it, and what it knows.

use super::upstream::Upstream;
use crate::message::MAX_MESSAGE;
use crate::tcp::{read_message, write_message};
use crate::{Found, Names, Server, Settings, Stats, StatsHandle};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing that works takes so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What names stand for: addresses, or `-> another`.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixed(pub(super) BTreeMap<String, Found>);

impl Fixed {
    pub(super) fn new(names: &[(&str, &[&str])]) -> Self {
        let found = |words: &[&str]| match words {
            ["->", other] => Found::Alias((*other).into()),
            addresses => {
                Found::Addresses(addresses.iter().map(|one| one.parse().unwrap()).collect())
            }
        };
        let names = names.iter();
        Self(
            names
                .map(|(name, words)| ((*name).to_owned(), found(words)))
                .collect(),
        )
    }
}

impl Names for Fixed {
    fn find(&self, name: &str) -> Option<Found> {
        self.0.get(name).cloned()
    }

    fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        let has = |found: &Found| matches!(found, Found::Addresses(all) if all.contains(&address));
        let mut names = self.0.iter();
        names
            .find(|(_, found)| has(found))
            .map(|(name, _)| name.as_str().into())
    }
}

/// A running server.
pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) names: watch::Sender<Option<Arc<dyn Names>>>,
    pub(super) folder: TempDir,
    stats: StatsHandle,
    running: JoinHandle<()>,
}

impl World {
    /// Knows names, asks one server on, and searches `shop.svc.cluster.local` first.
    pub(super) async fn start(names: &[(&str, &[&str])], upstream: &Upstream) -> Self {
        Self::with(Some(Fixed::new(names)), [upstream.address], |_| {}).await
    }

    pub(super) async fn with(
        names: Option<Fixed>,
        servers: impl Into<Vec<SocketAddr>>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let resolv_conf = folder.path().join("resolv.conf");
        let search = "search Shop.svc.cluster.local. svc.cluster.local\n";
        std::fs::write(&resolv_conf, search).unwrap();
        let mut settings = Settings {
            servers: servers.into(),
            resolv_conf,
            timeout: PATIENCE,
            patience: PATIENCE,
            ..Settings::default()
        };
        change(&mut settings);
        let names = names.map(|names| Arc::new(names) as Arc<dyn Names>);
        let (names, published) = watch::channel(names);
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::bind(&[any], settings, published).await.unwrap();
        Self {
            address: server.addresses()[0],
            names,
            folder,
            stats: server.stats(),
            running: tokio::spawn(server.run()),
        }
    }

    pub(super) fn publish(&self, names: &[(&str, &[&str])]) {
        self.names.send_replace(Some(Arc::new(Fixed::new(names))));
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats.stats()
    }

    /// Asks over UDP.
    pub(super) async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.udp(&query(name, kind)).await
    }

    /// Sends a message over UDP, and returns what comes back.
    pub(super) async fn udp(&self, message: &Message) -> Message {
        let answer = self.udp_raw(&message.to_vec().unwrap()).await;
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.id, message.metadata.id);
        answer
    }

    pub(super) async fn udp_raw(&self, packet: &[u8]) -> Vec<u8> {
        let client = self.client().await;
        client.send(packet).await.unwrap();
        receive(&client).await
    }

    pub(super) async fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        client.connect(self.address).await.unwrap();
        client
    }

    /// Sends a message over TCP, and returns what comes back.
    pub(super) async fn tcp(&self, message: &Message) -> Message {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        write_message(&mut stream, &message.to_vec().unwrap())
            .await
            .unwrap();
        let answer = timeout(PATIENCE, read_message(&mut stream, MAX_MESSAGE)).await;
        Message::from_vec(&answer.unwrap().unwrap()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub(super) async fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let received = timeout(PATIENCE, client.recv(&mut buffer)).await;
    buffer.truncate(received.unwrap().unwrap());
    buffer
}

/// A query that wishes recursion, as those of resolvers.
pub(super) fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(absolute(name), kind));
    message
}

pub(super) fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

pub(super) fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

/// The code, and each record as `name ttl data`.
pub(super) fn told(message: &Message) -> (ResponseCode, Vec<String>) {
    let records = message.answers.iter().map(|record| {
        let data = match &record.data {
            RData::A(address) => address.to_string(),
            RData::AAAA(address) => address.to_string(),
            RData::CNAME(name) => format!("-> {}", name.0),
            RData::PTR(name) => format!("is {}", name.0),
            other => format!("{other}"),
        };
        format!("{} {} {data}", record.name, record.ttl)
    });
    (message.metadata.response_code, records.collect())
}

/// The same with one address, or none.
#[track_caller]
pub(super) fn check(message: &Message, code: ResponseCode, want: &[&str]) {
    let (found, records) = told(message);
    assert_eq!(
        (found, records.as_slice()),
        (code, &strings(want)[..]),
        "{message}"
    );
}

fn strings(want: &[&str]) -> Vec<String> {
    want.iter().map(|one| (*one).to_owned()).collect()
}
