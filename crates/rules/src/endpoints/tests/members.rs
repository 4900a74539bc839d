//! Endpoints of headless Services that have names of their own.

use super::*;

const HEADLESS: &str = "
apiVersion: v1
kind: Service
metadata: { name: db }
spec:
  clusterIP: None
  ports: [{ name: sql, port: 5432 }]
---
";

/// A slice with endpoints as written.
fn slice(name: &str, kind: &str, endpoints: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: {name}, labels: {{ kubernetes.io/service-name: db }} }}\n\
         addressType: {kind}\nports: [{{ name: sql, port: 5432 }}]\nendpoints:\n"
    );
    for endpoint in endpoints {
        text += &format!("- {{ {endpoint} }}\n");
    }
    text + "---\n"
}

fn endpoints(text: &str) -> Endpoints {
    let mut compiler = Compiler::new(CompileOptions::default());
    compiler.endpoints(&resources(text), &Arc::default()).0
}

#[test]
fn they_are_found_by_name_with_the_addresses_of_both_kinds() {
    let text = [
        HEADLESS.to_owned(),
        slice(
            "v4",
            "IPv4",
            &[
                "addresses: [10.0.0.1], hostname: DB-0, targetRef: { kind: Pod, name: db-0 }",
                "addresses: [10.0.0.2], hostname: db-1, conditions: { ready: false }",
                "addresses: [10.0.0.3]",
            ],
        ),
        slice(
            "v6",
            "IPv6",
            &["addresses: ['2001:db8::1'], hostname: db-0, targetRef: { kind: Pod, name: db-0 }"],
        ),
    ];
    let endpoints = endpoints(&text.concat());
    let members = &endpoints.members[&key("db.default.svc.cluster.local", 5432)];
    let both: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    assert_eq!(members.len(), 1, "{members:?}");
    assert_eq!(members["db-0"], both);
}

#[test]
fn a_service_with_an_address_of_its_own_has_none() {
    let with_address = HEADLESS.replace("None", "10.96.0.1");
    let text = with_address + &slice("v4", "IPv4", &["addresses: [10.0.0.1], hostname: db-0"]);
    let endpoints = endpoints(&text);
    assert!(endpoints.members.is_empty());
    assert_eq!(endpoints.services.len(), 1);
}
