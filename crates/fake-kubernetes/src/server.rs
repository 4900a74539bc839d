//! The server, and what a test does to it.

use crate::asked::{Asked, Fault};
use crate::store::{Key, Refusal, Store, has_namespace, is_selected};
use crate::watching::{expired, watch};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, DATE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// A body of one piece, or what a watch tells.
type Body = BoxBody<Bytes, Infallible>;

/// An API server on a port of its own. It is gone when it is dropped.
pub struct ApiServer {
    /// Where it is.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

/// What an API server held at some time.
pub struct Backup(Store);

/// What an API server that was stopped knew.
pub struct Stopped {
    address: SocketAddr,
    state: State,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Goes on with each change.
    pub(crate) changes: watch::Sender<u64>,
}

type Faults = Box<dyn Fn(&Asked) -> Option<Fault> + Send>;

/// What it knows, and what is wrong with it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) store: Store,
    /// What is answered to whoever asks for a plural.
    refusals: BTreeMap<String, u16>,
    /// Versions that are not served.
    unserved: BTreeSet<String>,
    faults: Option<Faults>,
    /// The time that its answers are dated with. Absent: that of the machine.
    date: Option<HeaderValue>,
    /// Whether it is one that cannot begin a watch with what there is.
    only_lists: bool,
    /// Raised to end all watches.
    pub(crate) epoch: u64,
    /// Raised to tell all watches how far they have come.
    pub(crate) bookmarks: u64,
    asked: Vec<Asked>,
}

impl ApiServer {
    /// One without objects.
    ///
    /// # Panics
    /// When loopback has no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        Self::on(listener.expect("a port"), State::default())
    }

    fn on(listener: TcpListener, state: State) -> Self {
        let (changes, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changes,
        });
        let address = listener.local_addr().expect("a bound socket");
        let serving = tokio::spawn(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            serving,
        }
    }

    /// What it holds now.
    pub fn backup(&self) -> Backup {
        Backup(self.shared.state().store.clone())
    }

    /// Ends, with all connections.
    pub async fn stop(mut self) -> Stopped {
        self.serving.abort();
        // Only then nobody is connected any more.
        let _ = (&mut self.serving).await;
        Stopped {
            address: self.address,
            state: std::mem::take(&mut *self.shared.state()),
        }
    }

    /// A file that tells clients where it is.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn kubeconfig(&self) -> NamedTempFile {
        kubeconfig(self.address)
    }

    /// Adds an object, or another version of it. Where its kind has namespaces and it names none, that is `default`.
    ///
    /// # Panics
    /// When it is no object.
    pub fn put(&self, plural: &str, name: &str, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["name"] = json!(name);
        if has_namespace(plural) && object["metadata"].get("namespace").is_none() {
            object["metadata"]["namespace"] = json!("default");
        }
        self.change(|state| drop(state.store.put(plural, object)));
    }

    /// Takes an object away. Without a namespace that is one of `default`, if its kind has namespaces.
    ///
    /// # Panics
    /// When there is none.
    pub fn delete(&self, plural: &str, namespace: Option<&str>, name: &str) {
        let key = (self.namespace(plural, namespace), name.to_owned());
        self.change(|state| drop(state.store.remove(plural, &key).expect("such an object")));
    }

    /// An object as it is now, found as [`ApiServer::delete`] finds it.
    pub fn object(&self, plural: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let namespace = self.namespace(plural, namespace);
        let state = self.shared.state();
        state.store.get(plural, &namespace, name).cloned()
    }

    /// All objects of a kind.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        let state = self.shared.state();
        let objects = state.store.objects.get(plural).into_iter().flatten();
        objects.map(|(_, object)| object.clone()).collect()
    }

    fn namespace(&self, plural: &str, named: Option<&str>) -> String {
        match has_namespace(plural) {
            true => named.unwrap_or("default").to_owned(),
            false => String::new(),
        }
    }

    /// Waits until something holds of it, which is asked again after each change and each request.
    pub async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        while !holds(self) {
            // The sender is in here.
            let _ = changes.changed().await;
        }
    }

    /// Answers with this status whenever a plural is asked for, and ends its watches. 200: as always.
    pub fn refuse(&self, plural: &str, status: u16) {
        self.change(|state| {
            state.refusals.insert(plural.to_owned(), status);
            state.epoch += 1;
        });
    }

    /// Decides about each request from now on. `None`: it is answered.
    pub fn fail_when(&self, fault: impl Fn(&Asked) -> Option<Fault> + Send + 'static) {
        self.change(|state| state.faults = Some(Box::new(fault)));
    }

    /// Nothing fails any more by [`ApiServer::fail_when`].
    pub fn fail_no_more(&self) {
        self.change(|state| state.faults = None);
    }

    /// A version of APIs is not there.
    pub fn serves_no(&self, version: &str) {
        self.change(|state| {
            state.unserved.insert(version.to_owned());
        });
    }

    /// It is one that cannot begin a watch with what there is: older than 1.27.
    pub fn only_lists(&self) {
        self.change(|state| state.only_lists = true);
    }

    /// Its clock is another: its answers are dated so.
    pub fn says_it_is(&self, date: &'static str) {
        self.change(|state| state.date = Some(HeaderValue::from_static(date)));
    }

    /// Ends all watches, which go on where they were.
    pub fn end_watches(&self) {
        self.change(|state| state.epoch += 1);
    }

    /// Tells all watches how far they have come.
    pub fn bookmark(&self) {
        self.change(|state| state.bookmarks += 1);
    }

    /// Forgets what happened: whoever was told of it last begins anew.
    pub fn forget(&self) {
        self.change(|state| {
            state.store.forget();
            state.epoch += 1;
        });
    }

    /// How many requests had this in their path and query.
    pub fn asked(&self, part: &str) -> usize {
        self.asked_when(|asked| asked.target.contains(part))
    }

    /// How many requests were such.
    pub fn asked_when(&self, is_such: impl Fn(&Asked) -> bool) -> usize {
        let state = self.shared.state();
        state.asked.iter().filter(|asked| is_such(asked)).count()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stopped {
    /// What it holds is put back to what it held then: objects and revisions.
    #[must_use]
    pub fn put_back(mut self, backup: Backup) -> Self {
        self.state.store = backup.0;
        self
    }

    /// It is there again, at the same address.
    ///
    /// # Panics
    /// When its port was taken meanwhile.
    pub async fn again(self) -> ApiServer {
        let listener = TcpListener::bind(self.address).await;
        ApiServer::on(listener.expect("its port"), self.state)
    }

    /// A file that tells clients where it was.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn kubeconfig(&self) -> NamedTempFile {
        kubeconfig(self.address)
    }
}

fn kubeconfig(address: SocketAddr) -> NamedTempFile {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "test", "user": {}}],
    });
    let mut file = NamedTempFile::new().expect("a temporary file");
    let written = file.write_all(config.to_string().as_bytes());
    written.expect("space for a temporary file");
    file
}

impl Shared {
    /// A test that failed leaves nothing half done in here.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    async fn until_nothing_fails(&self) {
        let mut changes = self.changes.subscribe();
        let fails = |shared: &Self| shared.state().faults.is_some();
        while fails(self) && changes.changed().await.is_ok() {}
    }

    /// What is wrong with a request, which is noted.
    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut state = self.state();
        state.asked.push(asked.clone());
        let refusal = state.refusals.get(&asked.plural).copied();
        if let Some(status) = refusal.filter(|status| *status != 200) {
            return Some(Fault::Status(status));
        }
        if state.unserved.contains(&asked.version) {
            return Some(Fault::Status(404));
        }
        if state.only_lists && asked.query.contains_key("sendInitialEvents") {
            return Some(Fault::Status(422));
        }
        state.faults.as_ref().and_then(|fault| fault(asked))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move {
            let mut answer = answer(&shared, request).await;
            if let Some(date) = shared.state().date.clone() {
                answer.headers_mut().insert(DATE, date);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new());
    // A client that leaves is no matter of a test's.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Some(asked) = Asked::of(&head) else {
        return refused(&Refusal {
            code: 404,
            reason: "NotFound",
            message: "no such path".to_owned(),
        });
    };
    let fault = shared.fault(&asked);
    shared.changed();
    match fault {
        Some(Fault::Status(code)) => return refused(&injected(code)),
        Some(Fault::Silence) => std::future::pending::<()>().await,
        Some(Fault::Held) | None => {}
    }
    if asked.is_watch() {
        return watched(shared, asked);
    }
    let Ok(body) = body.collect().await else {
        return refused(&injected(400));
    };
    let body = body.to_bytes();
    let body = match body.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&body),
    };
    let Ok(body) = body else {
        return refused(&injected(400));
    };
    let done = done(&mut shared.state(), &asked, body);
    shared.changed();
    if fault == Some(Fault::Held) {
        shared.until_nothing_fails().await;
    }
    match done {
        Ok(value) if asked.method == Method::POST => json_of(StatusCode::CREATED, &value),
        Ok(value) => json_of(StatusCode::OK, &value),
        Err(refusal) => refused(&refusal),
    }
}

fn done(state: &mut State, asked: &Asked, mut body: Value) -> Result<Value, Refusal> {
    match (&asked.method, &asked.name) {
        (&Method::GET, Some(_)) => state.store.named(asked).cloned(),
        (&Method::GET, None) => list(state, asked),
        (&Method::POST, None) => {
            if let Some(namespace) = &asked.namespace {
                body["metadata"]["namespace"] = json!(namespace);
            }
            state.store.create(&asked.plural, body)
        }
        (&Method::PUT, Some(name)) => {
            body["metadata"]["name"] = json!(name);
            if let Some(namespace) = &asked.namespace {
                body["metadata"]["namespace"] = json!(namespace);
            }
            state.store.replace(asked, body)
        }
        (&Method::PATCH, Some(_)) => state.store.patch(asked, &body),
        (&Method::DELETE, Some(_)) => state.store.delete(asked, &body),
        _ => Err(injected(405)),
    }
}

/// What there is, a page of it where a limit is asked for. A page goes on behind the last name of the one before.
fn list(state: &State, asked: &Asked) -> Result<Value, Refusal> {
    let revision = state.store.revision;
    let (revision, after) = match asked
        .query
        .get("continue")
        .and_then(|at| at.split_once(':'))
    {
        Some((revision, after)) => (revision.parse().unwrap_or_default(), Some(after)),
        None => (revision, None),
    };
    if revision < state.store.oldest {
        return Err(Refusal {
            code: 410,
            reason: "Expired",
            message: expired()["message"].to_string(),
        });
    }
    let after = after.and_then(|after| after.split_once('/'));
    let objects = state.store.objects.get(&asked.plural).into_iter().flatten();
    let objects = objects.filter(|(_, object)| is_selected(asked, object));
    let is_further = |key: &Key| after.is_none_or(|after| (&*key.0, &*key.1) > after);
    let mut objects = objects.filter(|(key, _)| is_further(key));
    let limit = asked.number("limit").filter(|limit| *limit > 0);
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    let page: Vec<_> = objects.by_ref().take(limit).collect();
    let next = match (objects.next(), page.last()) {
        (Some(_), Some(((namespace, name), _))) => format!("{revision}:{namespace}/{name}"),
        _ => String::new(),
    };
    Ok(json!({
        "kind": "List", "apiVersion": "v1",
        "metadata": {"resourceVersion": revision.to_string(), "continue": next},
        "items": page.into_iter().map(|(_, object)| object).collect::<Vec<_>>(),
    }))
}

fn watched(shared: &Arc<Shared>, asked: Asked) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(watch(shared.clone(), asked, sender));
    let lines = ReceiverStream::new(receiver).map(|line| Ok(Frame::data(line)));
    json_response(StatusCode::OK, BoxBody::new(StreamBody::new(lines)))
}

/// What is said by a status that a test wants.
fn injected(code: u16) -> Refusal {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500.. => "InternalError",
        _ => "Invalid",
    };
    Refusal {
        code,
        reason,
        message: format!("no: {reason}"),
    }
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": refusal.code,
        "reason": refusal.reason, "message": refusal.message,
    });
    let code = StatusCode::from_u16(refusal.code);
    json_of(code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &status)
}

fn json_of(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string()));
    json_response(status, BoxBody::new(body))
}

fn json_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
