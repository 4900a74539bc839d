//! Asks nameservers.

use crate::message::{MAX_MESSAGE, Raw, set_id};
use crate::stats::{Counters, count};
use crate::tcp::{read_message, write_message};
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How nameservers are asked.
pub(crate) struct Asking<'a> {
    pub(crate) servers: &'a [SocketAddr],
    /// For one server, over UDP and TCP each.
    pub(crate) timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) counters: &'a Counters,
}

/// What is longer is taken over TCP, however much a client may take over UDP.
const MAX_DATAGRAM: usize = 4096;

/// What a server said of itself rather than of the name: another may know better.
///
/// Source: glibc and musl go on to the next server in these cases, too.
const POOR: [u8; 3] = [SERVFAIL, NOTIMP, REFUSED];
const FORMERR: u8 = 1;
const SERVFAIL: u8 = 2;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

impl Asking<'_> {
    /// The answer of the first server that has one of at most `limit` bytes, or as much of it as says that it is
    /// longer. Absent: nobody answered.
    ///
    /// The number of the query, and so of the answer, is another than that of `query`.
    pub(crate) async fn answer(&self, query: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut poor = None;
        let mut servers = self.servers.to_vec();
        for _ in 0..self.attempts.max(1) {
            let mut silent = Vec::new();
            for server in servers {
                match self.ask(server, query, limit).await {
                    Ok(answer) if is_poor(&answer) => {
                        count(&self.counters.nameserver_failures);
                        poor.get_or_insert(answer);
                    }
                    Ok(answer) => return Some(answer),
                    Err(error) => {
                        count(&self.counters.nameserver_failures);
                        tracing::debug!(%server, %error, "a nameserver does not answer");
                        silent.push(server);
                    }
                }
            }
            // Who has spoken would say the same again.
            servers = silent;
        }
        poor
    }

    async fn ask(&self, server: SocketAddr, query: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let mut query = query.to_vec();
        set_id(&mut query, id()?);
        let room = limit.min(MAX_DATAGRAM);
        let short = self.limited(self.over_udp(server, &query, room)).await?;
        let is_whole = Raw::new(&short).is_some_and(|raw| !raw.is_truncated());
        if is_whole && short.len() <= room {
            return Ok(short);
        }
        match self.limited(self.over_tcp(server, &query)).await {
            Ok(whole) if whole.len() <= limit => Ok(whole),
            // What was cut by the server itself may have some records left.
            _ if short.len() <= room => Ok(short),
            _ => Ok(Raw::new(&short).map(Raw::cut).unwrap_or_default()),
        }
    }

    async fn limited<T>(&self, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let outcome = timeout(self.timeout, io).await;
        outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Each query has a socket of its own, so that its port cannot be guessed, and who answers must be who was asked.
    async fn over_udp(&self, server: SocketAddr, query: &[u8], room: usize) -> io::Result<Vec<u8>> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await?;
        socket.send(query).await?;
        // With room for one byte more, what is too long shows.
        let mut buffer = vec![0; room + 1];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if is_answer(&buffer[..length], query) {
                buffer.truncate(length);
                return Ok(buffer);
            }
            count(&self.counters.strays);
        }
    }

    async fn over_tcp(&self, server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(server).await?;
        write_message(&mut stream, query).await?;
        let answer = read_message(&mut stream, MAX_MESSAGE).await?;
        if is_answer(&answer, query) {
            return Ok(answer);
        }
        count(&self.counters.strays);
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// One that nobody guesses.
fn id() -> io::Result<u16> {
    let number = OsRng.try_next_u32().map_err(io::Error::other)?;
    Ok(number as u16)
}

/// Whether a message answers a query: it has its number and its question. Servers that did not read the question do
/// not repeat it.
fn is_answer(message: &[u8], query: &[u8]) -> bool {
    let (Some(message), Some(query)) = (Raw::new(message), Raw::new(query)) else {
        return false;
    };
    let has_question = match (message.question(), query.question()) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => message.question_count() == 0 && is_unread(message),
    };
    message.is_response()
        && message.id() == query.id()
        && message.op_code() == query.op_code()
        && has_question
}

fn is_unread(message: Raw<'_>) -> bool {
    let code = message.response_code();
    code == FORMERR || POOR.contains(&code)
}

fn is_poor(answer: &[u8]) -> bool {
    Raw::new(answer).is_some_and(|raw| POOR.contains(&raw.response_code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01";

    #[track_caller]
    fn check(change: impl Fn(&mut Vec<u8>), want: bool) {
        let mut answer = QUERY.to_vec();
        answer[2] |= 0x80;
        change(&mut answer);
        assert_eq!(is_answer(&answer, QUERY), want, "{answer:02x?}");
    }

    #[test]
    fn an_answer_has_the_number_and_the_question_of_its_query() {
        check(|_| {}, true);
        check(|answer| answer[13] = b'A', true);
        check(|answer| answer.extend(b"anything"), true);
        check(|answer| answer[0] ^= 1, false);
        check(|answer| answer[2] &= 0x7f, false);
        check(|answer| answer[2] |= 0x20, false);
        check(|answer| answer[13] = b'b', false);
        check(|answer| answer[20] ^= 0x1c, false);
        check(|answer| answer.truncate(15), false);
        check(|answer| answer.truncate(11), false);
    }

    #[test]
    fn only_who_failed_may_leave_the_question_out() {
        for (code, want) in [(0, false), (1, true), (2, true), (3, false), (5, true)] {
            check(
                |answer| {
                    answer.truncate(12);
                    answer[3] |= code;
                    answer[5] = 0;
                },
                want,
            );
        }
    }
}
