//! Bytes that wait to be written.

use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Writes up to this many bytes are gathered: the head and the body of a small message are one call then, and one
/// record of TLS.
const GATHER: usize = 16 * 1024;
/// What a connection that waits keeps of its buffer.
const KEPT: usize = 2 * 1024;
/// Slices that are written in one call with what was gathered before them.
const TOGETHER: usize = 4;

/// Small writes that leave together, and what a stream did not take at once.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    bytes: Vec<u8>,
}

impl WriteBuffer {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes all of `bufs`, and returns how many bytes they are. `None`: they would be more than may wait.
    pub(crate) fn gather(&mut self, bufs: &[IoSlice<'_>]) -> Option<usize> {
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.bytes.len() + length > GATHER {
            return None;
        }
        for buf in bufs {
            self.push(buf);
        }
        Some(length)
    }

    /// Takes `bytes`, however many wait already: that is for the caller to bound.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives back the room that a connection that waits is not to keep.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }

    /// Writes out what waits.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = ready!(Pin::new(&mut *target).poll_write(cx, &self.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.remove(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits and then `bufs`, in one call where the target takes it. Returns how much of `bufs` went.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.is_empty() {
            let beyond = ready!(self.poll_together(cx, target, bufs))?;
            if beyond > 0 {
                return Poll::Ready(Ok(beyond));
            }
            ready!(self.poll_drain(cx, target))?;
        }
        Pin::new(target).poll_write_vectored(cx, bufs)
    }

    /// One call with what waits and the first of `bufs`. Returns how much of these went.
    fn poll_together(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut (impl AsyncWrite + Unpin),
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut all: SmallVec<[IoSlice<'_>; TOGETHER + 1]> = SmallVec::new();
        all.push(IoSlice::new(&self.bytes));
        all.extend(bufs.iter().take(TOGETHER).map(|buf| IoSlice::new(buf)));
        let written = ready!(Pin::new(target).poll_write_vectored(cx, &all))?;
        drop(all);
        Poll::Ready(Ok(self.remove(written)))
    }

    /// Forgets what was written. Returns how much of that was beyond what waited.
    fn remove(&mut self, written: usize) -> usize {
        let own = written.min(self.bytes.len());
        self.bytes.drain(..own);
        written - own
    }
}

#[cfg(test)]
mod tests;
