//! The application behind every downstream connection.

use super::Gateway;
use super::deadline::Cuttable;
use super::observe::HeadWatch;
use crate::net::Application;
use crate::upstream::{UpstreamConnector, connector_conf};
use crate::{Settings, Shared};
use async_trait::async_trait;
use custom_proxy::http_proxy;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use std::sync::Arc;

/// Bytes of request bodies that a downstream HTTP/2 stream, and a connection, may have waiting here.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams reset by a client before they were accepted; more end the connection (rapid reset).
const HTTP2_PENDING_RESETS: usize = 20;
/// Reset streams remembered for frames that still arrive.
const HTTP2_REMEMBERED_RESETS: usize = 10;
/// Resets caused by a client's mistakes; more end the connection.
const HTTP2_LOCAL_RESETS: usize = 1024;
/// Attempts are counted by the route's policy, not by Pingora.
const NO_LIMIT_OF_ITS_OWN: usize = usize::MAX;

/// Serves requests. One for the whole process: it owns the pools of upstream connections.
pub struct GatewayApp {
    proxy: Arc<HttpProxy<Gateway, UpstreamConnector>>,
    shared: Arc<Shared>,
}

impl GatewayApp {
    /// Serves after the snapshots of `shared`.
    pub fn new(shared: Arc<Shared>) -> Arc<Self> {
        let conf = ServerConf {
            threads: shared.settings.threads.max(1),
            upstream_keepalive_pool_size: shared.settings.idle_upstream_connections,
            max_retries: NO_LIMIT_OF_ITS_OWN,
            ..connector_conf()
        };
        let server_options = server_options(&shared.settings);
        let h2_options = h2_options(&shared.settings);
        let gateway = Gateway {
            shared: shared.clone(),
        };
        let mut proxy = http_proxy(&Arc::new(conf), gateway, UpstreamConnector);
        proxy.server_options = Some(server_options);
        proxy.h2_options = Some(h2_options);
        Arc::new(Self {
            proxy: Arc::new(proxy),
            shared,
        })
    }
}

fn server_options(settings: &Settings) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // Refused all the same, but by admission, which logs it.
    options.allow_connect_method_proxying = true;
    options.h2_idle_timeout = Some(settings.http2_idle_timeout);
    options
}

fn h2_options(settings: &Settings) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(settings.http2_streams)
        .max_header_list_size(u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS)
        .max_concurrent_reset_streams(HTTP2_REMEMBERED_RESETS)
        .max_local_error_reset_streams(Some(HTTP2_LOCAL_RESETS));
    options
}

impl Application for GatewayApp {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[async_trait]
impl HttpServerApp for GatewayApp {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let watch = HeadWatch::start(&session);
        let reused = Cuttable::new(self.proxy.process_new_http(session, shutdown))
            .await
            .flatten();
        if let Some(watch) = watch {
            watch.finish(&self.shared);
        }
        reused
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
