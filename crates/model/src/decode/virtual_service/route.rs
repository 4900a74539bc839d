//! HTTP routes.

use super::{BoundTo, action, fault, forward, headers, matching};
use crate::decode::{Cursor, Fields};
use crate::{HttpAction, HttpMatchRequest, HttpMirrorPolicy, HttpRoute, Percent, StringMatch};

const ACTIONS: &[&str] = &["route", "redirect", "directResponse", "delegate"];

pub(super) fn http_route(
    cursor: &Cursor<'_>,
    in_delegate: bool,
    bound_to: BoundTo,
) -> Option<HttpRoute> {
    cursor.object(|fields| {
        let name = fields.string("name");
        let matches = fields.each("match", |cursor| matching::http_match(cursor, bound_to));
        let action = action(fields, &matches);
        if in_delegate && let Some(delegate) = fields.field("delegate") {
            delegate.error(
                "exclusive_fields",
                "a delegate VirtualService cannot delegate further",
            );
        }
        let rewrite = fields.maybe("rewrite", forward::rewrite);
        let timeout = fields
            .maybe("timeout", Cursor::duration_or_zero)
            .filter(|timeout| !timeout.is_zero());
        let retries = fields.maybe("retries", forward::retries);
        let fault = fields.maybe("fault", fault::fault);
        let mirrors = mirrors(fields);
        let cors_policy = fields.maybe("corsPolicy", forward::cors);
        let headers = headers::headers(fields);
        removed_in_1_0(fields);
        check_exclusions(fields);
        check_authority(fields);
        Some(HttpRoute {
            at: fields.at(),
            name,
            matches,
            action: action?,
            rewrite,
            timeout,
            retries,
            fault,
            mirrors,
            cors_policy,
            headers,
        })
    })
}

/// Exactly one of `route`, `redirect`, `directResponse` and `delegate`.
fn action(fields: &Fields<'_>, matches: &[HttpMatchRequest]) -> Option<HttpAction> {
    fields.exclusive(ACTIONS);
    let route = fields.field("route");
    let has_route = route
        .as_ref()
        .is_some_and(|route| !route.items().is_empty());
    let route = route
        .and_then(|route| action::destinations(&route))
        .map(HttpAction::Route);
    let redirect = fields
        .maybe("redirect", action::redirect)
        .map(HttpAction::Redirect);
    let direct = fields
        .maybe("directResponse", action::direct_response)
        .map(HttpAction::DirectResponse);
    let delegate = fields
        .maybe("delegate", action::delegate)
        .map(HttpAction::Delegate);
    if !has_route && !ACTIONS[1..].iter().any(|name| fields.has(name)) {
        missing_action(fields);
    }
    if let (Some(HttpAction::Redirect(redirect)), Some(cursor)) =
        (&redirect, fields.field("redirect"))
        && redirect.prefix_rewrite.is_some()
    {
        check_prefix_rewrite(&cursor, matches);
    }
    route.or(redirect).or(direct).or(delegate)
}

fn missing_action(fields: &Fields<'_>) {
    let problem = fields.cursor.error(
        "missing_route",
        "HTTP route, redirect or direct_response is required",
    );
    problem.help(match fields.has("match") {
        true => {
            "this rule says which requests it matches, but not where they go: \
             add route with a destination, redirect, directResponse or delegate beside match"
        }
        false => "add route with a destination, redirect, directResponse or delegate",
    });
}

fn check_prefix_rewrite(redirect: &Cursor<'_>, matches: &[HttpMatchRequest]) {
    let by_prefix = |one: &HttpMatchRequest| matches!(one.uri, Some(StringMatch::Prefix(_)));
    if matches.is_empty() || !matches.iter().all(by_prefix) {
        redirect
            .error(
                "exclusive_fields",
                "prefixRewrite needs a uri prefix in every match",
            )
            .help("match with uri.prefix, or replace the whole path with uri");
    }
}

fn check_exclusions(fields: &Fields<'_>) {
    for action in ["redirect", "directResponse"] {
        fields.exclusive(&[action, "fault"]);
        fields.exclusive(&[action, "rewrite"]);
    }
    fields.exclusive(&["mirror", "mirrors"]);
    fields.exclusive(&["mirrors", "mirrorPercentage"]);
    fields.exclusive(&["mirrors", "mirrorPercent"]);
}

/// Two ways to say which host is sent upstream do not go together.
fn check_authority(fields: &Fields<'_>) {
    let rewrites = fields
        .field("rewrite")
        .is_some_and(|rewrite| rewrite.node.get("authority").is_some());
    let set = |fields: &Fields<'_>| {
        let request = fields.field("headers")?.node.get("request")?.get("set")?;
        let crate::yaml::Value::Mapping(entries) = &request.value else {
            return None;
        };
        let is_host = |key: &str| key.eq_ignore_ascii_case("host") || key == ":authority";
        entries
            .iter()
            .find(|entry| is_host(&entry.key))
            .map(|entry| entry.key.clone())
    };
    if rewrites && let Some(name) = set(fields) {
        let message =
            format!("rewrite.authority and headers.request.set of {name:?} exclude each other");
        fields.cursor.error("exclusive_fields", message);
    }
}

fn mirrors(fields: &Fields<'_>) -> Vec<HttpMirrorPolicy> {
    let percentage = mirror_percentage(fields);
    let one = fields.maybe("mirror", |cursor| {
        let destination = super::destination(cursor)?;
        let path = cursor.path_below(&fields.cursor);
        Some(HttpMirrorPolicy {
            at: cursor.at(),
            path,
            destination,
            percentage,
        })
    });
    let several = fields.each("mirrors", |cursor| {
        cursor.object(|mirror| {
            let destination = mirror
                .required("destination")
                .and_then(|to| super::destination(&to));
            let percentage = mirror
                .field("percentage")
                .map(|percentage| percentage.percent());
            let path = cursor.path_below(&fields.cursor);
            let percentage = percentage.map_or(Some(Percent::FULL), |percentage| percentage)?;
            Some(HttpMirrorPolicy {
                at: cursor.at(),
                path,
                destination: destination?,
                percentage,
            })
        })
    });
    one.into_iter().chain(several).collect()
}

/// `mirrorPercentage` wins over the integers of old.
fn mirror_percentage(fields: &Fields<'_>) -> Percent {
    let percentage = fields
        .field("mirrorPercentage")
        .and_then(|percentage| percentage.percent());
    let legacy = ["mirrorPercent", "mirror_percent"]
        .into_iter()
        .find_map(|name| {
            let cursor = fields.field(name)?;
            cursor.legacy("mirrorPercentage.value");
            cursor.percent_integer().map(Percent::whole)
        });
    for name in ["mirrorPercentage", "mirrorPercent"] {
        if let Some(cursor) = fields.field(name)
            && !fields.has("mirror")
            && !fields.has("mirrors")
        {
            cursor.warning(
                "ineffective",
                format!("{name} has no effect without mirror"),
            );
        }
    }
    percentage.or(legacy).unwrap_or(Percent::FULL)
}

/// Fields that Istio 1.0 still had. The header operations among them are read with the headers.
fn removed_in_1_0(fields: &Fields<'_>) {
    if let Some(upgrade) = fields.field("websocketUpgrade")
        && upgrade.bool().is_some()
    {
        upgrade
            .warning(
                "legacy_form",
                "deprecated, has no effect: WebSocket is always allowed",
            )
            .help("leave it out");
    }
}
