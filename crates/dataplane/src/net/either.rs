//! A stream that is one of two.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// One of two streams, written as whichever it is.
///
/// Reading is left to each pair of streams, for they do not agree on what an end of TLS means that was not announced.
#[derive(Debug)]
pub(crate) enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<L: AsyncWrite + Unpin, R: AsyncWrite + Unpin> AsyncWrite for Either<L, R> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Left(left) => Pin::new(left).poll_write(cx, buf),
            Self::Right(right) => Pin::new(right).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Left(left) => Pin::new(left).poll_write_vectored(cx, bufs),
            Self::Right(right) => Pin::new(right).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Left(left) => left.is_write_vectored(),
            Self::Right(right) => right.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Left(left) => Pin::new(left).poll_flush(cx),
            Self::Right(right) => Pin::new(right).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Left(left) => Pin::new(left).poll_shutdown(cx),
            Self::Right(right) => Pin::new(right).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::Sink;

    /// What a method that was not passed on would write: the first slice alone.
    #[tokio::test]
    async fn all_slices_reach_the_stream_in_one_call() {
        let mut either: Either<Sink, Vec<u8>> = Either::Right(Vec::new());
        assert!(either.is_write_vectored());
        let bufs = [IoSlice::new(b"head"), IoSlice::new(b"body")];
        let written = poll_fn(|cx| Pin::new(&mut either).poll_write_vectored(cx, &bufs)).await;
        assert_eq!(written.unwrap(), 8);
        assert!(matches!(either, Either::Right(bytes) if bytes == b"headbody"));
    }
}
