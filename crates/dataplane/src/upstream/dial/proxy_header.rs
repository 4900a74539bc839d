//! The PROXY protocol as it is spoken to endpoints.
//!
//! Source: HAProxy's `proxy-protocol.txt`, 2.1 and 2.2; Istio `TrafficPolicy.proxy_protocol`.

use model::ProxyProtocolVersion;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, the sender's own connection.
const LOCAL: u8 = 0x20;
/// Version 2, somebody else's connection.
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Whose connection it is: the client's address, and the one that it connected to.
pub(super) type Ends = (SocketAddr, SocketAddr);

/// What a connection begins with. Without `ends` it is the gateway's own, as those of health checks.
pub(super) fn encoded(version: ProxyProtocolVersion, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(|(client, local)| of_one_family(client, local));
    match version {
        ProxyProtocolVersion::V1 => line(ends).into_bytes(),
        ProxyProtocolVersion::V2 => binary(ends),
    }
}

/// A socket for both families tells IPv4 addresses as IPv6. Where one end is of IPv4 and the other is not, the header
/// has room for both only as IPv6.
fn of_one_family(client: SocketAddr, local: SocketAddr) -> Ends {
    let (from, to) = (client.ip().to_canonical(), local.ip().to_canonical());
    let (from, to) = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (from, to),
        _ => (wide(from), wide(to)),
    };
    (
        SocketAddr::new(from, client.port()),
        SocketAddr::new(to, local.port()),
    )
}

fn wide(address: IpAddr) -> IpAddr {
    let wide: Ipv6Addr = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    wide.into()
}

fn line(ends: Option<Ends>) -> String {
    let Some((client, local)) = ends else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        client.ip(),
        local.ip(),
        client.port(),
        local.port()
    )
}

fn binary(ends: Option<Ends>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some((client, local)) = ends else {
        header.extend([LOCAL, 0, 0, 0]);
        return header;
    };
    let family = if client.is_ipv4() { TCP4 } else { TCP6 };
    let mut addresses = Vec::new();
    for end in [client, local] {
        match end.ip() {
            IpAddr::V4(v4) => addresses.extend(v4.octets()),
            IpAddr::V6(v6) => addresses.extend(v6.octets()),
        }
    }
    addresses.extend(client.port().to_be_bytes());
    addresses.extend(local.port().to_be_bytes());
    // Two addresses and two ports: 12 bytes, or 36.
    let length = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
    header.extend([PROXY, family]);
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProxyProtocolVersion::{V1, V2};

    fn ends(client: &str, local: &str) -> Option<Ends> {
        Some((client.parse().unwrap(), local.parse().unwrap()))
    }

    #[test]
    fn a_line_says_who_connected_where() {
        let cases = [
            (
                ends("192.0.2.1:1234", "198.51.100.2:443"),
                "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n",
            ),
            (
                ends("[2001:db8::1]:1", "[2001:db8::2]:65535"),
                "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
            ),
            (
                ends("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"),
                "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            ),
            (
                ends("192.0.2.1:1", "[2001:db8::2]:2"),
                "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n",
            ),
            (None, "PROXY UNKNOWN\r\n"),
        ];
        for (ends, want) in cases {
            assert_eq!(String::from_utf8(encoded(V1, ends)).unwrap(), want);
        }
    }

    #[test]
    fn version_2_has_the_bytes_of_the_specification() {
        let v4 = encoded(V2, ends("192.0.2.1:1234", "198.51.100.2:443"));
        let want =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb";
        assert_eq!(v4, want);
        let v6 = encoded(V2, ends("[2001:db8::1]:1", "[2001:db8::2]:2"));
        let mut want = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
        want.extend(b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01");
        want.extend(b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01\0\x02");
        assert_eq!(v6, want);
        assert_eq!(encoded(V2, None), b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    }
}
