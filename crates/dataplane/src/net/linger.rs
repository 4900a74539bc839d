//! Closing without losing the last answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long what a client still sends is read and dropped.
const LONGEST: Duration = Duration::from_secs(1);
/// How much of it.
const MOST: usize = 256 * 1024;
/// How many connections may linger at once; beyond it they are closed as they are.
const MANY: usize = 1024;

static LINGERING: AtomicUsize = AtomicUsize::new(0);

/// Keeps reading a connection that is about to be closed while its client may still be sending.
/// Closing a socket with unread bytes resets it, and a reset can overtake the answer that says why.
pub(crate) fn linger(socket: &TcpStream) {
    let Some(socket) = duplicate(socket) else {
        return;
    };
    if LINGERING.fetch_add(1, Ordering::Relaxed) >= MANY {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    tokio::spawn(async move {
        // A client that outstays the limit is cut off, as it would have been without lingering.
        let _ = tokio::time::timeout(LONGEST, read_to_end(socket)).await;
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    });
}

/// A second handle on the connection. Without one, for lack of descriptors, it is closed at once.
fn duplicate(socket: &TcpStream) -> Option<TcpStream> {
    let copy = socket2::SockRef::from(socket).try_clone().ok()?;
    TcpStream::from_std(copy.into()).ok()
}

async fn read_to_end(mut socket: TcpStream) -> std::io::Result<()> {
    socket.shutdown().await?;
    let mut dropped = [0; 4096];
    let mut total = 0;
    while total < MOST {
        match socket.read(&mut dropped).await? {
            0 => return Ok(()),
            read => total += read,
        }
    }
    Ok(())
}
