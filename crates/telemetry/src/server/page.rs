//! Pages: what a server answers.

use super::html;
use bytes::Bytes;
use http::StatusCode;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Answers a request. May take its time: it is called on a thread where blocking is allowed.
pub type Handler = Arc<dyn Fn(&PageRequest) -> PageResponse + Send + Sync>;

/// One page of a server.
#[derive(Clone)]
pub struct Page {
    /// Its path, without a query: `/config_dump`.
    pub path: &'static str,
    /// What it is asked with.
    pub method: PageMethod,
    /// What it is for, in a few words, for `/help`.
    pub help: &'static str,
    /// What answers.
    pub handler: Handler,
}

impl Page {
    /// A page that only shows something.
    pub fn get(
        path: &'static str,
        help: &'static str,
        handler: impl Fn(&PageRequest) -> PageResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            method: PageMethod::Get,
            help,
            handler: Arc::new(handler),
        }
    }

    /// A page that changes something.
    pub fn post(
        path: &'static str,
        help: &'static str,
        handler: impl Fn(&PageRequest) -> PageResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            method: PageMethod::Post,
            help,
            handler: Arc::new(handler),
        }
    }
}

/// What a page is asked with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum PageMethod {
    /// GET, and HEAD for its head alone: shows something.
    Get,
    /// POST: changes something.
    Post,
}

impl PageMethod {
    /// `GET` or `POST`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A request to a page.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The path, without the query.
    pub path: String,
    /// The query as it came, without the question mark; empty for none.
    pub query: String,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub peer: SocketAddr,
}

impl PageRequest {
    /// The value of the first query parameter of that name; `Some("")` for one without a value.
    ///
    /// `%XX` and `+` are decoded; what is not UTF-8 then becomes U+FFFD.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .into_iter()
            .find(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
    }
}

/// Undoes the encoding of a query parameter. A `%` that no two digits follow stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                bytes.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_value(digit: u8) -> u8 {
    (digit as char).to_digit(16).map_or(0, |value| value as u8)
}

/// The answer of a page.
pub struct PageResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its content type.
    pub content_type: &'static str,
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
        Self {
            status: StatusCode::OK,
            content_type,
            body: PageBody::Chunks(Box::new(chunks)),
        }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn full(content_type: &'static str, body: String) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            body: PageBody::Full(body.into()),
        }
    }
}

/// A page is registered already.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the page {method} {path} is registered already", method = method.as_str())]
pub struct DuplicatePage {
    /// Its path.
    pub path: &'static str,
    /// Its method.
    pub method: PageMethod,
}

/// The pages of one server.
#[derive(Clone)]
pub struct Pages {
    title: &'static str,
    with_index: bool,
    pages: BTreeMap<(&'static str, PageMethod), Page>,
}

impl Pages {
    /// None yet. `title` names the server in `/help` and on its index.
    pub fn new(title: &'static str) -> Self {
        Self {
            title,
            with_index: false,
            pages: BTreeMap::new(),
        }
    }

    /// None yet but `/`, an index of the pages for a browser, and `/help`, the same as text.
    pub fn with_index(title: &'static str) -> Self {
        Self {
            with_index: true,
            ..Self::new(title)
        }
    }

    /// Adds a page.
    ///
    /// # Errors
    ///
    /// There is one of the same path and method.
    pub fn add(&mut self, page: Page) -> Result<(), DuplicatePage> {
        let (path, method) = (page.path, page.method);
        let reserved =
            self.with_index && method == PageMethod::Get && matches!(path, "/" | "/help");
        if reserved || self.pages.contains_key(&(path, method)) {
            return Err(DuplicatePage { path, method });
        }
        self.pages.insert((path, method), page);
        Ok(())
    }

    /// The pages in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = &Page> {
        self.pages.values()
    }

    /// What answers a request of this method to this path.
    pub(super) fn find(&self, path: &str, method: PageMethod) -> Found<'_> {
        if self.with_index && method == PageMethod::Get {
            match path {
                "/" => return Found::Answer(PageResponse::html(html::index(self.title, self))),
                "/help" => return Found::Answer(PageResponse::text(self.help())),
                _ => {}
            }
        }
        if let Some(page) = self.page(path, method) {
            return Found::Page(page);
        }
        let other = match method {
            PageMethod::Get => PageMethod::Post,
            PageMethod::Post => PageMethod::Get,
        };
        match self.page(path, other) {
            Some(page) => Found::WrongMethod(page.method),
            None => Found::Answer(self.not_found()),
        }
    }

    fn page(&self, path: &str, method: PageMethod) -> Option<&Page> {
        self.pages
            .values()
            .find(|page| page.path == path && page.method == method)
    }

    fn not_found(&self) -> PageResponse {
        PageResponse::text(format!("no such page\n\n{}", self.help()))
            .with_status(StatusCode::NOT_FOUND)
    }

    fn help(&self) -> String {
        let width = self
            .iter()
            .map(|page| page.path.len())
            .max()
            .unwrap_or_default();
        let line = |page: &Page| {
            format!(
                "{:4}  {:width$}  {}\n",
                page.method.as_str(),
                page.path,
                page.help
            )
        };
        format!(
            "{}\n\n{}",
            self.title,
            self.iter().map(line).collect::<String>()
        )
    }
}

/// What was found for a request.
pub(super) enum Found<'p> {
    /// A page to be called.
    Page(&'p Page),
    /// The page is there, for another method.
    WrongMethod(PageMethod),
    /// An answer made here.
    Answer(PageResponse),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let request = |query: &str| PageRequest {
            path: "/logging".into(),
            query: query.into(),
            body: Bytes::new(),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        let cases = [
            ("level=debug", Some("debug")),
            (
                "a=b&level=info%2Cdataplane%3Ddebug",
                Some("info,dataplane=debug"),
            ),
            ("level=a+b", Some("a b")),
            ("level", Some("")),
            ("level=100%", Some("100%")),
            ("level=%zz%4", Some("%zz%4")),
            ("level=%+1", Some("% 1")),
            ("levels=debug", None),
            ("", None),
        ];
        for (query, want) in cases {
            assert_eq!(
                request(query).parameter("level").as_deref(),
                want,
                "{query}"
            );
        }
    }

    #[test]
    fn a_page_is_registered_once() {
        let page = || Page::get("/clusters", "clusters", |_| PageResponse::text(""));
        let mut pages = Pages::with_index("Tidegate");
        assert_eq!(pages.add(page()), Ok(()));
        let duplicate = DuplicatePage {
            path: "/clusters",
            method: PageMethod::Get,
        };
        assert_eq!(pages.add(page()), Err(duplicate));
        assert_eq!(
            pages.add(Page::post("/clusters", "", |_| PageResponse::text(""))),
            Ok(())
        );
        assert!(
            pages
                .add(Page::get("/help", "", |_| PageResponse::text("")))
                .is_err()
        );
    }
}
