//! One rule to its routes: a route for each of its matches, in the order written.

use super::Scope;
use super::answers::{direct_response, redirect};
use super::delegates::{FlatMatch, FlatRoute};
use super::diagnostics::{error, warning};
use super::matches::predicate;
use super::part::Part;
use super::shadow::Shadows;
use crate::{Action, PathMatch, Predicate, Route};
use model::{At, HttpAction, Meta, Origin};
use std::sync::Arc;

impl Scope<'_> {
    /// Adds the routes of a rule, until one takes every request: what comes after it is never reached.
    pub(super) fn add_routes(
        &mut self,
        route: &FlatRoute<'_>,
        shadows: &mut Shadows,
        part: &mut Part,
    ) {
        if let Some(earlier) = shadows.catch_all() {
            // On a port that it was not meant for, nobody misses it.
            if route.matches.is_empty()
                || route.matches.iter().any(|one| self.admits(&*one.request))
            {
                let rule = (&route.owner.meta, route.path.as_str(), route.at);
                part.shadowed
                    .push(shadowed(rule, earlier, "takes every request"));
            }
            return;
        }
        if route.matches.is_empty() {
            self.add_route(route, None, Predicate::default(), shadows, part);
        }
        // What is noticed of the action is the same for each match.
        let mut told = false;
        for one in route
            .matches
            .iter()
            .filter(|one| self.admits(&*one.request))
            .collect::<Vec<_>>()
        {
            match predicate(&one.request) {
                Ok(predicate) => {
                    let before = part.diagnostics.len();
                    self.add_route(route, Some(one), predicate, shadows, part);
                    if std::mem::replace(&mut told, true) {
                        part.diagnostics.truncate(before);
                    }
                }
                Err(invalid) => {
                    let (meta, at) = (&one.owner.meta, one.request.at);
                    let diagnostic = error(
                        meta,
                        "invalid_match",
                        one.path.clone(),
                        at,
                        invalid.to_string(),
                    );
                    part.diagnostics.push(diagnostic);
                }
            }
        }
    }

    fn add_route(
        &mut self,
        route: &FlatRoute<'_>,
        one: Option<&FlatMatch<'_>>,
        predicate: Predicate,
        shadows: &mut Shadows,
        part: &mut Part,
    ) {
        let before = shadows.catch_all().cloned();
        let Some(action) = self.action(route, predicate.uri.as_ref(), part) else {
            return;
        };
        let compiled = Route {
            name: name(route, one).into(),
            predicate,
            action,
            origin: Arc::new(origin(route, one)),
        };
        if let Some(earlier) = shadows.add(&compiled) {
            let place = match one {
                Some(one) => (&one.owner.meta, one.path.as_str(), one.request.at),
                None => (&route.owner.meta, route.path.as_str(), route.at),
            };
            part.shadowed
                .push(shadowed(place, &earlier, "takes all its requests"));
        }
        // Behind a route that takes everything there is nothing to be found.
        if before.is_none() {
            part.routes.push(Arc::new(compiled));
        }
    }

    /// `None`: the rule cannot be obeyed, and it was said why.
    fn action(
        &mut self,
        route: &FlatRoute<'_>,
        matched: Option<&PathMatch>,
        part: &mut Part,
    ) -> Option<Action> {
        match &route.action {
            HttpAction::Route(destinations) => {
                let action = self.forward(route, destinations, matched, part)?;
                Some(Action::Forward(Box::new(action)))
            }
            HttpAction::Redirect(to) => {
                let action = redirect(to, route, matched, self.port, part)?;
                Some(Action::Redirect(Box::new(action)))
            }
            HttpAction::DirectResponse(response) => Some(Action::DirectResponse(direct_response(
                response, route, part,
            )?)),
            // Delegates were followed before.
            HttpAction::Delegate(_) => None,
        }
    }
}

/// `<route>.<match>`, as Istio names routes in the access log.
fn name(route: &FlatRoute<'_>, one: Option<&FlatMatch<'_>>) -> String {
    match one.and_then(|one| one.request.name.as_deref()) {
        Some(name) if !name.is_empty() => format!("{}.{name}", route.name),
        _ => route.name.clone().into_owned(),
    }
}

/// The match, or the delegate's rule when the match is the root's.
fn origin(route: &FlatRoute<'_>, one: Option<&FlatMatch<'_>>) -> Origin {
    match one {
        Some(one) if std::ptr::eq(one.owner, route.owner) => {
            one.owner.meta.origin(one.path.clone(), one.request.at)
        }
        _ => route.owner.meta.origin(route.path.clone(), route.at),
    }
}

pub(super) fn shadowed(
    (meta, path, at): (&Meta, &str, At),
    earlier: &Origin,
    why: &str,
) -> model::Diagnostic {
    let place = if earlier.resource == meta.reference {
        match &earlier.position {
            Some(position) => format!("{} in line {}", earlier.path, position.line),
            None => earlier.path.clone(),
        }
    } else {
        earlier.to_string()
    };
    warning(
        meta,
        "shadowed_rule",
        path,
        at,
        format!("never reached: {place} {why} before"),
    )
}
