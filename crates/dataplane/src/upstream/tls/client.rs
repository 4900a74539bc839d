//! How TLS is begun with endpoints, ready for handshakes.

use super::store::Materials;
use super::verifier::{Trust, Verifier};
use crate::tls::suites;
use rules::UpstreamTls;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, Error, HandshakeKind};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// TLS 1.3 tickets that one [`ClientTls`] keeps; of one name 8 at most, of the names the last ones.
const SESSIONS: usize = 8 * 64;

/// What is offered by ALPN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Alpn {
    /// Nothing: the bytes are somebody else's.
    None,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Alpn {
    /// The names, the first preferred.
    ///
    /// The mesh's are Istio's without `istio-peer-exchange`: who agrees on that wants to be told more than is
    /// known here.
    pub(super) fn names(self, mesh: bool) -> &'static [&'static [u8]] {
        match (self, mesh) {
            (Self::None, false) => &[],
            (Self::None, true) => &[b"istio"],
            (Self::Http1, false) => &[b"http/1.1"],
            (Self::Http1, true) => &[b"istio-http/1.1", b"istio", b"http/1.1"],
            (Self::Http2, false) => &[b"h2"],
            (Self::Http2, true) => &[b"istio-h2", b"istio", b"h2"],
        }
    }
}

/// How TLS is begun with the endpoints of clusters that say the same about it.
pub(crate) struct ClientTls {
    /// The name that is sent. Absent: the host of the request.
    pub(crate) sni: Option<Arc<str>>,
    /// Stands for settings, identity and authorities; no other one ever had it.
    pub(crate) id: u64,
    config: Arc<ClientConfig>,
    /// Of its own: who resumes a session is not asked for a certificate, and does not ask for one.
    sessions: Arc<ClientSessionMemoryCache>,
    verifier: Arc<Verifier>,
    mesh: bool,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client tls {}", self.id)
    }
}

impl ClientTls {
    /// # Errors
    /// When the library refuses the settings.
    pub(super) fn new(
        tls: &UpstreamTls,
        materials: &Materials,
        trust: Option<Trust>,
    ) -> Result<Self, Error> {
        let provider = suites::default_provider();
        let verifier = Arc::new(Verifier::new(tls, trust, &provider));
        let asks: Arc<dyn ServerCertVerifier> = verifier.clone();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(asks);
        let mut config = match &materials.certificate {
            Some(credential) => {
                let shown = SingleCertAndKey::from(credential.certified_key.clone());
                let shown: Arc<dyn ResolvesClientCert> = Arc::new(shown);
                builder.with_client_cert_resolver(shown)
            }
            None => builder.with_no_client_auth(),
        };
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
        config.resumption = Resumption::store(sessions.clone());
        Ok(Self {
            sni: tls.sni.clone(),
            id: next_id(),
            config: Arc::new(config),
            sessions,
            verifier,
            mesh: tls.mesh,
        })
    }

    /// What makes connections, of every protocol.
    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// What is offered by ALPN.
    pub(crate) fn offers(&self, alpn: Alpn) -> Vec<Vec<u8>> {
        let names = alpn.names(self.mesh).iter();
        names.map(|name| name.to_vec()).collect()
    }

    /// A resumed session brings the server's certificate along, which may have expired meanwhile. The server may have
    /// another one by now, so that all sessions of its name are forgotten then.
    ///
    /// # Errors
    /// When it would not be accepted at `now`.
    pub(crate) fn verify_again(
        &self,
        session: &ClientConnection,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if session.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        let Some([leaf, intermediates @ ..]) = session.peer_certificates() else {
            return Err(Error::NoCertificatesPresented);
        };
        let verified = self
            .verifier
            .verify_server_cert(leaf, intermediates, name, &[], now);
        verified.map(drop).inspect_err(|_| self.forget(name))
    }

    fn forget(&self, name: &ServerName<'_>) {
        let name = name.to_owned();
        self.sessions.remove_tls12_session(&name);
        while self.sessions.take_tls13_ticket(&name).is_some() {}
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}
