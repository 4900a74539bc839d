//! Heads as HTTP/1 wrote them, to heads as they are worked on.
//!
//! Header names keep their case on HTTP/1 (promise 12). Pingora remembers it in a second map, which every
//! change and every copy of a head pays for. Where all names are written as Pingora would write them
//! anyway, that map tells nothing and is given up.

use http::{request, response};
use pingora_http::{RequestHeader, ResponseHeader};

/// How many headers are added to a request on its way, so that the map grows once.
const ADDED: usize = 8;

/// The names that Pingora does not write in lower case when it knows of no other.
const TITLED: [&[u8]; 12] = [
    b"Host",
    b"Server",
    b"Date",
    b"Content-Type",
    b"Content-Length",
    b"Connection",
    b"Transfer-Encoding",
    b"Cache-Control",
    b"Content-Encoding",
    b"Accept-Ranges",
    b"Set-Cookie",
    b"Age",
];

/// Gives up the map of a request's names where it tells nothing. One whose target is not in origin form
/// stays as it is: its URI does not tell the target as a whole, and admission has to see it.
pub(super) fn simplify(request: &mut RequestHeader) {
    let origin_form = request.raw_path_is_utf8() && request.raw_path().starts_with(b"/");
    let mut names = request.case_header_iter();
    if !request.has_case() || !origin_form || !names.all(|(name, _)| is_usual(name.as_slice())) {
        return;
    }
    drop(names);
    let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = request::Parts::from(std::mem::replace(request, nothing));
    parts.headers.reserve(ADDED);
    *request = RequestHeader::from(parts);
}

/// Gives up the map of a response's names where it tells nothing. A reason phrase of its own stays.
pub(super) fn simplify_response(response: &mut ResponseHeader) {
    let usual_reason = response.get_reason_phrase() == response.status.canonical_reason();
    let mut names = response.case_header_iter();
    if !response.has_case() || !usual_reason || !names.all(|(name, _)| is_usual(name.as_slice())) {
        return;
    }
    drop(names);
    let nothing = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let parts = response::Parts::from(std::mem::replace(response, nothing));
    *response = ResponseHeader::from(parts);
}

/// Whether Pingora would write it so by itself.
fn is_usual(name: &[u8]) -> bool {
    let titled = TITLED
        .iter()
        .find(|titled| titled.eq_ignore_ascii_case(name));
    match titled {
        Some(titled) => *titled == name,
        None => !name.iter().any(u8::is_ascii_uppercase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(names: &[&'static str]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/a?b", None).unwrap();
        for name in names {
            request.append_header(*name, "1").unwrap();
        }
        request
    }

    fn wire(request: &RequestHeader) -> Vec<u8> {
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        wire
    }

    #[test]
    fn what_is_given_up_is_written_as_before() {
        let titled = TITLED.map(|name| std::str::from_utf8(name).unwrap());
        for name in titled.into_iter().chain(["x-tenant", "accept"]) {
            let mut simple = request(&[name]);
            let before = wire(&simple);
            simplify(&mut simple);
            assert!(!simple.has_case(), "{name}");
            assert_eq!(before, wire(&simple), "{name}");
        }
    }

    #[test]
    fn a_name_of_its_own_case_keeps_the_map() {
        for name in ["X-Tenant", "hOST", "SOAPAction"] {
            let mut request = request(&["Host", name]);
            simplify(&mut request);
            assert!(request.has_case(), "{name}");
        }
    }

    #[test]
    fn a_lower_case_name_is_not_titled() {
        let mut request = request(&["host"]);
        let before = wire(&request);
        simplify(&mut request);
        assert_eq!(before, wire(&request));
    }

    #[test]
    fn an_absolute_target_is_left_alone() {
        let mut request = RequestHeader::build("GET", b"http://a.test/b", None).unwrap();
        request.insert_header("Host", "a.test").unwrap();
        simplify(&mut request);
        assert_eq!(request.raw_path(), b"http://a.test/b");
        assert!(request.has_case());
    }
}
