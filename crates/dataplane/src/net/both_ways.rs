//! Bytes between two streams, each way at its own pace.

use bytes::{Buf, Bytes};
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes that are read at a time, and that one way holds at most: it reads no more until they are written.
/// What was read before there were two ways may be longer, once. Four records of TLS.
const PIECE: usize = 64 * 1024;
/// Pieces that one way moves before it is the other's turn.
const TURNS: usize = 6;
/// Reads that make up a piece at most: TLS gives a record at a time, and several are written at once.
const READS: usize = 4;
/// After so many operations tokio makes a ready stream look as if it had to wait. What is read after a connection broke
/// would seem to have come to its end.
const BUDGET: usize = 128;
// One way, the other, and the first again: the reads of a piece, its write, and one that found no room.
const _: () = assert!(3 * TURNS * (READS + 2) < BUDGET);

thread_local! {
    /// What is read goes from here straight to the target; only what the target does not take at once
    /// gets a buffer of its own. A connection that waits, or whose target keeps up, has none.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How long nothing may move. Absent: for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    /// While both sides are open.
    pub(crate) open: Option<Duration>,
    /// When one side has ended. A client that went away ends as one that only finished sending, and an
    /// upstream that does not mind would keep such connections for ever.
    pub(crate) half: Option<Duration>,
}

/// How two streams that were joined came to their end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Both ways ended, and everything was written as far as somebody took it.
    Complete,
    /// Nothing moved for too long.
    Silent,
}

/// One of the two streams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// The client's.
    Downstream,
    /// The endpoint's.
    Upstream,
}

/// The two ways between two streams. They share nothing but their end:
///
/// - The end of one side's bytes is passed to the other, which may go on sending.
/// - When a connection breaks, what had arrived is still delivered, and then both ways are over. The end is
///   not passed on then: it is for the caller to choose how the streams are closed.
pub(crate) struct BothWays {
    up: Way,
    down: Way,
    broken: Option<Side>,
    silence: Silence,
    moved: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl BothWays {
    /// Begins with what was read already: from downstream, and from upstream.
    pub(crate) fn new(from_downstream: Bytes, from_upstream: Bytes, silence: Silence) -> Self {
        Self {
            up: Way::new(from_downstream),
            down: Way::new(from_upstream),
            broken: None,
            silence,
            moved: Instant::now(),
            timer: None,
        }
    }

    /// Bytes read from downstream.
    pub(crate) fn received(&self) -> u64 {
        self.up.read
    }

    /// Bytes written downstream.
    pub(crate) fn sent(&self) -> u64 {
        self.down.written
    }

    /// Whose connection broke, if one did: the first.
    pub(crate) fn broken(&self) -> Option<Side> {
        self.broken
    }

    /// Whether a side was told the end of all it was to get.
    pub(crate) fn is_whole(&self, side: Side) -> bool {
        let way = match side {
            Side::Downstream => &self.down,
            Side::Upstream => &self.up,
        };
        way.over && way.whole && way.broken.is_none()
    }

    /// Moves what can be moved. Ready when both ways have ended.
    pub(crate) fn poll<D, U>(
        &mut self,
        cx: &mut Context<'_>,
        downstream: &mut D,
        upstream: &mut U,
    ) -> Poll<End>
    where
        D: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let before = self.total();
        self.up.advance(cx, downstream, upstream);
        self.note(self.up.broken, Side::Downstream, Side::Upstream);
        if self.up.broken.is_some() {
            self.down.waits = false;
        }
        self.down.advance(cx, upstream, downstream);
        self.note(self.down.broken, Side::Upstream, Side::Downstream);
        if self.down.broken.is_some() && !self.up.over {
            self.up.waits = false;
            self.up.advance(cx, downstream, upstream);
        }
        if self.up.over && self.down.over {
            return Poll::Ready(End::Complete);
        }
        if self.total() != before {
            self.moved = Instant::now();
        }
        self.poll_silence(cx).map(|()| End::Silent)
    }

    fn note(&mut self, broken: Option<Broken>, source: Side, target: Side) {
        let side = broken.map(|broken| match broken {
            Broken::Source => source,
            Broken::Target => target,
        });
        self.broken = self.broken.or(side);
    }

    fn total(&self) -> u64 {
        let ways = [&self.up, &self.down];
        ways.iter().map(|way| way.read + way.written).sum()
    }

    /// The timer is moved when it fires, or would fire too late; not with each piece.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let half = self.up.drained || self.down.drained;
        let limit = if half {
            self.silence.half
        } else {
            self.silence.open
        };
        let Some(deadline) = limit.and_then(|limit| self.moved.checked_add(limit)) else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// What failed of one way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Broken {
    Source,
    Target,
}

/// One way: what was read of its source and is not written yet.
struct Way {
    pending: Bytes,
    read: u64,
    written: u64,
    /// The target may keep what was written to it until it is flushed.
    unflushed: bool,
    /// Whether to wait for more when the source has nothing at the moment.
    waits: bool,
    /// Nothing more comes from the source.
    drained: bool,
    /// The source's own end was passed on.
    whole: bool,
    broken: Option<Broken>,
    /// There is nothing left to do.
    over: bool,
}

impl Way {
    fn new(first: Bytes) -> Self {
        Self {
            read: first.len() as u64,
            pending: first,
            written: 0,
            unflushed: false,
            waits: true,
            drained: false,
            whole: false,
            broken: None,
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
        let mut scratch = SCRATCH.take();
        scratch.resize(PIECE, 0);
        let passed = self.poll_pass(cx, source, target, &mut scratch);
        SCRATCH.set(scratch);
        match passed {
            Poll::Ready(Ok(())) => self.over = true,
            Poll::Ready(Err(_)) => {
                (self.over, self.drained) = (true, true);
                self.pending = Bytes::new();
                self.broken.get_or_insert(Broken::Target);
            }
            Poll::Pending => {}
        }
    }

    /// Ready when everything is written and the source's end was passed on, with an error when the target
    /// takes no more.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        target: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            ready!(self.poll_pending(cx, target))?;
            if self.drained {
                return self.poll_end(cx, target);
            }
            let Poll::Ready(length) = self.poll_read(cx, source, scratch) else {
                // What was written must not wait with the reader.
                ready!(self.poll_flush(cx, target))?;
                return Poll::Pending;
            };
            self.write_through(cx, target, &scratch[..length])?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what was left over.
    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let polled = poll_some(cx, target, &self.pending);
            let written = ready!(polled)?;
            self.pending.advance(written);
            self.wrote(written);
        }
        // Also the room that was taken.
        self.pending = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Writes as much as the target takes, and keeps the rest.
    fn write_through(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
        mut bytes: &[u8],
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let Poll::Ready(written) = poll_some(cx, target, bytes) else {
                self.pending = Bytes::copy_from_slice(bytes);
                return Ok(());
            };
            let written = written?;
            bytes = &bytes[written..];
            self.wrote(written);
        }
        Ok(())
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.unflushed = true;
    }

    /// Ready when something was read, or the source is drained.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        scratch: &mut [u8],
    ) -> Poll<usize> {
        let mut piece = ReadBuf::new(scratch);
        for _ in 0..READS {
            if self.drained || piece.remaining() == 0 {
                break;
            }
            let before = piece.filled().len();
            match Pin::new(&mut *source).poll_read(cx, &mut piece) {
                Poll::Pending if !self.waits => self.drained = true,
                Poll::Pending if before == 0 => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {
                    self.whole = piece.filled().len() == before;
                    self.drained = self.whole;
                }
                // An end of TLS that was not announced is no error: `Transport` reads it as an end.
                Poll::Ready(Err(_)) => {
                    (self.drained, self.broken) = (true, Some(Broken::Source));
                }
            }
        }
        let length = piece.filled().len();
        self.read += length as u64;
        Poll::Ready(length)
    }

    /// Tells the target the end, unless it is no end but a connection that broke.
    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx, target))?;
        if self.whole {
            return Pin::new(target).poll_shutdown(cx);
        }
        Poll::Ready(Ok(()))
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

fn poll_some(
    cx: &mut Context<'_>,
    target: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(target).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}

#[cfg(test)]
mod tests;
