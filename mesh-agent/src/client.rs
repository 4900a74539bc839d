//! Requests to the sidecar's own pages, from beside it.

use anyhow::Context;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Bytes of an answer that are read: pages of a large configuration are long.
const MOST: u64 = 256 << 20;

/// A page.
pub(crate) struct Page {
    authority: String,
    path: String,
}

/// What it answered.
pub(crate) struct Answer {
    /// Its status line.
    pub(crate) line: String,
    /// The status in it. 0: it is none.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Page {
    /// By its URL.
    pub(crate) fn of(url: &str) -> anyhow::Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("`{url}` does not begin with http://"))?;
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = match has_port {
            true => host.to_owned(),
            false => format!("{host}:80"),
        };
        Ok(Self { authority, path })
    }

    /// Asks it. Connecting, and each wait for bytes, may take as long as `limit`.
    pub(crate) fn ask(&self, method: &str, limit: Duration) -> anyhow::Result<Answer> {
        let limit = limit.max(Duration::from_millis(1));
        let mut addresses = self.authority.to_socket_addrs()?;
        let address = addresses.next().context("the name has no address")?;
        let mut socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        let Self { path, authority } = self;
        // Of HTTP/1.0 the answer is as long as the connection.
        let request =
            format!("{method} {path} HTTP/1.0\r\nhost: {authority}\r\ncontent-length: 0\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        socket.take(MOST).read_to_end(&mut answer)?;
        Ok(Answer::of(&answer))
    }
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        const END: &[u8] = b"\r\n\r\n";
        let head = bytes.windows(END.len()).position(|window| window == END);
        let head = head.unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(&bytes[..head]);
        let line = text.lines().next().unwrap_or_default();
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            line: line.to_owned(),
            status: status.unwrap_or_default(),
            body: bytes.get(head + END.len()..).unwrap_or_default().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer =
            Answer::of(b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nnot ready\r\n\r\n");
        assert_eq!(answer.line, "HTTP/1.1 503 Service Unavailable");
        assert_eq!(
            (answer.status, &*answer.body),
            (503, &b"not ready\r\n\r\n"[..])
        );
        let cut = Answer::of(b"HTTP/1.1 200");
        assert_eq!((cut.status, cut.body.len()), (200, 0));
        assert_eq!(Answer::of(b"what?").status, 0);
    }

    #[test]
    fn a_page_has_a_port() {
        for (url, authority, path) in [
            ("http://a", "a:80", "/"),
            ("http://a:1/b/c?d", "a:1", "/b/c?d"),
            ("http://[::1]:1/", "[::1]:1", "/"),
        ] {
            let page = Page::of(url).unwrap();
            assert_eq!((&*page.authority, &*page.path), (authority, path));
        }
        assert!(Page::of("https://a/").is_err());
    }
}
