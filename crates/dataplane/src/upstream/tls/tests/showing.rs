//! What a server is shown and offered.

use super::*;
use rules::Target;
use server::{Seen, Setup};

fn mutual() -> UpstreamTls {
    UpstreamTls {
        certificate: Some(identity()),
        ..simple()
    }
}

#[tokio::test]
async fn a_certificate_is_shown_where_the_rules_name_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let shown = authority.server(&["a.test"]);
    let setup = Setup {
        clients: Some(&clients),
        ..Setup::of(&shown)
    };
    let mut server = setup.start().await;
    let mut credentials = trusting(&authority);
    let client = clients.client(&["client.test"]).credential();
    credentials.certificates.insert(identity(), client);
    let case = Case::new(mutual(), credentials.clone());
    assert_eq!(case.try_for(&server, "a.test").await, Ok(()));
    assert!(server.seen().await.certificate);
    let without = Case::new(simple(), credentials.clone());
    let refused = without.try_for(&server, "a.test").await;
    assert_eq!(refused, Err("refused by the server"));
    let stranger = Authority::new().client(&["client.test"]).credential();
    credentials.certificates.insert(identity(), stranger);
    let stranger = Case::new(mutual(), credentials)
        .try_for(&server, "a.test")
        .await;
    assert_eq!(stranger, Err("refused by the server"));
}

#[tokio::test]
async fn what_is_missing_is_told_and_nothing_is_sent() {
    let authority = Authority::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let case = Case::new(mutual(), trusting(&authority));
    let failed = case.connect(address, Some("a.test")).await.unwrap_err();
    assert_eq!(failed.reason(), "tls_not_ready");
    assert_eq!(
        failed.to_string(),
        "TLS cannot be begun, credential \"client\" is not there, or not valid"
    );
    let case = Case::new(simple(), Credentials::default());
    let failed = case.connect(address, Some("a.test")).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "TLS cannot be begun, authorities of credential \"servers\" is not there, or not valid"
    );
    // Connections that were made would wait here.
    let came = listener.into_std().unwrap().accept().unwrap_err();
    assert_eq!(came.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn what_is_spoken_is_offered_and_the_mesh_by_its_own_names() {
    let authority = Authority::new();
    let shown = authority.server(&["spiffe://mesh/ns/a/sa/a", "a.test"]);
    for (mesh, alpn, supported, want) in [
        (false, Alpn::Http1, "http/1.1", Some("http/1.1")),
        (false, Alpn::Http2, "h2", Some("h2")),
        (false, Alpn::None, "h2", None),
        (true, Alpn::Http1, "istio-http/1.1", Some("istio-http/1.1")),
        (true, Alpn::Http2, "istio-h2", Some("istio-h2")),
        (true, Alpn::Http2, "istio", Some("istio")),
        (true, Alpn::None, "istio", Some("istio")),
    ] {
        let setup = Setup {
            alpn: &[supported],
            ..Setup::of(&shown)
        };
        let mut server = setup.start().await;
        let tls = UpstreamTls { mesh, ..simple() };
        let cluster = cluster(Some(tls));
        let store = ClientTlsStore::default().next(&table(&cluster), &trusting(&authority));
        let dialer = dialer(server.address, &cluster, &store);
        let asked = Dial {
            alpn,
            ..dial(Some("a.test"))
        };
        let mut io = dialer.connect(asked).await.unwrap();
        greeted(&mut io).await.unwrap();
        let seen = server.seen().await;
        assert_eq!(seen.alpn.as_deref(), want, "{alpn:?} {supported}");
    }
}

#[tokio::test]
async fn the_rule_s_name_comes_before_the_request_s_and_that_before_the_service_s() {
    let authority = Authority::new();
    let shown = authority.server(&["rule.test", "request.test", "service.test"]);
    let mut server = Setup::of(&shown).start().await;
    let ruled = UpstreamTls {
        sni: Some("rule.test".into()),
        ..simple()
    };
    for (tls, requested, want) in [
        (&ruled, Some("request.test"), "rule.test"),
        (&simple(), Some("request.test:8443"), "request.test"),
        (&simple(), None, "service.test"),
    ] {
        let case = Case::new(tls.clone(), trusting(&authority));
        let mut io = case.connect(server.address, requested).await.unwrap();
        greeted(&mut io).await.unwrap();
        let seen = server.seen().await;
        assert_eq!(
            seen,
            Seen {
                sni: Some(want.to_owned()),
                alpn: None,
                certificate: false,
                resumed: false,
            }
        );
    }
}

/// Promise 20: the name that was allowed is the name that is sent and looked for, whatever a request says.
#[tokio::test]
async fn what_was_asked_for_is_the_name_of_a_cluster_of_many_hosts() {
    let authority = Authority::new();
    let shown = authority.server(&["asked.wild.test", "service.test", "127.0.0.1"]);
    let mut server = Setup::of(&shown).start().await;
    let address = Target::of_address(server.address.ip(), 443);
    let name = Target::new("asked.wild.test", 443).unwrap();
    for (host, asked, want) in [
        ("*.wild.test", &name, Some("asked.wild.test")),
        (ClusterKey::PASSTHROUGH, &name, Some("asked.wild.test")),
        // Addresses are not sent, but looked for.
        ("*.wild.test", &address, None),
        (ClusterKey::PASSTHROUGH, &address, None),
        ("service.test", &address, Some("service.test")),
    ] {
        let case = Case::new(simple(), trusting(&authority));
        let mut cluster = cluster(Some(simple()));
        cluster.key.host = host.into();
        let dialer = dialer(server.address, &cluster, &case.store).asked(asked);
        let mut io = dialer.connect(dial(Some("other.test"))).await.unwrap();
        greeted(&mut io).await.unwrap();
        assert_eq!(server.seen().await.sni.as_deref(), want, "{host} {asked}");
        assert!(!dialer.asks_for_host());
    }
}

#[tokio::test]
async fn what_is_no_name_is_told() {
    let authority = Authority::new();
    let case = Case::new(simple(), trusting(&authority));
    let refused = case
        .connect(([127, 0, 0, 1], 1).into(), Some("no name"))
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), "tls_failure");
    assert_eq!(refused.to_string(), "\"no name\" is no name of a server");
}
