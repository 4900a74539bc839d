//! One probe.

mod grpc;
mod health_v1;
mod http;

#[cfg(test)]
mod tests;

use crate::{Ask, Check, Connect, Failure, TargetKey};
use ::http::uri::Authority;
use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of an answer's head, and of its body, that are read.
const MAX_ANSWER: usize = 8 * 1024;

/// What servers see in their logs.
const USER_AGENT: &str = concat!("tidegate-health/", env!("CARGO_PKG_VERSION"));

/// Asks once, within `timeout`, from connecting to the end of the answer.
///
/// # Errors
///
/// The target is not well, or gave no answer.
pub async fn ask_once(
    connector: &dyn Connect,
    target: &TargetKey,
    ask: Ask,
    timeout: Duration,
) -> Result<(), Failure> {
    let check = Check {
        ask,
        interval: Duration::ZERO,
        timeout,
        jitter: Duration::ZERO,
        healthy_threshold: NonZeroU32::MIN,
        unhealthy_threshold: NonZeroU32::MIN,
    };
    probe(connector, target, &check).await
}

/// Asks once, within the check's timeout.
pub(crate) async fn probe(
    connector: &dyn Connect,
    target: &TargetKey,
    check: &Check,
) -> Result<(), Failure> {
    match timeout(check.timeout, ask(connector, target, check)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Failure::Timeout),
    }
}

async fn ask(connector: &dyn Connect, target: &TargetKey, check: &Check) -> Result<(), Failure> {
    let stream = connector.connect(target, check).await;
    let stream = stream.map_err(Failure::Connect)?;
    match &check.ask {
        Ask::Http {
            host,
            path,
            expected,
        } => {
            let host = authority(host.as_ref(), target)?;
            http::probe(stream, &host, path, expected).await
        }
        Ask::Grpc { host, service } => {
            let host = authority(host.as_ref(), target)?;
            grpc::probe(stream, &host, service, check.timeout).await
        }
        Ask::Tcp => Ok(()),
    }
}

/// Whom a request is addressed to: who is `written`, else the service host.
fn authority<'a>(
    written: Option<&'a Authority>,
    target: &TargetKey,
) -> Result<Cow<'a, Authority>, Failure> {
    if let Some(written) = written {
        return Ok(Cow::Borrowed(written));
    }
    let host = &*target.host;
    let parsed = match Ipv6Addr::from_str(host) {
        Ok(address) => Authority::from_str(&format!("[{address}]")),
        Err(_) => Authority::from_str(host),
    };
    parsed.map(Cow::Owned).map_err(Failure::broken)
}

/// What is exchanged on a connection that is driven meanwhile.
async fn exchange<T>(exchange: impl Future<Output = T>, connection: impl Future<Output = ()>) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        exchanged = &mut exchange => return exchanged,
        () = connection => {}
    }
    // The answer may have come with the connection's end.
    exchange.await
}
