//! Sessions that are resumed, and those that are not.

use super::gateway::{Secured, Server, Settings, authorities, named, server};
use crate::http::tests::client::{Client, get};
use rules::ClientCertificate::{Optional, Required};
use rustls::{ClientConfig, HandshakeKind};
use std::sync::Arc;

fn shop() -> Server {
    server("shop", &["shop.test"])
}

/// How a client that may have been here before shakes hands. It reads an answer, and with it tickets.
async fn kind(tls: &Secured, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let stream = tls.connect(config, "shop.test").await.unwrap();
    let kind = stream.get_ref().1.handshake_kind();
    let answer = Client::on(stream).ask(&get("/")).await;
    assert_eq!(answer.status(), 200);
    kind
}

async fn both_versions(
    tls: &Secured,
    dress: impl Fn(Settings) -> Settings,
    between: impl Fn(),
) -> [bool; 2] {
    let mut resumed = [false; 2];
    let settings = [tls.client(), tls.client().tls12()];
    for (settings, resumed) in settings.into_iter().zip(&mut resumed) {
        let config = dress(settings).config();
        assert_eq!(kind(tls, &config).await, Some(HandshakeKind::Full));
        between();
        *resumed = kind(tls, &config).await == Some(HandshakeKind::Resumed);
    }
    resumed
}

#[tokio::test]
async fn a_client_that_comes_again_resumes() {
    let tls = Secured::start(&[shop()]).await;
    assert_eq!(
        both_versions(&tls, |settings| settings, || {}).await,
        [true; 2]
    );
}

#[tokio::test]
async fn a_client_with_a_certificate_resumes() {
    let tls = Secured::start(&[shop().asking(Required)]).await;
    let client = tls.clients.client(&[]);
    let dress = |settings: Settings| settings.showing(&client);
    assert_eq!(both_versions(&tls, dress, || {}).await, [true; 2]);
}

#[tokio::test]
async fn sessions_outlive_a_change_of_the_certificate() {
    let tls = Secured::start(&[shop()]).await;
    let change = || {
        let new = tls.root.server(&["shop.test"]);
        tls.publish_credentials(|credentials| {
            credentials
                .certificates
                .insert(named("shop"), new.credential());
        });
    };
    assert_eq!(
        both_versions(&tls, |settings| settings, change).await,
        [true; 2]
    );
}

#[tokio::test]
async fn sessions_end_when_clients_are_verified_otherwise() {
    let tls = Secured::start(&[shop()]).await;
    let turn = std::cell::Cell::new(false);
    let change = || {
        let asking = turn.replace(!turn.get());
        let server = if asking {
            shop()
        } else {
            shop().asking(Optional)
        };
        tls.publish_servers(&[server]);
    };
    assert_eq!(
        both_versions(&tls, |settings| settings, change).await,
        [false; 2]
    );
}

#[tokio::test]
async fn sessions_end_with_their_authorities() {
    let tls = Secured::start(&[shop().asking(Required)]).await;
    let client = tls.clients.client(&[]);
    let change = || {
        let list = tls.clients.authorities_without(&tls.clients.client(&[]));
        tls.publish_credentials(|credentials| {
            credentials.authorities.insert(authorities(), list);
        });
    };
    let dress = |settings: Settings| settings.showing(&client);
    assert_eq!(both_versions(&tls, dress, change).await, [false; 2]);
}

#[tokio::test]
async fn sessions_do_not_cross_to_another_server() {
    let tls = Secured::start(&[shop()]).await;
    tls.publish_credentials(|credentials| {
        let certificate = credentials.certificates[&named("shop")].clone();
        credentials.certificates.insert(named("other"), certificate);
    });
    let turn = std::cell::Cell::new(false);
    let change = || {
        let back = turn.replace(!turn.get());
        let name = if back { "shop" } else { "other" };
        tls.publish_servers(&[server(name, &["shop.test"])]);
    };
    assert_eq!(
        both_versions(&tls, |settings| settings, change).await,
        [false; 2]
    );
}
