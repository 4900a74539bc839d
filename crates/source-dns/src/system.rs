//! Look-ups by DNS servers and the system's file of hosts.

use crate::Settings;
use crate::lookup::{Failure, Family, Found, Lookup};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Answer;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use model::Hostname;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long the system's files count before they are read again.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// How many times a server is asked within [`Settings::timeout`].
const TRIES: u32 = 3;

/// How long they count at least, whatever fails: that a name cannot be looked up is no reason to read them each time.
const FRESH_AT_LEAST: Duration = Duration::from_secs(1);

/// DNS servers, and `/etc/hosts` before them.
pub(crate) struct System {
    source: Arc<Source>,
    /// The resolver, and when it was made of the system's files. Who waits for the lock waits for who reads them.
    made: Mutex<Option<(Arc<TokioResolver>, Instant)>>,
}

/// What resolvers are made of.
struct Source {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    /// So that it is not said at every look-up.
    has_warned: AtomicBool,
}

impl System {
    pub(crate) fn new(settings: &Settings) -> Self {
        let source = Source {
            servers: settings.servers.clone(),
            timeout: settings.timeout,
            has_warned: AtomicBool::new(false),
        };
        Self {
            source: Arc::new(source),
            made: Mutex::new(None),
        }
    }

    async fn resolver(&self) -> Result<Arc<TokioResolver>, Failure> {
        let mut made = self.made.lock().await;
        if let Some((resolver, at)) = &*made
            && at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(resolver));
        }
        let source = Arc::clone(&self.source);
        // Requests share the thread, and a file of hosts may be long.
        let resolver = tokio::task::spawn_blocking(move || source.make()).await;
        let resolver = resolver.map_err(|error| Failure::Temporary(error.to_string()))?;
        let resolver = resolver.map_err(|error| Failure::Temporary(error.to_string()))?;
        let resolver = Arc::new(resolver);
        *made = Some((Arc::clone(&resolver), Instant::now()));
        Ok(resolver)
    }

    /// The servers may be others by now.
    async fn forget(&self) {
        let mut made = self.made.lock().await;
        made.take_if(|(_, at)| at.elapsed() >= FRESH_AT_LEAST);
    }
}

impl Source {
    fn make(&self) -> Result<TokioResolver, NetError> {
        let provider = TokioRuntimeProvider::default();
        let (config, options) = self.configuration();
        let builder = TokioResolver::builder_with_config(config, provider);
        builder.with_options(self.adjusted(options)).build()
    }

    fn configuration(&self) -> (ResolverConfig, ResolverOpts) {
        let only = |servers: &[SocketAddr]| {
            let servers = servers.iter().map(|server| name_server(*server));
            let config = ResolverConfig::from_name_servers(servers.collect());
            (config, ResolverOpts::default())
        };
        if !self.servers.is_empty() {
            return only(&self.servers);
        }
        read_system_conf().unwrap_or_else(|error| {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "/etc/resolv.conf names no DNS server, this machine is asked");
            }
            // As resolv.conf(5) has it.
            only(&[(Ipv4Addr::LOCALHOST, 53).into()])
        })
    }

    /// Nothing is kept there: what is kept, and how long, is this crate's own business.
    fn adjusted(&self, mut options: ResolverOpts) -> ResolverOpts {
        options.cache_size = 0;
        options.timeout = self.timeout / TRIES;
        options.attempts = TRIES as usize - 1;
        options
    }
}

impl Lookup for System {
    async fn lookup(&self, name: &Hostname, family: Family) -> Result<Found, Failure> {
        let record_type = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let resolver = self.resolver().await?;
        let outcome = match absolute(name) {
            Ok(name) => resolver.lookup(name, record_type).await,
            Err(why) => return Err(Failure::Temporary(why)),
        };
        let outcome = outcome.map_err(failure);
        if outcome.as_ref().is_err_and(Failure::is_temporary) {
            self.forget().await;
        }
        found(&outcome?, family)
    }
}

/// A name with a dot is meant as it is written. One without is looked for in the system's search domains.
fn absolute(name: &Hostname) -> Result<Name, String> {
    let mut absolute = Name::from_ascii(name.as_str()).map_err(|error| error.to_string())?;
    absolute.set_fqdn(name.as_str().contains('.'));
    Ok(absolute)
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

fn found(answer: &Answer, family: Family) -> Result<Found, Failure> {
    let answers = answer.answers();
    let addresses = answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    let addresses: Vec<_> = addresses.filter(|address| family.has(address)).collect();
    if addresses.is_empty() {
        // The name is another's, which has none.
        let ttl = answer.authorities().iter().find_map(negative_ttl);
        return Err(Failure::NoAddress {
            ttl: ttl.map(seconds),
        });
    }
    let ttl = answers.iter().map(|record| record.ttl).min();
    Ok(Found {
        addresses,
        ttl: seconds(ttl.unwrap_or_default()),
        unknown: None,
    })
}

/// How long it counts that there is nothing, RFC 2308.
fn negative_ttl(authority: &Record) -> Option<u32> {
    match &authority.data {
        RData::SOA(soa) => Some(authority.ttl.min(soa.minimum)),
        _ => None,
    }
}

fn failure(error: NetError) -> Failure {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => of_no_records(&none),
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Failure::Temporary(format!("the server answered {code}"))
        }
        NetError::Timeout => Failure::Timeout,
        other => Failure::Temporary(other.to_string()),
    }
}

fn of_no_records(none: &NoRecords) -> Failure {
    // A server that knows nothing but others to ask is none of those that were meant to be asked.
    if none.ns.is_some() && none.soa.is_none() {
        return Failure::Temporary("the server does not look names up for others".to_owned());
    }
    let ttl = none.negative_ttl.map(seconds);
    match none.response_code {
        ResponseCode::NXDomain => Failure::NoSuchName { ttl },
        _ => Failure::NoAddress { ttl },
    }
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(u64::from(ttl))
}
