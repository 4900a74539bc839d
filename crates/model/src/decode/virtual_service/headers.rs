//! Operations on headers.

use super::text::check_authority;
use crate::decode::{Cursor, Fields};
use crate::{HeaderOperations, Headers};
use std::collections::{BTreeMap, HashSet};

/// `headers`, and the fields of Istio before 1.0 that it replaced.
pub(super) fn headers(fields: &Fields<'_>) -> Headers {
    let mut headers = fields.maybe("headers", decode).unwrap_or_default();
    if let Some(append) = fields.field("appendHeaders") {
        append.legacy("headers.request.add");
        add_missing(
            &mut headers.request.add,
            values(&append, Direction::Request),
        );
    }
    for name in ["appendRequestHeaders", "appendResponseHeaders"] {
        let Some(append) = fields.field(name) else {
            continue;
        };
        let (direction, to, read_as) = match name {
            "appendRequestHeaders" => (
                Direction::Request,
                &mut headers.request,
                "headers.request.add",
            ),
            _ => (
                Direction::Response,
                &mut headers.response,
                "headers.response.add",
            ),
        };
        append.legacy(read_as);
        add_missing(&mut to.add, values(&append, direction));
    }
    if let Some(remove) = fields.field("removeRequestHeaders") {
        remove.legacy("headers.request.remove");
        headers.request.remove.extend(names(&remove));
    }
    if let Some(remove) = fields.field("removeResponseHeaders") {
        remove.legacy("headers.response.remove");
        headers.response.remove.extend(names(&remove));
    }
    headers
}

/// Headers about one connection and the frames on it, which HTTP sets anew for each hop. An operation that
/// changed them would make a body end elsewhere than its receiver thinks.
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[derive(Clone, Copy, Eq, PartialEq)]
enum Direction {
    Request,
    Response,
}

fn add_missing(to: &mut BTreeMap<String, String>, more: BTreeMap<String, String>) {
    for (name, value) in more {
        to.entry(name).or_insert(value);
    }
}

fn decode(cursor: &Cursor<'_>) -> Option<Headers> {
    cursor.object(|fields| {
        let operations = |name, direction| {
            fields
                .maybe(name, |cursor| operations(cursor, direction))
                .unwrap_or_default()
        };
        Some(Headers {
            request: operations("request", Direction::Request),
            response: operations("response", Direction::Response),
        })
    })
}

fn operations(cursor: &Cursor<'_>, direction: Direction) -> Option<HeaderOperations> {
    cursor.object(|fields| {
        let map = |name| {
            fields
                .field(name)
                .map(|cursor| values(&cursor, direction))
                .unwrap_or_default()
        };
        Some(HeaderOperations {
            set: map("set"),
            add: map("add"),
            remove: fields
                .field("remove")
                .map(|cursor| names(&cursor))
                .unwrap_or_default(),
        })
    })
}

fn values(cursor: &Cursor<'_>, direction: Direction) -> BTreeMap<String, String> {
    let (mut values, mut names) = (BTreeMap::new(), HashSet::new());
    for (name, cursor) in cursor.entries() {
        let valid = check_set_name(&cursor, name, direction);
        let Some(value) = cursor
            .str()
            .filter(|value| check_value(&cursor, value) && valid)
        else {
            continue;
        };
        if !names.insert(name.to_ascii_lowercase()) {
            cursor.error(
                "duplicate_field",
                format!("header {name:?} is there twice, case does not count"),
            );
        }
        if is_changeable(&cursor, name) {
            values.insert(name.to_owned(), value.to_owned());
        }
    }
    values
}

/// Whether it can be set or added. In a request, the host can be: it is sent in place of the client's.
fn check_set_name(cursor: &Cursor<'_>, name: &str, direction: Direction) -> bool {
    let names_host = name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host");
    if direction == Direction::Request && names_host {
        return check_authority(cursor);
    }
    check_operation_name(cursor, name)
}

fn names(cursor: &Cursor<'_>) -> Vec<String> {
    let valid = |item: &Cursor<'_>| {
        let name = item.string()?;
        (check_operation_name(item, &name) && is_changeable(item, &name)).then_some(name)
    };
    cursor.items().iter().filter_map(valid).collect()
}

/// As [`check_name`], without the host: it cannot be removed, and a response has none. Istio refuses it too.
fn check_operation_name(cursor: &Cursor<'_>, name: &str) -> bool {
    if name.eq_ignore_ascii_case("host") {
        cursor
            .error(
                "invalid_value",
                "header \"Host\" can only be set or added, and in a request only",
            )
            .help("set it in headers.request.set, or use rewrite.authority");
        return false;
    }
    check_name(cursor, name)
}

/// Whether operations on it are carried out. Istio accepts those that are not, so they refuse nothing here.
fn is_changeable(cursor: &Cursor<'_>, name: &str) -> bool {
    let changeable = !OF_THE_CONNECTION
        .iter()
        .any(|one| name.eq_ignore_ascii_case(one));
    if !changeable {
        cursor
            .warning(
                "ineffective",
                format!("header {name:?} is about one connection and stays as it is"),
            )
            .help("leave it out: the gateway sets it by itself, for clients and for upstreams");
    }
    changeable
}

/// Whether it can be the name of a header.
pub(super) fn check_name(cursor: &Cursor<'_>, name: &str) -> bool {
    if name.is_empty() {
        cursor
            .error("invalid_value", "header name must not be empty")
            .help("write a name such as x-user");
        return false;
    }
    if name.starts_with(':') {
        cursor
            .error(
                "invalid_value",
                format!("pseudo header {name:?} cannot be used here"),
            )
            .help("a rewrite changes path and host; method, scheme and status stay as they are");
        return false;
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(token) || name.len() > 1024 {
        cursor.error("invalid_value", format!("{name:?} is no header name"));
        return false;
    }
    true
}

fn check_value(cursor: &Cursor<'_>, value: &str) -> bool {
    if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
        cursor
            .error(
                "invalid_value",
                "header value must not have control characters",
            )
            .help("a line break would begin another header; write the value on one line");
        return false;
    }
    if let Some(rest) = stray_percent(value) {
        cursor
            .error(
                "invalid_value",
                format!("header value has a stray % at {rest:?}"),
            )
            .help("write %% for a percent sign, or a format operator such as %REQ(x-user)%");
        return false;
    }
    true
}

/// What begins with a `%` that is neither `%%` nor the begin of `%OPERATOR(argument):length%`.
fn stray_percent(value: &str) -> Option<&str> {
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        let after = &rest[start + 1..];
        if let Some(more) = after.strip_prefix('%') {
            rest = more;
            continue;
        }
        match operator(after) {
            Some(more) => rest = more,
            None => return Some(&rest[start..]),
        }
    }
    None
}

/// What follows `NAME(argument):length%`.
fn operator(text: &str) -> Option<&str> {
    let name_end =
        text.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')?;
    if name_end == 0 {
        return None;
    }
    let mut rest = &text[name_end..];
    if let Some(argument) = rest.strip_prefix('(') {
        rest = &argument[argument.find(')')? + 1..];
    }
    if let Some(length) = rest.strip_prefix(':') {
        let digits = length.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        rest = &length[digits..];
    }
    rest.strip_prefix('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_must_mean_something() {
        let cases = [
            ("plain", None),
            ("100%%", None),
            ("%REQ(x-user)%", None),
            ("a %START_TIME(%Y)% b", None),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", None),
            ("%REQ(x):10%", None),
            ("100%", Some("%")),
            ("50% off", Some("% off")),
            ("%lower%", Some("%lower%")),
            ("%REQ(x", Some("%REQ(x")),
            ("%REQ(x):%", Some("%REQ(x):%")),
            ("%%%", Some("%")),
        ];
        for (value, want) in cases {
            assert_eq!(stray_percent(value), want, "{value}");
        }
    }
}
