//! The command `run`.

use crate::Program;
use crate::args::{Format, LogArgs, RunArgs};
use crate::bootstrap::Bootstrap;
use crate::egress;
use crate::health;
use crate::pages::{self, Control, Wishes};
use crate::serve::Serving;
use crate::servers::{PageServers, bind};
use crate::signals::{Signals, Wish};
use crate::sources::Sources;
use crate::supervisor;
use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use telemetry::logging::{self, LogFormat, LogHandle};
use telemetry::server::status_pages;
use tokio::runtime::Runtime;

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

/// Starts the process's own log.
///
/// # Errors
/// When the level is none, or it has been started before.
pub fn start_log(args: &LogArgs) -> anyhow::Result<LogHandle> {
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
    supervisor::follow(&serving.readiness);
    let (control, mut wishes) = Control::new();
    let servers = serve_pages(program, bootstrap, &serving, control, &log)?;
    health::start(bootstrap, &serving);
    egress::start(&serving);
    (program.start)(bootstrap, &serving)?;
    let sources = Sources::follow(program, bootstrap, &serving)?;
    tracing::info!(version = program.version, config = %file.display(), "started");
    let wish = until_wished(&mut signals, &mut wishes, &sources, &serving).await;
    // Another is to act at once, while what is in use here goes on.
    let handed_over = tokio::spawn(Arc::clone(&serving).hand_over());
    if wish == pages::Wish::Drain {
        tokio::select! {
            () = serving.drain(&bootstrap.drain) => {}
            () = signals.stop() => tracing::warn!("stopping at once"),
            () = pages::quit(&mut wishes) => tracing::warn!("stopping at once"),
        }
    }
    // Fails only when it was a bug that ended it.
    let _ = handed_over.await;
    serving.write_what_is_left();
    tokio::select! {
        () = sources.end() => {}
        () = signals.stop() => tracing::warn!("stopping at once"),
    }
    servers.stop().await;
    Ok(())
}

/// Serves the pages of operators, kubelets and scrapers.
fn serve_pages(
    program: &Program,
    bootstrap: &Bootstrap,
    serving: &Arc<Serving>,
    control: Control,
    log: &LogHandle,
) -> anyhow::Result<PageServers> {
    let mut servers = PageServers::default();
    let admin = pages::admin(program, serving, control.clone(), log)?;
    let admin_server = bind("admin", bootstrap.admin.address)?.own_names_only();
    servers.serve("admin", admin_server, admin, serving);
    // Kubelets and scrapers ask these two by whatever name they have for them.
    let status = status_pages(&serving.readiness);
    let status_server = bind("status", bootstrap.status.address)?;
    servers.serve("status", status_server, status, serving);
    let metrics_server = bind("metrics", bootstrap.metrics.address)?;
    let address = metrics_server
        .local_addr()
        .context("the metrics address is not known")?;
    let metrics = (program.metrics)(bootstrap, serving, control, address)?;
    servers.serve("metrics", metrics_server, metrics, serving);
    Ok(servers)
}

/// Serves until the process shall end, and tells how.
async fn until_wished(
    signals: &mut Signals,
    wishes: &mut Wishes,
    sources: &Sources,
    serving: &Serving,
) -> pages::Wish {
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Reload => reload(sources, serving),
                Wish::Stop => return pages::Wish::Drain,
            },
            wished = wishes.changed() => match *wishes.borrow_and_update() {
                _ if wished.is_err() => return pages::Wish::Quit,
                None => {}
                Some(pages::Wish::BeginDrain) => {
                    serving.begin_drain();
                }
                Some(wish) => return wish,
            },
        }
    }
}

fn reload(sources: &Sources, serving: &Serving) {
    tracing::info!("reading resources again, opening the access log anew");
    supervisor::reloading(&serving.readiness, || {
        sources.reread();
        serving.shared.access_log.reopen();
    });
}
