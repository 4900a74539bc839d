//! Certificates of clients: who is let in.

use super::super::digest::{hex, sha256};
use super::gateway::{Secured, Settings, authorities, server};
use super::pki::{Authority, Issued};
use super::servers::failures;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::date_time_ymd;
use rules::ClientCertificate::{Optional, Required, Unverified};
use rules::ClientVerification;

async fn start(mode: rules::ClientCertificate) -> Secured {
    Secured::start(&[server("shop", &["shop.test"]).asking(mode)]).await
}

async fn start_with(change: impl FnOnce(&mut ClientVerification)) -> Secured {
    let mut shop = server("shop", &["shop.test"]).asking(Required);
    change(&mut shop.tls.client);
    Secured::start(&[shop]).await
}

/// Whether clients get in, in both versions.
#[track_caller]
fn check(tls: &Secured, client: Option<&Issued>, want: bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let dress = |settings: Settings| match client {
            Some(client) => settings.showing(client),
            None => settings,
        };
        for settings in [tls.client(), tls.client().tls12()] {
            let got = tls.get(dress(settings), "shop.test").await;
            let served = got.as_ref().is_ok_and(|answer| answer.status() == 200);
            assert_eq!(served, want, "{caller}: {got:?}");
        }
    }
}

#[tokio::test]
async fn mutual_lets_in_whom_the_authority_signed() {
    let tls = start(Required).await;
    check(&tls, Some(&tls.clients.client(&["a.test"])), true).await;
    check(&tls, None, false).await;
    check(&tls, Some(&Authority::new().client(&["a.test"])), false).await;
    let expired = tls
        .clients
        .client_with(&[], |params| params.not_after = date_time_ymd(2020, 1, 1));
    check(&tls, Some(&expired), false).await;
    let future = tls
        .clients
        .client_with(&[], |params| params.not_before = date_time_ymd(2090, 1, 1));
    check(&tls, Some(&future), false).await;
    check(&tls, Some(&tls.clients.server(&["a.test"])), false).await;
    assert_eq!(failures(&tls, "client_certificate_missing"), 2);
    assert_eq!(failures(&tls, "client_certificate_invalid"), 8);
    // An operator is asked why (promise 1).
    tls.gateway
        .logs(" shop.test - client_certificate_missing ")
        .await;
    tls.gateway
        .logs(" shop.test - client_certificate_invalid ")
        .await;
}

#[tokio::test]
async fn optional_mutual_verifies_what_is_shown() {
    let tls = start(Optional).await;
    check(&tls, Some(&tls.clients.client(&[])), true).await;
    check(&tls, None, true).await;
    check(&tls, Some(&Authority::new().client(&[])), false).await;
}

#[tokio::test]
async fn unverified_takes_any_certificate_but_one() {
    let tls = start(Unverified).await;
    check(&tls, Some(&Authority::new().client(&[])), true).await;
    check(&tls, None, false).await;
}

#[tokio::test]
async fn without_authorities_nobody_is_let_in_and_other_servers_serve() {
    let servers = [
        server("shop", &["shop.test"]).asking(Required),
        server("open", &["open.test"]),
    ];
    let tls = Secured::start(&servers).await;
    tls.publish_credentials(|credentials| {
        credentials.authorities.remove(&authorities());
    });
    check(&tls, Some(&tls.clients.client(&[])), false).await;
    assert!(
        tls.connect(&tls.client().config(), "open.test")
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_next_handshake_on() {
    let tls = start(Required).await;
    let (revoked, other) = (tls.clients.client(&[]), tls.clients.client(&[]));
    check(&tls, Some(&revoked), true).await;
    let list = tls.clients.authorities_without(&revoked);
    tls.publish_credentials(|credentials| {
        credentials.authorities.insert(authorities(), list);
    });
    check(&tls, Some(&revoked), false).await;
    check(&tls, Some(&other), true).await;
}

#[tokio::test]
async fn names_are_matched_whole() {
    let tls = start_with(|client| {
        let names = [
            "a.test",
            "spiffe://cluster.local/ns/shop/sa/web",
            "10.0.0.1",
            "me@a.test",
        ];
        client.subject_alt_names = names.map(str::to_owned).to_vec();
    })
    .await;
    for (name, want) in [
        ("a.test", true),
        ("A.test", true),
        ("b.a.test", false),
        ("spiffe://cluster.local/ns/shop/sa/web", true),
        ("spiffe://cluster.local/ns/shop/sa/webs", false),
        ("10.0.0.1", true),
        ("10.0.0.11", false),
        ("me@a.test", true),
    ] {
        check(&tls, Some(&tls.clients.client(&["x.test", name])), want).await;
    }
    check(&tls, Some(&tls.clients.client(&[])), false).await;
}

#[tokio::test]
async fn identities_are_matched_to_the_star() {
    let tls = start_with(|client| {
        client.subject_alt_names = vec!["spiffe://mesh.test/*".to_owned()];
    })
    .await;
    for (name, want) in [
        ("spiffe://mesh.test/ns/shop/sa/web", true),
        ("spiffe://mesh.test.other/ns/shop/sa/web", false),
        ("spiffe://other.test/ns/shop/sa/web", false),
        ("mesh.test", false),
    ] {
        check(&tls, Some(&tls.clients.client(&[name])), want).await;
    }
}

/// Policies know a client of the mesh by one name, and so must nobody have two.
#[tokio::test]
async fn an_identity_of_a_mesh_is_one_name_alone() {
    let tls = start_with(|client| client.is_identity = true).await;
    let own = "spiffe://mesh.test/ns/shop/sa/web";
    for (names, want) in [
        (&[own][..], true),
        (&[own, "web.test", "10.0.0.1"], true),
        (&[own, "spiffe://mesh.test/ns/shop/sa/admin"], false),
        (&["https://other.test/", own], false),
        (&["https://mesh.test/ns/shop/sa/web"], false),
        (&["spiffe://mesh.test/ns/../sa/web"], false),
        (&["web.test"], false),
        (&[], false),
    ] {
        check(&tls, Some(&tls.clients.client(names)), want).await;
    }
}

#[tokio::test]
async fn an_authority_of_another_trust_domain_counts_for_identities_of_its_own() {
    let others = Authority::new();
    let listed = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        start_with(|client| client.subject_alt_names = names)
    };
    let federate = |tls: &Secured| {
        let both = tls.clients.authorities_beside("other.test", &others);
        tls.publish_credentials(|credentials| {
            credentials.authorities.insert(authorities(), both);
        });
    };
    let (own, other) = (
        "spiffe://mesh.test/ns/a/sa/a",
        "spiffe://other.test/ns/a/sa/a",
    );
    let tls = listed(&["spiffe://mesh.test/*", "spiffe://other.test/*"]).await;
    check(&tls, Some(&others.client(&[other])), false).await;
    federate(&tls);
    for (authority, name, want) in [
        (&tls.clients, own, true),
        (&others, other, true),
        // Neither signs for the other's domain.
        (&others, own, false),
        (&tls.clients, other, false),
        (&others, "other.test", false),
        (&Authority::new(), other, false),
    ] {
        check(&tls, Some(&authority.client(&[name])), want).await;
    }
    // Of hosts it says nothing.
    let tls = listed(&["spiffe://other.test/ns/b/*", "a.test"]).await;
    federate(&tls);
    check(&tls, Some(&others.client(&[other, "a.test"])), false).await;
    check(&tls, Some(&tls.clients.client(&[own, "a.test"])), true).await;
    let two = [own, "spiffe://other.test/ns/b/sa/b"];
    check(&tls, Some(&tls.clients.client(&two)), false).await;
    // It is not let in where nobody lists it.
    for names in [&["spiffe://mesh.test/*"][..], &[]] {
        let tls = listed(names).await;
        federate(&tls);
        check(&tls, Some(&others.client(&[other])), false).await;
        check(&tls, Some(&tls.clients.client(&[own])), true).await;
    }
}

#[tokio::test]
async fn keys_and_certificates_can_be_listed() {
    let clients = Authority::new();
    let (known, other) = (clients.client(&[]), clients.client(&[]));
    let key = sha256(&rcgen::PublicKeyData::subject_public_key_info(&known.key)).unwrap();
    let hash = sha256(&known.der).unwrap();
    let by_key = |client: &mut ClientVerification| client.spki = vec![BASE64_STANDARD.encode(key)];
    let by_hash = |client: &mut ClientVerification| client.hashes = vec![hex(&hash)];
    for tls in [start_with(by_key).await, start_with(by_hash).await] {
        let authority = clients.authorities();
        tls.publish_credentials(|credentials| {
            credentials.authorities.insert(authorities(), authority);
        });
        check(&tls, Some(&known), true).await;
        check(&tls, Some(&other), false).await;
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_allows_nobody() {
    let tls = start_with(|client| client.spki = vec!["no base64".into()]).await;
    check(&tls, Some(&tls.clients.client(&[])), false).await;
}
