//! The process's own log: `tracing` events and `log` records, to stderr, with a level that can be
//! changed while it runs.
//!
//! Libraries that speak of every failed request or handshake are kept quiet, whatever the level: requests are in
//! the access log, handshakes in a counter, and a client must not be able to fill the log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Put before every level. Pingora logs each failed request and each client that goes away, rustls each hello that
/// is none, notify each watch that a swapped folder took along, hickory each datagram that is no answer. A target given by
/// the user wins.
const QUIET: &str = "kube_client=off,kube_runtime=off,pingora=off,rustls=error,notify=error,hickory_net=error,hickory_proto=error,hickory_resolver=error";

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// One line an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

/// The log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The level cannot be read.
    #[error(transparent)]
    Level(#[from] InvalidLevel),
    /// It has been started before.
    #[error("the log has been started already")]
    Started(#[from] TryInitError),
}

/// A level that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid log level `{0}`: expected `error`, `warn`, `info`, `debug`, `trace`, `off`, \
     or `target=level` parts joined by commas"
)]
pub struct InvalidLevel(String);

/// Changes the level of the log while it runs. Clones share it.
#[derive(Clone)]
pub struct LogHandle {
    level: Arc<Mutex<String>>,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Starts the log of the whole process.
///
/// `level` is one of `error`, `warn`, `info`, `debug`, `trace`, `off`, or several for single
/// targets: `info,dataplane=debug`.
///
/// # Errors
///
/// The level cannot be read, or the log has been started before.
pub fn start(level: &str, format: LogFormat) -> Result<LogHandle, StartError> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(LogHandle {
        level: Arc::new(Mutex::new(level.to_owned())),
        filter: handle,
    })
}

impl LogHandle {
    /// The level in force, as it was given.
    pub fn level(&self) -> String {
        self.level
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the level.
    ///
    /// # Errors
    ///
    /// The level cannot be read; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), InvalidLevel> {
        let filter = parse(level)?;
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only when the subscriber is gone, and with it the log.
        let _ = self.filter.reload(filter);
        log::set_max_level(max_level());
        level.clone_into(&mut current);
        Ok(())
    }
}

/// What `log` records are let through to the filter: without it, those of a level that was raised
/// would never come, and those that nobody wants would cost time.
fn max_level() -> log::LevelFilter {
    match LevelFilter::current() {
        LevelFilter::TRACE => log::LevelFilter::Trace,
        LevelFilter::DEBUG => log::LevelFilter::Debug,
        LevelFilter::INFO => log::LevelFilter::Info,
        LevelFilter::WARN => log::LevelFilter::Warn,
        LevelFilter::ERROR => log::LevelFilter::Error,
        _ => log::LevelFilter::Off,
    }
}

fn parse(level: &str) -> Result<EnvFilter, InvalidLevel> {
    let invalid = || InvalidLevel(level.to_owned());
    if !level.split(',').all(is_level_or_target) {
        return Err(invalid());
    }
    EnvFilter::builder()
        .parse(format!("{QUIET},{level}"))
        .map_err(|_| invalid())
}

/// A word that is no level would be taken for the name of a target, which nobody means.
fn is_level_or_target(part: &str) -> bool {
    part.contains('=') || (!part.trim().is_empty() && part.trim().parse::<LevelFilter>().is_ok())
}
