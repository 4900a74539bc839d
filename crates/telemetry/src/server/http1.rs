//! A bounded HTTP/1.1 server for pages.

use super::page::{Found, Handler, Page, PageMethod, Pages};
use super::request::PageRequest;
use super::response::{PageBody, PageResponse};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

/// What one client may take of a server.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at a time; further ones are answered 503 and closed.
    connections: usize,
    /// Those of one address among them: who holds as many as it can keeps no other client away, such as a kubelet.
    of_one_client: usize,
    /// For a request's head to arrive, and for a connection between requests.
    head: Duration,
    /// For a request's body to arrive.
    body: Duration,
    /// Bytes of a request's body.
    body_bytes: usize,
    /// Bytes of a request's head.
    head_bytes: usize,
    /// How old a connection may become; then it ends with the answer it is at.
    age: Duration,
    /// How long the client may still take for that answer, once its page has given it.
    grace: Duration,
}

const LIMITS: Limits = Limits {
    connections: 64,
    of_one_client: 16,
    head: Duration::from_secs(10),
    body: Duration::from_secs(10),
    body_bytes: 64 << 10,
    head_bytes: 16 << 10,
    age: Duration::from_secs(60),
    grace: Duration::from_secs(5),
};

/// How long to wait after a connection could not be accepted: there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 21\r\nconnection: close\r\n\r\ntoo many connections\n";

/// A server that is bound to its address and not yet serving.
pub struct PageServer {
    listener: TcpListener,
    limits: Limits,
    own_names_only: bool,
}

impl PageServer {
    /// Binds the address. Clients wait until [`serve`](Self::serve) is called.
    ///
    /// # Errors
    ///
    /// The address is taken or not of this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            limits: LIMITS,
            own_names_only: false,
        })
    }

    /// Answers only requests whose `Host` is `localhost` or an address, for pages that are not
    /// everybody's: a page of another site in the operator's browser can let its own name resolve to
    /// this machine, and would read them.
    #[must_use]
    pub fn own_names_only(self) -> Self {
        Self {
            own_names_only: true,
            ..self
        }
    }

    /// The address that is bound, with the port that was chosen for port 0.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves the pages until `stop` is done, then finishes the answers that are under way.
    ///
    /// # Errors
    ///
    /// The listener cannot be given to the runtime.
    pub async fn serve(
        self,
        pages: Pages,
        stop: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let (stopping, stopped) = watch::channel(());
        let server = Arc::new(Server {
            pages,
            limits: self.limits,
            own_names_only: self.own_names_only,
        });
        let mut connections = JoinSet::new();
        let mut seats = Seats::new(self.limits);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match seats.take(peer.ip()) {
                        Some(seat) => {
                            let serving = server.clone().connection(stream, peer, stopped.clone());
                            connections.spawn(async move {
                                serving.await;
                                drop(seat);
                            });
                        }
                        None => refuse(&stream),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection to a page server cannot be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        drop(stopping);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// The connections that there may be. One is in use for as long as somebody holds it.
struct Seats {
    limits: Limits,
    by_client: HashMap<IpAddr, Arc<()>>,
}

impl Seats {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_client: HashMap::new(),
        }
    }

    /// One for a client. Absent: there are none, or it has as many as it may.
    fn take(&mut self, client: IpAddr) -> Option<Arc<()>> {
        self.by_client.retain(|_, seats| in_use(seats) > 0);
        if self.by_client.values().map(in_use).sum::<usize>() >= self.limits.connections {
            return None;
        }
        let seats = self.by_client.entry(client.to_canonical()).or_default();
        (in_use(seats) < self.limits.of_one_client).then(|| seats.clone())
    }
}

/// All but the one that stands for them.
fn in_use(seats: &Arc<()>) -> usize {
    Arc::strong_count(seats) - 1
}

/// Says so if that is possible without waiting.
fn refuse(stream: &TcpStream) {
    let _ = stream.try_write(TOO_MANY);
}

struct Server {
    pages: Pages,
    limits: Limits,
    own_names_only: bool,
}

impl Server {
    /// Serves one connection. Its errors are its client's affair.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        mut stopped: watch::Receiver<()>,
    ) {
        let limits = self.limits;
        let (busy, mut is_busy) = watch::channel(false);
        let service = service_fn(|request| async {
            busy.send_replace(true);
            let answer = self.answer(request, peer).await;
            busy.send_replace(false);
            Ok::<_, Infallible>(answer)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.changed() => {} // the sender is gone
            () = sleep(limits.age) => {}
        }
        connection.as_mut().graceful_shutdown();
        let given_up = async {
            // How long a page takes is its own affair.
            let _ = is_busy.wait_for(|busy| !busy).await;
            sleep(limits.grace).await;
        };
        tokio::select! {
            _ = connection => {}
            () = given_up => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<ResponseBody> {
        if self.own_names_only && !is_for_own_name(request.headers()) {
            let refused = PageResponse::text("refused: ask by localhost or an address\n");
            return into_http(refused.with_status(StatusCode::FORBIDDEN), None);
        }
        let Some(method) = page_method(request.method()) else {
            return into_http(not_allowed("GET, HEAD, POST"), Some("GET, HEAD, POST"));
        };
        if method == PageMethod::Post && is_cross_site(request.headers()) {
            let refused = PageResponse::text("refused: sent by a page of another site\n");
            return into_http(refused.with_status(StatusCode::FORBIDDEN), None);
        }
        match self.pages.find(request.uri().path(), method) {
            Found::Page(page) => into_http(self.call(page.clone(), request, peer).await, None),
            Found::Answer(answer) => into_http(answer, None),
            Found::WrongMethod(PageMethod::Get) => {
                into_http(not_allowed("GET, HEAD"), Some("GET, HEAD"))
            }
            Found::WrongMethod(PageMethod::Post) => into_http(not_allowed("POST"), Some("POST")),
        }
    }

    async fn call(&self, page: Page, request: Request<Incoming>, peer: SocketAddr) -> PageResponse {
        let (head, body) = request.into_parts();
        let body = match self.read(body).await {
            Ok(body) => body,
            Err(status) => return PageResponse::text(format!("{status}\n")).with_status(status),
        };
        let (path, query) = (
            head.uri.path().to_owned(),
            head.uri.query().unwrap_or_default().to_owned(),
        );
        let request = PageRequest {
            path,
            query,
            headers: head.headers,
            body,
            peer,
        };
        let answer = match page.handler {
            Handler::Blocking(handler) => spawn_blocking(move || handler(&request)).await,
            Handler::Waiting(handler) => Ok(handler(request).await),
        };
        answer.unwrap_or_else(|_| {
            PageResponse::text("this page failed, see the log\n")
                .with_status(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, StatusCode> {
        let body = Limited::new(body, self.limits.body_bytes).collect();
        match timeout(self.limits.body, body).await {
            Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        }
    }
}

fn page_method(method: &Method) -> Option<PageMethod> {
    match *method {
        Method::GET | Method::HEAD => Some(PageMethod::Get),
        Method::POST => Some(PageMethod::Post),
        _ => None,
    }
}

fn not_allowed(allowed: &str) -> PageResponse {
    PageResponse::text(format!("use {allowed}\n")).with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Whether a browser sent this for a page of another site, which must not change anything here.
///
/// A name that an attacker lets resolve to this machine is refused as well: only an address or
/// `localhost` is trusted to be ours.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let host = host_of(headers);
    let same = origin
        .to_str()
        .is_ok_and(|origin| origin.strip_prefix("http://") == Some(host));
    !same || !is_own_name(host)
}

/// Whether every `Host` of a request is ours. None at all is no browser's.
fn is_for_own_name(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    hosts.all(|host| host.to_str().is_ok_and(is_own_name))
}

fn host_of(headers: &HeaderMap) -> &str {
    headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
}

/// Whether this is `localhost`, a name below it, or an address; with a port or without.
fn is_own_name(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if bracketed.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
        return true;
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_loopback = name.is_empty() || name == "localhost" || name.ends_with(".localhost");
    is_loopback && port.parse::<u16>().is_ok()
}

fn into_http(page: PageResponse, allow: Option<&'static str>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody(page.body));
    *response.status_mut() = page.status;
    *response.headers_mut() = page.headers;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(allow) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// A page's body as hyper wants it.
struct ResponseBody(PageBody);

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match &mut self.0 {
            PageBody::Full(bytes) if bytes.is_empty() => None,
            PageBody::Full(bytes) => Some(std::mem::take(bytes)),
            PageBody::Chunks(chunks) => chunks.next(),
        };
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, PageBody::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            PageBody::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            PageBody::Chunks(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
