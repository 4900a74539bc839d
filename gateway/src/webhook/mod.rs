//! `gateway webhook`: an API server asks before it stores.

mod bootstrap;

use anyhow::Context;
use bootstrap::Bootstrap;
use clap::Args;
use proxy::args::LogArgs;
use proxy::{Signals, Wish};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use telemetry::server::{PageServer, Pages, metrics_pages, status_pages};
use telemetry::{Metrics, Readiness};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use webhook::{Keeping, Reviewer, Server, Shown};

/// The arguments of `webhook`.
///
/// A process of its own, apart from the one that serves traffic: it may write webhook configurations, and has the key of
/// the authority that API servers trust for them.
#[derive(Args, Debug)]
pub(crate) struct WebhookArgs {
    /// The bootstrap file, which conf/webhook.toml tells all about
    #[arg(long, value_name = "FILE", default_value = "conf/webhook.toml")]
    config: PathBuf,
    /// Only tell what is wrong with the bootstrap file: exits 0 when nothing is, else 1
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    log: LogArgs,
}

/// Answers until a signal ends it.
pub(crate) fn run(args: &WebhookArgs) -> anyhow::Result<ExitCode> {
    let _log = proxy::start_log(&args.log)?;
    let bootstrap = Bootstrap::load(&args.config)?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let reviewer = Reviewer::new(bootstrap.injection.clone(), &metrics)
        .with_context(|| format!("{}: [injection]", args.config.display()))?;
    if args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    runtime.block_on(serve(&bootstrap, reviewer, metrics))?;
    // Whoever is still connected must not keep the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    bootstrap: &Bootstrap,
    reviewer: Reviewer,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be awaited")?;
    let (shown, readiness) = (Shown::default(), Readiness::new());
    let address = bootstrap.webhook.address;
    let server = Server::bind(address)
        .with_context(|| format!("the webhook address {address} cannot be bound"))?;
    let address = server.local_addr().context("the address is not known")?;
    let status = bootstrap.status.address;
    let status = serve_pages("status", status, status_pages(&readiness))?;
    let pages = bootstrap.metrics.address;
    let pages = serve_pages("metrics", pages, metrics_pages(&metrics))?;
    let keeping = Keeping {
        access: bootstrap.access(),
        places: bootstrap.webhook.places(),
        names: bootstrap.webhook.names(),
        shown: shown.clone(),
        readiness: readiness.clone(),
        metrics,
    };
    let mut keeping = tokio::spawn(keeping.run());
    let (stop, stopped) = oneshot::channel();
    let stopping = async {
        // The sender is dropped when the process ends, which is the same.
        let _ = stopped.await;
    };
    let mut serving = tokio::spawn(server.serve(reviewer, shown, stopping));
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, %address, %status, metrics = %pages, "started");
    tokio::select! {
        () = until_stopped(&mut signals) => {}
        ended = &mut serving => return ended.context("the server failed")?.context("the server ended"),
        // Else it would answer on, with certificates that run out.
        ended = &mut keeping => match ended.context("the keeper of certificates failed")? {},
    }
    keeping.abort();
    // Only then nothing says any more that it is ready.
    let _ = keeping.await;
    readiness.set_not_ready("draining");
    tokio::select! {
        () = drain(bootstrap, stop, serving) => {}
        () = signals.stop() => tracing::warn!("stopping at once"),
    }
    Ok(())
}

/// There is nothing to be read again.
async fn until_stopped(signals: &mut Signals) {
    while signals.next().await != Wish::Stop {}
}

/// Accepts until everybody knows that it goes, then finishes what is under way.
async fn drain(bootstrap: &Bootstrap, stop: oneshot::Sender<()>, serving: impl Future) {
    let proxy::bootstrap::Drain {
        delay,
        timeout: longest,
    } = bootstrap.drain;
    tracing::info!(?delay, "draining");
    sleep(delay).await;
    drop(stop);
    if timeout(longest, serving).await.is_err() {
        tracing::warn!("questions were still being answered at the end");
    }
}

/// Serves pages until the process ends, and tells where.
fn serve_pages(
    name: &'static str,
    address: SocketAddr,
    pages: Pages,
) -> anyhow::Result<SocketAddr> {
    let server = PageServer::bind(address)
        .with_context(|| format!("the {name} address {address} cannot be bound"))?;
    let bound = server.local_addr().context("the address is not known")?;
    tokio::spawn(async move {
        if let Err(error) = server.serve(pages, std::future::pending()).await {
            tracing::error!(%error, "the {name} server ended");
        }
    });
    Ok(bound)
}
