//! The authorities that the system trusts.

use rustls::RootCertStore;
use std::sync::{Arc, OnceLock};

/// The system's authorities, read when they are first asked for; what is installed later counts after a restart.
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` take their place.
///
/// # Errors
/// When there are none. That is not kept: they may be there the next time.
pub(super) fn roots() -> Result<Arc<RootCertStore>, String> {
    static LOADED: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(loaded) = LOADED.get() {
        return Ok(loaded.clone());
    }
    let roots = Arc::new(load()?);
    Ok(LOADED.get_or_init(|| roots).clone())
}

fn load() -> Result<RootCertStore, String> {
    let certificates = rustls_native_certs::load_native_certs()
        .map_err(|error| format!("the system's authorities cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let none = "the system has no authorities (set SSL_CERT_FILE, or name caCertificates)";
        return Err(none.to_owned());
    }
    Ok(roots)
}
