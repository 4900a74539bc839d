//! How the API server is reached.

use crate::settings::Access;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Why the API server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The file that says how cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Nothing says how.
    #[error("nothing tells where the API server is: {0}")]
    Unknown(#[from] kube::config::InferConfigError),
    /// What is said cannot be done.
    #[error("no connection to the API server can be made: {0}")]
    Client(#[from] kube::Error),
}

/// What is known of how the API server is reached.
#[derive(Clone)]
pub(crate) enum Connection {
    /// Nothing yet.
    Begun,
    /// Why it cannot be asked, which is tried again.
    Failed(String),
    /// It can be asked.
    Made(Client),
}

/// A client of the API server.
pub(crate) async fn connect(access: &Access) -> Result<Client, Unreachable> {
    Ok(Client::try_from(config(access).await?)?)
}

async fn config(access: &Access) -> Result<Config, Unreachable> {
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match &access.kubeconfig {
        Some(file) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?
        }
        None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    // A watch is silent for as long as nothing changes, and says itself how long it lasts.
    config.read_timeout = None;
    Ok(config)
}
