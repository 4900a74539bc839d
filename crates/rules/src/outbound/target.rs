//! The host and port that a client asks for.

use http::uri::Authority;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The host and port that a client asks for, in the target of its request, or in a `Host` header.
///
/// Lower case, without a trailing dot, without user information; IPv6 addresses in brackets.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    host: Box<str>,
    address: Option<IpAddr>,
    port: u16,
}

/// A text that names no host and port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTarget {
    /// No host, or one with characters that no host has.
    #[error("it names no host")]
    Host,
    /// No port where one is needed, or one that there is not.
    #[error("it names no port")]
    Port,
    /// `user@host`, which hides the host from hasty readers.
    #[error("it has user information")]
    UserInfo,
}

/// The longest name that DNS knows.
const MAX_HOST_BYTES: usize = 255;

impl Target {
    /// Reads `host:port`; `default_port` is that of the scheme, where there is one.
    ///
    /// # Errors
    /// When it is none. Numbers that only some software takes for an address, like `127.1` or `0x7f000001`, are none.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, InvalidTarget> {
        if text.contains('@') {
            return Err(InvalidTarget::UserInfo);
        }
        let authority: Authority = text.parse().map_err(|_| InvalidTarget::Host)?;
        let port = match &authority.as_str()[authority.host().len()..] {
            "" | ":" => default_port,
            rest => {
                let port = rest.strip_prefix(':').ok_or(InvalidTarget::Host)?;
                Some(number(port).ok_or(InvalidTarget::Port)?)
            }
        };
        let port = port.filter(|port| *port > 0).ok_or(InvalidTarget::Port)?;
        Self::new(authority.host(), port)
    }

    /// Of a host, with IPv6 addresses in brackets or not, and a port.
    ///
    /// # Errors
    /// When the host is none.
    pub fn new(host: &str, port: u16) -> Result<Self, InvalidTarget> {
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(inner) = bracketed {
            let address: Ipv6Addr = inner.parse().map_err(|_| InvalidTarget::Host)?;
            return Ok(Self::of_address(address.into(), port));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self::of_address(address, port));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        if !is_name(name) {
            return Err(InvalidTarget::Host);
        }
        Ok(Self {
            host: name.to_ascii_lowercase().into(),
            address: None,
            port,
        })
    }

    /// Of an address and a port. What is an IPv4 address in IPv6's clothes is one.
    pub fn of_address(address: IpAddr, port: u16) -> Self {
        let address = address.to_canonical();
        Self {
            host: match address {
                IpAddr::V4(address) => address.to_string().into(),
                IpAddr::V6(address) => format!("[{address}]").into(),
            },
            address: Some(address),
            port,
        }
    }

    /// The host; IPv6 addresses in brackets.
    pub fn authority(&self) -> &str {
        &self.host
    }

    /// The address, when the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The port, at least 1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a name, without a port, is that of the host. Case and a trailing dot do not count.
    pub fn is_host(&self, name: &str) -> bool {
        Self::new(name, self.port).is_ok_and(|other| other.host == self.host)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Digits only: neither `+80` nor more than a port can be.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Labels of letters, digits, `-` and `_`, the last of which is no number: what ends in a number is meant to be an
/// address, and is none that everybody reads alike.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .to_ascii_lowercase()
            .strip_prefix("0x")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label) && !is_number
}
