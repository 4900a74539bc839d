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
    /// How long it counts at most that a name that was asked for does not exist or has no address, at least
    /// [`refresh_min`](Self::refresh_min). Between them the SOA record decides; without one it is the least.
    /// Default 30 s.
    pub negative_max: Duration,
    /// How long the addresses of a name that was asked for are used after their time while nobody knows better.
    /// Zero: not at all. Default 24 h.
    pub stale_max: Duration,
    /// How many names that were asked for are remembered. Zero is one. When there are more, those of which nothing
    /// is of use any more are forgotten first, then those that were not asked for of late. Default 10,000.
    pub cache_size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            family: LookupFamily::default(),
            refresh_min: Duration::from_secs(1),
            refresh_max: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
            negative_max: Duration::from_secs(30),
            stale_max: Duration::from_secs(24 * 60 * 60),
            cache_size: 10_000,
        }
    }
}

impl Settings {
    /// How long an answer counts that has this time to live.
    pub(crate) fn counts_for(&self, ttl: Duration) -> Duration {
        ttl.min(self.refresh_max).max(self.refresh_min)
    }

    /// How long it counts that there is nothing, if the server says so long.
    pub(crate) fn nothing_counts_for(&self, ttl: Option<Duration>) -> Duration {
        let ttl = ttl.unwrap_or_default();
        ttl.min(self.negative_max).max(self.refresh_min)
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
