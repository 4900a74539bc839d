//! One request over HTTP/1.1, on a connection of its own.

use crate::{Application, Failure};
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// What is asked, of whom.
pub(crate) struct Asked<'a> {
    pub(crate) application: Application,
    /// A port of the application.
    pub(crate) address: SocketAddr,
    /// Absent: in clear.
    pub(crate) tls: Option<&'a TlsConnector>,
    pub(crate) target: &'a PathAndQuery,
    pub(crate) host: &'a HeaderValue,
    /// All but `Host`, and none that is of a connection.
    pub(crate) headers: &'a HeaderMap,
    /// Bytes of the body that are read.
    pub(crate) most: usize,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) head: Parts,
    /// As much of the body as was to be read.
    pub(crate) body: Bytes,
    /// Whether that is all of it.
    pub(crate) is_whole: bool,
}

/// Asks, and reads the answer.
pub(crate) async fn get(asked: &Asked<'_>) -> Result<Answered, Failure> {
    let address = asked.address;
    let socket = asked.application.dial(address).await;
    let socket = socket.map_err(|error| Failure::Connect(address, error))?;
    let Some(tls) = asked.tls else {
        return over(socket, asked).await;
    };
    let name = ServerName::IpAddress(address.ip().into());
    let stream = tls.connect(name, socket).await;
    over(stream.map_err(|error| Failure::Tls(address, error))?, asked).await
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    asked: &Asked<'_>,
) -> Result<Answered, Failure> {
    let broken = |error| Failure::Broken(asked.address, error);
    let request = request(asked)?;
    let (sender, connection) = Builder::new()
        // As Go writes names, and so the kubelet.
        .title_case_headers(true)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut answer = pin!(send(sender, request, asked.most));
    tokio::select! {
        biased;
        answer = &mut answer => return answer.map_err(broken),
        // Why it ended is told to who waits for the answer.
        _ = connection => {}
    }
    // The answer may have come with the connection's end.
    answer.await.map_err(broken)
}

fn request(asked: &Asked<'_>) -> Result<Request<Empty<Bytes>>, Failure> {
    let mut request = Request::get(asked.target.as_str())
        .body(Empty::new())
        .map_err(Failure::Request)?;
    let headers = request.headers_mut();
    headers.insert(HOST, asked.host.clone());
    for (name, value) in asked.headers {
        headers.append(name, value.clone());
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn send(
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    most: usize,
) -> hyper::Result<Answered> {
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    let (body, is_whole) = read(body, most).await?;
    Ok(Answered {
        head,
        body,
        is_whole,
    })
}

/// The first bytes of a body, and whether they are all of it. Of a longer one the rest is not waited for.
async fn read(mut body: Incoming, most: usize) -> hyper::Result<(Bytes, bool)> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = most - read.len();
        if data.len() > room {
            read.extend_from_slice(&data[..room]);
            return Ok((read.freeze(), false));
        }
        read.extend_from_slice(&data);
    }
    Ok((read.freeze(), true))
}
