//! Queries over TCP: each with its length before it, one after the other.
//!
//! Source: RFC 1035, section 4.2.2, and RFC 7766.

use crate::message::MAX_QUERY;
use crate::query::Transport;
use crate::stats::count;
use crate::work::{Desk, Step};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long to wait when no connection can be taken, as there are too many files open.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections for ever.
pub(crate) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let room = desk.settings.max_connections.min(Semaphore::MAX_PERMITS);
    let room = Arc::new(Semaphore::new(room));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(place) => drop(connections.spawn(converse(stream, Arc::clone(&desk), place))),
                Err(_) => count(&desk.counters.refused_connections),
            },
            Err(error) => {
                tracing::debug!(%error, "a connection cannot be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, desk: Arc<Desk>, _place: OwnedSemaphorePermit) {
    count(&desk.counters.connections);
    let limit = desk.settings.idle_timeout;
    loop {
        let packet = match timeout(limit, read_message(&mut stream, MAX_QUERY)).await {
            Ok(Ok(packet)) => packet,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return count(&desk.counters.malformed);
            }
            _ => return,
        };
        let reply = match desk.step(&packet, Transport::Tcp) {
            Step::Silence => return,
            Step::Reply(reply) => reply,
            Step::Ask(errand) => desk.run(*errand).await,
        };
        let written = timeout(limit, write_message(&mut stream, &reply)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// The next message.
///
/// # Errors
/// When there is none any more, or it is longer than `most` bytes.
pub(crate) async fn read_message(stream: &mut TcpStream, most: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message in one piece.
///
/// # Errors
/// When nobody takes it, or it is longer than a message can be.
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    stream.write_all(&framed).await
}
