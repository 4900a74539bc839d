//! Who answers challenges.

use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Answers an ACME server that wants to see that a name leads here.
///
/// Both take effect before they return, and end when the guard is dropped. `None`: it cannot be answered now.
pub trait Publish: Send + Sync + 'static {
    /// Takes the answer away when dropped.
    type Guard: Send;

    /// Answers `GET http://{name}/.well-known/acme-challenge/{token}` with this text.
    ///
    /// Source: RFC 8555, section 8.3.
    fn http01(&self, name: &str, token: &str, key_authorization: &str) -> Option<Self::Guard>;

    /// Shows this certificate to who asks for `name` with the protocol `acme-tls/1`.
    ///
    /// Source: RFC 8737.
    fn tls_alpn01(&self, name: &str, certificate: Arc<CertifiedKey>) -> Option<Self::Guard>;
}
