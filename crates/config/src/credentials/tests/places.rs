//! Where a certificate is looked for.

use super::*;

#[test]
fn a_named_certificate_is_found_in_its_folder() {
    let (_, published) = Watched::new(
        &[server(443, &simple("web"))],
        in_folder("certs/web", &pair("web.test")),
    );
    assert_eq!(served(&published, "web").as_deref(), Some("web.test"));
    assert!(
        published.diagnostics.is_empty(),
        "{:?}",
        published.diagnostics
    );
    assert_eq!(
        changes(&published),
        ["Gateway default/edge added", "credential web added"]
    );
    let status = &published.credential_status[0];
    assert_eq!(status.state, CredentialState::Served);
    assert_eq!(
        status.source.as_deref(),
        Some("certs/web/tls.crt, certs/web/tls.key")
    );
}

#[test]
fn a_secret_comes_before_a_folder_and_that_before_what_is_ordered() {
    let servers = [server(443, &simple("ordered"))];
    let (mut watched, first) = Watched::new(&servers, Vec::new());
    let help = only(&first).help.as_deref().unwrap();
    assert!(help.starts_with("it is ordered"), "{help}");
    let ordered = in_folder("acme/ordered", &pair("acme.test"));
    let published = watched.write(ordered, later(1)).unwrap();
    assert_eq!(served(&published, "ordered").as_deref(), Some("acme.test"));
    let folder = in_folder("certs/ordered", &pair("folder.test"));
    let published = watched.write(folder, later(2)).unwrap();
    assert_eq!(
        served(&published, "ordered").as_deref(),
        Some("folder.test")
    );
    let own = pair("secret.test");
    let entries = [("tls.crt", &*own.certificate), ("tls.key", &*own.key)];
    let published = watched
        .apply(vec![secret("ordered", &entries)], later(3))
        .unwrap();
    assert_eq!(
        served(&published, "ordered").as_deref(),
        Some("secret.test")
    );
    assert!(Arc::ptr_eq(&first.table, &published.table));
    assert_eq!(
        changes(&published),
        [
            "Secret istio-system/ordered added",
            "credential ordered changed"
        ]
    );
    let gone = Change {
        file: "ordered.yaml".into(),
        content: Content::Gone,
    };
    let published = watched.apply(vec![gone], later(4)).unwrap();
    assert_eq!(
        served(&published, "ordered").as_deref(),
        Some("folder.test")
    );
}

#[test]
fn the_entries_of_a_secret_are_tried_in_istios_order() {
    let (generic, tls) = (pair("generic.test"), pair("tls.test"));
    let all = [
        ("cert", &*generic.certificate),
        ("key", &*generic.key),
        ("tls.crt", &*tls.certificate),
        ("tls.key", &*tls.key),
    ];
    for (entries, want) in [
        (&all[..], Ok("generic.test")),
        (&all[1..], Ok("tls.test")),
        (&all[..2], Ok("generic.test")),
        (&all[..3], Ok("generic.test")),
        (&all[..1], Err("Secret istio-system/web has no key")),
        (&all[2..3], Err("Secret istio-system/web has no tls.key")),
        (
            &[("password", "x")][..],
            Err("Secret istio-system/web has no tls.crt and tls.key, nor cert and key"),
        ),
    ] {
        let (mut watched, _) = Watched::new(&[server(443, &simple("web"))], Vec::new());
        let published = watched
            .apply(vec![secret("web", entries)], later(1))
            .unwrap();
        match want {
            Ok(name) => assert_eq!(served(&published, "web").as_deref(), Some(name)),
            Err(words) => assert!(
                only(&published).message.contains(words),
                "{:?}",
                only(&published)
            ),
        }
    }
}

#[test]
fn authorities_are_found_apart_first_and_then_beside_the_certificate() {
    let web = pair("web.test");
    let entries = [
        ("tls.crt", &*web.certificate),
        ("tls.key", &*web.key),
        ("ca.crt", &*web.certificate),
    ];
    let apart = pair("apart.test").certificate;
    let reference = CredentialRef::AuthoritiesNamed("web".into());
    let (mut watched, first) = Watched::new(&[server(443, MUTUAL)], in_folder("certs/web", &web));
    assert_eq!(told(&first), [("missing_certificate", Severity::Warning)]);
    let beside = vec![file("certs/web/ca.crt", &web.certificate, ANYBODYS)];
    let mut sources = Vec::new();
    for published in [
        watched.write(beside, later(1)),
        watched.write(
            vec![file("certs/web-cacert/cacert", &apart, ANYBODYS)],
            later(2),
        ),
        watched.apply(vec![secret("web", &entries)], later(3)),
        watched.apply(vec![secret("web-cacert", &[("cacert", &apart)])], later(4)),
    ] {
        // Absent: what came later is the same certificate.
        let Some(published) = published else { continue };
        assert!(published.credentials.authorities.contains_key(&reference));
        let status = published.credential_status.iter();
        let mut status = status.filter(|status| status.reference == reference);
        sources.push(status.next().unwrap().source.clone().unwrap());
    }
    let want = [
        "certs/web/ca.crt",
        "certs/web-cacert/cacert",
        "certs/web-cacert/cacert",
        "Secret istio-system/web-cacert",
    ];
    assert_eq!(sources, want);
}

#[test]
fn broken_revocations_refuse_the_authorities() {
    let web = pair("web.test");
    let mut files = in_folder("certs/web", &web);
    files.push(file("certs/web/ca.crt", &web.certificate, ANYBODYS));
    files.push(file("certs/web/ca.crl", "junk", ANYBODYS));
    let (_, published) = Watched::new(&[server(443, MUTUAL)], files);
    assert!(published.credentials.authorities.is_empty());
    assert!(
        only(&published)
            .message
            .contains("the revocations cannot be read")
    );
}

#[test]
fn paths_of_a_gateway_are_relative_to_the_bootstrap_file() {
    let tls =
        "mode: MUTUAL, serverCertificate: a.crt, privateKey: /keys/a.key, caCertificates: ca.crt";
    let web = pair("web.test");
    let files = vec![
        file("conf/a.crt", &web.certificate, ANYBODYS),
        file("/keys/a.key", &web.key, OWNERS_ALONE),
    ];
    let (mut watched, first) = Watched::new(&[server(443, tls)], files);
    assert_eq!(first.credentials.certificates.len(), 1);
    assert_eq!(only(&first).path, "spec.servers[0].tls.caCertificates");
    assert!(
        only(&first).message.ends_with("there is no conf/ca.crt"),
        "{:?}",
        only(&first)
    );
    let authorities = vec![file("conf/ca.crt", &web.certificate, ANYBODYS)];
    let next = watched.write(authorities, later(1)).unwrap();
    assert_eq!(next.credentials.authorities.len(), 1);
    assert!(next.diagnostics.is_empty());
}

#[test]
fn the_mesh_identity_has_a_folder_of_its_own() {
    let web = pair(OWN);
    let files = vec![
        file("identity/cert-chain.pem", &web.certificate, ANYBODYS),
        file("identity/key.pem", &web.key, OWNERS_ALONE),
        file("identity/root-cert.pem", &web.certificate, ANYBODYS),
    ];
    let servers = [server(443, "mode: ISTIO_MUTUAL")];
    let (_, published) = Watched::new(&servers, files.clone());
    let credentials = &published.credentials;
    assert_eq!(
        (
            credentials.certificates.len(),
            credentials.authorities.len()
        ),
        (1, 1)
    );
    let settings = CredentialSettings {
        identity: None,
        ..credential_settings()
    };
    let (_, without) = Watched::with(settings, &servers, files);
    let missing = ("missing_certificate", Severity::Warning);
    assert_eq!(told(&without), [missing, missing]);
}

/// Istio's names come first, and what is of Kubernetes' names counts where it alone is whole.
#[test]
fn the_identity_s_files_have_istio_s_names_or_kubernetes() {
    let (istio, kubernetes) = (pair(OWN), pair(OTHER));
    let of_istio = [
        file("identity/cert-chain.pem", &istio.certificate, ANYBODYS),
        file("identity/key.pem", &istio.key, OWNERS_ALONE),
        file("identity/root-cert.pem", &istio.certificate, ANYBODYS),
    ];
    let mut of_kubernetes = in_folder("identity", &kubernetes);
    of_kubernetes.push(file("identity/ca.crt", &kubernetes.certificate, ANYBODYS));
    let all = [&of_istio[..], &of_kubernetes].concat();
    for (files, want) in [
        (of_istio.to_vec(), OWN),
        (all[1..].to_vec(), OTHER),
        (all, OWN),
        (of_kubernetes, OTHER),
    ] {
        let (_, published) = Watched::new(&[server(443, "mode: ISTIO_MUTUAL")], files);
        assert_eq!(identity(&published), Some(want));
        let authorities = &published.credentials.authorities;
        assert!(authorities.contains_key(&CredentialRef::WorkloadAuthorities));
        assert!(published.diagnostics.is_empty());
    }
}

#[test]
fn what_is_missing_of_an_identity_names_the_files_that_are_looked_for() {
    let own = pair("own.test");
    let key = || file("identity/key.pem", &own.key, OWNERS_ALONE);
    let tls = || file("identity/tls.crt", &own.certificate, ANYBODYS);
    let empty = || file("identity/ca.crt", "", ANYBODYS);
    for (files, certificate, authorities) in [
        (
            vec![],
            "there is no identity/cert-chain.pem or identity/tls.crt",
            "there is no identity/root-cert.pem or identity/ca.crt",
        ),
        (
            vec![key()],
            "identity has no cert-chain.pem",
            "there is no identity/root-cert.pem or identity/ca.crt",
        ),
        (
            vec![tls(), empty()],
            "identity has no tls.key",
            "identity/ca.crt is empty",
        ),
    ] {
        let (_, published) = Watched::new(&[server(443, "mode: ISTIO_MUTUAL")], files);
        let told: Vec<_> = published
            .diagnostics
            .iter()
            .map(|one| &one.message)
            .collect();
        assert!(told[0].ends_with(certificate), "{told:?}");
        assert!(told[1].ends_with(authorities), "{told:?}");
    }
}

#[test]
fn two_certificates_of_one_server_stand_and_fall_alone() {
    let servers = [server(443, "mode: SIMPLE, credentialNames: [rsa, ecdsa]")];
    let (_, published) = Watched::new(&servers, in_folder("certs/ecdsa", &pair("ecdsa.test")));
    assert!(served(&published, "ecdsa").is_some());
    assert_eq!(
        only(&published).path,
        "spec.servers[0].tls.credentialNames[0]"
    );
}

#[test]
fn a_staple_goes_with_its_certificate() {
    let mut files = in_folder("certs/web", &pair("web.test"));
    files.push(file(
        "certs/web/tls.ocsp-staple",
        "0\u{3}\n\u{1}\u{6}",
        ANYBODYS,
    ));
    let (_, published) = Watched::new(&[server(443, &simple("web"))], files);
    let credential = credential(&published, &named("web")).unwrap();
    assert_eq!(
        credential.certified_key.ocsp.as_deref(),
        Some(&b"0\x03\n\x01\x06"[..])
    );
}

#[test]
fn a_name_that_would_lead_elsewhere_leads_nowhere() {
    let settings = credential_settings();
    for name in ["../keys", "/etc", "..", ".", "", "a/b", "a\0b"] {
        assert_eq!(settings.folders_of(name).count(), 0, "{name:?}");
    }
    assert_eq!(
        settings.folders_of("..a").next().as_deref(),
        Some(Path::new("certs/..a"))
    );
}
