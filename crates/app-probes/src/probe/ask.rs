//! Asking the application what the kubelet wants to know.

use super::InvalidProbers;
use super::redirect::Place;
use super::written::{self, Ask, HttpGet, Prober};
use crate::exchange::{Answered, Asked, get};
use crate::{Application, Failure, tls};
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, LOCATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Bytes of an answer's body that are passed on.
///
/// Source: Istio `maxRespBodyLength`.
const MAX_BODY: usize = 10 * 1024;

/// Source: Go's `http.Client`, and so the kubelet.
const MAX_REDIRECTS: usize = 10;

/// What is of a connection, or of a body that is not sent.
const NOT_PASSED_ON: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What of an answer's head is passed on.
const PASSED_BACK: [HeaderName; 3] = [CONTENT_ENCODING, CONTENT_TYPE, LOCATION];

/// Probes and hooks that are asked for by path.
pub struct Probers {
    probers: BTreeMap<String, Prober>,
    remarks: Vec<String>,
    tls: TlsConnector,
}

/// What the kubelet is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The application's status; 200 or 500 where it was not asked over HTTP, and 500 where it gave no answer.
    pub status: StatusCode,
    /// What describes the body, and where the application redirects to.
    pub headers: HeaderMap,
    /// The first 10 KiB of the application's answer, or why there is none.
    pub body: Bytes,
}

impl Probers {
    /// Reads `ISTIO_KUBE_APP_PROBERS`: probes by the path that stands for them.
    ///
    /// Of each, `httpGet.host` and a header `Host` say what the application is asked by, not where it is.
    /// `timeoutSeconds` is 1 if it is absent; a hook may then take as long as the kubelet lets it.
    ///
    /// # Errors
    /// When one of them cannot be asked.
    pub fn parse(json: &str) -> Result<Self, InvalidProbers> {
        let written::Parsed { probers, remarks } = written::parse(json)?;
        Ok(Self {
            probers,
            remarks,
            tls: tls::connector().map_err(InvalidProbers::Tls)?,
        })
    }

    /// What is to be said about them, a line each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.probers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.probers.is_empty()
    }

    /// Asks the application what `path` stands for. `headers` are what the kubelet sent, to `own_port`.
    ///
    /// Source: Istio, `pilot-agent`'s status server.
    pub async fn ask(
        &self,
        application: Application,
        path: &str,
        headers: &HeaderMap,
        own_port: u16,
    ) -> Answer {
        let Some(prober) = self.probers.get(path) else {
            let text = format!("app prober config does not exists for {path}");
            return Answer::text(StatusCode::BAD_REQUEST, text);
        };
        let limit = prober.timeout;
        let answer = match &prober.ask {
            Ask::Http(get) => {
                let first = get.place(application, headers, own_port);
                let headers = get.headers(headers);
                within(limit, self.follow(application, first, &headers)).await
            }
            Ask::Tcp { port } => within(limit, reach(application, *port)).await,
            Ask::Grpc { port, service } => check(application, *port, service, limit).await,
        };
        answer.unwrap_or_else(|failure| {
            let text = format!("{}\n", failure.chain());
            Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        })
    }

    async fn follow(
        &self,
        application: Application,
        first: Place,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let mut place = first;
        for _ in 0..MAX_REDIRECTS {
            let asked = Asked {
                application,
                address: place.address,
                tls: place.is_https.then_some(&self.tls),
                target: &place.target,
                host: &place.host,
                headers,
                most: MAX_BODY,
            };
            let answered = get(&asked).await?;
            match place.after(&answered.head) {
                Some(next) => place = next,
                None => return Ok(answered.into()),
            }
        }
        Err(Failure::Redirects(MAX_REDIRECTS))
    }
}

impl HttpGet {
    fn place(&self, application: Application, headers: &HeaderMap, own_port: u16) -> Place {
        let address = application.port(self.port);
        let sent = || {
            headers
                .get(HOST)
                .map(|host| for_port(host, own_port, self.port))
        };
        let host = self.host.clone().or_else(sent);
        Place {
            is_https: self.is_https,
            address,
            target: self.target.clone(),
            host: host.unwrap_or_else(|| authority(address)),
        }
    }

    /// What the kubelet sent, but for what the probe sets itself.
    fn headers(&self, sent: &HeaderMap) -> HeaderMap {
        let mut headers = sent.clone();
        for name in NOT_PASSED_ON.iter().chain(self.headers.keys()) {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers
    }
}

/// The same host, with the application's port in place of the sidecar's.
fn for_port(host: &HeaderValue, own_port: u16, port: u16) -> HeaderValue {
    let parsed = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok());
    let of_own = parsed.filter(|host| host.port_u16() == Some(own_port));
    let replaced = of_own.map(|of_own| format!("{}:{port}", of_own.host()));
    replaced
        .and_then(|host| HeaderValue::try_from(host).ok())
        .unwrap_or_else(|| host.clone())
}

/// An address has nothing that a header could not have.
fn authority(address: std::net::SocketAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("app"))
}

async fn within(
    limit: Duration,
    asking: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    let answer = timeout(limit, asking).await;
    answer.unwrap_or(Err(Failure::Timeout(limit)))
}

async fn reach(application: Application, port: u16) -> Result<Answer, Failure> {
    let address = application.port(port);
    let reached = application.dial(address).await;
    reached.map_err(|error| Failure::Connect(address, error))?;
    Ok(Answer::text(StatusCode::OK, String::new()))
}

async fn check(
    application: Application,
    port: u16,
    service: &Arc<str>,
    limit: Duration,
) -> Result<Answer, Failure> {
    let address = application.port(port);
    let target = health::TargetKey {
        host: address.to_string().into(),
        port,
        address: health::Address::Tcp(address),
    };
    let ask = health::Ask::Grpc {
        host: None,
        service: service.clone(),
    };
    let asked = health::ask_once(&application, &target, ask, limit).await;
    asked.map_err(Failure::Health)?;
    Ok(Answer::text(StatusCode::OK, String::new()))
}

impl Answer {
    fn text(status: StatusCode, text: String) -> Self {
        let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
        Self {
            status,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
            body: text.into(),
        }
    }
}

impl From<Answered> for Answer {
    fn from(answered: Answered) -> Self {
        let mut said = answered.head.headers;
        let passed = PASSED_BACK.into_iter();
        Self {
            status: answered.head.status,
            headers: passed
                .filter_map(|name| said.remove(&name).map(|value| (name, value)))
                .collect(),
            body: answered.body,
        }
    }
}
