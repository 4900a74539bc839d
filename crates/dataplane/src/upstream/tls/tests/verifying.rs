//! Which servers are trusted.

use super::*;
use rcgen::date_time_ymd;
use server::Setup;

/// What becomes of a request for `a.test` when the server shows this certificate.
async fn outcome(case: &Case, certificate: &Issued) -> Result<(), &'static str> {
    let server = Setup::of(certificate).start().await;
    case.try_for(&server, "a.test").await
}

#[track_caller]
fn check(
    case: &Case,
    certificate: Issued,
    want: Result<(), &'static str>,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move { assert_eq!(outcome(case, &certificate).await, want, "{caller}") }
}

const REFUSED: Result<(), &str> = Err("certificate_invalid");

#[tokio::test]
async fn a_server_must_have_the_name_that_is_sent() {
    let authority = Authority::new();
    let case = Case::new(simple(), trusting(&authority));
    check(&case, authority.server(&["a.test"]), Ok(())).await;
    check(&case, authority.server(&["b.test", "A.TEST"]), Ok(())).await;
    check(&case, authority.server(&["b.test"]), REFUSED).await;
    check(
        &case,
        authority.server(&["spiffe://mesh/ns/a/sa/a"]),
        REFUSED,
    )
    .await;
    let wildcard = authority.server(&["*.shop.test"]);
    let server = Setup::of(&wildcard).start().await;
    assert_eq!(case.try_for(&server, "a.shop.test").await, Ok(()));
    assert_eq!(case.try_for(&server, "a.b.shop.test").await, REFUSED);
}

#[tokio::test]
async fn a_server_must_be_signed_be_in_time_and_be_a_server() {
    let authority = Authority::new();
    let case = Case::new(simple(), trusting(&authority));
    check(&case, Authority::new().server(&["a.test"]), REFUSED).await;
    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_after = date_time_ymd(2020, 1, 1);
    };
    check(&case, changed(&authority, &["a.test"], expired), REFUSED).await;
    let future = |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(2090, 1, 1);
    };
    check(&case, changed(&authority, &["a.test"], future), REFUSED).await;
    check(&case, authority.client(&["a.test"]), REFUSED).await;
}

#[tokio::test]
async fn names_that_are_listed_take_the_place_of_the_one_that_is_sent() {
    let authority = Authority::new();
    let listed = naming(&[
        "b.test",
        "spiffe://mesh/ns/shop/sa/web",
        "spiffe://mesh/ns/blog/*",
        "192.0.2.1",
    ]);
    let case = Case::new(listed, trusting(&authority));
    check(&case, authority.server(&["a.test"]), REFUSED).await;
    check(&case, authority.server(&["a.test", "b.test"]), Ok(())).await;
    check(&case, authority.server(&["*.test"]), Ok(())).await;
    check(
        &case,
        authority.server(&["spiffe://mesh/ns/shop/sa/web"]),
        Ok(()),
    )
    .await;
    check(
        &case,
        authority.server(&["spiffe://mesh/ns/shop/sa/webs"]),
        REFUSED,
    )
    .await;
    check(
        &case,
        authority.server(&["spiffe://mesh/ns/blog/sa/any"]),
        Ok(()),
    )
    .await;
    check(&case, authority.server(&["192.0.2.1"]), Ok(())).await;
    check(&case, authority.server(&["192.0.2.2"]), REFUSED).await;
    // A name alone convinces nobody.
    check(&case, Authority::new().server(&["b.test"]), REFUSED).await;
}

/// An authority signs for its own trust domain alone, and counts where an identity of that is asked for.
#[tokio::test]
async fn identities_of_other_trust_domains_are_signed_by_their_own_authorities() {
    let (authority, others) = (Authority::new(), Authority::new());
    let (own, other) = (
        "spiffe://mesh.test/ns/a/sa/a",
        "spiffe://other.test/ns/a/sa/a",
    );
    let mut credentials = trusting(&authority);
    let both = authority.authorities_beside("other.test", &others);
    credentials.authorities.insert(authorities(), both);
    let case = Case::new(naming(&[own, other]), credentials.clone());
    check(&case, authority.server(&[own]), Ok(())).await;
    check(&case, others.server(&[other]), Ok(())).await;
    check(&case, others.server(&[own]), REFUSED).await;
    check(&case, authority.server(&[other]), REFUSED).await;
    // Of hosts it says nothing.
    let hosts = Case::new(naming(&["b.test"]), credentials.clone());
    check(&hosts, others.server(&[other, "b.test"]), REFUSED).await;
    check(&hosts, authority.server(&[own, "b.test"]), Ok(())).await;
    // Any identity of the mesh, or the name that is sent.
    let mesh = UpstreamTls {
        mesh: true,
        ..simple()
    };
    for tls in [mesh, simple()] {
        let case = Case::new(tls, credentials.clone());
        check(&case, others.server(&[other, "a.test"]), REFUSED).await;
        check(&case, authority.server(&[own, "a.test"]), Ok(())).await;
    }
    let without = Case::new(naming(&[own, other]), trusting(&authority));
    check(&without, others.server(&[other]), REFUSED).await;
}

#[tokio::test]
async fn why_a_certificate_is_refused_is_told() {
    let authority = Authority::new();
    let case = Case::new(naming(&["b.test"]), trusting(&authority));
    let shown = authority.server(&["a.test", "192.0.2.1"]);
    let server = Setup::of(&shown).start().await;
    let refused = case.connect(server.address, Some("a.test")).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the server's certificate was refused: the server's certificate is for \"a.test\", \"192.0.2.1\", \
         where \"b.test\" is expected"
    );
}

#[tokio::test]
async fn an_address_that_is_asked_for_must_be_in_the_certificate() {
    let authority = Authority::new();
    let case = Case::new(simple(), trusting(&authority));
    let shown = authority.server(&["127.0.0.1"]);
    let mut server = Setup::of(&shown).start().await;
    assert_eq!(case.try_for(&server, "127.0.0.1:443").await, Ok(()));
    assert_eq!(server.seen().await.sni, None);
    assert_eq!(case.try_for(&server, "127.0.0.2").await, REFUSED);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_next_connection_on() {
    let authority = Authority::new();
    let (revoked, other) = (authority.server(&["a.test"]), authority.server(&["a.test"]));
    let mut case = Case::new(simple(), trusting(&authority));
    let server = Setup::of(&revoked).start().await;
    assert_eq!(case.try_for(&server, "a.test").await, Ok(()));
    let with_list = authority.authorities_without(&revoked);
    case.credentials
        .authorities
        .insert(authorities(), with_list);
    case.publish();
    assert_eq!(case.try_for(&server, "a.test").await, REFUSED);
    check(&case, other, Ok(())).await;
}

#[tokio::test]
async fn nothing_is_verified_where_that_is_skipped() {
    let skipping = UpstreamTls {
        verification: ServerVerification::Nothing,
        ..simple()
    };
    let case = Case::new(skipping, Credentials::default());
    check(&case, Authority::new().server(&["b.test"]), Ok(())).await;
}

#[tokio::test]
async fn a_signature_counts_even_where_verifying_is_skipped() {
    use rustls::sign::CertifiedKey;
    let (shown, held) = (Authority::new(), Authority::new());
    let (shown, held) = (shown.server(&["a.test"]), held.server(&["a.test"]));
    let key = rustls::crypto::ring::sign::any_supported_type(&held.private_key()).unwrap();
    let forged = Arc::new(CertifiedKey::new(vec![shown.der.clone()], key));
    let mut config = (*Setup::of(&shown).config()).clone();
    config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(forged));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let _ = acceptor.accept(socket).await;
    });
    let skipping = UpstreamTls {
        verification: ServerVerification::Nothing,
        ..simple()
    };
    let case = Case::new(skipping, Credentials::default());
    let refused = case.connect(address, Some("a.test")).await;
    assert_eq!(refused.unwrap_err().reason(), "certificate_invalid");
}
