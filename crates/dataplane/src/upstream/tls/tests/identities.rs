//! Servers of the mesh, which must be the very workload that is meant.

use super::*;
use rules::Account;
use server::Setup;

/// The mesh's TLS with whoever takes it.
struct Mesh {
    cluster: Cluster,
    store: ClientTlsStore,
}

impl Mesh {
    fn new(tls: UpstreamTls, credentials: &Credentials) -> Self {
        let mut cluster = cluster(None);
        cluster.tls = UpstreamSecurity::Auto(Arc::new(tls));
        let store = ClientTlsStore::default().next(&table(&cluster), credentials);
        Self { cluster, store }
    }

    fn dialer(&self, endpoint: &Endpoint) -> Dialer {
        Dialer::new(endpoint, &self.cluster, self.ready().as_ref())
    }

    fn ready(&self) -> Option<ReadyTls> {
        self.store.of(&self.cluster.tls)
    }

    /// What becomes of a connection to a server that shows `shown`, where `account` is to be there.
    #[track_caller]
    fn check(
        &self,
        shown: Issued,
        account: Option<&str>,
        want: Result<(), &'static str>,
    ) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let server = Setup::of(&shown).start().await;
            let dialer = self.dialer(&meshed(server.address, account));
            let got = match dialer.connect(dial(None)).await {
                Ok(mut io) => greeted(&mut io).await,
                Err(error) => Err(error.reason()),
            };
            assert_eq!(got, want, "{caller}");
        }
    }
}

const REFUSED: Result<(), &str> = Err("certificate_invalid");

#[tokio::test]
async fn a_server_must_be_the_workload_that_is_meant() {
    let authority = Authority::new();
    let mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let server = |name: &str| authority.server(&[name]);
    let cart = Some("cart");
    mesh.check(server("spiffe://mesh/ns/shop/sa/cart"), cart, Ok(()))
        .await;
    // A trust domain that is the same as the mesh's own.
    mesh.check(server("spiffe://old/ns/shop/sa/cart"), cart, Ok(()))
        .await;
    for other in [
        "spiffe://mesh/ns/shop/sa/web",
        "spiffe://mesh/ns/shop/sa/carts",
        "spiffe://mesh/ns/shops/sa/cart",
        "spiffe://foreign/ns/shop/sa/cart",
        "outbound_.443_._.service.test",
    ] {
        mesh.check(server(other), cart, REFUSED).await;
    }
    let stranger = Authority::new().server(&["spiffe://mesh/ns/shop/sa/cart"]);
    mesh.check(stranger, cart, REFUSED).await;
}

#[tokio::test]
async fn a_workload_that_nobody_knows_is_anybody_of_the_mesh_and_nobody_else() {
    let authority = Authority::new();
    let mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let server = |name: &str| authority.server(&[name]);
    mesh.check(server("spiffe://mesh/ns/blog/sa/any"), None, Ok(()))
        .await;
    mesh.check(server("spiffe://old/ns/blog/sa/any"), None, Ok(()))
        .await;
    mesh.check(server("spiffe://foreign/ns/blog/sa/any"), None, REFUSED)
        .await;
    mesh.check(server("service.test"), None, REFUSED).await;
}

#[tokio::test]
async fn who_was_expected_and_who_was_found_are_told() {
    let authority = Authority::new();
    let mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let shown = authority.server(&["spiffe://mesh/ns/shop/sa/web"]);
    let server = Setup::of(&shown).start().await;
    let told = async |account| {
        let dialer = mesh.dialer(&meshed(server.address, account));
        dialer.connect(dial(None)).await.unwrap_err().to_string()
    };
    assert_eq!(
        told(Some("cart")).await,
        "the server's certificate was refused: the server's certificate is for \"spiffe://mesh/ns/shop/sa/web\", \
         where \"spiffe://mesh/ns/shop/sa/cart\" or \"spiffe://old/ns/shop/sa/cart\" is expected"
    );
    let foreign = authority.server(&["spiffe://foreign/ns/shop/sa/web"]);
    let server = Setup::of(&foreign).start().await;
    let dialer = mesh.dialer(&meshed(server.address, None));
    let failed = dialer.connect(dial(None)).await.unwrap_err();
    assert!(
        failed
            .to_string()
            .ends_with("where an identity in \"mesh\" or \"old\" is expected"),
        "{failed}"
    );
}

#[tokio::test]
async fn names_of_a_service_count_beside_the_account() {
    let authority = Authority::new();
    let mut tls = of_mesh();
    tls.verification = ServerVerification::Verified {
        authorities: Some(authorities()),
        names: ServerNames::Workload(WorkloadNames {
            trust_domains: vec!["mesh".into()],
            others: vec!["cart.test".into()],
        }),
    };
    let mesh = Mesh::new(tls, &in_mesh(&authority));
    let server = |name: &str| authority.server(&[name]);
    mesh.check(
        server("spiffe://mesh/ns/shop/sa/cart"),
        Some("cart"),
        Ok(()),
    )
    .await;
    mesh.check(server("cart.test"), Some("cart"), Ok(())).await;
    mesh.check(server("cart.test"), None, Ok(())).await;
    mesh.check(server("spiffe://mesh/ns/shop/sa/cart"), None, REFUSED)
        .await;
}

/// The rule says who they are.
#[tokio::test]
async fn names_that_a_rule_lists_take_the_place_of_accounts() {
    let authority = Authority::new();
    let mut tls = of_mesh();
    tls.verification = naming(&["spiffe://mesh/ns/shop/sa/listed"]).verification;
    let mesh = Mesh::new(tls, &in_mesh(&authority));
    let server = |name: &str| authority.server(&[name]);
    for account in [Some("cart"), None] {
        mesh.check(server("spiffe://mesh/ns/shop/sa/listed"), account, Ok(()))
            .await;
        mesh.check(server("spiffe://mesh/ns/shop/sa/cart"), account, REFUSED)
            .await;
    }
}

#[tokio::test]
async fn who_takes_no_mesh_tls_is_spoken_to_in_clear_text() {
    let authority = Authority::new();
    let mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let endpoint = Endpoint {
        takes_mesh_tls: false,
        ..meshed(([127, 0, 0, 1], 1).into(), Some("cart"))
    };
    assert!(!mesh.dialer(&endpoint).speaks_tls());
    let missing = Mesh::new(of_mesh(), &Credentials::default());
    assert!(!missing.dialer(&endpoint).speaks_tls());
}

/// Nothing goes in clear text because there is nothing to show.
#[tokio::test]
async fn without_an_identity_nobody_in_the_mesh_is_connected_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut credentials = trusting(&Authority::new());
    let mesh = Mesh::new(of_mesh(), &credentials);
    let endpoint = meshed(listener.local_addr().unwrap(), Some("cart"));
    let failed = mesh.dialer(&endpoint).connect(dial(None)).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.reason(), "tls_not_ready");
    assert_eq!(
        failed.to_string(),
        "TLS cannot be begun, credential \"client\" is not there, or not valid"
    );
    let came = listener.accept().unwrap_err();
    assert_eq!(came.kind(), std::io::ErrorKind::WouldBlock);
    credentials = in_mesh(&Authority::new());
    credentials.authorities.clear();
    let mesh = Mesh::new(of_mesh(), &credentials);
    let failed = mesh.dialer(&endpoint).connect(dial(None)).await;
    assert_eq!(failed.unwrap_err().reason(), "tls_not_ready");
}

#[test]
fn endpoints_with_one_account_share_all_that_handshakes_are_made_with() {
    let authority = Authority::new();
    let mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let set = mesh.ready().unwrap().unwrap();
    let account = |name: &str| Account {
        namespace: "shop".into(),
        name: name.into(),
    };
    let first = set.toward(Some(&account("cart")));
    assert!(Arc::ptr_eq(&first, &set.toward(Some(&account("cart")))));
    let web = set.toward(Some(&account("web")));
    let unknown = set.toward(None);
    assert!(Arc::ptr_eq(&unknown, &set.toward(None)));
    assert!(first.id != web.id && first.id != unknown.id && web.id != unknown.id);
    // Of accounts that nobody has any longer nothing is kept.
    let id = first.id;
    drop(first);
    assert_ne!(set.toward(Some(&account("cart"))).id, id);
    for number in 0..1000 {
        set.toward(Some(&account(&format!("a{number}"))));
    }
    assert!(set.known() < 100, "{}", set.known());
}

/// In a mesh every cluster has a name of its own that is sent.
#[test]
fn clusters_that_differ_by_the_name_that_is_sent_share_it_too() {
    let authority = Authority::new();
    let mut mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let other = UpstreamTls {
        sni: Some("outbound_.80_._.other.test".into()),
        ..of_mesh()
    };
    let mut table = table(&mesh.cluster);
    let mut second = mesh.cluster.clone();
    second.key.port = 80;
    second.tls = UpstreamSecurity::Auto(Arc::new(other));
    table
        .clusters
        .insert(second.key.clone(), Arc::new(second.clone()));
    mesh.store = mesh.store.next(&table, &in_mesh(&authority));
    let of_second = mesh.store.of(&second.tls).unwrap().unwrap();
    assert_eq!(mesh.ready().unwrap().unwrap().id, of_second.id);
}

/// Who resumes a session is not asked who it is.
#[tokio::test]
async fn sessions_are_of_one_account() {
    let authority = Authority::new();
    let mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let both = [
        "spiffe://mesh/ns/shop/sa/cart",
        "spiffe://mesh/ns/shop/sa/web",
    ];
    let shown = authority.server(&both);
    let mut server = Setup::of(&shown).start().await;
    let [cart, web] =
        ["cart", "web"].map(|account| mesh.dialer(&meshed(server.address, Some(account))));
    for (dialer, resumed) in [(&cart, false), (&cart, true), (&web, false), (&web, true)] {
        let mut io = dialer.connect(dial(None)).await.unwrap();
        greeted(&mut io).await.unwrap();
        assert_eq!(server.seen().await.resumed, resumed, "{dialer:?}");
    }
}

#[tokio::test]
async fn a_server_of_the_mesh_is_shown_who_connects_and_offered_its_protocols() {
    let authority = Authority::new();
    let mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let shown = authority.server(&["spiffe://mesh/ns/shop/sa/cart"]);
    let setup = Setup {
        clients: Some(&authority),
        alpn: &["istio"],
        ..Setup::of(&shown)
    };
    let mut server = setup.start().await;
    let dialer = mesh.dialer(&meshed(server.address, Some("cart")));
    for alpn in [Alpn::Http1, Alpn::Http2, Alpn::None] {
        let asked = Dial {
            alpn,
            ..dial(Some("a.test"))
        };
        let mut io = dialer.connect(asked).await.unwrap();
        greeted(&mut io).await.unwrap();
        let seen = server.seen().await;
        assert!(seen.certificate, "{alpn:?}");
        assert_eq!(seen.alpn.as_deref(), Some("istio"), "{alpn:?}");
        let sni = seen.sni.as_deref();
        assert_eq!(sni, Some("outbound_.443_._.service.test"), "{alpn:?}");
    }
}

/// A new certificate makes new connections, and old ones are none of its.
#[test]
fn another_identity_of_its_own_makes_everything_anew() {
    let authority = Authority::new();
    let mut mesh = Mesh::new(of_mesh(), &in_mesh(&authority));
    let endpoint = meshed(([127, 0, 0, 1], 1).into(), Some("cart"));
    let dialer = mesh.dialer(&endpoint);
    assert!(dialer.is_current(mesh.ready().as_ref()));
    mesh.store = mesh.store.next(&table(&mesh.cluster), &in_mesh(&authority));
    assert!(!dialer.is_current(mesh.ready().as_ref()));
    let plain = Endpoint {
        takes_mesh_tls: false,
        ..endpoint
    };
    assert!(mesh.dialer(&plain).is_current(mesh.ready().as_ref()));
}
