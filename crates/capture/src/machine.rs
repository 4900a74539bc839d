//! What the machine says of itself.

use crate::ruleset::OWN_SOURCE_V6;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

/// The IPv6 addresses of the network in which the calling thread is.
const ADDRESSES_V6: &str = "/proc/thread-self/net/if_inet6";

/// More of a file is not read.
const MAX_FILE: u64 = 1 << 20;

/// More name servers are not captured; the C library asks three.
const MAX_NAME_SERVERS: usize = 16;

/// Which IPv6 there is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ipv6State {
    /// The loopback device has an address.
    pub(crate) is_on: bool,
    /// Another device has an address that is valid beyond its link.
    pub(crate) leads_outside: bool,
    /// The loopback device has the agent's source address.
    pub(crate) has_own_source: bool,
}

impl Ipv6State {
    /// What the kernel says now. A kernel without IPv6 has no such file.
    pub(crate) fn read() -> Self {
        let text = read_text(Path::new(ADDRESSES_V6));
        text.map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    /// A line is: address, number of the device, prefix, scope, flags, device.
    fn parse(text: &str) -> Self {
        let own_source = format!("{:032x}", u128::from(OWN_SOURCE_V6));
        let mut state = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [address, _, _, scope, _, device] = fields[..] else {
                continue;
            };
            if device == "lo" {
                state.is_on = true;
                state.has_own_source |= address == own_source;
            } else {
                state.leads_outside |= scope == "00";
            }
        }
        state
    }
}

/// The name servers of a `resolv.conf`, in its order.
///
/// # Errors
///
/// When the file cannot be read.
pub(crate) fn name_servers(path: &Path) -> io::Result<Vec<IpAddr>> {
    read_text(path).map(|text| parse_name_servers(&text))
}

/// As the C library does: what it does not know, it passes over.
fn parse_name_servers(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words
            .next()
            .and_then(|word| word.split('%').next()?.parse().ok());
        if let Some(address) = address
            && !found.contains(&address)
            && found.len() < MAX_NAME_SERVERS
        {
            found.push(address);
        }
    }
    found
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_those_that_the_c_library_would_ask() {
        let text = "# nameserver 1.1.1.1\n; x\nsearch svc.cluster.local\nnameserver 10.96.0.10\n\
                    nameserver\t fd00::a # mine\noptions ndots:5\nnameserver fe80::1%eth0\n\
                    nameserver 10.96.0.10\nnameserver example.com\nnameserver\n nameserver 127.0.0.53\n";
        let want = ["10.96.0.10", "fd00::a", "fe80::1", "127.0.0.53"];
        let found = parse_name_servers(text);
        assert_eq!(
            found.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            want
        );
        let many: String = (0..20)
            .map(|last| format!("nameserver 10.0.0.{last}\n"))
            .collect();
        assert_eq!(parse_name_servers(&many).len(), MAX_NAME_SERVERS);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let missing = name_servers(Path::new("/nonexistent/resolv.conf"));
        assert_eq!(
            missing.map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn ipv6_is_told_from_addresses() {
        const LOOPBACK: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";
        const LINK: &str = "fe800000000000000042acfffe110002 05 40 20 80     eth0\n";
        const GLOBAL: &str = "fd000000000000000000000000000002 05 40 00 80     eth0\n";
        const OWN: &str = "00000000000000000000000000000006 01 80 90 80       lo\n";
        let state = |is_on, leads_outside, has_own_source| Ipv6State {
            is_on,
            leads_outside,
            has_own_source,
        };
        for (text, want) in [
            (String::new(), state(false, false, false)),
            (LOOPBACK.to_owned(), state(true, false, false)),
            ([LOOPBACK, LINK].concat(), state(true, false, false)),
            ([LOOPBACK, LINK, GLOBAL].concat(), state(true, true, false)),
            ([OWN, LOOPBACK].concat(), state(true, false, true)),
            ("nonsense\n".to_owned(), state(false, false, false)),
        ] {
            assert_eq!(Ipv6State::parse(&text), want, "{text}");
        }
    }
}
