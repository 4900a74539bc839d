//! What stays from one publication to the next, and whose sessions are resumed.

use super::*;
use rcgen::date_time_ymd;
use rustls::pki_types::{ServerName, UnixTime};
use server::Setup;

/// Whether the server resumed a session of one that had connected before.
async fn resumes(case: &Case, server: &mut Server) -> bool {
    assert_eq!(case.try_for(server, "a.test").await, Ok(()));
    server.seen().await.resumed
}

#[tokio::test]
async fn the_second_connection_resumes_the_first_one_s_session() {
    let authority = Authority::new();
    let shown = authority.server(&["a.test"]);
    for version in rustls::ALL_VERSIONS {
        let setup = Setup {
            versions: &[version],
            ..Setup::of(&shown)
        };
        let mut server = setup.start().await;
        let mut case = Case::new(simple(), trusting(&authority));
        assert!(!resumes(&case, &mut server).await, "{version:?}");
        assert!(resumes(&case, &mut server).await, "{version:?}");
        // Nothing changed.
        case.publish();
        assert!(resumes(&case, &mut server).await, "{version:?}");
    }
}

#[tokio::test]
async fn sessions_of_another_name_are_not_resumed() {
    let authority = Authority::new();
    let shown = authority.server(&["a.test", "b.test"]);
    let mut server = Setup::of(&shown).start().await;
    let case = Case::new(simple(), trusting(&authority));
    assert!(!resumes(&case, &mut server).await);
    assert_eq!(case.try_for(&server, "b.test").await, Ok(()));
    assert!(!server.seen().await.resumed);
}

#[tokio::test]
async fn what_changed_is_another_with_sessions_of_its_own() {
    let authority = Authority::new();
    let shown = authority.server(&["a.test"]);
    let mut server = Setup::of(&shown).start().await;
    let mut case = Case::new(
        UpstreamTls {
            certificate: Some(identity()),
            ..simple()
        },
        trusting(&authority),
    );
    let client = || Authority::new().client(&["client.test"]).credential();
    case.credentials.certificates.insert(identity(), client());
    case.publish();
    let first = case.client();
    assert!(!resumes(&case, &mut server).await);
    // Other authorities that are the same.
    let authorities_again = authority.authorities();
    case.credentials
        .authorities
        .insert(authorities(), authorities_again);
    case.publish();
    assert!(Arc::ptr_eq(&case.client(), &first));
    assert!(resumes(&case, &mut server).await);
    // Another certificate to show.
    case.credentials.certificates.insert(identity(), client());
    case.publish();
    let second = case.client();
    assert_ne!(second.id, first.id);
    assert!(!resumes(&case, &mut server).await);
    // A list of revocations.
    let list = authority.authorities_without(&authority.server(&[]));
    case.credentials.authorities.insert(authorities(), list);
    case.publish();
    assert_ne!(case.client().id, second.id);
    assert!(!resumes(&case, &mut server).await);
}

#[test]
fn clusters_share_what_they_say_alike_and_nothing_else() {
    let authority = Authority::new();
    let mut table = Table::default();
    let settings = [simple(), simple(), naming(&["b.test"])];
    for (port, tls) in (1..).zip(settings) {
        let mut cluster = cluster(Some(tls));
        cluster.key.port = port;
        table
            .clusters
            .insert(cluster.key.clone(), Arc::new(cluster));
    }
    let store = ClientTlsStore::default().next(&table, &trusting(&authority));
    let (one, again) = (
        ready(&store, &simple()).unwrap(),
        ready(&store, &simple()).unwrap(),
    );
    let other = ready(&store, &naming(&["b.test"])).unwrap();
    assert!(Arc::ptr_eq(&one, &again));
    assert_ne!(one.id, other.id);
    let gone = store.next(&Table::default(), &trusting(&authority));
    assert_eq!(
        &*ready(&gone, &simple()).unwrap_err(),
        "it was not published"
    );
}

#[test]
fn what_was_missing_is_there_once_it_is_published() {
    let authority = Authority::new();
    let mut case = Case::new(simple(), Credentials::default());
    assert!(ready(&case.store, &case.tls).is_err());
    case.credentials = trusting(&authority);
    case.publish();
    let id = case.client().id;
    case.credentials = Credentials::default();
    case.publish();
    assert!(ready(&case.store, &case.tls).is_err());
    case.credentials = trusting(&authority);
    case.publish();
    assert_ne!(case.client().id, id);
}

#[tokio::test]
async fn a_session_is_not_resumed_with_a_server_that_would_be_refused_now() {
    let authority = Authority::new();
    let shown = changed(&authority, &["a.test"], |params| {
        params.not_after = date_time_ymd(2090, 1, 1);
    });
    let server = Setup::of(&shown).start().await;
    let case = Case::new(simple(), trusting(&authority));
    let name = ServerName::try_from("a.test").unwrap();
    let at = |years: u64| UnixTime::since_unix_epoch(Duration::from_secs(years * 31_557_600));
    // The one that is refused takes the others along.
    for resumed in [false, true, false] {
        let mut io = case.connect(server.address, Some("a.test")).await.unwrap();
        greeted(&mut io).await.unwrap();
        let session = io.tls().unwrap();
        let client = case.client();
        assert!(client.verify_again(session, &name, at(100)).is_ok());
        // The library itself looked at one that was not resumed.
        let refused = client.verify_again(session, &name, at(121)).is_err();
        assert_eq!(refused, resumed);
    }
}
