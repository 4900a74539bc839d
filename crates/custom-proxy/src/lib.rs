//! Pingora's `HttpProxy` with a connector of our own.
//!
//! Pingora makes such a proxy only inside of a `Service`, which has listeners of its own, and has no way to take
//! it out. This crate is that way, and nothing else: the one place of the workspace with `unsafe` code.

use pingora_core::connectors::http::custom::Connector;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, ProcessCustomSession, ProxyHttp, ProxyServiceBuilder};
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// A proxy that asks `connector` for its upstream connections where a peer's ALPN is a custom one.
///
/// Its modules are initialised. `server_options` and `h2_options` are for the caller to set.
///
/// # Panics
///
/// Never: a service has its application until it is started.
#[expect(unsafe_code, reason = "there is no safe way to take the proxy out")]
pub fn http_proxy<SV, C>(conf: &Arc<ServerConf>, inner: SV, connector: C) -> HttpProxy<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync + 'static,
    C: Connector,
{
    // Downstream connections of a custom protocol do not exist here: they end at once.
    let on_custom: ProcessCustomSession<SV, C> = Arc::new(|_, _, _| Box::pin(async { None }));
    let service = ProxyServiceBuilder::new(conf, inner)
        .custom(connector, on_custom)
        .build();
    // The rest of the service, a few empty lists, is forgotten.
    let mut service = ManuallyDrop::new(service);
    let proxy: *const HttpProxy<SV, C> = service
        .app_logic_mut()
        .expect("a service has its application until it is started");
    // SAFETY: the pointer comes from an exclusive reference to an initialised value. Reading makes a second owner
    // of it; the first is the service, which is neither used nor dropped after this line, being in a `ManuallyDrop`
    // that ends here. So the value has one owner from here on.
    unsafe { std::ptr::read(proxy) }
}
