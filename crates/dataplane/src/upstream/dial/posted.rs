//! Bytes in the body of a POST and of its answer: a tunnel for proxies that know no CONNECT.

use super::transport::Transport;
use crate::net::WriteBuffer;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read, or made a chunk of, at a time.
const PIECE: usize = 16 * 1024;
/// The longest line between chunks: a size with extensions, or a trailer.
const LONGEST_LINE: usize = 1024;

/// How the answer's body is delimited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// In chunks.
    Chunked,
    /// So many bytes.
    Length(u64),
    /// By the end of the connection.
    UntilEnd,
}

/// Where the reader is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Bytes of the body, of which so many are left until the state after.
    Body(u64),
    /// Bytes of the body to the end.
    Raw,
    /// The line break behind a chunk.
    AfterChunk,
    /// The line before a chunk.
    Size,
    /// Lines behind the last chunk.
    Trailer,
    /// Nothing more comes.
    Over,
}

/// A tunnel in a request's body.
#[derive(Debug)]
pub(super) struct Posted {
    transport: Transport,
    framing: Framing,
    state: State,
    /// Read, and not understood yet. At most a piece.
    input: BytesMut,
    /// Made a chunk of, and not written yet. At most a chunk.
    output: WriteBuffer,
    ended: bool,
}

impl Posted {
    /// `rest` came right behind the answer's head.
    pub(super) fn new(transport: Transport, framing: Framing, rest: Bytes) -> Self {
        let state = match framing {
            Framing::Chunked => State::Size,
            Framing::Length(length) => State::Body(length),
            Framing::UntilEnd => State::Raw,
        };
        Self {
            transport,
            framing,
            state,
            input: BytesMut::from(&*rest),
            output: WriteBuffer::default(),
            ended: false,
        }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether something that was written has not left yet.
    pub(super) fn holds_back(&self) -> bool {
        !self.output.is_empty() || self.transport.holds_back()
    }

    /// Understands what is in the input, up to bytes of the body. `false`: more of it is needed.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            match self.state {
                State::Body(0) if self.framing == Framing::Chunked => {
                    self.state = State::AfterChunk;
                }
                State::Body(0) => self.state = State::Over,
                State::Over => return Ok(true),
                State::Body(_) | State::Raw => return Ok(!self.input.is_empty()),
                State::AfterChunk | State::Size | State::Trailer => {
                    let Some(line) = self.line()? else {
                        return Ok(false);
                    };
                    self.state = after(self.state, &line)?;
                }
            }
        }
    }

    /// A line without its end. `None`: it has none yet.
    fn line(&mut self) -> io::Result<Option<BytesMut>> {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return match self.input.len() > LONGEST_LINE {
                true => Err(malformed("line is too long")),
                false => Ok(None),
            };
        };
        let mut line = self.input.split_to(end + 1);
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Ok(Some(line))
    }

    /// Hands out bytes of the body.
    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let left = match self.state {
            State::Body(left) => usize::try_from(left).unwrap_or(usize::MAX),
            State::Raw => usize::MAX,
            _ => 0,
        };
        let length = self.input.len().min(buf.remaining()).min(left);
        buf.put_slice(&self.input[..length]);
        self.input.advance(length);
        if let State::Body(left) = &mut self.state {
            *left -= length as u64;
        }
    }

    /// Reads more. `false`: there is no more.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut piece = [0; PIECE];
        let mut read = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut read))?;
        self.input.extend_from_slice(read.filled());
        Poll::Ready(Ok(!read.filled().is_empty()))
    }

    /// Writes out the chunk that waits.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_drain(cx, &mut self.transport)
    }
}

fn after(state: State, line: &[u8]) -> io::Result<State> {
    match state {
        State::AfterChunk if line.is_empty() => Ok(State::Size),
        State::AfterChunk => Err(malformed("chunk is longer than it says")),
        State::Trailer if line.is_empty() => Ok(State::Over),
        State::Trailer => Ok(State::Trailer),
        _ => match size_of(line).ok_or_else(|| malformed("chunk has no size"))? {
            0 => Ok(State::Trailer),
            size => Ok(State::Body(size)),
        },
    }
}

/// 26 of `1a;name=value`.
fn size_of(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    let digits = std::str::from_utf8(digits).ok()?.trim_end();
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (plain && !digits.is_empty())
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

fn malformed(what: &str) -> io::Error {
    let text = format!("the forward proxy's {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl AsyncRead for Posted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.advance()? {
            if !ready!(self.poll_fill(cx))? {
                // Only a body of this kind ends so.
                return Poll::Ready(match self.state {
                    State::Raw => Ok(()),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
        }
        self.take(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Posted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_chunk(cx))?;
        let piece = &buf[..buf.len().min(PIECE)];
        // A chunk without bytes would be the last one.
        if piece.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let size = format!("{:x}\r\n", piece.len());
        self.output.push(size.as_bytes());
        self.output.push(piece);
        self.output.push(b"\r\n");
        // What does not go now goes before the next, or with the flush.
        if let Poll::Ready(Err(error)) = self.poll_chunk(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_chunk(cx))?;
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    /// Ends the request.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.output.push(b"0\r\n\r\n");
        }
        ready!(self.poll_chunk(cx))?;
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
