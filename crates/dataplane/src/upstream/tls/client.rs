//! How TLS is begun with a server, ready for handshakes.

use super::sessions::Sessions;
use super::store::Materials;
use super::verifier::{Trust, Verifier};
use crate::tls::suites;
use ahash::HashMap;
use rules::{Account, ExpectedNames, ServerNames, ServerVerification, UpstreamTls, alpn};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, Error, HandshakeKind};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
    pub(super) fn names(self, mesh: bool) -> &'static [&'static str] {
        match (self, mesh) {
            (Self::None, false) => &[],
            (Self::None, true) => &[alpn::MESH],
            (Self::Http1, false) => &[alpn::HTTP1_1],
            (Self::Http1, true) => &[alpn::MESH_HTTP1_1, alpn::MESH, alpn::HTTP1_1],
            (Self::Http2, false) => &[alpn::H2],
            (Self::Http2, true) => &[alpn::MESH_H2, alpn::MESH, alpn::H2],
        }
    }
}

/// How TLS is begun where rules say the same about it, whoever the server is.
pub(crate) struct ClientTlsSet {
    /// Stands for settings, identity and authorities; no other one ever had it.
    pub(crate) id: u64,
    /// Of whom nobody knows who it is. Others are made like it.
    unknown: Arc<ClientTls>,
    trust: Option<Trust>,
    /// Absent: it makes no difference who the server is.
    names: Option<ServerNames>,
    /// As long as somebody connects to one of them: endpoints come and go, and many are the same workload.
    known: Mutex<HashMap<Account, Weak<ClientTls>>>,
}

/// How TLS is begun with servers that must be the same.
pub(crate) struct ClientTls {
    /// Stands for all that it is made of; no other one ever had it.
    pub(crate) id: u64,
    /// The [`ClientTlsSet`] that it is of.
    pub(crate) set: u64,
    config: Arc<ClientConfig>,
    /// Of its own: who resumes a session is not asked for a certificate, and does not ask for one.
    sessions: Arc<Sessions>,
    verifier: Arc<Verifier>,
    mesh: bool,
}

impl fmt::Debug for ClientTlsSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client tls set {}", self.id)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client tls {} of set {}", self.id, self.set)
    }
}

impl ClientTlsSet {
    /// # Errors
    /// When the library refuses the settings.
    pub(super) fn new(
        tls: &UpstreamTls,
        materials: &Materials,
        trust: Option<Trust>,
    ) -> Result<Self, Error> {
        let names = match &tls.verification {
            ServerVerification::Nothing => ServerNames::Sent,
            ServerVerification::Verified { names, .. } => names.clone(),
        };
        let id = next_id();
        let verifier = Verifier::new(trust.clone(), names.expected(None));
        Ok(Self {
            id,
            unknown: Arc::new(ClientTls::new(id, tls.mesh, materials, verifier)?),
            trust,
            names: Some(names).filter(ServerNames::depend_on_account),
            known: Mutex::default(),
        })
    }

    /// How it is begun with a server with this account. Absent: nobody knows it.
    pub(crate) fn toward(&self, account: Option<&Account>) -> Arc<ClientTls> {
        let (Some(names), Some(account)) = (&self.names, account) else {
            return self.unknown.clone();
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = known.get(account).and_then(Weak::upgrade) {
            return made;
        }
        // Before it grows.
        if known.len() == known.capacity() {
            known.retain(|_, one| one.strong_count() > 0);
        }
        let expected = names.expected(Some(account));
        let made = Arc::new(self.unknown.expecting(expected, self.trust.clone()));
        known.insert(account.clone(), Arc::downgrade(&made));
        made
    }

    /// How many accounts are remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

impl ClientTls {
    fn new(set: u64, mesh: bool, materials: &Materials, verifier: Verifier) -> Result<Self, Error> {
        let verifier = Arc::new(verifier);
        let asks: Arc<dyn ServerCertVerifier> = verifier.clone();
        let builder = ClientConfig::builder_with_provider(suites::default_provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(asks);
        let config = match &materials.certificate {
            Some(credential) => {
                let shown = SingleCertAndKey::from(credential.certified_key.clone());
                let shown: Arc<dyn ResolvesClientCert> = Arc::new(shown);
                builder.with_client_cert_resolver(shown)
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self::of(config, verifier, set, mesh))
    }

    /// The same, with servers that must be somebody else.
    fn expecting(&self, names: ExpectedNames, trust: Option<Trust>) -> Self {
        let verifier = Arc::new(Verifier::new(trust, names));
        let mut config = ClientConfig::clone(&self.config);
        config
            .dangerous()
            .set_certificate_verifier(verifier.clone());
        Self::of(config, verifier, self.set, self.mesh)
    }

    fn of(mut config: ClientConfig, verifier: Arc<Verifier>, set: u64, mesh: bool) -> Self {
        let sessions = Arc::new(Sessions::default());
        config.resumption = Resumption::store(sessions.clone());
        Self {
            id: next_id(),
            set,
            config: Arc::new(config),
            sessions,
            verifier,
            mesh,
        }
    }

    /// What makes connections, of every protocol.
    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// What is offered by ALPN.
    pub(crate) fn offers(&self, alpn: Alpn) -> Vec<Vec<u8>> {
        let names = alpn.names(self.mesh).iter();
        names.map(|name| name.as_bytes().to_vec()).collect()
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
        verified
            .map(drop)
            .inspect_err(|_| self.sessions.forget(name))
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}
