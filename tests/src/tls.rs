//! A TLS client whose connections speak HTTP/1.1 as [`Connection`] does.

use crate::authority::{Authority, Certificate};
use crate::client::Connection;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct, HandshakeKind,
    RootCertStore, SignatureScheme, StreamOwned, WantsVerifier,
};
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

/// The bytes below a [`TlsConnection`].
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A client's connection in TLS.
pub type TlsConnection = Connection<TlsStream>;

/// How a client connects: whom it trusts, which name it asks for, what it shows.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Trusts this authority, asks for `name`, shows nothing, resumes no session.
    pub fn new(authority: &Authority, name: &str) -> Self {
        Self::trusting(authority.der(), name)
    }

    /// As [`TlsClient::new`], with an authority that came from elsewhere.
    pub fn trusting(root: CertificateDer<'static>, name: &str) -> Self {
        Self::build(root, name, None)
    }

    /// As [`TlsClient::new`], and shows a certificate.
    pub fn showing(authority: &Authority, name: &str, certificate: &Certificate) -> Self {
        Self::build(authority.der(), name, Some(certificate))
    }

    /// As [`TlsClient::new`], and looks at no certificate: for measuring servers, and for those whose names are not
    /// of DNS.
    pub fn trusting_anybody(name: &str) -> Self {
        let verifier = Arc::new(Anybody(default_provider()));
        let builder = builder().dangerous();
        let builder = builder.with_custom_certificate_verifier(verifier);
        Self::with(builder.with_no_client_auth(), name)
    }

    /// As [`TlsClient::trusting_anybody`], and shows a certificate.
    pub fn showing_anybody(name: &str, certificate: &Certificate) -> Self {
        let (chain, key) = certificate.parts();
        let verifier = Arc::new(Anybody(default_provider()));
        let builder = builder().dangerous();
        let builder = builder.with_custom_certificate_verifier(verifier);
        let config = builder.with_client_auth_cert(chain, key);
        Self::with(config.expect("a key of its certificate"), name)
    }

    fn build(root: CertificateDer<'static>, name: &str, shown: Option<&Certificate>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("an authority");
        let builder = builder().with_root_certificates(roots);
        let config = match shown.map(Certificate::parts) {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .expect("a key of its certificate"),
            None => builder.with_no_client_auth(),
        };
        Self::with(config, name)
    }

    fn with(mut config: ClientConfig, name: &str) -> Self {
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let config = Arc::new(config);
        Self { config, name }
    }

    /// Offers these protocols.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        self
    }

    /// Resumes the sessions of earlier connections of this client and its copies.
    #[must_use]
    pub fn resuming(mut self) -> Self {
        Arc::make_mut(&mut self.config).resumption = Resumption::in_memory_sessions(64);
        self
    }

    /// Connects to a port on loopback and shakes hands.
    ///
    /// # Errors
    ///
    /// When either is refused. A server of TLS 1.3 says what it thinks of the client's certificate only after
    /// that.
    pub fn open(&self, port: u16) -> io::Result<TlsConnection> {
        self.open_after(port, &[])
    }

    /// As [`TlsClient::open`], and says something in clear before.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_after(&self, port: u16, said: &[u8]) -> io::Result<TlsConnection> {
        let mut connection = Connection::try_open(port)?;
        connection.write(said)?;
        self.shake_hands(connection.into_stream())
    }

    /// Shakes hands on a connection that is there, such as a tunnel through a proxy.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub fn shake_hands(&self, mut socket: TcpStream) -> io::Result<TlsConnection> {
        let mut session = self.session();
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Connection::new(StreamOwned::new(session, socket)))
    }

    /// What it would say first.
    pub fn hello(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.session().write_tls(&mut bytes);
        written.expect("a hello");
        bytes
    }

    fn session(&self) -> ClientConnection {
        let config = Arc::clone(&self.config);
        ClientConnection::new(config, self.name.clone()).expect("a configuration")
    }
}

impl TlsConnection {
    /// The certificate that the server showed, DER.
    ///
    /// # Panics
    ///
    /// When it showed none.
    pub fn certificate(&self) -> Vec<u8> {
        let shown = self.stream().conn.peer_certificates();
        let leaf = shown.and_then(|chain| chain.first());
        leaf.expect("a certificate of the server").to_vec()
    }

    /// Whether the server showed this certificate.
    pub fn is_of(&self, certificate: &Certificate) -> bool {
        let (chain, _) = certificate.parts();
        self.certificate() == chain[0].as_ref()
    }

    /// The protocol that was agreed on.
    pub fn protocol(&self) -> Option<String> {
        let protocol = self.stream().conn.alpn_protocol()?;
        Some(String::from_utf8_lossy(protocol).into_owned())
    }

    /// Whether an earlier session was resumed.
    pub fn was_resumed(&self) -> bool {
        self.stream().conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn say_goodbye(&mut self) -> io::Result<()> {
        let stream = self.stream_mut();
        stream.conn.send_close_notify();
        stream.flush()?;
        stream.sock.shutdown(Shutdown::Write)
    }
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
}

/// Believes everybody.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.0.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
