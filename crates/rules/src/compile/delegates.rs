//! Delegates: rules of one VirtualService that continue in another, as if they had been written in one.

use super::diagnostics::{Help, warning};
use super::merge::merge_matches;
use super::part::Part;
use model::{
    At, CorsPolicy, Delegate, Diagnostic, Headers, HttpAction, HttpFaultInjection,
    HttpMatchRequest, HttpMirrorPolicy, HttpRetry, HttpRewrite, HttpRoute, ObjectKey, Resources,
    VirtualService,
};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A rule after delegation: each part, and whose words it is.
pub(crate) struct FlatRoute<'r> {
    /// Who wrote the action.
    pub(crate) owner: &'r VirtualService,
    /// Where in the owner: `spec.http[0]`.
    pub(crate) path: String,
    /// Where that stands.
    pub(crate) at: At,
    /// For the access log.
    pub(crate) name: Cow<'r, str>,
    /// Alternatives. Empty: always.
    pub(crate) matches: Vec<FlatMatch<'r>>,
    /// What becomes of the request; never a delegate.
    pub(crate) action: &'r HttpAction,
    /// As in `HttpRoute`.
    pub(crate) rewrite: Option<&'r HttpRewrite>,
    /// As in `HttpRoute`.
    pub(crate) timeout: Option<Duration>,
    /// As in `HttpRoute`.
    pub(crate) retries: Option<&'r HttpRetry>,
    /// As in `HttpRoute`.
    pub(crate) fault: Option<&'r HttpFaultInjection>,
    /// As in `HttpRoute`.
    pub(crate) mirrors: &'r [HttpMirrorPolicy],
    /// Who wrote the mirrors, and the path of that rule: their short names are of his namespace.
    pub(crate) mirrors_owner: (&'r VirtualService, String),
    /// As in `HttpRoute`.
    pub(crate) cors: Option<&'r CorsPolicy>,
    /// As in `HttpRoute`.
    pub(crate) headers: &'r Headers,
}

/// One alternative of a rule.
pub(crate) struct FlatMatch<'r> {
    /// The criteria.
    pub(crate) request: Cow<'r, HttpMatchRequest>,
    /// Who wrote them.
    pub(crate) owner: &'r VirtualService,
    /// Where in the owner: `spec.http[0].match[1]`.
    pub(crate) path: String,
}

/// The rules of `root` in order, those of delegates in the place of the rule that delegates.
pub(crate) fn flatten<'r>(
    root: &'r VirtualService,
    resources: &'r Resources,
    part: &mut Part,
) -> Vec<FlatRoute<'r>> {
    let mut flat = Vec::with_capacity(root.http.len());
    for (index, route) in root.http.iter().enumerate() {
        match &route.action {
            HttpAction::Delegate(delegate) => {
                flat.extend(delegated(
                    Rule {
                        owner: root,
                        index,
                        route,
                    },
                    delegate,
                    resources,
                    part,
                ));
            }
            _ => flat.push(
                Rule {
                    owner: root,
                    index,
                    route,
                }
                .flat(),
            ),
        }
    }
    flat
}

/// The delegates of a VirtualService, found or not.
pub(crate) fn delegates_of<'r>(
    root: &'r VirtualService,
    resources: &'r Resources,
) -> impl Iterator<Item = (ObjectKey, Option<&'r Arc<VirtualService>>)> {
    root.http.iter().filter_map(|route| match &route.action {
        HttpAction::Delegate(delegate) => {
            let key = key_of(delegate);
            let found = resources.virtual_services.get(&key);
            Some((key, found))
        }
        _ => None,
    })
}

fn key_of(delegate: &Delegate) -> ObjectKey {
    ObjectKey {
        namespace: delegate.namespace.clone(),
        name: delegate.name.clone(),
    }
}

/// A rule where it stands.
#[derive(Clone, Copy)]
struct Rule<'r> {
    owner: &'r VirtualService,
    index: usize,
    route: &'r HttpRoute,
}

impl<'r> Rule<'r> {
    fn path(self) -> String {
        format!("spec.http[{}]", self.index)
    }

    fn name(self) -> &'r str {
        self.route.name.as_deref().unwrap_or_default()
    }

    fn matches(self) -> Vec<FlatMatch<'r>> {
        let matches = self.route.matches.iter().enumerate();
        matches
            .map(|(index, request)| FlatMatch {
                request: Cow::Borrowed(request),
                owner: self.owner,
                path: format!("spec.http[{}].match[{index}]", self.index),
            })
            .collect()
    }

    fn flat(self) -> FlatRoute<'r> {
        let route = self.route;
        FlatRoute {
            owner: self.owner,
            path: self.path(),
            at: route.at,
            name: Cow::Borrowed(self.name()),
            matches: self.matches(),
            action: &route.action,
            rewrite: route.rewrite.as_ref(),
            timeout: route.timeout,
            retries: route.retries.as_ref(),
            fault: route.fault.as_ref(),
            mirrors: &route.mirrors,
            mirrors_owner: (self.owner, self.path()),
            cors: route.cors_policy.as_ref(),
            headers: &route.headers,
        }
    }

    fn warning(self, code: &'static str, delegate: &Delegate, message: String) -> Diagnostic {
        let path = format!("{}.delegate", self.path());
        warning(&self.owner.meta, code, path, delegate.at, message)
    }
}

fn delegated<'r>(
    root: Rule<'r>,
    delegate: &'r Delegate,
    resources: &'r Resources,
    part: &mut Part,
) -> Vec<FlatRoute<'r>> {
    let Some(found) = find(root, delegate, resources, part) else {
        return Vec::new();
    };
    let rules = found.http.iter().enumerate().map(|(index, route)| Rule {
        owner: found,
        index,
        route,
    });
    let merged: Vec<_> = rules.filter_map(|rule| merged(root, rule, part)).collect();
    if merged.is_empty() {
        let message = format!(
            "no rule of {} can match what this rule matches",
            found.meta.reference
        );
        part.diagnostics
            .push(root.warning("delegate_incompatible", delegate, message));
    }
    merged
}

/// `None`: nothing can be delegated to it, and it was said why.
fn find<'r>(
    root: Rule<'r>,
    delegate: &'r Delegate,
    resources: &'r Resources,
    part: &mut Part,
) -> Option<&'r VirtualService> {
    let found = resources.virtual_services.get(&key_of(delegate));
    let namespace = root.owner.meta.namespace();
    let (code, why) = match found {
        None => ("unknown_delegate", "does not exist".to_owned()),
        Some(found) if !found.is_delegate() => (
            "not_a_delegate",
            "has hosts of its own, so nothing can be delegated to it".to_owned(),
        ),
        Some(found) if !found.export_to.reaches(namespace) => (
            "delegate_not_exported",
            format!("is not exported to namespace {namespace:?}"),
        ),
        Some(found) => return Some(found),
    };
    let wanted = format!("VirtualService {}/{}", delegate.namespace, delegate.name);
    let diagnostic = root.warning(code, delegate, format!("{wanted} {why}"));
    part.diagnostics
        .push(diagnostic.help("until then this rule does nothing"));
    None
}

/// One rule of the delegate under a rule of the root: its own words first, the root's for the rest.
fn merged<'r>(root: Rule<'r>, rule: Rule<'r>, part: &mut Part) -> Option<FlatRoute<'r>> {
    if let HttpAction::Delegate(further) = &rule.route.action {
        let message = "a delegate cannot delegate further, so this rule does nothing".to_owned();
        part.diagnostics
            .push(rule.warning("delegate_of_delegate", further, message));
        return None;
    }
    let Some(matches) = merge_matches(root.matches(), rule.matches()) else {
        let message = format!(
            "cannot match what {} {} matches",
            root.owner.meta.reference,
            root.path()
        );
        part.diagnostics.push(
            warning(
                &rule.owner.meta,
                "delegate_incompatible",
                rule.path(),
                rule.route.at,
                message,
            )
            .help("each match must narrow one of the matches of the rule that delegates"),
        );
        return None;
    };
    let (above, own) = (root.flat(), rule.flat());
    let (mirrors, mirrors_owner) = match own.mirrors {
        [] => (above.mirrors, above.mirrors_owner),
        own_mirrors => (own_mirrors, own.mirrors_owner),
    };
    Some(FlatRoute {
        name: joined(root.name(), rule.name()),
        matches,
        rewrite: own.rewrite.or(above.rewrite),
        timeout: own.timeout.or(above.timeout),
        retries: own.retries.or(above.retries),
        fault: own.fault.or(above.fault),
        mirrors,
        mirrors_owner,
        cors: own.cors.or(above.cors),
        headers: if own.headers.is_empty() {
            above.headers
        } else {
            own.headers
        },
        ..own
    })
}

/// `root-delegate`, or the one that is there.
pub(super) fn joined<'n>(root: &'n str, delegate: &'n str) -> Cow<'n, str> {
    match (root, delegate) {
        ("", name) | (name, "") => Cow::Borrowed(name),
        (root, delegate) => Cow::Owned(format!("{root}-{delegate}")),
    }
}
