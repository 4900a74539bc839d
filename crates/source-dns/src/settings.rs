//! How names are resolved.

use std::net::SocketAddr;
use std::time::Duration;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers that are asked. Empty: those of the system, which are read again from time to time.
    pub servers: Vec<SocketAddr>,
    /// Which addresses are wanted.
    pub family: LookupFamily,
    /// How long an answer counts at least, whatever its time to live. Default 1 s.
    pub refresh_min: Duration,
    /// How long an answer counts at most. Default 5 min.
    pub refresh_max: Duration,
    /// How long a look-up may take, all servers and repetitions together. Default 5 s.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            family: LookupFamily::default(),
            refresh_min: Duration::from_secs(1),
            refresh_max: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// How long an answer counts that has this time to live.
    pub(crate) fn counts_for(&self, ttl: Duration) -> Duration {
        ttl.min(self.refresh_max).max(self.refresh_min)
    }
}

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LookupFamily {
    /// All of the kinds that this machine has a route for; IPv4 when it has none for either.
    #[default]
    Auto,
    /// IPv4.
    V4Only,
    /// IPv6.
    V6Only,
    /// IPv4; IPv6 for a name that has none.
    V4Preferred,
    /// IPv4 and IPv6.
    All,
}
