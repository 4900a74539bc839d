//! Why a connection did not get through its handshake.

use crate::{ConnectionInfo, Shared};
use model::Origin;
use rules::TlsServer;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use telemetry::{AccessRecord, Address, ResponseFlags};

/// Why a handshake failed: fixed words for the counter, and what the log says besides.
#[derive(Debug)]
pub(crate) enum HandshakeFailure {
    /// The client closed before it had sent a ClientHello.
    Closed,
    /// The client took too long.
    TooSlow,
    /// A ClientHello of too many bytes.
    TooLarge,
    /// No ClientHello, nor anything else that is known.
    Malformed(rustls::Error),
    /// HTTP in clear.
    PlainHttp,
    /// TLS where none is spoken.
    TlsOnPlainPort,
    /// As many handshakes as may be are going on.
    TooMany,
    /// No server of this name. Absent: the client named none.
    UnknownServer(Option<String>),
    /// A name that spells a cluster, asked for by a client that is no proxy of the mesh.
    NotOfTheMesh(Option<String>),
    /// No mutual TLS, where nothing else is let in. Who says so, if an object does.
    NotMutual(Option<Arc<Origin>>),
    /// TLS that is not the mesh's, on a port for requests.
    ForeignTls,
    /// The server of this name has no certificate, or no authorities, to work with.
    NotReady {
        /// The server.
        server: Arc<TlsServer>,
        /// What is missing.
        why: String,
    },
    /// The two did not agree, or the client's certificate was refused.
    Rejected {
        /// Why.
        error: std::io::Error,
        /// Whose certificate was shown. Absent: that of a challenge.
        server: Option<Arc<TlsServer>>,
        /// What the client asked for.
        sni: Option<Box<str>>,
    },
}

impl HandshakeFailure {
    /// The two did not agree, at a server yet to be told.
    pub(super) fn rejected(error: std::io::Error) -> Self {
        Self::Rejected {
            error,
            server: None,
            sni: None,
        }
    }

    /// Tells where the two did not agree.
    pub(super) fn at(self, server: &Arc<TlsServer>, sni: Option<&str>) -> Self {
        match self {
            Self::Rejected { error, .. } => Self::Rejected {
                error,
                server: Some(server.clone()),
                sni: sni.map(Into::into),
            },
            other => other,
        }
    }

    /// Stable, for the counter.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::TooSlow => "timeout",
            Self::TooLarge => "hello_too_large",
            Self::Malformed(_) => "malformed_hello",
            Self::PlainHttp => "plain_http",
            Self::TlsOnPlainPort => "tls_on_plain_port",
            Self::TooMany => "too_many_handshakes",
            Self::UnknownServer(_) => "unknown_server",
            Self::NotOfTheMesh(_) => "not_of_the_mesh",
            Self::NotMutual(_) => "mutual_tls_required",
            Self::ForeignTls => "not_mesh_tls",
            Self::NotReady { .. } => "no_certificate",
            Self::Rejected { error, .. } => rejected(error),
        }
    }

    /// Whether this side refused a client that speaks TLS: its operator will ask why (promise 1).
    fn is_refusal(&self) -> bool {
        self.reason().starts_with("client_certificate") || self.reason() == "nothing_in_common"
    }

    /// Counts the failure, and tells of it where debugging is on.
    pub(crate) fn record(&self, info: &ConnectionInfo, shared: &Shared) {
        shared.metrics.own().tls_failures(self.reason()).inc();
        tracing::debug!(
            listener = %info.local,
            client = %info.peer,
            reason = self.reason(),
            "handshake failed: {self}"
        );
        self.log(info, shared);
    }

    /// The access log has what was answered as HTTP (promise 1), and, as Envoy's, whom no server took.
    fn log(&self, info: &ConnectionInfo, shared: &Shared) {
        let mut why = None;
        let mut record = AccessRecord::new(SystemTime::now());
        match self {
            Self::PlainHttp => {
                record.protocol = "HTTP/1.1";
                record.response_code = 400;
                record.flags = ResponseFlags::DPE;
                record.response_code_details = "http_on_tls_port";
            }
            Self::UnknownServer(name) | Self::NotOfTheMesh(name) => {
                record.flags = ResponseFlags::NR;
                record.response_code_details = "filter_chain_not_found";
                record.requested_server_name = name.as_deref().unwrap_or_default();
            }
            Self::NotMutual(origin) => {
                record.flags = ResponseFlags::NR;
                record.response_code_details = "filter_chain_not_found";
                record.origin = origin.as_ref().map(|origin| &**origin as _);
            }
            Self::ForeignTls => {
                record.flags = ResponseFlags::NR;
                record.response_code_details = "filter_chain_not_found";
            }
            Self::NotReady { server, why } => {
                record.response_code_details = "tls_server_not_ready";
                record.upstream_transport_failure_reason = why;
                record.origin = Some(&*server.origin);
            }
            Self::Rejected { server, sni, .. } if self.is_refusal() => {
                record.response_code_details = "tls_handshake_refused";
                record.connection_termination_details = why.get_or_insert_with(|| self.to_string());
                record.requested_server_name = sni.as_deref().unwrap_or_default();
                record.origin = server.as_ref().map(|server| &*server.origin as _);
            }
            _ => return,
        }
        record.reason = self.reason();
        record.downstream_local_address = Some(Address::Socket(info.local));
        record.downstream_remote_address = Some(Address::Socket(info.peer));
        shared.access_log.log(&record);
    }
}

/// What is worth telling apart of what rustls says.
fn rejected(error: &std::io::Error) -> &'static str {
    let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return "closed_in_handshake";
    };
    match error {
        rustls::Error::NoCertificatesPresented => "client_certificate_missing",
        rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidCertRevocationList(_) => {
            "client_certificate_invalid"
        }
        rustls::Error::AlertReceived(_) => "refused_by_client",
        rustls::Error::PeerIncompatible(_) => "nothing_in_common",
        _ => "protocol_error",
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the client closed before its hello"),
            Self::TooSlow => f.write_str("the client was too slow"),
            Self::TooLarge => f.write_str("the hello is too large"),
            Self::Malformed(error) => write!(f, "{error}"),
            Self::PlainHttp => f.write_str("HTTP in clear on a port of TLS"),
            Self::TlsOnPlainPort => f.write_str("TLS on a port in clear"),
            Self::TooMany => f.write_str("too many handshakes at once"),
            Self::UnknownServer(None) => f.write_str("the client named no server"),
            Self::UnknownServer(Some(name)) => write!(f, "no server of the name {name:?}"),
            Self::NotOfTheMesh(_) => {
                f.write_str("the client offers no protocol of the mesh (ALPN)")
            }
            Self::NotMutual(_) => f.write_str("nobody is let in without mutual TLS"),
            Self::ForeignTls => {
                f.write_str("TLS that is not the mesh's, on a port for requests in clear")
            }
            Self::NotReady { server, why } => write!(f, "{}: {why}", server.name),
            Self::Rejected { error, .. } => write!(f, "{error}"),
        }
    }
}
