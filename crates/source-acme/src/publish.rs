//! Who answers challenges.

use std::future::Future;

/// Answers an ACME server that wants to see that a name leads here.
///
/// The first two take effect before they return, or before [`Self::until_answered`] does, and end when the guard is
/// dropped. `None`: it cannot be answered now.
pub trait Publish: Send + Sync + 'static {
    /// Takes the answer away when dropped.
    type Guard: Send;

    /// Answers `GET http://{name}/.well-known/acme-challenge/{token}` with this text.
    ///
    /// Source: RFC 8555, section 8.3.
    fn http01(&self, name: &str, token: &str, key_authorization: &str) -> Option<Self::Guard>;

    /// Shows the [certificate](crate::challenge_certificate) that proves the knowledge of this digest to who asks for `name`
    /// with the protocol `acme-tls/1`.
    ///
    /// Source: RFC 8737.
    fn tls_alpn01(&self, name: &str, sha256: &[u8]) -> Option<Self::Guard>;

    /// Returns when whoever may be asked answers what was published. Only then the server is told to look. `None`: it
    /// cannot be made so now.
    fn until_answered(&self) -> impl Future<Output = Option<()>> + Send {
        async { Some(()) }
    }

    /// What was published and dropped is to be answered by nobody any more.
    fn withdraw(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}
