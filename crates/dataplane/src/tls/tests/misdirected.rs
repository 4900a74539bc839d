//! Requests that came over a connection for somebody else (promise 13).

use super::gateway::{Secured, server};
use crate::Misdirected;
use crate::http::tests::client::{Client, get};
use http::{Request, StatusCode};
use rules::ClientCertificate::Required;

fn for_host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test]
async fn a_host_of_another_server_is_misdirected() {
    let servers = [
        server("shop", &["shop.test", "also.test"]),
        server("secure", &["secure.test"]).asking(Required),
    ];
    let tls = Secured::start(&servers).await;
    let stream = tls
        .connect(&tls.client().config(), "also.test")
        .await
        .unwrap();
    let mut client = Client::on(stream);
    assert_eq!(client.ask(&get("/")).await.status(), 200);
    assert_eq!(client.ask(&for_host("secure.test")).await.status(), 421);
    assert_eq!(
        client.ask(&for_host("also.test")).await.status(),
        404,
        "served, without a route"
    );
    assert_eq!(
        client.ask(&get("/")).await.status(),
        200,
        "the connection goes on"
    );
    tls.gateway.logs(" 421 NR misdirected_request ").await;
    tls.gateway
        .logs(" misdirected \"VirtualService default/shop ")
        .await;
}

#[tokio::test]
async fn istios_404_can_be_had_instead() {
    let servers = [server("shop", &["shop.test"])];
    let change = |rules: &mut crate::http::tests::gateway::Rules| {
        rules.settings.misdirected = Misdirected::NotFound;
    };
    let tls = Secured::start_with(&servers, change).await;
    let config = tls.client().config();
    let answer = tls
        .get_from(&config, "shop.test", "other.test")
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_server_that_asks_more_of_clients_serves_no_connection_of_before() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let stream = tls
        .connect(&tls.client().config(), "shop.test")
        .await
        .unwrap();
    let mut client = Client::on(stream);
    assert_eq!(client.ask(&get("/")).await.status(), 200);
    tls.publish_servers(&[server("shop", &["shop.test"]).asking(Required)]);
    assert_eq!(client.ask(&get("/")).await.status(), 421);
    assert!(client.is_closed().await);
    tls.gateway.logs(" tls_server_gone ").await;
}

#[tokio::test]
async fn over_http2_the_connection_of_a_server_that_is_gone_ends() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let config = tls.client().offering(&["h2"]).config();
    let stream = tls.connect(&config, "shop.test").await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    tls.publish_servers(&[server("other", &["other.test"])]);
    let request = Request::get("https://shop.test/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(
        response.await.unwrap().status(),
        StatusCode::MISDIRECTED_REQUEST
    );
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), connection);
    assert!(ended.await.is_ok(), "the gateway says goodbye");
}

#[tokio::test]
async fn a_change_of_other_things_leaves_connections_alone() {
    let tls = Secured::start(&[server("shop", &["shop.test"])]).await;
    let stream = tls
        .connect(&tls.client().config(), "shop.test")
        .await
        .unwrap();
    let mut client = Client::on(stream);
    let changed = server("shop", &["shop.test"]).with(|tls| tls.alpn = Vec::new());
    tls.publish_servers(&[changed]);
    assert_eq!(client.ask(&get("/")).await.status(), 200);
}
