//! gRPC as it is on the wire: HTTP/2 with prior knowledge, and trailers.

use crate::async_server::{AsyncServer, LOOPBACK, Reply, runtime};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;

/// An HTTP/2 server without TLS that answers like a gRPC service: what it got, then
/// `grpc-status: 0` as a trailer.
#[derive(Debug)]
pub struct GrpcOrigin {
    server: AsyncServer,
    hits: Arc<AtomicUsize>,
}

/// A response to a gRPC call.
#[derive(Debug)]
pub struct GrpcReply {
    /// The HTTP status.
    pub status: StatusCode,
    /// Before the body.
    pub headers: HeaderMap,
    /// All messages, with their five-byte prefixes.
    pub body: Bytes,
    /// After the body.
    pub trailers: HeaderMap,
}

impl GrpcReply {
    /// `grpc-status`, from the trailers or, when there is nothing else, the headers.
    pub fn grpc_status(&self) -> Option<&str> {
        let status = self.trailers.get("grpc-status");
        status
            .or_else(|| self.headers.get("grpc-status"))?
            .to_str()
            .ok()
    }
}

impl GrpcOrigin {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When there is no port or thread left.
    pub fn start() -> Self {
        Self::start_at(LOOPBACK)
    }

    /// As [`GrpcOrigin::start`], at a given address.
    ///
    /// # Panics
    ///
    /// When it is taken.
    pub fn start_at(address: SocketAddr) -> Self {
        let hits = Arc::new(AtomicUsize::new(0));
        let server = AsyncServer::http2_at(address, {
            let hits = Arc::clone(&hits);
            move |request, _| {
                hits.fetch_add(1, Ordering::SeqCst);
                answer(request)
            }
        });
        Self { server, hits }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How many calls came in.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// How many connections came in.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }
}

/// Calls a method over HTTP/2 with prior knowledge; `message` is sent without compression.
///
/// # Panics
///
/// When there is no whole response.
#[track_caller]
pub fn call_grpc(port: u16, authority: &str, path: &str, message: &[u8]) -> GrpcReply {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    call_grpc_at(address, authority, path, message)
}

/// As [`call_grpc`], at a given address.
///
/// # Panics
///
/// When there is no whole response.
#[track_caller]
pub fn call_grpc_at(address: SocketAddr, authority: &str, path: &str, message: &[u8]) -> GrpcReply {
    let call = async {
        let stream = TcpStream::connect(address).await?;
        let handshake = client::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::post(format!("http://{authority}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(framed(message)))
            .map_err(std::io::Error::other)?;
        let response = sender.send_request(request).await;
        let (parts, body) = response.map_err(std::io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok::<_, std::io::Error>(GrpcReply {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
            trailers,
        })
    };
    let limited = async { tokio::time::timeout(Duration::from_secs(30), call).await };
    match runtime().block_on(limited) {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => panic!("calling {authority}{path}: {error}"),
        Err(_) => panic!("calling {authority}{path}: no whole answer in 30 s"),
    }
}

/// A message with gRPC's prefix: not compressed, then its length.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a small message");
    [&[0], length.to_be_bytes().as_slice(), message]
        .concat()
        .into()
}

async fn answer(request: Request<Incoming>) -> hyper::Result<Reply> {
    let version = format!("{:?}", request.version());
    let path = request.uri().path().to_owned();
    let got = request.into_body().collect().await?.to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-served-path", header(&path));
    let mut reply = reply(got, trailers);
    let headers = reply.headers_mut();
    headers.insert("x-served-version", header(&version));
    Ok(reply)
}

/// 200 with these messages, then `grpc-status: 0` and more trailers.
pub(crate) fn reply(messages: Bytes, mut trailers: HeaderMap) -> Reply {
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(messages).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    let mut reply = Response::new(body.boxed());
    let kind = HeaderValue::from_static("application/grpc");
    reply.headers_mut().insert("content-type", kind);
    reply
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"))
}
