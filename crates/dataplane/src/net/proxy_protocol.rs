//! The PROXY protocol, versions 1 and 2: what a load balancer tells of its client, before the client's bytes.
//!
//! Source: HAProxy's `proxy-protocol.txt`, 2.2 and 3.0. Checksums and the other extensions are skipped.

use crate::connection::ConnectionInfo;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const TEXT: &[u8; 6] = b"PROXY ";
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// The part of version 2 whose length is fixed.
const FIXED: usize = 16;
/// The longest header of version 2 that is taken, extensions included; the protocol would allow 64 KiB.
const LONGEST: usize = 16 * 1024;
/// Bytes looked at at a time. All but the strangest headers are shorter.
const LOOK: usize = 512;

/// A header that was read whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// Its length in bytes.
    pub(super) length: usize,
    /// Absent: the connection is the sender's own, or of a kind without addresses.
    pub(super) addresses: Option<Addresses>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Addresses {
    /// The client's.
    pub(super) peer: SocketAddr,
    /// The one the client connected to.
    pub(super) local: SocketAddr,
}

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Broken {
    /// The first bytes are neither version's.
    #[error("no PROXY protocol header")]
    Missing,
    /// They are, but what follows is not allowed.
    #[error("malformed PROXY protocol header")]
    Malformed,
    /// Longer than a header may be.
    #[error("PROXY protocol header is too long")]
    TooLong,
    /// The connection ended within it.
    #[error("PROXY protocol header is cut off")]
    CutOff,
    /// The connection ended without a byte, as those of health checks do, or the listener before it came.
    #[error("no use was made of the connection")]
    Unused,
    /// It did not come in time.
    #[error("PROXY protocol header is too slow")]
    TooSlow,
}

/// Reads the header of a connection, and not one byte more, and puts the client's addresses into `info`.
///
/// # Errors
/// When it is not there, not valid, or not there in time. The connection is of no use then.
pub(super) async fn read_into(
    info: &mut ConnectionInfo,
    socket: &mut TcpStream,
    timeout: Duration,
) -> Result<(), Broken> {
    let closing = poll_fn(|cx| info.state.poll_closing(cx));
    let header = tokio::select! {
        biased;
        read = tokio::time::timeout(timeout, read(socket)) => read.map_err(|_| Broken::TooSlow)??,
        () = closing => return Err(Broken::Unused),
    };
    if let Some(addresses) = header.addresses {
        info.peer = addresses.peer;
        info.local = addresses.local;
    }
    Ok(())
}

async fn read(socket: &mut TcpStream) -> Result<Header, Broken> {
    let mut taken = Vec::new();
    let mut look = [0; LOOK];
    loop {
        let seen = socket.peek(&mut look).await.map_err(cut_off)?;
        if seen == 0 && taken.is_empty() {
            return Err(Broken::Unused);
        }
        if seen == 0 {
            return Err(Broken::CutOff);
        }
        let before = taken.len();
        taken.extend_from_slice(&look[..seen]);
        let header = parse(&taken)?;
        // Peeking again would show the same bytes at once, so those of a part are taken.
        let take = header.map_or(seen, |header| header.length - before);
        socket
            .read_exact(&mut look[..take])
            .await
            .map_err(cut_off)?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

fn cut_off(_: io::Error) -> Broken {
    Broken::CutOff
}

/// The header at the beginning of `bytes`. `None`: more bytes will tell.
///
/// # Errors
/// When no bytes that follow can make a header of these.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    if begins(bytes, SIGNATURE) {
        return parse_binary(bytes);
    }
    if begins(bytes, TEXT) {
        return parse_line(bytes);
    }
    Err(Broken::Missing)
}

/// Whether `bytes` are like `start`, as far as both go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

/// Version 2.
fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let Some(&[version, family, high, low]) = bytes
        .get(SIGNATURE.len()..FIXED)
        .and_then(|fixed| fixed.first_chunk())
    else {
        return Ok(None);
    };
    let own = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(Broken::Malformed),
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(Broken::TooLong);
    }
    let Some(content) = bytes.get(FIXED..length) else {
        return Ok(None);
    };
    let addresses = match family {
        _ if own => None,
        0x11 => Some(addresses_of::<4>(content)?),
        0x21 => Some(addresses_of::<16>(content)?),
        // Datagrams, Unix sockets and unknown protocols: the sender's own addresses must do.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(Broken::Malformed),
    };
    Ok(Some(Header { length, addresses }))
}

/// Source and destination addresses of `N` bytes, then their ports. What follows are extensions.
fn addresses_of<const N: usize>(content: &[u8]) -> Result<Addresses, Broken>
where
    IpAddr: From<[u8; N]>,
{
    let (peer, rest) = content.split_first_chunk::<N>().ok_or(Broken::Malformed)?;
    let (local, rest) = rest.split_first_chunk::<N>().ok_or(Broken::Malformed)?;
    let [a, b, c, d] = *rest.first_chunk().ok_or(Broken::Malformed)?;
    Ok(Addresses {
        peer: SocketAddr::new(IpAddr::from(*peer), u16::from_be_bytes([a, b])),
        local: SocketAddr::new(IpAddr::from(*local), u16::from_be_bytes([c, d])),
    })
}

/// Version 1.
fn parse_line(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() < LONGEST_LINE {
            true => Ok(None),
            false => Err(Broken::TooLong),
        };
    };
    let line = window[..end]
        .strip_suffix(b"\r")
        .and_then(|line| line.strip_prefix(TEXT))
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(Broken::Malformed)?;
    Ok(Some(Header {
        length: end + 1,
        addresses: addresses_in(line)?,
    }))
}

fn addresses_in(line: &str) -> Result<Option<Addresses>, Broken> {
    let mut words = line.split(' ');
    let addresses = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => pair::<Ipv4Addr>(&mut words),
        Some("TCP6") => pair::<Ipv6Addr>(&mut words),
        _ => None,
    };
    match words.next() {
        None => addresses.map(Some).ok_or(Broken::Malformed),
        Some(_) => Err(Broken::Malformed),
    }
}

fn pair<'w, A>(words: &mut impl Iterator<Item = &'w str>) -> Option<Addresses>
where
    A: FromStr + Into<IpAddr>,
{
    let peer: A = words.next()?.parse().ok()?;
    let local: A = words.next()?.parse().ok()?;
    let peer_port = port(words.next()?)?;
    let local_port = port(words.next()?)?;
    Some(Addresses {
        peer: SocketAddr::new(peer.into(), peer_port),
        local: SocketAddr::new(local.into(), local_port),
    })
}

/// Digits only: no sign, no zero before others.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let padded = word.len() > 1 && word.starts_with('0');
    if !plain || padded {
        return None;
    }
    word.parse().ok()
}

#[cfg(test)]
mod tests;
