//! The command `run`.

use crate::Program;
use crate::args::{Format, LogArgs, RunArgs};
use crate::bootstrap::Bootstrap;
use crate::egress;
use crate::health;
use crate::pages::{self, Control};
use crate::resources::settings;
use crate::serve::Serving;
use crate::signals::{Signals, Wish};
use anyhow::Context;
use config::Configuration;
use source_file::{FileSource, Options};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use telemetry::logging::{self, LogFormat, LogHandle};
use telemetry::server::{PageServer, Pages, metrics_pages, status_pages};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Serves until a signal or an operator ends it.
pub fn run(program: &Program, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let log = start_log(&args.log)?;
    let bootstrap = program.load(args.config.as_deref())?;
    let runtime = runtime(&bootstrap)?;
    let file = program.config_file(args.config.as_deref());
    runtime.block_on(serve(program, &bootstrap, file, log))?;
    // Connections that outlived the drain must not keep the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Threads that serve, and one that may block.
pub fn runtime(bootstrap: &Bootstrap) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(bootstrap.proxy.threads())
        .thread_name("worker")
        .enable_all();
    builder.build().context("the runtime cannot be started")
}

fn start_log(args: &LogArgs) -> anyhow::Result<LogHandle> {
    let format = match args.log_format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    Ok(logging::start(&args.log_level, format)?)
}

async fn serve(
    program: &Program,
    bootstrap: &Bootstrap,
    file: &Path,
    log: LogHandle,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be awaited")?;
    let serving = Serving::new(program, bootstrap)?;
    let (control, mut wishes) = Control::new();
    let admin = pages::admin(program, &serving, control, &log)?;
    let admin_server = bind("admin", bootstrap.admin.address)?.own_names_only();
    serve_pages("admin", admin_server, admin, &serving);
    // Kubelets and scrapers ask these two by whatever name they have for them.
    let status_server = bind("status", bootstrap.status.address)?;
    let status = status_pages(&serving.readiness);
    serve_pages("status", status_server, status, &serving);
    let metrics_server = bind("metrics", bootstrap.metrics.address)?;
    let metrics = metrics_pages(&serving.metrics);
    serve_pages("metrics", metrics_server, metrics, &serving);
    health::start(bootstrap, &serving);
    egress::start(&serving);
    (program.start)(bootstrap, &serving)?;
    let source = follow_files(bootstrap, &serving)?;
    tracing::info!(version = program.version, config = %file.display(), "started");
    if until_wished(&mut signals, &mut wishes, &source, &serving).await == pages::Wish::Drain {
        tokio::select! {
            () = serving.drain(bootstrap.drain.delay, bootstrap.drain.timeout) => {}
            () = signals.stop() => tracing::warn!("stopping at once"),
            () = pages::quit(&mut wishes) => tracing::warn!("stopping at once"),
        }
    }
    serving.write_what_is_left();
    Ok(())
}

/// Serves until the process shall end, and tells how.
async fn until_wished(
    signals: &mut Signals,
    wishes: &mut mpsc::Receiver<pages::Wish>,
    source: &FileSource,
    serving: &Serving,
) -> pages::Wish {
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Reload => reload(source, serving),
                Wish::Stop => return pages::Wish::Drain,
            },
            wish = wishes.recv() => return wish.unwrap_or(pages::Wish::Quit),
        }
    }
}

fn bind(name: &str, address: SocketAddr) -> anyhow::Result<PageServer> {
    PageServer::bind(address)
        .with_context(|| format!("the {name} address {address} cannot be bound"))
}

/// Serves pages until the process ends. No client of the forward proxy is led there.
fn serve_pages(name: &'static str, server: PageServer, pages: Pages, serving: &Serving) {
    let address = server.local_addr();
    let own_port = address.map(|address| serving.shared.own_ports.hold_pages(address.port()));
    tokio::spawn(async move {
        let _own_port = own_port;
        if let Err(error) = server.serve(pages, std::future::pending()).await {
            tracing::error!(%error, "the {name} server ended");
        }
    });
}

/// Starts watching the files, compiling what they hold, and serving that.
fn follow_files(bootstrap: &Bootstrap, serving: &Arc<Serving>) -> anyhow::Result<FileSource> {
    let resources = &bootstrap.resources;
    let last_good =
        Some(resources.last_good.clone()).filter(|folder| !folder.as_os_str().is_empty());
    let configuration = Configuration::new(settings(bootstrap, last_good));
    let (sender, receiver) = mpsc::channel(config::QUEUE);
    let names = source_dns::start(bootstrap.dns.settings.clone(), &sender)
        .context("no thread can be started")?;
    let identity = follow_identity(bootstrap, &sender)?;
    let source = FileSource::start(Options::new(resources.files.clone()), sender)
        .context("the files of resources cannot be watched")?;
    let files = source.follower();
    let followers = config::Followers {
        files: Some(Box::new(move |wanted| files.follow(wanted.clone()))),
        names: Some(Box::new(move |wanted| names.follow(wanted))),
    };
    let publications =
        config::start(configuration, 1, followers, receiver).context("no thread can be started")?;
    let serving = Arc::clone(serving);
    tokio::spawn(async move {
        let _identity = identity;
        serving.follow(publications).await;
    });
    Ok(source)
}

/// Starts following the proxy's identity where it is not in files.
fn follow_identity(
    bootstrap: &Bootstrap,
    sender: &mpsc::Sender<config::Message>,
) -> anyhow::Result<Option<source_spiffe::Running>> {
    let Some(endpoint) = bootstrap.tls.workload_api.clone() else {
        return Ok(None);
    };
    let settings = source_spiffe::Settings {
        endpoint,
        spiffe_id: bootstrap.tls.spiffe_id.clone(),
    };
    let running = source_spiffe::start(settings, sender).context("no thread can be started")?;
    Ok(Some(running))
}

fn reload(source: &FileSource, serving: &Serving) {
    tracing::info!("reading resources again, opening the access log anew");
    source.rescan();
    serving.shared.access_log.reopen();
}
