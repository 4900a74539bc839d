//! What a client of a forward proxy is allowed, by the configuration in force.

use crate::{ConnectionInfo, TlsFacts};
use rules::{Caller, Denial, EgressMode, ForwardProxy, Serves, Table, Target, TlsAction};
use std::sync::Arc;

/// What a client is allowed.
pub(crate) struct Permission<'t> {
    /// Whose view of the registry it has. `Err`: it is told no.
    pub(crate) caller: Result<&'t Arc<Caller>, Denial>,
    /// Whether what is not allowed is refused.
    pub(crate) mode: EgressMode,
}

/// What the client of a connection is allowed that asks for `target`. `None`: no forward proxy is behind the
/// connection any more.
pub(crate) fn permission<'t>(
    table: &'t Table,
    connection: &ConnectionInfo,
    target: &Target,
) -> Option<Permission<'t>> {
    let proxy = proxy_of(table, connection)?;
    let caller = caller(proxy, connection).ok_or(Denial::Client);
    let is_itself = target.port() == connection.local.port()
        && target.address() == Some(connection.local.ip().to_canonical());
    Some(Permission {
        caller: match is_itself {
            true => caller.and(Err(Denial::Itself)),
            false => caller,
        },
        mode: proxy.mode,
    })
}

/// The forward proxy of a connection. Over TLS it is that of the server that the SNI chooses now, as long as it asks of
/// clients what was asked of this one.
fn proxy_of<'t>(table: &'t Table, connection: &ConnectionInfo) -> Option<&'t ForwardProxy> {
    let listener = connection.listener_in(table)?;
    let Some(facts) = &connection.tls else {
        return match &listener.serves {
            Serves::ForwardProxy(proxy) => Some(proxy),
            _ => None,
        };
    };
    match &listener.tls_server(facts.sni.as_deref())?.action {
        TlsAction::ForwardProxy { tls, proxy } if facts.is_of(tls) => Some(proxy),
        _ => None,
    }
}

/// Who a client is, by its address and by the names of its certificate.
fn caller<'t>(proxy: &'t ForwardProxy, connection: &ConnectionInfo) -> Option<&'t Arc<Caller>> {
    let facts = connection.tls.as_deref();
    let client = facts.and_then(TlsFacts::verified_client);
    let names = client
        .into_iter()
        .flat_map(|client| client.uris().chain(client.dns_names()));
    proxy.caller(connection.peer.ip(), names)
}
