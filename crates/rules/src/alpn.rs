//! Protocols as TLS names them (ALPN), those of the mesh among them, by which its proxies know each other.
//!
//! Source: Istio, mutual TLS of sidecars.

/// Bytes between proxies of the mesh.
pub const MESH: &str = "istio";
/// The same, told apart by what both say about themselves first. Never agreed on: whoever does that wants to be told more
/// than is known here.
pub const MESH_PEER_EXCHANGE: &str = "istio-peer-exchange";
/// HTTP/1.0 between proxies of the mesh.
pub const MESH_HTTP1_0: &str = "istio-http/1.0";
/// HTTP/1.1 between proxies of the mesh.
pub const MESH_HTTP1_1: &str = "istio-http/1.1";
/// HTTP/2 between proxies of the mesh.
pub const MESH_H2: &str = "istio-h2";
/// HTTP/1.1.
pub const HTTP1_1: &str = "http/1.1";
/// HTTP/2.
pub const H2: &str = "h2";
/// What HTTP is spoken by outside of the mesh, the first preferred.
pub const HTTP: &[&str] = &[H2, HTTP1_1];

/// Whether only proxies of the mesh offer it.
pub fn is_of_mesh(name: &[u8]) -> bool {
    let names = [
        MESH,
        MESH_PEER_EXCHANGE,
        MESH_HTTP1_0,
        MESH_HTTP1_1,
        MESH_H2,
    ];
    names.iter().any(|known| known.as_bytes() == name)
}

/// Whether requests are spoken by it, in whichever version.
pub fn is_http(name: &str) -> bool {
    [MESH_H2, MESH_HTTP1_1, MESH_HTTP1_0, H2, HTTP1_1].contains(&name)
}
