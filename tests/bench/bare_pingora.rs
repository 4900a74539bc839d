//! What Pingora costs by itself: stock server and listeners, one hard-coded route, forwarding
//! headers, nothing else. `bare-pingora BACKEND LISTEN LISTEN_TLS CERTIFICATE KEY`, the first three as
//! `address:port`, the others as paths.

use async_trait::async_trait;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// The route of the measurement, as every peer's configuration has it.
struct Route {
    backend: String,
}

#[async_trait]
impl ProxyHttp for Route {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        if matches(session.req_header()) {
            return Ok(false);
        }
        session.respond_error(404).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.backend, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _ctx: &mut (),
    ) -> Result<()> {
        let client = session.client_addr().and_then(|address| address.as_inet());
        if let Some(client) = client {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        let is_tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        let scheme = if is_tls { "https" } else { "http" };
        request.insert_header("x-forwarded-proto", scheme)
    }
}

fn matches(request: &RequestHeader) -> bool {
    let header = |name| {
        request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    // HTTP/2 has the host in `:authority`.
    let host = header("host").or_else(|| request.uri.host());
    let host = host.and_then(|host| host.split(':').next());
    host.is_some_and(|host| host.eq_ignore_ascii_case("bench.example.com"))
        && request.uri.path().starts_with("/api/")
        && header("x-tenant") == Some("gold")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, listen, listen_tls, certificate, key] = &arguments[..] else {
        eprintln!("usage: bare-pingora BACKEND LISTEN LISTEN_TLS CERTIFICATE KEY");
        std::process::exit(2);
    };
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(Opt::default(), conf);
    server.bootstrap();
    let backend = backend.clone();
    let mut service = http_proxy_service(&server.configuration, Route { backend });
    service.add_tcp(listen);
    let mut tls = TlsSettings::intermediate(certificate, key).expect("a certificate and its key");
    tls.enable_h2();
    service.add_tls_with_settings(listen_tls, None, tls);
    server.add_service(service);
    server.run_forever();
}
