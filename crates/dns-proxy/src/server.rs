//! The server: its addresses, and who answers there.

use crate::names::PublishedNames;
use crate::resolv::{ResolvConf, leads_to};
use crate::settings::Settings;
use crate::stats::{Counters, StatsHandle};
use crate::work::Desk;
use crate::{tcp, udp};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// How many times another free port is tried, where any will do and UDP's is taken over TCP.
const MAX_TRIES: usize = 16;

/// Answers DNS queries on some addresses. Nothing is answered until it runs.
pub struct Server {
    sockets: Vec<(UdpSocket, TcpListener)>,
    addresses: Vec<SocketAddr>,
    desk: Arc<Desk>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be had.
    #[error("DNS cannot be answered on {address}: it cannot be bound over {transport}")]
    Address {
        /// Which one.
        address: SocketAddr,
        /// `UDP` or `TCP`.
        transport: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// One of [`Settings::servers`] is the server itself.
    #[error("nameserver {0} is the DNS proxy itself; name the one that it is to ask")]
    Itself(SocketAddr),
}

impl Server {
    /// Takes each address over UDP and TCP. Addresses had better not be unspecified ones: answers over UDP are sent
    /// from where the system likes. Port 0 stands for a free one.
    ///
    /// # Errors
    /// When an address is not to be had, or queries would be asked on to the server itself.
    pub async fn bind(
        addresses: &[SocketAddr],
        settings: Settings,
        names: PublishedNames,
    ) -> Result<Self, BindError> {
        let mut sockets = Vec::new();
        let mut bound = Vec::new();
        for address in addresses {
            let (pair, address) = both(*address).await?;
            sockets.push(pair);
            bound.push(address);
        }
        let mut servers = settings.servers.iter();
        if let Some(server) = servers.find(|server| leads_to(**server, &bound)) {
            return Err(BindError::Itself(*server));
        }
        let resolv = ResolvConf::read(&settings, bound.clone()).await;
        let desk = Desk::new(settings, names, resolv, Arc::<Counters>::default());
        Ok(Self {
            sockets,
            addresses: bound,
            desk: Arc::new(desk),
        })
    }

    /// Where it listens, in the order in which it was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Tells what is counted.
    pub fn stats(&self) -> StatsHandle {
        StatsHandle(Arc::clone(&self.desk.counters))
    }

    /// Answers until it is dropped. It ends by itself only when a part of it has panicked, which is logged.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        for (udp, tcp) in self.sockets {
            tasks.spawn(udp::serve(udp, Arc::clone(&self.desk)));
            tasks.spawn(tcp::serve(tcp, Arc::clone(&self.desk)));
        }
        let desk = Arc::clone(&self.desk);
        tasks.spawn(async move { desk.resolv.follow().await });
        if let Some(Err(error)) = tasks.join_next().await {
            tracing::error!(%error, "the DNS proxy ends, as a part of it has panicked");
        }
    }
}

async fn both(address: SocketAddr) -> Result<((UdpSocket, TcpListener), SocketAddr), BindError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let failed = |transport| {
            move |source| BindError::Address {
                address,
                transport,
                source,
            }
        };
        let udp = UdpSocket::bind(address).await.map_err(failed("UDP"))?;
        let bound = udp.local_addr().map_err(failed("UDP"))?;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok(((udp, tcp), bound)),
            Err(_) if address.port() == 0 && tries < MAX_TRIES => {}
            Err(source) => return Err(failed("TCP")(source)),
        }
    }
}
