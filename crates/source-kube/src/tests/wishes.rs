//! Secrets that are wanted, with what can go wrong.

use super::*;
use fake_kubernetes::Fault;

const WEB: &str = "kubernetes:Secret/default/web";
const API: &str = "kubernetes:Secret/default/api";

fn secret(value: &str) -> Value {
    json!({"type": "Opaque", "data": {"tls.crt": value}})
}

async fn synced(server: &ApiServer) -> Listener {
    let mut listener = Listener::to(server);
    listener.until("all was told", |all| all.is_synced).await;
    listener
}

#[tokio::test]
async fn no_secret_is_asked_for_that_is_not_wanted() {
    let server = ApiServer::start().await;
    server.put("secrets", "web", &secret("YQ=="));
    server.put("secrets", "other", &secret("YQ=="));
    let mut listener = synced(&server).await;
    assert_eq!(server.asked("/secrets"), 0);
    listener.want(&secrets(&["web", "absent"])).await;
    assert_eq!(listener.files.keys().collect::<Vec<_>>(), [WEB]);
    assert_eq!(listener.problem(WEB), None);
    let names_one = |target: &str| target.contains("fieldSelector=metadata.name");
    let others =
        |asked: &fake_kubernetes::Asked| asked.plural == "secrets" && !names_one(&asked.target);
    assert_eq!(server.asked_when(others), 0);
}

/// Promise: a permission for one Secret by its name is enough, and what lacks for another is told.
#[tokio::test]
async fn a_secret_that_must_not_be_seen_leaves_the_others() {
    let server = ApiServer::start().await;
    for name in ["web", "api"] {
        server.put("secrets", name, &secret("YQ=="));
    }
    server.fail_when(|asked| {
        let is_api = asked.query.get("fieldSelector")? == "metadata.name=api";
        is_api.then_some(Fault::Status(403))
    });
    let mut listener = synced(&server).await;
    listener.want(&secrets(&["web", "api"])).await;
    assert!(listener.object(WEB).is_some());
    let problem = listener.problem(API).unwrap();
    assert!(
        problem.starts_with("Secret api cannot be followed: "),
        "{problem}"
    );
    server.fail_no_more();
    listener
        .until("it is seen", |all| all.object(API).is_some())
        .await;
}

/// What was told in its place goes with it, and what is told again is told whole.
#[tokio::test]
async fn a_secret_that_cannot_be_read_for_a_while_is_read_again() {
    let server = ApiServer::start().await;
    server.put("secrets", "web", &secret("YQ=="));
    let mut listener = synced(&server).await;
    listener.want(&secrets(&["web"])).await;
    assert!(listener.object(WEB).is_some());
    for is_there in [true, false] {
        server.refuse("secrets", 403);
        listener
            .until("it is told", |all| all.problem(WEB).is_some())
            .await;
        if !is_there {
            server.delete("secrets", None, "web");
        }
        server.refuse("secrets", 200);
        listener
            .until("it is as it is", |all| match is_there {
                true => all.object(WEB).is_some(),
                false => !all.files.contains_key(WEB),
            })
            .await;
    }
}

#[tokio::test]
async fn of_very_many_secrets_the_namespace_is_watched_and_the_others_are_dropped() {
    let server = ApiServer::start().await;
    server.put("secrets", "web", &secret("YQ=="));
    server.put("secrets", "other", &secret("YQ=="));
    let mut listener = synced(&server).await;
    listener.want(&secrets(&["web"])).await;
    let mut many = secrets(&["web"]);
    many.secrets
        .extend((0..100).map(|number| format!("absent-{number}")));
    listener.want(&many).await;
    assert_eq!(listener.files.keys().collect::<Vec<_>>(), [WEB]);
    assert!(listener.object(WEB).is_some());
    let before = server.asked("/secrets");
    assert!(before < 10, "{before}");
    server.put("secrets", "other", &secret("Yg=="));
    server.put("secrets", "web", &secret("Yg=="));
    listener
        .until("it is changed", |all| {
            let object = all.object(WEB);
            object.is_some_and(|object| object["data"]["tls.crt"] == "Yg==")
        })
        .await;
    listener.want(&secrets(&[])).await;
    assert!(listener.files.is_empty(), "{:?}", listener.files);
}

#[tokio::test]
async fn a_wish_is_told_of_while_the_api_server_is_away() {
    let server = ApiServer::start().await;
    let mut listener = synced(&server).await;
    let stopped = server.stop().await;
    listener.want(&secrets(&["web"])).await;
    assert!(listener.problem(WEB).is_some());
    let server = stopped.again().await;
    server.put("secrets", "web", &secret("YQ=="));
    listener
        .until("it is there", |all| all.object(WEB).is_some())
        .await;
}

/// A wish that comes while another is not told takes its place.
#[tokio::test]
async fn only_the_newest_wish_has_to_be_told() {
    let server = ApiServer::start().await;
    server.put("secrets", "web", &secret("YQ=="));
    server.fail_when(|asked| asked.target.contains("never").then_some(Fault::Silence));
    let kubeconfig = server.kubeconfig();
    let settings = Settings {
        access: Access {
            kubeconfig: Some(kubeconfig.path().to_owned()),
            context: None,
        },
        own_namespace: "default".to_owned(),
        ..Settings::default()
    };
    // What is never answered would be waited for as long as this.
    let timing = Timing {
        patience: PATIENCE * 10,
        ..TIMING
    };
    let mut listener = Listener::of(settings, timing);
    listener.until("all was told", |all| all.is_synced).await;
    listener.objects.follow(1, &secrets(&["never"]));
    server.until(|server| server.asked("never") > 0).await;
    listener.objects.follow(2, &secrets(&["web"]));
    listener
        .until("the newest was told", |all| all.told == 2)
        .await;
    assert_eq!(listener.files.keys().collect::<Vec<_>>(), [WEB]);
}
