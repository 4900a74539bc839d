//! Istio's `HTTPMatchRequest` to a predicate, and the criteria that are decided here.

use super::Scope;
use crate::{
    HeaderKey, HeaderMatch, InvalidHeaderKey, InvalidPattern, PathMatch, Pattern, Predicate,
    QueryMatch, TextMatch,
};
use model::{
    ClaimMatch, GatewayRef, HttpMatchRequest, L4MatchAttributes, Labels, Located, StringMatch,
    TlsMatchAttributes, selects,
};
use std::sync::Arc;

/// A criterion that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidMatch {
    /// Its expression.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// Its header.
    #[error(transparent)]
    Header(#[from] InvalidHeaderKey),
}

/// The criteria that depend on the request.
pub(crate) fn predicate(request: &HttpMatchRequest) -> Result<Predicate, InvalidMatch> {
    let mut headers = Vec::with_capacity(request.headers.len() + request.without_headers.len());
    for (name, value) in &request.headers {
        headers.push(HeaderMatch::required(HeaderKey::parse(name)?, text(value)?));
    }
    for claim in &request.claims {
        headers.push(HeaderMatch::required(claim_key(claim), text(&claim.value)?));
    }
    for (name, value) in &request.without_headers {
        headers.push(HeaderMatch::forbidden(
            HeaderKey::parse(name)?,
            text(value)?,
        ));
    }
    for claim in &request.without_claims {
        headers.push(HeaderMatch::forbidden(
            claim_key(claim),
            text(&claim.value)?,
        ));
    }
    let query = request.query_params.iter().map(|(name, value)| {
        let value = text(value)?;
        Ok(QueryMatch {
            name: name.clone(),
            value,
        })
    });
    Ok(Predicate {
        uri: path(request)?,
        scheme: request.scheme.as_ref().map(text).transpose()?,
        method: request.method.as_ref().map(text).transpose()?,
        authority: request.authority.as_ref().map(text).transpose()?,
        headers,
        query: query.collect::<Result<_, InvalidPattern>>()?,
    })
}

fn path(request: &HttpMatchRequest) -> Result<Option<PathMatch>, InvalidPattern> {
    let Some(uri) = &request.uri else {
        return Ok(None);
    };
    Ok(match (uri, request.ignore_uri_case) {
        (StringMatch::Exact(text), false) => Some(PathMatch::Exact(text.clone())),
        (StringMatch::Exact(text), true) => Some(PathMatch::ExactIgnoreCase(text.clone())),
        (StringMatch::Prefix(text), false) => Some(PathMatch::Prefix(text.clone())),
        (StringMatch::Prefix(text), true) => Some(PathMatch::PrefixIgnoreCase(text.clone())),
        (StringMatch::Regex(regex), _) => Some(PathMatch::Regex(Pattern::parse(regex.as_str())?)),
        // Every request has a path.
        (StringMatch::Present, _) => None,
    })
}

fn text(value: &StringMatch) -> Result<TextMatch, InvalidPattern> {
    Ok(match value {
        StringMatch::Exact(text) => TextMatch::Exact(text.clone()),
        StringMatch::Prefix(text) => TextMatch::Prefix(text.clone()),
        StringMatch::Regex(regex) => TextMatch::Regex(Pattern::parse(regex.as_str())?),
        StringMatch::Present => TextMatch::Present,
    })
}

fn claim_key(claim: &ClaimMatch) -> HeaderKey {
    HeaderKey::Claim(format!("@request.auth.claims.{}", claim.path.join(".")))
}

/// The criteria of any match that do not depend on the request or connection.
pub(crate) struct StaticCriteria<'m> {
    /// The listener's port. Absent: all.
    pub(crate) port: Option<u16>,
    /// The Gateways. Empty: those of the VirtualService.
    pub(crate) gateways: &'m [Located<GatewayRef>],
    /// Labels of the calling workload, which a gateway is itself.
    pub(crate) source_labels: &'m Labels,
    /// The calling workload's namespace.
    pub(crate) source_namespace: Option<&'m Arc<str>>,
}

/// The three kinds of match spell them alike.
macro_rules! static_criteria_of {
    ($($kind:ty),*) => {$(
        impl<'m> From<&'m $kind> for StaticCriteria<'m> {
            fn from(one: &'m $kind) -> Self {
                Self {
                    port: one.port,
                    gateways: &one.gateways,
                    source_labels: &one.source_labels,
                    source_namespace: one.source_namespace.as_ref(),
                }
            }
        }
    )*};
}

static_criteria_of!(HttpMatchRequest, TlsMatchAttributes, L4MatchAttributes);

impl Scope<'_> {
    /// Whether the criteria hold that do not depend on the request or connection: port, Gateways, and the proxy itself.
    pub(super) fn admits<'m>(&self, one: impl Into<StaticCriteria<'m>>) -> bool {
        let criteria = one.into();
        criteria.port.is_none_or(|port| port == self.port) && self.admits_source(&criteria)
    }

    /// A match that names Gateways says nothing about where requests come from.
    fn admits_source(&self, criteria: &StaticCriteria<'_>) -> bool {
        if !criteria.gateways.is_empty() {
            return criteria
                .gateways
                .iter()
                .any(|gateway| gateway.value == *self.via);
        }
        let proxy = &self.options.proxy;
        let namespace = criteria.source_namespace;
        selects(criteria.source_labels, &proxy.labels)
            && namespace.is_none_or(|name| *name == proxy.namespace)
    }
}
