//! What DestinationRules name.

use super::*;

/// A service `shop` behind a gateway in clear, with this spec of a DestinationRule.
fn shop(spec: &str) -> Vec<Change> {
    let server = "  - port: {number: 80, name: http, protocol: HTTP}\n    hosts: ['*']\n";
    let route = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.test]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /v1}}]
    route: [{destination: {host: shop, subset: v1}}]
  - route: [{destination: {host: shop}}]
";
    vec![
        gateway(&[server.to_owned()]),
        change("shop.yaml", route),
        rule(spec),
    ]
}

fn rule(spec: &str) -> Change {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: shop}}\nspec:\n  host: shop\n{spec}"
    );
    change("rule.yaml", &text)
}

const V1: &str = "  subsets: [{name: v1, labels: {version: v1}}]\n";

/// Publishes it with what is on the disk.
fn published(spec: &str, files: Vec<CertificateFile>) -> (Watched, Published) {
    let (mut watched, _) = Watched::new(&[], Vec::new());
    watched.configuration.apply(shop(spec));
    watched.configuration.prepare(now());
    let published = watched.write(files, now()).unwrap();
    (watched, published)
}

fn all_of(tls: &str) -> String {
    format!("  trafficPolicy: {{tls: {{{tls}}}}}\n{V1}")
}

/// Of what is missing: where that is told.
#[track_caller]
fn check_missing(spec: &str, want: &[&str]) {
    let (_, published) = published(spec, Vec::new());
    let told = published.diagnostics.iter();
    let told = told.filter(|one| one.code != "not_honoured");
    let paths: Vec<&str> = told.map(|one| one.path.as_str()).collect();
    assert_eq!(paths, want, "{:#?}", published.diagnostics);
}

#[test]
fn what_a_rule_names_is_read_and_followed() {
    let spec =
        all_of("mode: MUTUAL, clientCertificate: c.crt, privateKey: c.key, caCertificates: ca.crt");
    let (client, root) = (pair("client.test"), pair("root.test"));
    let files = vec![
        file("conf/c.crt", &client.certificate, ANYBODYS),
        file("conf/c.key", &client.key, OWNERS_ALONE),
        file("conf/ca.crt", &root.certificate, ANYBODYS),
    ];
    let (mut watched, first) = published(&spec, files);
    let reference = CredentialRef::Files {
        certificate: "c.crt".into(),
        key: "c.key".into(),
    };
    let authorities = CredentialRef::AuthorityFiles {
        authorities: "ca.crt".into(),
        revocations: None,
    };
    let shown = credential(&first, &reference).unwrap();
    assert_eq!(shown.names, ["client.test"]);
    assert!(first.credentials.authorities.contains_key(&authorities));
    let newer = pair("newer.test");
    let files = vec![
        file("conf/c.crt", &newer.certificate, ANYBODYS),
        file("conf/c.key", &newer.key, OWNERS_ALONE),
    ];
    let second = watched.write(files, later(1)).unwrap();
    let shown = credential(&second, &reference).unwrap();
    assert_eq!(shown.names, ["newer.test"]);
    assert!(Arc::ptr_eq(
        &first.credentials.authorities[&authorities],
        &second.credentials.authorities[&authorities]
    ));
    let third = watched.apply(vec![rule(V1)], later(2)).unwrap();
    assert!(third.credentials.certificates.is_empty());
}

#[test]
fn names_lead_to_secrets_and_folders_and_modes_to_the_mesh_identity() {
    let (own, root) = (pair(OWN), pair("mesh.test"));
    let files = vec![
        file("identity/cert-chain.pem", &own.certificate, ANYBODYS),
        file("identity/key.pem", &own.key, OWNERS_ALONE),
        file("identity/root-cert.pem", &root.certificate, ANYBODYS),
    ];
    let (_, of_mesh) = published(&all_of("mode: ISTIO_MUTUAL"), files);
    assert!(credential(&of_mesh, &CredentialRef::Workload).is_some());
    let authorities = &of_mesh.credentials.authorities;
    assert!(authorities.contains_key(&CredentialRef::WorkloadAuthorities));
    let mut files = in_folder("certs/web", &own);
    files.push(file("certs/web/ca.crt", &root.certificate, ANYBODYS));
    let (_, named_one) = published(&all_of("mode: MUTUAL, credentialName: web"), files);
    assert!(credential(&named_one, &named("web")).is_some());
    let authorities = &named_one.credentials.authorities;
    assert!(authorities.contains_key(&CredentialRef::AuthoritiesNamed("web".into())));
}

#[test]
fn what_is_missing_is_told_once_at_the_field_that_names_it() {
    check_missing(
        &all_of("mode: SIMPLE, caCertificates: ca.crt"),
        &["spec.trafficPolicy.tls.caCertificates"],
    );
    check_missing(
        &all_of("mode: MUTUAL, clientCertificate: c.crt, privateKey: c.key"),
        &["spec.trafficPolicy.tls.clientCertificate"],
    );
    check_missing(
        &all_of("mode: SIMPLE, credentialName: web"),
        &["spec.trafficPolicy.tls.credentialName"],
    );
    let subset = "  subsets: [{name: v1, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, caCertificates: ca.crt}}]}}]\n";
    check_missing(
        subset,
        &["spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.caCertificates"],
    );
}

#[test]
fn a_list_that_is_missing_is_told_where_it_is_named() {
    let spec = all_of("mode: SIMPLE, caCertificates: ca.crt, caCrl: crl.pem");
    let root = file("conf/ca.crt", &pair("root.test").certificate, ANYBODYS);
    let (_, published) = published(&spec, vec![root]);
    let told = published.diagnostics.iter();
    let told: Vec<&str> = told
        .filter(|one| one.code != "not_honoured")
        .map(|one| one.path.as_str())
        .collect();
    assert_eq!(told, ["spec.trafficPolicy.tls.caCrl"]);
    assert!(published.credentials.authorities.is_empty());
}

#[test]
fn the_system_s_authorities_are_nobody_s_file() {
    check_missing(&all_of("mode: SIMPLE"), &[]);
    check_missing(&all_of("mode: SIMPLE, insecureSkipVerify: true"), &[]);
}

/// The same where the mesh's TLS is spoken without a rule that asks for it.
fn automatic() -> Watched {
    let compile = CompileOptions {
        auto_mtls: true,
        proxy: Proxy {
            namespace: "istio-system".into(),
            ..Proxy::default()
        },
        ..CompileOptions::default()
    };
    let configuration = Configuration::new(Settings {
        defaults: Defaults::default(),
        compile,
        last_good: None,
        credentials: credential_settings(),
    });
    Watched {
        configuration,
        disk: BTreeMap::new(),
    }
}

#[test]
fn the_mesh_needs_its_identity_where_no_rule_says_so() {
    let mut watched = automatic();
    // A rule that says nothing of TLS is not to blame.
    watched
        .configuration
        .apply(shop("  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"));
    watched.configuration.prepare(now());
    let missing = watched.write(Vec::new(), now()).unwrap();
    let told = missing.diagnostics.iter();
    let told: Vec<_> = told
        .filter(|one| one.code == "missing_certificate")
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    for one in &told {
        assert!(
            one.starts_with("MeshConfig mesh: enableAutoMtls: "),
            "{one}"
        );
    }
    let (own, root) = (pair(OWN), pair("mesh.test"));
    let files = vec![
        file("identity/cert-chain.pem", &own.certificate, ANYBODYS),
        file("identity/key.pem", &own.key, OWNERS_ALONE),
        file("identity/root-cert.pem", &root.certificate, ANYBODYS),
    ];
    let there = watched.write(files, later(1)).unwrap();
    assert!(credential(&there, &CredentialRef::Workload).is_some());
    let all = there.diagnostics.iter();
    assert!(!all.clone().any(|one| one.code == "missing_certificate"));
}
