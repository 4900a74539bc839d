//! The authorities of the system.

use rustls::RootCertStore;
use std::sync::{Arc, LazyLock};

/// Loaded once, when they are asked for first: they change with the system, not with the configuration.
static ROOTS: LazyLock<Result<Arc<RootCertStore>, Arc<str>>> = LazyLock::new(load);

/// The authorities of the system.
///
/// # Errors
///
/// When there are none that can be used.
pub(super) fn of_the_system() -> Result<Arc<RootCertStore>, Arc<str>> {
    ROOTS.clone()
}

fn load() -> Result<Arc<RootCertStore>, Arc<str>> {
    let found = rustls_native_certs::load_native_certs()
        .map_err(|error| Arc::from(format!("the system's authorities cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    let (used, ignored) = roots.add_parsable_certificates(found);
    tracing::debug!(used, ignored, "the system's authorities were read");
    if used == 0 {
        return Err("the system has no authorities; install ca-certificates, or name some".into());
    }
    Ok(Arc::new(roots))
}
