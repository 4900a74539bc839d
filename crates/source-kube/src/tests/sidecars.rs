//! What a sidecar follows, with what can go wrong.

use super::*;
use crate::SidecarSettings;
use config::Namespaces;
use fake_kubernetes::Fault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn sidecar(server: &ApiServer) -> Listener {
    Listener::with(server.kubeconfig(), |settings| {
        settings.own_namespace = "shop".to_owned();
        settings.sidecar = Some(SidecarSettings {
            root_namespace: "istio-system".to_owned(),
            nodes: false,
        });
    })
}

fn named(names: &[&str]) -> WantedObjects {
    WantedObjects {
        namespaces: Namespaces::Named(names.iter().map(|name| (*name).into()).collect()),
        ..WantedObjects::default()
    }
}

fn put(server: &ApiServer, plural: &str, namespace: &str) {
    let object = json!({"metadata": {"namespace": namespace}, "spec": {}});
    server.put(plural, "one", &object);
}

/// A server with a few namespaces, and a sidecar of `shop` that knows what is followed at first.
async fn started() -> (ApiServer, Listener) {
    let server = ApiServer::start().await;
    for namespace in ["shop", "bank", "other", "istio-system"] {
        for plural in [
            "services",
            "pods",
            "sidecars",
            "destinationrules",
            "authorizationpolicies",
        ] {
            put(&server, plural, namespace);
        }
    }
    let mut listener = sidecar(&server);
    listener.until("all was told", |all| all.is_synced).await;
    (server, listener)
}

impl Listener {
    fn of_kind(&self, kind: &str) -> Vec<&str> {
        let files = self.files.keys().filter_map(|file| {
            let rest = file.strip_prefix("kubernetes:")?.strip_prefix(kind)?;
            rest.strip_prefix('/')
        });
        files.collect()
    }
}

#[tokio::test]
async fn sidecars_come_first_and_decide_about_the_rest() {
    let (server, mut listener) = started().await;
    let first = ["istio-system/one", "shop/one"];
    assert_eq!(listener.of_kind("Sidecar"), first);
    assert_eq!(listener.files.len(), 2);
    assert_eq!(server.asked_when(|asked| asked.plural != "sidecars"), 0);
    listener.want(&named(&["bank"])).await;
    assert_eq!(listener.of_kind("Service"), ["bank/one", "shop/one"]);
    assert_eq!(listener.of_kind("Pod"), ["bank/one", "shop/one"]);
    assert_eq!(listener.of_kind("Sidecar"), first);
    assert_eq!(listener.of_kind("AuthorizationPolicy"), first);
    let rules = ["bank/one", "istio-system/one", "shop/one"];
    assert_eq!(listener.of_kind("DestinationRule"), rules);
    let everywhere = |asked: &fake_kubernetes::Asked| asked.namespace.is_none();
    assert_eq!(server.asked_when(everywhere), 0);
    assert_eq!(server.asked("/namespaces/other/"), 0);
    assert_eq!(server.asked("/nodes"), 0);
}

#[tokio::test]
async fn namespaces_come_and_go_and_nothing_else_is_another() {
    let (server, mut listener) = started().await;
    listener.want(&named(&["bank"])).await;
    listener.want(&named(&["other"])).await;
    assert_eq!(listener.of_kind("Service"), ["other/one", "shop/one"]);
    listener
        .want(&WantedObjects {
            namespaces: Namespaces::All,
            ..WantedObjects::default()
        })
        .await;
    let all = ["bank/one", "istio-system/one", "other/one", "shop/one"];
    assert_eq!(listener.of_kind("Service"), all);
    listener.want(&named(&[])).await;
    assert_eq!(listener.of_kind("Service"), ["shop/one"]);
    put(&server, "services", "bank");
    let mut late = service(80);
    late["metadata"] = json!({"namespace": "shop"});
    server.put("services", "late", &late);
    listener
        .until("it is added", |all| all.of_kind("Service").len() == 2)
        .await;
    assert_eq!(listener.of_kind("Service"), ["shop/late", "shop/one"]);
}

/// What was known stays until whoever follows it now can say what there is.
#[tokio::test]
async fn what_cannot_be_listed_anew_is_not_lost() {
    let (server, mut listener) = started().await;
    let all = WantedObjects {
        namespaces: Namespaces::All,
        ..WantedObjects::default()
    };
    listener.want(&all).await;
    let is_refused = Arc::new(AtomicBool::new(true));
    let refused = is_refused.clone();
    server.fail_when(move |asked| {
        let is_of_bank = asked.namespace.as_deref() == Some("bank");
        (is_of_bank && refused.load(Ordering::Relaxed)).then_some(Fault::Status(403))
    });
    listener.want(&named(&["bank"])).await;
    assert_eq!(listener.of_kind("Pod"), ["bank", "bank/one", "shop/one"]);
    assert!(listener.problem("kubernetes:Pod/bank").is_some());
    assert!(listener.object("kubernetes:Pod/bank/one").is_some());
    server.delete("pods", Some("bank"), "one");
    is_refused.store(false, Ordering::Relaxed);
    listener
        .until("it is listed", |all| all.of_kind("Pod") == ["shop/one"])
        .await;
}

/// Nothing that stays is taken away for a moment, and nothing is told again.
#[tokio::test]
async fn what_is_wanted_in_another_way_is_never_gone() {
    let (_server, mut listener) = started().await;
    listener.want(&named(&["bank", "other"])).await;
    listener.objects.follow(
        listener.told + 1,
        &WantedObjects {
            namespaces: Namespaces::All,
            ..WantedObjects::default()
        },
    );
    while listener.told < 2 {
        let message = listener.receiver.recv().await.unwrap();
        if let Message::Changes(changes) = &message {
            let gone = changes.iter().find(|one| one.content == Content::Gone);
            assert!(gone.is_none(), "{gone:?}");
        }
        listener.take(message);
    }
    assert_eq!(listener.of_kind("Service").len(), 4);
}
