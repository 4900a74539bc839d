//! Which addresses of a name are used, and in which order.

use crate::lookup::Found;
use std::collections::HashSet;
use std::net::IpAddr;

/// More addresses of one name are left aside.
const MAX_ADDRESSES: usize = 1024;

/// What a name stands for after a look-up.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether some were left aside.
    pub(crate) is_cut: bool,
}

/// What is known already first and in its order, so that the same addresses are the same answer, and the first
/// stays the first as long as it is there.
pub(crate) fn settled(known: &[IpAddr], found: &Found) -> Settled {
    let now: HashSet<&IpAddr> = found.addresses.iter().collect();
    let is_unknown = |address: &IpAddr| found.unknown.is_some_and(|family| family.has(address));
    let kept = known
        .iter()
        .filter(|address| now.contains(address) || is_unknown(address));
    let mut seen = HashSet::new();
    let all = kept.chain(&found.addresses);
    let distinct = all.filter(|address| seen.insert(**address));
    let mut addresses: Vec<_> = distinct.copied().collect();
    let is_cut = addresses.len() > MAX_ADDRESSES;
    addresses.truncate(MAX_ADDRESSES);
    Settled { addresses, is_cut }
}
