//! What is ordinary, with the tests' own API server or with a real one.

use super::cluster::Cluster;
use super::*;
use crate::SidecarSettings;
use config::Namespaces;

/// Of a real one the first answer may take longer.
const WITHOUT_HURRY: Timing = Timing {
    patience: Duration::from_secs(10),
    ..TIMING
};

fn service(port: u16) -> Value {
    json!({"spec": {"ports": [{"name": "http", "port": port, "protocol": "TCP", "targetPort": port}]}})
}

fn port(object: &Value) -> &Value {
    &object["spec"]["ports"][0]["port"]
}

async fn synced(settings: Settings) -> Listener {
    let mut listener = Listener::of(settings, WITHOUT_HURRY);
    listener.until("all was told", |all| all.is_synced).await;
    let of_kinds = listener.files.iter();
    let problems: Vec<_> = of_kinds
        .filter(|(_, content)| matches!(content, Content::Unreadable(_)))
        .collect();
    assert!(problems.is_empty(), "{problems:?}");
    listener
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_is_followed() {
    let cluster = Cluster::start().await;
    cluster.put("Service", 0, "cart", &service(80)).await;
    let rules = json!({"spec": {
        "hosts": ["cart.test"], "http": [{"route": [{"destination": {"host": "cart"}}]}],
    }});
    cluster.put("VirtualService", 1, "cart", &rules).await;
    let mut listener = synced(cluster.settings()).await;
    let cart = listener
        .object(&cluster.file("Service", 0, "cart"))
        .unwrap();
    assert_eq!(
        (&cart["kind"], port(&cart)),
        (&json!("Service"), &json!(80))
    );
    assert_eq!(cart.get("status"), None);
    assert_eq!(cart["metadata"].get("managedFields"), None);
    let rules = listener
        .object(&cluster.file("VirtualService", 1, "cart"))
        .unwrap();
    assert_eq!(rules["apiVersion"], "networking.istio.io/v1");
    let late = cluster.file("Service", 1, "late");
    for number in [1, 2] {
        cluster.put("Service", 1, "late", &service(number)).await;
        listener
            .until("it is as it was put", |all| {
                let object = all.object(&late);
                object.is_some_and(|object| *port(&object) == number)
            })
            .await;
    }
    cluster.delete("Service", 1, "late").await;
    listener
        .until("it is gone", |all| !all.files.contains_key(&late))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_not_asked_for_is_not_told() {
    let cluster = Cluster::start().await;
    for namespace in [0, 1] {
        cluster
            .put("Service", namespace, "cart", &service(80))
            .await;
    }
    let settings = Settings {
        namespaces: cluster.namespaces[..1].to_vec(),
        ..cluster.settings()
    };
    let listener = synced(settings).await;
    assert!(
        listener
            .files
            .contains_key(&cluster.file("Service", 0, "cart"))
    );
    let others = format!("/{}/", cluster.namespaces[1]);
    assert!(!listener.files.keys().any(|file| file.contains(&others)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_followed_for_as_long_as_it_is_wanted() {
    let cluster = Cluster::start().await;
    let secret = |value: &str| json!({"type": "Opaque", "data": {"tls.crt": value}});
    for (namespace, name) in [(0, "web"), (0, "unwanted"), (1, "web")] {
        cluster
            .put("Secret", namespace, name, &secret("YQ=="))
            .await;
    }
    let mut listener = synced(cluster.settings()).await;
    let told = |all: &Listener| {
        let files = all
            .files
            .keys()
            .filter(|file| file.starts_with("kubernetes:Secret/"));
        files.cloned().collect::<Vec<_>>()
    };
    assert!(told(&listener).is_empty());
    listener.want(&secrets(&["web", "late"])).await;
    let (web, late) = (
        cluster.file("Secret", 0, "web"),
        cluster.file("Secret", 0, "late"),
    );
    assert_eq!(told(&listener), std::slice::from_ref(&web));
    cluster.put("Secret", 0, "late", &secret("YQ==")).await;
    listener
        .until("it is there", |all| all.files.contains_key(&late))
        .await;
    cluster.put("Secret", 0, "web", &secret("Yg==")).await;
    listener
        .until("it is changed", |all| {
            let object = all.object(&web);
            object.is_some_and(|object| object["data"]["tls.crt"] == "Yg==")
        })
        .await;
    listener.want(&secrets(&["late"])).await;
    assert_eq!(told(&listener), [late]);
    cluster.delete("Secret", 0, "late").await;
    listener
        .until("it is gone", |all| told(all).is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_follows_the_namespaces_that_are_wanted() {
    let cluster = Cluster::start().await;
    for namespace in [0, 1] {
        cluster
            .put("Service", namespace, "cart", &service(80))
            .await;
    }
    let sidecar = json!({"spec": {"egress": [{"hosts": ["./*"]}]}});
    cluster.put("Sidecar", 0, "default", &sidecar).await;
    // Of a cluster that others use everybody's Sidecars are none of ours.
    let mut listener = synced(Settings {
        sidecar: Some(SidecarSettings {
            root_namespace: cluster.namespaces[0].clone(),
            nodes: false,
        }),
        ..cluster.settings()
    })
    .await;
    let first: Vec<_> = listener.files.keys().cloned().collect();
    assert_eq!(first, [cluster.file("Sidecar", 0, "default")]);
    let named = |names: &[String]| WantedObjects {
        namespaces: Namespaces::Named(names.iter().map(|name| name.as_str().into()).collect()),
        ..WantedObjects::default()
    };
    let (own, other) = (
        cluster.file("Service", 0, "cart"),
        cluster.file("Service", 1, "cart"),
    );
    listener.want(&named(&[])).await;
    assert!(listener.files.contains_key(&own));
    assert!(!listener.files.contains_key(&other));
    listener.want(&named(&cluster.namespaces[1..])).await;
    assert!(listener.files.contains_key(&own));
    assert!(listener.files.contains_key(&other));
    listener.want(&named(&[])).await;
    assert!(!listener.files.contains_key(&other));
}
