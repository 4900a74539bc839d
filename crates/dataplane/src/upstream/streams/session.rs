//! A request and its answer on a stream of HTTP/2, as Pingora wants them.

use super::shared::Begun;
use async_trait::async_trait;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use pingora_core::protocols::Digest;
use pingora_core::protocols::UniqueIDType;
use pingora_core::protocols::http::custom::client::Session;
use pingora_core::protocols::http::custom::{BodyWrite, CustomMessageWrite};
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::protocols::http::v2::write_body;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Headers of HTTP/1 about one connection.
const OF_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    UPGRADE,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

type Messages = Box<dyn tokio_stream::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A stream of HTTP/2 upstream.
pub(crate) struct Http2Upstream {
    session: Http2Session,
    begun: Begun,
    /// Whether the request has been sent with its end.
    ended: bool,
    is_head: bool,
    /// Whether the server took nothing of the request's body for too long.
    is_stuck: Arc<AtomicBool>,
}

impl Http2Upstream {
    pub(super) fn new(session: Http2Session, begun: Begun) -> Self {
        Self {
            session,
            begun,
            ended: false,
            is_head: false,
            is_stuck: Arc::default(),
        }
    }

    /// A server that does not answer may be gone: no other request shall find out in the same way. Of one that takes no
    /// more of a body nothing is read either, and that is what is told.
    fn noting_silence<T>(&self, read: Result<T>) -> Result<T> {
        if read.is_err() && self.is_stuck.load(Relaxed) {
            return Err(Error::new(ErrorType::WriteTimedout));
        }
        if let Err(error) = &read
            && *error.etype() == ErrorType::ReadTimedout
        {
            self.begun.shared().give_up();
        }
        read
    }

    /// The h2 crate does not miss a body that was announced when there is none.
    fn lacks_body(&self) -> bool {
        let Some(head) = self.session.response_header() else {
            return false;
        };
        let has_none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
        let length = head.headers.get(CONTENT_LENGTH);
        let is_announced =
            length.is_some_and(|length| length.as_bytes().iter().any(|b| *b != b'0'));
        is_announced && !self.is_head && !has_none
    }
}

/// Makes a request what HTTP/2 wants: whom it is for stands in the target, and nothing is said of the connection.
///
/// # Errors
/// When there is nobody it is for, or the target is none.
fn to_http2(request: &mut RequestHeader, scheme: Scheme) -> Result<()> {
    let invalid = || Error::new(ErrorType::InvalidHTTPHeader);
    for name in &OF_CONNECTION {
        request.remove_header(name);
    }
    let host = request.remove_header(&HOST);
    let of_uri = || HeaderValue::from_str(request.uri.authority()?.as_str()).ok();
    let host = host.or_else(of_uri).ok_or_else(invalid)?;
    let target = request.uri.path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| invalid())?);
    parts.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    request.set_version(Version::HTTP_2);
    request.set_send_end_stream(true);
    request.set_uri(Uri::from_parts(parts).map_err(|_| invalid())?);
    Ok(())
}

#[async_trait]
impl Session for Http2Upstream {
    async fn write_request_header(
        &mut self,
        mut head: Box<RequestHeader>,
        end: bool,
    ) -> Result<()> {
        self.is_head = head.method == Method::HEAD;
        to_http2(&mut head, self.begun.shared().scheme())?;
        self.ended = end;
        self.session.write_request_header(head, end)
    }

    async fn write_request_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.ended |= end;
        self.session.write_request_body(data, end).await
    }

    async fn finish_request_body(&mut self) -> Result<()> {
        self.ended = true;
        self.session.finish_request_body()
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.session.read_timeout = timeout;
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.session.write_timeout = timeout;
    }

    async fn read_response_header(&mut self) -> Result<()> {
        let read = self.session.read_response_header().await;
        self.noting_silence(read)
    }

    async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        let read = self.session.read_response_body().await;
        self.noting_silence(read)
    }

    fn response_finished(&self) -> bool {
        self.session.response_finished()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.session.shutdown();
    }

    fn response_header(&self) -> Option<&ResponseHeader> {
        self.session.response_header()
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    fn digest(&self) -> Option<&Digest> {
        self.session.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.session.digest_mut()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.session.server_addr()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.session.client_addr()
    }

    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        let read = self.session.read_trailers().await;
        self.noting_silence(read)
    }

    fn fd(&self) -> UniqueIDType {
        self.session.fd()
    }

    async fn check_response_end_or_error(&mut self, headers: bool) -> Result<bool> {
        let ended = self.session.check_response_end_or_error()?;
        if headers && ended && self.lacks_body() {
            let told = "a body was announced and there is none";
            return Err(Error::explain(ErrorType::H2Error, told));
        }
        Ok(ended)
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        let stream = self.session.take_request_body_writer()?;
        Some(Box::new(RequestBody {
            stream,
            ended: self.ended,
            timeout: self.session.write_timeout,
            is_stuck: self.is_stuck.clone(),
        }))
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    /// There are no messages beside the request and its answer.
    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        Some(Box::new(tokio_stream::empty()))
    }

    async fn drain_custom_messages(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        Some(Box::new(()))
    }
}

/// The body of a request, on its way.
struct RequestBody {
    stream: SendStream<Bytes>,
    /// Nothing more is sent: it was all, or the server wants no more.
    ended: bool,
    timeout: Option<Duration>,
    is_stuck: Arc<AtomicBool>,
}

impl RequestBody {
    /// A server may answer before it has read everything. Whether that is a failure is for its answer to tell.
    async fn send(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = end;
        match write_body(&mut self.stream, data, end, self.timeout).await {
            Err(error) if *error.etype() == ErrorType::WriteTimedout => {
                self.give_up().await;
                Err(error)
            }
            Err(_) => {
                self.ended = true;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Pingora goes on to wait for an answer, however long that takes, and does not hear the client any more.
    async fn give_up(&mut self) {
        self.ended = true;
        self.is_stuck.store(true, Relaxed);
        self.stream.send_reset(Reason::CANCEL);
        // Whoever reads the answer is part of the same task.
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl BodyWrite for RequestBody {
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        self.send(data.split_to(data.len()), false).await
    }

    async fn finish(&mut self) -> Result<()> {
        self.send(Bytes::new(), true).await
    }

    async fn cleanup(&mut self) -> Result<()> {
        Ok(())
    }

    fn upgrade_body_writer(&mut self) {}
}
