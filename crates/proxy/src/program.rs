//! What tells one binary from the other.

use crate::bootstrap::{Bootstrap, InvalidBootstrap};
use crate::pages::Control;
use crate::serve::Serving;
use anyhow::Context;
use config::{Message, Published};
use source_kube::{Acting, ReplicaSettings, Seen};
use source_spiffe::Endpoint;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use telemetry::server::Pages;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

/// A configuration error, or an error that `check` found. Usage errors are clap's: 2.
pub(crate) const CONFIGURATION_ERROR: u8 = 1;

/// What tells one binary from the other.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// As it is called on the command line.
    pub name: &'static str,
    /// As its pages are headed.
    pub title: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The bootstrap file that is read when none is named.
    pub default_config: &'static str,
    /// Reads its bootstrap file.
    pub parse: fn(&str) -> Result<Bootstrap, toml::de::Error>,
    /// The pages of `[metrics]`, which are served at this address.
    ///
    /// # Errors
    /// When what they are about cannot be read, which ends the process.
    pub metrics: fn(&Bootstrap, &Arc<Serving>, Control, SocketAddr) -> anyhow::Result<Pages>,
    /// Starts what the other one has not, once pages and listeners are there.
    ///
    /// # Errors
    /// When it cannot be started, which ends the process.
    pub start: fn(&Bootstrap, &Arc<Serving>) -> anyhow::Result<()>,
    /// Starts following what `[kubernetes]` says. Absent: the program has no such section, nor the code for it.
    pub follow_objects: Option<FollowObjects>,
    /// Starts telling what became of those objects, where `[kubernetes]` wants that. Absent: as above.
    pub tell_status: Option<TellStatus>,
}

/// Starts following the objects of an API server: [`source_kube::start`].
pub type FollowObjects =
    fn(source_kube::Settings, &Sender<Message>) -> io::Result<source_kube::Objects>;

/// Starts telling what became of objects: [`source_kube::tell_status`].
pub type TellStatus =
    fn(ReplicaSettings, Seen, watch::Receiver<Option<Arc<Published>>>) -> io::Result<Acting>;

/// Metrics alone, for [`Program::metrics`].
///
/// # Errors
/// None.
pub fn metrics_pages(
    _: &Bootstrap,
    serving: &Arc<Serving>,
    _: Control,
    _: SocketAddr,
) -> anyhow::Result<Pages> {
    Ok(telemetry::server::metrics_pages(&serving.metrics))
}

/// A program for tests.
#[cfg(test)]
pub(crate) const GATEWAY: Program = Program {
    name: "gateway",
    title: "gateway",
    version: "0",
    default_config: "conf/gateway.toml",
    parse: |text| toml::from_str(text),
    metrics: metrics_pages,
    start: |_, _| Ok(()),
    follow_objects: None,
    tell_status: None,
};

impl Program {
    /// The exit code of a command, whose error is printed.
    pub fn exit(&self, result: anyhow::Result<ExitCode>) -> ExitCode {
        result.unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::from(CONFIGURATION_ERROR)
        })
    }

    /// The bootstrap file that is named, or the default one.
    pub(crate) fn config_file<'f>(&self, named: Option<&'f Path>) -> &'f Path {
        named.unwrap_or_else(|| Path::new(self.default_config))
    }

    /// Reads a bootstrap file, the default one where none is named, and makes the paths in it relative to where it is.
    ///
    /// # Errors
    /// When it cannot be read, or has mistakes ([`InvalidBootstrap`]).
    pub fn load(&self, config: Option<&Path>) -> anyhow::Result<Bootstrap> {
        let file = self.config_file(config);
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{}: cannot be read", file.display()))?;
        let mut bootstrap = self.parse(file, &text)?;
        let identity = bootstrap.tls.complete(Endpoint::of_environment);
        identity.with_context(|| format!("{}: [tls]", file.display()))?;
        if let Some(problem) = bootstrap.forward_proxy.problem() {
            anyhow::bail!("{}: [forward-proxy]: {problem}", file.display());
        }
        if let Some(kubernetes) = &bootstrap.kubernetes {
            let status = kubernetes.status(&bootstrap.proxy);
            status.with_context(|| format!("{}: [kubernetes] status", file.display()))?;
        }
        if let Some(acme) = &bootstrap.acme {
            let replicas = acme.replicas(bootstrap.kubernetes.as_ref(), &bootstrap.proxy);
            replicas.with_context(|| format!("{}: [acme] secrets", file.display()))?;
        }
        Ok(bootstrap.relative_to(file.parent().unwrap_or_else(|| Path::new(""))))
    }

    /// That of a command which may be told resources: then it needs no file.
    pub(crate) fn load_for_command(
        &self,
        config: Option<&Path>,
        resources: &[PathBuf],
    ) -> anyhow::Result<Bootstrap> {
        let default = Path::new(self.default_config);
        match config {
            None if !resources.is_empty() && !default.exists() => self.without_file(),
            config => self.load(config),
        }
    }

    /// The defaults, as if they stood where the file would be.
    fn without_file(&self) -> anyhow::Result<Bootstrap> {
        let default = Path::new(self.default_config);
        let folder = default.parent().unwrap_or_else(|| Path::new(""));
        Ok(self.parse(default, "")?.relative_to(folder))
    }

    fn parse(&self, file: &Path, text: &str) -> Result<Bootstrap, InvalidBootstrap> {
        (self.parse)(text).map_err(|error| InvalidBootstrap::new(file, text, &error))
    }
}
