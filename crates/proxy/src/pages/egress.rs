//! `/egress`: what was learnt of the forward proxy.

use crate::egress::{Row, Rows};
use crate::serve::Serving;
use http::StatusCode;
use std::cmp::Reverse;
use telemetry::server::{PageRequest, PageResponse};

/// What to do where nothing is learnt.
const HINT: &str =
    "nothing is learnt: set `[forward-proxy] mode = \"learn\"` and `[listen] forward-proxy`\n";

pub(super) fn show(serving: &Serving, request: &PageRequest) -> PageResponse {
    let Some(learning) = &serving.learning else {
        return PageResponse::text(HINT).with_status(StatusCode::NOT_FOUND);
    };
    let mut rows = learning.learned.rows();
    if request.parameter("sort").as_deref() != Some("host") {
        sort_by_bytes(&mut rows);
    }
    match serde_json::to_value(&rows) {
        Ok(rows) => PageResponse::json(&rows),
        Err(error) => {
            PageResponse::text(format!("{error}\n")).with_status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// Those with the same stay in the order of their hosts.
fn sort_by_bytes(rows: &mut Rows) {
    rows.rows.sort_by_key(|row| Reverse(Row::bytes(row)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::{Passage, PassageProtocol, Passages};
    use serde_json::Value;
    use std::net::IpAddr;
    use telemetry::server::PageBody;

    fn serving(mode: &str) -> std::sync::Arc<Serving> {
        let text = format!(
            "[listen]\nforward-proxy = '127.0.0.1:0'\n[access-log]\npath = ''\n\
             [forward-proxy]\nlearned = ''\nmode = '{mode}'"
        );
        Serving::new(&crate::program::GATEWAY, &toml::from_str(&text).unwrap()).unwrap()
    }

    fn shown(serving: &Serving, query: &str) -> (StatusCode, String) {
        let request = PageRequest {
            path: "/egress".to_owned(),
            query: query.to_owned(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            peer: ([127, 0, 0, 1], 1).into(),
        };
        let response = show(serving, &request);
        let PageBody::Full(body) = response.body else {
            panic!("it comes in pieces");
        };
        (response.status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_most_bytes_come_first() {
        let serving = serving("learn");
        for (host, sent) in [("b.test", 1), ("a.test", 1), ("c.test", 9)] {
            serving.learning.as_ref().unwrap().passed(&Passage {
                host,
                port: 443,
                protocol: PassageProtocol::Tls,
                received: 0,
                sent,
                client: IpAddr::from([127, 0, 0, 1]),
                denial: None,
            });
        }
        let hosts = |query: &str| {
            let (status, body) = shown(&serving, query);
            assert_eq!(status, StatusCode::OK);
            let shown: Value = serde_json::from_str(&body).unwrap();
            let rows = shown["rows"].as_array().unwrap().clone();
            rows.iter()
                .map(|row| row["host"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(hosts(""), ["c.test", "a.test", "b.test"]);
        assert_eq!(hosts("sort=host"), ["a.test", "b.test", "c.test"]);
    }

    #[tokio::test]
    async fn other_modes_have_no_such_page() {
        let (status, body) = shown(&serving("enforce"), "");
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("mode = \"learn\""), "{body}");
    }
}
