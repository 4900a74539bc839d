//! Further conditions: `when[]`.

use super::values::{Pair, name, pair, port, principal, service_account, value, warn_of_token};
use crate::decode::suggest::closest;
use crate::decode::{Cursor, Fields};
use crate::{Attribute, AuthorizationAction, Condition};

const VALUES: Pair = ("values", "notValues");

const HEADERS: &str = "request.headers";
const CLAIMS: &str = "request.auth.claims";
const FILTERS: &str = "experimental.envoy.filters.";

const KEYS: &[&str] = &[
    HEADERS,
    CLAIMS,
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

/// Keys of earlier versions, and what to write instead.
const REMOVED: &[(&str, &str)] = &[
    ("source.user", "write source.principal"),
    (
        "destination.namespace",
        "the policy's namespace is that of its workloads",
    ),
    (
        "destination.labels",
        "select workloads by selector.matchLabels",
    ),
    (
        "destination.name",
        "select workloads by selector.matchLabels",
    ),
    (
        "destination.user",
        "select workloads by selector.matchLabels",
    ),
];

/// An item of `when`.
pub(super) fn when(cursor: &Cursor<'_>, action: AuthorizationAction) -> Option<Condition> {
    cursor.object(|fields| {
        let (name, not_name) = VALUES;
        if !fields.has(name) && !fields.has(not_name) {
            cursor.error("missing_field", "values or notValues is required");
        }
        let attribute = fields.required("key").and_then(|key| {
            let text = key.text()?;
            Some((attribute(&key, &text, fields, action)?, text))
        });
        for name in [name, not_name] {
            fields.field(name); // known, whatever becomes of the key
        }
        let (attribute, key) = attribute?;
        Some(Condition {
            at: fields.at(),
            key,
            attribute,
        })
    })
}

fn attribute(
    key: &Cursor<'_>,
    text: &str,
    fields: &Fields<'_>,
    action: AuthorizationAction,
) -> Option<Attribute> {
    let networks = || pair(fields, VALUES, |cursor| cursor.network());
    let of_token = |attribute| {
        warn_of_token(fields, VALUES, action);
        Some(attribute)
    };
    Some(match text {
        "source.ip" => Attribute::SourceIp(networks()),
        "remote.ip" => Attribute::RemoteIp(networks()),
        "source.namespace" => Attribute::SourceNamespace(pair(fields, VALUES, name)),
        "source.principal" => Attribute::SourcePrincipal(pair(fields, VALUES, principal)),
        "source.serviceAccount" => {
            Attribute::SourceServiceAccount(pair(fields, VALUES, service_account))
        }
        "source.trustDomain" => Attribute::SourceTrustDomain(pair(fields, VALUES, name)),
        "destination.ip" => Attribute::DestinationIp(networks()),
        "destination.port" => Attribute::DestinationPort(pair(fields, VALUES, port)),
        "connection.sni" => Attribute::Sni(pair(fields, VALUES, value)),
        "request.auth.principal" => {
            of_token(Attribute::RequestPrincipal(pair(fields, VALUES, value)))?
        }
        "request.auth.audiences" => {
            of_token(Attribute::RequestAudiences(pair(fields, VALUES, value)))?
        }
        "request.auth.presenter" => {
            of_token(Attribute::RequestPresenter(pair(fields, VALUES, value)))?
        }
        _ if text.starts_with(HEADERS) => header(key, &text[HEADERS.len()..], fields)?,
        _ if text.starts_with(CLAIMS) => of_token(claim(key, &text[CLAIMS.len()..], fields)?)?,
        _ if text.starts_with(FILTERS) => filter(key, text, fields, action)?,
        _ => return unknown(key, text),
    })
}

fn header(key: &Cursor<'_>, rest: &str, fields: &Fields<'_>) -> Option<Attribute> {
    let Some(name) = bracketed(rest) else {
        return malformed(key, "request.headers[x-user]");
    };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.strip_prefix(':').unwrap_or(name).bytes().all(is_token) || name == ":" {
        key.error("invalid_value", format!("{name:?} is no header name"));
        return None;
    }
    const PSEUDO: &[&str] = &[":method", ":scheme", ":authority", ":path"];
    if name.starts_with(':') && !PSEUDO.contains(&&*name.to_ascii_lowercase()) {
        key.error("invalid_value", format!("no request has {name:?}"))
            .help(format!("one of {}", PSEUDO.join(", ")));
        return None;
    }
    Some(Attribute::RequestHeader {
        name: name.to_owned(),
        values: pair(fields, VALUES, value),
    })
}

/// `[a][b]`
fn claim(key: &Cursor<'_>, rest: &str, fields: &Fields<'_>) -> Option<Attribute> {
    let names = rest
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .map(|names| names.split("][").map(str::to_owned).collect::<Vec<_>>());
    match names {
        Some(path) if path.iter().all(|name| !name.is_empty()) => Some(Attribute::RequestClaim {
            path,
            values: pair(fields, VALUES, value),
        }),
        _ => malformed(key, "request.auth.claims[iss] or request.auth.claims[a][b]"),
    }
}

fn filter(
    key: &Cursor<'_>,
    text: &str,
    fields: &Fields<'_>,
    action: AuthorizationAction,
) -> Option<Attribute> {
    let text = text.strip_prefix("experimental.").unwrap_or(text);
    let split = text.find('[').map(|open| text.split_at(open));
    let Some((filter, name)) = split.and_then(|(filter, name)| Some((filter, bracketed(name)?)))
    else {
        return malformed(key, "experimental.envoy.filters.a.b[c]");
    };
    let effect = match action {
        AuthorizationAction::Allow => "the rule never matches",
        _ => "it is taken to hold",
    };
    let message = format!("there is no metadata of Envoy's filters here: {effect}");
    key.warning("not_honoured", message);
    Some(Attribute::EnvoyFilter {
        filter: filter.to_owned(),
        key: name.to_owned(),
        values: pair(fields, VALUES, value),
    })
}

/// `x` of `[x]`.
fn bracketed(text: &str) -> Option<&str> {
    let name = text.strip_prefix('[')?.strip_suffix(']')?;
    (!name.is_empty()).then_some(name)
}

fn malformed(key: &Cursor<'_>, form: &str) -> Option<Attribute> {
    let text = key.node.as_str().unwrap_or_default();
    key.error(
        "invalid_value",
        format!("{text:?} is no key of a condition"),
    )
    .help(format!("write {form}"));
    None
}

fn unknown(key: &Cursor<'_>, text: &str) -> Option<Attribute> {
    let problem = key.error("invalid_enum", format!("unknown key {text:?}"));
    let bare = text.split('[').next().unwrap_or_default();
    let removed = REMOVED.iter().find(|(name, _)| *name == bare);
    match (removed, closest(bare, KEYS)) {
        (Some((_, instead)), _) => problem.help(*instead),
        (None, Some(meant)) => problem.help(format!("did you mean {meant:?}?")),
        (None, None) => problem.help(format!("one of {}", KEYS.join(", "))),
    }
    None
}
