//! What is spoken on a port.

use std::fmt;

/// The protocol of a port, of a Gateway, ServiceEntry, Sidecar or Service.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PortProtocol {
    /// Not said: detected from the first bytes, or taken as TCP.
    #[default]
    Unspecified,
    /// HTTP/1.1, and HTTP/2 with prior knowledge from clients.
    Http,
    /// HTTP/2, with prior knowledge when it is not over TLS.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web over HTTP.
    GrpcWeb,
    /// HTTP over TLS.
    Https,
    /// TLS, opaque inside.
    Tls,
    /// Opaque bytes.
    Tcp,
    /// MongoDB, treated as TCP.
    Mongo,
    /// MySQL, treated as TCP.
    Mysql,
    /// Redis, treated as TCP.
    Redis,
    /// Datagrams, which are not proxied. Kubernetes Services only.
    Udp,
}

impl PortProtocol {
    /// The names that Istio's kinds accept, in any case.
    pub const NAMES: &[&str] = &[
        "HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "MYSQL", "REDIS", "TCP", "TLS",
    ];

    /// Reads a name of [`Self::NAMES`] in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "mysql" => Self::Mysql,
            "redis" => Self::Redis,
            _ => return None,
        })
    }

    /// What Istio makes of a Kubernetes Service port: `appProtocol` first, then the name's prefix
    /// before the first `-`, then the number, where it is one of a protocol in which servers speak first.
    pub fn of_service_port(name: Option<&str>, app_protocol: Option<&str>, number: u16) -> Self {
        app_protocol
            .and_then(of_word)
            .or_else(|| name.and_then(of_port_name))
            .unwrap_or_else(|| of_number(number))
    }

    /// Whether requests on it are routed by VirtualService `http` when it is not under TLS.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether its first bytes are a TLS handshake.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// What is spoken where its TLS has ended. Others stay as they are.
    ///
    /// Source: Istio, `HTTPS` and `TLS` of servers that terminate.
    #[must_use]
    pub fn after_tls(self) -> Self {
        match self {
            Self::Https => Self::Http,
            Self::Tls => Self::Tcp,
            other => other,
        }
    }

    /// Whether an upstream is spoken to in HTTP/2 with prior knowledge.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }

    /// Istio's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-WEB",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Mongo => "MONGO",
            Self::Mysql => "MYSQL",
            Self::Redis => "REDIS",
            Self::Udp => "UDP",
        }
    }
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `grpc-web-x` and `grpc-web` are gRPC-Web; otherwise what stands before the first `-` counts.
fn of_port_name(name: &str) -> Option<PortProtocol> {
    let name = name.to_ascii_lowercase();
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return Some(PortProtocol::GrpcWeb);
    }
    of_word(name.split('-').next().unwrap_or_default())
}

/// Source: Istio, well-known ports of Services.
fn of_number(number: u16) -> PortProtocol {
    match number {
        // SMTP and DNS.
        25 | 53 => PortProtocol::Tcp,
        3306 => PortProtocol::Mysql,
        27017 => PortProtocol::Mongo,
        _ => PortProtocol::Unspecified,
    }
}

fn of_word(word: &str) -> Option<PortProtocol> {
    match word.to_ascii_lowercase().as_str() {
        "kubernetes.io/h2c" => Some(PortProtocol::Http2),
        "kubernetes.io/ws" => Some(PortProtocol::Http),
        "kubernetes.io/wss" => Some(PortProtocol::Https),
        "udp" => Some(PortProtocol::Udp),
        other => PortProtocol::parse(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_port_speaks_what_it_says() {
        use PortProtocol::*;
        let cases = [
            (Some("http"), None, Http),
            (Some("http-web"), None, Http),
            (Some("HTTP2-x"), None, Http2),
            (Some("grpc-web-x"), None, GrpcWeb),
            (Some("grpc-x"), None, Grpc),
            (Some("httpx"), None, Unspecified),
            (Some("tcp-db"), Some("http"), Http),
            (Some("web"), Some("kubernetes.io/h2c"), Http2),
            (Some("redis"), None, Redis),
            (Some("http"), Some("example.com/own"), Http),
            (None, None, Unspecified),
        ];
        for (name, app, want) in cases {
            assert_eq!(
                PortProtocol::of_service_port(name, app, 8080),
                want,
                "{name:?} {app:?}"
            );
        }
    }

    #[test]
    fn a_well_known_port_is_one_of_bytes_unless_it_says_otherwise() {
        for number in [25, 53, 3306, 27017] {
            let undeclared = PortProtocol::of_service_port(Some("db"), None, number);
            assert!(!undeclared.is_http() && !undeclared.is_tls(), "{number}");
            assert_ne!(undeclared, PortProtocol::Unspecified, "{number}");
            let declared = PortProtocol::of_service_port(Some("http"), None, number);
            assert_eq!(declared, PortProtocol::Http, "{number}");
        }
    }
}
