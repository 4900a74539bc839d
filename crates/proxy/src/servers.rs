//! The servers of pages.

use crate::serve::Serving;
use anyhow::Context;
use std::net::SocketAddr;
use std::time::Duration;
use telemetry::server::{PageServer, Pages};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long the process waits at its end for answers of pages, among them that to who has asked for the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The servers of pages, until the process ends.
#[derive(Default)]
pub(crate) struct PageServers {
    stop: watch::Sender<bool>,
    servers: JoinSet<()>,
}

/// Binds a server of pages.
pub(crate) fn bind(name: &str, address: SocketAddr) -> anyhow::Result<PageServer> {
    PageServer::bind(address)
        .with_context(|| format!("the {name} address {address} cannot be bound"))
}

impl PageServers {
    /// Serves pages until the process ends. No client of the forward proxy is led there.
    pub(crate) fn serve(
        &mut self,
        name: &'static str,
        server: PageServer,
        pages: Pages,
        serving: &Serving,
    ) {
        let address = server.local_addr();
        let own_port = address.map(|address| serving.shared.own_ports.hold_pages(address.port()));
        let mut stopped = self.stop.subscribe();
        self.servers.spawn(async move {
            let _own_port = own_port;
            let stop = async {
                // Fails when nobody can stop it any more, which is the end as well.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            if let Err(error) = server.serve(pages, stop).await {
                tracing::error!(%error, "the {name} server ended");
            }
        });
    }

    /// Ends them, once the answers are given that are under way, or have had their time.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.servers.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, ended).await.is_err() {
            tracing::debug!("pages were still being answered at the end");
        }
    }
}
