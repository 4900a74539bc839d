//! The resources that tests give the gateway, as a user would write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
    let server = format!(
        "- port: {{number: 80, name: http, protocol: HTTP}}\n  \
           hosts: {hosts:?}\n"
    );
    gateway_of(name, &server)
}

/// A Gateway in `default` with the entries of its `servers` as they stand in a file, from the first column.
pub fn gateway_of(name: &str, servers: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: Gateway\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           selector: {{istio: ingressgateway}}\n  \
           servers:\n"
    );
    indent(&mut text, servers);
    text
}

/// A Gateway's server. `tls`: its settings, as they stand between braces; none in clear.
pub fn server(port: u16, name: &str, protocol: &str, hosts: &[&str], tls: &str) -> String {
    let mut text = format!(
        "- port: {{number: {port}, name: {name}, protocol: {protocol}}}\n  \
           hosts: {hosts:?}\n"
    );
    if !tls.is_empty() {
        let _ = writeln!(text, "  tls: {{{tls}}}");
    }
    text
}

/// A Gateway's HTTPS server on port 443.
pub fn https_server(name: &str, hosts: &[&str], tls: &str) -> String {
    server(443, name, "HTTPS", hosts, tls)
}

/// A Secret in the gateway's own namespace, its data as an API server has it.
pub fn secret(name: &str, kind: &str, data: &[(&str, &str)]) -> String {
    let mut text = format!(
        "apiVersion: v1\n\
         kind: Secret\n\
         metadata: {{name: {name}, namespace: istio-system}}\n\
         type: {kind}\n\
         data:\n"
    );
    for (key, value) in data {
        let _ = writeln!(text, "  {key}: {}", STANDARD.encode(value));
    }
    text
}

/// A VirtualService in `default` on the Gateway `edge` for these hosts, with the entries of its `tcp` or `tls`
/// list as they stand in a file, from the first column.
pub fn l4_virtual_service(name: &str, hosts: &[&str], list: &str, entries: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: VirtualService\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           hosts: {hosts:?}\n  \
           gateways: [edge]\n  \
           {list}:\n"
    );
    indent(&mut text, entries);
    text
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
    indent(&mut text, http);
    text
}

/// Adds lines below a key of the second column.
fn indent(text: &mut String, lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(text, "  {line}");
    }
}
