//! What a request asks for.

use hyper::Method;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path with its query, as it came.
    pub target: String,
    /// The version of the API: `v1`.
    pub version: String,
    /// `services`.
    pub plural: String,
    /// Absent: of all namespaces, or of a kind that has none.
    pub namespace: Option<String>,
    /// Absent: all that there are, or one to be made.
    pub name: Option<String>,
    /// `status`.
    pub subresource: Option<String>,
    /// What stands behind the question mark.
    pub query: BTreeMap<String, String>,
    /// The type of its body.
    pub content_type: String,
}

/// What is done to a request instead of answering it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It is refused with this status.
    Status(u16),
    /// It is never answered.
    Silence,
    /// It is done, and answered once nothing fails any more.
    Held,
}

impl Asked {
    /// `/api/VERSION/…`, `/apis/GROUP/VERSION/…`, and there `[namespaces/NAMESPACE/]PLURAL[/NAME[/SUBRESOURCE]]`. `None`: it
    /// is about no objects.
    pub(crate) fn of(head: &Parts) -> Option<Self> {
        let path: Vec<_> = head.uri.path().split('/').skip(1).collect();
        let (version, rest) = match path.as_slice() {
            ["api", version, rest @ ..] | ["apis", _, version, rest @ ..] => (*version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let content_type = head.headers.get("content-type");
        Some(Self {
            method: head.method.clone(),
            target: head.uri.to_string(),
            version: version.to_owned(),
            plural: (*rest.first()?).to_owned(),
            namespace: namespace.map(str::to_owned),
            name: rest.get(1).map(|name| (*name).to_owned()),
            subresource: rest.get(2).map(|name| (*name).to_owned()),
            query: query(head.uri.query().unwrap_or_default()),
            content_type: content_type
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// Whether it watches.
    pub fn is_watch(&self) -> bool {
        self.says("watch")
    }

    /// Whether something is true in its query.
    pub(crate) fn says(&self, key: &str) -> bool {
        matches!(self.query.get(key).map(String::as_str), Some("true" | "1"))
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.query.get(key)?.parse().ok()
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}
