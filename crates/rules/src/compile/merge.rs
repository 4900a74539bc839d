//! A delegate's matches under those of the rule that delegates.

use super::delegates::{FlatMatch, joined};
use model::{HttpMatchRequest, Labels, StringMatch};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Every compatible pair of a root's and a delegate's match, merged.
///
/// `None`: one of the delegate's matches fits none of the root's, so that its rule does not count.
pub(crate) fn merge_matches<'r>(
    root: Vec<FlatMatch<'r>>,
    delegate: Vec<FlatMatch<'r>>,
) -> Option<Vec<FlatMatch<'r>>> {
    if root.is_empty() {
        return Some(delegate);
    }
    if delegate.is_empty() {
        return Some(root);
    }
    let mut merged = Vec::with_capacity(delegate.len());
    for own in &delegate {
        let before = merged.len();
        let compatible = root
            .iter()
            .filter(|above| !conflict(&above.request, &own.request));
        merged.extend(compatible.map(|above| FlatMatch {
            request: Cow::Owned(merge(&above.request, &own.request)),
            owner: own.owner,
            path: own.path.clone(),
        }));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge(root: &HttpMatchRequest, own: &HttpMatchRequest) -> HttpMatchRequest {
    let name = joined(
        root.name.as_deref().unwrap_or_default(),
        own.name.as_deref().unwrap_or_default(),
    );
    HttpMatchRequest {
        at: own.at,
        name: (!name.is_empty()).then(|| name.into_owned()),
        uri: own.uri.clone().or_else(|| root.uri.clone()),
        ignore_uri_case: own.ignore_uri_case,
        scheme: own.scheme.clone().or_else(|| root.scheme.clone()),
        method: own.method.clone().or_else(|| root.method.clone()),
        authority: own.authority.clone().or_else(|| root.authority.clone()),
        headers: over(&root.headers, &own.headers),
        claims: root.claims.iter().chain(&own.claims).cloned().collect(),
        without_headers: over(&root.without_headers, &own.without_headers),
        without_claims: root
            .without_claims
            .iter()
            .chain(&own.without_claims)
            .cloned()
            .collect(),
        query_params: over(&root.query_params, &own.query_params),
        port: own.port.or(root.port),
        source_labels: over(&root.source_labels, &own.source_labels),
        source_namespace: own
            .source_namespace
            .clone()
            .or_else(|| root.source_namespace.clone()),
        gateways: if own.gateways.is_empty() {
            root.gateways.clone()
        } else {
            own.gateways.clone()
        },
        stat_prefix: own.stat_prefix.clone().or_else(|| root.stat_prefix.clone()),
    }
}

fn over<V: Clone>(root: &BTreeMap<String, V>, own: &BTreeMap<String, V>) -> BTreeMap<String, V> {
    let mut all = root.clone();
    all.extend(
        own.iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    all
}

/// Whether no request that `own` takes could be one that `root` takes, by Istio's rules.
fn conflict(root: &HttpMatchRequest, own: &HttpMatchRequest) -> bool {
    texts_conflict(root.uri.as_ref(), own.uri.as_ref())
        || texts_conflict(root.scheme.as_ref(), own.scheme.as_ref())
        || texts_conflict(root.method.as_ref(), own.method.as_ref())
        || texts_conflict(root.authority.as_ref(), own.authority.as_ref())
        || maps_conflict(&root.headers, &own.headers)
        || maps_conflict(&root.without_headers, &own.without_headers)
        || maps_conflict(&root.query_params, &own.query_params)
        || root.ignore_uri_case != own.ignore_uri_case
        || matches!((root.port, own.port), (Some(root), Some(own)) if root != own)
        || sources_conflict(root, own)
        || gateways_conflict(root, own)
}

fn maps_conflict(
    root: &BTreeMap<String, StringMatch>,
    own: &BTreeMap<String, StringMatch>,
) -> bool {
    own.iter()
        .any(|(name, value)| texts_conflict(root.get(name), Some(value)))
}

/// The delegate's must be the root's, or narrower in a way that shows without knowing expressions.
fn texts_conflict(root: Option<&StringMatch>, own: Option<&StringMatch>) -> bool {
    let (Some(root), Some(own)) = (root, own) else {
        return false;
    };
    match (root, own) {
        (StringMatch::Present, _) => false,
        (StringMatch::Exact(root), StringMatch::Exact(own)) => root != own,
        (StringMatch::Prefix(root), StringMatch::Exact(own) | StringMatch::Prefix(own)) => {
            !own.starts_with(root.as_str())
        }
        _ => true,
    }
}

fn sources_conflict(root: &HttpMatchRequest, own: &HttpMatchRequest) -> bool {
    let other_namespace =
        root.source_namespace.is_some() && root.source_namespace != own.source_namespace;
    other_namespace || labels_conflict(&root.source_labels, &own.source_labels)
}

fn labels_conflict(root: &Labels, own: &Labels) -> bool {
    own.iter()
        .any(|(name, value)| root.get(name).is_some_and(|root| root != value))
}

fn gateways_conflict(root: &HttpMatchRequest, own: &HttpMatchRequest) -> bool {
    let known =
        |gateway: &model::GatewayRef| root.gateways.iter().any(|root| root.value == *gateway);
    !root.gateways.is_empty() && own.gateways.iter().any(|gateway| !known(&gateway.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Option<StringMatch> {
        Some(StringMatch::Exact(text.into()))
    }

    fn prefix(text: &str) -> Option<StringMatch> {
        Some(StringMatch::Prefix(text.into()))
    }

    fn regex(text: &str) -> Option<StringMatch> {
        Some(StringMatch::Regex(
            model::RegexSource::try_from(text).unwrap(),
        ))
    }

    #[test]
    fn a_delegate_s_text_narrows_the_root_s_or_conflicts() {
        for (root, own, want) in [
            (None, prefix("/a"), false),
            (prefix("/a"), None, false),
            (prefix("/a"), prefix("/a/b"), false),
            (prefix("/a"), exact("/ab"), false),
            (prefix("/a/b"), prefix("/a"), true),
            (exact("/a"), exact("/a"), false),
            (exact("/a"), exact("/b"), true),
            (exact("/a"), prefix("/a"), true),
            (regex("/a"), exact("/a"), true),
            (prefix("/a"), regex("/a.*"), true),
            (regex("/a"), None, false),
            (None, regex("/a"), false),
            (Some(StringMatch::Present), exact("x"), false),
        ] {
            assert_eq!(
                texts_conflict(root.as_ref(), own.as_ref()),
                want,
                "{root:?} {own:?}"
            );
        }
    }

    #[test]
    fn ports_and_case_must_agree() {
        let of = |port, ignore_uri_case| HttpMatchRequest {
            port,
            ignore_uri_case,
            ..HttpMatchRequest::default()
        };
        assert!(conflict(&of(Some(80), false), &of(Some(81), false)));
        assert!(!conflict(&of(Some(80), false), &of(None, false)));
        assert!(conflict(&of(None, true), &of(None, false)));
    }
}
