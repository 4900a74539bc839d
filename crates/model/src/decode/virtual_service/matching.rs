//! What HTTP routes match.

use super::{BoundTo, gateways};
use crate::decode::{Cursor, Fields};
use crate::{ClaimMatch, HttpMatchRequest, StringMatch};
use std::collections::BTreeMap;

const CLAIMS: &str = "@request.auth.claims";

/// Pseudo headers that may be matched like others.
const PSEUDO: &[&str] = &[":method", ":scheme", ":authority", ":path", ":status"];

pub(super) fn http_match(cursor: &Cursor<'_>, bound_to: BoundTo) -> Option<HttpMatchRequest> {
    // An item left empty (`- `) matches everything, as in protobuf's JSON it would be refused.
    cursor.object(|fields| {
        let gateways = gateways(fields);
        let (headers, claims) = headers(fields, "headers", presence_or_error);
        let (without_headers, without_claims) = headers_absent(fields);
        if bound_to == BoundTo::Mesh && gateways.is_empty() {
            refuse_claims(fields);
        }
        let query_params = fields
            .field("queryParams")
            .map(|cursor| query_params(&cursor));
        Some(HttpMatchRequest {
            at: fields.at(),
            name: fields.string("name"),
            uri: fields.maybe("uri", uri),
            ignore_uri_case: fields.flag("ignoreUriCase"),
            scheme: fields.maybe("scheme", criterion),
            method: fields.maybe("method", criterion),
            authority: fields.maybe("authority", criterion),
            headers,
            claims,
            without_headers,
            without_claims,
            query_params: query_params.unwrap_or_default(),
            port: fields.maybe("port", Cursor::port),
            source_labels: fields.labels("sourceLabels"),
            source_namespace: fields.string("sourceNamespace").map(Into::into),
            gateways,
            stat_prefix: fields.string("statPrefix"),
        })
    })
}

/// Of `uri` alone a prefix may be empty: it matches everything.
fn uri(cursor: &Cursor<'_>) -> Option<StringMatch> {
    let found = cursor.string_match()?;
    if matches!(&found, StringMatch::Regex(regex) if regex.as_str().is_empty()) {
        refuse_empty(cursor, "regex");
        return None;
    }
    Some(found)
}

fn criterion(cursor: &Cursor<'_>) -> Option<StringMatch> {
    cursor
        .string_match()
        .and_then(|found| not_empty(cursor, found))
}

fn not_empty(cursor: &Cursor<'_>, found: StringMatch) -> Option<StringMatch> {
    match &found {
        StringMatch::Prefix(prefix) if prefix.is_empty() => refuse_empty(cursor, "prefix"),
        StringMatch::Regex(regex) if regex.as_str().is_empty() => refuse_empty(cursor, "regex"),
        _ => return Some(found),
    }
    None
}

fn refuse_empty(cursor: &Cursor<'_>, form: &str) {
    let message = format!("{form} must not be empty");
    match cursor.node.entry(form) {
        Some(entry) => cursor.child(entry).error("invalid_value", message),
        None => cursor.error("invalid_value", message),
    };
}

type HeaderMatches = (BTreeMap<String, StringMatch>, Vec<ClaimMatch>);

fn headers<'a>(
    fields: &Fields<'a>,
    name: &'static str,
    value: impl Fn(&Cursor<'a>, &str) -> Option<StringMatch>,
) -> HeaderMatches {
    let mut headers = BTreeMap::new();
    let mut claims = Vec::new();
    let entries = fields
        .field(name)
        .map(|cursor| cursor.entries())
        .unwrap_or_default();
    for (key, cursor) in entries {
        let found = value(&cursor, key);
        if let Some(claim) = key.strip_prefix(CLAIMS) {
            if let (Some(path), Some(value)) = (claim_path(&cursor, claim), found) {
                claims.push(ClaimMatch { path, value });
            }
            continue;
        }
        let valid = check_name(&cursor, key);
        let Some(found) = found.filter(|_| valid) else {
            continue;
        };
        if headers.insert(key.to_ascii_lowercase(), found).is_some() {
            cursor.error(
                "duplicate_field",
                format!("header {key:?} is there twice, case does not count"),
            );
        }
    }
    (headers, claims)
}

fn headers_absent(fields: &Fields<'_>) -> HeaderMatches {
    headers(fields, "withoutHeaders", |cursor, _| {
        match cursor.is_null() {
            true => Some(StringMatch::Present),
            false => cursor
                .presence_or_match()
                .and_then(|found| not_empty(cursor, found)),
        }
    })
}

fn presence_or_error(cursor: &Cursor<'_>, key: &str) -> Option<StringMatch> {
    if cursor.is_null() {
        cursor
            .error(
                "invalid_value",
                format!("header match {key} cannot be null"),
            )
            .help("write {} to ask whether the header is there");
        return None;
    }
    cursor
        .presence_or_match()
        .and_then(|found| not_empty(cursor, found))
}

fn check_name(cursor: &Cursor<'_>, name: &str) -> bool {
    if PSEUDO.contains(&name) {
        return true;
    }
    super::headers::check_name(cursor, name)
}

/// `.a.b`, or `[a][b]` when names hold dots.
fn claim_path(cursor: &Cursor<'_>, text: &str) -> Option<Vec<String>> {
    let path: Option<Vec<String>> = match text.strip_prefix('.') {
        Some(names) => Some(names.split('.').map(str::to_owned).collect()),
        None => bracketed(text),
    };
    let path = path.filter(|path| !path.is_empty() && path.iter().all(|name| !name.is_empty()));
    if path.is_none() {
        cursor
            .error("invalid_value", "the name of a claim is not well-formed")
            .help(format!("write {CLAIMS}.name or {CLAIMS}[name][nested]"));
    }
    path
}

fn bracketed(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.split("][").map(str::to_owned).collect())
}

fn refuse_claims(fields: &Fields<'_>) {
    for name in ["headers", "withoutHeaders"] {
        let Some(cursor) = fields.field(name) else {
            continue;
        };
        for (_, claim) in cursor
            .entries()
            .into_iter()
            .filter(|(key, _)| key.starts_with(CLAIMS))
        {
            claim
                .error(
                    "exclusive_fields",
                    "claims of a JWT can only be matched on a gateway",
                )
                .help("name a Gateway in spec.gateways");
        }
    }
}

fn query_params(cursor: &Cursor<'_>) -> BTreeMap<String, StringMatch> {
    let entries = cursor.entries().into_iter();
    entries
        .filter_map(|(key, cursor)| {
            let found = presence_of_param(&cursor)?;
            Some((key.to_owned(), found))
        })
        .collect()
}

fn presence_of_param(cursor: &Cursor<'_>) -> Option<StringMatch> {
    if cursor.is_null() {
        return Some(StringMatch::Present);
    }
    cursor
        .presence_or_match()
        .and_then(|found| not_empty(cursor, found))
}
