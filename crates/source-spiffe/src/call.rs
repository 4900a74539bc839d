//! One call: a request, and answers for as long as both sides want.
//!
//! Source: gRPC over HTTP/2.

use crate::endpoint::{Endpoint, Stream};
use crate::failure::{Failure, UNKNOWN};
use crate::frame::{Frames, framed};
use crate::workload_api::{FETCH_X509_SVID, SvidRequest, SvidResponse};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, header};
use percent_encoding::percent_decode_str;
use prost::Message;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What servers see in their logs.
const USER_AGENT: &str = concat!("tidegate-spiffe/", env!("CARGO_PKG_VERSION"));

/// Bytes of an answer's head and of its trailers that are read.
const MAX_HEAD: u32 = 16 * 1024;

/// More of what a server says about a failure is not repeated.
const MAX_TOLD: usize = 256;

/// A call that answers come from.
pub(crate) struct Call {
    answers: RecvStream,
    frames: Frames,
    /// The status, where it came at once, without answers.
    ended: Option<Failure>,
    _driver: Driver,
}

/// Drives a connection as long as it is there.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Call {
    /// Asks for identities, as long as `patience` for the head of the answer.
    pub(crate) async fn begin(endpoint: &Endpoint, patience: Duration) -> Result<Self, Failure> {
        let begun = tokio::time::timeout(patience, Self::open(endpoint)).await;
        begun.unwrap_or(Err(Failure::Timeout(patience)))
    }

    async fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let stream = endpoint.connect().await.map_err(Failure::Connect)?;
        let (sender, driver) = handshake(stream).await?;
        let (answers, ended) = ask(sender).await?;
        Ok(Self {
            answers,
            frames: Frames::default(),
            ended,
            _driver: driver,
        })
    }

    /// The next answer. It is for the caller to be patient.
    pub(crate) async fn next(&mut self) -> Result<SvidResponse, Failure> {
        if let Some(failure) = self.ended.take() {
            return Err(failure);
        }
        loop {
            if let Some(message) = self.frames.next()? {
                return SvidResponse::decode(message).map_err(|_| Failure::Encoding);
            }
            let Some(data) = self.answers.data().await else {
                return Err(self.end().await);
            };
            let data = data.map_err(|error| broken(&error))?;
            self.frames.push(&data);
            // Messages have a bound of their own.
            let capacity = self.answers.flow_control();
            let released = capacity.release_capacity(data.len());
            released.map_err(|error| broken(&error))?;
        }
    }

    /// Why no more answers come.
    async fn end(&mut self) -> Failure {
        let is_cut = self.frames.is_within_message();
        match self.answers.trailers().await {
            Ok(Some(trailers)) => match status(&trailers) {
                Some(Failure::Closed) if is_cut => Failure::broken("a message is cut off"),
                Some(failure) => failure,
                None => Failure::broken("there is no grpc-status"),
            },
            Ok(None) => Failure::broken("there is no grpc-status"),
            Err(error) => broken(&error),
        }
    }
}

async fn handshake(stream: Box<dyn Stream>) -> Result<(SendRequest<Bytes>, Driver), Failure> {
    let (sender, connection) = Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_HEAD)
        .handshake(stream)
        .await
        .map_err(|error| broken(&error))?;
    let driver = tokio::spawn(async move {
        // Why it ended is told to who waits for the answer.
        let _ = connection.await;
    });
    Ok((sender, Driver(driver)))
}

/// Sends the request, and returns the answers and, where these end with their head, why.
async fn ask(sender: SendRequest<Bytes>) -> Result<(RecvStream, Option<Failure>), Failure> {
    let mut sender = sender.ready().await.map_err(|error| broken(&error))?;
    let (answer, mut body) = sender
        .send_request(request()?, false)
        .map_err(|error| broken(&error))?;
    let message = framed(&SvidRequest {}.encode_to_vec());
    body.send_data(message, true)
        .map_err(|error| broken(&error))?;
    let (head, answers) = answer.await.map_err(|error| broken(&error))?.into_parts();
    match head.status.as_u16() {
        200 => Ok((answers, status(&head.headers))),
        status => Err(Failure::Http(status)),
    }
}

/// Source: SPIFFE Workload Endpoint, section 3, for the header.
fn request() -> Result<Request<()>, Failure> {
    // The host says nothing here, and servers want one.
    Request::post(format!("http://localhost{FETCH_X509_SVID}"))
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::USER_AGENT, USER_AGENT)
        .header("workload.spiffe.io", "true")
        .body(())
        .map_err(Failure::broken)
}

/// The status of a call, if it is among these.
fn status(headers: &HeaderMap) -> Option<Failure> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or_default();
    let told = headers.get("grpc-message");
    let told = told.map_or("", |told| told.to_str().unwrap_or_default());
    let told = percent_decode_str(told).decode_utf8_lossy();
    let told: String = told.chars().take(MAX_TOLD).collect();
    Some(Failure::of_status(status.parse().unwrap_or(UNKNOWN), &told))
}

/// A stream that is ended without an error is ended all the same.
fn broken(error: &h2::Error) -> Failure {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) => Failure::Closed,
        _ => Failure::broken(error),
    }
}
