//! TCP ports for processes that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the kernel's ephemeral range, so that no outgoing connection takes one in between.
const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;

/// A port that no other test will choose, in this process or another, until this is dropped.
///
/// The reservation is a Unix socket in the abstract namespace named after the port: the kernel
/// grants each name once and takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: Option<UnixListener>,
}

impl Port {
    /// Reserves a port on which nothing listens.
    pub fn reserve() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let start = std::process::id().wrapping_mul(7919);
        (0..COUNT)
            .find_map(|_| {
                let step = NEXT.fetch_add(1, Ordering::Relaxed);
                let number = FIRST + start.wrapping_add(step) % COUNT;
                Self::take(u16::try_from(number).ok()?)
            })
            .expect("a free port")
    }

    /// A port of a machine of the test's own, where nobody else chooses any.
    pub(crate) fn unreserved(number: u16) -> Self {
        Self {
            number,
            _reservation: None,
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    fn take(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("tidegate-e2e-port-{number}")).ok()?;
        let reservation = UnixListener::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self {
            number,
            _reservation: Some(reservation),
        })
    }
}
