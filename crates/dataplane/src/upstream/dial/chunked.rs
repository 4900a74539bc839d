//! Bytes both ways in the bodies of one request and its answer: a tunnel that was asked for by POST.
//!
//! Source: RFC 9112, section 7.1.

use super::socket::Socket;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one chunk at most.
const MAX_CHUNK: usize = 16 * 1024;
/// The longest line between chunks: a size, extensions, a trailer.
const MAX_LINE: usize = 4 * 1024;
/// Bytes that are read at a time.
const READ: usize = 4 * 1024;

/// A connection in the bodies of a request and its answer.
#[derive(Debug)]
pub(super) struct Chunked {
    inner: Box<Socket>,
    /// A chunk that is not written as a whole yet.
    out: BytesMut,
    ended: bool,
    input: BytesMut,
    state: State,
}

/// What comes next of the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Bytes as they are, until the end of the connection.
    Plain,
    /// The line with the size of a chunk.
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end after a chunk.
    Gap,
    /// Trailers, to an empty line.
    Trailers,
    /// Nothing.
    End,
}

impl Chunked {
    /// `state`: how the answer's body begins.
    pub(super) fn new(inner: Socket, state: State) -> Self {
        Self {
            inner: Box::new(inner),
            out: BytesMut::new(),
            ended: false,
            input: BytesMut::new(),
            state,
        }
    }

    pub(super) fn inner(&self) -> &Socket {
        &self.inner
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut *self.inner).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more. An end within the framing is an error, as the answer was cut off.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; READ];
        let mut buf = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut *self.inner).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return match self.state {
                State::Plain => {
                    self.state = State::End;
                    Poll::Ready(Ok(()))
                }
                _ => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            };
        }
        self.input.extend_from_slice(buf.filled());
        Poll::Ready(Ok(()))
    }

    /// Takes what is there to the next bytes of a body. `false`: there is not enough.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            match self.state {
                State::Plain | State::Data(_) => return Ok(!self.input.is_empty()),
                State::End => return Ok(true),
                State::Size | State::Gap | State::Trailers => {
                    let Some(line) = self.line()? else {
                        return Ok(false);
                    };
                    self.state = self.state.after(&line)?;
                }
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<BytesMut>> {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return match self.input.len() > MAX_LINE {
                true => Err(invalid()),
                false => Ok(None),
            };
        };
        let mut line = self.input.split_to(end + 1);
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        Ok(Some(line))
    }
}

impl State {
    fn after(self, line: &[u8]) -> io::Result<Self> {
        match self {
            Self::Size => match size(line).ok_or_else(invalid)? {
                0 => Ok(Self::Trailers),
                size => Ok(Self::Data(size)),
            },
            Self::Gap if line.is_empty() => Ok(Self::Size),
            Self::Gap => Err(invalid()),
            Self::Trailers if line.is_empty() => Ok(Self::End),
            same => Ok(same),
        }
    }
}

/// Hexadecimal, up to the first extension.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u64::from_str_radix(text, 16).ok()
}

fn invalid() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the forward proxy's chunks are broken",
    )
}

impl AsyncRead for Chunked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.advance()? {
            ready!(self.poll_input(cx))?;
        }
        let there = match self.state {
            State::Data(left) => usize::try_from(left).unwrap_or(usize::MAX),
            State::Plain => usize::MAX,
            _ => return Poll::Ready(Ok(())),
        };
        let taken = there.min(self.input.len()).min(buf.remaining());
        buf.put_slice(&self.input.split_to(taken));
        if let State::Data(left) = self.state {
            self.state = match left - taken as u64 {
                0 => State::Gap,
                left => State::Data(left),
            };
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Chunked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        let taken = &buf[..buf.len().min(MAX_CHUNK)];
        if !taken.is_empty() {
            let size = format!("{:x}\r\n", taken.len());
            for part in [size.as_bytes(), taken, b"\r\n"] {
                self.out.extend_from_slice(part);
            }
        }
        // What cannot be written yet is written with the next bytes, or flushed.
        if let Poll::Ready(Err(error)) = self.poll_out(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut *self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            self.ended = true;
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        ready!(self.poll_out(cx))?;
        Pin::new(&mut *self.inner).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    fn pair(state: State) -> (Chunked, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Chunked::new(Socket::Unix(near), state), far)
    }

    #[tokio::test]
    async fn what_is_written_goes_out_in_chunks() {
        let (mut near, mut far) = pair(State::Size);
        near.write_all(b"hello world").await.unwrap();
        near.write_all(b"!").await.unwrap();
        near.shutdown().await.unwrap();
        drop(near);
        let mut sent = String::new();
        far.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "b\r\nhello world\r\n1\r\n!\r\n0\r\n\r\n");
    }

    #[tokio::test]
    async fn chunks_are_taken_apart_wherever_they_are_cut() {
        let answer = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n";
        for cut in 0..answer.len() {
            let (mut near, mut far) = pair(State::Size);
            let (first, second) = answer.split_at(cut);
            let writing = async {
                far.write_all(first).await.unwrap();
                tokio::task::yield_now().await;
                far.write_all(second).await.unwrap();
            };
            let mut read = String::new();
            let (_, got) = tokio::join!(writing, near.read_to_string(&mut read));
            got.unwrap();
            assert_eq!(read, "hello!", "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_chunks_lasts_as_long_as_its_connection() {
        let (mut near, mut far) = pair(State::Plain);
        far.write_all(b"5\r\nhello").await.unwrap();
        drop(far);
        let mut read = String::new();
        near.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "5\r\nhello");
    }

    #[tokio::test]
    async fn broken_chunks_are_an_error() {
        for answer in [
            &b"zz\r\n"[..],
            b"\r\n",
            b"1\r\nab\r\n",
            b"3\r\nab",
            &[b'0'; MAX_LINE + 2],
        ] {
            let (mut near, mut far) = pair(State::Size);
            far.write_all(answer).await.unwrap();
            drop(far);
            let mut read = Vec::new();
            assert!(near.read_to_end(&mut read).await.is_err(), "{answer:?}");
        }
    }
}
