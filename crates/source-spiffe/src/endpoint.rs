//! Where the Workload API is.

use percent_encoding::percent_decode_str;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a TCP connection may be silent before the other side is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Where the Workload API is: `unix:///run/spire/agent.sock` or `tcp://127.0.0.1:8000`.
///
/// Source: SPIFFE Workload Endpoint, section 4.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
    /// An address by number: who asks a resolver first would have to trust it.
    Tcp(SocketAddr),
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Neither of the two schemes.
    #[error("must begin with unix:// or tcp://")]
    Scheme,
    /// A host before the path, or a path that is not absolute.
    #[error("must be unix:///PATH, with a path from the root")]
    Path,
    /// A query, a fragment or a zero byte in the path.
    #[error("must be unix:///PATH, and the path must not have {0:?} in it")]
    Character(char),
    /// No IP address and port, or something behind them.
    #[error("must be tcp://ADDRESS:PORT, with an IP address")]
    Address,
}

/// What carries the bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Endpoint {
    /// The variable that says where it is, for who was not told otherwise.
    pub const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

    /// What the environment says. `None`: nothing.
    ///
    /// # Errors
    ///
    /// When it says something that is no endpoint.
    pub fn of_environment() -> Result<Option<Self>, InvalidEndpoint> {
        match std::env::var(Self::VARIABLE) {
            Ok(text) if !text.is_empty() => text.parse().map(Some),
            Err(std::env::VarError::NotUnicode(_)) => Err(InvalidEndpoint::Scheme),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
        }
    }

    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                let keep_alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if let Some(path) = text.strip_prefix("unix://") {
            return socket(path).map(Self::Unix);
        }
        let address = text.strip_prefix("tcp://").ok_or(InvalidEndpoint::Scheme)?;
        let address = address.parse().map_err(|_| InvalidEndpoint::Address)?;
        Ok(Self::Tcp(address))
    }
}

fn socket(path: &str) -> Result<PathBuf, InvalidEndpoint> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(InvalidEndpoint::Path);
    }
    if let Some(foreign) = path.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(InvalidEndpoint::Character(foreign));
    }
    let path: Vec<u8> = percent_decode_str(path).collect();
    match path.contains(&0) {
        true => Err(InvalidEndpoint::Character('\0')),
        false => Ok(OsString::from_vec(path).into()),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_addresses_are_endpoints() {
        for text in [
            "unix:///run/spire/agent.sock",
            "unix:///@a b",
            "tcp://127.0.0.1:8000",
            "tcp://[::1]:8000",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        let escaped: Endpoint = "unix:///a%20b".parse().unwrap();
        assert_eq!(escaped, Endpoint::Unix("/a b".into()));
    }

    #[test]
    fn everything_else_is_refused_and_says_why() {
        use InvalidEndpoint::*;
        for (text, want) in [
            ("", Scheme),
            ("/run/spire/agent.sock", Scheme),
            ("unix:/run/agent.sock", Scheme),
            ("https://127.0.0.1:8000", Scheme),
            ("unix://agent.sock", Path),
            ("unix://host/agent.sock", Path),
            ("unix://", Path),
            ("unix:///", Path),
            ("unix:///run/", Path),
            ("unix:///agent.sock?a", Character('?')),
            ("unix:///agent.sock#a", Character('#')),
            ("unix:///agent%00.sock", Character('\0')),
            ("tcp://localhost:8000", Address),
            ("tcp://127.0.0.1", Address),
            ("tcp://127.0.0.1:8000/foo", Address),
            ("tcp://user@127.0.0.1:8000", Address),
            ("tcp://", Address),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(want), "{text}");
        }
    }
}
