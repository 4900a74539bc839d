//! An API server, as far as it is asked here: lists, watches, bookmarks, and what goes wrong.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An API server on a port of its own. It is gone when it is dropped.
pub(super) struct ApiServer {
    pub(super) address: SocketAddr,
    state: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    /// Goes on with each change.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    revision: u64,
    /// By plural, and by namespace and name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// What happened, by plural: from a revision on.
    events: Vec<(u64, String, Value)>,
    /// Nobody can go on from before this revision.
    oldest: u64,
    /// What is answered to whoever asks for a plural.
    refusals: BTreeMap<String, u16>,
    /// Versions that are not served.
    unserved: BTreeSet<String>,
    /// Whether it is one that cannot begin a watch with what there is.
    only_lists: bool,
    /// Raised to end all watches.
    epoch: u64,
    /// Paths that were asked for.
    asked: Vec<String>,
}

impl ApiServer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, State::default())
    }

    fn on(listener: TcpListener, state: State) -> Self {
        let address = listener.local_addr().unwrap();
        let (changes, _) = watch::channel(0);
        let state = Arc::new(Shared {
            state: Mutex::new(state),
            changes,
        });
        let shared = state.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        Self {
            address,
            state,
            serving,
        }
    }

    /// Ends, and is there again at the same address with the same objects when this is called with a new listener.
    pub(super) async fn stop(self) -> (SocketAddr, Stopped) {
        self.serving.abort();
        let _ = self.serving.await;
        let state = std::mem::take(&mut *self.state.state.lock().unwrap());
        (self.address, Stopped(state))
    }

    pub(super) async fn again(address: SocketAddr, stopped: Stopped) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self::on(listener, stopped.0)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.state.changes.send_modify(|number| *number += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.state.lock().unwrap()
    }

    /// Adds an object, or another version of it.
    pub(super) fn put(&self, plural: &str, name: &str, rest: &Value) {
        self.change(|state| {
            state.revision += 1;
            let mut object = rest.clone();
            object["metadata"]["name"] = json!(name);
            object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
            if plural != "nodes" && object["metadata"].get("namespace").is_none() {
                object["metadata"]["namespace"] = json!("default");
            }
            let of_kind = state.objects.entry(plural.to_owned()).or_default();
            let before = of_kind.insert(name.to_owned(), object.clone());
            let kind = before.map_or("ADDED", |_| "MODIFIED");
            let event = json!({"type": kind, "object": object});
            state
                .events
                .push((state.revision, plural.to_owned(), event));
        });
    }

    pub(super) fn delete(&self, plural: &str, name: &str) {
        self.change(|state| {
            state.revision += 1;
            let of_kind = state.objects.get_mut(plural).unwrap();
            let mut object = of_kind.remove(name).unwrap();
            object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
            let event = json!({"type": "DELETED", "object": object});
            state
                .events
                .push((state.revision, plural.to_owned(), event));
        });
    }

    /// Answers with this status whenever a plural is asked for. 200: as always.
    pub(super) fn refuse(&self, plural: &str, status: u16) {
        self.change(|state| {
            state.refusals.insert(plural.to_owned(), status);
            state.epoch += 1;
        });
    }

    pub(super) fn serves_no(&self, version: &str) {
        self.change(|state| {
            state.unserved.insert(version.to_owned());
        });
    }

    pub(super) fn only_lists(&self) {
        self.change(|state| state.only_lists = true);
    }

    /// Ends all watches, which go on where they were.
    pub(super) fn end_watches(&self) {
        self.change(|state| state.epoch += 1);
    }

    /// Forgets what happened: whoever was told of it last begins anew.
    pub(super) fn forget(&self) {
        self.change(|state| {
            state.events.clear();
            state.revision += 1;
            state.oldest = state.revision;
            state.epoch += 1;
        });
    }

    /// Paths with this in them that were asked for.
    pub(super) fn asked(&self, part: &str) -> usize {
        let state = self.state();
        state
            .asked
            .iter()
            .filter(|path| path.contains(part))
            .count()
    }
}

/// What an API server that was stopped knew.
pub(super) struct Stopped(State);

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query: BTreeMap<_, _> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    // /api/v1[/namespaces/N]/plural, /apis/GROUP/VERSION[/namespaces/N]/plural
    let parts: Vec<_> = path.split('/').collect();
    let version = parts[if parts[1] == "api" { 2 } else { 3 }];
    let namespace = parts.iter().position(|part| *part == "namespaces");
    let namespace = namespace.map(|at| parts[at + 1].to_owned());
    let plural = (*parts.last().unwrap()).to_owned();
    let refusal = {
        let mut state = shared.state.lock().unwrap();
        state.asked.push(target.clone());
        let is_initial = query.contains_key("sendInitialEvents");
        match state.refusals.get(&plural) {
            Some(status) if *status != 200 => Some(*status),
            _ if state.unserved.contains(version) => Some(404),
            _ if state.only_lists && is_initial => Some(422),
            _ => None,
        }
    };
    if let Some(status) = refusal {
        return answer(&mut stream, status, &refusal_of(status)).await;
    }
    let asked = Asked { plural, namespace };
    match query.contains_key("watch") {
        true => watch_of(&mut stream, &shared, &asked, &query).await,
        false => {
            let list = asked.list(&shared.state.lock().unwrap());
            answer(&mut stream, 200, &list).await;
        }
    }
}

fn refusal_of(status: u16) -> Value {
    let reason = match status {
        403 => "Forbidden",
        404 => "NotFound",
        _ => "Invalid",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
        "reason": reason, "message": format!("no: {reason}"),
    })
}

struct Asked {
    plural: String,
    namespace: Option<String>,
}

impl Asked {
    fn has(&self, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str();
        self.namespace.is_none() || self.namespace.as_deref() == namespace
    }

    fn objects(&self, state: &State) -> Vec<Value> {
        let objects = state.objects.get(&self.plural).into_iter().flatten();
        let objects = objects.map(|(_, object)| object.clone());
        objects.filter(|object| self.has(object)).collect()
    }

    fn list(&self, state: &State) -> Value {
        json!({
            "kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": state.revision.to_string()},
            "items": self.objects(state),
        })
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

async fn watch_of(
    stream: &mut TcpStream,
    shared: &Shared,
    asked: &Asked,
    query: &BTreeMap<&str, &str>,
) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    let _ = stream.write_all(head.as_bytes()).await;
    let mut changes = shared.changes.subscribe();
    let (first, mut seen, epoch) = {
        let state = shared.state.lock().unwrap();
        let revision = query
            .get("resourceVersion")
            .and_then(|text| text.parse().ok());
        match revision.filter(|revision| *revision > 0) {
            Some(revision) if revision < state.oldest => {
                (vec![json!({"type": "ERROR", "object": expired()})], None, 0)
            }
            Some(revision) => (Vec::new(), Some(revision), state.epoch),
            None => (initial(asked, &state), Some(state.revision), state.epoch),
        }
    };
    if send(stream, &first).await.is_err() {
        return;
    }
    while let Some(revision) = seen.as_mut() {
        let events: Vec<_> = {
            let state = shared.state.lock().unwrap();
            if state.epoch != epoch {
                return;
            }
            let news = state.events.iter().filter(|(at, plural, event)| {
                *at > *revision && *plural == asked.plural && asked.has(&event["object"])
            });
            let news = news.map(|(_, _, event)| event.clone()).collect();
            *revision = state.revision;
            news
        };
        if send(stream, &events).await.is_err() || changes.changed().await.is_err() {
            return;
        }
    }
}

fn initial(asked: &Asked, state: &State) -> Vec<Value> {
    let objects = asked.objects(state).into_iter();
    let added = objects.map(|object| json!({"type": "ADDED", "object": object}));
    let end = json!({"type": "BOOKMARK", "object": {
        "kind": "Object", "apiVersion": "v1",
        "metadata": {
            "resourceVersion": state.revision.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"},
        },
    }});
    added.chain([end]).collect()
}

fn expired() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version",
    })
}

async fn send(stream: &mut TcpStream, events: &[Value]) -> std::io::Result<()> {
    for event in events {
        stream.write_all(format!("{event}\n").as_bytes()).await?;
    }
    Ok(())
}
