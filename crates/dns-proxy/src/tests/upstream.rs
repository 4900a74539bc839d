//! A nameserver that does as it is told.

use super::world::PATIENCE;
use crate::message::MAX_MESSAGE;
use crate::query::Transport;
use crate::tcp::{read_message, write_message};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

type Behaviour = dyn Fn(&[u8], Transport) -> Vec<Vec<u8>> + Send + Sync;
type Asked = Arc<Mutex<Vec<(Transport, Vec<u8>)>>>;

/// A nameserver that does as it is told.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    asked: Asked,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Answers each query with some messages, over whatever it came; over TCP the connection is closed instead of
    /// answering with none.
    pub(super) async fn start(
        behaviour: impl Fn(&[u8], Transport) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let asked = Asked::default();
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let mut tasks = JoinSet::new();
        tasks.spawn(over_udp(udp, behaviour.clone(), asked.clone()));
        tasks.spawn(over_tcp(tcp, behaviour, asked.clone()));
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    /// Says of every name that it has the address 192.0.2.53.
    pub(super) async fn knowing_all() -> Self {
        Self::start(|query, _| vec![address(query, [192, 0, 2, 53])]).await
    }

    /// Says the same of every name.
    pub(super) async fn saying(code: ResponseCode) -> Self {
        Self::start(move |query, _| vec![only(query, code)]).await
    }

    /// Says nothing.
    pub(super) async fn silent() -> Self {
        Self::start(|_, _| Vec::new()).await
    }

    /// Waits until so many queries have come.
    pub(super) async fn has_been_asked(&self, count: usize) {
        let all = async {
            while self.asked().len() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, all).await.unwrap();
    }

    /// The queries that came, in their order.
    pub(super) fn asked(&self) -> Vec<(Transport, Vec<u8>)> {
        self.asked.lock().unwrap().clone()
    }

    /// The names that were asked for.
    pub(super) fn names(&self) -> Vec<String> {
        let asked = self.asked();
        let name = |packet: &[u8]| {
            Message::from_vec(packet).unwrap().queries[0]
                .name()
                .to_ascii()
        };
        asked.iter().map(|(_, packet)| name(packet)).collect()
    }
}

async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn over_udp(socket: UdpSocket, behaviour: Arc<Behaviour>, asked: Asked) {
    let mut buffer = vec![0; MAX_MESSAGE];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let query = buffer[..length].to_vec();
        let answers = behaviour(&query, Transport::Udp);
        asked.lock().unwrap().push((Transport::Udp, query));
        for answer in answers {
            socket.send_to(&answer, client).await.unwrap();
        }
    }
}

async fn over_tcp(listener: TcpListener, behaviour: Arc<Behaviour>, asked: Asked) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let query = read_message(&mut stream, MAX_MESSAGE).await.unwrap();
        let answers = behaviour(&query, Transport::Tcp);
        asked.lock().unwrap().push((Transport::Tcp, query));
        for answer in answers {
            write_message(&mut stream, &answer).await.unwrap();
        }
    }
}

/// An answer without records.
pub(super) fn response(query: &[u8]) -> Message {
    let mut message = Message::from_vec(query).unwrap().into_response();
    message.metadata.recursion_available = true;
    message
}

pub(super) fn only(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut message = response(query);
    message.metadata.response_code = code;
    message.to_vec().unwrap()
}

pub(super) fn address(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    addresses(query, [address])
}

pub(super) fn addresses(query: &[u8], all: impl IntoIterator<Item = [u8; 4]>) -> Vec<u8> {
    let mut message = response(query);
    let name = message.queries[0].name().clone();
    for address in all {
        let data = RData::A(A(address.into()));
        message.add_answer(Record::from_rdata(name.clone(), 77, data));
    }
    message.to_vec().unwrap()
}
