//! A way into Pingora's HTTP/2 connector, which takes sockets only.

use super::UpstreamIo;
use crate::net::{BothWays, Silence};
use bytes::Bytes;
use pingora_core::protocols::l4::stream::Stream;
use socket2::{SockRef, Socket};
use std::future::poll_fn;
use std::io;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long nothing may move once one side has ended: a server that does not answer the end of a connection would keep
/// it for ever.
const HALF: Duration = Duration::from_secs(10);

/// A socket that is the connection, or where that is more than a socket, stands for it. A task carries bytes between
/// the two then, and holds no more of them than a copy loop does; it ends when both sides have, or one broke, or it is
/// left alone with one. The second value is the same socket once more.
///
/// # Errors
/// When the process has no file descriptors left.
pub(crate) fn bridge(io: UpstreamIo) -> io::Result<(Stream, Socket)> {
    let io = match io.into_socket() {
        Ok(socket) => {
            let same = socket.as_ref().try_clone()?;
            return Ok((socket.into(), same));
        }
        Err(io) => io,
    };
    let (near, far) = UnixStream::pair()?;
    let same = SockRef::from(&far).try_clone()?;
    tokio::spawn(carry(near, *io));
    Ok((Stream::from(far), same))
}

async fn carry(mut near: UnixStream, mut io: UpstreamIo) {
    let silence = Silence {
        open: None,
        half: Some(HALF),
    };
    let mut ways = BothWays::new(Bytes::new(), Bytes::new(), silence);
    poll_fn(|cx| ways.poll(cx, &mut near, &mut io)).await;
}

#[cfg(test)]
mod tests {
    use super::super::tests::connected;
    use super::*;
    use crate::upstream::tls::Alpn;
    use tokio::time::{Instant, pause};

    #[tokio::test]
    async fn a_bridge_that_is_left_ends_although_the_server_does_not_mind() {
        let (io, server) = connected(Alpn::Http2).await;
        let (near, far) = UnixStream::pair().unwrap();
        pause();
        let began = Instant::now();
        drop(far);
        carry(near, io).await;
        // Timers of the runtime are rounded up.
        let took = began.elapsed();
        assert!(took >= HALF && took < HALF * 2, "{took:?}");
        drop(server);
    }
}
