//! Istio's `HTTPRedirect` and `HTTPDirectResponse`.

use super::delegates::FlatRoute;
use super::diagnostics::error;
use super::operations::response_operations;
use super::part::Part;
use crate::{
    DirectResponseAction, HeaderOps, PathMatch, RedirectAction, RedirectPath, RedirectPort,
};
use bytes::Bytes;
use http::StatusCode;
use model::{At, HttpDirectResponse, HttpRedirect};

/// `None`: the answer cannot be given.
pub(super) fn redirect(
    redirect: &HttpRedirect,
    route: &FlatRoute<'_>,
    matched: Option<&PathMatch>,
    listener_port: u16,
    part: &mut Part,
) -> Option<RedirectAction> {
    let code = match redirect.redirect_code {
        code @ (301 | 302 | 303 | 307 | 308) => StatusCode::from_u16(code).ok()?,
        // Istio makes no route of such a code. It is told when the object is read.
        _ => return None,
    };
    let port = match redirect.port {
        model::RedirectPort::FromProtocolDefault => RedirectPort::ProtocolDefault,
        model::RedirectPort::FromRequestPort => RedirectPort::Request(listener_port),
        model::RedirectPort::Explicit(port) => RedirectPort::Explicit(port),
    };
    Some(RedirectAction {
        code,
        scheme: redirect.scheme.map(|scheme| scheme.as_str().to_owned()),
        authority: redirect.authority.clone(),
        port,
        path: path(redirect, matched),
        response_headers: response_headers(route, part)?,
    })
}

fn path(redirect: &HttpRedirect, matched: Option<&PathMatch>) -> RedirectPath {
    if let Some(uri) = &redirect.uri {
        let slash = if uri.starts_with('/') { "" } else { "/" };
        return RedirectPath::Full(format!("{slash}{uri}"));
    }
    match &redirect.prefix_rewrite {
        Some(with) => RedirectPath::Prefix {
            matched: matched_length(matched),
            with: with.clone(),
        },
        None => RedirectPath::Keep,
    }
}

/// How many bytes of a path a match stands for. Without a match on the path that is the slash it begins with.
pub(super) fn matched_length(matched: Option<&PathMatch>) -> usize {
    match matched {
        Some(
            PathMatch::Prefix(text)
            | PathMatch::PrefixIgnoreCase(text)
            | PathMatch::Exact(text)
            | PathMatch::ExactIgnoreCase(text),
        ) => text.len(),
        Some(PathMatch::Regex(_)) | None => 1,
    }
}

/// `None`: the answer cannot be given, and it was said why.
pub(super) fn direct_response(
    response: &HttpDirectResponse,
    route: &FlatRoute<'_>,
    part: &mut Part,
) -> Option<DirectResponseAction> {
    let Ok(status) = StatusCode::from_u16(response.status) else {
        let message = format!("{} is no status", response.status);
        refuse(route, ".directResponse.status", response.at, message, part);
        return None;
    };
    Some(DirectResponseAction {
        status,
        body: Bytes::from(response.body.clone()),
        response_headers: response_headers(route, part)?,
    })
}

/// Route-level operations on the response.
pub(super) fn response_headers(route: &FlatRoute<'_>, part: &mut Part) -> Option<HeaderOps> {
    match response_operations(&route.headers.response) {
        Ok(ops) => Some(ops),
        Err(invalid) => {
            refuse(
                route,
                ".headers.response",
                route.at,
                invalid.to_string(),
                part,
            );
            None
        }
    }
}

/// Says that a rule cannot be obeyed.
pub(super) fn refuse(route: &FlatRoute<'_>, field: &str, at: At, message: String, part: &mut Part) {
    let path = format!("{}{field}", route.path);
    part.diagnostics
        .push(error(&route.owner.meta, "invalid_rule", path, at, message));
}
