//! `x-forwarded-client-cert`.

use super::super::digest::{hex, sha256};
use super::gateway::{Secured, Settings, server};
use crate::ForwardClientCert::{
    self, AlwaysForwardOnly, AppendForward, ForwardOnly, Sanitize, SanitizeSet,
};
use crate::http::tests::client::Client;
use crate::http::tests::gateway::{Rules, set};
use rules::ClientCertificate::{Ignored, Required, Unverified};
use rules::{CredentialRef, ForwardAction};

const SPIFFE: &str = "spiffe://cluster.local/ns/shop/sa/web";

async fn start(
    mode: rules::ClientCertificate,
    policy: ForwardClientCert,
    trusted: bool,
) -> Secured {
    let change = |rules: &mut Rules| {
        rules.settings.forward_client_cert = policy;
        if trusted {
            rules.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
    };
    Secured::start_with(&[server("shop", &["shop.test"]).asking(mode)], change).await
}

/// What an upstream sees when the client sends such a header itself.
async fn seen(tls: &Secured, settings: Settings) -> Option<String> {
    let stream = tls.connect(&settings.config(), "shop.test").await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Client-Cert: Hash=sent\r\n\r\n";
    assert_eq!(Client::on(stream).ask(request).await.status(), 200);
    tls.origin.request(0).header("x-forwarded-client-cert")
}

#[tokio::test]
async fn a_verified_client_is_told_of_in_envoys_words() {
    let tls = start(Required, SanitizeSet, false).await;
    let client = tls.clients.client(&[SPIFFE, "a.test", "b.test"]);
    let told = seen(&tls, tls.client().showing(&client)).await.unwrap();
    let hash = hex(&sha256(&client.der).unwrap());
    assert!(
        told.starts_with(&format!(
            "Hash={hash};Cert=\"-----BEGIN%20CERTIFICATE-----%0A"
        )),
        "{told}"
    );
    let rest = told
        .split_once("-----END%20CERTIFICATE-----%0A\";")
        .unwrap()
        .1;
    assert_eq!(
        rest,
        format!("Subject=\"CN=client,O=Shop\";URI={SPIFFE};DNS=a.test;DNS=b.test")
    );
}

#[tokio::test]
async fn a_name_cannot_pretend_to_be_more() {
    let tls = start(Required, SanitizeSet, false).await;
    let forged = "spiffe://a/b;Hash=forged,By=c";
    let client = tls.clients.client_with(&[forged], |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationalUnitName, "a\";Hash=x, é");
    });
    let told = seen(&tls, tls.client().showing(&client)).await.unwrap();
    assert!(told.ends_with(&format!(";URI=\"{forged}\"")), "{told}");
    assert!(told.contains(r#"OU=a\"\;Hash=x\, \C3\A9"#), "{told}");
}

#[tokio::test]
async fn each_policy_does_what_it_says() {
    let cases = [
        (Ignored, SanitizeSet, false, None),
        (Ignored, SanitizeSet, true, Some("Hash=sent")),
        (Required, Sanitize, true, None),
        (Required, ForwardOnly, false, Some("Hash=sent")),
        (Ignored, ForwardOnly, false, None),
        (Ignored, AppendForward, false, None),
        (Ignored, AlwaysForwardOnly, false, Some("Hash=sent")),
        (Unverified, SanitizeSet, false, None),
    ];
    for (mode, policy, trusted, want) in cases {
        let tls = start(mode, policy, trusted).await;
        let client = tls.clients.client(&[]);
        let told = seen(&tls, tls.client().showing(&client)).await;
        assert_eq!(told.as_deref(), want, "{mode:?} {policy:?} {trusted}");
    }
    let tls = start(Required, AppendForward, false).await;
    let client = tls.clients.client(&[]);
    let told = seen(&tls, tls.client().showing(&client)).await.unwrap();
    assert!(
        told.starts_with("Hash=sent,Hash=") && told.contains(";Subject=\"CN=client,O=Shop\""),
        "{told}"
    );
}

/// ISTIO_MUTUAL: both sides have names of the mesh.
#[tokio::test]
async fn in_the_mesh_both_sides_are_named() {
    let gateway = "spiffe://cluster.local/ns/istio-system/sa/gateway";
    let shop = server("shop", &["shop.test"]).with(|tls| {
        tls.certificates = vec![CredentialRef::Workload];
        tls.client.mode = Required;
        tls.client.authorities = Some(CredentialRef::WorkloadAuthorities);
    });
    let tls = Secured::start(&[shop]).await;
    let own = tls.root.server(&[gateway]);
    let mesh = tls.clients.authorities();
    tls.publish_credentials(|credentials| {
        let (certificates, authorities) =
            (&mut credentials.certificates, &mut credentials.authorities);
        certificates.insert(CredentialRef::Workload, own.credential());
        authorities.insert(CredentialRef::WorkloadAuthorities, mesh);
    });
    let client = tls.clients.client_with(&[SPIFFE], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
    });
    let mut settings = tls.client().showing(&client);
    settings.verifier = Some(super::servers::anything());
    let told = seen(&tls, settings).await.unwrap();
    assert!(told.starts_with(&format!("By={gateway};Hash=")), "{told}");
    assert!(
        told.ends_with(&format!(";Subject=\"\";URI={SPIFFE}")),
        "{told}"
    );
}

#[tokio::test]
async fn headers_can_be_made_of_what_tls_tells() {
    let text = "%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% \
                %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_URI_SAN%";
    let route = |action: &mut ForwardAction| action.request_headers = set(&[("x-tls", text)]);
    let servers = [server("shop", &["shop.test"]).asking(Required)];
    let tls = Secured::start_routed(&servers, |_| {}, route).await;
    let client = tls.clients.client(&[SPIFFE]);
    seen(&tls, tls.client().showing(&client)).await;
    let want = format!("shop.test TLSv1.3 TLS_AES_128_GCM_SHA256 CN=client,O=Shop {SPIFFE}");
    assert_eq!(tls.origin.request(0).header("x-tls").unwrap(), want);
}
