//! The HTTPS server that API servers ask, over HTTP/1.1.

use crate::limits::{LIMITS, Limits, Seats};
use crate::reviewer::{Reviewer, Webhook};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// How long to wait after a connection could not be accepted: there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The certificate that is shown to whoever connects from now on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<ArcSwapOption<CertifiedKey>>);

impl Shown {
    pub(crate) fn show(&self, certificate: Arc<CertifiedKey>) {
        self.0.store(Some(certificate));
    }

    #[cfg(test)]
    pub(crate) fn shown(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// A server that is bound to its address and not yet serving.
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

/// What is known of who is connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// It has asked nothing that could be answered.
    Unknown,
    /// It is being answered, for the first time.
    Asking,
    /// It has asked a question that was answered.
    Known,
}

struct Serving {
    limits: Limits,
    acceptor: TlsAcceptor,
    reviewer: Arc<Reviewer>,
    /// Bytes that bodies may still take.
    room: Arc<Semaphore>,
    /// Answers that may be worked on at a time.
    workers: Arc<Semaphore>,
}

/// Why a request has no answer of ours: the status, and what is said of it.
struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, why: &str) -> Self {
        Self(status, why.to_owned())
    }
}

impl Server {
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
        })
    }

    /// The address that is bound, with the port that was chosen for port 0.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is done, then what is under way.
    ///
    /// # Errors
    ///
    /// The listener cannot be given to the runtime, or there is no TLS.
    pub async fn serve(
        self,
        reviewer: Reviewer,
        shown: Shown,
        stop: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let limits = self.limits;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let serving = Arc::new(Serving {
            limits,
            acceptor: acceptor(shown).map_err(io::Error::other)?,
            reviewer: Arc::new(reviewer),
            room: Arc::new(Semaphore::new(limits.all_bodies)),
            workers: Arc::new(Semaphore::new(cores)),
        });
        let (stopping, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut seats = Seats::new(limits);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match seats.take(peer.ip()) {
                        Some(seat) => {
                            // Else the first answer waits for the kernel. Where that fails it does, which is no harm.
                            let _ = stream.set_nodelay(true);
                            let connection = serving.clone().connection(stream, stopped.clone());
                            connections.spawn(async move {
                                connection.await;
                                drop(seat);
                            });
                        }
                        None => tracing::debug!(%peer, "there are too many connections"),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the webhook cannot be accepted");
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

/// Until a client has been unknown for this long, and asked nothing.
async fn unknown_for(longest: Duration, mut phases: watch::Receiver<Phase>) {
    loop {
        let phase = *phases.borrow_and_update();
        match phase {
            Phase::Known => return std::future::pending().await,
            // That has limits of its own.
            Phase::Asking => drop(phases.changed().await),
            Phase::Unknown => {
                if timeout(longest, phases.changed()).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn acceptor(shown: Shown) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Serving {
    /// Serves one connection. Its errors are its client's affair.
    async fn connection(self: Arc<Self>, stream: TcpStream, mut stopped: watch::Receiver<()>) {
        let limits = self.limits;
        let accepted = timeout(limits.handshake, self.acceptor.accept(stream)).await;
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a client has begun no TLS"),
            Err(_) => return tracing::debug!("a client has begun no TLS in time"),
        };
        let (phase, phases) = watch::channel(Phase::Unknown);
        let service = service_fn(|request| async {
            Ok::<_, Infallible>(self.answer_known(request, &phase).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = unknown_for(limits.first_head, phases) => {
                return tracing::debug!("a client has asked nothing in time");
            }
            _ = stopped.changed() => {} // the sender is gone
        }
        connection.as_mut().graceful_shutdown();
        // What is not answered then never will be.
        let _ = timeout(limits.end, connection).await;
    }

    /// Answers, and notes whether that makes the client one that is known.
    async fn answer_known(
        &self,
        request: Request<Incoming>,
        phase: &watch::Sender<Phase>,
    ) -> Response<Full<Bytes>> {
        if *phase.borrow() == Phase::Known {
            return self.answer(request).await;
        }
        phase.send_replace(Phase::Asking);
        let response = self.answer(request).await;
        phase.send_replace(match response.status() {
            StatusCode::OK => Phase::Known,
            _ => Phase::Unknown,
        });
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(webhook) = Webhook::of(request.uri().path()) else {
            let why = "there are /validate and /inject";
            return refused(Refusal::new(StatusCode::NOT_FOUND, why));
        };
        match self.review(webhook, request).await {
            Ok(body) => {
                let mut response = Response::new(Full::new(Bytes::from(body)));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Err(refusal) => {
                self.reviewer.failed(webhook);
                refused(refusal)
            }
        }
    }

    async fn review(
        &self,
        webhook: Webhook,
        request: Request<Incoming>,
    ) -> Result<Vec<u8>, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "use POST"));
        }
        if !is_json(request.headers()) {
            let why = "the content-type is application/json";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        if declared_length(request.headers()) > self.limits.body_bytes {
            return Err(too_large());
        }
        let reading = timeout(self.limits.body, self.read(request.into_body()));
        let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
        let (body, _room) = reading.await.map_err(late)??;
        let worker = timeout(self.limits.queue, self.workers.clone().acquire_owned()).await;
        let Ok(Ok(worker)) = worker else {
            let why = "there are too many questions";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        self.work(webhook, body, worker).await
    }

    async fn work(
        &self,
        webhook: Webhook,
        body: Vec<u8>,
        worker: OwnedSemaphorePermit,
    ) -> Result<Vec<u8>, Refusal> {
        let reviewer = Arc::clone(&self.reviewer);
        let answer = spawn_blocking(move || {
            let _worker = worker;
            reviewer.answer(webhook, &body)
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(Refusal(StatusCode::BAD_REQUEST, why.to_string())),
            Err(_) => {
                let why = "this question failed, see the log";
                Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why))
            }
        }
    }

    /// A body, and the room that it takes, which is taken as it comes: who sends slowly takes little.
    async fn read(
        &self,
        mut body: Incoming,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Refusal> {
        let mut bytes = Vec::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let broken = |_| Refusal::new(StatusCode::BAD_REQUEST, "the body is broken");
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.limits.body_bytes {
                return Err(too_large());
            }
            let more = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let Ok(more) = self.room.clone().try_acquire_many_owned(more) else {
                let why = "there is no room for the body";
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
            };
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, room))
    }
}

fn too_large() -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// Zero where nothing is declared.
fn declared_length(headers: &HeaderMap) -> usize {
    let value = headers.get(CONTENT_LENGTH);
    let value = value.and_then(|value| value.to_str().ok()?.parse().ok());
    value.unwrap_or_default()
}

fn refused(Refusal(status, why): Refusal) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(why + "\n")));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let post = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, post);
    }
    response
}

#[cfg(test)]
mod tests;
