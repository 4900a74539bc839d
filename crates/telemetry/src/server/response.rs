//! What a page answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

/// The answer of a page.
pub struct PageResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, the content type among them. Those of framing are the server's affair.
    pub headers: HeaderMap,
    /// Its body.
    pub body: PageBody,
}

/// The body of an answer.
pub enum PageBody {
    /// All of it.
    Full(Bytes),
    /// Made piece by piece as the client reads.
    Chunks(Box<dyn Iterator<Item = Bytes> + Send>),
}

impl PageResponse {
    /// 200 with plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::full("text/plain; charset=utf-8", text.into())
    }

    /// 200 with indented JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::full("application/json", format!("{value:#}\n"))
    }

    /// 200 with a whole HTML document.
    pub fn html(document: impl Into<String>) -> Self {
        Self::full("text/html; charset=utf-8", document.into())
    }

    /// 200 with pieces that are made as the client reads them.
    pub fn chunks(
        content_type: &'static str,
        chunks: impl Iterator<Item = Bytes> + Send + 'static,
    ) -> Self {
        Self::ok(content_type, PageBody::Chunks(Box::new(chunks)))
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn full(content_type: &'static str, body: String) -> Self {
        Self::ok(content_type, PageBody::Full(body.into()))
    }

    fn ok(content_type: &'static str, body: PageBody) -> Self {
        let content_type = HeaderValue::from_static(content_type);
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
            body,
        }
    }
}
