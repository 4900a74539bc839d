//! Istio's `HTTPRoute` with `route`: destinations, and all that shapes a forwarded request.

use super::Scope;
use super::answers::{matched_length, refuse, response_headers};
use super::delegates::FlatRoute;
use super::diagnostics::{Help, warning};
use super::operations::{request_operations, response_operations};
use super::part::Part;
use super::policies::{cors, fault, retry};
use crate::{
    ForwardAction, Mirror, PartsPerMillion, PathMatch, PathRewrite, WeightedDestination,
    WrittenDestinations,
};
use http::HeaderValue;
use model::{At, Diagnostic, HttpRewrite, HttpRouteDestination, Meta, Percent};
use std::sync::Arc;

impl Scope<'_> {
    /// `None`: the rule cannot be obeyed, and it was said why.
    pub(super) fn forward(
        &mut self,
        route: &FlatRoute<'_>,
        destinations: &[HttpRouteDestination],
        matched: Option<&PathMatch>,
        part: &mut Part,
    ) -> Option<ForwardAction> {
        let (request_headers, host) = match request_operations(&route.headers.request) {
            Ok(operations) => operations,
            Err(invalid) => {
                refuse(
                    route,
                    ".headers.request",
                    route.at,
                    invalid.to_string(),
                    part,
                );
                return None;
            }
        };
        let mut weighted = self.destinations(route, destinations, part)?;
        Some(ForwardAction {
            total_weight: fit_weights(&mut weighted),
            destinations: weighted,
            written: WrittenDestinations::of(destinations.len()),
            path_rewrite: path_rewrite(route, matched, part)?,
            authority_rewrite: authority(route, part)?.or(host),
            request_headers,
            response_headers: response_headers(route, part)?,
            timeout: route.timeout.filter(|timeout| !timeout.is_zero()),
            retry: retry(route),
            fault: route.fault.and_then(fault),
            mirrors: self.mirrors(route, part),
            cors: match route.cors.map(cors).transpose() {
                Ok(cors) => cors,
                Err(invalid) => {
                    refuse(route, ".corsPolicy", route.at, invalid.to_string(), part);
                    return None;
                }
            },
        })
    }

    /// One destination takes everything; of several those without weight take nothing.
    fn destinations(
        &mut self,
        route: &FlatRoute<'_>,
        destinations: &[HttpRouteDestination],
        part: &mut Part,
    ) -> Option<Vec<WeightedDestination>> {
        let only = WrittenDestinations::of(destinations.len()) == WrittenDestinations::One;
        if !only {
            let at = destinations.first().map_or(route.at, |first| first.at);
            let place = (&route.owner.meta, format!("{}.route", route.path), at);
            let weights = destinations.iter().map(|one| one.weight);
            part.diagnostics.extend(uneven_weights(place, weights));
        }
        let mut weighted = Vec::with_capacity(destinations.len());
        for (index, destination) in destinations.iter().enumerate() {
            let weight = if only {
                1
            } else {
                destination.weight.unwrap_or(0)
            };
            if weight > 0 {
                weighted.push(self.destination(route, destination, (index, weight), part)?);
            }
        }
        if weighted.is_empty() {
            refuse(
                route,
                ".route",
                route.at,
                "no destination has a weight above 0".into(),
                part,
            );
            return None;
        }
        Some(weighted)
    }

    fn destination(
        &mut self,
        route: &FlatRoute<'_>,
        destination: &HttpRouteDestination,
        (index, weight): (usize, u32),
        part: &mut Part,
    ) -> Option<WeightedDestination> {
        let field = format!(".route[{index}]");
        let headers = &destination.headers;
        let operations = request_operations(&headers.request)
            .and_then(|request| Ok((request, response_operations(&headers.response)?)));
        let ((request_headers, authority_rewrite), response_headers) = match operations {
            Ok(operations) => operations,
            Err(invalid) => {
                refuse(
                    route,
                    &format!("{field}.headers"),
                    destination.at,
                    invalid.to_string(),
                    part,
                );
                return None;
            }
        };
        let path = format!("{}{field}.destination", route.path);
        let origin = route
            .owner
            .meta
            .origin(path.clone(), destination.destination.at);
        Some(WeightedDestination {
            weight,
            cluster: self.target(&destination.destination, route.owner, &path, part),
            request_headers,
            response_headers,
            authority_rewrite,
            origin: Arc::new(origin),
        })
    }

    fn mirrors(&mut self, route: &FlatRoute<'_>, part: &mut Part) -> Vec<Mirror> {
        let (owner, rule) = &route.mirrors_owner;
        let wanted = route
            .mirrors
            .iter()
            .filter(|mirror| mirror.percentage != Percent::ZERO);
        wanted
            .map(|mirror| {
                let path = format!("{rule}.{}", mirror.path);
                Mirror {
                    cluster: self.target(&mirror.destination, owner, &path, part),
                    share: PartsPerMillion(mirror.percentage.parts_per_million()),
                }
            })
            .collect()
    }
}

/// A warning about weights that are no percentages.
pub(super) fn uneven_weights(
    (meta, path, at): (&Meta, String, At),
    weights: impl Iterator<Item = Option<u32>>,
) -> Option<Diagnostic> {
    let sum: u64 = weights.map(|weight| u64::from(weight.unwrap_or(0))).sum();
    let message = format!("the weights add up to {sum}, not 100");
    (sum != 100).then(|| {
        warning(meta, "weights", path, at, message)
            .help("each share is its weight divided by the sum")
    })
}

/// Their sum. Weights too large to be summed are made smaller, none below 1.
fn fit_weights(weighted: &mut [WeightedDestination]) -> u32 {
    let sum = |weighted: &[WeightedDestination]| {
        weighted
            .iter()
            .map(|one| u64::from(one.weight))
            .sum::<u64>()
    };
    loop {
        if let Ok(total) = u32::try_from(sum(weighted)) {
            return total;
        }
        weighted
            .iter_mut()
            .for_each(|one| one.weight = (one.weight / 2).max(1));
    }
}

/// The outer `None`: it cannot be done, and it was said why.
fn path_rewrite(
    route: &FlatRoute<'_>,
    matched: Option<&PathMatch>,
    part: &mut Part,
) -> Option<Option<PathRewrite>> {
    let Some(rewrite) = route.rewrite else {
        return Some(None);
    };
    if let Some(substitution) = &rewrite.uri_regex_rewrite {
        return match PathRewrite::regex(substitution.pattern.as_str(), &substitution.rewrite) {
            Ok(rewrite) => Some(Some(rewrite)),
            Err(invalid) => {
                refuse(
                    route,
                    ".rewrite.uriRegexRewrite",
                    rewrite.at,
                    invalid.to_string(),
                    part,
                );
                None
            }
        };
    }
    Some(uri_rewrite(rewrite, matched))
}

fn uri_rewrite(rewrite: &HttpRewrite, matched: Option<&PathMatch>) -> Option<PathRewrite> {
    let with = rewrite.uri.as_ref().filter(|uri| !uri.is_empty())?.clone();
    Some(match matched {
        Some(PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_) | PathMatch::Regex(_)) => {
            PathRewrite::Full(with)
        }
        prefix => PathRewrite::Prefix {
            matched: matched_length(prefix),
            with,
        },
    })
}

/// The outer `None`: it cannot be done, and it was said why.
fn authority(route: &FlatRoute<'_>, part: &mut Part) -> Option<Option<HeaderValue>> {
    let Some(rewrite) = route.rewrite else {
        return Some(None);
    };
    match rewrite
        .authority
        .as_deref()
        .map(HeaderValue::from_str)
        .transpose()
    {
        Ok(authority) => Some(authority),
        Err(_) => {
            refuse(
                route,
                ".rewrite.authority",
                rewrite.at,
                "is no host".into(),
                part,
            );
            None
        }
    }
}
