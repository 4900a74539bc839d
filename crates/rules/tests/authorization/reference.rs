//! What Istio and Envoy make of policies, in the plainest form: every value a regular expression.

use crate::generated::{Attribute, Call, Field, Policy, Rule};
use ipnet::IpNet;
use regex::{Regex, escape};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;

/// The trust domains of the mesh: its own and its aliases.
pub(crate) const TRUST_DOMAINS: [&str; 2] = ["new", "old"];

/// Which policy denies, and by which of its rules; `None` in place of both when none allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Allowed,
    Denied(Option<(usize, usize)>),
}

pub(crate) fn verdict(policies: &[Policy], call: &Call) -> Verdict {
    let first = |action: &str| {
        let mut of_action = policies
            .iter()
            .enumerate()
            .filter(|(_, policy)| policy.action == action);
        of_action.find_map(|(index, policy)| Some((index, matched(policy, call)?)))
    };
    if let Some(by) = first("CUSTOM").or_else(|| first("DENY")) {
        return Verdict::Denied(Some(by));
    }
    let is_asked = policies.iter().any(|policy| policy.action == "ALLOW");
    match is_asked && first("ALLOW").is_none() {
        true => Verdict::Denied(None),
        false => Verdict::Allowed,
    }
}

/// The AUDIT policies that match.
pub(crate) fn audited(policies: &[Policy], call: &Call) -> Vec<(usize, usize)> {
    let audits = policies
        .iter()
        .enumerate()
        .filter(|(_, policy)| policy.action == "AUDIT");
    audits
        .filter_map(|(index, policy)| Some((index, matched(policy, call)?)))
        .collect()
}

fn matched(policy: &Policy, call: &Call) -> Option<usize> {
    let mut rules = policy.rules.iter();
    rules.position(|rule| is_match(rule, call, policy.action == "ALLOW"))
}

/// A rule with something that cannot be generated is left out where it would allow, and goes without it otherwise.
fn is_match(rule: &Rule, call: &Call, allows: bool) -> bool {
    let all = rule.from.iter().chain(&rule.to).flatten().chain(&rule.when);
    if allows && all.clone().any(|field| holds(field, call).is_none()) {
        return false;
    }
    let any = |alternatives: &[Vec<Field>]| {
        alternatives.is_empty() || alternatives.iter().any(|fields| every(fields, call))
    };
    any(&rule.from) && any(&rule.to) && every(&rule.when, call)
}

fn every(fields: &[Field], call: &Call) -> bool {
    fields.iter().all(|field| holds(field, call) != Some(false))
}

/// Absent: there is nothing of the kind.
fn holds(field: &Field, call: &Call) -> Option<bool> {
    use Attribute::*;
    let is_for_requests = matches!(field.kind.attribute, Host | Method | Path | Header | Token);
    if field.kind.attribute == Filter || (is_for_requests && call.request.is_none()) {
        return None;
    }
    let is = |value: &&str| is_value(field.kind.attribute, value, call);
    let wanted = field.values.is_empty() || field.values.iter().any(is);
    Some(wanted && !field.not_values.iter().any(is))
}

fn is_value(attribute: Attribute, value: &str, call: &Call) -> bool {
    let request = call.request.as_ref();
    let is_principal = |pattern: &str| {
        call.principal
            .is_some_and(|principal| full(pattern, principal))
    };
    match attribute {
        Attribute::Principal => aliases(value).iter().any(|value| match value.as_str() {
            "*" => is_principal(".+"),
            value => is_principal(&format!("spiffe://{}", wildcard(value))),
        }),
        Attribute::Namespace => is_principal(&format!(".*/ns/{}/.*", segment(value))),
        Attribute::ServiceAccount => {
            let (namespace, name) = value.split_once('/').unwrap_or(("shop", value));
            is_principal(&format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?"))
        }
        Attribute::TrustDomain => {
            let domains = match TRUST_DOMAINS.contains(&value) {
                true => TRUST_DOMAINS.to_vec(),
                false => vec![value],
            };
            let of = |domain: &&str| is_principal(&format!("spiffe://{}(/.*)?", segment(domain)));
            domains.iter().any(of)
        }
        Attribute::SourceIp => is_in(value, call.source),
        Attribute::RemoteIp => is_in(value, call.remote),
        Attribute::DestinationIp => is_in(value, call.destination),
        Attribute::Port => value == call.port.to_string(),
        Attribute::Sni => {
            let sni = call.sni.unwrap_or_default();
            full(&format!("(?i:{})", present_or(value)), sni)
        }
        Attribute::Host => request
            .is_some_and(|request| full(&format!("(?i:{})", present_or(value)), request.authority)),
        Attribute::Method => request.is_some_and(|one| full(&present_or(value), one.method)),
        Attribute::Path => request.is_some_and(|one| full(&path(value), one.path)),
        Attribute::Header => request.is_some_and(|request| {
            let is_there = !request.users.is_empty();
            is_there && (value == "*" || full(&wildcard(value), &request.users.join(",")))
        }),
        Attribute::Token | Attribute::Filter => false,
    }
}

thread_local! {
    /// There are few values, and to compile them is slow.
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
}

fn full(pattern: &str, text: &str) -> bool {
    COMPILED.with_borrow_mut(|compiled| {
        let regex = compiled
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(&format!("^(?:{pattern})$")).unwrap());
        regex.is_match(text)
    })
}

/// A star at one end.
fn wildcard(value: &str) -> String {
    if let Some(end) = value.strip_prefix('*') {
        return format!(".*{}", escape(end));
    }
    match value.strip_suffix('*') {
        Some(start) => format!("{}.*", escape(start)),
        None => escape(value),
    }
}

fn present_or(value: &str) -> String {
    match value {
        "*" => ".+".to_owned(),
        _ => wildcard(value),
    }
}

/// Stars anywhere in one segment.
fn segment(value: &str) -> String {
    escape(value).replace("\\*", "[^/]*")
}

fn path(value: &str) -> String {
    if !value.contains("{*}") && !value.contains("{**}") {
        return present_or(value);
    }
    let escaped = escape(value);
    escaped
        .replace(&escape("{**}"), ".*")
        .replace(&escape("{*}"), "[^/]+")
}

fn is_in(value: &str, address: &str) -> bool {
    let network: IpNet = value
        .parse()
        .or_else(|_| value.parse().map(|one: IpAddr| one.into()))
        .unwrap();
    let address: IpAddr = address.parse().unwrap();
    network.contains(&address.to_canonical())
}

/// The principal in every trust domain of the mesh, if it is of one of them.
fn aliases(principal: &str) -> Vec<String> {
    let parts: Vec<_> = principal.split('/').collect();
    let [domain, rest @ ..] = &parts[..] else {
        return vec![principal.to_owned()];
    };
    let is_of = |own: &&str| match domain.strip_prefix('*') {
        Some(end) => own.ends_with(end),
        None => own == domain,
    };
    let is_meant = *domain == "cluster.local" || TRUST_DOMAINS.iter().any(is_of);
    if rest.len() != 4 || *domain == "*" || !is_meant {
        return vec![principal.to_owned()];
    }
    let in_own = |own: &&str| match domain.starts_with('*') && is_of(own) {
        true => principal.to_owned(),
        false => format!("{own}/{}", rest.join("/")),
    };
    TRUST_DOMAINS.iter().map(in_own).collect()
}
