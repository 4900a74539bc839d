//! Bytes read ahead of a reader that takes few at a time.

use bytes::{Buf, Bytes};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at a time: four records of TLS, which the library would read in pieces of 4 KiB.
const PIECE: usize = 64 * 1024;

thread_local! {
    /// What is read comes here first; only what the reader leaves gets a buffer of its own, until it is taken. A connection
    /// that waits has none.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream whose bytes are read in large pieces, however small those are that its reader asks for. Writes go through.
/// Not meant for one on another, as of TLS in TLS: each read of the outer would need a buffer of its own.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    stream: S,
    ahead: Bytes,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: Bytes::new(),
        }
    }

    /// The stream below, which may have less to read than there is here.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Whether there are bytes that do not have to come any more.
    pub(crate) fn has_read(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn take_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        if self.ahead.is_empty() {
            // Also the room that was taken.
            self.ahead = Bytes::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_read() {
            self.take_ahead(buf);
            return Poll::Ready(Ok(()));
        }
        let mut scratch = SCRATCH.take();
        scratch.resize(PIECE, 0);
        let mut piece = ReadBuf::new(&mut scratch);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        let (taken, left) = piece
            .filled()
            .split_at(piece.filled().len().min(buf.remaining()));
        buf.put_slice(taken);
        if !left.is_empty() {
            self.ahead = Bytes::copy_from_slice(left);
        }
        SCRATCH.set(scratch);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_a_reader_leaves_is_kept_until_it_is_taken() {
        let (mut client, server) = tokio::io::duplex(2 * PIECE);
        let mut server = ReadAhead::new(server);
        client.write_all(b"hello, ").await.unwrap();
        client.write_all(b"world").await.unwrap();
        drop(client);
        let mut piece = [0; 5];
        server.read_exact(&mut piece).await.unwrap();
        assert_eq!((&piece, server.has_read()), (b"hello", true));
        let mut rest = String::new();
        server.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&*rest, server.has_read()), (", world", false));
    }

    #[tokio::test]
    async fn more_than_a_piece_comes_whole() {
        let sent: Vec<u8> = (0..3 * PIECE + 7).map(|at| at as u8).collect();
        let (mut client, server) = tokio::io::duplex(PIECE + 3);
        let all = sent.clone();
        let sending = tokio::spawn(async move { client.write_all(&all).await });
        let mut server = ReadAhead::new(server);
        let mut got = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match server.read(&mut piece).await.unwrap() {
                0 => break,
                length => got.extend_from_slice(&piece[..length]),
            }
        }
        sending.await.unwrap().unwrap();
        assert!(got == sent);
    }
}
