//! Why a client does not get where it wants to go.

use super::Target;
use http::StatusCode;

/// Why a client does not get where it wants to go.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Denial {
    /// Nothing in the registry has the host.
    NotInRegistry,
    /// Something has the host, but not on this port.
    Port,
    /// Something has the host and port, but for something else than what is spoken.
    Protocol,
    /// Something has the host, but not for this client: `exportTo`, or the `egress` of its Sidecar.
    NotVisible,
    /// The client is nobody who is served.
    Client,
    /// The name stands for an address that no name may stand for.
    Address,
    /// The name in TLS, or of the request, is another than the one that was asked for.
    Mismatch,
    /// It would lead back to the proxy itself.
    Itself,
}

impl Denial {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NotInRegistry,
        Self::Port,
        Self::Protocol,
        Self::NotVisible,
        Self::Client,
        Self::Address,
        Self::Mismatch,
        Self::Itself,
    ];

    /// Tidegate's stable code in the access log and in metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotInRegistry => "not_in_registry",
            Self::Port => "port_not_in_registry",
            Self::Protocol => "protocol_not_in_registry",
            Self::NotVisible => "not_visible",
            Self::Client => "unknown_client",
            Self::Address => "forbidden_address",
            Self::Mismatch => "host_mismatch",
            Self::Itself => "proxy_loop",
        }
    }

    /// The status of the answer to a request.
    ///
    /// Source: Istio's virtual host `block_all`.
    pub fn status_of_request(self) -> StatusCode {
        match self {
            Self::Client => StatusCode::FORBIDDEN,
            Self::Mismatch => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// The status of the answer to a client that asks for a tunnel.
    pub fn status_of_tunnel(self) -> StatusCode {
        StatusCode::FORBIDDEN
    }

    /// What the client is told: the code, and a sentence.
    pub fn told(self, target: &Target) -> String {
        let code = self.code();
        match self {
            Self::NotInRegistry => format!("{code}: no ServiceEntry allows {target}\n"),
            Self::Port => {
                format!("{code}: what allows this host does not allow the port of {target}\n")
            }
            Self::Protocol => {
                format!("{code}: what allows {target} allows another protocol only\n")
            }
            Self::NotVisible => format!("{code}: what allows {target} is not for this client\n"),
            Self::Client => format!("{code}: this client is nobody whom the proxy serves\n"),
            Self::Address => {
                format!(
                    "{code}: {target} stands for an address that only a ServiceEntry may name\n"
                )
            }
            Self::Mismatch => {
                format!("{code}: the connection was opened for {target}, and for nobody else\n")
            }
            Self::Itself => format!("{code}: {target} is the proxy itself\n"),
        }
    }
}
