//! Consistent hashing of a load balancer.
//!
//! What is made of it stands in headers, so that no text may end one.

use super::{Cursor, Fields};
use crate::{ConsistentHashLb, CookieAttribute, HashAlgorithm, HashCookie, HashKey};

const MAX_TABLE_SIZE: i128 = 5_000_011;
const MAX_RING_SIZE: i128 = 8 << 20;

/// Bytes of a name, path or value.
const MAX_NAME: usize = 1024;

pub(super) fn consistent_hash(cursor: &Cursor<'_>) -> Option<ConsistentHashLb> {
    cursor.object(|fields| {
        if let Some(legacy) = fields.field("httpHeader") {
            legacy.legacy("httpHeaderName");
            fields.exclusive(&["httpHeaderName", "httpHeader"]);
        }
        let keys = [
            "httpHeaderName",
            "httpHeader",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ];
        fields.exclusive(&[
            "httpHeaderName",
            "httpCookie",
            "useSourceIp",
            "httpQueryParameterName",
        ]);
        let header = fields.maybe("httpHeaderName", header_name);
        let header = header
            .or_else(|| fields.maybe("httpHeader", header_name))
            .map(HashKey::HttpHeaderName);
        let cookie = fields.maybe("httpCookie", cookie).map(HashKey::HttpCookie);
        let source = fields
            .bool("useSourceIp")
            .and_then(|yes| yes.then_some(HashKey::UseSourceIp));
        let query = fields
            .maybe("httpQueryParameterName", query_name)
            .map(HashKey::HttpQueryParameterName);
        let algorithm = algorithm(fields);
        let key = header.or(cookie).or(source).or(query);
        if key.is_none() && (!keys.iter().any(|key| fields.has(key)) || fields.has("useSourceIp")) {
            cursor
                .error("missing_field", "consistentHash must say what is hashed")
                .help("httpHeaderName, httpCookie, useSourceIp: true or httpQueryParameterName");
        }
        Some(ConsistentHashLb {
            key: key?,
            algorithm,
        })
    })
}

fn cookie(cursor: &Cursor<'_>) -> Option<HashCookie> {
    cursor.object(|fields| {
        let name = fields.required("name").and_then(|name| token(&name));
        let path = fields.maybe("path", cookie_part);
        let ttl = fields.maybe("ttl", Cursor::duration_or_zero);
        let attributes = fields.each("attributes", |attribute| {
            attribute.object(|fields| {
                let name = fields.required("name").and_then(|name| token(&name));
                let value = fields.maybe("value", cookie_part);
                Some(CookieAttribute { name: name?, value })
            })
        });
        Some(HashCookie {
            name: name?,
            path,
            ttl,
            attributes,
        })
    })
}

/// A pseudo header is none that can be looked up, which is no reason to refuse the object.
fn header_name(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.text()?;
    if name.starts_with(':') {
        let message = format!("{name} is not hashed: requests go to random endpoints");
        cursor.warning("not_honoured", message);
        return Some(name);
    }
    is_token(cursor, &name).then_some(name)
}

/// The name of a cookie or of an attribute.
fn token(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.text()?;
    is_token(cursor, &name).then_some(name)
}

fn is_token(cursor: &Cursor<'_>, name: &str) -> bool {
    let is_of_tokens =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_token = name.len() <= MAX_NAME && name.bytes().all(is_of_tokens);
    if !is_token {
        let message = format!("{name:?} is no name that can stand in a header");
        cursor.error("invalid_value", message);
    }
    is_token
}

/// A path or a value, which must end neither its attribute nor the header.
fn cookie_part(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.string().filter(|text| !text.is_empty())?;
    let is_of_values = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
    if text.len() > MAX_NAME || !text.bytes().all(is_of_values) || text.trim() != text {
        let message = format!("{text:?} cannot stand in a cookie");
        cursor
            .error("invalid_value", message)
            .help("visible ASCII without `;`");
        return None;
    }
    Some(text)
}

/// It is compared with what stands in a URL, encoded as it is there.
fn query_name(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.text()?;
    let is_of_queries = |byte: u8| byte.is_ascii_graphic() && !b"&=#".contains(&byte);
    if name.len() > MAX_NAME || !name.bytes().all(is_of_queries) {
        let message = format!("no query can have a parameter {name:?}");
        cursor
            .error("invalid_value", message)
            .help("write it as it stands in the URL, such as a%20b");
        return None;
    }
    Some(name)
}

fn algorithm(fields: &Fields<'_>) -> HashAlgorithm {
    fields.exclusive(&["ringHash", "maglev"]);
    let legacy = fields.field("minimumRingSize").and_then(|size| {
        size.legacy("ringHash.minimumRingSize");
        ring_size(&size)
    });
    let ring = fields.maybe("ringHash", |ring| {
        ring.object(|fields| Some(fields.maybe("minimumRingSize", ring_size).or(legacy)))
    });
    let maglev = fields.maybe("maglev", |maglev| {
        maglev.object(|fields| Some(fields.maybe("tableSize", table_size).unwrap_or(65_537)))
    });
    if let Some(table_size) = maglev {
        return HashAlgorithm::Maglev { table_size };
    }
    match ring.flatten().or(legacy) {
        Some(minimum_ring_size) => HashAlgorithm::RingHash { minimum_ring_size },
        None => HashAlgorithm::default(),
    }
}

fn ring_size(cursor: &Cursor<'_>) -> Option<u64> {
    let size = cursor.integer(0..=MAX_RING_SIZE)?;
    u64::try_from(size).ok().filter(|size| *size > 0)
}

fn table_size(cursor: &Cursor<'_>) -> Option<u64> {
    let size = u64::try_from(cursor.integer(2..=MAX_TABLE_SIZE)?).ok()?;
    let mut candidates = (2..).take_while(|divisor: &u64| divisor * divisor <= size);
    if candidates.any(|divisor| size.is_multiple_of(divisor)) {
        cursor.error(
            "invalid_value",
            format!("tableSize {size} is no prime number"),
        );
        return None;
    }
    Some(size)
}
