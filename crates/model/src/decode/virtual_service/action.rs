//! What HTTP routes do with a request: send it on, redirect, answer, delegate.

use super::text::check_location;
use super::{check_weights, destination, headers};
use crate::decode::Cursor;
use crate::{
    Delegate, HttpDirectResponse, HttpRedirect, HttpRouteDestination, RedirectPort, RedirectScheme,
};

/// The greatest body of a direct response, and the one that is worth a word.
const MAX_BODY: usize = 1 << 20;
const LARGE_BODY: usize = 100 << 10;

const SCHEMES: &[(&str, RedirectScheme)] = &[
    ("http", RedirectScheme::Http),
    ("https", RedirectScheme::Https),
];

const DERIVED_PORTS: &[(&str, RedirectPort)] = &[
    ("FROM_PROTOCOL_DEFAULT", RedirectPort::FromProtocolDefault),
    ("FROM_REQUEST_PORT", RedirectPort::FromRequestPort),
];

pub(super) fn destinations(cursor: &Cursor<'_>) -> Option<Vec<HttpRouteDestination>> {
    let items = cursor.items();
    let routes: Vec<HttpRouteDestination> = items.iter().filter_map(route_destination).collect();
    if routes.len() == items.len() {
        let weights: Vec<Option<u32>> = routes.iter().map(|route| route.weight).collect();
        check_weights(cursor, &weights);
    }
    (!routes.is_empty()).then_some(routes)
}

fn route_destination(cursor: &Cursor<'_>) -> Option<HttpRouteDestination> {
    cursor.object(|fields| {
        let destination = fields
            .required("destination")
            .and_then(|to| destination(&to));
        let weight = fields.maybe("weight", weight);
        let headers = headers::headers(fields);
        Some(HttpRouteDestination {
            at: fields.at(),
            destination: destination?,
            weight,
            headers,
        })
    })
}

pub(super) fn weight(cursor: &Cursor<'_>) -> Option<u32> {
    cursor
        .integer(0..=i32::MAX.into())
        .and_then(|value| value.try_into().ok())
}

pub(super) fn redirect(cursor: &Cursor<'_>) -> Option<HttpRedirect> {
    cursor.object(|fields| {
        fields.exclusive(&["uri", "prefixRewrite"]);
        fields.exclusive(&["port", "derivePort"]);
        let explicit = fields
            .maybe("port", Cursor::port)
            .map(RedirectPort::Explicit);
        let derived = fields.maybe("derivePort", |cursor| cursor.one_of(DERIVED_PORTS));
        let redirect = HttpRedirect {
            at: fields.at(),
            uri: fields.string("uri"),
            prefix_rewrite: fields.string("prefixRewrite"),
            authority: fields.string("authority"),
            port: explicit.or(derived).unwrap_or_default(),
            scheme: fields.maybe("scheme", |scheme| scheme.one_of(SCHEMES)),
            redirect_code: fields.maybe("redirectCode", redirect_code).unwrap_or(301),
        };
        for name in ["uri", "prefixRewrite", "authority"] {
            fields.field(name).iter().for_each(check_location);
        }
        let parts = [
            "uri",
            "prefixRewrite",
            "authority",
            "port",
            "derivePort",
            "scheme",
        ];
        if !parts.iter().any(|name| fields.has(name)) {
            cursor.error(
                "missing_field",
                "redirect must specify URI, authority, scheme, or port",
            );
        }
        Some(redirect)
    })
}

fn redirect_code(cursor: &Cursor<'_>) -> Option<u16> {
    // Protobuf does not tell 0 from absent.
    let code = cursor.integer(0..=u16::MAX.into())?;
    if code == 0 {
        return Some(301);
    }
    let code = cursor.u16_in(300..=399)?;
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        cursor
            .warning(
                "ineffective",
                format!("{code} is no redirect that clients follow"),
            )
            .help("one of 301, 302, 303, 307, 308");
    }
    Some(code)
}

pub(super) fn direct_response(cursor: &Cursor<'_>) -> Option<HttpDirectResponse> {
    cursor.object(|fields| {
        let status = fields
            .required("status")
            .and_then(|status| status.u16_in(200..=599));
        let body = fields.maybe("body", body).unwrap_or_default();
        Some(HttpDirectResponse {
            at: fields.at(),
            status: status?,
            body,
        })
    })
}

fn body(cursor: &Cursor<'_>) -> Option<Vec<u8>> {
    let body = cursor.object(|fields| {
        fields.exclusive(&["string", "bytes"]);
        let text = fields
            .field("string")
            .and_then(|text| text.string())
            .map(String::into_bytes);
        let bytes = fields.field("bytes").and_then(|bytes| bytes.base64());
        Some(text.or(bytes).unwrap_or_default())
    })?;
    if body.len() > MAX_BODY {
        cursor.error(
            "too_large",
            format!("body is {} bytes, at most {MAX_BODY}", body.len()),
        );
    } else if body.len() > LARGE_BODY {
        cursor.warning("large_value", format!("body is {} bytes", body.len()));
    }
    Some(body)
}

pub(super) fn delegate(cursor: &Cursor<'_>) -> Option<Delegate> {
    cursor.object(|fields| {
        let name = fields.required("name").and_then(|name| name.text());
        let namespace = fields
            .string("namespace")
            .map_or_else(|| cursor.cx.namespace(), Into::into);
        Some(Delegate {
            at: fields.at(),
            name: name?.into(),
            namespace,
        })
    })
}
