//! How large and how slow a request's head may be.

use super::{DownstreamIo, Protocol};
use crate::net::linger::linger;
use crate::net::state::{Phase, RefusedHead};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

const HEAD_TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const HEAD_TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 15\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nrequest timeout";

impl DownstreamIo {
    /// Ends a read before or within a request head: for good when the wait is over, and with an error,
    /// after telling the client, when the head is larger or slower than allowed.
    pub(super) fn end_of_head(
        &mut self,
        cx: &mut Context<'_>,
        pending: bool,
    ) -> Option<io::Result<()>> {
        if self.state.phase() != Phase::Head || self.protocol == Protocol::Http2 {
            return None;
        }
        if self.head_bytes > self.head_limit {
            self.refuse(cx, RefusedHead::TooLarge);
            let large = io::Error::new(io::ErrorKind::InvalidData, "request head is too large");
            return Some(Err(large));
        }
        if !pending {
            return None;
        }
        if self.head_bytes == 0 {
            return self.poll_end_of_wait(cx).is_ready().then_some(Ok(()));
        }
        if self.poll_head_timer(cx).is_pending() {
            return None;
        }
        self.refuse(cx, RefusedHead::TooSlow);
        Some(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "request head is too slow",
        )))
    }

    fn poll_head_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.head_timeout;
        let timer = self
            .head_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(cx)
    }

    /// Answers below Pingora, which has no reply for this. A full socket buffer loses it, no more.
    fn refuse(&mut self, cx: &mut Context<'_>, why: RefusedHead) {
        let answer = match why {
            RefusedHead::TooLarge => HEAD_TOO_LARGE,
            RefusedHead::TooSlow => HEAD_TOO_SLOW,
        };
        self.state.refuse(why);
        let transport = Pin::new(&mut self.transport);
        let _ = transport.poll_write(cx, answer);
        self.end_tls(cx);
        linger(self.transport.socket());
        self.ended = true;
    }
}
