//! A probe over HTTP/1.1.

use super::{MAX_ANSWER, USER_AGENT, exchange};
use crate::{Failure, Statuses, Stream};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

type Body = Empty<Bytes>;

/// Asks for `path`, and looks at the status and for the end of the answer, or for its first [`MAX_ANSWER`] bytes.
pub(super) async fn probe(
    stream: Box<dyn Stream>,
    host: &Authority,
    path: &PathAndQuery,
    expected: &Statuses,
) -> Result<(), Failure> {
    let request = Request::get(path.as_str())
        .header(header::HOST, host.as_str())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Body::new())
        .map_err(Failure::broken)?;
    let (sender, connection) = Builder::new()
        .max_buf_size(MAX_ANSWER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::broken)?;
    let connection = async {
        // Why it ended is told to who waits for the answer.
        let _ = connection.await;
    };
    exchange(send(sender, request, expected), connection).await
}

async fn send(
    mut sender: SendRequest<Body>,
    request: Request<Body>,
    expected: &Statuses,
) -> Result<(), Failure> {
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(Failure::broken)?;
    let status = answer.status().as_u16();
    if !expected.contain(status) {
        return Err(Failure::Status(status));
    }
    read(answer.into_body()).await
}

/// An answer that is cut short is none. Of a long one the rest is not waited for.
async fn read(mut body: Incoming) -> Result<(), Failure> {
    let mut seen = 0;
    while seen < MAX_ANSWER
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(Failure::broken)?;
        seen += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(())
}
