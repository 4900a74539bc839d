//! What objects are told, by proxies that follow an API server, compile what it has, and take that as in force.

use super::{PATIENCE, kubeconfig_access};
use crate::election::Terms;
use crate::runner::{Objects, start_with};
use crate::status::tell_with;
use crate::timing::Timing;
use crate::{Acting, ProxyName, ReplicaSettings, Seen, Settings};
use config::{Configuration, CredentialSettings, Followers, Publications};
use fake_kubernetes::{ApiServer, Asked, Fault};
use hyper::Method;
use model::Defaults;
use rules::CompileOptions;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

const CONDITION: &str = "edge.istio-system.tidegate.io/Accepted";
const LEASES: &str = "leases";
const SHOPS: &str = "virtualservices";

/// Leases that change hands soon.
const SOON: Terms = Terms {
    lasts: Duration::from_secs(2),
    acts: Duration::from_secs(1),
    retry: Duration::from_millis(100),
    patience: Duration::from_millis(800),
};

/// A proxy that serves what it follows, as far as that is known here.
struct Proxy {
    telling: Option<Acting>,
    publications: Publications,
    _objects: Objects,
    _sender: mpsc::Sender<config::Message>,
    _kubeconfig: NamedTempFile,
}

impl Proxy {
    fn start(server: &ApiServer) -> Self {
        Self::remembering(server, None)
    }

    /// One that keeps what was good last in a folder.
    fn remembering(server: &ApiServer, last_good: Option<&Path>) -> Self {
        let kubeconfig = server.kubeconfig();
        let access = kubeconfig_access(&kubeconfig);
        let proxy = ProxyName::new("edge", "istio-system").unwrap();
        let seen = Seen::by(&proxy);
        let settings = Settings {
            access: access.clone(),
            seen: Some(seen.clone()),
            ..Settings::default()
        };
        let configuration = Configuration::new(config::Settings {
            defaults: Defaults::default(),
            compile: CompileOptions::default(),
            last_good: last_good.map(Path::to_owned),
            credentials: CredentialSettings::default(),
        });
        let (sender, receiver) = mpsc::channel(config::QUEUE);
        let objects = start_with(settings, Timing::default(), &sender).unwrap();
        let publications = config::start(configuration, 1, Followers::default(), receiver).unwrap();
        let settings = ReplicaSettings { access, proxy };
        let telling = tell_with(settings, SOON, seen, publications.clone()).unwrap();
        Self {
            telling: Some(telling),
            publications,
            _objects: objects,
            _sender: sender,
            _kubeconfig: kubeconfig,
        }
    }

    /// Until it is no more, and all is on disk.
    async fn end(mut self) {
        self.telling.take().unwrap().stop().await;
        let Self {
            mut publications,
            _sender: sender,
            ..
        } = self;
        drop(sender);
        while publications.changed().await.is_ok() {}
    }

    fn publication(&self) -> u64 {
        let published = self.publications.borrow();
        published.as_ref().map_or(0, |published| published.number)
    }
}

/// Waits until something is so.
async fn until(server: &ApiServer, what: &str, holds: impl FnMut(&ApiServer) -> bool) {
    let awaited = tokio::time::timeout(PATIENCE, server.until(holds)).await;
    let shops = server.objects(SHOPS);
    assert!(
        awaited.is_ok(),
        "{what}: {shops:?} {:?}",
        server.objects(LEASES)
    );
}

fn condition_of(server: &ApiServer, name: &str) -> Option<Value> {
    let object = server.object(SHOPS, None, name)?;
    let conditions = object["status"]["conditions"].as_array()?;
    let own = conditions.iter().find(|one| one["type"] == CONDITION);
    own.cloned()
}

/// Whether a condition says so, of a generation.
fn says(server: &ApiServer, name: &str, reason: &str, generation: i64, message: &str) -> bool {
    condition_of(server, name).is_some_and(|one| {
        one["reason"] == reason
            && one["observedGeneration"] == generation
            && one["message"]
                .as_str()
                .unwrap_or_default()
                .contains(message)
    })
}

fn shop(host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "cart"}}]}]},
    })
}

/// It parses as nothing that is a VirtualService.
fn broken(what: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "spec": {"hosts": [what], "http": "none"},
    })
}

fn writes(server: &ApiServer) -> usize {
    server.asked_when(|asked| {
        asked.method == Method::PATCH && asked.subresource.as_deref() == Some("status")
    })
}

fn events(server: &ApiServer) -> Vec<Value> {
    server.objects("events")
}

#[tokio::test]
async fn an_object_is_told_that_it_is_in_force_and_others_keep_their_conditions() {
    let server = ApiServer::start().await;
    let mut object = shop("a.test");
    object["status"] = json!({
        "conditions": [{"type": "Reconciled", "status": "True", "reason": "r"}],
        "validationMessages": [{"level": "WARNING"}], "observedGeneration": "1",
    });
    server.put(SHOPS, "shop", &object);
    let proxy = Proxy::start(&server);
    until(&server, "it is told", |server| {
        says(server, "shop", "InForce", 1, "taken up by 1 of 1 proxies")
    })
    .await;
    let before = proxy.publication();
    let told = server.object(SHOPS, None, "shop").unwrap();
    assert_eq!(
        told["status"]["conditions"][0],
        object["status"]["conditions"][0]
    );
    assert_eq!(
        told["status"]["validationMessages"],
        object["status"]["validationMessages"]
    );
    assert_eq!(told["status"]["observedGeneration"], "1");
    let condition = condition_of(&server, "shop").unwrap();
    assert_eq!(condition["status"], "True");
    // Another generation is told of. Status alone was none, and nothing was compiled of it.
    server.put(SHOPS, "shop", &{
        let mut object = shop("b.test");
        object["status"] = told["status"].clone();
        object
    });
    until(&server, "the next is told", |server| {
        says(server, "shop", "InForce", 2, "taken up by 1 of 1")
    })
    .await;
    assert_eq!(proxy.publication(), before + 1);
    let next = condition_of(&server, "shop").unwrap();
    assert_eq!(next["lastTransitionTime"], condition["lastTransitionTime"]);
    assert_eq!(writes(&server), 2);
    assert_eq!(events(&server), Vec::<Value>::new());
}

#[tokio::test]
async fn an_object_with_errors_is_told_them_and_has_an_event() {
    let server = ApiServer::start().await;
    server.put(SHOPS, "never-good", &broken("a.test"));
    server.put(SHOPS, "once-good", &shop("b.test"));
    let _proxy = Proxy::start(&server);
    until(&server, "both are told", |server| {
        says(server, "never-good", "NotInForce", 1, "error: spec.http")
            && says(server, "once-good", "InForce", 1, "")
    })
    .await;
    server.put(SHOPS, "once-good", &broken("b.test"));
    until(&server, "the older one stays", |server| {
        says(
            server,
            "once-good",
            "HasErrors",
            2,
            "its last good version stays in force",
        )
    })
    .await;
    assert_eq!(
        condition_of(&server, "once-good").unwrap()["status"],
        "False"
    );
    until(&server, "there are two events", |server| {
        events(server).len() == 2
    })
    .await;
    let of = |name: &str| {
        let all = events(&server);
        let found = all.into_iter().find(|one| one["regarding"]["name"] == name);
        found.expect("an event")
    };
    let event = of("never-good");
    let object = server.object(SHOPS, None, "never-good").unwrap();
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "WrongType");
    assert_eq!(event["regarding"]["uid"], object["metadata"]["uid"]);
    assert_eq!(event["regarding"]["kind"], "VirtualService");
    assert_eq!(event["metadata"]["namespace"], "default");
    assert!(
        event["note"]
            .as_str()
            .unwrap()
            .starts_with("error: spec.http"),
        "{event}"
    );
    // The same of the next generation is counted, and no other event.
    server.put(SHOPS, "never-good", &broken("c.test"));
    until(&server, "it is counted", |_| {
        of("never-good")["series"]["count"] == 2
    })
    .await;
    assert_eq!(events(&server).len(), 2);
}

#[tokio::test]
async fn an_object_is_in_force_everywhere_once_every_proxy_has_taken_it_up() {
    let server = ApiServer::start().await;
    server.put(SHOPS, "shop", &shop("a.test"));
    let _proxies = [
        Proxy::start(&server),
        Proxy::start(&server),
        Proxy::start(&server),
    ];
    // Each is counted when it has a Lease, and an object from then on.
    until(&server, "there are four Leases", |server| {
        server.objects(LEASES).len() == 4
    })
    .await;
    server.put(SHOPS, "late", &shop("b.test"));
    until(&server, "all have taken it up", |server| {
        says(server, "late", "InForce", 1, "taken up by 3 of 3 proxies")
    })
    .await;
    let of_late = |server: &ApiServer| {
        server.asked_when(|asked| {
            asked.method == Method::PATCH && asked.name.as_deref() == Some("late")
        })
    };
    assert_eq!(of_late(&server), 1, "it was waited for the others");
}

#[tokio::test]
async fn one_tells_and_another_when_that_one_is_gone() {
    let server = ApiServer::start().await;
    server.put(SHOPS, "shop", &shop("a.test"));
    let mut proxies = vec![Proxy::start(&server), Proxy::start(&server)];
    until(&server, "it is told", |server| {
        says(server, "shop", "InForce", 1, "")
    })
    .await;
    let holder = |server: &ApiServer| {
        let lease = server.object(LEASES, Some("istio-system"), "edge-status");
        lease.map(|lease| lease["spec"]["holderIdentity"].clone())
    };
    let first = holder(&server).unwrap();
    assert!(first.is_string());
    // Whichever of them it is, both of what they have is given back by whom ends.
    for proxy in &mut proxies {
        proxy.telling.take().unwrap().stop().await;
    }
    assert_eq!(holder(&server), Some(Value::Null));
    assert_eq!(server.objects(LEASES).len(), 1, "nobody counts any more");
    let _next = Proxy::start(&server);
    server.put(SHOPS, "shop", &shop("b.test"));
    until(&server, "the next one tells", |server| {
        says(server, "shop", "InForce", 2, "1 of 1")
    })
    .await;
    let lease = server.object(LEASES, Some("istio-system"), "edge-status");
    assert_ne!(holder(&server), Some(first));
    assert!(lease.unwrap()["spec"]["leaseTransitions"].as_i64() >= Some(1));
}

/// Also where that was read from disk: it counts, and nobody is to be told that it does not.
#[tokio::test]
async fn a_version_of_a_process_before_is_told_of_as_in_force() {
    let server = ApiServer::start().await;
    server.put(SHOPS, "shop", &shop("a.test"));
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::remembering(&server, Some(folder.path()));
    until(&server, "it is told", |server| {
        says(server, "shop", "InForce", 1, "")
    })
    .await;
    proxy.end().await;
    server.put(SHOPS, "shop", &broken("a.test"));
    let _next = Proxy::remembering(&server, Some(folder.path()));
    until(&server, "the older one counts", |server| {
        says(server, "shop", "HasErrors", 2, "its last good version")
    })
    .await;
}

/// A kind without `status` is left alone for minutes, and what went between reading and writing looks alike.
#[tokio::test]
async fn an_object_that_is_deleted_meanwhile_keeps_no_other_from_being_told() {
    let server = ApiServer::start().await;
    let gone = AtomicBool::new(false);
    server.fail_when(move |asked| {
        let is_it = asked.plural == SHOPS && asked.name.as_deref() == Some("gone");
        gone.fetch_or(is_it && asked.method == Method::PATCH, Ordering::Relaxed);
        (is_it && gone.load(Ordering::Relaxed)).then_some(Fault::Status(404))
    });
    server.put(SHOPS, "gone", &shop("a.test"));
    let _proxy = Proxy::start(&server);
    until(&server, "it was to be told", |server| {
        server.asked_when(|asked| asked.method == Method::PATCH && asked.plural == SHOPS) > 0
    })
    .await;
    server.put(SHOPS, "other", &shop("b.test"));
    until(&server, "the other is told", |server| {
        says(server, "other", "InForce", 1, "")
    })
    .await;
}

/// Else nobody knew what is to be given back.
#[tokio::test]
async fn what_is_under_way_at_the_end_is_given_back_too() {
    let server = ApiServer::start().await;
    let is_written = |asked: &Asked| asked.plural == LEASES && asked.method != Method::GET;
    server.fail_when(move |asked| is_written(asked).then_some(Fault::Held));
    let mut proxy = Proxy::start(&server);
    until(&server, "both Leases are made", |server| {
        server.objects(LEASES).len() == 2
    })
    .await;
    let stopped = proxy.telling.take().unwrap().stop();
    tokio::join!(stopped, async { server.fail_no_more() });
    let leases = server.objects(LEASES);
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(leases[0]["spec"].get("holderIdentity"), None, "{leases:?}");
}

/// A process that is killed gives nothing back.
#[tokio::test]
async fn a_lease_that_is_not_renewed_is_taken() {
    let server = ApiServer::start().await;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "istio-system"},
        // Its clock is a year ahead.
        "spec": {"holderIdentity": "killed", "leaseDurationSeconds": 2, "leaseTransitions": 5,
                 "renewTime": "2040-01-01T00:00:00.000000Z"},
    });
    server.put(LEASES, "edge-status", &lease);
    server.put(SHOPS, "shop", &shop("a.test"));
    let _proxy = Proxy::start(&server);
    until(&server, "it is told", |server| {
        says(server, "shop", "InForce", 1, "")
    })
    .await;
    let lease = server
        .object(LEASES, Some("istio-system"), "edge-status")
        .unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 6);
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_a_refusal_not_all_the_time() {
    let server = ApiServer::start().await;
    server.put(SHOPS, "shop", &shop("a.test"));
    let conflicts = std::sync::atomic::AtomicUsize::new(0);
    server.fail_when(move |asked| {
        let is_status = asked.subresource.as_deref() == Some("status");
        let is_first = || conflicts.fetch_add(1, Ordering::Relaxed) == 0;
        (is_status && is_first()).then_some(Fault::Status(409))
    });
    let proxy = Proxy::start(&server);
    until(&server, "it is told", |server| {
        says(server, "shop", "InForce", 1, "")
    })
    .await;
    assert_eq!(writes(&server), 2);
    server.fail_when(|asked| {
        let is_status = asked.subresource.as_deref() == Some("status");
        is_status.then_some(Fault::Status(403))
    });
    server.put(SHOPS, "other", &shop("b.test"));
    until(&server, "it is tried", |server| writes(server) == 3).await;
    // Another one of the kind is not tried, while those of other kinds are.
    server.put(SHOPS, "third", &shop("c.test"));
    server.put("gateways", "edge", &json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "spec": {"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]},
    }));
    until(&server, "the other kind is tried", |server| {
        writes(server) == 4
    })
    .await;
    assert!(proxy.publication() > 0);
}

/// Ten thousand objects that are as they should be cost nothing but the looking.
#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let server = ApiServer::start().await;
    for number in 0..20 {
        server.put(
            SHOPS,
            &format!("shop-{number}"),
            &shop(&format!("{number}.test")),
        );
    }
    let mut first = Proxy::start(&server);
    until(&server, "all are told", |server| {
        (0..20).all(|number| says(server, &format!("shop-{number}"), "InForce", 1, ""))
    })
    .await;
    assert_eq!(writes(&server), 20);
    first.telling.take().unwrap().stop().await;
    let _second = Proxy::start(&server);
    server.put(SHOPS, "news", &shop("news.test"));
    until(&server, "the next one tells", |server| {
        says(server, "news", "InForce", 1, "")
    })
    .await;
    assert_eq!(writes(&server), 21);
}
