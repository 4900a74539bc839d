//! The resources that tests give the gateway, as a user would write them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One of the original examples, unchanged.
///
/// # Panics
///
/// When there is no such file in `tests/seed`.
#[track_caller]
pub fn seed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seed")
        .join(name);
    match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// A Service in `default` with one HTTP port, and where it is found on loopback.
pub fn service(name: &str, port: u16, endpoints: &[u16]) -> String {
    service_of(name, "http", port, endpoints)
}

/// As [`service`], with a port of this name, which says its protocol.
pub fn service_of(name: &str, port_name: &str, port: u16, endpoints: &[u16]) -> String {
    let mut text = format!(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           ports:\n  \
           - {{name: {port_name}, port: {port}, protocol: TCP}}\n"
    );
    for (index, endpoint) in endpoints.iter().enumerate() {
        let _ = write!(
            text,
            "---\n\
             apiVersion: discovery.k8s.io/v1\n\
             kind: EndpointSlice\n\
             metadata:\n  \
               name: {name}-{index}\n  \
               namespace: default\n  \
               labels: {{kubernetes.io/service-name: {name}}}\n\
             addressType: IPv4\n\
             ports:\n\
             - {{name: {port_name}, port: {endpoint}, protocol: TCP}}\n\
             endpoints:\n\
             - addresses: [127.0.0.1]\n  \
               conditions: {{ready: true}}\n"
        );
    }
    text
}

/// A Gateway in `default` with one HTTP server on port 80.
pub fn gateway(name: &str, hosts: &[&str]) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: Gateway\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           selector: {{istio: ingressgateway}}\n  \
           servers:\n  \
           - port: {{number: 80, name: http, protocol: HTTP}}\n    \
             hosts: {hosts:?}\n"
    )
}

/// A VirtualService in `default` for one host on the Gateway `edge`, with the entries of its
/// `http` list as they stand in a file, from the first column.
pub fn virtual_service(name: &str, host: &str, http: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: VirtualService\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           hosts: [{host:?}]\n  \
           gateways: [edge]\n  \
           http:\n"
    );
    for line in http.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}
