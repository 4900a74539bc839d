//! What a page is asked.

use bytes::Bytes;
use http::HeaderMap;
use std::net::SocketAddr;

/// A request to a page.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The path, without the query.
    pub path: String,
    /// The query as it came, without the question mark; empty for none.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let request = |query: &str| PageRequest {
            path: "/logging".into(),
            query: query.into(),
            headers: HeaderMap::new(),
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
}
