//! Embedded upstreams: as much of an httpbin as the demo's curl lines ask for.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;

/// As httpbin has it.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Starts an upstream on a free loopback port; it ends with the runtime.
pub(super) async fn start(version: &'static str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, version));
    Ok(address)
}

async fn serve(listener: TcpListener, version: &'static str) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: others end meanwhile.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = service_fn(move |request| answer(request, version));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(
    request: Request<Incoming>,
    version: &str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let mut response = if let Some(status) = path.strip_prefix("/status/") {
        status_only(status)
    } else if let Some(seconds) = path.strip_prefix("/delay/") {
        delay(seconds).await;
        echo(&request, version)
    } else {
        match path {
            "/headers" => as_json(&json!({ "headers": headers(&request), "version": version })),
            "/get" => echo(&request, version),
            _ if path.starts_with("/anything") => echo(&request, version),
            _ => status_only("404"),
        }
    };
    let version = HeaderValue::from_str(version);
    response.headers_mut().extend(
        version
            .ok()
            .map(|version| (http::HeaderName::from_static("x-version"), version)),
    );
    Ok(response)
}

fn status_only(status: &str) -> Response<Full<Bytes>> {
    let status = status
        .parse()
        .ok()
        .filter(|status| (200..=599).contains(status));
    let status = status.and_then(|status: u16| StatusCode::from_u16(status).ok());
    let mut response = Response::new(Full::default());
    *response.status_mut() = status.unwrap_or(StatusCode::BAD_REQUEST);
    response
}

async fn delay(seconds: &str) {
    let seconds = seconds
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    tokio::time::sleep(seconds.unwrap_or_default().min(MAX_DELAY)).await;
}

fn echo(request: &Request<Incoming>, version: &str) -> Response<Full<Bytes>> {
    as_json(&json!({
        "version": version,
        "method": request.method().as_str(),
        "url": request.uri().to_string(),
        "headers": headers(request),
    }))
}

fn headers(request: &Request<Incoming>) -> Value {
    let mut all = Map::new();
    for (name, value) in request.headers() {
        all.insert(
            name.to_string(),
            String::from_utf8_lossy(value.as_bytes()).into(),
        );
    }
    all.into()
}

fn as_json(value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{value:#}\n")));
    let json = HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}
