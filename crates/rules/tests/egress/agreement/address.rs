//! Addresses and networks, read by the letter of RFC 3986 and RFC 4291.

use std::net::Ipv6Addr;

/// What begins an IPv4 address in IPv6's clothes.
const MAPPED: u128 = 0xffff_0000_0000;

/// An address, IPv4 ones in IPv6's clothes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address(u128);

/// A network of addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    first: Address,
    /// Of 128 bits.
    length: u32,
}

impl Address {
    /// An IPv4 or IPv6 address without brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let v4 = || v4(text).map(|bits| MAPPED | u128::from(bits));
        v6(text).or_else(v4).map(Self)
    }

    /// An IPv6 address.
    pub(crate) fn parse_v6(text: &str) -> Option<Self> {
        v6(text).map(Self)
    }

    /// As a URI has it.
    pub(crate) fn in_uri(self) -> String {
        match self.is_v4() {
            true => {
                let bits = self.0;
                let four = [24, 16, 8, 0].map(|shift| (bits >> shift & 0xff).to_string());
                four.join(".")
            }
            false => format!("[{}]", Ipv6Addr::from_bits(self.0)),
        }
    }

    fn is_v4(self) -> bool {
        self.0 >> 32 == MAPPED >> 32
    }
}

impl Network {
    /// `address/length`, or an address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let first = Address::parse(address)?;
        let before = if address.contains(':') { 0 } else { 96 };
        let length = length.map_or(128, |length| before + length);
        (length <= 128).then_some(Self { first, length })
    }

    /// Whether it has an address. IPv4 addresses are in no network that has more than those.
    pub(crate) fn has(&self, address: Address) -> bool {
        let ignored = 128 - self.length;
        let cut = |address: Address| address.0.checked_shr(ignored).unwrap_or(0);
        let is_v4 = self.first.is_v4() && self.length >= 96;
        is_v4 == address.is_v4() && cut(self.first) == cut(address)
    }

    /// How much of an address it fixes.
    pub(crate) fn length(&self) -> u32 {
        self.length
    }
}

fn v4(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split('.').collect();
    let mut bits = 0;
    for part in &parts {
        let is_number = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let is_plain = is_number && (part.len() == 1 || !part.starts_with('0'));
        let number = is_plain.then(|| part.parse::<u32>().ok())??;
        bits = bits << 8 | (number < 256).then_some(number)?;
    }
    (parts.len() == 4).then_some(bits)
}

fn v6(text: &str) -> Option<u128> {
    let (before, after) = match text.split_once("::") {
        Some((before, after)) => (groups(before)?, Some(groups(after)?)),
        None => (groups(text)?, None),
    };
    let (after, is_short) = match after {
        Some(after) => (after, true),
        None => (Vec::new(), false),
    };
    let given = before.len() + after.len();
    let is_whole = if is_short { given < 8 } else { given == 8 };
    // Only the very end may be written as an IPv4 address.
    let is_tail = |groups: &str| !groups.contains('.');
    let is_plain = !is_short || is_tail(text.split_once("::")?.0);
    if !is_whole || !is_plain {
        return None;
    }
    let zeros = std::iter::repeat_n(0, 8 - given);
    let all = before.into_iter().chain(zeros).chain(after);
    Some(all.fold(0, |bits, group| bits << 16 | u128::from(group)))
}

fn groups(text: &str) -> Option<Vec<u16>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (last, others) = parts.split_last()?;
    let mut groups = Vec::new();
    for part in others {
        groups.push(group(part)?);
    }
    match v4(last) {
        Some(bits) => groups.extend([(bits >> 16) as u16, bits as u16]),
        None => groups.push(group(last)?),
    }
    Some(groups)
}

fn group(text: &str) -> Option<u16> {
    let is_hex = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(text, 16).ok())?
}
