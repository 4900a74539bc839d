//! The header of the PROXY protocol, by which an endpoint is told who the client is.
//!
//! Source: the HAProxy project's "The PROXY protocol, versions 1 & 2".

use model::ProxyProtocolVersion;
use std::net::{IpAddr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, PROXY.
const PROXY: u8 = 0x21;
/// Version 2, LOCAL: the connection is the sender's own.
const LOCAL: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The header for a connection of `client` that arrived at `local`. Absent: nothing is known of them.
pub(super) fn header(
    version: ProxyProtocolVersion,
    downstream: Option<(SocketAddr, SocketAddr)>,
) -> Vec<u8> {
    let ends = downstream.map(|(client, local)| (canonical(client), canonical(local)));
    match version {
        ProxyProtocolVersion::V1 => text(ends).into_bytes(),
        ProxyProtocolVersion::V2 => binary(ends),
    }
}

/// A socket for both families tells IPv4 addresses as IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn text(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((client, local)) = ends else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let family = match (client, local) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return "PROXY UNKNOWN\r\n".to_owned(),
    };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        client.ip(),
        local.ip(),
        client.port(),
        local.port()
    )
}

fn binary(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let addresses = ends.and_then(|(client, local)| {
        let (family, mut bytes) = match (client.ip(), local.ip()) {
            (IpAddr::V4(client), IpAddr::V4(local)) => {
                (TCP4, [client.octets(), local.octets()].concat())
            }
            (IpAddr::V6(client), IpAddr::V6(local)) => {
                (TCP6, [client.octets(), local.octets()].concat())
            }
            _ => return None,
        };
        bytes.extend(client.port().to_be_bytes());
        bytes.extend(local.port().to_be_bytes());
        Some((family, bytes))
    });
    let (command, family, bytes) = match addresses {
        Some((family, bytes)) => (PROXY, family, bytes),
        None => (LOCAL, 0, Vec::new()),
    };
    header.extend([command, family]);
    // At most 36 bytes.
    header.extend(u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    header.extend(bytes);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, local: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((client.parse().unwrap(), local.parse().unwrap()))
    }

    #[track_caller]
    fn check_text(downstream: Option<(SocketAddr, SocketAddr)>, want: &str) {
        let header = header(ProxyProtocolVersion::V1, downstream);
        assert_eq!(String::from_utf8(header).unwrap(), want);
    }

    #[test]
    fn version_1_is_a_line() {
        check_text(
            ends("192.0.2.1:4000", "192.0.2.9:443"),
            "PROXY TCP4 192.0.2.1 192.0.2.9 4000 443\r\n",
        );
        check_text(
            ends("[2001:db8::1]:4000", "[2001:db8::2]:443"),
            "PROXY TCP6 2001:db8::1 2001:db8::2 4000 443\r\n",
        );
        check_text(
            ends("[::ffff:192.0.2.1]:4000", "192.0.2.9:443"),
            "PROXY TCP4 192.0.2.1 192.0.2.9 4000 443\r\n",
        );
        check_text(ends("192.0.2.1:1", "[2001:db8::2]:2"), "PROXY UNKNOWN\r\n");
        check_text(None, "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let told = header(
            ProxyProtocolVersion::V2,
            ends("192.0.2.1:4000", "192.0.2.9:443"),
        );
        assert_eq!(told[..12], SIGNATURE);
        assert_eq!(
            told[12..],
            [
                0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 9, 0x0f, 0xa0, 0x01, 0xbb
            ]
        );
        let v6 = header(
            ProxyProtocolVersion::V2,
            ends("[2001:db8::1]:1", "[2001:db8::2]:2"),
        );
        assert_eq!((v6[13], v6[15], v6.len()), (0x21, 36, 16 + 36));
        let unknown = header(ProxyProtocolVersion::V2, None);
        assert_eq!(unknown[12..], [0x20, 0, 0, 0]);
    }
}
