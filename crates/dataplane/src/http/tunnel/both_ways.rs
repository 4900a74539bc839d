//! Bytes between two streams, each way at its own pace.

use bytes::Bytes;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that one way holds at most; it reads no more until they are written. What came with the heads
/// may be longer, once.
const PIECE: usize = 16 * 1024;
/// Pieces that one way moves before it is the other's turn. Two ways stay far below the number of
/// operations after which tokio makes a ready stream look as if it had to wait.
const TURNS: usize = 16;
/// How long nothing may move when one side has ended. A client that went away ends as one that only
/// finished sending, and an upstream that does not mind would keep such tunnels for ever.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Both ways ended, and everything was written as far as somebody took it.
    Complete,
    /// One way had ended, and nothing moved the other way for too long.
    Silent,
}

/// The two ways of a tunnel. They share nothing but their end:
///
/// - The end of one side's bytes is passed to the other, which may go on sending.
/// - When a connection breaks, what had arrived is still delivered, and then both ways are over.
/// - While both sides are open, silence may last for ever.
pub(super) struct BothWays {
    up: Way,
    down: Way,
    silence: Option<Pin<Box<Sleep>>>,
}

impl BothWays {
    /// Begins with what was read already: from downstream, and from upstream.
    pub(super) fn new(from_downstream: Bytes, from_upstream: Bytes) -> Self {
        Self {
            up: Way::new(from_downstream),
            down: Way::new(from_upstream),
            silence: None,
        }
    }

    /// Bytes read from downstream.
    pub(super) fn received(&self) -> u64 {
        self.up.read
    }

    /// Bytes written downstream.
    pub(super) fn sent(&self) -> u64 {
        self.down.written
    }

    /// Moves what can be moved. Ready when the tunnel has ended.
    pub(super) fn poll<D, U>(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut D,
        upstream: &mut U,
    ) -> Poll<End>
    where
        D: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let before = self.moved();
        self.up.advance(cx, downstream, upstream);
        if self.up.broken {
            self.down.waits = false;
        }
        self.down.advance(cx, upstream, downstream);
        if self.down.broken && !self.up.over {
            self.up.waits = false;
            self.up.advance(cx, downstream, upstream);
        }
        if self.up.over && self.down.over {
            return Poll::Ready(End::Complete);
        }
        let moved = self.moved() != before;
        self.poll_silence(cx, moved).map(|()| End::Silent)
    }

    fn moved(&self) -> u64 {
        let ways = [&self.up, &self.down];
        ways.iter().map(|way| way.read + way.written).sum()
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        if !self.up.drained && !self.down.drained {
            return Poll::Pending;
        }
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST_SILENCE)));
        if moved {
            silence.as_mut().reset(Instant::now() + LONGEST_SILENCE);
        }
        silence.as_mut().poll(cx)
    }
}

/// One way: what was read of its source and is not written yet.
struct Way {
    buffer: Vec<u8>,
    pending: Range<usize>,
    read: u64,
    written: u64,
    /// The target may keep what was written to it until it is flushed.
    unflushed: bool,
    /// Whether to wait for more when the source has nothing at the moment.
    waits: bool,
    /// Nothing more comes from the source.
    drained: bool,
    /// A connection failed.
    broken: bool,
    /// There is nothing left to do.
    over: bool,
}

impl Way {
    fn new(first: Bytes) -> Self {
        let mut buffer = Vec::from(first);
        let length = buffer.len();
        buffer.resize(length.max(PIECE), 0);
        Self {
            buffer,
            pending: 0..length,
            read: length as u64,
            written: 0,
            unflushed: false,
            waits: true,
            drained: false,
            broken: false,
            over: false,
        }
    }

    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        target: &mut (impl AsyncWrite + Unpin),
    ) {
        if self.over {
            return;
        }
        match self.poll_pass(cx, source, target) {
            Poll::Ready(Ok(())) => self.over = true,
            Poll::Ready(Err(_)) => (self.over, self.broken, self.drained) = (true, true, true),
            Poll::Pending => {}
        }
    }

    /// Ready when the source's end was passed on, with an error when the target takes no more.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            ready!(self.poll_write(cx, target))?;
            if !self.drained && self.poll_read(cx, source).is_pending() {
                // What was written must not wait with the reader.
                ready!(self.poll_flush(cx, target))?;
                return Poll::Pending;
            }
            if self.drained {
                ready!(self.poll_flush(cx, target))?;
                return Pin::new(target).poll_shutdown(cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let bytes = &self.buffer[self.pending.clone()];
            let written = ready!(Pin::new(&mut *target).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.start += written;
            self.written += written as u64;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when there is something to write, or the source is drained.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
    ) -> Poll<()> {
        let mut piece = ReadBuf::new(&mut self.buffer);
        let polled = Pin::new(source).poll_read(cx, &mut piece);
        let length = piece.filled().len();
        match polled {
            Poll::Pending if self.waits => return Poll::Pending,
            Poll::Pending => self.drained = true,
            Poll::Ready(Ok(())) => self.drained = length == 0,
            Poll::Ready(Err(error)) => {
                self.drained = true;
                // Over TLS this is an end that was not announced, and no more than an end.
                self.broken = error.kind() != io::ErrorKind::UnexpectedEof;
            }
        }
        self.pending = 0..length;
        self.read += length as u64;
        Poll::Ready(())
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(target).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    /// What the kernel would hold for a peer that does not read.
    const ROOM: usize = 8;

    struct Tunnel {
        client: DuplexStream,
        upstream: DuplexStream,
        ends: JoinHandle<(End, u64, u64)>,
    }

    impl Tunnel {
        fn open() -> Self {
            let (client, mut downstream) = duplex(ROOM);
            let (mut toward, upstream) = duplex(ROOM);
            let ends = tokio::spawn(async move {
                let mut ways = BothWays::new(Bytes::new(), Bytes::new());
                let end = poll_fn(|cx| ways.poll(cx, &mut downstream, &mut toward)).await;
                (end, ways.received(), ways.sent())
            });
            Self {
                client,
                upstream,
                ends,
            }
        }
    }

    async fn rest(stream: &mut DuplexStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Promise 15.
    #[tokio::test(start_paused = true)]
    async fn silence_ends_no_open_tunnel() {
        let mut tunnel = Tunnel::open();
        tokio::time::sleep(LONGEST_SILENCE * 100).await;
        tunnel.client.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        tunnel.upstream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_tunnel_of_which_half_has_ended() {
        let mut tunnel = Tunnel::open();
        tunnel.client.shutdown().await.unwrap();
        assert_eq!(rest(&mut tunnel.upstream).await, "");
        for _ in 0..3 {
            tokio::time::sleep(LONGEST_SILENCE - Duration::from_secs(1)).await;
            tunnel.upstream.write_all(b"more").await.unwrap();
            tunnel.client.read_exact(&mut [0; 4]).await.unwrap();
        }
        assert_eq!(tunnel.ends.await.unwrap(), (End::Silent, 0, 12));
    }

    /// Also when it was the upstream's failure to take more that was noticed first.
    #[tokio::test]
    async fn what_had_arrived_before_a_connection_broke_is_delivered() {
        let mut tunnel = Tunnel::open();
        // More than the client has room for, so that it waits in the tunnel.
        tunnel.upstream.write_all(b"the last words").await.unwrap();
        drop(tunnel.upstream);
        tunnel.client.write_all(b"lost").await.unwrap();
        assert_eq!(rest(&mut tunnel.client).await, "the last words");
        assert_eq!(tunnel.ends.await.unwrap(), (End::Complete, 4, 14));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_does_not_read_holds_its_source_back() {
        let mut tunnel = Tunnel::open();
        let flood = vec![0; 2 * PIECE];
        let sending = tunnel.client.write_all(&flood);
        let held = tokio::time::timeout(Duration::from_secs(60), sending).await;
        assert!(held.is_err(), "everything was taken");
        let mut read = [0; 2 * ROOM];
        assert_eq!(tunnel.upstream.read(&mut read).await.unwrap(), ROOM);
    }
}
