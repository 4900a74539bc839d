//! How queries are answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How queries are answered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The nameservers that are asked for names that are not known here, in this order; at most 8. Empty: those of
    /// [`resolv_conf`](Self::resolv_conf), at most 3, on port 53.
    pub servers: Vec<SocketAddr>,
    /// Where the nameservers and the search domain of the workload stand. Its `options` are for who asks, and of no
    /// effect here. Default `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// How often it is looked at whether that file is another. Default 5 s.
    pub look_every: Duration,
    /// What becomes of queries before the names are known. Default [`BeforeNames::Fail`].
    pub before_names: BeforeNames,
    /// How long a nameserver may take, over UDP and TCP each, before the next is asked. Default 2 s.
    pub timeout: Duration,
    /// How long all of them together may take. Default 5 s, after which resolvers ask again.
    pub patience: Duration,
    /// How many times all nameservers are asked, one after the other, until one answers. Zero is one. Default 2.
    pub attempts: u32,
    /// How many queries may be asked on at a time, over all addresses. More are answered SERVFAIL at once.
    /// Default 512.
    pub max_in_flight: usize,
    /// How many TCP connections there may be for each address. More are closed at once. Default 128.
    pub max_connections: usize,
    /// How long a TCP connection may wait for a query or take to read an answer. Default 10 s, as RFC 7766, section
    /// 6.2.3, has it in the order of seconds.
    pub idle_timeout: Duration,
}

/// What becomes of queries before the names are known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BeforeNames {
    /// They are answered SERVFAIL, so that who asks asks again: what another server says of a name might be wrong.
    #[default]
    Fail,
    /// They are asked on.
    Forward,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            look_every: Duration::from_secs(5),
            before_names: BeforeNames::default(),
            timeout: Duration::from_secs(2),
            patience: Duration::from_secs(5),
            attempts: 2,
            max_in_flight: 512,
            max_connections: 128,
            idle_timeout: Duration::from_secs(10),
        }
    }
}
