//! HTTPS to the ACME server, within bounds.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one answer at most; a chain for 100 names has a tenth of it.
const MAX_BODY: usize = 1024 * 1024;

/// What `Retry-After` may say at most, in seconds: a week.
const MAX_RETRY_AFTER: u64 = 7 * 24 * 60 * 60;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer that could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the ACME server cannot be reached")]
    Send(#[source] hyper_util::client::legacy::Error),
    #[error("the ACME server did not answer within {}s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the ACME server answered {0} without saying why")]
    Status(StatusCode),
    #[error("the answer of the ACME server broke off or is too long")]
    Body(#[source] BoxError),
}

/// Why there are no authorities to verify the server with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthoritiesError {
    #[error("{} cannot be read", .0.display())]
    File(PathBuf, #[source] pem::Error),
    #[error("{} has no certificate that can be an authority", .0.display())]
    Empty(PathBuf),
    #[error("the system's authorities cannot be read")]
    System(#[source] io::Error),
    #[error("the system has no authorities: install ca-certificates, or name a file")]
    NoSystem,
}

/// Who may ask again when: the last `Retry-After` of a refusal.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetryAfter(Arc<Mutex<Option<SystemTime>>>);

impl RetryAfter {
    /// The last one, once.
    pub(crate) fn take(&self) -> Option<SystemTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, status: StatusCode, headers: &HeaderMap, now: SystemTime) {
        let is_refusal = status.is_client_error() || status.is_server_error();
        let after = headers.get(RETRY_AFTER).filter(|_| is_refusal);
        if let Some(wait) = after.and_then(|value| retry_after(value, now)) {
            let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *noted = Some(now + wait);
        }
    }
}

/// How long a server asks to wait: seconds, or a date. Bounded, since what is absurd must not overflow.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(MAX_RETRY_AFTER);
        return (!text.is_empty()).then(|| Duration::from_secs(seconds.min(MAX_RETRY_AFTER)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let wait = date.duration_since(now).unwrap_or_default();
    Some(wait.min(Duration::from_secs(MAX_RETRY_AFTER)))
}

/// A pool of connections to one server.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    retry_after: RetryAfter,
}

impl Client {
    /// Verifies the server with these authorities, or the system's.
    pub(crate) fn new(
        authorities: Option<&Path>,
        retry_after: RetryAfter,
    ) -> Result<Self, AuthoritiesError> {
        let roots = match authorities {
            Some(file) => roots_of(file)?,
            None => system_roots()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the versions that rustls was built with")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            retry_after,
        })
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let answer = tokio::time::timeout(TIMEOUT, async {
            let response = self.pool.request(request).await;
            let (mut parts, body) = response.map_err(RequestError::Send)?.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map_err(RequestError::Body)?.to_bytes();
            bound_retry_after(&mut parts.headers);
            Ok((parts, body))
        });
        let (parts, body) = answer
            .await
            .map_err(|_| RequestError::Timeout)
            .flatten()
            .map_err(other)?;
        (self.retry_after).note(parts.status, &parts.headers, SystemTime::now());
        let is_refusal = parts.status.is_client_error() || parts.status.is_server_error();
        if is_refusal && serde_json::from_slice::<serde_json::Map<_, _>>(&body).is_err() {
            return Err(other(RequestError::Status(parts.status)));
        }
        let body = Box::new(body);
        Ok(BytesResponse { parts, body })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request))
    }
}

/// What reads the header later adds it to the clock without looking.
fn bound_retry_after(headers: &mut HeaderMap) {
    let Some(value) = headers.get(RETRY_AFTER) else {
        return;
    };
    match retry_after(value, SystemTime::now()) {
        Some(wait) => headers.insert(RETRY_AFTER, wait.as_secs().into()),
        None => headers.remove(RETRY_AFTER),
    };
}

fn other(error: RequestError) -> Error {
    Error::Other(Box::new(error))
}

fn roots_of(file: &Path) -> Result<RootCertStore, AuthoritiesError> {
    let unreadable = |error| AuthoritiesError::File(file.to_owned(), error);
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(file)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    roots(certificates).ok_or_else(|| AuthoritiesError::Empty(file.to_owned()))
}

fn system_roots() -> Result<RootCertStore, AuthoritiesError> {
    let certificates =
        rustls_native_certs::load_native_certs().map_err(AuthoritiesError::System)?;
    roots(certificates).ok_or(AuthoritiesError::NoSystem)
}

/// Those that can be used. None at all is a mistake.
fn roots(certificates: Vec<CertificateDer<'static>>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    (usable > 0).then_some(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        let cases = [
            ("120", Some(120)),
            ("0", Some(0)),
            ("99999999999999999999999999", Some(MAX_RETRY_AFTER)),
            ("18446744073709551615", Some(MAX_RETRY_AFTER)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sat, 06 Nov 1993 08:49:37 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(MAX_RETRY_AFTER)),
            ("soon", None),
            ("", None),
            ("-1", None),
        ];
        for (text, want) in cases {
            let got = retry_after(&HeaderValue::from_static(text), now);
            assert_eq!(got.map(|wait| wait.as_secs()), want, "{text}");
        }
    }

    #[test]
    fn only_refusals_put_off_the_next_attempt() {
        let noted = RetryAfter::default();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
        noted.note(StatusCode::OK, &headers, UNIX_EPOCH);
        assert_eq!(noted.take(), None);
        noted.note(StatusCode::TOO_MANY_REQUESTS, &headers, UNIX_EPOCH);
        assert_eq!(noted.take(), Some(UNIX_EPOCH + Duration::from_secs(7)));
        assert_eq!(noted.take(), None);
    }

    #[test]
    fn what_is_absurd_is_replaced_before_anybody_adds_it_to_the_clock() {
        let absurd = HeaderValue::from_static("18446744073709551615");
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, absurd)]);
        bound_retry_after(&mut headers);
        assert_eq!(headers[RETRY_AFTER], "604800");
    }
}
