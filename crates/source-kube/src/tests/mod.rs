//! What is followed, with an API server of the tests' own; what is ordinary also with a real one (`cluster`).

mod cluster;
mod memory;
mod orders;
mod ordinary;
mod sidecars;
mod status;
mod wishes;

use crate::runner::{Objects, start_with};
use crate::timing::Timing;
use crate::{Access, Settings};
use config::{Content, Message, WantedObjects};
use fake_kubernetes::{ApiServer, Fault};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Nothing takes this long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short pauses, so that nobody waits for them.
const TIMING: Timing = Timing {
    first_pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(50),
    patience: Duration::from_millis(300),
    watch: Duration::from_secs(290),
};

/// Who listens, and what was heard.
struct Listener {
    receiver: Receiver<Message>,
    files: BTreeMap<String, Content>,
    /// Changes that were heard, whatever they were.
    heard: usize,
    is_synced: bool,
    is_blind: bool,
    /// The newest wish that was told.
    told: u64,
    objects: Objects,
    _sender: Sender<Message>,
    _kubeconfig: Option<NamedTempFile>,
}

impl Listener {
    fn to(server: &ApiServer) -> Self {
        Self::with(server.kubeconfig(), |_| {})
    }

    fn with(kubeconfig: NamedTempFile, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            access: kubeconfig_access(&kubeconfig),
            own_namespace: "default".to_owned(),
            ..Settings::default()
        };
        change(&mut settings);
        Self {
            _kubeconfig: Some(kubeconfig),
            ..Self::of(settings, TIMING)
        }
    }

    fn of(settings: Settings, timing: Timing) -> Self {
        let (sender, receiver) = mpsc::channel(config::QUEUE);
        let objects = start_with(settings, timing, &sender).unwrap();
        Self {
            receiver,
            files: BTreeMap::new(),
            heard: 0,
            is_synced: false,
            is_blind: false,
            told: 0,
            objects,
            _sender: sender,
            _kubeconfig: None,
        }
    }

    /// Wants this, and waits until it was told.
    #[track_caller]
    fn want(&mut self, wanted: &WantedObjects) -> impl Future<Output = ()> {
        let number = self.told + 1;
        self.objects.follow(number, wanted);
        self.until("the wish was told", move |all| all.told == number)
    }

    /// Listens until something is so.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            while !holds(self) {
                let next = tokio::time::timeout(PATIENCE, self.receiver.recv()).await;
                let Ok(Some(message)) = next else {
                    panic!("{caller}: {what}: {:?}", self.files);
                };
                self.take(message);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Changes(changes) => {
                self.heard += changes.len();
                for change in changes {
                    let file = change.file.to_string();
                    match change.content {
                        Content::Gone => drop(self.files.remove(&file)),
                        content => drop(self.files.insert(file, content)),
                    }
                }
            }
            Message::Synced => self.is_synced = true,
            Message::Blind => self.is_blind = true,
            Message::Sighted => self.is_blind = false,
            Message::Objects(number) => self.told = number,
            other => panic!("{other:?}"),
        }
    }

    fn object(&self, file: &str) -> Option<Value> {
        match self.files.get(file)? {
            Content::Text(text) => Some(serde_json::from_str(text).unwrap()),
            _ => None,
        }
    }

    fn problem(&self, file: &str) -> Option<&str> {
        match self.files.get(file)? {
            Content::Unreadable(reason) => Some(reason),
            _ => None,
        }
    }
}

fn secrets(names: &[&str]) -> WantedObjects {
    WantedObjects {
        secrets: names.iter().map(|name| (*name).to_owned()).collect(),
        ..WantedObjects::default()
    }
}

fn kubeconfig_access(kubeconfig: &NamedTempFile) -> Access {
    Access {
        kubeconfig: Some(kubeconfig.path().to_owned()),
        context: None,
    }
}

fn service(port: u16) -> Value {
    json!({"spec": {"ports": [{"name": "http", "port": port}]}, "status": {"loadBalancer": {}}})
}

const CART: &str = "kubernetes:Service/default/cart";
const SHOP: &str = "kubernetes:VirtualService/default/shop";

/// What there is, and what happens to it: added, changed and deleted.
async fn follows(server: &ApiServer, listener: &mut Listener) {
    server.put("services", "late", &service(1));
    listener
        .until("it is added", |all| {
            all.files.contains_key("kubernetes:Service/default/late")
        })
        .await;
    server.put("services", "late", &service(2));
    listener
        .until("it is changed", |all| {
            let object = all.object("kubernetes:Service/default/late");
            object.is_some_and(|object| object["spec"]["ports"][0]["port"] == 2)
        })
        .await;
    server.delete("services", None, "late");
    listener
        .until("it is gone", |all| {
            !all.files.contains_key("kubernetes:Service/default/late")
        })
        .await;
}

#[tokio::test]
async fn what_there_is_comes_first_and_changes_follow() {
    let server = ApiServer::start().await;
    server.put("services", "cart", &service(80));
    server.put(
        "virtualservices",
        "shop",
        &json!({"spec": {"hosts": ["a"]}}),
    );
    server.put(
        "nodes",
        "one",
        &json!({"metadata": {"labels": {"zone": "a"}}}),
    );
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let cart = listener.object(CART).unwrap();
    let head = (
        &cart["apiVersion"],
        &cart["kind"],
        &cart["spec"]["ports"][0]["port"],
    );
    assert_eq!(head, (&json!("v1"), &json!("Service"), &json!(80)));
    assert_eq!(cart.get("status"), None);
    let shop = listener.object(SHOP).unwrap();
    assert_eq!(shop["apiVersion"], "networking.istio.io/v1");
    assert!(listener.object("kubernetes:Node/one").is_some());
    assert_eq!(listener.files.len(), 3);
    follows(&server, &mut listener).await;
    assert_eq!(server.asked("limit="), 0, "nothing was listed in pages");
}

#[tokio::test]
async fn an_older_api_server_lists() {
    let server = ApiServer::start().await;
    server.only_lists();
    server.put("services", "cart", &service(80));
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    assert_eq!(listener.files.keys().collect::<Vec<_>>(), [CART]);
    follows(&server, &mut listener).await;
}

#[tokio::test]
async fn a_kind_is_read_in_the_version_that_is_served() {
    let server = ApiServer::start().await;
    for version in ["v1", "v1beta1"] {
        server.put("virtualservices", "shop", &json!({"spec": {}}));
        let mut listener = Listener::to(&server);
        let want = format!("networking.istio.io/{version}");
        listener
            .until("it is told", |all| {
                all.object(SHOP)
                    .is_some_and(|shop| shop["apiVersion"] == want)
            })
            .await;
        // The core has no other version.
        server.serves_no("v1");
    }
}

/// Promise: a permission that lacks costs one kind, and is told.
#[tokio::test]
async fn a_kind_that_must_not_be_seen_leaves_the_others() {
    let server = ApiServer::start().await;
    server.put("services", "cart", &service(80));
    server.put("virtualservices", "shop", &json!({"spec": {}}));
    server.refuse("virtualservices", 403);
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    assert!(listener.files.contains_key(CART));
    let problem = listener.problem("kubernetes:VirtualService").unwrap();
    let want = "VirtualService of networking.istio.io cannot be followed: no: Forbidden";
    assert_eq!(problem, want);
    follows(&server, &mut listener).await;
    server.refuse("virtualservices", 200);
    listener
        .until("it is seen", |all| all.files.contains_key(SHOP))
        .await;
    assert_eq!(listener.problem("kubernetes:VirtualService"), None);
}

#[tokio::test]
async fn a_kind_that_is_not_there_yet_is_waited_for() {
    let server = ApiServer::start().await;
    server.refuse("sidecars", 404);
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let problem = listener.problem("kubernetes:Sidecar").unwrap();
    assert!(problem.contains("crds.yaml"), "{problem}");
    server.put("sidecars", "own", &json!({"spec": {}}));
    server.refuse("sidecars", 200);
    let own = "kubernetes:Sidecar/default/own";
    listener
        .until("it is there", |all| all.files.contains_key(own))
        .await;
}

#[tokio::test]
async fn a_watch_that_ends_goes_on() {
    let server = ApiServer::start().await;
    server.put("services", "cart", &service(80));
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    for _ in 0..3 {
        server.end_watches();
        follows(&server, &mut listener).await;
    }
    assert!(listener.files.contains_key(CART));
}

/// 410: what went while nobody watched is missed by who lists again.
#[tokio::test]
async fn what_went_unseen_is_gone_after_all_is_listed_again() {
    let server = ApiServer::start().await;
    server.put("services", "cart", &service(80));
    server.put("services", "old", &service(80));
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    server.refuse("services", 500);
    server.delete("services", None, "old");
    server.put("services", "new", &service(80));
    server.forget();
    server.refuse("services", 200);
    listener
        .until("the new one is there", |all| {
            all.files.contains_key("kubernetes:Service/default/new")
        })
        .await;
    assert!(
        !listener
            .files
            .contains_key("kubernetes:Service/default/old")
    );
    assert!(listener.files.contains_key(CART));
    listener
        .until("nothing is wrong", |all| {
            all.problem("kubernetes:Service").is_none()
        })
        .await;
}

#[tokio::test]
async fn an_api_server_that_restarts_is_followed_again() {
    let server = ApiServer::start().await;
    server.put("services", "cart", &service(80));
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let stopped = server.stop().await;
    listener
        .until("it is told", |all| {
            all.problem("kubernetes:Service").is_some()
        })
        .await;
    assert!(listener.files.contains_key(CART), "what was read stays");
    let server = stopped.again().await;
    follows(&server, &mut listener).await;
    listener
        .until("nothing is wrong", |all| {
            let mut contents = all.files.values();
            !contents.any(|content| matches!(content, Content::Unreadable(_)))
        })
        .await;
}

/// An object that nobody can read is in nobody else's way, in lists and in watches.
#[tokio::test]
async fn what_is_nested_too_deeply_is_told_as_unreadable() {
    let deep = (0..200).fold(json!(1), |deep, _| json!({"a": deep}));
    let deep = json!({"metadata": {"namespace": "default"}, "spec": {"deep": deep}});
    let server = ApiServer::start().await;
    server.put("services", "deep", &deep);
    server.put("services", "cart", &service(80));
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let problem = listener.problem("kubernetes:Service/default/deep").unwrap();
    assert!(
        problem.starts_with("the object cannot be read: recursion limit"),
        "{problem}"
    );
    assert!(listener.files.contains_key(CART));
    assert!(listener.problem("kubernetes:Service").is_none());
    server.put("services", "deeper", &deep);
    follows(&server, &mut listener).await;
    assert!(
        listener
            .problem("kubernetes:Service/default/deeper")
            .is_some()
    );
    server.put("services", "deep", &service(80));
    listener
        .until("it is mended", |all| {
            all.object("kubernetes:Service/default/deep").is_some()
        })
        .await;
}

/// Characters that JSON lets stand and YAML does not.
#[tokio::test]
async fn what_is_told_can_be_read_whatever_characters_are_in_it() {
    let note = "caf\u{7f}\u{80}\u{85}\u{feff}\u{fffe}";
    let mut odd = service(80);
    odd["metadata"]["annotations"] = json!({"note": note});
    let server = ApiServer::start().await;
    server.put("services", "cart", &odd);
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let Some(Content::Text(text)) = listener.files.get(CART) else {
        panic!("{:?}", listener.files);
    };
    let parsed = model::parse(&CART.into(), text, &model::Defaults::default());
    assert_eq!(parsed.all_diagnostics().count(), 0);
    let [object] = &*parsed.objects else {
        panic!("{parsed:?}");
    };
    let model::Outcome::Accepted(service) = &object.outcome else {
        panic!("{parsed:?}");
    };
    assert_eq!(service.meta().annotations["note"], note);
}

/// As etcd is after it was restored: the versions to come were there before, of other objects.
#[tokio::test]
async fn an_api_server_that_is_put_back_to_a_former_state_is_followed_from_there() {
    let server = ApiServer::start().await;
    server.put("services", "cart", &service(80));
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let backup = server.backup();
    for port in 81..90 {
        server.put("services", "lost", &service(port));
    }
    const LOST: &str = "kubernetes:Service/default/lost";
    listener
        .until("it is followed", |all| all.files.contains_key(LOST))
        .await;
    let stopped = server.stop().await;
    listener
        .until("it is told", |all| {
            all.problem("kubernetes:Service").is_some()
        })
        .await;
    let server = stopped.put_back(backup).again().await;
    follows(&server, &mut listener).await;
    listener
        .until("it is gone", |all| !all.files.contains_key(LOST))
        .await;
    assert!(listener.files.contains_key(CART));
}

/// Whom nothing is heard of, the kernel asks whether it is there: else a watch would wait minutes for a machine that lost power.
#[tokio::test]
async fn quiet_connections_are_asked_whether_they_are_there() {
    let server = ApiServer::start().await;
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let port = format!(":{:04X}", server.address.port());
    // What is on its way has another timer, until it has arrived.
    let asked = async {
        while !timers(&port).iter().all(|timer| timer == "02") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert!(!timers(&port).is_empty());
}

/// Which timer runs for each connection to a port: 02 is that of keep-alive.
///
/// Source: proc_net_tcp of Linux: number, local and remote address, state, queues, timer and its time.
fn timers(port: &str) -> Vec<String> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = sockets
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields[2].ends_with(port) && fields[3] == "01");
    ours.map(|fields| fields[5][..2].to_owned()).collect()
}

#[tokio::test]
async fn an_api_server_that_is_away_is_not_waited_for() {
    let server = ApiServer::start().await;
    let stopped = server.stop().await;
    let mut listener = Listener::with(stopped.kubeconfig(), |_| {});
    listener.until("it sees nothing", |all| all.is_blind).await;
    let problem = listener.problem("kubernetes:Service").unwrap();
    assert!(
        problem.contains("the API server cannot be asked: "),
        "{problem}"
    );
    assert!(problem.contains("refused"), "{problem}");
    listener.until("all was told", |all| all.is_synced).await;
    let server = stopped.again().await;
    listener.until("it sees", |all| !all.is_blind).await;
    follows(&server, &mut listener).await;
}

/// A proxy that begins to see must not be ready with half of what there is, also where all of it was refused before.
#[tokio::test]
async fn who_begins_to_see_waits_for_what_may_be_read() {
    for refused in [401, 403, 500] {
        let server = ApiServer::start().await;
        server.put("services", "cart", &service(80));
        server.fail_when(move |_| Some(Fault::Status(refused)));
        let kubeconfig = server.kubeconfig();
        let settings = Settings {
            access: kubeconfig_access(&kubeconfig),
            own_namespace: "default".to_owned(),
            ..Settings::default()
        };
        let patient = Timing {
            patience: PATIENCE,
            ..TIMING
        };
        let mut listener = Listener::of(settings, patient);
        listener.until("it sees nothing", |all| all.is_blind).await;
        server.fail_when(|asked| (asked.plural == "services").then_some(Fault::Status(500)));
        let before = server.asked("/services?");
        server
            .until(|server| server.asked("/services?") > before + 5)
            .await;
        server.fail_no_more();
        listener.until("it sees", |all| !all.is_blind).await;
        let files = &listener.files;
        assert!(files.contains_key(CART), "{refused}: {files:?}");
    }
}

#[tokio::test]
async fn without_a_way_to_the_api_server_that_is_told() {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "clusters: 1").unwrap();
    let mut listener = Listener::with(file, |_| {});
    listener.until("it sees nothing", |all| all.is_blind).await;
    let problem = listener.problem("kubernetes:Gateway").unwrap();
    assert!(
        problem.starts_with("the kubeconfig cannot be used"),
        "{problem}"
    );
}

/// Of an object that comes again with nothing in it that counts here, nobody is told.
#[tokio::test]
async fn what_counts_for_nobody_is_told_nobody() {
    let server = ApiServer::start().await;
    server.put("services", "cart", &service(80));
    let mut listener = Listener::to(&server);
    listener.until("all was told", |all| all.is_synced).await;
    let heard = listener.heard;
    let mut object = service(80);
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    server.put("services", "cart", &object);
    // Everything is listed again as well.
    server.forget();
    follows(&server, &mut listener).await;
    assert_eq!(listener.heard, heard + 3, "{:?}", listener.files);
}
