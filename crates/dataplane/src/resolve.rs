//! Who is asked for the addresses of names.

use model::Hostname;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

/// The addresses of a name, to come.
pub type Resolving<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<[IpAddr]>, Unresolved>> + Send + 'a>>;

/// Knows the addresses of names that clients ask for, and how long they hold. Whoever implements it bounds what it
/// keeps, how many lookups there are at one time, and how long each takes.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a name. The same list as before as long as the answer holds, so that it is cheap to see that
    /// nothing changed.
    fn resolve<'a>(&'a self, name: &'a Hostname) -> Resolving<'a>;
}

/// Why there is no address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unresolved {
    /// Stable, for access logs: `dns_no_such_name`.
    pub reason: &'static str,
    /// What happened. For the log alone.
    pub text: String,
}

/// Where names are not resolved.
pub(crate) struct ResolvesNothing;

impl Resolve for ResolvesNothing {
    fn resolve<'a>(&'a self, _: &'a Hostname) -> Resolving<'a> {
        let unresolved = Unresolved {
            reason: "dns_failure",
            text: "there is nobody who resolves names".to_owned(),
        };
        Box::pin(std::future::ready(Err(unresolved)))
    }
}
