//! A probe over gRPC.
//!
//! Source: the gRPC health checking protocol, and gRPC over HTTP/2.

use super::health_v1::{self, ServingStatus};
use super::{MAX_ANSWER, USER_AGENT, exchange};
use crate::{Failure, Stream};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use std::time::Duration;

const METHOD: &str = "/grpc.health.v1.Health/Check";
const GRPC_STATUS: &str = "grpc-status";

/// gRPC's `UNKNOWN`, for a status that is no number.
const UNKNOWN: u16 = 2;

/// Calls the health service, and looks at what it says about `service`.
pub(super) async fn probe(
    stream: Box<dyn Stream>,
    host: &Authority,
    service: &str,
    timeout: Duration,
) -> Result<(), Failure> {
    let request = request(host, timeout)?;
    let (sender, connection) = Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_ANSWER as u32)
        .handshake(stream)
        .await
        .map_err(Failure::broken)?;
    let connection = async {
        // Why it ended is told to who waits for the answer.
        let _ = connection.await;
    };
    exchange(call(sender, request, service), connection).await
}

fn request(host: &Authority, timeout: Duration) -> Result<Request<()>, Failure> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(host.clone())
        .path_and_query(METHOD)
        .build()
        .map_err(Failure::broken)?;
    Request::post(uri)
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::USER_AGENT, USER_AGENT)
        .header("grpc-timeout", grpc_timeout(timeout))
        .body(())
        .map_err(Failure::broken)
}

/// At most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> String {
    format!("{}m", timeout.as_millis().clamp(1, 99_999_999))
}

async fn call(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    service: &str,
) -> Result<(), Failure> {
    let mut sender = sender.ready().await.map_err(Failure::broken)?;
    let sent = sender.send_request(request, false);
    let (answer, mut body) = sent.map_err(Failure::broken)?;
    body.send_data(health_v1::request(service), true)
        .map_err(Failure::broken)?;
    let answer = answer.await.map_err(Failure::broken)?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(Failure::Status(status));
    }
    let (head, mut body) = answer.into_parts();
    // Without a message, the trailers are the head.
    check_status(&head.headers)?;
    let message = read(&mut body).await?;
    let trailers = body.trailers().await.map_err(Failure::broken)?;
    let trailers = trailers.unwrap_or(head.headers);
    if check_status(&trailers)?.is_none() {
        return Err(Failure::broken("there is no grpc-status"));
    }
    match health_v1::answer(&message).map_err(Failure::broken)? {
        ServingStatus::Serving => Ok(()),
        other => Err(Failure::NotServing(other.name())),
    }
}

/// The status, if there is one: `OK`, or it is a failure.
fn check_status(headers: &HeaderMap) -> Result<Option<()>, Failure> {
    match headers.get(GRPC_STATUS).map(number) {
        None => Ok(None),
        Some(0) => Ok(Some(())),
        Some(status) => Err(Failure::GrpcStatus(status)),
    }
}

fn number(value: &HeaderValue) -> u16 {
    let text = value.to_str().unwrap_or_default();
    text.parse().unwrap_or(UNKNOWN)
}

async fn read(body: &mut RecvStream) -> Result<Bytes, Failure> {
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(Failure::broken)?;
        if message.len() + data.len() > MAX_ANSWER {
            return Err(Failure::broken("the message is longer than 8 KiB"));
        }
        message.extend_from_slice(&data);
    }
    Ok(message.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_fits_eight_digits() {
        for (timeout, want) in [
            (Duration::ZERO, "1m"),
            (Duration::from_secs(2), "2000m"),
            (Duration::MAX, "99999999m"),
        ] {
            assert_eq!(grpc_timeout(timeout), want);
        }
    }
}
