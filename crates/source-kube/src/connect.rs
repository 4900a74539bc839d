//! How the API server is reached.

use crate::settings::Access;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// After this long in which nothing came on a connection it is asked whether the other end is there, so often, and so many
/// times. A watch is silent for as long as nothing changes, and whoever loses power says nothing either.
const QUIET: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_secs(5);
const QUESTIONS: u32 = 3;

/// The same for what was sent and nobody has acknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Whoever is there and tells nothing for this long, as a load balancer does whose API server is gone, is left: API servers
/// tell every watch each minute how far it is (`allowWatchBookmarks`).
const SILENT: Duration = Duration::from_secs(90);

/// How long a connection is kept that nothing is asked on.
const KEPT: Duration = Duration::from_secs(30);

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
    Ok(client(config(access).await?)?)
}

/// As kube makes them, but that broken connections are noticed, and that nothing is tried again without anybody's knowing.
fn client(config: Config) -> Result<Client, kube::Error> {
    if let Some(proxy) = &config.proxy_url {
        let proxy_url = Box::new(proxy.clone());
        return Err(kube::Error::ProxyProtocolUnsupported { proxy_url });
    }
    let tls = config.rustls_https_connector_with_connector(connector())?;
    let mut noticing = TimeoutConnector::new(tls);
    // Of the look-up of the name, the connection and its TLS together.
    noticing.set_connect_timeout(config.connect_timeout);
    noticing.set_read_timeout(Some(SILENT));
    noticing.set_reset_reader_on_write(true);
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .build(noticing);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_keepalive(Some(QUIET));
    connector.set_keepalive_interval(Some(ASK_EVERY));
    connector.set_keepalive_retries(Some(QUESTIONS));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

async fn config(access: &Access) -> Result<Config, Unreachable> {
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    Ok(match &access.kubeconfig {
        Some(file) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?
        }
        None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    })
}
